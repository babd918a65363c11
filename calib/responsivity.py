"""Nightly responsivities: the slope of each pixel against the illumination of the twilight sky."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib import kernels
from calib.dark import form_frames
from calib.flags import flag, usable
from calib.profile import Profile
from calib.regions import grid_slices, mad_sigma, nan_median

__all__ = ["Gain", "Responsivity", "make_responsivity"]


@dataclass(frozen=True)
class Gain:
    """Conversion gain of one quadrant from the variance–mean relation.

    Attributes
    ----------
    value, error : float
        e⁻/DN; NaN where it could not be measured.
    """

    value: float
    error: float


@dataclass(frozen=True)
class Responsivity:
    """A nightly responsivity of one band.

    Attributes
    ----------
    value, error : ndarray of float32, shape (ny, nx)
        Slope over its median, and the 1σ uncertainty; NaN where there is no fit.
    intercept, intercept_error : ndarray of float32, shape (ny, nx)
        Signal at no illumination, DN.
    chi2 : ndarray of float32, shape (ny, nx)
        Reduced χ² of the fit.
    curvature : ndarray of float32, shape (ny, nx)
        Coefficient of the squared illumination orthogonal to the line, over the slope, 1/DN.
    mask, count : ndarray of int16, shape (ny, nx)
        Bits of `calib.flags`; samples kept.
    level_dn : ndarray, shape (n_frames,)
        Illumination L_k of every frame, DN; NaN for frames that were left out.
    gain : tuple of Gain
        By quadrant.
    values : dict
        The measured number of every check on the sequence by itself.
    """

    band: str
    value: NDArray[np.float32]
    error: NDArray[np.float32]
    intercept: NDArray[np.float32]
    intercept_error: NDArray[np.float32]
    chi2: NDArray[np.float32]
    curvature: NDArray[np.float32]
    mask: NDArray[np.int16]
    count: NDArray[np.int16]
    level_dn: NDArray[np.float64]
    time_mjd: NDArray[np.float64]
    gain: tuple[Gain, ...]
    values: dict[str, float]

    @property
    def n_frames(self) -> int:
        """Frames that entered the fit."""
        return int(np.isfinite(self.level_dn).sum())


def make_responsivity(
    raw: Mapping[str, NDArray[np.generic]],
    time_mjd: NDArray[np.float64],
    *,
    dark: NDArray[np.float32],
    dark_noise: NDArray[np.float32],
    dark_mask: NDArray[np.integer],
    band: str,
    profile: Profile,
) -> Responsivity:
    """Fit I_k = a + b·L_k per pixel and normalise b to median 1.

    Parameters
    ----------
    raw : mapping
        Raw read → twilight frames, shape (n, ny, nx), DN.
    time_mjd : ndarray, shape (n,)
        Start of each frame, UTC.
    dark, dark_noise : ndarray, shape (ny, nx)
        The dark of the same read that is to be used, and its noise map, DN.
    dark_mask : ndarray of int, shape (ny, nx)
        Bits of `calib.flags`.
    band : str
        Whose gain and read noise weight the samples.
    profile : Profile

    Returns
    -------
    Responsivity

    Notes
    -----
    L_k is the median of the dark-subtracted frame over pixels that are good and below the linearity level in every
    frame used, so that it means the same pixels throughout. A frame of which more than a tenth of the good pixels
    have left the linear range defines no illumination and is left out. A uniform dimming scales I_k and L_k alike
    and leaves the slope alone.
    """
    shape = profile.detector.shape
    frames = form_frames(raw, profile.responsivity.read, profile, ceiling_dn=profile.detector.linearity_dn)
    frames -= dark.ravel()
    trusted = usable(dark_mask).ravel()
    valid = np.isfinite(frames)
    n_trusted = max(int(trusted.sum()), 1)
    share = valid[:, trusted].sum(axis=1) / n_trusted
    in_use = share > 0.9
    level = np.full(len(frames), np.nan)
    common = trusted & valid[in_use].all(axis=0) if in_use.any() else trusted
    if in_use.any() and common.any():
        columns = np.flatnonzero(common)
        level[in_use] = [nan_median(frame[columns]) for frame in frames[in_use]]
    gain = profile.detector.gain_e_per_dn[band]
    nominal = profile.read_noise_dn(band, profile.responsivity.read)
    noise = np.where(np.isfinite(dark_noise), dark_noise, nominal).astype(np.float32).ravel()
    rows = np.flatnonzero(np.isfinite(level))
    fit, rejected = kernels.robust_slope(
        frames[rows],
        level[rows],
        noise**2,
        gain,
        kappa=profile.responsivity.clip_sigma,
        iterations=profile.responsivity.iterations,
    )
    norm = nan_median(fit.slope[trusted])
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (fit.slope / np.float32(norm)).reshape(shape)
        error = (fit.slope_error / np.float32(norm)).reshape(shape)
        curvature = (fit.curvature / fit.slope).reshape(shape)
    mask = (dark_mask & (flag("NODATA") | flag("SUPPLIED"))).astype(np.int16)
    mask[~np.isfinite(value)] |= flag("NODATA")
    with np.errstate(invalid="ignore"):
        mask[(value < profile.pixels.dead_below) | (value > profile.pixels.bright_above)] |= flag("DEAD")
    mask[(rejected.sum(axis=0) > 0.25 * np.maximum(valid[rows].sum(axis=0), 1)).reshape(shape)] |= flag("CLIPPED")
    good = usable(mask)
    norm_good = nan_median(value[good])
    value, error = value / np.float32(norm_good), error / np.float32(norm_good)
    used = level[rows]
    values = {
        "frames": float(len(rows)),
        "range": float(used.max() / used.min()) if len(rows) and used.min() > 0 else float("nan"),
        "samples_left": 100.0 * float(valid[:, trusted].sum()) / (n_trusted * max(len(frames), 1)),
        "good_pixels": 100.0 * float(good.mean()),
        "residual": nan_median(fit.chi2[good.ravel()]),
    }
    return Responsivity(
        band=band,
        value=value,
        error=error,
        intercept=fit.intercept.reshape(shape),
        intercept_error=fit.intercept_error.reshape(shape),
        chi2=fit.chi2.reshape(shape),
        curvature=curvature,
        mask=mask,
        count=fit.n_samples.astype(np.int16).reshape(shape),
        level_dn=level,
        time_mjd=np.asarray(time_mjd, float),
        gain=_gains(frames[rows], rejected, used, fit, noise**2, gain, good, profile.detector.quadrants),
        values=values,
    )


def _gains(
    frames: NDArray[np.float32],
    rejected: NDArray[np.bool_],
    level: NDArray[np.float64],
    fit: kernels.SlopeFit,
    read_variance: NDArray[np.float32],
    nominal_gain: float,
    good: NDArray[np.bool_],
    grid: tuple[int, int],
) -> tuple[Gain, ...]:
    """Return the gain per quadrant from residual variance against mean signal."""
    if len(level) < 4:
        return tuple(Gain(float("nan"), float("nan")) for _ in range(grid[0] * grid[1]))
    # The fit has taken up part of each frame's noise: divide by 1 − leverage, as of a pixel of slope 1.
    w = 1.0 / (float(np.median(read_variance)) + np.maximum(level, 0) / nominal_gain)
    centre = np.average(level, weights=w)
    leverage = w * (1 / w.sum() + (level - centre) ** 2 / np.sum(w * (level - centre) ** 2))
    ny, nx = good.shape
    gains = []
    for part in grid_slices((ny, nx), grid):
        index = np.flatnonzero(_inside(good, part))
        if index.size < 100:
            gains.append(Gain(float("nan"), float("nan")))
            continue
        a, b = fit.intercept[index], fit.slope[index]
        variance = np.empty(len(level))
        for k, light in enumerate(level):
            residual = frames[k, index] - a - b * np.float32(light)
            residual[rejected[k, index]] = np.nan
            variance[k] = mad_sigma(residual) ** 2 / (1 - leverage[k])
        gains.append(_variance_mean(nan_median(b) * level, variance, index.size))
    return tuple(gains)


def _inside(good: NDArray[np.bool_], part: tuple[slice, slice]) -> NDArray[np.bool_]:
    inside = np.zeros_like(good)
    inside[part] = good[part]
    return inside.ravel()


def _variance_mean(mean: NDArray[np.float64], variance: NDArray[np.float64], n_pixels: int) -> Gain:
    ok = np.isfinite(variance) & (variance > 0)
    if ok.sum() < 4 or np.ptp(mean[ok]) <= 0:
        return Gain(float("nan"), float("nan"))
    mean, variance = mean[ok], variance[ok]
    # var(MAD²)/MAD⁴ ≈ 4 · 1.361/n for a Gaussian; the scatter about the line counts where it is larger. The weights
    # follow the line: those of the measured variances would favour whichever came out too small.
    model = variance
    for _ in range(3):
        weight = 1.0 / (model**2 * 4 * 1.361 / n_pixels)
        x0, y0 = np.average(mean, weights=weight), np.average(variance, weights=weight)
        sxx = float(np.sum(weight * (mean - x0) ** 2))
        slope = float(np.sum(weight * (mean - x0) * (variance - y0))) / sxx
        if slope <= 0:
            return Gain(float("nan"), float("nan"))
        model = np.maximum(y0 + slope * (mean - x0), 0.1 * variance.min())
    chi2 = float(np.sum(weight * (variance - y0 - slope * (mean - x0)) ** 2)) / max(len(mean) - 2, 1)
    return Gain(1 / slope, np.sqrt(max(chi2, 1.0) / sxx) / slope**2)
