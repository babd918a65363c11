"""The sky offsets of the whole survey as they were judged; after a change only nights that changed are read again."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from calib.archive import schema
from calib.archive.database import Archive
from calib.checks import check_table
from calib.judged import Judged
from monitor.collect_marks import OFFSETS, changed_nights, marks

__all__ = ["JudgedOffsets", "joined", "without"]

AT_ONCE = 4
"""Nights read at a time: what is made of many rows in one go would keep all other threads waiting."""

_CODED = ("night", "band", "read", "status")
_COLUMNS = (
    *_CODED,
    "override",
    "scan",
    "block",
    *("n_frames" if c == "frames" else c for c in check_table("sky_offset")),
)


class JudgedOffsets:
    """The sky offsets of an archive, kept from one revision to the next.

    Parameters
    ----------
    archive : Archive
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._lock = threading.Lock()
        self._marks: dict[str, str] = {}
        self._known = joined(())

    def now(self) -> Judged:
        """Return all of them, in order of night; the same object as before where none changed."""
        with self._lock:
            # Before the rows: what changes while they are read is read again next time.
            found = marks(self._archive, OFFSETS)
            changed = changed_nights(self._marks, found)
            stale = (changed | self._marks.keys() - found.keys()) & set(self._known.nights)
            if changed or stale:
                kept = without(self._known, stale) if stale else self._known
                nights = sorted(changed)
                groups = [nights[k : k + AT_ONCE] for k in range(0, len(nights), AT_ONCE)]
                self._known = joined((kept, *(self._read(group) for group in groups)))
            self._marks = found
            return self._known

    def _read(self, nights: Sequence[str]) -> Judged:
        o = schema.sky_offsets
        query = sa.select(*(o.c[n] for n in _COLUMNS)).where(o.c.night.in_(nights)).order_by(*o.primary_key)
        with self._archive.engine.connect() as connection:
            rows = connection.execute(query).all()
        return _of(zip(*rows, strict=True) if rows else ([] for _ in _COLUMNS))


def _of(columns: Iterable[Sequence[Any]]) -> Judged:
    named = dict(zip(_COLUMNS, columns, strict=True))
    return Judged.of("sky_offset", {n: c if n in _CODED else np.array(c, dtype=float) for n, c in named.items()})


def without(judged: Judged, nights: Collection[str]) -> Judged:
    """Return what is left of the sky offsets without some nights."""
    keep = ~np.isin(judged.night, np.flatnonzero([n in nights for n in judged.nights]))
    return _taken(judged, keep)


def joined(parts: Sequence[Judged]) -> Judged:
    """Return the sky offsets of several parts as one, in order of night; each night is of one part only.

    Parameters
    ----------
    parts : sequence of Judged
        Of sky offsets.
    """
    parts = [p for p in parts if len(p)]
    if not parts:
        return _of([] for _ in _COLUMNS)
    nights = tuple(sorted({n for p in parts for n in _used(p.nights, p.night)}))
    used = {g for p in parts for g in _used(p.groups, p.group)}
    # As of a table that is read whole: every band with every read.
    groups = tuple((b, r) for b in sorted({b for b, _ in used}) for r in sorted({r for _, r in used}))
    night = np.concatenate([_places(p.nights, nights)[p.night] for p in parts])
    group = np.concatenate([_places(p.groups, groups)[p.group] for p in parts])

    def column(of: str, name: str = "") -> NDArray[Any]:
        return np.concatenate([getattr(p, of)[name] if name else getattr(p, of) for p in parts])

    first = parts[0]
    whole = Judged(
        first.subject,
        nights,
        groups,
        night.astype(np.int32),
        group.astype(np.int16),
        column("status"),
        column("fixed"),
        column("decided"),
        {n: column("values", n) for n in first.values},
        {n: column("place", n) for n in first.place},
    )
    # A new night comes last, so that there is rarely anything to put in order.
    if (whole.night[1:] >= whole.night[:-1]).all():
        return whole
    return _taken(whole, np.argsort(whole.night, kind="stable"))


def _taken(judged: Judged, chosen: NDArray[Any]) -> Judged:
    """Return some rows, by mask or indices, under the names of all."""
    return Judged(
        judged.subject,
        judged.nights,
        judged.groups,
        judged.night[chosen],
        judged.group[chosen],
        judged.status[chosen],
        judged.fixed[chosen],
        judged.decided[chosen],
        {n: v[chosen] for n, v in judged.values.items()},
        {n: v[chosen] for n, v in judged.place.items()},
    )


def _used(names: Sequence[Any], number: NDArray[Any]) -> list[Any]:
    """Return the names that any row has."""
    return [names[int(k)] for k in np.flatnonzero(np.bincount(number, minlength=len(names)))]


def _places(names: Sequence[Any], among: Sequence[Any]) -> NDArray[np.int32]:
    """Return where each name stands in another list; what no row has may be missing there."""
    place = {name: k for k, name in enumerate(among)}
    return np.array([place.get(name, -1) for name in names], np.int32)
