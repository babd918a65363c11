"""The alerts that are open in a night, the most pressing first: for the page, its report and the digest alike."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from monitor.collect import Row, Snapshot
from monitor.collect_scan import records

__all__ = ["OpenAlert", "life_words", "open_alerts"]

_RANK = {"DRIFT": 0, "WATCH": 1, "NOTICE": 2}
_STATES = {"DRIFT": "bad", "NOTICE": "notice"}
# That scans of a night had a stand-in is a matter of that night and the days after it.
_STAND_IN_DAYS = 3


@dataclass(frozen=True)
class OpenAlert:
    """One open matter.

    Attributes
    ----------
    row : dict
        Of the table of alerts.
    text : str
        What it is, in words.
    state : str
        Key of `monitor.palette.STATES`.
    new : bool
        Whether it was seen in this very night.
    over : bool
        Whether what it tells of has gone since.
    scans : tuple of (str, int)
        Night and number of scans that suffer; there may be more, ``n_scans`` in all.
    said : str
        What people said about it; empty if nobody did.
    acknowledged_by : str
        Who knows of it; empty if nobody does.
    """

    row: Row
    text: str
    state: str
    new: bool
    over: bool
    scans: tuple[tuple[str, int], ...]
    n_scans: int
    said: str
    acknowledged_by: str

    @property
    def word(self) -> str:
        """Its state in a word."""
        return str(self.row["state"]).capitalize()

    @property
    def standing(self) -> str:
        """Since when it is known, whether it is over, and who knows of it."""
        words = "new tonight" if self.new else f"seen on {self.row['night']}"
        words += ", over" if self.over else ""
        return words + (f" · {self.said}" if self.said else "")


def open_alerts(snapshot: Snapshot, night: str) -> tuple[OpenAlert, ...]:
    """Return what is open in a night: first what nobody has seen, then what is still there, the worst, the newest."""
    a = snapshot.alerts
    if a.empty:
        return ()
    since = (date.fromisoformat(night) - timedelta(days=_STAND_IN_DAYS)).isoformat()
    recent = (a["product"] != "scans") | (a["last_night"] >= since)
    standing = a["life"].isin(("open", "acknowledged"))
    found = [_alert(r, night) for r in _one_matter(records(a[(a["night"] <= night) & recent & standing]))]
    return tuple(sorted(found, key=_order))


def life_words(alert: Row) -> str:
    """Return what people said about an alert; empty if nobody did."""
    if alert["life_note"]:
        return str(alert["life_note"])
    if alert["life"] == "open":
        return ""
    until = f" until {alert['life_until']}" if alert["life_until"] else ""
    return f"{alert['life']} by {alert['life_by']}{until}: {alert['life_reason']}"


def _order(a: OpenAlert) -> tuple[bool, bool, int, int]:
    newest = -int(a.row["night"].replace("-", ""))
    return bool(a.acknowledged_by), a.over, _RANK.get(a.row["state"], 3), newest


def _alert(row: Row, night: str) -> OpenAlert:
    listed: Any = row.get("scans")
    touched = json.loads(listed) if isinstance(listed, str) else listed
    touched = touched if isinstance(touched, dict) else {}
    return OpenAlert(
        row=row,
        text=str(row["text"]),
        state=_STATES.get(row["state"], "watch"),
        new=row["night"] == night,
        over=row["product"] != "scans" and bool(row["over"]) and row["last_night"] < night,
        scans=tuple((str(n), int(s)) for n, s in touched.get("scans", ())),
        n_scans=int(touched.get("n", 0)),
        said=life_words(row),
        acknowledged_by=str(row["life_by"]) if row["life"] == "acknowledged" else "",
    )


def _one_matter(alerts: list[Row]) -> list[Row]:
    """Return the alerts, the proposals of one hardware period by several products of a band as one."""
    kept = [a for a in alerts if a["metric"] != "hardware period"]
    proposals: dict[tuple[str, str], list[Row]] = {}
    for a in alerts:
        if a["metric"] == "hardware period":
            proposals.setdefault((a["band"], a["night"]), []).append(a)
    for (band, night), group in proposals.items():
        products = [str(a["product"]) for a in group]
        names = " and ".join([", ".join(products[:-1]), products[-1]] if len(products) > 1 else products)
        nights = int(max(a["value"] for a in group))
        agreed = f"{names}: {nights} rejected nights in a row agree with each other."
        over, last = all(a["over"] for a in group), max(a["last_night"] for a in group)
        text = (
            f"{band}: the instrument was another one from {night} to {last}. {agreed} "
            "Nights after them are accepted again"
            if over
            else f"{band}: the instrument changed on {night}. {agreed} Start a hardware period on {night}"
        )
        kept.append({**group[-1], "text": text, "over": over, "last_night": last})
    return kept
