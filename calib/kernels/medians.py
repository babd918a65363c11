"""Medians of many values, exact: counted in vectors, sorted only where they lie close to the middle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.kernels.compiled import F4, F8, finite_kernel, kernel
from calib.kernels.few import FEW, two_of_few
from calib.kernels.taking import SPARE, take_within

__all__ = [
    "adapted_reach",
    "extremes",
    "finite_median",
    "frame_medians",
    "has_middle",
    "median_of",
    "middle_between",
    "reach_after_miss",
    "row_median",
    "scratch_for",
    "take_about",
]

_LARGEST = np.float32(3.4028235e38)

# So many values of a frame, or up to twice as many, say about where its median is.
_SAMPLED = 500


# Selection among few values ----------------------------------------------------------------------------------------


@kernel
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


@kernel
def _middle(v, m, k, pair):  # type: ignore[no-untyped-def]
    """Return the value of rank k among the first m, or with ``pair`` the mean of ranks k and k + 1."""
    if m <= FEW:
        lower, upper = two_of_few(v[:m], k)
        return 0.5 * (np.float64(lower) + np.float64(upper)) if pair else np.float64(lower)
    upper = _select(v, m, k + 1 if pair else k)
    if not pair:
        return np.float64(upper)
    lower = v[0]
    for i in range(1, k + 1):
        lower = max(lower, v[i])
    return 0.5 * (np.float64(lower) + np.float64(upper))


@kernel
def _count_within(values, low, high):  # type: ignore[no-untyped-def]
    below = np.int32(0)
    inside = np.int32(0)
    for i in range(values.size):
        v = values[i]
        below += np.int32(v < low)
        inside += np.int32((v >= low) & (v <= high))
    return np.int64(below), np.int64(inside)


@finite_kernel
def extremes(values):  # type: ignore[no-untyped-def]
    """Return the least and the largest of finite values, of which there is at least one."""
    low = values[0]
    high = values[0]
    for i in range(values.size):
        v = values[i]
        low = v if v < low else low
        high = v if v > high else high
    return low, high


@kernel
def _ranked(values, k, pair):  # type: ignore[no-untyped-def]
    """Return the value of rank k, or with ``pair`` the mean of ranks k and k + 1; overwrites the values.

    The range that holds them is halved by counting, a vector at a time, until few values are left.
    """
    low, high = extremes(values)
    inside = values.size
    while inside > FEW:
        middle = low + (high - low) * values.dtype.type(0.5)
        if not (low < middle < high):
            break
        below, inside_lower = _count_within(values, low, middle)
        end = below + inside_lower
        if end > k + pair:
            high = middle
            inside = inside_lower
        elif end <= k:
            # Values equal to the lower end have been counted already: begin behind it.
            low = np.nextafter(middle, high)
            inside -= inside_lower
        else:
            break  # the two lie on either side
    below, inside, _ = take_within(values, None, low, high, values, 0)
    return _middle(values, inside, k - below, pair)


@kernel
def _narrowed(v, m, k, pair, low, high):  # type: ignore[no-untyped-def]
    """Return the middle of m values known to lie in [low, high], of which few are neighbours of rank k."""
    while m > FEW:
        # Within so narrow a range values lie about evenly: look where rank k should be, to three times its scatter.
        at = low + (high - low) * np.float32((k + 1.0) / m)
        reach = (high - low) * np.float32(1.5 / np.sqrt(m))
        a = max(low, at - reach)
        b = min(high, at + reach)
        below, inside = _count_within(v[:m], a, b)
        if below > k or below + inside <= k + pair or inside > m // 2:
            break
        _, m, _ = take_within(v[:m], None, a, b, v, 0)
        k -= below
        low = a
        high = b
    # Where they do not, many are alike or the range is wide.
    return _ranked(v[:m], k, pair) if m > FEW else _middle(v, m, k, pair)


@kernel
def median_of(values):  # type: ignore[no-untyped-def]
    """Return the median of finite values, which it overwrites; NaN if there is none."""
    m = values.size
    return _ranked(values, (m - 1) // 2, m % 2 == 0) if m else np.nan


@kernel
def _median_of_finite(values):  # type: ignore[no-untyped-def]
    taken = np.empty(values.size + SPARE, values.dtype)
    largest = values.dtype.type(np.inf)
    _, n, _ = take_within(values, None, -largest, largest, taken, 0)
    return median_of(taken[:n])


def finite_median(values: NDArray[np.floating]) -> float:
    """Return the median of the finite values of an array of float32 or float64; NaN if there is none.

    Exact: the mean of the middle two where their number is even.
    """
    return float(_median_of_finite(np.ascontiguousarray(values).reshape(-1)))


# Median of one frame -----------------------------------------------------------------------------------------------


@kernel
def take_about(row, good, low, high, taken, counts):  # type: ignore[no-untyped-def]
    """Append the values in [low, high] of part of a row to those taken.

    Parameters
    ----------
    row : ndarray of float32
    good : ndarray of bool or None
        Which values count; None for all.
    low, high : float32
    taken : ndarray of float32
    counts : ndarray of int64, shape (3,)
        Values so far that lie below ``low``, between (these have been taken), and that are valid; added to.
    """
    below, inside, valid = take_within(row, good, low, high, taken, counts[1])
    counts[0] += below
    counts[1] += inside
    counts[2] += valid


@kernel
def _take_all_about(row, good, low, high, scratch):  # type: ignore[no-untyped-def]
    taken, counts = scratch
    counts[:] = 0
    take_about(row, good, low, high, taken, counts)


@kernel
def has_middle(counts):  # type: ignore[no-untyped-def]
    """Return whether the values taken hold the middle one or two of all."""
    below, inside, valid = counts[0], counts[1], counts[2]
    k = (valid - 1) // 2
    return inside > 0 and below <= k and k + (valid % 2 == 0) < below + inside


@kernel
def middle_between(taken, counts, low, high):  # type: ignore[no-untyped-def]
    """Return the median of all values of which those in [low, high] were taken and hold the middle."""
    below, inside, valid = counts[0], counts[1], counts[2]
    return _narrowed(taken, inside, (valid - 1) // 2 - below, valid % 2 == 0, low, high)


@kernel
def adapted_reach(reach, counts, off):  # type: ignore[no-untyped-def]
    """Return how far to look to either side next time, when so many were found and the guess was off by so much."""
    # A few per cent of the values are few to sort, and so many that the next median is likely among them.
    inside, valid = counts[1], counts[2]
    if inside > valid // 4 or (inside > valid // 16 and off < np.float32(0.25) * reach):
        return reach * np.float32(0.5)
    return reach * np.float32(1.5) if inside < valid // 50 or off > np.float32(0.5) * reach else reach


@kernel
def reach_after_miss(reach, off):  # type: ignore[no-untyped-def]
    """Return how far to look next time, when the guess was off by more than was looked."""
    return min(max(reach, np.float32(2) * off), np.float32(4) * reach)


@kernel
def scratch_for(n_pixels):  # type: ignore[no-untyped-def]
    """Return the room that `row_median` needs: for values taken, and for counts."""
    return np.empty(n_pixels + 2 * _SAMPLED + SPARE, np.float32), np.zeros(3, np.int64)


@kernel
def _estimate(row, good, taken):  # type: ignore[no-untyped-def]
    """Return the median of some hundred values and half the range of their middle tenth; 0 and 0 if there are too few.

    ``taken`` is that of `scratch_for`.
    """
    m = 0
    for i in range(0, row.size, max(row.size // _SAMPLED, 1) | 1):  # an odd step: columns alternate
        v = row[i]
        if abs(v) < np.inf and (good is None or good[i]):
            taken[m] = v
            m += 1
    if m < 20:
        return np.float32(0), np.float32(0)
    taken[m : 2 * m] = taken[:m]
    low = np.float32(_ranked(taken[:m], m * 9 // 20, False))
    high = np.float32(_ranked(taken[m : 2 * m], m * 11 // 20, False))
    return np.float32(0.5) * (low + high), np.float32(0.5) * (high - low)


@kernel
def row_median(row, good, guess, reach, scratch):  # type: ignore[no-untyped-def]
    """Return the median of a frame over the pixels that count, and the reach to either side to look in next time.

    ``good`` says which these are; None for all.
    The median is exact whatever the guess; a good one (that of the frame before) makes it cheap.
    """
    taken, counts = scratch
    estimated = not reach > 0
    if estimated:
        guess, reach = _estimate(row, good, taken)
    for attempt in range(8):
        low = guess - reach
        high = guess + reach
        _take_all_about(row, good, low, high, scratch)
        if has_middle(counts) and reach > 0:
            return middle_between(taken, counts, low, high), adapted_reach(reach, counts, np.float32(0))
        below, inside, valid = counts[0], counts[1], counts[2]
        if inside == 0 or valid == 0 or not reach > 0:
            # The last frame says nothing about this one: look at this one once.
            if estimated:
                break
            estimated = True
            guess, reach = _estimate(row, good, taken)
            continue
        # The range was beside the median: go as far as its density says, and the second time look wider.
        k = (valid - 1) // 2
        guess += np.float32((k - below - inside / 2) * (high - low) / inside)
        reach *= np.float32(1.0 if attempt == 0 else 2.0)
    _take_all_about(row, good, -_LARGEST, _LARGEST, scratch)
    m = counts[1]
    return (_middle(taken, m, (m - 1) // 2, m % 2 == 0) if m else np.nan), np.float32(0)


@kernel
def _medians(frames, good, out):  # type: ignore[no-untyped-def]
    scratch = scratch_for(frames.shape[1])
    guess = np.float32(0)
    reach = np.float32(0)
    for k in range(frames.shape[0]):
        out[k], reach = row_median(frames[k], good, guess, reach, scratch)
        guess = np.float32(out[k])


def frame_medians(frames: F4, good: NDArray[np.bool_]) -> F8:
    """Return the median of each frame over the pixels that count, not finite samples excluded.

    Parameters
    ----------
    frames : ndarray of float32, shape (n, n_pixels)
    good : ndarray of bool, shape (n_pixels,)
        Which pixels count.

    Returns
    -------
    ndarray, shape (n,)
        NaN for a frame without a valid sample; the mean of the middle two where their number is even.
    """
    out = np.empty(len(frames))
    _medians(frames, good, out)
    return out
