"""From the name of a night to its report in a file."""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path

from calib.errors import ArchiveError, CalibError
from monitor.collect import Collector, Snapshot
from monitor.report.page import report_html

__all__ = ["find_night", "write_report"]


def find_night(collector: Collector, snapshot: Snapshot, night: str) -> str:
    """Return the night that is meant: itself, or the newest one for ``latest``.

    A night whose raw files are known and wait for a run is a night, too.

    Raises
    ------
    ArchiveError
        If there is no such night.
    """
    known = sorted({*snapshot.nights, *(n for n, _, _ in snapshot.activity.waiting)})
    root = collector.root
    if not known:
        raise ArchiveError(f"{root} holds no night yet; fill it with `calib run RAW --archive {root}`")
    if night == "latest":
        return known[-1]
    if night in known:
        return night
    try:
        wanted = date.fromisoformat(night)
    except ValueError:
        raise ArchiveError(f"{night!r} is no night; give it as YYYY-MM-DD, or say latest ({known[-1]})") from None
    near = min(known, key=lambda n: abs((date.fromisoformat(n) - wanted).days))
    raise ArchiveError(f"there is no night {night} in {root}; the nearest is {near}, latest is {known[-1]}")


def write_report(root: Path, night: str, out: str) -> str:
    """Write the report of a night to a file, or to standard output for ``-``; return the night.

    A file is written beside its place and renamed, so that nobody opens half of one.

    Raises
    ------
    CalibError
        If there is no such archive or night, or the file cannot be written.
    """
    collector = Collector(root)
    try:
        snapshot = collector.snapshot()
        found = find_night(collector, snapshot, night)
        text = report_html(collector, snapshot, found)
    finally:
        collector.archive.close()
    if out == "-":
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
        return found
    path = Path(out)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            beside.write_text(text, "utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise CalibError(f"{path} cannot be written: {error.strerror}; choose another place with -o") from error
    return found
