"""Passes over raw frames while they lie in the cache: form, take the level, and make the final frames.

A read is formed anew wherever it is needed: two raw samples are no more to fetch than the one they make.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.kernels.compiled import F4, F8, kernel
from calib.kernels.medians import (
    adapted_reach,
    has_middle,
    middle_between,
    reach_after_miss,
    row_median,
    scratch_for,
    take_about,
)
from calib.kernels.noise import NoiseTerms
from calib.kernels.strips import take_strips
from calib.kernels.taking import SPARE
from calib.kernels.words import big_endian, bits_of

__all__ = [
    "LARGE_TOGETHER",
    "FinishedFrames",
    "finish_frames",
    "form_one",
    "form_pair",
    "form_part",
    "form_read",
    "read_levels",
]

# Several frames are passed through so many pixels at a time, for which what belongs to pixels stays in the cache.
CHUNK = 1 << 13

_ZERO = np.float32(0)
_NAN = np.float32(np.nan)

# So many final samples stay in the cache of a core between their two passes: as many frames are finished together.
_CACHED = 1 << 17

# Larger frames do not stay there anyhow, nor does what belongs to their pixels: that is shared by so many frames.
LARGE_TOGETHER = 4


class FinishedFrames(NamedTuple):
    """What `finish_frames` returns: values, errors and masks, each ``(n, n_pixels)``, and the shift of each frame.

    Where big-endian values and errors were asked for, ``sums`` are those of their 32-bit words (not folded).
    """

    value: F4
    error: F4
    mask: NDArray[np.uint8]
    shift: F8
    sums: tuple[int, int] | None


# Form --------------------------------------------------------------------------------------------------------------


@kernel
def form_pair(plus, minus, calibration, level, none, out):  # type: ignore[no-untyped-def]
    """Form a stretch of a frame from its two reads; see `form_part`."""
    saturation, scale, offset = calibration
    for i in range(out.size):
        p = np.float32(plus[i])
        v = (p - np.float32(minus[i])) * scale[i] + offset[i] - level
        out[i] = v if (p < saturation) & (abs(v) < np.inf) else none


@kernel
def form_one(plus, calibration, level, none, out):  # type: ignore[no-untyped-def]
    """Form a stretch of a frame from its only read; see `form_part`."""
    saturation, scale, offset = calibration
    for i in range(out.size):
        p = np.float32(plus[i])
        v = p * scale[i] + offset[i] - level
        out[i] = v if (p < saturation) & (abs(v) < np.inf) else none


@kernel
def form_part(plus, minus, k, first, last, calibration, level, none, out):  # type: ignore[no-untyped-def]
    """Form pixels ``first`` to ``last`` (excluded) of frame k.

    Parameters
    ----------
    plus, minus : ndarray
        As in `form_read`.
    calibration : tuple
        Saturation level, scale and offset, as in `form_read`, all float32.
    level : float32
        Subtracted from every sample, DN.
    none : float32
        Stands where there is no sample.
    out : ndarray of float32, shape (last − first,)
    """
    part = slice(first, last)
    saturation, scale, offset = calibration
    here = saturation, scale[part], offset[part]
    if minus is None:
        form_one(plus[k, part], here, level, none, out)
    else:
        form_pair(plus[k, part], minus[k, part], here, level, none, out)


@kernel
def _form(plus, minus, calibration, out):  # type: ignore[no-untyped-def]
    for k in range(out.shape[0]):
        form_part(plus, minus, k, 0, out.shape[1], calibration, _ZERO, _NAN, out[k])


def form_read(
    plus: NDArray[Any],
    minus: NDArray[Any] | None,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    out: F4 | None = None,
) -> F4:
    """Form a read and calibrate it: ``(plus − minus) · scale + offset``, saturated samples NaN.

    Dark subtraction and flat-fielding are one multiply-add: scale = 1/flat, offset = −dark/flat.

    Parameters
    ----------
    plus, minus : ndarray, shape (n_frames, n_pixels)
        Raw frames of any numeric type, DN; ``minus`` may be None.
    saturation_dn : float
        A sample whose ``plus`` is not below this becomes NaN.
    scale, offset : ndarray of float32, shape (n_pixels,)
        Dimensionless and DN, contiguous; NaN masks a pixel.
    out : ndarray of float32, shape (n_frames, n_pixels), optional
        Where to write.

    Returns
    -------
    ndarray of float32, shape (n_frames, n_pixels)
        Calibrated samples in DN.
    """
    if out is None:
        out = np.empty(plus.shape, np.float32)
    _form(plus, minus, (np.float32(saturation_dn), scale, offset), out)
    return out


# First pass: levels ------------------------------------------------------------------------------------------------


@kernel
def _take_frame(plus, minus, k, calibration, good, low, high, taken, counts):  # type: ignore[no-untyped-def]
    """Form frame k and append the samples in [low, high] to those taken."""
    n_pixels = good.size
    done = take_strips((plus, minus, *calibration, good, low, high, taken), None, k, 0, n_pixels, counts)
    if done < n_pixels:
        rest = np.empty(n_pixels - done, np.float32)
        form_part(plus, minus, k, done, n_pixels, calibration, _ZERO, _NAN, rest)
        take_about(rest, good[done:], low, high, taken, counts)


@kernel
def _read_levels(plus, minus, calibration, good, hint, level):  # type: ignore[no-untyped-def]
    n, n_pixels = plus.shape
    scratch = scratch_for(n_pixels)
    taken = np.empty(n_pixels + SPARE, np.float32)
    counts = np.empty(3, np.int64)
    row = np.empty(n_pixels, np.float32)
    last = hint[0]
    step = 0.0
    reach = np.float32(hint[1])
    for k in range(n):
        guess = np.float32(last + step)
        low, high = guess - reach, guess + reach
        counts[:] = 0
        if reach > 0:
            _take_frame(plus, minus, k, calibration, good, low, high, taken, counts)
        if has_middle(counts):
            level[k] = middle_between(taken, counts, low, high)
            reach = adapted_reach(reach, counts, abs(np.float32(level[k]) - guess))
        else:
            known = reach > 0
            form_part(plus, minus, k, 0, n_pixels, calibration, _ZERO, _NAN, row)
            level[k], reach = row_median(row, good, guess, reach, scratch)
            if known and abs(level[k]) < np.inf:
                reach = reach_after_miss(reach, abs(np.float32(level[k]) - guess))
        if abs(level[k]) < np.inf:
            # Levels drift: the next is looked for as far from this one as this one is from the one before.
            step = level[k] - last if k > 0 and abs(level[k - 1]) < np.inf else 0.0
            last = level[k]
            hint[0], hint[1] = last, reach


def read_levels(
    plus: NDArray[Any],
    minus: NDArray[Any] | None,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    good: NDArray[np.bool_],
    hint: F8 | None = None,
) -> F8:
    """Return the median of each frame that `form_read` would make, as `calib.kernels.frame_medians` takes it.

    Parameters
    ----------
    plus, minus, saturation_dn, scale, offset
        As in `form_read`.
    good : ndarray of bool, shape (n_pixels,)
        Which pixels count for the median; contiguous.
    hint : ndarray, shape (2,), optional
        Level that is likely and how far from it to look, DN; 0 where nothing is known. Written anew from these frames.
        It makes medians cheap and changes nothing else; several threads may share it.

    Returns
    -------
    ndarray, shape (n_frames,)
        DN; NaN for a frame without a valid sample.
    """
    level = np.empty(len(plus))
    hint = np.zeros(2) if hint is None else hint
    plus, minus = np.ascontiguousarray(plus), None if minus is None else np.ascontiguousarray(minus)
    _read_levels(plus, minus, (np.float32(saturation_dn), scale, offset), good, hint, level)
    return level


# Second pass: the final frames -------------------------------------------------------------------------------------


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
    taking = plus, minus, *calibration, good, low, high, taken
    done = take_strips(taking, (flags, *why, value, mask), k, first, last, counts)
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
    constant, linear, quadratic = noise
    together = max(1, min(n, _CACHED // n_pixels if n_pixels <= _CACHED else LARGE_TOGETHER))
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
        for a in range(0, n_pixels, CHUNK):
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
    if sums is None:
        return FinishedFrames(*out, shift, None)
    value, error, mask = out
    return FinishedFrames(value.view(">f4"), error.view(">f4"), mask, shift, (int(sums[0]), int(sums[1])))
