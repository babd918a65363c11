"""Local features: spots, columns and rows that single maps show against the nights before, followed over the nights."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.profile import DriftLimits, Profile
from calib.regions import cell_names, grid_slices

__all__ = ["Feature", "follow_features", "in_cell", "local_features"]

Row = dict[str, Any]

# A spot or line in the map of one night is told from so many σ on: 65,000 places are looked at.
LOCAL_SIGMA = 7.0
# Two spots nearer than this are the same, pixels.
SAME_SPOT_PX = 12.0


@dataclass(frozen=True)
class Feature:
    """Something local that appeared.

    Attributes
    ----------
    night, band, product, period : str
        Night it was first seen; ``responsivity`` or ``dark <read>``; hardware period.
    kind : {"spot", "column", "row"}
    where : str
        ``x 154 y 88``, ``column 117`` or ``row 3``.
    size : float
        On the first night, in the unit of the product.
    significance : float
        σ.
    last : str
        Last night on which it differed from the nights before.
    over : bool
        It is gone: the running standard takes a spot in, and when the spot goes its shadow shows with the other sign.
    """

    night: str
    band: str
    product: str
    period: str
    kind: str
    where: str
    size: float
    significance: float
    last: str
    over: bool = False

    @property
    def cause(self) -> str:
        """The cause in words."""
        spot = "local glow" if self.product.startswith("dark") else "dust or local spot"
        return spot if self.kind == "spot" else self.kind

    @property
    def unit(self) -> str:
        """Unit of the size."""
        return "%" if self.product == "responsivity" else "DN"

    @property
    def error(self) -> float:
        """1σ of the size."""
        return abs(self.size) / self.significance

    def limits(self, profile: Profile) -> DriftLimits:
        """Sizes that matter."""
        if self.product == "responsivity":
            return profile.drift.responsivity_percent
        return profile.drift.dark_dn[self.product.removeprefix("dark ")]

    def there(self, night: str) -> bool:
        """Whether it was there on a night."""
        return self.night <= night and (not self.over or night < self.last)

    @property
    def place(self) -> tuple[int, int]:
        """Pixel (y, x) of a spot."""
        _, x, _, y = self.where.split()
        return int(y), int(x)


def local_features(parts: list[Row], product: str, profile: Profile) -> list[Row]:
    """Return the spots, columns and rows among the parts of a deviation that are significant and large enough to tell.

    Parameters
    ----------
    parts : list of dict
        As `calib.comparisons` gives them.
    product : str
        ``responsivity`` or ``dark <read>``.
    profile : Profile
    """
    quiet = profile.drift.quiet
    read = product.removeprefix("dark ")
    least = 2 * quiet.responsivity_percent if product == "responsivity" else 3 * quiet.dark_shape_dn[read]
    return [
        p
        for p in parts
        if p["name"] in ("spot", "columns", "rows")
        and abs(p["size"] or 0.0) >= least
        and (p["significance"] or 0.0) >= LOCAL_SIGMA
    ]


def follow_features(archive: Archive, profile: Profile) -> tuple[Feature, ...]:
    """Return every local feature of the accepted products, each once, from the night on which it was first seen."""
    d, f = schema.darks, schema.flats
    flats = sa.select(f.c.night, f.c.band, f.c.period, f.c.diagnosis).where(f.c.status == "accepted")
    darks = sa.select(d.c.night, d.c.band, d.c.read, d.c.period, d.c.diagnosis).where(d.c.status == "accepted")
    rows = [("responsivity", r) for r in archive.rows(flats.order_by(f.c.night))]
    rows += [(f"dark {r['read']}", r) for r in archive.rows(darks.order_by(d.c.night))]
    series: dict[tuple[str, str, str], list[Feature]] = defaultdict(list)
    for product, row in rows:
        for part in local_features(row["diagnosis"] or [], product, profile):
            known = series[row["band"], product, row["period"]]
            new = _feature(row, product, part)
            same = next((k for k, old in enumerate(known) if not old.over and _same(old, new)), None)
            if same is None:
                known.append(new)
            else:
                over = bool(np.sign(new.size) != np.sign(known[same].size))
                known[same] = replace(known[same], last=row["night"], over=over)
    return tuple(feature for found in series.values() for feature in found)


def _feature(row: Row, product: str, part: Row) -> Feature:
    kind = part["name"].removesuffix("s")
    size, significance = float(part["size"]), float(part["significance"])
    night = row["night"]
    return Feature(night, row["band"], product, row["period"], kind, part["where"], size, significance, night)


def _same(old: Feature, new: Feature) -> bool:
    if old.kind != new.kind:
        return False
    if old.kind != "spot":
        return old.where == new.where
    (y0, x0), (y1, x1) = old.place, new.place
    return float(np.hypot(y1 - y0, x1 - x0)) <= SAME_SPOT_PX


def in_cell(feature: Feature, cell: str, profile: Profile) -> bool:
    """Whether a spot lies in a cell of the grid, or touches it."""
    if feature.kind != "spot":
        return False
    detector = profile.detector
    rows, columns = grid_slices(detector.shape, detector.cells)[cell_names(detector.cells).index(cell)]
    y, x = feature.place
    reach = SAME_SPOT_PX
    return bool(rows.start - reach <= y < rows.stop + reach and columns.start - reach <= x < columns.stop + reach)
