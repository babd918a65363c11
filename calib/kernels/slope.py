"""Slope of each pixel against the illumination, outlying samples rejected."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.kernels.compiled import F4, TILE, kernel, on_all_cores
from calib.kernels.networks import exchange, selecting_network

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


@kernel
def _residuals(y, x, b, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = y[i] - b[i] * x


@kernel
def _half_sum(u, v, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = 0.5 * (u[i] + v[i])


@kernel
def _tile_medians(rows, pairs, out):  # type: ignore[no-untyped-def]
    n = rows.shape[0]
    for p in range(pairs.shape[0]):
        exchange(rows[pairs[p, 0]], rows[pairs[p, 1]])
    if n % 2:
        out[:] = rows[n // 2]
    else:
        _half_sum(rows[n // 2 - 1], rows[n // 2], out)


@kernel
def _tilt(b, low, high, run):  # type: ignore[no-untyped-def]
    for i in range(b.size):
        b[i] += (high[i] - low[i]) / run


@kernel
def _weigh(y, x, a, b, variance, gain, limit, w, keep, near):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        model = a[i] + b[i] * x
        weight = 1.0 / (variance[i] + max(model, 0.0) / gain)
        d = y[i] - a[i] - b[i] * x
        r = d * d * weight
        w[i] = weight
        near[i] += 1 if r < 6.25 else 0
        keep[i] = 1.0 if r <= limit else 0.0


@kernel
def _weigh_again(y, x, a, b, variance, gain, limit, w, keep, changed):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        d = y[i] - a[i] - b[i] * x
        ok = 1.0 if d * d * w[i] <= limit else 0.0
        changed[i] += abs(ok - keep[i])
        keep[i] = ok


@kernel
def _reweigh(x, a, b, variance, gain, w):  # type: ignore[no-untyped-def]
    for i in range(w.size):
        w[i] = 1.0 / (variance[i] + max(a[i] + b[i] * x, 0.0) / gain)


@kernel
def _sums(y, x, w, keep, sw, sx, sy):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        v = w[i] * keep[i]
        sw[i] += v
        sx[i] += v * x
        sy[i] += v * y[i]


@kernel
def _moments(y, x, w, keep, x0, y0, sxx, sxy):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        d = x - x0[i]
        v = w[i] * keep[i] * d
        sxx[i] += v * d
        sxy[i] += v * (y[i] - y0[i])


@kernel
def _centre(sw, sx, sy):  # type: ignore[no-untyped-def]
    for i in range(sw.size):
        sx[i] /= sw[i]
        sy[i] /= sw[i]


@kernel
def _line_of(x0, y0, sxx, sxy, a, b):  # type: ignore[no-untyped-def]
    for i in range(a.size):
        b[i] = sxy[i] / sxx[i]
        a[i] = y0[i] - b[i] * x0[i]


@kernel
def _tile_line(x, y, w, keep, a, b, sums):  # type: ignore[no-untyped-def]
    sw, x0, y0, sxx, sxy = sums[0], sums[1], sums[2], sums[3], sums[4]
    sums[:] = 0
    for k in range(x.size):
        _sums(y[k], x[k], w[k], keep[k], sw, x0, y0)
    _centre(sw, x0, y0)
    for k in range(x.size):
        _moments(y[k], x[k], w[k], keep[k], x0, y0, sxx, sxy)
    _line_of(x0, y0, sxx, sxy, a, b)


@kernel
def _third_moment(y, x, w, keep, a, b, x0, s3, total):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        d = x - x0[i]
        r = y[i] - a[i] - b[i] * x
        v = w[i] * keep[i]
        s3[i] += v * d * d * d
        total[i] += v * (r * r)


@kernel
def _sum_row(row, total):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        total[i] += row[i]


@kernel
def _bend(y, x, w, keep, a, b, x0, flat, skew, qq, qy):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        d = x - x0[i]
        q = d * d - flat[i] - skew[i] * d
        v = w[i] * keep[i] * q
        qq[i] += v * q
        qy[i] += v * (y[i] - a[i] - b[i] * x)


@kernel
def _count_missing(source, y, missing):  # type: ignore[no-untyped-def]
    for i in range(source.size):
        v = source[i]
        y[i] = v
        missing[i] += 0 if abs(v) < np.inf else 1


@kernel
def _mark(keep, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = keep[i] == 0.0


@kernel
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


@kernel
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
    rows = np.zeros((4, n, TILE))
    part = np.empty((16, TILE))
    for start in range(first, last, TILE):
        stop = min(start + TILE, last)
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
        for i in range(TILE):
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
    on_all_cores(lambda first, last: _robust_slope(*common, first, last, tuple(fit), rejected), n_pixels)
    return fit, rejected
