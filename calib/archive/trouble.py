"""What a database that does not obey says, in words that name the file and the remedy."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from calib.errors import ArchiveError

__all__ = ["ANEW", "database_words", "speak_plainly"]

ANEW = "move it away or restore it from a backup; a run with the raw files makes anew all but the decisions"

# What the database says → what it means, and what to do.
_WORDS = (
    ("locked", "is held by another program for too long; end what holds it, then do this again"),
    ("full", "cannot be written: the disk is full; make room, then run again: nothing that was recorded is lost"),
    ("readonly", "cannot be written: it is read-only; check its permissions and those of its folder"),
    ("unable to open", "cannot be opened; check that its folder is there and may be written"),
    ("i/o error", "cannot be read or written (disk I/O error); check the disk and its free space, then run again"),
    ("malformed", f"cannot be used as a database (it is damaged); {ANEW}"),
    ("not a database", f"cannot be used as a database (it is none); {ANEW}"),
)


def database_words(said: str, where: str) -> str:
    """Return one sentence for what a database says, or an empty text if it is nothing that a person can mend."""
    lower = said.lower()
    return next((f"{where} {words}" for key, words in _WORDS if key in lower), "")


def speak_plainly(engine: Engine, where: str) -> None:
    """Let an engine raise `ArchiveError` with the remedy where the disk or another program is in the way."""

    @sa.event.listens_for(engine, "handle_error")
    def _tell(context: sa.engine.ExceptionContext) -> None:
        if isinstance(context.sqlalchemy_exception, sa.exc.DatabaseError) and (
            words := database_words(str(context.original_exception), where)
        ):
            raise ArchiveError(words) from context.original_exception
