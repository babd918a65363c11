"""What all figures have in common: colours of the theme, dates, limits, rejected nights, hardware periods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from bokeh.models import BoxAnnotation, ColumnDataSource, DatetimeTickFormatter, Range1d
from bokeh.plotting import figure
from numpy.typing import NDArray

from monitor.palette import Theme

__all__ = [
    "at_the_edge", "dated_figure", "limit_bands", "narrow_dates", "night_time", "period_shades", "roomy", "shades",
    "style",
]  # fmt: skip


def narrow_dates() -> DatetimeTickFormatter:
    """Return a formatter of dates for narrow figures, a new one each time: a model belongs to one document."""
    return DatetimeTickFormatter(
        days="%d %b", months="%b %Y", years="%Y", hours="%d %b", hourmin="%d %b", minutes="%d %b"
    )


def night_time(nights: Iterable[str]) -> NDArray[np.datetime64]:
    """Return nights (ISO dates) as times for an axis."""
    return np.array(list(nights), dtype="datetime64[ms]")


def roomy(value: NDArray[np.floating], ends: tuple[float, float], inset: float) -> tuple[float, float]:
    """Return the ends of an axis, moved out where a value near them would be cut or miss the axis by little.

    Parameters
    ----------
    value : ndarray
    ends : tuple of float
    inset : float
        As of `at_the_edge`.
    """
    low, high = ends
    room = inset * (high - low)
    over = value[(value > high - room) & (value <= high + 2 * room)]
    under = value[(value < low + room) & (value >= low - 2 * room)]
    return float(np.min(under - room, initial=low)), float(np.max(over + room, initial=high))


def at_the_edge(
    value: NDArray[np.floating], ends: tuple[float, float], inset: float
) -> tuple[NDArray[np.floating], list[str]]:
    """Return where values are drawn on an axis, and the triangles that stand for those beyond it.

    Parameters
    ----------
    value : ndarray
    ends : tuple of float
        The ends of the axis as it is drawn.
    inset : float
        So far from its end, as a share of the axis, a triangle is still whole.

    Returns
    -------
    drawn : ndarray
        What lies on the axis is drawn as it is.
    markers : list of str
        A triangle that points to where the value is; empty for values on the axis.
    """
    low, high = ends
    room = inset * (high - low)
    drawn = np.where(value > high, high - room, np.where(value < low, low + room, value))
    return drawn, ["triangle" if v > high else "inverted_triangle" if v < low else "" for v in value]


def style(f: Any, colours: Theme) -> Any:
    """Give a figure the theme's colours and the house's fonts, and return it."""
    f.background_fill_color = f.border_fill_color = colours.panel
    f.outline_line_color = colours.line
    f.min_border = 4
    for axis in f.axis:
        axis.axis_label_text_color = axis.major_label_text_color = colours.muted
        axis.axis_line_color = axis.major_tick_line_color = colours.muted
        axis.minor_tick_line_color = None
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "12px"
        axis.major_label_text_font_size = "11px"
    for grid in f.grid:
        grid.grid_line_color = colours.line
        grid.grid_line_alpha = 0.6
    f.title.text_color = colours.ink
    f.title.text_font_size = "13px"
    for legend in f.legend:
        legend.background_fill_color = colours.panel
        legend.background_fill_alpha = 0.85
        legend.border_line_color = colours.line
        legend.label_text_color = colours.ink
        legend.label_text_font_size = "11px"
    f.toolbar.logo = None
    f.toolbar.autohide = True
    return f


def dated_figure(
    colours: Theme,
    *,
    y_label: str,
    x_range: Range1d | None = None,
    height: int = 160,
    tools: str = "pan,wheel_zoom,box_zoom,reset,tap",
    **options: Any,
) -> Any:
    """Return an empty figure over nights."""
    options.setdefault("sizing_mode", "stretch_width")
    f = figure(
        x_axis_type="datetime",
        height=height,
        tools=tools,
        y_axis_label=y_label,
        **({"x_range": x_range} if x_range is not None else {}),
        **options,
    )
    f.xaxis.formatter = narrow_dates()
    f.xaxis.ticker.desired_num_ticks = 6
    return style(f, colours)


def limit_bands(f: Any, colours: Theme, watch: float, drift: float) -> None:
    """Shade what lies beyond the limits on both sides: watch lightly, drift more."""
    for low, high, state, alpha in (
        (watch, drift, "watch", 0.10),
        (-drift, -watch, "watch", 0.10),
        (drift, None, "bad", 0.12),
        (None, -drift, "bad", 0.12),
    ):
        f.add_layout(
            BoxAnnotation(bottom=low, top=high, fill_color=colours.state(state), fill_alpha=alpha, level="underlay")
        )


def period_shades(f: Any, colours: Theme) -> ColumnDataSource:
    """Add the shading of hardware periods to a figure; fill it by `shades`."""
    source = ColumnDataSource({"x0": [], "x1": []})
    f.vstrip("x0", "x1", source=source, fill_color=colours.ink, fill_alpha=0.09, line_color=None, level="underlay")
    f.vspan("x0", source=source, line_color=colours.ink, line_dash="dashed", line_width=1, line_alpha=0.6)
    return source


def shades(firsts: Iterable[str]) -> dict[str, Any]:
    """Return the strips of every second hardware period, that before the first change left white.

    Parameters
    ----------
    firsts : iterable of str
        First nights of the periods that were started. An edge lies half a night before.
    """
    edges = night_time(sorted(set(firsts))) - np.timedelta64(12, "h")
    ends = np.append(edges[1:], np.datetime64("2999-01-01").astype(edges.dtype))
    starts = edges[::2]
    return {"x0": starts, "x1": ends[::2][: len(starts)]}
