"""Images of a detector, linked in pan and zoom: small ones side by side, and what all of them have in common."""

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
    CustomJSHover,
    HoverTool,
    Image,
    Label,
    LinearColorMapper,
    Range1d,
    Scatter,
    Span,
)
from bokeh.plotting import figure

from calib.flags import FLAGS
from monitor.compute import signed
from monitor.compute_layers import Kind, Layer
from monitor.compute_window import Binned, Window
from monitor.palette import STATES, Theme
from monitor.plots.base import style
from monitor.plots.thumbnail import DIVERGING, SEQUENTIAL, hex_palette

__all__ = [
    "EMPTY",
    "FLAG_COLOURS",
    "FLAG_WORDS",
    "MISSING",
    "NUMBER",
    "PIXEL",
    "Frame",
    "SmallImage",
    "add_mark",
    "formatter",
    "hole_in",
    "image_columns",
    "image_figure",
    "mapper_for",
    "show_hole",
]

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

NUMBER = CustomJSHover(
    code="""
    if (value == null || (typeof value == "number" && isNaN(value))) return "no value"
    return Number(value).toFixed(Number(format)).replace("-", "\u2212")
    """
)
PIXEL = CustomJSHover(code="return String(Math.floor(value))")
FLAG_WORDS = CustomJSHover(
    code=f"""
    const names = [{_NAMES}].filter(([bit, _]) => value & bit).map(([_, name]) => name)
    return names.length ? names.join(", ") : "none"
    """
)


def formatter(code: CustomJSHover) -> CustomJSHover:
    """Return a copy of what puts a hovered value into words."""
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
EMPTY: dict[str, list[Any]] = {**_SMALL, "sigma": [], "flags": []}


def image_columns(binned: Binned, window: Window, *, extras: bool) -> dict[str, list[Any]]:
    """Return the columns of an image's source, with σ and flags if wanted."""
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


def hole_in(f: Any, colours: Theme, size: int) -> tuple[BoxAnnotation, Label]:
    """Add to a figure what stands where there is no image: hatching, and words of a size in pixels."""
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


def image_figure(frame: Frame, colours: Theme, **options: Any) -> Any:
    """Return an empty figure over the pixels, linked to all others of the frame."""
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


def add_mark(f: Any, frame: Frame, colours: Theme, size: int) -> None:
    """Mark the chosen pixel and the place of the pointer."""
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
        f = image_figure(
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
            # No finer than the numbers are told: of samples there are whole ones.
            ticker=BasicTicker(desired_num_ticks=4, min_interval=10.0**-kind.digits),
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
                formatters={"$x": formatter(PIXEL), "$y": formatter(PIXEL), "@image": formatter(NUMBER)},
            )
        )
        add_mark(f, frame, colours, 11)
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
        self.source.data = dict(_SMALL) if binned is None else image_columns(binned, window, extras=False)
        if binned is None and self._hole is None:
            self._hole = hole_in(self.figure, self._colours, 11)
        if self._hole is not None:
            show_hole(*self._hole, self._frame, "" if binned is not None else layer.reason, 24)


def show_hole(hole: BoxAnnotation, words: Label, frame: Frame, reason: str, width: int) -> None:
    """Say why there is no image, in lines of so many letters; an empty reason hides it."""
    ny, nx = frame.shape
    hole.update(visible=bool(reason), left=0, right=nx, bottom=0, top=ny)
    words.update(visible=bool(reason), x=nx / 2, y=0.68 * ny, text="\n".join(textwrap.wrap(reason, width)))
