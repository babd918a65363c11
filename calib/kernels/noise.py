"""The variance of calibrated samples, pixel by pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from calib.kernels.compiled import F4, kernel

__all__ = ["NoiseTerms", "sample_noise", "scaled_sum_of_squares"]


class NoiseTerms(NamedTuple):
    """Variance of a sample F of a final frame: constant + linear · F⁺ + quadratic · F⁺².

    Arrays of float32, shape ``(n_pixels,)``, in DN², DN and 1; F⁺ is F where positive, else 0.
    """

    constant: F4
    linear: F4
    quadratic: F4


@kernel
def _scaled_sum_of_squares(errors, variance, scale, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        e = errors[i]
        out[i] = (e * e if abs(e) < np.inf else np.float32(0)) + scale * variance[i]


def scaled_sum_of_squares(errors: F4, variance: F4, scale: float) -> F4:
    """Return ``errors² + scale · variance``, shape ``(n_pixels,)``; errors that are not finite count as 0."""
    out = np.empty(errors.shape, np.float32)
    _scaled_sum_of_squares(errors, variance, np.float32(scale), out)
    return out


@kernel
def _sample_noise(scale, dark_error, flat_error, read_noise, gain, constant, linear, quadratic):  # type: ignore[no-untyped-def]
    for i in range(scale.size):
        d = dark_error[i]
        constant[i] = (read_noise * read_noise + d * d) * (scale[i] * scale[i])
    for i in range(scale.size):
        linear[i] = scale[i] / gain
    for i in range(scale.size):
        relative = flat_error[i] * scale[i]
        quadratic[i] = relative * relative


def sample_noise(scale: F4, dark_error: F4, flat_error: F4, read_noise: float, gain: float) -> NoiseTerms:
    """Return the variance of a calibrated sample from what its pixel was calibrated with.

    Parameters
    ----------
    scale : ndarray of float32, shape (n_pixels,)
        1/responsivity, NaN where a pixel has none.
    dark_error, flat_error : ndarray of float32, shape (n_pixels,)
        1σ of the dark, DN, and of the responsivity.
    read_noise : float
        Of a raw sample, DN.
    gain : float
        Electrons per DN.

    Returns
    -------
    NoiseTerms
        Read noise and dark; photons; responsivity. NaN where an input is NaN.

    Raises
    ------
    ValueError
        If the arrays are not of one shape.
    """
    if not scale.shape == dark_error.shape == flat_error.shape:
        raise ValueError(f"errors of shape {dark_error.shape} and {flat_error.shape} for pixels of {scale.shape}")
    terms = NoiseTerms(*(np.empty(scale.size, np.float32) for _ in range(3)))
    _sample_noise(scale, dark_error, flat_error, np.float32(read_noise), np.float32(gain), *terms)
    return terms
