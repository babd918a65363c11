"""The kernels of `calib.kernels` in plain NumPy, one pixel after the other.

They state what each kernel computes, in double precision and without any trick, and serve the tests as the
definition. Nothing else uses them: they are a few hundred times slower.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.kernels import (
    CellAverages,
    ClippedMean,
    FinishedFrames,
    NoiseTerms,
    SlopeFit,
    TrimmedHalves,
    TrimmedMean,
    ZeroMedian,
)

__all__ = [
    "calibration_of",
    "cell_averages",
    "cell_middles",
    "clipped_mean",
    "finish_frames",
    "finish_stretch",
    "finite_median",
    "form_read",
    "frame_medians",
    "frame_shifts",
    "less_known",
    "native_16_bit",
    "read_levels",
    "robust_slope",
    "sample_noise",
    "scaled_sum_of_squares",
    "sum_big_endian",
    "swap_and_sum",
    "trimmed_halves",
    "trimmed_mean",
    "zero_median",
]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
Kept = NDArray[np.bool_]

# σ / MAD of a Gaussian.
SIGMA_PER_MAD = 1.4826022185056018


def trimmed_mean(frames: F4, levels: F8, alpha: float) -> TrimmedMean:
    """α-trimmed mean over frames, each frame's level removed first; see `calib.kernels.trimmed_mean`."""
    n_pixels = frames.shape[1]
    mean, error, low_mean = (np.full(n_pixels, np.nan, np.float32) for _ in range(3))
    n_samples = np.zeros(n_pixels, np.int32)
    for i in range(n_pixels):
        valid = np.isfinite(frames[:, i]) & np.isfinite(levels)
        samples = np.sort(frames[valid, i].astype(float) - levels[valid])
        n = n_samples[i] = len(samples)
        if n == 0:
            continue
        cut = int(alpha * n)
        kept = samples[cut : n - cut]
        mean[i] = kept.mean()
        low_mean[i] = kept[: (len(kept) + 1) // 2].mean()
        if n > 1:
            winsorised = np.clip(samples, kept[0], kept[-1])
            error[i] = winsorised.std(ddof=1) / np.sqrt(n) * n / len(kept)
    return TrimmedMean(mean, error, n_samples, low_mean)


def trimmed_halves(frames: F4, levels: F8, alpha: float) -> TrimmedHalves:
    """Trimmed mean of all frames, and of either half; see `calib.kernels.trimmed_halves`."""
    half = len(frames) // 2
    first, second = (trimmed_mean(frames[s], levels[s], alpha).mean for s in (slice(half), slice(half, None)))
    return TrimmedHalves(trimmed_mean(frames, levels, alpha), first, second)


def clipped_mean(frames: F4, kappa: float) -> ClippedMean:
    """Mean and scatter over frames, outliers rejected about the median; see `calib.kernels.clipped_mean`."""
    n_pixels = frames.shape[1]
    mean, scatter = (np.full(n_pixels, np.nan, np.float32) for _ in range(2))
    n_samples, clipped = (np.zeros(n_pixels, np.int32) for _ in range(2))
    for i in range(n_pixels):
        samples = frames[np.isfinite(frames[:, i]), i].astype(float)
        kept = samples
        while len(kept):
            distance = np.abs(kept - np.median(kept))
            near = distance <= kappa * SIGMA_PER_MAD * np.median(distance)
            if near.all():
                break
            kept = kept[near]
        n_samples[i], clipped[i] = len(kept), len(samples) - len(kept)
        if len(kept) > 0:
            mean[i] = kept.mean()
        if len(kept) > 1:
            scatter[i] = kept.std(ddof=1)
    return ClippedMean(mean, scatter, n_samples, clipped)


@dataclass(frozen=True)
class _Line:
    """A weighted line: constant and slope, sum of weights, weighted mean of x, and sum of w (x − x̄)²."""

    a: float
    b: float
    s_w: float
    x_mean: float
    s_xx: float

    def __call__(self, x: F8) -> F8:
        return self.a + self.b * x


def _weighted_line(x: F8, y: F8, w: F8) -> _Line:
    x_mean, y_mean = np.average(x, weights=w), np.average(y, weights=w)
    s_xx = np.sum(w * (x - x_mean) ** 2)
    b = np.sum(w * (x - x_mean) * (y - y_mean)) / s_xx
    return _Line(y_mean - b * x_mean, b, w.sum(), x_mean, s_xx)


def _resistant_line(x: F8, y: F8) -> _Line:
    """Return Tukey's line through the medians of the outer thirds (halves of fewer than nine); x is sorted.

    The medians are taken twice, of what is left of y: over a third the light itself changes more than the noise.
    """
    n = len(x)
    part = n // 3 if n >= 9 else n // 2
    run = float(np.median(x[n - part :]) - np.median(x[:part]))
    b = 1.0
    for _ in range(2 if run > 0 else 0):
        residual = y - b * x
        b += float(np.median(residual[n - part :]) - np.median(residual[:part])) / run
    return _Line(float(np.median(y - b * x)), b, np.nan, np.nan, np.nan)


def _robust_line(
    x: F8, y: F8, read_variance: float, gain: float, kappa: float, iterations: int
) -> tuple[_Line, F8, Kept]:
    """Return the line, the weights of all samples and which of them were kept; x is sorted."""

    def weights(line: _Line) -> F8:
        return np.asarray(1.0 / (read_variance + np.maximum(line(x), 0.0) / gain), float)

    line = _resistant_line(x, y)
    w = weights(line)
    pull = np.abs(y - line(x)) * np.sqrt(w)
    # Light that was itself unsteady scatters more than the noise model says.
    widened = 1.0 if np.mean(pull < 2.5) >= 0.75 else max(1.0, 1.4826 * float(np.median(pull)))
    keep = np.ones(len(x), bool)
    for round_ in range(iterations):
        before = keep
        keep = np.abs(y - line(x)) * np.sqrt(w) <= kappa * widened
        stable = np.array_equal(keep, before)
        if keep.sum() < 4:
            keep = np.ones(len(x), bool)
        line = _weighted_line(x[keep], y[keep], w[keep])
        w = weights(line)
        if stable and round_ > 0:
            break
    return _weighted_line(x[keep], y[keep], w[keep]), w, keep


def robust_slope(
    frames: F4, levels: F8, read_variance: F4, gain: float, *, kappa: float, iterations: int
) -> tuple[SlopeFit, NDArray[np.bool_]]:
    """Fit I_k = a + b·L_k per pixel, outlying samples rejected; see `calib.kernels.robust_slope`."""
    n_pixels = frames.shape[1]
    a, b, a_error, b_error, chi2, curve, curve_error = (np.full(n_pixels, np.nan, np.float32) for _ in range(7))
    count = np.zeros(n_pixels, np.int32)
    rejected = np.zeros(frames.shape, bool)
    order = np.argsort(levels, kind="stable")
    for i in range(n_pixels):
        rows = order[np.isfinite(frames[order, i])]
        x, y = np.asarray(levels, float)[rows], frames[rows, i].astype(float)
        count[i] = len(x)
        if len(x) < 4 or x[-1] == x[0]:
            continue
        line, w, keep = _robust_line(x, y, float(read_variance[i]), gain, kappa, iterations)
        rejected[rows[~keep], i] = True
        x, y, w = x[keep], y[keep], w[keep]
        count[i] = len(x)
        residual = y - line(x)
        a[i], b[i] = line.a, line.b
        a_error[i] = np.sqrt(1.0 / line.s_w + line.x_mean**2 / line.s_xx)
        b_error[i] = np.sqrt(1.0 / line.s_xx)
        chi2[i] = np.sum(w * residual**2) / (len(x) - 2)
        # (x − x̄)² made orthogonal to constant and line under the same weights.
        d = x - line.x_mean
        q = d**2 - line.s_xx / line.s_w - np.sum(w * d**3) / line.s_xx * d
        s_qq = np.sum(w * q**2)
        if s_qq > 0:
            curve[i] = np.sum(w * q * residual) / s_qq
            curve_error[i] = np.sqrt(1.0 / s_qq)
    return SlopeFit(a, b, a_error, b_error, chi2, count, curve, curve_error), rejected


def form_read(
    plus: NDArray[Any],
    minus: NDArray[Any] | None,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    out: F4 | None = None,
) -> F4:
    """Form a read and calibrate it, saturated samples NaN; see `calib.kernels.form_read`."""
    signal = plus.astype(float) if minus is None else plus.astype(float) - minus.astype(float)
    formed = np.where(plus < saturation_dn, signal * scale + offset, np.nan).astype(np.float32)
    if out is None:
        return formed
    out[:] = formed
    return out


def frame_medians(frames: F4, good: Kept) -> F8:
    """Median of each frame over the pixels that count; see `calib.kernels.frame_medians`."""
    counted = [frame[good & np.isfinite(frame)].astype(float) for frame in frames]
    return np.array([np.median(values) if len(values) else np.nan for values in counted])


def calibration_of(dark: F4, responsivity: F4, usable: Kept, good: Kept) -> tuple[F4, F4, F4]:
    """Return what samples are multiplied with and what is added; see `calib.kernels.calibration_of`."""
    with np.errstate(divide="ignore"):
        scale = np.where(usable.ravel(), np.float32(1) / responsivity.astype(np.float32), np.float32(np.nan))
    return scale, -dark.astype(np.float32) * scale, np.where(good.ravel(), scale, np.float32(np.nan))


def read_levels(plus: NDArray[Any], minus: NDArray[Any] | None, *, saturation_dn: float, scale: F4, offset: F4) -> F8:
    """Medians of the frames that `form_read` makes; see `calib.kernels.read_levels`."""
    frames = form_read(plus, minus, saturation_dn=saturation_dn, scale=scale, offset=offset)
    return frame_medians(frames, np.ones(len(scale), np.bool_))


def finish_frames(
    plus: NDArray[Any],
    minus: NDArray[Any] | None,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    level: F8,
    good: Kept,
    noise: NoiseTerms,
    flags: NDArray[np.uint8],
    saturated: int,
    no_data: int,
    hint: F8 | None = None,
    out: tuple[F4, F4, NDArray[np.uint8]],
) -> FinishedFrames:
    """Make final frames with errors and masks; see `calib.kernels.finish_frames`."""
    counting = np.where(good, scale, np.float32(np.nan))
    shift = frame_shifts(plus, minus, saturation_dn=saturation_dn, scale=counting, offset=offset, level=level)
    return finish_stretch(
        plus,
        minus,
        0,
        saturation_dn=saturation_dn,
        scale=scale,
        offset=offset,
        shift=shift,
        noise=noise,
        flags=flags,
        saturated=saturated,
        no_data=no_data,
        out=out,
    )


def frame_shifts(
    plus: NDArray[Any],
    minus: NDArray[Any] | None,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    level: F8,
) -> F8:
    """Return what restores the level of frames; see `calib.kernels.frame_shifts`."""
    return level - read_levels(plus, minus, saturation_dn=saturation_dn, scale=scale, offset=offset)


def finish_stretch(
    plus: NDArray[Any],
    minus: NDArray[Any] | None,
    first: int,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    shift: F8,
    noise: NoiseTerms,
    flags: NDArray[np.uint8],
    saturated: int,
    no_data: int,
    out: tuple[F4, F4, NDArray[np.uint8]],
) -> FinishedFrames:
    """Make a stretch of final frames; see `calib.kernels.finish_stretch`."""
    value, error, mask = out
    part = slice(first, first + value.shape[1])
    plus, minus = plus[:, part], None if minus is None else minus[:, part]
    value[:] = form_read(plus, minus, saturation_dn=saturation_dn, scale=scale[part], offset=offset[part])
    value += np.nan_to_num(shift).astype(np.float32)[:, None]
    light = np.maximum(value.astype(float), 0)
    if len(error):
        constant, linear, quadratic = (term[part] for term in noise)
        error[:] = np.sqrt(constant + light * (linear + light * quadratic))
    missing = np.where(plus >= saturation_dn, saturated, no_data)
    mask[:] = flags[part] | np.where(np.isfinite(value), 0, missing)
    return FinishedFrames(value, error, mask, shift, None)


def finite_median(values: NDArray[np.floating]) -> float:
    """Median of finite values; see `calib.kernels.finite_median`."""
    finite = values[np.isfinite(values)].astype(float)
    return float(np.median(finite)) if finite.size else float("nan")


def swap_and_sum(values: F4, out: NDArray[np.uint32]) -> int:
    """Big-endian words and their sum; see `calib.kernels.swap_and_sum`."""
    words = values.view(np.uint32)
    out[:] = words.byteswap()
    return sum(int(w) for w in words)


def native_16_bit(stored: NDArray[Any], flip: int) -> NDArray[np.uint16]:
    """Big-endian words in native order; see `calib.kernels.native_16_bit`."""
    return stored.view(">u2").astype(np.uint16) ^ np.uint16(flip)


def zero_median(fit: TrimmedHalves, good: Kept, least: int) -> ZeroMedian:
    """Offsets of median zero; see `calib.kernels.zero_median`."""
    medians = frame_medians(np.stack([fit.whole.mean, fit.first, fit.second, fit.whole.error]), good)
    value, first, second = (
        a - np.float32(m) for a, m in zip((fit.whole.mean, fit.first, fit.second), medians, strict=False)
    )
    enough = int(np.count_nonzero(good & (fit.whole.n_samples >= least)))
    return ZeroMedian(value, first, second, second - first, fit.whole.mean - fit.whole.low_mean, medians, enough)


def less_known(values: F4, other: F4) -> F4:
    """Values less the finite ones of others; see `calib.kernels.less_known`."""
    known: F4 = np.where(np.isfinite(other), other, np.float32(0))
    return values - known


def scaled_sum_of_squares(errors: F4, variance: F4, scale: float) -> F4:
    """Variance to which squared errors are added; see `calib.kernels.scaled_sum_of_squares`."""
    known: F4 = np.where(np.isfinite(errors), errors, np.float32(0))
    return known**2 + np.float32(scale) * variance


def sample_noise(scale: F4, dark_error: F4, flat_error: F4, read_noise: float, gain: float) -> NoiseTerms:
    """Variance of a calibrated sample; see `calib.kernels.sample_noise`."""
    s, d, f = (a.astype(float) for a in (scale, dark_error, flat_error))
    terms = (read_noise**2 + d**2) * s**2, s / gain, (f * s) ** 2
    return NoiseTerms(*(t.astype(np.float32) for t in terms))


def sum_big_endian(words: NDArray[np.uint32]) -> int:
    """Sum of big-endian words; see `calib.kernels.sum_big_endian`."""
    return sum(int(w) for w in words.view(">u4"))


def cell_middles(image: NDArray[Any], good: Kept, rows: tuple[int, ...], columns: tuple[int, ...]) -> F8:
    """Medians of cells; see `calib.kernels.cell_middles`."""
    values = [v.astype(float) for v in _cells(image, good, rows, columns)]
    return np.array([np.median(v) if v.size else np.nan for v in values]).reshape(len(rows) - 1, -1)


def cell_averages(
    image: NDArray[Any], good: Kept, rows: tuple[int, ...], columns: tuple[int, ...], clip_sigma: float
) -> CellAverages:
    """Medians and clipped means of cells; see `calib.kernels.cell_averages`."""
    means = []
    for values in _cells(image, good, rows, columns):
        if not values.size:
            means.append(np.nan)
            continue
        distance = np.abs(values.astype(float) - np.median(values))
        kept = values[distance <= clip_sigma * SIGMA_PER_MAD * np.median(distance)]
        means.append(kept.astype(float).mean() if kept.size else float(np.median(values)))
    return CellAverages(cell_middles(image, good, rows, columns), np.array(means).reshape(len(rows) - 1, -1))


def _cells(image: NDArray[Any], good: Kept, rows: tuple[int, ...], columns: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            cell = image[top:bottom, left:right][good[top:bottom, left:right]]
            yield cell[np.isfinite(cell)]
