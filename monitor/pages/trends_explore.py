"""The second part of Trends: metrics against each other, built when it is opened."""

from __future__ import annotations

from typing import Any

import panel as pn

from monitor.address import View
from monitor.collect import Snapshot
from monitor.components.html import Html, Safe, join
from monitor.compute_explore import Explored, explorer_table
from monitor.pages.trends_markup import CONTROLS_CSS, GRID_CSS, select_html
from monitor.session import Session

__all__ = ["Explore"]

OPEN = "explore"
_MANY = 60


class Explore:
    """A button, and below it the linked views of one band.

    Attributes
    ----------
    panel : Column
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._key: tuple[Any, ...] = ()
        self._explorer: Any = None
        act = {
            "go": session._follow,
            "open": lambda _: session.go(filter="" if session.view.filter == OPEN else OPEN),
            "band": lambda v: session.go(band=v),
            "x": lambda v: session.go(x=int(v)),
            "y": lambda v: session.go(y=int(v)),
            "clear": lambda _: self._clear(),
        }
        self._head = Html(on=act, css=CONTROLS_CSS)
        self._found = Html(on=act, css=CONTROLS_CSS)
        self._grid = pn.Column(sizing_mode="stretch_width")
        self.panel = pn.Column(self._head, self._grid, self._found, sizing_mode="stretch_width")

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Open, close, or bring to another band or pair of metrics."""
        opened = view.filter == OPEN
        band = view.band if view.band in snapshot.bands else snapshot.bands[0]
        if not opened:
            self._head.html = str(_head_html(False))
            self._drop()
            return
        key = (band, view.x, view.y, snapshot.revision)
        if key == self._key:
            return
        table, numbers = explorer_table(snapshot, band)
        if len(numbers) < 2 or len(table) < 3:
            self._drop()
            self._head.html = str(_head_html(True, snapshot.bands, band))
            self._found.html = '<div class="card empty">Fewer than two metrics have values in three nights.</div>'
            self._key = key
            return
        x = view.x if view.x is not None and view.x < len(numbers) else 0
        y = view.y if view.y is not None and view.y < len(numbers) else 1
        # HoloViews takes a second to import; who only looks at trends does not wait for it.
        from monitor.plots.explore import Explorer

        explorer = Explorer(self._session.theme, table, numbers, x, y)
        explorer.links.param.watch(lambda _: self._show_selected(explorer, band), "selection_expr")
        views = [explorer.scatter, explorer.course, *explorer.histograms]
        panes = [pn.pane.HoloViews(v, sizing_mode="stretch_width", min_width=240, linked_axes=False) for v in views]
        wide, small = panes[:2], panes[2:]
        self._grid[:] = [
            pn.Column(*wide, sizing_mode="stretch_width", stylesheets=[GRID_CSS], css_classes=["two"]),
            pn.Column(*small, sizing_mode="stretch_width", stylesheets=[GRID_CSS], css_classes=["four"]),
        ]
        self._explorer, self._key = explorer, key
        self._head.html = str(_head_html(True, snapshot.bands, band, numbers, x, y, explorer.beyond))
        self._show_selected(explorer, band)

    def _drop(self) -> None:
        if self._key or len(self._grid):
            self._grid[:] = []
            self._found.html = ""
            self._explorer, self._key = None, ()

    def _clear(self) -> None:
        self._key = ()
        self.show(self._session.view, self._session.snapshot)

    def _show_selected(self, explorer: Any, band: str) -> None:
        nights = explorer.selected()
        if nights is None:
            self._found.html = (
                '<p class="muted" role="status">Draw a box or a lasso in any of the figures: the same nights stand out '
                "in all of them, and are listed here.</p>"
            )
            return
        links = [
            Safe('<a data-nav href="{}">{}</a>').format(self._session.href(page="night", night=n, band=band), n)
            for n in nights[:_MANY]
        ]
        more = Safe(" and {} more").format(len(nights) - _MANY) if len(nights) > _MANY else Safe("")
        self._found.html = str(
            Safe(
                '<section class="card"><div class="row"><h2>{} nights selected</h2>'
                '<button id="explore-clear" data-act="clear">clear the selection</button></div>'
                '<p class="nights">{}{}</p></section>'
            ).format(len(nights), join(links, " · "), more)
        )


def _head_html(
    opened: bool,
    bands: tuple[str, ...] = (),
    band: str = "",
    numbers: tuple[Explored, ...] = (),
    x: int = 0,
    y: int = 1,
    beyond: int = 0,
) -> Safe:
    sign, state = ("▾", "true") if opened else ("▸", "false")
    button = Safe(
        '<button id="explore" data-act="open" aria-expanded="{}">{} Explore: metrics against each other</button>'
    ).format(state, sign)
    if not opened:
        return Safe('<div class="row explore">{}</div>').format(button)
    parts = [select_html("explore-band", "band", "band", [(b, b) for b in bands], band)]
    if numbers:
        offered = [(str(k), n.label) for k, n in enumerate(numbers)]
        parts += [
            select_html("explore-x", "x", "across", offered, str(x)),
            select_html("explore-y", "y", "up", offered, str(y)),
        ]
    note = (
        Safe('<span class="muted">{} rejected nights lie beyond the axes: zoom out to see them</span>').format(beyond)
        if beyond
        else Safe("")
    )
    key = Safe('<span class="muted">● accepted &nbsp; ✕ flat or dark rejected</span>')
    return Safe('<div class="row explore">{}{}{}{}</div>').format(button, join(parts), key, note)
