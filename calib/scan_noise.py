"""The noise of final frames, from the masters and the camera's numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.kernels import NoiseTerms, sample_noise, scaled_sum_of_squares
from calib.profile import Profile

__all__ = ["NoiseModel"]


@dataclass(frozen=True)
class NoiseModel:
    """1σ of a calibrated sample F: σ² = constant + linear · F + quadratic · F², each per pixel."""

    sample: NoiseTerms

    @classmethod
    def of(
        cls,
        dark_error: NDArray[np.float32],
        canonical_error: NDArray[np.float32],
        scale: NDArray[np.float32],
        profile: Profile,
        band: str,
        read: str,
    ) -> NoiseModel:
        """Return the model of one read of a band; arrays as in `calib.kernels.sample_noise`."""
        read_noise, gain = profile.read_noise_dn(band, read), profile.detector.gain_e_per_dn[band]
        return cls(sample_noise(scale, dark_error.ravel(), canonical_error.ravel(), read_noise, gain))

    def terms(self, sky_error: NDArray[np.float32], *, own_share: float) -> NoiseTerms:
        """Return the variance of a final frame; ``own_share`` is the weight that a frame has in its own offset."""
        # var(F − S) = var F + var S − 2 cov(F, S), and a frame of n makes up 1/n of its own offset.
        kept = np.float32(1 - 2 * own_share)
        constant = scaled_sum_of_squares(sky_error, self.sample.constant, float(kept))
        return NoiseTerms(constant, kept * self.sample.linear, kept * self.sample.quadratic)
