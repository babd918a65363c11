"""The web server: one app at ``/``, every script and style from this machine."""

from __future__ import annotations

import errno
import gc
import logging
import os
import re
import socket
import sys
import threading
import urllib.request
import webbrowser
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import panel as pn
from bokeh.server.urls import per_app_patterns

from calib.errors import CalibError
from monitor.access.gate import Gate
from monitor.access.guard import Front, Socket
from monitor.access.person import Person
from monitor.access.plain_page import ICON, variables
from monitor.access.settings import AccessSettings, is_published, refuse_to_be_open
from monitor.access.tickets import Ticket
from monitor.addresses import addresses, request_settings
from monitor.components.browser import Waiting
from monitor.components.html import Html
from monitor.components.turns import is_drawn, one_at_a_time, wait_for_browser
from monitor.palette import theme
from monitor.session import POLL_MS, Session, template_file
from monitor.shell import age_words
from monitor.source import Source

__all__ = ["make_app", "serve"]

_log = logging.getLogger(__name__)

# The place where Panel, too, puts its own handlers in Bokeh's stead. The page needs two of them: what else Bokeh would
# answer (a document as a script for other sites, its metadata) is not there.
per_app_patterns[:] = [(r"/ws", Socket), (r"/?", Front)]


def make_app(source: Source, gate: Gate | None = None) -> Callable[[], pn.Template]:
    """Return the function that builds a session's page, for whoever the gate let in.

    While there is no archive, or nothing in it, the page says what to do and looks again by itself.
    """
    gate = gate or Gate()

    def app() -> pn.Template:
        template = pn.Template(template_file().read_text("utf-8"))
        template.add_variable("light", variables(theme(False)))
        template.add_variable("dark", variables(theme(True)))
        template.add_variable("app_title", "Vesper")
        template.add_variable("app_favicon", ICON)
        template.add_variable("apple_icon", ICON)
        try:
            if words := source.problem():
                return _add(template, *_notice("Nothing to show yet", words))
            visitor = _visitor(gate)
            session = Session(
                source.collector(), _query(), _remembered_theme(), person=visitor.person, sign_out=visitor.form_token
            )
        except Exception as error:
            _log.exception("the page could not be built")
            words = str(error) if isinstance(error, CalibError) else f"{type(error).__name__}: {error}"
            return _add(template, *_notice("The page cannot be shown", words, retry=True))
        wait_for_browser()
        beat = _Beat(session, source)
        callback = pn.state.add_periodic_callback(beat, period=POLL_MS, start=True)
        pn.state.on_session_destroyed(lambda _: callback.stop())
        return _add(template, session.rail, session.top, session.main, session.browser)

    return app


class _Beat:
    """Looks every few seconds for what changes without the user: the archive, and the day."""

    def __init__(self, session: Session, source: Source) -> None:
        self._session, self._source = session, source
        self._age = self._words()

    def __call__(self) -> None:
        if not is_drawn():
            return  # what is changed before the browser has drawn the page would be lost
        lock = one_at_a_time()
        if not lock.acquire(blocking=False):
            return  # the session is at work; it looks again soon
        try:
            self._look()
        finally:
            lock.release()

    def _look(self) -> None:
        session = self._session
        try:
            if not self._source.serves(session.collector):
                problem = self._source.problem()
                if not problem:
                    session.browser.reload = True
                    return
            else:
                problem = ""
                session.collector.revision()
        except Exception as error:  # whatever is wrong with the archive is said on the page, which stays as it was
            problem = f"{type(error).__name__}: {error}"
        if problem:
            words = f"The archive cannot be read, and what is shown may be out of date. {problem}"
            if session.browser.notice != words:
                _log.warning("the archive cannot be read: %s", problem)
                session.browser.notice = words
            return
        session.browser.notice = ""
        session.poll()
        # The bar says how old the newest data is, true only until the next noon, and who is signed in, in which role.
        if (now := self._words()) != self._age:
            self._age = now
            session.open(session.view, push=False)

    def _words(self) -> tuple[str, Person]:
        snapshot, person = self._session.snapshot, self._session.person
        zone = snapshot.profile.site.utc_offset_hours
        return (age_words(snapshot.nights[-1], zone)[0] if snapshot.nights else ""), person


def _add(template: pn.Template, rail: Any, top: Any, main: Any, browser: Any) -> pn.Template:
    for name, part in {"rail": rail, "top": top, "main": main, "browser": browser}.items():
        template.add_panel(name, part)
    return template


def _notice(heading: str, words: str, *, retry: bool = False) -> tuple[Any, Any, Any, Any]:
    """Return the parts of a page that has no archive to show."""
    bar = Html('<div style="padding: 12px 16px"><b>Vesper</b></div>')
    return Html(""), bar, Waiting(heading=heading, words=words, retry=retry, sizing_mode="stretch_width"), Html("")


def _query() -> str:
    request = pn.state.curdoc.session_context.request if pn.state.curdoc and pn.state.curdoc.session_context else None
    arguments = getattr(request, "arguments", {}) or {}
    pairs = [(k, v.decode("utf-8", "replace")) for k, values in arguments.items() for v in values]
    return "?" + urlencode(pairs) if pairs else ""


@dataclass(frozen=True)
class _Visitor:
    """Whoever opened a session: asked for whenever it matters, for roles change and accounts go."""

    gate: Gate
    ticket: Ticket | None

    def person(self) -> Person:
        return self.gate.person(self.ticket)

    @property
    def form_token(self) -> str:
        return self.gate.tickets.form_token(self.ticket) if self.gate.tickets and self.ticket else ""


def _visitor(gate: Gate) -> _Visitor:
    context = pn.state.curdoc.session_context if pn.state.curdoc else None
    ticket = getattr(context.request, "ticket", None) if context else None
    return _Visitor(gate, ticket if isinstance(ticket, Ticket) else None)


def _remembered_theme() -> bool | None:
    cookie = (pn.state.cookies or {}).get("vesper-theme")
    return {"dark": True, "light": False}.get(str(cookie))


def free_port(address: str = "127.0.0.1", port: int = 0) -> int:
    """Return the port if it can be listened on, or any free one for 0.

    Raises
    ------
    CalibError
        If it cannot.
    """
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise CalibError(f"port {port} is taken by another program; choose another with --port") from error
            if error.errno == errno.EACCES:
                raise CalibError(f"port {port} is reserved; choose one from 1024 on with --port") from error
            raise CalibError(f"cannot listen on {address} port {port}: {error.strerror}") from error
        return int(probe.getsockname()[1])


def serve(
    root: Path,
    *,
    port: int = 5006,
    address: str = "127.0.0.1",
    origins: Iterable[str] = (),
    show: bool = False,
    waiting: Callable[[], str] | None = None,
    access: AccessSettings | None = None,
    **options: Any,
) -> Any:
    """Serve the page, until the process is interrupted.

    Parameters
    ----------
    root : Path
        The archive's folder; it may come into being later.
    port : int
        0 takes a free one.
    address : str
        Where to listen.
    origins : iterable of str
        Further hosts, with or without port, under whose name browsers may open the page.
    show : bool
        Open a browser, if there is a screen.
    waiting : callable, optional
        Returns what to say while there is nothing to show, instead of how to fill an archive.
    access : AccessSettings, optional
        Who may see the page; by default whoever sits at this machine.
    options
        Passed to `panel.serve`, such as ``threaded=True``.

    Raises
    ------
    CalibError
        If the port cannot be had, or the page would be open to a network without anybody having said so.
    """
    access = access or AccessSettings()
    refuse_to_be_open(access, address, origins := tuple(origins))
    port = free_port(address, port)
    hosts = ["127.0.0.1", "localhost", *([address] if address not in ("0.0.0.0", "::", "") else [])]
    if address in ("0.0.0.0", "::"):
        hosts += [socket.gethostname(), socket.getfqdn()]
    accepted = {f"{h}:{port}" for h in hosts if ":" not in h}
    for origin in origins:
        if not re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]+)?", origin):
            raise CalibError(f"{origin!r} is no host name, with or without a port, such as vesper.example.org")
        accepted |= {origin} if ":" in origin else {origin, f"{origin}:80", f"{origin}:443", f"{origin}:{port}"}
    # The page itself looks after lost connections (template.html): what Bokeh would reconnect to after a restart is
    # a new session of the address with which the page was first opened.
    pn.extension(reconnect=False)
    if show:
        threading.Thread(target=_open_browser, args=(f"http://127.0.0.1:{port}/",), daemon=True).start()
    source = Source(root, waiting)
    if not options.get("threaded"):
        # The process is the server's own, and what was imported stays: looking through all of it for garbage again and
        # again would halt every page for as long.
        gc.freeze()
        # A long archive takes seconds to be read, which the first visitor need not wait for.
        threading.Thread(target=_look_ahead, args=(source,), name="first look", daemon=True).start()
    gate = Gate(access, accepted, local=not is_published(access, address, origins))
    settings = {
        "port": port,
        "address": address,
        "show": False,
        "verbose": False,
        "title": "Vesper",
        "nthreads": 4,
        "websocket_origin": sorted(accepted),
        "extra_patterns": addresses(source, gate),
        **request_settings(access, gate),
        "check_unused_sessions_milliseconds": 5000,
        "unused_session_lifetime_milliseconds": 15000,
        "websocket_compression_level": 1,
    }
    return pn.serve({"/": make_app(source, gate)}, **{**settings, **options})


def _look_ahead(source: Source) -> None:
    """Read the archive for whoever comes first; what is wrong with it they are told."""
    try:
        source.problem()
    except Exception:
        _log.debug("the archive cannot be read yet", exc_info=True)


def _open_browser(url: str) -> None:
    """Open a browser once the server answers; never fail where there is none."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return  # on a console, `webbrowser` would start one of text in this terminal
    for _ in range(100):
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=1).close()
            break
        except OSError:
            threading.Event().wait(0.1)
    try:
        webbrowser.open(url)
    except Exception:  # a broken browser is no reason to stop the server
        _log.debug("no browser", exc_info=True)
