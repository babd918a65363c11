"""The chosen pixel of the Night page: its values, its twilight fit, its history; read after the page has answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import panel as pn
from bokeh.events import Tap
from bokeh.models import Range1d

from calib.flags import decode
from monitor.address import View
from monitor.collect import Collector, Snapshot
from monitor.collect_pixel import HistoryPoint, PixelHistory, RawStore, twilight_pixel
from monitor.components.html import Html
from monitor.compute_layers import Layer
from monitor.compute_pixel import FATES, fit_pixel
from monitor.pages.night_controls import PIXEL_CSS, pixel_html, place_words
from monitor.pages.night_tables import number
from monitor.plots.base import night_time
from monitor.plots.pixel import FitPlot, HistoryPlot
from monitor.session import Session

__all__ = ["PixelPart"]

# So long the server reads on before it lets others in again.
SLICE_S = 0.08

Later = Callable[..., None]
_shared: WeakKeyDictionary[Collector, tuple[RawStore, PixelHistory]] = WeakKeyDictionary()


class _Figures:
    """The fit with its residuals, and the two histories."""

    def __init__(self, session: Session) -> None:
        theme = session.theme
        firsts = sorted({night for night, _ in session.snapshot.periods})
        self.fit = FitPlot(theme, session.snapshot.profile.responsivity.clip_sigma)
        self.range = Range1d(0, 1)
        self.response = HistoryPlot(
            theme, label="responsivity", title="Responsivity of this pixel over all nights", x_range=self.range,
            firsts=firsts, canonical=True, height=215,
        )  # fmt: skip
        self.dark = HistoryPlot(
            theme, label="dark / DN", title="Dark of this pixel over all nights", x_range=self.range, firsts=firsts,
            canonical=False, height=215,
        )  # fmt: skip
        panes = [
            pn.pane.Bokeh(f, sizing_mode="stretch_width")
            for f in (self.fit.figure, self.fit.residuals, self.response.figure, self.dark.figure)
        ]
        self.panel = pn.Row(
            pn.Column(*panes[:2], sizing_mode="stretch_width"),
            pn.Column(*panes[2:], sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
            stylesheets=[PLOTS_CSS],
        )


class PixelPart:
    """Everything about one pixel.

    Parameters
    ----------
    session : Session
    later : callable
        ``later(what, action, delay_ms)`` does something soon, unless it is asked for again before.
    """

    def __init__(self, session: Session, later: Later) -> None:
        self._session, self._later = session, later
        collector = session.collector
        self._raw, self._history = _shared.setdefault(collector, (RawStore(), PixelHistory(collector.root)))
        self._asked: tuple[Any, ...] = ()
        self._history_asked: tuple[Any, ...] = ()
        self._points: list[HistoryPoint] = []
        self._words, self._progress = "", ""
        self._draw_words: Callable[[], None] = lambda: None
        self._html = Html(on={"x": self._set("x"), "y": self._set("y"), "close": self._close}, css=PIXEL_CSS)
        self._figures: _Figures | None = None
        self.panel = pn.Column(self._html, sizing_mode="stretch_width")

    def _built(self) -> _Figures:
        """Return the figures; they are built with the first pixel that is chosen."""
        if self._figures is None:
            self._figures = _Figures(self._session)
            for plot in (self._figures.response, self._figures.dark):
                plot.figure.on_event(Tap, self._tapper(plot))
            self.panel.append(self._figures.panel)
        return self._figures

    def _set(self, name: str) -> Callable[[str], None]:
        def changed(text: str) -> None:
            view, shape = self._session.view, self._session.snapshot.profile.detector.shape
            if text.isdigit() and int(text) < shape[1 if name == "x" else 0]:
                other = "y" if name == "x" else "x"
                # One number alone is no pixel yet: the other begins at 0.
                changes: dict[str, Any] = {name: int(text), other: getattr(view, other) or 0}
                self._session.go(**changes)

        return changed

    def _close(self, _: str) -> None:
        self._session.go(x=None, y=None)

    def _tapper(self, plot: HistoryPlot) -> Callable[[Any], None]:
        def tapped(event: Any) -> None:
            nights = [n for s in plot.sources.values() for n in s.data["night"]]
            if nights:
                times = night_time(nights).astype("datetime64[ms]").astype(float)
                self._session.go(night=nights[int(abs(times - event.x).argmin())])

        return tapped

    def show(self, view: View, snapshot: Snapshot, night: str, band: str, read: str, layers: dict[str, Layer]) -> None:
        """Show a pixel, or the invitation to choose one."""
        detector = snapshot.profile.detector
        x, y, shape = view.x, view.y, detector.shape
        if x is None or y is None or x >= shape[1] or y >= shape[0]:
            self._asked, self._history_asked = (), ()
            if self._figures is not None:
                self._figures.panel.visible = False
            self._html.html = str(pixel_html(None, None, layers, "", shape, ""))
            return
        place = place_words(x, y, shape, detector.quadrants, detector.cells)

        def draw_words() -> None:
            words = " · ".join(w for w in (self._words, self._progress) if w)
            self._html.html = str(pixel_html(x, y, layers, place, shape, words))

        self._draw_words = draw_words
        self._built().panel.visible = True
        asked = (night, band, x, y, snapshot.revision)
        if asked != self._asked:
            self._asked, self._words = asked, "reading the raw twilight frames …"
            self._later("fit", lambda: self._read_fit(snapshot, night, band, x, y))
        asked = (band, read, x, y, snapshot.revision)
        if asked != self._history_asked:
            self._history_asked, self._points = asked, []
            self._later("history", lambda: self._read_history(snapshot, asked))
        else:
            self._draw_history(snapshot)
        draw_words()

    def _read_fit(self, snapshot: Snapshot, night: str, band: str, x: int, y: int) -> None:
        plot = self._built().fit
        samples = twilight_pixel(self._session.collector, self._raw, snapshot, night, band, x, y)
        with pn.io.hold():
            self._built().panel[0].visible = not samples.reason
            if samples.reason:
                plot.show(None)
                self._words = f"? Twilight fit: {samples.reason}"
            else:
                fit = fit_pixel(samples, band, snapshot.profile)
                plot.show(fit)
                counts = ", ".join(f"{n} {FATES[k][0]}" for k in FATES if (n := fit.fate.count(k)))
                left = f", {fit.n_without_level} frames left out as a whole" if fit.n_without_level else ""
                plot.figure.title.text = f"Twilight fit · x {x}, y {y} · {band} · {night}"
                self._words = (
                    f"a = {number(fit.intercept_dn, 1)} ± {number(fit.intercept_error_dn, 1)} DN, "
                    f"b = {number(fit.slope, 5)} ± {number(fit.slope_error, 5)}, χ²/ν = {number(fit.chi2, 2)}; "
                    if fit.fitted
                    else "no line: fewer than four samples; "
                ) + f"{counts}{left}; dark subtracted: {samples.dark_path}"
                row = snapshot.flat(night, band)
                if row is not None and row["profile_hash"] != snapshot.profile.hash:
                    self._words += "; ▲ the flat was made with an earlier profile"
                if samples.note:
                    self._words += f"; ▲ {samples.note}"
            self._draw_words()

    def _read_history(self, snapshot: Snapshot, asked: tuple[Any, ...]) -> None:
        band, read, x, y, _ = asked
        keys = _versions(snapshot, band, read)
        started = time.monotonic()
        for point in self._history.points(keys[len(self._points) :], band, read, x, y):
            self._points.append(point)
            if time.monotonic() - started > SLICE_S:
                break
        left = len(keys) - len(self._points)
        self._progress = f"history: {len(self._points)} of {len(keys)} nights read …" if left else ""
        if not keys:
            self._progress = "? no history: no night has a flat or dark of its own in this band"
        with pn.io.hold():
            self._draw_history(snapshot)
            self._draw_words()
        if left:
            self._later("history", lambda: self._read_history(snapshot, asked))

    def _draw_history(self, snapshot: Snapshot) -> None:
        if not self._history_asked:
            return
        band, read = self._history_asked[:2]
        figures = self._built()
        night = self._session.night
        flats, darks = snapshot.verdicts(band), snapshot.verdicts(band, read)
        figures.response.show(
            [
                {"night": p.night, "value": p.response, "error": p.response_error, "canonical": p.canonical,
                 "verdict": flats.get(p.night, ("", ""))[0], "flags": ", ".join(decode(p.response_flags)) or "none"}
                for p in self._points
            ],
            night,
        )  # fmt: skip
        figures.dark.show(
            [
                {"night": p.night, "value": p.dark_dn, "error": p.dark_error_dn,
                 "verdict": darks.get(p.night, ("", ""))[0], "flags": ", ".join(decode(p.dark_flags)) or "none"}
                for p in self._points
            ],
            night,
        )  # fmt: skip
        figures.dark.figure.title.text = f"Dark {read} of this pixel over all nights"
        times = night_time(snapshot.nights).astype("datetime64[ms]").astype(float)
        ends = (float(times[0]) - 6.5e7, float(times[-1]) + 6.5e7)
        if (figures.range.reset_start, figures.range.reset_end) != ends:
            figures.range.update(start=ends[0], end=ends[1], reset_start=ends[0], reset_end=ends[1])


def _versions(snapshot: Snapshot, band: str, read: str) -> list[tuple[str, str]]:
    """Return (night, key) of all nights with a flat or dark; the key changes with any of their products."""
    flats, darks = snapshot.part("flats", band), snapshot.part("darks", band, read)
    keys = {n: f"{k} {c}" for n, k, c in zip(flats["night"], flats["key"], flats["canonical_key"], strict=True)}
    for n, k in zip(darks["night"], darks["key"], strict=True):
        keys[n] = f"{keys.get(n, '')} {k}"
    return sorted(keys.items())


PLOTS_CSS = """
:host { gap: 12px; margin-top: 12px; }
:host > * { min-width: 0; flex: 1 1 0; background: var(--panel); border: 1px solid var(--line); border-radius: 10px;
  padding: 6px; box-sizing: border-box; }
@media (max-width: 1000px) { :host { flex-direction: column !important; } :host > * { flex: none; } }
"""
