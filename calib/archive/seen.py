"""What a night shows, as one hash: who signs a night off signs this, and a night that changes afterwards says so.

Verdicts with their causes, states, the alerts of that night and the content behind them are in it (that of a scan's sky
offsets by the scan's key and cause). Times and whatever later nights move by themselves (deviations from a reference
that still grows, the end of an alert) are not.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive

__all__ = ["night_digest", "night_digests"]

_SHOWN: tuple[tuple[sa.Table, tuple[str, ...]], ...] = (
    (schema.darks, ("band", "read", "status", "cause", "override", "period", "key")),
    (schema.flats, ("band", "status", "cause", "origin", "override", "period", "key", "canonical_key")),
    (schema.scans, ("band", "scan", "read", "status", "cause", "dark_status", "canonical_status", "key")),
    (schema.states, ("band", "product", "state", "cause", "region")),
    (schema.alerts, ("band", "product", "region", "metric", "state", "cause")),
)


def night_digests(archive: Archive, nights: Iterable[str] | None = None) -> dict[str, str]:
    """Return the hash of what each night shows; of all nights by default.

    Returns
    -------
    dict
        Night → SHA-256, hexadecimal. A night of which nothing was made is not in it.
    """
    wanted = None if nights is None else sorted(set(nights))
    parts: dict[str, Any] = defaultdict(hashlib.sha256)
    with archive.engine.connect() as connection:
        for table, names in _SHOWN:
            query = sa.select(table.c.night, *(table.c[n] for n in names)).order_by(*table.primary_key)
            if wanted is not None:
                query = query.where(table.c.night.in_(wanted))
            for night, *values in connection.execute(query):
                parts[night].update(json.dumps([table.name, *values]).encode())
    return {night: h.hexdigest() for night, h in parts.items()}


def night_digest(archive: Archive, night: str) -> str:
    """Return the hash of what a night shows; that of nothing if nothing was made of it."""
    return night_digests(archive, [night]).get(night, hashlib.sha256().hexdigest())
