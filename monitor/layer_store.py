"""The images of the nights looked at last, kept for all sessions."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from monitor.compute_layers import Layer

__all__ = ["LayerStore"]


class LayerStore:
    """Keeps the images of the nights looked at last, for all sessions together.

    Parameters
    ----------
    limit_bytes : float
        How much memory they may take.
    """

    def __init__(self, limit_bytes: float = 256e6) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Any, ...], dict[str, Layer]] = OrderedDict()

    def get(self, key: tuple[Any, ...], make: Callable[[], dict[str, Layer]]) -> dict[str, Layer]:
        """Return what is kept under a key, or make and keep it."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > 2 and sum(x.nbytes for m in self._kept.values() for x in m.values()) > self._limit:
                self._kept.popitem(last=False)
        return made
