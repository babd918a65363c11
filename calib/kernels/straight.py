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
        first, second = v[: rows // 2], v[rows // 2 :]
        _exchange(first, sorting_network(len(first)))
        _exchange(second, sorting_network(len(second)))
        halves = [
            _total(half[trimmed : len(half) - trimmed])
            for half, trimmed in ((first, ends_first), (second, ends_second))
        ]
        v = first + second
        pairs, order = merging_network(len(first), len(second))
        _exchange(v, pairs)
        kept = [v[k] for k in order[ends : rows - ends]]
        lower = (len(kept) + 1) // 2
        low = _total(kept[:lower])
        found = [
            _total([low, *kept[lower:]]),
            _total(x * x for x in kept),
            low,
            kept[0],
            kept[-1],
            *halves,
            v[order[-1]],
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
        samples, and the highest sample of all: eight rows. Samples are added in the order of rank.
    """
    width = TILE

    def trim_tile(tile: Any, out: Any) -> None:
        for column in range(0, width, LANES):
            _trim_strip(tile, out, column, n, cut, cut_first, cut_second)

    return _compiled(trim_tile)
