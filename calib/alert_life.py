"""The life of alerts: open, acknowledged until, resolved, dismissed.

An alert is what was measured; its life is what people said about it. Both are joined whenever they are shown, so a
decision shows at once. What was resolved but is still there on a later night is open again: nothing red turns
unremarkable unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from calib.archive.decision_rules import ALERT
from calib.archive.decisions import standing

__all__ = ["LIVES", "with_life"]

Row = dict[str, Any]

LIVES = ("open", "acknowledged", "resolved", "dismissed")


def with_life(alerts: Iterable[Mapping[str, Any]], decisions: Iterable[Mapping[str, Any]], today: str) -> list[Row]:
    """Join alerts with what the standing decisions say about them.

    Parameters
    ----------
    alerts, decisions : iterable of mapping
        Rows of the tables of those names, decisions in order of their numbers.
    today : str
        ISO date by which acknowledgements may have expired.

    Returns
    -------
    list of dict
        The alerts with ``life`` (one of `LIVES`), ``life_by``, ``life_time``, ``life_reason`` (empty while nobody
        said anything), ``life_until`` (last day of an acknowledgement, or empty), ``life_decision`` (its number or
        None) and ``life_note``: why an alert is open although somebody had closed it.
    """
    said: dict[tuple[Any, ...], Row] = {}
    dismissed: dict[tuple[str, str | None], Row] = {}
    started: dict[tuple[str, str | None], Row] = {}
    for d in standing([dict(d) for d in decisions]):
        if d["kind"] in ("acknowledge", "resolve"):
            said[tuple(d[n] for n in ALERT)] = d
        elif d["kind"] == "dismiss":
            dismissed[d["night"], d["band"]] = d
        elif d["kind"] == "period":
            started[d["night"], d["band"]] = d
    found = []
    for alert in alerts:
        row = dict(alert)
        spoken = said.get(tuple(row[n] for n in ALERT))
        if row["metric"] == "hardware period":
            for ruled in (dismissed, started):
                spoken = spoken or ruled.get((row["proposal"], row["band"])) or ruled.get((row["proposal"], None))
        found.append({**row, **_life(row, spoken, today)})
    return found


def _life(row: Row, d: Mapping[str, Any] | None, today: str) -> Row:
    nothing: Row = {"life_by": "", "life_time": "", "life_reason": "", "life_until": "", "life_decision": None}
    if d is None:
        return {"life": "open", "life_note": "", **nothing}
    said = {
        "life_by": d["who"],
        "life_time": d["time"],
        "life_reason": d["reason"],
        "life_until": d["expires"] or "",
        "life_decision": d["id"],
    }
    if d["kind"] == "acknowledge":
        if d["expires"] and d["expires"] < today:
            note = f"the acknowledgement by {d['who']} ended on {d['expires']}"
            return {"life": "open", "life_note": note, **said}
        return {"life": "acknowledged", "life_note": "", **said}
    if d["kind"] == "resolve":
        if not row["over"] and (row["last_night"] or "") > (d["value"] or ""):
            note = f"resolved by {d['who']} on {d['time'][:10]}, but still there on {row['last_night']}"
            return {"life": "open", "life_note": note, **said}
        return {"life": "resolved", "life_note": "", **said}
    return {"life": "dismissed" if d["kind"] == "dismiss" else "resolved", "life_note": "", **said}
