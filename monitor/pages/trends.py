"""Trends: any metric, band and region over the whole survey, and the metrics against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import panel as pn
from bokeh.events import ButtonClick, Tap
from bokeh.models import Button, ColumnDataSource, CustomJS, Range1d

from monitor.address import View
from monitor.collect import Snapshot
from monitor.components.html import Html
from monitor.compute_trends import (
    Choice,
    catalogue,
    default_region,
    find_choice,
    limit_zones,
    marks,
    regions,
    series_table,
)
from monitor.pages.trends_explore import Explore
from monitor.pages.trends_markup import (
    CARD_CSS,
    CONTROLS_CSS,
    CSV_CODE,
    CSV_CSS,
    WRAP_CSS,
    controls_html,
    legend_html,
    night_html,
)
from monitor.plots.overview import Overview
from monitor.plots.trend import TrendPlot
from monitor.session import Session

__all__ = ["build"]

_DAY_MS = 86_400_000.0
_MARGIN_MS = 0.75 * _DAY_MS
_SHORTEST_MS = 8 * _DAY_MS


def build(session: Session) -> Trends:
    """Return the page for a session."""
    return Trends(session)


class Trends:
    """One series of every band on a common time axis."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.keys: dict[str, Callable[[], None]] = {}
        self._window: tuple[Any, ...] = ()
        self._key: tuple[Any, ...] = ()
        self._parts: dict[str, pd.DataFrame] = {}
        act = {
            "go": session._follow,
            "series": self._choose_series,
            "region": lambda v: session.go(region=v),
            "band": lambda v: session.go(band=v),
            "fit": lambda v: session.go(stretch=v),
            "days": lambda v: session.go(days=int(v) if v.isdigit() and int(v) else None),
        }
        self._controls = Html(on=act, css=CONTROLS_CSS)
        self._night = Html(on=act, css=CONTROLS_CSS)
        self._legend = Html(css=CONTROLS_CSS)
        self._range = Range1d(0, 1)
        self._plots: dict[str, TrendPlot] = {}
        self._panes: dict[str, Any] = {}
        for band in session.snapshot.bands:
            plot = TrendPlot(session.theme, band=band, x_range=self._range, height=196)
            plot.figure.on_event(Tap, self._tapper(band, plot))
            self._plots[band] = plot
            self._panes[band] = pn.pane.Bokeh(plot.figure, sizing_mode="stretch_width")
        self._overview = Overview(session.theme, x_range=self._range)
        self._csv = self._csv_button()
        figures = pn.Column(
            pn.Row(self._legend, self._csv, sizing_mode="stretch_width", stylesheets=[WRAP_CSS]),
            *self._panes.values(),
            pn.pane.Bokeh(self._overview.figure, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
            stylesheets=[CARD_CSS],
        )
        self._explore = Explore(session)
        self.panel = pn.Column(self._controls, figures, self._night, self._explore.panel, sizing_mode="stretch_width")

    # What the user does ----------------------------------------------------------------------------------------

    def _choose_series(self, value: str) -> None:
        product, _, metric = value.partition("|")
        self._session.go(product=product, metric=metric)

    def _tapper(self, band: str, plot: TrendPlot) -> Callable[[Any], None]:
        def tapped(event: Any) -> None:
            night = plot.night_at(event.x, event.y)
            if night:
                self._session.go(page="night", night=night, band=band)

        return tapped

    def _csv_button(self) -> Any:
        button = Button(label="CSV of what is shown", stylesheets=[CSV_CSS], width=170, height=32)
        # The text is put together in the browser: it knows the window, and no file is needed.
        self._said = ColumnDataSource({n: [""] for n in ("product", "metric", "unit", "bands")})
        args: dict[str, Any] = {f"s{k}": p.points for k, p in enumerate(self._plots.values())}
        code = CSV_CODE.replace("SOURCES", ", ".join(args))
        button.js_on_event(ButtonClick, CustomJS(args={**args, "x_range": self._range, "said": self._said}, code=code))
        return pn.pane.Bokeh(button)

    # What is shown ---------------------------------------------------------------------------------------------

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the page to a series, a window and a night."""
        profile = snapshot.profile
        choices = catalogue(profile)
        choice = find_choice(choices, view.product, view.metric)
        offered = regions(choice, profile)
        region = view.region if view.region in offered else default_region(choice)
        fit = view.stretch if view.stretch in ("data", "all") else "limits"
        if choice.metric == "rejected":
            # What is counted here is what was rejected.
            fit = "all"
        band = view.band if view.band in snapshot.bands else ""
        shown = tuple(b for b in snapshot.bands if b in self._plots and band in ("", b))
        night = self._session.night
        self._controls.html = str(controls_html(choices, choice, offered, region, snapshot.bands, band, fit, view.days))
        key = (snapshot.revision, choice.key, region, fit, shown)
        if key != self._key:
            self._parts = self._draw(snapshot, choice, region, fit, shown, night)
            self._key = key
        first, last = self._show_window(snapshot, view.days, night)
        inside = {b: p[(p["night"] >= first) & (p["night"] <= last)] for b, p in self._parts.items()}
        for b in shown:
            self._plots[b].figure.title.text = _title(b, inside[b])
            self._plots[b].ring(night)
        judged = bool(choice.subject)
        zones = limit_zones(choice, profile, shown[0])
        self._legend.html = str(legend_html(judged, choice.subject == "sky_offset", zones, choice.unit))
        self._night.html = str(night_html(night, inside, choice, self._session.href))
        self._explore.show(view, snapshot)

    def _draw(
        self, snapshot: Snapshot, choice: Choice, region: str, fit: str, shown: Sequence[str], night: str
    ) -> dict[str, pd.DataFrame]:
        """Fill the figures with a series; return each band's part of it."""
        table = series_table(snapshot, choice, region)
        parts = {b: table[table["band"] == b] for b in shown}
        for b, plot in self._plots.items():
            self._panes[b].visible = b in shown
            if b not in shown:
                continue
            # Only the last of several carries the dates.
            last_one = b == shown[-1]
            plot.figure.xaxis.visible = last_one
            plot.figure.height = 420 if len(shown) == 1 else 158 + (24 if last_one else 0)
            plot.update(
                parts[b],
                label=_axis_label(choice),
                unit=choice.unit,
                title=b,
                zones=limit_zones(choice, snapshot.profile, b),
                marks=marks(snapshot, choice, b),
                night=night,
                fit=fit,
            )
        self._overview.update(parts, self._extent(snapshot))
        bands = ",".join(str(k) for k, b in enumerate(self._plots) if b in shown)
        said = {"product": choice.product, "metric": choice.metric, "unit": choice.unit, "bands": bands}
        self._said.data = {k: [v] for k, v in said.items()}
        return parts

    def _extent(self, snapshot: Snapshot) -> tuple[float, float]:
        if not snapshot.nights:
            return 0.0, _DAY_MS
        start, end = _ms(snapshot.nights[0]) - _MARGIN_MS, _ms(snapshot.nights[-1]) + _MARGIN_MS
        # An axis shorter than this would have its dates several times.
        spare = max(0.0, _SHORTEST_MS - (end - start)) / 2
        return start - spare, end + spare

    def _show_window(self, snapshot: Snapshot, days: int | None, night: str) -> tuple[str, str]:
        """Set the window where a preset was chosen or the night left it; return its first and last night."""
        start, end = self._extent(snapshot)
        wanted = (days, start, end)
        at = _ms(night) if night else end
        inside = self._range.start <= at <= self._range.end
        if wanted != self._window or not inside:
            stop = end if days is None else at + _MARGIN_MS
            begin = start if days is None else max(start, stop - days * _DAY_MS)
            # A short survey keeps its window full instead of showing empty nights before its first.
            if days is not None:
                stop = min(end, max(stop, begin + days * _DAY_MS))
            self._range.update(
                start=begin, end=stop, bounds=(start, end), reset_start=begin, reset_end=stop, min_interval=5 * _DAY_MS
            )
            self._window = wanted
        span = (pd.Timestamp(v, unit="ms").date().isoformat() for v in (self._range.start, self._range.end))
        first, last = span
        return first, last


def _ms(night: str) -> float:
    return float(pd.Timestamp(night).timestamp() * 1000)


def _axis_label(choice: Choice) -> str:
    if choice.metric == "deviation":
        return f"Δ {choice.product.split()[0]}"
    return choice.metric.replace("_", " ").removesuffix(" dn")


def _title(band: str, rows: pd.DataFrame) -> str:
    seen = np.isfinite(rows["value"].to_numpy(dtype=float))
    if not seen.any():
        return f"{band} · no data"
    bad = int((seen & (rows["status"].to_numpy(dtype=object) == "rejected")).sum())
    n = int(seen.sum())
    return f"{band} · {n} {'night' if n == 1 else 'nights'}" + (f", {bad} rejected" if bad else "")
