"""The twilight fit of a single pixel, done again with its samples kept apart by what became of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib import kernels
from calib.dark import form_frames
from calib.profile import Profile
from monitor.collect_pixel import TwilightPixel

__all__ = ["FATES", "PixelFit", "fit_pixel"]

F8 = NDArray[np.float64]

# What can become of a sample: name → (words, key of the palette's states, marker).
FATES: dict[str, tuple[str, str, str]] = {
    "kept": ("kept", "good", "circle"),
    "rejected": ("rejected as an outlier", "rejected", "x"),
    "nonlinear": ("beyond the linearity level, left out", "watch", "triangle"),
    "saturated": ("saturated, left out", "watch", "square"),
}


@dataclass(frozen=True)
class PixelFit:
    """I = a + b·L of one pixel.

    Attributes
    ----------
    level_dn, signal_dn, error_dn, residual_sigma : ndarray, shape (n,)
        Samples with an illumination: L, dark-subtracted I, its 1σ by the noise model, and (I − a − b·L)/σ.
    frame : ndarray of int, shape (n,)
        Number of the frame, from 0.
    fate : tuple of str
        Key of `FATES` for each sample.
    n_without_level : int
        Frames that were left out as a whole.
    intercept_dn, intercept_error_dn, slope, slope_error, chi2 : float
        NaN where there is no fit.
    n_kept : int
    """

    level_dn: F8
    signal_dn: F8
    error_dn: F8
    residual_sigma: F8
    frame: NDArray[np.intp]
    fate: tuple[str, ...]
    n_without_level: int
    intercept_dn: float
    intercept_error_dn: float
    slope: float
    slope_error: float
    chi2: float
    n_kept: int

    @property
    def fitted(self) -> bool:
        """Whether there is a line."""
        return bool(np.isfinite(self.slope))


def fit_pixel(samples: TwilightPixel, band: str, profile: Profile) -> PixelFit:
    """Fit a pixel just as `calib.responsivity.make_responsivity` does.

    Parameters
    ----------
    samples : TwilightPixel
        With samples.
    band : str
    profile : Profile
    """
    settings, detector = profile.responsivity, profile.detector
    rule = profile.reads[settings.read]
    dark = np.float32(samples.dark_dn)
    used = form_frames(samples.raw, settings.read, profile, ceiling_dn=detector.linearity_dn) - dark
    everything = form_frames(samples.raw, settings.read, profile, ceiling_dn=np.inf)[:, 0] - dark
    plus = samples.raw[rule.plus].reshape(-1).astype(float)
    rows = np.flatnonzero(np.isfinite(samples.level_dn))
    noise = samples.dark_noise_dn
    if not np.isfinite(noise):
        noise = profile.read_noise_dn(band, settings.read)
    gain = detector.gain_e_per_dn[band]
    level = samples.level_dn[rows]
    fit, rejected = kernels.robust_slope(
        np.ascontiguousarray(used[rows]),
        level,
        np.array([noise**2], np.float32),
        gain,
        kappa=settings.clip_sigma,
        iterations=settings.iterations,
    )
    a, b = float(fit.intercept[0]), float(fit.slope[0])
    model = a + b * level if np.isfinite(b) else np.maximum(everything[rows], 0).astype(float)
    error = np.sqrt(noise**2 + np.maximum(model, 0) / gain)
    fate = []
    for k, row in enumerate(rows):
        if rejected[k, 0]:
            fate.append("rejected")
        elif plus[row] >= detector.saturation_dn:
            fate.append("saturated")
        elif plus[row] >= detector.linearity_dn:
            fate.append("nonlinear")
        else:
            fate.append("kept")
    signal = everything[rows].astype(float)
    shown = np.isfinite(signal)
    with np.errstate(invalid="ignore"):
        residual = (signal - a - b * level) / error
    return PixelFit(
        level_dn=level[shown],
        signal_dn=signal[shown],
        error_dn=error[shown],
        residual_sigma=residual[shown],
        frame=rows[shown],
        fate=tuple(f for f, ok in zip(fate, shown, strict=True) if ok),
        n_without_level=len(samples.level_dn) - len(rows),
        intercept_dn=a,
        intercept_error_dn=float(fit.intercept_error[0]),
        slope=b,
        slope_error=float(fit.slope_error[0]),
        chi2=float(fit.chi2[0]),
        n_kept=int(fit.n_samples[0]) if np.isfinite(b) else 0,
    )
