"""The archive's books: decisions, hardware periods, alerts, runs and raw files, filtered and sorted by the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from monitor.collect import Collector, Snapshot

__all__ = ["BOOKS", "Book", "Found", "find", "find_all", "hardware_periods", "statuses"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column on screen: its key in a row, its title, and whether its values are numbers."""

    name: str
    title: str
    numeric: bool = False


def _columns(*given: str | tuple[str, str] | tuple[str, str, bool]) -> tuple[Column, ...]:
    return tuple(Column(g, g.replace("_", " ")) if isinstance(g, str) else Column(*g) for g in given)


@dataclass(frozen=True)
class Book:
    """One kind of record.

    Attributes
    ----------
    name, title : str
        Key in addresses, word on screen.
    columns : tuple of Column
        What is shown; all of it can be sorted by and, unless a number, searched.
    sort : str
        First order, with a leading ``-`` for the newest first.
    status : str
        Column by which it can be filtered; empty for none.
    empty : str
        What to say when nothing was ever recorded.
    """

    name: str
    title: str
    table: sa.Table | None
    columns: tuple[Column, ...]
    sort: str
    status: str
    empty: str


BOOKS: dict[str, Book] = {
    b.name: b
    for b in (
        Book(
            "decisions",
            "Decisions",
            schema.decisions,
            _columns(
                ("id", "no.", True),
                ("time", "when / UTC"),
                "who",
                "kind",
                "night",
                "band",
                "product",
                "read",
                ("scan", "scan", True),
                ("block", "block", True),
                "region",
                "metric",
                "value",
                "reason",
                ("expires", "counts until"),
                ("undoes", "undoes no.", True),
            ),
            "-id",
            "kind",
            "Nobody has decided anything yet: every verdict is the pipeline's own.",
        ),
        Book(
            "periods",
            "Hardware periods",
            None,
            _columns(
                "first", "last", "band", ("nights", "nights", True), ("accepted", "flats accepted", True), "began"
            ),
            "-first",
            "",
            "No night is in the archive yet.",
        ),
        Book(
            "alerts",
            "Alerts",
            None,
            _columns(
                "state",
                ("night", "seen"),
                "since",
                ("last_night", "until"),
                "band",
                "product",
                "region",
                "cause",
                ("value", "value", True),
                ("limit", "limit", True),
                "unit",
                ("effect_mmag", "scans off by / mmag", True),
                "text",
                "life",
                ("life_by", "by"),
                ("life_reason", "why"),
                ("life_until", "counts until"),
                ("life_note", "but"),
            ),
            "-last_night",
            "life",
            "No alert has been raised.",
        ),
        Book(
            "runs",
            "Runs",
            schema.runs,
            _columns(
                ("id", "no.", True),
                ("started", "started / UTC"),
                ("finished", "finished / UTC"),
                "status",
                ("summary", "what it did"),
                ("code_version", "version"),
                ("profile_hash", "profile"),
            ),
            "-id",
            "status",
            "No run is recorded.",
        ),
        Book(
            "files",
            "Raw files",
            schema.files,
            _columns(
                "status",
                "path",
                "reason",
                ("obs_type", "type"),
                "night",
                "band",
                ("scan", "scan", True),
                ("n_frames", "frames", True),
                ("start_iso", "start / UTC"),
                "notes",
            ),
            "path",
            "status",
            "No raw file has been read yet.",
        ),
    )
}


@dataclass(frozen=True)
class Found:
    """Some rows of a book, and how many there are in all that match."""

    rows: list[Row]
    total: int


def statuses(collector: Collector, snapshot: Snapshot, book: Book) -> list[tuple[str, int]]:
    """Return the values of a book's status with their numbers, most frequent first."""
    if not book.status:
        return []
    if book.table is None:
        counts = Counter(str(r[book.status]) for r in _rows_of(snapshot, book))
        return sorted(counts.items(), key=lambda f: (-f[1], f[0]))
    column = book.table.c[book.status]
    query = sa.select(column.label("value"), sa.func.count().label("n")).group_by(column)
    found = [(str(r["value"]), int(r["n"])) for r in collector.rows(query)]
    return sorted(found, key=lambda f: (-f[1], f[0]))


def find(
    collector: Collector,
    snapshot: Snapshot,
    book: Book,
    *,
    status: str = "",
    text: str = "",
    sort: str = "",
    start: int = 0,
    count: int | None = 50,
) -> Found:
    """Return rows of a book.

    Parameters
    ----------
    status : str
        Only those of this status.
    text : str
        Only those that hold this text in a column of words, capital or not.
    sort : str
        Column, with a leading ``-`` for the greatest first; the book's own order if there is no such column.
    start, count : int
        Which of the rows; None for all from there.
    """
    key = sort.lstrip("-") if sort.lstrip("-") in {c.name for c in book.columns} else ""
    order = sort if key else book.sort
    if book.table is None:
        rows = [r for r in _rows_of(snapshot, book) if not status or str(r[book.status]) == status]
        return _among(rows, book, text, order, start, count)
    table = book.table
    conditions: list[sa.ColumnElement[bool]] = []
    if status and book.status:
        conditions.append(table.c[book.status] == status)
    if text:
        words = [c.name for c in book.columns if not c.numeric]
        conditions.append(sa.or_(*(sa.cast(table.c[n], sa.Text).icontains(text, autoescape=True) for n in words)))
    total = collector.rows(sa.select(sa.func.count().label("n")).select_from(table).where(*conditions))[0]["n"]
    column = table.c[order.lstrip("-")]
    if isinstance(column.type, sa.JSON):
        column = sa.cast(column, sa.Text)  # type: ignore[assignment]
    by = column.desc() if order.startswith("-") else column.asc()
    # The key settles ties, so that no row is on two pages or on none.
    query = sa.select(*(table.c[c.name] for c in book.columns)).where(*conditions)
    query = query.order_by(by.nulls_last(), *table.primary_key).offset(max(start, 0))
    return Found(collector.rows(query if count is None else query.limit(count)), int(total))


def find_all(collector: Collector, snapshot: Snapshot, book: Book, *, status: str, text: str, sort: str) -> list[Row]:
    """Return every row that matches, for a file."""
    return find(collector, snapshot, book, status=status, text=text, sort=sort, count=None).rows


def _rows_of(snapshot: Snapshot, book: Book) -> list[Row]:
    """Return the rows of a book that is no table of the database."""
    if book.name == "periods":
        return hardware_periods(snapshot)
    table = snapshot.alerts
    names = [str(n) for n in table.columns]
    rows = [dict(zip(names, values, strict=True)) for values in table.itertuples(index=False, name=None)]
    return [{n: None if isinstance(v, float) and isnan(v) else v for n, v in r.items()} for r in rows]


def _among(rows: Sequence[Row], book: Book, text: str, order: str, start: int, count: int | None) -> Found:
    wanted = text.casefold()
    kept = [r for r in rows if not wanted or any(wanted in str(r[c.name] or "").casefold() for c in book.columns)]
    name = order.lstrip("-")
    # What is missing comes last either way, as in the books that the database sorts.
    there = [r for r in kept if r[name] is not None]
    there.sort(key=lambda r: r[name], reverse=order.startswith("-"))
    kept = there + [r for r in kept if r[name] is None]
    return Found(kept[start : None if count is None else start + count], len(kept))


def hardware_periods(snapshot: Snapshot) -> list[Row]:
    """Return the hardware periods of every band: first and last night, nights with data, accepted flats, origin."""
    d, f = snapshot.darks, snapshot.flats
    rows: list[Row] = []
    for band in snapshot.bands:
        nights = sorted({*d.loc[d["band"] == band, "night"], *f.loc[f["band"] == band, "night"]})
        if not nights:
            continue
        starts = sorted({n for n, b in snapshot.periods if b in ("", band)})
        edges = [("", "the archive's first night"), *((s, _began(snapshot, s, band)) for s in starts)]
        for k, (first, began) in enumerate(edges):
            after = edges[k + 1][0] if k + 1 < len(edges) else "9999"
            inside = [n for n in nights if first <= n < after]
            if not inside and not first:
                continue
            good = f[(f["band"] == band) & (f["status"] == "accepted") & f["night"].isin(inside)]
            rows.append(
                {
                    "first": first or inside[0],
                    "last": inside[-1] if inside else "",
                    "band": band,
                    "nights": len(inside),
                    "accepted": len(good),
                    "began": began,
                }
            )
    return rows


def _began(snapshot: Snapshot, first: str, band: str) -> str:
    d = snapshot.decisions
    hit = d[(d["kind"] == "period") & (d["night"] == first) & (d["band"].isna() | (d["band"] == band))]
    if hit.empty:
        return "decided"
    last = hit.iloc[-1]
    return f"{last['reason']} ({last['who']}, decision {last['id']})"
