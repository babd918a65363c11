"""What the control charts say of a night: read a night at a time, when it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive

__all__ = ["NO_STATES", "States", "read_states"]

Row = dict[str, Any]


class States:
    """The states of every night.

    Parameters
    ----------
    read : callable
        Night → (band, product) → row of the table of states.
    """

    def __init__(self, read: Callable[[str], dict[tuple[str, str], Row]]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._known: dict[str, dict[tuple[str, str], Row]] = {}

    def of(self, night: str, band: str, product: str) -> Row | None:
        """Return the row of a night, band and product; None if it was not judged."""
        with self._lock:
            found = self._known.get(night)
        if found is None:
            found = self._read(night)
            with self._lock:
                self._known[night] = found
        return found.get((band, product))


NO_STATES = States(lambda _: {})


def read_states(archive: Archive, night: str) -> dict[tuple[str, str], Row]:
    """Read the states of a night."""
    s = schema.states
    return {(r["band"], r["product"]): r for r in archive.rows(sa.select(s).where(s.c.night == night))}
