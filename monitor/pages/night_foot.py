"""The foot of the Night page: deviations of the regions, what was used, and the checks."""

from __future__ import annotations

import panel as pn

from monitor.address import View
from monitor.collect import Snapshot
from monitor.collect_events import night_events
from monitor.collect_night import NightRows
from monitor.components.html import Html
from monitor.compute import absent
from monitor.compute_layers import KINDS
from monitor.pages.night_events import EVENTS_CSS, diagnosis_html, pixels_html
from monitor.pages.night_tables import TABLES_CSS, cells_html, checks_html, used_html
from monitor.session import Session

__all__ = ["GAP_CSS", "NightTables"]


class NightTables:
    """The tables of a night and band.

    Attributes
    ----------
    panel : Row
        What is shown.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        on = {"go": session._follow, "product": lambda p: session.go(product=p), "region": self._choose_region}
        self._cells, self._flat, self._dark, self._used = (Html(on=on, css=TABLES_CSS) for _ in range(4))
        self._parts, self._pixels = (Html(on=on, css=TABLES_CSS + EVENTS_CSS) for _ in range(2))
        self.panel = pn.Row(
            pn.Column(self._cells, self._used, self._pixels, sizing_mode="stretch_width", stylesheets=[GAP_CSS]),
            pn.Column(self._flat, self._dark, self._parts, sizing_mode="stretch_width", stylesheets=[GAP_CSS]),
            sizing_mode="stretch_width",
            stylesheets=[FOOT_CSS],
        )

    def _choose_region(self, name: str) -> None:
        self._session.go(region="" if name == self._session.view.region else name)

    def show(self, view: View, snapshot: Snapshot, rows: NightRows, band: str, read: str, image: str) -> None:
        """Bring the tables to a night and band, and to the product of the chosen image unless another is asked for."""
        profile, night = snapshot.profile, rows.night
        products = ("responsivity", *(f"{k} {r}" for k in ("dark", "noise") for r in profile.reads))
        default = f"dark {read}" if KINDS[image].source == "dark" else "responsivity"
        if image == "noise":
            default = f"noise {read}"
        product = view.product if view.product in products else default
        found = self._session.collector.cells(night, band, product)
        self._cells.html = str(cells_html(found, product, products, profile, view.region))
        base = profile.responsivity.read
        why = absent(snapshot, night, band, "twilight")
        self._flat.html = str(checks_html("flat", f"Flat of {band}", rows.flat, snapshot, base, why))
        why = absent(snapshot, night, band, "dark")
        self._dark.html = "".join(
            checks_html("dark", f"Dark of {band}, {r}", row, snapshot, r, why) for r, row in rows.darks.items()
        )
        self._used.html = str(used_html(snapshot, rows, night, band))
        happened = night_events(self._session.collector, night, band)
        self._parts.html = str(diagnosis_html(happened))
        self._pixels.html = str(
            pixels_html(happened, lambda x, y: self._session.href(night=night, band=band, x=x, y=y))
        )


GAP_CSS = ":host { gap: 12px; }"

FOOT_CSS = """
:host { gap: 12px; align-items: flex-start; }
:host > * { min-width: 0; flex: 1 1 0; }
@media (max-width: 1000px) { :host { flex-direction: column !important; align-items: stretch; }
  :host > * { flex: none; } }
"""
