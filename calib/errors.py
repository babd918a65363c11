"""The one tree of errors, each a sentence with what to do about it.

::

    CalibError
    ├── ProfileError      an instrument profile that cannot be used (carries every fault)
    ├── RawFileError      a raw file that is refused (carries path and reason)
    ├── ArchiveError      an archive that is missing, locked, too new or damaged
    │   └── ArchiveBusy       an archive that another run is writing to
    ├── SchedulerError    a scheduler or worker that cannot do the jobs of a run
    └── DecisionError     a decision that names nothing or contradicts itself
        └── DecisionConflict  a decision that another person's has overtaken
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = [
    "ArchiveBusy",
    "ArchiveError",
    "CalibError",
    "DecisionConflict",
    "DecisionError",
    "ProfileError",
    "RawFileError",
    "SchedulerError",
    "shown_path",
]


class CalibError(Exception):
    """Anything the calibration core reports to a person; its text is one sentence with the remedy."""


class ProfileError(CalibError):
    """An instrument profile that cannot be used.

    Parameters
    ----------
    source : str
        Name or path of the profile.
    faults : list of str
        Every fault found, each beginning with the key it concerns.
    """

    def __init__(self, source: str, faults: list[str]) -> None:
        self.source = source
        self.faults = [_printable(fault) for fault in faults]
        n = len(self.faults)
        super().__init__(f"profile {source} has {n} fault{'s' if n != 1 else ''}:\n  " + "\n  ".join(self.faults))


def _printable(text: str) -> str:
    """Return text with control characters as escapes, as a faulty profile may bring them into its own message."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown_path(path: str | Path) -> str:
    """Return a path as text that can be printed and kept; bytes that are not UTF-8 are shown as escapes."""
    text = str(path)
    return text if text.isascii() else os.fsencode(text).decode("utf-8", "backslashreplace")


class RawFileError(CalibError):
    """A raw file that is refused.

    Parameters
    ----------
    path : Path
        The file.
    reason : str
        Why, in words fit for the table of files.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = Path(path)
        self.reason = reason
        super().__init__(f"{shown_path(path)}: {reason}")

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        """Survive the way through a worker process."""
        return RawFileError, (self.path, self.reason)


class ArchiveError(CalibError):
    """An archive that is missing, locked, made by a newer version, or damaged."""


class ArchiveBusy(ArchiveError):
    """An archive that another run is writing to; it will be free again."""


class SchedulerError(CalibError):
    """A scheduler that cannot be reached, or a worker that cannot do the jobs of a run."""


class DecisionError(CalibError):
    """A decision that names nothing in the archive or contradicts itself."""


class DecisionConflict(DecisionError):
    """A decision on what has changed since it was looked at: somebody else decided, or the night is another."""
