"""How the process gets its memory while frames are calibrated.

A scan takes and frees the same large arrays over and over. The C library gives those back to the system at once, which
hands out fresh pages next time, zeroed one after another while the other threads wait: a tenth of the time of a scan
from file to file.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["kept_memory"]

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8

# The raw frames of one scan fit; what is larger goes back at once, or little would be left of the bound on memory.
_KEPT_BYTES = 2**27
_NEVER = 2**31 - 1
# Where the C library ends by itself when a process has freed large arrays.
_USUAL_KEPT_BYTES = 2**25

_lock = threading.Lock()
_holders = 0


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep memory that is freed for the arrays to come; at the end all of it goes back to the system.

    Does nothing where the C library is not that of GNU. What is lasting: threads share one store of memory, and how
    much of it is kept no longer follows what the process uses.
    """
    global _holders
    with _lock:
        _holders += 1
        if _holders == 1:
            _keep(_KEPT_BYTES, _NEVER)
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                _keep(_USUAL_KEPT_BYTES, 2 * _USUAL_KEPT_BYTES)
                _give_back()


def _keep(largest: int, at_most: int) -> None:
    if (change := _function("mallopt")) is not None:
        # Every thread would keep a store of its own.
        change(_ARENA_MAX, 1)
        # Before its version 2.35 the library takes no more than this.
        _ = change(_MMAP_THRESHOLD, largest) or change(_MMAP_THRESHOLD, _USUAL_KEPT_BYTES)
        change(_TRIM_THRESHOLD, at_most)


def _give_back() -> None:
    if (trim := _function("malloc_trim")) is not None:
        trim(0)


def _function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
