"""Compiled passes over frames, one frame at a time while it lies in the cache: form, median, finish, swap.

They complete `calib.kernels`, whose kernels go along the stack; the NumPy twins are in `calib.kernels_numpy`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from calib.kernels import _form_row, _form_row_single, _options

__all__ = [
    "FinishedFrames",
    "NoiseTerms",
    "finish_frames",
    "form_and_level",
    "frame_medians",
    "native_16_bit",
    "sum_big_endian",
    "swap_and_sum",
]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

# Values this few are sorted as they are.
_FEW = 48

# Several passes over a frame are made over so many pixels at a time, which stay in the cache whatever its size.
CHUNK = 1 << 14


class NoiseTerms(NamedTuple):
    """Variance of a sample F of a final frame: constant + kept · (fixed + linear · F⁺ + quadratic · F⁺²).

    The arrays are float32, shape ``(n_pixels,)``; F⁺ is F where positive, else 0.
    """

    constant: F4
    kept: float
    fixed: F4
    linear: F4
    quadratic: F4


class FinishedFrames(NamedTuple):
    """What `finish_frames` returns: values, errors and masks, each ``(n, n_pixels)``, and the shift of each frame."""

    value: F4
    error: F4
    mask: NDArray[np.uint8]
    shift: F8


# Median of one frame ---------------------------------------------------------------------------------------------


@njit(**_options)
def _count_about(row, pad, low, high):  # type: ignore[no-untyped-def]
    # The pad is 0 where a pixel counts and NaN where it does not.
    below = np.int32(0)
    inside = np.int32(0)
    valid = np.int32(0)
    for i in range(row.size):
        v = row[i] + pad[i]
        below += np.int32((v < low) & (v > -np.inf))
        inside += np.int32((v >= low) & (v <= high))
        valid += np.int32(abs(v) < np.inf)
    return below, inside, valid


@njit(**_options)
def _find_between(row, pad, low, high, found):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        v = row[i] + pad[i]
        found[i] = np.uint8((v >= low) & (v <= high))


@njit(**_options)
def _take_found(row, found, taken):  # type: ignore[no-untyped-def]
    # Few pixels belong: eight at a time are passed over. Of the others every value is written, and the place moves on
    # only behind those that belong, without a branch.
    n = np.uintp(0)
    words = found.view(np.uint64)
    for w in range(words.size):
        if words[w] != np.uint64(0):
            first = np.uintp(8 * w)
            for k in range(np.uintp(8)):
                taken[n] = row[first + k]
                n += np.uintp((words[w] >> np.uint64(8 * k)) & np.uint64(1))
    return n


@njit(**_options)
def _take_between(row, pad, low, high, scratch):  # type: ignore[no-untyped-def]
    taken, found = scratch
    _find_between(row, pad, low, high, found)
    whole = row.size - row.size % 8
    n = _take_found(row[:whole], found[:whole], taken)
    for i in range(whole, row.size):
        if found[i]:
            taken[n] = row[i]
            n += np.uintp(1)
    return np.int64(n)


@njit(**_options)
def _scratch(n_pixels):  # type: ignore[no-untyped-def]
    return np.empty(n_pixels + 1, np.float32), np.empty(n_pixels, np.uint8)


@njit(**_options)
def _take_again(taken, m, low, high):  # type: ignore[no-untyped-def]
    below = 0
    n = 0
    for i in range(m):
        v = taken[i]
        taken[n] = v
        n += (v >= low) & (v <= high)
        below += v < low
    return below, n


@njit(**_options)
def _select(v, m, k):  # type: ignore[no-untyped-def]
    # Hoare's selection: afterwards v[k] is the value of rank k, smaller ones before it.
    left = 0
    right = m - 1
    while right > left:
        middle = (left + right) // 2
        a, b, c = v[left], v[middle], v[right]
        pivot = max(min(a, b), min(max(a, b), c))
        i = left
        j = right
        while i <= j:
            while v[i] < pivot:
                i += 1
            while v[j] > pivot:
                j -= 1
            if i <= j:
                v[i], v[j] = v[j], v[i]
                i += 1
                j -= 1
        if k <= j:
            right = j
        elif k >= i:
            left = i
        else:
            return v[k]
    return v[k]


@njit(**_options)
def _middle(v, m, k, pair):  # type: ignore[no-untyped-def]
    """Return the value of rank k among the first m, or with ``pair`` the mean of ranks k and k + 1."""
    upper = _select(v, m, k + 1 if pair else k)
    if not pair:
        return np.float64(upper)
    lower = v[0]
    for i in range(1, k + 1):
        lower = max(lower, v[i])
    return 0.5 * (np.float64(lower) + np.float64(upper))


@njit(**_options)
def _narrowed(v, m, k, pair, low, high):  # type: ignore[no-untyped-def]
    """Return the middle of m values known to lie in [low, high], of which few are neighbours of rank k."""
    while m > _FEW:
        # Within so narrow a range values lie about evenly: look where rank k should be.
        at = low + (high - low) * np.float32((k + 1.0) / m)
        reach = (high - low) * np.float32(2.5 / np.sqrt(m))
        a = max(low, at - reach)
        b = min(high, at + reach)
        below = 0
        inside = 0
        for i in range(m):
            below += v[i] < a
            inside += (v[i] >= a) & (v[i] <= b)
        if below > k or below + inside <= k + pair or inside > m // 2:
            break
        below, m = _take_again(v, m, a, b)
        k -= below
        low = a
        high = b
    return _middle(v, m, k, pair)


@njit(**_options)
def _estimate(row, pad, taken):  # type: ignore[no-untyped-def]
    """Return the median of some hundred values and half the range of their middle tenth."""
    m = 0
    for i in range(0, row.size, max(row.size // 500, 1) | 1):  # an odd step: columns alternate
        v = row[i] + pad[i]
        if abs(v) < np.inf:
            taken[m] = v
            m += 1
    if m < 20:
        return np.float32(0), np.float32(0)
    low = _select(taken, m, m * 9 // 20)
    high = _select(taken, m, m * 11 // 20)
    return np.float32(0.5) * (low + high), np.float32(0.5) * (high - low)


@njit(**_options)
def _row_median(row, pad, guess, reach, scratch):  # type: ignore[no-untyped-def]
    """Return the median of a frame over the pixels that count, and the reach to either side to look in next time.

    The median is exact whatever the guess; a good one (that of the frame before) makes it cheap.
    """
    taken = scratch[0]
    estimated = not reach > 0
    if estimated:
        guess, reach = _estimate(row, pad, taken)
    for attempt in range(8):
        low = guess - reach
        high = guess + reach
        below, inside, valid = _count_about(row, pad, low, high)
        if inside == 0 or valid == 0 or not reach > 0:
            # The last frame says nothing about this one: look at this one once.
            if estimated:
                break
            estimated = True
            guess, reach = _estimate(row, pad, taken)
            continue
        k = (valid - 1) // 2
        pair = valid % 2 == 0
        if below <= k and k + pair < below + inside:
            m = _take_between(row, pad, low, high, scratch)
            # A few per cent of the values are few to sort, and so many that the next median is likely among them.
            if inside > valid // 16:
                reach *= np.float32(0.5)
            elif inside < valid // 50:
                reach *= np.float32(1.5)
            return _narrowed(taken, m, k - below, pair, low, high), reach
        # The range was beside the median: go as far as its density says, and the second time look wider.
        guess += np.float32((k - below - inside / 2) * (high - low) / inside)
        reach *= np.float32(1.0 if attempt == 0 else 2.0)
    m = _take_between(row, pad, np.float32(-3.4028235e38), np.float32(3.4028235e38), scratch)
    return (_middle(taken, m, (m - 1) // 2, m % 2 == 0) if m else np.nan), np.float32(0)


@njit(**_options)
def _medians(frames, pad, out):  # type: ignore[no-untyped-def]
    scratch = _scratch(frames.shape[1])
    guess = np.float32(0)
    reach = np.float32(0)
    for k in range(frames.shape[0]):
        out[k], reach = _row_median(frames[k], pad, guess, reach, scratch)
        guess = np.float32(out[k])


def frame_medians(frames: F4, pad: F4) -> F8:
    """Return the median of each frame over the pixels that count, not finite samples excluded.

    Parameters
    ----------
    frames : ndarray of float32, shape (n, n_pixels)
    pad : ndarray of float32, shape (n_pixels,)
        0 where a pixel counts, NaN where it does not.

    Returns
    -------
    ndarray, shape (n,)
        NaN for a frame without a valid sample; the mean of the middle two where their number is even.
    """
    out = np.empty(len(frames))
    _medians(frames, pad, out)
    return out


# First pass: form and level ----------------------------------------------------------------------------------------


@njit(**_options)
def _form_and_level(plus, minus, saturation, scale, offset, pad, out, level):  # type: ignore[no-untyped-def]
    scratch = _scratch(out.shape[1])
    guess = np.float32(0)
    reach = np.float32(0)
    for k in range(out.shape[0]):
        _form_row(plus[k], minus[k], saturation, scale, offset, out[k])
        level[k], reach = _row_median(out[k], pad, guess, reach, scratch)
        guess = np.float32(level[k])


@njit(**_options)
def _form_single_and_level(plus, saturation, scale, offset, pad, out, level):  # type: ignore[no-untyped-def]
    scratch = _scratch(out.shape[1])
    guess = np.float32(0)
    reach = np.float32(0)
    for k in range(out.shape[0]):
        _form_row_single(plus[k], saturation, scale, offset, out[k])
        level[k], reach = _row_median(out[k], pad, guess, reach, scratch)
        guess = np.float32(level[k])


def form_and_level(
    plus: NDArray[Any],
    minus: NDArray[Any] | None,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    pad: F4,
    out: F4,
) -> F8:
    """Form and calibrate frames as `calib.kernels.form_read` does; return the median of each as `frame_medians` does.

    Parameters
    ----------
    plus, minus, saturation_dn, scale, offset, out
        As in `calib.kernels.form_read`.
    pad : ndarray of float32, shape (n_pixels,)
        0 where a pixel counts for the median, NaN where it does not.
    """
    level = np.empty(len(out))
    limit = np.float32(saturation_dn)
    if minus is None:
        _form_single_and_level(plus, limit, scale, offset, pad, out, level)
    else:
        _form_and_level(plus, minus, limit, scale, offset, pad, out, level)
    return level


# Second pass: the final frames -------------------------------------------------------------------------------------


@njit(**_options)
def _subtract(row, sky):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        row[i] -= sky[i]


@njit(**_options)
def _lift(row, shift):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        row[i] += shift


@njit(**_options)
def _errors(row, constant, kept, fixed, linear, quadratic, out):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        v = row[i]
        v = np.float32(0) if v < np.float32(0) else v  # NaN stays NaN
        out[i] = np.sqrt(constant[i] + kept * (fixed[i] + v * (linear[i] + v * quadratic[i])))


@njit(**_options)
def _masks(row, plus, saturation, flags, saturated, no_data, out):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        why = saturated if np.float32(plus[i]) >= saturation else no_data
        out[i] = flags[i] | (np.uint8(0) if abs(row[i]) < np.inf else why)


@njit(**_options)
def _finish_row(  # type: ignore[no-untyped-def]
    plus, saturation, level, pad, noise, flags, saturated, no_data, guess, reach, scratch, value, error, mask
):
    median, reach = _row_median(value, pad, guess, reach, scratch)
    shift = level - median
    constant, kept, fixed, linear, quadratic = noise
    for a in range(0, value.size, CHUNK):
        part = slice(a, min(a + CHUNK, value.size))
        if abs(shift) < np.inf:
            _lift(value[part], np.float32(shift))
        _errors(value[part], constant[part], kept, fixed[part], linear[part], quadratic[part], error[part])
        _masks(value[part], plus[part], saturation, flags[part], saturated, no_data, mask[part])
    return shift, np.float32(median), reach


@njit(**_options)
def _finish(  # type: ignore[no-untyped-def]
    plus, minus, saturation, scale, offset, sky, level, pad, noise, flags, saturated, no_data, value, error, mask, shift
):
    scratch = _scratch(value.shape[1])
    guess = np.float32(level[0])
    reach = np.float32(0)
    for k in range(value.shape[0]):
        for a in range(0, sky.size, CHUNK):
            part = slice(a, min(a + CHUNK, sky.size))
            row = value[k, part]
            _form_row(plus[k, part], minus[k, part], saturation, scale[part], offset[part], row)
            _subtract(row, sky[part])
        shift[k], guess, reach = _finish_row(
            plus[k], saturation, level[k], pad, noise, flags, saturated, no_data, guess, reach, scratch,
            value[k], error[k], mask[k],
        )  # fmt: skip


@njit(**_options)
def _finish_single(  # type: ignore[no-untyped-def]
    plus, saturation, scale, offset, sky, level, pad, noise, flags, saturated, no_data, value, error, mask, shift
):
    scratch = _scratch(value.shape[1])
    guess = np.float32(level[0])
    reach = np.float32(0)
    for k in range(value.shape[0]):
        for a in range(0, sky.size, CHUNK):
            part = slice(a, min(a + CHUNK, sky.size))
            row = value[k, part]
            _form_row_single(plus[k, part], saturation, scale[part], offset[part], row)
            _subtract(row, sky[part])
        shift[k], guess, reach = _finish_row(
            plus[k], saturation, level[k], pad, noise, flags, saturated, no_data, guess, reach, scratch,
            value[k], error[k], mask[k],
        )  # fmt: skip


def finish_frames(
    plus: NDArray[Any],
    minus: NDArray[Any] | None,
    *,
    saturation_dn: float,
    scale: F4,
    offset: F4,
    sky: F4,
    level: F8,
    pad: F4,
    noise: NoiseTerms,
    flags: NDArray[np.uint8],
    saturated: int,
    no_data: int,
    out: tuple[F4, F4, NDArray[np.uint8]],
) -> FinishedFrames:
    """Make final frames: form and calibrate, subtract the sky offset, restore the level, add errors and masks.

    Parameters
    ----------
    plus, minus, saturation_dn, scale, offset
        As in `calib.kernels.form_read`.
    sky : ndarray of float32, shape (n_pixels,)
        Sky offset in DN, 0 where there is none.
    level : ndarray, shape (n,)
        Median that each frame is to have over the pixels that count, DN; NaN leaves it alone.
    pad : ndarray of float32, shape (n_pixels,)
        0 where a pixel counts for the median, NaN where it does not.
    noise : NoiseTerms
    flags : ndarray of uint8, shape (n_pixels,)
        Bits every sample of a pixel has.
    saturated, no_data : int
        Bits of samples that are missing because of saturation, or for another reason.
    out : tuple of ndarray, shape (n, n_pixels)
        Where to write values, errors and masks.

    Returns
    -------
    FinishedFrames
        With the shift that was added to each frame, DN.
    """
    shift = np.empty(len(level))
    terms = (noise.constant, np.float32(noise.kept), noise.fixed, noise.linear, noise.quadratic)
    limit = np.float32(saturation_dn)
    common = (scale, offset, sky, level, pad, terms, flags, np.uint8(saturated), np.uint8(no_data), *out, shift)
    if minus is None:
        _finish_single(plus, limit, *common)
    else:
        _finish(plus, minus, limit, *common)
    return FinishedFrames(*out, shift)


# To the bytes of a file --------------------------------------------------------------------------------------------


@njit(**_options)
def _swap4(words, out):  # type: ignore[no-untyped-def]
    total = np.uint64(0)
    for i in range(words.size):
        w = words[i]
        total += np.uint64(w)
        halves = ((w & np.uint32(0x00FF00FF)) << np.uint32(8)) | ((w >> np.uint32(8)) & np.uint32(0x00FF00FF))
        out[i] = (halves << np.uint32(16)) | (halves >> np.uint32(16))
    return total


def swap_and_sum(values: F4, out: NDArray[np.uint32]) -> int:
    """Write the big-endian words of 32-bit values; return their sum as FITS sums them (not yet folded).

    Parameters
    ----------
    values : ndarray of any 32-bit type, one-dimensional, native byte order
    out : ndarray of uint32, same size
        Receives the same words in big-endian order.
    """
    return int(_swap4(values.view(np.uint32), out))


@njit(**_options)
def _swap2(words, flip, out):  # type: ignore[no-untyped-def]
    for i in range(words.size):
        w = words[i]
        out[i] = ((w << np.uint16(8)) | (w >> np.uint16(8))) ^ flip


def native_16_bit(stored: NDArray[np.generic], flip: int) -> NDArray[np.uint16]:
    """Return big-endian 16-bit words in native order, the bits of ``flip`` turned; same shape as ``stored``."""
    out = np.empty(stored.shape, np.uint16)
    _swap2(stored.reshape(-1).view(np.uint16), np.uint16(flip), out.reshape(-1))
    return out


@njit(**_options)
def _sum_big(words):  # type: ignore[no-untyped-def]
    # Bytes apart: each of the four sums vectorises, and none can overflow in a chunk.
    high = np.uint64(0)
    low = np.uint64(0)
    for i in range(words.size):
        w = words[i]
        high += np.uint64(((w & np.uint32(0xFF)) << np.uint32(8)) | ((w >> np.uint32(8)) & np.uint32(0xFF)))
        low += np.uint64(((w >> np.uint32(8)) & np.uint32(0xFF00)) | (w >> np.uint32(24)))
    return (high << np.uint64(16)) + low


def sum_big_endian(words: NDArray[np.uint32]) -> int:
    """Return the sum of the big-endian words whose bytes these are (not folded; fewer than 2³⁰ words)."""
    return int(_sum_big(words))
