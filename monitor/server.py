"""The web server: one app at ``/``, every script and style from this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import panel as pn
from tornado.web import RequestHandler

from calib.errors import ArchiveError, CalibError
from monitor.collect import Collector
from monitor.components.html import Html, Safe
from monitor.palette import Theme, theme
from monitor.session import POLL_MS, Session, template_file

__all__ = ["make_app", "serve"]

_log = logging.getLogger(__name__)


def _variables(colours: Theme) -> str:
    states = {"good": "good", "watch": "watch", "bad": "bad"}
    base = {n: getattr(colours, n) for n in ("ground", "panel", "ink", "muted", "line", "accent")}
    base |= {name: colours.state(state) for name, state in states.items()}
    return " ".join(f"--{n}: {v};" for n, v in base.items())


def make_app(root: Path) -> Callable[[], pn.Template]:
    """Return the function that builds a session's page.

    The archive is opened with the first session; until there is one, and while it is empty, the page says what to do
    and looks again by itself.
    """
    shared: dict[str, Collector] = {}

    def app() -> pn.Template:
        template = pn.Template(template_file().read_text("utf-8"))
        template.add_variable("light", _variables(theme(False)))
        template.add_variable("dark", _variables(theme(True)))
        template.add_variable("app_title", "Vesper")
        try:
            if "collector" not in shared:
                shared["collector"] = Collector(root)
            session = Session(shared["collector"], _query(), _remembered_theme())
        except CalibError as error:
            return _add(template, *_waiting(str(error)))
        except Exception as error:
            _log.exception("the page could not be built")
            return _add(template, *_waiting(f"The page could not be built ({type(error).__name__}: {error})."))
        callback = pn.state.add_periodic_callback(session.poll, period=POLL_MS, start=True)
        pn.state.on_session_destroyed(lambda _: callback.stop())
        return _add(template, session.rail, session.top, session.main, session.browser)

    return app


def _add(template: pn.Template, rail: Any, top: Any, main: Any, browser: Any) -> pn.Template:
    for name, part in {"rail": rail, "top": top, "main": main, "browser": browser}.items():
        template.add_panel(name, part)
    return template


def _waiting(words: str) -> tuple[Any, Any, Any, Any]:
    """Return the parts of a page that has no archive yet; it looks again every few seconds."""
    text = Safe(
        '<section class="card" role="alert" style="max-width: 640px; margin: 10vh auto">'
        "<h2>Nothing to show yet</h2><p>{}</p><p class=muted>This page looks again by itself.</p></section>"
    ).format(words)
    return Html(""), Html('<div class="card"><b>Vesper</b></div>'), Html(str(text)), Reload()


class Reload(pn.custom.JSComponent):
    """Loads the page again after a few seconds."""

    _esm = """export function render({model}) {
      const t = setTimeout(() => location.reload(), 5000)
      model.on("remove", () => clearTimeout(t))
      return document.createElement("span") }"""


def _query() -> str:
    request = pn.state.curdoc.session_context.request if pn.state.curdoc and pn.state.curdoc.session_context else None
    arguments = getattr(request, "arguments", {}) or {}
    pairs = [(k, v.decode("utf-8", "replace")) for k, values in arguments.items() for v in values]
    return "?" + urlencode(pairs) if pairs else ""


def _remembered_theme() -> bool | None:
    cookie = (pn.state.cookies or {}).get("vesper-theme")
    return {"dark": True, "light": False}.get(str(cookie))


class Health(RequestHandler):
    """Says for a supervisor whether the archive can be read: 200 or 503, as JSON."""

    def initialize(self, root: Path) -> None:
        """Take the archive's folder."""
        self.root = root

    def get(self) -> None:
        """Answer."""
        try:
            collector = Collector(self.root)
            nights = collector.snapshot().nights
            collector.archive.close()
            self.write({"status": "ok", "nights": len(nights), "last_night": nights[-1] if nights else None})
        except (ArchiveError, OSError) as error:
            self.set_status(503)
            self.write({"status": "failed", "reason": str(error)})


def serve(root: Path, *, port: int = 5006, address: str = "127.0.0.1", show: bool = False, **options: Any) -> Any:
    """Serve the page.

    Parameters
    ----------
    root : Path
        The archive's folder; it may come into being later.
    port : int
        0 takes a free one.
    address : str
        Where to listen.
    show : bool
        Open a browser.
    options
        Passed to `panel.serve`, such as ``threaded=True``.
    """
    pn.extension(reconnect=True, disconnect_notification="", reconnect_notification="")
    return pn.serve(
        {"/": make_app(root)},
        port=port,
        address=address,
        show=show,
        title="Vesper",
        nthreads=4,
        websocket_origin=[f"{h}:{port}" for h in ("127.0.0.1", "localhost")] if port else ["127.0.0.1", "localhost"],
        extra_patterns=[(r"/healthz", Health, {"root": root})],
        check_unused_sessions_milliseconds=5000,
        unused_session_lifetime_milliseconds=15000,
        **options,
    )
