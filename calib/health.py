"""The state of every product, night by night: what charts, local features and pixel counts say together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive, upsert
from calib.archive.decisions import Rulings
from calib.drift import state_of
from calib.features import Feature, follow_features, in_cell
from calib.pixel_counts import PixelNight, pixel_nights
from calib.profile import Profile
from calib.series import Series, cause_of, watch_all
from calib.sky_metrics import update_sky_metrics
from calib.subjects import subjects

__all__ = ["Health", "update_health"]

Row = dict[str, Any]

PIXELS = "pixels"
# From the worst on.
_RANK = ("DRIFT", "WATCH", "NOTICE", "UNKNOWN", "OK")
# A chart that has learned from fewer quiet nights knows too little to call a night good.
FEWEST_NIGHTS = 3


@dataclass(frozen=True)
class Health:
    """All that was found over the whole archive: every chart, local feature, and count of new bad pixels."""

    series: tuple[Series, ...]
    features: tuple[Feature, ...]
    pixels: tuple[PixelNight, ...]


def update_health(archive: Archive, profile: Profile, rulings: Rulings) -> Health:
    """Judge every product of every night anew, and write what came out.

    Parameters
    ----------
    archive : Archive
    profile : Profile
    rulings : Rulings
        For the hardware periods.

    Returns
    -------
    Health

    Notes
    -----
    Replaces the table of states, one row per night, band and product, unknown where nothing was measured; and the
    metrics of the sky offsets.
    """
    health = Health(
        tuple(watch_all(archive, profile, rulings)),
        follow_features(archive, profile),
        tuple(pixel_nights(archive, profile)),
    )
    replace_rows(archive, schema.states, _states(archive, profile, health))
    update_sky_metrics(archive, profile, health.series)
    return health


def replace_rows(archive: Archive, table: sa.Table, rows: list[Row]) -> None:
    """Let a table hold these rows; those that are there already are left alone."""
    place = itemgetter(*(list(table.c).index(c) for c in table.primary_key))
    values = itemgetter(*(c.name for c in table.c))
    # Rows as they come: there is one for every night, band and product of the survey.
    with archive.engine.connect() as connection:
        there = {place(found): found for found in map(tuple, connection.execute(sa.select(*table.c)))}
    wanted = {place(made): (row, made) for row, made in zip(rows, map(values, rows), strict=True)}
    with archive.begin() as connection:
        for gone in there.keys() - wanted.keys():
            here = (c == value for c, value in zip(table.primary_key, gone, strict=True))
            connection.execute(sa.delete(table).where(*here))
        upsert(connection, table, [row for key, (row, made) in wanted.items() if there.get(key) != made])


def _states(archive: Archive, profile: Profile, health: Health) -> list[Row]:
    rows: dict[tuple[str, str, str], Row] = {}
    f = schema.files
    taken = sa.select(f.c.night, f.c.band).where(f.c.night.is_not(None), f.c.band.is_not(None)).distinct()
    products = [s.product for s in subjects(profile)] + [PIXELS]
    units = {s.product: s.unit for s in subjects(profile)} | {PIXELS: "px"}
    for s in health.series:
        local = [f for f in health.features if (f.band, f.product, f.period) == (s.band, s.subject.product, s.period)]
        for k, night in enumerate(s.nights):
            row = _charted(s, k)
            there = [f for f in local if f.there(night)]
            rows[night, s.band, s.subject.product] = _worse(row, there, profile) if there else row
    for band in profile.bands:
        for night, found in _by_night(p for p in health.pixels if p.band == band).items():
            rows[night, band, PIXELS] = _counted(night, band, found, profile)
    for r in archive.rows(taken):
        for product in products:
            key = r["night"], r["band"], product
            if key not in rows:
                rows[key] = _state(*key, "UNKNOWN", "no accepted measurement", units[product])
    return list(rows.values())


def _state(
    night: str,
    band: str,
    product: str,
    state: str,
    cause: str,
    unit: str,
    *,
    region: str = "",
    value: float = float("nan"),
    error: float = float("nan"),
    significance: float = float("nan"),
    since: str | None = None,
) -> Row:
    return {
        "night": night,
        "band": band,
        "product": product,
        "state": state,
        "cause": cause,
        "region": region,
        "value": float(value) if isfinite(value) else None,
        "error": float(error) if isfinite(error) else None,
        "significance": float(significance) if isfinite(significance) else None,
        "unit": unit,
        "since": since,
    }


def _charted(s: Series, index: int) -> Row:
    night, judged = s.nights[index], s.chart.nights[index]
    key = night, s.band, s.subject.product
    if not isfinite(judged.significance) and judged.pattern is None:
        return _state(*key, "UNKNOWN", "could not be measured", s.subject.unit)
    going = s.going(index)
    if going:
        k, change = going[0]
        size = float(s.chart.sizes[k][index])
        return _state(
            *key,
            state_of(size, s.subject.limits),
            cause_of(s.subject.product, change),
            s.subject.unit,
            region=change.pattern.where or "array",
            value=size,
            error=float(s.chart.errors[k][index]),
            significance=judged.significance,
            since=s.nights[change.since],
        )
    if judged.learned < FEWEST_NIGHTS:
        words = f"only {judged.learned} quiet night{'s' if judged.learned != 1 else ''} to compare with"
        return _state(*key, "UNKNOWN", words, s.subject.unit)
    return _state(*key, "OK", "", s.subject.unit, significance=max(judged.significance, 0.0))


def _worse(row: Row, features: list[Feature], profile: Profile) -> Row:
    """Return the state of a night by its chart, or by a local feature if that is worse, or is what the chart sees."""
    worst = max(features, key=lambda f: abs(f.size), default=None)
    if worst is None:
        return row
    state = state_of(worst.size, worst.limits(profile))
    same = row["region"].startswith("C") and in_cell(worst, row["region"], profile)
    if not same and _RANK.index(row["state"]) <= _RANK.index(state):
        return row
    return _state(
        row["night"],
        row["band"],
        row["product"],
        state,
        worst.cause,
        worst.unit,
        region=worst.where[:16],
        value=worst.size,
        error=worst.error,
        significance=worst.significance,
        since=worst.night,
    )


def _by_night(found: Iterable[PixelNight]) -> dict[str, list[PixelNight]]:
    nights: dict[str, list[PixelNight]] = defaultdict(list)
    for p in found:
        nights[p.night].append(p)
    return nights


def _counted(night: str, band: str, found: list[PixelNight], profile: Profile) -> Row:
    worst = max(found, key=lambda p: (p.significance >= profile.drift.significance, p.found - p.expected))
    total = sum(p.found for p in found)
    key = night, band, PIXELS
    if worst.significance < profile.drift.significance:
        return _state(*key, "OK", "", "px", value=total, significance=worst.significance)
    state = state_of(worst.found, profile.drift.new_pixels)
    return _state(*key, state, worst.cause, "px", value=worst.found, significance=worst.significance, since=night)
