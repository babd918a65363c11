"""What people said: the life of alerts, and who signed which night off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa

from calib.alert_life import with_life
from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.decisions import standing

__all__ = ["LIFE", "Signature", "alerts_with_life", "live_alerts", "signatures"]

LIFE = ("life", "life_by", "life_time", "life_reason", "life_until", "life_decision", "life_note")


@dataclass(frozen=True)
class Signature:
    """A night that was signed off.

    Attributes
    ----------
    by, time, remark : str
        Who, when (UTC, ISO), and what was said with it.
    decision : int
        Its number.
    changed : bool
        The night no longer shows what was signed.
    """

    by: str
    time: str
    remark: str
    decision: int
    changed: bool


def live_alerts(archive: Archive) -> list[dict[str, Any]]:
    """Return the rows of all alerts with their lives, in order of night."""
    a, d = schema.alerts, schema.decisions
    alerts = archive.rows(sa.select(a).order_by(a.c.night, *a.primary_key))
    decisions = archive.rows(sa.select(d).order_by(d.c.id))
    return with_life(alerts, decisions, datetime.now(UTC).date().isoformat())


def alerts_with_life(archive: Archive) -> pd.DataFrame:
    """Return the table of alerts with their lives."""
    names = [*(c.name for c in schema.alerts.c), *LIFE]
    return pd.DataFrame(live_alerts(archive), columns=names)


def signatures(decisions: list[dict[str, Any]], digests: Mapping[str, str]) -> dict[str, Signature]:
    """Return the standing signature of every night that was signed off; the last where there are several.

    Parameters
    ----------
    decisions : list of dict
        All decisions in order of their numbers.
    digests : mapping
        Night → hash of what it shows now.
    """
    signed = {d["night"]: d for d in standing(decisions) if d["kind"] == "sign-off"}
    return {
        night: Signature(d["who"], d["time"], d["reason"], d["id"], digests.get(night) != d["digest"])
        for night, d in signed.items()
    }
