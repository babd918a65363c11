"""Final frames: formed anew, freed of their offset, lifted back to their level, with errors and masks.

What a frame is to be lifted by is known when its whole has been seen. Small frames stay in the cache of the chip
meanwhile, and are finished there. Large ones do not: their shifts are taken first, which writes nothing, and stretch
after stretch is formed once more and finished, so that what leaves the chip is as much for any size of array.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.kernels.borrowing import borrowed
from calib.kernels.compiled import F4, F8, kernel
from calib.kernels.frames import CHUNK, medians_about, room_for_medians
from calib.kernels.lanes import LANES
from calib.kernels.medians import adapted_reach, has_middle, middle_between, row_median, scratch_for, take_about
from calib.kernels.noise import NoiseTerms
from calib.kernels.strips import final_strips, first_strips
from calib.kernels.taking import SPARE
from calib.kernels.words import big_endian, bits_of

__all__ = [
    "TOGETHER",
    "FinishedFrames",
    "finish_frames",
    "finish_stretch",
    "frame_shifts",
]

_ZERO = np.float32(0)
_NAN = np.float32(np.nan)

# So many frames share what belongs to their pixels on its way from memory.
TOGETHER = 8


class FinishedFrames(NamedTuple):
    """Final frames, or stretches of them: values, errors and masks, each ``(n, n_pixels)``, and the shift of each.

    Where big-endian values and errors were asked for, ``sums`` are those of their 32-bit words (not folded).
    """

    value: F4
    error: F4
    mask: NDArray[np.uint8]
    shift: F8
    sums: tuple[int, int] | None


# Small frames -------------------------------------------------------------------------------------------------------


@kernel
def _pair_and_mask(plus, minus, calibration, flags, why, out, mask):  # type: ignore[no-untyped-def]
    saturation, scale, offset = calibration
    saturated, no_data = why
    for i in range(out.size):
        p = np.float32(plus[i])
        v = (p - np.float32(minus[i])) * scale[i] + offset[i]
        there = (p < saturation) & (abs(v) < np.inf)
        out[i] = v if there else _NAN
        mask[i] = flags[i] | (np.uint8(0) if there else (saturated if p >= saturation else no_data))


@kernel
def _one_and_mask(plus, calibration, flags, why, out, mask):  # type: ignore[no-untyped-def]
    saturation, scale, offset = calibration
    saturated, no_data = why
    for i in range(out.size):
        p = np.float32(plus[i])
        v = p * scale[i] + offset[i]
        there = (p < saturation) & (abs(v) < np.inf)
        out[i] = v if there else _NAN
        mask[i] = flags[i] | (np.uint8(0) if there else (saturated if p >= saturation else no_data))


@kernel
def _finish_part(plus, minus, k, first, last, calibration, flags, why, good, low, high, value, mask, taken, counts):  # type: ignore[no-untyped-def]
    """Form pixels ``first`` to ``last`` (excluded) of frame k, say why some are missing, and take the middle ones."""
    taking = plus, minus, *calibration, good, low, high
    done = first_strips(taking, (flags, *why, value, mask), k, first, last, taken, counts)
    if done < last:
        rest = slice(done, last)
        saturation, scale, offset = calibration
        here = saturation, scale[rest], offset[rest]
        if minus is None:
            _one_and_mask(plus[k, rest], here, flags[rest], why, value[k, rest], mask[k, rest])
        else:
            _pair_and_mask(plus[k, rest], minus[k, rest], here, flags[rest], why, value[k, rest], mask[k, rest])
        take_about(value[k, rest], good[rest], low, high, taken, counts)


# The bytes of a file are made while the samples are at hand; ``sums`` is None where native order is wanted. A row may
# take part in one loop under one type alone, or it would not run in vectors: bits pass through registers.


@kernel
def _lift(row, shift, sums):  # type: ignore[no-untyped-def]
    if sums is None:
        for i in range(row.size):
            row[i] += shift
        return
    total = np.uint64(0)
    for i in range(row.size):
        v = row[i] + shift
        total += np.uint64(bits_of(v))
        row[i] = big_endian(v)
    sums[0] += total


@kernel
def _lifted_err(v, constant, linear, quadratic):  # type: ignore[no-untyped-def]
    v = np.float32(0) if v < np.float32(0) else v  # NaN stays NaN
    return np.sqrt(constant + v * (linear + v * quadratic))


@kernel
def _lift_and_err(row, shift, constant, linear, quadratic, out, sums):  # type: ignore[no-untyped-def]
    if sums is None:
        for i in range(row.size):
            v = row[i] + shift
            row[i] = v
            out[i] = _lifted_err(v, constant[i], linear[i], quadratic[i])
        return
    values = np.uint64(0)
    errors = np.uint64(0)
    for i in range(row.size):
        v = row[i] + shift
        e = _lifted_err(v, constant[i], linear[i], quadratic[i])
        values += np.uint64(bits_of(v))
        errors += np.uint64(bits_of(e))
        row[i] = big_endian(v)
        out[i] = big_endian(e)
    sums[0] += values
    sums[1] += errors


@kernel
def _finish(  # type: ignore[no-untyped-def]
    plus, minus, calibration, level, good, noise, flags, why, hint, value, error, mask, shift, sums
):
    n, n_pixels = value.shape
    constant, linear, quadratic = borrowed(noise[0]), borrowed(noise[1]), borrowed(noise[2])
    value, error, mask = borrowed(value), borrowed(error), borrowed(mask)
    together = max(1, min(n, TOGETHER))
    taken = np.empty((together, n_pixels + SPARE), np.float32)
    counts = np.empty((together, 3), np.int64)
    scratch = scratch_for(n_pixels)
    for first in range(0, n, together):
        end = min(first + together, n)
        known, reach = hint[0], np.float32(hint[1])
        expected, looked = known, reach
        counts[:] = 0
        for a in range(0, n_pixels, CHUNK):
            b = min(a + CHUNK, n_pixels)
            for k in range(first, end):
                # Without a reach there is nothing in the range, and so not the middle.
                guess = np.float32(level[k] - expected)
                low, high = guess - looked, (guess + looked if looked > 0 else -np.float32(np.inf))
                _finish_part(
                    plus, minus, k, a, b, calibration, flags, why, good, low, high, value, mask,
                    taken[k - first], counts[k - first],
                )  # fmt: skip
        for k in range(first, end):
            if has_middle(counts[k - first]):
                guess = np.float32(level[k] - expected)
                median = middle_between(taken[k - first], counts[k - first], guess - looked, guess + looked)
                reach = adapted_reach(looked, counts[k - first], abs(np.float32(median) - guess))
            else:
                median, reach = row_median(value[k], good, np.float32(level[k] - known), reach, scratch)
            shift[k] = level[k] - median
            if abs(shift[k]) < np.inf:
                hint[0], hint[1] = shift[k], reach
                known = shift[k]
        # Backwards: what was written last is still at hand.
        for a in range((n_pixels - 1) // CHUNK * CHUNK, -1, -CHUNK):
            b = min(a + CHUNK, n_pixels)
            for k in range(first, end):
                lift = np.float32(shift[k]) if abs(shift[k]) < np.inf else _ZERO
                if error.shape[0] > 0:
                    _lift_and_err(value[k, a:b], lift, constant[a:b], linear[a:b], quadratic[a:b], error[k, a:b], sums)
                else:
                    _lift(value[k, a:b], lift, sums)


def finish_frames(
    plus: NDArray[Any],
    minus: NDArray[Any] | None,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    level: F8,
    good: NDArray[np.bool_],
    noise: NoiseTerms,
    flags: NDArray[np.uint8],
    saturated: int,
    no_data: int,
    hint: F8 | None = None,
    big_endian: bool = False,
    out: tuple[F4, F4, NDArray[np.uint8]],
) -> FinishedFrames:
    """Make final frames: form and calibrate, restore the level, add errors and masks.

    Parameters
    ----------
    plus, minus, saturation_dn, scale
        As in `form_read`.
    offset : ndarray of float32, shape (n_pixels,)
        As in `form_read`, less the sky offset, DN.
    level : ndarray, shape (n,)
        Median that each frame is to have over the pixels that count, DN; NaN leaves it alone.
    good : ndarray of bool, shape (n_pixels,)
        Which pixels count for the median; contiguous.
    noise : NoiseTerms
    flags : ndarray of uint8, shape (n_pixels,)
        Bits every sample of a pixel has.
    saturated, no_data : int
        Bits of samples that are missing because of saturation, or for another reason.
    hint : ndarray, shape (2,), optional
        Shift that is likely and how far from it to look, DN; 0 where nothing is known. Written anew from these frames.
        It makes medians cheap and changes nothing else; several threads may share it.
    big_endian : bool
        Whether values and errors are wanted as they stand in a file, with the sums of their words.
    out : tuple of ndarray, shape (n, n_pixels)
        Where to write values, errors and masks; without rows for errors none are made.

    Returns
    -------
    FinishedFrames
        With the shift that was added to each frame, DN.
    """
    shift = np.empty(len(level))
    plus, minus = np.ascontiguousarray(plus), None if minus is None else np.ascontiguousarray(minus)
    calibration = np.float32(saturation_dn), scale, offset
    bits = flags, (np.uint8(saturated), np.uint8(no_data))
    hint = np.zeros(2) if hint is None else hint
    sums = np.zeros(2, np.uint64) if big_endian else None
    _finish(plus, minus, calibration, level, good, tuple(noise), *bits, hint, *out, shift, sums)
    return _finished(out, shift, sums)


# Large frames -------------------------------------------------------------------------------------------------------


@kernel
def _frame_shifts(plus, minus, calibration, level, hint, shift):  # type: ignore[no-untyped-def]
    n, n_pixels = plus.shape
    together = max(1, min(n, TOGETHER))
    room = room_for_medians(together, n_pixels)
    guess = np.empty(together, np.float32)
    median = np.empty(together)
    for first in range(0, n, together):
        m = min(together, n - first)
        for j in range(m):
            guess[j] = level[first + j] - hint[0]
        reach = medians_about(plus, minus, first, calibration, guess[:m], np.float32(hint[1]), room, median[:m])
        for j in range(m):
            shift[first + j] = level[first + j] - median[j]
            if abs(shift[first + j]) < np.inf:
                hint[0], hint[1] = shift[first + j], reach


def frame_shifts(
    plus: NDArray[Any],
    minus: NDArray[Any] | None,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    level: F8,
    hint: F8 | None = None,
) -> F8:
    """Return what is to be added to frames to restore their level, as `finish_frames` adds it.

    Parameters
    ----------
    plus, minus, saturation_dn, offset, level, hint
        As in `finish_frames`.
    scale : ndarray of float32, shape (n_pixels,)
        As in `form_read`; a pixel that is not to count has a scale of NaN.

    Returns
    -------
    ndarray, shape (n,)
        DN; NaN for a frame without a level or without a valid sample.
    """
    shift = np.empty(len(level))
    plus, minus = np.ascontiguousarray(plus), None if minus is None else np.ascontiguousarray(minus)
    hint = np.zeros(2) if hint is None else hint
    _frame_shifts(plus, minus, (np.float32(saturation_dn), scale, offset), level, hint, shift)
    return shift


@kernel
def _finish_rest(  # type: ignore[no-untyped-def]
    plus, minus, k, rest, calibration, lift, noise, flags, why, into, value, error, mask, sums
):
    """Finish pixels that do not fill a vector."""
    saturation, scale, offset = calibration
    constant, linear, quadratic = noise
    here = saturation, scale[rest], offset[rest]
    if minus is None:
        _one_and_mask(plus[k, rest], here, flags[rest], why, value[k, into], mask[k, into])
    else:
        _pair_and_mask(plus[k, rest], minus[k, rest], here, flags[rest], why, value[k, into], mask[k, into])
    if error is None:
        _lift(value[k, into], lift, sums)
    else:
        terms = constant[rest], linear[rest], quadratic[rest]
        _lift_and_err(value[k, into], lift, *terms, error[k, into], sums)


@kernel
def _finish_stretch(  # type: ignore[no-untyped-def]
    plus, minus, first, calibration, shift, noise, flags, why, value, error, mask, lane_sums, sums
):
    n, width = value.shape
    for a in range(0, width, CHUNK):
        b = min(a + CHUNK, width)
        for k in range(n):
            lift = np.float32(shift[k]) if abs(shift[k]) < np.inf else _ZERO
            forming = plus, minus, *calibration
            lifting = lift, *noise, error, lane_sums
            done = final_strips(forming, (flags, *why, value, mask), lifting, k, first + a, first + b, a)
            if done < first + b:
                rest, into = slice(done, first + b), slice(done - first, b)
                _finish_rest(plus, minus, k, rest, calibration, lift, noise, flags, why, into, value, error, mask, sums)


def finish_stretch(
    plus: NDArray[Any],
    minus: NDArray[Any] | None,
    first: int,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    shift: F8,
    noise: NoiseTerms,
    flags: NDArray[np.uint8],
    saturated: int,
    no_data: int,
    big_endian: bool = False,
    out: tuple[F4, F4, NDArray[np.uint8]],
) -> FinishedFrames:
    """Make a stretch of some final frames, the shifts of which are known.

    Parameters
    ----------
    plus, minus : ndarray, shape (n, n_pixels)
        As in `form_read`; contiguous, as they are not copied for every stretch.
    first : int
        The first pixel wanted.
    saturation_dn, scale, offset, noise, flags, saturated, no_data, big_endian
        As in `finish_frames`; arrays for all pixels of a frame.
    shift : ndarray, shape (n,)
        What is added to each frame (`frame_shifts`), DN; NaN adds nothing.
    out : tuple of ndarray, shape (n, width)
        Where to write values, errors and masks of so many pixels; without rows for errors none are made.

    Returns
    -------
    FinishedFrames
    """
    value, error, mask = out
    sums, lanes = (np.zeros(2, np.uint64), np.zeros((2, LANES), np.uint64)) if big_endian else (None, None)
    bits = flags, (np.uint8(saturated), np.uint8(no_data))
    calibration = np.float32(saturation_dn), scale, offset
    wanted = error if len(error) else None
    _finish_stretch(plus, minus, first, calibration, shift, tuple(noise), *bits, value, wanted, mask, lanes, sums)
    return _finished(out, shift, None if sums is None or lanes is None else sums + lanes.sum(axis=1))


def _finished(out: tuple[F4, F4, NDArray[np.uint8]], shift: F8, sums: NDArray[np.uint64] | None) -> FinishedFrames:
    if sums is None:
        return FinishedFrames(*out, shift, None)
    value, error, mask = out
    return FinishedFrames(value.view(">f4"), error.view(">f4"), mask, shift, (int(sums[0]), int(sums[1])))
