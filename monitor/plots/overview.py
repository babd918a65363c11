"""The whole survey in a strip below the series, with the window that is shown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from bokeh.models import ColumnDataSource, Range1d, RangeTool
from bokeh.plotting import figure

from monitor.palette import STATES, Theme
from monitor.plots.base import narrow_dates, night_time, style
from monitor.plots.trend import reach

__all__ = ["Overview"]

_LANE_PX, _AXIS_PX = 22, 30


class Overview:
    """The whole survey in a strip, a lane a band; the window in it is what the figures above show."""

    def __init__(self, colours: Theme, *, x_range: Range1d) -> None:
        self.source = ColumnDataSource({"time": [], "value": [], "colour": []})
        f = figure(
            x_axis_type="datetime",
            height=3 * _LANE_PX + _AXIS_PX,
            tools="",
            toolbar_location=None,
            x_range=Range1d(0, 1),
            y_range=Range1d(0, 1),
            sizing_mode="stretch_width",
        )
        f.scatter("time", "value", source=self.source, size=3, color="colour", alpha=0.8)
        tool = RangeTool(x_range=x_range)
        tool.overlay.update(
            fill_color=colours.accent, fill_alpha=0.16, line_color=colours.accent, line_alpha=0.9, line_dash="solid"
        )
        f.add_tools(tool)
        f.xaxis.formatter = narrow_dates()
        f.xgrid.visible = False
        self.figure = style(f, colours)
        f.yaxis.axis_label = " "
        f.yaxis.major_tick_line_color = None
        self._colours = colours

    def update(self, tables: Mapping[str, pd.DataFrame], ends: tuple[float, float]) -> None:
        """Show the series of some bands, all on one scale, from the first to the last night (times in ms)."""
        f, c, n = self.figure, self._colours, len(tables)
        f.x_range.update(start=ends[0], end=ends[1])
        f.y_range.update(start=0, end=max(n, 1))
        f.height = max(n, 2) * _LANE_PX + _AXIS_PX
        middles = [n - k - 0.5 for k in range(n)]
        f.yaxis.ticker = middles
        f.yaxis.major_label_overrides = dict(zip(middles, tables, strict=True))
        f.ygrid.ticker = list(range(1, n))
        low, high = reach(pd.concat(tables.values()), (), "data") if tables else (0.0, 1.0)
        time, value, colour = [], [], []
        for middle, table in zip(middles, tables.values(), strict=True):
            seen = table[np.isfinite(table["value"].to_numpy(dtype=float))]
            share = np.clip((seen["value"].to_numpy(dtype=float) - low) / (high - low), 0.0, 1.0)
            time.append(night_time(seen["night"]))
            value.append(middle + 0.74 * (share - 0.5))
            colour += [c.state(s) if s in STATES else c.ink for s in seen["status"]]
        self.source.data = {
            "time": np.concatenate([night_time([]), *time]),
            "value": np.concatenate([np.empty(0), *value]),
            "colour": colour,
        }
