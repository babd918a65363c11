"""Images of a detector, linked in pan and zoom: small ones side by side, and a large one with its histogram."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bokeh.models import (
    BasicTicker,
    BoxAnnotation,
    ColorBar,
    ColumnDataSource,
    CrosshairTool,
    CustomJS,
    CustomJSHover,
    HoverTool,
    Image,
    Label,
    LinearColorMapper,
    NumeralTickFormatter,
    Range1d,
    Scatter,
    Span,
)
from bokeh.plotting import figure

from calib.flags import FLAGS
from monitor.compute import signed
from monitor.compute_night import Binned, Kind, Layer, Window
from monitor.palette import STATES, Theme
from monitor.plots.base import style
from monitor.plots.thumbnail import DIVERGING, SEQUENTIAL, hex_palette

__all__ = ["FLAG_COLOURS", "MISSING", "BigImage", "Frame", "Histogram", "SmallImage", "mapper_for"]

# A colour that no table has.
MISSING = "#cc0099"

# Clean pixels take the ground, dead ones the ink; the others colours of Okabe & Ito, none of which means a state here.
FLAG_COLOURS: dict[str, str] = {
    "NODATA": MISSING,
    "SATUR": "#e69f00",
    "DEAD": "ink",
    "HOT": "#d55e00",
    "NOISY": "#56b4e9",
    "SUBST": "#009e73",
    "CLIPPED": "#f0e442",
    "SUPPLIED": "#8a63d2",
}

_SIGNS = {name: state.sign for name, state in STATES.items()}
_NAMES = ", ".join(f'[{f.value}, "{f.name}"]' for f in FLAGS)

_NUMBER = CustomJSHover(
    code="""
    if (value == null || (typeof value == "number" && isNaN(value))) return "no value"
    return Number(value).toFixed(Number(format)).replace("-", "\u2212")
    """
)
_PIXEL = CustomJSHover(code="return String(Math.floor(value))")
_FLAGS = CustomJSHover(
    code=f"""
    const names = [{_NAMES}].filter(([bit, _]) => value & bit).map(([_, name]) => name)
    return names.length ? names.join(", ") : "none"
    """
)


def _formatter(code: CustomJSHover) -> CustomJSHover:
    # A model belongs to one document: every session takes its own copy.
    return CustomJSHover(code=code.code)


@dataclass
class Frame:
    """What all images of a page share: ranges, crosshair, the chosen pixel."""

    shape: tuple[int, int]
    x: Range1d = field(init=False)
    y: Range1d = field(init=False)
    mark: ColumnDataSource = field(init=False)
    across: Span = field(init=False)
    along: Span = field(init=False)

    def __post_init__(self) -> None:
        ny, nx = self.shape
        low = 4
        self.x = Range1d(0, nx, bounds=(0, nx), min_interval=low, reset_start=0, reset_end=nx)
        self.y = Range1d(0, ny, bounds=(0, ny), min_interval=low, reset_start=0, reset_end=ny)
        self.mark = ColumnDataSource({"x": [], "y": []})
        self.across = Span(dimension="width", line_dash="dotted", line_width=1)
        self.along = Span(dimension="height", line_dash="dotted", line_width=1)

    @property
    def view(self) -> tuple[float, float, float, float]:
        """What is on screen: x from, x to, y from, y to."""
        return float(self.x.start), float(self.x.end), float(self.y.start), float(self.y.end)

    def choose(self, x: int | None, y: int | None) -> None:
        """Mark a pixel, or none."""
        self.mark.data = {"x": [], "y": []} if x is None or y is None else {"x": [x + 0.5], "y": [y + 0.5]}


def mapper_for(kind: Kind, colours: Theme) -> LinearColorMapper:
    """Return the colour scale of a kind of image."""
    if kind.scale == "flags":
        clean = "#2a3540" if colours.dark else "#e9edf1"
        hues = {**FLAG_COLOURS, "DEAD": colours.ink}
        palette = [clean, *(hues[f.name] for f in FLAGS)]
        return LinearColorMapper(palette, low=-0.5, high=len(FLAGS) + 0.5, nan_color=MISSING)
    stops = DIVERGING if kind.scale == "diverging" else SEQUENTIAL
    return LinearColorMapper(hex_palette(stops), low=0, high=1, nan_color=MISSING)


_SMALL: dict[str, list[Any]] = {n: [] for n in ("image", "x", "y", "dw", "dh")}
_EMPTY: dict[str, list[Any]] = {**_SMALL, "sigma": [], "flags": []}


def _columns(binned: Binned, window: Window, *, extras: bool) -> dict[str, list[Any]]:
    data: dict[str, list[Any]] = {
        "image": [binned.value],
        "x": [window.x0],
        "y": [window.y0],
        "dw": [window.x1 - window.x0],
        "dh": [window.y1 - window.y0],
    }
    if extras:
        data["sigma"] = [binned.sigma] if binned.sigma is not None else [np.full((1, 1), np.nan, np.float32)]
        data["flags"] = [binned.flags] if binned.flags is not None else [np.zeros((1, 1), np.uint8)]
    return data


def _hole(f: Any, colours: Theme, size: int) -> tuple[BoxAnnotation, Label]:
    box = BoxAnnotation(
        fill_color=colours.ground,
        fill_alpha=1,
        line_color=None,
        hatch_pattern="right_diagonal_line",
        hatch_color=colours.line,
        hatch_scale=10,
        visible=False,
        level="glyph",
    )
    words = Label(
        x=0,
        y=0,
        text="",
        text_align="center",
        text_baseline="middle",
        text_color=colours.muted,
        text_font_size=f"{size}px",
        background_fill_color=colours.ground,
        background_fill_alpha=0.85,
        visible=False,
    )
    f.add_layout(box)
    f.add_layout(words)
    return box, words


def _figure(frame: Frame, colours: Theme, **options: Any) -> Any:
    f = figure(
        x_range=frame.x,
        y_range=frame.y,
        tools="pan,wheel_zoom,box_zoom,reset",
        active_scroll=None,
        active_drag="pan",
        **options,
    )
    style(f, colours)
    f.grid.visible = False
    return f


def _add_mark(f: Any, frame: Frame, colours: Theme, size: int) -> None:
    for colour, width in ((colours.panel, 4), (colours.ink, 1.5)):
        square = Scatter(x="x", y="y", marker="square", size=size, fill_color=None, line_color=colour, line_width=width)
        f.add_glyph(frame.mark, square, level="overlay")
    f.add_tools(CrosshairTool(overlay=[frame.across, frame.along]))


class SmallImage:
    """One image among others: title, colour bar, no axes; a tap chooses it."""

    def __init__(self, kind: Kind, frame: Frame, mapper: LinearColorMapper, colours: Theme) -> None:
        self.kind, self._frame = kind, frame
        self._sent: Any = None
        self.source = ColumnDataSource(dict(_SMALL))
        f = _figure(
            frame, colours, aspect_ratio=176 / 210, sizing_mode="scale_width", title=kind.title,
            toolbar_location=None, x_axis_location=None, y_axis_location=None,
        )  # fmt: skip
        f.title.text_font_size = "12px"
        # Without the glyphs of selections, hovers and so on that `figure.image` makes: there are many such images.
        self.image = f.add_glyph(self.source, Image(image="image", x="x", y="y", dw="dw", dh="dh", color_mapper=mapper))
        self._hole: tuple[BoxAnnotation, Label] | None = None
        bar = ColorBar(
            color_mapper=mapper,
            height=7,
            padding=2,
            margin=2,
            label_standoff=3,
            ticker=BasicTicker(desired_num_ticks=4),
            major_label_text_font_size="10px",
            major_label_text_color=colours.muted,
            major_tick_line_color=None,
            background_fill_color=None,
            bar_line_color=colours.line,
        )
        f.add_layout(bar, "below")
        self._bar = bar
        f.add_tools(
            HoverTool(
                renderers=[self.image],
                tooltips=[("x, y", "$x{px}, $y{px}"), (kind.title, f"@image{{{kind.digits}}} {kind.unit}")]
                if kind.scale != "flags"
                else [("x, y", "$x{px}, $y{px}")],
                formatters={"$x": _formatter(_PIXEL), "$y": _formatter(_PIXEL), "@image": _formatter(_NUMBER)},
            )
        )
        _add_mark(f, frame, colours, 11)
        f.min_border_left = f.min_border_right = 8
        f.min_border_bottom = 34
        self._colours = colours
        self.figure = f

    def show(self, layer: Layer, binned: Binned | None, window: Window, key: Any, *, chosen: bool) -> None:
        """Show a layer, or why there is none; what is there already under the same key is not sent again."""
        unit = f" / {layer.kind.unit}" if layer.kind.unit else ""
        # The word stands over the large image and in the line of verdicts.
        note = f" {_SIGNS.get(layer.note, '▲')}" if layer.note else ""
        title = f"{layer.kind.title}{unit}"
        if layer.level is not None:
            title = f"Dark − ref., level {signed(layer.level)}{unit.replace(' /', '')}"
        self.figure.title.update(
            text=f"{'▸ ' if chosen else ''}{title}{note}",
            text_color=self._colours.accent if chosen else self._colours.ink,
        )
        self.figure.outline_line_color = self._colours.accent if chosen else self._colours.line
        self.figure.outline_line_width = 2 if chosen else 1
        if key == self._sent:
            return
        self._sent = key
        self._bar.visible = binned is not None and self.kind.scale != "flags"
        self.source.data = dict(_SMALL) if binned is None else _columns(binned, window, extras=False)
        if binned is None and self._hole is None:
            self._hole = _hole(self.figure, self._colours, 11)
        if self._hole is not None:
            _show_hole(*self._hole, self._frame, "" if binned is not None else layer.reason, 24)


def _show_hole(hole: BoxAnnotation, words: Label, frame: Frame, reason: str, width: int) -> None:
    ny, nx = frame.shape
    hole.update(visible=bool(reason), left=0, right=nx, bottom=0, top=ny)
    words.update(visible=bool(reason), x=nx / 2, y=0.68 * ny, text="\n".join(textwrap.wrap(reason, width)))


class BigImage:
    """The chosen image: axes, hover with value, σ and flags, a second image to blink with."""

    def __init__(self, frame: Frame, colours: Theme) -> None:
        self._frame, self._colours = frame, colours
        self._sent: Any = None
        self._other_sent: Any = None
        self.source, self.other_source = ColumnDataSource(dict(_EMPTY)), ColumnDataSource(dict(_EMPTY))
        f = _figure(frame, colours, aspect_ratio=1.06, sizing_mode="scale_width", title=" ", toolbar_location="above")
        f.xaxis.axis_label, f.yaxis.axis_label = "x / pixel", "y / pixel"
        f.min_border_right = 12
        # One scale for good: an image does not notice that it was given another.
        self.mapper = mapper = LinearColorMapper(hex_palette(SEQUENTIAL), low=0, high=1, nan_color=MISSING)
        self.image = f.image("image", "x", "y", "dw", "dh", color_mapper=mapper, source=self.source)
        self.other = f.image("image", "x", "y", "dw", "dh", color_mapper=mapper, source=self.other_source)
        self.other.visible = False
        self.hole, self.words = _hole(f, colours, 14)
        self.bar = ColorBar(
            color_mapper=mapper,
            width=10,
            padding=4,
            label_standoff=4,
            ticker=BasicTicker(desired_num_ticks=6),
            major_label_text_color=colours.muted,
            major_label_text_font_size="11px",
            background_fill_color=None,
            bar_line_color=colours.line,
        )
        f.add_layout(self.bar, "right")
        self.hover = HoverTool(
            renderers=[self.image],
            formatters={
                "$x": _formatter(_PIXEL),
                "$y": _formatter(_PIXEL),
                "@image": _formatter(_NUMBER),
                "@sigma": _formatter(_NUMBER),
                "@flags": _formatter(_FLAGS),
            },
        )
        f.add_tools(self.hover)
        # Which of two blinking nights is on screen is said in the image itself.
        self.which = Label(
            x=8,
            y=8,
            x_units="screen",
            y_units="screen",
            text="",
            text_color=colours.ink,
            text_font_size="14px",
            text_font_style="bold",
            background_fill_color=colours.panel,
            background_fill_alpha=0.85,
            padding=4,
            visible=False,
        )
        f.add_layout(self.which)
        _add_mark(f, frame, colours, 13)
        f.toolbar.autohide = False
        f.toolbar.active_scroll = None
        # State of the browser alone: the toggling is not sent to the server. The label's tags carry the wish.
        self.which.js_on_change("tags", CustomJS(args={"other": self.other, "which": self.which}, code=_BLINK))
        self.figure = f

    def show(
        self, layer: Layer, binned: Binned | None, window: Window, key: Any, mapper: LinearColorMapper, title: str
    ) -> None:
        """Show a layer with the colours of a scale, or why there is none."""
        kind = layer.kind
        self.figure.title.text = title
        self.mapper.update(palette=mapper.palette, low=mapper.low, high=mapper.high)
        self.bar.visible = binned is not None and kind.scale != "flags"
        unit = f" {kind.unit}" if kind.unit else ""
        bins = f" (mean of {window.factor}×{window.factor} pixels)" if window.factor > 1 else ""
        tips = [("x, y", "$x{px}, $y{px}" + bins)]
        if kind.scale != "flags":
            tips.append((kind.title, f"@image{{{kind.digits}}}{unit}"))
            if layer.sigma is not None:
                tips.append(("σ", f"@sigma{{{kind.digits}}}{unit}"))
        self.hover.tooltips = [*tips, ("flags", "@flags{names}")]
        if key == self._sent:
            return
        self._sent = key
        self.source.data = dict(_EMPTY) if binned is None else _columns(binned, window, extras=True)
        _show_hole(self.hole, self.words, self._frame, "" if binned is not None else layer.reason, 32)

    def show_other(self, binned: Binned | None, window: Window, key: Any) -> None:
        """Have the image of another night ready to blink with, on the same scale."""
        if key == self._other_sent:
            return
        self._other_sent = key
        self.other_source.data = dict(_EMPTY) if binned is None else _columns(binned, window, extras=True)

    def set_blink(self, on: bool, here: str, there: str) -> None:
        """Blink between two nights, or stop."""
        wanted = [on, here, there] if on else [False]
        if self.which.tags != wanted and (on or self.which.tags):
            self.which.tags = wanted


_BLINK = """
    clearInterval(which.__timer)
    const [on, here, there] = which.tags
    const show = second => {
      other.setv({visible: second}, {sync: false})
      which.setv({text: (second ? there : here) ?? ""}, {sync: false})
    }
    which.setv({visible: !!on}, {sync: false})
    show(false)
    if (on) {
      let second = false
      which.__timer = setInterval(() => {
        if (other.document == null) { clearInterval(which.__timer); return }
        second = !second; show(second)
      }, 500)
    }
"""


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
