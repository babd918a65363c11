"""Mean and scatter over frames, outliers rejected."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.kernels.compiled import F4, LEAST_PIXELS, PITCH, TILE, finite_kernel, kernel, on_all_cores
from calib.kernels.networks import sort_rows, sorting_network
from calib.kernels.straight import MOST_ROWS, call_on_tile, sorting_code

__all__ = ["ClippedMean", "clipped_mean"]


class ClippedMean(NamedTuple):
    """What `clipped_mean` returns, each ``(n_pixels,)``."""

    mean: F4
    scatter: F4
    n_samples: NDArray[np.int32]
    clipped: NDArray[np.int32]


@kernel
def _sorted_median(v, a, b):  # type: ignore[no-untyped-def]
    m = b - a
    mid = a + m // 2
    return v[mid] if m % 2 else np.float32(0.5) * (v[mid - 1] + v[mid])


@kernel
def _sorted_mad(v, a, b, centre):  # type: ignore[no-untyped-def]
    m = b - a
    p = a + m // 2
    while p > a and v[p - 1] >= centre:
        p -= 1
    while p < b and v[p] < centre:
        p += 1
    # Distances grow to either side of p. Of the nearest half, ``left`` lie below the centre: found by bisection.
    near = m // 2
    left = max(0, near - (b - p))
    most = min(near, p - a)
    while left < most:
        some = (left + most) // 2
        if centre - v[p - 1 - some] < v[p + near - some - 1] - centre:
            left = some + 1
        else:
            most = some
    right = near - left
    following = np.float32(np.inf)
    if left < p - a:
        following = centre - v[p - 1 - left]
    if right < b - p:
        following = min(following, v[p + right] - centre)
    if m % 2:
        return following
    last = np.float32(0)
    if left > 0:
        last = centre - v[p - left]
    if right > 0:
        last = max(last, v[p + right - 1] - centre)
    return np.float32(0.5) * (last + following)


@finite_kernel
def _sum_of_deviations(values, centre):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(values.size):
        total += np.float64(values[i] - centre)
    return total


@finite_kernel
def _sum_of_squares(values, centre, mu):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(values.size):
        d = np.float64(values[i] - centre) - mu
        total += d * d
    return total


@kernel
def _clipped_pixel(tile, i, column, m, kappa):  # type: ignore[no-untyped-def]
    """Clip one sorted pixel: between rounds only the ends of the window move inward."""
    for k in range(m):
        column[k] = tile[k, i]
    a = 0
    b = m
    while True:
        centre = _sorted_median(column, a, b)
        reach = np.float32(kappa * 1.4826022185056018) * _sorted_mad(column, a, b, centre)
        a_next = a
        b_next = b
        while centre - column[a_next] > reach:
            a_next += 1
        while column[b_next - 1] - centre > reach:
            b_next -= 1
        if a_next == a and b_next == b:
            break
        a = a_next
        b = b_next
    kept = b - a
    mu = _sum_of_deviations(column[a:b], centre) / kept
    ss = _sum_of_squares(column[a:b], centre, mu)
    return centre + mu, np.sqrt(ss / (kept - 1)) if kept > 1 else np.nan, kept


@kernel
def _lies_within(low, quarter, centre, three_quarters, high, factor, within):  # type: ignore[no-untyped-def]
    # Half of the samples lie between the quartiles, so the MAD is no less than the distance of the nearer one.
    for i in range(within.size):
        reach = factor * min(centre[i] - quarter[i], three_quarters[i] - centre[i])
        within[i] = (centre[i] - low[i] <= reach) & (high[i] - centre[i] <= reach)


@kernel
def _middle_row(u, v, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = np.float32(0.5) * (u[i] + v[i])


@kernel
def _add_deviation(row, centre, total):  # type: ignore[no-untyped-def]
    for i in range(total.size):
        total[i] += row[i] - centre[i]


@kernel
def _add_square(row, centre, mu, ss):  # type: ignore[no-untyped-def]
    for i in range(ss.size):
        d = row[i] - centre[i] - mu[i]
        ss[i] += d * d


@kernel
def _fill(row, source, count):  # type: ignore[no-untyped-def]
    for i in range(source.size):
        v = source[i]
        missing = not (abs(v) < np.inf)
        row[i] = np.float32(np.inf) if missing else v
        count[i] += 0 if missing else 1


@kernel
def _deviations(tile, centre, mu, ss):  # type: ignore[no-untyped-def]
    """Write the mean of each column about its centre, and the sum of the squares about that mean."""
    n = tile.shape[0]
    mu[:] = 0
    ss[:] = 0
    for k in range(n):
        _add_deviation(tile[k, : centre.size], centre, mu)
    for i in range(mu.size):
        mu[i] /= n
    for k in range(n):
        _add_square(tile[k, : centre.size], centre, mu, ss)


@kernel
def _clipped_mean(  # type: ignore[no-untyped-def]
    frames, pairs, code, kappa, first, last, mean, scatter, count, clipped
):
    n = frames.shape[0]
    tile = np.zeros((n, PITCH), np.float32)
    column = np.empty(n, np.float32)
    centre = np.empty(TILE, np.float32)
    mu = np.empty(TILE)
    ss = np.empty(TILE)
    within = np.empty(TILE, np.bool_)
    quarter = n // 4
    factor = np.float32(kappa * 1.4826022185056018)
    for start in range(first, last, TILE):
        width = min(TILE, last - start)
        c = count[start : start + width]
        c[:] = 0
        for k in range(n):
            _fill(tile[k, :TILE], frames[k, start : start + width], c)
        if code != 0:
            call_on_tile(code, tile, tile)
        else:
            sort_rows(tile, pairs, TILE)
        # Of nearly all pixels nothing is to be clipped: these are told apart, and summed, a row at a time.
        if n % 2:
            centre[:] = tile[n // 2, :TILE]
        else:
            _middle_row(tile[n // 2 - 1, :TILE], tile[n // 2, :TILE], centre)
        _lies_within(
            tile[0, :TILE], tile[quarter, :TILE], centre, tile[quarter + n // 2, :TILE], tile[n - 1, :TILE], factor,
            within,
        )  # fmt: skip
        _deviations(tile, centre, mu, ss)
        for i in range(width):
            m = c[i]
            j = start + i
            if m == 0:
                mean[j] = np.nan
                scatter[j] = np.nan
                clipped[j] = 0
            elif m == n and n > 1 and within[i]:
                mean[j] = centre[i] + mu[i]
                scatter[j] = np.sqrt(ss[i] / (n - 1))
                clipped[j] = 0
            else:
                mean[j], scatter[j], kept = _clipped_pixel(tile, i, column, m, kappa)
                count[j] = kept
                clipped[j] = m - kept


def clipped_mean(frames: F4, kappa: float) -> ClippedMean:
    """Mean and scatter over frames, outliers rejected iteratively about the median.

    A sample farther from the median than κ × 1.4826 × MAD of the samples kept so far is rejected, until none is.

    Parameters
    ----------
    frames : ndarray of float32, shape (n_frames, n_pixels)
        Samples in DN; NaN or infinite means none.
    kappa : float
        Limit in σ.

    Returns
    -------
    ClippedMean
        Mean, standard deviation of the kept samples (ddof = 1; NaN with fewer than two), how many were kept
        and how many rejected. The mean is NaN where a pixel has no sample.
    """
    n_pixels = frames.shape[1]
    out = ClippedMean(
        np.empty(n_pixels, np.float32),
        np.empty(n_pixels, np.float32),
        np.empty(n_pixels, np.int32),
        np.empty(n_pixels, np.int32),
    )
    n = len(frames)
    code = sorting_code(n).address if 1 < n <= MOST_ROWS and n_pixels >= LEAST_PIXELS else 0
    pairs = sorting_network(n)
    on_all_cores(lambda first, last: _clipped_mean(frames, pairs, code, float(kappa), first, last, *out), n_pixels)
    return out
