"""The camera: what the three bands have in common and the numbers in which they differ."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BANDS",
    "CAMERA",
    "LINEARITY_DN",
    "R1_SHARE",
    "SATURATION_DN",
    "SIZE_PX",
    "BandPhysics",
    "FloatImage",
    "Mask",
    "RawCube",
    "quadrant",
]

FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]
RawCube = NDArray[np.uint16]

BANDS = ("J", "H", "Ks")
SIZE_PX = 256
PIXEL_ARCSEC = 2.0
EXPOSURE_S = 1.3
"""Time between R1 and R2; also the time from one frame to the next."""
R1_EXPOSURE_S = 0.051
R1_SHARE = R1_EXPOSURE_S / EXPOSURE_S
"""Light that R1 has already seen, as a fraction of the light of R2-R1."""
LINEARITY_DN = 43_000.0
SATURATION_DN = 52_200.0
UTC_OFFSET_H = -7.0
DETECTOR_K = 77.0


@dataclass(frozen=True)
class BandPhysics:
    """Numbers that differ from band to band.

    Attributes
    ----------
    gain_e_per_dn : float
        Conversion gain, e-/DN.
    read_noise_e, r1_noise_e : float
        Noise without light of R2-R1, and of R1 about its mean, e- rms.
    offset_dn : float
        Electronic offset of R1, DN.
    column_step_dn : float
        Odd columns minus even columns of the offset, DN.
    dark_dn : float
        Level of the R2-R1 dark, DN.
    ramp_dn : float
        Rise of the R2-R1 dark along y within each quadrant, DN.
    twilight_dn : float
        Illumination of the first twilight frame, DN in 1.3 s.
    sky_dn : float
        Dark sky, DN in 1.3 s.
    sky_drift : float
        Amplitude of the slow wander of the sky during a scan, as a fraction.
    star_brightness : float
        Counts of a typical star relative to those in the three bands' mean.
    """

    gain_e_per_dn: float
    read_noise_e: float
    r1_noise_e: float
    offset_dn: float
    column_step_dn: float
    dark_dn: float
    ramp_dn: float
    twilight_dn: float
    sky_dn: float
    sky_drift: float
    star_brightness: float

    @property
    def read_noise_dn(self) -> float:
        """Noise of R2-R1 without light, DN rms."""
        return self.read_noise_e / self.gain_e_per_dn

    @property
    def r1_noise_dn(self) -> float:
        """Noise of R1 about its mean without light, DN rms."""
        return self.r1_noise_e / self.gain_e_per_dn


CAMERA = MappingProxyType(
    {
        "J": BandPhysics(8.0, 41.0, 29.0, 9_900.0, 1_200.0, 190.0, 80.0, 20_000.0, 600.0, 0.025, 0.9),
        "H": BandPhysics(7.5, 43.0, 30.4, 10_100.0, 1_500.0, 320.0, 130.0, 20_000.0, 2_800.0, 0.035, 1.1),
        "Ks": BandPhysics(7.8, 42.0, 29.7, 10_000.0, 1_800.0, 430.0, 110.0, 19_000.0, 1_500.0, 0.02, 1.0),
    }
)
"""Physics of each band, by its name."""


def quadrant(number: int, size_px: int = SIZE_PX) -> tuple[slice, slice]:
    """Rows and columns of a quadrant.

    Parameters
    ----------
    number : int
        0 low y, low x; 1 low y, high x; 2 high y, low x; 3 high y, high x.
    size_px : int, optional
        Side of the array.

    Returns
    -------
    tuple of slice
        Index of a ``[y, x]`` image.
    """
    if number not in range(4):
        raise ValueError(f"a quadrant is 0, 1, 2 or 3, not {number}")
    half = size_px // 2
    row, column = divmod(number, 2)
    return slice(row * half, (row + 1) * half), slice(column * half, (column + 1) * half)
