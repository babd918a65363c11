"""Raw files taken in as they arrive, night after night, until somebody ends it.

A pass looks at the folders and at the archive; where there is something to do it calls the run that `calib run` calls,
with the files that have arrived whole. The archive is held no longer than a run works, and what other runs, decisions
and limits have changed meanwhile is seen by the next pass, for nothing is remembered that the archive says itself.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.camera import refuse_other_camera
from calib.archive.database import Archive, utc_now
from calib.archive.heartbeat import Heartbeat, beat
from calib.archive.locks import locked_file
from calib.archive.versions import replaced_words, versions
from calib.arrivals import Arrivals
from calib.errors import ArchiveBusy, ArchiveError, CalibError, RawFileError, shown_path
from calib.profile import Profile, load_profile
from calib.scheduling import mapper_for
from calib.survey import RunReport, RunStopped, run_survey, what_is_open

__all__ = ["Watch", "ending_on_signals", "log_line", "only_watch"]

# Of what waits and of what was refused so many are named.
_NAMED = 5

# A run that works for long gives a sign of life this often.
_BEAT_S = 30.0

# The longest pause after passes that failed, and how often the same failure is told again.
_LONGEST_PAUSE_S, _TELL_AGAIN_S = 600.0, 3600.0


@contextmanager
def only_watch(archive: Archive) -> Iterator[None]:
    """Be the one watch of an archive.

    Raises
    ------
    ArchiveError
        If there is another one.
    """

    def taken(holder: str) -> ArchiveError:
        return ArchiveError(f"another watch ({holder}) fills {archive.root}; end it, or give it all folders")

    with locked_file(archive.root / ".watch", taken):
        yield


@contextmanager
def ending_on_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGTERM or SIGINT has come."""
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Once(logging.Handler):
    """Hands warnings on to the log of the watch, each once: a pass would repeat them for ever."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say, self._said = say, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._said:
            self._said.add(text)
            self._say(text)


class Watch:
    """What takes raw files in as they arrive.

    Parameters
    ----------
    archive : Archive
    folders : iterable of Path
    instrument : Profile, optional
        Taken if the archive has none, or has never seen it; what was saved since it was given first stays.
    interval_s, patience_s : float
        Time between two passes; time after which a file that is not whole and does not change is refused.
    frames : bool
        Write the final frames of scans.
    workers : int
        Jobs at a time.
    scheduler : str, optional
        Address of a Dask scheduler whose workers do the jobs, or ``local``; threads of this process without.
    say : callable
        Takes a line for the log.
    stop : callable
        Whether to end.
    """

    def __init__(
        self,
        archive: Archive,
        folders: Iterable[Path],
        *,
        instrument: Profile | None = None,
        interval_s: float = 10.0,
        patience_s: float = 600.0,
        frames: bool = True,
        workers: int = 2,
        scheduler: str | None = None,
        say: Callable[[str], None],
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.archive, self.instrument, self.interval_s = archive, instrument, interval_s
        self.frames, self.workers, self.scheduler, self.say, self.stop = frames, workers, scheduler, say, stop
        # A little less than a pass takes, so that two looks in a row are enough.
        self.arrivals = Arrivals(folders, settle_s=0.9 * interval_s, patience_s=patience_s, say=say)
        self.heartbeat = Heartbeat(interval_s=interval_s)
        self._catch_up, self._busy, self._left_out, self._decided = True, False, False, False
        # What the last run could not finish: to be tried again when it is something else.
        self._left_open = ""
        self._failures, self._told_at = 0, -_TELL_AGAIN_S
        self._beat_at = 0.0

    def run(self) -> None:
        """Pass after pass, until told to stop.

        Raises
        ------
        ArchiveError
            If the profile given is that of another camera.
        """
        if self.instrument is not None and self._profile() is self.instrument:
            refuse_other_camera(self.archive, self.instrument)
        logger = logging.getLogger("calib")
        handler = _Once(self.say)
        logger.addHandler(handler)
        folders = ", ".join(str(f) for f in self.arrivals.folders)
        self.say(f"watches {folders} every {self.interval_s:g} s for {self.archive.root}")
        try:
            while not self.stop():
                self.step()
                self._pause()
        finally:
            logger.removeHandler(handler)
            with suppress(CalibError, sa.exc.SQLAlchemyError, OSError):
                self._beat("stopped")
            self.say("ends")

    def step(self) -> RunReport | None:
        """Make one pass; return what the run did, None if there was none."""
        report = None
        try:
            self._assure_archive()
            report = self._pass()
            if self.heartbeat.last_error:
                self.say("goes on: what was in the way is gone")
            self._failures, self.heartbeat.last_error = 0, ""
        except ArchiveBusy:
            if not self._busy:
                self.say("waits: another run writes to the archive")
            self._busy = True
        except RawFileError as error:
            # A file that was there a moment ago; the next look finds it where it is now.
            self.say(f"{error}; looks again")
        except RunStopped:
            self.say("stopped within a run; the next one goes on from here")
        except Exception as error:  # whatever it was, tomorrow's files are still to be taken in
            known = isinstance(error, CalibError | OSError)
            self._fail(str(error) if known else f"{type(error).__name__}: {error}")
        with suppress(CalibError, sa.exc.SQLAlchemyError, OSError):
            self._beat("waiting")
        # Should the database be put back from a backup meanwhile: an open connection would go on with the old one.
        self.archive.close()
        return report

    def _pass(self) -> RunReport | None:
        profile = self._profile()
        gone = bool(self.arrivals.missing)
        ready = self.arrivals.look(self.archive, profile)
        if gone and not self.arrivals.missing and self._left_out:
            # Runs have gone without the files of a folder that was away: all is looked at anew.
            with self.archive.begin() as connection:
                connection.execute(sa.delete(schema.meta).where(schema.meta.c.name == "settled"))
            self._left_out = False
        # While a folder is away, decisions wait: what follows from them may need its files.
        decided = not self.arrivals.missing and what_is_open(self.archive, profile) not in ("", self._left_open)
        # On the first pass there are other reasons: what a run left that was killed, or products that are damaged.
        self._decided = decided and not self._catch_up
        if not (ready or decided or self._catch_up) or self.stop():
            return None
        if self.archive.being_written():
            raise ArchiveBusy("another run writes to the archive")
        self._beat("running")
        replaced = replaced_words(self.archive, profile)
        # For this run alone: a scheduler that was started anew meanwhile is found, and no worker waits for the night.
        with mapper_for(self.scheduler, self.archive.root, self.workers) as mapper:
            report = run_survey(
                self.archive,
                profile if self.instrument else None,
                ready,
                frames=self.frames,
                workers=self.workers,
                mapper=mapper,
                progress=self._progress,
            )
        if replaced:
            self.say(replaced)
        self._busy, self._catch_up, self.instrument = False, False, None
        self._left_open = what_is_open(self.archive, profile)
        self._left_out = self._left_out or bool(self.arrivals.missing and report.messages)
        self.arrivals.taken(self.archive, ready)
        self._tell(report, ready)
        return report

    def _profile(self) -> Profile:
        """Return the profile of now: the archive's, for limits may have been saved since the last pass."""
        current = self.archive.current_profile()
        if self.instrument is not None and (current is None or current.hash != self.instrument.hash):
            if self.instrument.hash not in {v.hash for v in versions(self.archive)}:
                return self.instrument
            self.say("the archive's profile was changed since it took the one given; the archive's stays")
            self.instrument = None
        return current or load_profile("2mass")

    def _tell(self, report: RunReport, ready: list[Path]) -> None:
        f, names = schema.files, [shown_path(p) for p in ready]
        refused = []
        for k in range(0, len(names), 500):
            query = sa.select(f.c.path, f.c.reason).where(f.c.status == "refused", f.c.path.in_(names[k : k + 500]))
            refused += self.archive.rows(query)
        if names:
            self.heartbeat.last_file = names[-1]
        if report.nights:
            self.heartbeat.last_night = report.nights[-1]
        for row in refused[:_NAMED]:
            self.say(f"refused: {row['path']}: {row['reason']}")
        for message in report.messages:
            self.say(message)
        if (report.idle and not refused) or not (names or report.products or self._decided):
            return
        nights = " … ".join(dict.fromkeys((*report.nights[:1], *report.nights[-1:])))
        if not names:
            self.say(f"verdicts settled anew; {report.products} products made{f' in {nights}' if nights else ''}")
            return
        self.say(
            f"{len(names)} file{'s' if len(names) != 1 else ''} taken in"
            + (f", {len(refused)} of them refused" if refused else "")
            + f"; {report.products} products made{f' in {nights}' if nights else ''}"
        )

    def _fail(self, text: str) -> None:
        self._failures += 1
        self.heartbeat.errors += 1
        now = time.monotonic()
        if text != self.heartbeat.last_error or now - self._told_at > _TELL_AGAIN_S:
            self.say(f"failed: {text}")
            self._told_at = now
        self.heartbeat.last_error = text

    @property
    def pause_s(self) -> float:
        """How long the next pass is waited for: longer with each one in a row that failed, up to a bound."""
        # The exponent is bounded, too: two to the power of some thousand failures is no float.
        return min(self.interval_s * 2.0 ** min(self._failures, 30), max(_LONGEST_PAUSE_S, self.interval_s))

    def _pause(self) -> None:
        until = time.monotonic() + self.pause_s
        # In short naps: a signal only leaves a note, and a lock that its handler took could be the one we hold.
        while not self.stop() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    def _progress(self, done: int, total: int, what: str) -> None:
        if self.stop():
            raise RunStopped
        if time.monotonic() - self._beat_at > _BEAT_S:
            with suppress(CalibError):
                self._beat("running")

    def _assure_archive(self) -> None:
        place = self.archive.place
        if not place.is_server and not Path(place.name).exists():
            # Opened, it would be made anew, and empty.
            raise ArchiveError(f"{place.name} is gone; put it back, or end the watch and start it anew")

    def _beat(self, doing: str) -> None:
        self._assure_archive()
        waiting = self.arrivals.waiting
        self.heartbeat.doing, self.heartbeat.queue = doing, len(waiting)
        self.heartbeat.waits = [f"{shown_path(path)}: {why}" for path, why in list(waiting.items())[:_NAMED]]
        beat(self.archive, self.heartbeat)
        self._beat_at = time.monotonic()


def log_line(text: str) -> str:
    """Return a line of the log with its time."""
    return f"{utc_now()[:19]}Z {text}"
