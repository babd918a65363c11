"""The inner loops, compiled with numba; everything else is plain NumPy.

All kernels take frames as rows and pixels as contiguous columns, ``(n_frames, n_pixels)`` float32, and treat
NaN as "no sample". They hold no state and release the GIL. Sorting over frames is done by a sorting network
on tiles of neighbouring pixels: a compare-exchange is then ``min``/``max`` on whole vectors
(Batcher 1968, odd–even merge sort). The NumPy twins that state what each kernel computes are in
`calib.kernels_numpy`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "ClippedMean",
    "SlopeFit",
    "TrimmedMean",
    "clipped_mean",
    "form_read",
    "robust_slope",
    "trimmed_halves",
    "trimmed_mean",
]

TILE = 256

# The slope works in double precision and on more rows.
SLOPE_TILE = 256

THREADS = min(2, os.cpu_count() or 1)


def _can_cache() -> bool:
    """Return whether compiled code can be kept on disk; a service user may own no writable folder."""
    folders = [os.environ.get("NUMBA_CACHE_DIR"), Path(__file__).parent / "__pycache__", Path.home()]
    return any(folder and os.access(folder, os.W_OK) for folder in folders)


_options = {"cache": _can_cache(), "nogil": True, "error_model": "numpy"}

F4 = NDArray[np.float32]


class TrimmedMean(NamedTuple):
    """What `trimmed_mean` returns, each ``(n_pixels,)``."""

    mean: F4
    error: F4
    n_samples: NDArray[np.int32]
    low_mean: F4


class ClippedMean(NamedTuple):
    """What `clipped_mean` returns, each ``(n_pixels,)``."""

    mean: F4
    scatter: F4
    n_samples: NDArray[np.int32]
    clipped: NDArray[np.int32]


class SlopeFit(NamedTuple):
    """What `robust_slope` returns, each ``(n_pixels,)``."""

    intercept: F4
    slope: F4
    intercept_error: F4
    slope_error: F4
    chi2: F4
    n_samples: NDArray[np.int32]
    curvature: F4
    curvature_error: F4


def _on_all_cores(work: Callable[[int, int], None], n_pixels: int) -> None:
    """Call ``work(first, last)`` for stretches of pixels, side by side where there are many."""
    n = THREADS if n_pixels > 1 << 13 else 1
    # Whole tiles to each, so that the tiles are the same however many cores there are.
    edges = [min(-(-k * n_pixels // (n * TILE)) * TILE, n_pixels) for k in range(n + 1)]
    if n == 1:
        work(0, n_pixels)
        return
    with ThreadPoolExecutor(n) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))


@functools.cache
def sorting_network(n: int) -> NDArray[np.int32]:
    """Return the compare-exchange pairs of an odd–even merge sort of n values, ``(n_pairs, 2)``.

    The recursion goes depth first, which keeps the rows in use near each other in the cache.
    """
    pairs: list[tuple[int, int]] = []
    size = 1 << max(n - 1, 1).bit_length()

    def merge(low: int, length: int, step: int) -> None:
        double = step * 2
        if double < length:
            merge(low, length, double)
            merge(low + step, length, double)
            for i in range(low + step, low + length - step, double):
                pairs.append((i, i + step))
        else:
            pairs.append((low, low + step))

    def sort(low: int, length: int) -> None:
        if length > 1 and low < n:
            half = length // 2
            sort(low, half)
            sort(low + half, half)
            merge(low, length, 1)

    sort(0, size)
    # Values beyond n are thought of as +inf: pairs that reach there never exchange.
    kept = [p for p in pairs if p[1] < n]
    return np.array(kept, dtype=np.int32).reshape(-1, 2)


@functools.cache
def selecting_network(n: int) -> NDArray[np.int32]:
    """Return the pairs of `sorting_network` that the median of n values needs, ``(n_pairs, 2)``."""
    wanted = {n // 2, (n - 1) // 2}
    kept = []
    for i, j in sorting_network(n)[::-1].tolist():
        if i in wanted or j in wanted:
            kept.append((i, j))
            wanted |= {i, j}
    return np.array(kept[::-1], np.int32).reshape(-1, 2)


@functools.cache
def merging_network(m: int, n: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the compare-exchange pairs that merge m sorted rows with the n sorted rows behind them.

    This is Batcher's merge of any two lengths (Knuth 5.3.4): the odd ranks of both are merged, the even ranks
    likewise, and neighbours put in order.

    Returns
    -------
    pairs : ndarray of int, shape (n_pairs, 2)
    order : ndarray of int, shape (m + n,)
        Row in which each rank ends.
    """
    pairs: list[tuple[int, int]] = []

    def merge(a: list[int], b: list[int]) -> list[int]:
        if not a or not b:
            return a or b
        if len(a) == len(b) == 1:
            pairs.append((a[0], b[0]))
            return a + b
        odd, even = merge(a[::2], b[::2]), merge(a[1::2], b[1::2])
        order = odd[:1]
        for low, high in zip(even, odd[1:], strict=False):
            pairs.append((low, high))
            order += [low, high]
        return order + odd[len(even) + 1 :] + even[len(odd) - 1 :]

    order = merge(list(range(m)), list(range(m, m + n)))
    return np.array(pairs, np.int32).reshape(-1, 2), np.array(order, np.int64)


@njit(**_options)
def _exchange(a, b):  # type: ignore[no-untyped-def]
    # On its own, over 1-D views: only so does LLVM turn it into vector min/max.
    for i in range(a.size):
        x = a[i]
        y = b[i]
        a[i] = x if x < y else y
        b[i] = y if x < y else x


@njit(**_options)
def _fill(row, source, level, count):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        v = source[i] - level
        missing = not (abs(v) < np.inf)
        row[i] = np.float32(np.inf) if missing else v
        count[i] += 0 if missing else 1


@njit(**_options)
def _add(total, squares, row):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        v = row[i]
        total[i] += v
        squares[i] += v * v


@njit(**_options)
def _load(frames, levels, first, start, tile, count):  # type: ignore[no-untyped-def]
    width = count.size
    count[:] = 0
    for k in range(tile.shape[0]):
        _fill(tile[k, :width], frames[first + k, start : start + width], levels[first + k], count)


@njit(**_options)
def _sort(tile, pairs, width):  # type: ignore[no-untyped-def]
    for p in range(pairs.shape[0]):
        _exchange(tile[pairs[p, 0], :width], tile[pairs[p, 1], :width])


@njit(**_options)
def _load_sorted(frames, levels, pairs, start, tile, count):  # type: ignore[no-untyped-def]
    _load(frames, levels, 0, start, tile, count)
    _sort(tile, pairs, count.size)


@njit(**_options)
def _close(total, squares, low_total, lo, hi, m, cut, half, mean, error, low_mean):  # type: ignore[no-untyped-def]
    kept = m - 2 * cut
    for i in range(mean.size):
        mean[i] = total[i] / kept
        low_mean[i] = low_total[i] / (half - cut)
        # Standard error of a trimmed mean from the winsorised variance (Tukey & McLaughlin 1963).
        w_sum = total[i] + cut * (lo[i] + hi[i])
        w_sq = squares[i] + cut * (lo[i] * lo[i] + hi[i] * hi[i])
        w_var = (w_sq - w_sum * w_sum / m) / (m - 1)
        error[i] = np.sqrt(max(w_var, 0.0) / m) * m / kept


@njit(**_options)
def _trimmed_pixel(tile, order, alpha, i, m, mean, error, low_mean):  # type: ignore[no-untyped-def]
    # A pixel that lacks samples: ranks are counted among the valid ones, which the sort has put first.
    if m == 0:
        mean[i] = np.nan
        error[i] = np.nan
        low_mean[i] = np.nan
        return
    cut = int(alpha * m)
    half = cut + (m - 2 * cut + 1) // 2
    t = np.float32(0)
    s = np.float32(0)
    for k in range(cut, half):
        v = tile[order[k], i]
        t += v
        s += v * v
    low = t
    for k in range(half, m - cut):
        v = tile[order[k], i]
        t += v
        s += v * v
    kept = m - 2 * cut
    mean[i] = t / kept
    low_mean[i] = low / (half - cut)
    lo = tile[order[cut], i]
    hi = tile[order[m - cut - 1], i]
    w_sum = t + cut * (lo + hi)
    w_sq = s + cut * (lo * lo + hi * hi)
    w_var = (w_sq - w_sum * w_sum / m) / (m - 1) if m > 1 else np.nan
    error[i] = np.sqrt(max(w_var, 0.0) / m) * m / kept if m > 1 else np.nan


@njit(**_options)
def _trimmed_tile(tile, order, alpha, c, mean, error, low_mean):  # type: ignore[no-untyped-def]
    """Average sorted rows; ``order`` says which row of the tile holds which rank, ``c`` counts the valid samples."""
    n = order.size
    width = c.size
    total = np.zeros(width, np.float32)
    squares = np.zeros(width, np.float32)
    cut = int(alpha * n)
    half = cut + (n - 2 * cut + 1) // 2
    for k in range(cut, half):
        _add(total, squares, tile[order[k], :width])
    low_total = total.copy()
    for k in range(half, n - cut):
        _add(total, squares, tile[order[k], :width])
    if n > 1:
        lo = tile[order[cut], :width]
        hi = tile[order[n - cut - 1], :width]
        _close(total, squares, low_total, lo, hi, n, cut, half, mean, error, low_mean)
    for i in range(width):
        if c[i] < n or n == 1:
            _trimmed_pixel(tile, order, alpha, i, c[i], mean, error, low_mean)


@njit(**_options)
def _trimmed_mean(frames, levels, pairs, alpha, mean, error, count, low_mean):  # type: ignore[no-untyped-def]
    n, n_pixels = frames.shape
    tile = np.empty((n, TILE), np.float32)
    order = np.arange(n)
    for start in range(0, n_pixels, TILE):
        stop = min(start + TILE, n_pixels)
        c = count[start:stop]
        _load_sorted(frames, levels, pairs, start, tile, c)
        _trimmed_tile(tile, order, alpha, c, mean[start:stop], error[start:stop], low_mean[start:stop])


@njit(**_options)
def _trimmed_halves(  # type: ignore[no-untyped-def]
    frames, levels, pairs_first, pairs_second, merge, merged, alpha, mean, error, count, low_mean, first, second
):
    n, n_pixels = frames.shape
    half = n // 2
    tile = np.empty((n, TILE), np.float32)
    order = np.arange(n)
    c2 = np.empty(TILE, np.int32)
    spare = np.empty((2, TILE), np.float32)
    for start in range(0, n_pixels, TILE):
        stop = min(start + TILE, n_pixels)
        width = stop - start
        c = count[start:stop]
        lower, upper = tile[:half], tile[half:]
        _load(frames, levels, 0, start, lower, c)
        _sort(lower, pairs_first, width)
        _trimmed_tile(lower, order[:half], alpha, c, first[start:stop], spare[0, :width], spare[1, :width])
        _load(frames, levels, half, start, upper, c2[:width])
        _sort(upper, pairs_second, width)
        _trimmed_tile(
            upper, order[: n - half], alpha, c2[:width], second[start:stop], spare[0, :width], spare[1, :width]
        )
        c += c2[:width]
        _sort(tile, merge, width)
        _trimmed_tile(tile, merged, alpha, c, mean[start:stop], error[start:stop], low_mean[start:stop])


def trimmed_halves(frames: F4, levels: NDArray[np.float64], alpha: float) -> tuple[TrimmedMean, F4, F4]:
    """Return `trimmed_mean` of all frames, and the means of `trimmed_mean` over their first and second half.

    The halves are sorted first and then merged, which costs little more than the whole alone. Of an odd number of
    frames the second half has one more. The parameters are those of `trimmed_mean`; at least two frames.
    """
    n, n_pixels = frames.shape
    mean, error, low_mean, first, second = (np.empty(n_pixels, np.float32) for _ in range(5))
    whole = TrimmedMean(mean, error, np.empty(n_pixels, np.int32), low_mean)
    merge, merged = merging_network(n // 2, n - n // 2)
    _trimmed_halves(
        frames,
        levels.astype(np.float32),
        sorting_network(n // 2),
        sorting_network(n - n // 2),
        merge,
        merged,
        float(alpha),
        *whole,
        first,
        second,
    )
    return whole, first, second


def trimmed_mean(frames: F4, levels: NDArray[np.float64], alpha: float) -> TrimmedMean:
    """α-trimmed mean over frames, each frame's level removed first.

    Parameters
    ----------
    frames : ndarray of float32, shape (n_frames, n_pixels)
        Samples in DN; NaN or infinite means none.
    levels : ndarray, shape (n_frames,)
        Level l_k of each frame in DN; a frame whose level is NaN takes no part.
    alpha : float
        Fraction of the valid samples of a pixel trimmed at each end, 0 ≤ α < 0.5, rounded down.

    Returns
    -------
    TrimmedMean
        Mean, its standard error, number of valid samples, and the mean of the lower half of the kept samples;
        NaN where a pixel has no sample (the error also where it has one).
    """
    n_pixels = frames.shape[1]
    out = TrimmedMean(
        np.empty(n_pixels, np.float32),
        np.empty(n_pixels, np.float32),
        np.empty(n_pixels, np.int32),
        np.empty(n_pixels, np.float32),
    )
    _trimmed_mean(frames, levels.astype(np.float32), sorting_network(len(frames)), float(alpha), *out)
    return out


@njit(**_options)
def _sorted_median(v, a, b):  # type: ignore[no-untyped-def]
    m = b - a
    mid = a + m // 2
    return v[mid] if m % 2 else np.float32(0.5) * (v[mid - 1] + v[mid])


@njit(**_options)
def _sorted_mad(v, a, b, centre):  # type: ignore[no-untyped-def]
    # The deviations from the centre grow from the middle outwards: walk there with two pointers.
    m = b - a
    i = a
    while i < b and v[i] < centre:
        i += 1
    left = i - 1
    right = i
    previous = np.float32(0)
    current = np.float32(0)
    for _ in range(m // 2 + 1):
        previous = current
        d_left = centre - v[left] if left >= a else np.float32(np.inf)
        d_right = v[right] - centre if right < b else np.float32(np.inf)
        if d_left < d_right:
            current = d_left
            left -= 1
        else:
            current = d_right
            right += 1
    return current if m % 2 else np.float32(0.5) * (previous + current)


@njit(**_options)
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
    total = 0.0
    for k in range(a, b):
        total += column[k] - centre
    mu = total / kept
    ss = 0.0
    for k in range(a, b):
        d = column[k] - centre - mu
        ss += d * d
    return centre + mu, np.sqrt(ss / (kept - 1)) if kept > 1 else np.nan, kept


@njit(**_options)
def _lies_within(low, quarter, centre, three_quarters, high, factor, within):  # type: ignore[no-untyped-def]
    # Half of the samples lie between the quartiles, so the MAD is no less than the distance of the nearer one.
    for i in range(within.size):
        reach = factor * min(centre[i] - quarter[i], three_quarters[i] - centre[i])
        within[i] = (centre[i] - low[i] <= reach) & (high[i] - centre[i] <= reach)


@njit(**_options)
def _middle_row(u, v, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = np.float32(0.5) * (u[i] + v[i])


@njit(**_options)
def _add_deviation(row, centre, total):  # type: ignore[no-untyped-def]
    for i in range(total.size):
        total[i] += row[i] - centre[i]


@njit(**_options)
def _add_square(row, centre, mu, ss):  # type: ignore[no-untyped-def]
    for i in range(ss.size):
        d = row[i] - centre[i] - mu[i]
        ss[i] += d * d


@njit(**_options)
def _clipped_mean(  # type: ignore[no-untyped-def]
    frames, levels, pairs, kappa, first, last, mean, scatter, count, clipped
):
    n = frames.shape[0]
    tile = np.empty((n, TILE), np.float32)
    column = np.empty(n, np.float32)
    centre = np.empty(TILE, np.float32)
    mu = np.empty(TILE)
    ss = np.empty(TILE)
    within = np.empty(TILE, np.bool_)
    quarter = n // 4
    factor = np.float32(kappa * 1.4826022185056018)
    tile[:] = 0
    for start in range(first, last, TILE):
        width = min(TILE, last - start)
        c = count[start : start + width]
        _load_sorted(frames, levels, pairs, start, tile, c)
        # Of nearly all pixels nothing is to be clipped: these are told apart, and summed, a row at a time.
        if n % 2:
            centre[:] = tile[n // 2]
        else:
            _middle_row(tile[n // 2 - 1], tile[n // 2], centre)
        _lies_within(tile[0], tile[quarter], centre, tile[quarter + n // 2], tile[n - 1], factor, within)
        mu[:] = 0
        ss[:] = 0
        for k in range(n):
            _add_deviation(tile[k], centre, mu)
        for i in range(TILE):
            mu[i] /= n
        for k in range(n):
            _add_square(tile[k], centre, mu, ss)
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
    levels = np.zeros(len(frames), np.float32)
    pairs = sorting_network(len(frames))
    _on_all_cores(lambda first, last: _clipped_mean(frames, levels, pairs, float(kappa), first, last, *out), n_pixels)
    return out


@njit(**_options)
def _small_median(values, m):  # type: ignore[no-untyped-def]
    for i in range(1, m):  # insertion sort: a few dozen values
        v = values[i]
        j = i - 1
        while j >= 0 and values[j] > v:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = v
    return values[m // 2] if m % 2 else 0.5 * (values[m // 2 - 1] + values[m // 2])


@njit(**_options)
def _weighted_line(x, y, w, keep, m):  # type: ignore[no-untyped-def]
    sw = 0.0
    sx = 0.0
    sy = 0.0
    for k in range(m):
        if keep[k]:
            sw += w[k]
            sx += w[k] * x[k]
            sy += w[k] * y[k]
    x0 = sx / sw
    y0 = sy / sw
    sxx = 0.0
    sxy = 0.0
    for k in range(m):
        if keep[k]:
            d = x[k] - x0
            sxx += w[k] * d * d
            sxy += w[k] * d * (y[k] - y0)
    slope = sxy / sxx
    return y0 - slope * x0, slope, sw, x0, sxx


@njit(**_options)
def _slope_pixel(  # type: ignore[no-untyped-def]
    frames, levels, order, read_variance, gain, kappa, iterations, i, room, fit, rejected
):
    """Fit one pixel step by step: the way of those that lack samples or do not settle at once."""
    intercept, slope, intercept_error, slope_error, chi2, count, curvature, curvature_error = fit
    x, y, w, scratch, source, keep = room
    n = order.size
    m = 0
    for j in range(n):
        k = order[j]
        v = frames[k, i]
        if abs(v) < np.inf:
            x[m] = levels[k]
            y[m] = v
            source[m] = k
            m += 1
    if m < 4 or not x[m - 1] > x[0]:
        intercept[i] = np.nan
        slope[i] = np.nan
        intercept_error[i] = np.nan
        slope_error[i] = np.nan
        chi2[i] = np.nan
        count[i] = m
        curvature[i] = np.nan
        curvature_error[i] = np.nan
        return
    # Tukey's resistant line through the medians of the outer thirds: outliers cannot drag it along.
    third = m // 3 if m >= 9 else m // 2
    x_low = 0.5 * (x[(third - 1) // 2] + x[third // 2])
    x_high = 0.5 * (x[m - third + (third - 1) // 2] + x[m - third + third // 2])
    b = 1.0
    # Twice, of the residuals: ranks within a third must tell outliers, not the illumination.
    for _ in range(2 if x_high > x_low else 0):
        for k in range(third):
            scratch[k] = y[k] - b * x[k]
        r_low = _small_median(scratch, third)
        for k in range(third):
            scratch[k] = y[m - third + k] - b * x[m - third + k]
        r_high = _small_median(scratch, third)
        b += (r_high - r_low) / (x_high - x_low)
    for k in range(m):
        scratch[k] = y[k] - b * x[k]
    a = _small_median(scratch, m)
    rv = read_variance[i]
    near = 0
    for k in range(m):
        w[k] = 1.0 / (rv + max(a + b * x[k], 0.0) / gain)
        r = (y[k] - a - b * x[k]) ** 2 * w[k]
        scratch[k] = np.sqrt(r)
        near += 1 if r < 6.25 else 0
    # Where the light itself was unsteady the model noise is too small; widen the limit, or all would go.
    scale = 1.0 if near >= 0.75 * m else max(1.0, 1.4826 * _small_median(scratch, m))
    for k in range(m):
        keep[k] = True
    kept = m
    sw = 1.0
    x0 = 0.0
    sxx = 1.0
    for _ in range(iterations):
        limit = (kappa * scale) ** 2
        changed = False
        kept = 0
        for k in range(m):
            ok = (y[k] - a - b * x[k]) ** 2 * w[k] <= limit
            changed = changed or (ok != keep[k])
            keep[k] = ok
            kept += 1 if ok else 0
        if kept < 4:
            for k in range(m):
                keep[k] = True
            kept = m
        a, b, sw, x0, sxx = _weighted_line(x, y, w, keep, m)
        for k in range(m):
            w[k] = 1.0 / (rv + max(a + b * x[k], 0.0) / gain)
        if not changed and _ > 0:
            break
    a, b, sw, x0, sxx = _weighted_line(x, y, w, keep, m)
    total = 0.0
    # Quadratic term, orthogonal to constant and line under the same weights.
    s3 = 0.0
    for k in range(m):
        if keep[k]:
            d = x[k] - x0
            s3 += w[k] * d * d * d
            total += w[k] * (y[k] - a - b * x[k]) ** 2
        else:
            rejected[source[k], i] = True
    qq = 0.0
    qy = 0.0
    for k in range(m):
        if keep[k]:
            d = x[k] - x0
            q = d * d - sxx / sw - (s3 / sxx) * d
            qq += w[k] * q * q
            qy += w[k] * q * (y[k] - a - b * x[k])
    intercept[i] = a
    slope[i] = b
    slope_error[i] = np.sqrt(1.0 / sxx)
    intercept_error[i] = np.sqrt(1.0 / sw + x0 * x0 / sxx)
    chi2[i] = total / (kept - 2) if kept > 2 else np.nan
    count[i] = kept
    curvature[i] = qy / qq if qq > 0 else np.nan
    curvature_error[i] = np.sqrt(1.0 / qq) if qq > 0 else np.nan


@njit(**_options)
def _residuals(y, x, b, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = y[i] - b[i] * x


@njit(**_options)
def _half_sum(u, v, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = 0.5 * (u[i] + v[i])


@njit(**_options)
def _tile_medians(rows, pairs, out):  # type: ignore[no-untyped-def]
    n = rows.shape[0]
    for p in range(pairs.shape[0]):
        _exchange(rows[pairs[p, 0]], rows[pairs[p, 1]])
    if n % 2:
        out[:] = rows[n // 2]
    else:
        _half_sum(rows[n // 2 - 1], rows[n // 2], out)


@njit(**_options)
def _tilt(b, low, high, run):  # type: ignore[no-untyped-def]
    for i in range(b.size):
        b[i] += (high[i] - low[i]) / run


@njit(**_options)
def _weigh(y, x, a, b, variance, gain, limit, w, keep, near):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        model = a[i] + b[i] * x
        weight = 1.0 / (variance[i] + max(model, 0.0) / gain)
        d = y[i] - a[i] - b[i] * x
        r = d * d * weight
        w[i] = weight
        near[i] += 1 if r < 6.25 else 0
        keep[i] = 1.0 if r <= limit else 0.0


@njit(**_options)
def _weigh_again(y, x, a, b, variance, gain, limit, w, keep, changed):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        d = y[i] - a[i] - b[i] * x
        ok = 1.0 if d * d * w[i] <= limit else 0.0
        changed[i] += abs(ok - keep[i])
        keep[i] = ok


@njit(**_options)
def _reweigh(x, a, b, variance, gain, w):  # type: ignore[no-untyped-def]
    for i in range(w.size):
        w[i] = 1.0 / (variance[i] + max(a[i] + b[i] * x, 0.0) / gain)


@njit(**_options)
def _sums(y, x, w, keep, sw, sx, sy):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        v = w[i] * keep[i]
        sw[i] += v
        sx[i] += v * x
        sy[i] += v * y[i]


@njit(**_options)
def _moments(y, x, w, keep, x0, y0, sxx, sxy):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        d = x - x0[i]
        v = w[i] * keep[i] * d
        sxx[i] += v * d
        sxy[i] += v * (y[i] - y0[i])


@njit(**_options)
def _centre(sw, sx, sy):  # type: ignore[no-untyped-def]
    for i in range(sw.size):
        sx[i] /= sw[i]
        sy[i] /= sw[i]


@njit(**_options)
def _line_of(x0, y0, sxx, sxy, a, b):  # type: ignore[no-untyped-def]
    for i in range(a.size):
        b[i] = sxy[i] / sxx[i]
        a[i] = y0[i] - b[i] * x0[i]


@njit(**_options)
def _tile_line(x, y, w, keep, a, b, sums):  # type: ignore[no-untyped-def]
    sw, x0, y0, sxx, sxy = sums[0], sums[1], sums[2], sums[3], sums[4]
    sums[:] = 0
    for k in range(x.size):
        _sums(y[k], x[k], w[k], keep[k], sw, x0, y0)
    _centre(sw, x0, y0)
    for k in range(x.size):
        _moments(y[k], x[k], w[k], keep[k], x0, y0, sxx, sxy)
    _line_of(x0, y0, sxx, sxy, a, b)


@njit(**_options)
def _third_moment(y, x, w, keep, a, b, x0, s3, total):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        d = x - x0[i]
        r = y[i] - a[i] - b[i] * x
        v = w[i] * keep[i]
        s3[i] += v * d * d * d
        total[i] += v * (r * r)


@njit(**_options)
def _sum_row(row, total):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        total[i] += row[i]


@njit(**_options)
def _bend(y, x, w, keep, a, b, x0, flat, skew, qq, qy):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        d = x - x0[i]
        q = d * d - flat[i] - skew[i] * d
        v = w[i] * keep[i] * q
        qq[i] += v * q
        qy[i] += v * (y[i] - a[i] - b[i] * x)


@njit(**_options)
def _count_missing(source, y, missing):  # type: ignore[no-untyped-def]
    for i in range(source.size):
        v = source[i]
        y[i] = v
        missing[i] += 0 if abs(v) < np.inf else 1


@njit(**_options)
def _mark(keep, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = keep[i] == 0.0


@njit(**_options)
def _start_line(x, y, third, pairs_third, pairs_all, scratch, a, b, low, high):  # type: ignore[no-untyped-def]
    """Write Tukey's resistant line of complete pixels; see `_slope_pixel`."""
    n = x.size
    x_low = 0.5 * (x[(third - 1) // 2] + x[third // 2])
    x_high = 0.5 * (x[n - third + (third - 1) // 2] + x[n - third + third // 2])
    b[:] = 1.0
    for _ in range(2 if x_high > x_low else 0):
        for k in range(third):
            _residuals(y[k], x[k], b, scratch[k])
        _tile_medians(scratch[:third], pairs_third, low)
        for k in range(third):
            _residuals(y[n - third + k], x[n - third + k], b, scratch[k])
        _tile_medians(scratch[:third], pairs_third, high)
        _tilt(b, low, high, x_high - x_low)
    for k in range(n):
        _residuals(y[k], x[k], b, scratch[k])
    _tile_medians(scratch, pairs_all, a)


@njit(**_options)
def _robust_slope(  # type: ignore[no-untyped-def]
    frames, levels, order, pairs_third, pairs_all, read_variance, gain, kappa, iterations, first, last, fit,
    rejected,
):  # fmt: skip
    intercept, slope, intercept_error, slope_error, chi2, count, curvature, curvature_error = fit
    n = frames.shape[0]
    room = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64), np.empty(n, np.bool_)
    x = levels[order]
    third = n // 3 if n >= 9 else n // 2
    regular = n >= 4 and iterations >= 2 and x[n - 1] > x[0]
    limit = kappa * kappa
    rows = np.zeros((4, n, SLOPE_TILE))
    part = np.empty((16, SLOPE_TILE))
    for start in range(first, last, SLOPE_TILE):
        stop = min(start + SLOPE_TILE, last)
        if not regular:
            for i in range(start, stop):
                _slope_pixel(frames, levels, order, read_variance, gain, kappa, iterations, i, room, fit, rejected)
            continue
        width = stop - start
        # Whole rows even of a last tile that is not full: views of a part would be strided, and not vectorise.
        y, w, keep, scratch = rows[0], rows[1], rows[2], rows[3]
        part[:] = 0
        a, b, missing, near, changed, variance = part[0], part[1], part[2], part[3], part[4], part[5]
        variance[:] = 1
        variance[:width] = read_variance[start:stop]
        for k in range(n):
            _count_missing(frames[order[k], start:stop], y[k], missing)
        _start_line(x, y, third, pairs_third, pairs_all, scratch, a, b, part[6], part[7])
        for k in range(n):
            _weigh(y[k], x[k], a, b, variance, gain, limit, w[k], keep[k], near)
        _tile_line(x, y, w, keep, a, b, part[8:13])
        for k in range(n):
            _reweigh(x[k], a, b, variance, gain, w[k])
            _weigh_again(y[k], x[k], a, b, variance, gain, limit, w[k], keep[k], changed)
        _tile_line(x, y, w, keep, a, b, part[8:13])
        for k in range(n):
            _reweigh(x[k], a, b, variance, gain, w[k])
        _tile_line(x, y, w, keep, a, b, part[8:13])
        sw, x0, sxx = part[8], part[9], part[11]
        s3, total, qq, qy, kept, flat, skew = part[13], part[14], part[15], part[6], part[7], part[10], part[12]
        qy[:] = 0
        kept[:] = 0
        for k in range(n):
            _third_moment(y[k], x[k], w[k], keep[k], a, b, x0, s3, total)
            _sum_row(keep[k], kept)
        for i in range(SLOPE_TILE):
            flat[i] = sxx[i] / sw[i]
            skew[i] = s3[i] / sxx[i]
        for k in range(n):
            _bend(y[k], x[k], w[k], keep[k], a, b, x0, flat, skew, qq, qy)
            _mark(keep[k], rejected[order[k], start:stop])
        for i in range(width):
            j = start + i
            # Left to be done one by one: samples missing, light unsteady, too few kept, or a kept set that still moves.
            if missing[i] > 0 or near[i] < 0.75 * n or kept[i] < 4 or changed[i] > 0:
                for k in range(n):
                    rejected[k, j] = False
                _slope_pixel(frames, levels, order, read_variance, gain, kappa, iterations, j, room, fit, rejected)
                continue
            intercept[j] = a[i]
            slope[j] = b[i]
            slope_error[j] = np.sqrt(1.0 / sxx[i])
            intercept_error[j] = np.sqrt(1.0 / sw[i] + x0[i] * x0[i] / sxx[i])
            chi2[j] = total[i] / (kept[i] - 2)
            count[j] = int(kept[i])
            curvature[j] = qy[i] / qq[i] if qq[i] > 0 else np.nan
            curvature_error[j] = np.sqrt(1.0 / qq[i]) if qq[i] > 0 else np.nan


def robust_slope(
    frames: F4,
    levels: NDArray[np.float64],
    read_variance: F4,
    gain: float,
    *,
    kappa: float,
    iterations: int,
) -> tuple[SlopeFit, NDArray[np.bool_]]:
    """Fit I_k = a + b·L_k per pixel, weighted by the noise model, outlying samples rejected.

    The variance of a sample is ``read_variance + max(a + b·L_k, 0)/gain``. The fit starts from Tukey's resistant
    line; samples farther than κ σ leave, and may come back, until the kept set is stable. Where more than a
    quarter of the samples lie beyond 2.5 σ of the model, σ is widened to the observed scatter.

    Parameters
    ----------
    frames : ndarray of float32, shape (n_frames, n_pixels)
        Dark-subtracted samples I_k in DN; NaN or infinite means none.
    levels : ndarray, shape (n_frames,)
        Illumination L_k in DN.
    read_variance : ndarray of float32, shape (n_pixels,)
        Variance of a sample without light, DN².
    gain : float
        Conversion gain, e⁻/DN.
    kappa : float
        Limit in σ.
    iterations : int
        Rounds of rejection at most.

    Returns
    -------
    fit : SlopeFit
        Intercept (DN), slope, their 1σ errors, reduced χ², samples kept, and the coefficient of (L − L̄)²
        orthogonal to the line (1/DN) with its error; NaN where fewer than four samples are left.
    rejected : ndarray of bool, shape (n_frames, n_pixels)
        Samples that were rejected (missing ones are not).
    """
    n_pixels = frames.shape[1]
    a, b, a_error, b_error, chi2, curve, curve_error = (np.empty(n_pixels, np.float32) for _ in range(7))
    rejected = np.zeros(frames.shape, np.bool_)
    fit = SlopeFit(a, b, a_error, b_error, chi2, np.empty(n_pixels, np.int32), curve, curve_error)
    order = np.argsort(levels, kind="stable")
    n = len(frames)
    common = (
        frames,
        np.asarray(levels, np.float64),
        order,
        selecting_network(n // 3 if n >= 9 else n // 2),
        selecting_network(n),
        read_variance,
        float(gain),
        float(kappa),
        int(iterations),
    )
    _on_all_cores(lambda first, last: _robust_slope(*common, first, last, tuple(fit), rejected), n_pixels)
    return fit, rejected


@njit(**_options)
def _form_row(plus, minus, saturation, scale, offset, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        p = np.float32(plus[i])
        v = (p - np.float32(minus[i])) * scale[i] + offset[i]
        out[i] = v if p < saturation else np.float32(np.nan)


@njit(**_options)
def _form_row_single(plus, saturation, scale, offset, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        p = np.float32(plus[i])
        v = p * scale[i] + offset[i]
        out[i] = v if p < saturation else np.float32(np.nan)


@njit(**_options)
def _form(plus, minus, saturation, scale, offset, out):  # type: ignore[no-untyped-def]
    for k in range(out.shape[0]):
        _form_row(plus[k], minus[k], saturation, scale, offset, out[k])


@njit(**_options)
def _form_single(plus, saturation, scale, offset, out):  # type: ignore[no-untyped-def]
    for k in range(out.shape[0]):
        _form_row_single(plus[k], saturation, scale, offset, out[k])


def form_read(
    plus: NDArray[np.generic],
    minus: NDArray[np.generic] | None,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    out: F4 | None = None,
) -> F4:
    """Form a read and calibrate it: ``(plus − minus) · scale + offset``, saturated samples NaN.

    Dark subtraction and flat-fielding are one multiply-add: scale = 1/flat, offset = −dark/flat.

    Parameters
    ----------
    plus, minus : ndarray, shape (n_frames, n_pixels)
        Raw frames of any numeric type, DN; ``minus`` may be None.
    saturation_dn : float
        A sample whose ``plus`` is not below this becomes NaN.
    scale, offset : ndarray of float32, shape (n_pixels,)
        Dimensionless and DN; NaN masks a pixel.
    out : ndarray of float32, shape (n_frames, n_pixels), optional
        Where to write.

    Returns
    -------
    ndarray of float32, shape (n_frames, n_pixels)
        Calibrated samples in DN.
    """
    if out is None:
        out = np.empty(plus.shape, np.float32)
    limit = np.float32(saturation_dn)
    if minus is None:
        _form_single(plus, limit, scale, offset, out)
    else:
        _form(plus, minus, limit, scale, offset, out)
    return out
