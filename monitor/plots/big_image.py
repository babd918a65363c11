"""The chosen image of a detector, with all that is known of each pixel, and another night's to blink with."""

from __future__ import annotations

from typing import Any

from bokeh.models import BasicTicker, ColorBar, ColumnDataSource, CustomJS, HoverTool, Label, LinearColorMapper

from monitor.compute_layers import Layer
from monitor.compute_window import Binned, Window
from monitor.palette import Theme
from monitor.plots.images import (
    EMPTY,
    FLAG_WORDS,
    MISSING,
    NUMBER,
    PIXEL,
    Frame,
    add_mark,
    formatter,
    hole_in,
    image_columns,
    image_figure,
    show_hole,
)
from monitor.plots.thumbnail import SEQUENTIAL, hex_palette

__all__ = ["BigImage"]


class BigImage:
    """The chosen image: axes, hover with value, σ and flags, a second image to blink with."""

    def __init__(self, frame: Frame, colours: Theme) -> None:
        self._frame, self._colours = frame, colours
        self._sent: Any = None
        self._other_sent: Any = None
        self.source, self.other_source = ColumnDataSource(dict(EMPTY)), ColumnDataSource(dict(EMPTY))
        f = image_figure(
            frame, colours, aspect_ratio=1.06, sizing_mode="scale_width", title=" ", toolbar_location="above"
        )
        f.xaxis.axis_label, f.yaxis.axis_label = "x / pixel", "y / pixel"
        f.min_border_right = 12
        # One scale for good: an image does not notice that it was given another.
        self.mapper = mapper = LinearColorMapper(hex_palette(SEQUENTIAL), low=0, high=1, nan_color=MISSING)
        self.image = f.image("image", "x", "y", "dw", "dh", color_mapper=mapper, source=self.source)
        self.other = f.image("image", "x", "y", "dw", "dh", color_mapper=mapper, source=self.other_source)
        self.other.visible = False
        self.hole, self.words = hole_in(f, colours, 14)
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
                "$x": formatter(PIXEL),
                "$y": formatter(PIXEL),
                "@image": formatter(NUMBER),
                "@sigma": formatter(NUMBER),
                "@flags": formatter(FLAG_WORDS),
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
        add_mark(f, frame, colours, 13)
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
        self.bar.ticker.min_interval = 10.0**-kind.digits
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
        self.source.data = dict(EMPTY) if binned is None else image_columns(binned, window, extras=True)
        show_hole(self.hole, self.words, self._frame, "" if binned is not None else layer.reason, 32)

    def show_other(self, binned: Binned | None, window: Window, key: Any) -> None:
        """Have the image of another night ready to blink with, on the same scale."""
        if key == self._other_sent:
            return
        self._other_sent = key
        self.other_source.data = dict(EMPTY) if binned is None else image_columns(binned, window, extras=True)

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
