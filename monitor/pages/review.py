"""Review: is every band healthy, what was rejected and why, what is open, where is it going."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import panel as pn
from bokeh.events import Tap
from bokeh.models import Range1d

from calib.regions import quadrant_names
from monitor.address import View
from monitor.collect import Snapshot
from monitor.collect_series import worst
from monitor.components.html import Html
from monitor.compute import band_health
from monitor.pages.review_alerts import ALERTS_CSS, alert_of, alerts_html
from monitor.pages.review_markup import cards_html, legend_html, maps_html, strips_html
from monitor.pages.review_style import (
    CARDS_CSS,
    FOOT_CSS,
    LEGEND_CSS,
    MAPS_CSS,
    MIDDLE_CSS,
    PAIR_CSS,
    STRIPS_CSS,
)
from monitor.plots.base import night_time
from monitor.plots.deviations import DeviationPlot
from monitor.session import Session

__all__ = ["build"]

SPAN_NIGHTS, FEWEST_NIGHTS = 60, 10


def build(session: Session) -> Review:
    """Return the page for a session."""
    return Review(session)


class Review:
    """The home page: one night, all bands."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.keys: dict[str, Callable[[], None]] = {}
        go = {"go": session._follow}
        self._cards = Html(on=go, css=CARDS_CSS)
        acts = {n: self._decider(n) for n in ("acknowledge", "resolve", "period", "dismiss")}
        self._alerts = Html(on={**go, **acts}, css=ALERTS_CSS)
        self._maps = Html(on=go, css=MAPS_CSS, css_classes=["ratio"])
        self._strips = Html(on=go, css=STRIPS_CSS, css_classes=["sky"])
        profile = session.snapshot.profile
        self._range = Range1d(0, 1)
        self._plots: dict[tuple[str, str], DeviationPlot] = {}
        rows = []
        read = profile.responsivity.read
        for band in profile.bands:
            dark = DeviationPlot(
                session.theme,
                title=f"{band} dark",
                unit="DN",
                limits=profile.drift.dark_dn[read],
                x_range=self._range,
                height=94,
            )
            flat = DeviationPlot(
                session.theme,
                title=f"{band} flat",
                unit="%",
                limits=profile.drift.responsivity_percent,
                x_range=self._range,
                height=94,
            )
            self._plots[band, "dark"], self._plots[band, "flat"] = dark, flat
            for plot, shown_read in ((dark, read), (flat, None)):
                plot.figure.xaxis.visible = band == profile.bands[-1]
                if band == profile.bands[-1]:
                    plot.figure.height = 114
                plot.figure.on_event(Tap, self._tapper(plot, band, shown_read))
            panes = [pn.pane.Bokeh(p.figure, sizing_mode="stretch_width") for p in (dark, flat)]
            rows.append(pn.Row(*panes, sizing_mode="stretch_width", stylesheets=[PAIR_CSS]))
        self._legend = Html(css=LEGEND_CSS)
        trends = pn.Column(self._legend, *rows, sizing_mode="stretch_width", css_classes=["trends"])
        middle = pn.Row(
            pn.Column(self._alerts, sizing_mode="stretch_width", css_classes=["third"]),
            trends,
            sizing_mode="stretch_width",
            stylesheets=[MIDDLE_CSS],
        )
        foot = pn.Row(self._maps, self._strips, sizing_mode="stretch_width", stylesheets=[FOOT_CSS])
        self.panel = pn.Column(self._cards, middle, foot, sizing_mode="stretch_width")

    def _decider(self, act: str) -> Callable[[str], None]:
        def decide(value: str) -> None:
            alert, desk = alert_of(self._session.snapshot, value), self._session.desk
            if alert is None:
                self._session.poll()
            elif act == "period":
                desk.period(alert["proposal"], alert["band"])
            elif act == "dismiss":
                desk.dismiss(alert["proposal"], alert["band"])
            else:
                desk.alert(act, alert)

        return decide

    def _tapper(self, plot: DeviationPlot, band: str, read: str | None) -> Callable[[Any], None]:
        def tapped(event: Any) -> None:
            nights = [n for s in (plot.accepted, plot.rejected) for n in s.data["night"]]
            if not nights:
                return
            times = night_time(nights).astype("datetime64[ms]").astype(float)
            night = nights[int(abs(times - event.x).argmin())]
            self._session.go(page="night", night=night, band=band, read=read or self._session.view.read)

        return tapped

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the page to a night."""
        night = self._session.night
        if not night:
            self._cards.html = '<div class="card empty">No night in the archive yet.</div>'
            return
        health = [band_health(snapshot, night, band) for band in snapshot.bands]
        self._cards.html = str(cards_html(health, night))
        self._alerts.html = str(alerts_html(snapshot, night, self._session.person.may_decide))
        self._show_trends(snapshot, night)
        self._maps.html = str(maps_html(self._session.collector, snapshot, night))
        self._strips.html = str(strips_html(self._session.collector, snapshot, night))

    def _show_trends(self, snapshot: Snapshot, night: str) -> None:
        end = pd.Timestamp(night)
        first = max(end - pd.Timedelta(days=SPAN_NIGHTS), pd.Timestamp(snapshot.nights[0]))
        # On an axis of a few nights every tick would be the same date.
        first = min(first, end - pd.Timedelta(days=FEWEST_NIGHTS))
        self._range.update(
            start=(first - pd.Timedelta(hours=18)).timestamp() * 1000,
            end=(end + pd.Timedelta(hours=18)).timestamp() * 1000,
        )
        since = first.date().isoformat()
        read = snapshot.profile.responsivity.read
        quadrants = quadrant_names(snapshot.profile.detector.quadrants)
        metrics = snapshot.metrics
        for band in snapshot.bands:
            dark = metrics.series(band, f"dark {read}").between(since, night)
            periods = sorted(n for n, b in snapshot.periods if b in ("", band))
            self._plots[band, "dark"].update(dark, snapshot.verdicts(band, read), night, periods)
            # The whole array has median 1 by definition: the quadrant that deviates most speaks for it.
            flat = worst(metrics.series(band, "responsivity", region=q).between(since, night) for q in quadrants)
            self._plots[band, "flat"].update(flat, snapshot.verdicts(band), night, periods)
        self._legend.html = legend_html()
