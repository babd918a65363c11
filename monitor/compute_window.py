"""What is sent of an image for a view of it: a part, in bins as fine as the screen can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.compute_layers import F4, Layer

__all__ = ["Binned", "Window", "bin_window", "window_of"]


@dataclass(frozen=True)
class Window:
    """A part of an image and by how much it is binned: the stretch of columns and rows, and pixels per bin."""

    x0: int
    x1: int
    y0: int
    y1: int
    factor: int

    def serves(self, wanted: Window, view: tuple[float, float, float, float]) -> bool:
        """Whether it covers a view finely enough, and not much too finely."""
        ok = self.x0 <= view[0] and self.x1 >= view[1] and self.y0 <= view[2] and self.y1 >= view[3]
        return ok and self.factor == wanted.factor


def window_of(shape: tuple[int, int], view: tuple[float, float, float, float], target: int) -> Window:
    """Return what must be sent for a view.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the image.
    view : tuple of float
        x and y limits of what is on screen: x from, x to, y from, y to.
    target : int
        So many bins each way are as fine as the screen can show.

    Returns
    -------
    Window
        With a margin of an eighth on each side, so that a small move needs nothing new.
    """
    ny, nx = shape
    span = max(min(view[1], nx) - max(view[0], 0), min(view[3], ny) - max(view[2], 0), 1)
    factor = 1
    while span / factor > target:
        factor *= 2
    edges = []
    for low, high, n in ((view[0], view[1], nx), (view[2], view[3], ny)):
        margin = (high - low) / 8
        first = int(np.clip(np.floor((low - margin) / factor) * factor, 0, max(n - factor, 0) // factor * factor))
        last = int(np.clip(np.ceil((high + margin) / factor) * factor, first + factor, -(-n // factor) * factor))
        edges += [first, last]
    return Window(edges[0], edges[1], edges[2], edges[3], factor)


@dataclass(frozen=True)
class Binned:
    """A window of an image as it is sent: means of the finite values, σ of those means' pixels, all flags together."""

    value: F4
    sigma: F4 | None
    flags: NDArray[np.uint8] | None


def bin_window(layer: Layer, window: Window, *, extras: bool) -> Binned:
    """Return a window of a layer.

    Parameters
    ----------
    layer : Layer
        With an image.
    window : Window
    extras : bool
        Also σ and flags.

    Returns
    -------
    Binned
        A bin is NaN only where all its pixels are; σ is the mean of theirs (of a single pixel, not of the bin).
    """
    assert layer.value is not None
    part = (slice(window.y0, window.y1), slice(window.x0, window.x1))
    size = (window.y1 - window.y0, window.x1 - window.x0)
    top = layer.kind.scale == "flags"
    value = _bins(layer.value[part], size, window.factor, top=top)
    if not extras:
        return Binned(value, None, None)
    sigma = None if layer.sigma is None else _bins(layer.sigma[part], size, window.factor)
    flags = layer.flags
    if flags is not None:
        flags = flags[part]
        if window.factor > 1:
            blocks = _blocks(flags, size, window.factor, 0)
            flags = np.bitwise_or.reduce(np.bitwise_or.reduce(blocks, axis=3), axis=1)
    return Binned(value, sigma, None if flags is None else np.ascontiguousarray(flags))


def _blocks(image: NDArray[Any], size: tuple[int, int], factor: int, fill: float) -> NDArray[Any]:
    if image.shape != size:
        image = np.pad(image, [(0, s - n) for s, n in zip(size, image.shape, strict=True)], constant_values=fill)
    return image.reshape(size[0] // factor, factor, size[1] // factor, factor)


def _bins(image: F4, size: tuple[int, int], factor: int, *, top: bool = False) -> F4:
    if factor == 1:
        return np.ascontiguousarray(image)
    blocks = _blocks(image, size, factor, np.nan)
    if top:
        return _f4(np.nanmax(np.where(np.isfinite(blocks), blocks, 0), axis=(1, 3)))
    seen = np.isfinite(blocks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _f4(np.where(seen, blocks, 0).sum(axis=(1, 3)) / seen.sum(axis=(1, 3)))


def _f4(image: Any) -> F4:
    return np.ascontiguousarray(image, np.float32)
