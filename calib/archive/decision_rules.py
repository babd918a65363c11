"""What may be decided: every decision names something that is there, and says who and why."""

from __future__ import annotations

from datetime import date
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.seen import night_digest
from calib.errors import DecisionConflict, DecisionError

__all__ = ["ALERT", "KINDS", "MOST_CHARACTERS", "PRODUCTS", "matter", "validated"]

Row = dict[str, Any]

KINDS = ("override", "period", "dismiss", "acknowledge", "resolve", "sign-off", "note", "undo")
PRODUCTS = ("dark", "flat", "sky-offset")

# What names an alert.
ALERT = ("night", "band", "product", "region", "metric")

# A reason is a sentence or two; more is no reason but a file.
MOST_CHARACTERS = 2000

# No database counts farther.
_NUMBERS = 1 << 63


def matter(row: Row, by_number: dict[int, Row]) -> tuple[Any, ...] | None:
    """Return what a decision is about: two persons must not decide on one matter without knowing of each other.

    None for what stands beside others, such as a note. An undo is about what its target is about.
    """
    kind = row["kind"]
    if kind == "undo":
        target = by_number.get(row["undoes"] or 0)
        return None if target is None else matter(target, by_number)
    if kind == "override":
        return ("override", *(row.get(n) for n in ("night", "band", "product", "read", "scan", "block")))
    if kind in ("period", "dismiss"):
        # Each shifts the edges between which the others were weighed.
        return ("period",)
    if kind in ("acknowledge", "resolve"):
        return ("alert", *(row.get(n) for n in ALERT))
    if kind == "sign-off":
        return ("sign-off", row["night"])
    return None


def validated(archive: Archive, decision: Row, active: list[Row]) -> Row:
    """Return a decision as it is to be recorded.

    Raises
    ------
    DecisionError
        If it names nothing in the archive or contradicts itself.
    DecisionConflict
        If it signs a night off that has changed since it was looked at.
    """
    row = {"night": "", **decision}
    if row["kind"] not in KINDS:
        raise DecisionError(f"no such kind of decision: {row['kind']} (there are {', '.join(KINDS)})")
    for needed in ("who", "reason"):
        row[needed] = _text(needed, row.get(needed))
        if not row[needed] and not (needed == "reason" and row["kind"] == "sign-off"):
            raise DecisionError(f"a decision needs --{needed}")
    for name in ("scan", "block", "undoes"):
        if row.get(name) is not None and not 0 <= row[name] < _NUMBERS:
            raise DecisionError(f"{row[name]} is the number of no {'decision' if name == 'undoes' else name}")
    if row["kind"] == "undo":
        return _undo(archive, row, active)
    if not _is_date(row["night"]):
        raise DecisionError(f"{row['night']!r} is no night; give it as YYYY-MM-DD")
    profile = archive.current_profile()
    if row.get("band") is not None and profile is not None and row["band"] not in profile.bands:
        raise DecisionError(f"no band {row['band']!r} (there are {', '.join(profile.bands)})")
    if row["kind"] == "override":
        _check_override(archive, row)
    elif row["kind"] == "period":
        if any(d["kind"] == "period" and d["night"] == row["night"] and d["band"] == row.get("band") for d in active):
            raise DecisionError(
                f"a hardware period of {row.get('band') or 'all bands'} begins on {row['night']} already"
            )
    elif row["kind"] == "dismiss":
        _check_dismissal(archive, row)
    elif row["kind"] in ("acknowledge", "resolve"):
        _check_alert(archive, row)
    else:
        _check_night(archive, row)
    return row


def _text(name: str, value: Any) -> str:
    text = "" if value is None else str(value).strip()
    if len(text) > MOST_CHARACTERS:
        raise DecisionError(f"--{name} has {len(text)} characters; {MOST_CHARACTERS} are the most")
    # Other control characters would break the lines of exports and terminals.
    if any(ord(c) < 32 and c not in "\n\t" for c in text):
        raise DecisionError(f"--{name} holds control characters")
    return text


def _undo(archive: Archive, row: Row, active: list[Row]) -> Row:
    d = schema.decisions
    target = archive.rows(sa.select(d).where(d.c.id == row.get("undoes")))
    if not target:
        raise DecisionError(f"there is no decision {row.get('undoes')} to undo")
    if row["undoes"] not in {a["id"] for a in active}:
        raise DecisionError(f"decision {row['undoes']} is undone already, or is itself an undo")
    return row | {"night": target[0]["night"]}


def _is_date(text: Any) -> bool:
    # Other forms of ISO 8601 would be no night of the tables.
    try:
        return bool(date.fromisoformat(text).isoformat() == text)
    except (TypeError, ValueError):
        return False


def _check_night(archive: Archive, row: Row) -> None:
    f = schema.files
    if not archive.value(sa.select(sa.func.count()).where(f.c.night == row["night"])):
        raise DecisionError(f"there is no night {row['night']} in {archive.root}")
    if row["kind"] == "sign-off":
        now = night_digest(archive, row["night"])
        if row.get("digest") not in (None, now):
            raise DecisionConflict(
                f"{row['night']} has changed since you looked at it; it was not signed. Look again, then sign"
            )
        row["digest"] = now


def _check_alert(archive: Archive, row: Row) -> None:
    a = schema.alerts
    of_night = archive.rows(sa.select(a).where(a.c.night == row["night"]))
    row["region"] = row.get("region") or "array"
    found = [r for r in of_night if all(r[n] == row.get(n) for n in ALERT)]
    if not found:
        wanted = " ".join(str(row[n]) for n in ALERT if row.get(n) is not None)
        there = "; ".join(f"{r['band']} {r['product']!r} {r['region']} {r['metric']!r}" for r in of_night)
        raise DecisionError(f"there is no alert {wanted}" + (f" (that night has {there})" if there else ""))
    if row["kind"] == "resolve":
        if row.get("expires"):
            raise DecisionError("what is resolved is resolved for good; only an acknowledgement expires")
        # Should it still be there on a later night, it is open again.
        row["value"] = found[0]["last_night"]
    elif row.get("expires") and not _is_date(row["expires"]):
        raise DecisionError(f"{row['expires']!r} is no date; give it as YYYY-MM-DD")


def _check_dismissal(archive: Archive, row: Row) -> None:
    a = schema.alerts
    proposed = archive.rows(sa.select(a.c.proposal, a.c.band).where(a.c.proposal == row["night"]))
    if not any(row.get("band") in (None, p["band"]) for p in proposed):
        raise DecisionError(f"no hardware period is proposed for {row['night']} {row.get('band') or ''}".rstrip())


def _check_override(archive: Archive, row: Row) -> None:
    if row.get("product") not in PRODUCTS:
        raise DecisionError(f"an override names a product: {', '.join(PRODUCTS)}")
    if row.get("value") not in ("accepted", "rejected"):
        raise DecisionError("an override says accepted or rejected")
    if row.get("band") is None:
        raise DecisionError("an override names a band")
    table = {"dark": schema.darks, "flat": schema.flats, "sky-offset": schema.sky_offsets}[row["product"]]
    conditions = [table.c.night == row["night"], table.c.band == row["band"]]
    for name in ("read", "scan", "block"):
        if name in table.c:
            if row.get(name) is None:
                raise DecisionError(f"an override of a {row['product']} names a {name}")
            conditions.append(table.c[name] == row[name])
        else:
            # One that means nothing here would make two decisions on one matter look like two matters.
            row[name] = None
    if not archive.rows(sa.select(table.c.night).where(*conditions)):
        wanted = " ".join(str(row[n]) for n in ("night", "band", "read", "scan", "block") if row.get(n) is not None)
        raise DecisionError(f"there is no {row['product']} {wanted} in {archive.root}")
