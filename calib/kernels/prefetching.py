"""Ask for memory before it is needed."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]

from calib.kernels.lanes import call_by_name

__all__ = ["LINE_BYTES", "prefetch_place"]

# What a processor fetches at once.
LINE_BYTES = 64

_FOR_READING, _FOR_LONG, _DATA = 0, 3, 1


def prefetch_place(builder: ir.IRBuilder, place: Any) -> None:
    """Write code that asks for the line of the cache that holds a place, which may lie behind an array."""
    place = builder.bitcast(place, ir.IntType(8).as_pointer())
    word = ir.IntType(32)
    hints = [word(value) for value in (_FOR_READING, _FOR_LONG, _DATA)]
    call_by_name(builder, "llvm.prefetch.p0", ir.VoidType(), [place, *hints])
