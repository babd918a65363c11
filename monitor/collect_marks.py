"""Which nights changed: what tables say of each night as one mark, so that only nights whose mark changed are read.

The database puts the rows of a night into one line, which costs Python next to nothing, however many rows there are.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from calib.archive import schema
from calib.archive.database import Archive

__all__ = ["OFFSETS", "SHOWN", "ByNight", "changed_nights", "marks"]

T = TypeVar("T")
Columns = Mapping[sa.Table, tuple[str, ...]]

SHOWN: Columns = {
    schema.darks: ("band", "read", "status", "cause", "override", "period", "key"),
    schema.flats: ("band", "status", "cause", "origin", "override", "period", "key", "canonical_key"),
    schema.scans: ("band", "scan", "read", "status", "cause", "dark_status", "canonical_status", "key"),
    schema.states: ("band", "product", "state", "cause", "region"),
    schema.alerts: ("band", "product", "region", "metric", "state", "cause"),
}
"""All that the hash of a night (`calib.archive.seen`) depends on."""

OFFSETS: Columns = {
    schema.scans: ("band", "scan", "read", "status", "n_blocks", "n_rejected", "key", "verdict_key"),
}
"""What tells whether the sky offsets of a night changed: they are written with the scan's row, never without."""


def marks(archive: Archive, columns: Columns) -> dict[str, str]:
    """Return night → a hash of some columns of all rows of that night, of all nights that have any.

    Parameters
    ----------
    archive : Archive
    columns : mapping
        Table → names of columns.
    """
    server = archive.engine.dialect.name == "postgresql"
    # Each quotes what is text and tells NULL from it, so that different rows never look alike.
    quoted = sa.func.quote_nullable if server else sa.func.quote
    found: dict[str, Any] = defaultdict(hashlib.blake2b)
    with archive.engine.connect() as connection:
        for table, names in columns.items():
            line: Any = sa.literal(table.name)
            for name in names:
                line = line.concat(",").concat(quoted(table.c[name]))
            # SQLite walks the key and so comes to the rows in its order. Another order would be no harm: a night would
            # be read once more.
            lines = (
                sa.func.string_agg(line, aggregate_order_by(sa.literal("\n"), *table.primary_key))
                if server
                else sa.func.group_concat(line, "\n")
            )
            query = sa.select(table.c.night, lines).group_by(table.c.night).order_by(table.c.night)
            for night, text in connection.execute(query):
                found[night].update(text.encode())
    return {night: h.hexdigest() for night, h in found.items()}


class ByNight(Generic[T]):
    """Something that is known of every night, worked out anew only for nights that changed.

    Parameters
    ----------
    read : callable
        Nights → night → what is known of it.
    """

    def __init__(self, read: Callable[[Collection[str]], Mapping[str, T]]) -> None:
        self._read = read
        self._marks: dict[str, str] = {}
        self._known: dict[str, T] = {}

    def bring(self, now: Mapping[str, str]) -> dict[str, T]:
        """Return what is known of all nights that have a mark.

        Parameters
        ----------
        now : mapping
            Night → mark, taken before anything of this is read: what changes meanwhile is read again next time.
        """
        changed = changed_nights(self._marks, now)
        known = {night: value for night, value in self._known.items() if night in now and night not in changed}
        if changed:
            known |= self._read(sorted(changed))
        self._marks, self._known = dict(now), known
        return dict(known)


def changed_nights(before: Mapping[str, str], now: Mapping[str, str]) -> set[str]:
    """Return the nights that are there now with another mark than before."""
    return {night for night, mark in now.items() if before.get(night) != mark}
