"""Vectors of neighbouring pixels for code that LLVM would not find vectors in by itself.

A loop over frames that keeps several sums of many pixels goes over the frames inside and the pixels outside. The
compiler vectorises inner loops alone; so such code is written for `LANES` pixels at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils

from calib.kernels.compiled import PITCH

__all__ = ["LANES", "Lanes", "Strip", "all_lanes", "call_by_name"]

# As many float32 as the widest registers hold; narrower machines split them.
LANES = 16

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INDEX = ir.IntType(64)


def all_lanes(builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
    """Return a vector with the same value in every lane."""
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, first, zeros)


def call_by_name(builder: ir.IRBuilder, name: str, result: Any, arguments: list[Any]) -> Any:
    """Return what a function that LLVM knows gives."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


class Lanes:
    """`LANES` values of float32, or of truth, with the arithmetic of arrays."""

    def __init__(self, builder: ir.IRBuilder, value: Any) -> None:
        self.builder = builder
        self.value = value

    def _value(self, other: Lanes | float) -> Any:
        return other.value if isinstance(other, Lanes) else ir.Constant(_VECTOR, [float(other)] * LANES)

    def _with(self, operation: str, other: Lanes | float) -> Lanes:
        return Lanes(self.builder, getattr(self.builder, operation)(self.value, self._value(other)))

    def __add__(self, other: Lanes | float) -> Lanes:
        return self._with("fadd", other)

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self._with("fsub", other)

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self._with("fmul", other)

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return self._with("fdiv", other)

    def __lt__(self, other: Lanes | float) -> Lanes:
        return Lanes(self.builder, self.builder.fcmp_ordered("<", self.value, self._value(other)))

    def __le__(self, other: Lanes | float) -> Lanes:
        return Lanes(self.builder, self.builder.fcmp_ordered("<=", self.value, self._value(other)))

    def where(self, yes: Lanes | float, no: Lanes | float) -> Lanes:
        """Return ``yes`` where these are true, ``no`` elsewhere."""
        return Lanes(self.builder, self.builder.select(self.value, self._value(yes), self._value(no)))

    def least(self, other: Lanes) -> Lanes:
        """Return the smaller ones of each two values."""
        return (self < other).where(self, other)

    def most(self, other: Lanes) -> Lanes:
        """Return the larger ones of each two values."""
        return (self < other).where(other, self)

    def positive(self) -> Lanes:
        """Return the values, 0 instead of negative ones."""
        return (self < 0.0).where(0.0, self)


class Strip:
    """Writes code for `LANES` columns of tiles, whose rows lie `PITCH` samples apart."""

    def __init__(self, builder: ir.IRBuilder, column: Any) -> None:
        self.builder = builder
        self.column = column

    def _at(self, rows: Any, row: Any) -> Any:
        row = ir.Constant(_INDEX, row) if isinstance(row, int) else row
        place = self.builder.add(self.column, self.builder.mul(row, ir.Constant(_INDEX, PITCH)))
        return self.builder.bitcast(self.builder.gep(rows, [place]), _VECTOR.as_pointer())

    def load(self, rows: Any, row: Any) -> Lanes:
        """Return the columns of one row of a tile."""
        return Lanes(self.builder, self.builder.load(self._at(rows, row), align=4))

    def store(self, value: Lanes, rows: Any, row: Any) -> None:
        """Write the columns of one row of a tile."""
        self.builder.store(value.value, self._at(rows, row), align=4)

    def constant(self, value: float) -> Lanes:
        """Return a number in every lane."""
        return Lanes(self.builder, ir.Constant(_VECTOR, [value] * LANES))

    def all_lanes(self, value: Any) -> Lanes:
        """Return a float32 in every lane."""
        return Lanes(self.builder, all_lanes(self.builder, value, LANES))

    def sums(self, n: Any, number: int, terms: Callable[[Any], list[Lanes]]) -> list[Lanes]:
        """Return sums over n rows; ``terms`` gives what row k adds to each."""
        zero = ir.Constant(_VECTOR, [0.0] * LANES)
        totals = [cgutils.alloca_once_value(self.builder, zero) for _ in range(number)]
        for total in totals:
            self.builder.store(zero, total)
        with cgutils.for_range(self.builder, n, intp=_INDEX) as loop:
            for total, term in zip(totals, terms(loop.index), strict=True):
                self.builder.store(self.builder.fadd(self.builder.load(total), term.value), total)
        return [Lanes(self.builder, self.builder.load(total)) for total in totals]
