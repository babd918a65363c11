"""The verdict on a responsivity: tonight against a canonical, measured over pixels, cells and quadrants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calib.profile import Profile
from calib.regions import cell_medians, mad_sigma, nan_median, quadrant_medians

__all__ = ["Flat", "Origin", "RatioValues", "compare_flats", "mean_flat", "origin_of", "ratio_map"]

Origin = Literal["sky", "hardware", ""]


@dataclass(frozen=True)
class Flat:
    """A responsivity or canonical as the comparison needs it.

    Attributes
    ----------
    value, error : ndarray of float32, shape (ny, nx)
        Relative response, median 1, and its 1σ uncertainty; NaN is excluded.
    good : ndarray of bool, shape (ny, nx)
        Pixels that take part.
    n : int
        Nights averaged.
    """

    value: NDArray[np.float32]
    error: NDArray[np.float32]
    good: NDArray[np.bool_]
    n: int = 1


@dataclass(frozen=True)
class RatioValues:
    """The measured numbers of a comparison and the map they come from.

    Attributes
    ----------
    values : dict
        Check name → number.
    percent : ndarray of float32, shape (ny, nx)
        100 × (ratio − 1), %.
    good : ndarray of bool, shape (ny, nx)
        Pixels that count.
    expected_percent : float
        Median scatter expected of a single pixel, %; NaN where there are too few.
    """

    values: dict[str, float]
    percent: NDArray[np.float32]
    good: NDArray[np.bool_]
    expected_percent: float


def origin_of(band: str, causes: Mapping[str, str | None]) -> Origin:
    """Tell sky from hardware by what the bands of a night say together.

    Parameters
    ----------
    band : str
        Whose rejected responsivity is asked about.
    causes : mapping
        Band → cause of its rejection in words, empty where it was accepted; None where nothing was measured.

    Returns
    -------
    {"sky", "hardware", ""}
        The bands look through the same air at the same time: what all of them show is the sky (or what they share),
        what one shows alone is its own hardware. Empty where fewer than two bands speak, or they speak differently.
    """
    mine, others = causes[band], [c for b, c in causes.items() if b != band and c is not None]
    if not mine or not others:
        return ""
    if all(c == mine for c in others):
        return "sky"
    return "hardware" if not any(others) else ""


def ratio_map(tonight: Flat, standard: Flat) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return 100 × (q / median(q) − 1) with q = tonight / standard, in %, and the pixels that count."""
    with np.errstate(divide="ignore", invalid="ignore"):
        q = tonight.value / standard.value
    good = tonight.good & standard.good & np.isfinite(q)
    return (100 * (q / np.float32(nan_median(q[good])) - 1)).astype(np.float32), good


def mean_flat(members: list[Flat]) -> Flat:
    """Return the mean of responsivities, renormalised to median 1.

    A pixel is averaged over the members in which it is good; it is good if it is so in the majority.
    """
    value = np.stack([np.where(m.good, m.value, np.nan) for m in members])
    error = np.stack([np.where(m.good, m.error, np.nan) for m in members])
    seen = np.isfinite(value)
    count = seen.sum(axis=0)
    divisor = np.maximum(count, 1)
    mean = np.where(seen, value, 0).sum(axis=0, dtype=np.float64) / divisor
    sigma = np.sqrt(np.sum(np.where(seen, error, 0).astype(np.float64) ** 2, axis=0)) / divisor
    good = 2 * count > len(members)
    # Bad pixels keep the plain mean, so that an image without holes is seen; the mask says not to use them.
    plain = np.mean([m.value for m in members], axis=0, dtype=np.float64)
    plain_error = np.sqrt(np.sum([m.error.astype(np.float64) ** 2 for m in members], axis=0)) / len(members)
    mean = np.where(count > 0, mean, plain)
    sigma = np.where(count > 0, sigma, plain_error)
    norm = nan_median(mean[good])
    return Flat((mean / norm).astype(np.float32), (sigma / norm).astype(np.float32), good, len(members))


def compare_flats(tonight: Flat, standard: Flat, profile: Profile) -> RatioValues:
    """Measure how tonight's responsivity deviates from a standard.

    Returns
    -------
    RatioValues
        Values named as in `calib.checks`: pixel_scatter (scatter between neighbours over the expected one),
        cell_rms, cell_extreme, gradient, quadrant and beyond_2pct in %.
    """
    percent, good = ratio_map(tonight, standard)
    detector = profile.detector
    if good.sum() < 16:
        names = ("pixel_scatter", "cell_rms", "cell_extreme", "gradient", "quadrant", "beyond_2pct")
        return RatioValues(dict.fromkeys(names, float("nan")), percent, good, float("nan"))
    stability = profile.responsivity.pixel_stability_percent
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = 1e4 * ((tonight.error / tonight.value) ** 2 + (standard.error / standard.value) ** 2)
    expected = np.sqrt(variance + stability**2 * (1 / tonight.n + 1 / standard.n))
    masked = np.where(good, percent / expected, np.nan)
    cells = cell_medians(percent, good, detector.cells)
    values = {
        # Differences of neighbours see the pixels alone, not the large-scale structure that other checks measure.
        "pixel_scatter": mad_sigma(masked[:, 1:] - masked[:, :-1]) / np.sqrt(2),
        "cell_rms": float(np.sqrt(np.nanmean((cells - nan_median(cells)) ** 2))),
        "cell_extreme": float(np.nanmax(np.abs(cells))),
        "gradient": plane_tilt(cells),
        "quadrant": float(np.nanmax(np.abs(quadrant_medians(percent, good, detector.quadrants)))),
        "beyond_2pct": 100.0 * float((np.abs(percent[good]) > 2).mean()),
    }
    return RatioValues(values, percent, good, nan_median(expected[good]))


def plane_tilt(cells: NDArray[np.float64]) -> float:
    """Return how much a plane fitted to cell medians changes from edge to edge along its steepest direction."""
    ny, nx = cells.shape
    y, x = np.meshgrid((np.arange(ny) + 0.5) / ny - 0.5, (np.arange(nx) + 0.5) / nx - 0.5, indexing="ij")
    ok = np.isfinite(cells)
    if ok.sum() < 3:
        return float("nan")
    design = np.stack([np.ones(ok.sum()), x[ok], y[ok]], axis=1)
    (_, dx, dy), *_ = np.linalg.lstsq(design, cells[ok], rcond=None)
    return float(np.hypot(dx, dy))
