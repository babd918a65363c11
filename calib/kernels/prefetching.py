"""Ask for memory before it is needed."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from calib.kernels.compiled import kernel
from calib.kernels.lanes import call_by_name

__all__ = ["prefetch_part", "prefetch_place"]

_FOR_READING, _FOR_LONG, _DATA = 0, 3, 1


def prefetch_place(builder: ir.IRBuilder, place: Any) -> None:
    """Write code that asks for the line of the cache that holds a place, which may lie behind an array."""
    place = builder.bitcast(place, ir.IntType(8).as_pointer())
    word = ir.IntType(32)
    hints = [word(value) for value in (_FOR_READING, _FOR_LONG, _DATA)]
    call_by_name(builder, "llvm.prefetch.p0", ir.VoidType(), [place, *hints])


@intrinsic
def _prefetch(_typing, array, index):  # type: ignore[no-untyped-def]
    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        prefetch_place(builder, builder.gep(data, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(array, index), code


@kernel
def prefetch_part(array, first, last):  # type: ignore[no-untyped-def]
    """Ask for elements ``first`` to ``last`` (excluded) of a contiguous array of one dimension."""
    for i in range(first, last, 64 // array.itemsize):
        _prefetch(array, i)
