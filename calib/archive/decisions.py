"""Decisions: what a person ruled. Append-only; a decision is taken back by another one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive, utc_now
from calib.errors import DecisionError

__all__ = ["KINDS", "Rulings", "active_decisions", "decide", "rulings"]

KINDS = ("override", "period", "acknowledge", "sign-off", "undo")
PRODUCTS = ("dark", "flat", "sky-offset")


def decide(
    archive: Archive,
    *,
    who: str,
    kind: str,
    reason: str,
    night: str = "",
    band: str | None = None,
    product: str | None = None,
    read: str | None = None,
    scan: int | None = None,
    block: int | None = None,
    value: str | None = None,
    undoes: int | None = None,
) -> int:
    """Append a decision.

    Parameters
    ----------
    who, reason : str
        Who decides and why; neither may be empty.
    kind : str
        One of `KINDS`.
    night : str
        ISO date it concerns; of a period, its first night.
    undoes : int, optional
        For ``undo``: the number of the decision taken back.

    Returns
    -------
    int
        The number of the new decision.

    Raises
    ------
    DecisionError
        If it names nothing in the archive or contradicts itself.
    """
    row: dict[str, Any] = {
        "time": utc_now(),
        "who": who.strip(),
        "kind": kind,
        "night": night,
        "band": band,
        "product": product,
        "read": read,
        "scan": scan,
        "block": block,
        "value": value,
        "reason": reason.strip(),
        "undoes": undoes,
    }
    _validate(archive, row)
    with archive.begin() as connection:
        number = int(connection.execute(sa.insert(schema.decisions).values(**row)).inserted_primary_key[0])
    archive.announce()
    return number


def _validate(archive: Archive, row: dict[str, Any]) -> None:
    if row["kind"] not in KINDS:
        raise DecisionError(f"no such kind of decision: {row['kind']} (there are {', '.join(KINDS)})")
    for needed in ("who", "reason"):
        if not row[needed]:
            raise DecisionError(f"a decision needs --{needed}")
    if row["kind"] == "undo":
        target = archive.rows(sa.select(schema.decisions).where(schema.decisions.c.id == row["undoes"]))
        if not target:
            raise DecisionError(f"there is no decision {row['undoes']} to undo")
        if row["undoes"] not in {d["id"] for d in active_decisions(archive)}:
            raise DecisionError(f"decision {row['undoes']} is undone already, or is itself an undo")
        row["night"] = target[0]["night"]
        return
    if not _is_date(row["night"]):
        raise DecisionError(f"{row['night']!r} is no night; give it as YYYY-MM-DD")
    profile = archive.current_profile()
    if row["band"] is not None and profile is not None and row["band"] not in profile.bands:
        raise DecisionError(f"no band {row['band']!r} (there are {', '.join(profile.bands)})")
    if row["kind"] == "override":
        _validate_override(archive, row)
    elif row["kind"] == "acknowledge":
        _validate_acknowledgement(archive, row)
    elif row["kind"] == "sign-off":
        f = schema.files
        if not archive.value(sa.select(sa.func.count()).where(f.c.night == row["night"])):
            raise DecisionError(f"there is no night {row['night']} in {archive.root}")


def _is_date(text: str) -> bool:
    # Other forms of ISO 8601 would be no night of the tables.
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _validate_acknowledgement(archive: Archive, row: dict[str, Any]) -> None:
    a = schema.alerts
    of_night = archive.rows(sa.select(a).where(a.c.night == row["night"]))
    if not any((r["band"], r["product"], r["metric"]) == (row["band"], row["product"], row["value"]) for r in of_night):
        wanted = " ".join(str(row[n]) for n in ("night", "band", "product", "value") if row[n] is not None)
        there = "; ".join(f"{r['band']} {r['product']!r} {r['metric']!r}" for r in of_night)
        raise DecisionError(f"there is no alert {wanted}" + (f" (that night has {there})" if there else ""))


def _validate_override(archive: Archive, row: dict[str, Any]) -> None:
    if row["product"] not in PRODUCTS:
        raise DecisionError(f"an override names a product: {', '.join(PRODUCTS)}")
    if row["value"] not in ("accepted", "rejected"):
        raise DecisionError("an override says accepted or rejected")
    if row["band"] is None:
        raise DecisionError("an override names a band")
    table = {"dark": schema.darks, "flat": schema.flats, "sky-offset": schema.sky_offsets}[row["product"]]
    conditions = [table.c.night == row["night"], table.c.band == row["band"]]
    for name in ("read", "scan", "block"):
        if name in table.c:
            if row[name] is None:
                raise DecisionError(f"an override of a {row['product']} names a {name}")
            conditions.append(table.c[name] == row[name])
    if not archive.rows(sa.select(table.c.night).where(*conditions)):
        wanted = " ".join(str(row[n]) for n in ("night", "band", "read", "scan", "block") if row[n] is not None)
        raise DecisionError(f"there is no {row['product']} {wanted} in {archive.root}")


def active_decisions(archive: Archive) -> list[dict[str, Any]]:
    """Return the decisions that stand, in order: not undone, and no undo itself."""
    everything = archive.rows(sa.select(schema.decisions).order_by(schema.decisions.c.id))
    undone = {d["undoes"] for d in everything if d["kind"] == "undo"}
    return [d for d in everything if d["kind"] != "undo" and d["id"] not in undone]


@dataclass(frozen=True)
class Rulings:
    """What the standing decisions say, by what they concern.

    Attributes
    ----------
    dark : dict
        (night, band, read) → accepted or rejected.
    flat : dict
        (night, band) → accepted or rejected.
    sky : dict
        (night, band, scan, read) → {block: accepted or rejected}.
    periods : tuple of (night, band or None)
        First nights of hardware periods; None concerns all bands.
    acknowledged : dict
        (night, band, product, metric) → who.
    """

    dark: dict[tuple[str, str, str], Any]
    flat: dict[tuple[str, str], Any]
    sky: dict[tuple[str, str, int, str], dict[int, Any]]
    periods: tuple[tuple[str, str | None], ...]
    acknowledged: dict[tuple[str, str, str, str], str]

    def period(self, night: str, band: str) -> str:
        """Return the first night of the hardware period a night belongs to; empty before any change."""
        return max((n for n, b in self.periods if b in (None, band) and n <= night), default="")


def rulings(archive: Archive) -> Rulings:
    """Return the standing decisions by what they concern; of two on the same matter the later one counts."""
    found = Rulings({}, {}, {}, (), {})
    periods = set()
    for d in active_decisions(archive):
        if d["kind"] == "override" and d["product"] == "dark":
            found.dark[d["night"], d["band"], d["read"]] = d["value"]
        elif d["kind"] == "override" and d["product"] == "flat":
            found.flat[d["night"], d["band"]] = d["value"]
        elif d["kind"] == "override":
            found.sky.setdefault((d["night"], d["band"], d["scan"], d["read"]), {})[d["block"]] = d["value"]
        elif d["kind"] == "period":
            periods.add((d["night"], d["band"]))
        elif d["kind"] == "acknowledge":
            key = (d["night"], d["band"] or "", d["product"] or "", d["value"] or "")
            found.acknowledged[key] = d["who"]
    return Rulings(found.dark, found.flat, found.sky, tuple(sorted(periods, key=str)), found.acknowledged)
