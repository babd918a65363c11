"""What the quiet nights of a series teach: mean, scatter and memory of every mode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WAIT", "Learned", "Quiet"]

Array = NDArray[np.float64]

# Nights learned from; older ones are forgotten, for an instrument's habits change.
MEMORY = 200
# The latest so many nights do not enter the mean: a walk that nobody has seen yet would pull it along.
WAIT = 8
# The scatter that the profile calls quiet counts like so many nights, and fades as modes of the same order are seen.
PRIOR_NIGHTS, PRIOR_FADES_AFTER = 8.0, 20.0
# What modes of the same order have in common counts like so many nights for each of them.
SHARED_NIGHTS, SHARED_PAIRS = 16.0, 64.0
PRIOR_MEMORY, PRIOR_MEMORY_PAIRS = 0.5, 8.0
LEAST_MEMORY, MOST_MEMORY = 0.2, 0.95
UNKNOWN = 1e12


@dataclass(frozen=True)
class Quiet:
    """What is known of quiet nights before any was seen.

    Attributes
    ----------
    scatter : ndarray, shape (n_modes,)
        Night-to-night scatter of each mode, in the unit of the series.
    orders : ndarray of int, shape (n_modes,)
        Modes of the same order are taken to behave alike until they show otherwise.
    """

    scatter: Array
    orders: NDArray[np.int_]


class Learned:
    """What the quiet nights seen so far say: mean, scatter and memory of every mode."""

    def __init__(self, values: Array, errors: Array, days: Array, quiet: Quiet, members: list[int]) -> None:
        rows = np.array(members[-MEMORY:], dtype=int)
        self.n = len(rows)
        settled = rows[:-WAIT] if len(rows) >= 3 * WAIT else rows
        n_modes = values.shape[1]
        self.mean = values[settled].mean(axis=0) if len(settled) else np.zeros(n_modes)
        # Before the first night nothing is known of the mean, whatever the scatter.
        self.mean_share = 1.0 / len(settled) if len(settled) else UNKNOWN
        centred = values[rows] - self.mean
        near = (np.diff(rows) == 1) & (np.diff(days[rows]) < 2.5) if len(rows) > 1 else np.zeros(0, bool)
        pairs = np.flatnonzero(near)
        before, after = centred[pairs], centred[pairs + 1] if len(pairs) else centred[pairs]
        orders = _Orders(quiet.orders)
        self.memory = self._remember(before, after, orders)
        steps = after - self.memory * before
        squares = _clipped_square_sum(steps)
        seen = len(pairs) * orders.sizes
        weight = PRIOR_NIGHTS / (1 + (seen / PRIOR_FADES_AFTER) ** 2)
        prior = quiet.scatter**2 * (1 - self.memory**2)
        shared = (weight * prior + orders.sums(squares)) / (weight + seen)
        self.innovation2 = (SHARED_NIGHTS * shared + squares) / (SHARED_NIGHTS + len(pairs))
        # No night is better known than it was measured.
        typical = float(np.median(errors[rows])) if len(rows) else 0.0
        self.innovation2 = np.maximum(self.innovation2, typical**2)
        self.spread2 = self.innovation2 / (1 - self.memory**2)
        self.freedom = _freedom(len(pairs), orders.sizes, weight)
        # What all modes of an order owe to the prior, or to few nights, is wrong in all of them alike.
        self.shared_freedom = PRIOR_NIGHTS + SHARED_NIGHTS * len(pairs)

    @staticmethod
    def _remember(before: Array, after: Array, orders: _Orders) -> Array:
        n = len(before)
        product, power = (before * after).sum(axis=0), np.sqrt((before**2).sum(axis=0) * (after**2).sum(axis=0))
        with np.errstate(divide="ignore", invalid="ignore"):
            own = np.clip(np.nan_to_num(product / power), -1, 1)
            shared = np.clip(np.nan_to_num(orders.sums(product) / orders.sums(power)), -1, 1)
        group = n * orders.sizes
        shared = (group * shared + PRIOR_MEMORY_PAIRS * PRIOR_MEMORY) / (group + PRIOR_MEMORY_PAIRS)
        memory = (n * own + SHARED_PAIRS * shared) / (n + SHARED_PAIRS)
        # Correlations from a short series about its own mean come out too low, by up to (1 + 3ρ)/n; and rather too
        # much memory than too little: what is taken for memory is not taken for a change.
        memory = memory + np.clip(2 * memory, 0, 1) * (0.5 + 1.5 * memory) / max(n, 4)
        # A memory known from few pairs may be that much longer.
        memory = memory + np.sqrt((1 - np.clip(memory, 0, 1) ** 2) / np.maximum(group, 4)) * (memory > LEAST_MEMORY)
        return np.asarray(np.clip(memory, 0.0, MOST_MEMORY))


def _freedom(n: int, sizes: Array, weight: Array) -> Array:
    """Return the degrees of freedom with which the scatter of each mode is known, shape (n_modes,).

    Three independent parts make it up: the mode's own n nights, those of the other modes of its order, and the prior,
    which counts like ``weight`` nights.
    """
    if n == 0:
        return np.full(len(sizes), PRIOR_NIGHTS)
    share = SHARED_NIGHTS / ((SHARED_NIGHTS + n) * (weight + n * sizes))
    own, others, prior = n / (SHARED_NIGHTS + n) + share * n, share * n * (sizes - 1), share * weight
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = np.where(sizes > 1, others**2 / (n * (sizes - 1)), 0.0)
    return np.asarray(1 / (own**2 / n + rest + prior**2 / weight))


class _Orders:
    """Sums over the modes of one order, given back to each of them."""

    def __init__(self, orders: NDArray[np.int_]) -> None:
        _, self._which = np.unique(orders, return_inverse=True)
        self.sizes = np.bincount(self._which)[self._which].astype(float)

    def sums(self, values: Array) -> Array:
        return np.asarray(np.bincount(self._which, values)[self._which])


def _clipped_square_sum(steps: Array) -> Array:
    """Return the sum of squares with rare outliers drawn in, so that one odd night does not blind the chart."""
    if len(steps) < 6:
        return np.asarray((steps**2).sum(axis=0))
    rough = 1.4826 * np.median(np.abs(steps), axis=0)
    limit = np.where(rough > 0, 4.0 * rough, np.inf)
    return np.asarray((np.clip(steps, -limit, limit) ** 2).sum(axis=0))
