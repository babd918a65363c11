"""Everything that was judged, as columns: what was measured over the whole survey, ready to be judged anew.

One row per dark, flat or sky offset. A survey has millions of sky offsets, so names are kept once and rows refer to
them by number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.checks import check_table
from calib.profile import Profile

__all__ = ["COMPARED", "STATUSES", "Coded", "Judged"]

STATUSES = ("rejected", "provisional", "accepted")
COMPARED = {
    "dark": ("structure",),
    "flat": ("pixel_scatter", "cell_rms", "cell_extreme", "gradient", "quadrant", "beyond_2pct"),
    "sky_offset": (),
}
"""Checks of each subject that compare a night with others; the rest are measured on the product by itself."""

# Outcomes of single checks that are remembered, so that a limit that is being moved costs one comparison.
MOST_KNOWN = 12


@dataclass(frozen=True)
class Coded:
    """A column of names that repeat.

    Attributes
    ----------
    names : tuple of str
        In order.
    number : ndarray of int, shape (n,)
        Which of them each row has.
    """

    names: tuple[str, ...]
    number: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.number)

    @classmethod
    def of(cls, column: Any) -> Coded:
        """Return a column of names in this form."""
        if isinstance(column, Coded):
            return column
        names = list(column)
        known: dict[str, int] = {}
        number = np.fromiter((known.setdefault(name, len(known)) for name in names), np.int32, len(names))
        return cls.sorted(known, number)

    @classmethod
    def sorted(cls, known: Mapping[str, int], number: NDArray[np.int32]) -> Coded:
        """Put names in order that were numbered as they came."""
        names = tuple(sorted(known))
        order = np.zeros(len(names) + 1, np.int32)
        order[[known[name] for name in names]] = np.arange(len(names))
        return cls(names, order[number])


@dataclass(frozen=True)
class Judged:
    """All products of one subject.

    Attributes
    ----------
    subject : str
        ``dark``, ``flat`` or ``sky_offset``.
    nights : tuple of str
        In order; `night` counts in them.
    groups : tuple of (str, str)
        Band and read of series; `group` counts in them. Flats have the read of the responsivity.
    night, group : ndarray of int, shape (n,)
    status : ndarray of int8, shape (n,)
        As the archive has it; counts in `STATUSES`.
    fixed : ndarray of bool, shape (n,)
        No limit changes it: a person decided, or nothing was made.
    decided : ndarray of bool, shape (n,)
        A person decided.
    values : dict
        Check → what was measured, shape (n,), in the unit of the check; NaN where it could not be, which never passes.
    place : dict
        ``scan`` and ``block`` of sky offsets, shape (n,).
    period : tuple of str
        First night of the hardware period of each row; empty for sky offsets.
    standard : tuple of tuple of str
        Nights that each row was compared with; empty for sky offsets.
    """

    subject: str
    nights: tuple[str, ...]
    groups: tuple[tuple[str, str], ...]
    night: NDArray[np.int32]
    group: NDArray[np.int16]
    status: NDArray[np.int8]
    fixed: NDArray[np.bool_]
    decided: NDArray[np.bool_]
    values: dict[str, NDArray[np.float64]]
    place: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    period: tuple[str, ...] = ()
    standard: tuple[tuple[str, ...], ...] = ()
    _known: dict[tuple[str, bytes], NDArray[np.bool_]] = field(default_factory=dict, repr=False, compare=False)
    _worst: dict[tuple[str, tuple[int, ...]], NDArray[np.int64]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.night)

    @classmethod
    def of(cls, subject: str, columns: Mapping[str, Any], *, read: str = "") -> Judged:
        """Put the columns of a table of the archive in order.

        Parameters
        ----------
        subject : str
            ``dark``, ``flat`` or ``sky_offset``.
        columns : mapping
            Column → sequence, as in `calib.archive.schema`; a DataFrame will do.
        read : str
            For flats, whose table has no reads: that of the responsivity.
        """
        n = len(columns["night"])
        night, band, status = (Coded.of(columns[c]) for c in ("night", "band", "status"))
        reads = Coded.of(columns["read"]) if subject != "flat" else Coded((read,), np.zeros(n, np.int32))
        groups = tuple((b, r) for b in band.names for r in reads.names)
        translate = np.array([*(STATUSES.index(s) for s in status.names), 0], np.int8)
        decided = np.asarray(columns["override"], bool).reshape(n)
        nothing = np.array([not k for k in columns["key"]], bool) if subject == "flat" else np.zeros(n, bool)
        values = {c: _numbers(columns["n_frames" if c == "frames" else c]) for c in check_table(subject)}
        sky = subject == "sky_offset"
        return cls(
            subject,
            night.names,
            groups,
            night.number,
            (band.number * len(reads.names) + reads.number).astype(np.int16),
            translate[status.number],
            decided | nothing,
            decided,
            values,
            {c: np.asarray(columns[c], np.int32) for c in ("scan", "block")} if sky else {},
            () if sky else tuple(columns["period"]),
            () if sky else tuple(_nights_of(s) for s in columns["standard"]),
        )

    def limits(self, profile: Profile) -> dict[str, NDArray[np.float64]]:
        """Return check → the limit of each group under a profile; NaN for a band or read that the profile lacks."""
        found = {c: np.full(len(self.groups), np.nan) for c in check_table(self.subject)}
        for k, (band, read) in enumerate(self.groups):
            if band in profile.bands and read in profile.reads:
                for name, limit in profile.limits_for(self.subject, band, read).items():
                    found[name][k] = limit.value
        return found

    def fails(self, check: str, limits: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which rows fail a check, shape (n,); ``limits`` has one per group."""
        key = check, limits.tobytes()
        known = self._known.get(key)
        if known is None:
            value, limit = self.values[check], limits[self.group]
            known = ~(value >= limit if check_table(self.subject)[check].bound == "min" else value <= limit)
            while len(self._known) >= MOST_KNOWN:
                self._known.pop(next(iter(self._known)), None)
            self._known[key] = known
        return known

    def worst(self, check: str, groups: tuple[int, ...]) -> NDArray[np.int64]:
        """Return of each night and each of some groups the row that is nearest to failing a check, or fails by most."""
        key = check, groups
        if key not in self._worst:
            value = self.values[check]
            rows = np.flatnonzero(np.isin(self.group, groups) & np.isfinite(value))
            # Rows come night by night, so that they are nearly in order already.
            series = self.night[rows].astype(np.int64) * max(len(self.groups), 1) + self.group[rows]
            order = np.argsort(series, kind="stable")
            rows, series = rows[order], series[order]
            starts = np.flatnonzero(np.diff(series, prepend=-1))
            bad = value[rows] if check_table(self.subject)[check].bound == "max" else -value[rows]
            if len(rows):
                top = np.repeat(np.maximum.reduceat(bad, starts), np.diff(starts, append=len(rows)))
                place = np.where(bad == top, np.arange(len(rows)), len(rows))
                rows = rows[np.minimum.reduceat(place, starts)]
            while len(self._worst) >= MOST_KNOWN:
                self._worst.pop(next(iter(self._worst)), None)
            self._worst[key] = rows
        return self._worst[key]


def _numbers(column: Any) -> NDArray[np.float64]:
    return np.asarray(column, dtype=float)


def _nights_of(standard: Any) -> tuple[str, ...]:
    """Return a list of nights, also where the table holds it as text."""
    if isinstance(standard, str):
        import json

        standard = json.loads(standard)
    return tuple(standard) if isinstance(standard, list | tuple) else ()
