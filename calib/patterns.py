"""Patterns that a change of the instrument or the sky draws on a grid of cells, and the words for their causes.

A map of cells is taken apart into cosine modes, of which quiet nights fill the smooth ones most. In that space a
pattern is a template, and each mode counts by how quiet it is: the sharp edge of a small quadrant step stands out of
smooth variation that is far larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from calib.regions import cell_names, quadrant_names

__all__ = ["Template", "cosine_modes", "from_modes", "mode_orders", "templates", "to_modes"]

Grid = tuple[int, int]
CORNERS = ("lower left", "lower right", "upper left", "upper right")
# The glow of an amplifier or a leak falls off over about this fraction of the array's side.
GLOW_SCALE = 0.15


@dataclass(frozen=True)
class Template:
    """One pattern.

    Attributes
    ----------
    family : str
        ``level``, ``gradient``, ``quadrant``, ``corner`` or ``cell``: what names the cause.
    where : str
        ``Q3``, ``upper left``, ``C34``; empty for level and gradient.
    modes : ndarray, shape (k, n_modes)
        One row per degree of freedom (two for a gradient), for a size of one: edge to edge, the step, the height in
        the very corner, the cell.
    """

    family: str
    where: str
    modes: NDArray[np.float64]


@cache
def cosine_modes(length: int) -> NDArray[np.float64]:
    """Return the orthonormal cosine modes of a length, shape (length, length), mode by mode."""
    order, place = np.arange(length)[:, None], (np.arange(length)[None, :] + 0.5) / length
    modes: NDArray[np.float64] = np.cos(np.pi * order * place) * np.sqrt(2.0 / length)
    modes[0] = np.sqrt(1.0 / length)
    modes.setflags(write=False)
    return modes


def to_modes(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine modes of maps of cells.

    Parameters
    ----------
    maps : ndarray, shape (…, ny, nx)
        Any unit; a cell that is NaN is taken for the mean of its map.

    Returns
    -------
    ndarray, shape (…, ny × nx)
        In the same unit; orthonormal, so that white noise keeps its σ. The first mode is the level times √(ny × nx).
    """
    maps = np.asarray(maps, float)
    known = np.isfinite(maps)
    count = np.maximum(known.sum(axis=(-2, -1), keepdims=True), 1)
    mean = np.where(known, maps, 0.0).sum(axis=(-2, -1), keepdims=True) / count
    filled = np.where(known, maps, mean)
    ny, nx = maps.shape[-2:]
    modes = cosine_modes(ny) @ filled @ cosine_modes(nx).T
    return np.asarray(modes.reshape(*maps.shape[:-2], ny * nx))


@cache
def mode_orders(grid: Grid) -> NDArray[np.int_]:
    """Return the order of each mode, shape (ny × nx,): the most half waves it has along either axis; 0 is the level."""
    orders: NDArray[np.int_] = np.maximum(np.arange(grid[0])[:, None], np.arange(grid[1])[None, :]).ravel()
    orders.setflags(write=False)
    return orders


def from_modes(modes: NDArray[np.floating], grid: Grid) -> NDArray[np.float64]:
    """Return the maps that have these modes, shape (…, ny, nx)."""
    ny, nx = grid
    return np.asarray(cosine_modes(ny).T @ modes.reshape(*modes.shape[:-1], ny, nx) @ cosine_modes(nx))


@cache
def templates(grid: Grid, quadrants: Grid, *, level: bool) -> tuple[Template, ...]:
    """Return the patterns that are looked for in a map of cells.

    Parameters
    ----------
    grid, quadrants : tuple of int
        Rows and columns of the cells, and of the read-out quadrants.
    level : bool
        Whether the level counts as well as the shape; that of a responsivity is 1 by definition.
    """
    ny, nx = grid
    y, x = np.meshgrid((np.arange(ny) + 0.5) / ny - 0.5, (np.arange(nx) + 0.5) / nx - 0.5, indexing="ij")
    found: list[Template] = []

    def add(family: str, where: str, *images: NDArray[np.float64]) -> None:
        rows = to_modes(np.stack(images))
        rows[:, 0] = 0.0
        if (np.abs(rows).max(axis=1) > 1e-9).all():
            found.append(Template(family, where, rows))

    if level:
        found.append(Template("level", "", to_modes(np.ones((1, *grid)))))
    if min(grid) > 1:
        add("gradient", "", x, y)
    rows, columns = (np.arange(ny) * quadrants[0]) // ny, (np.arange(nx) * quadrants[1]) // nx
    if ny >= quadrants[0] and nx >= quadrants[1]:
        for k, name in enumerate(quadrant_names(quadrants)):
            j, i = divmod(k, quadrants[1])
            add("quadrant", name, np.outer(rows == j, columns == i).astype(float))
    if min(grid) >= 4:
        for where, (cy, cx) in zip(CORNERS, ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)), strict=True):
            add("corner", where, np.exp(-np.hypot(x - cx, y - cy) / GLOW_SCALE))
        for k, name in enumerate(cell_names(grid)):
            cell = np.zeros(grid)
            cell.flat[k] = 1.0
            add("cell", name, cell)
    return tuple(found)
