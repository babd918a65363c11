"""Passes over raw frames: form them, and take their medians.

A read is formed anew wherever it is needed: two raw samples are no more to fetch than the one they make.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.kernels.compiled import F4, F8, kernel
from calib.kernels.medians import (
    adapted_reach,
    has_middle,
    median_of,
    middle_between,
    reach_after_miss,
    row_median,
    scratch_for,
    take_about,
)
from calib.kernels.strips import take_strips
from calib.kernels.taking import SPARE

__all__ = [
    "CHUNK",
    "calibration_of",
    "form_part",
    "form_read",
    "medians_about",
    "read_levels",
    "room_for_medians",
]

# Several frames are passed through so many pixels at a time, for which what belongs to pixels stays in the cache.
CHUNK = 1 << 13

# Of a frame whose level cannot be foretold so many samples are asked first, or one of so many.
_SAMPLED = 1 << 11
_LEAST_STEP = 1 << 7
_ENOUGH = 20
_SCATTER = 40_503

# So long as one of so many levels was foretold in vain.
_WARY = 8

_ZERO = np.float32(0)
_NAN = np.float32(np.nan)

# What a pixel is calibrated with -----------------------------------------------------------------------------------


@kernel
def _calibration_of(dark, responsivity, usable, good, scale, offset, counting):  # type: ignore[no-untyped-def]
    for i in range(scale.size):
        s = np.float32(1) / responsivity[i] if usable[i] else _NAN
        scale[i] = s
        offset[i] = -dark[i] * s
        counting[i] = s if good[i] else _NAN


def calibration_of(dark: F4, responsivity: F4, usable: NDArray[np.bool_], good: NDArray[np.bool_]) -> tuple[F4, F4, F4]:
    """Return scale and offset that `form_read` needs, and the scale of pixels that enter medians.

    Parameters
    ----------
    dark, responsivity : ndarray of float, shape (n_pixels,)
        DN and dimensionless.
    usable, good : ndarray of bool, n_pixels values
        Pixels that can be calibrated, and those of them that enter medians.

    Returns
    -------
    scale, offset, counting : ndarray of float32, shape (n_pixels,)
        1/responsivity, −dark/responsivity in DN, and 1/responsivity of good pixels; NaN for the others.
    """
    dark, responsivity = (np.ascontiguousarray(a, np.float32) for a in (dark, responsivity))
    scale, offset, counting = out = tuple(np.empty(dark.shape, np.float32) for _ in range(3))
    _calibration_of(dark, responsivity, usable.reshape(-1), good.reshape(-1), *out)
    return scale, offset, counting


# Form --------------------------------------------------------------------------------------------------------------


@kernel
def _form_pair(plus, minus, calibration, level, none, out):  # type: ignore[no-untyped-def]
    """Form a stretch of a frame from its two reads; see `form_part`."""
    saturation, scale, offset = calibration
    for i in range(out.size):
        p = np.float32(plus[i])
        v = (p - np.float32(minus[i])) * scale[i] + offset[i] - level
        out[i] = v if (p < saturation) & (abs(v) < np.inf) else none


@kernel
def _form_one(plus, calibration, level, none, out):  # type: ignore[no-untyped-def]
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
    k, first, last : int
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
        _form_one(plus[k, part], here, level, none, out)
    else:
        _form_pair(plus[k, part], minus[k, part], here, level, none, out)


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
def room_for_medians(n, n_pixels):  # type: ignore[no-untyped-def]
    """Return what `medians_about` needs for n frames that are passed together."""
    taken = np.empty((n, n_pixels + SPARE), np.float32)
    return taken, np.empty((n, 3), np.int64), np.empty(n_pixels, np.float32), scratch_for(n_pixels)


@kernel
def _take_part(plus, minus, k, first, last, calibration, low, high, taken, counts):  # type: ignore[no-untyped-def]
    """Form pixels ``first`` to ``last`` (excluded) of frame k and append the samples in [low, high] to those taken."""
    done = take_strips((plus, minus, *calibration, None, low, high), k, first, last, taken, counts)
    if done < last:
        rest = np.empty(last - done, np.float32)
        form_part(plus, minus, k, done, last, calibration, _ZERO, _NAN, rest)
        take_about(rest, None, low, high, taken, counts)


@kernel
def medians_about(plus, minus, first, calibration, guess, reach, room, median):  # type: ignore[no-untyped-def]
    """Take the medians of some frames from ``first`` on, passed together: each pixel's scale and offset serve all.

    Parameters
    ----------
    plus, minus, calibration
        As in `form_part`; a scale that is NaN leaves a pixel out.
    first : int
        The first frame.
    guess : ndarray of float32, shape (n,)
        Where each median is likely to be, DN.
    reach : float32
        How far to either side to look, DN; 0 where nothing is known.
    room : tuple
        `room_for_medians` of n frames or more.
    median : ndarray of float64, shape (n,)
        Receives the medians, DN; exact whatever the guess, NaN for a frame without a valid sample.

    Returns
    -------
    float32
        How far to look next time.
    """
    taken, counts, row, scratch = room
    n, n_pixels = guess.size, plus.shape[1]
    counts[:] = 0
    if reach > 0:
        chunk = n_pixels if n == 1 else CHUNK
        for a in range(0, n_pixels, chunk):
            b = min(a + chunk, n_pixels)
            for j in range(n):
                low, high = guess[j] - reach, guess[j] + reach
                _take_part(plus, minus, first + j, a, b, calibration, low, high, taken[j], counts[j])
    looked = reach
    for j in range(n):
        if has_middle(counts[j]):
            median[j] = middle_between(taken[j], counts[j], guess[j] - looked, guess[j] + looked)
            reach = adapted_reach(looked, counts[j], abs(np.float32(median[j]) - guess[j]))
        else:
            form_part(plus, minus, first + j, 0, n_pixels, calibration, _ZERO, _NAN, row)
            median[j], reach = row_median(row, None, guess[j], reach, scratch)
            off = abs(np.float32(median[j]) - guess[j])
            if looked > 0 and off < np.inf:
                reach = reach_after_miss(reach, off)
    return reach


@kernel
def _sampled_median(plus, minus, k, calibration, taken, otherwise):  # type: ignore[no-untyped-def]
    """Return about where the median of frame k is, from some of its samples; ``otherwise`` if these are too few."""
    saturation, scale, offset = calibration
    m = 0
    step = max(scale.size // _SAMPLED, _LEAST_STEP)
    for j in range(scale.size // step):
        # Not every time the same column, nor one further each time: that may be a diagonal.
        i = j * step + (j * _SCATTER) % step
        p = np.float32(plus[k, i])
        if minus is None:  # noqa: SIM108  # a choice in one line would not be left out
            v = p * scale[i] + offset[i]
        else:
            v = (p - np.float32(minus[k, i])) * scale[i] + offset[i]
        if p < saturation and abs(v) < np.inf:
            taken[m] = v
            m += 1
    return np.float32(median_of(taken[:m])) if m >= _ENOUGH else otherwise


@kernel
def _read_levels(plus, minus, calibration, hint, level):  # type: ignore[no-untyped-def]
    n, n_pixels = plus.shape
    room = room_for_medians(1, n_pixels)
    guess = np.empty(1, np.float32)
    last = hint[0]
    step = 0.0
    reach = np.float32(hint[1])
    wary = 0
    for k in range(n):
        foretold = np.float32(last + step)
        guess[0] = foretold
        if wary > 0:
            guess[0] = _sampled_median(plus, minus, k, calibration, room[2], foretold)
        looked = reach
        reach = medians_about(plus, minus, k, calibration, guess, reach, room, level[k : k + 1])
        if abs(level[k]) < np.inf:
            # Levels drift: the next is looked for as far from this one as this one is from the one before. Where that
            # would be in vain, because they leap, some samples of the next frames are asked first.
            in_vain = looked > 0 and not abs(np.float32(level[k]) - foretold) <= looked
            wary = _WARY if in_vain else max(wary - 1, 0)
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
    hint: F8 | None = None,
) -> F8:
    """Return the median of each frame that `form_read` would make.

    Parameters
    ----------
    plus, minus, saturation_dn, scale, offset
        As in `form_read`; a pixel that is not to count has a scale of NaN: nothing more need be looked at.
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
    _read_levels(plus, minus, (np.float32(saturation_dn), scale, offset), hint, level)
    return level
