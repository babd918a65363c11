"""Archives that keep their rows in PostgreSQL: what differs from SQLite, and what must not."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from small_camera import Night, assert_same, rows, run, survey_of, write_raw

from calib.archive import schema
from calib.archive.database import Archive, upsert
from calib.archive.decisions import decide
from calib.archive.place import DEFAULT, REMEMBERED, SQLITE, place_of, stamp_of
from calib.cli import main
from calib.errors import ArchiveBusy, ArchiveError, DecisionConflict, DecisionError
from monitor.collect import Collector
from monitor.source import Source
from tests import postgresql

URL = "postgresql://ann@127.0.0.1:5432/survey"


@pytest.fixture
def _undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEFAULT, raising=False)


# Where the rows are: no server is needed to say so.


@pytest.mark.usefixtures("_undecided")
def test_rows_are_in_the_folder_unless_something_else_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not place_of(tmp_path)[0].is_server
    monkeypatch.setenv(DEFAULT, URL)
    assert place_of(tmp_path)[0].name == URL
    assert not place_of(tmp_path, "sqlite")[0].is_server
    assert place_of(tmp_path, "postgresql+psycopg://bob@db/other")[0].name == "postgresql://bob@db/other"


@pytest.mark.usefixtures("_undecided")
def test_an_archive_keeps_its_rows_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / SQLITE).touch()
    with pytest.raises(ArchiveError, match=r"keeps its rows in archive\.sqlite: leave out --database"):
        place_of(tmp_path, URL)
    monkeypatch.setenv(DEFAULT, URL)
    assert not place_of(tmp_path)[0].is_server


@pytest.mark.usefixtures("_undecided")
def test_a_folder_remembers_its_database(tmp_path: Path) -> None:
    place, there = place_of(tmp_path, URL)
    assert not there
    place.remember()
    assert place_of(tmp_path) == (place, True)
    assert place_of(tmp_path, URL)[0] == place
    for other in ("sqlite", URL + "2"):
        with pytest.raises(ArchiveError, match=rf"keeps its rows in {URL}: leave out --database, or edit"):
            place_of(tmp_path, other)
    assert stamp_of(tmp_path) == stamp_of(tmp_path) is not None


@pytest.mark.usefixtures("_undecided")
def test_two_archives_of_one_name_have_schemas_of_their_own(tmp_path: Path) -> None:
    names = {place_of(tmp_path / "Größe — 1", URL)[0].namespace for _ in range(5)}
    assert len(names) == 5
    assert all(n.startswith("vesper_gr_e_1_") for n in names)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://db/survey", "databases of the kind 'mysql' cannot be used; give one as postgresql://user@host"),
        ("not a url", "that is no URL of a database; give one as postgresql://"),
        ("postgresql://ann:geheim@db/survey", r"put it into ~/\.pgpass or \$PGPASSWORD"),
        ("postgresql://ann@db/survey?password=geheim", r"put it into ~/\.pgpass or \$PGPASSWORD"),
        ("postgresql://ann:geheim@db:port/survey", "that is no URL of a database"),
    ],
)
def test_urls_that_cannot_be_used(url: str, words: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["run", str(tmp_path), "--archive", str(tmp_path / "a"), "--database", url])
    assert done.exit_code == 1
    assert re.search(words, done.output)
    assert "geheim" not in done.output
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "text", ["", "url = 3", "schema = 'x'", f"url = '{URL}'\nschema = 'a\"; DROP'", "\0", "url = '"]
)
def test_a_file_that_does_not_say_where_is_one_error(text: str, tmp_path: Path) -> None:
    (tmp_path / REMEMBERED).write_text(text)
    with pytest.raises(ArchiveError, match=r"database\.toml does not say where the rows are; it needs `url`"):
        Archive(tmp_path)


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    url = "postgresql://ann@127.0.0.1:9/survey"
    done = CliRunner().invoke(main, ["run", str(tmp_path), "--archive", str(tmp_path / "a"), "--database", url])
    assert done.exit_code == 1
    said = done.output.splitlines()[-1]
    assert f"{url} cannot be used: Connection refused; see that the server runs and that its address is right" in said
    assert len(done.output.splitlines()) == 2, "a line that it starts, and one that it cannot"
    # The next attempt may name another one.
    assert not (tmp_path / "a" / REMEMBERED).exists()


# On a server.


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Archive(tmp_path / "own", create=True).close()
    return tmp_path / "own"


def admin(root: Path, statement: str) -> list[sa.Row[tuple[object, ...]]]:
    """Something done on the server behind an archive's back."""
    url = sa.make_url(postgresql.server()).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        found = connection.execute(sa.text(statement.format(database=place_of(root)[0].url.database)))
        kept = list(found) if found.returns_rows else []
    engine.dispose()
    return kept


def cut(root: Path) -> None:
    """End all connections to the archive's database, as a server does that is restarted."""
    admin(root, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")


@pytest.mark.postgresql
def test_the_folder_holds_no_database(root: Path) -> None:
    assert not (root / SQLITE).exists()
    assert "password" not in (root / REMEMBERED).read_text().replace("The password belongs", "")
    assert rows(root, "meta") == [{"name": "schema_version", "value": str(schema.SCHEMA_VERSION)}]


@pytest.mark.postgresql
def test_both_databases_hold_the_same(four_nights: Night, tmp_path: Path) -> None:
    run(Archive(tmp_path / "other", create=True, database="sqlite"), four_nights.raw)
    assert_same(four_nights.root, tmp_path / "other")


@pytest.mark.postgresql
def test_two_archives_do_not_see_each_other(root: Path, settled: Night) -> None:
    assert rows(root, "flats") == []
    assert rows(settled.root, "flats") != []


def test_whatever_a_header_holds_is_kept_or_cleaned(root: Path) -> None:
    f = schema.files
    row = {
        "path": "a\0b\udcff", "size": 1 << 40, "mtime_ns": 1 << 60, "content_hash": None, "status": "refused" * 40,
        "reason": "x" * 100_000, "obs_type": "t" * 300, "night": "1999-05-01", "band": "Größe ≥ 20 Zeichen, gewiss",
        "scan": 1 << 40, "n_frames": None, "start_iso": "", "start_mjd": float("nan"),
        "sequence_group": [float("nan"), "a\0b", float("inf"), {"x": 1}], "temperature_k": float("inf"),
        "notes": "'\"\\%s", "rules_hash": "0",
    }  # fmt: skip
    with closing(Archive(root)) as archive, archive.begin() as connection:
        upsert(connection, f, [row])
    (found,) = rows(root, "files")
    assert found["path"] == "a�b���"
    assert found["start_mjd"] is None
    assert found["temperature_k"] == float("inf")
    assert found["sequence_group"] == [None, "a\0b", None, {"x": 1}]
    same = ("size", "mtime_ns", "status", "reason", "obs_type", "band", "scan", "notes")
    assert {n: found[n] for n in same} == {n: row[n] for n in same}


def test_text_is_in_the_order_of_its_code_points(root: Path) -> None:
    names = ["b", "B", "a_1", "a-1", "a1", "Ks", "J", "ä", "z"]
    with closing(Archive(root)) as archive:
        with archive.begin() as connection:
            upsert(connection, schema.meta, [{"name": n, "value": n} for n in names])
        m = schema.meta
        found = archive.rows(sa.select(m.c.name).where(m.c.name.in_(names)).order_by(m.c.name))
        assert [r["name"] for r in found] == sorted(names)
        assert archive.value(sa.select(sa.func.max(m.c.value)).where(m.c.name.in_(names))) == "ä"


@pytest.mark.postgresql
def test_numbers_of_decisions_go_on(settled: Night) -> None:
    note = {"who": "ann", "kind": "note", "night": settled.date(1), "reason": "x"}
    assert [decide(Archive(settled.root), **note) for _ in range(3)] == [1, 2, 3]
    assert run(settled.root, settled.raw).idle


@pytest.mark.postgresql
def test_of_two_who_decide_at_once_one_is_told(settled: Night) -> None:
    told: list[object] = []
    what = {"kind": "override", "band": "J", "product": "flat", "night": settled.date(1), "reason": "x", "seen": 0}
    gate = threading.Barrier(4)

    def one(who: str, value: str) -> None:
        with closing(Archive(settled.root)) as archive:
            gate.wait(20)
            try:
                told.append(decide(archive, who=who, value=value, **what))
            except DecisionConflict as error:
                told.append(error)

    threads = [threading.Thread(target=one, args=(f"p{k}", ("accepted", "rejected")[k % 2])) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(rows(settled.root, "decisions")) == 1
    assert sum(isinstance(t, DecisionConflict) for t in told) == 3


def test_numbers_beyond_all_count_are_refused(settled: Night) -> None:
    with closing(Archive(settled.root)) as archive:
        for wrong in (-1, 1 << 63, 10**30):
            with pytest.raises(DecisionError, match=f"{wrong} is the number of no decision"):
                decide(archive, who="ann", kind="undo", undoes=wrong, reason="x")
            what = {"kind": "override", "product": "sky-offset", "value": "accepted", "read": "R1"}
            with pytest.raises(DecisionError, match=f"{wrong} is the number of no block"):
                decide(archive, who="ann", night=settled.date(2), band="J", scan=1, block=wrong, reason="x", **what)


def test_a_file_whose_name_is_no_text_is_refused(four_nights: Night, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    whole = next(four_nights.raw.rglob("*.fits*"))
    (raw / os.fsdecode(b"a\xff.fits")).write_bytes(whole.read_bytes())
    assert run(tmp_path / "archive", raw).refused == 1


def test_every_announcement_counts(root: Path) -> None:
    def announce() -> None:
        with closing(Archive(root)) as archive:
            for _ in range(10):
                archive.announce()

    Archive(root).announce()
    threads = [threading.Thread(target=announce) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert Archive(root).revision() == 41


@pytest.mark.postgresql
def test_a_writer_elsewhere_is_seen_and_keeps_others_out(root: Path) -> None:
    here, elsewhere = Archive(root), Archive(root)
    lock = elsewhere._server_lock
    assert lock is not None
    # Another machine's lock on the folder may not be seen here.
    with lock.held():
        assert here.being_written()
        with (
            pytest.raises(ArchiveBusy, match=rf"another run \(process {os.getpid()} on \S+\) is writing"),
            here.writing(),
        ):
            pass
        assert here.rows(sa.select(schema.flats)) == []
    assert not here.being_written()
    with here.writing():
        assert elsewhere.being_written()
    here.close()
    elsewhere.close()


@pytest.mark.postgresql
def test_a_writer_that_was_killed_holds_nothing(root: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from calib.archive.database import Archive\n"
        "w = Archive(Path(sys.argv[1])).writing(); w.__enter__(); print('here', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "here\n"
        with closing(Archive(root)) as archive:
            assert archive.being_written()
            writer.kill()
            writer.wait()
            for _ in range(100):
                if not archive.being_written():
                    break
                threading.Event().wait(0.05)
            with archive.writing():
                pass


@pytest.mark.postgresql
def test_a_reader_finds_a_server_that_was_restarted(root: Path) -> None:
    with closing(Archive(root)) as archive:
        before = archive.revision()
        cut(root)
        assert archive.revision() == before


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw(survey_of(3, scans={2: 1}), tmp_path / "raw")


@pytest.mark.postgresql
@pytest.mark.parametrize("after", [1, 4])
def test_a_run_that_loses_the_server_says_so_and_the_next_one_goes_on(after: int, raw: Path, tmp_path: Path) -> None:
    seen = 0

    def progress(done: int, total: int, what: str) -> None:
        nonlocal seen
        seen += 1
        if seen == after:
            cut(tmp_path / "cut")

    archive = Archive(tmp_path / "cut", create=True)
    with pytest.raises(ArchiveError, match=r"the connection to .* was lost.*goes on from where this one stopped"):
        run(archive, raw, progress=progress)
    archive.close()
    assert rows(tmp_path / "cut", "runs")[0]["status"] == "running"
    run(tmp_path / "cut", raw)
    assert [r["status"] for r in rows(tmp_path / "cut", "runs")] == ["killed", "done"]
    run(tmp_path / "whole", raw)
    assert_same(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.postgresql
def test_the_page_says_why_there_is_nothing_and_goes_on_by_itself(settled: Night) -> None:
    source = Source(settled.root)
    assert source.problem() == ""
    place, _ = place_of(settled.root)
    admin(settled.root, "ALTER DATABASE {database} ALLOW_CONNECTIONS false")
    try:
        cut(settled.root)
        said = source.problem()
        assert f"{place.name} cannot be used: " in said
        assert "\n" not in said
    finally:
        admin(settled.root, "ALTER DATABASE {database} ALLOW_CONNECTIONS true")
    assert source.problem() == ""
    assert source.collector() is source.collector()
    source.collector().archive.close()


@pytest.mark.postgresql
def test_what_the_server_refuses_is_one_sentence_with_the_remedy(root: Path, tmp_path: Path) -> None:
    url = place_of(root)[0].url
    cases = {
        r'database "no_such" does not exist; make it with `createdb`': url.set(database="no_such"),
        r'role "nobody_here" does not exist; make it with `createuser`': url.set(username="nobody_here"),
    }
    for words, wrong in cases.items():
        with pytest.raises(ArchiveError, match=words):
            Archive(tmp_path / "a", create=True, database=wrong.render_as_string())
    admin(root, "CREATE ROLE vesper_guest LOGIN")
    try:
        with pytest.raises(
            ArchiveError, match=r"allows too little: permission denied for database .*; ask whoever runs it"
        ):
            Archive(tmp_path / "a", create=True, database=url.set(username="vesper_guest").render_as_string())
        place_of(root)[0].remember()
        text = (root / REMEMBERED).read_text()
        (root / REMEMBERED).write_text(text.replace("://vesper@", "://vesper_guest@"))
        with pytest.raises(ArchiveError, match=r"allows too little: permission denied for .*; ask whoever runs it"):
            Archive(root)
    finally:
        admin(root, "DROP ROLE vesper_guest")


@pytest.mark.postgresql
def test_passwords_come_from_the_environment_and_are_told_nobody(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin(root, "CREATE ROLE vesper_asked LOGIN SUPERUSER PASSWORD 'geheim'")
    try:
        url = place_of(root)[0].url.set(username="vesper_asked").render_as_string()
        told = []
        for wrong in ("", "falsch"):
            monkeypatch.setenv("PGPASSWORD", wrong)
            with suppress(ArchiveError):
                Archive(tmp_path / "open", create=True, database=url).close()
                pytest.skip("this server asks nobody for a password; `.ci/with-postgresql` starts one that does")
            with pytest.raises(ArchiveError, match=r"check the user's name, and the password in ~/\.pgpass") as refused:
                Archive(tmp_path / "asked", create=True, database=url)
            told.append(str(refused.value))
        assert "falsch" not in "".join(told)
        monkeypatch.setenv("PGPASSWORD", "geheim")
        archive = Archive(tmp_path / "asked", create=True, database=url)
        assert "geheim" not in (tmp_path / "asked" / REMEMBERED).read_text() + repr(archive.place) + repr(
            archive.engine
        )
        archive.close()
        monkeypatch.delenv("PGPASSWORD")
        with pytest.raises(ArchiveError, match="check the user's name, and the password"):
            Archive(tmp_path / "asked")
        cut(root)
    finally:
        schema_of = "DROP OWNED BY vesper_asked CASCADE"
        with closing(Archive(root)) as archive, archive.begin() as connection:
            connection.exec_driver_sql(schema_of)
        admin(root, "DROP ROLE vesper_asked")


@pytest.mark.postgresql
def test_tables_that_are_gone_are_not_made_again_by_a_reader(root: Path) -> None:
    archive, place = Archive(root), place_of(root)[0]
    with archive.begin() as connection:
        connection.exec_driver_sql(f'DROP SCHEMA "{place.namespace}" CASCADE')
    with pytest.raises(ArchiveError, match=r"has no tables of .* any more \(schema vesper_own_\w+\); restore"):
        archive.revision()
    archive.close()
    with pytest.raises(ArchiveError, match=f"{place.name} is empty"):
        Archive(root)


@pytest.mark.postgresql
def test_a_database_of_another_encoding_is_refused(root: Path, tmp_path: Path) -> None:
    name = "vesper_latin"
    admin(root, f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")
    try:
        url = place_of(root)[0].url.set(database=name).render_as_string()
        with pytest.raises(ArchiveError, match="keeps text as LATIN1; make one with `createdb --encoding=UTF8`"):
            Archive(tmp_path / "latin", create=True, database=url)
    finally:
        admin(root, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.postgresql
def test_many_who_make_one_archive_at_once_keep_its_rows_in_one_place(tmp_path: Path) -> None:
    root, gate = tmp_path / "contended", threading.Barrier(6)

    def make() -> str:
        gate.wait(20)
        archive = Archive(root, create=True)
        with archive.begin() as connection:
            connection.execute(sa.insert(schema.meta).values(name=secrets.token_hex(8), value="was here"))
        archive.close()
        return archive.place.namespace

    with ThreadPoolExecutor(6) as pool:
        found = {f.result() for f in [pool.submit(make) for _ in range(6)]}
    assert found == {place_of(root)[0].namespace}
    assert sum(r["value"] == "was here" for r in rows(root, "meta")) == 6
    with closing(Archive(root)) as archive:
        names = sa.inspect(archive.engine).get_schema_names()
    assert {n for n in names if n.startswith("vesper_contended_")} == found
    assert [p.name for p in root.iterdir()] == [REMEMBERED]


@pytest.mark.postgresql
def test_two_who_make_one_archive_at_once_make_one(tmp_path: Path) -> None:
    place, _ = place_of(tmp_path / "archive")
    (tmp_path / "archive").mkdir()
    place.remember()
    gate, failed = threading.Barrier(3), []

    def make() -> None:
        gate.wait(20)
        try:
            Archive(tmp_path / "archive", create=True).close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    assert len(rows(tmp_path / "archive", "meta")) == 1


@pytest.mark.postgresql
def test_nothing_is_left_open(settled: Night) -> None:
    for _ in range(5):
        Archive(settled.root).revision()
    with suppress(ArchiveError), Collector(settled.root).archive.writing():
        pass
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND state LIKE 'idle in%'"
    assert admin(settled.root, query)[0][0] == 0
