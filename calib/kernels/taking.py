"""Count values about a range and put those inside together, a vector at a time and without a branch.

Which values belong follows no pattern, so a processor that guesses would guess wrong at every few of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from calib.kernels.compiled import kernel
from calib.kernels.lanes import all_lanes, call_by_name

__all__ = [
    "COUNTS",
    "SPARE",
    "VECTOR_BYTES",
    "finite",
    "nonzero",
    "take_lanes",
    "take_rows",
    "take_within",
]

# Whole vectors are written: so much room is needed behind the values taken.
SPARE = 16

VECTOR_BYTES = 64

# Until LLVM 20 vectors are compressed on their way to memory alone, which some processors are slow at.
_IN_REGISTERS = binding.llvm_version_info[0] >= 20


def _compress(builder: ir.IRBuilder, values: Any, belongs: Any, place: Any) -> None:
    """Write the lanes that belong side by side from ``place`` on; what follows them is undefined."""
    kind = values.type
    name = f"v{kind.count}f{8 * VECTOR_BYTES // kind.count}"
    if _IN_REGISTERS:
        compress = f"llvm.experimental.vector.compress.{name}"
        together = call_by_name(builder, compress, kind, [values, belongs, ir.Constant(kind, ir.Undefined)])
        builder.store(together, builder.bitcast(place, kind.as_pointer()), align=4)
    else:
        call_by_name(builder, f"llvm.masked.compressstore.{name}", ir.VoidType(), [values, place, belongs])


def finite(builder: ir.IRBuilder, values: Any) -> Any:
    """Return which lanes are finite."""
    infinity = ir.Constant(values.type, [float("inf")] * values.type.count)
    return builder.and_(
        builder.fcmp_ordered(">", values, builder.fneg(infinity)), builder.fcmp_ordered("<", values, infinity)
    )


def nonzero(builder: ir.IRBuilder, values: Any) -> Any:
    """Return which lanes of integers are not zero."""
    return builder.icmp_unsigned("!=", values, ir.Constant(values.type, [0] * values.type.count))


def take_lanes(builder: ir.IRBuilder, values: Any, valid: Any, low: Any, high: Any, place: Any) -> list[Any]:
    """Write the valid lanes in [low, high] from ``place`` on; return how many lie up to ``high``, there, and are valid.

    Two comparisons say as much as three, of which a processor does few at a time: below are those up to ``high`` that
    are not in the range.
    """
    counted = ir.IntType(values.type.count)
    le, ge = builder.fcmp_ordered("<=", values, high), builder.fcmp_ordered(">=", values, low)
    up_to_high = builder.and_(valid, le)
    inside = builder.and_(valid, builder.and_(le, ge))
    _compress(builder, values, inside, place)
    return [
        builder.zext(builder.ctpop(builder.bitcast(mask, counted)), ir.IntType(64))
        for mask in (up_to_high, inside, valid)
    ]


COUNTS = types.UniTuple(types.int64, 3)


@intrinsic
def _take_strip(_typing, source, good, i, low, high, taken, n):  # type: ignore[no-untyped-def]
    """Take those of a vector of values from i on that lie in [low, high]; return the counts of `take_lanes`."""
    lanes = VECTOR_BYTES // (source.dtype.bitwidth // 8)

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        def place(k: int, index: Any) -> Any:
            data = context.make_array(signature.args[k])(context, builder, arguments[k]).data
            return builder.gep(data, [index])

        def load(k: int, element: Any) -> Any:
            kind = ir.VectorType(element, lanes)
            return builder.load(builder.bitcast(place(k, arguments[2]), kind.as_pointer()), align=1)

        values = load(0, context.get_value_type(source.dtype))
        lowest, highest = (
            all_lanes(builder, context.cast(builder, arguments[k], signature.args[k], source.dtype), lanes)
            for k in (3, 4)
        )
        valid = finite(builder, values)
        if good != types.none:
            valid = builder.and_(valid, nonzero(builder, load(1, ir.IntType(8))))
        counts = take_lanes(builder, values, valid, lowest, highest, place(5, arguments[6]))
        return context.make_tuple(builder, COUNTS, counts)

    return COUNTS(source, good, i, low, high, taken, n), code


@kernel
def take_rows(source, good, rows, low, high, taken, n):  # type: ignore[no-untyped-def]
    """Do as `take_within` with a part of each of some rows.

    ``rows`` are the place where the first part begins, how far the next is from one, their number and their width.
    """
    first, step, number, width = rows
    before = n
    up_to_high = 0
    valid = 0
    lanes = VECTOR_BYTES // source.itemsize
    whole = width - width % lanes
    for j in range(number):
        start = first + j * step
        for i in range(start, start + whole, lanes):
            some = _take_strip(source, good, i, low, high, taken, n)
            up_to_high += some[0]
            n += some[1]
            valid += some[2]
        for i in range(start + whole, start + width):
            v = source[i]
            if abs(v) < np.inf and (good is None or good[i]):
                valid += 1
                up_to_high += v <= high
                if low <= v <= high:
                    taken[n] = v
                    n += 1
    return up_to_high - (n - before), n - before, valid


@kernel
def take_within(source, good, low, high, taken, n):  # type: ignore[no-untyped-def]
    """Write the values in [low, high] to ``taken`` from place n on.

    Parameters
    ----------
    source : ndarray of float32 or float64, one-dimensional
    good : ndarray of bool, same size, or None
        Which values count; None for all.
    low, high : float
    taken : ndarray of the same type
        With room for `SPARE` values behind those taken; may begin where ``source`` does.
    n : int

    Returns
    -------
    below, inside, valid : int
        Finite values that count and lie below ``low``, those taken, and all.
    """
    return take_rows(source, good, (0, 0, 1, source.size), low, high, taken, n)
