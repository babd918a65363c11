"""Versions of the tables: making them, and bringing those of an older version up to this one.

A step leads from one version to the next, in one transaction, in both databases. Before the first step the rows are
backed up: SQLite's into a file beside the database, PostgreSQL's into a schema beside the archive's. Steps are plain
functions here: archives are opened by a command that may be offline, each has tables of its own, and a backup has to
come first, none of which a library of migrations would do for us.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from calib.archive import schema
from calib.archive.place import SQLITE, Place
from calib.errors import ArchiveError

__all__ = ["STEPS", "add_indexes", "drop_tables", "make_tables", "refuse_other", "upgrade", "version_of"]


def version_of(connection: Connection, place: Place) -> int | None:
    """Return the version of an archive's tables, 0 if they do not say; None if there are none."""
    if place.is_server:
        may = sa.text("SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = :name")
        if connection.execute(may, {"name": place.namespace}).scalar() is False:
            # Its tables would look as if they were not there.
            raise ArchiveError(
                f"{place.name} allows too little: permission denied for schema {place.namespace}; ask whoever runs it "
                "for the permission"
            )
    if not sa.inspect(connection).has_table("meta", schema=place.namespace or None):
        return None
    return int(connection.execute(_VERSION).scalar() or 0)


_VERSION = sa.select(schema.meta.c.value).where(schema.meta.c.name == "schema_version")


def make_tables(engine: Engine, place: Place) -> None:
    """Make the tables of a new archive, all or none; those that another process makes at this moment are left."""
    with engine.begin() as connection:
        if place.is_server:
            _make_namespace(connection, place.namespace)
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        if version_of(connection, place) is None:
            schema.metadata.create_all(connection, checkfirst=False)
            values = {"name": "schema_version", "value": str(schema.SCHEMA_VERSION)}
            connection.execute(sa.insert(schema.meta).values(**values))


def add_indexes(engine: Engine) -> None:
    """Make the indexes that an archive lacks because it is older than they are: nothing but speed depends on them.

    Where this program may not, as in tables on a server that belong to somebody else, it goes on without.
    """
    with suppress(ArchiveError, sa.exc.DatabaseError), engine.begin() as connection:
        for index in schema.scans.indexes:
            index.create(connection, checkfirst=True)


def drop_tables(engine: Engine, place: Place) -> None:
    """Drop the tables on a server that this process made for an archive and nobody has seen."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f'DROP SCHEMA IF EXISTS "{place.namespace}" CASCADE')


def _make_namespace(connection: Connection, name: str) -> None:
    # In other encodings there are letters of reasons and names that cannot be kept.
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise ArchiveError(f"the database keeps text as {encoding}; make one with `createdb --encoding=UTF8`")
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": name})
    # An administrator may have made it, for somebody who may not.
    if name not in sa.inspect(connection).get_schema_names():
        connection.exec_driver_sql(f'CREATE SCHEMA "{name}"')


def refuse_other(version: int, place: Place) -> None:
    """Raise ArchiveError if tables are of another version than this program's, with what to do."""
    known = schema.SCHEMA_VERSION
    if version == known:
        return
    told = f"{place.name} has schema version {version}, this program knows {known}; "
    if version > known:
        raise ArchiveError(told + "install a newer version")
    if version in STEPS:
        raise ArchiveError(told + f"`calib upgrade --archive {place.root}` brings it up to date, after a backup")
    raise ArchiveError(told + "make the archive anew")


def upgrade(engine: Engine, place: Place, say: Callable[[str], None]) -> None:
    """Bring tables up to this program's version, after a backup; a step that fails leaves everything as it was.

    Parameters
    ----------
    engine : Engine
    place : Place
        Held by this writer.
    say : callable
        Told what was done, in a line.
    """
    backup = ""
    try:
        with engine.begin() as connection:
            if not place.is_server:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            first = version = version_of(connection, place) or 0
            if version == schema.SCHEMA_VERSION:
                return
            backup = _copy_tables(connection, place, version) if place.is_server else _copy_file(place, version)
            while version in STEPS:
                STEPS[version](connection)
                version += 1
            connection.execute(
                sa.update(schema.meta).where(schema.meta.c.name == "schema_version").values(value=str(version))
            )
    except (sa.exc.DatabaseError, sqlite3.DatabaseError, OSError) as error:
        words = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise ArchiveError(
            f"{place.name} could not be brought to schema version {schema.SCHEMA_VERSION} ({words}); it is as it was"
        ) from error
    say(f"{place.name} was brought from schema version {first} to {version}; as it was it is in {backup}")


def _copy_file(place: Place, version: int) -> str:
    """Copy an SQLite database beside itself; return the copy's path."""
    target = _free(lambda name: (place.root / name).exists(), f"{SQLITE}.v{version}-backup", "-")
    part = Path(place.root / f"{target}.part")
    part.unlink(missing_ok=True)
    # A second connection reads what was there before this transaction.
    with closing(sqlite3.connect(place.root / SQLITE)) as source, closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
    part.replace(place.root / target)
    return str(place.root / target)


def _copy_tables(connection: Connection, place: Place, version: int) -> str:
    """Copy the tables into a schema of their own, within the transaction; return its name."""
    names = sa.inspect(connection).get_schema_names()
    target = _free(names.__contains__, f"{place.namespace[:46]}_v{version}_backup", "_")
    connection.exec_driver_sql(f'CREATE SCHEMA "{target}"')
    for table in sa.inspect(connection).get_table_names(schema=place.namespace):
        connection.exec_driver_sql(f'CREATE TABLE "{target}"."{table}" AS SELECT * FROM "{place.namespace}"."{table}"')
    return f"schema {target}"


def _free(taken: Callable[[str], bool], name: str, joint: str) -> str:
    """Return a name that nothing has: an older backup stays."""
    found, n = name, 1
    while taken(found):
        n += 1
        found = f"{name}{joint}{n}"
    return found


def _from_3_to_4(connection: Connection) -> None:
    """Text of any length in the order of its code points, 64-bit numbers, and three indexes."""
    if connection.dialect.name == "postgresql":
        # SQLite checks neither length nor size, and compares bytes anyway.
        inspector = sa.inspect(connection)
        for table in inspector.get_table_names():
            changes = []
            for column in inspector.get_columns(table):
                name, kind = column["name"], column["type"]
                if isinstance(kind, sa.String):
                    changes.append(f'ALTER COLUMN "{name}" TYPE text COLLATE "C"')
                elif isinstance(kind, sa.Integer) and not isinstance(kind, sa.BigInteger):
                    changes.append(f'ALTER COLUMN "{name}" TYPE bigint')
            if changes:
                connection.exec_driver_sql(f'ALTER TABLE "{table}" {", ".join(changes)}')
    connection.exec_driver_sql("CREATE INDEX products_made ON products (made)")
    connection.exec_driver_sql("CREATE INDEX decisions_night ON decisions (night, kind)")
    connection.exec_driver_sql("CREATE INDEX scans_canonical ON scans (band, night, canonical_night, scan)")


STEPS: dict[int, Callable[[Connection], None]] = {3: _from_3_to_4}
"""Version → the step that leads to the next one."""
