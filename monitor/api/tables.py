"""Tables of the archive by query: which columns there are, which of them can be filtered by, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.decisions import active_decisions
from calib.archive.tables import EXPORTS
from monitor.api.answers import NotThere, Row, Table

__all__ = ["FILTERS", "TABLES", "filters_of", "night_summary", "nights", "read_rows", "verdicts", "visible"]

TABLES: dict[str, sa.Table] = {**EXPORTS, "products": schema.products}

FILTERS = ("band", "product", "read", "scan", "metric", "region", "kind", "status", "state")
"""Columns by which every table can be asked for that has them."""


def visible(table: sa.Table) -> list[sa.Column[Any]]:
    """Return the columns that mean something outside the program: no keys of its own bookkeeping."""
    hidden = {"rules_hash", "mtime_ns"}
    return [c for c in table.c if c.name not in hidden and c.name != "key" and not c.name.endswith("_key")]


def filters_of(table: sa.Table) -> tuple[str, ...]:
    """Return the columns of a table by which it can be asked for."""
    return tuple(n for n in FILTERS if n in table.c)


def read_rows(archive: Archive, name: str, asked: Mapping[str, Any]) -> Table:
    """Return a page of a table in the order of its key."""
    table = TABLES[name]
    columns = visible(table)
    found = _page(archive, sa.select(*columns), table, list(table.primary_key), asked)
    return Table([c.name for c in columns], found[0], found[1])


def verdicts(archive: Archive, asked: Mapping[str, Any]) -> Table:
    """Return a page of the verdicts on darks, flats and sky offsets, by night."""
    parts = []
    for product, table in (("dark", schema.darks), ("flat", schema.flats), ("sky-offset", schema.sky_offsets)):
        own = {n: table.c[n] for n in ("night", "band", "status", "cause", "override")}
        of_some: dict[str, Any] = {
            n: table.c[n] if n in table.c else sa.cast(sa.null(), schema.sky_offsets.c[n].type).label(n)
            for n in ("read", "scan", "block")
        }
        parts.append(sa.select(*own.values(), sa.literal(product).label("product"), *of_some.values()))
    union = sa.union_all(*parts).subquery()
    names = ("night", "band", "product", "read", "scan", "block", "status", "cause", "override")
    order = [union.c[n].nulls_first() for n in ("night", "band", "product", "read", "scan", "block")]
    rows, total = _page(archive, sa.select(*(union.c[n] for n in names)), union, order, asked)
    if not total and asked.get("night") and not _summaries(archive, asked["night"], asked["night"]):
        raise NotThere(f"there is no night {asked['night']} in this archive")
    for row in rows:
        row["override"] = bool(row["override"])
    return Table(names, rows, total)


def _page(
    archive: Archive, query: sa.Select[Any], table: Any, order: list[Any], asked: Mapping[str, Any]
) -> tuple[list[Row], int]:
    conditions = [table.c[n] == asked[n] for n in FILTERS if n in table.c and asked.get(n) is not None]
    if "night" in table.c:
        conditions += [table.c.night == asked["night"]] if asked.get("night") else []
        conditions += [table.c.night >= asked["since"]] if asked.get("since") else []
        conditions += [table.c.night <= asked["until"]] if asked.get("until") else []
    total = int(archive.value(sa.select(sa.func.count()).select_from(table).where(*conditions)) or 0)
    page = query.where(*conditions).order_by(*order).limit(asked["limit"]).offset(asked["offset"])
    return archive.rows(page), total


NIGHT_COLUMNS = (
    "night",
    "darks_accepted",
    "darks_rejected",
    "darks_other",
    "flats_accepted",
    "flats_rejected",
    "flats_other",
    "scans",
    "sky_offsets_accepted",
    "sky_offsets_rejected",
    "alerts",
    "signed_off_by",
)


def nights(archive: Archive, asked: Mapping[str, Any]) -> Table:
    """Return a page of the nights with how their verdicts fell, in order."""
    found = _summaries(archive, asked.get("since") or "", asked.get("until") or "9999")
    chosen = [row for _, row in sorted(found.items())]
    first = asked["offset"]
    return Table(NIGHT_COLUMNS, chosen[first : first + asked["limit"]], len(chosen))


def _summaries(archive: Archive, since: str, until: str) -> dict[str, Row]:
    """Return the summaries of nights by their date, both ends included."""
    rows: dict[str, Row] = {}

    def among(table: sa.Table) -> sa.ColumnElement[bool]:
        # Not BETWEEN: to PostgreSQL a collation within it is an error.
        return sa.and_(table.c.night >= since, table.c.night <= until)

    def of(night: str) -> Row:
        blank: Row = dict.fromkeys(NIGHT_COLUMNS, 0)
        return rows.setdefault(night, blank | {"night": night, "signed_off_by": None})

    f, a = schema.files, schema.alerts
    # Nights of which something was looked at, whatever became of it.
    taken = sa.select(f.c.night).where(among(f), f.c.band.is_not(None)).distinct()
    for found in archive.rows(taken.where(f.c.status.not_in(("pending", "supplied", "gone")))):
        of(found["night"])
    for name, table in (("darks", schema.darks), ("flats", schema.flats)):
        count = sa.select(table.c.night, table.c.status, sa.func.count().label("n")).where(among(table))
        for found in archive.rows(count.group_by(table.c.night, table.c.status)):
            column = f"{name}_{found['status']}"
            of(found["night"])[column if column in NIGHT_COLUMNS else f"{name}_other"] += found["n"]
    s = schema.scans
    scans = sa.select(s.c.night, s.c.band, s.c.scan).where(among(s)).distinct().subquery()
    for found in archive.rows(sa.select(scans.c.night, sa.func.count().label("n")).group_by(scans.c.night)):
        of(found["night"])["scans"] = found["n"]
    # A survey has millions of sky offsets; every scan knows how many it has, and how many of them were rejected.
    sums = (sa.cast(sa.func.sum(c), sa.BigInteger) for c in (s.c.n_blocks, s.c.n_rejected))
    blocks, rejected = (total.label(name) for total, name in zip(sums, ("n", "rejected"), strict=True))
    for found in archive.rows(sa.select(s.c.night, blocks, rejected).where(among(s)).group_by(s.c.night)):
        counted = {"accepted": found["n"] - found["rejected"], "rejected": found["rejected"]}
        of(found["night"]).update({f"sky_offsets_{status}": n for status, n in counted.items()})
    for found in archive.rows(sa.select(a.c.night, sa.func.count().label("n")).where(among(a)).group_by(a.c.night)):
        of(found["night"])["alerts"] = found["n"]
    for decision in active_decisions(archive):
        if decision["kind"] == "sign-off" and decision["night"] in rows:
            rows[decision["night"]]["signed_off_by"] = decision["who"]
    return rows


def night_summary(archive: Archive, night: str) -> Row:
    """Return all that is said of one night."""
    summary = _summaries(archive, night, night).get(night)
    if summary is None:
        raise NotThere(f"there is no night {night} in this archive")
    asked = {"night": night, "limit": 100_000, "offset": 0}
    parts = ("darks", "flats", "scans", "alerts", "states", "decisions", "products")
    return {**summary, "tables": {name: read_rows(archive, name, asked).rows for name in parts}}
