"""The value of a rank among few values, without a branch: each is counted against all others, a vector at a time.

Sorting asks some hundred questions whose answers follow no pattern, so a processor that guesses guesses wrong at half
of them; that takes longer than all the counting.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from calib.kernels.compiled import kernel
from calib.kernels.lanes import all_lanes, call_by_name
from calib.kernels.taking import VECTOR_BYTES

__all__ = ["FEW", "two_of_few"]

# Beyond so many values the work, which grows with their square, is more than that of sorting.
FEW = 48

_INDEX = ir.IntType(64)


def _load_some(builder: ir.IRBuilder, place: Any, number: Any, kind: Any) -> Any:
    """Return a vector whose first lanes are loaded, and whose other lanes are infinite."""
    lanes, bits = kind.count, 8 * VECTOR_BYTES // kind.count
    numbers = ir.Constant(ir.VectorType(_INDEX, lanes), list(range(lanes)))
    there = builder.icmp_signed("<", numbers, all_lanes(builder, number, lanes))
    name = f"llvm.masked.load.v{lanes}f{bits}.p0"
    place = builder.bitcast(place, kind.as_pointer())
    none = ir.Constant(kind, [float("inf")] * lanes)
    return call_by_name(builder, name, kind, [place, ir.IntType(32)(bits // 8), there, none])


@intrinsic
def _largest_up_to(_typing, values, i, n, k):  # type: ignore[no-untyped-def]
    """Return the largest of a vector of values from i on that have at most k smaller ones among n, and at most k + 1.

    Minus infinity where there is none.
    """
    bits = values.dtype.bitwidth
    lanes = 8 * VECTOR_BYTES // bits

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        array, start, number, rank = arguments
        data = context.make_array(values)(context, builder, array).data
        vector = ir.VectorType(context.get_value_type(values.dtype), lanes)
        counters = ir.VectorType(ir.IntType(bits), lanes)
        some = _load_some(builder, builder.gep(data, [start]), builder.sub(number, start), vector)
        smaller = cgutils.alloca_once(builder, counters)
        builder.store(ir.Constant(counters, [0] * lanes), smaller)
        with cgutils.for_range(builder, number, intp=_INDEX) as loop:
            other = all_lanes(builder, builder.load(builder.gep(data, [loop.index])), lanes)
            less = builder.sext(builder.fcmp_ordered("<", other, some), counters)
            builder.store(builder.sub(builder.load(smaller), less), smaller)
        found = []
        for more in (0, 1):
            most = builder.add(builder.trunc(rank, counters.element) if bits < 64 else rank, counters.element(more))
            counted = builder.icmp_signed("<=", builder.load(smaller), all_lanes(builder, most, lanes))
            kept = builder.select(counted, some, ir.Constant(vector, [float("-inf")] * lanes))
            found.append(call_by_name(builder, f"llvm.vector.reduce.fmax.v{lanes}f{bits}", vector.element, [kept]))
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(values.dtype, 2)(values, types.int64, types.int64, types.int64), code


@kernel
def two_of_few(values, k):  # type: ignore[no-untyped-def]
    """Return the values of ranks k and k + 1, counted from 0, of finite values; no second follows the last.

    Takes time as the square of their number, but no room; the values stay as they are.
    """
    lower = values.dtype.type(-np.inf)
    upper = lower
    for i in range(0, values.size, VECTOR_BYTES // values.itemsize):
        some = _largest_up_to(values, i, values.size, k)
        lower = max(lower, some[0])
        upper = max(upper, some[1])
    return lower, upper
