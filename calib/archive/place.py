"""Where an archive keeps its rows: SQLite in its folder, or a schema of its own in a PostgreSQL database.

The folder remembers the database in ``database.toml``, so that every other command needs only the folder::

    url = "postgresql+psycopg://vesper@db.example.org/survey"
    schema = "vesper_archive_5f0c31d2"

There is never a password in it: libpq finds it in ``$PGPASSWORD``, ``~/.pgpass`` or a service file.
"""

from __future__ import annotations

import os
import re
import tomllib
import uuid
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL

from calib.errors import ArchiveError

__all__ = ["DEFAULT", "Place", "place_of", "products_without_database", "stamp_of"]

SQLITE = "archive.sqlite"
REMEMBERED = "database.toml"

DEFAULT = "VESPER_DATABASE"
"""Variable of the environment that says where archives made from now on keep their rows."""

_NAMESPACE = re.compile(r"[a-z_][a-z0-9_]{0,54}")


@dataclass(frozen=True)
class Place:
    """A database of an archive.

    Attributes
    ----------
    root : Path
        The archive's folder.
    url : URL
        SQLite's or PostgreSQL's, without a password.
    namespace : str
        Schema of the PostgreSQL database that holds the tables; empty for SQLite.
    """

    root: Path
    url: URL
    namespace: str = ""

    @property
    def is_server(self) -> bool:
        """Whether the rows are on a server."""
        return bool(self.namespace)

    @property
    def name(self) -> str:
        """The database as a person knows it."""
        if not self.is_server:
            return str(self.root / SQLITE)
        return self.url.set(drivername="postgresql", password=None).render_as_string(hide_password=True)

    def remember(self) -> bool:
        """Write into the folder where its rows are, whole or not at all; False where it remembers a database already.

        Two processes may make one archive at one moment; the first one's database then is the archive's.
        """
        text = (
            "# Where the rows of this archive are. The password belongs in ~/.pgpass or $PGPASSWORD, never here.\n"
            f"url = {_quoted(self.url.render_as_string(hide_password=False))}\nschema = {_quoted(self.namespace)}\n"
        )
        part = self.root / f"{REMEMBERED}.{uuid.uuid4().hex[:8]}.part"
        part.write_text(text, "utf-8")
        try:
            os.link(part, self.root / REMEMBERED)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            try:
                with (self.root / REMEMBERED).open("x", encoding="utf-8") as file:
                    file.write(text)
            except FileExistsError:
                return False
        finally:
            part.unlink()
        return True


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def place_of(root: Path, wanted: str | None = None) -> tuple[Place, bool]:
    """Return where an archive keeps its rows, or will, and whether the folder says so already.

    Parameters
    ----------
    root : Path
        The folder; it may not be there yet.
    wanted : str, optional
        URL of a PostgreSQL database, or ``sqlite``. An archive that is there must agree; a new one follows it, else
        ``$VESPER_DATABASE``, else SQLite.

    Raises
    ------
    ArchiveError
        If the URL cannot be used, or the archive keeps its rows somewhere else.
    """
    own = Place(root, URL.create("sqlite", database=str(root / SQLITE)))
    asked = _url(wanted) if wanted else None
    if (root / REMEMBERED).exists():
        place = _remembered(root)
        if wanted and asked != place.url:
            raise ArchiveError(
                f"{root} keeps its rows in {place.name}: leave out --database, or edit {root / REMEMBERED} if the "
                "database has moved"
            )
        return place, True
    if (root / SQLITE).exists():
        if asked is not None:
            raise ArchiveError(
                f"{root} keeps its rows in {SQLITE}: leave out --database, or make a new archive in another folder"
            )
        return own, True
    url = asked if wanted else _url(os.environ.get(DEFAULT, "") or "sqlite")
    return (own if url is None else Place(root, url, _new_namespace(root))), False


def products_without_database(root: Path) -> bool:
    """Return whether a folder holds products, and neither their database nor word of where it is."""
    if (root / REMEMBERED).exists() or (root / SQLITE).exists():
        return False
    return any(next((root / "nights").glob(f"*/*/{name}.fits"), None) for name in ("dark-*", "responsivity"))


def stamp_of(root: Path) -> tuple[int, ...] | None:
    """Return what tells the database in a folder from another one that takes its place; None if there is none."""
    try:
        found = (root / REMEMBERED).stat()
        return found.st_dev, found.st_ino, found.st_mtime_ns
    except OSError:
        pass
    try:
        found = (root / SQLITE).stat()
    except OSError:
        return None
    # Its time changes with every row.
    return found.st_dev, found.st_ino


def _url(text: str) -> URL | None:
    """Return the URL of a PostgreSQL database in its one form; None for SQLite in the folder."""
    if text == "sqlite":
        return None
    remedy = "give one as postgresql://user@host/database, or `sqlite`"
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        # Without the text: there may be a password in it.
        raise ArchiveError(f"that is no URL of a database; {remedy}") from None
    if url.drivername not in ("postgresql", "postgresql+psycopg", "postgres"):
        raise ArchiveError(f"databases of the kind {url.drivername!r} cannot be used; {remedy}")
    if url.password is not None or "password" in url.query:
        raise ArchiveError(
            "a password in the URL can be read by everybody on this machine: leave it out there, and put it into "
            "~/.pgpass or $PGPASSWORD"
        )
    return url.set(drivername="postgresql+psycopg")


def _new_namespace(root: Path) -> str:
    # Two archives whose folders have one name must not meet.
    words = re.sub(r"[^a-z0-9]+", "_", root.name.lower()).strip("_")[:24]
    return f"vesper_{words or 'archive'}_{uuid.uuid4().hex[:8]}"


def _remembered(root: Path) -> Place:
    path = root / REMEMBERED
    try:
        found = tomllib.loads(path.read_text("utf-8"))
        url, namespace = found["url"], found["schema"]
        if not isinstance(url, str) or not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
            raise ValueError
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    except (KeyError, ValueError):
        raise ArchiveError(
            f"{path} does not say where the rows are; it needs `url` (postgresql://user@host/database) and `schema` "
            "(small letters, digits and _)"
        ) from None
    address = _url(url)
    if address is None:
        raise ArchiveError(f"{path} names no PostgreSQL database; correct its `url`")
    return Place(root, address, namespace)
