"""Sorting networks: which rows to compare and exchange (Batcher 1968, odd–even merge sort)."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from calib.kernels.borrowing import borrowed
from calib.kernels.compiled import kernel

__all__ = ["exchange", "merging_network", "sort_rows", "sorting_network"]


@functools.cache
def sorting_network(n: int) -> NDArray[np.int32]:
    """Return the compare-exchange pairs of an odd–even merge sort of n values, ``(n_pairs, 2)``.

    The recursion goes depth first, which keeps the rows in use near each other in the cache.
    """
    pairs: list[tuple[int, int]] = []
    size = 1 << max(n - 1, 1).bit_length()

    def merge(low: int, length: int, step: int) -> None:
        double = step * 2
        if double < length:
            merge(low, length, double)
            merge(low + step, length, double)
            for i in range(low + step, low + length - step, double):
                pairs.append((i, i + step))
        else:
            pairs.append((low, low + step))

    def sort(low: int, length: int) -> None:
        if length > 1 and low < n:
            half = length // 2
            sort(low, half)
            sort(low + half, half)
            merge(low, length, 1)

    sort(0, size)
    # Values beyond n are thought of as +inf: pairs that reach there never exchange.
    kept = [p for p in pairs if p[1] < n]
    return np.array(kept, dtype=np.int32).reshape(-1, 2)


@functools.cache
def merging_network(m: int, n: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the compare-exchange pairs that merge m sorted rows with the n sorted rows behind them.

    This is Batcher's merge of any two lengths (Knuth 5.3.4): the odd ranks of both are merged, the even ranks
    likewise, and neighbours put in order.

    Returns
    -------
    pairs : ndarray of int, shape (n_pairs, 2)
    order : ndarray of int, shape (m + n,)
        Row in which each rank ends.
    """
    pairs: list[tuple[int, int]] = []

    def merge(a: list[int], b: list[int]) -> list[int]:
        if not a or not b:
            return a or b
        if len(a) == len(b) == 1:
            pairs.append((a[0], b[0]))
            return a + b
        odd, even = merge(a[::2], b[::2]), merge(a[1::2], b[1::2])
        order = odd[:1]
        for low, high in zip(even, odd[1:], strict=False):
            pairs.append((low, high))
            order += [low, high]
        return order + odd[len(even) + 1 :] + even[len(odd) - 1 :]

    order = merge(list(range(m)), list(range(m, m + n)))
    return np.array(pairs, np.int32).reshape(-1, 2), np.array(order, np.int64)


@kernel
def exchange(a, b):  # type: ignore[no-untyped-def]
    """Put the smaller of each two values into ``a``, the larger into ``b``."""
    # On its own, over 1-D views: only so does LLVM turn it into vector min/max.
    for i in range(a.size):
        x = a[i]
        y = b[i]
        a[i] = x if x < y else y
        b[i] = y if x < y else x


@kernel
def sort_rows(tile, pairs, width):  # type: ignore[no-untyped-def]
    """Sort the first ``width`` columns of a tile over its rows by the pairs of a network."""
    tile = borrowed(tile)
    for p in range(pairs.shape[0]):
        exchange(tile[pairs[p, 0], :width], tile[pairs[p, 1], :width])
