"""Small multiples of deviations: one band and product over the last weeks, with its limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from bokeh.models import ColumnDataSource, HoverTool, Range1d, TapTool

from calib.profile import DriftLimits
from monitor.palette import Theme
from monitor.plots.base import dated_figure, limit_bands, night_time

__all__ = ["DeviationPlot"]


class DeviationPlot:
    """Deviation of one product over nights: accepted nights joined, rejected ones as open crosses.

    Attributes
    ----------
    figure : Figure
    source : ColumnDataSource
        Columns ``time``, ``night``, ``value``, ``error``, ``low``, ``high``, ``status``, ``cause``.
    """

    def __init__(
        self, colours: Theme, *, title: str, unit: str, limits: DriftLimits, x_range: Range1d, height: int
    ) -> None:
        empty: dict[str, Any] = {n: [] for n in ("time", "night", "value", "true", "low", "high", "region", "cause")}
        self.accepted, self.rejected = ColumnDataSource(empty), ColumnDataSource(empty)
        self.now = ColumnDataSource({"time": [], "value": []})
        self._limits, self._digits = limits, "0.0" if unit == "DN" else "0.00"
        f = dated_figure(
            colours, y_label=f"{title} / {unit}", x_range=x_range, height=height, tools="xpan,xwheel_zoom,reset,tap"
        )
        limit_bands(f, colours, limits.watch, limits.drift)
        f.toolbar_location = None
        f.y_range = Range1d(-1.3 * limits.drift, 1.3 * limits.drift)
        good, bad = colours.state("good"), colours.state("rejected")
        f.segment("time", "low", "time", "high", source=self.accepted, color=good, alpha=0.45)
        f.line("time", "value", source=self.accepted, color=good, alpha=0.7)
        dots = f.scatter("time", "value", source=self.accepted, size=5, color=good, nonselection_alpha=1)
        crosses = f.scatter(
            "time", "value", source=self.rejected, size=9, marker="x", color=bad, line_width=2, nonselection_alpha=1
        )
        f.scatter("time", "value", source=self.now, size=13, fill_color=None, line_color=colours.ink, line_width=1.5)
        f.add_tools(
            HoverTool(
                renderers=[dots, crosses],
                tooltips=[("night", "@night"), (title, f"@true{{{self._digits}}} {unit} (@region)"), ("", "@cause")],
            )
        )
        f.select_one(TapTool).renderers = [dots, crosses]
        f.yaxis.ticker.desired_num_ticks = 4
        f.xaxis.ticker.desired_num_ticks = 4
        self.figure = f

    def update(self, series: pd.DataFrame, status: dict[str, tuple[str, str]], night: str) -> None:
        """Show a series.

        Parameters
        ----------
        series : DataFrame
            Columns night, value, error, region.
        status : dict
            Night → (verdict, cause).
        night : str
            The night to be ringed.
        """
        series = series[np.isfinite(series["value"].to_numpy(dtype=float))]
        verdict = np.array([status.get(n, ("", ""))[0] for n in series["night"]], dtype=object)
        everything = series["value"].to_numpy(dtype=float)
        calm = everything[verdict != "rejected"]
        reach = max(1.3 * self._limits.drift, 1.1 * float(np.max(np.abs(calm), initial=0.0)))
        self.figure.y_range.update(start=-reach, end=reach)
        for source, chosen in ((self.accepted, verdict != "rejected"), (self.rejected, verdict == "rejected")):
            part = series[chosen] if len(series) else series
            value, error = part["value"].to_numpy(dtype=float), part["error"].fillna(0).to_numpy(dtype=float)
            source.data = {
                "time": night_time(part["night"]),
                "night": list(part["night"]),
                # What lies far outside stands at the edge, where it is seen; the hover text has its number.
                "value": np.clip(value, -0.94 * reach, 0.94 * reach),
                "true": value,
                "low": np.clip(value - error, -reach, reach),
                "high": np.clip(value + error, -reach, reach),
                "region": list(part["region"]),
                "cause": [status.get(n, ("", ""))[1][:90] for n in part["night"]],
            }
        here = series[series["night"] == night]
        shown = np.clip(here["value"].to_numpy(dtype=float), -0.94 * reach, 0.94 * reach)
        self.now.data = {"time": night_time(here["night"]), "value": shown}
