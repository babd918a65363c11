"""Regions: the array, its quadrants, and the cells of a grid."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from calib import kernels

__all__ = [
    "cell_means",
    "cell_medians",
    "cell_medians_and_means",
    "cell_names",
    "grid_edges",
    "grid_slices",
    "quadrant_medians",
    "quadrant_names",
    "region_medians",
    "region_names",
]

Image = NDArray[np.floating]
Grid = tuple[int, int]


@cache
def grid_edges(length: int, parts: int) -> tuple[int, ...]:
    """Return the ``parts + 1`` pixel edges of a grid along one axis, as even as whole pixels allow."""
    return tuple(round(k * length / parts) for k in range(parts + 1))


@cache
def grid_slices(shape: tuple[int, int], grid: Grid) -> tuple[tuple[slice, slice], ...]:
    """Return the (rows, columns) slices of each cell, row by row from the first pixel."""
    rows, cols = grid_edges(shape[0], grid[0]), grid_edges(shape[1], grid[1])
    return tuple(
        (slice(rows[j], rows[j + 1]), slice(cols[i], cols[i + 1])) for j in range(grid[0]) for i in range(grid[1])
    )


def quadrant_names(grid: Grid) -> tuple[str, ...]:
    """Return ``Q1 … Qn``, row by row from the first pixel."""
    return tuple(f"Q{k + 1}" for k in range(grid[0] * grid[1]))


def cell_names(grid: Grid) -> tuple[str, ...]:
    """Return ``C00 …``: row digit(s), then column digit(s), from the first pixel."""
    wide = 2 if max(grid) > 10 else 1
    return tuple(f"C{j:0{wide}d}{i:0{wide}d}" for j in range(grid[0]) for i in range(grid[1]))


def region_names(quadrants: Grid, cells: Grid) -> tuple[str, ...]:
    """Return all regions in the order of `region_medians`."""
    return ("array", *quadrant_names(quadrants), *cell_names(cells))


def _grid_medians(image: Image, good: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    return kernels.cell_middles(image, good, grid_edges(image.shape[0], grid[0]), grid_edges(image.shape[1], grid[1]))


def nan_median(values: NDArray[np.floating]) -> float:
    """Return the median of the finite values; NaN if there is none."""
    native = values.dtype in (np.float32, np.float64) and values.dtype.isnative
    return kernels.finite_median(values if native else values.astype(np.float64))


def mad_sigma(values: NDArray[np.floating]) -> float:
    """Return 1.4826 × the median absolute deviation of the finite values; NaN if there is none."""
    return 1.4826022185056018 * nan_median(np.abs(values - nan_median(values)))


def quadrant_medians(image: Image, good: NDArray[np.bool_], grid: Grid = (2, 2)) -> NDArray[np.float64]:
    """Return the median of each quadrant over good finite pixels, shape (rows × columns,)."""
    return _grid_medians(image, good, grid).ravel()


def cell_medians(image: Image, good: NDArray[np.bool_], grid: Grid = (8, 8)) -> NDArray[np.float64]:
    """Return the median of each cell over good finite pixels, shape ``grid``; NaN where a cell has none."""
    return _grid_medians(image, good, grid)


def cell_means(
    image: Image, good: NDArray[np.bool_], grid: Grid = (8, 8), clip_sigma: float = 4.0
) -> NDArray[np.float64]:
    """Return the clipped mean of each cell: as robust as its median against a few odd pixels, with less noise.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Any unit; NaN is excluded.
    good : ndarray of bool, shape (ny, nx)
        Pixels that take part.
    grid : tuple of int
        Rows and columns of the cells.
    clip_sigma : float
        Pixels farther from the median of their cell than this many of its robust σ are left out.

    Returns
    -------
    ndarray, shape ``grid``
        NaN where a cell has no good pixel.
    """
    return cell_medians_and_means(image, good, grid, clip_sigma).mean


def cell_medians_and_means(
    image: Image, good: NDArray[np.bool_], grid: Grid = (8, 8), clip_sigma: float = 4.0
) -> kernels.CellAverages:
    """Return `cell_medians` and `cell_means`, which takes little longer than either."""
    edges = grid_edges(image.shape[0], grid[0]), grid_edges(image.shape[1], grid[1])
    return kernels.cell_averages(image, good, *edges, clip_sigma)


def region_medians(
    image: Image, good: NDArray[np.bool_], quadrants: Grid = (2, 2), cells: Grid = (8, 8)
) -> NDArray[np.float64]:
    """Return the median of every region over good finite pixels.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Any unit; NaN is excluded.
    good : ndarray of bool, shape (ny, nx)
        Pixels that take part.
    quadrants, cells : tuple of int
        Rows and columns of either grid.

    Returns
    -------
    ndarray, shape (1 + quadrants + cells,)
        In the order of `region_names`; NaN where a region has no good pixel.
    """
    grids = ((1, 1), quadrants, cells)
    return np.concatenate([_grid_medians(image, good, grid).ravel() for grid in grids])


def region_counts(good: NDArray[np.bool_], quadrants: Grid = (2, 2), cells: Grid = (8, 8)) -> NDArray[np.int64]:
    """Return the number of good pixels of every region, in the order of `region_names`."""
    counts = [int(good.sum())]
    for grid in (quadrants, cells):
        counts += [int(good[s].sum()) for s in grid_slices((good.shape[0], good.shape[1]), grid)]
    return np.array(counts)
