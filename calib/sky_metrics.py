"""Metrics of the sky offsets: how far their part in proportion to the sky is from the first nights', by region."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from calib.archive import schema
from calib.archive.database import Archive, upsert
from calib.night import combine_key
from calib.profile import Profile
from calib.regions import cell_means, cell_names, quadrant_names
from calib.series import Series
from calib.subjects import SKY

__all__ = ["update_sky_metrics"]

Row = dict[str, Any]


def update_sky_metrics(archive: Archive, profile: Profile, series: Iterable[Series]) -> None:
    """Let the metrics of the sky offsets be those of these series; of nights that are as they were none is touched.

    Parameters
    ----------
    archive : Archive
    profile : Profile
    series : iterable of Series
        Of all products; others than the sky offsets are left aside.
    """
    m = schema.metrics
    query = sa.select(m.c.night, m.c.band, m.c.key).where(m.c.product == SKY, m.c.region == "array")
    there = {(r["night"], r["band"]): r["key"] for r in archive.rows(query)}
    new: list[Row] = []
    gone = set(there)
    for s in series:
        if s.subject.product != SKY:
            continue
        count = profile.canonical.reference_nights
        reference = _mean_of_known(s.cells[: None if count == "all" else count])
        for night, found, error in zip(s.nights, s.cells - reference, s.errors, strict=True):
            grids = f"{found.shape} {profile.detector.quadrants}"
            key = combine_key("chart", SKY, grids, found.tobytes().hex(), repr(float(error)))
            if there.get((night, s.band)) == key:
                gone.discard((night, s.band))
            else:
                new += _metrics(night, s.band, found, float(error), profile, key)
    with archive.begin() as connection:
        # Also those that are made anew: they may have had other regions.
        for night, band in sorted(gone):
            connection.execute(sa.delete(m).where(m.c.night == night, m.c.band == band, m.c.product == SKY))
        upsert(connection, m, new)


def _mean_of_known(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the nights of what is known of each cell, NaN where nothing is."""
    known = np.isfinite(cells)
    n = known.sum(axis=0)
    return np.where(n > 0, np.where(known, cells, 0.0).sum(axis=0) / np.maximum(n, 1), np.nan)


def _metrics(night: str, band: str, found: NDArray[np.float64], error: float, profile: Profile, key: str) -> list[Row]:
    """Return the metrics of one night, in %."""
    values: dict[str, float] = dict(zip(cell_names(profile.detector.cells), found.ravel().tolist(), strict=True))
    means = cell_means(found, np.isfinite(found), profile.detector.quadrants)
    values |= dict(zip(quadrant_names(profile.detector.quadrants), means.ravel().tolist(), strict=True))
    values["array"] = float(np.nanmean(found)) if np.isfinite(found).any() else np.nan
    rows = []
    for region, value in values.items():
        n = {"C": 1.0, "Q": found.size / means.size, "a": float(found.size)}[region[0]]
        rows.append(
            {
                "night": night,
                "band": band,
                "product": SKY,
                "region": region,
                "metric": "deviation",
                "value": value if np.isfinite(value) else None,
                "error": error / float(np.sqrt(n)) if np.isfinite(error) else None,
                "unit": "%",
                "key": key,
            }
        )
    return rows
