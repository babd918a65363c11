"""Slope of each pixel against the illumination, outlying samples rejected."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from calib.kernels.compiled import F4, LEAST_PIXELS, PITCH, TILE, kernel, on_all_cores
from calib.kernels.lanes import LANES, Lanes, Strip
from calib.kernels.networks import sort_rows, sorting_network
from calib.kernels.straight import MOST_ROWS, call_on_tile, sorting_code

__all__ = ["SlopeFit", "robust_slope"]


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


@kernel
def _small_median(values, m):  # type: ignore[no-untyped-def]
    for i in range(1, m):  # insertion sort: a few dozen values
        v = values[i]
        j = i - 1
        while j >= 0 and values[j] > v:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = v
    return values[m // 2] if m % 2 else 0.5 * (values[m // 2 - 1] + values[m // 2])


@kernel
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


@kernel
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


# Many pixels together: those that have all samples and settle at once ----------------------------------------------

# What is known of each pixel, rows of one tile: the first line (level at the mean illumination, slope) and the changes
# that make the other three of it; how many samples lie near the first line, change sides, and are kept; sums of the
# last fit.
_VARIANCE, _LINE = 0, 1
_NEAR, _CHANGED, _KEPT, _SW, _X0, _SXX, _TOTAL, _QQ, _QY, _PARTS = range(9, 19)


@intrinsic
def _fit_strip(_typing, residual, keep, v, part, x, column, n, inverse_gain, limit):  # type: ignore[no-untyped-def]
    """Fit lines to `LANES` pixels: two rounds of rejection and a last fit, as `_slope_pixel` does in three.

    Illumination is counted from its mean, samples are what the first line leaves of them, and every further line is a
    change of it: sums in single precision then are good to a millionth of the errors. ``keep`` and ``v`` receive 0 or
    1, and the weights.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(k: int) -> Any:
            return context.make_array(signature.args[k])(context, builder, arguments[k]).data

        residuals, kept, weights, parts, light = (data(k) for k in range(5))
        strip = Strip(builder, arguments[5])
        rows = arguments[6]
        per_electron, most = strip.all_lanes(arguments[7]), strip.all_lanes(arguments[8])
        variance = strip.load(parts, _VARIANCE)

        level, slope = strip.load(parts, _LINE), strip.load(parts, _LINE + 1)

        def change(number: int) -> tuple[Lanes, Lanes]:
            """Return what a line adds to level and slope of the first one."""
            if number == 0:
                return strip.constant(0.0), strip.constant(0.0)
            return strip.load(parts, _LINE + 2 * number), strip.load(parts, _LINE + 2 * number + 1)

        def at(k: Any, higher: Lanes, steeper: Lanes) -> tuple[Lanes, Lanes, Lanes]:
            """Return illumination, residual and weight of row k by a line."""
            d = strip.all_lanes(builder.load(builder.gep(light, [k])))
            model = level + higher + (slope + steeper) * d
            weight = strip.constant(1.0) / (variance + model.positive() * per_electron)
            return d, strip.load(residuals, k) - higher - steeper * d, weight

        def moments(w: Lanes, d: Lanes, r: Lanes) -> list[Lanes]:
            return [w, w * d, w * d * d, w * r, w * d * r]

        def improve(number: int, sums: list[Lanes]) -> None:
            """Write the line that follows line ``number``, and the sums behind it."""
            higher, steeper = change(number)
            sw, sx, sxx, sr, sxr = sums
            x0 = sx / sw
            sxx = sxx - sx * x0
            turn = (sxr - x0 * sr) / sxx
            strip.store(higher + sr / sw - turn * x0, parts, _LINE + 2 * number + 2)
            strip.store(steeper + turn, parts, _LINE + 2 * number + 3)
            for value, row in ((sw, _SW), (x0, _X0), (sxx, _SXX)):
                strip.store(value, parts, row)

        first = change(0)

        def reject(k: Any) -> list[Lanes]:
            d, r, w = at(k, *first)
            pull = r * r * w
            inside = (pull <= most).where(1.0, 0.0)
            strip.store(inside, kept, k)
            return [*moments(w * inside, d, r), (pull < 6.25).where(1.0, 0.0)]

        *sums, near = strip.sums(rows, 6, reject)
        strip.store(near, parts, _NEAR)
        improve(0, sums)
        second = change(1)

        def reject_again(k: Any) -> list[Lanes]:
            d, r, w = at(k, *second)
            inside = (r * r * w <= most).where(1.0, 0.0)
            moved = inside - strip.load(kept, k)
            strip.store(inside, kept, k)
            return [*moments(w * inside, d, r), moved * moved, inside]

        *sums, changed, count = strip.sums(rows, 7, reject_again)
        strip.store(changed, parts, _CHANGED)
        strip.store(count, parts, _KEPT)
        improve(1, sums)
        third = change(2)

        def weigh(k: Any) -> list[Lanes]:
            d, r, w = at(k, *third)
            w = w * strip.load(kept, k)
            strip.store(w, weights, k)
            return moments(w, d, r)

        improve(2, strip.sums(rows, 5, weigh))
        higher, steeper = change(3)
        sw, x0, sxx = (strip.load(parts, row) for row in (_SW, _X0, _SXX))

        def rest(k: Any) -> tuple[Lanes, Lanes, Lanes]:
            d = strip.all_lanes(builder.load(builder.gep(light, [k])))
            return d - x0, strip.load(residuals, k) - higher - steeper * d, strip.load(weights, k)

        def third_moment(k: Any) -> list[Lanes]:
            d, r, w = rest(k)
            return [w * d * d * d, w * r * r]

        cubes, total = strip.sums(rows, 2, third_moment)
        strip.store(total, parts, _TOTAL)
        flat, skew = sxx / sw, cubes / sxx

        def bend(k: Any) -> list[Lanes]:
            d, r, w = rest(k)
            q = d * d - flat - skew * d
            return [w * q * q, w * q * r]

        for value, row in zip(strip.sums(rows, 2, bend), (_QQ, _QY), strict=True):
            strip.store(value, parts, row)
        return context.get_dummy_value()

    return types.void(residual, keep, v, part, x, column, n, inverse_gain, limit), code


@kernel
def _fit_tile(residual, keep, v, part, x, inverse_gain, limit):  # type: ignore[no-untyped-def]
    for column in range(0, TILE, LANES):
        _fit_strip(residual, keep, v, part, x, column, x.size, inverse_gain, limit)


@kernel
def _residuals(y, x, b, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = y[i] - b[i] * x


@kernel
def _leave(y, x, level, slope):  # type: ignore[no-untyped-def]
    # In double precision: samples are a thousand times their noise.
    for i in range(y.size):
        y[i] = np.float64(y[i]) - np.float64(level[i]) - np.float64(slope[i]) * x


@kernel
def _half_sum(u, v, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = np.float32(0.5) * (u[i] + v[i])


@kernel
def _tilt(b, low, high, run):  # type: ignore[no-untyped-def]
    for i in range(b.size):
        b[i] += (high[i] - low[i]) / run


@kernel
def _tile_medians(rows, pairs, code, out):  # type: ignore[no-untyped-def]
    n = rows.shape[0]
    if code != 0:
        call_on_tile(code, rows, rows)
    else:
        sort_rows(rows, pairs, TILE)
    if n % 2:
        out[:] = rows[n // 2]
    else:
        _half_sum(rows[n // 2 - 1], rows[n // 2], out)


@kernel
def _start_line(x, y, third, medians, scratch, level, b, low, high):  # type: ignore[no-untyped-def]
    """Write Tukey's resistant line of complete pixels; see `_slope_pixel`."""
    n = x.size
    pairs_third, code_third, pairs_all, code_all = medians
    half = np.float32(0.5)
    x_low = half * (x[(third - 1) // 2] + x[third // 2])
    x_high = half * (x[n - third + (third - 1) // 2] + x[n - third + third // 2])
    b[:] = 1
    for _ in range(2 if x_high > x_low else 0):
        for first, middle in ((0, low), (n - third, high)):
            for k in range(third):
                _residuals(y[first + k], x[first + k], b, scratch[k])
            _tile_medians(scratch[:third], pairs_third, code_third, middle)
        _tilt(b, low, high, x_high - x_low)
    for k in range(n):
        _residuals(y[k], x[k], b, scratch[k])
    _tile_medians(scratch, pairs_all, code_all, level)


@kernel
def _take_row(source, y, missing):  # type: ignore[no-untyped-def]
    for i in range(source.size):
        v = source[i]
        y[i] = v
        missing[i] += np.int32(0) if abs(v) < np.inf else np.int32(1)


@kernel
def _mark(keep, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = keep[i] == np.float32(0)


@kernel
def _robust_slope(  # type: ignore[no-untyped-def]
    frames, levels, order, medians, read_variance, gain, kappa, iterations, first, last, fit, rejected
):
    intercept, slope, intercept_error, slope_error, chi2, count, curvature, curvature_error = fit
    n = frames.shape[0]
    room = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int64), np.empty(n, np.bool_)
    sorted_levels = levels[order]
    third = n // 3 if n >= 9 else n // 2
    regular = n >= 4 and iterations >= 2 and sorted_levels[n - 1] > sorted_levels[0]
    centre = sorted_levels.mean()
    x = (sorted_levels - centre).astype(np.float32)
    limit = np.float32(kappa * kappa)
    y, keep, v, scratch = (
        np.zeros((n, PITCH), np.float32), np.zeros((n, PITCH), np.float32), np.zeros((n, PITCH), np.float32),
        np.zeros((n, PITCH), np.float32),
    )  # fmt: skip
    part = np.zeros((_PARTS, PITCH), np.float32)
    spare = np.zeros((2, PITCH), np.float32)
    missing = np.empty(TILE, np.int32)
    for start in range(first, last, TILE):
        stop = min(start + TILE, last)
        if not regular:
            for i in range(start, stop):
                _slope_pixel(frames, levels, order, read_variance, gain, kappa, iterations, i, room, fit, rejected)
            continue
        width = stop - start
        part[_VARIANCE] = 1
        part[_VARIANCE, :width] = read_variance[start:stop]
        missing[:] = 0
        for k in range(n):
            _take_row(frames[order[k], start:stop], y[k], missing)
        _start_line(x, y, third, medians, scratch, part[_LINE], part[_LINE + 1], spare[0], spare[1])
        for k in range(n):
            _leave(y[k], sorted_levels[k] - centre, part[_LINE], part[_LINE + 1])
        _fit_tile(y, keep, v, part, x, np.float32(1 / gain), limit)
        for k in range(n):
            _mark(keep[k], rejected[order[k], start:stop])
        for i in range(width):
            j = start + i
            kept = part[_KEPT, i]
            # Left to be done one by one: samples missing, light unsteady, too few kept, or a kept set that still moves.
            if missing[i] > 0 or part[_NEAR, i] < 0.75 * n or kept < 4 or part[_CHANGED, i] > 0:
                for k in range(n):
                    rejected[k, j] = False
                _slope_pixel(frames, levels, order, read_variance, gain, kappa, iterations, j, room, fit, rejected)
                continue
            b = np.float64(part[_LINE + 1, i]) + part[_LINE + 7, i]
            x0 = centre + part[_X0, i]
            sxx = np.float64(part[_SXX, i])
            qq = np.float64(part[_QQ, i])
            intercept[j] = np.float64(part[_LINE, i]) + part[_LINE + 6, i] - b * centre
            slope[j] = b
            slope_error[j] = np.sqrt(1.0 / sxx)
            intercept_error[j] = np.sqrt(1.0 / part[_SW, i] + x0 * x0 / sxx)
            chi2[j] = part[_TOTAL, i] / (kept - 2)
            count[j] = int(kept)
            curvature[j] = part[_QY, i] / qq if qq > 0 else np.nan
            curvature_error[j] = np.sqrt(1.0 / qq) if qq > 0 else np.nan


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
    third = n // 3 if n >= 9 else n // 2
    common = (
        frames,
        np.asarray(levels, np.float64),
        order,
        (sorting_network(third), _code(third, n_pixels), sorting_network(n), _code(n, n_pixels)),
        read_variance,
        float(gain),
        float(kappa),
        int(iterations),
    )
    on_all_cores(lambda first, last: _robust_slope(*common, first, last, tuple(fit), rejected), n_pixels)
    return fit, rejected


def _code(n: int, n_pixels: int) -> int:
    return sorting_code(n).address if 1 < n <= MOST_ROWS and n_pixels >= LEAST_PIXELS else 0
