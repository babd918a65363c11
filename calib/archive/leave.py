"""The leave to write of a process that works for a run elsewhere.

A run that gives jobs to other processes may be killed while they go on. The next run removes its token, then every
unfinished file: whoever had begun a file finds it gone, whoever begins one finds the token gone, and so nothing of an
overtaken run takes the place of a newer product.
"""

from __future__ import annotations

from pathlib import Path

from calib.errors import ArchiveError

__all__ = ["TOKENS", "assure_leave", "revoke_leaves", "work_for"]

TOKENS = ".run-"
"""How the names of tokens begin, in the folder of an archive."""

_given: dict[Path, str] = {}


def work_for(root: Path, token: str) -> None:
    """From now on let this process write products in an archive only while the token of a run is there."""
    _given[root] = token


def assure_leave(root: Path) -> None:
    """Raise ArchiveError if this process works for a run that is no more; called once a file is begun."""
    token = _given.get(root)
    if token is not None and not (root / token).exists():
        raise ArchiveError(f"the run that had products written in {root} has ended; run again")


def revoke_leaves(root: Path) -> None:
    """Let nobody write who works for an earlier run; called by the one writer, before unfinished files are cleared."""
    for token in root.glob(f"{TOKENS}*"):
        token.unlink(missing_ok=True)
