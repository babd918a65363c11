"""What is made of the trimmed means of a block of frames: offsets of median zero, and what checks compare."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calib.kernels.compiled import F4, F8, kernel
from calib.kernels.medians import row_median, scratch_for
from calib.kernels.trimmed import TrimmedHalves

__all__ = ["ZeroMedian", "less_known", "zero_median"]


class ZeroMedian(NamedTuple):
    """What `zero_median` returns; arrays of shape ``(n_pixels,)`` but for the medians."""

    value: F4
    first: F4
    second: F4
    difference: F4
    skew: F4
    medians: F8
    n_enough: int


@kernel
def _less(values, middle, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = values[i] - middle


@kernel
def _difference(a, b, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = a[i] - b[i]


@kernel
def _enough(counts, good, least):  # type: ignore[no-untyped-def]
    n = np.int32(0)
    for i in range(good.size):
        n += np.int32(good[i] & (counts[i] >= least))
    return n


@kernel
def _zero_median(fit, counts, good, least, out, medians):  # type: ignore[no-untyped-def]
    mean, first, second, low_mean, error = fit
    scratch = scratch_for(good.size)
    nothing = np.float32(0)
    for k, image in enumerate((mean, first, second, error)):
        medians[k] = row_median(image, good, nothing, nothing, scratch)[0]
    for k, image in enumerate((mean, first, second)):
        _less(image, np.float32(medians[k]), out[k])
    _difference(out[2], out[1], out[3])
    _difference(mean, low_mean, out[4])
    return _enough(counts, good, least)


def zero_median(fit: TrimmedHalves, good: NDArray[np.bool_], least: int) -> ZeroMedian:
    """Subtract from the trimmed means of a block and of its halves the median of each.

    Parameters
    ----------
    fit : TrimmedHalves
        DN; NaN means no sample.
    good : ndarray of bool, shape (n_pixels,)
        Which pixels count for medians.
    least : int
        Samples that are enough for a pixel.

    Returns
    -------
    ZeroMedian
        Offsets of the block and of its halves, second half less first, mean less mean of the lower half of the kept
        samples, all DN; the medians of the block, its first and second half and of the errors, shape (4,); and how
        many good pixels have enough samples. NaN where an input is NaN.
    """
    # Arrays of their own: some are kept until a scan ends, and must not hold the others.
    value, first, second, difference, skew = out = tuple(np.empty(good.size, np.float32) for _ in range(5))
    medians = np.empty(4)
    arrays = fit.whole.mean, fit.first, fit.second, fit.whole.low_mean, fit.whole.error
    n = _zero_median(arrays, fit.whole.n_samples, good, least, out, medians)
    return ZeroMedian(value, first, second, difference, skew, medians, int(n))


@kernel
def _less_known(values, other, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        v = other[i]
        out[i] = values[i] - (v if abs(v) < np.inf else np.float32(0))


def less_known(values: F4, other: F4) -> F4:
    """Return ``values − other``, shape ``(n_pixels,)``, or the values where the other ones are not finite."""
    out = np.empty(values.shape, np.float32)
    _less_known(values, other, out)
    return out
