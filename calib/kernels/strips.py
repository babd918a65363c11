"""Form a read, keep it or not, and take what lies about a range, in one go: a vector at a time, in registers.

LLVM makes vectors of a loop that forms samples, but not of one that puts some of them together; apart, the two loops
pass each sample through memory. So this is written as vectors, for `LANES` neighbouring pixels of one frame.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from calib.kernels.compiled import kernel
from calib.kernels.lanes import LANES
from calib.kernels.prefetching import prefetch
from calib.kernels.taking import COUNTS, all_lanes, finite, nonzero, take_lanes

__all__ = ["finish_strips", "take_strips"]

# Raw samples are asked for so far ahead. A processor does that by itself where there are few rows to follow; with scale
# and offset beside the frames it was seen to wait for memory half of the time.
_AHEAD = 1 << 11

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)


class _Samples:
    """Writes code for the samples of `LANES` pixels; the arguments of an intrinsic go by their names."""

    def __init__(self, names: str, context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> None:
        self.context = context
        self.builder = builder
        self.given = dict(zip(names.split(), zip(signature.args, arguments, strict=True), strict=True))

    def has(self, name: str) -> bool:
        return not isinstance(self.given[name][0], types.NoneType)

    def place(self, name: str, index: str) -> Any:
        kind, array = self.given[name]
        if kind.layout != "C":
            raise TypeError(f"{name} must be contiguous")
        data = self.context.make_array(kind)(self.context, self.builder, array).data
        return self.builder.gep(data, [self.given[index][1]])

    def load(self, name: str) -> Any:
        place = self.place(name, "i")
        kind = ir.VectorType(place.type.pointee, LANES)
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()), align=1)

    def store(self, name: str, vector: Any) -> None:
        self.builder.store(vector, self.builder.bitcast(self.place(name, "i"), vector.type.as_pointer()), align=1)

    def everywhere(self, name: str) -> Any:
        return all_lanes(self.builder, self.given[name][1], LANES)

    def raw(self, name: str) -> Any:
        """Return raw samples as float32."""
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

    def take(self, values: Any, there: Any) -> Any:
        """Take those that are there, count and lie in the range; return the counts of `take_within`."""
        counting = self.builder.and_(there, nonzero(self.builder, self.load("good")))
        low, high = self.everywhere("low"), self.everywhere("high")
        counts = take_lanes(self.builder, values, counting, low, high, self.place("taken", "n"))
        return self.context.make_tuple(self.builder, COUNTS, counts)


@intrinsic
def _take_strip(_typing, plus, minus, saturation, scale, offset, good, i, low, high, taken, n):  # type: ignore[no-untyped-def]
    names = "plus minus saturation scale offset good i low high taken n"

    def code(*where: Any) -> Any:
        samples = _Samples(names, *where)
        values, there, _ = samples.formed()
        return samples.take(values, there)

    return COUNTS(plus, minus, saturation, scale, offset, good, i, low, high, taken, n), code


@intrinsic
def _finish_strip(  # type: ignore[no-untyped-def]
    _typing,
    plus,
    minus,
    saturation,
    scale,
    offset,
    good,
    flags,
    saturated,
    no_data,
    i,
    low,
    high,
    value,
    mask,
    taken,
    n,
):
    names = "plus minus saturation scale offset good flags saturated no_data i low high value mask taken n"

    def code(*where: Any) -> Any:
        samples = _Samples(names, *where)
        builder = samples.builder
        values, there, full = samples.formed()
        missing = ir.Constant(_FLOATS, [float("nan")] * LANES)
        samples.store("value", builder.select(there, values, missing))
        why = builder.select(full, samples.everywhere("saturated"), samples.everywhere("no_data"))
        why = builder.select(there, ir.Constant(_BYTES, [0] * LANES), why)
        samples.store("mask", builder.or_(samples.load("flags"), why))
        return samples.take(values, there)

    arguments = (plus, minus, saturation, scale, offset, good, flags, saturated, no_data, i, low, high, value, mask)
    return COUNTS(*arguments, taken, n), code


@kernel
def take_strips(plus, minus, calibration, good, low, high, taken, counts):  # type: ignore[no-untyped-def]
    """Form samples and append those in [low, high] to those taken, as `form_part` and `take_about` do.

    Returns
    -------
    int
        How many pixels were gone through; those that do not fill a vector are left.
    """
    saturation, scale, offset = calibration
    below = 0
    n = counts[1]
    valid = 0
    end = scale.size - scale.size % LANES
    for i in range(0, end, LANES):
        prefetch(plus, i + _AHEAD)
        if minus is not None:
            prefetch(minus, i + _AHEAD)
        some = _take_strip(plus, minus, saturation, scale, offset, good, i, low, high, taken, n)
        below += some[0]
        n += some[1]
        valid += some[2]
    counts[0] += below
    counts[1] = n
    counts[2] += valid
    return end


@kernel
def finish_strips(plus, minus, calibration, flags, why, good, low, high, value, mask, taken, counts):  # type: ignore[no-untyped-def]
    """Do as `take_strips`, and write the samples and why they are missing."""
    saturation, scale, offset = calibration
    saturated, no_data = why
    below = 0
    n = counts[1]
    valid = 0
    end = scale.size - scale.size % LANES
    for i in range(0, end, LANES):
        prefetch(plus, i + _AHEAD)
        if minus is not None:
            prefetch(minus, i + _AHEAD)
        some = _finish_strip(
            plus, minus, saturation, scale, offset, good, flags, saturated, no_data, i, low, high, value, mask, taken, n
        )
        below += some[0]
        n += some[1]
        valid += some[2]
    counts[0] += below
    counts[1] = n
    counts[2] += valid
    return end
