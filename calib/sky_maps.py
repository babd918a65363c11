"""What the sky offsets of each night show in proportion to the sky, worked out once and kept in the archive.

A survey has millions of sky offsets; a run reads those of the nights on which they changed.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from calib.archive import schema
from calib.archive.database import Archive, upsert
from calib.night import combine_key
from calib.profile import Profile
from calib.skyflat import sky_proportional
from calib.subjects import SKY

__all__ = ["forget_sky_map", "sky_maps"]

Row = dict[str, Any]
Array = NDArray[np.float64]

# Nights whose offsets are in memory at a time.
NIGHTS_TOGETHER = 50


def forget_sky_map(connection: sa.Connection, night: str, band: str) -> None:
    """Let the map of a night be worked out anew; belongs to the transaction in which its sky offsets change."""
    m = schema.cell_maps
    connection.execute(sa.delete(m).where(m.c.night == night, m.c.band == band, m.c.product == SKY))


def sky_maps(archive: Archive, profile: Profile, band: str) -> dict[str, tuple[Array, float]]:
    """Return the part of each night's accepted sky offsets that scales with the sky level.

    Parameters
    ----------
    archive : Archive
    profile : Profile
        The read of the responsivity counts.
    band : str

    Returns
    -------
    dict
        Night → % per cell, shape (ny, nx), and the 1σ error of a cell; NaN where unknown. Nights without an accepted
        sky offset are left out.
    """
    s, m, read = schema.scans, schema.cell_maps, profile.responsivity.read
    additive_dn = profile.drift.quiet.dark_shape_dn[read]
    key = combine_key("chart", "sky", read, repr(additive_dn))
    there = sa.select(m.c.night, m.c.cells, m.c.error, m.c.key).where(m.c.band == band, m.c.product == SKY)
    kept = {r["night"]: r for r in archive.rows(there)}
    scanned = {
        r["night"] for r in archive.rows(sa.select(s.c.night).where(s.c.band == band, s.c.read == read).distinct())
    }
    missing = sorted(n for n in scanned if n not in kept or kept[n]["key"] != key)
    made: list[Row] = []
    for first in range(0, len(missing), NIGHTS_TOGETHER):
        made += _worked_out(archive, band, read, missing[first : first + NIGHTS_TOGETHER], additive_dn, key)
    gone = [n for n in kept if n not in scanned] + [n for n in missing if n in kept]
    if made or gone:
        with archive.begin() as connection:
            for night in gone:
                forget_sky_map(connection, night, band)
            upsert(connection, m, made)
    valid = [r for n, r in kept.items() if n in scanned and r["key"] == key]
    return {
        r["night"]: (np.array(r["cells"], dtype=float), np.nan if r["error"] is None else r["error"])
        for r in sorted(valid + made, key=lambda r: str(r["night"]))
    }


def _worked_out(archive: Archive, band: str, read: str, nights: list[str], additive_dn: float, key: str) -> list[Row]:
    o = schema.sky_offsets
    query = sa.select(o.c.night, o.c.cells_dn, o.c.cell_error_dn, o.c.level_dn).where(
        o.c.night.in_(nights), o.c.band == band, o.c.read == read, o.c.status == "accepted"
    )
    blocks: dict[str, list[Row]] = defaultdict(list)
    for row in archive.rows(query.order_by(o.c.night, o.c.scan, o.c.block)):
        if row["cells_dn"] is not None:
            blocks[row["night"]].append(row)
    found = []
    for night, rows in blocks.items():
        levels, errors = ([np.nan if r[n] is None else r[n] for r in rows] for n in ("level_dn", "cell_error_dn"))
        cells = np.array([r["cells_dn"] for r in rows], dtype=float)
        sky = sky_proportional(cells, np.array(levels), np.array(errors), additive_dn)
        found.append(
            {
                "night": night,
                "band": band,
                "product": SKY,
                # More digits than any error deserves, and few enough to be read quickly.
                "cells": [[round(float(v), 5) if np.isfinite(v) else None for v in row] for row in sky.percent],
                "error": sky.error_percent if np.isfinite(sky.error_percent) else None,
                "unit": "%",
                "key": key,
            }
        )
    return found
