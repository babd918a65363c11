"""Flats: ratio maps and sky offsets, accepted beside rejected, all on one stretch, and why each was rejected."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import panel as pn

from monitor.address import View, search
from monitor.collect import Snapshot
from monitor.collect_gallery import sky_sheet
from monitor.components.html import Html
from monitor.components.pictures import PictureHtml
from monitor.components.turns import is_drawn
from monitor.compute import standing
from monitor.compute_gallery import (
    SKY_CAUSES,
    Item,
    flat_causes,
    flat_extent,
    flat_item,
    flat_keys,
    night_range,
    sky_extent,
    sky_item,
)
from monitor.compute_stretch import shared_half_width
from monitor.pages.flats_markup import GALLERY_CSS, STRETCHES, Choices, controls_html, gallery_html
from monitor.pages.flats_pictures import SIDE, address, cached, picture_id
from monitor.session import Session

__all__ = ["build"]

SHEET = 24
LARGE = 256
SKY = "sky-offsets"
# A picture takes some 20 ms: so many seconds of making them, then the browser is served.
_AT_ONCE_S, _AT_A_TIME_S, _PAUSE_MS = 0.12, 0.10, 50


def build(session: Session) -> Flats:
    """Return the page for a session."""
    return Flats(session)


@dataclass(frozen=True)
class _Wanted:
    """A picture that the sheet shows."""

    name: str
    item: Item
    side: int


@dataclass(frozen=True)
class _Sheet:
    """What is on screen, where it begins, how many pass the filters, and how many there are."""

    items: Sequence[Item]
    start: int
    shown: int
    total: int


class Flats:
    """A gallery, a sheet of pictures at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sent: set[str] = set()
        self._n = 0
        self._wanted: list[_Wanted] = []
        self._stretch = 2.0
        self._shown, self._start = 0, 0
        self._filling: Any = None
        act: dict[str, Callable[[str], None]] = {
            "go": session._follow,
            "kind": lambda v: self._filter(product=SKY if v == "sky" else "", text=""),
            "band": lambda v: self._filter(band=v),
            "read": lambda v: self._filter(read=v),
            "verdict": lambda v: self._filter(filter=v),
            "cause": lambda v: self._filter(text=v),
            "days": lambda v: self._filter(days=int(v) if v.isdigit() and int(v) else None),
            "stretch": lambda v: session.go(stretch=v),
            "sheet": lambda v: self._turn(int(v)),
            "why": lambda v: session.go(image="" if v == session.view.image else v),
        }
        self.keys: dict[str, Callable[[], None]] = {
            "[": lambda: self._turn(-1),
            "]": lambda: self._turn(1),
            "Escape": lambda: session.go(image=""),
        }
        self.told_keys = [("[ ]", "sheet before, sheet after"), ("Escape", "close what “why” has opened")]
        self._controls = Html(on=act, css=GALLERY_CSS)
        self._gallery = PictureHtml(on=act, css=GALLERY_CSS)
        self.panel = pn.Column(self._controls, self._gallery, sizing_mode="stretch_width")

    # What the user does ----------------------------------------------------------------------------------------

    def _filter(self, **changes: Any) -> None:
        self._session.go(start=None, image="", **changes)

    def _turn(self, by: int) -> None:
        start = self._start + by * SHEET
        if 0 <= start < self._shown:
            self._session.go(start=start or None, image="")

    # What is shown ---------------------------------------------------------------------------------------------

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the gallery to its filters."""
        choices = _choices(view, snapshot)
        night = self._session.night
        first, last = night_range(snapshot, night, choices.days)
        start = (view.start or 0) // SHEET * SHEET
        sheet = self._items(snapshot, choices, first, last, start)
        if start and not sheet.items:
            sheet = self._items(snapshot, choices, first, last, max(0, (sheet.shown - 1) // SHEET * SHEET))
        items, start, shown, total = sheet.items, sheet.start, sheet.shown, sheet.total
        fitted = shared_half_width(sky_extent(i.row) if choices.sky else flat_extent(i.row) for i in items)
        half = choices.stretch or fitted
        self._shown, self._start, self._stretch = shown, start, float(half)
        collector = self._session.collector
        names = [picture_id(collector, i, self._stretch) for i in items]
        opened = next((i for i in items if i.key == view.image), None)
        large = picture_id(collector, opened, self._stretch, LARGE) if opened else ""
        self._wanted = [_Wanted(n, i, SIDE) for n, i in zip(names, items, strict=True)]
        if opened:
            self._wanted.insert(0, _Wanted(large, opened, LARGE))
        self._controls.html = str(controls_html(choices, fitted, shown, total, start, SHEET, night))
        self._gallery.html = str(
            gallery_html(items, names, view.image, large, self._href, half, _empty_words(choices, total, snapshot))
        )
        self._fill(_AT_ONCE_S)

    def _items(self, snapshot: Snapshot, c: Choices, first: str, last: str, start: int) -> _Sheet:
        if c.sky:
            sheet = sky_sheet(
                self._session.collector,
                read=c.read,
                bands=snapshot.bands,
                band=c.band,
                verdict=c.verdict,
                cause=next((k for k, words in SKY_CAUSES.items() if words == c.cause), c.cause),
                first=first,
                last=last,
                start=start,
                size=SHEET,
            )
            return _Sheet([sky_item(r, snapshot.profile) for r in sheet.rows], start, sheet.shown, sheet.total)
        keys = flat_keys(snapshot, band=c.band, verdict=c.verdict, cause=c.cause, first=first, last=last)
        view = self._session.view
        if view.start is None and (named := [k for k, key in enumerate(keys) if " ".join(key) == view.image]):
            # An address that names a picture and no sheet means the sheet that has it.
            start = named[0] // SHEET * SHEET
        rows = [r for k in keys[start : start + SHEET] if (r := snapshot.flat(*k)) is not None]
        items = [flat_item(r, snapshot.profile) for r in rows]
        items = [replace(i, status=standing(snapshot, i.status)[0]) for i in items]
        return _Sheet(items, start, len(keys), len(snapshot.flats))

    def _href(self, item: Item) -> str:
        target = View(page="night", night=item.night, band=item.band, image="ratio")
        if "block" in item.row:
            row = item.row
            target = target.to(page="scan", image="", scan=row["scan"], block=row["block"], read=row["read"])
        return search(target)

    # Pictures --------------------------------------------------------------------------------------------------

    def _fill(self, seconds: float) -> None:
        """Send the pictures that are ready, make others for so long, and see to the rest."""
        collector, end = self._session.collector, time.monotonic() + seconds
        found: dict[str, str] = {}
        missing = False
        live = bool(pn.state.curdoc and pn.state.curdoc.session_context)
        for w in self._wanted:
            if w.name in self._sent or w.name in found:
                continue
            ready = cached(w.name)
            if ready is None and live and time.monotonic() > end:
                missing = True
                continue
            found[w.name] = address(collector, w.item, self._stretch, w.side) if ready is None else ready
        if found and live and self._gallery.have < self._n:
            missing = True
        elif found:
            self._n += 1
            self._gallery.pictures = {"found": found, "n": self._n}
            self._sent |= set(found)
        if missing and self._filling is None:
            self._filling = pn.state.add_periodic_callback(self._fill_on, period=_PAUSE_MS)
        elif not missing:
            self._stop()

    def _fill_on(self) -> None:
        # Pages are not told when they are left.
        if self._session._page is not self:
            self._stop()
        elif is_drawn():  # before that they would be lost on the way
            self._fill(_AT_A_TIME_S)

    def _stop(self) -> None:
        if self._filling is not None:
            self._filling.stop()
            self._filling = None


def _choices(view: View, snapshot: Snapshot) -> Choices:
    """Return what an address chooses; what it cannot mean is left out."""
    profile = snapshot.profile
    sky = view.product == SKY
    reads = tuple(profile.reads)
    causes = list(SKY_CAUSES.values()) if sky else flat_causes(snapshot)
    verdicts = ("accepted", "rejected", "override") if sky else ("accepted", "rejected", "provisional", "override")
    return Choices(
        sky=sky,
        band=view.band if view.band in snapshot.bands else "",
        verdict=view.filter if view.filter in verdicts else "",
        cause=view.text if view.text in causes else "",
        days=view.days or None,
        stretch=view.stretch if view.stretch in STRETCHES else "",
        read=view.read if view.read in reads else profile.responsivity.read,
        bands=snapshot.bands,
        reads=reads,
        causes=[(c, c) for c in causes],
    )


def _empty_words(c: Choices, total: int, snapshot: Snapshot) -> str:
    if total:
        return "Nothing passes these filters."
    if c.sky:
        return f"The archive holds no sky offset of {c.read}: no scan was taken or calibrated."
    supplied = [f"{m.words} in {band}" for (what, band), m in snapshot.supplied.items() if what == "flat"]
    if supplied:
        # There is one flat, and nothing to divide it by.
        return f"No twilight flat was taken; supplied by the team and taken as it came: {', '.join(supplied)}."
    return "The archive holds no twilight flat."
