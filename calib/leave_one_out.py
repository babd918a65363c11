"""Sky offsets without the frame that they are subtracted from: for short blocks, where its own light would count.

Of the m sorted samples of a pixel, those of ranks c to m − c − 1 are summed up to T, where c is what is trimmed of
m − 1 samples at each end. Without sample v, whatever its rank, the trimmed mean of the others is
(T − clip(v, lowest kept, highest kept)) / (m − 1 − 2c). One sort of a block so serves each of its frames exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Others", "others_of"]

# Pixels whose samples are sorted at a time.
STRETCH = 1 << 15


Samples = Callable[[int, int], NDArray[np.float32]]
"""Gives the samples of pixels ``start`` to ``end`` (excluded), shape (n_frames, end − start): DN above their levels."""


@dataclass(frozen=True)
class Others:
    """What the other frames of a block say about the sky of any one of them, each array of shape (n_pixels,).

    Attributes
    ----------
    total, lowest, highest : ndarray of float32
        Sum of the samples that are kept, and the least and the largest of them, DN.
    n_kept : ndarray of float32
        Samples that are averaged once the frame's own is left out; 0 where there is no other.
    error : ndarray of float32
        1σ of an average of the others, DN; NaN where there is no more than one.
    """

    total: NDArray[np.float32]
    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    n_kept: NDArray[np.float32]
    error: NDArray[np.float32]

    def offset(self, sample: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the trimmed mean of the others, DN.

        Parameters
        ----------
        sample : ndarray of float32, shape (n_pixels,)
            A frame of the block above its level, DN.

        Returns
        -------
        ndarray of float32, shape (n_pixels,)
            NaN where the frame has no sample, or no other frame has one.
        """
        own = np.clip(sample, self.lowest, self.highest)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.subtract(self.total, own, out=own)
            found /= self.n_kept
        found[self.n_kept == 0] = np.nan
        return found


def others_of(samples: Samples, n_pixels: int, alpha: float) -> Others:
    """Sort the samples of a block so that any frame can be left out.

    Parameters
    ----------
    samples : callable
        The block, a stretch of pixels at a time; NaN or infinite means no sample.
    n_pixels : int
    alpha : float
        Fraction of the other samples trimmed at each end, rounded down.

    Returns
    -------
    Others
    """
    found = Others(*(np.zeros(n_pixels, np.float32) for _ in range(5)))
    for start in range(0, n_pixels, STRETCH):
        end = min(start + STRETCH, n_pixels)
        block = np.array(samples(start, end), np.float32)
        block[~np.isfinite(block)] = np.inf
        _fill(block, alpha, tuple(a[start:end] for a in vars(found).values()))
    return found


def _fill(block: NDArray[np.float32], alpha: float, out: tuple[NDArray[np.float32], ...]) -> None:
    """Write the fields of `Others` for some pixels; the block is sorted in place, what is missing goes last."""
    block.sort(axis=0)
    count = np.isfinite(block).sum(axis=0)
    for m in np.unique(count):
        here = count == m
        part = block[:m] if here.all() else block[:m, here]
        for target, values in zip(out, _of_sorted(part, alpha), strict=True):
            target[here] = values


def _of_sorted(block: NDArray[np.float32], alpha: float) -> tuple[NDArray[np.float32] | float, ...]:
    m = len(block)
    if m < 2:
        return 0.0, 0.0, 0.0, 0.0, np.nan
    cut = int(alpha * (m - 1))
    kept = block[cut : m - cut]
    n_kept = m - 1 - 2 * cut
    total, lowest, highest = kept.sum(axis=0), kept[0], kept[-1]
    if m == 2:
        return total, lowest, highest, float(n_kept), np.nan
    # The winsorised variance (Tukey & McLaughlin 1963) of all m is that of any m − 1 of them; the others are m − 1.
    mean = (total + cut * (lowest + highest)) / np.float32(m)
    squares = ((kept - mean) ** 2).sum(axis=0) + cut * ((lowest - mean) ** 2 + (highest - mean) ** 2)
    error = np.sqrt(squares / np.float32((m - 1) * (m - 1))) * np.float32((m - 1) / n_kept)
    return total, lowest, highest, float(n_kept), error
