"""Medians and clipped means of the cells of an image."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.kernels.compiled import F8, finite_kernel, kernel
from calib.kernels.medians import has_middle, median_of, middle_between
from calib.kernels.taking import SPARE, take_rows, take_within

__all__ = ["CellAverages", "cell_averages", "cell_middles"]

Edges = tuple[int, ...]


class CellAverages(NamedTuple):
    """Median and clipped mean of each cell; NaN where a cell has no value."""

    middle: F8
    mean: F8


# Every finite value lies between these.
_LARGEST = np.finfo(np.float64).max

_SIGMA_PER_MAD = 1.4826022185056018

# For sums of values whose squares may not be finite.
_any_order = functools.partial(kernel, fastmath={"nsz", "reassoc"})

# Counts as `take_within` gives them.
_NOTHING = (0, 0, 0)


@kernel
def _take(image, good, cell, low, high, taken):  # type: ignore[no-untyped-def]
    """Take the values of a cell in [low, high]; return the counts of `take_within`."""
    top, bottom, left, right = cell
    width = image.shape[1]
    rows = top * width + left, width, bottom - top, right - left
    return take_rows(image.reshape(-1), good.reshape(-1), rows, low, high, taken, 0)


@kernel
def _room(image, rows, columns):  # type: ignore[no-untyped-def]
    height = 0
    width = 0
    for j in range(rows.size - 1):
        height = max(height, rows[j + 1] - rows[j])
    for i in range(columns.size - 1):
        width = max(width, columns[i + 1] - columns[i])
    return np.empty(height * width + SPARE, image.dtype)


@kernel
def _next_reach(reach, inside, valid):  # type: ignore[no-untyped-def]
    # A sixth of the values or so: the medians of neighbouring cells mostly differ by less.
    if inside > valid // 4:
        return reach * np.float32(0.5)
    return reach * np.float32(1.5) if inside < valid // 10 else reach


@_any_order
def _mean_and_sigma(values):  # type: ignore[no-untyped-def]
    about = values[0]
    total = values.dtype.type(0)
    squares = values.dtype.type(0)
    for i in range(values.size):
        d = values[i] - about
        total += d
        squares += d * d
    mean = total / values.size
    return values.dtype.type(about + mean), values.dtype.type(np.sqrt(max(squares / values.size - mean * mean, 0.0)))


@kernel
def _middle_anywhere(values, guess, taken):  # type: ignore[no-untyped-def]
    """Return the median of finite values, and how far from it to look for the next: 0 if the guess was no good."""
    if values.size == 0:
        return np.nan, values.dtype.type(0)
    mean, sigma = _mean_and_sigma(values)
    # With few outliers a quarter of the values lie there, and the middle one.
    low = mean - values.dtype.type(0.3) * sigma
    high = mean + values.dtype.type(0.3) * sigma
    found = take_within(values, None, low, high, taken, 0)
    if has_middle(found):
        middle = middle_between(taken, found, low, high)
    else:
        taken[: values.size] = values
        middle = median_of(taken[: values.size])
    reach = values.dtype.type(0.15) * sigma
    return middle, (reach if abs(middle - guess) < reach else values.dtype.type(0))


@kernel
def _middle_near(found, guess, reach, taken):  # type: ignore[no-untyped-def]
    """Return the median, of which it is known that it was taken, and how far from it to look for the next."""
    middle = middle_between(taken, found, guess - reach, guess + reach)
    return middle, _next_reach(reach, found[1], found[2])


@kernel
def _middles(image, good, rows, columns, out):  # type: ignore[no-untyped-def]
    room = _room(image, rows, columns)
    taken = np.empty_like(room)
    guess = image.dtype.type(0)
    reach = image.dtype.type(0)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            cell = rows[j], rows[j + 1], columns[i], columns[i + 1]
            found = _take(image, good, cell, guess - reach, guess + reach, taken) if reach > 0 else _NOTHING
            if has_middle(found):
                out[j, i], reach = _middle_near(found, guess, reach, taken)
            else:
                m = _take(image, good, cell, -_LARGEST, _LARGEST, room)[1]
                out[j, i], reach = _middle_anywhere(room[:m], guess, taken)
            guess = image.dtype.type(out[j, i])


@kernel
def _middle_of(values, guess, reach, taken):  # type: ignore[no-untyped-def]
    """Return the median of finite values, looked for about a guess, and how far from it to look for the next."""
    found = take_within(values, None, guess - reach, guess + reach, taken, 0) if reach > 0 else _NOTHING
    if has_middle(found):
        return _middle_near(found, guess, reach, taken)
    return _middle_anywhere(values, guess, taken)


@kernel
def _distances(values, centre, out):  # type: ignore[no-untyped-def]
    middle = values.dtype.type(centre)
    for i in range(values.size):
        out[i] = abs(values[i] - middle)


@finite_kernel
def _mean_within(values, centre, reach):  # type: ignore[no-untyped-def]
    total = 0.0
    n = 0
    for i in range(values.size):
        d = values[i] - centre
        near = abs(d) <= reach
        total += d if near else 0.0
        n += near
    # Half of the pixels may be alike to the last bit: then their value is the mean.
    return centre + total / n if n else centre


@kernel
def _averages(image, good, rows, columns, clip_sigma, middles, out):  # type: ignore[no-untyped-def]
    room = _room(image, rows, columns)
    distance = np.empty_like(room)
    taken = np.empty_like(room)
    guess = image.dtype.type(0)
    reach = image.dtype.type(0)
    far = image.dtype.type(0)
    reach_of_far = image.dtype.type(0)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            cell = rows[j], rows[j + 1], columns[i], columns[i + 1]
            m = _take(image, good, cell, -_LARGEST, _LARGEST, room)[1]
            values = room[:m]
            middles[j, i], reach = _middle_of(values, guess, reach, taken)
            _distances(values, middles[j, i], distance[:m])
            median_distance, reach_of_far = _middle_of(distance[:m], far, reach_of_far, taken)
            out[j, i] = _mean_within(values, middles[j, i], clip_sigma * _SIGMA_PER_MAD * median_distance)
            guess = image.dtype.type(middles[j, i])
            far = image.dtype.type(median_distance)


def cell_middles(image: NDArray[Any], good: NDArray[np.bool_], rows: Edges, columns: Edges) -> F8:
    """Return the median of each cell over good finite pixels; NaN where a cell has none.

    Parameters
    ----------
    image : ndarray of float, shape (ny, nx)
    good : ndarray of bool, shape (ny, nx)
    rows, columns : tuple of int
        Edges of the cells, one more than there are cells.
    """
    out = np.empty((len(rows) - 1, len(columns) - 1))
    _middles(*_plain(image, good), np.array(rows), np.array(columns), out)
    return out


def cell_averages(
    image: NDArray[Any], good: NDArray[np.bool_], rows: Edges, columns: Edges, clip_sigma: float
) -> CellAverages:
    """Return `cell_middles`, and the mean of each cell within ``clip_sigma`` robust σ of them.

    The parameters are those of `cell_middles`.
    """
    middle, mean = np.empty((2, len(rows) - 1, len(columns) - 1))
    _averages(*_plain(image, good), np.array(rows), np.array(columns), float(clip_sigma), middle, mean)
    return CellAverages(middle, mean)


def _plain(image: NDArray[Any], good: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    # One kind of array, or everything is compiled once more for the next kind.
    kind = np.float32 if image.dtype == np.float32 else np.float64
    return np.ascontiguousarray(image, kind), np.ascontiguousarray(good, np.bool_)
