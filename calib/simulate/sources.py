"""What lies on the sky: stars, extended sources, and what they leave behind on the array.

Positions are in the plane of the scan: pixels along x and along the scan direction y, with the lower left
corner of the first frame near (0, 0).  A frame sees the part of the plane that begins at its origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, sqrt
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .camera import FloatImage
from .seeds import stream

__all__ = ["Extended", "Latent", "StarField", "scatter_stars"]

PSF_FWHM_PX = 1.2
"""Undersampled, as 2" pixels are."""
STARS_PER_FIELD = 120.0
"""Mean number of stars above 100 DN in a field of 256 × 256 pixels."""
COUNT_SLOPE = 0.9
"""Stars brighter than a flux f go as f to this power, negative."""
FAINTEST_DN = 30.0
BRIGHTEST_DN = 400_000.0
COLOUR_SCATTER = 0.25
STAMP_PX = 4


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _add_stars(
    image: FloatImage,
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    flux: NDArray[np.float64],
    sigma: float,
    reach: int,
) -> None:
    """Add stars to an image, each a Gaussian integrated over the pixels within `reach` of its centre."""
    rows, columns = image.shape
    scale = 1.0 / (sigma * sqrt(2.0))
    along_x = np.empty(2 * reach + 1)
    for star in range(flux.size):
        row = int(np.floor(y[star] + 0.5))
        column = int(np.floor(x[star] + 0.5))
        if row < -reach or row >= rows + reach or column < -reach or column >= columns + reach:
            continue
        for i in range(2 * reach + 1):
            left = column - reach + i - 0.5 - x[star]
            along_x[i] = 0.5 * (erf((left + 1.0) * scale) - erf(left * scale))
        for j in range(max(row - reach, 0), min(row + reach + 1, rows)):
            below = j - 0.5 - y[star]
            along_y = 0.5 * flux[star] * (erf((below + 1.0) * scale) - erf(below * scale))
            for i in range(max(column - reach, 0), min(column + reach + 1, columns)):
                image[j, i] += along_y * along_x[i - column + reach]


@dataclass(frozen=True, eq=False)
class StarField:
    """Stars in the plane of a scan, in order of y.

    Attributes
    ----------
    y_px, x_px : ndarray of float64, shape (n_stars,)
        Positions; the centre of a pixel has whole numbers.
    flux_dn : ndarray of float64, shape (n_stars,)
        Counts in 1.3 s of all pixels of a star together, DN.
    """

    y_px: NDArray[np.float64]
    x_px: NDArray[np.float64]
    flux_dn: NDArray[np.float64]

    def add_to(self, image: FloatImage, origin_px: tuple[float, float]) -> None:
        """Add to an image, in place, the stars that a frame with the given origin (y, x) sees."""
        first, last = np.searchsorted(
            self.y_px, (origin_px[0] - STAMP_PX - 1, origin_px[0] + image.shape[0] + STAMP_PX + 1)
        )
        _add_stars(
            image,
            self.y_px[first:last] - origin_px[0],
            self.x_px[first:last] - origin_px[1],
            self.flux_dn[first:last],
            PSF_FWHM_PX / 2.3548,
            STAMP_PX,
        )

    def with_star(self, y_px: float, x_px: float, flux_dn: float) -> StarField:
        """Return the field with one star more."""
        place = int(np.searchsorted(self.y_px, y_px))
        return StarField(
            np.insert(self.y_px, place, y_px),
            np.insert(self.x_px, place, x_px),
            np.insert(self.flux_dn, place, flux_dn),
        )


def scatter_stars(
    seed: int, key: tuple[int | str, ...], band: str, brightness: float, extent_px: tuple[float, float]
) -> StarField:
    """Scatter stars over the plane of a scan: the same places in all bands, counts by a power law.

    Parameters
    ----------
    seed : int
        Seed of the survey.
    key : tuple
        Name of the field, the same for all bands.
    band : str
        J, H or Ks.
    brightness : float
        Factor by which stars are brighter in this band than in the mean of the bands.
    extent_px : tuple of float
        Length of the plane along y and along x.

    Returns
    -------
    StarField
    """
    rng = stream(seed, *key, "stars")
    margin = STAMP_PX + 2.0
    area_fields = (extent_px[0] + 2 * margin) * (extent_px[1] + 2 * margin) / 256.0**2
    n_stars = rng.poisson(STARS_PER_FIELD * (100.0 / FAINTEST_DN) ** COUNT_SLOPE * area_fields)
    y_px = np.sort(rng.uniform(-margin, extent_px[0] + margin, n_stars))
    x_px = rng.uniform(-margin, extent_px[1] + margin, n_stars)
    rarest = (BRIGHTEST_DN / FAINTEST_DN) ** -COUNT_SLOPE
    flux_dn = FAINTEST_DN * rng.uniform(rarest, 1.0, n_stars) ** (-1.0 / COUNT_SLOPE)
    colour = np.exp(COLOUR_SCATTER * stream(seed, *key, band, "colours").standard_normal(n_stars))
    return StarField(y_px, x_px, flux_dn * brightness * colour)


@dataclass(frozen=True)
class Extended:
    """A source far larger than a star: a galaxy or the halo of a bright star.

    Attributes
    ----------
    y_px, x_px : float
        Centre in the plane of the scan.
    peak_dn : float
        Brightness of the centre, DN per pixel in 1.3 s.
    scale_px : float
        Scale length of the exponential disc, or core radius of the halo.
    profile : {"exponential", "halo"}
        ``exp(-r)`` or ``(1 + r²)^-1.25``, with r in scale lengths.
    axis_ratio : float
        Minor to major axis; the major axis lies along y.
    """

    y_px: float
    x_px: float
    peak_dn: float
    scale_px: float
    profile: Literal["exponential", "halo"] = "exponential"
    axis_ratio: float = 1.0

    def image_dn(self, size_px: int, origin_px: tuple[float, float]) -> FloatImage:
        """Image in a frame with the given origin (y, x), DN, shape (size_px, size_px)."""
        axis = np.arange(size_px, dtype=np.float32)
        y = (axis + np.float32(origin_px[0] - self.y_px))[:, None] / np.float32(self.scale_px)
        minor_px = np.float32(self.scale_px * self.axis_ratio)
        x = (axis + np.float32(origin_px[1] - self.x_px))[None, :] / minor_px
        square = x * x + y * y
        shape = np.exp(-np.sqrt(square)) if self.profile == "exponential" else (1.0 + square) ** np.float32(-1.25)
        image: FloatImage = (np.float32(self.peak_dn) * shape).astype(np.float32)
        return image


@dataclass(frozen=True)
class Latent:
    """Afterglow of one pixel neighbourhood that was saturated; it stays on the array while the sky moves on.

    Attributes
    ----------
    y, x : int
        Pixel that was hit.
    frame : int
        Frame in which it was hit; the afterglow begins with the next.
    first_dn : float
        Afterglow in the first frame after, DN in 1.3 s.
    decay_frames : float
        Frames over which it falls by a factor e.
    radius_px : float
        Radius of the neighbourhood.
    """

    y: int
    x: int
    frame: int
    first_dn: float
    decay_frames: float
    radius_px: float = 2.0

    def level_dn(self, frame: int) -> float:
        """Afterglow in a frame, DN; 0 up to the hit itself."""
        after = frame - self.frame - 1
        return float(self.first_dn * np.exp(-after / self.decay_frames)) if after >= 0 else 0.0
