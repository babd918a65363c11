"""Sky offsets: the residual dark-sky illumination pattern of a block of frames."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib import kernels
from calib.flags import flag
from calib.regions import cell_medians, cell_medians_and_means, mad_sigma, nan_median
from calib.sky_trend import SkyTrend

__all__ = ["SkyOffset", "block_bounds", "make_sky_offset", "sky_offset"]


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
    median_dn : float
        What was subtracted to make the median zero, DN.
    trend : SkyTrend or None
        What the frames were freed of before they were averaged.
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
    median_dn: float
    trend: SkyTrend | None = None

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
    if len(frames) > 1:
        fit = kernels.trimmed_halves(frames, levels, alpha)
    else:
        alone = kernels.trimmed_mean(frames, levels, alpha)
        fit = kernels.TrimmedHalves(alone, alone.mean, np.full_like(alone.mean, np.nan))
    return sky_offset(fit, levels, good=good, first=first, cells=cells)


def sky_offset(
    fit: kernels.TrimmedHalves,
    levels: NDArray[np.float64],
    *,
    good: NDArray[np.bool_],
    first: int,
    cells: tuple[int, int],
    trend: SkyTrend | None = None,
) -> SkyOffset:
    """Return the sky offset of a block, with what the checks need, from the trimmed means of its frames.

    Parameters
    ----------
    fit : TrimmedHalves
        Trimmed means of F_k − l_k over the block and over its halves, DN; NaN for the second half of a single frame.
    levels, good, first, cells
        As in `make_sky_offset`.
    trend : SkyTrend, optional
        What the frames were freed of.
    """
    shape, n = good.shape, len(levels)
    whole = fit.whole
    # At least half of the samples of a pixel are enough for it.
    zero = kernels.zero_median(fit, good.ravel(), (n + 1) // 2)
    value, *halves = (image.reshape(shape) for image in (zero.value, zero.first, zero.second))
    level = nan_median(levels)
    mask = (whole.n_samples.reshape(shape) == 0) * np.int16(flag("NODATA"))
    n_good = np.count_nonzero(good)
    scale = 100.0 / level if level > 0 else float("nan")
    skew_cells = cell_medians(zero.skew.reshape(shape), good, cells)
    offset_cells = cell_medians_and_means(value, good, cells)
    values = {
        "frames": float(n),
        "valid": 100.0 * zero.n_enough / n_good if n_good else float("nan"),
        "halves": _rms(cell_medians(zero.difference.reshape(shape), good, cells)) * scale,
        "residue": positive_residue(skew_cells) * scale,
        "amplitude": _largest(offset_cells.middle) * scale,
        "steadiness": unsteadiness(levels) * scale,
    }
    per_cell = max(n_good / (cells[0] * cells[1]), 1.0)
    return SkyOffset(
        first=first,
        last=first + n - 1,
        value=value,
        error=whole.error.reshape(shape),
        mask=mask,
        halves=(halves[0], halves[1]),
        level_dn=level,
        values=values,
        cells_dn=offset_cells.mean,
        cell_error_dn=float(zero.medians[3]) / float(np.sqrt(per_cell)),
        median_dn=float(np.float32(zero.medians[0])),
        trend=trend,
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
    return float(np.fmax.reduce(excess, axis=None) + np.fmin.reduce(excess, axis=None))


def _largest(cells: NDArray[np.float64]) -> float:
    return float(np.fmax.reduce(np.abs(cells), axis=None))


def _rms(cells: NDArray[np.float64]) -> float:
    known = cells[np.isfinite(cells)]
    return float(np.sqrt((known**2).mean())) if known.size else float("nan")


def unsteadiness(levels: NDArray[np.float64]) -> float:
    """Return the robust scatter of frame levels about a straight line, in DN; NaN with fewer than three."""
    k = np.flatnonzero(np.isfinite(levels))
    if len(k) < 3:
        return float("nan")
    steps, rest = k - k.mean(), levels[k] - levels[k].mean()
    return mad_sigma(rest - (steps @ rest) / (steps @ steps) * steps)
