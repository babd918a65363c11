"""How the inner loops are compiled, and how pixels are shared among threads."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "CACHE",
    "F4",
    "F8",
    "LEAST_PIXELS",
    "PITCH",
    "THREADS",
    "TILE",
    "finite_kernel",
    "kernel",
    "on_all_cores",
    "shares",
]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

# Neighbouring pixels that are worked on together, frames as rows.
TILE = 512

# Samples from one row of a tile to the next: not a power of two, or all rows would share a few sets of the cache.
PITCH = TILE + 16

# Straight-line code has to be made, or fetched from disk, first: not for a few pixels.
LEAST_PIXELS = 1 << 14


def _threads() -> int:
    """Return how many threads share the pixels: beyond two they wait for memory; $VESPER_THREADS may say one."""
    wanted = os.environ.get("VESPER_THREADS", "")
    return max(1, min(2, os.cpu_count() or 1, int(wanted) if wanted.isdecimal() else 2))


# A worker that shares its machine with others takes one, or they would be in each other's way.
THREADS = _threads()


def _can_cache() -> bool:
    """Return whether compiled code can be kept on disk; a service user may own no writable folder."""
    folders = [os.environ.get("NUMBA_CACHE_DIR"), Path(__file__).parent / "__pycache__", Path.home()]
    return any(folder and os.access(folder, os.W_OK) for folder in folders)


CACHE = _can_cache()


@functools.cache
def _state_of_the_package() -> tuple[tuple[str, int, int], ...]:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def kernel(function: Callable[..., Any], *, fastmath: set[str] | bool = False) -> Any:
    """Compile a function when it is first called, without the interpreter's lock.

    A division by zero gives inf or NaN as in NumPy; it must not raise in the middle of a thread's share.
    """
    compiled = njit(function, cache=CACHE, nogil=True, error_model="numpy", fastmath=fastmath)
    # What is kept on disk holds what it calls, too: it is stale when any file of the package has changed.
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None:
        file._source_stamp = _state_of_the_package()
    return compiled


# For sums and extremes of values that are known to be finite: in any order, and so in vectors.
finite_kernel = functools.partial(kernel, fastmath={"nnan", "ninf", "nsz", "reassoc"})


def shares(n: int, whole: int = 1, *, among: int = THREADS) -> list[tuple[int, int]]:
    """Cut 0 … n into ``among`` stretches, (first, end), of a multiple of ``whole``; empty ones are left out."""
    edges = [min(-(-k * n // (among * whole)) * whole, n) for k in range(among + 1)]
    return [(a, b) for a, b in itertools.pairwise(edges) if a < b]


def on_all_cores(work: Callable[[int, int], None], n_pixels: int) -> None:
    """Call ``work(first, last)`` for stretches of pixels, side by side where there are many."""
    # Whole tiles to each, so that the tiles are the same however many cores there are.
    parts = shares(n_pixels, TILE) if n_pixels > 1 << 13 else [(0, n_pixels)]
    if len(parts) == 1:
        work(*parts[0])
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(work, *zip(*parts, strict=True)))
