"""The archive: a folder of products and one database of numbers, verdicts, lineage and decisions."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from calib.archive import migrations, schema
from calib.archive.engines import engine_of
from calib.archive.locks import ServerLock, folder_is_locked, locked_folder
from calib.archive.place import place_of
from calib.errors import ArchiveError
from calib.profile import Profile

__all__ = ["Archive", "utc_now"]

Row = Mapping[str, Any]


def utc_now() -> str:
    """Return the present time, UTC, ISO to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Archive:
    """An archive folder with its database.

    Parameters
    ----------
    root : Path
        The folder.
    create : bool
        Make folder and database if they are not there.
    database : str, optional
        Where the rows of a new archive are kept, as in `calib.archive.place.place_of`.
    upgrade : callable, optional
        Bring an archive of an older version up to this one, after a backup; called with a line that says so. Without,
        such an archive is refused.

    Raises
    ------
    ArchiveError
        If there is no archive, its database cannot be used, or another version made it.
    """

    def __init__(
        self,
        root: Path,
        *,
        create: bool = False,
        database: str | None = None,
        upgrade: Callable[[str], None] | None = None,
    ) -> None:
        self.root = Path(root).absolute()
        self.place, there = place_of(self.root, database)
        if not there:
            if not create:
                raise ArchiveError(f"{self.root} holds no archive; make one with `calib run RAW --archive {root}`")
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ArchiveError(f"{self.root} cannot be made: {error.strerror}; choose another folder") from error
        if not self._open(create, there, upgrade):
            self.engine.dispose()
            # Another process made the archive at this moment, and its database is the one.
            self.place, _ = place_of(self.root, database)
            self._open(create, True, upgrade)

    def _open(self, create: bool, there: bool, upgrade: Callable[[str], None] | None) -> bool:
        """Connect to the database and see to its tables; False where the folder remembers another one by now."""
        self.engine = engine_of(self.place)
        # Whoever forgets to close an archive leaves no connection on the server.
        weakref.finalize(self, self.engine.dispose)
        self._server_lock = ServerLock(self.engine, self.place) if self.place.is_server else None
        try:
            return self._check_schema(create, there, upgrade)
        except sa.exc.DatabaseError as error:
            raise ArchiveError(
                f"{self.place.name} cannot be used as a database ({error.orig}); move it away or restore it"
            ) from error

    def _check_schema(self, create: bool, there: bool, upgrade: Callable[[str], None] | None) -> bool:
        with self.engine.connect() as connection:
            version = migrations.version_of(connection, self.place)
        if version is None:
            if not create:
                raise ArchiveError(f"{self.place.name} is empty; fill it with `calib run RAW --archive {self.root}`")
            migrations.make_tables(self.engine, self.place)
            # Not before: a folder that remembers a database that was never made would be in the way.
            if self.place.is_server and not there and not self.place.remember():
                migrations.drop_tables(self.engine, self.place)
                return False
            return True
        if version != schema.SCHEMA_VERSION and version in migrations.STEPS and upgrade is not None:
            with self.writing():
                migrations.upgrade(self.engine, self.place, upgrade)
            return True
        migrations.refuse_other(version, self.place)
        return True

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the archive for one writer; ArchiveBusy if another has it."""
        with locked_folder(self.root):
            if self._server_lock is None:
                yield
            else:
                with self._server_lock.held():
                    yield

    def being_written(self) -> bool:
        """Whether a writer holds the archive; one that was killed does not."""
        return folder_is_locked(self.root) or (self._server_lock is not None and self._server_lock.is_held())

    def begin(self, *, lasting: bool = True) -> Any:
        """Return a context manager with a connection in one transaction.

        A writer that has lost its lock with the connection to the server does not get one.

        Parameters
        ----------
        lasting : bool
            Whether its end waits until the disk holds it. If not, a crash of the machine (with PostgreSQL also one of
            the server, which ends this writer, too), not one of this process, takes the rows back, and those that
            followed with them, until something lasting is written: for what the next run would make again. Where much
            else is being written that wait can be long.
        """
        if self._server_lock is not None:
            self._server_lock.assure()
        return self.engine.begin() if lasting else self._begin_unsynced()

    @contextmanager
    def _begin_unsynced(self) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            if self.place.is_server:
                with connection.begin():
                    connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
                    yield connection
                return
            # Within a transaction it cannot be said, and without a word to the file no transaction has begun yet.
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
            connection.commit()
            try:
                with connection.begin():
                    yield connection
            except BaseException:
                # Whatever state it is in, nobody is to get it again.
                connection.invalidate()
                raise
            connection.exec_driver_sql("PRAGMA synchronous=FULL")
            connection.commit()

    def rows(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        """Return all rows of a query as dictionaries."""
        with self.engine.connect() as connection:
            found = connection.execute(statement)
            names = tuple(found.keys())
            return [dict(zip(names, row, strict=True)) for row in found.all()]

    def value(self, statement: sa.Select[Any]) -> Any:
        """Return the first value of the first row, or None."""
        with self.engine.connect() as connection:
            return connection.execute(statement).scalar()

    def damages(self) -> list[str]:
        """Return what is wrong within the database file, in its own words; a server looks after its own."""
        if self.place.is_server:
            return []
        with self.engine.connect() as connection:
            said = connection.exec_driver_sql("PRAGMA integrity_check(5)").scalars().all()
        return [] if said == ["ok"] else [line for text in said for line in str(text).splitlines()]

    def register_profile(self, profile: Profile) -> int:
        """Make a profile the archive's current one, as a new version unless it is that already; return its number."""
        from calib.archive.versions import register

        return register(self, profile)

    def current_profile(self) -> Profile | None:
        """Return the profile that a run without another one uses: the latest version, or None."""
        p = schema.profiles
        found = self.value(sa.select(p.c.content).order_by(p.c.version.desc()).limit(1))
        return None if found is None else Profile.model_validate(found)

    def revision(self) -> int:
        """Return a number that grows whenever readers should look again."""
        return int(self.value(sa.select(schema.meta.c.value).where(schema.meta.c.name == "revision")) or 0)

    def announce(self) -> None:
        """Tell readers that what they show may have changed; called where rows and products agree."""
        m = schema.meta
        more = sa.cast(sa.cast(m.c.value, sa.BigInteger) + 1, sa.Text)
        with self.begin() as connection:
            # The database adds: two that announce at one moment must not give readers one number.
            if not connection.execute(sa.update(m).where(m.c.name == "revision").values(value=more)).rowcount:
                upsert(connection, m, [{"name": "revision", "value": "1"}])

    def close(self) -> None:
        """Release the database's connections."""
        self.engine.dispose()


def upsert(connection: Connection, table: sa.Table, rows: Iterable[Row], keep: tuple[str, ...] = ()) -> None:
    """Insert rows, or update those whose primary key is there (columns in ``keep`` stay as they were).

    All rows must have the same columns; columns that are not given are left alone in an update.
    """
    rows = list(rows)
    if rows:
        statement = _upsert(connection.dialect.name, table, tuple(rows[0]), keep)
        connection.execute(statement, [dict(r) for r in rows])


@functools.cache
def _upsert(dialect: str, table: sa.Table, columns: tuple[str, ...], keep: tuple[str, ...]) -> sa.Insert:
    # To put a statement together takes as long as to execute it.
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    statement = insert(table)
    primary = [c.name for c in table.primary_key]
    changed = {n: statement.excluded[n] for n in columns if n not in primary and n not in keep}
    if changed:
        return statement.on_conflict_do_update(index_elements=primary, set_=changed)
    return statement.on_conflict_do_nothing(index_elements=primary)
