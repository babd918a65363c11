"""Decisions: what a person ruled. Append-only; a decision is taken back by another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive, utc_now
from calib.archive.decision_rules import KINDS, PRODUCTS, matter, validated
from calib.errors import DecisionConflict, DecisionError

__all__ = [
    "KINDS",
    "PRODUCTS",
    "Rulings",
    "active_decisions",
    "decide",
    "latest_decision",
    "move_period",
    "rulings",
    "rulings_of",
    "standing",
]

Row = dict[str, Any]


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
    region: str | None = None,
    metric: str | None = None,
    value: str | None = None,
    expires: str | None = None,
    digest: str | None = None,
    undoes: int | None = None,
    seen: int | None = None,
) -> int:
    """Append a decision.

    Parameters
    ----------
    archive : Archive
    who, reason : str
        Who decides and why; neither may be empty (only a sign-off needs no reason).
    kind : str
        One of `KINDS`.
    night : str
        ISO date it concerns; of a period, its first night.
    band, product, read, scan, block : optional
        What it concerns, as the columns of the tables name it; of a period or a sign-off None stands for all bands.
    region, metric : str, optional
        Of an alert: with night, band and product they name it.
    value : str, optional
        Of an override: accepted or rejected.
    expires : str, optional
        Of an acknowledgement: ISO date of the last day on which it counts.
    digest : str, optional
        Of a sign-off: the hash of what was seen (`calib.archive.seen`); that of the present content by default.
    undoes : int, optional
        For ``undo``: the number of the decision taken back.
    seen : int, optional
        Number of the last decision that whoever decides had before his eyes (`latest_decision`).

    Returns
    -------
    int
        The number of the new decision.

    Raises
    ------
    DecisionError
        If it names nothing in the archive or contradicts itself.
    DecisionConflict
        If somebody else decided on the same matter after ``seen``, or the night is no longer what ``digest`` says.
    """
    row: Row = {
        "who": who,
        "kind": kind,
        "night": night,
        "band": band,
        "product": product,
        "read": read,
        "scan": scan,
        "block": block,
        "region": region,
        "metric": metric,
        "value": value,
        "reason": reason,
        "expires": expires,
        "digest": digest,
        "undoes": undoes,
    }
    return _append(archive, [validated(archive, row, active_decisions(archive))], seen)


def move_period(archive: Archive, *, who: str, reason: str, period: int, night: str, seen: int | None = None) -> int:
    """Let a hardware period begin on another night; return the number of the new decision.

    Parameters
    ----------
    archive : Archive
    period : int
        Number of the decision that started it.
    night : str
        ISO date on which it begins instead.
    who, reason, seen
        As in `decide`, whose errors are raised.
    """
    active = active_decisions(archive)
    old = next((d for d in active if d["id"] == period and d["kind"] == "period"), None)
    if old is None:
        raise DecisionError(f"decision {period} is no hardware period that stands")
    rest = [d for d in active if d["id"] != period]
    # Both or neither: between them there would be no period at all.
    undo = validated(archive, {"who": who, "kind": "undo", "reason": reason, "undoes": period}, active)
    new = {"who": who, "kind": "period", "night": night, "band": old["band"], "reason": reason}
    return _append(archive, [undo, validated(archive, new, rest)], seen)


def _append(archive: Archive, rows: list[Row], seen: int | None) -> int:
    """Append decisions in one transaction, unless one of them comes after another person's on the same matter."""
    number = 0
    with archive.begin() as connection:
        if connection.dialect.name == "postgresql":
            # SQLite lets one write at a time; here others must wait, or two would overlook each other.
            connection.execute(sa.text("LOCK TABLE decisions IN SHARE ROW EXCLUSIVE MODE"))
        for row in rows:
            complete = {**dict.fromkeys(_COLUMNS), "time": utc_now(), **row}
            number = int(connection.execute(sa.insert(schema.decisions).values(**complete)).inserted_primary_key[0])
        if seen is not None:
            d = schema.decisions
            everything = [dict(r) for r in connection.execute(sa.select(d).order_by(d.c.id)).mappings()]
            _refuse_if_overtaken(everything, rows, seen, first=number - len(rows) + 1)
    archive.announce()
    return number


_COLUMNS = tuple(c.name for c in schema.decisions.c if c.name != "id")


def _refuse_if_overtaken(everything: list[Row], rows: list[Row], seen: int, first: int) -> None:
    by_number = {d["id"]: d for d in everything}
    ours = {m for m in (matter(r, by_number) for r in rows) if m is not None}
    for other in everything:
        if seen < other["id"] < first and matter(other, by_number) in ours:
            told = " ".join(str(other[n]) for n in ("kind", "product", "value") if other[n])
            raise DecisionConflict(
                f"{other['who']} was earlier: decision {other['id']} ({told}) at {other['time'][11:16]} UTC, "
                f"“{other['reason']}”. Nothing of yours was recorded; look again, and decide anew if you still would"
            )


def latest_decision(archive: Archive) -> int:
    """Return the number of the last decision, 0 if there is none."""
    return int(archive.value(sa.select(sa.func.max(schema.decisions.c.id))) or 0)


def standing(everything: list[Row]) -> list[Row]:
    """Return those of all decisions that stand, in order: not undone, and no undo itself."""
    undone = {d["undoes"] for d in everything if d["kind"] == "undo"}
    return [d for d in everything if d["kind"] != "undo" and d["id"] not in undone]


def active_decisions(archive: Archive) -> list[Row]:
    """Return the decisions that stand, in order: not undone, and no undo itself."""
    return standing(archive.rows(sa.select(schema.decisions).order_by(schema.decisions.c.id)))


@dataclass(frozen=True)
class Rulings:
    """What the standing decisions say that changes what is computed, by what they concern.

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
    dismissed : frozenset of (night, band or None)
        Proposals of hardware periods that were dismissed.
    """

    dark: dict[tuple[str, str, str], Any]
    flat: dict[tuple[str, str], Any]
    sky: dict[tuple[str, str, int, str], dict[int, Any]]
    periods: tuple[tuple[str, str | None], ...]
    dismissed: frozenset[tuple[str, str | None]] = frozenset()

    def period(self, night: str, band: str) -> str:
        """Return the first night of the hardware period a night belongs to; empty before any change."""
        return max((n for n, b in self.periods if b in (None, band) and n <= night), default="")


def rulings(archive: Archive) -> Rulings:
    """Return the standing decisions by what they concern; of two on the same matter the later one counts."""
    return rulings_of(active_decisions(archive))


def rulings_of(decisions: list[Row]) -> Rulings:
    """Return what decisions that stand say, by what they concern."""
    found = Rulings({}, {}, {}, ())
    periods, dismissed = set(), set()
    for d in decisions:
        if d["kind"] == "override" and d["product"] == "dark":
            found.dark[d["night"], d["band"], d["read"]] = d["value"]
        elif d["kind"] == "override" and d["product"] == "flat":
            found.flat[d["night"], d["band"]] = d["value"]
        elif d["kind"] == "override":
            found.sky.setdefault((d["night"], d["band"], d["scan"], d["read"]), {})[d["block"]] = d["value"]
        elif d["kind"] == "period":
            periods.add((d["night"], d["band"]))
        elif d["kind"] == "dismiss":
            dismissed.add((d["night"], d["band"]))
    return Rulings(found.dark, found.flat, found.sky, tuple(sorted(periods, key=str)), frozenset(dismissed))
