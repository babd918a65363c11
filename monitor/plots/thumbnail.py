"""Images as small PNGs: cheap in the browser, many on a page."""

from __future__ import annotations

import base64
import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["DIVERGING", "SEQUENTIAL", "data_uri", "png"]

# Blue – white – orange: diverging, told apart with any colour vision; darker ends are farther from zero.
_DIVERGING_STOPS = ("#08306b", "#2171b5", "#9ecae1", "#f7f7f7", "#fdae6b", "#d94801", "#5e1f00")
_SEQUENTIAL_STOPS = ("#00204c", "#31446b", "#666970", "#958f78", "#cbba69", "#ffe945")  # cividis
_MISSING = (204, 0, 153)


@cache
def _table(stops: tuple[str, ...]) -> NDArray[np.uint8]:
    colours = np.array([[int(s[k : k + 2], 16) for k in (1, 3, 5)] for s in stops], float)
    place = np.linspace(0, len(stops) - 1, 255)
    table = np.stack([np.interp(place, np.arange(len(stops)), colours[:, c]) for c in range(3)], axis=1)
    return np.vstack([table, _MISSING]).astype(np.uint8)


def hex_palette(stops: tuple[str, ...]) -> list[str]:
    """Return a colour table of 255 steps as hex codes, for Bokeh."""
    return ["#{:02x}{:02x}{:02x}".format(*c) for c in _table(stops)[:255]]


DIVERGING = _DIVERGING_STOPS
SEQUENTIAL = _SEQUENTIAL_STOPS


def png(
    image: NDArray[np.floating], low: float, high: float, *, stops: tuple[str, ...] = DIVERGING, factor: int = 1
) -> bytes:
    """Return an image as PNG, first row at the bottom.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        NaN is drawn in magenta, a colour the tables do not have.
    low, high : float
        Values of the ends of the colour table.
    factor : int
        Average so many pixels each way before drawing.
    """
    if factor > 1:
        ny, nx = (n // factor * factor for n in image.shape)
        blocks = image[:ny, :nx].reshape(ny // factor, factor, nx // factor, factor)
        seen = np.isfinite(blocks)
        with np.errstate(invalid="ignore", divide="ignore"):
            image = np.where(seen, blocks, 0).sum(axis=(1, 3)) / seen.sum(axis=(1, 3))
    with np.errstate(invalid="ignore"):
        step = np.clip((image - low) / (high - low) * 254, 0, 254)
    index = np.where(np.isfinite(step), step, 255).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(index[::-1]))
    picture.putpalette(_table(stops).tobytes())
    memory = io.BytesIO()
    picture.save(memory, "PNG", compress_level=6)
    return memory.getvalue()


def data_uri(content: bytes) -> str:
    """Return a PNG as an address that needs no server."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
