"""The slow change of the sky pattern within a block: a smooth image per frame, a polynomial in time.

An α-trimmed mean over a block takes the sky pattern to stay what it is. Where it changes steadily (warm optics that
cool, a field that rotates), the first and last frames of a block keep what the middle did not have. The medians of
wide cells follow that change frame by frame; a polynomial through them, robust against a galaxy that sits in a cell
for some frames, is interpolated between the cells' centres, taken off before the frames are averaged, and subtracted
from each frame besides the sky offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.typing import NDArray

from calib.regions import grid_edges

__all__ = ["SkyTrend", "enlarged", "fit_sky_trend", "trend_images"]

_HUBER = 1.345
_ROUNDS = 5
_SIGMA_PER_MAD = 1.4826022185056018

# Frames of a cell for each coefficient of its polynomial: with fewer, the degree is lowered.
_FRAMES_EACH = 4


@dataclass(frozen=True)
class SkyTrend:
    """How the sky pattern changes from frame to frame of a block.

    Attributes
    ----------
    weights : ndarray of float32, shape (n_frames, degree)
        Polynomials of the frame's number, each with mean zero over the block.
    change : ndarray of float32, shape (degree, rows, columns)
        What each of them is multiplied with, by cell, DN: weights · change is the trend in every frame.
    own : ndarray of float32, shape (n_frames, rows, columns)
        What is subtracted from each frame besides the sky offset, by cell, DN: its trend or, where frames are left out
        of their own offset, its trend as the other frames tell it.
    """

    weights: NDArray[np.float32]
    change: NDArray[np.float32]
    own: NDArray[np.float32]

    def at(self, k: int) -> NDArray[np.float32]:
        """Return the trend that frame k of the block is freed of before it is averaged, by cell, DN."""
        return np.asarray(np.tensordot(self.weights[k], self.change, 1), np.float32)


def fit_sky_trend(cells: NDArray[np.float64], degree: int, *, leave_one_out: bool) -> SkyTrend | None:
    """Fit a polynomial in time to every cell of the frames of a block.

    Parameters
    ----------
    cells : ndarray, shape (n_frames, rows, columns)
        Medians of the cells above the level of their frame, DN; NaN where a cell has none, which takes no part.
    degree : int
        Of the polynomial, lowered until four frames come on each coefficient.
    leave_one_out : bool
        Whether each frame is to be told its trend by the others alone.

    Returns
    -------
    SkyTrend or None
        None where there are too few frames for any trend. Cells with too few frames of their own have none (0).

    Notes
    -----
    Iteratively reweighted least squares with Huber's weights (1.345 σ, σ from the MAD of the residuals of the cell).

    Without frame k, whose residual is r_k and whose leverage is h_k, and with the weights of the others as they are,
    the coefficients change by −(VᵀWV)⁻¹ v_k w_k r_k / (1 − h_k). With g_k = v_kᵀ P (VᵀWV)⁻¹ v_k w_k, P leaving out the
    constant, the trend of frame k changes by −g_k r_k / (1 − h_k); those of the others, which the offset averages, by
    the opposite in the sum, as polynomials have mean zero. So n / (n − 1) of it frees the frame of itself in both.
    """
    n = len(cells)
    degree = min(degree, n // _FRAMES_EACH - 1)
    if degree < 1:
        return None
    basis = np.asarray(legvander(np.linspace(-1, 1, n), degree), np.float64)
    basis[:, 1:] -= basis[:, 1:].mean(axis=0)
    values = cells.reshape(n, -1)
    enough = np.isfinite(values).sum(axis=0) >= _FRAMES_EACH * (degree + 1)
    seen = np.isfinite(values) & enough
    values = np.where(seen, values, 0.0)
    weight = seen.astype(float)
    found, inverse, rest = _weighted(basis, values, weight, enough)
    for _ in range(_ROUNDS):
        weight = _huber(rest, seen)
        found, inverse, rest = _weighted(basis, values, weight, enough)
    own = basis[:, 1:] @ found[1:]
    if leave_one_out:
        reach = np.einsum("cij,kj->kic", inverse, basis) * weight[:, None, :]
        leverage = np.einsum("ki,kic->kc", basis, reach)
        of_trend = np.einsum("ki,kic->kc", basis[:, 1:], reach[:, 1:])
        own = own - of_trend * rest / (1 - leverage) * (n / (n - 1))
    shape = cells.shape[1:]
    return SkyTrend(
        basis[:, 1:].astype(np.float32),
        found[1:].reshape(degree, *shape).astype(np.float32),
        own.reshape(n, *shape).astype(np.float32),
    )


def _weighted(
    basis: NDArray[np.float64], values: NDArray[np.float64], weight: NDArray[np.float64], enough: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients, shape (terms, cells), the inverse normal matrices, and residuals, (frames, cells)."""
    normal = np.einsum("kc,ki,kj->cij", weight, basis, basis)
    normal[~enough] = np.eye(basis.shape[1])
    inverse = np.linalg.inv(normal)
    found = np.einsum("cij,kj,kc->ic", inverse, basis, weight * values)
    return found, inverse, values - basis @ found


def _huber(rest: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    far = np.where(seen, np.abs(rest), np.nan)
    far[0, ~seen.any(axis=0)] = 0.0  # no median of nothing
    limit = _HUBER * _SIGMA_PER_MAD * np.nanmedian(far, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(rest) > limit, limit / np.abs(rest), 1.0) * seen


@cache
def _between_centres(length: int, parts: int) -> NDArray[np.float32]:
    edges = np.array(grid_edges(length, parts), float)
    centres = (edges[:-1] + edges[1:] - 1) / 2
    pixels = np.arange(length)
    return np.stack([np.interp(pixels, centres, row) for row in np.eye(parts)], axis=1).astype(np.float32)


def enlarged(cells: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate between the centres of cells, linearly along both axes; beyond the outer centres nothing changes.

    Parameters
    ----------
    cells : ndarray, shape (rows, columns)
    shape : tuple of int
        Of the image.

    Returns
    -------
    ndarray of float32, shape ``shape``
        In the unit of the cells.
    """
    rows, columns = cells.shape
    return _between_centres(shape[0], rows) @ cells.astype(np.float32) @ _between_centres(shape[1], columns).T


def trend_images(trend: SkyTrend, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the images that the weights of a trend are multiplied with, shape (degree, ny × nx), DN."""
    return np.stack([enlarged(cells, shape).ravel() for cells in trend.change])
