"""Sky offsets: the residual dark-sky illumination pattern of a block of frames."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib import kernels
from calib.flags import flag
from calib.kernels_frames import frame_medians
from calib.regions import cell_means, cell_medians, mad_sigma, nan_median

__all__ = ["SkyOffset", "block_bounds", "frame_levels", "make_sky_offset"]


@dataclass(frozen=True)
class SkyOffset:
    """The sky offset of one block.

    Attributes
    ----------
    first, last : int
        Frames of the scan, counted from 0, both included.
    value, error : ndarray of float32, shape (ny, nx)
        Additive, zero-median offset and its 1σ uncertainty, DN; NaN where no sample is valid.
    mask : ndarray of int16, shape (ny, nx)
        Bits of `calib.flags`.
    halves : tuple of ndarray
        The offsets of the block's two halves, DN.
    level_dn : float
        Median of the frame levels.
    values : dict
        The measured number of every check.
    cells_dn : ndarray, shape (8, 8)
        Clipped means of the cells, DN.
    cell_error_dn : float
        1σ of a cell.
    """

    first: int
    last: int
    value: NDArray[np.float32]
    error: NDArray[np.float32]
    mask: NDArray[np.int16]
    halves: tuple[NDArray[np.float32], NDArray[np.float32]]
    level_dn: float
    values: dict[str, float]
    cells_dn: NDArray[np.float64]
    cell_error_dn: float

    @property
    def n_frames(self) -> int:
        """Frames of the block."""
        return self.last - self.first + 1


def block_bounds(n_frames: int, least: int) -> tuple[tuple[int, int], ...]:
    """Split a scan into equal blocks of at least ``least`` frames.

    Returns
    -------
    tuple of (first, last)
        Both included. Lengths differ by one frame at most; a scan that is too short is one block.
    """
    if n_frames < 1:
        return ()
    n_blocks = max(1, n_frames // least)
    edges = [round(k * n_frames / n_blocks) for k in range(n_blocks + 1)]
    return tuple((a, b - 1) for a, b in itertools.pairwise(edges))


def frame_levels(frames: NDArray[np.float32], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the median of each frame over the given pixels, NaN samples excluded.

    Parameters
    ----------
    frames : ndarray of float32, shape (n, n_pixels)
    columns : ndarray of int
        Indices of the good pixels.

    Returns
    -------
    ndarray, shape (n,)
        NaN for a frame without a valid sample.
    """
    pad = np.full(frames.shape[1], np.nan, np.float32)
    pad[columns] = 0
    return frame_medians(frames, pad)


def make_sky_offset(
    frames: NDArray[np.float32],
    levels: NDArray[np.float64],
    *,
    good: NDArray[np.bool_],
    first: int,
    alpha: float,
    cells: tuple[int, int],
) -> SkyOffset:
    """Average a block of calibrated frames into its sky offset.

    Parameters
    ----------
    frames : ndarray of float32, shape (n, ny × nx)
        Dark-subtracted, flat-fielded frames in DN; NaN is excluded.
    levels : ndarray, shape (n,)
        Their sky levels l_k, DN.
    good : ndarray of bool, shape (ny, nx)
        Pixels over which medians are taken.
    first : int
        Number of the first frame in its scan.
    alpha : float
        Fraction of the valid samples trimmed at each end.
    cells : tuple of int
        Grid of the checks.

    Returns
    -------
    SkyOffset
        S = trimmed mean over k of (F_k − l_k), minus its own median over good pixels.
    """
    shape, n = good.shape, len(frames)
    if n > 1:
        fit, *both = kernels.trimmed_halves(frames, levels, alpha)
    else:
        fit = kernels.trimmed_mean(frames, levels, alpha)
        both = [fit.mean]
    pad = np.where(good, 0, np.nan).astype(np.float32).ravel()
    middles = frame_medians(np.stack([fit.mean, fit.error, *both]), pad)
    value = fit.mean.reshape(shape) - np.float32(middles[0])
    halves = [h.reshape(shape) - np.float32(m) for h, m in zip(both, middles[2:], strict=True)]
    level = nan_median(levels)
    mask = np.zeros(shape, np.int16)
    mask[fit.n_samples.reshape(shape) == 0] |= flag("NODATA")
    enough = fit.n_samples.reshape(shape)[good] >= 0.5 * n
    skew = (fit.mean - fit.low_mean).reshape(shape)
    scale = 100.0 / level if level > 0 else float("nan")
    skew_cells = cell_medians(skew, good, cells)
    offset_cells = cell_medians(value, good, cells)
    values = {
        "frames": float(n),
        "valid": 100.0 * float(enough.mean()) if enough.size else float("nan"),
        "halves": _rms(cell_medians(halves[1] - halves[0], good, cells)) * scale if len(halves) == 2 else float("nan"),
        "residue": positive_residue(skew_cells) * scale,
        "amplitude": _largest(offset_cells) * scale,
        "steadiness": unsteadiness(levels) * scale,
    }
    empty = np.full(shape, np.nan, np.float32)
    per_cell = max(good.sum() / (cells[0] * cells[1]), 1.0)
    return SkyOffset(
        first=first,
        last=first + n - 1,
        value=value,
        error=fit.error.reshape(shape),
        mask=mask,
        halves=(halves[0] if halves else empty, halves[1] if len(halves) == 2 else empty),
        level_dn=level,
        values=values,
        cells_dn=cell_means(value, good, cells),
        cell_error_dn=float(middles[1]) / float(np.sqrt(per_cell)),
    )


def positive_residue(skew: NDArray[np.float64]) -> float:
    """Return how much light was left in the worst cell that trimming could not remove, in the unit of the input.

    Parameters
    ----------
    skew : ndarray, shape (8, 8)
        Cell medians of (trimmed mean − mean of the lower half of the kept samples).

    Notes
    -----
    A galaxy or halo skews its cells upwards and none downwards; airglow waves do both alike. The largest excess over
    the median cell counts, less the largest deficit.
    """
    excess = skew - nan_median(skew)
    return float(np.nanmax(excess) + np.nanmin(excess)) if np.isfinite(excess).any() else float("nan")


def _largest(cells: NDArray[np.float64]) -> float:
    return float(np.nanmax(np.abs(cells))) if np.isfinite(cells).any() else float("nan")


def _rms(cells: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.nanmean(cells**2))) if np.isfinite(cells).any() else float("nan")


def unsteadiness(levels: NDArray[np.float64]) -> float:
    """Return the robust scatter of frame levels about a straight line, in DN; NaN with fewer than three."""
    k = np.flatnonzero(np.isfinite(levels))
    if len(k) < 3:
        return float("nan")
    slope, constant = np.polyfit(k, levels[k], 1)
    return mad_sigma(levels[k] - slope * k - constant)
