"""What would have come out under other limits: which verdicts of the past flip.

A verdict follows from measured numbers and limits, and the numbers are in the archive: nothing is measured anew. What
follows from a flipped verdict (another canonical, against which later nights are compared; a substitute for another
sky offset) is not worked out here but told apart: the next run settles it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.checks import Check, check_table
from calib.judged import COMPARED, STATUSES, Judged
from calib.profile import Profile

__all__ = ["Flip", "Flips", "verdict_flips"]

REJECTED, PROVISIONAL, ACCEPTED = range(3)


@dataclass(frozen=True)
class Flip:
    """One verdict that flips.

    Attributes
    ----------
    subject, night, band, read : str
    scan, block : int or None
        Of a sky offset.
    before, after : str
        Verdicts.
    check : Check
        The one that decides: the first that fails now, or the first that failed before.
    value : float
        What was measured, in the unit of the check; NaN if it could not be.
    old, new : float
        The limit before and after.
    certain : bool
        The numbers it rests on stay as they are. Otherwise the night's standard changes too, and a run may say
        differently.
    """

    subject: str
    night: str
    band: str
    read: str
    scan: int | None
    block: int | None
    before: str
    after: str
    check: Check
    value: float
    old: float
    new: float
    certain: bool

    @property
    def product(self) -> str:
        """What it is, such as ``dark R1`` or ``sky offset R2-R1, scan 3, block 2``."""
        if self.subject == "flat":
            return "flat"
        of_scan = "" if self.scan is None else f", scan {self.scan}, block {self.block}"
        return f"{self.subject.replace('_', ' ')} {self.read}{of_scan}"

    def words(self) -> str:
        """Return the flip in words."""
        unit = f" {self.check.unit}" if self.check.unit else ""
        value = f"{self.value:.3g}{unit}" if self.value == self.value else "not measured"
        return (
            f"{self.night} {self.band} {self.product}: {self.before} → {self.after}, {self.check.name} {value} "
            f"(limit {self.old:g} → {self.new:g}{unit})" + ("" if self.certain else ", for the next run to settle")
        )


@dataclass(frozen=True)
class Flips:
    """All verdicts of one subject that flip, the newest first.

    Attributes
    ----------
    judged : Judged
    rows : ndarray of int, shape (n,)
        Which rows of it.
    after : ndarray of int8, shape (n,)
        Verdict, counting in `calib.judged.STATUSES`.
    check : ndarray of int8, shape (n,)
        The check that decides, counting in the checks of the subject.
    old, new : ndarray, shape (n,)
        Its limit before and after.
    certain : ndarray of bool, shape (n,)
    held : int
        Verdicts that would flip had nobody decided on them.
    remade : int
        Nights that do not flip by their own numbers, but whose standard changes: a run compares them anew.
    """

    judged: Judged
    rows: NDArray[np.int64]
    after: NDArray[np.int8]
    check: NDArray[np.int8]
    old: NDArray[np.float64]
    new: NDArray[np.float64]
    certain: NDArray[np.bool_]
    held: int
    remade: int

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, most: int | None = None) -> Iterator[Flip]:
        """Yield the flips one by one, so many at most."""
        j = self.judged
        checks = list(check_table(j.subject).values())
        for k, row in enumerate(self.rows[:most].tolist()):
            band, read = j.groups[j.group[row]]
            check = checks[self.check[k]]
            yield Flip(
                j.subject,
                j.nights[j.night[row]],
                band,
                read,
                int(j.place["scan"][row]) if j.place else None,
                int(j.place["block"][row]) if j.place else None,
                STATUSES[j.status[row]],
                STATUSES[self.after[k]],
                check,
                float(j.values[check.name][row]),
                float(self.old[k]),
                float(self.new[k]),
                bool(self.certain[k]),
            )

    def counts(self) -> Counter[tuple[str, str, str]]:
        """Return how many there are by band, verdict before and verdict after."""
        j = self.judged
        code = (j.group[self.rows].astype(int) * 3 + j.status[self.rows]) * 3 + self.after
        found: Counter[tuple[str, str, str]] = Counter()
        for c, n in zip(*np.unique(code, return_counts=True), strict=True):
            band = j.groups[c // 9][0]
            found[band, STATUSES[c // 3 % 3], STATUSES[c % 3]] += int(n)
        return found

    def scans(self) -> int:
        """Return how many scans the flipped sky offsets belong to, counting each read."""
        j = self.judged
        if not j.place:
            return 0
        scan = j.place["scan"][self.rows].astype(np.int64)
        code = (j.night[self.rows].astype(np.int64) * len(j.groups) + j.group[self.rows]) * 10_000_000 + scan
        return len(np.unique(code))


def verdict_flips(judged: Judged, old: Profile, new: Profile) -> Flips:
    """Return which verdicts flip when one profile's limits take the place of another's.

    Parameters
    ----------
    judged : Judged
        All products of a subject.
    old : Profile
        That under which they were judged.
    new : Profile

    Returns
    -------
    Flips
        A verdict that a person decided never flips; a value that could not be measured fails under any limit.
    """
    names = tuple(check_table(judged.subject))
    before, after = judged.limits(old), judged.limits(new)
    moved = [n for n in names if not np.array_equal(before[n], after[n], equal_nan=True)]
    if not moved or not len(judged):
        return _none(judged)
    settled = _settled(judged)
    was = _outcome(judged, before, settled)
    now = _outcome(judged, after, settled)
    differs = was != now
    held = int(np.count_nonzero(differs & judged.decided))
    rows = np.flatnonzero(differs & ~judged.fixed)
    order = np.lexsort((rows, -judged.night[rows]))
    rows = rows[order]
    check = _deciding(judged, rows, now[rows], before, after, names, settled)
    group = judged.group[rows]
    limits_old = np.array([before[n] for n in names])
    limits_new = np.array([after[n] for n in names])
    touched = _touched(judged, rows, now, settled, new)
    # What fails by its own checks is rejected whatever it is compared with.
    own = [n for n in names if n not in COMPARED[judged.subject]]
    alone = np.logical_or.reduce([judged.fails(n, after[n])[rows] for n in own]) if own else np.zeros(len(rows), bool)
    certain = (alone | ~touched[rows]) & (was[rows] == judged.status[rows])
    certain &= settled[rows] | _stays_unsettled(judged, now, settled, new)[rows]
    differs[rows] = True
    return Flips(
        judged,
        rows,
        now[rows],
        check,
        limits_old[check, group],
        limits_new[check, group],
        certain,
        held,
        int(np.count_nonzero(touched & ~differs & ~judged.fixed)),
    )


def _none(judged: Judged) -> Flips:
    whole, small = np.zeros(0, np.int64), np.zeros(0, np.int8)
    return Flips(judged, whole, small, small, np.zeros(0), np.zeros(0), np.zeros(0, bool), 0, 0)


def _outcome(judged: Judged, limits: dict[str, NDArray[np.float64]], settled: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return the verdict of every row by its numbers: what is not settled yet is provisional at best."""
    compared = COMPARED[judged.subject]
    bad = np.zeros(len(judged), bool)
    for name in limits:
        failed = judged.fails(name, limits[name])
        bad |= failed & settled if name in compared else failed
    return np.where(bad, REJECTED, np.where(settled, ACCEPTED, PROVISIONAL)).astype(np.int8)


def _deciding(
    judged: Judged,
    rows: NDArray[np.int64],
    now: NDArray[np.int8],
    before: dict[str, NDArray[np.float64]],
    after: dict[str, NDArray[np.float64]],
    names: tuple[str, ...],
    settled: NDArray[np.bool_],
) -> NDArray[np.int8]:
    found = np.zeros(len(rows), np.int8)
    # The first of those that fail names the cause, so it is written last.
    for k in reversed(range(len(names))):
        name = names[k]
        failed = np.where(
            now == REJECTED, judged.fails(name, after[name])[rows], judged.fails(name, before[name])[rows]
        )
        if name in COMPARED[judged.subject]:
            failed &= settled[rows]
        found[failed] = k
    return found


# Series: who is compared with whom ------------------------------------------------------------------------------------


def _series(judged: Judged) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each band, read and hardware period, in order of night."""
    if not judged.period:
        return
    periods = sorted(set(judged.period))
    of = {p: k for k, p in enumerate(periods)}
    code = judged.group.astype(np.int64) * len(periods) + np.array([of[p] for p in judged.period])
    order = np.lexsort((judged.night, code))
    edges = np.flatnonzero(np.diff(code[order])) + 1
    yield from np.split(order, edges)


def _settled(judged: Judged) -> NDArray[np.bool_]:
    """Return which rows belong to a series that has a standard; others are provisional at best."""
    settled = np.ones(len(judged), bool)
    for rows in _series(judged):
        by_numbers = rows[~judged.fixed[rows]]
        status = judged.status[by_numbers]
        if (status == PROVISIONAL).any():
            settled[rows] = False
        elif not (status == ACCEPTED).any():
            settled[rows] = any(judged.standard[r] for r in rows)
    return settled


def _stays_unsettled(
    judged: Judged, now: NDArray[np.int8], settled: NDArray[np.bool_], profile: Profile
) -> NDArray[np.bool_]:
    """Return which rows belong to a series that has too few sound nights to be settled, also under other limits."""
    found = np.zeros(len(judged), bool)
    if settled.all():
        return found
    for rows in _series(judged):
        sound = np.where(judged.fixed[rows], judged.status[rows] == ACCEPTED, now[rows] != REJECTED)
        found[rows] = not settled[rows[0]] and int(sound.sum()) < profile.canonical.cold_start_nights
    return found


def _touched(
    judged: Judged, flipped: NDArray[np.int64], now: NDArray[np.int8], settled: NDArray[np.bool_], profile: Profile
) -> NDArray[np.bool_]:
    """Return which rows will be compared with other nights than they were, since verdicts before them flip."""
    touched = np.zeros(len(judged), bool)
    if not judged.period or not len(flipped):
        return touched
    flips = np.zeros(len(judged), bool)
    flips[flipped] = True
    window = profile.canonical.window
    for rows in _series(judged):
        if not flips[rows].any() or not settled[rows[0]]:
            continue
        nights = [judged.nights[n] for n in judged.night[rows]]
        standards = [judged.standard[r] for r in rows]
        # The nights that settled the series are compared with each other, later ones too.
        cold_end = max((max(s) for s, n in zip(standards, nights, strict=True) if s and max(s) > n), default="")
        cold = any(f and n <= cold_end for f, n in zip(flips[rows], nights, strict=True))
        accepted_before: list[str] = []
        accepted_after: list[str] = []
        for r, night in zip(rows.tolist(), nights, strict=True):
            if night <= cold_end:
                touched[r] = cold
            else:
                touched[r] = accepted_before[-window:] != accepted_after[-window:]
            if judged.status[r] == ACCEPTED:
                accepted_before.append(night)
            if (now[r] if flips[r] else judged.status[r]) == ACCEPTED:
                accepted_after.append(night)
    return touched
