"""Events of a browser, each once and one after the other.

A browser sends its events as values of a property, and a value that is overwritten before the server has looked is
lost; the server looks with several threads, which overtake each other. So a browser repeats its latest events, each
with a number, and a session takes what it has not seen yet, in order, one at a time.

Nor does what the server changes always arrive: between the moment a browser asks for the page and the one in which it
says that all is drawn, Panel drops it. So whatever is to change a page by itself waits for that word.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import panel as pn

__all__ = ["Inbox", "PageHandle", "one_at_a_time", "when_drawn"]

MOST_EVENTS = 60

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


def when_drawn(act: Callable[[], None]) -> None:
    """Do something to the page of the session that this thread works for, now or as soon as its browser has drawn it.

    Parameters
    ----------
    act : callable
        Changes what is shown. Before the browser's word its changes would be lost.
    """
    if pn.state.loaded:
        act()
    else:
        pn.state.onload(act)


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

    def tell(self, act: Callable[[], None]) -> None:
        """Do something to the page once it is drawn, in its turn; at once where no browser is served.

        Parameters
        ----------
        act : callable
            Called with the session locked; not at all if the window was closed meanwhile.
        """
        if self._loop is None:
            act()
            return
        try:
            self._loop.call_soon_threadsafe(self._ask, act)
        except RuntimeError:  # the server has ended
            _log.debug("a server was stopped before its page could be told", exc_info=True)

    def _ask(self, act: Callable[[], None]) -> None:
        def locked() -> None:
            with one_at_a_time():
                act()

        try:
            self._document.add_next_tick_callback(partial(when_drawn, locked))
        except (AttributeError, RuntimeError):  # as Bokeh says it of a document whose session has ended
            _log.debug("a page was closed before it could be told", exc_info=True)


_loops: WeakKeyDictionary[Any, asyncio.AbstractEventLoop] = WeakKeyDictionary()


def _loop_of(document: Any) -> asyncio.AbstractEventLoop | None:
    """Return the loop that serves a document; it built the page, later parts of it are built by other threads."""
    try:
        return _loops.setdefault(document, asyncio.get_running_loop())
    except RuntimeError:
        return _loops.get(document)


class Inbox:
    """Takes each event once, however often and in what order the values with it arrive.

    Parameters
    ----------
    act : callable
        Called with what the browser says of the event, once the page is drawn.
    """

    def __init__(self, act: Callable[..., None]) -> None:
        self._act, self._seen = act, 0

    def take(self, value: Mapping[str, Any]) -> None:
        """Take what is new in a value: ``recent`` is a list of ``[number, ...]``, the numbers ascending."""
        when_drawn(partial(self._take, value))

    def _take(self, value: Mapping[str, Any]) -> None:
        with one_at_a_time():
            # A browser of ours repeats thirty at most; who sends thousands at once is not served all of them.
            for number, *said in list(value.get("recent", []))[-MOST_EVENTS:]:
                if number > self._seen:
                    self._seen = number
                    self._act(*said)


RECENT_JS = """
      // The latest events, each with a number, for the server may miss the value that brought it the first.
      let number = Date.now()
      const recent = []
      const note = (again, ...said) => {
        if (again && recent.length && recent.at(-1)[1] === said[0]) recent.pop()
        recent.push([++number, ...said])
        if (recent.length > 30) recent.shift()
        return {recent: [...recent]}
      }
"""
