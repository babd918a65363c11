"""Why a ratio map deviates: its parts, each with size and significance, and the cause in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calib.patterns import cosine_modes
from calib.regions import cell_medians, grid_edges, mad_sigma, nan_median

__all__ = ["DARK_WORDS", "FLAT_WORDS", "Diagnosis", "Part", "diagnose"]

# Fine enough to tell a corner from a plane, coarse enough that a cell's median ignores stars and bad pixels.
GRID = (16, 16)
# Cosine modes along either axis that are taken for smooth waves.
WAVES = 6


@dataclass(frozen=True)
class Part:
    """One part of a deviation.

    Attributes
    ----------
    name : str
        ``gradient``, ``quadrants``, ``corner``, ``columns``, ``rows``, ``spot`` or ``pixels``.
    size : float
        Peak-to-peak over the array (gradient, quadrants), at the corner, of the worst column, row or spot, in
        the unit of the map; for pixels the fraction that deviate, %.
    significance : float
        Size over its 1σ error.
    share : float
        Fraction of the map's large-scale variance that it explains; NaN for columns, rows, spot and pixels.
    where : str
        ``Q3``, ``column 117``, ``x 40 y 200`` … or a direction.
    """

    name: str
    size: float
    significance: float
    share: float
    where: str


@dataclass(frozen=True)
class Diagnosis:
    """The parts of a deviation, the most telling first, and the cause in words."""

    parts: tuple[Part, ...]
    cause: str


@cache
def _templates(grid: tuple[int, int], quadrants: tuple[int, int]) -> dict[str, NDArray[np.float64]]:
    """Return zero-mean templates on the grid, name → (n_templates, n_cells)."""
    y, x = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in grid), indexing="ij")
    centre = (np.arange(grid[0]) + 0.5) / grid[0], (np.arange(grid[1]) + 0.5) / grid[1]
    steps = []
    for j in range(quadrants[0]):
        for i in range(quadrants[1]):
            rows = (centre[0] * quadrants[0]).astype(int) == j
            cols = (centre[1] * quadrants[1]).astype(int) == i
            steps.append(np.outer(rows, cols).astype(float))
    glows = [np.exp(-np.hypot(x - cx, y - cy) / 0.15) for cy in (-0.5, 0.5) for cx in (-0.5, 0.5)]
    families = {"gradient": [x, y]} | ({"quadrants": steps[:-1]} if len(steps) > 1 else {})
    families |= {f"corner {k}": [g] for k, g in enumerate(glows)}
    return {name: np.array([t.ravel() - t.mean() for t in ts]) for name, ts in families.items()}


def _fit(templates: NDArray[np.float64], data: NDArray[np.float64], ok: NDArray[np.bool_]) -> NDArray[np.float64]:
    coefficients, *_ = np.linalg.lstsq(templates[:, ok].T, data[ok], rcond=None)
    return np.asarray(coefficients @ templates, float)


def diagnose(
    deviation: NDArray[np.floating],
    good: NDArray[np.bool_],
    *,
    quadrants: tuple[int, int] = (2, 2),
    pixel_limit: float = 2.0,
    limit: float = 0.0,
    pixel_sigma: float = 0.0,
    words: dict[str, str] | None = None,
) -> Diagnosis:
    """Decompose a deviation map and name its cause.

    Parameters
    ----------
    deviation : ndarray, shape (ny, nx)
        100 × (ratio − 1) in %, or a difference in DN; NaN is excluded.
    good : ndarray of bool, shape (ny, nx)
        Pixels that take part.
    quadrants : tuple of int
        Rows and columns of the read-out quadrants.
    pixel_limit : float
        A single pixel deviates beyond this, in the unit of the map.
    limit : float
        Parts smaller than this are never named as the cause.
    pixel_sigma : float
        Expected scatter between neighbouring pixels; where the found one is more than three times that, the pixels
        themselves changed and no pattern is looked for. 0 leaves this out.
    words : dict, optional
        Part name → cause in words; by default those of a flat.

    Returns
    -------
    Diagnosis
        Large-scale parts are peeled off greedily: of plane, quadrant steps and the four corners the family of the
        least Bayesian information criterion is fitted and subtracted, then the next.
    """
    words = words or FLAT_WORDS
    ny, nx = deviation.shape
    grid = (min(GRID[0], ny), min(GRID[1], nx))
    cells = cell_medians(deviation, good, grid).ravel()
    ok = np.isfinite(cells)
    if ok.sum() < 12:
        return Diagnosis((), words["unknown"])
    cells = cells - np.mean(cells[ok])
    found_sigma = _high_pass_sigma(deviation, good)
    cell_error = 1.2533 * found_sigma / np.sqrt(max(good.sum() / ok.sum(), 1))
    parts, rest = _large_scale(cells, ok, grid, quadrants, cell_error)
    smooth = _expand(cells - rest, grid, (ny, nx))
    fine = np.where(good, deviation - smooth, np.nan)
    fine -= nan_median(fine)
    parts += _lines(fine, found_sigma)
    parts += _spot(fine - _waves(rest, ok, grid, (ny, nx)), found_sigma)
    beyond = np.abs(fine[good]) > pixel_limit
    expected = _gaussian_tail(pixel_limit / found_sigma) if found_sigma > 0 else 0.0
    n = int(good.sum())
    parts.append(
        Part(
            "pixels",
            100.0 * float(beyond.mean()),
            float((beyond.sum() - n * expected) / np.sqrt(n * expected + 1)),
            float("nan"),
            f"{int(beyond.sum())} pixels",
        )
    )
    ranked = sorted(
        parts, key=lambda p: (p.name != "pixels" and abs(p.size) >= limit, abs(p.significance)), reverse=True
    )
    # The largest significant part names the cause; significance alone would favour whatever covers most pixels.
    candidates = [p for p in ranked if p.name != "pixels" and abs(p.significance) > 6 and abs(p.size) >= limit]
    large = [p for p in candidates if not np.isnan(p.share)]
    local = [p for p in candidates if np.isnan(p.share)]
    named = max(large, key=lambda p: p.share, default=None)
    sharp = max(local, key=lambda p: abs(p.size), default=None)
    if named is None or (sharp is not None and abs(sharp.size) > 1.5 * abs(named.size)):
        named = sharp or named
    if pixel_sigma > 0 and found_sigma > 3 * pixel_sigma:
        return Diagnosis(tuple(ranked), words["array"])
    cause = words["unknown"] if named is None else words[named.name.split()[0]]
    return Diagnosis(tuple(ranked), cause)


FLAT_WORDS = {
    "gradient": "cloud gradient",
    "quadrants": "quadrant step",
    "corner": "light leak",
    "columns": "column",
    "rows": "row",
    "spot": "dust or local spot",
    "pixels": "single pixels",
    "array": "another array or its pixels changed",
    "unknown": "unexplained structure",
}


DARK_WORDS = FLAT_WORDS | {
    "gradient": "gradient",
    "quadrants": "quadrant offset",
    "spot": "local glow",
    "unknown": "new structure",
}


def _high_pass_sigma(image: NDArray[np.floating], good: NDArray[np.bool_]) -> float:
    """Return the pixel noise from differences of neighbours, which no smooth structure touches."""
    masked = np.where(good, image, np.nan)
    return float(mad_sigma(masked[:, 1:] - masked[:, :-1]) / np.sqrt(2))


def _large_scale(
    cells: NDArray[np.float64],
    ok: NDArray[np.bool_],
    grid: tuple[int, int],
    quadrants: tuple[int, int],
    cell_error: float,
) -> tuple[list[Part], NDArray[np.float64]]:
    left = dict(_templates(grid, quadrants))
    rest = cells.copy()
    total = float(np.sum(cells[ok] ** 2))
    parts: list[Part] = []
    corners = 0
    while left and total > 0:
        models = {name: _fit(t, rest, ok) for name, t in left.items()}
        over = {name: float(np.sum((rest - m)[ok] ** 2)) for name, m in models.items()}
        n = int(ok.sum())
        # Charged by the parameter alone, a step would pass for the corner glow that it resembles.
        cost = {name: n * math.log(max(over[name], 1e-12 * total)) + len(t) * math.log(n) for name, t in left.items()}
        best = min(cost, key=lambda name: cost[name])
        model = models[best]
        del left[best]
        explained = float(np.sum(rest[ok] ** 2)) - over[best]
        corners += best.startswith("corner")
        if corners > 1 and best.startswith("corner") and explained < 0.02 * total:
            continue
        # A plane and a step are given as peak-to-peak, a corner by what it adds to the outermost cell.
        size = float(np.ptp(model)) if not best.startswith("corner") else float(model[np.argmax(np.abs(model))])
        significance = np.sqrt(max(explained, 0.0)) / cell_error if cell_error > 0 else 0.0
        parts.append(
            Part(best.split()[0], size, float(significance), explained / total, _where(best, model, grid, quadrants))
        )
        rest = rest - model
    return parts, rest


def _where(name: str, model: NDArray[np.float64], grid: tuple[int, int], quadrants: tuple[int, int]) -> str:
    image = model.reshape(grid)
    if name == "gradient":
        dy, dx = image[-1].mean() - image[0].mean(), image[:, -1].mean() - image[:, 0].mean()
        return f"x {dx:+.2f}, y {dy:+.2f}"
    if name == "quadrants":
        j, i = np.unravel_index(np.argmax(np.abs(image - np.median(image))), grid)
        return f"Q{int(j) * quadrants[0] // grid[0] * quadrants[1] + int(i) * quadrants[1] // grid[1] + 1}"
    return ("lower left", "lower right", "upper left", "upper right")[int(name.split()[1])]


def _expand(cells: NDArray[np.float64], grid: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.float64]:
    rows = np.repeat(np.arange(grid[0]), np.diff(grid_edges(shape[0], grid[0])))
    cols = np.repeat(np.arange(grid[1]), np.diff(grid_edges(shape[1], grid[1])))
    return cells.reshape(grid)[np.ix_(rows, cols)]


def _waves(
    cells: NDArray[np.float64], ok: NDArray[np.bool_], grid: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the smooth waves of a map of cells at every pixel: too wide for a spot, and steep at the edges."""
    known = np.where(ok, cells, 0.0).reshape(grid)
    across = [min(WAVES, n) for n in grid]
    coarse = [cosine_modes(n)[:m] for n, m in zip(grid, across, strict=True)]
    fine = [cosine_modes(n)[:m] * np.sqrt(n / k) for n, k, m in zip(shape, grid, across, strict=True)]
    return np.asarray(fine[0].T @ (coarse[0] @ known @ coarse[1].T) @ fine[1])


def _lines(fine: NDArray[np.float64], pixel_sigma: float) -> list[Part]:
    parts = []
    for name, axis in (("columns", 0), ("rows", 1)):
        with np.errstate(invalid="ignore"):
            medians = np.array([nan_median(v) for v in (fine.T if axis == 0 else fine)])
        if not np.isfinite(medians).any():
            continue
        medians = medians - ndimage.median_filter(np.nan_to_num(medians, nan=nan_median(medians)), 15, mode="mirror")
        k = int(np.nanargmax(np.abs(medians)))
        error = 1.2533 * pixel_sigma / np.sqrt(fine.shape[axis])
        parts.append(
            Part(
                name,
                float(medians[k]),
                float(abs(medians[k]) / error) if error > 0 else 0.0,
                float("nan"),
                f"{name[:-1]} {k}",
            )
        )
    return parts


def _spot(fine: NDArray[np.float64], pixel_sigma: float) -> list[Part]:
    """Return the most significant spot: a box against the ring around it, which takes smooth structure out."""
    side = max(3, min(fine.shape) // 28)
    valid = np.isfinite(fine)
    clipped = np.where(valid, np.clip(fine, -8 * pixel_sigma - 6, 8 * pixel_sigma + 6), 0.0)

    def box(width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sums = (ndimage.uniform_filter(a, width, mode="constant") * width**2 for a in (valid.astype(float), clipped))
        n, total = sums
        return np.rint(n), total

    (n, total), (n_hole, hole), (n_disc, disc) = box(side), box(2 * side - 1), box(4 * side - 1)
    n_ring, ring = n_disc - n_hole, disc - hole
    enough = (n > 0.5 * side**2) & (n_ring > 2 * side**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        contrast = np.where(enough, total / n - ring / n_ring, 0.0)
        error = np.where(enough, pixel_sigma * np.sqrt(1 / n + 1 / n_ring), np.inf)
    strength = np.abs(contrast) / error if pixel_sigma > 0 else np.zeros_like(contrast)
    # Where the map itself is rougher than its pixels' noise, that is the noise a spot must stand out of.
    strength /= max(1.4826 * float(np.median(strength[enough])), 1.0) if enough.any() else 1.0
    j, i = np.unravel_index(np.argmax(strength), strength.shape)
    return [Part("spot", float(contrast[j, i]), float(strength[j, i]), float("nan"), f"x {i} y {j}")]


def _gaussian_tail(z: float) -> float:
    """Return the two-sided chance of a Gaussian deviate beyond ± z."""
    return math.erfc(z / math.sqrt(2))
