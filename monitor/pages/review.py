"""Review: is every band healthy, what was rejected and why, what is open, where is it going."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import panel as pn
from bokeh.events import Tap
from bokeh.models import Range1d

from calib.regions import quadrant_names
from monitor.address import View, search
from monitor.collect import Snapshot
from monitor.collect_series import worst
from monitor.components.html import Html, Safe, join
from monitor.compute import BandHealth, absent, band_health, cause_words, ratio_percent, standing, telling
from monitor.palette import STATES
from monitor.plots.base import night_time
from monitor.plots.deviations import DeviationPlot
from monitor.plots.thumbnail import data_uri, png
from monitor.session import Session

__all__ = ["build"]

SPAN_NIGHTS = 60
STRETCH_PERCENT = 2.0


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
        self._alerts = Html(on=go, css=ALERTS_CSS)
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
                height=104,
            )
            flat = DeviationPlot(
                session.theme,
                title=f"{band} flat",
                unit="%",
                limits=profile.drift.responsivity_percent,
                x_range=self._range,
                height=104,
            )
            self._plots[band, "dark"], self._plots[band, "flat"] = dark, flat
            for plot in (dark, flat):
                plot.figure.xaxis.visible = band == profile.bands[-1]
                if band == profile.bands[-1]:
                    plot.figure.height = 124
                plot.figure.on_event(Tap, self._tapper(plot))
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

    def _tapper(self, plot: DeviationPlot) -> Callable[[Any], None]:
        def tapped(event: Any) -> None:
            nights = [n for s in (plot.accepted, plot.rejected) for n in s.data["night"]]
            if not nights:
                return
            times = night_time(nights).astype("datetime64[ms]").astype(float)
            self._session.go(page="night", night=nights[int(abs(times - event.x).argmin())])

        return tapped

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the page to a night."""
        night = self._session.night
        if not night:
            self._cards.html = '<div class="card empty">No night in the archive yet.</div>'
            return
        health = [band_health(snapshot, night, band) for band in snapshot.bands]
        self._cards.html = str(_cards_html(health, night))
        self._alerts.html = str(_alerts_html(snapshot, night))
        self._show_trends(snapshot, night)
        self._maps.html = str(self._maps_html(snapshot, night))
        self._strips.html = str(self._strips_html(snapshot, night))

    def _show_trends(self, snapshot: Snapshot, night: str) -> None:
        end = pd.Timestamp(night)
        first = max(end - pd.Timedelta(days=SPAN_NIGHTS), pd.Timestamp(snapshot.nights[0]))
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
            self._plots[band, "dark"].update(dark, snapshot.verdicts(band, read), night)
            # The whole array has median 1 by definition: the quadrant that deviates most speaks for it.
            flat = worst(metrics.series(band, "responsivity", region=q).between(since, night) for q in quadrants)
            self._plots[band, "flat"].update(flat, snapshot.verdicts(band), night)
        self._legend.html = _legend_html()

    def _maps_html(self, snapshot: Snapshot, night: str) -> Safe:
        cells = []
        for band in snapshot.bands:
            row = snapshot.flat(night, band)
            target = search(View(page="night", night=night, band=band))
            if row is None:
                state = STATES[absent(snapshot, night, band, "twilight")[0]]
                words = "no flat" if state.name == "unknown" else f"flat {state.word}"
                hole = Safe('<div class="map none"><div class="hole">{}</div><b>{}</b></div>')
                cells.append(hole.format(words, band))
                continue
            found = ratio_percent(self._session.collector, row)
            state = STATES[standing(snapshot, row["status"])[0]]
            picture: Safe | str
            if found is None:
                picture = Safe('<div class="hole">nothing to compare with yet</div>')
            else:
                factor = max(1, found[0].shape[0] // 128)
                uri = data_uri(png(found[0], -STRETCH_PERCENT, STRETCH_PERCENT, factor=factor))
                picture = Safe('<img src="{}" alt="ratio map of {}">').format(uri, band)
            number, unit = telling("flat", row["cause"])
            words = f"{cause_words(row['cause'])[0] or state.word} {number} {unit}".rstrip()
            cells.append(
                Safe(
                    '<a class="map" data-nav href="{}" title="{}">{}<b>{}</b> <span class="{}">{} {}</span></a>'
                ).format(target, row["cause"] or "accepted", picture, band, row["status"], state.sign, words)
            )
        return Safe(
            '<section class="card"><h2>Ratio maps <span class="muted">flat / canonical before it, ±{:g} %</span></h2>'
            '<div class="maps" style="--n: {}">{}</div>'
            '<div class="scale"><span>−{:g} %</span><i></i><span>+{:g} %</span></div></section>'
        ).format(STRETCH_PERCENT, len(cells), join(cells), STRETCH_PERCENT, STRETCH_PERCENT)

    def _strips_html(self, snapshot: Snapshot, night: str) -> Safe:
        blocks = self._session.collector.sky_offsets(night)
        read = snapshot.profile.responsivity.read
        blocks = blocks[blocks["read"] == read]
        head = Safe('<h2>Sky offsets <span class="muted">{} of every scan, block by block</span></h2>').format(read)
        if blocks.empty:
            states = [absent(snapshot, night, b, "scan") for b in snapshot.bands]
            state, words = next((s for s in states if s[0] != "unknown"), ("", "No scan in this night."))
            sign = f"{STATES[state].sign} {STATES[state].word}: " if state else ""
            return Safe('<section class="card">{}<div class="empty">{}{}</div></section>').format(head, sign, words)
        rows = []
        order = {b: k for k, b in enumerate(snapshot.bands)}
        groups = sorted(
            {(int(n), str(b)) for n, b in zip(blocks["scan"], blocks["band"], strict=True)},
            key=lambda g: (g[0], order.get(g[1], 99)),
        )
        for scan, band in groups:
            part = blocks[(blocks["scan"] == scan) & (blocks["band"] == band)]
            marks = []
            for _, b in part.iterrows():
                kind = "accepted" if b["status"] == "accepted" else "rejected"
                swap = "" if b["used_block"] == b["block"] else f"; offset of block {b['used_block']} used"
                title = (
                    f"block {b['block']}, frames {b['first_frame']}–{b['last_frame']}: {b['cause'] or 'accepted'}{swap}"
                )
                marks.append(
                    Safe('<i class="{}{}" title="{}">{}</i>').format(
                        kind, " subst" if swap else "", title, "" if kind == "accepted" else "✕"
                    )
                )
            target = search(View(page="scan", night=night, band=band, scan=scan))
            good = int((part["status"] == "accepted").sum())
            rows.append(
                Safe(
                    '<a data-nav class="strip" href="{}"><span>scan {} {}</span><span class="blocks">{}</span>'
                    '<span class="num">{}/{}</span></a>'
                ).format(target, scan, band, join(marks), good, len(part))
            )
        legend = Safe(
            '<p class="muted key"><i class="accepted"></i> accepted <i class="rejected">✕</i> rejected '
            '<i class="rejected subst">✕</i> rejected, another block\'s offset used</p>'
        )
        return Safe(
            '<section class="card">{}<div class="strips" data-scroll="strips" data-more="more">{}</div>'
            '<p class="more muted" aria-hidden="true"></p>{}</section>'
        ).format(head, join(rows), legend)


def _cards_html(health: list[BandHealth], night: str) -> Safe:
    cards = []
    for h in health:
        badges = []
        for b in h.badges:
            state = STATES[b.state]
            target = search(View(page=b.page, night=night, band=h.band))
            badges.append(
                Safe(
                    '<a data-nav class="badge {}" href="{}" title="{}"><span class="what">{}</span>'
                    '<span class="value num"><span class="sign" aria-hidden="true">{}</span> {} '
                    "<small>{}</small></span>"
                    '<span class="word">{}</span></a>'
                ).format(b.state, target, b.words, b.subject, state.sign, b.number or "—", b.unit, state.word)
            )
        cards.append(
            Safe(
                '<section class="card band {}" aria-label="{}"><h2>{}</h2><div class="badges">{}</div></section>'
            ).format(h.worst, h.band, h.sentence, join(badges))
        )
    return Safe('<h1 class="sr">Review of {}</h1><div class="cards">{}</div>').format(night, join(cards))


def _alerts_html(snapshot: Snapshot, night: str) -> Safe:
    a = snapshot.alerts
    open_now = a[(a["night"] <= night) & (a["last_night"] >= _days_before(night, 3))]
    rank = {"DRIFT": 0, "WATCH": 1, "NOTICE": 2}
    ordered = sorted(
        _one_matter([{str(k): v for k, v in r.items()} for r in open_now.to_dict("records")]),
        key=lambda r: (rank.get(r["state"], 3), r["night"]),
    )
    rows = []
    for r in ordered:
        state = STATES["bad" if r["state"] == "DRIFT" else "watch"]
        page = "scans" if r["product"] == "scans" else "trends"
        target = search(
            View(
                page=page,
                night=r["night"] if page == "scans" else night,
                band=r["band"],
                product="" if page == "scans" else r["product"],
                region=r["region"],
            )
        )
        since = "since last night" if r["night"] == night else f"since {r['night']}"
        rows.append(
            Safe(
                '<li class="{}"><span class="sign" aria-hidden="true">{}</span><div><a data-nav href="{}">{}</a>'
                '<div class="muted">{} · {}</div></div></li>'
            ).format(
                "bad" if r["state"] == "DRIFT" else "watch",
                state.sign,
                target,
                r["text"],
                r["state"].capitalize(),
                since,
            )
        )
    body = (
        Safe('<ul data-scroll="alerts" data-more="more" tabindex="0" aria-label="open alerts">{}</ul>').format(
            join(rows)
        )
        if rows
        else Safe('<div class="empty">✓ No open alert.</div>')
    )
    more = Safe('<p class="more muted" aria-hidden="true"></p>') if len(rows) > 1 else ""
    return Safe('<section class="card alerts"><h2>Open alerts <span class="muted">{}</span></h2>{}{}</section>').format(
        len(rows) or "", body, more
    )


def _one_matter(alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the alerts, the proposals of one hardware period by several products of a band as one."""
    kept: list[dict[str, Any]] = []
    proposals: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for alert in alerts:
        if alert["metric"] == "hardware period":
            proposals.setdefault((alert["band"], alert["night"]), []).append(alert)
        else:
            kept.append(alert)
    for (band, night), group in proposals.items():
        products = [a["product"] for a in group]
        names = " and ".join([", ".join(products[:-1]), products[-1]] if len(products) > 1 else products)
        nights = int(max(a["value"] for a in group))
        text = (
            f"{band}: the instrument changed on {night}. "
            f"{names}: {nights} rejected nights in a row agree with each other. Start a hardware period on {night}"
        )
        kept.append({**group[-1], "text": text})
    return kept


def _days_before(night: str, days: int) -> str:
    return str((pd.Timestamp(night) - pd.Timedelta(days=days)).date().isoformat())


def _legend_html() -> str:
    return (
        '<div class="legend"><h2>Deviation from the reference</h2><span><b class="good">●</b> accepted</span>'
        '<span><b class="bad">✕</b> rejected</span>'
        '<span><i class="w"></i> watch</span><span><i class="d"></i> drift</span>'
        '<span class="muted">dark: level of the array; flat: quadrant that deviates most</span></div>'
    )


CARDS_CSS = """
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 12px; }
.band { border-left: 4px solid var(--muted); padding: 10px 12px; display: flex; flex-direction: column; }
.band.good { border-left-color: var(--good); } .band.watch, .band.notice { border-left-color: var(--watch); }
.band.bad, .band.rejected { border-left-color: var(--bad); }
.band h2 { color: var(--ink); min-height: 38px; }
.badges { display: grid; grid-template-columns: repeat(5, 1fr); gap: 6px; margin-top: auto; padding-top: 8px; }
.badge { display: flex; flex-direction: column; border: 1px solid var(--line); border-radius: 8px; padding: 5px;
  text-decoration: none; min-width: 0; }
.badge:hover { border-color: currentColor; text-decoration: none; }
.what { color: var(--muted); font-size: 11px; white-space: nowrap; }
.value { font-size: 14px; font-weight: 650; white-space: nowrap; } .value small { font-weight: 400; font-size: 10px; }
.word { font-size: 11px; white-space: nowrap; }
@media (max-width: 700px) { .cards { grid-template-columns: 1fr; } .badges { grid-template-columns: repeat(3, 1fr); }
  .band h2 { min-height: 0; } }
"""

ALERTS_CSS = """
.alerts { height: 372px; display: flex; flex-direction: column; }
ul { list-style: none; margin: 8px 0 0; padding: 0; overflow: auto; flex: 1; }
li { display: flex; gap: 8px; padding: 7px 0; border-bottom: 1px solid var(--line); font-size: 13px; }
li a { color: var(--ink); } li .muted { font-size: 12px; }
.sign { font-weight: 700; }
.more { margin: 6px 0 0; font-size: 12px; } .more:empty { display: none; }
@media (max-width: 700px) { .alerts { height: auto; max-height: 420px; } }
"""

MIDDLE_CSS = """
:host { gap: 12px; margin-top: 12px; }
:host > .third { flex: 1 1 0; min-width: 300px; }
:host > .trends { flex: 2 1 0; min-width: 320px; }
@media (max-width: 1000px) {
  :host { flex-direction: column !important; } :host > .third, :host > .trends { flex: none; } }
"""

PAIR_CSS = """
@media (max-width: 700px) { :host { flex-direction: column !important; height: auto !important; }
  :host > * { flex: none !important; width: 100% !important; } }
"""

LEGEND_CSS = """
.legend { display: flex; gap: 4px 16px; align-items: baseline; flex-wrap: wrap; padding: 2px 4px; font-size: 12px; }
.legend i { display: inline-block; width: 12px; height: 10px; border-radius: 2px; }
.w { background: color-mix(in srgb, var(--watch) 30%, transparent); }
.d { background: color-mix(in srgb, var(--bad) 35%, transparent); }
"""

# The maps are as wide as the height that is left for them; the strips take the rest.
FOOT_CSS = """
:host { gap: 12px; margin-top: 12px; }
:host > .ratio { flex: 0 1 562px; } :host > .sky { flex: 1 1 0; }
@media (max-width: 1000px) {
  :host { flex-direction: column !important; height: auto !important; }
  :host > * { flex: none !important; height: auto !important; width: 100% !important; }
}
"""

MAPS_CSS = """
.maps { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 1fr)); gap: 12px; margin-top: 8px; }
.map { color: var(--ink); font-size: 12px; text-decoration: none; min-width: 0; }
.map img, .hole { width: 100%; aspect-ratio: 1; border-radius: 6px; display: block; image-rendering: pixelated;
  object-fit: contain; }
.hole { background: repeating-linear-gradient(45deg, var(--ground) 0 6px, var(--line) 6px 7px);
  display: grid; place-items: center; color: var(--muted); text-align: center; padding: 8px; }
.scale { display: flex; gap: 8px; align-items: center; font-size: 11px; color: var(--muted); margin-top: 6px; }
.scale i { flex: 1; height: 8px; border-radius: 4px;
  background: linear-gradient(90deg, #08306b, #2171b5, #9ecae1, #f7f7f7, #fdae6b, #d94801, #5e1f00); }
"""

STRIPS_CSS = """
.strips { margin-top: 8px; max-height: 176px; overflow: auto; }
.strip { display: grid; grid-template-columns: 84px 1fr 48px; gap: 8px; align-items: center; color: var(--ink);
  padding: 3px 0; font-size: 12px; }
.blocks { display: flex; gap: 2px; }
i { display: inline-grid; place-items: center; font-style: normal; font-size: 11px; flex: 1; height: 20px;
  border-radius: 3px; border: 1px solid var(--good); min-width: 14px; }
i.accepted { background: var(--good); } i.rejected { border-color: var(--bad); color: var(--bad); }
i.subst { background: repeating-linear-gradient(45deg, transparent, transparent 3px,
  color-mix(in srgb, var(--bad) 35%, transparent) 3px, color-mix(in srgb, var(--bad) 35%, transparent) 5px); }
.more { margin: 4px 0 0; font-size: 12px; } .more:empty { display: none; }
.key { display: flex; gap: 6px; align-items: center; font-size: 12px; margin: 8px 0 0; flex-wrap: wrap; }
.key i { flex: none; width: 18px; height: 14px; }
"""
