"""What belongs to a night, read when somebody asks for it and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["ByNight"]

T = TypeVar("T")


class ByNight(Generic[T]):
    """Reads what belongs to a night once; several threads may ask.

    Parameters
    ----------
    read : callable
        Night → what belongs to it.
    """

    def __init__(self, read: Callable[[str], T]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._known: dict[str, T] = {}

    def of(self, night: str) -> T:
        """Return what belongs to a night."""
        with self._lock:
            if night in self._known:
                return self._known[night]
        # Not under the lock: another night must not wait for this one.
        found = self._read(night)
        with self._lock:
            return self._known.setdefault(night, found)

    def known(self) -> dict[str, T]:
        """Return what was asked for so far, by night."""
        with self._lock:
            return dict(self._known)
