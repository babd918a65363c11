"""Several writers on one archive: one writes, the others wait or say so, and nobody's work is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_camera import Night, assert_same, rows, run, survey_of, verdicts, write_raw

from calib.archive.database import Archive
from calib.archive.decisions import decide
from calib.archive.heartbeat import last_beat
from calib.archive.place import stamp_of
from calib.archive.verify import verify_archive
from calib.errors import ArchiveError
from calib.raw import find_raw


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Three nights in J, a scan on the second."""
    top = tmp_path_factory.mktemp("three")
    survey = survey_of(3, scans={1: 1})
    raw = write_raw(survey, top / "raw")
    run(top / "archive", raw)
    return Night(top / "archive", raw, survey)


def start(*order: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "calib.cli", *(str(o) for o in order)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that a process brings about, however slow the machine is."""
    for _ in range(3000):
        if what():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("it did not come to pass")


def has_verdict(archive: Path, night: str) -> bool:
    try:
        return stamp_of(archive) is not None and night in verdicts(archive)
    except ArchiveError:
        return False  # its tables are being made


def sound(archive: Path) -> None:
    opened = Archive(archive)
    assert verify_archive(opened, lambda *_: None)[1] == []
    opened.close()
    assert not list(archive.rglob("*.part"))
    assert {r["status"] for r in rows(archive, "runs")} <= {"done", "stopped"}


def test_runs_that_start_at_once_on_an_archive_that_is_not_there_yet(
    three: Night, tmp_path: Path, small_profile_file: Path
) -> None:
    archive = tmp_path / "archive"
    order = ("run", three.raw, "--archive", archive, "--instrument", small_profile_file)
    processes = [start(*order) for _ in range(4)]
    ends = [(p.communicate(timeout=600)[1], p.returncode) for p in processes]
    assert 0 in [status for _, status in ends]
    for said, status in ends:
        assert "Traceback" not in said
        assert status == 0 or ": another run (process " in said, said
    run(archive, three.raw)
    assert_same(archive, three.root)
    sound(archive)


def test_a_watch_a_run_and_the_page_take_turns(three: Night, tmp_path: Path, small_profile_file: Path) -> None:
    from monitor.jobs import jobs_of

    archive, inbox = tmp_path / "archive", tmp_path / "inbox"
    inbox.mkdir()
    files = find_raw([three.raw])
    targets = [inbox / f.relative_to(three.raw) for f in files]
    watch = start("watch", inbox, "--archive", archive, "--instrument", small_profile_file, "--interval", "0.2")
    try:
        for k, (source, to) in enumerate(zip(files, targets, strict=True)):
            to.parent.mkdir(exist_ok=True)
            part = to.with_name(to.name + ".part")
            shutil.copy(source, part)
            part.rename(to)
            if k == 2:
                # As soon as there is a verdict, somebody overrules it on the page, which settles at once.
                until(lambda: has_verdict(archive, three.date(0)), watch)
                opened = Archive(archive)
                what = {"kind": "override", "night": three.date(0), "band": "J", "product": "flat"}
                decide(opened, who="eva", value="rejected", reason="dome half shut", **what)
                opened.close()
                jobs_of(archive).settle()
            if k in (1, 4):
                # Somebody runs by hand, with the same files.
                other = start("run", inbox, "--archive", archive)
                said = other.communicate(timeout=600)[1]
                assert other.returncode == 0 or "another run" in said, said
        assert jobs_of(archive).wait(600)
        assert jobs_of(archive).problem == ""
        until(lambda: {r["path"] for r in rows(archive, "files", status="used")} == {str(t) for t in targets}, watch)

        def settled() -> bool:
            opened = Archive(archive)
            beat = last_beat(opened)
            free = not opened.being_written()
            opened.close()
            scans = rows(archive, "scans")
            return free and beat is not None and beat.doing == "waiting" and not any(r["stale"] for r in scans)

        until(settled, watch)
        watch.send_signal(signal.SIGTERM)
        _, log = watch.communicate(timeout=600)
    finally:
        watch.kill()
        watch.wait()
    assert watch.returncode == 0, log
    assert "failed" not in log
    assert verdicts(archive)[three.date(0)] == "rejected"
    run(archive, inbox)
    alone = three.copy(tmp_path / "alone")
    opened = Archive(alone.root)
    decide(
        opened,
        who="eva",
        kind="override",
        night=three.date(0),
        band="J",
        product="flat",
        value="rejected",
        reason="dome half shut",
    )
    run(opened, three.raw)
    assert_same(archive, alone.root, names={str(t): str(f) for t, f in zip(targets, files, strict=True)})
    sound(archive)


def test_readers_and_a_writer_at_once(three: Night, tmp_path: Path, small_profile_file: Path) -> None:
    """Who reads all the time sees whole nights only, and the run is not held up."""
    archive = tmp_path / "archive"
    Archive(archive, create=True).close()
    writer = start("run", three.raw, "--archive", archive, "--instrument", small_profile_file)
    looks = 0
    try:
        while writer.poll() is None:
            for row in rows(archive, "products"):
                # What a row names is there, whole, from the moment that the row is.
                assert os.path.getsize(archive / row["path"]) == row["size"]
            looks += 1
        said = writer.communicate(timeout=600)[1]
    finally:
        writer.kill()
        writer.wait()
    assert writer.returncode == 0, said
    assert looks > 0
    assert_same(archive, three.root)
