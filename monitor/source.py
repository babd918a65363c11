"""The archive behind a server: opened once it is there, and anew when another takes its place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from calib.archive.place import stamp_of
from calib.errors import CalibError
from monitor.collect import Collector

__all__ = ["Source"]


class Source:
    """Gives all sessions of a server one collector, or the reason why there is none.

    Parameters
    ----------
    root : Path
        The archive's folder; it may come into being later, or be replaced.
    waiting : callable, optional
        Returns what to say instead of the reason, or an empty text for the reason itself: whoever fills the archive
        knows better what is going on.
    """

    def __init__(self, root: Path, waiting: Callable[[], str] | None = None) -> None:
        self.root = root
        self._waiting = waiting or (lambda: "")
        self._lock = threading.Lock()
        self._collector: Collector | None = None
        self._opened: tuple[int, ...] | None = None

    def collector(self) -> Collector:
        """Return the collector of the archive that is in the folder now.

        Raises
        ------
        CalibError
            If there is none, or it cannot be used.
        """
        with self._lock:
            stamp = stamp_of(self.root)
            if self._collector is None or stamp is None or stamp != self._opened:
                if self._collector is not None:
                    self._collector.archive.close()
                self._collector = None
                self._collector = Collector(self.root)
                self._opened = stamp_of(self.root)
            return self._collector

    def serves(self, collector: Collector) -> bool:
        """Whether a session's collector reads what is in the folder now."""
        with self._lock:
            return collector is self._collector and self._opened == stamp_of(self.root)

    def problem(self) -> str:
        """Return why there is nothing to show, with what to do about it; empty if there is something."""
        try:
            # Whoever opens the page sees what there is now, also where no other page was open to see it come; of a long
            # archive at first what there was, if that is known.
            if self.collector().latest().nights:
                return ""
            reason = f"{self.root} holds no night yet; fill it with `calib run RAW --archive {self.root}`"
        except (CalibError, OSError) as error:
            reason = str(error)
        except sa.exc.DatabaseError as error:
            first = str(error.orig).partition("\n")[0]
            reason = (
                f"{self.root} cannot be read ({first}); if another version of the program made it, make a new one with "
                "`calib run RAW --archive DIR`"
            )
        return self._waiting() or reason
