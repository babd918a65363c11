"""The background along a scan: its level, and the pattern over the cells before and after the sky offset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from bokeh.models import BasicTickFormatter, ColumnDataSource, FixedTicker, HoverTool, LabelSet, Range1d, Span
from bokeh.plotting import figure
from numpy.typing import ArrayLike

from monitor.palette import Theme
from monitor.plots.base import style

__all__ = ["ScanLevels"]


class ScanLevels:
    """Two figures over the frames of a scan on one axis; blocks shaded in turn, rejected ones hatched and crossed.

    Attributes
    ----------
    level, pattern : Figure
        Background level in DN; rms over the cells in DN.
    """

    def __init__(self, colours: Theme) -> None:
        self._colours = colours
        self._x = Range1d(0, 1)
        self._blocks = ColumnDataSource(
            {n: [] for n in ("left", "right", "middle", "fill", "alpha", "hatch", "text", "ink")}
        )
        self._lines = ColumnDataSource({"frame": [], "level": [], "time": [], "block": [], "used": []})
        self._rms = ColumnDataSource({"frame": [], "before": [], "after": [], "noise": []})
        self._spans: list[Span] = []
        self.level = self._level()
        self.pattern = self._pattern()

    def _figure(self, label: str, height: int, scale: Literal["linear", "log"] = "linear") -> Any:
        f = figure(
            x_range=self._x,
            height=height,
            sizing_mode="stretch_width",
            tools="xpan,xwheel_zoom,reset,tap",
            active_drag=None,
            x_axis_label="frame",
            y_axis_label=label,
            y_axis_type=scale,
        )
        f.vstrip(
            "left",
            "right",
            source=self._blocks,
            fill_color="fill",
            fill_alpha="alpha",
            line_color=None,
            hatch_pattern="hatch",
            hatch_color=self._colours.state("rejected"),
            hatch_alpha=0.3,
        )
        span = Span(location=0, dimension="height", line_color=self._colours.accent, line_width=2, line_alpha=0.8)
        f.add_layout(span)
        self._spans.append(span)
        f.yaxis.formatter = BasicTickFormatter(use_scientific=False)
        if scale == "log":
            # Within a decade the library marks whole numbers alone, and nothing below 1.
            f.yaxis.ticker = f.ygrid.ticker = FixedTicker(ticks=[m * 10.0**k for k in range(-4, 6) for m in (1, 2, 5)])
        else:
            f.yaxis.ticker.desired_num_ticks = 4
        f.xgrid.visible = False
        return f

    def _level(self) -> Any:
        f = self._figure("background / DN", 168)
        line = f.line("frame", "level", source=self._lines, color=self._colours.ink, line_width=1.2)
        # A line of a single frame has no length.
        f.scatter("frame", "level", source=self._lines, color=self._colours.ink, size=2.5)
        # Room below the line for the names of the blocks.
        f.y_range.update(renderers=[line], range_padding=0.35)
        f.add_layout(
            LabelSet(
                x="middle",
                y=3,
                y_units="screen",
                text="text",
                text_color="ink",
                text_font_size="11px",
                text_align="center",
                source=self._blocks,
            )
        )
        shown = [
            ("frame", "@frame"),
            ("UTC", "@time"),
            ("level", "@level{0.00} DN"),
            ("block", "@block, offset of @used"),
        ]
        f.add_tools(HoverTool(renderers=[line], tooltips=shown, mode="vline"))
        f.xaxis.visible = False
        return style(f, self._colours)

    def _pattern(self) -> Any:
        # What is left may be a hundredth of what was there.
        f = self._figure("rms of cells / DN", 196, "log")
        amber, blue, ink = self._colours.state("watch"), self._colours.state("good"), self._colours.muted
        a = f.line("frame", "before", source=self._rms, color=amber, legend_label="before")
        dots = f.scatter(
            "frame", "before", source=self._rms, color=amber, marker="square", size=6, legend_label="before"
        )
        b = f.line("frame", "after", source=self._rms, color=blue, legend_label="after the sky offset")
        f.scatter("frame", "after", source=self._rms, color=blue, size=6, legend_label="after the sky offset")
        c = f.line(
            "frame",
            "noise",
            source=self._rms,
            color=ink,
            line_dash="dotted",
            line_width=2,
            legend_label="pixel noise alone",
        )
        f.y_range.renderers = [a, b, c]
        shown = [
            ("frame", "@frame"),
            ("before", "@before{0.00} DN"),
            ("after", "@after{0.00} DN"),
            ("noise alone", "@noise{0.00} DN"),
        ]
        f.add_tools(HoverTool(renderers=[dots], tooltips=shown, mode="vline"))
        legend = f.legend[0]
        f.center.remove(legend)
        f.add_layout(legend, "above")
        legend.orientation, legend.padding, legend.margin, legend.border_line_color = "horizontal", 0, 0, None
        style(f, self._colours)
        legend.border_line_color, legend.background_fill_alpha = None, 0
        return f

    def show_scan(
        self,
        blocks: Sequence[Mapping[str, Any]],
        level: ArrayLike,
        time: Sequence[str],
        block: ArrayLike,
        used: ArrayLike,
    ) -> None:
        """Show a scan.

        Parameters
        ----------
        blocks : sequence of dict
            ``block``, ``first_frame``, ``last_frame``, ``status``, ``used_block``.
        level : array
            Of each frame, DN.
        time : sequence of str
            Of each frame, for the hover text.
        block, used : array
            Own block of each frame, and the one whose offset it received.
        """
        bad = [b["status"] != "accepted" for b in blocks]
        red, muted = self._colours.state("rejected"), self._colours.muted
        self._blocks.data = {
            "left": [b["first_frame"] - 0.5 for b in blocks],
            "right": [b["last_frame"] + 0.5 for b in blocks],
            "middle": [(b["first_frame"] + b["last_frame"]) / 2 for b in blocks],
            "fill": [red if r else muted for r in bad],
            "alpha": [0.08 if r else (0.12 if k % 2 else 0.0) for k, r in enumerate(bad)],
            "hatch": ["/" if r else " " for r in bad],
            "text": [_label(b) for b in blocks],
            "ink": [red if r else muted for r in bad],
        }
        values = np.asarray(level, float)
        self._lines.data = {
            "frame": np.arange(len(values)),
            "level": values,
            "time": list(time),
            "block": np.asarray(block),
            "used": np.asarray(used),
        }
        self._x.update(start=-0.5, end=max(len(values), 1) - 0.5, bounds=None)
        self._x.reset_start, self._x.reset_end = self._x.start, self._x.end

    def show_rms(self, frame: Sequence[int], before: ArrayLike, after: ArrayLike, noise: ArrayLike) -> None:
        """Show the rms over the cells of some frames, DN, before and after, and what noise alone would give."""
        self._rms.data = {
            "frame": np.asarray(frame),
            "before": np.asarray(before, float),
            "after": np.asarray(after, float),
            "noise": np.asarray(noise, float),
        }

    def mark(self, frame: int) -> None:
        """Mark the frame on screen."""
        for span in self._spans:
            span.location = frame


def _label(block: Mapping[str, Any]) -> str:
    if block["status"] == "accepted":
        return str(block["block"])
    swap = f" ← {block['used_block']}" if block["used_block"] != block["block"] else ""
    return f"✕ {block['block']}{swap}"
