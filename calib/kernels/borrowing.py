"""Arrays that are not counted: parts of them are taken without an atomic operation."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

__all__ = ["borrowed"]


@intrinsic
def borrowed(_typing, array):  # type: ignore[no-untyped-def]
    """Return an array that does not keep its memory alive; None stays None.

    Each part taken of an array that is counted costs atomic operations, and threads that take parts of the same one
    contend for its count. Only for what the caller holds: what a function has made itself would be gone at once.
    """

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        if isinstance(array, types.NoneType):
            return context.get_dummy_value()
        view = context.make_array(array)(context, builder, arguments[0])
        view.meminfo = ir.Constant(view.meminfo.type, None)
        return view._getvalue()

    return array(array), code
