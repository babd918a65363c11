"""α-trimmed mean over frames, each frame's level removed first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.kernels.borrowing import borrowed
from calib.kernels.compiled import F4, F8, LEAST_PIXELS, PITCH, TILE, kernel
from calib.kernels.frames import form_part
from calib.kernels.networks import merging_network, sort_rows, sorting_network
from calib.kernels.straight import MOST_ROWS, call_on_tile, trimming_code
from calib.kernels.strips import form_strips

__all__ = ["TrimmedHalves", "TrimmedMean", "TrimmedReads", "trimmed_halves", "trimmed_mean"]


class TrimmedMean(NamedTuple):
    """What `trimmed_mean` returns, each ``(n_pixels,)``."""

    mean: F4
    error: F4
    n_samples: NDArray[np.int32]
    low_mean: F4


class TrimmedHalves(NamedTuple):
    """Trimmed mean of all frames, and the means of their first and second half."""

    whole: TrimmedMean
    first: F4
    second: F4


# Fill a tile -------------------------------------------------------------------------------------------------------


@kernel
def _take_away(image, weight, row):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        row[i] -= weight * image[i]


@kernel
def _load(plus, minus, calibration, levels, trend, first, last, tile):  # type: ignore[no-untyped-def]
    """Form some pixels of all frames; what is missing is +inf, so that it sorts behind everything else."""
    # The next tile's samples are a row's next: asked for now, they are there when they are needed.
    forming = plus, minus, *calibration
    for k in range(tile.shape[0]):
        done = form_strips(forming, levels[k], k, first, last, tile)
        if done < last:
            rest = tile[k, done - first : last - first]
            form_part(plus, minus, k, done, last, calibration, levels[k], np.float32(np.inf), rest)
        if trend is not None:
            for d in range(trend[0].shape[1]):
                _take_away(trend[1][d, first:last], trend[0][k, d], tile[k, : last - first])


@kernel
def _count_row(row, count):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        count[i] += 1 if row[i] < np.inf else 0


@kernel
def _count(rows, count):  # type: ignore[no-untyped-def]
    count[:] = 0
    for k in range(rows.shape[0]):
        _count_row(rows[k, : count.size], count)


# From sums to means ------------------------------------------------------------------------------------------------


@kernel
def _divide(total, kept, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = total[i] / kept


@kernel
def _winsorised(total, squares, lo, hi, m, cut):  # type: ignore[no-untyped-def]
    # Standard error of a trimmed mean from the winsorised variance (Tukey & McLaughlin 1963).
    low = np.float64(lo)
    high = np.float64(hi)
    w_sum = total + cut * (low + high)
    w_sq = squares + cut * (low * low + high * high)
    w_var = (w_sq - w_sum * w_sum / m) / (m - 1)
    return np.sqrt(max(w_var, 0.0) / m) * m / (m - 2 * cut)


@kernel
def _winsorised_row(total, squares, lo, hi, m, cut, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = _winsorised(total[i], squares[i], lo[i], hi[i], m, cut)


@kernel
def _close(sums, m, cut, mean, error, low_mean):  # type: ignore[no-untyped-def]
    width = mean.size
    total, squares, low_total, lo, hi = (
        sums[0, :width], sums[1, :width], sums[2, :width], sums[3, :width], sums[4, :width],
    )  # fmt: skip
    _divide(total, np.float32(m - 2 * cut), mean)
    _divide(low_total, np.float32((m - 2 * cut + 1) // 2), low_mean)
    _winsorised_row(total, squares, lo, hi, np.float64(m), np.float64(cut), error)


# A tile, a row at a time -------------------------------------------------------------------------------------------


@kernel
def _bounds(count, alpha, cut, half, end):  # type: ignore[no-untyped-def]
    for i in range(count.size):
        m = count[i]
        c = np.int32(alpha * m)
        cut[i] = c
        half[i] = c + (m - 2 * c + 1) // 2
        end[i] = m - c


@kernel
def _add_rank(rank, row, cut, half, end, total, squares, low_total, low, high):  # type: ignore[no-untyped-def]
    """Add the samples of a rank to the sums of those pixels that keep it."""
    for i in range(row.size):
        kept = (cut[i] <= rank) & (rank < end[i])
        v = row[i] if kept else np.float32(0)
        total[i] += v
        squares[i] += v * v
        low_total[i] += v if rank < half[i] else np.float32(0)
        low[i] = row[i] if rank == cut[i] else low[i]
        high[i] = v if kept else high[i]


@kernel
def _close_uneven(sums, count, cut, half, end, mean, error, low_mean):  # type: ignore[no-untyped-def]
    # Without a sample it is 0 / 0, and so NaN; a single one has no error.
    for i in range(count.size):
        mean[i] = sums[0, i] / np.float32(end[i] - cut[i])
        low_mean[i] = sums[2, i] / np.float32(half[i] - cut[i])
        m = np.float64(count[i])
        error[i] = _winsorised(sums[0, i], sums[1, i], sums[3, i], sums[4, i], m, cut[i]) if m > 1 else np.nan


@kernel
def _trimmed_tile(tile, order, alpha, count, mean, error, low_mean):  # type: ignore[no-untyped-def]
    """Average sorted rows; ``order`` says which row of the tile holds which rank, ``count`` counts the valid samples.

    Ranks are counted among the valid samples of each pixel, which the sort has put first.
    """
    width = count.size
    tile = borrowed(tile)
    sums = np.zeros((5, width), np.float32)
    cut, half, end = np.empty((3, width), np.int32)
    _bounds(count, alpha, cut, half, end)
    for rank in range(order.size):
        _add_rank(rank, tile[order[rank], :width], cut, half, end, sums[0], sums[1], sums[2], sums[3], sums[4])
    _close_uneven(sums, count, cut, half, end, mean, error, low_mean)


@kernel
def _trimmed_rows(tile, count, networks, alpha, mean, error, low_mean, first, second):  # type: ignore[no-untyped-def]
    """Trim a tile that may lack samples, by halves: these are sorted first and then merged. Count the samples."""
    n = tile.shape[0]
    half = n // 2
    width = count.size
    _count(tile, count)
    pairs_first, pairs_second, merge, merged = networks
    order = np.arange(n)
    some = np.empty(width, np.int32)
    spare = np.empty((2, width), np.float32)
    lower, upper = tile[:half], tile[half:]
    _count(lower, some)
    sort_rows(lower, pairs_first, width)
    _trimmed_tile(lower, order[:half], alpha, some, first, spare[0], spare[1])
    some[:] = count - some
    sort_rows(upper, pairs_second, width)
    _trimmed_tile(upper, order[: n - half], alpha, some, second, spare[0], spare[1])
    sort_rows(tile, merge, width)
    _trimmed_tile(tile, merged, alpha, count, mean, error, low_mean)


# All tiles ---------------------------------------------------------------------------------------------------------


@kernel
def _put_back(found, counted, index, n, count, mean, error, low_mean, first, second):  # type: ignore[no-untyped-def]
    for j in range(n):
        i = index[j]
        count[i] = counted[j]
        mean[i] = found[0, j]
        error[i] = found[1, j]
        low_mean[i] = found[2, j]
        first[i] = found[3, j]
        second[i] = found[4, j]


@kernel
def _trim_incomplete(side, index, n, count, networks, alpha, out):  # type: ignore[no-untyped-def]
    """Trim the n pixels put aside because they lack samples; ``out`` are the results of all pixels."""
    found = np.empty((5, n), np.float32)
    counted = np.empty(n, np.int32)
    _trimmed_rows(side, counted, networks, alpha, found[0], found[1], found[2], found[3], found[4])
    _put_back(found, counted, index, n, count, out[0], out[1], out[2], out[3], out[4])


@kernel
def _trimmed_halves(  # type: ignore[no-untyped-def]
    plus, minus, calibration, levels, trend, networks, alpha, code, start, stop, count, out
):
    n = plus.shape[0]
    half = n // 2
    cut, cut_first, cut_second = int(alpha * n), int(alpha * half), int(alpha * (n - half))
    tile = np.zeros((n, PITCH), np.float32)
    sums = np.empty((8, PITCH), np.float32)
    side = np.empty((n, PITCH), np.float32)
    index = np.empty(TILE, np.int64)
    waiting = 0
    mean, error, low_mean, first, second = out
    for a in range(start, stop, TILE):
        b = min(a + TILE, stop)
        width = b - a
        c = count[a:b]
        c[:] = n
        _load(plus, minus, calibration, levels, trend, a, b, tile)
        if code == 0:
            _trimmed_rows(tile, c, networks, alpha, mean[a:b], error[a:b], low_mean[a:b], first[a:b], second[a:b])
            continue
        call_on_tile(code, tile, sums)
        _close(sums, n, cut, mean[a:b], error[a:b], low_mean[a:b])
        _divide(sums[5, :width], np.float32(half - 2 * cut_first), first[a:b])
        _divide(sums[6, :width], np.float32(n - half - 2 * cut_second), second[a:b])
        for i in range(width):
            if sums[7, i] < np.inf:
                continue
            # The highest rank is missing: trim such pixels apart, those without any sample not at all.
            if not (abs(calibration[1][a + i]) < np.inf and tile[:, i].min() < np.inf):
                count[a + i] = 0
                for row in out:
                    row[a + i] = np.nan
            else:
                index[waiting] = a + i
                side[:, waiting] = tile[:, i]
                waiting += 1
                if waiting == TILE:
                    _trim_incomplete(side, index, waiting, count, networks, alpha, out)
                    waiting = 0
    if waiting > 0:
        _trim_incomplete(side, index, waiting, count, networks, alpha, out)


class TrimmedReads:
    """The trimmed mean of reads that are formed on the way, some pixels at a time.

    Parameters
    ----------
    plus, minus, saturation_dn, scale, offset
        As in `calib.kernels.form_read`, frames contiguous; at least two frames.
    levels, alpha
        As in `trimmed_mean`; the levels need not be there before pixels are trimmed.

    Attributes
    ----------
    trend : tuple of ndarray of float32, optional
        Weights, shape (n_frames, m), and images, shape (m, n_pixels), DN: each frame is freed of weights · images, too.
        May be set until pixels are trimmed.
    """

    def __init__(
        self,
        plus: NDArray[Any],
        minus: NDArray[Any] | None,
        *,
        saturation_dn: float,
        scale: F4,
        offset: F4,
        levels: F8,
        alpha: float,
    ) -> None:
        n, n_pixels = plus.shape
        half = n // 2
        mean, error, low_mean, first, second = (np.empty(n_pixels, np.float32) for _ in range(5))
        self.result = TrimmedHalves(TrimmedMean(mean, error, np.empty(n_pixels, np.int32), low_mean), first, second)
        code = 0
        if n <= MOST_ROWS and n_pixels >= LEAST_PIXELS:
            code = trimming_code(n, *(int(alpha * m) for m in (n, half, n - half))).address
        self.levels = levels
        self.trend: tuple[F4, F4] | None = None
        self._frames = plus, minus, (np.float32(saturation_dn), scale, offset)
        self._network = (
            (sorting_network(half), sorting_network(n - half), *merging_network(half, n - half)),
            float(alpha),
            code,
        )

    def trim(self, start: int, stop: int) -> None:
        """Fill in the result of pixels ``start`` to ``stop`` (excluded); stretches may be done side by side."""
        whole, first, second = self.result
        out = (whole.mean, whole.error, whole.low_mean, first, second)
        _trimmed_halves(
            *self._frames,
            self.levels.astype(np.float32),
            self.trend,
            *self._network,
            start,
            stop,
            whole.n_samples,
            out,
        )


def trimmed_halves(frames: F4, levels: F8, alpha: float) -> TrimmedHalves:
    """Return `trimmed_mean` of all frames, and the means of `trimmed_mean` over their first and second half.

    The halves are sorted first and then merged, which costs little more than the whole alone. Of an odd number of
    frames the second half has one more. The parameters are those of `trimmed_mean`; at least two frames.
    """
    n_pixels = frames.shape[1]
    reads = TrimmedReads(
        frames,
        None,
        saturation_dn=np.inf,
        scale=np.ones(n_pixels, np.float32),
        offset=np.zeros(n_pixels, np.float32),
        levels=levels,
        alpha=alpha,
    )
    reads.trim(0, n_pixels)
    return reads.result


@kernel
def _subtract(row, level, out):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        v = row[i] - level
        out[i] = v if abs(v) < np.inf else np.float32(np.inf)


@kernel
def _trimmed_mean(frames, levels, pairs, alpha, mean, error, count, low_mean):  # type: ignore[no-untyped-def]
    n, n_pixels = frames.shape
    tile = np.empty((n, TILE), np.float32)
    order = np.arange(n)
    for start in range(0, n_pixels, TILE):
        stop = min(start + TILE, n_pixels)
        c = count[start:stop]
        for k in range(n):
            _subtract(frames[k, start:stop], levels[k], tile[k, : c.size])
        _count(tile, c)
        sort_rows(tile, pairs, c.size)
        _trimmed_tile(tile, order, alpha, c, mean[start:stop], error[start:stop], low_mean[start:stop])


def trimmed_mean(frames: F4, levels: F8, alpha: float) -> TrimmedMean:
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
    mean, error, low_mean = (np.empty(n_pixels, np.float32) for _ in range(3))
    out = TrimmedMean(mean, error, np.empty(n_pixels, np.int32), low_mean)
    _trimmed_mean(frames, levels.astype(np.float32), sorting_network(len(frames)), float(alpha), *out)
    return out
