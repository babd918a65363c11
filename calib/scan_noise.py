"""The noise of final frames, from the masters and the camera's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.kernels import NoiseTerms, sample_noise, scaled_sum_of_squares
from calib.profile import Profile

__all__ = ["FinalNoise", "noise_of_frames"]


def noise_of_frames(
    dark_error: NDArray[Any],
    canonical_error: NDArray[Any],
    scale: NDArray[np.float32],
    profile: Profile,
    band: str,
    read: str,
) -> FinalNoise:
    """Return the variance of final frames, from that of calibrated samples, no sky subtracted.

    Parameters
    ----------
    dark_error, canonical_error : ndarray of float, shape (ny, nx)
        1σ of the dark, DN, and of the canonical.
    scale : ndarray of float32, shape (ny × nx,)
        1/canonical, NaN where a pixel has none.
    profile, band, read
        Say what the noise of a raw sample and the gain are.
    """
    dark, canonical = (np.asarray(e, np.float32).ravel() for e in (dark_error, canonical_error))
    read_noise, gain = profile.read_noise_dn(band, read), profile.detector.gain_e_per_dn[band]
    return FinalNoise(sample_noise(scale, dark, canonical, read_noise, gain))


class FinalNoise:
    """The variance of final frames.

    Parameters
    ----------
    sample : NoiseTerms
        That of calibrated samples, no sky subtracted.
    """

    def __init__(self, sample: NoiseTerms) -> None:
        self._sample = sample
        # By the share; blocks are as long as each other, or a frame longer.
        self._growing: dict[float, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def of(self, sky_error: NDArray[np.float32], *, own_share: float) -> NoiseTerms:
        """Return the variance of the frames that an offset serves.

        Parameters
        ----------
        sky_error : ndarray of float32, shape (ny × nx,)
            1σ of the sky offset, DN; one that is not finite counts as 0.
        own_share : float
            The weight that a frame has in its own offset.
        """
        # var(F − S) = var F + var S − 2 cov(F, S), and a frame of n makes up 1/n of its own offset.
        kept = np.float32(1 - 2 * own_share)
        if own_share not in self._growing:
            self._growing[own_share] = kept * self._sample.linear, kept * self._sample.quadratic
        constant = scaled_sum_of_squares(sky_error, self._sample.constant, float(kept))
        return NoiseTerms(constant, *self._growing[own_share])
