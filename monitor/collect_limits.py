"""What the page Limits weighs: everything that was judged, read once a revision for all sessions of a server.

A survey has millions of sky offsets, and to read them takes a while: a thread does, and sessions are told when it is
done. Until then the page says so. After that only the sky offsets of nights that changed are read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from calib.archive.history import AlertTables, judged_under, read_alert_tables, read_judged
from calib.archive.versions import Version, versions
from calib.judged import Judged
from calib.profile import Profile
from monitor.collect_judged import JudgedOffsets

__all__ = ["SUBJECTS", "History", "Past", "history_of"]

_log = logging.getLogger(__name__)

# What cannot be read is tried again after a pause, twice as long each time.
PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

SUBJECTS = {"dark": "Darks", "flat": "Flats", "sky_offset": "Sky offsets"}


@dataclass(frozen=True)
class Past:
    """The survey as it was judged, at one revision of the archive.

    Attributes
    ----------
    revision : int
    versions : tuple of Version
        Of the profile, the oldest first.
    under : dict
        Version number → how many verdicts were made under it; 0 stands for a profile that is no version.
    judged : dict
        Subject → everything that was judged.
    alerts : AlertTables
    """

    revision: int
    versions: tuple[Version, ...]
    under: dict[int, int]
    judged: dict[str, Judged]
    alerts: AlertTables

    @property
    def latest(self) -> Version:
        """The current version."""
        return self.versions[-1]

    @property
    def base(self) -> Profile:
        """The profile under which most verdicts were made."""
        number = max(self.under, key=lambda n: (self.under[n], n), default=0)
        return next((v.profile for v in self.versions if v.number == number), self.latest.profile)


class History:
    """Reads the past of one archive.

    Parameters
    ----------
    collector : Collector
    """

    def __init__(self, collector: Any) -> None:
        self._archive = collector.archive
        self._offsets = JudgedOffsets(collector.archive)
        self._lock = threading.Lock()
        self._past: Past | None = None
        self._reader: threading.Thread | None = None
        self._waiting: set[Callable[[], None]] = set()
        self._failures, self._again_at = 0, 0.0
        self.problem = ""

    def past(self, revision: int, ready: Callable[[], None] | None) -> Past | None:
        """Return the past at a revision, or what is known meanwhile; None where nothing is.

        Parameters
        ----------
        revision : int
        ready : callable or None
            Called once from another thread when it was read or could not be, however often it was handed over
            meanwhile; None to wait for it. Not called for some time after it could not be read: ask again.
        """
        with self._lock:
            if self._past is not None and self._past.revision >= revision:
                return self._past
            if ready is not None:
                if time.monotonic() >= self._again_at:
                    self._waiting.add(ready)
                    self._start_reader()
                return self._past
        return self.read()

    def read(self) -> Past:
        """Read what changed, and all that is quick to read, now."""
        revision = self._archive.revision()
        known = tuple(versions(self._archive))
        numbers = {v.hash: v.number for v in known}
        under: dict[int, int] = {}
        for profile_hash, n in judged_under(self._archive).items():
            number = numbers.get(profile_hash, 0)
            under[number] = under.get(number, 0) + n
        judged = {s: read_judged(self._archive, s, known[-1].profile) for s in SUBJECTS if s != "sky_offset"}
        judged["sky_offset"] = self._offsets.now()
        past = Past(revision, known, under, judged, read_alert_tables(self._archive))
        with self._lock:
            self._past = past
        return past

    def _start_reader(self) -> None:
        if self._reader is None:
            reader = threading.Thread(target=self._read_quietly, name="past verdicts", daemon=True)
            reader.start()
            self._reader = reader

    def _read_quietly(self) -> None:
        try:
            self.read()
            self._failures, self._again_at, self.problem = 0, 0.0, ""
        except Exception as error:  # the archive may be locked or moved for a moment; pages ask again
            problem = f"{type(error).__name__}: {error}"
            if problem != self.problem:
                _log.warning("past verdicts cannot be read", exc_info=True)
            self._failures += 1
            self._again_at = time.monotonic() + min(PAUSE_S * 2**self._failures, LONGEST_PAUSE_S)
            self.problem = problem
        finally:
            with self._lock:
                # Under one lock: for whoever waits from now on another thread is started.
                waiting, self._waiting, self._reader = self._waiting, set(), None
        for ready in waiting:
            try:
                ready()
            except Exception:  # its window may just have been closed; the others still wait
                _log.debug("a page could not be told of past verdicts", exc_info=True)


_known: WeakKeyDictionary[Any, History] = WeakKeyDictionary()
_guard = threading.Lock()


def history_of(collector: Any) -> History:
    """Return the history of a collector; all sessions share it."""
    with _guard:
        return _known.setdefault(collector, History(collector))
