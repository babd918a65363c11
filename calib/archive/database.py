"""The archive: a folder of products and one database of numbers, verdicts, lineage and decisions."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from calib.archive import schema
from calib.archive.trouble import speak_plainly
from calib.errors import ArchiveBusy, ArchiveError
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

    Raises
    ------
    ArchiveError
        If there is no archive, or it was made by a newer version.
    """

    def __init__(self, root: Path, *, create: bool = False) -> None:
        self.root = Path(root).absolute()
        self.path = self.root / "archive.sqlite"
        if not self.path.exists():
            if not create:
                raise ArchiveError(f"{self.root} holds no archive; make one with `calib run RAW --archive {root}`")
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ArchiveError(f"{self.root} cannot be made: {error.strerror}; choose another folder") from error
        self.engine = self._engine()
        try:
            self._check_schema(create)
        except sa.exc.DatabaseError as error:
            raise ArchiveError(
                f"{self.path} cannot be used as a database ({error.orig}); move it away or restore it"
            ) from error

    def _engine(self) -> Engine:
        engine = sa.create_engine(f"sqlite:///{self.path}", connect_args={"timeout": 30})

        @sa.event.listens_for(engine, "connect")
        def _settings(connection: Any, _: Any) -> None:
            # WAL lets the page read while a run writes; NORMAL survives a crash of the process, FULL that of the
            # machine.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

        speak_plainly(engine, str(self.path))
        return engine

    def _check_schema(self, create: bool) -> None:
        with self.engine.connect() as connection:
            known = sa.inspect(connection).has_table("meta")
        if not known:
            if not create:
                raise ArchiveError(f"{self.path} is empty; fill it with `calib run RAW --archive {self.root}`")
            with self.engine.begin() as connection:
                schema.metadata.create_all(connection)
                connection.execute(
                    sa.insert(schema.meta).values(name="schema_version", value=str(schema.SCHEMA_VERSION))
                )
        version = int(self.value(sa.select(schema.meta.c.value).where(schema.meta.c.name == "schema_version")) or 0)
        if version != schema.SCHEMA_VERSION:
            raise ArchiveError(
                f"{self.path} has schema version {version}, this program knows {schema.SCHEMA_VERSION}; "
                + ("install a newer version" if version > schema.SCHEMA_VERSION else "make the archive anew")
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the archive for one writer; ArchiveError if another has it."""
        lock = self.root / ".lock"
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o664)
        except OSError as error:
            raise ArchiveError(f"{self.root} cannot be written: {error.strerror}; check its permissions") from error
        try:
            try:
                _take(handle)
            except OSError as error:
                holder = os.pread(handle, 40, 0).decode("ascii", "replace").strip()
                raise ArchiveBusy(
                    f"another run ({holder or 'unknown'}) is writing to {self.root}; wait for it to end"
                ) from error
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()}".encode(), 0)
            yield
        finally:
            os.close(handle)

    def being_written(self) -> bool:
        """Whether a writer holds the archive; one that was killed does not."""
        try:
            handle = os.open(self.root / ".lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    def begin(self) -> Any:
        """Return a context manager with a connection in one transaction."""
        return self.engine.begin()

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
        with self.begin() as connection:
            row = {"name": "revision", "value": str(self.revision() + 1)}
            upsert(connection, schema.meta, [row])

    def close(self) -> None:
        """Release the database's connections."""
        self.engine.dispose()


def _take(handle: int) -> None:
    """Lock for writing. Whoever asks whether there is a writer holds the lock for an instant, so try more than once."""
    for wait_s in (0.01, 0.05, 0.1, 0.2):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            time.sleep(wait_s)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def upsert(connection: Connection, table: sa.Table, rows: Iterable[Row], keep: tuple[str, ...] = ()) -> None:
    """Insert rows, or update those whose primary key is there (columns in ``keep`` stay as they were).

    All rows must have the same columns; columns that are not given are left alone in an update.
    """
    rows = list(rows)
    if not rows:
        return
    dialect = connection.dialect.name
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    statement = insert(table)
    primary = [c.name for c in table.primary_key]
    changed = {n: statement.excluded[n] for n in rows[0] if n not in primary and n not in keep}
    if changed:
        statement = statement.on_conflict_do_update(index_elements=primary, set_=changed)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=primary)
    connection.execute(statement, [dict(r) for r in rows])
