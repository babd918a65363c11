"""What a report and a digest say of a night as a whole; the states and sentences are those of `monitor.compute`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import pandas as pd

from monitor.collect import Row, Snapshot
from monitor.collect_decisions import Signature
from monitor.collect_scan import records
from monitor.compute import BandHealth, band_health
from monitor.compute_alerts import OpenAlert, open_alerts
from monitor.palette import STATES, State

__all__ = ["NightFacts", "age_nights", "days_before", "decisions_of", "night_facts"]

# As a card takes its state from its badges, a night takes it from its bands.
_WORST_FIRST = ("bad", "rejected", "watch", "notice", "notrun", "pending", "provisional", "unknown", "supplied", "good")


@dataclass(frozen=True)
class NightFacts:
    """A night in short.

    Attributes
    ----------
    night : str
        ISO date.
    health : tuple of BandHealth
        As Review has it, bands in their order.
    alerts : tuple of OpenAlert
        Worst first.
    signed : Signature or None
        Who signed it off.
    """

    night: str
    health: tuple[BandHealth, ...]
    alerts: tuple[OpenAlert, ...]
    signed: Signature | None

    @property
    def state(self) -> State:
        """The worst state of any band, and of the alerts that are still there and that nobody has acknowledged."""
        worst = {h.worst for h in self.health}
        worst |= {a.state for a in self.alerts if not a.over and not a.acknowledged_by}
        return STATES[next((s for s in _WORST_FIRST if s in worst), "unknown")]

    @property
    def alert_words(self) -> str:
        """How many alerts are open, and how many of them are new."""
        n, new = len(self.alerts), sum(a.new for a in self.alerts)
        words = f"{n or 'no'} open alert{'s' if n != 1 else ''}"
        return words + (f", {new} new tonight" if new else "")


def night_facts(snapshot: Snapshot, night: str) -> NightFacts:
    """Return a night in short."""
    health = tuple(band_health(snapshot, night, band) for band in snapshot.bands)
    return NightFacts(night, health, open_alerts(snapshot, night), snapshot.signed.get(night))


def decisions_of(snapshot: Snapshot, night: str) -> list[Row]:
    """Return the decisions on a night in order, each with ``undone_by``: the number of the one that took it back."""
    d = snapshot.decisions
    if d.empty:
        return []
    undone = {int(r["undoes"]): int(r["id"]) for r in records(d[d["kind"] == "undo"]) if r["undoes"] is not None}
    return [r | {"undone_by": undone.get(int(r["id"]))} for r in records(d[d["night"] == night])]


def age_nights(night: str, utc_offset_hours: float, now: datetime | None = None) -> int:
    """Return how many nights before last night a night is; 0 for last night and tonight.

    Parameters
    ----------
    now : datetime, optional
        With its time zone; the present by default.
    """
    here = timezone(timedelta(hours=utc_offset_hours))
    today = (now or datetime.now(here)).astimezone(here).date()
    # A night is named by its evening: the one that ended this morning bears yesterday's date.
    return max((today - date.fromisoformat(night)).days - 1, 0)


def days_before(night: str, days: int) -> str:
    """Return the date so many days before a night."""
    return str((pd.Timestamp(night) - pd.Timedelta(days=days)).date().isoformat())
