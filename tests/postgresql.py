"""A PostgreSQL server to run the tests on, named by a variable: archives that the tests make keep their rows there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.place import DEFAULT, REMEMBERED

VARIABLE = "VESPER_TEST_POSTGRESQL"
REQUIRED = "VESPER_REQUIRE_POSTGRESQL"

NONE = (
    f"no PostgreSQL server: `make test-postgresql` starts one, or set {VARIABLE} to the URL of one where databases may "
    "be made, as postgresql://user@127.0.0.1:5432/postgres"
)


def server() -> str:
    """The URL of the server; empty without one."""
    return os.environ.get(VARIABLE, "")


@contextmanager
def own_database(url: str) -> Iterator[str]:
    """A database for these tests alone, which is gone afterwards."""
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    name = f"vesper_test_{uuid.uuid4().hex[:12]}"
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield sa.make_url(url).set(database=name).render_as_string(hide_password=False)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        engine.dispose()


@contextmanager
def archives_made_there(url: str) -> Iterator[None]:
    """Let archives that are made keep their rows in a database of the server, also in programs that tests start."""
    before = os.environ.get(DEFAULT)
    with own_database(url) as database:
        os.environ[DEFAULT] = database
        try:
            yield
        finally:
            del os.environ[DEFAULT]
            if before is not None:
                os.environ[DEFAULT] = before


def copy_rows(archive: Path, to: Path) -> None:
    """Give the copy of an archive's folder rows of its own."""
    original = Archive(archive)
    (to / REMEMBERED).unlink()
    url = original.place.url.render_as_string(hide_password=False)
    copy = Archive(to, create=True, database=url)
    with copy.begin() as connection:
        connection.execute(sa.delete(schema.meta))
        for table in schema.metadata.sorted_tables:
            names = ", ".join(f'"{c.name}"' for c in table.columns)
            source = f'"{original.place.namespace}"."{table.name}"'
            connection.exec_driver_sql(f'INSERT INTO "{table.name}" ({names}) SELECT {names} FROM {source}')
        for table in ("runs", "decisions"):
            last = f'(SELECT max(id) FROM "{table}")'
            connection.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {last}) WHERE {last} > 0"
            )
    original.close()
    copy.close()
