"""Which raw files have arrived whole, and which of them wait, and why.

All that is believed is what the folder shows, look after look: events of a file system are lost on networks, names are
changed behind them, and a clock that stamps files may be another one than ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.errors import RawFileError, shown_path
from calib.ingest import UNREADABLE, rules_hash
from calib.profile import CubeLayout, Profile
from calib.raw import find_raw, identify
from calib.raw.files import open_stream, refusing
from calib.raw.hdus import walk
from calib.raw.layout import pick

__all__ = ["Arrivals", "why_unfinished"]

Stamp = tuple[int, int]

# More paths than this are not named in one query.
_FEW = 500
_PIECE_BYTES = 2**20


def why_unfinished(path: Path, profile: Profile) -> str:
    """Return why a raw file cannot be taken for whole; an empty text if it can.

    Every header is read and every unit seen to be as long as it claims; what is packed with gzip is unpacked to its
    end. Whatever the profile asks for has to be there, so that a file that is written unit by unit waits for its last.
    """
    try:
        with refusing(path):
            stream, size = open_stream(path)
            with stream:
                hdus = list(walk(stream, size))
                while size is None and stream.read(_PIECE_BYTES):
                    pass
        layout = profile.layout
        if not identify(path, profile).obs_type.startswith("supplied-") and isinstance(layout, CubeLayout):
            # The headers say all without it, the run does not; and it may be the last to be written.
            return "" if pick(hdus, profile).table else f"no table {layout.frames_table}"
    except RawFileError as error:
        return error.reason
    return ""


@dataclass
class _Seen:
    """A file that waits: how it looked since when, and what is wrong with it once that was found out."""

    stamp: Stamp
    since_s: float
    why: str | None = None


class Arrivals:
    """The raw files of some folders, looked at again and again.

    Parameters
    ----------
    folders : iterable of Path
        Folders and files. One that is not there is waited for.
    settle_s : float
        A file has to stay as it is for this long.
    patience_s : float
        A file that is not whole and has stayed as it is for this long is given to the run nevertheless, which refuses
        it with the reason.
    say : callable
        Takes a line for the log.

    Attributes
    ----------
    missing : dict of Path to str
        Folders that are not there, with the reason.
    """

    def __init__(
        self,
        folders: Iterable[Path],
        *,
        settle_s: float,
        patience_s: float,
        say: Callable[[str], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.folders = tuple(dict.fromkeys(Path(f).absolute() for f in folders))
        self.missing: dict[Path, str] = {}
        self._settle_s, self._patience_s, self._say, self._clock = settle_s, patience_s, say, clock
        self._rules = ""
        self._known: dict[Path, Stamp] = {}
        self._seen: dict[Path, _Seen] = {}
        self._tried: dict[Path, float] = {}
        self._told: dict[Path, str] = {}

    @property
    def waiting(self) -> dict[Path, str]:
        """Files that wait, with the reason, in the order of their names."""
        words = {None: "still being written, or just arrived", "": "whole, its turn comes"}
        return {p: words.get(s.why) or str(s.why) for p, s in sorted(self._seen.items())}

    def look(self, archive: Archive, profile: Profile) -> list[Path]:
        """Look once; return the files that a run should take in now."""
        now, rules = self._clock(), rules_hash(profile)
        if rules != self._rules:
            # Other rules of reading headers: every file is looked at anew.
            self._known.clear()
            self._seen.clear()
            self._rules = rules
        fresh, listed = {}, self._listed(archive.root)
        for path in listed:
            try:
                found = os.stat(path)
            except OSError:
                # Gone meanwhile, or a dangling link, of which there is nothing to take in.
                continue
            stamp = (found.st_size, found.st_mtime_ns)
            if self._known.get(path) != stamp and now - self._tried.get(path, -self._patience_s) >= self._patience_s:
                fresh[path] = stamp
        gone = self._known.keys() - set(listed)
        for path in gone:
            del self._known[path]
        for path in self._recorded(archive, fresh):
            self._known[path] = fresh.pop(path)
        self._seen = {p: s for p, s in self._seen.items() if p in fresh}
        return [path for path, stamp in fresh.items() if self._is_ready(path, stamp, now, profile)]

    def taken(self, archive: Archive, paths: Iterable[Path]) -> None:
        """Note that a run has seen files; those that could not be read come again after a while."""
        now = self._clock()
        for path in paths:
            self._tried[path] = now
            self._told.pop(path, None)
            seen = self._seen.pop(path, None)
            if seen is not None and path in self._recorded(archive, {path: seen.stamp}):
                self._known[path] = seen.stamp
                del self._tried[path]
            elif seen is not None and self._stamp(path) != seen.stamp:
                # It was changed while the run read it: no reason to be patient.
                del self._tried[path]

    def _stamp(self, path: Path) -> Stamp | None:
        try:
            found = os.stat(path)
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def _listed(self, own: Path) -> list[Path]:
        there, missing = list(self.folders), {}
        while True:
            try:
                found = find_raw(there, own)
                break
            except RawFileError as error:
                missing[error.path] = error.reason
                there.remove(error.path)
            except OSError as error:
                # It went away while it was listed; what was found so far is not all, and all will be found later.
                missing.update(dict.fromkeys(there, f"cannot be listed: {error.strerror}"))
                found = []
                break
        for folder, why in missing.items():
            if folder not in self.missing:
                self._say(f"waits for {shown_path(folder)}: {why}")
        for folder in self.missing.keys() - missing.keys():
            self._say(f"{folder} is there again")
        self.missing = missing
        return found

    def _recorded(self, archive: Archive, fresh: dict[Path, Stamp]) -> list[Path]:
        """Return which of the files the archive knows just as they are."""
        if not fresh:
            return []
        f, named = schema.files, {shown_path(p): p for p in fresh}
        query = sa.select(f.c.path, f.c.size, f.c.mtime_ns, f.c.status, f.c.reason).where(
            f.c.rules_hash == self._rules, f.c.status != "gone"
        )
        if len(fresh) <= _FEW:
            query = query.where(f.c.path.in_(list(named)))
        return [
            path
            for r in archive.rows(query)
            if (path := named.get(r["path"]))
            and fresh[path] == (r["size"], r["mtime_ns"])
            and not (r["status"] == "refused" and r["reason"].startswith(UNREADABLE))
        ]

    def _is_ready(self, path: Path, stamp: Stamp, now: float, profile: Profile) -> bool:
        seen = self._seen.get(path)
        if seen is None or seen.stamp != stamp:
            if seen is not None:
                self._tell(path, "still being written")
            self._seen[path] = _Seen(stamp, now)
            return False
        unchanged_s = now - seen.since_s
        if unchanged_s < self._settle_s:
            return False
        if seen.why is None or seen.why.startswith(UNREADABLE):
            seen.why = why_unfinished(path, profile)
        if seen.why and unchanged_s < self._patience_s:
            self._tell(path, seen.why)
            return False
        return True

    def _tell(self, path: Path, why: str) -> None:
        if self._told.get(path) != why:
            self._told[path] = why
            self._say(f"waits for {shown_path(path)}: {why}")
