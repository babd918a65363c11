"""Control charts: when a series of nights has left what is usual for it, by which pattern, and since when.

Each night's map of cells is compared with what the nights before it lead to expect. Quiet nights wander, over days and
mostly in smooth structure, so every mode of the map (`calib.patterns`) has its own scatter and its own memory, learned
from the quiet nights of the series alone. What is left after the prediction is filtered for each pattern and for each
course in time: a step since some nights (Shewhart's chart, and its sum over nights), or a steady walk.

A night is judged from what was known that night: later nights change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import special

from calib.learned import WAIT, Learned, Quiet
from calib.patterns import Template

__all__ = ["Change", "Chart", "ChartNight", "Quiet", "Standing", "chart", "gaussian_equivalent"]

Array = NDArray[np.float64]

# Nights over which a step or a walk may have gone on before it is seen.
STEPS = (1, 2, 3, 5, 8, 12, 20)
WALKS = (5, 7, 9, 12, 16, 22, 30)
LONGEST = max(*STEPS, *WALKS)
# So many quiet nights are known: so many nights share what is learned from them.
EPOCHS = ((128, 32), (32, 8), (16, 4))
# A change is over when what is left of it has so few σ.
OVER = 3.0
# A step that has lasted so many nights is the new normal, from which further changes are looked for.
SETTLED = 6


@dataclass(frozen=True)
class Change:
    """Something that began: a pattern, its course, and when.

    Attributes
    ----------
    pattern : Template
    course : {"step", "walk"}
    length : int
        Nights over which it had gone on when it was seen.
    since, seen, last : int
        Night it began, night it was first significant, and last night on which it was there, as indices of the
        series.
    significance : float
        Of the night on which it was seen, in Gaussian σ after paying for all that was looked for.
    """

    pattern: Template
    course: str
    length: int
    since: int
    seen: int
    last: int
    significance: float


@dataclass(frozen=True)
class ChartNight:
    """One night of a chart.

    Attributes
    ----------
    significance : float
        Of the most significant pattern and course, in Gaussian σ after paying for all that was looked for; NaN for
        a night without a measurement.
    pattern : Template or None
        Which one that is.
    learned : int
        Quiet nights that the expectation rests on.
    """

    significance: float
    pattern: Template | None
    learned: int


@dataclass(frozen=True)
class Standing:
    """Where a chart stood before its last nights: what later nights cannot change, in plain numbers for the archive.

    Nights are counted among those with a measurement, patterns by their place.

    Attributes
    ----------
    night : int
        The first night that is not yet judged for good.
    judged : tuple
        Significance, pattern and nights learned from, of every night before.
    members : tuple of int
        Quiet nights.
    active : tuple
        Number of each change that goes on, and whether it is the new normal.
    changes : tuple
        The fields of each `Change`.
    sizes : tuple
        Of each change ``(night, size, error)``.
    begin : int
        First night of the present stretch.
    breaks : tuple of int
        Nights that the night before does not lead to.
    levels : tuple
        ``(night, modes or None, share)``: what was the new normal from a night on.
    """

    night: int = 0
    judged: tuple[tuple[float, int, int], ...] = ()
    members: tuple[int, ...] = ()
    active: tuple[tuple[int, bool], ...] = ()
    changes: tuple[tuple[int, str, int, int, int, int, float], ...] = ()
    sizes: tuple[tuple[tuple[int, float, float], ...], ...] = ()
    begin: int = 0
    breaks: tuple[int, ...] = ()
    levels: tuple[tuple[int, tuple[float, ...] | None, float], ...] = ()


@dataclass(frozen=True)
class Chart:
    """A series judged.

    Attributes
    ----------
    nights : tuple of ChartNight
    changes : tuple of Change
        In the order in which they were seen.
    sizes, errors : tuple of ndarray, shape (n_nights,)
        Of every change its size on each night and the 1σ error, in the unit of the series; NaN before it began and
        after it ended. The size of a gradient is without sign.
    standing : Standing
        From which to go on when more nights have come.
    """

    nights: tuple[ChartNight, ...]
    changes: tuple[Change, ...]
    sizes: tuple[Array, ...]
    errors: tuple[Array, ...]
    standing: Standing


def gaussian_equivalent(
    statistic: Array, k: NDArray[np.int_] | int, freedom: Array | float, trials: float = 1.0
) -> Array:
    """Return how many Gaussian σ are as unlikely as a Hotelling T² or more.

    Parameters
    ----------
    statistic : ndarray
        T²: squared distance in units of an estimated covariance.
    k : ndarray of int, or int
        Dimensions of it.
    freedom : ndarray or float
        Degrees of freedom with which the covariance is known.
    trials : float
        How many such statistics were looked at to find this one.
    """
    freedom = np.maximum(freedom, 1.0)
    rest = np.maximum(freedom - k + 1, 1.0)
    p = special.fdtrc(k, rest, np.maximum(statistic, 0.0) * rest / (k * freedom))
    return np.asarray(-special.ndtri(np.clip(p * trials, 1e-300, 1.0) / 2))


def _courses() -> tuple[tuple[str, int, Array], ...]:
    """Return the courses in time: name, nights, and height on each of them, oldest first."""
    steps = [("step", n, np.ones(n)) for n in STEPS]
    walks = [("walk", n, np.arange(1.0, n + 1) / n) for n in WALKS]
    return (*steps, *walks)


COURSES = _courses()


def chart(
    values: Array,
    errors: Array,
    days: Array,
    patterns: Sequence[Template],
    quiet: Quiet,
    *,
    significance: float = 5.0,
    standing: Standing | None = None,
) -> Chart:
    """Judge a series of nights.

    Parameters
    ----------
    values : ndarray, shape (n_nights, n_modes)
        Modes of each night's deviation from the reference, in order of time; a night with any NaN was not measured.
    errors : ndarray, shape (n_nights,)
        1σ measurement error of a mode.
    days : ndarray, shape (n_nights,)
        Day of each night, for gaps.
    patterns : sequence of Template
        What is looked for.
    quiet : Quiet
        What is known before any night was seen.
    significance : float
        σ from which a change counts.
    standing : Standing, optional
        Of a chart of the same nights up to some night, under the same rules: those are not judged again, and the
        outcome is the same.

    Returns
    -------
    Chart
    """
    measured = np.flatnonzero(np.isfinite(values).all(axis=1) & np.isfinite(errors))
    judge = _Judge(values[measured], errors[measured], days[measured], tuple(patterns), quiet, significance)
    return judge.run(len(values), measured, standing)


@dataclass
class _Active:
    """A change that goes on: its number, the first night after it was seen, and whether it is the new normal."""

    number: int
    settled: bool = False


class _Judge:
    def __init__(
        self, values: Array, errors: Array, days: Array, patterns: tuple[Template, ...], quiet: Quiet, limit: float
    ) -> None:
        self.values, self.errors, self.days, self.limit, self.quiet = values, errors, days, limit, quiet
        # What is left of the values once steps that have become the new normal are taken out.
        self.rest = values.copy()
        self.rest_share = np.zeros(len(values))
        self.patterns = patterns
        self.places = {id(pattern): k for k, pattern in enumerate(patterns)}
        self.rows = np.concatenate([p.modes for p in patterns])
        dims = np.array([len(p.modes) for p in patterns])
        self.starts = np.concatenate(([0], np.cumsum(dims)[:-1]))
        self.dims = dims
        self.squares = np.add.reduceat(self.rows**2, self.starts, axis=0)
        # Neighbouring windows and patterns see nearly the same: they count as fewer trials than there are.
        self.trials = 1.0 * len(patterns)
        self.members: list[int] = []
        self.active: list[_Active] = []
        self.changes: list[Change] = []
        self.sizes: list[dict[int, tuple[float, float]]] = []
        self.begin = 0
        # Nights that the night before does not lead to.
        self.breaks: list[int] = []
        self.levels: list[tuple[int, tuple[float, ...] | None, float]] = []
        self.judged: list[tuple[float, int, int]] = []

    def run(self, n: int, measured: NDArray[np.int_], standing: Standing | None) -> Chart:
        """Go through the nights."""
        kept = standing or Standing()
        self._take_up(kept)
        t, end = kept.night, len(measured)
        while t < end:
            known = Learned(self.rest, self.errors, self.days, self.quiet, self.members)
            length = next((nights for least, nights in EPOCHS if known.n >= least), 1)
            if t + length >= end:
                # With more nights these would be judged together with some of them.
                kept = self._standing(t)
            stop = t + 1 if self.active else min(t + length, end)
            if self.active:
                self._follow(t, known)
            found = self._fresh(t, known) if self._unsettled() else self._scan(t, stop, known)
            for k, (value, which, course, size) in enumerate(zip(*found, strict=True)):
                self.judged.append(self._night(t + k, value, which, known))
                if value >= self.limit:
                    self._begin(t + k, which, course, size, value, known)
                    stop = t + k + 1
                    break
                if not self._unsettled():
                    self.members.append(t + k)
            t = stop
        return self._result(n, measured, kept)

    def _standing(self, t: int) -> Standing:
        return Standing(
            t,
            tuple(self.judged),
            tuple(self.members),
            tuple((a.number, a.settled) for a in self.active),
            tuple(
                (self.places[id(c.pattern)], c.course, c.length, c.since, c.seen, c.last, c.significance)
                for c in self.changes
            ),
            tuple(tuple((night, *size) for night, size in found.items()) for found in self.sizes),
            self.begin,
            tuple(self.breaks),
            tuple(self.levels),
        )

    def _take_up(self, standing: Standing) -> None:
        self.judged, self.members = list(standing.judged), list(standing.members)
        self.active = [_Active(number, settled) for number, settled in standing.active]
        self.changes = [Change(self.patterns[k], *rest) for k, *rest in standing.changes]  # type: ignore[arg-type]
        self.sizes = [{night: (size, error) for night, size, error in found} for found in standing.sizes]
        self.begin, self.breaks = standing.begin, list(standing.breaks)
        for level in standing.levels:
            self._rest_from(*level)

    def _rest_from(self, t: int, level: tuple[float, ...] | None, share: float) -> None:
        """Count the values from a night on from a level, None for none."""
        self.levels.append((t, level, share))
        self.rest[t:] = self.values[t:] if level is None else self.values[t:] - np.array(level)
        self.rest_share[t:] = share

    def _unsettled(self) -> bool:
        return any(not a.settled for a in self.active)

    def _night(self, t: int, value: float, which: int, known: Learned) -> tuple[float, int, int]:
        for a in self.active:
            size, error = self.sizes[a.number][t]
            if abs(size) / error > value:
                value, which = abs(size) / error, self.places[id(self.changes[a.number].pattern)]
        return float(value), int(which), known.n

    # What is new ----------------------------------------------------------------------------------------------------

    def _residuals(self, first: int, stop: int, known: Learned, centre: Array) -> tuple[Array, Array]:
        """Return what is left after the prediction for nights first … stop − 1, and its variance."""
        index = np.arange(first, stop)
        here = self.rest[index] - centre
        has = (index > 0) & ~np.isin(index, self.breaks)
        previous = np.maximum(index - 1, 0)
        gap = np.where(has, np.maximum(self.days[index] - self.days[previous], 1.0), 1.0)
        memory = np.where(has[:, None], known.memory ** gap[:, None], 0.0)
        before = self.rest[previous] - centre
        variance = known.spread2 * (1 - memory**2)
        # Measurement error is no memory: it enters tonight, and through the prediction from the night before.
        floor = self.errors[index, None] ** 2 + memory**2 * self.errors[previous, None] ** 2
        return here - memory * before, np.maximum(variance, floor)

    def _scan(self, first: int, stop: int, known: Learned) -> tuple[list[float], list[int], list[str], list[int]]:
        """Filter nights first … stop − 1 for every pattern and course; return the best of each night."""
        n = stop - first
        earliest = max(first - LONGEST + 1, self.begin)
        left, variance = self._residuals(earliest, stop, known, known.mean)
        weight = 1.0 / variance
        best = np.full(n, -np.inf)
        which, course = np.zeros(n, int), np.zeros(n, int)
        for c, (_, length, height) in enumerate(COURSES):
            if stop - earliest < length:
                continue
            # What the prediction makes of the pattern's course: a mode with memory takes most of it for granted.
            growth = height[:, None] - known.memory * np.concatenate(([0.0], height[:-1]))[:, None]
            windows = sliding_window_view(left * weight, length, axis=0)[-n:]
            weights = sliding_window_view(weight, length, axis=0)[-n:]
            signal = np.einsum("bkw,wk->bk", windows, growth)
            power = np.einsum("bkw,wk->bk", weights, growth**2)
            # The mean from which all is counted has an error, the same on all nights of the window.
            common = np.einsum("bkw,wk->bk", weights, growth) * (1 - known.memory)
            kept = power / (power + self._mean_variance(first, stop, known)[-len(power) :] * common**2)
            value, top = self._best(signal * kept, power * kept, known)
            offset = n - len(value)
            better = value > best[offset:]
            best[offset:][better], which[offset:][better], course[offset:][better] = value[better], top[better], c
        names = [COURSES[c][0] for c in course]
        return best.tolist(), which.tolist(), names, [COURSES[c][1] for c in course]

    def _mean_variance(self, first: int, stop: int, known: Learned) -> Array:
        """Return the variance of the mean that nights first … stop − 1 are compared with, shape (nights, modes)."""
        share = known.mean_share + self.rest_share[first:stop]
        return np.asarray(share[:, None] * known.spread2 * (1 + known.memory) / (1 - known.memory))

    def _best(self, signal: Array, power: Array, known: Learned) -> tuple[Array, NDArray[np.int_]]:
        """Return the significance of the best pattern of each night, and which it is."""
        # Night by night: in a product of all of them at once the last bit of one depends on how many there are.
        top = (signal[:, None, :] @ self.rows.T)[:, 0]
        weight = (power[:, None, :] @ (self.rows**2).T)[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = np.where(weight > 0, top**2 / weight, 0.0)
        score = np.add.reduceat(squares, self.starts, axis=1)
        best = np.argmax(score - 2 * self.dims, axis=1)
        # Each mode's scatter is known with `freedom`; a pattern that lives in many modes averages over them.
        part = power * self.squares[best]
        together = part.sum(axis=1) ** 2 / np.maximum((part**2 / known.freedom).sum(axis=1), 1e-300)
        together = 1 / (1 / np.maximum(together, 1e-9) + 1 / known.shared_freedom)
        reached = score[np.arange(len(best)), best]
        return gaussian_equivalent(reached, self.dims[best], together, self.trials), best

    def _fresh(self, t: int, known: Learned) -> tuple[list[float], list[int], list[str], list[int]]:
        """Look for a further step on a night soon after a change, against the nights since."""
        level = np.arange(max(self._anchor(), t - WAIT), t)
        if len(level) < 2:
            return [float("-inf")], [0], ["step"], [1]
        left, variance = self._residuals(t, t + 1, known, self.rest[level].mean(axis=0))
        mean = known.spread2 * (1 + known.memory) / (1 - known.memory) / len(level)
        variance = variance + mean * (1 - known.memory) ** 2
        value, which = self._best(left / variance, 1 / variance, known)
        return value.tolist(), which.tolist(), ["step"], [1]

    # What goes on ---------------------------------------------------------------------------------------------------

    def _begin(self, t: int, which: int, course: str, length: int, significance: float, known: Learned) -> None:
        pattern, since = self.patterns[which], max(t - length + 1, self.begin)
        same = [a for a in self.active if self.changes[a.number].pattern is pattern]
        if same:
            # More of what is known already, as a walk does that was taken for a step.
            same[0].settled = False
            number = same[0].number
            self.changes[number] = replace(self.changes[number], course="walk", last=t)
        else:
            number = len(self.changes)
            self.changes.append(Change(pattern, course, length, since, t, t, significance))
            self.sizes.append({})
            self.active.append(_Active(number))
        # Its first nights were taken for quiet ones.
        self.members = [m for m in self.members if m < since]
        for night in range(since, t + 1):
            self.sizes[number][night] = self._size(night, pattern, known, 1)
        self.begin = t + 1

    def _follow(self, t: int, known: Learned) -> None:
        """Measure what is left of the changes that go on; a step that stays becomes the new normal."""
        going = []
        for a in self.active:
            change = self.changes[a.number]
            # A step seen only in the sum of many nights is there as long as their sum shows it.
            size, error = self._size(t, change.pattern, known, change.length if change.course == "step" else 1)
            if abs(size) < OVER * error:
                self._lift(t)
                continue
            self.sizes[a.number][t] = self._size(t, change.pattern, known, 1)
            self.changes[a.number] = replace(change, last=t)
            going.append(a)
        self.active = going
        for a in going:
            change = self.changes[a.number]
            if not a.settled and change.course == "step" and t - self._anchor() >= SETTLED:
                self._settle(t, known)
                break

    def _anchor(self) -> int:
        """Return the night since which the level is that of the changes that go on, and of no other."""
        return max([self.changes[a.number].seen for a in self.active] + self.breaks[-1:])

    def _settle(self, t: int, known: Learned) -> None:
        """Take the level of the nights before this one for the new normal."""
        since = self._anchor()
        level = self.values[since:t].mean(axis=0) - known.mean
        self._rest_from(t, tuple(level.tolist()), 1.0 / (t - since))
        self.begin = t
        self.breaks.append(t)
        for a in self.active:
            a.settled = True

    def _lift(self, t: int) -> None:
        """Take back what was the new normal: the change is over, and others that go on are to be settled anew."""
        for a in self.active:
            a.settled = False
        self._rest_from(t, None, 0.0)
        self.begin = t
        self.breaks.append(t)

    def _size(self, t: int, pattern: Template, known: Learned, nights: int) -> tuple[float, float]:
        """Return the mean size of a pattern over the last nights, against the quiet ones, and its error."""
        first = max(t - nights + 1, 0)
        independent = np.maximum((t - first + 1) * (1 - known.memory) / (1 + known.memory), 1.0)
        error = float(np.median(self.errors[first : t + 1]))
        variance = np.maximum(known.spread2 / independent, error**2 / (t - first + 1))
        variance = variance + known.spread2 * known.mean_share * (1 + known.memory) / (1 - known.memory)
        weighted = pattern.modes / variance
        power = (weighted * pattern.modes).sum(axis=1)
        sizes = (weighted @ (self.values[first : t + 1].mean(axis=0) - known.mean)) / power
        sigma = float(np.sqrt(1 / power.min()))
        return (float(sizes[0]) if len(sizes) == 1 else float(np.hypot(*sizes))), sigma

    def _result(self, n: int, measured: NDArray[np.int_], standing: Standing) -> Chart:
        nights = [ChartNight(float("nan"), None, 0) for _ in range(n)]
        for index, (value, which, learned) in zip(measured, self.judged, strict=True):
            nights[index] = ChartNight(value, self.patterns[which], learned)
        changes = [
            replace(c, since=int(measured[c.since]), seen=int(measured[c.seen]), last=int(measured[c.last]))
            for c in self.changes
        ]
        sizes = [np.full(len(nights), np.nan) for _ in changes]
        errors = [np.full(len(nights), np.nan) for _ in changes]
        for k, found in enumerate(self.sizes):
            for index, (size, error) in found.items():
                sizes[k][measured[index]], errors[k][measured[index]] = size, error
        return Chart(tuple(nights), tuple(changes), tuple(sizes), tuple(errors), standing)
