"""Deviations and values of regions over all nights: read a series at a time, kept as arrays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from calib.archive import schema
from calib.archive.database import Archive

__all__ = ["Metrics", "Series", "read_series", "worst"]

Key = tuple[str, str, str, str]
"""Band, product, metric, region."""


@dataclass(frozen=True)
class Series:
    """One metric of one region and band, in order of night.

    Attributes
    ----------
    night : ndarray of str, shape (n,)
        ISO dates, ascending.
    value, error : ndarray of float, shape (n,)
        NaN where there is none.
    region : ndarray of str, shape (n,)
        What each value is of.
    """

    night: NDArray[np.str_]
    value: NDArray[np.float64]
    error: NDArray[np.float64]
    region: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.night)

    def take(self, chosen: Any) -> Series:
        """Return a part of it, by mask, indices or slice."""
        return Series(self.night[chosen], self.value[chosen], self.error[chosen], self.region[chosen])

    def between(self, first: str, last: str) -> Series:
        """Return the nights from the first to the last, both included."""
        low = int(np.searchsorted(self.night, first))
        return self.take(slice(low, int(np.searchsorted(self.night, last, side="right"))))

    def finite(self) -> Series:
        """Return the nights that have a value."""
        return self.take(np.isfinite(self.value))

    def at(self, night: str) -> tuple[float, float] | None:
        """Return value and error (0 if unknown) of a night, or None if it has no value."""
        k = int(np.searchsorted(self.night, night))
        if k >= len(self.night) or self.night[k] != night or not np.isfinite(self.value[k]):
            return None
        return float(self.value[k]), float(np.nan_to_num(self.error[k]))


def worst(several: Iterable[Series]) -> Series:
    """Return of each night the value farthest from zero among several series."""
    parts = [s.finite() for s in several]
    every = Series(*(np.concatenate([getattr(s, n) for s in parts]) for n in ("night", "value", "error", "region")))
    # By night, and within a night the largest last: where the next one is of another night.
    order = np.lexsort((np.abs(every.value), every.night))
    every = every.take(order)
    last = np.append(every.night[1:] != every.night[:-1], True) if len(every) else np.empty(0, bool)
    return every.take(last)


class Metrics:
    """All series of an archive, each read when it is first asked for.

    Parameters
    ----------
    read : callable
        Key → series.
    """

    def __init__(self, read: Callable[[Key], Series]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._known: dict[Key, Series] = {}

    def series(self, band: str, product: str, metric: str = "deviation", region: str = "array") -> Series:
        """Return one series; empty if the archive has none."""
        key = (band, product, metric, region)
        with self._lock:
            found = self._known.get(key)
        if found is None:
            found = self._read(key)
            with self._lock:
                self._known[key] = found
        return found

    def known(self) -> list[Key]:
        """Return what was asked for so far."""
        with self._lock:
            return list(self._known)


def read_series(archive: Archive, key: Key) -> Series:
    """Read a series."""
    m = schema.metrics
    band, product, metric, region = key
    query = (
        sa.select(m.c.night, m.c.value, m.c.error)
        .where(m.c.band == band, m.c.product == product, m.c.metric == metric, m.c.region == region)
        .order_by(m.c.night)
    )
    with archive.engine.connect() as connection:
        rows = connection.execute(query).all()
    return Series(
        np.array([r[0] for r in rows], dtype="U10"),
        np.array([r[1] for r in rows], dtype=float),
        np.array([r[2] for r in rows], dtype=float),
        np.full(len(rows), region),
    )
