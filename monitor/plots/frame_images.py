"""Images side by side, linked in pan and zoom, each on its own or a common stretch."""

from __future__ import annotations

import numpy as np
from bokeh.events import DoubleTap
from bokeh.models import ColumnDataSource, CustomJS, HoverTool, LinearColorMapper, Range1d, WheelZoomTool
from bokeh.plotting import figure
from numpy.typing import NDArray

from monitor.palette import Theme
from monitor.plots.base import style
from monitor.plots.thumbnail import hex_palette

__all__ = ["LinkedImage", "linked_ranges"]

_MISSING = "#cc0099"


def linked_ranges(shape: tuple[int, int]) -> tuple[Range1d, Range1d]:
    """Return the ranges that linked images of a shape (ny, nx) share, in pixels."""
    ny, nx = shape
    return Range1d(0, nx, bounds=(0, nx), min_interval=4), Range1d(0, ny, bounds=(0, ny), min_interval=4)


class LinkedImage:
    """One image in DN; pixel (0, 0) at the lower left; NaN in magenta; a double click shows all of it again.

    Attributes
    ----------
    figure : Figure
    source : ColumnDataSource
        Column ``image`` (float32).
    mapper : LinearColorMapper
    """

    def __init__(
        self, colours: Theme, *, shape: tuple[int, int], ranges: tuple[Range1d, Range1d], stops: tuple[str, ...]
    ) -> None:
        ny, nx = shape
        x_range, y_range = ranges
        self._empty = np.full((1, 1), np.nan, np.float32)
        self.source = ColumnDataSource({"image": [self._empty]})
        self.mapper = LinearColorMapper(hex_palette(stops), low=0, high=1, nan_color=_MISSING)
        f = figure(
            x_range=x_range,
            y_range=y_range,
            tools="pan,wheel_zoom,box_zoom,reset",
            toolbar_location=None,
            sizing_mode="scale_width",
            width=320,
            height=round(320 * ny / nx),
            aspect_ratio=nx / ny,
        )
        style(f, colours)
        f.min_border = 0
        f.xaxis.visible = f.yaxis.visible = False
        f.grid.visible = False
        self._glyph = f.image("image", 0, 0, nx, ny, source=self.source, color_mapper=self.mapper)
        f.add_tools(
            HoverTool(
                renderers=[self._glyph],
                tooltips=[("x, y", "$x{0}, $y{0}"), ("value", "@image{0.00} DN")],
                attachment="right",
            )
        )
        # Without the shift key the wheel would catch a page that scrolls past.
        f.select_one(WheelZoomTool).modifiers = {"shift": True}
        f.toolbar.active_scroll = f.select_one(WheelZoomTool)
        f.js_on_event(
            DoubleTap,
            CustomJS(
                args={"x": x_range, "y": y_range, "nx": nx, "ny": ny},
                code="x.start = 0; x.end = nx; y.start = 0; y.end = ny",
            ),
        )
        self.figure = f

    def update(self, image: NDArray[np.float32] | None, low: float, high: float) -> None:
        """Show an image between two values; None empties it."""
        self._glyph.visible = image is not None
        if low < high:
            self.mapper.update(low=low, high=high)
        self.source.data = {"image": [self._empty if image is None else np.ascontiguousarray(image, np.float32)]}
