"""Archives of an older version are brought up to this one, after a backup, and never destroyed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from blake3 import blake3
from click.testing import CliRunner
from small_camera import Night, rows, run, small
from tables_v3 import metadata as version_3

from calib.archive import migrations, schema
from calib.archive.database import Archive
from calib.archive.place import SQLITE, place_of
from calib.cli import main
from calib.errors import ArchiveError
from calib.survey import run_survey
from monitor.source import Source

KEPT = ("decisions", "flats", "products", "profiles", "alerts", "files")


@pytest.fixture
def old(settled: Night) -> Night:
    """A settled archive whose tables are those of version 3."""
    make_old(settled.root)
    return settled


def make_old(root: Path) -> None:
    archive = Archive(root)
    with archive.begin() as connection:
        connection.execute(sa.insert(schema.decisions).values(
            time="1999-05-09T00:00:00.000Z", who="ann", kind="note", night="1999-05-02", reason="Größe ≥ 2 %"
        ))  # fmt: skip
    content = {t.name: archive.rows(sa.select(t)) for t in schema.metadata.sorted_tables}
    hash_as_a_whole(root, content["products"])
    with archive.begin() as connection:
        schema.metadata.drop_all(connection)
        version_3.create_all(connection)
        for table in version_3.sorted_tables:
            if content[table.name]:
                connection.execute(sa.insert(table), content[table.name])
        if archive.place.is_server:
            for name in ("runs", "decisions"):
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT max(id) FROM {name}))"
                )
        connection.execute(sa.update(schema.meta).where(schema.meta.c.name == "schema_version").values(value="3"))
    archive.close()


def hash_as_a_whole(root: Path, products: list[dict[str, object]]) -> None:
    """Let rows of products say what version 3 recorded of their files."""
    for row in products:
        row["content_hash"] = blake3((root / str(row["path"])).read_bytes()).hexdigest()


def content(root: Path) -> dict[str, list[dict[str, object]]]:
    return {name: rows(root, name) for name in KEPT}


def described(root: Path) -> dict[str, object]:
    """Tables as the database knows them: columns, keys and indexes."""
    archive = Archive(root)
    inspector, found = sa.inspect(archive.engine), {}
    for table in sorted(schema.metadata.tables):
        kind = (lambda c: type(c["type"]).__name__) if archive.place.is_server else lambda c: affinity(c["type"])
        found[table] = (
            [(c["name"], kind(c), c["nullable"]) for c in inspector.get_columns(table)],
            inspector.get_pk_constraint(table)["constrained_columns"],
            sorted((i["name"], tuple(i["column_names"])) for i in inspector.get_indexes(table)),
        )
    archive.close()
    return found


def affinity(kind: sa.types.TypeEngine[object]) -> str:
    """What SQLite makes of a type: lengths mean nothing to it."""
    for family in (sa.Integer, sa.String, sa.Float, sa.JSON, sa.Boolean):
        if isinstance(kind, family):
            return family.__name__
    return str(kind)


def backups(root: Path) -> list[str]:
    place, _ = place_of(root)
    if not place.is_server:
        return sorted(p.name for p in root.glob(f"{SQLITE}.v3-backup*"))
    with closing(Archive(root)) as archive, archive.engine.connect() as connection:
        names = sa.inspect(connection).get_schema_names()
    return sorted(n for n in names if n.startswith(f"{place.namespace}_v3_backup"))


def test_a_reader_says_what_to_do_and_changes_nothing(old: Night) -> None:
    for open_it in (lambda: Archive(old.root), lambda: Archive(old.root, create=True)):
        with pytest.raises(
            ArchiveError, match=r"schema version 3, this program knows 4; `calib upgrade --archive \S+`"
        ):
            open_it()
    told = CliRunner().invoke(main, ["status", "--archive", str(old.root)])
    assert told.exit_code == 1
    assert f"`calib upgrade --archive {old.root}` brings it up to date, after a backup" in told.output
    assert f"`calib upgrade --archive {old.root}`" in Source(old.root).problem()


def test_upgrade_keeps_every_row_and_the_backup_holds_them_too(four_nights: Night, old: Night) -> None:
    done = CliRunner().invoke(main, ["upgrade", "--archive", str(old.root)])
    assert done.exit_code == 0, done.output
    assert "was brought from schema version 3 to 4; as it was it is in " in done.output
    after = content(old.root)
    assert after["decisions"].pop()["reason"] == "Größe ≥ 2 %"
    before = content(four_nights.root)
    hash_as_a_whole(four_nights.root, before["products"])
    assert after == before
    assert described(old.root) == described(four_nights.root)
    assert len(backups(old.root)) == 1
    again = CliRunner().invoke(main, ["upgrade", "--archive", str(old.root)])
    assert again.output.endswith("has schema version 4 already\n")
    assert len(backups(old.root)) == 1


def test_the_backup_is_the_old_archive(old: Night) -> None:
    Archive(old.root, upgrade=lambda line: None).close()
    place, _ = place_of(old.root)
    (name,) = backups(old.root)
    if place.is_server:
        with closing(Archive(old.root)) as archive, archive.engine.connect() as connection:
            count = connection.exec_driver_sql(f'SELECT count(*) FROM "{name}".decisions').scalar()
            version = connection.exec_driver_sql(f"SELECT value FROM \"{name}\".meta WHERE name = 'schema_version'")
            assert (count, version.scalar()) == (1, "3")
        return
    engine = sa.create_engine(f"sqlite:///{old.root / name}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM decisions").scalar() == 1
        assert migrations.version_of(connection, place) == 3
    engine.dispose()


def test_a_writer_upgrades_and_says_so(old: Night) -> None:
    note = ["decide", "note", "1999-05-02", "--reason", "seen", "--who", "ann", "--archive", str(old.root)]
    told = CliRunner().invoke(main, note)
    assert told.exit_code == 0, told.output
    assert "brought from schema version 3 to 4" in told.stderr
    assert "decision 2 recorded" in told.stdout
    assert run(old.root, old.raw).idle


def test_a_run_makes_the_index_that_its_archive_lacks_or_goes_on_without(
    settled: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(archive: Archive) -> set[str | None]:
        return {i["name"] for i in sa.inspect(archive.engine).get_indexes("scans")}

    archive = Archive(settled.root)
    with archive.begin() as connection:
        connection.exec_driver_sql("DROP INDEX scans_canonical")
    assert named(archive) == set()
    (index,) = schema.scans.indexes

    def refused(*_: object, **__: object) -> None:
        raise sa.exc.ProgrammingError("CREATE INDEX", {}, Exception("must be owner of table scans"))

    with monkeypatch.context() as patch:
        patch.setattr(index, "create", refused)
        assert run_survey(archive, small(), [settled.raw]).idle
    assert named(archive) == set()
    assert run_survey(archive, small(), [settled.raw]).idle
    assert named(archive) == {"scans_canonical"}
    archive.close()


def test_a_preview_is_no_writer(old: Night) -> None:
    what = ["decide", "override", "1999-05-02", "J", "flat", "rejected", "--preview"]
    told = CliRunner().invoke(main, [*what, "--reason", "x", "--who", "ann", "--archive", str(old.root)])
    assert told.exit_code == 1
    assert "`calib upgrade" in told.output


def test_a_step_that_fails_leaves_the_old_state(old: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    before = migrations.STEPS[3]

    def half(connection: sa.Connection) -> None:
        before(connection)
        connection.exec_driver_sql("DELETE FROM decisions")
        connection.exec_driver_sql("SELECT no_such_column FROM decisions")

    monkeypatch.setitem(migrations.STEPS, 3, half)
    with pytest.raises(ArchiveError, match=r"could not be brought to schema version 4 \(.*\); it is as it was"):
        Archive(old.root, upgrade=lambda line: None)
    monkeypatch.undo()
    with pytest.raises(ArchiveError, match="schema version 3"):
        Archive(old.root)
    Archive(old.root, upgrade=lambda line: None).close()
    assert len(rows(old.root, "decisions")) == 1


@pytest.mark.sqlite("PostgreSQL makes the backup within the transaction, and takes it back with it")
def test_an_older_backup_stays(old: Night) -> None:
    (old.root / f"{SQLITE}.v3-backup").write_text("mine")
    Archive(old.root, upgrade=lambda line: None).close()
    assert (old.root / f"{SQLITE}.v3-backup").read_text() == "mine"
    assert backups(old.root) == [f"{SQLITE}.v3-backup", f"{SQLITE}.v3-backup-2"]


@pytest.mark.sqlite("it is the disk of the folder that is full")
def test_without_a_backup_nothing_is_touched(old: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(migrations, "_copy_file", full)
    with pytest.raises(ArchiveError, match=r"No space left on device.*; it is as it was"):
        Archive(old.root, upgrade=lambda line: None)
    monkeypatch.undo()
    with pytest.raises(ArchiveError, match="schema version 3"):
        Archive(old.root)


def test_nobody_upgrades_beneath_a_writer(old: Night) -> None:
    from calib.archive.locks import locked_folder

    with locked_folder(old.root), pytest.raises(ArchiveError, match=r"another run .* is writing"):
        Archive(old.root, upgrade=lambda line: None)
    assert not Archive(old.root, upgrade=lambda line: None).being_written()


def test_what_cannot_be_upgraded_says_so_and_stays(settled: Night) -> None:
    archive = Archive(settled.root)
    with archive.begin() as connection:
        connection.execute(sa.update(schema.meta).where(schema.meta.c.name == "schema_version").values(value="2"))
    archive.close()
    for upgrade in (None, lambda line: None):
        with pytest.raises(ArchiveError, match="schema version 2, this program knows 4; make the archive anew"):
            Archive(settled.root, create=True, upgrade=upgrade)
    assert not list(settled.root.glob("*backup*"))


def test_every_step_leads_one_version_on_and_the_last_to_this_one() -> None:
    assert sorted(migrations.STEPS) == list(range(min(migrations.STEPS), schema.SCHEMA_VERSION))
