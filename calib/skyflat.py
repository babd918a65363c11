"""The sky offsets as a second flat monitor, between twilights.

What a sky offset shows in proportion to the sky level is an error of the flat, or the uneven light of the dark sky
itself; a dark that was wrong adds the same DN whatever the level. The first changes only when the instrument does, so
its trend through the nights watches the flat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SkyFlat", "sky_proportional"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SkyFlat:
    """The part of a night's sky offsets that scales with the sky level.

    Attributes
    ----------
    percent : ndarray, shape (ny, nx)
        Per cell, % of the sky level; NaN where unknown.
    error_percent : float
        1σ of a cell.
    n_blocks : int
        Sky offsets that it rests on.
    """

    percent: Array
    error_percent: float
    n_blocks: int


def sky_proportional(offsets_dn: Array, levels_dn: Array, errors_dn: Array, additive_sigma_dn: float) -> SkyFlat:
    """Fit S = A + F · l per cell, over the accepted blocks of a night.

    Parameters
    ----------
    offsets_dn : ndarray, shape (n_blocks, ny, nx)
        Cell values of the sky offsets, DN; NaN is excluded.
    levels_dn : ndarray, shape (n_blocks,)
        Their sky levels l, DN.
    errors_dn : ndarray, shape (n_blocks,)
        1σ of a cell of each.
    additive_sigma_dn : float
        How far the constant part A may be from zero, 1σ: what a dark is usually wrong by.

    Returns
    -------
    SkyFlat
        F in %. Where the level hardly changed in the night, A and F cannot be told apart by the fit alone; the prior
        on A then decides, and the error of F says what that costs.
    """
    ok = np.isfinite(levels_dn) & (levels_dn > 0) & np.isfinite(errors_dn) & (errors_dn > 0)
    grid = offsets_dn.shape[1:]
    if not ok.any():
        return SkyFlat(np.full(grid, np.nan), float("nan"), 0)
    s, level, weight = offsets_dn[ok], levels_dn[ok], 1 / errors_dn[ok] ** 2
    # Normal equations of (A, F) with a prior on A.
    prior = 1 / additive_sigma_dn**2 if additive_sigma_dn > 0 else 1e30
    aa, af, ff = weight.sum() + prior, (weight * level).sum(), (weight * level**2).sum()
    sa, sf = np.tensordot(weight, s, 1), np.tensordot(weight * level, s, 1)
    determinant = aa * ff - af**2
    percent = 100 * (aa * sf - af * sa) / determinant
    return SkyFlat(percent, float(100 * np.sqrt(aa / determinant)), int(ok.sum()))
