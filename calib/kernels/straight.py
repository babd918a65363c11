"""Sorting networks as straight-line code on vectors: some pixels at a time, all their frames in registers.

A loop over the pairs of a network loads and stores two rows per exchange. Written out for one number of frames, the
same exchanges touch memory once per sample and are three to five times as fast. The code is made from the network
when a number of frames first occurs (0.1 to 2 s) and kept on disk like all compiled code. It is reached through its
address, so that what calls it is compiled once for all numbers of frames.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import cfunc, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from calib.kernels.compiled import CACHE, TILE
from calib.kernels.lanes import LANES, Lanes, Strip
from calib.kernels.networks import merging_network, sorting_network

__all__ = ["MOST_ROWS", "call_on_tile", "sorting_code", "trimming_code"]

# Longer code takes too long to make for what it gains.
MOST_ROWS = 300


def _exchange(v: list[Lanes], pairs: NDArray[np.int32]) -> None:
    for i, j in pairs.tolist():
        less = v[i] < v[j]
        v[i], v[j] = less.where(v[i], v[j]), less.where(v[j], v[i])


def _total(values: Iterable[Lanes]) -> Lanes:
    return functools.reduce(operator.add, values)


def _merged(a: list[Lanes], b: list[Lanes]) -> list[Lanes]:
    pairs, order = merging_network(len(a), len(b))
    v = [*a, *b]
    _exchange(v, pairs)
    return [v[k] for k in order]


def _sorted(v: list[Lanes]) -> list[Lanes]:
    if len(v) < 2:
        return v
    return _merged(_sorted(v[: len(v) // 2]), _sorted(v[len(v) // 2 :]))


def _parted(a: list[Lanes], b: list[Lanes], cut: int) -> tuple[list[Lanes], list[Lanes]]:
    """Return the lower and the upper half of two sorted lists together, ``cut`` values trimmed at each end of all.

    Neither half is in order. ``b`` may have one value more; then the lower half has it.
    """
    if cut > len(a) // 2:
        kept = _merged(a, b)[cut : len(a) + len(b) - cut]
        middle = (len(kept) + 1) // 2
        return kept[:middle], kept[middle:]
    # Of two sorted lists the r smallest values are the smaller ones of each value of the one and its opposite of the
    # other, read backwards (Batcher's bitonic merge). These rise and then fall, and of such a list the m largest are
    # the larger ones of each two that are m apart, where at most m are left out. That saves most of a merge.
    backwards = b[::-1]
    lower = [x.least(y) for x, y in zip(a, backwards, strict=False)] + backwards[len(a) :]
    upper = [x.most(y) for x, y in zip(a, backwards, strict=False)]
    m = len(lower) - cut
    low = [x.most(y) for x, y in zip(lower, lower[m:], strict=False)] + lower[cut:m]
    m = len(upper) - cut
    high = [x.least(y) for x, y in zip(upper, upper[m:], strict=False)] + upper[cut:m]
    return low, high


@intrinsic(prefer_literal=True)
def _sort_strip(_typing, tile, column, n):  # type: ignore[no-untyped-def]
    """Sort `LANES` columns over their n rows in place; n must be a constant."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        strip = Strip(builder, arguments[1])
        v = [strip.load(arguments[0], k) for k in range(n.literal_value)]
        _exchange(v, sorting_network(len(v)))
        for k, value in enumerate(v):
            strip.store(value, arguments[0], k)
        return context.get_dummy_value()

    return types.void(tile, column, n), code


@intrinsic(prefer_literal=True)
def _trim_strip(_typing, tile, out, column, n, cut, cut_first, cut_second):  # type: ignore[no-untyped-def]
    """Sum the kept ranks of `LANES` columns; all but the first three arguments must be constants."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        strip = Strip(builder, arguments[2])
        rows, ends, ends_first, ends_second = (a.literal_value for a in (n, cut, cut_first, cut_second))
        v = [strip.load(arguments[0], k) for k in range(rows)]
        first, second = _sorted(v[: rows // 2]), _sorted(v[rows // 2 :])
        halves = [
            _total(half[trimmed : len(half) - trimmed])
            for half, trimmed in ((first, ends_first), (second, ends_second))
        ]
        lower, upper = _parted(first, second, ends)
        low = _total(lower)
        found = [
            _total([low, *upper]),
            _total(x * x for x in lower + upper),
            low,
            functools.reduce(Lanes.least, lower),
            functools.reduce(Lanes.most, upper or lower),
            *halves,
            first[-1].most(second[-1]),
        ]
        for row, value in enumerate(found):
            strip.store(value, arguments[1], row)
        return context.get_dummy_value()

    return types.void(tile, out, column, n, cut, cut_first, cut_second), code


_TILE_OF = types.CPointer(types.float32)
_ON_TILE = types.void(_TILE_OF, _TILE_OF)


@intrinsic
def call_on_tile(_typing, address, tile, out):  # type: ignore[no-untyped-def]
    """Call code made by this module, by its address, on a tile and the rows for what it finds."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        pointer = ir.FloatType().as_pointer()
        function = builder.inttoptr(arguments[0], ir.FunctionType(ir.VoidType(), [pointer, pointer]).as_pointer())
        data = [
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(signature.args[1:], arguments[1:], strict=True)
        ]
        builder.call(function, data)
        return context.get_dummy_value()

    return types.void(address, tile, out), code


def _compiled(work: Callable[..., None]) -> Any:
    # Kept on disk by the values that `work` takes from around it, which therefore stand beside it.
    return cfunc(_ON_TILE, cache=CACHE)(work)


@functools.cache
def sorting_code(n: int) -> Any:
    """Return code that sorts the columns of a tile of n rows in place; its ``address`` serves `call_on_tile`."""
    width = TILE

    def sort_tile(tile: Any, _out: Any) -> None:
        for column in range(0, width, LANES):
            _sort_strip(tile, column, n)

    return _compiled(sort_tile)


@functools.cache
def trimming_code(n: int, cut: int, cut_first: int, cut_second: int) -> Any:
    """Return code that trims the columns of a tile of n rows, and either half of its rows.

    Parameters
    ----------
    n : int
        Rows; the first half has n // 2 of them.
    cut, cut_first, cut_second : int
        Samples trimmed at each end of all rows, and of either half.

    Returns
    -------
    object
        Its ``address`` serves `call_on_tile`; it writes the sum of the kept samples, of their squares, of their lower
        half (the larger one of an odd number), the lowest and highest kept sample, the sums of the halves' kept
        samples, and the highest sample of all: eight rows. In which order samples are added depends on the parameters
        alone.
    """
    width = TILE

    def trim_tile(tile: Any, out: Any) -> None:
        for column in range(0, width, LANES):
            _trim_strip(tile, out, column, n, cut, cut_first, cut_second)

    return _compiled(trim_tile)
