"""A disk that is full, a database that is locked, cut or read-only: one sentence, and the next run mends it."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from small_camera import Night, assert_same, run, survey_of, write_raw

from calib.archive.database import Archive
from calib.archive.verify import verify_archive
from calib.cli import main
from calib.raw import find_raw
from calib.simulate import CloudGradient

pytestmark = pytest.mark.sqlite("the disk and the file of the database are the folder's own")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Three nights in J, a scan on the second."""
    top = tmp_path_factory.mktemp("three")
    survey = survey_of(3, scans={1: 1}).with_fault(CloudGradient(night=2, percent=4.0))
    raw = write_raw(survey, top / "raw")
    run(top / "archive", raw)
    return Night(top / "archive", raw, survey)


def fails(*arguments: object) -> str:
    """What a command says that ends with status 1: one sentence."""
    result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="calib")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    said = [line for line in result.stderr.splitlines() if not line.startswith(("run: ", "verify: "))]
    assert (result.exit_code, len(said)) == (1, 1), result.output
    return said[0]


@contextmanager
def every_connection(pragma: str) -> Iterator[None]:
    """Let SQLite connections begin with a setting."""

    def set_up(connection: Any, _: Any) -> None:
        connection.execute(pragma)

    sa.event.listen(sa.engine.Engine, "connect", set_up)
    try:
        yield
    finally:
        sa.event.remove(sa.engine.Engine, "connect", set_up)


def mended(archive: Path, three: Night) -> None:
    """A run makes the archive what it is without any trouble."""
    run(archive, three.raw)
    assert_same(archive, three.root)
    assert not list(archive.rglob("*.part"))
    opened = Archive(archive)
    assert verify_archive(opened, lambda *_: None)[1] == []
    opened.close()


def ordered(archive: Path, raw: Path, profile: Path) -> tuple[object, ...]:
    return "run", raw, "--archive", archive, "--instrument", profile


# Full disks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pages", [12, 40, 60, 75])
def test_a_database_without_room(pages: int, three: Night, tmp_path: Path, small_profile_file: Path) -> None:
    archive = tmp_path / "archive"
    with every_connection(f"PRAGMA max_page_count={pages}"):
        said = fails(*ordered(archive, three.raw, small_profile_file))
    assert said.startswith(f"calib: {archive / 'archive.sqlite'} cannot be written: the disk is full; make room")
    mended(archive, three)


def failing_at(k: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """A system call that has no room from the k-th time on."""
    count = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count >= k:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    return call


@pytest.mark.parametrize("k", [1, 4, 9])
@pytest.mark.parametrize("name", ["pwrite", "fsync", "replace", "makedirs"])
def test_products_without_room(
    name: str, k: int, three: Night, tmp_path: Path, small_profile_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive"
    Archive(archive, create=True).close()
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing_at(k, getattr(os, name)))
        result = CliRunner().invoke(main, [str(a) for a in ordered(archive, three.raw, small_profile_file)])
        if result.exit_code != 0:
            assert isinstance(result.exception, SystemExit), result.exception
            assert "cannot be written: No space left on device; make room" in result.stderr
    mended(archive, three)


# A database in trouble -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "decide"])
def test_a_database_that_another_program_holds(command: str, three: Night, tmp_path: Path) -> None:
    night = three.copy(tmp_path / "archive")
    holder = sqlite3.connect(night.root / "archive.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    orders = {
        "run": ("run", "--archive", night.root),
        "decide": ("decide", "note", three.date(0), "--reason", "x", "--who", "eva", "--archive", night.root),
    }
    try:
        with every_connection("PRAGMA busy_timeout=50"):
            said = fails(*orders[command])
    finally:
        holder.close()
    assert said.startswith(f"calib: {night.root / 'archive.sqlite'} is held by another program for too long; end what")
    mended(night.root, three)


def test_readers_are_not_in_the_way(three: Night, tmp_path: Path, small_profile_file: Path) -> None:
    """A reader that never ends its transaction sees what was there, and the writer goes on."""
    night = three.copy(tmp_path / "archive")
    reader = sqlite3.connect(night.root / "archive.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    before = reader.execute("SELECT count(*) FROM runs").fetchone()
    for k, path in enumerate(find_raw([three.raw])[:3]):
        shutil.copy(path, tmp_path / f"zz-{k}.fits")
        with every_connection("PRAGMA busy_timeout=50"):
            run(night.root, [three.raw, tmp_path / f"zz-{k}.fits"])
    assert reader.execute("SELECT count(*) FROM runs").fetchone() == before
    reader.close()
    mended(night.root, three)


COMMANDS: dict[str, Callable[[Path, Path, Path], tuple[object, ...]]] = {
    "run": ordered,
    "status": lambda a, *_: ("status", "--archive", a),
    "export": lambda a, *_: ("export", "metrics", "--archive", a),
    "verify": lambda a, *_: ("verify", "--archive", a),
    "lineage": lambda a, *_: ("lineage", "nights/1999-05-01/J/dark-R1.fits", "--archive", a),
    "note": lambda a, *_: ("decide", "note", "1999-05-01", "--reason", "x", "--who", "eva", "--archive", a),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("share", [0.0001, 0.3, 0.6, 0.95])
def test_a_database_that_was_cut(
    share: float, command: str, three: Night, tmp_path: Path, small_profile_file: Path
) -> None:
    archive = three.copy(tmp_path / "archive").root
    database = archive / "archive.sqlite"
    for beside in ("-wal", "-shm"):
        database.with_name(database.name + beside).unlink(missing_ok=True)
    os.truncate(database, int(database.stat().st_size * share))
    result = CliRunner().invoke(main, [str(a) for a in COMMANDS[command](archive, three.raw, small_profile_file)])
    if result.exit_code != 0:
        assert isinstance(result.exception, SystemExit), result.exception
        said = [line for line in result.stderr.splitlines() if not line.startswith(("run: ", "verify: "))]
        assert len(said) == 1, said
        assert str(database) in said[0]
        assert "move it away or restore it" in said[0]
    # As the sentence says.
    database.unlink()
    for beside in ("-wal", "-shm"):
        database.with_name(database.name + beside).unlink(missing_ok=True)
    if command == "run":
        mended(archive, three)


def test_a_read_only_database(three: Night, tmp_path: Path) -> None:
    night = three.copy(tmp_path / "archive")
    with every_connection("PRAGMA query_only=1"):
        said = fails("run", "--archive", night.root)
    assert said.startswith(f"calib: {night.root / 'archive.sqlite'} cannot be written: it is read-only; check its")
    mended(night.root, three)


def test_a_product_altered_with_its_size_and_time_kept(three: Night, tmp_path: Path) -> None:
    night = three.copy(tmp_path / "archive")
    products = sorted(night.root.rglob("*.fits"))
    for path in products[:: max(len(products) // 5, 1)]:
        stat, content = path.stat(), bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(bytes(content))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    result = CliRunner().invoke(main, ["verify", "--archive", str(night.root)])
    assert result.exit_code == 1
    assert result.stdout.count("altered since it was recorded") == len(products[:: max(len(products) // 5, 1)])
    mended(night.root, three)
