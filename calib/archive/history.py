"""What was measured and judged over the whole survey, read from the archive's tables as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.checks import check_table
from calib.judged import Coded, Judged
from calib.profile import Profile
from calib.what_if_alerts import AlertChange, alert_changes

__all__ = ["AlertTables", "judged_under", "read_alert_tables", "read_judged"]

CHUNK = 50_000
"""Rows read at a time: a survey has millions of sky offsets, and what Python makes of a row is large."""

_TABLES = {"dark": schema.darks, "flat": schema.flats, "sky_offset": schema.sky_offsets}


def read_judged(archive: Archive, subject: str, profile: Profile) -> Judged:
    """Read everything of a subject that was judged.

    Parameters
    ----------
    archive : Archive
    subject : str
        ``dark``, ``flat`` or ``sky_offset``.
    profile : Profile
        For the read of the responsivity.
    """
    table = _TABLES[subject]
    names = ["night", "band", "status", "override"]
    names += [] if subject == "flat" else ["read"]
    names += ["scan", "block"] if subject == "sky_offset" else ["period", "standard"]
    names += ["key"] if subject == "flat" else []
    names += ["n_frames" if c == "frames" else c for c in check_table(subject)]
    columns = _columns(archive, table, names)
    return Judged.of(subject, columns, read=profile.responsivity.read)


def _columns(archive: Archive, table: sa.Table, names: list[str]) -> dict[str, Any]:
    """Return columns: numbers as arrays, names that repeat as `Coded`, lists as text."""
    columns = [table.c[n] for n in names]
    coded = {n for n in names if n in ("night", "band", "read", "status")}
    numbers = {c.name for c in columns if not isinstance(c.type, sa.JSON | sa.String)}
    parts: dict[str, list[Any]] = {n: [] for n in names}
    known: dict[str, dict[str, int]] = {n: {} for n in coded}
    query = sa.select(*(sa.cast(c, sa.Text) if isinstance(c.type, sa.JSON) else c for c in columns))
    with archive.engine.connect() as connection:
        found = connection.execution_options(yield_per=CHUNK).execute(query)
        for rows in found.partitions(CHUNK):
            for name, column in zip(names, zip(*rows, strict=True), strict=True):
                if name in coded:
                    number = known[name]
                    of = (number.setdefault(v, len(number)) for v in column)
                    parts[name].append(np.fromiter(of, np.int32, len(column)))
                else:
                    parts[name].append(np.array(column, dtype=float) if name in numbers else list(column))
    made: dict[str, Any] = {}
    for name, some in parts.items():
        if name in coded:
            made[name] = Coded.sorted(known[name], np.concatenate(some) if some else np.zeros(0, np.int32))
        elif name in numbers:
            made[name] = np.concatenate(some) if some else np.zeros(0)
        else:
            made[name] = [v for part in some for v in part]
    return made


@dataclass(frozen=True)
class AlertTables:
    """What tells how alerts would change.

    Attributes
    ----------
    alerts, states, darks : list of dict
        As `calib.what_if_alerts.alert_changes` needs them.
    """

    alerts: list[dict[str, Any]]
    states: list[dict[str, Any]]
    darks: list[dict[str, Any]]

    def changes(self, old: Profile, new: Profile) -> list[AlertChange]:
        """Return how the alerts would change if one profile took the place of another."""
        return alert_changes(self.alerts, self.states, self.darks, old, new)


def read_alert_tables(archive: Archive) -> AlertTables:
    """Read what tells how alerts would change."""
    d, s = schema.darks, schema.states
    columns = (s.c.night, s.c.band, s.c.product, s.c.state, s.c.region, s.c.value, s.c.significance, s.c.since)
    return AlertTables(
        archive.rows(sa.select(schema.alerts)),
        archive.rows(sa.select(*columns)),
        archive.rows(sa.select(d.c.night, d.c.band, d.c.read, d.c.period, d.c.level_dn, d.c.status)),
    )


def judged_under(archive: Archive) -> dict[str, int]:
    """Return how many darks, flats and scans were judged under each profile, by its hash."""
    found: dict[str, int] = {}
    for table in (schema.darks, schema.flats, schema.scans):
        count = sa.select(table.c.profile_hash, sa.func.count().label("n")).group_by(table.c.profile_hash)
        for row in archive.rows(count):
            found[row["profile_hash"]] = found.get(row["profile_hash"], 0) + int(row["n"])
    return found
