"""Deviations from the long-term reference, region by region, and how much they matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calib.profile import DriftLimits
from calib.regions import nan_median, region_counts, region_medians, region_names

__all__ = ["Deviation", "State", "cell_error", "deviations", "forecast_nights", "state_of"]

State = Literal["UNKNOWN", "OK", "NOTICE", "WATCH", "DRIFT"]

Grid = tuple[int, int]


@dataclass(frozen=True)
class Deviation:
    """How far one region of one night is from the reference.

    Attributes
    ----------
    region : str
    value, error : float
        In the unit of the map; the error is 1σ.
    """

    region: str
    value: float
    error: float


def deviations(
    difference: NDArray[np.floating],
    error: NDArray[np.floating],
    good: NDArray[np.bool_],
    *,
    quadrants: Grid,
    cells: Grid,
    common_error: float = 0.0,
) -> tuple[Deviation, ...]:
    """Return the median deviation of every region with its uncertainty.

    Parameters
    ----------
    difference : ndarray, shape (ny, nx)
        Tonight minus reference (DN), or 100 × (tonight / reference − 1) (%).
    error : ndarray, shape (ny, nx)
        1σ of each pixel of it.
    good : ndarray of bool, shape (ny, nx)
        Pixels that take part.
    quadrants, cells : tuple of int
        Rows and columns of the regions.
    common_error : float
        Uncertainty that all pixels share, added in quadrature.

    Returns
    -------
    tuple of Deviation
        In the order of `calib.regions.region_names`; NaN where a region has no good pixel.
    """
    values = region_medians(difference, good, quadrants, cells)
    typical = region_medians(error, good, quadrants, cells)
    counts = np.maximum(region_counts(good, quadrants, cells), 1)
    # The median of n Gaussian samples has √(π/2) times the error of their mean.
    errors = np.hypot(1.2533 * typical / np.sqrt(counts), common_error)
    names = region_names(quadrants, cells)
    return tuple(Deviation(n, float(v), float(e)) for n, v, e in zip(names, values, errors, strict=True))


def cell_error(error: NDArray[np.floating], good: NDArray[np.bool_], cells: Grid) -> float:
    """Return the 1σ error of the mean of a typical cell, in the unit of the map; NaN without a good pixel.

    Parameters
    ----------
    error : ndarray, shape (ny, nx)
        1σ of each pixel.
    good : ndarray of bool, shape (ny, nx)
        Pixels that take part.
    cells : tuple of int
        Rows and columns of the cells.
    """
    n = float(good.sum()) / (cells[0] * cells[1])
    return nan_median(error[good]) / float(np.sqrt(n)) if n > 0 else float("nan")


def state_of(size: float, limits: DriftLimits) -> State:
    """Return the state of a significant deviation of a size, in the unit of the limits."""
    if abs(size) >= limits.drift:
        return "DRIFT"
    return "WATCH" if abs(size) >= limits.watch else "NOTICE"


def forecast_nights(days: NDArray[np.float64], sizes: NDArray[np.float64], limit: float) -> float:
    """Return in how many nights a series will reach a limit if it goes on as it did.

    Parameters
    ----------
    days : ndarray, shape (n,)
        Days of the nights.
    sizes : ndarray, shape (n,)
        Size on each, in the unit of the limit; NaN is excluded.
    limit : float
        Size that matters; that of the sign of the series is meant.

    Returns
    -------
    float
        Nights from the last one on, by the median of all pairwise slopes (Theil 1950, Sen 1968); 0 where the limit is
        reached, infinite where the series does not go there, NaN with fewer than four nights.
    """
    known = np.isfinite(sizes)
    if known.sum() < 4:
        return float("nan")
    from scipy import stats  # takes longer to import than most runs need

    slope, intercept, *_ = stats.theilslopes(sizes[known], days[known])
    now = intercept + slope * days[known][-1]
    if abs(now) >= limit:
        return 0.0
    ahead = slope * np.sign(now)
    return float((limit - abs(now)) / ahead) if ahead > 0 else float("inf")
