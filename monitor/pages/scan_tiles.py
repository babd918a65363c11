"""Images with captions below: what both rows of images on the Scan page are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import panel as pn
from numpy.typing import NDArray

from monitor.components.html import Html, Safe
from monitor.compute_scan import FrameStatistics, number, shrink
from monitor.pages.scan_style import CAPTION_CSS, TILES_CSS
from monitor.plots.frame_images import LinkedImage
from monitor.plots.thumbnail import DIVERGING
from monitor.session import Session

__all__ = ["Tile", "caption_html", "tiles"]


class Tile:
    """An image with its caption."""

    def __init__(self, session: Session, ranges: Any, stops: tuple[str, ...]) -> None:
        shape = session.snapshot.profile.detector.shape
        self._image = LinkedImage(session.theme, shape=shape, ranges=ranges, stops=stops)
        self._caption = Html(css=CAPTION_CSS)
        self._scale = "diverging" if stops is DIVERGING else "sequential"
        self.panel = pn.Column(
            pn.pane.Bokeh(self._image.figure, sizing_mode="scale_width"), self._caption, sizing_mode="stretch_width"
        )

    def show(
        self,
        image: NDArray[np.float32] | None,
        title: str,
        low: float,
        high: float,
        numbers: FrameStatistics | None = None,
        absent: str = "cannot be shown",
    ) -> None:
        """Show an image between two values, with its name and numbers; None says what is absent."""
        small, factor = (None, 1) if image is None else shrink(image)
        self._image.update(small, low, high)
        title += f" ({factor}×{factor} pixels averaged)" if factor > 1 else ""
        missing = absent if image is None else ""
        self._caption.html = str(caption_html(title, low, high, self._scale, numbers, missing))


def tiles(parts: dict[str, Tile]) -> pn.Row:
    """Return tiles side by side; fewer a row where it is narrow."""
    return pn.Row(*(t.panel for t in parts.values()), sizing_mode="stretch_width", stylesheets=[TILES_CSS])


def caption_html(
    title: str, low: float, high: float, scale: str, numbers: FrameStatistics | None = None, absent: str = ""
) -> Safe:
    """Return what stands below an image: its name, its colour bar in DN, and its numbers."""
    if absent:
        return Safe('<div class="cap"><b>{}</b><div class="muted">{}</div></div>').format(title, absent)
    digits = 3 if high - low >= 0.02 * max(abs(low), abs(high)) else 5
    bar = Safe('<div class="bar"><span>{}</span><i class="{}"></i><span>{} DN</span></div>').format(
        number(low, digits), scale, number(high, digits)
    )
    table = ""
    if numbers is not None:
        table = Safe(
            '<dl class="num"><div><dt>median</dt><dd>{}</dd></div><div><dt>rms of cells</dt><dd>{}</dd></div>'
            "<div><dt>pixel σ (MAD)</dt><dd>{}</dd></div></dl>"
        ).format(number(numbers.median, 5), number(numbers.cell_rms), number(numbers.sigma))
    return Safe('<div class="cap"><b>{}</b>{}{}</div>').format(title, bar, table)
