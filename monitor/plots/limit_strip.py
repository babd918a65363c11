"""The history of one check with the limit that is being moved: what passes, what fails, what flips."""

from __future__ import annotations

import numpy as np
from bokeh.models import ColumnDataSource, Range1d, Span

from monitor.compute_limits import Strip
from monitor.palette import BAND_MARKERS, Theme
from monitor.plots.base import dated_figure, night_time

__all__ = ["LimitStrip", "axis_end"]


def axis_end(strip: Strip) -> tuple[float, float]:
    """Return the ends of the value axis: what most nights are, and both limits; far outliers lie beyond it."""
    known = strip.value[np.isfinite(strip.value)]
    limits = [v for v in (strip.old, strip.new) if v is not None]
    inner = np.percentile(known, [2, 98]).tolist() if len(known) else []
    low, high = min([*inner, *limits], default=0.0), max([*inner, *limits], default=1.0)
    if strip.upper:
        low = min(low, 0.0) if low < 0.25 * high or low < 0 else low
    room = 0.12 * (high - low or abs(high) or 1.0)
    return (0.0 if low == 0 else low - room), high + room


class LimitStrip:
    """A figure over nights, one point a night and band; points beyond the axis stand at its edge as triangles."""

    def __init__(self, colours: Theme, bands: tuple[str, ...]) -> None:
        self._colours = colours
        self._y = Range1d(0, 1)
        f = dated_figure(colours, y_label="", height=210, tools="", toolbar_location=None, y_range=self._y)
        f.min_border_right = 12
        self._sources = {}
        for band, marker in zip(bands, BAND_MARKERS, strict=False):
            source = ColumnDataSource({n: [] for n in ("x", "y", "colour", "line", "size", "alpha")})
            f.scatter(
                "x", "y", source=source, marker=marker, size="size", fill_color="colour", fill_alpha="alpha",
                line_color="line", line_width=1.2,
            )  # fmt: skip
            self._sources[band] = source
        self._beyond = ColumnDataSource({n: [] for n in ("x", "y", "colour", "angle")})
        f.scatter(
            "x", "y", source=self._beyond, marker="triangle", size=7, angle="angle", line_color="colour",
            fill_color=colours.panel,
        )  # fmt: skip
        self._old = Span(location=None, dimension="width", line_color=colours.muted, line_dash="dashed", line_width=1.5)
        self._new = Span(location=None, dimension="width", line_color=colours.ink, line_width=2)
        f.add_layout(self._old)
        f.add_layout(self._new)
        self.figure = f

    def show(self, strip: Strip, ends: tuple[float, float]) -> None:
        """Show a check's history between the ends of the value axis."""
        c = self._colours
        low, high = ends
        self._y.update(start=low, end=high)
        self.figure.yaxis.axis_label = f"{strip.unit}" if strip.unit else ""
        self._old.update(location=strip.old, visible=strip.old is not None)
        self._new.update(location=strip.new, visible=strip.new is not None)
        x, y = night_time(strip.nights), strip.value
        band = np.array(strip.band, dtype=object)
        colour = np.array([c.state(o) for o in strip.outcome], dtype=object)
        inside = (y >= low) & (y <= high)
        for name, source in self._sources.items():
            at = inside & (band == name)
            ringed = strip.flips[at]
            source.data = {
                "x": x[at],
                "y": y[at],
                "colour": colour[at],
                "line": np.where(ringed, c.ink, colour[at]),
                "size": np.where(ringed, 9, 5 if len(y) < 400 else 4),
                "alpha": np.where(ringed, 1.0, 0.55),
            }
        over = y > high
        out = ~inside & np.isfinite(y)
        edge = 0.02 * (high - low)
        self._beyond.data = {
            "x": x[out],
            "y": np.where(over, high - edge, low + edge)[out],
            "colour": colour[out],
            "angle": np.where(over, 0.0, np.pi)[out],
        }
