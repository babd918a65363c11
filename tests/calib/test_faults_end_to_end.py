"""Bad files among good ones, and runs that end before their time: the archive is as if nothing had been."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from small_camera import Night, assert_same, content, copy_archive, rows, run, small, small_text, survey_of, write_raw

from calib.archive.database import Archive
from calib.archive.verify import verify_archive
from calib.simulate import CloudGradient

# Bad files in the middle of a good night -------------------------------------------------------------------------

Spoil = Callable[[Path], Any]


def with_header(path: Path, **cards: Any) -> None:
    """Change cards of the primary header; None removes one."""
    with fits.open(path, mode="update") as hdus:
        for name, value in cards.items():
            card = name.replace("_", "-")
            if value is None:
                del hdus[0].header[card]
            else:
                hdus[0].header[card] = value
        for hdu in hdus:
            hdu.add_checksum()


def with_cubes(path: Path, change: Callable[[str, np.ndarray], np.ndarray], *, drop: str = "") -> None:
    """Write a file anew, its cubes changed."""
    with fits.open(path, memmap=False) as hdus:
        kept = [hdus[0].copy()]
        for hdu in hdus[1:]:
            if hdu.name == drop:
                continue
            if hdu.name in ("R1", "R2"):
                kept.append(fits.ImageHDU(change(hdu.name, np.asarray(hdu.data)), name=hdu.name))
            else:
                kept.append(hdu.copy())
        new = fits.HDUList(kept)
        new.writeto(path, overwrite=True, checksum=True)


def flip(path: Path) -> None:
    """Turn one bit in the middle of the data."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def cut_gzip(path: Path) -> None:
    packed = gzip.compress(path.read_bytes(), 1)
    path.write_bytes(packed[: len(packed) - 500])


BAD: dict[str, tuple[Spoil, str]] = {
    "truncated": (cut, "truncated"),
    "truncated in the header": (lambda p: p.write_bytes(p.read_bytes()[:2000]), "truncated|no FITS|header"),
    "truncated gzip": (cut_gzip, "truncated"),
    "empty": (lambda p: p.write_bytes(b""), "empty"),
    "not FITS": (lambda p: p.write_bytes(b"Night log: clear, seeing 1.1\n" * 500), "FITS"),
    "flipped bit": (flip, "checksum"),
    "no FILTER": (lambda p: with_header(p, FILTER=None), "no card FILTER"),
    "unknown FILTER": (lambda p: with_header(p, FILTER="L'"), "unknown FILTER value 'L''"),
    "misspelt OBSTYPE": (lambda p: with_header(p, OBSTYPE="DRAK"), "unknown OBSTYPE 'DRAK'"),
    "no OBSTYPE": (lambda p: with_header(p, OBSTYPE=None), "no card OBSTYPE"),
    "no DATE-OBS": (lambda p: with_header(p, DATE_OBS=None), "no start time"),
    "no SCANNO": (lambda p: with_header(p, OBSTYPE="SCAN"), "SCANNO missing"),
    "wrong shape": (lambda p: with_cubes(p, lambda n, c: c[:, :32, :32]), "frames are 32×32, the profile says 64×64"),
    "no R2": (lambda p: with_cubes(p, lambda n, c: c, drop="R2"), "no extension R2"),
    "no FRAMES": (lambda p: with_cubes(p, lambda n, c: c, drop="FRAMES"), "no table FRAMES"),
    "uneven reads": (lambda p: with_cubes(p, lambda n, c: c[: 20 if n == "R2" else None]), "R1 has 24 frames, R2 20"),
    "all saturated": (lambda p: with_cubes(p, lambda n, c: np.full_like(c, 65535)), "every sample is saturated"),
    "all NaN": (
        lambda p: with_cubes(p, lambda n, c: np.full(c.shape, np.nan, np.float32)),
        "every sample is NaN or masked",
    ),
}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Three good nights in J, a scan on the second."""
    top = tmp_path_factory.mktemp("three")
    survey = survey_of(3, scans={1: 1})
    raw = write_raw(survey, top / "raw")
    run(top / "archive", raw)
    return Night(top / "archive", raw, survey)


@pytest.fixture(scope="module")
def with_bad_files(three: Night, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Path]]:
    """An archive of three good nights with one of each bad file among those of the second."""
    top = tmp_path_factory.mktemp("bad")
    paths = {}
    for k, (name, (spoil, _)) in enumerate(BAD.items()):
        path = top / f"bad-{k:02d}.fits"
        shutil.copy(three.raw / three.date(1) / "J-dark.fits", path)
        spoil(path)
        paths[name] = path
    (top / "folder.fits").mkdir()
    (top / "gone.fits").symlink_to(top / "nowhere.fits")
    run(top / "archive", [three.raw, top])
    return top / "archive", top, paths


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_a_telling_reason(
    name: str, with_bad_files: tuple[Path, Path, dict[str, Path]]
) -> None:
    archive, _, paths = with_bad_files
    (row,) = rows(archive, "files", path=str(paths[name]))
    assert row["status"] == "refused"
    assert any(words in row["reason"] for words in BAD[name][1].split("|")), row["reason"]


def test_a_dangling_link_is_refused_and_a_folder_with_the_name_of_a_file_is_a_folder(
    with_bad_files: tuple[Path, Path, dict[str, Path]],
) -> None:
    archive, top, _ = with_bad_files
    (row,) = rows(archive, "files", path=str(top / "gone.fits"))
    assert (row["status"], row["reason"]) == ("refused", "cannot be read: No such file or directory")
    assert rows(archive, "files", path=str(top / "folder.fits")) == []


def test_bad_files_change_nothing_of_the_good_nights(
    with_bad_files: tuple[Path, Path, dict[str, Path]], three: Night
) -> None:
    assert_same(with_bad_files[0], three.root)


def test_bad_files_are_not_looked_at_again(with_bad_files: tuple[Path, Path, dict[str, Path]], three: Night) -> None:
    archive, top, _ = with_bad_files
    report = run(archive, [three.raw, *(p for p in top.iterdir() if p.is_file() and not p.is_symlink())])
    assert report.idle
    assert report.refused == len(BAD) + 1
    assert rows(archive, "runs")[-1]["summary"]["refused"] == len(BAD) + 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(three: Night, tmp_path: Path) -> None:
    path = Path(shutil.copy(three.raw / three.date(1) / "J-dark.fits", tmp_path / "secret.fits"))
    path.chmod(0)
    run(tmp_path / "archive", [three.raw, path])
    (row,) = rows(tmp_path / "archive", "files", path=str(path))
    assert (row["status"], row["reason"]) == ("refused", "cannot be read: Permission denied")


def test_a_bad_dark_leaves_the_night_to_another_one(three: Night, tmp_path: Path) -> None:
    raw = Path(shutil.copytree(three.raw, tmp_path / "raw"))
    flip(raw / three.date(1) / "J-dark.fits")
    run(tmp_path / "archive", raw)
    (flat,) = rows(tmp_path / "archive", "flats", night=three.date(1))
    assert (flat["status"], flat["dark_night"], flat["dark_age_nights"]) == ("accepted", three.date(0), 1)
    assert {r["dark_night"] for r in rows(tmp_path / "archive", "scans")} == {three.date(0)}
    # Once it is copied anew all is well.
    shutil.copy(three.raw / three.date(1) / "J-dark.fits", raw / three.date(1) / "J-dark.fits")
    run(tmp_path / "archive", raw)
    names = {str(raw / p.relative_to(three.raw)): str(p) for p in three.raw.rglob("*.fits")}
    assert_same(tmp_path / "archive", three.root, names=names)


def test_a_copy_is_a_duplicate(three: Night, tmp_path: Path) -> None:
    original = three.raw / three.date(1) / "J-twilight.fits"
    copies = [Path(shutil.copy(original, tmp_path / "zz-twilight.fits")), tmp_path / "zz-twilight.fits.gz"]
    copies[1].write_bytes(gzip.compress(original.read_bytes(), 1))
    night = three.copy(tmp_path / "archive")
    run(night.root, [three.raw, *copies])
    first, *others = sorted(str(p) for p in (original, *copies))
    told = {r["path"]: (r["status"], r["reason"]) for r in rows(night.root, "files")}
    assert told[first] == ("used", "")
    for other in others:
        assert told[other] == ("duplicate", f"same frames as {first}")


@pytest.mark.parametrize("name", ["A-part.fits", "zz-part.fits"])
@pytest.mark.parametrize("kind", ["dark", "twilight"])
def test_frames_that_stand_in_two_files_count_once(name: str, kind: str, three: Night, tmp_path: Path) -> None:
    """A file that holds only the first frames of another, as one that was copied while it was written."""
    raw = shutil.copytree(three.raw, tmp_path / "raw")
    original = raw / three.date(1) / f"J-{kind}.fits"
    part = original.with_name(name)
    with fits.open(original) as hdus:
        for unit in hdus[1:]:
            unit.data = unit.data[:10]
        hdus.writeto(part, checksum=True)
    run(tmp_path / "archive", raw)
    table = "darks" if kind == "dark" else "flats"
    for row in rows(tmp_path / "archive", table, night=three.date(1)):
        (alone,) = rows(three.root, table, night=three.date(1), **({"read": row["read"]} if kind == "dark" else {}))
        assert row["n_frames"] == alone["n_frames"] == 24
    found = {r["path"]: r for r in rows(tmp_path / "archive", "files")}
    first, second = (found[str(p)] for p in sorted((original, part)))
    assert first["status"] == "used"
    if name.startswith("zz"):
        assert (second["status"], second["reason"]) == ("duplicate", f"same frames as {original}")
    else:
        assert second["status"] == "used"
        assert second["notes"].endswith(f"10 of 24 frames are those of {part} and left out")


def test_raw_files_may_lie_in_folders_named_as_those_of_an_archive_are(three: Night, tmp_path: Path) -> None:
    for folder in three.raw.iterdir():
        shutil.copytree(folder, tmp_path / "data" / "nights" / folder.name)
    for _ in range(2):
        report = run(tmp_path / "data", tmp_path / "data")
    assert report.idle
    assert len(rows(tmp_path / "data", "files")) == len(rows(three.root, "files"))
    assert {r["status"] for r in rows(tmp_path / "data", "files")} == {"used"}


def test_of_two_files_that_claim_to_be_the_same_scan_the_earlier_is_used(three: Night, tmp_path: Path) -> None:
    original = three.raw / three.date(1) / "J-scan-001.fits"
    late = Path(shutil.copy(original, tmp_path / "late.fits"))
    with_header(late, DATE_OBS="1999-05-03T08:00:00.000")
    for deliveries in ([[three.raw, late]], [[late], [three.raw, late]]):
        shutil.rmtree(tmp_path / "archive", ignore_errors=True)
        for paths in deliveries:
            run(tmp_path / "archive", paths)
        (row,) = rows(tmp_path / "archive", "files", path=str(late))
        assert row["status"] == "refused"
        assert row["reason"] == f"scan 1 of this night and band is already there: {original}"
        assert_same(tmp_path / "archive", three.root)


def test_trailing_bytes_are_read_through(three: Night, tmp_path: Path) -> None:
    raw = Path(shutil.copytree(three.raw, tmp_path / "raw"))
    for path in raw.rglob("*.fits"):
        with path.open("ab") as file:
            file.write(b"\0" * 317)
    run(tmp_path / "archive", raw)
    files = rows(tmp_path / "archive", "files")
    assert {r["status"] for r in files} == {"used"}
    assert {r["notes"] for r in files} == {"317 trailing bytes after the last HDU"}
    dark = Path("nights", three.date(1), "J", "dark-R1.fits")
    one, other = (fits.getdata(top / dark, "SCI") for top in (tmp_path / "archive", three.root))
    np.testing.assert_array_equal(one, other)


def test_a_copy_that_is_deleted_again_is_not_missed(three: Night, tmp_path: Path) -> None:
    original = three.raw / three.date(1) / "J-scan-001.fits"
    copy = tmp_path / "zz.fits.gz"
    copy.write_bytes(gzip.compress(original.read_bytes(), 1))
    night = three.copy(tmp_path / "archive")
    run(night.root, [three.raw, copy])
    copy.unlink()
    report = run(night.root, three.raw, small(("alpha = 0.2 ", "alpha = 0.1 ")))
    assert report.messages == []
    assert report.nights == (three.date(1),)


# Interrupted runs ------------------------------------------------------------------------------------------------


class Interrupt(BaseException):
    """What ends a run."""


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Raw files, an archive of the first three nights, and one to which two more were added."""
    top = tmp_path_factory.mktemp("more")
    survey = survey_of(5, scans={1: 1, 4: 1}).with_fault(CloudGradient(night=3, percent=4.0))
    raw = write_raw(survey, top / "raw")
    folders = sorted(raw.iterdir())
    run(top / "first", folders[:3])
    copy_archive(top / "first", top / "whole")
    run(top / "whole", raw)
    return raw, top / "first", top / "whole"


def interrupt_after(k: int, monkeypatch: pytest.MonkeyPatch, where: str) -> Iterator[None]:
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        if count == k:
            raise Interrupt

    if where.startswith("file"):
        real = os.replace

        def replace(a: Any, b: Any) -> None:
            if where == "file before":
                tick()
            real(a, b)
            if where == "file after":
                tick()

        monkeypatch.setattr(os, "replace", replace)
    else:
        begin = Archive.begin

        class Counted:
            def __init__(self, inner: Any) -> None:
                self.inner = inner

            def __enter__(self) -> Any:
                return self.inner.__enter__()

            def __exit__(self, *what: Any) -> Any:
                if where == "transaction before" and what[0] is None:
                    try:
                        tick()
                    except Interrupt as error:
                        self.inner.__exit__(type(error), error, None)
                        raise
                done = self.inner.__exit__(*what)
                if where == "transaction after" and what[0] is None:
                    tick()
                return done

        monkeypatch.setattr(Archive, "begin", lambda self, **how: Counted(begin(self, **how)))
    yield


# Counted from the beginning, or with a minus from the end: the last transaction but one notes that all is settled.
POINTS = [
    *(("file before", k) for k in (1, 8, -3)),
    *(("file after", k) for k in (2, 6, 11, -1)),
    *(("transaction before", k) for k in (4, 10, -4)),
    *(("transaction after", k) for k in (3, 7, 13, -7, -3)),
]


@pytest.fixture(scope="module")
def steps(more: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many files and transactions the run has that is interrupted."""
    raw, first, _ = more
    archive = copy_archive(first, tmp_path_factory.mktemp("steps") / "archive")
    counts = {"file": 0, "transaction": 0}
    with pytest.MonkeyPatch.context() as patch:
        replace, begin = os.replace, Archive.begin

        def counted_replace(a: Any, b: Any) -> None:
            counts["file"] += 1
            replace(a, b)

        def counted_begin(self: Archive, **how: Any) -> Any:
            counts["transaction"] += 1
            return begin(self, **how)

        patch.setattr(os, "replace", counted_replace)
        patch.setattr(Archive, "begin", counted_begin)
        run(archive, raw, workers=1)
    return counts


@pytest.mark.parametrize(("where", "k"), POINTS)
def test_an_interrupted_run_is_finished_by_the_next(
    where: str,
    k: int,
    more: tuple[Path, Path, Path],
    steps: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw, first, whole = more
    if k < 0:
        k += steps[where.split()[0]] + 1
    archive = copy_archive(first, tmp_path / "archive")
    with monkeypatch.context() as patch:
        for _ in interrupt_after(k, patch, where):
            with pytest.raises(Interrupt):
                run(archive, raw, workers=1)
    run(archive, raw)
    assert_same(archive, whole)
    assert not list(archive.rglob("*.part"))
    assert verify_archive(Archive(archive), lambda *_: None)[1] == []
    assert run(archive, raw).idle


def test_a_run_that_fails_says_so(
    more: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, first, _ = more
    archive = copy_archive(first, tmp_path / "archive")
    for _ in interrupt_after(3, monkeypatch, "file after"):
        with pytest.raises(Interrupt):
            run(archive, raw)
    assert rows(archive, "runs")[-1]["status"] == "failed"


# A run that is killed when about to rename its n-th product: no clock decides, so it is killed on any machine.
KILLED = """
import os, signal, sys
from calib.cli import main

count, replace = int(sys.argv.pop(1)), os.replace

def counted(a, b):
    global count
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(a, b)

os.replace = counted
main()
"""


def test_a_killed_run_is_finished_by_the_next(more: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """SIGKILL at several moments, in one archive, until a run comes through."""
    raw, first, whole = more
    archive = copy_archive(first, tmp_path / "archive")
    toml = tmp_path / "small.toml"
    toml.write_text(small_text(), "utf-8")
    order = ["run", str(raw), "--archive", str(archive), "--instrument", str(toml)]
    for count in (1, 3, 2):
        process = subprocess.run([sys.executable, "-c", KILLED, str(count), *order], capture_output=True, timeout=120)
        assert process.returncode == -signal.SIGKILL, process.stderr
    assert list(archive.rglob("*.part"))
    run(archive, raw)
    assert_same(archive, whole)
    assert not list(archive.rglob("*.part"))
    assert "running" not in {r["status"] for r in rows(archive, "runs")}


def test_a_first_run_that_is_killed_leaves_an_archive_that_opens(three: Night, tmp_path: Path) -> None:
    """As early as the tables are being made."""
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "archive.sqlite").touch()
    run(archive, three.raw)
    assert content(archive) == content(three.root)


def test_a_full_disk_ends_the_run_with_a_sentence(
    three: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product that cannot be written harms none that is there."""
    import errno

    from calib.errors import ArchiveError

    night = three.copy(tmp_path / "archive")
    before = {p: p.read_bytes() for p in night.root.rglob("*.fits")}

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(ArchiveError, match=r"cannot be written: No space left on device; make room"):
            run(night.root, night.raw, small(("alpha = 0.2 ", "alpha = 0.1 ")))
    assert {p: p.read_bytes() for p in night.root.rglob("*.fits")} == before
    run(night.root, night.raw)
    assert_same(night.root, three.root)
