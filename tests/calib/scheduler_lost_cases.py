"""Schedulers that are lost in the middle of a run: what is said, and that the next run ends in the same archive."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from small_camera import Night, assert_same, rows, run, small

from calib.archive.database import Archive
from calib.archive.heartbeat import last_beat
from calib.archive.leave import TOKENS
from calib.archive.place import stamp_of
from calib.cli import main
from calib.errors import ArchiveError, SchedulerError
from calib.raw import find_raw
from calib.scheduling import DaskMapper, coordinator, dask_mapper
from calib.watch import Watch

pytest.importorskip("distributed", reason="Dask is not installed; `pip install 'vesper[dask]'` brings it")

pytestmark = [
    # Sockets that Dask leaves for the collector when the other end is killed.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed:pytest.PytestUnraisableExceptionWarning"),
]


class Servers:
    """A scheduler at a port of its own and a worker, as somebody would start them, that can be ended and come again."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler: Any = None
        self.worker: Any = None
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        here = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        self.scheduler = self._start("scheduler", "--port", str(self.port), *here)
        until(self._answers)
        self.worker = self._start("worker", self.address, "--nthreads", "1", "--no-nanny", *here)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(p for p in sys.path if p)
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                stdout=log,
                stderr=log,
                cwd=self._log.parent,
                env={**os.environ, "PYTHONPATH": path},
            )
        self._started.append(process)
        return process

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            assert self.scheduler.poll() is None, self._log.read_text()
            return False
        return True

    def end(self) -> None:
        for process in reversed(self._started):
            process.kill()
            process.wait()
        self._started.clear()


def until(what: Callable[[], bool]) -> None:
    """Wait for something, however slow the machine is."""
    for _ in range(1200):
        if what():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to pass")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    servers = Servers(tmp_path / "dask.log")
    try:
        servers.start()
        yield servers
    finally:
        servers.end()


def after(results: int, what: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Let something happen once so many results have come."""
    came, result = [0], DaskMapper._result

    def coming(*args: Any) -> Any:
        found = result(*args)
        came[0] += 1
        if came[0] == results:
            what()
        return found

    patch.setattr(DaskMapper, "_result", coming)


@pytest.mark.parametrize(
    ("number", "results", "words"),
    [
        (signal.SIGKILL, 1, "was lost; once it is back, the same command goes on from where this one stopped"),
        (signal.SIGKILL, 9, "was lost; once it is back, the same command goes on from where this one stopped"),
        (signal.SIGTERM, 5, "was lost; once it is back, the same command goes on from where this one stopped"),
        (signal.SIGSTOP, 5, "does not answer any more; once it does, the same command goes on from where this one"),
    ],
)
def test_a_run_whose_scheduler_is_lost_says_so_and_the_next_one_ends_it(
    number: signal.Signals,
    results: int,
    words: str,
    servers: Servers,
    four_nights: Night,
    tmp_path: Path,
    small_profile_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = tmp_path / "archive"
    order = ["run", str(four_nights.raw), "--archive", str(archive), "--instrument", str(small_profile_file)]
    order += ["--scheduler", servers.address]
    with monkeypatch.context() as patch:
        patch.setattr(coordinator, "DESERTED_S", 3)
        patch.setattr(coordinator, "ANSWER_S", 2)
        after(results, lambda: servers.scheduler.send_signal(number), patch)
        began = time.monotonic()
        done = CliRunner().invoke(main, order)
    assert done.exit_code == 1, done.output
    assert done.stderr.splitlines()[-1].startswith(f"main: the scheduler at {servers.address} {words}"), done.stderr
    assert "Traceback" not in done.output
    assert time.monotonic() - began < 60
    assert not list(archive.glob(f"{TOKENS}*"))
    assert len(rows(archive, "products")) < len(rows(four_nights.root, "products"))
    assert not [r for r in rows(archive, "files") if r["status"] == "refused"]

    servers.end()
    servers.start()
    done = CliRunner().invoke(main, order)
    assert done.exit_code == 0, done.output
    assert_same(archive, four_nights.root)
    assert not list(archive.rglob("*.part"))


def test_a_worker_that_is_mute_does_not_hold_a_run_for_ever(
    servers: Servers, four_nights: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "FIRST_ANSWER_S", 2)
    with dask_mapper(servers.address, tmp_path) as mapper:
        mapper._client.wait_for_workers(1, timeout=60)
        servers.worker.send_signal(signal.SIGSTOP)
        with pytest.raises(SchedulerError, match=r"one does not answer; end it .*, then run again$"):
            run(tmp_path / "archive", four_nights.raw, mapper=mapper)


def test_a_watch_outlives_its_scheduler(
    servers: Servers, four_nights: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once that there is none; when there is one again the work goes on."""
    log: list[str] = []
    archive, now_s = Archive(tmp_path / "archive", create=True), [0.0]
    watch = Watch(
        archive, [four_nights.raw], instrument=small(), interval_s=10, scheduler=servers.address, say=log.append
    )
    watch.arrivals._clock = lambda: now_s[0]

    def look() -> Any:
        now_s[0] += 10
        return watch.step()

    look()
    with monkeypatch.context() as patch:
        after(3, servers.scheduler.kill, patch)
        assert look() is None
    assert look() is None
    assert look() is None
    assert [line for line in log if line.startswith("failed")] == [
        f"failed: the scheduler at {servers.address} was lost; once it is back, the same command goes on from where "
        "this one stopped",
        f"failed: no Dask scheduler answers at {servers.address}; start one with `dask scheduler`, or correct the "
        "address, as tcp://host:8786",
    ]
    servers.end()
    servers.start()
    report = look()
    assert report is not None
    assert log[-1] == "goes on: what was in the way is gone"
    assert_same(archive.root, four_nights.root)


def test_a_watch_gives_its_jobs_to_workers(four_nights: Night, tmp_path: Path, small_profile_file: Path) -> None:
    """The command with workers of its own, which end with it."""
    archive, inbox = tmp_path / "archive", tmp_path / "inbox"
    shutil.copytree(four_nights.raw, inbox)
    words = ["watch", inbox, "--archive", archive, "--instrument", small_profile_file, "--interval", "0.2"]
    words += ["--scheduler", "local", "--workers", "1"]
    process = subprocess.Popen([sys.executable, "-m", "calib.cli", *map(str, words)], stderr=subprocess.PIPE, text=True)

    def finished() -> bool:
        assert process.poll() is None, process.communicate()
        try:
            beat = last_beat(Archive(archive)) if stamp_of(archive) else None
        except ArchiveError:
            return False  # its tables are being made
        return beat is not None and beat.doing == "waiting" and beat.last_night == four_nights.date(3)

    try:
        until(finished)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=600)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, log
    assert "failed" not in log
    assert log.splitlines()[-1].endswith("Z ends")
    names = {str(inbox / p.relative_to(four_nights.raw)): str(p) for p in find_raw([four_nights.raw])}
    assert_same(archive, four_nights.root, names=names)
