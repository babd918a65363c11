"""Whether a run is at work on the archive, and what it has yet to come to."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive

__all__ = ["QUIET", "Activity", "read_activity"]


@dataclass(frozen=True)
class Activity:
    """What goes on in an archive beside what it holds.

    Attributes
    ----------
    since : str
        When the run at work began, UTC; empty if none is. A run that was killed is not at work, whatever its row says.
    waiting : frozenset of (str, str, str)
        Night, band and type (``dark``, ``twilight``, ``scan``) of raw files that are known and not looked at yet.
    """

    since: str = ""
    waiting: frozenset[tuple[str, str, str]] = frozenset()

    def state(self, night: str, band: str, obs_type: str) -> str:
        """Return ``pending`` for what is still to come, ``notrun`` for what nobody is at work on, else nothing."""
        if (night, band, obs_type) not in self.waiting:
            return ""
        return "pending" if self.since else "notrun"


QUIET = Activity()


def read_activity(archive: Archive) -> Activity:
    """Look whether the archive is being written to, and which raw files wait."""
    r, f = schema.runs, schema.files
    since = ""
    if archive.being_written():
        newest = sa.select(r.c.started).where(r.c.status == "running").order_by(r.c.id.desc()).limit(1)
        since = str(archive.value(newest) or "")
    query = (
        sa.select(f.c.night, f.c.band, f.c.obs_type)
        .where(f.c.status == "pending", f.c.night.is_not(None), f.c.band.is_not(None))
        .distinct()
    )
    return Activity(since, frozenset((w["night"], w["band"], w["obs_type"]) for w in archive.rows(query)))
