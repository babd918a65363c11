"""What the comparison with the nights before found in a night's maps: single pixels, and the parts of the deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from monitor.collect import Collector

__all__ = ["Found", "night_events"]


@dataclass(frozen=True)
class Found:
    """What was found in one product.

    Attributes
    ----------
    product : str
        ``dark <read>`` or ``responsivity``.
    unit : str
        Of the parts and of a jump: DN or %.
    counts : dict
        Kind → pixels: hot, cooled, jump, noisy, dead.
    expected : float
        Events that noise alone would bring.
    events : tuple of (y, x, kind, size, significance)
        The most significant ones; ``counts`` has them all.
    parts : list of dict or None
        Parts of the deviation, as the table has them.
    """

    product: str
    unit: str
    counts: dict[str, int]
    expected: float
    events: tuple[tuple[int, int, str, float, float], ...]
    parts: list[dict[str, Any]] | None


def night_events(collector: Collector, night: str, band: str) -> tuple[Found, ...]:
    """Return what was found in the darks and the responsivity of a night; nothing where nothing was compared."""
    d, f = schema.darks, schema.flats
    darks = sa.select(d.c.read, d.c.pixels, d.c.diagnosis).where(d.c.night == night, d.c.band == band)
    flats = sa.select(f.c.pixels, f.c.diagnosis).where(f.c.night == night, f.c.band == band)
    rows = [(f"dark {r['read']}", "DN", r) for r in collector.rows(darks.order_by(d.c.read))]
    rows += [("responsivity", "%", r) for r in collector.rows(flats)]
    return tuple(
        Found(
            product,
            unit,
            r["pixels"]["counts"],
            float(r["pixels"]["expected"]),
            tuple(
                (int(y), int(x), str(k), float(size), float(sigma)) for y, x, k, size, sigma in r["pixels"]["events"]
            ),
            r["diagnosis"],
        )
        for product, unit, r in rows
        if r["pixels"] is not None
    )
