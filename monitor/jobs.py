"""Runs that the page starts: verdicts settled anew after a decision, and scans calibrated again.

A run is a process of its own, so that the page stays quick and a crash of one harms not the other. Wishes that come
while one is at work are joined to one run after it. A run of anybody else is waited for.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic

from calib.archive.database import Archive
from calib.errors import CalibError

__all__ = ["Jobs", "jobs_of"]

_log = logging.getLogger(__name__)

# So long a run of somebody else is waited for, looked at so often.
PATIENCE_S, LOOK_S = 6 * 3600.0, 1.0

_known: dict[Path, Jobs] = {}
_guard = threading.Lock()


def jobs_of(root: Path) -> Jobs:
    """Return the jobs of an archive; all sessions of a server share them."""
    root = root.absolute()
    with _guard:
        if root not in _known:
            _known[root] = Jobs(root)
        return _known[root]


class Jobs:
    """The runs that a server has started on one archive.

    Attributes
    ----------
    problem : str
        Why the last run failed, in its own words; empty if it did not.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._settle = self._calibrate = False
        # Whether the run at work calibrates scans.
        self._scans = False
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.problem = ""

    def settle(self) -> None:
        """Let verdicts, canonicals and alerts follow what was decided; scans are marked, not touched."""
        with self._lock:
            self._settle = True
        self._start()

    def recalibrate(self) -> None:
        """Calibrate every scan that is not up to date."""
        with self._lock:
            self._calibrate = True
        self._start()

    @property
    def at_work(self) -> str:
        """What goes on, in words; empty if nothing does."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                return ""
            return "scans are being calibrated again" if self._scans else "verdicts are being settled anew"

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is left to do; return whether that came to be in time."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="runs of the page", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not (self._settle or self._calibrate):
                    # Under the lock: a wish from now on starts a thread of its own.
                    self._thread = None
                    return
                # One that calibrates scans settles all else as well. What is wished for from now on may come too late
                # for it, and waits for the next.
                self._scans, self._settle, self._calibrate = self._calibrate, False, False
            problem = self._run(self._scans)
            with self._lock:
                self.problem = problem

    def _run(self, scans: bool) -> str:
        command = [sys.executable, "-m", "calib.cli", "run", "--archive", str(self._root)]
        command += [] if scans else ["--no-scans"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BOKEH_")}
        until = monotonic() + PATIENCE_S
        while True:
            try:
                if not self._free(until):
                    return "another run holds the archive"
            except CalibError as error:
                _log.warning("no run: %s", error)
                return str(error)
            done = subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
            if done.returncode == 0:
                return ""
            if "another run" not in done.stderr:
                break
            # Somebody else's run began between the look and ours.
        _log.warning("%s ended with status %d: %s", " ".join(command), done.returncode, done.stderr)
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return said[-1] if said else f"the run ended with status {done.returncode}"

    def _free(self, until: float) -> bool:
        archive = Archive(self._root)
        try:
            while archive.being_written():
                if monotonic() > until:
                    return False
                self._stop.wait(LOOK_S)
        finally:
            archive.close()
        return True
