"""Raw files as they arrive: half-written, renamed, twice, in any order; and whatever else happens meanwhile."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_camera import Night, assert_same, rows, run, small, survey_of, verdicts, write_raw

from calib.archive.database import Archive
from calib.archive.decisions import decide
from calib.archive.heartbeat import last_beat
from calib.archive.place import stamp_of
from calib.archive.verify import verify_archive
from calib.archive.versions import save_version
from calib.arrivals import why_unfinished
from calib.errors import ArchiveError
from calib.profile import Profile
from calib.raw import find_raw
from calib.survey import RunReport
from calib.watch import Watch, only_watch


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Three good nights in J, a scan on the second."""
    top = tmp_path_factory.mktemp("watch")
    survey = survey_of(3, scans={1: 1})
    raw = write_raw(survey, top / "raw")
    run(top / "archive", raw)
    return Night(top / "archive", raw, survey)


class Watched:
    """A watch that is led by hand: time passes only when told to."""

    def __init__(self, root: Path, *folders: Path, instrument: Profile | None = None) -> None:
        self.log: list[str] = []
        self.now_s = 0.0
        self.archive = Archive(root, create=True)
        self.watch = Watch(
            self.archive, folders, instrument=instrument or small(), interval_s=10, patience_s=600, say=self.log.append
        )
        self.watch.arrivals._clock = lambda: self.now_s

    def look(self, after_s: float = 10.0) -> RunReport | None:
        self.now_s += after_s
        return self.watch.step()

    def told(self, words: str) -> int:
        return sum(words in line for line in self.log)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def watched(inbox: Path, tmp_path: Path) -> Watched:
    return Watched(tmp_path / "archive", inbox)


def names_of(raw: Path, inbox: Path) -> dict[str, str]:
    return {str(inbox / p.relative_to(raw)): str(p) for p in find_raw([raw])}


def deliver(raw: Path, inbox: Path) -> list[Path]:
    """Where the files of some nights come to lie, in the order of time."""
    return [inbox / p.relative_to(raw) for p in find_raw([raw])]


def test_nights_that_grow_file_by_file_end_as_in_one_run(three: Night, inbox: Path, watched: Watched) -> None:
    for path in find_raw([three.raw]):
        to = inbox / path.relative_to(three.raw)
        to.parent.mkdir(exist_ok=True)
        shutil.copy(path, to)
        watched.look()
        report = watched.look()
        assert report is not None
        assert report.new_files == 1
    assert watched.look() is None
    assert_same(watched.archive.root, three.root, names=names_of(three.raw, inbox))
    beat = last_beat(watched.archive)
    assert beat is not None
    assert (beat.queue, beat.errors, beat.doing) == (0, 0, "waiting")
    assert beat.last_file == str(inbox / three.date(2) / "J-twilight.fits")
    assert beat.last_night == three.date(2)
    assert beat.alive()
    assert watched.told("1 file taken in") == 7


def test_an_idle_pass_leaves_no_trace(three: Night, inbox: Path, watched: Watched) -> None:
    shutil.copytree(three.raw, inbox, dirs_exist_ok=True)
    for _ in range(3):
        watched.look()
    before, lines = len(rows(watched.archive, "runs")), len(watched.log)
    for _ in range(5):
        assert watched.look() is None
    assert (len(rows(watched.archive, "runs")), len(watched.log)) == (before, lines)


def test_a_file_waits_until_it_is_whole(three: Night, inbox: Path, watched: Watched) -> None:
    original = find_raw([three.raw])[0].read_bytes()
    path = inbox / "dark.fits"
    pieces = (2000, 50_000, len(original) // 2, len(original) - 3000)
    for size in pieces:
        path.write_bytes(original[:size])
        for _ in range(3):
            watched.look()
        assert rows(watched.archive, "files") == []
        beat = last_beat(watched.archive)
        assert beat is not None
        assert beat.queue == 1
        assert beat.waits[0].startswith(f"{path}: truncated"), beat.waits
    assert watched.told(f"waits for {path}: truncated") == len(pieces), "each reason once"
    assert watched.told(f"waits for {path}: still being written") == len(pieces) - 1
    path.write_bytes(original)
    watched.look()
    watched.look()
    assert [r["status"] for r in rows(watched.archive, "files")] == ["used"]


def test_a_file_that_grows_by_whole_units_waits_for_the_last(three: Night, inbox: Path) -> None:
    from astropy.io import fits

    path = find_raw([three.raw])[0]
    with fits.open(path) as hdus:
        ends = [h.fileinfo()["datLoc"] + h.fileinfo()["datSpan"] for h in hdus]
    assert len(ends) == 4
    for end in ends[:-1]:
        (inbox / "dark.fits").write_bytes(path.read_bytes()[:end])
        assert why_unfinished(inbox / "dark.fits", small()).startswith("no ")
    (inbox / "dark.fits").write_bytes(path.read_bytes())
    assert why_unfinished(inbox / "dark.fits", small()) == ""


def test_a_packed_file_waits_for_its_last_byte(three: Night, inbox: Path) -> None:
    packed = gzip.compress(find_raw([three.raw])[0].read_bytes(), 1)
    path = inbox / "dark.fits.gz"
    for cut in (1, 8, 9, 1000, len(packed) // 2):
        path.write_bytes(packed[:-cut])
        assert why_unfinished(path, small()).startswith("truncated"), cut
    path.write_bytes(packed)
    assert why_unfinished(path, small()) == ""


def test_a_broken_file_is_refused_in_the_end_and_not_waited_for_for_ever(
    three: Night, inbox: Path, watched: Watched
) -> None:
    path = inbox / "dark.fits"
    path.write_bytes(find_raw([three.raw])[0].read_bytes()[:40_000])
    watched.look()
    watched.look(590)
    assert rows(watched.archive, "files") == []
    watched.look(20)
    (row,) = rows(watched.archive, "files")
    assert row["status"] == "refused"
    assert row["reason"].startswith("truncated")
    assert watched.told(f"refused: {path}: truncated") == 1
    assert watched.look(700) is None
    # Written on after all.
    shutil.copy(find_raw([three.raw])[0], path)
    watched.look()
    watched.look()
    assert [r["status"] for r in rows(watched.archive, "files")] == ["used"]


def test_renamed_and_copied_files(three: Night, inbox: Path, watched: Watched) -> None:
    files = find_raw([three.raw])
    for k, path in enumerate(files):
        shutil.copy(path, inbox / f"{k:02d}.fits.part")
    watched.look()
    watched.look()
    assert rows(watched.archive, "files") == []
    for k in range(len(files)):
        (inbox / f"{k:02d}.fits.part").rename(inbox / f"{k:02d}.fits")
    watched.look()
    watched.look()
    shutil.copy(inbox / "00.fits", inbox / "zz.fits")
    (inbox / "01.fits").rename(inbox / "01-again.fits")
    watched.look()
    watched.look()
    told = {Path(r["path"]).name: r["status"] for r in rows(watched.archive, "files")}
    assert told["zz.fits"] == "duplicate"
    assert (told["01.fits"], told["01-again.fits"]) == ("gone", "used")
    assert verdicts(watched.archive.root) == verdicts(three.root)
    assert watched.look() is None


def test_a_folder_that_vanishes_is_waited_for(three: Night, inbox: Path, watched: Watched) -> None:
    watched.look()
    inbox.rename(inbox.with_name("away"))
    for _ in range(4):
        assert watched.look() is None
    assert watched.told(f"waits for {inbox}: no such file or folder") == 1
    shutil.copytree(three.raw, inbox)
    watched.look()
    assert watched.told(f"{inbox} is there again") == 1
    watched.look()
    assert_same(watched.archive.root, three.root, names=names_of(three.raw, inbox))
    # Once more, with all its files known: nothing is read again.
    inbox.rename(inbox.with_name("away too"))
    watched.look()
    inbox.with_name("away too").rename(inbox)
    assert watched.look() is None
    assert watched.look() is None


def test_a_decision_waits_for_a_folder_that_is_away(three: Night, inbox: Path, watched: Watched) -> None:
    shutil.copytree(three.raw, inbox, dirs_exist_ok=True)
    watched.look()
    watched.look()
    inbox.rename(inbox.with_name("away"))
    decide(
        watched.archive,
        who="eva",
        kind="override",
        night=three.date(1),
        band="J",
        product="dark",
        read="R2-R1",
        value="rejected",
        reason="light leak",
    )
    assert watched.look() is None
    inbox.with_name("away").rename(inbox)
    watched.look()
    assert {r["dark_night"] for r in rows(watched.archive, "scans", read="R2-R1")} == {three.date(0)}


def test_decisions_and_limits_that_come_meanwhile(three: Night, inbox: Path, watched: Watched) -> None:
    shutil.copytree(three.raw, inbox, dirs_exist_ok=True)
    watched.look()
    watched.look()
    archive = watched.archive
    stricter = small(("alpha = 0.2 ", "alpha = 0.1 "))
    save_version(archive, stricter, who="eva", reason="more stars", seen=1)
    decide(
        archive,
        who="eva",
        kind="override",
        night=three.date(0),
        band="J",
        product="flat",
        value="rejected",
        reason="dome half shut",
    )
    watched.look()
    shutil.copy(find_raw([three.raw])[0], inbox / "zz.fits")
    watched.look()
    watched.look()
    current = archive.current_profile()
    assert current is not None
    assert current.hash == stricter.hash
    assert verdicts(archive.root)[three.date(0)] == "rejected"
    assert {r["profile_hash"] for r in rows(archive, "scans")} == {stricter.hash}
    # A watch that is started again with the profile it was given first does not undo it either.
    again = Watched(archive.root, inbox)
    again.look()
    assert archive.current_profile() == current
    assert again.told("the archive's stays") == 1
    # One that the archive has never seen is meant.
    edited = Watched(archive.root, inbox, instrument=small(("alpha = 0.2 ", "alpha = 0.15 ")))
    edited.look()
    assert edited.told("this profile replaces version 2") == 1
    assert archive.current_profile() == small(("alpha = 0.2 ", "alpha = 0.15 "))


def test_scans_left_stale_by_a_quick_run_are_calibrated(three: Night, inbox: Path, watched: Watched) -> None:
    shutil.copytree(three.raw, inbox, dirs_exist_ok=True)
    watched.look()
    watched.look()
    decide(
        watched.archive,
        who="eva",
        kind="override",
        night=three.date(1),
        band="J",
        product="dark",
        read="R1",
        value="rejected",
        reason="light leak",
    )
    run(watched.archive, [], scans=False)
    assert any(r["stale"] for r in rows(watched.archive, "scans"))
    watched.look()
    assert not any(r["stale"] for r in rows(watched.archive, "scans"))
    assert watched.look() is None


def test_another_run_is_waited_for(three: Night, inbox: Path, watched: Watched) -> None:
    shutil.copytree(three.raw, inbox, dirs_exist_ok=True)
    with Archive(watched.archive.root).writing():
        for _ in range(4):
            assert watched.look() is None
    assert watched.told("waits: another run writes to the archive") == 1
    assert watched.watch.heartbeat.errors == 0
    assert watched.look() is not None
    assert_same(watched.archive.root, three.root, names=names_of(three.raw, inbox))


def test_the_pause_grows_with_failures_up_to_a_bound(watched: Watched) -> None:
    pauses_s = []
    for failures in (0, 1, 3, 9, 5000):
        watched.watch._failures = failures
        pauses_s.append(watched.watch.pause_s)
    assert pauses_s == [10, 20, 80, 600, 600]


def test_a_pass_that_fails_is_told_once_and_tried_again(
    three: Night, inbox: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    shutil.copytree(three.raw, inbox, dirs_exist_ok=True)
    watched.look()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        for _ in range(3):
            assert watched.look() is None
    assert watched.told("No space left on device; make room") == 1
    beat = last_beat(watched.archive)
    assert beat is not None
    assert beat.errors == 3
    assert "No space left" in beat.last_error
    watched.look()
    assert watched.told("goes on") == 1
    assert_same(watched.archive.root, three.root, names=names_of(three.raw, inbox))


def test_a_file_that_could_not_be_read_is_tried_again(
    three: Night, inbox: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network that fails for a moment: nothing of the file itself has changed when it is back."""
    import errno

    from calib.raw import frames

    def fails(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    shutil.copytree(three.raw, inbox, dirs_exist_ok=True)
    watched.look()
    with monkeypatch.context() as patch:
        patch.setattr(frames, "stored_bytes", fails)
        watched.look()
    assert {(r["status"], r["reason"]) for r in rows(watched.archive, "files")} == {
        ("refused", "cannot be read: Input/output error")
    }
    assert watched.look() is None
    watched.look(700)
    watched.look()
    assert_same(watched.archive.root, three.root, names=names_of(three.raw, inbox))


def test_two_watches_of_one_archive(watched: Watched) -> None:
    words = r"another watch \(process \d+\) fills .*; end it"
    with only_watch(watched.archive), pytest.raises(ArchiveError, match=words), only_watch(watched.archive):
        pass
    with only_watch(watched.archive):
        pass


@pytest.mark.sqlite("its database is a file that can be taken away")
def test_a_database_that_is_put_back_from_a_backup_meanwhile(three: Night, inbox: Path, watched: Watched) -> None:
    shutil.copytree(three.raw, inbox, dirs_exist_ok=True)
    watched.look()
    watched.look()
    database = watched.archive.root / "archive.sqlite"
    backup = shutil.copy(database, database.with_name("backup"))
    database.unlink()
    for _ in range(3):
        assert watched.look() is None
    assert not database.exists()
    assert watched.told(f"failed: {database} is gone; put it back") == 1
    Path(backup).rename(database)
    shutil.copy(find_raw([three.raw])[0], inbox / "zz.fits")
    watched.look()
    watched.look()
    assert watched.told("goes on") == 1
    found = Archive(watched.archive.root)
    assert rows(found, "files", path=str(inbox / "zz.fits"))[0]["status"] == "duplicate"


# The command -----------------------------------------------------------------------------------------------------


def until(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something, however slow the machine is."""
    for _ in range(3000):
        if what():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("it did not come to pass")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_ends_cleanly_when_told_to(
    number: signal.Signals, three: Night, inbox: Path, tmp_path: Path, small_profile_file: Path
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(three.raw, inbox, dirs_exist_ok=True)
    command = ["watch", inbox, "--archive", archive, "--instrument", small_profile_file, "--interval", "0.2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "calib.cli", *map(str, command)], stderr=subprocess.PIPE, text=True
    )
    try:
        # Within the run: as soon as there is a product.
        until(lambda: stamp_of(archive) and any(archive.rglob("*.fits")), process)
        process.send_signal(number)
        _, log = process.communicate(timeout=600)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert log.splitlines()[-1].endswith("Z ends")
    beat = last_beat(Archive(archive))
    assert beat is not None
    assert beat.doing == "stopped"
    assert not beat.alive()
    run(archive, inbox)
    assert_same(archive, three.root, names=names_of(three.raw, inbox))
    assert not list(archive.rglob("*.part"))
    assert verify_archive(Archive(archive), lambda *_: None)[1] == []


def test_a_name_that_is_not_utf8_is_told_once_and_refused_once(three: Night, inbox: Path, watched: Watched) -> None:
    shutil.copy(find_raw([three.raw])[0], inbox / os.fsdecode(b"latin_\xe9.fits"))
    for _ in range(4):
        watched.look()
    for _ in range(4):
        watched.look(700)
    assert watched.told("latin_\\xe9.fits: its name is not UTF-8; rename it") == 2
    assert watched.told("refused: ") == 1
    assert len(watched.log) == 3
