"""What `calib watch` is about, as one row of the archive: for a supervisor, and for who asks whether it is alive."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive, upsert, utc_now

__all__ = ["Heartbeat", "beat", "last_beat"]

_ROW = "watch"

# So many intervals without a sign of life, and no less than so many seconds, and it counts as dead.
_MISSED, _LEAST_S = 6, 180.0


@dataclass
class Heartbeat:
    """The last sign of life of a watch.

    Attributes
    ----------
    since, last_pass : str
        When it was started, and when it last gave a sign of life (UTC, ISO).
    doing : str
        ``waiting``, ``running`` or ``stopped``.
    last_file, last_night : str
        The last raw file that was taken in, and the last night of which something was made; empty before the first.
    queue : int
        Files that wait.
    waits : list of str
        Why the first few of them do, one line a file.
    errors : int
        Passes that failed since it was started.
    last_error : str
        Why the last one did; empty once a pass has gone well again.
    interval_s : float
        Time between two passes.
    """

    since: str = field(default_factory=utc_now)
    last_pass: str = ""
    doing: str = "waiting"
    last_file: str = ""
    last_night: str = ""
    queue: int = 0
    waits: list[str] = field(default_factory=list)
    errors: int = 0
    last_error: str = ""
    interval_s: float = 10.0

    def age_s(self, now: datetime | None = None) -> float:
        """Return the seconds since the last sign of life."""
        return ((now or datetime.now(UTC)) - datetime.fromisoformat(self.last_pass)).total_seconds()

    def alive(self, now: datetime | None = None) -> bool:
        """Whether it was not stopped and has given a sign of life lately."""
        return self.doing != "stopped" and self.age_s(now) <= max(_MISSED * self.interval_s, _LEAST_S)

    def as_told(self) -> dict[str, Any]:
        """Return what a supervisor is told."""
        return {"alive": self.alive(), "last_pass_age_s": round(self.age_s(), 1), **asdict(self)}


def beat(archive: Archive, heartbeat: Heartbeat) -> None:
    """Record a sign of life, with the time of now."""
    heartbeat.last_pass = utc_now()
    with archive.begin() as connection:
        upsert(connection, schema.meta, [{"name": _ROW, "value": json.dumps(asdict(heartbeat))}])


def last_beat(archive: Archive) -> Heartbeat | None:
    """Return the last sign of life; None if no watch was ever started on this archive."""
    found = archive.value(sa.select(schema.meta.c.value).where(schema.meta.c.name == _ROW))
    return None if found is None else Heartbeat(**json.loads(found))
