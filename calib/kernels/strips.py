"""Form a read and do with it what is to be done, in one go: a vector at a time, in registers.

LLVM makes vectors of a loop that forms samples, but not of one that puts some of them together, nor of one that writes
samples, errors and masks side by side; in several loops each sample passes through memory. So this is written as
vectors, for `LANES` neighbouring pixels of one frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from calib.kernels.compiled import TILE, kernel
from calib.kernels.lanes import LANES, Lanes, all_lanes, call_by_name
from calib.kernels.prefetching import LINE_BYTES, prefetch_place
from calib.kernels.taking import COUNTS, finite, nonzero, take_lanes

__all__ = ["final_strips", "first_strips", "form_strips", "take_strips"]

# So many vectors are taken from before what is taken is put together.
_BATCH = 32

# Raw samples are asked for so far ahead. A processor does that by itself where there are few rows to follow; with scale
# and offset beside the frames it was seen to wait for memory half of the time.
_AHEAD = 1 << 11

# Beyond every integer of 16 bits.
_BEYOND = 1e9

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_WORDS = ir.VectorType(ir.IntType(32), LANES)
_SUMS = ir.VectorType(ir.IntType(64), LANES)


_TAKING = ["plus", "minus", "saturation", "scale", "offset", "good", "low", "high"]
_FINISHING = ["flags", "saturated", "no_data", "value", "mask"]
_FORMING = ["plus", "minus", "saturation", "scale", "offset"]
_LIFTING = ["lift", "constant", "linear", "quadratic", "error", "sums"]


class _Samples:
    """Writes code for the samples of `LANES` pixels of frame k from i on; what is given to work with goes by names.

    Results go to place ``into`` and those behind it. Raw samples ``ahead`` of these are asked for.
    """

    def __init__(
        self,
        context: Any,
        builder: ir.IRBuilder,
        k: Any,
        i: Any,
        into: Any,
        *,
        turn: int | None = None,
        ahead: int = _AHEAD,
    ) -> None:
        self.context = context
        self.builder = builder
        self.given: dict[str, tuple[Any, Any]] = {}
        self.k, self.i, self.into = k, i, into
        self.turn, self.ahead = turn, ahead

    def add(self, names: list[str], kinds: Any, values: Any) -> None:
        given = zip(kinds, cgutils.unpack_tuple(self.builder, values), strict=True)
        self.given.update(zip(names, given, strict=True))

    def has(self, name: str) -> bool:
        return name in self.given and not isinstance(self.given[name][0], types.NoneType)

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

    def _ask_ahead(self, name: str) -> None:
        # A line of the cache holds two vectors of 16-bit samples: the two reads take turns.
        halves = 2 * LANES * self.given[name][0].dtype.bitwidth <= 8 * LINE_BYTES
        if not halves or self.turn in (None, _FORMING.index(name)):
            prefetch_place(self.builder, self.place(name, self.builder.add(self.i, self.i.type(self.ahead))))

    def _counted(self, name: str) -> Any:
        """Return raw samples of at most 16 bits as integers of 32."""
        widen = self.builder.sext if self.given[name][0].dtype.signed else self.builder.zext
        return widen(self.load(name), _WORDS)

    def _raw(self, name: str) -> Any:
        """Return raw samples as float32."""
        values, kind = self.load(name), self.given[name][0].dtype
        if isinstance(kind, types.Integer):
            return (self.builder.sitofp if kind.signed else self.builder.uitofp)(values, _FLOATS)
        return values if kind == types.float32 else self.builder.fptrunc(values, _FLOATS)

    def _read(self) -> tuple[Any, Any, Any]:
        """Return uncalibrated samples, whether each is below saturation, and whether it is not."""
        code = self.builder
        names = [name for name in ("plus", "minus") if self.has(name)]
        for name in names:
            self._ask_ahead(name)
        kinds = [self.given[name][0].dtype for name in names]
        if all(isinstance(kind, types.Integer) and kind.bitwidth <= 16 for kind in kinds):
            # Integers of 16 bits and their differences are exact as float32, too.
            plus, *minus = (self._counted(name) for name in names)
            least = self._least_saturated()
            difference = code.sub(plus, *minus) if minus else plus
            below, full = (code.icmp_signed(relation, plus, least) for relation in ("<", ">="))
            return code.sitofp(difference, _FLOATS), below, full
        plus, *minus = (self._raw(name) for name in names)
        saturation = self.everywhere("saturation")
        below, full = (code.fcmp_ordered(relation, plus, saturation) for relation in ("<", ">="))
        return code.fsub(plus, *minus) if minus else plus, below, full

    def _least_saturated(self) -> Any:
        """Return the least integer that is not below saturation, or one beyond all of 16 bits."""
        code, saturation = self.builder, self.given["saturation"][1]
        for function, bound in (("maxnum", -_BEYOND), ("minnum", _BEYOND)):
            saturation = call_by_name(
                code, f"llvm.{function}.f32", saturation.type, [saturation, ir.FloatType()(bound)]
            )
        saturation = call_by_name(code, "llvm.ceil.f32", saturation.type, [saturation])
        return all_lanes(code, code.fptosi(saturation, ir.IntType(32)), LANES)

    def formed(self) -> tuple[Any, Any, Any]:
        """Return calibrated samples, whether each is there, and whether it is saturated; see `form_part`."""
        code = self.builder
        read, below, full = self._read()
        values = code.fadd(code.fmul(read, self.load("scale")), self.load("offset"))
        if self.has("level"):
            values = code.fsub(values, self.everywhere("level"))
        return values, code.and_(below, finite(code, values)), full

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

    def take(self, values: Any, there: Any, place: Any) -> list[Any]:
        """Take those that are there, count and lie in the range; return what `take_lanes` does."""
        code = self.builder
        counting = code.and_(there, nonzero(code, self.load("good"))) if self.has("good") else there
        return take_lanes(code, values, counting, self.everywhere("low"), self.everywhere("high"), place)


# Samples about a median -----------------------------------------------------------------------------------------------

_TWO_COUNTS = types.UniTuple(types.int64, 2)


@intrinsic
def _take_strip(_typing, taking, k, i, slots, inside, slot):  # type: ignore[no-untyped-def]
    """Take from `LANES` pixels from i on into a slot, and write how many; return how many lie up to high, and count."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        samples = _Samples(context, builder, arguments[1], arguments[2], arguments[2])
        samples.add(_TAKING, taking, arguments[0])
        rows, counts = (
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(signature.args[3:5], arguments[3:5], strict=True)
        )
        place = builder.gep(rows, [builder.mul(arguments[5], arguments[5].type(LANES))])
        up_to_high, taken, valid = samples.take(*samples.formed()[:2], place)
        builder.store(builder.trunc(taken, ir.IntType(8)), builder.gep(counts, [arguments[5]]))
        return context.make_tuple(builder, _TWO_COUNTS, [up_to_high, valid])

    return _TWO_COUNTS(taking, k, i, slots, inside, slot), code


@intrinsic
def _copy_slot(_typing, slots, slot, taken, n):  # type: ignore[no-untyped-def]
    """Copy `LANES` values from a slot to place n."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        source, target = (context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 2))
        source = builder.gep(source, [builder.mul(arguments[1], arguments[1].type(LANES))])
        source, target = (
            builder.bitcast(place, _FLOATS.as_pointer()) for place in (source, builder.gep(target, [arguments[3]]))
        )
        builder.store(builder.load(source, align=4), target, align=4)
        return context.get_dummy_value()

    return types.void(slots, slot, taken, n), code


@kernel
def take_strips(taking, k, first, last, taken, counts):  # type: ignore[no-untyped-def]
    """Form pixels ``first`` to ``last`` (excluded) of frame k and append those in a range to those taken.

    Where a sample is to be written depends on how many were taken before it. A processor that has seen such a place
    mistaken for one that is read holds back what it reads until the place is known: half of the time. So samples are
    taken to places that are known, and then put together.

    Parameters
    ----------
    taking : tuple
        The reads, DN, shape (n, n_pixels), ``minus`` may be None; saturation level, scale and offset; which pixels
        count, None if all; the range, low and high, DN.
    k, first, last : int
    taken, counts
        As in `take_about`.

    Returns
    -------
    int
        The first pixel that was left, because the last ones do not fill a vector.
    """
    slots = np.empty(_BATCH * LANES, np.float32)
    inside = np.empty(_BATCH, np.uint8)
    before = n = counts[1]
    up_to_high = 0
    valid = 0
    end = last - (last - first) % LANES
    for start in range(first, end, _BATCH * LANES):
        m = min(_BATCH, (end - start) // LANES)
        for slot in range(m):
            some = _take_strip(taking, k, start + slot * LANES, slots, inside, slot)
            up_to_high += some[0]
            valid += some[1]
        for slot in range(m):
            _copy_slot(slots, slot, taken, n)
            n += np.int64(inside[slot])
    counts[0] += up_to_high - (n - before)
    counts[1] = n
    counts[2] += valid
    return end


@intrinsic
def _first_strip(_typing, taking, finishing, k, i, taken, n):  # type: ignore[no-untyped-def]
    """Do with `LANES` pixels from i on what `first_strips` does; return what `take_lanes` does."""

    def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        samples = _Samples(context, builder, arguments[2], arguments[3], arguments[3])
        samples.add(_TAKING, taking, arguments[0])
        samples.add(_FINISHING, finishing, arguments[1])
        values, there, full = samples.formed()
        samples.store("value", samples.known(values, there))
        samples.store_bits(there, full)
        place = builder.gep(context.make_array(signature.args[4])(context, builder, arguments[4]).data, [arguments[5]])
        return context.make_tuple(builder, COUNTS, samples.take(values, there, place))

    return COUNTS(taking, finishing, k, i, taken, n), code


@kernel
def first_strips(taking, finishing, k, first, last, taken, counts):  # type: ignore[no-untyped-def]
    """Write pixels ``first`` to ``last`` (excluded) of frame k with their bits; append those in a range to those taken.

    Parameters
    ----------
    taking : tuple
        As in `take_strips`.
    finishing : tuple
        Bits of the pixels, of saturated samples and of those that are missing otherwise; where to write the samples
        and their bits, shape (n, n_pixels).
    k, first, last, taken, counts
        As in `take_strips`.

    Returns
    -------
    int
        The first pixel that was left, because the last ones do not fill a vector.
    """
    before = n = counts[1]
    up_to_high = 0
    valid = 0
    end = last - (last - first) % LANES
    # So much is written here that to put samples together later, as `take_strips` does, costs more than waiting.
    for i in range(first, end, LANES):
        some = _first_strip(taking, finishing, k, i, taken, n)
        up_to_high += some[0]
        n += some[1]
        valid += some[2]
    counts[0] += up_to_high - (n - before)
    counts[1] = n
    counts[2] += valid
    return end


# Tiles ----------------------------------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def _form_strip(_typing, forming, level, tile, k, i, into, turn):  # type: ignore[no-untyped-def]
    """Do with `LANES` pixels of frame k from i on what `form_strips` does."""

    def code(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        samples = _Samples(context, builder, *arguments[3:6], turn=turn.literal_value, ahead=TILE)
        samples.add(_FORMING, forming, arguments[0])
        samples.given["level"] = level, arguments[1]
        samples.given["tile"] = tile, arguments[2]
        values, there, _ = samples.formed()
        samples.store("tile", builder.select(there, values, ir.Constant(_FLOATS, [float("inf")] * LANES)))
        return context.get_dummy_value()

    return types.void(forming, level, tile, k, i, into, turn), code


@kernel
def form_strips(forming, level, k, first, last, tile):  # type: ignore[no-untyped-def]
    """Form pixels ``first`` to ``last`` (excluded) of frame k in row k of a tile; those of the next tile are asked for.

    Parameters
    ----------
    forming : tuple
        The reads, DN, shape (n, n_pixels), ``minus`` may be None; saturation level, scale and offset.
    level : float32
        Subtracted from every sample, DN.
    k, first, last : int
    tile : ndarray of float32, shape (n, at least last − first)
        Receives the samples, DN; infinity where there is none.

    Returns
    -------
    int
        The first pixel that was left, because the last ones do not fill two vectors.
    """
    end = last - (last - first) % (2 * LANES)
    for i in range(first, end, 2 * LANES):
        _form_strip(forming, level, tile, k, i, i - first, 0)
        _form_strip(forming, level, tile, k, i + LANES, i + LANES - first, 1)
    return end


# Final frames ---------------------------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def _final_strip(_typing, forming, finishing, lifting, k, i, into, turn):  # type: ignore[no-untyped-def]
    """Do with `LANES` pixels of frame k from i on what `final_strips` does."""

    def code(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        samples = _Samples(context, builder, *arguments[3:6], turn=turn.literal_value)
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

    return types.void(forming, finishing, lifting, k, i, into, turn), code


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
        The first pixel that was left, because the last ones do not fill two vectors.
    """
    end = last - (last - first) % (2 * LANES)
    for i in range(first, end, 2 * LANES):
        _final_strip(forming, finishing, lifting, k, i, i - first + into, 0)
        _final_strip(forming, finishing, lifting, k, i + LANES, i + LANES - first + into, 1)
    return end
