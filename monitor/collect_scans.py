"""Scans: counted over the whole survey by the database, their rows read a night at a time."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import sqlalchemy as sa

from calib.archive import schema
from monitor.by_night import ByNight

__all__ = ["Scans", "counts_query", "night_query"]


class Scans:
    """The rows of scans and reads of every night.

    Parameters
    ----------
    stale : mapping
        Night → reads of scans that need to be calibrated again, of every night that has a calibrated scan.
    read : callable
        Night → table of its rows, as in `calib.archive.schema`, by number of the scan.
    """

    def __init__(self, stale: dict[str, int], read: Callable[[str], pd.DataFrame]) -> None:
        self._stale, self._rows = stale, ByNight(read)

    @classmethod
    def of_table(cls, table: pd.DataFrame) -> Scans:
        """Return the scans of a table that holds all rows."""
        stale = (table["stale"] != "").groupby(table["night"]).sum()
        return cls({str(n): int(k) for n, k in stale.items()}, lambda night: table[table["night"] == night])

    @property
    def nights(self) -> tuple[str, ...]:
        """Nights with a calibrated scan, in order."""
        return tuple(sorted(self._stale))

    @property
    def n_stale(self) -> int:
        """Reads of scans that need to be calibrated again."""
        return sum(self._stale.values())

    def of(self, night: str) -> pd.DataFrame:
        """Return the rows of a night, by number of the scan; without rows if it has none."""
        return self._rows.of(night)

    def known(self) -> dict[str, pd.DataFrame]:
        """Return what was asked for so far."""
        return self._rows.known()


def counts_query() -> sa.Select[tuple[str, str, str, int, int, int, float, int]]:
    """Return the query of one row per night, band and read: scans, their blocks, how many are stale, the sky's level.

    A survey has six or more sky offsets per scan and read, so what scans say of theirs is asked instead of them.
    """
    s = schema.scans

    def total(value: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        # PostgreSQL adds large integers up to decimals.
        return sa.cast(sa.func.sum(value), sa.BigInteger)

    return (
        sa.select(
            s.c.night,
            s.c.band,
            s.c.read,
            total(s.c.n_blocks).label("n_blocks"),
            total(s.c.n_rejected).label("n_rejected"),
            sa.func.count().label("n_scans"),
            sa.func.avg(s.c.level_dn).label("level_dn"),
            total(sa.case((s.c.stale != "", 1), else_=0)).label("n_stale"),
        )
        .group_by(s.c.night, s.c.band, s.c.read)
        .order_by(s.c.night, s.c.band, s.c.read)
    )


def night_query(night: str) -> sa.Select[tuple[str, ...]]:
    """Return the query of all rows of a night, by number of the scan."""
    s = schema.scans
    return sa.select(s).where(s.c.night == night).order_by(s.c.scan, s.c.band, s.c.read)
