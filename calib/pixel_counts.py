"""How many pixels turned hot, noisy, dead or bistable in a night, where so many are usual."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.pixels import PixelEvent, Turns, count_significance
from calib.profile import Profile

__all__ = ["PixelNight", "expected_count", "pixel_nights"]

Row = dict[str, Any]

_KINDS = {
    "hot": "new hot pixels",
    "noisy": "new noisy pixels",
    "dead": "new dead pixels",
    "bistable": "new bistable pixels",
}


@dataclass(frozen=True)
class PixelNight:
    """How many pixels of one kind a night added.

    Attributes
    ----------
    night, band, product, kind : str
    found : int
    expected : float
        By chance and by habit: what the measurement errors bring, or what the nights before brought, if that is more.
    significance : float
        Of the excess, in Gaussian σ.
    events : list
        ``[y, x, kind, size, significance]`` of each.
    """

    night: str
    band: str
    product: str
    kind: str
    found: int
    expected: float
    significance: float
    events: list[list[Any]] = field(default_factory=list)

    @property
    def cause(self) -> str:
        """The cause in words."""
        return _KINDS[self.kind]


def pixel_nights(archive: Archive, profile: Profile) -> Iterator[PixelNight]:
    """Yield the number of new bad pixels of every accepted night, band, product and kind."""
    d, f = schema.darks, schema.flats
    darks = sa.select(d.c.night, d.c.band, d.c.read, d.c.period, d.c.pixels).where(d.c.status == "accepted")
    flats = sa.select(f.c.night, f.c.band, f.c.period, f.c.pixels).where(f.c.status == "accepted")
    rows: list[tuple[Row, str, tuple[str, ...]]] = []
    rows += [(r, f"dark {r['read']}", ("hot", "noisy", "bistable")) for r in archive.rows(darks.order_by(d.c.night))]
    rows += [(r, "responsivity", ("dead",)) for r in archive.rows(flats.order_by(f.c.night))]
    history: dict[tuple[str, ...], list[int]] = defaultdict(list)
    turns: dict[tuple[str, ...], Turns] = defaultdict(Turns)
    for row, product, kinds in rows:
        if row["pixels"] is None:
            continue
        for kind in kinds:
            before = history[row["band"], product, kind, row["period"]]
            found, events = int(row["pixels"]["counts"].get(kind, 0)), row["pixels"]["events"]
            if kind == "bistable":
                told = turns[row["band"], product, row["period"]].add(PixelEvent(*e) for e in events)
                found, events = len(told), [[e.y, e.x, e.kind, e.size, e.significance] for e in told]
            expected = expected_count(float(row["pixels"]["expected"]), before)
            events = [e for e in events if e[2] == kind]
            significance = count_significance(found, expected)
            yield PixelNight(row["night"], row["band"], product, kind, found, expected, significance, events)
            before.append(found)


def expected_count(by_chance: float, before: list[int]) -> float:
    """Return how many events of a kind a night may have: by chance, or by the habit of the nights before."""
    # The median is the habit: one bad night does not excuse the next.
    habit = float(median(before[-30:])) if before else 0.0
    return max(by_chance, habit, 0.05)
