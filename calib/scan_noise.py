"""The noise of final frames, from the masters and the camera's numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from calib.kernels import NoiseTerms, scaled_sum_of_squares
from calib.profile import Profile

__all__ = ["NoiseModel"]


class _Master(Protocol):
    @property
    def value(self) -> NDArray[np.float32]: ...
    @property
    def error(self) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class NoiseModel:
    """1σ of a calibrated sample F: σ² = constant + linear · F + quadratic · F², each per pixel."""

    constant: NDArray[np.float32]
    linear: NDArray[np.float32]
    quadratic: NDArray[np.float32]

    @classmethod
    def of(
        cls, dark: _Master, canonical: _Master, ok: NDArray[np.bool_], profile: Profile, band: str, read: str
    ) -> NoiseModel:
        """Return the model of one read of a band."""
        gain = profile.detector.gain_e_per_dn[band]
        read_noise = profile.read_noise_dn(band, read)
        with np.errstate(divide="ignore", invalid="ignore"):
            response = np.where(ok, canonical.value, np.nan).ravel()
            constant = (read_noise**2 + dark.error.ravel() ** 2) / response**2
            quadratic = (canonical.error.ravel() / response) ** 2
        return cls(
            constant.astype(np.float32),
            (1 / (gain * response)).astype(np.float32),
            quadratic.astype(np.float32),
        )

    def terms(self, sky_error: NDArray[np.float32], *, own_share: float) -> NoiseTerms:
        """Return the variance of a final frame; ``own_share`` is the weight that a frame has in its own offset."""
        # var(F − S) = var F + var S − 2 cov(F, S), and a frame of n makes up 1/n of its own offset.
        kept = np.float32(1 - 2 * own_share)
        constant = scaled_sum_of_squares(sky_error, self.constant, float(kept))
        return NoiseTerms(constant, kept * self.linear, kept * self.quadratic)
