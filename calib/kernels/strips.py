"""Form a read and do with it what is to be done, in one go: a vector at a time, in registers.

LLVM makes vectors of a loop that forms samples, but not of one that puts some of them together, nor of one that writes
samples, errors and masks side by side; in several loops each sample passes through memory. So this is written as
vectors, for `LANES` neighbouring pixels of one frame.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from calib.kernels.compiled import kernel
from calib.kernels.lanes import LANES, Lanes, all_lanes, call_by_name
from calib.kernels.prefetching import prefetch_place
from calib.kernels.taking import COUNTS, finite, nonzero, take_lanes

__all__ = ["final_strips", "take_strips"]

# Raw samples are asked for so far ahead. A processor does that by itself where there are few rows to follow; with scale
# and offset beside the frames it was seen to wait for memory half of the time.
_AHEAD = 1 << 11

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_WORDS = ir.VectorType(ir.IntType(32), LANES)
_SUMS = ir.VectorType(ir.IntType(64), LANES)


_TAKING = ["plus", "minus", "saturation", "scale", "offset", "good", "low", "high", "taken"]
_FINISHING = ["flags", "saturated", "no_data", "value", "mask"]
_FORMING = ["plus", "minus", "saturation", "scale", "offset"]
_LIFTING = ["lift", "constant", "linear", "quadratic", "error", "sums"]


class _Samples:
    """Writes code for the samples of `LANES` pixels of frame k from i on; what is given to work with goes by names.

    Results go to place ``into`` and those behind it.
    """

    def __init__(self, context: Any, builder: ir.IRBuilder, k: Any, i: Any, into: Any) -> None:
        self.context = context
        self.builder = builder
        self.given: dict[str, tuple[Any, Any]] = {}
        self.k, self.i, self.into = k, i, into

    def add(self, names: list[str], kinds: Any, values: Any) -> None:
        given = zip(kinds, cgutils.unpack_tuple(self.builder, values), strict=True)
        self.given.update(zip(names, given, strict=True))

    def has(self, name: str) -> bool:
        return not isinstance(self.given[name][0], types.NoneType)

    def place(self, name: str, index: Any) -> Any:
        kind, value = self.given[name]
        if kind.layout != "C":
            raise TypeError(f"{name} must be contiguous")
        array = self.context.make_array(kind)(self.context, self.builder, value)
        if kind.ndim == 2:
            n_pixels = self.builder.extract_value(array.shape, 1)
            index = self.builder.add(self.builder.mul(self.k, n_pixels), index)
        return self.builder.gep(array.data, [index])

    def load(self, name: str) -> Any:
        place = self.place(name, self.i)
        kind = ir.VectorType(place.type.pointee, LANES)
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()), align=1)

    def store(self, name: str, vector: Any) -> None:
        place = self.builder.bitcast(self.place(name, self.into), vector.type.as_pointer())
        self.builder.store(vector, place, align=1)

    def everywhere(self, name: str) -> Any:
        return all_lanes(self.builder, self.given[name][1], LANES)

    def raw(self, name: str) -> Any:
        """Return raw samples as float32, and ask for those to come."""
        prefetch_place(self.builder, self.place(name, self.builder.add(self.i, self.i.type(_AHEAD))))
        values, kind = self.load(name), self.given[name][0].dtype
        if isinstance(kind, types.Integer):
            return (self.builder.sitofp if kind.signed else self.builder.uitofp)(values, _FLOATS)
        return values if kind == types.float32 else self.builder.fptrunc(values, _FLOATS)

    def formed(self) -> tuple[Any, Any, Any]:
        """Return calibrated samples, whether each is there, and whether it is saturated; see `form_part`."""
        code = self.builder
        plus = self.raw("plus")
        read = code.fsub(plus, self.raw("minus")) if self.has("minus") else plus
        values = code.fadd(code.fmul(read, self.load("scale")), self.load("offset"))
        saturation = self.everywhere("saturation")
        there = code.and_(code.fcmp_ordered("<", plus, saturation), finite(code, values))
        return values, there, code.fcmp_ordered(">=", plus, saturation)

    def known(self, values: Any, there: Any) -> Any:
        """Return samples, NaN where there is none."""
        return self.builder.select(there, values, ir.Constant(_FLOATS, [float("nan")] * LANES))

    def store_bits(self, there: Any, full: Any) -> None:
        code = self.builder
        why = code.select(full, self.everywhere("saturated"), self.everywhere("no_data"))
        why = code.select(there, ir.Constant(_BYTES, [0] * LANES), why)
        self.store("mask", code.or_(self.load("flags"), why))

    def error_of(self, values: Any) -> Any:
        """Return the errors of final samples; those below zero have that of zero, and NaN stays NaN."""
        constant, linear, quadratic = (
            Lanes(self.builder, self.load(name)) for name in ("constant", "linear", "quadratic")
        )
        light = Lanes(self.builder, values).positive()
        variance = constant + light * (linear + light * quadratic)
        return call_by_name(self.builder, f"llvm.sqrt.v{LANES}f32", _FLOATS, [variance.value])

    def store_final(self, name: str, number: int, values: Any) -> None:
        """Write final values or errors; where sums are kept, as they stand in a file, adding to row ``number``."""
        code = self.builder
        if self.has("sums"):
            kind, sums = self.given["sums"]
            data = self.context.make_array(kind)(self.context, code, sums).data
            place = code.bitcast(code.gep(data, [ir.IntType(64)(number * LANES)]), _SUMS.as_pointer())
            words = code.bitcast(values, _WORDS)
            code.store(code.add(code.load(place, align=8), code.zext(words, _SUMS)), place, align=8)
            values = call_by_name(code, f"llvm.bswap.v{LANES}i32", _WORDS, [words])
        self.store(name, values)

    def take(self, values: Any, there: Any, n: Any) -> Any:
        """Take those that are there, count and lie in the range; return the counts of `take_within`."""
        counting = self.builder.and_(there, nonzero(self.builder, self.load("good")))
        low, high = self.everywhere("low"), self.everywhere("high")
        counts = take_lanes(self.builder, values, counting, low, high, self.place("taken", n))
        return self.context.make_tuple(self.builder, COUNTS, counts)


@intrinsic
def _strip(_typing, taking, finishing, k, i, n):  # type: ignore[no-untyped-def]
    """Do with `LANES` pixels from i on what `take_strips` does; n samples have been taken before."""

    def code(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        samples = _Samples(context, builder, arguments[2], arguments[3], arguments[3])
        samples.add(_TAKING, taking, arguments[0])
        values, there, full = samples.formed()
        if not isinstance(finishing, types.NoneType):
            samples.add(_FINISHING, finishing, arguments[1])
            samples.store("value", samples.known(values, there))
            samples.store_bits(there, full)
        return samples.take(values, there, arguments[4])

    return COUNTS(taking, finishing, k, i, n), code


@kernel
def take_strips(taking, finishing, k, first, last, counts):  # type: ignore[no-untyped-def]
    """Form pixels ``first`` to ``last`` (excluded) of frame k and append those in a range to those taken.

    Parameters
    ----------
    taking : tuple
        The reads, DN, shape (n, n_pixels), ``minus`` may be None; saturation level, scale and offset; which pixels
        count; the range, low and high, DN; and the samples taken, as in `take_about`.
    finishing : tuple or None
        Bits of the pixels, of saturated samples and of those that are missing otherwise; where to write the samples
        and their bits, shape (n, n_pixels). None if they are not wanted.
    k, first, last : int
    counts : ndarray of int64, shape (3,)
        As in `take_about`.

    Returns
    -------
    int
        The first pixel that was left, because the last ones do not fill a vector.
    """
    below = 0
    n = counts[1]
    valid = 0
    end = last - (last - first) % LANES
    for i in range(first, end, LANES):
        some = _strip(taking, finishing, k, i, n)
        below += some[0]
        n += some[1]
        valid += some[2]
    counts[0] += below
    counts[1] = n
    counts[2] += valid
    return end


@intrinsic
def _final_strip(_typing, forming, finishing, lifting, k, i, into):  # type: ignore[no-untyped-def]
    """Do with `LANES` pixels of frame k from i on what `final_strips` does."""

    def code(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        samples = _Samples(context, builder, *arguments[3:])
        kinds = (_FORMING, forming), (_FINISHING, finishing), (_LIFTING, lifting)
        for (names, kind), values in zip(kinds, arguments[:3], strict=True):
            samples.add(names, kind, values)
        values, there, full = samples.formed()
        samples.store_bits(there, full)
        final = builder.fadd(samples.known(values, there), samples.everywhere("lift"))
        samples.store_final("value", 0, final)
        if samples.has("error"):
            samples.store_final("error", 1, samples.error_of(final))
        return context.get_dummy_value()

    return types.void(forming, finishing, lifting, k, i, into), code


@kernel
def final_strips(forming, finishing, lifting, k, first, last, into):  # type: ignore[no-untyped-def]
    """Make pixels ``first`` to ``last`` (excluded) of final frame k; the first of them becomes number ``into``.

    Parameters
    ----------
    forming : tuple
        The reads, DN, shape (n, n_pixels), ``minus`` may be None; saturation level, scale and offset.
    finishing : tuple
        Bits of the pixels, of saturated samples and of those that are missing otherwise; where to write the samples
        and their bits, shape (n, width).
    lifting : tuple
        What is added to every sample, float32; the three terms of the variance; where to write errors, shape
        (n, width), or None; and sums of 32-bit words, uint64, shape (2, `LANES`), those of values and of errors, which
        are added to: then both are written as they stand in a file. None for native order.
    k, first, last, into : int

    Returns
    -------
    int
        The first pixel that was left, because the last ones do not fill a vector.
    """
    end = last - (last - first) % LANES
    for i in range(first, end, LANES):
        _final_strip(forming, finishing, lifting, k, i, i - first + into)
    return end
