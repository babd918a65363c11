"""The same work by others: astropy, ccdproc, plain NumPy, and ESO's CPL where its library is installed."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cpl", "astropy_dark", "ccdproc_scan", "cpl", "iterative_slope"]

F4 = NDArray[np.float32]


class Cpl:
    """The few calls of ESO's Common Pipeline Library that do what a night needs."""

    def __init__(self, path: str) -> None:
        lib = ctypes.CDLL(path)
        pointer, size, real = ctypes.c_void_p, ctypes.c_longlong, ctypes.c_double
        signatures: dict[str, tuple[Any, list[Any]]] = {
            "cpl_init": (None, [ctypes.c_uint]),
            "cpl_image_wrap_float": (pointer, [size, size, pointer]),
            "cpl_image_unwrap": (pointer, [pointer]),
            "cpl_image_delete": (None, [pointer]),
            "cpl_image_duplicate": (pointer, [pointer]),
            "cpl_image_subtract": (ctypes.c_int, [pointer, pointer]),
            "cpl_image_divide": (ctypes.c_int, [pointer, pointer]),
            "cpl_image_subtract_scalar": (ctypes.c_int, [pointer, real]),
            "cpl_image_get_median": (real, [pointer]),
            "cpl_imagelist_new": (pointer, []),
            "cpl_imagelist_set": (ctypes.c_int, [pointer, pointer, size]),
            "cpl_imagelist_delete": (None, [pointer]),
            "cpl_imagelist_collapse_minmax_create": (pointer, [pointer, size, size]),
            "cpl_imagelist_collapse_sigclip_create": (
                pointer,
                [pointer, real, real, real, ctypes.c_int, pointer],
            ),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        lib.cpl_init(0)
        self.lib = lib

    def wrap(self, frame: F4) -> int:
        """Return an image that uses the memory of a frame, shape (ny, nx)."""
        return int(self.lib.cpl_image_wrap_float(frame.shape[1], frame.shape[0], frame.ctypes.data))

    def dark(self, frames: F4) -> None:
        """Combine frames, shape (n, ny, nx), by a clipped mean (no noise map: CPL has none)."""
        lib = self.lib
        images = lib.cpl_imagelist_new()
        wrapped = [self.wrap(frame) for frame in frames]
        for k, image in enumerate(wrapped):
            lib.cpl_imagelist_set(images, image, k)
        lib.cpl_image_delete(lib.cpl_imagelist_collapse_sigclip_create(images, 5.0, 5.0, 0.3, 1, None))
        self._let_go(images, wrapped)

    def scan(self, plus: F4, minus: F4, dark: F4, flat: F4, bounds: tuple[tuple[int, int], ...], alpha: float) -> None:
        """Calibrate a scan of float32 frames in place, without errors and masks."""
        lib = self.lib
        dark_image, flat_image = self.wrap(dark), self.wrap(flat)
        for first, last in bounds:
            n = last - first + 1
            images, level_free = lib.cpl_imagelist_new(), lib.cpl_imagelist_new()
            wrapped = [self.wrap(frame) for frame in plus[first : last + 1]]
            for k, image in enumerate(wrapped):
                other = self.wrap(minus[first + k])
                lib.cpl_image_subtract(image, other)
                lib.cpl_image_unwrap(other)
                lib.cpl_image_subtract(image, dark_image)
                lib.cpl_image_divide(image, flat_image)
                lib.cpl_imagelist_set(images, image, k)
                sky = lib.cpl_image_duplicate(image)
                lib.cpl_image_subtract_scalar(sky, lib.cpl_image_get_median(image))
                lib.cpl_imagelist_set(level_free, sky, k)
            cut = int(alpha * n)
            offset = lib.cpl_imagelist_collapse_minmax_create(level_free, cut, cut)
            for image in wrapped:
                lib.cpl_image_subtract(image, offset)
            lib.cpl_image_delete(offset)
            lib.cpl_imagelist_delete(level_free)
            self._let_go(images, wrapped)
        lib.cpl_image_unwrap(dark_image)
        lib.cpl_image_unwrap(flat_image)

    def _let_go(self, images: int, wrapped: list[int]) -> None:
        unset = self.lib.cpl_imagelist_unset
        unset.restype, unset.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_longlong]
        for k in reversed(range(len(wrapped))):
            unset(images, k)
            self.lib.cpl_image_unwrap(wrapped[k])
        self.lib.cpl_imagelist_delete(images)


@cache
def cpl() -> Cpl | None:
    """Return CPL, or None where it is not installed (Debian: ``libcpl-dev``)."""
    for name in (ctypes.util.find_library("cplcore"), "libcplcore.so", "libcplcore.so.26"):
        if name:
            try:
                return Cpl(name)
            except (OSError, AttributeError):
                continue
    return None


def ccdproc_scan(
    plus: F4, minus: F4, dark: F4, flat: F4, bad: NDArray[np.bool_], bounds: tuple[tuple[int, int], ...], alpha: float
) -> None:
    """Calibrate a scan with ccdproc: masks of pixels, no errors."""
    from ccdproc import CCDData, Combiner, flat_correct, subtract_bias

    dark_ccd, flat_ccd = CCDData(dark, unit="adu"), CCDData(flat, unit="adu")
    for first, last in bounds:
        frames = []
        for k in range(first, last + 1):
            ccd = CCDData(plus[k] - minus[k], unit="adu", mask=bad)
            frames.append(flat_correct(subtract_bias(ccd, dark_ccd), flat_ccd, norm_value=1.0))
        sky = [f.copy() for f in frames]
        for f in sky:
            f.data -= np.median(f.data[~bad])
        combiner = Combiner(sky)
        cut = int(alpha * len(sky))
        combiner.clip_extrema(nlow=cut, nhigh=cut)
        offset = combiner.average_combine()
        for f in frames:
            f.data -= offset.data


def astropy_dark(frames: F4) -> tuple[Any, Any]:
    """Return clipped mean and scatter over frames, shape (n, n_pixels)."""
    from astropy.stats import sigma_clip

    kept = sigma_clip(frames, sigma=5, axis=0, cenfunc="median", stdfunc="mad_std", maxiters=5)
    return kept.mean(axis=0), kept.std(axis=0, ddof=1)


def iterative_slope(frames: F4, light: NDArray[np.float64], variance: F4, gain: float) -> tuple[Any, ...]:
    """Fit a line per pixel, rejecting samples, in plain NumPy on whole arrays: with errors and χ²."""
    keep = np.ones(frames.shape, bool)
    x = light[:, None]
    weight = 1 / (variance + x / gain)
    for _ in range(4):
        w = weight * keep
        total, sx, sy = w.sum(0), (w * x).sum(0), (w * frames).sum(0)
        sxx, sxy = (w * x**2).sum(0), (w * x * frames).sum(0)
        determinant = total * sxx - sx**2
        slope = (total * sxy - sx * sy) / determinant
        intercept = (sy - slope * sx) / total
        model = intercept + slope * x
        weight = 1 / (variance + np.maximum(model, 0) / gain)
        pull = (frames - model) ** 2 * weight
        keep = pull < 16
    chi2 = (pull * keep).sum(0) / (keep.sum(0) - 2)
    return slope, intercept, np.sqrt(total / determinant), np.sqrt(sxx / determinant), chi2
