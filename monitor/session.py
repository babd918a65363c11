"""One browser's session: which page is shown, and how it follows address, keyboard and archive."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import panel as pn

from calib.errors import CalibError
from monitor.access.person import ANYBODY, Person
from monitor.address import PAGES, View, parse, search
from monitor.collect import Collector, Snapshot
from monitor.components.browser import Browser
from monitor.components.html import Html, Safe
from monitor.components.turns import one_at_a_time, when_drawn
from monitor.desk import Desk, keys_of
from monitor.desk_bar import PAGES as DESK_PAGES
from monitor.desk_bar import DeskBar
from monitor.desk_choices import choices
from monitor.palette import Theme, theme
from monitor.shell import MISSED_CSS, RAIL_CSS, TOP_CSS, missed_html, rail_html, top_html

__all__ = ["Page", "Session"]

_log = logging.getLogger(__name__)

POLL_MS = 2000


class Page(Protocol):
    """One page of a session, built when first opened.

    Attributes
    ----------
    panel : Viewable
        What is shown.
    keys : dict
        Key → what it does, beyond those of every page.

    A page may also have ``told_keys``, a list of (key, what it does in words), and ``beat``, called every few seconds.
    """

    panel: Any
    keys: dict[str, Callable[[], None]]

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the page to a view of the archive; called whenever either changes."""
        ...


class Session:
    """Everything that belongs to one browser window.

    Parameters
    ----------
    collector : Collector
        Shared by all sessions.
    address : str
        The query string with which the page was opened.
    dark : bool or None
        The remembered theme, None if there is none yet.
    person : Person or callable
        Who looks; a callable is asked each time, for roles change and accounts go.
    sign_out : str
        What the form for signing out carries; empty where nobody signs in.
    """

    def __init__(
        self,
        collector: Collector,
        address: str = "",
        dark: bool | None = None,
        *,
        person: Person | Callable[[], Person] = ANYBODY,
        sign_out: str = "",
    ) -> None:
        self.collector = collector
        self._person = person
        self.sign_out = sign_out
        self.view = parse(address)
        self.theme: Theme = theme(bool(dark))
        self.snapshot = collector.snapshot()
        self._told = ("", "")
        self._page: Page | None = None
        self._page_key: tuple[str, bool] = ("", False)
        # Pages that take long to build stay, out of sight, when another is shown.
        self._kept: dict[tuple[str, bool], Page] = {}
        self.browser = Browser(dark={} if dark is None else {"on": dark, "n": 0})
        self.rail = Html(on={"go": self._follow}, css=RAIL_CSS)
        self.top = Html(
            on={"go": self._follow, "step": self._step, "night": self._choose_night, "theme": self._toggle_theme},
            css=TOP_CSS,
        )
        # The night that was asked for and has no data; another is shown in its place.
        self._missed = ""
        self._missed_html = Html(css=MISSED_CSS, visible=False)
        self.main = pn.Column(sizing_mode="stretch_width", min_height=300)
        self.desk = Desk(self)
        self._bar = DeskBar(self)
        self.browser.param.watch(lambda e: self.open(parse(e.new.get("search", "")), record=False), "popped")
        self.browser.on_key(self._press)
        self.browser.param.watch(lambda e: when_drawn(partial(self._set_dark, bool(e.new.get("on")))), "dark")
        self._draw()

    @property
    def person(self) -> Person:
        """Who looks, with the role of this moment."""
        return self._person if isinstance(self._person, Person) else self._person()

    # Going somewhere -------------------------------------------------------------------------------------------

    def go(self, *, push: bool | None = None, **changes: Any) -> None:
        """Change the view; a change of page, night or scan is a step in the browser's history, others are not."""
        view = self.view.to(**changes)
        if push is None:
            push = any(getattr(view, n) != getattr(self.view, n) for n in ("page", "night", "scan"))
        self.open(view, push=push)

    def open(self, view: View, *, push: bool = True, record: bool = True) -> None:
        """Show a view."""
        when_drawn(partial(self._open, view, push=push, record=record))

    def _open(self, view: View, *, push: bool, record: bool) -> None:
        with one_at_a_time():
            if (view.page, view.night) != (self.view.page, self.view.night):
                self._missed = ""
            self.view = view
            self._draw(push=push, record=record)

    def href(self, **changes: Any) -> str:
        """Return the address of a changed view, for links."""
        return search(self.view.to(**changes))

    def _follow(self, href: str) -> None:
        self.open(parse(href))

    def _step(self, by: str) -> None:
        if self.snapshot.nights:
            self.go(night=self.snapshot.step(self.night, int(by)))

    def _choose_night(self, night: str) -> None:
        self.go(night=parse(f"night={night}").night)

    @property
    def night(self) -> str:
        """The night on screen: the address's, or the last there is."""
        return self.snapshot.near(self.view.night)

    # Drawing ---------------------------------------------------------------------------------------------------

    def _draw(self, *, push: bool = False, record: bool = True) -> None:
        with pn.io.hold():
            self._follow_night()
            self.rail.html = str(rail_html(self))
            self.top.html = str(top_html(self))
            # A step back in the history changes the title alone; told even so, or the same step forward again would
            # be no change.
            title = f"{PAGES[self.view.page]} · {self.night or 'no night'} · Vesper"
            self.browser.nav = {"search": search(self.view) if record else None, "push": push, "title": title}
            self._draw_page()
            self._bar.show(self.view.page, self.night)

    def _follow_night(self) -> None:
        """Let the address say which night is shown, and the page that it is not the one that was asked for."""
        shown = self.night
        if shown and self.view.night not in ("", shown):
            self._missed, self.view = self.view.night, self.view.to(night=shown)
        if self._missed in self.snapshot.nights:
            self._missed = ""
        self._missed_html.html = str(missed_html(self._missed, shown, self.snapshot.nights)) if self._missed else ""
        self._missed_html.visible = bool(self._missed)

    def _foot(self) -> list[Any]:
        """Return what every page has beneath it: the bar of the desk, and what shows nothing by itself."""
        return [self._bar.html, self.desk.dialog, self._bar.download]

    def _draw_page(self) -> None:
        key = (self.view.page, self.theme.dark)
        try:
            if self._page is None or key != self._page_key:
                self._kept = {k: p for k, p in self._kept.items() if k[1] == self.theme.dark}
                self._page = self._kept.get(key)
                if self._page is None:
                    self._page = import_module(f"monitor.pages.{self.view.page}").build(self)
                    if getattr(self._page, "keep", False):
                        self._kept[key] = self._page
                self._page.show(self.view, self.snapshot)
                self._page_key = key
                hidden = [p.panel for p in self._kept.values() if p is not self._page]
                for panel in hidden:
                    panel.visible = False
                self._page.panel.visible = True
                self.main[:] = [self._missed_html, self._page.panel, *hidden, *self._foot()]
            else:
                self._page.show(self.view, self.snapshot)
        except Exception as error:
            # A page that fails says so; the others stay within reach.
            _log.exception("page %s failed", self.view.page)
            words = str(error) if isinstance(error, CalibError) else f"{type(error).__name__}: {error}"
            self._kept.pop(key, None)
            self._page, self._page_key = None, ("", False)
            self.main[:] = [self._missed_html, Html(_FAILED.format(PAGES[self.view.page], words)), *self._foot()]

    def poll(self) -> None:
        """Look whether the archive has something new, and show it."""
        self.beat()
        try:
            if not self.collector.changed(self.snapshot):
                return
            self.snapshot = self.collector.snapshot()
        except Exception:  # the archive may be locked or moved for a moment; the next poll tries again
            _log.warning("the archive cannot be read", exc_info=True)
            return
        self._draw()

    def refresh(self) -> None:
        """Show at once what was just decided."""
        self.snapshot = self.collector.refresh()
        self._draw()

    def beat(self) -> None:
        """Bring what changes without the archive up to date: the runs that the page has started, what it waits for."""
        state = (self.desk.jobs.at_work, self.desk.jobs.problem)
        if state != self._told:
            self._told = state
            self._bar.show(self.view.page, self.night)
        beat = getattr(self._page, "beat", None)
        if beat is None:
            return
        try:
            beat()
        except Exception:  # the next beat tries again
            _log.warning("what page %s waits for cannot be looked at", self.view.page, exc_info=True)

    def routine(self, act: str) -> None:
        """Do what a button or key of the routine asks for, about the night on screen."""
        night, snapshot, desk = self.night, self.snapshot, self.desk
        if act == "keys":
            own = list(getattr(self._page, "told_keys", []))
            desk.show_keys(keys_of(own, routine=self.view.page in DESK_PAGES))
        elif not night:
            return
        elif act == "unsigned":
            # Onward to older ones, and from the oldest again to the newest.
            waiting = [n for n in snapshot.unsigned if n != night]
            older = [n for n in waiting if n < night]
            if waiting:
                self.go(night=(older or waiting)[0])
        elif act == "sign-off":
            desk.sign_off(night)
        elif act == "note":
            desk.note(night)
        elif act == "recalibrate":
            desk.recalibrate()
        elif act == "report":
            self._bar.save_report(night)
        elif act in ("accept", "reject"):
            value = f"{act}ed"
            found, meant = choices(self.collector, snapshot, self.view, night)
            desk.override(f"{act.capitalize()} a product of {night}", found, meant, value)

    def _toggle_theme(self, _: str) -> None:
        n = int(self.browser.dark.get("n", 0))
        self.browser.dark = {"on": not self.theme.dark, "n": n + 1}

    def _set_dark(self, dark: bool) -> None:
        with one_at_a_time():
            if dark != self.theme.dark:
                self.theme = theme(dark)
                self._draw()

    def _press(self, key: str) -> None:
        own = self._page.keys if self._page is not None else {}
        common: dict[str, Callable[[], None]] = {
            "ArrowLeft": lambda: self._step("-1"),
            "ArrowRight": lambda: self._step("1"),
            "t": lambda: self._toggle_theme(""),
            "?": lambda: self.routine("keys"),
            "u": lambda: self.routine("unsigned"),
        }
        if self.view.page in DESK_PAGES:
            routine = {"s": "sign-off", "a": "accept", "x": "reject", "n": "note"}
            common |= {k: self._routine(act) for k, act in routine.items()}
        common |= {str(k): self._opener(name) for k, name in enumerate(PAGES, start=1)}
        action = own.get(key) or common.get(key)
        if action is not None:
            action()

    def _routine(self, act: str) -> Callable[[], None]:
        return lambda: self.routine(act)

    def _opener(self, page: str) -> Callable[[], None]:
        # A page keeps night and band: what a filter or frame means differs from page to page.
        return lambda: self.open(View(page=page, night=self.view.night, band=self.view.band))


_FAILED = Safe(
    '<section class="card" role="alert"><h2>{} cannot be shown</h2><p>{}</p>'
    "<p class=muted>The other pages still work. The server's log has the details.</p></section>"
)


def template_file() -> Path:
    """Return the page's template."""
    return Path(__file__).with_name("template.html")
