"""The archive's folder and database: opening, locking, growing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from small_camera import Night, rows, run, small

from calib.archive import schema
from calib.archive.database import Archive, upsert, utc_now
from calib.errors import ArchiveError


def test_an_archive_that_is_not_there_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"holds no archive; make one with `calib run RAW --archive"):
        Archive(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_new_archive_has_every_table(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "deep" / "archive", create=True)
    assert set(sa.inspect(archive.engine).get_table_names()) == set(schema.metadata.tables)
    assert archive.current_profile() is None
    archive.close()
    Archive(tmp_path / "deep" / "archive").close()


def test_an_archive_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    archive = Archive(tmp_path, create=True)
    with archive.begin() as connection:
        upsert(connection, schema.meta, [{"name": "schema_version", "value": "99"}])
    archive.close()
    with pytest.raises(ArchiveError, match=r"schema version 99, this program knows \d+; install a newer version"):
        Archive(tmp_path, create=True)


@pytest.mark.sqlite("it is the file that is damaged")
@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_database_is_one_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "archive.sqlite").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"cannot be used as a database .*; move it away or restore it"):
        Archive(tmp_path)


@pytest.mark.sqlite("it is the file that is empty")
def test_an_empty_database_is_told_from_an_archive(tmp_path: Path) -> None:
    (tmp_path / "archive.sqlite").touch()
    with pytest.raises(ArchiveError, match="is empty; fill it with `calib run RAW"):
        Archive(tmp_path)


def test_a_place_that_is_a_file_cannot_be_an_archive(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArchiveError, match=r"cannot be made: .*; choose another folder"):
        Archive(tmp_path / "file" / "archive", create=True)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    archive = Archive(tmp_path, create=True)
    with archive.writing():
        words = rf"another run \(process {os.getpid()}\) is writing"
        with pytest.raises(ArchiveError, match=words), archive.writing():
            pass
        # A reader is not kept out.
        assert Archive(tmp_path).rows(sa.select(schema.darks)) == []
    with archive.writing():
        pass


def test_a_writer_that_died_holds_nothing(tmp_path: Path) -> None:
    archive = Archive(tmp_path, create=True)
    code = (
        "import os, sys; from pathlib import Path; from calib.archive.database import Archive\n"
        "w = Archive(Path(sys.argv[1])).writing(); w.__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    with archive.writing():
        pass


def test_the_profile_is_kept_and_taken_by_the_next_run(settled: Night) -> None:
    archive = Archive(settled.root)
    assert archive.current_profile() == small()
    other = small(("alpha = 0.2 ", "alpha = 0.1 "))
    archive.register_profile(other)
    assert archive.current_profile() == other
    archive.register_profile(small())
    assert archive.current_profile() == small()
    assert [r["version"] for r in rows(archive, "profiles")] == [1, 2, 3]


def test_rows_are_inserted_or_changed_by_their_key(tmp_path: Path) -> None:
    archive = Archive(tmp_path, create=True)
    with archive.begin() as connection:
        upsert(connection, schema.meta, [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}])
        upsert(connection, schema.meta, [{"name": "a", "value": "3"}])
        upsert(connection, schema.meta, [{"name": "b", "value": "4"}], keep=("value",))
        upsert(connection, schema.meta, [])
    found = {r["name"]: r["value"] for r in rows(archive, "meta")}
    assert (found["a"], found["b"]) == ("3", "2")


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    archive = Archive(tmp_path, create=True)

    def fail() -> None:
        with archive.begin() as connection:
            upsert(connection, schema.meta, [{"name": "a", "value": "1"}])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert archive.value(sa.select(schema.meta.c.value).where(schema.meta.c.name == "a")) is None


def test_a_transaction_need_not_wait_for_the_disk_and_the_next_does_again(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a", create=True)
    asked = "SHOW synchronous_commit" if archive.place.is_server else "PRAGMA synchronous"
    waits, does_not = ("on", "off") if archive.place.is_server else (2, 1)
    what = {"name": "x", "value": "1"}
    with archive.begin(lasting=False) as connection:
        assert connection.exec_driver_sql(asked).scalar() == does_not
        upsert(connection, schema.meta, [what])

    def fail() -> None:
        with archive.begin(lasting=False) as connection:
            upsert(connection, schema.meta, [what | {"value": "2"}])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    for _ in range(2):
        with archive.begin() as connection:
            assert connection.exec_driver_sql(asked).scalar() == waits
    assert archive.value(sa.select(schema.meta.c.value).where(schema.meta.c.name == "x")) == "1"
    archive.close()


def test_a_transaction_whose_end_fails_leaves_no_connection_that_does_not_wait(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a", create=True)
    asked = "SHOW synchronous_commit" if archive.place.is_server else "PRAGMA synchronous"

    def interrupted(_: sa.Connection) -> None:
        raise InterruptedError

    def fail() -> None:
        with archive.begin(lasting=False) as connection:
            upsert(connection, schema.meta, [{"name": "x", "value": "1"}])
            sa.event.listen(archive.engine, "commit", interrupted)

    with pytest.raises(InterruptedError):
        fail()
    sa.event.remove(archive.engine, "commit", interrupted)
    for _ in range(3):
        with archive.begin() as connection:
            assert connection.exec_driver_sql(asked).scalar() in ("on", 2)
    assert archive.value(sa.select(schema.meta.c.value).where(schema.meta.c.name == "x")) is None
    archive.close()


def test_times_are_utc_to_the_millisecond() -> None:
    now = utc_now()
    assert len(now) == len("1999-05-01T00:00:00.000Z")
    assert now.endswith("Z")


def test_runs_are_logged_with_what_they_did(settled: Night) -> None:
    run(settled.root, settled.raw)
    first, second = rows(settled.root, "runs")
    assert first["summary"]["new_files"] == 20
    assert first["summary"]["nights"] == 4
    assert first["summary"]["products"] > 0
    assert second["summary"]["products"] == 0
    for entry in (first, second):
        assert entry["status"] == "done"
        assert entry["started"] <= entry["finished"]
        assert entry["profile_hash"] == small().hash


def test_readers_are_told_to_look_again(settled: Night) -> None:
    archive = Archive(settled.root)
    before = archive.revision()
    run(settled.root, settled.raw)
    assert archive.revision() == before
    run(settled.root, settled.raw, small(("alpha = 0.2 ", "alpha = 0.1 ")))
    assert archive.revision() > before
