"""What the control charts say of a night: read a night at a time, when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from monitor.by_night import ByNight

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
        self._rows = ByNight(read)

    def of(self, night: str, band: str, product: str) -> Row | None:
        """Return the row of a night, band and product; None if it was not judged."""
        return self._rows.of(night).get((band, product))


NO_STATES = States(lambda _: {})


def read_states(archive: Archive, night: str) -> dict[tuple[str, str], Row]:
    """Read the states of a night."""
    s = schema.states
    return {(r["band"], r["product"]): r for r in archive.rows(sa.select(s).where(s.c.night == night))}
