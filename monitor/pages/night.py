"""Night: every image of a night, one of them large, any pixel down to its twilight samples, and the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import panel as pn
from bokeh.events import Tap

from calib.regions import cell_names, grid_slices, quadrant_names
from monitor.address import View
from monitor.collect import Collector, Snapshot
from monitor.collect_night import NightRows, night_files, night_rows
from monitor.components.html import Html
from monitor.components.turns import PageHandle
from monitor.compute import absent
from monitor.compute_layers import KINDS, Layer, layers
from monitor.compute_stretch import limits_of
from monitor.compute_window import bin_window, window_of
from monitor.layer_store import LayerStore
from monitor.pages.night_controls import HEAD_CSS, STRETCH_CSS, band_key, head_html, stretch_html
from monitor.pages.night_foot import GAP_CSS, NightTables
from monitor.pages.night_pixel import PixelPart
from monitor.plots.big_image import BigImage
from monitor.plots.histogram import Histogram
from monitor.plots.images import Frame, SmallImage, mapper_for
from monitor.session import Session

__all__ = ["build"]

# As fine as the screen can show: bins of the small images and of the large one.
SMALL_BINS, BIG_BINS = 128, 512
SETTLE_MS = 150

_stores: WeakKeyDictionary[Collector, LayerStore] = WeakKeyDictionary()


def build(session: Session) -> Night:
    """Return the page for a session."""
    return Night(session)


class Night:
    """One night, one band: its images side by side."""

    # Thirteen figures: to show them again is five times quicker than to build them again.
    keep = True

    def __init__(self, session: Session) -> None:
        self._session = session
        self._store = _stores.setdefault(session.collector, LayerStore())
        self._handle = PageHandle()
        self._layers: dict[str, Layer] = {}
        self._key: tuple[Any, ...] = ()
        self._image = ""
        self._blinking, self._placing, self._region = False, False, ""
        self._pending: dict[str, int] = {}
        profile = session.snapshot.profile
        shape = profile.detector.shape
        go = {"go": session._follow}
        self._head = Html(
            on={
                **go,
                "band": lambda b: session.go(band=b),
                "read": lambda r: session.go(read=r),
                "image": self._choose,
                "other": self._choose_other,
                "step-other": self._step_other,
                "blink": lambda _: self._toggle_blink(),
            },
            css=HEAD_CSS,
        )
        self._frame = Frame(shape)
        for span in (self._frame.across, self._frame.along):
            span.line_color = session.theme.ink
        groups = {k.group: k for k in KINDS.values()}
        self._mappers = {g: mapper_for(k, session.theme) for g, k in groups.items()}
        self._small = {
            n: SmallImage(k, self._frame, self._mappers[k.group], session.theme) for n, k in KINDS.items()
        }  # fmt: skip
        for name, panel in self._small.items():
            panel.figure.on_event(Tap, self._chooser(name))
        self._big = BigImage(self._frame, session.theme)
        self._big.figure.on_event(Tap, self._tapped)
        self._histogram = Histogram(session.theme, self._big.mapper)
        for edge in ("left", "right"):
            self._histogram.box.on_change(edge, self._dragged)
        for axis in (self._frame.x, self._frame.y):
            axis.on_change("start", self._zoomed)
            axis.on_change("end", self._zoomed)
        self._stretch = Html(
            on={
                "stretch": lambda s: session.go(stretch=s),
                "low": lambda v: self._set_end(0, v),
                "high": lambda v: self._set_end(1, v),
                "hold": lambda _: self._hold(),
            },
            css=STRETCH_CSS,
        )
        self._pixel = PixelPart(session, self._later)
        self._tables = NightTables(session)
        self.keys: dict[str, Callable[[], None]] = {
            "b": self._toggle_blink,
            "r": lambda: self._cycle("read", 1),
            "z": lambda: self._whole(),
            "[": lambda: self._cycle("band", -1),
            "]": lambda: self._cycle("band", 1),
            ",": lambda: self._cycle("image", -1),
            ".": lambda: self._cycle("image", 1),
        }
        self.told_keys = [
            ("b", "blink with another night, or stop"),
            (", .", "image before, image after"),
            ("[ ]", "band before, band after"),
            ("r", "next read of the dark"),
            ("z", "the whole array"),
        ]
        for band in session.snapshot.bands:
            if key := band_key(session.snapshot.bands, band):
                self.keys[key] = self._goer(band)
                self.told_keys.append((key, f"band {band}"))
        self.panel = self._layout()

    def _layout(self) -> Any:
        def pane(f: Any) -> Any:
            return pn.pane.Bokeh(f, sizing_mode="stretch_width")

        large = pn.Column(
            pane(self._big.figure), pane(self._histogram.figure), self._stretch, css_classes=["large"],
            sizing_mode="stretch_width",
        )  # fmt: skip
        small = pn.Column(
            *(pane(p.figure) for p in self._small.values()), css_classes=["small"], stylesheets=[SMALL_CSS],
            sizing_mode="stretch_width",
        )  # fmt: skip
        images = pn.Row(large, small, sizing_mode="stretch_width", stylesheets=[IMAGES_CSS])
        return pn.Column(
            self._head,
            images,
            self._pixel.panel,
            self._tables.panel,
            sizing_mode="stretch_width",
            stylesheets=[GAP_CSS],
        )

    # Choosing --------------------------------------------------------------------------------------------------

    def _goer(self, band: str) -> Callable[[], None]:
        return lambda: self._session.go(band=band)

    def _chooser(self, name: str) -> Callable[[Any], None]:
        return lambda event: self._choose(name)

    def _choose(self, name: str) -> None:
        if name in KINDS and name != self._image:
            self._session.go(image=name, stretch="")

    def _cycle(self, what: str, by: int) -> None:
        snapshot = self._session.snapshot
        every = {"band": snapshot.bands, "read": tuple(snapshot.profile.reads), "image": tuple(KINDS)}[what]
        here = dict(zip(("night", "band", "read"), self._key[:3], strict=False)) | {"image": self._image}
        after = every[(every.index(here.get(what, every[0])) + by) % len(every)]
        if what == "image":
            self._choose(after)
        else:
            changes: dict[str, Any] = {what: after}
            self._session.go(**changes)

    def _tapped(self, event: Any) -> None:
        ny, nx = self._frame.shape
        if event.x is not None and 0 <= event.x < nx and 0 <= event.y < ny:
            self._session.go(x=int(event.x), y=int(event.y))

    def _whole(self) -> None:
        if self._session.view.region:
            self._session.go(region="")
        else:
            self._zoom_to("")

    def _zoom_to(self, region: str) -> None:
        detector = self._session.snapshot.profile.detector
        ny, nx = self._frame.shape
        slices = dict(zip(cell_names(detector.cells), grid_slices((ny, nx), detector.cells), strict=True))
        slices |= dict(zip(quadrant_names(detector.quadrants), grid_slices((ny, nx), detector.quadrants), strict=True))
        rows, columns = slices.get(region, (slice(0, ny), slice(0, nx)))
        self._frame.x.update(start=columns.start, end=columns.stop)
        self._frame.y.update(start=rows.start, end=rows.stop)

    # Stretch ---------------------------------------------------------------------------------------------------

    def _set_end(self, which: int, text: str) -> None:
        mapper = self._mappers[KINDS[self._image].group]
        ends = [float(mapper.low), float(mapper.high)]
        try:
            ends[which] = float(text)
        except ValueError:
            self._draw_stretch()
            return
        if ends[0] < ends[1]:
            self._session.go(stretch=_given(*ends))
        else:
            self._draw_stretch()

    def _hold(self) -> None:
        mapper = self._mappers[KINDS[self._image].group]
        held = self._session.view.stretch.startswith("v")
        self._session.go(stretch="" if held else _given(float(mapper.low), float(mapper.high)))

    def _dragged(self, attr: str, old: Any, new: Any) -> None:
        if not self._placing:
            self._later("drag", self._take_box, SETTLE_MS)

    def _take_box(self) -> None:
        low, high = sorted((float(self._histogram.box.left), float(self._histogram.box.right)))
        if low < high:
            self._session.go(stretch=_given(low, high))

    # Blinking --------------------------------------------------------------------------------------------------

    def _toggle_blink(self) -> None:
        self._blinking = not self._blinking
        view = self._session.view
        if self._blinking and view.other in ("", self._session.night):
            self._session.go(other=self._neighbour(self._session.night, -1))
        else:
            self._session.go()

    def _choose_other(self, night: str) -> None:
        self._session.go(other=self._session.snapshot.near(night) if night else "")

    def _step_other(self, by: str) -> None:
        self._session.go(other=self._neighbour(self._session.view.other or self._session.night, int(by)))

    def _neighbour(self, night: str, by: int) -> str:
        """Return the next night in a direction, other than the one on screen; the other way at the end."""
        snapshot, here = self._session.snapshot, self._session.night
        for step in (by, 2 * by, -by):
            found = snapshot.step(night, step)
            if found not in (night, here):
                return found
        return night

    # Showing ---------------------------------------------------------------------------------------------------

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the page to a night, band and image."""
        night = self._session.night
        self.panel[1].visible = bool(night)
        if not night:
            self._head.html = '<div class="card empty">No night in the archive yet.</div>'
            return
        band = view.band if view.band in snapshot.bands else _first_band(snapshot, night)
        reads = snapshot.profile.reads
        read = view.read if view.read in reads else snapshot.profile.responsivity.read
        self._key = (night, band, read, snapshot.state)
        rows = night_rows(snapshot, night, band)
        self._layers = self._load(snapshot, *self._key[:3], rows)
        self._image = view.image if view.image in KINDS else _first_image(self._layers)
        with pn.io.hold():
            if view.region != self._region:
                self._region = view.region
                self._zoom_to(view.region)
            self._frame.choose(*((view.x, view.y) if _inside(view, self._frame.shape) else (None, None)))
            self._draw_scales()
            self._draw_images()
            words = self._draw_blink(snapshot)
            self._head.html = str(head_html(snapshot, rows, band, read, self._image, view.other, self._blinking, words))
            self._draw_stretch()
            self._pixel.show(view, snapshot, night, band, read, self._layers)
            self._tables.show(view, snapshot, rows, band, read, self._image)

    def _load(
        self, snapshot: Snapshot, night: str, band: str, read: str, rows: NightRows | None = None
    ) -> dict[str, Layer]:
        def make() -> dict[str, Layer]:
            known = rows or night_rows(snapshot, night, band)
            waiting = {k: absent(snapshot, night, band, t) for k, t in (("dark", "dark"), ("flat", "twilight"))}
            return layers(night_files(self._session.collector, known, night, band, read, waiting))

        return self._store.get((night, band, read, snapshot.state), make)

    def _draw_scales(self) -> None:
        done = {}
        chosen = KINDS[self._image]
        # The chosen image sets the scale of its group; of the others the first that is there does.
        for layer in sorted(self._layers.values(), key=lambda x: x.kind.name != self._image):
            group = layer.kind.group
            if group not in done and layer.value is not None:
                stretch = self._session.view.stretch if group == chosen.group else ""
                done[group] = limits_of(layer, stretch)
                low, high = done[group]
                self._mappers[group].update(low=low, high=high)

    def _draw_images(self) -> None:
        window = window_of(self._frame.shape, self._frame.view, SMALL_BINS)
        for name, panel in self._small.items():
            layer = self._layers[name]
            binned = None if layer.value is None else bin_window(layer, window, extras=False)
            panel.show(layer, binned, window, (*self._key, window), chosen=name == self._image)
        window = window_of(self._frame.shape, self._frame.view, BIG_BINS)
        layer = self._layers[self._image]
        binned = None if layer.value is None else bin_window(layer, window, extras=True)
        kind = layer.kind
        night, band, read = self._key[:3]
        of = f"{band} {read}" if kind.source == "dark" else band
        title = f"{kind.title}{f' / {kind.unit}' if kind.unit else ''} · {of} · {night}"
        title += f" · {layer.note}" if layer.note else ""
        title += f"\n{layer.remark}" if layer.remark else ""
        self._big.show(layer, binned, window, (*self._key, self._image, window), self._mappers[kind.group], title)

    def _draw_stretch(self) -> None:
        layer = self._layers[self._image]
        mapper = self._mappers[layer.kind.group]
        low, high = float(mapper.low), float(mapper.high)
        self._placing = True
        try:
            self._histogram.show(layer, low, high, (*self._key, self._image))
        finally:
            self._placing = False
        self._stretch.html = str(stretch_html(layer, low, high, self._session.view.stretch))

    def _draw_blink(self, snapshot: Snapshot) -> str:
        """Bring the other night's image; return what must be said about it."""
        other, (night, band, read) = self._session.view.other, self._key[:3]
        if not self._blinking or not other:
            self._big.set_blink(False, "", "")
            return ""
        if snapshot.near(other) != other:
            self._big.set_blink(False, "", "")
            return f"? {other}: no data"
        layer = self._load(snapshot, other, band, read)[self._image]
        if layer.value is None or self._layers[self._image].value is None:
            self._big.set_blink(False, "", "")
            reason = layer.reason if layer.value is None else self._layers[self._image].reason
            return f"? {reason}"
        window = window_of(self._frame.shape, self._frame.view, BIG_BINS)
        self._big.show_other(
            bin_window(layer, window, extras=True), window, (other, *self._key[1:], self._image, window)
        )
        self._big.set_blink(True, night, f"{other}  (other)")
        return ""

    # Later -----------------------------------------------------------------------------------------------------

    def _zoomed(self, attr: str, old: Any, new: Any) -> None:
        self._later("zoom", self._redraw, SETTLE_MS)

    def _redraw(self) -> None:
        if self._layers:
            with pn.io.hold():
                self._draw_images()
                self._draw_blink(self._session.snapshot)

    def _later(self, what: str, action: Callable[[], None], delay_ms: int = 1) -> None:
        """Do something soon, unless it is asked for again before, or this page is no longer shown."""
        number = self._pending[what] = self._pending.get(what, 0) + 1

        def run() -> None:
            if self._pending[what] == number and self._session._page is self:
                action()

        self._handle.tell(run, delay_ms)


def _given(low: float, high: float) -> str:
    return f"v {low:.6g} {high:.6g}"


def _inside(view: View, shape: tuple[int, int]) -> bool:
    return view.x is not None and view.y is not None and view.x < shape[1] and view.y < shape[0]


def _first_band(snapshot: Snapshot, night: str) -> str:
    """Return the first band with a flat that night, else with a dark or scan, else the first of all."""
    for table in (snapshot.flats, snapshot.darks, snapshot.scans.of(night)):
        there = set(table.loc[table["night"] == night, "band"])
        for band in snapshot.bands:
            if band in there:
                return band
    return snapshot.bands[0]


def _first_image(found: dict[str, Layer]) -> str:
    return next((n for n in ("ratio", "responsivity", "dark", "canonical") if found[n].value is not None), "ratio")


IMAGES_CSS = """
:host { gap: 12px; align-items: flex-start; }
:host > .large { flex: 0 0 41%; min-width: 0; max-width: 620px; background: var(--panel);
  border: 1px solid var(--line); border-radius: 10px; padding: 6px 8px; box-sizing: border-box; }
:host > .small { flex: 1 1 0; min-width: 0; }
@media (max-width: 1000px) {
  :host { flex-direction: column !important; align-items: stretch; }
  :host > .large { flex: none; max-width: none; } :host > .small { flex: none; } }
"""

SMALL_CSS = """
:host { display: grid !important; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 8px; }
:host > * { min-width: 0; border: 1px solid var(--line); border-radius: 8px; overflow: hidden;
  background: var(--panel); }
@media (max-width: 1000px) { :host { grid-template-columns: repeat(3, minmax(0, 1fr)); } }
@media (max-width: 700px) { :host { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
"""
