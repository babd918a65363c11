"""Form a read, keep it or not, and take what lies about a range, in one go: a vector at a time, in registers.

LLVM makes vectors of a loop that forms samples, but not of one that puts some of them together; apart, the two loops
pass each sample through memory. So this is written as vectors, for `LANES` neighbouring pixels of one frame.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from calib.kernels.compiled import kernel
from calib.kernels.lanes import LANES, all_lanes
from calib.kernels.prefetching import prefetch_place
from calib.kernels.taking import COUNTS, finite, nonzero, take_lanes

__all__ = ["take_strips"]

# Raw samples are asked for so far ahead. A processor does that by itself where there are few rows to follow; with scale
# and offset beside the frames it was seen to wait for memory half of the time.
_AHEAD = 1 << 11

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)


_TAKING = ["plus", "minus", "saturation", "scale", "offset", "good", "low", "high", "taken"]
_FINISHING = ["flags", "saturated", "no_data", "value", "mask"]


class _Samples:
    """Writes code for the samples of `LANES` pixels of frame k from i on; what `take_strips` is given goes by names."""

    def __init__(self, context: Any, builder: ir.IRBuilder, k: Any, i: Any) -> None:
        self.context = context
        self.builder = builder
        self.given: dict[str, tuple[Any, Any]] = {}
        self.k, self.i = k, i

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
        place = self.builder.bitcast(self.place(name, self.i), vector.type.as_pointer())
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

    def finish(self, values: Any, there: Any, full: Any) -> None:
        """Write samples, NaN where there is none, and the bits of each."""
        code = self.builder
        self.store("value", code.select(there, values, ir.Constant(_FLOATS, [float("nan")] * LANES)))
        why = code.select(full, self.everywhere("saturated"), self.everywhere("no_data"))
        why = code.select(there, ir.Constant(_BYTES, [0] * LANES), why)
        self.store("mask", code.or_(self.load("flags"), why))

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
        samples = _Samples(context, builder, *arguments[2:4])
        samples.add(_TAKING, taking, arguments[0])
        values, there, full = samples.formed()
        if not isinstance(finishing, types.NoneType):
            samples.add(_FINISHING, finishing, arguments[1])
            samples.finish(values, there, full)
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
