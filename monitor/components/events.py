"""Events of a browser, each once and one after the other.

A browser sends its events as values of a property, and a value that is overwritten before the server has looked is
lost; the server looks with several threads, which overtake each other. So a browser repeats its latest events, each
with a number, and a session takes what it has not seen yet, in order, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from monitor.components.turns import one_at_a_time, when_drawn

__all__ = ["Inbox"]

MOST_EVENTS = 60


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
