"""One writer at a time: a lock on the folder, and one on the server for writers on other machines."""

from __future__ import annotations

import fcntl
import os
import platform
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from calib.archive.place import Place
from calib.errors import ArchiveBusy, ArchiveError, CalibError

__all__ = ["ServerLock", "folder_is_locked", "locked_file", "locked_folder"]

# Of a pair of numbers that name an advisory lock, the first one says that it is ours.
_OURS = 0x56535052


@contextmanager
def locked_file(path: Path, taken: Callable[[str], CalibError]) -> Iterator[None]:
    """Hold a file that is a lock, and say in it who does; one that is killed holds it no more.

    Parameters
    ----------
    path : Path
        Made if it is not there, and left.
    taken : callable
        Given who holds it, returns what is raised then.

    Raises
    ------
    ArchiveError
        If it cannot be written.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o664)
    except OSError as error:
        raise ArchiveError(f"{path.parent} cannot be written: {error.strerror}; check its permissions") from error
    try:
        try:
            _take(handle)
        except OSError as error:
            holder = os.pread(handle, 40, 0).decode("ascii", "replace").strip()
            raise taken(holder or "unknown") from error
        # Who holds it is a courtesy: on a full disk the lock counts all the same.
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(handle)


@contextmanager
def locked_folder(root: Path) -> Iterator[None]:
    """Hold a folder for one writer; ArchiveBusy if another has it."""

    def taken(holder: str) -> ArchiveBusy:
        return ArchiveBusy(f"another run ({holder}) is writing to {root}; wait for it to end")

    with locked_file(root / ".lock", taken):
        yield


def _take(handle: int) -> None:
    """Lock for writing. Whoever asks whether there is a writer holds the lock for an instant, so try more than once."""
    for wait_s in (0.01, 0.05, 0.1, 0.2):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            time.sleep(wait_s)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def folder_is_locked(root: Path) -> bool:
    """Whether a writer on this machine holds the folder; one that was killed does not."""
    try:
        handle = os.open(root / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


class ServerLock:
    """A lock that a PostgreSQL server holds for as long as a connection lives.

    Parameters
    ----------
    engine : Engine
    place : Place
        On a server.
    """

    def __init__(self, engine: Engine, place: Place) -> None:
        self._engine, self._place = engine, place
        self._connection: Any = None
        key = zlib.crc32(place.namespace.encode())
        self._names = {"ours": _OURS, "key": key, "signed": key - (1 << 32 if key >= 1 << 31 else 0)}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it; ArchiveBusy if another writer has it."""
        with self._engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            # Given back to the pool it would go on holding the lock.
            connection.detach()
            name = f"vesper, process {os.getpid()} on {platform.node()}"[:63]
            connection.execute(sa.text("SELECT set_config('application_name', :name, false)"), {"name": name})
            take = sa.text("SELECT pg_try_advisory_lock(CAST(:ours AS integer), CAST(:signed AS integer))")
            if not connection.execute(take, self._names).scalar():
                raise ArchiveBusy(
                    f"another run ({self._holder() or 'unknown'}) is writing to {self._place.root}; wait for it to end"
                )
            self._connection = connection.connection.dbapi_connection
            try:
                yield
            finally:
                self._connection = None
                # The server would notice the end of the connection a moment later; whoever asks now must not be told
                # that there is still a writer.
                with suppress(ArchiveError, sa.exc.SQLAlchemyError):
                    connection.execute(sa.text("SELECT pg_advisory_unlock_all()"))

    def assure(self) -> None:
        """Raise ArchiveError if this writer held the lock and has lost it: another one may be at work."""
        if self._connection is None:
            return
        driver = self._engine.dialect.dbapi
        assert driver is not None
        try:
            # Asked of the connection itself: SQLAlchemy would make a new one in place of one that is lost.
            self._connection.execute("SELECT 1")
        except driver.Error as error:
            raise ArchiveError(
                f"the connection to {self._place.name} was lost for a while, and with it the right to write; the "
                "same command goes on from where this one stopped"
            ) from error

    def is_held(self) -> bool:
        """Whether a writer on any machine holds it; asking does not disturb one that is about to take it."""
        return self._holder() is not None

    def _holder(self) -> str | None:
        with self._engine.connect() as connection:
            found = connection.execute(sa.text(_HOLDERS), self._names).first()
        return None if found is None else str(found[0] or "").removeprefix("vesper, ")


_HOLDERS = (
    "SELECT a.application_name FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid "
    "WHERE l.locktype = 'advisory' AND l.granted AND CAST(l.classid AS bigint) = CAST(:ours AS bigint) "
    "AND CAST(l.objid AS bigint) = CAST(:key AS bigint) AND l.objsubid = 2 "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
