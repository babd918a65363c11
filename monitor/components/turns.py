"""When a page may be changed: one thing at a time, and not before a browser has drawn it.

Between the moment a browser asks for a page and the one in which it says that all is drawn, Panel drops what is
changed. So whatever is to change a page by itself waits for that word, and so does what a user does meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import panel as pn
from panel.io.state import set_curdoc

__all__ = ["PageHandle", "is_drawn", "one_at_a_time", "wait_for_browser", "when_drawn"]

_log = logging.getLogger(__name__)

_locks: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()  # type: ignore[type-arg, unused-ignore]
_new = threading.Lock()


def one_at_a_time() -> Any:
    """Return the lock of the session that this thread works for; a session holds it while it changes its page."""
    document = pn.state.curdoc
    if document is None:
        return threading.RLock()
    with _new:
        return _locks.setdefault(document, threading.RLock())


# Until the browser has drawn the page ---------------------------------------------------------------------------------


class _Queue:
    """What waits for a browser's word, in order.

    Panel has a list of its own, but what fails there takes the rest along, and what comes later may be done before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._acts: deque[Callable[[], None]] = deque()
        self._worker = 0
        self.drawn = False

    def add(self, act: Callable[[], None]) -> None:
        with self._lock:
            # What is done in its turn may ask for more: that belongs to it.
            if not self.drawn and self._worker != threading.get_ident():
                self._acts.append(act)
                return
        act()

    def work(self) -> None:
        """Do what waits; whoever comes meanwhile is last."""
        self._worker = threading.get_ident()
        while True:
            with self._lock:
                if not self._acts:
                    self.drawn, self._worker = True, 0
                    return
                act = self._acts.popleft()
            try:
                act()
            except Exception:  # the others still wait
                _log.exception("what waited for the page to be drawn failed")

    def forget(self) -> None:
        with self._lock:
            self._acts.clear()


_queues: WeakKeyDictionary[Any, _Queue] = WeakKeyDictionary()


def wait_for_browser() -> None:
    """Have the page that is being built wait for its browser; called once, by whoever builds it."""
    queue = _queues[pn.state.curdoc] = _Queue()
    pn.state.onload(queue.work)
    # What waits knows its session, and so would keep it.
    pn.state.on_session_destroyed(lambda _: queue.forget())


def _queue() -> _Queue | None:
    document = pn.state.curdoc
    return None if document is None else _queues.get(document)


def is_drawn() -> bool:
    """Return whether the page that this thread works for is drawn, or there is no browser that would."""
    queue = _queue()
    return queue is None or queue.drawn


def when_drawn(act: Callable[[], None]) -> None:
    """Do something to the page that this thread works for: now, or in its turn once the browser has drawn it.

    Parameters
    ----------
    act : callable
        Changes what is shown.
    """
    queue = _queue()
    if queue is None:
        act()
    else:
        queue.add(act)


# From elsewhere -------------------------------------------------------------------------------------------------------


class PageHandle:
    """The page that this thread builds or changes, for others that will have something to tell it.

    A document must not be spoken to from another thread: what it is asked for while it collects changes, or while its
    session begins, can be lost. So the loop that serves it is asked, and does it in its own time.
    """

    def __init__(self) -> None:
        self._document = pn.state.curdoc
        self._loop = None if self._document is None else _loop_of(self._document)

    @property
    def live(self) -> bool:
        """Whether a browser is served; in tests and reports none is."""
        return self._loop is not None

    def tell(self, act: Callable[[], None], delay_ms: int = 0) -> None:
        """Do something to the page once it is drawn, in its turn; at once where no browser is served.

        Parameters
        ----------
        act : callable
            Called with the session locked; not at all if the window was closed meanwhile.
        delay_ms : int
            How much later.
        """
        if self._loop is None:
            act()
            return
        try:
            self._loop.call_soon_threadsafe(self._ask, act, delay_ms)
        except RuntimeError:  # the server has ended
            _log.debug("a server was stopped before its page could be told", exc_info=True)

    def _ask(self, act: Callable[[], None], delay_ms: int) -> None:
        def locked() -> None:
            with one_at_a_time():
                act()

        def turn() -> None:
            # Bokeh's current document is one for all threads: another's may be on top of it.
            with set_curdoc(self._document):
                when_drawn(locked)

        try:
            self._document.add_timeout_callback(turn, delay_ms)
        except (AttributeError, RuntimeError):  # as Bokeh says it of a document whose session has ended
            _log.debug("a page was closed before it could be told", exc_info=True)


_loops: WeakKeyDictionary[Any, asyncio.AbstractEventLoop] = WeakKeyDictionary()


def _loop_of(document: Any) -> asyncio.AbstractEventLoop | None:
    """Return the loop that serves a document; it built the page, later parts of it are built by other threads."""
    try:
        return _loops.setdefault(document, asyncio.get_running_loop())
    except RuntimeError:
        return _loops.get(document)
