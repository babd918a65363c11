"""One series over the whole survey: errors, limits, verdicts, hardware periods, decisions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from bokeh.models import BoxAnnotation, ColumnDataSource, HoverTool, Range1d, TapTool
from numpy.typing import NDArray

from monitor.compute_trends import Mark
from monitor.palette import STATES, Theme
from monitor.plots.base import at_the_edge, dated_figure, night_time, period_shades, roomy, shades

__all__ = ["TrendPlot", "nearest", "reach", "value_words", "with_gaps"]

Zones = Sequence[tuple[float | None, float | None, str]]

# Across longer silences no line is drawn: nobody knows what happened in between.
LONGEST_GAP = np.timedelta64(10, "D")
# Markers at an edge of the axis are whole.
_EDGE = 0.05
# Words of a hardware period have a line of their own between title and axis.
_STANDOFF_PX, _WORDS_PX = 10, 16
# Beyond these no one can use a digit, however small the formal error.
_MOST_DIGITS = {"pixels": 0, "blocks": 0, "DN": 1, "e⁻": 2, "%": 3, "e⁻/DN": 3, "K": 2}
_MARKERS = {"rejected": "x", "provisional": "circle_dot"}
_POINTS = ("time", "night", "value", "true", "error", "low", "high", "marker", "size", "fill", "colour")
_TEXTS = ("shown", "status", "word", "cause", "region", "band")


def value_words(value: float, error: float, unit: str, *, signed: bool) -> str:
    """Return a number with its error in as many digits as it deserves, and its unit."""
    # Thousands of nights are put in words at once: plain floats are ten times faster here than NumPy's.
    value, error = float(value), float(error)
    if not math.isfinite(value):
        return "no value"
    known = math.isfinite(error) and error > 0
    scale = error if known else abs(value) / 100
    digits = min(max(1 - math.floor(math.log10(scale)), 0), _MOST_DIGITS.get(unit, 4)) if scale > 0 else 0
    sign = "+" if signed else ""
    text = f"{value:{sign}.{digits}f}"
    if known:
        least = 10.0**-digits
        text += f" ± {error:.{digits}f}" if error >= 0.5 * least else f" ± <{least:.{digits}f}"
    return f"{text} {unit}".rstrip().replace("-", "−")


def reach(table: pd.DataFrame, zones: Zones, fit: str) -> tuple[float, float]:
    """Return the ends of the value axis.

    Parameters
    ----------
    table : DataFrame
        Columns value, status.
    zones : sequence
        As of `monitor.compute_trends.limit_zones`.
    fit : str
        ``data`` (what was not rejected), ``limits`` (the limits as well) or ``all`` (rejected nights as well).
    """
    value = table["value"].to_numpy(dtype=float)
    seen = np.isfinite(value)
    calm = seen & (table["status"].to_numpy(dtype=object) != "rejected")
    chosen = list(value[seen if fit == "all" or not calm.any() else calm])
    if fit != "data":
        chosen += [edge for low, high, _ in zones for edge in (low, high) if edge is not None]
    if not chosen:
        return -1.0, 1.0
    low, high = float(min(chosen)), float(max(chosen))
    pad = 0.12 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def with_gaps(time: NDArray[Any], value: NDArray[Any], edges: Iterable[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a line's points with a NaN after long silences and at the edges of hardware periods."""
    if len(time) < 2:
        return time, value
    broken = np.diff(time) > LONGEST_GAP
    for edge in edges:
        when = np.datetime64(edge)
        broken |= (time[:-1] < when) & (time[1:] >= when)
    at = np.flatnonzero(broken) + 1
    return np.insert(time, at, time[at - 1]), np.insert(value.astype(float), at, np.nan)


def nearest(
    x: NDArray[np.floating], y: NDArray[np.floating], at: tuple[float, float], per_pixel: tuple[float, float]
) -> tuple[int, float]:
    """Return the index of the point nearest on screen, and its distance in screen pixels; (-1, inf) if none."""
    if len(x) == 0:
        return -1, float("inf")
    away = np.hypot((x - at[0]) / per_pixel[0], (y - at[1]) / per_pixel[1])
    away = np.where(np.isfinite(away), away, np.inf)
    k = int(np.argmin(away))
    return k, float(away[k])


class TrendPlot:
    """One band's series over nights.

    Attributes
    ----------
    figure : Figure
    points : ColumnDataSource
        One row a night that has a value; ``true`` is the value, ``value`` where it is drawn.
    """

    def __init__(self, colours: Theme, *, band: str, x_range: Range1d, height: int) -> None:
        self._colours, self._band = colours, band
        self.points = ColumnDataSource({n: [] for n in (*_POINTS, *_TEXTS)})
        self.line = ColumnDataSource({"time": [], "value": []})
        self.now = ColumnDataSource({"time": [], "value": []})
        self.edges = ColumnDataSource(
            {n: [] for n in ("time", "y", "label", "words", "night", "dash", "align", "offset")}
        )
        self.decisions = ColumnDataSource({n: [] for n in ("time", "y", "words", "night")})
        f = dated_figure(
            colours, y_label="", x_range=x_range, height=height, tools="xpan,xwheel_zoom,xbox_zoom,reset,tap", title=" "
        )
        f.y_range = Range1d(-1, 1)
        self._zones = [BoxAnnotation(visible=False, level="underlay") for _ in range(4)]
        for zone in self._zones:
            f.add_layout(zone)
        self.periods = period_shades(f, colours)
        f.vspan("time", source=self.edges, line_color=colours.ink, line_dash="dash", line_width=1.2)
        f.text(
            "time",
            "y",
            text="label",
            source=self.edges,
            text_color=colours.ink,
            text_font_size="11px",
            text_baseline="bottom",
            text_align="align",
            x_offset="offset",
            y_offset=-2,
            # Other levels end with the axis.
            level="overlay",
        )
        handles = f.scatter(
            "time", "y", source=self.edges, marker="square", size=8, color=colours.ink, nonselection_alpha=1
        )
        decided = f.scatter(
            "time",
            "y",
            source=self.decisions,
            marker="diamond",
            size=10,
            fill_color=colours.panel,
            line_color=colours.ink,
            line_width=1.5,
            nonselection_alpha=1,
        )
        f.segment("time", "low", "time", "high", source=self.points, color="colour", alpha=0.4)
        f.line("time", "value", source=self.line, color=colours.state("good"), alpha=0.55)
        dots = f.scatter(
            "time",
            "value",
            source=self.points,
            size="size",
            marker="marker",
            fill_color="fill",
            line_color="colour",
            line_width=1.7,
            nonselection_alpha=1,
        )
        f.scatter("time", "value", source=self.now, size=15, fill_color=None, line_color=colours.ink, line_width=1.5)
        f.add_tools(
            HoverTool(
                renderers=[dots],
                tooltips=[("night", "@night @band"), ("", "@shown (@region)"), ("", "@word"), ("", "@cause")],
            ),
            HoverTool(renderers=[handles, decided], tooltips=[("night", "@night"), ("", "@words")]),
        )
        f.select_one(TapTool).renderers = [dots]
        f.yaxis.ticker.desired_num_ticks = 5
        self.figure = f

    def update(
        self,
        table: pd.DataFrame,
        *,
        label: str,
        unit: str,
        title: str,
        zones: Zones = (),
        marks: Sequence[Mark] = (),
        night: str = "",
        fit: str = "limits",
    ) -> None:
        """Show a series.

        Parameters
        ----------
        table : DataFrame
            One band's rows, columns as in `monitor.compute_trends.COLUMNS`.
        label, unit, title : str
            What the value axis shows, and the words above.
        zones, marks
            Limits and what happened, as from `monitor.compute_trends`.
        night : str
            The night to be ringed.
        fit : str
            As of `reach`.
        """
        low, high = roomy(table["value"].to_numpy(dtype=float), reach(table, zones, fit), _EDGE)
        f = self.figure
        edges = [m for m in marks if m.kind != "decision"]
        f.y_range.update(start=low, end=high)
        f.title.standoff = _STANDOFF_PX + (_WORDS_PX if edges else 0)
        f.yaxis.axis_label = f"{label} / {unit}" if unit else label
        f.title.text = title
        self._show_zones(zones)
        table = table[np.isfinite(table["value"].to_numpy(dtype=float))]
        self.points.data = data = self._columns(table, (low, high), unit, signed=label.startswith("Δ"))
        calm = np.array([s != "rejected" for s in data["status"]], dtype=bool)
        time, value = with_gaps(data["time"][calm], data["value"][calm], [m.night for m in edges])
        self.line.data = {"time": time, "value": value}
        self._show_marks(edges, [m for m in marks if m.kind == "decision"], low, high)
        self.ring(night)

    def ring(self, night: str) -> None:
        """Put the ring round a night, and nothing else."""
        data = self.points.data
        here = [k for k, n in enumerate(data["night"]) if n == night]
        self.now.data = {"time": [data["time"][k] for k in here], "value": [data["value"][k] for k in here]}

    def _columns(self, table: pd.DataFrame, ends: tuple[float, float], unit: str, *, signed: bool) -> dict[str, Any]:
        low, high = ends
        value, error = table["value"].to_numpy(dtype=float), table["error"].to_numpy(dtype=float)
        status = list(table["status"])
        drawn, beyond = at_the_edge(value, ends, _EDGE)
        colour = [self._colours.state(s) if s in STATES else self._colours.ink for s in status]
        marker = [b or _MARKERS.get(s, "circle") for b, s in zip(beyond, status, strict=True)]
        open_ = {"provisional", "rejected"}
        bar = np.nan_to_num(error)
        return {
            "time": night_time(table["night"]),
            "night": list(table["night"]),
            "band": list(table["band"]),
            "value": drawn,
            "true": value,
            "error": error,
            "low": np.clip(value - bar, low, high),
            "high": np.clip(value + bar, low, high),
            "marker": marker,
            "size": [10 if m == "x" else 8 if "triangle" in m else 7 for m in marker],
            "fill": [self._colours.panel if s in open_ else c for s, c in zip(status, colour, strict=True)],
            "colour": colour,
            "shown": [value_words(v, e, unit, signed=signed) for v, e in zip(value, error, strict=True)],
            "status": status,
            "word": [_word(s) for s in status],
            "cause": [str(c)[:110] for c in table["cause"]],
            "region": list(table["region"]),
        }

    def _show_zones(self, zones: Zones) -> None:
        for k, box in enumerate(self._zones):
            if k >= len(zones):
                box.visible = False
                continue
            low, high, state = zones[k]
            alpha = 0.10 if state == "watch" else 0.12
            box.update(bottom=low, top=high, fill_color=self._colours.state(state), fill_alpha=alpha, visible=True)

    def _show_marks(self, edges: Sequence[Mark], decisions: Sequence[Mark], low: float, high: float) -> None:
        # An edge lies between two nights: half a night before the first of the new period.
        half = np.timedelta64(12, "h")
        time = night_time(m.night for m in edges) - half
        seen = self.points.data["time"]
        late = np.zeros(len(edges), bool)
        if len(seen):
            # Towards the end there is no room on the right.
            late = time > seen[0] + 0.6 * (seen[-1] - seen[0])
        self.periods.data = shades(m.night for m in edges if m.kind == "period")
        self.edges.data = {
            "time": time,
            "align": np.where(late, "right", "left").tolist(),
            "offset": np.where(late, -8, 8),
            "y": [high] * len(edges),
            "label": [m.label for m in edges],
            "words": [m.words[:160] for m in edges],
            "night": [m.night for m in edges],
            "dash": ["dashed" if m.kind == "period" else "dotted" for m in edges],
        }
        self.decisions.data = {
            "time": night_time(m.night for m in decisions),
            "y": [low + _EDGE * (high - low)] * len(decisions),
            "words": [m.words[:160] for m in decisions],
            "night": [m.night for m in decisions],
        }

    def night_at(self, x: float, y: float, within: float = 24.0) -> str:
        """Return the night whose point is nearest on screen to a place on the axes, or nothing if all are far."""
        f = self.figure
        wide, tall = f.inner_width or 800, f.inner_height or 200
        span = float(_milliseconds(f.x_range.end) - _milliseconds(f.x_range.start))
        per = max(span, 1.0) / wide, (f.y_range.end - f.y_range.start) / tall
        time = np.asarray(self.points.data["time"]).astype("datetime64[ms]").astype(float)
        k, away = nearest(time, np.asarray(self.points.data["value"], float), (x, y), per)
        return str(self.points.data["night"][k]) if k >= 0 and away <= within else ""


def _milliseconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float(pd.Timestamp(value).timestamp() * 1000)


def _word(status: str) -> str:
    if status == "watch":
        return f"{STATES['watch'].sign} some blocks rejected"
    return f"{STATES[status].sign} {STATES[status].word}" if status in STATES else "no verdict applies"
