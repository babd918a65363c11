"""Deviations from the long-term reference, region by region, and when they count as drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.profile import DriftLimits
from calib.regions import mad_sigma, region_counts, region_medians, region_names

__all__ = ["Deviation", "Episode", "deviations", "episodes", "states"]

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


def states(
    values: NDArray[np.float64], errors: NDArray[np.float64], limits: DriftLimits, significance: float
) -> list[str]:
    """Return the state of each night of one series: ``OK``, ``WATCH``, ``DRIFT``, or ``UNKNOWN`` for NaN.

    Parameters
    ----------
    values, errors : ndarray, shape (n_nights,)
        Deviations and their 1σ errors, in the unit of the limits.
    limits : DriftLimits
        Sizes that matter.
    significance : float
        σ that a deviation needs besides its size; σ joins the stated error and the series' own night-to-night
        scatter, estimated from differences of successive nights so that a drift does not hide itself.
    """
    finite = values[np.isfinite(values)]
    scatter = mad_sigma(np.diff(finite)) / np.sqrt(2) if len(finite) > 4 else 0.0
    sigma = np.hypot(np.nan_to_num(errors), scatter)
    found = []
    for value, s in zip(values, sigma, strict=True):
        if not np.isfinite(value) or not s > 0:
            # A deviation without any idea of its error is no more known than one that is missing.
            found.append("UNKNOWN")
        elif abs(value) < significance * s or abs(value) < limits.watch:
            found.append("OK")
        else:
            found.append("DRIFT" if abs(value) >= limits.drift else "WATCH")
    return found


@dataclass(frozen=True)
class Episode:
    """Successive nights beyond OK in one series: indices of the first and last, and of the worst night."""

    first: int
    last: int
    worst: int


def episodes(nightly_states: Sequence[str], values: NDArray[np.float64]) -> tuple[Episode, ...]:
    """Return the stretches of nights that are WATCH or DRIFT; unknown nights neither end nor extend one."""
    found: list[Episode] = []
    run: list[int] = []

    def close() -> None:
        if run:
            found.append(Episode(run[0], run[-1], max(run, key=lambda k: abs(values[k]))))
        run.clear()

    for k, state in enumerate(nightly_states):
        if state == "OK":
            close()
        elif state != "UNKNOWN":
            run.append(k)
    close()
    return tuple(found)
