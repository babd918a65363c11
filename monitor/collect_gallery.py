"""Sky offsets of the whole survey, a sheet at a time: there are far too many for one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from monitor.collect import Collector, Row

__all__ = ["SkySheet", "sky_sheet"]


@dataclass(frozen=True)
class SkySheet:
    """Some sky offsets, newest first.

    Attributes
    ----------
    rows : list of dict
        Columns as in `calib.archive.schema.sky_offsets`.
    shown, total : int
        How many pass the filters, and how many there are of the read.
    """

    rows: list[Row]
    shown: int
    total: int


def sky_sheet(
    collector: Collector,
    *,
    read: str,
    bands: Sequence[str],
    band: str = "",
    verdict: str = "",
    cause: str = "",
    first: str = "",
    last: str = "",
    start: int = 0,
    size: int = 24,
) -> SkySheet:
    """Return one sheet of sky offsets.

    Parameters
    ----------
    read : str
        Whose offsets.
    bands : sequence of str
        All bands in their order.
    band, verdict, cause : str
        Filters; empty lets all pass. The verdict ``override`` means those that a person ruled.
    first, last : str
        Range of nights, both included.
    start, size : int
        Which part of what passes.
    """
    o = schema.sky_offsets
    of_read = o.c.read == read
    conditions: list[Any] = [of_read]
    if band:
        conditions.append(o.c.band == band)
    if verdict == "override":
        conditions.append(o.c.override.is_(True))
    elif verdict:
        conditions.append(o.c.status == verdict)
    if cause:
        conditions.append(sa.or_(o.c.cause == cause, o.c.cause.startswith(f"{cause} (", autoescape=True)))
    if first:
        conditions.append(o.c.night >= first)
    if last:
        conditions.append(o.c.night <= last)
    order = sa.case({b: k for k, b in enumerate(bands)}, value=o.c.band, else_=len(bands)) if bands else o.c.band
    query = sa.select(o).where(*conditions).order_by(o.c.night.desc(), order, o.c.scan, o.c.block)
    count = sa.select(sa.func.count()).select_from(o)
    return SkySheet(
        rows=collector.rows(query.offset(start).limit(size)),
        shown=int(collector.archive.value(count.where(*conditions)) or 0),
        total=int(collector.archive.value(count.where(of_read)) or 0),
    )
