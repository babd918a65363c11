"""Metrics against each other: linked scatter plots and histograms, in which a selection in one shows in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import holoviews.plotting.bokeh
import numpy as np
import pandas as pd
from holoviews.operation import histogram
from numpy.typing import NDArray

from monitor.compute_explore import Explored
from monitor.palette import Theme
from monitor.plots.base import narrow_dates, style

__all__ = ["Explorer", "axis_ends"]

BINS = 24


def axis_ends(value: NDArray[np.floating], calm: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Return the ends of an axis over what was not rejected, or over all if that says nothing; None if one value."""
    for chosen in (value[calm & np.isfinite(value)], value[np.isfinite(value)]):
        if len(chosen) > 1 and np.ptp(chosen) > 0:
            pad = 0.08 * float(np.ptp(chosen))
            return float(chosen.min()) - pad, float(chosen.max()) + pad
    return None


class Explorer:
    """Linked views of one band's nights.

    Parameters
    ----------
    colours : Theme
    table : DataFrame
        As of `monitor.compute_trends.explorer_table`.
    numbers : sequence of Explored
        Its columns.
    x, y : int
        Which numbers the scatter plot shows.

    Attributes
    ----------
    scatter, course : DynamicMap
        One number against another, and the second over the nights.
    histograms : list of DynamicMap
        One a number that varies.
    beyond : int
        Nights outside the axes of the scatter plot at first.
    """

    def __init__(self, colours: Theme, table: pd.DataFrame, numbers: Sequence[Explored], x: int, y: int) -> None:
        hv.Store.set_current_backend("bokeh")
        # A few hundred points need no graphics card, and control rooms often have none.
        hv.renderer("bokeh").webgl = False
        table = table.assign(time=pd.to_datetime(table["night"]))
        calm = (table["verdict"] != "rejected").to_numpy(dtype=bool)
        self._dimensions = {n.name: hv.Dimension(n.name, label=n.label, unit=n.unit or None) for n in numbers}
        time = hv.Dimension("time", label="night")
        self._data = hv.Dataset(table, kdims=["night"], vdims=[time, "verdict", *self._dimensions.values()])
        self.links = hv.link_selections.instance(
            selected_color=colours.accent, unselected_color=colours.muted, unselected_alpha=0.35
        )
        ends = {n.name: axis_ends(table[n.name].to_numpy(dtype=float), calm) for n in numbers}
        a, b = numbers[x].name, numbers[y].name
        self.beyond = int(sum(_outside(table[a], ends[a]) | _outside(table[b], ends[b])))
        self.scatter = self.links(self._points(colours, self._dimensions[a], self._dimensions[b], ends[a], ends[b]))
        self.course = self.links(self._points(colours, time, self._dimensions[b], None, ends[b], dates=True))
        self.histograms = [
            self.links(self._histogram(colours, n.name, extent)) for n in numbers if (extent := ends[n.name])
        ]

    def _points(self, colours: Theme, x: Any, y: Any, x_ends: Any, y_ends: Any, *, dates: bool = False) -> Any:
        def dress(plot: Any, _: Any) -> None:
            style(plot.state, colours)
            if dates:
                plot.state.xaxis.formatter = narrow_dates()

        marker = hv.dim("verdict").categorize({"rejected": "x"}, default="circle")
        limits = {k: v for k, v in (("xlim", x_ends), ("ylim", y_ends)) if v}
        return hv.Points(self._data, kdims=[x, y], vdims=["night", "verdict"]).opts(
            marker=marker,
            size=7,
            color=colours.accent,
            line_width=1.5,
            height=280,
            responsive=True,
            tools=["box_select", "lasso_select", "hover"],
            active_tools=["box_select"],
            hooks=[dress],
            **limits,
        )

    def _histogram(self, colours: Theme, name: str, extent: tuple[float, float]) -> Any:
        def dress(plot: Any, _: Any) -> None:
            style(plot.state, colours)
            plot.state.xaxis.ticker.desired_num_ticks = 4

        bars = histogram(self._data, dimension=name, normed=False, num_bins=BINS, bin_range=extent)
        return bars.opts(
            height=190,
            responsive=True,
            ylabel="nights",
            line_color=colours.panel,
            fill_color=colours.accent,
            tools=["xbox_select"],
            active_tools=["xbox_select"],
            hooks=[dress],
        )

    def selected(self) -> tuple[str, ...] | None:
        """Return the nights selected, in order; None where nothing is."""
        chosen = self.links.selection_expr
        if chosen is None:
            return None
        return tuple(str(n) for n in self._data.select(chosen).dimension_values("night"))


def _outside(value: pd.Series[float], ends: tuple[float, float] | None) -> NDArray[np.bool_]:
    v = value.to_numpy(dtype=float)
    return np.isfinite(v) & ((v < ends[0]) | (v > ends[1])) if ends else np.zeros(len(v), bool)
