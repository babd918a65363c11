"""Medians and clipped means of the cells of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.kernels.compiled import F8, finite_kernel, kernel
from calib.kernels.medians import median_of
from calib.kernels.taking import SPARE, take_within

__all__ = ["cell_averages", "cell_middles"]

Edges = tuple[int, ...]

# Every finite value lies between these.
_LARGEST = np.finfo(np.float64).max

_SIGMA_PER_MAD = 1.4826022185056018


@kernel
def _gather(image, good, top, bottom, left, right, taken):  # type: ignore[no-untyped-def]
    n = 0
    for j in range(top, bottom):
        n += take_within(image[j, left:right], good[j, left:right], -_LARGEST, _LARGEST, taken, n)[1]
    return n


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
def _middles(image, good, rows, columns, out):  # type: ignore[no-untyped-def]
    taken = _room(image, rows, columns)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            m = _gather(image, good, rows[j], rows[j + 1], columns[i], columns[i + 1], taken)
            out[j, i] = median_of(taken[:m])


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
def _averages(image, good, rows, columns, clip_sigma, out):  # type: ignore[no-untyped-def]
    taken = _room(image, rows, columns)
    distance = np.empty_like(taken)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            m = _gather(image, good, rows[j], rows[j + 1], columns[i], columns[i + 1], taken)
            values = taken[:m]
            distance[:m] = values
            centre = median_of(distance[:m])
            _distances(values, centre, distance[:m])
            reach = clip_sigma * _SIGMA_PER_MAD * median_of(distance[:m])
            out[j, i] = _mean_within(values, centre, reach)


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


def cell_averages(image: NDArray[Any], good: NDArray[np.bool_], rows: Edges, columns: Edges, clip_sigma: float) -> F8:
    """Return the mean of each cell over good finite pixels within ``clip_sigma`` robust σ of its median.

    The parameters are those of `cell_middles`.
    """
    out = np.empty((len(rows) - 1, len(columns) - 1))
    _averages(*_plain(image, good), np.array(rows), np.array(columns), float(clip_sigma), out)
    return out


def _plain(image: NDArray[Any], good: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    # One kind of array, or everything is compiled once more for the next kind.
    kind = np.float32 if image.dtype == np.float32 else np.float64
    return np.ascontiguousarray(image, kind), np.ascontiguousarray(good, np.bool_)
