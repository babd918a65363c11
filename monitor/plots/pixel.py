"""One pixel: its twilight fit with what became of each sample, and its history over all nights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, Range1d, Span, TapTool
from bokeh.plotting import figure

from monitor.compute_pixel import FATES, PixelFit
from monitor.palette import STATES, Theme
from monitor.plots.base import dated_figure, night_time, period_shades, shades, style

__all__ = ["FitPlot", "HistoryPlot"]

_SAMPLE = ("level", "signal", "low", "high", "residual", "true", "frame", "fate")


class FitPlot:
    """Dark-subtracted signal against illumination, and below it the residuals in σ."""

    def __init__(self, colours: Theme, clip_sigma: float) -> None:
        self.sources = {name: ColumnDataSource({c: [] for c in _SAMPLE}) for name in FATES}
        self.line = ColumnDataSource({"x": [], "y": []})
        self._x = Range1d(0, 1)
        self._y, self._r = Range1d(0, 1), Range1d(-5, 5)
        tools = "pan,wheel_zoom,box_zoom,reset"
        self.figure = figure(
            x_range=self._x, y_range=self._y, height=250, sizing_mode="stretch_width", tools=tools,
            y_axis_label="pixel − dark / DN", toolbar_location="above", title="Twilight fit",
        )  # fmt: skip
        self.residuals = figure(
            x_range=self._x, y_range=self._r, height=150, sizing_mode="stretch_width", tools=tools,
            x_axis_label="illumination L / DN", y_axis_label="residual / σ", toolbar_location=None,
        )  # fmt: skip
        self.figure.line("x", "y", source=self.line, color=colours.ink, line_width=1.2, legend_label="a + b L")
        rings = []
        for name, (words, state, marker) in FATES.items():
            colour, source = colours.state(state), self.sources[name]
            look: dict[str, Any] = {"color": colour, "marker": marker, "size": 7 if name == "kept" else 9}
            if name != "kept":
                look |= {"fill_color": None, "line_width": 2}
            self.figure.segment("level", "low", "level", "high", source=source, color=colour, alpha=0.6)
            rings.append(self.figure.scatter("level", "signal", source=source, legend_label=words, **look))
            rings.append(self.residuals.scatter("level", "residual", source=source, **look))
        for at in (-clip_sigma, 0.0, clip_sigma):
            self.residuals.add_layout(
                Span(location=at, dimension="width", line_color=colours.muted if at else colours.ink,
                     line_dash="dashed" if at else "solid", line_width=1)
            )  # fmt: skip
        tips = [
            ("frame", "@frame"),
            ("L", "@level{0.0} DN"),
            ("signal", "@signal{0.0} DN"),
            ("residual", "@true{0.0} σ"),
            ("", "@fate"),
        ]
        for f in (self.figure, self.residuals):
            f.add_tools(HoverTool(renderers=[r for r in rings if r in f.renderers], tooltips=tips))
            style(f, colours)
            # One width for both, so that the points stand above each other.
            f.min_border_left = 74
        self.figure.legend.location = "top_left"
        self.figure.legend.click_policy = "hide"
        self.figure.legend.padding = 4
        self.figure.legend.spacing = 0
        self._legend = {item.label.value: item for item in self.figure.legend[0].items}
        self.figure.xaxis.visible = False

    def show(self, fit: PixelFit | None) -> None:
        """Show a fit; without one there is nothing to see."""
        self.figure.visible = self.residuals.visible = fit is not None
        if fit is None:
            for source in (*self.sources.values(), self.line):
                source.data = {c: [] for c in source.data}
            return
        fates = np.array(fit.fate, dtype=object)
        for name, source in self.sources.items():
            here = fates == name
            source.data = {
                "level": fit.level_dn[here],
                "signal": fit.signal_dn[here],
                "low": (fit.signal_dn - fit.error_dn)[here],
                "high": (fit.signal_dn + fit.error_dn)[here],
                # What lies far off stands at the edge; the hover text has its number.
                "residual": np.clip(fit.residual_sigma[here], -9.5, 9.5),
                "true": fit.residual_sigma[here],
                "frame": fit.frame[here],
                "fate": [FATES[name][0]] * int(here.sum()),
            }
            self._legend[FATES[name][0]].visible = bool(here.any())
        if not fit.level_dn.size:
            self.line.data = {"x": [], "y": []}
            return
        first, last = float(fit.level_dn.min()), float(fit.level_dn.max())
        pad = 0.05 * max(last - first, 1.0)
        ends = np.array([first - pad, last + pad])
        self._x.update(start=ends[0], end=ends[1], reset_start=ends[0], reset_end=ends[1])
        low, high = float(np.min(fit.signal_dn - fit.error_dn)), float(np.max(fit.signal_dn + fit.error_dn))
        room = 0.08 * max(high - low, 1.0)
        self._y.update(start=low - room, end=high + room, reset_start=low - room, reset_end=high + room)
        finite = fit.residual_sigma[np.isfinite(fit.residual_sigma)]
        reach = float(np.clip(1.15 * np.max(np.abs(finite), initial=4.5), 5, 10))
        self._r.update(start=-reach, end=reach, reset_start=-reach, reset_end=reach)
        self.line.data = {"x": ends, "y": fit.intercept_dn + fit.slope * ends} if fit.fitted else {"x": [], "y": []}


_POINT = ("time", "night", "value", "low", "high", "verdict", "flags")
_MARKERS = {"accepted": "circle", "rejected": "x", "provisional": "diamond"}


class HistoryPlot:
    """One number of a pixel over all nights: a mark for each verdict, the canonical as steps, tonight ringed."""

    def __init__(
        self, colours: Theme, *, label: str, title: str, x_range: Range1d, firsts: Sequence[str], canonical: bool,
        height: int,
    ) -> None:  # fmt: skip
        self.sources = {name: ColumnDataSource({c: [] for c in _POINT}) for name in _MARKERS}
        self.steps = ColumnDataSource({"time": [], "value": []})
        self.now = ColumnDataSource({"time": [], "value": []})
        f = dated_figure(colours, y_label=label, x_range=x_range, height=height, title=title)
        f.y_range = Range1d(0, 1)
        f.toolbar_location = "above"
        if canonical:
            f.step(
                "time", "value", source=self.steps, mode="after", color=colours.ink, line_width=1.2,
                line_dash="dashed", legend_label="canonical",
            )  # fmt: skip
        marks = []
        for name, marker in _MARKERS.items():
            colour, source = colours.state(name), self.sources[name]
            f.segment("time", "low", "time", "high", source=source, color=colour, alpha=0.6)
            look: dict[str, Any] = {"size": 6} if name == "accepted" else {"size": 9, "line_width": 2}
            if name == "provisional":
                look["fill_color"] = None
            marks.append(
                f.scatter(
                    "time", "value", source=source, marker=marker, color=colour, nonselection_alpha=1,
                    legend_label=STATES[name].word, **look,
                )
            )  # fmt: skip
        f.scatter("time", "value", source=self.now, size=14, fill_color=None, line_color=colours.ink, line_width=1.5)
        period_shades(f, colours).data = shades(firsts)
        f.add_tools(
            HoverTool(
                renderers=marks,
                tooltips=[("night", "@night"), (label, "@value{0.0000}" if canonical else "@value{0.0}"),
                          ("", "@verdict"), ("flags", "@flags")],
            )
        )  # fmt: skip
        f.select_one(TapTool).renderers = marks
        style(f, colours)
        f.legend.orientation = "horizontal"
        f.legend.padding = 0
        f.legend.margin = 2
        f.legend.border_line_color = None
        f.add_layout(f.legend[0], "above")
        self._legend = {item.label.value: item for item in f.legend[0].items}
        f.min_border_left = 74
        f.yaxis.ticker.desired_num_ticks = 4
        self.figure = f

    def show(self, points: Sequence[Mapping[str, Any]], night: str) -> None:
        """Show points with ``night``, ``value``, ``error``, ``verdict``, ``flags`` and perhaps ``canonical``."""
        whole = [p for p in points if np.isfinite(p["value"])]
        for name, source in self.sources.items():
            part = [p for p in whole if p["verdict"] == name]
            value = np.array([p["value"] for p in part], float)
            error = np.nan_to_num(np.array([p["error"] for p in part], float))
            source.data = {
                "time": night_time([p["night"] for p in part]),
                "night": [p["night"] for p in part],
                "value": value,
                "low": value - error,
                "high": value + error,
                "verdict": [name] * len(part),
                "flags": [p["flags"] for p in part],
            }
            self._legend[STATES[name].word].visible = bool(part)
        # An empty frame would look like a number that is not there.
        self.figure.visible = bool(whole)
        steps = [p for p in points if np.isfinite(p.get("canonical", np.nan))]
        self.steps.data = {
            "time": night_time([p["night"] for p in steps]),
            "value": np.array([p["canonical"] for p in steps], float),
        }
        here = [p for p in whole if p["night"] == night]
        self.now.data = {"time": night_time([p["night"] for p in here]), "value": [p["value"] for p in here]}
        values = np.array([p["value"] for p in whole] + [p["canonical"] for p in steps], float)
        if values.size:
            low, high = float(values.min()), float(values.max())
            room = 0.15 * max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6)
            start, end = low - room, high + room
            self.figure.y_range.update(start=start, end=end, reset_start=start, reset_end=end)
