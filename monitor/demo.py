"""The demo: a survey of its own, simulated and calibrated night by night while its page is open.

The nights are calibrated by a child process, so that the page stays quick, and simulated by a child of that one, a
few nights ahead. A child ends with its parent, however that ends: it reads its standard input, which the system closes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from calib.errors import CalibError
from calib.profile import load_profile

if TYPE_CHECKING:
    from calib.simulate import Survey

__all__ = ["Plan", "fill", "run_demo", "simulate"]

NIGHT_BYTES, SCANS_BYTES, FRAMES_BYTES = 110e6, 80e6, 220e6
"""What a night takes on disk: its darks and flats; what scans add on the average, and their final frames."""


@dataclass(frozen=True)
class Plan:
    """What a demo consists of.

    Attributes
    ----------
    nights, seed : int
    start : str
        First night, ISO date.
    frames : bool
        Whether the final frames of scans are written.
    """

    nights: int
    seed: int
    start: str
    frames: bool = False

    @classmethod
    def until_last_night(cls, nights: int, seed: int, frames: bool) -> Plan:
        """Plan nights the last of which is the one that ended this morning, by the clock of the site."""
        site = timezone(timedelta(hours=load_profile("2mass").site.utc_offset_hours))
        start = datetime.now(site).date() - timedelta(days=nights)
        return cls(nights, seed, start.isoformat(), frames)

    @classmethod
    def read(cls, folder: Path) -> tuple[Plan, bool] | None:
        """Return the plan that a folder was begun with and whether it is complete; None if it holds no demo."""
        try:
            found = json.loads((folder / "demo.json").read_text("utf-8"))
            complete = bool(found.pop("complete"))
            return cls(**found), complete
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CalibError(f"{folder / 'demo.json'} cannot be read ({error}); choose another folder") from error

    def write(self, folder: Path, *, complete: bool) -> None:
        """Keep the plan in its folder."""
        beside = folder / ".demo.json.part"
        beside.write_text(json.dumps({**asdict(self), "complete": complete}, indent=1) + "\n", "utf-8")
        beside.replace(folder / "demo.json")

    @property
    def bytes_needed(self) -> float:
        """Roughly what the demo takes on disk."""
        return self.nights * NIGHT_BYTES + min(self.nights, 30) * (SCANS_BYTES + self.frames * FRAMES_BYTES)


def run_demo(folder: Path | None, nights: int, seed: int, port: int, show: bool, frames: bool = False) -> None:
    """Serve a demo, making what is not there yet; return when the server is stopped.

    Parameters
    ----------
    folder : Path or None
        Where raw nights and archive are kept for the next time; None for a folder that is removed at the end.
    nights, seed : int
        Number of nights, the last of which is last night; seed of all random numbers.
    port : int
    show : bool
        Open a browser, if there is a screen.
    frames : bool
        Write the final frames of scans.

    Raises
    ------
    CalibError
        If the port is taken, the folder holds something else, or the disk is too small.
    """
    from monitor.server import free_port, serve

    port = free_port(port=port)
    with _orderly_end(), _place(folder) as place:
        plan, complete = _settle_plan(place, Plan.until_last_night(nights, seed, frames))
        click.echo(f"Vesper is at http://127.0.0.1:{port}/ — stop with Ctrl-C")
        if complete:
            click.echo(f"{plan.nights} nights from {plan.start} on are in {place}")
            serve(place / "archive", port=port, show=show)
            return
        kept = "kept for the next time" if folder else "removed at the end"
        click.echo(
            f"{plan.nights} nights from {plan.start} on are made in {place} ({kept}); the page fills as they come"
        )
        with _child("fill", place) as child:
            serve(place / "archive", port=port, show=show, waiting=_Filling(place, child).words)


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    """Yield the demo's folder."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.absolute()
        return
    # /tmp may be memory, and a demo takes gigabytes: /var/tmp is where large temporary files belong.
    where = None if "TMPDIR" in os.environ or not os.access("/var/tmp", os.W_OK) else "/var/tmp"
    with tempfile.TemporaryDirectory(prefix="vesper-demo-", dir=where, ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Turn the signals that would leave folder and child behind into an exit that clears up."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    names = [n for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)]
    before = {n: signal.signal(getattr(signal, n), leave) for n in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _settle_plan(place: Path, wanted: Plan) -> tuple[Plan, bool]:
    """Return the plan to follow: the folder's own if it was begun with the same wishes."""
    known = Plan.read(place)
    if known is None:
        if any(place.iterdir()):
            raise CalibError(f"{place} holds something else than a demo; choose an empty folder with --dir")
        free = shutil.disk_usage(place).free
        if free < wanted.bytes_needed:
            raise CalibError(
                f"{wanted.nights} nights take about {wanted.bytes_needed / 1e9:.1f} GB, and {place} has room for "
                f"{free / 1e9:.1f} GB; ask for fewer with --nights, or for another place with --dir"
            )
        wanted.write(place, complete=False)
        return wanted, False
    plan, complete = known
    if (plan.nights, plan.seed, plan.frames) != (wanted.nights, wanted.seed, wanted.frames):
        what = f"{plan.nights} nights, seed {plan.seed}, {'with' if plan.frames else 'without'} frames"
        raise CalibError(f"{place} holds another demo ({what}); ask for the same, or choose another folder with --dir")
    return plan, complete


class _Filling:
    """What a page without a night says while the child process makes the first."""

    def __init__(self, place: Path, child: subprocess.Popen[bytes]) -> None:
        self._place, self._child = place, child

    def words(self) -> str:
        """Return the sentence; empty if there is nothing special to say."""
        status = self._child.poll()
        if status:
            return "The demo's nights could not be made; the terminal where it was started says why."
        if status == 0:
            return ""
        if any((self._place / "raw").glob("*")):
            return "The first night is being calibrated; this takes a few seconds, a minute after an update."
        return "The first night is being simulated; this takes a few seconds."


@contextmanager
def _child(task: str, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a task of this module in a process of its own, which ends with the block at the latest."""
    child = subprocess.Popen([sys.executable, "-m", "monitor.demo", task, str(place)], stdin=subprocess.PIPE)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdin is not None:
            child.stdin.close()


def simulate(place: Path) -> None:
    """Write the raw nights of a folder's plan that are not there yet."""
    from calib.simulate import write_night

    survey = _survey(place)
    raw, part = place / "raw", place / "part"
    raw.mkdir(exist_ok=True)
    for night in survey:
        if not (raw / night.date).exists():
            # A night is there when it is whole: one that was cut off is made again.
            shutil.rmtree(part, ignore_errors=True)
            write_night(night, part).rename(raw / night.date)
        if night.ordinal == 0 and hasattr(os, "nice"):
            os.nice(4)  # what is not needed yet can wait for the first night's calibration, and for the page
    shutil.rmtree(part, ignore_errors=True)


def fill(place: Path) -> None:
    """Simulate the nights of a folder's plan that are not there yet, and calibrate them as they come."""
    from calib.archive.database import Archive
    from calib.survey import run_survey
    from calib.terminal import progress_bar

    if hasattr(os, "nice"):
        os.nice(2)  # the page answers first
    with _child("simulate", place) as simulator, progress_bar("demo") as progress:
        plan, dates = _plan(place), [night.date for night in _survey(place)]
        archive, raw = Archive(place / "archive", create=True, database="sqlite"), place / "raw"
        done = 0
        progress(done, plan.nights, "simulate the first night")
        while done < plan.nights:
            while not (raw / dates[done]).exists():
                if simulator.poll():
                    raise CalibError("the simulation failed; what it says above is the reason")
                time.sleep(0.1)
            ready = sum((raw / date).exists() for date in dates)

            def show(now: int, _total: int, what: str, before: int = done) -> None:
                progress(min(before + now, plan.nights), plan.nights, what)

            # All nights that have come meanwhile at once, for settling a whole survey after each takes long.
            # Limits that somebody moved meanwhile stay moved.
            profile = archive.current_profile() or load_profile("2mass")
            report = run_survey(archive, profile, [raw], frames=plan.frames, progress=show)
            for message in report.messages:
                click.echo(message, err=True)
            done = ready
    archive.close()
    plan.write(place, complete=True)
    click.echo(f"all {plan.nights} nights are in", err=True)


def _plan(place: Path) -> Plan:
    known = Plan.read(place)
    if known is None:
        raise CalibError(f"{place} holds no demo")
    return known[0]


def _survey(place: Path) -> Survey:
    from calib.simulate import SCENARIOS

    plan = _plan(place)
    return SCENARIOS["survey"](nights=plan.nights, start=plan.start, seed=plan.seed)


def _end_with_parent() -> None:
    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _main() -> None:
    _end_with_parent()
    task, place = sys.argv[1:]
    try:
        {"fill": fill, "simulate": simulate}[task](Path(place))
    except KeyboardInterrupt:
        sys.exit(130)
    except CalibError as error:
        sys.exit(f"monitor: {error}")
    except OSError as error:
        sys.exit(f"monitor: {error.filename or place}: {error.strerror or error}")


if __name__ == "__main__":
    _main()
