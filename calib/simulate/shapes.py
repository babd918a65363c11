"""Smooth and sharp shapes on the array from which patterns and faults are made.

All images are float32, indexed ``[y, x]``, and free of NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .camera import FloatImage

__all__ = ["corner_glow", "disc", "patch", "smooth_modes", "tilt", "wave"]


def _axes(size_px: int) -> tuple[FloatImage, FloatImage]:
    """Coordinates y (a column) and x (a row) in pixels."""
    axis = np.arange(size_px, dtype=np.float32)
    return axis[:, None], axis[None, :]


def smooth_modes(coefficients: NDArray[np.floating], size_px: int) -> FloatImage:
    """Sum of the lowest two-dimensional cosine modes.

    Parameters
    ----------
    coefficients : ndarray, shape (m, m)
        Amplitude of mode ``[j, i]``, which has j half waves along y and i along x.  Modes are orthogonal and
        are normalised to an rms of 1 over the array, so that the rms of the image is the root sum of squares
        of the coefficients (those of the constant mode ``[0, 0]`` apart).
    size_px : int
        Side of the array.

    Returns
    -------
    ndarray, shape (size_px, size_px)
        In the units of the coefficients.
    """
    order = np.arange(coefficients.shape[0])
    phase = (np.arange(size_px) + 0.5) / size_px
    modes = np.cos(np.pi * order[:, None] * phase[None, :]) * np.where(order > 0, np.sqrt(2.0), 1.0)[:, None]
    image: FloatImage = (modes.T @ coefficients @ modes).astype(np.float32)
    return image


def tilt(angle_deg: float, size_px: int) -> FloatImage:
    """Plane of mean zero that rises by 1 from side to side, or by up to 1.41 along a diagonal.

    Parameters
    ----------
    angle_deg : float
        Direction of the rise: 0 along +x, 90 along +y.
    size_px : int
        Side of the array.

    Returns
    -------
    ndarray, shape (size_px, size_px)
    """
    y, x = _axes(size_px)
    middle = (size_px - 1) / 2
    angle = np.deg2rad(angle_deg)
    plane = (np.cos(angle) * (x - middle) + np.sin(angle) * (y - middle)) / (size_px - 1)
    image: FloatImage = plane.astype(np.float32)
    return image


def corner_glow(corner: int, scale_px: float, size_px: int) -> FloatImage:
    """Glow that is 1 in a corner and falls off exponentially with the distance from it.

    Parameters
    ----------
    corner : int
        Numbered as quadrants are: 0 low y, low x; 1 low y, high x; 2 high y, low x; 3 high y, high x.
    scale_px : float
        Distance over which the glow falls by a factor e.
    size_px : int
        Side of the array.

    Returns
    -------
    ndarray, shape (size_px, size_px)
    """
    y, x = _axes(size_px)
    row, column = divmod(corner, 2)
    distance = np.hypot(y - row * (size_px - 1), x - column * (size_px - 1))
    image: FloatImage = np.exp(-distance / scale_px).astype(np.float32)
    return image


def disc(center_px: tuple[float, float], radius_px: float, size_px: int) -> FloatImage:
    """Disc of height 1 with an edge about one pixel soft.

    Parameters
    ----------
    center_px : tuple of float
        Centre as (y, x).
    radius_px : float
        Radius at half height.
    size_px : int
        Side of the array.

    Returns
    -------
    ndarray, shape (size_px, size_px)
    """
    y, x = _axes(size_px)
    distance = np.hypot(y - center_px[0], x - center_px[1])
    image: FloatImage = np.clip(radius_px + 0.5 - distance, 0.0, 1.0).astype(np.float32)
    return image


def patch(center_px: tuple[float, float], sigma_px: float, size_px: int) -> FloatImage:
    """Round Gaussian patch of height 1.

    Parameters
    ----------
    center_px : tuple of float
        Centre as (y, x), which may lie off the array.
    sigma_px : float
        Standard deviation.
    size_px : int
        Side of the array.

    Returns
    -------
    ndarray, shape (size_px, size_px)
    """
    y, x = _axes(size_px)
    along_y = np.exp(-0.5 * ((y - center_px[0]) / sigma_px) ** 2)
    along_x = np.exp(-0.5 * ((x - center_px[1]) / sigma_px) ** 2)
    image: FloatImage = (along_y * along_x).astype(np.float32)
    return image


def wave(wavelength_px: float, angle_deg: float, phase_rad: float, size_px: int) -> FloatImage:
    """Plane sine wave of amplitude 1.

    Parameters
    ----------
    wavelength_px : float
        Distance between crests.
    angle_deg : float
        Direction across the crests: 0 along +x, 90 along +y.
    phase_rad : float
        Phase at pixel (0, 0).
    size_px : int
        Side of the array.

    Returns
    -------
    ndarray, shape (size_px, size_px)
    """
    y, x = _axes(size_px)
    angle = np.deg2rad(angle_deg)
    distance = np.cos(angle) * x + np.sin(angle) * y
    image: FloatImage = np.sin(2 * np.pi * distance / wavelength_px + phase_rad).astype(np.float32)
    return image
