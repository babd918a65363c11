"""Events of a browser, each once and one after the other.

A browser sends its events as values of a property, and a value that is overwritten before the server has looked is
lost; the server looks with several threads, which overtake each other. So a browser repeats its latest events, each
with a number, and a session takes what it has not seen yet, in order, one at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import panel as pn

__all__ = ["Inbox", "one_at_a_time"]

MOST_EVENTS = 60

_locks: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()  # type: ignore[type-arg, unused-ignore]
_new = threading.Lock()


def one_at_a_time() -> Any:
    """Return the lock of the session that this thread works for; a session holds it while it changes its page."""
    document = pn.state.curdoc
    if document is None:
        return threading.RLock()
    with _new:
        return _locks.setdefault(document, threading.RLock())


class Inbox:
    """Takes each event once, however often and in what order the values with it arrive.

    Parameters
    ----------
    act : callable
        Called with what the browser says of the event.
    """

    def __init__(self, act: Callable[..., None]) -> None:
        self._act, self._seen = act, 0

    def take(self, value: Mapping[str, Any]) -> None:
        """Take what is new in a value: ``recent`` is a list of ``[number, ...]``, the numbers ascending."""
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
