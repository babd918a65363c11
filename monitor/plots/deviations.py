"""Small multiples of deviations: one band and product over the last weeks, with its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, Range1d, TapTool

from calib.profile import DriftLimits
from monitor.collect_series import Series
from monitor.palette import Theme
from monitor.plots.base import at_the_edge, dated_figure, limit_bands, night_time, period_shades, roomy, shades
from monitor.plots.trend import with_gaps

__all__ = ["DeviationPlot"]


# So far from its end, as a share of these low axes, a triangle is still whole.
_EDGE = 0.07


class DeviationPlot:
    """Deviation of one product over nights: accepted nights joined, rejected ones as crosses.

    What lies beyond the axis stands at its edge as a triangle; the hover text has its number.

    Attributes
    ----------
    figure : Figure
    accepted, rejected : ColumnDataSource
        One row a night; ``true`` is the value, ``value`` where it is drawn.
    """

    def __init__(
        self, colours: Theme, *, title: str, unit: str, limits: DriftLimits, x_range: Range1d, height: int
    ) -> None:
        empty: dict[str, Any] = {n: [] for n in ("time", "night", "value", "true", "low", "high", "region", "cause")}
        self.accepted = ColumnDataSource(empty)
        self.rejected = ColumnDataSource({**empty, "marker": [], "size": []})
        self.now = ColumnDataSource({"time": [], "value": []})
        self._limits, self._digits = limits, "0.0" if unit == "DN" else "0.00"
        f = dated_figure(
            colours, y_label=f"{title} / {unit}", x_range=x_range, height=height, tools="xpan,xwheel_zoom,reset,tap"
        )
        limit_bands(f, colours, limits.watch, limits.drift)
        f.toolbar_location = None
        f.min_border_right = 20  # half a date beyond the last night
        f.y_range = Range1d(-1.3 * limits.drift, 1.3 * limits.drift)
        good, bad = colours.state("good"), colours.state("rejected")
        self.periods = period_shades(f, colours)
        self.line = ColumnDataSource({"time": [], "value": []})
        f.segment("time", "low", "time", "high", source=self.accepted, color=good, alpha=0.45)
        f.line("time", "value", source=self.line, color=good, alpha=0.7)
        dots = f.scatter("time", "value", source=self.accepted, size=5, color=good, nonselection_alpha=1)
        crosses = f.scatter(
            "time",
            "value",
            source=self.rejected,
            size="size",
            marker="marker",
            fill_color=colours.panel,
            line_color=bad,
            line_width=2,
            nonselection_alpha=1,
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

    def update(
        self, series: Series, verdicts: Mapping[str, tuple[str, str]], night: str, periods: Sequence[str] = ()
    ) -> None:
        """Show a series.

        Parameters
        ----------
        series : Series
        verdicts : mapping
            Night → (verdict, cause).
        night : str
            The night to be ringed.
        periods : sequence of str
            First nights of hardware periods; nothing is joined across them.
        """
        series = series.finite()
        known = [verdicts.get(n, ("", "")) for n in series.night.tolist()]
        bad = np.array([status == "rejected" for status, _ in known], dtype=bool)
        cause = np.array([c[:90] for _, c in known], dtype=object)
        reach = max(1.3 * self._limits.drift, 1.1 * float(np.max(np.abs(series.value[~bad]), initial=0.0)))
        # About zero: the axis is as long below as above.
        reach = roomy(np.abs(series.value), (-reach, reach), _EDGE)[1]
        self.figure.y_range.update(start=-reach, end=reach)
        shown, beyond = at_the_edge(series.value, (-reach, reach), _EDGE)
        marks = [b for b, rejected in zip(beyond, bad, strict=True) if rejected]
        signs = {"marker": [b or "x" for b in marks], "size": [7 if b else 9 for b in marks]}
        # No accepted night lies beyond the axis: it reaches as far as they do.
        for source, chosen, more in ((self.accepted, ~bad, {}), (self.rejected, bad, signs)):
            part = series.take(chosen)
            error = np.nan_to_num(part.error)
            source.data = more | {
                "time": night_time(part.night),
                "night": part.night.tolist(),
                "value": shown[chosen],
                "true": part.value,
                "low": np.clip(part.value - error, -reach, reach),
                "high": np.clip(part.value + error, -reach, reach),
                "region": part.region.tolist(),
                "cause": cause[chosen].tolist(),
            }
        joined = with_gaps(night_time(series.night[~bad]), shown[~bad], periods)
        self.line.data = dict(zip(("time", "value"), joined, strict=True))
        self.periods.data = shades(periods)
        here = series.night == night
        self.now.data = {"time": night_time(series.night[here]), "value": shown[here]}
