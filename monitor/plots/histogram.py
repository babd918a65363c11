"""How often each value of an image occurs, with the ends of its stretch."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import BoxAnnotation, ColumnDataSource, CustomJS, LinearColorMapper, NumeralTickFormatter, Range1d
from bokeh.plotting import figure

from monitor.compute_layers import Layer
from monitor.palette import Theme
from monitor.plots.base import style

__all__ = ["Histogram"]


class Histogram:
    """How often each value occurs, in the image's own colours, with the ends of the stretch as a box to be dragged.

    Attributes
    ----------
    box : BoxAnnotation
        ``left`` and ``right`` are the ends of the stretch.
    """

    def __init__(self, colours: Theme, mapper: LinearColorMapper) -> None:
        self._sent: Any = None
        self.source = ColumnDataSource({"left": [], "right": [], "top": [], "centre": []})
        self._x, self._y = Range1d(0, 1), Range1d(0.7, 10)
        f = figure(
            x_range=self._x, y_range=self._y, y_axis_type="log", height=118, sizing_mode="stretch_width",
            tools="", toolbar_location=None, y_axis_label="pixels",
        )  # fmt: skip
        style(f, colours)
        f.quad(
            "left", "right", "top", 0.5, source=self.source, line_color=colours.muted, line_width=0.3,
            fill_color={"field": "centre", "transform": mapper},
        )  # fmt: skip
        self.box = BoxAnnotation(
            left=0, right=1, editable=True, movable="none", resizable="x", fill_color=colours.ink, fill_alpha=0.05,
            line_color=colours.ink, line_width=1.5, hover_fill_alpha=0.1, level="overlay",
        )  # fmt: skip
        f.add_layout(self.box)
        # The image follows the hand; the server hears of it when the hand rests.
        drag = CustomJS(
            args={"mapper": mapper},
            code="if (cb_obj.right > cb_obj.left) mapper.setv({low: cb_obj.left, high: cb_obj.right})",
        )
        for name in ("left", "right"):
            self.box.js_on_change(name, drag)
        f.yaxis.ticker.desired_num_ticks = 3
        f.yaxis.formatter = NumeralTickFormatter(format="0a")
        f.xaxis.ticker.desired_num_ticks = 7
        f.ygrid.visible = False
        self.figure = f

    def show(self, layer: Layer, low: float, high: float, key: Any) -> None:
        """Show the values of a layer and the ends of its stretch."""
        kind = layer.kind
        # Flags are names, not numbers: their counts stand in the legend.
        self.figure.visible = layer.value is not None and kind.scale != "flags"
        self.box.update(left=low, right=high, visible=bool(layer.sample.size))
        self.figure.xaxis.axis_label = f"{kind.title.lower()} / {kind.unit}" if kind.unit else kind.title.lower()
        self.figure.xaxis.ticker.min_interval = 10.0**-kind.digits
        start, end = low - 0.35 * (high - low), high + 0.35 * (high - low)
        full = (key, start, end)
        if full == self._sent:
            return
        self._sent = full
        self._x.update(start=start, end=end)
        counts, edges = np.histogram(layer.sample, 120, (start, end))
        seen = counts > 0
        self._y.update(start=0.7, end=max(2.0 * float(counts.max(initial=1)), 10))
        self.source.data = {
            "left": edges[:-1][seen],
            "right": edges[1:][seen],
            "top": counts[seen],
            "centre": 0.5 * (edges[:-1] + edges[1:])[seen],
        }
