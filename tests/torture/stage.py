"""What the torture works on: a few nights of a small camera, the archive they end in, and children to be killed.

A child is forked from a process that has all libraries loaded and all kernels compiled, so that a run costs no more
than its work; it does what the command ``calib`` does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calib.archive.database import Archive
from calib.archive.verify import verify_archive
from calib.cli import main as calib
from calib.simulate import CloudGradient

# As under pytest, which puts the folder of the shared helpers there.
sys.path.insert(0, str(Path(__file__).parents[1]))

from small_camera import content, differences, rows, run, small, small_text, survey_of, write_raw

__all__ = [
    "Stage",
    "content",
    "differences",
    "ended",
    "faults_of",
    "fork",
    "rows",
    "run",
    "set_stage",
    "small",
    "small_text",
]

Hook = Callable[[], None]


@dataclass(frozen=True)
class Stage:
    """Raw nights, the profile to read them with, and the archive that an uninterrupted run makes of them."""

    top: Path
    raw: Path
    profile: Path
    whole: Path

    def order(self, command: str, archive: Path, raw: Path | None = None, *options: str) -> list[str]:
        """The words of a command."""
        where = ["--archive", str(archive), "--instrument", str(self.profile)]
        return [command, str(raw or self.raw), *where, *options]


def set_stage(top: Path, nights: int = 3) -> Stage:
    """Simulate the nights and make the whole archive, which also compiles every kernel."""
    top.mkdir(exist_ok=True)
    survey = survey_of(nights, scans={1: 1}).with_fault(CloudGradient(night=nights - 1, percent=4.0))
    raw = write_raw(survey, top / "raw")
    profile = top / "small.toml"
    profile.write_text(small_text(), "utf-8")
    run(top / "whole", raw)
    return Stage(top, raw, profile, top / "whole")


def fork(arguments: list[str], log: Path, hook: Hook | None = None) -> int:
    """Start ``calib`` in a child; return its process id."""
    assert threading.active_count() == 1, "a child inherits the locks of other threads, and not the threads"
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    status = 70
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if hook is not None:
            hook()
        calib(arguments, prog_name="calib")
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(pid: int, patience_s: float = 600.0) -> int:
    """Wait for a child; return its exit status, negative for the signal that ended it."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise TimeoutError(f"child {pid} did not end")


def faults_of(archive: Path, stage: Stage, names: dict[str, str] | None = None) -> list[str]:
    """What tells an archive from the whole one, and what is wrong with it by its own account."""
    told = differences(content(archive, names=names), content(stage.whole, names=names))
    told += [f"left behind: {p.relative_to(archive)}" for p in archive.rglob("*.part")]
    opened = Archive(archive)
    told += verify_archive(opened, lambda *_: None)[1]
    opened.close()
    told += [f"run {r['id']} is said to be running" for r in rows(archive, "runs") if r["status"] == "running"]
    return told
