"""Connections to the database of an archive, and what goes wrong with them, in one sentence."""

from __future__ import annotations

import json
import re
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy.engine import Engine

from calib.archive.place import REMEMBERED, Place
from calib.archive.trouble import speak_plainly
from calib.errors import ArchiveError

__all__ = ["engine_of"]

CONNECT_S = 10
"""Seconds to wait for a server."""


def engine_of(place: Place) -> Engine:
    """Return an engine for the database of an archive.

    Text loses NUL characters and numbers that are NaN become NULL on the way in, so that rows are alike in both
    databases: SQLite knows no NaN, PostgreSQL no NUL.

    Raises
    ------
    ArchiveError
        If the driver is not installed; later, from any use of a server: if it cannot be reached or refuses.
    """
    engine = _server(place) if place.is_server else _file(place)

    @sa.event.listens_for(engine, "before_cursor_execute", retval=True)
    def _enter(_: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> tuple[str, Any]:
        return statement, [_clean(p) for p in parameters] if many else _clean(parameters)

    return engine


def _file(place: Place) -> Engine:
    engine = sa.create_engine(place.url, connect_args={"timeout": 30}, json_serializer=_json, json_deserializer=_parsed)

    @sa.event.listens_for(engine, "connect")
    def _settings(connection: Any, _: Any) -> None:
        # WAL lets the page read while a run writes; NORMAL survives a crash of the process, FULL that of the
        # machine (`Archive.begin` chooses).
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    speak_plainly(engine, place.name)
    return engine


def _server(place: Place) -> Engine:
    options: dict[str, Any] = {"client_encoding": "utf8"}
    if "connect_timeout" not in place.url.query:
        options["connect_timeout"] = CONNECT_S
    try:
        # A server that was restarted is found by asking before use.
        engine = sa.create_engine(
            place.url, pool_pre_ping=True, connect_args=options, json_serializer=_json, json_deserializer=_parsed
        )
    except ModuleNotFoundError as error:
        raise ArchiveError(
            f"{place.name} needs a driver that is not installed; `pip install 'vesper[postgresql]'` brings it"
        ) from error

    # Before SQLAlchemy asks for the schema that names without one belong to.
    @sa.event.listens_for(engine, "connect", insert=True)
    def _settings(connection: Any, _: Any) -> None:
        before, connection.autocommit = connection.autocommit, True
        connection.execute(f'SET search_path TO "{place.namespace}"')
        connection.autocommit = before

    @sa.event.listens_for(engine, "handle_error")
    def _say(context: Any) -> None:
        # The pool itself sees to a connection that is found dead before its use.
        if not context.is_pre_ping and (words := _words(place, context)):
            raise ArchiveError(words)

    return engine


def _json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value))


def _parsed(text: str | bytes) -> Any:
    try:
        return from_json(text)  # eight times as fast, and there are tens of thousands
    except ValueError:
        return json.loads(text)  # which takes halves of characters, too


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not float("-inf") < value < float("inf") else value


def _clean(parameters: Any) -> Any:
    if isinstance(parameters, dict):
        return {n: _entering(v) for n, v in parameters.items()}
    return tuple(_entering(v) for v in parameters)


def _entering(value: Any) -> Any:
    if isinstance(value, str):
        return _words_of(value) if "\0" in value or not value.isascii() else value
    return None if isinstance(value, float) and value != value else value


def _words_of(text: str) -> str:
    # Names of files may hold bytes that are no text.
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


# What a server says when it lets nobody in has no code; these are its words.
_REMEDIES = (
    (r"password|authentication|pg_hba", "check the user's name, and the password in ~/.pgpass or $PGPASSWORD"),
    (r'database ".*" does not exist', "make it with `createdb`, or correct its name in the URL"),
    (r'role ".*" does not exist', "make it with `createuser`, or correct the user's name in the URL"),
    (r"too many|connection slots", "try again once others have left, or let the server take more connections"),
    (r"No space left|disk full", "make room on the server's disk, then run again"),
    (r"read-only", "use the server that takes writes, or wait until it does"),
)


def _words(place: Place, context: Any) -> str:
    """Return what is wrong with a server in one sentence; empty for what is the program's own fault."""
    error = context.original_exception
    state = getattr(error, "sqlstate", None) or ""
    if state == "42501":
        return f"{place.name} allows too little: {_said(error)}; ask whoever runs it for the permission"
    if state in ("42P01", "3F000"):
        return (
            f"{place.name} has no tables of {place.root} any more (schema {place.namespace}); restore it from the "
            f"server's backup, or make the archive anew in another folder"
        )
    if not isinstance(context.sqlalchemy_exception, sa.exc.OperationalError | sa.exc.InterfaceError) and (
        state[:2] not in ("08", "25", "53", "57", "58") and not context.is_disconnect
    ):
        return ""
    said = _said(error)
    if context.connection is not None and context.is_disconnect:
        return (
            f"the connection to {place.name} was lost ({said}); once the server is back, the same command goes on "
            "from where this one stopped"
        )
    remembered = place.root / REMEMBERED
    where = f" ({remembered})" if remembered.exists() else ""
    address = f"see that the server runs and that its address is right{where}, then try again"
    remedy = next((what for pattern, what in _REMEDIES if re.search(pattern, said)), address)
    return f"{place.name} cannot be used: {said}; {remedy}"


def _said(error: BaseException) -> str:
    """Return the first thing that a server or libpq has to say."""
    text = str(error)
    found = re.search(r"FATAL: +(.+)", text) or re.search(r"\bfailed: (?!connection to)(.+)", text)
    return (found[1] if found else text.partition("\n")[0]).strip().rstrip(".") or type(error).__name__
