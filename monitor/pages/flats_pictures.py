"""The gallery's pictures, made once for all sessions."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.archive.products import sky_offsets_path
from monitor.collect import Collector
from monitor.compute_gallery import Item, flat_map, sky_map
from monitor.plots.thumbnail import data_uri, png

__all__ = ["SIDE", "Cache", "address", "cached", "picture_id"]

SIDE = 128


class Cache:
    """What was used last, up to a number of bytes; safe among threads."""

    def __init__(self, limit_bytes: float) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable) -> Any:
        """Return what was put under a key, or None."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value; what was not used for longest goes when there is no room."""
        with self._lock:
            if key in self._held:
                self._bytes -= self._held.pop(key)[1]
            self._held[key] = value, size
            self._bytes += size
            while self._bytes > self._limit and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1][1]


# A map of 128×128 is 64 kB, its picture about 12 kB: a thousand of either.
_maps = Cache(80e6)
_pictures = Cache(24e6)


def _map_key(collector: Collector, item: Item, side: int) -> Hashable:
    row = item.row
    if "block" not in row:
        standard = tuple(row["standard"]) if isinstance(row["standard"], list) else ()
        return str(collector.root), item.key, row["key"], row["verdict_key"], standard, side
    path = sky_offsets_path(row["night"], row["band"], row["scan"], row["read"])
    try:
        stamp = (collector.root / path).stat().st_mtime_ns
    except OSError:
        stamp = 0
    return str(collector.root), item.key, stamp, row["level_dn"], side


def picture_id(collector: Collector, item: Item, stretch: float, side: int = SIDE) -> str:
    """Return the name under which the browser keeps an item's picture."""
    return hashlib.blake2s(repr((_map_key(collector, item, side), stretch)).encode(), digest_size=10).hexdigest()


def cached(name: str) -> str | None:
    """Return a picture's address if it was made before; empty text if there is none to make."""
    found: str | None = _pictures.get(name)
    return found


def address(collector: Collector, item: Item, stretch: float, side: int = SIDE) -> str:
    """Return a picture's address, made now if it was not before; empty text where there is no image."""
    name = picture_id(collector, item, stretch, side)
    found = cached(name)
    if found is not None:
        return found
    key = _map_key(collector, item, side)
    image: NDArray[np.float32] | None = _maps.get(key)
    if image is None:
        make = sky_map if "block" in item.row else flat_map
        image = make(collector, item.row, side)
        if image is None:
            # Not kept: the product may be written a moment later.
            return ""
        _maps.put(key, image, image.nbytes)
    uri = "" if not np.isfinite(image).any() else data_uri(png(image, -stretch, stretch))
    _pictures.put(name, uri, len(uri) + 100)
    return uri
