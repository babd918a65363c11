"""The state of every product, night by night: which control chart it belongs to and what the chart says.

A chart runs over the accepted nights of one product, band and hardware period. Its numbers are the cells of the
night's deviation from the reference (`schema.cell_maps`); the sky offsets' part in proportion to the sky is worked out
here. Pixels are counted, not charted: so many events where so many are usual.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from calib.archive import schema
from calib.archive.database import Archive, upsert
from calib.archive.decisions import Rulings
from calib.charts import Change, Chart, Quiet, chart
from calib.drift import state_of
from calib.features import Feature, follow_features, in_cell
from calib.patterns import mode_orders, templates, to_modes
from calib.pixels import PixelEvent, Turns, count_significance
from calib.profile import DriftLimits, Profile
from calib.regions import cell_means, cell_names, quadrant_names
from calib.skyflat import sky_proportional

__all__ = [
    "Health",
    "PixelNight",
    "Series",
    "Subject",
    "cause_of",
    "chart_series",
    "pixel_nights",
    "subjects",
    "update_health",
    "watch_all",
]

Row = dict[str, Any]
Array = NDArray[np.float64]

PIXELS = "pixels"
_RANK = ("DRIFT", "WATCH", "NOTICE", "UNKNOWN", "OK")
SKY = "sky offsets"
# A chart that has learned from fewer quiet nights knows too little to call a night good.
FEWEST_NIGHTS = 3
# Smooth structure fills few of the modes: those have more scatter than all of them on the average.
UNEVEN = 2.0


@dataclass(frozen=True)
class Subject:
    """What a control chart watches.

    Attributes
    ----------
    product : str
        As in the tables.
    unit : str
    grid, quadrants : tuple of int
        Rows and columns of its cells, and of the read-out quadrants.
    level : bool
        Whether the level counts as well as the shape.
    level_scatter, shape_scatter : float
        What quiet nights vary by, rms, in the unit, before any was seen.
    limits : DriftLimits
        Sizes that matter.
    accepted_of : str
        Whose verdict decides that a night counts: ``dark <read>``, ``flat`` or ``sky``.
    """

    product: str
    unit: str
    grid: tuple[int, int]
    quadrants: tuple[int, int]
    level: bool
    level_scatter: float
    shape_scatter: float
    limits: DriftLimits
    accepted_of: str

    def quiet(self) -> Quiet:
        """Return the prior of the chart."""
        orders = mode_orders(self.grid)
        n = float(np.sqrt(len(orders)))
        scatter = np.where(orders == 0, self.level_scatter * n, UNEVEN * self.shape_scatter)
        return Quiet(scatter, orders)


def subjects(profile: Profile) -> tuple[Subject, ...]:
    """Return what is watched in every band."""
    cells, quadrants = profile.detector.cells, profile.detector.quadrants
    drift, quiet = profile.drift, profile.drift.quiet
    found = []
    for read in profile.reads:
        found.append(
            Subject(
                f"dark {read}",
                "DN",
                cells,
                quadrants,
                True,
                quiet.dark_dn[read],
                quiet.dark_shape_dn[read],
                drift.dark_dn[read],
                f"dark {read}",
            )
        )
        noise = quiet.noise_percent
        found.append(
            Subject(f"noise {read}", "%", cells, quadrants, True, noise, noise, drift.noise_percent, f"dark {read}")
        )
    percent = quiet.responsivity_percent
    found.append(
        Subject("responsivity", "%", cells, quadrants, False, percent, percent, drift.responsivity_percent, "flat")
    )
    gain = quiet.gain_percent
    found.append(Subject("gain", "%", quadrants, quadrants, True, gain, gain, drift.gain_percent, "flat"))
    sky = quiet.sky_percent
    found.append(Subject(SKY, "%", cells, quadrants, False, sky, sky, drift.sky_percent, "sky"))
    return tuple(found)


@dataclass(frozen=True)
class Series:
    """One product of one band in one hardware period, charted.

    Attributes
    ----------
    band, period : str
    subject : Subject
    nights : tuple of str
        Accepted nights with a measurement, in order.
    cells, errors : ndarray, shape (n_nights, ny, nx) and (n_nights,)
        What is charted, and the 1σ error of a cell, in the unit of the subject.
    chart : Chart
    """

    band: str
    period: str
    subject: Subject
    nights: tuple[str, ...]
    cells: Array
    errors: Array
    chart: Chart

    @property
    def days(self) -> Array:
        """Day number of each night."""
        return np.array([date.fromisoformat(n).toordinal() for n in self.nights], float)

    def going(self, index: int) -> list[tuple[int, Change]]:
        """Return the changes that are there on a night, the largest first."""
        there = [
            (k, c)
            for k, c in enumerate(self.chart.changes)
            if c.seen <= index and np.isfinite(self.chart.sizes[k][index])
        ]
        return sorted(there, key=lambda kc: -abs(self.chart.sizes[kc[0]][index]))


_CAUSES = {
    "level": {"dark": "level jump", "noise": "noise level", "gain": "gain"},
    "gradient": {},
    "quadrant": {"dark": "quadrant offset", "noise": "noisy quadrant"},
    "corner": {"dark": "light leak", "responsivity": "light leak"},
    "cell": {"dark": "local glow", "noise": "local noise"},
}
_PLAIN = {
    "level": "level",
    "gradient": "gradient",
    "quadrant": "quadrant step",
    "corner": "corner",
    "cell": "local change",
}


def cause_of(product: str, change: Change) -> str:
    """Return the cause of a change in words."""
    family = change.pattern.family
    words = _CAUSES[family].get(product.split()[0], _PLAIN[family])
    return f"slow drift, {words.removesuffix(' jump')}" if change.course == "walk" else words


def watch_all(archive: Archive, profile: Profile, rulings: Rulings) -> list[Series]:
    """Run every chart over the nights that are there.

    Parameters
    ----------
    archive : Archive
    profile : Profile
    rulings : Rulings
        For the hardware periods.

    Returns
    -------
    list of Series
        Those with at least one night.
    """
    accepted = _accepted(archive)
    found = []
    for band in profile.bands:
        for subject in subjects(profile):
            maps = _sky_maps(archive, profile, band) if subject.product == SKY else _cell_maps(archive, band, subject)
            by_period: dict[str, list[str]] = defaultdict(list)
            for night in sorted(maps):
                if subject.accepted_of == "sky" or night in accepted[band, subject.accepted_of]:
                    by_period[rulings.period(night, band)].append(night)
            for period, nights in by_period.items():
                found.append(chart_series(band, period, subject, nights, maps, profile.drift.significance))
    return found


def chart_series(
    band: str,
    period: str,
    subject: Subject,
    nights: list[str],
    maps: dict[str, tuple[Array, float]],
    significance: float,
) -> Series:
    """Chart one product over the nights of a hardware period.

    Parameters
    ----------
    band, period : str
    subject : Subject
    nights : list of str
        Accepted nights, in order.
    maps : dict
        Night → cells, shape ``subject.grid``, and the 1σ error of one, in the unit of the subject.
    significance : float
        σ from which a change counts.
    """
    cells = np.array([maps[n][0] for n in nights])
    errors = np.array([maps[n][1] for n in nights])
    values = to_modes(cells)
    # Half of the cells say what a map is like; fewer do not.
    values[np.isfinite(cells).mean(axis=(1, 2)) < 0.5] = np.nan
    if not subject.level:
        values[:, 0] = np.where(np.isfinite(values[:, 0]), 0.0, np.nan)
    days = np.array([date.fromisoformat(n).toordinal() for n in nights], float)
    patterns = templates(subject.grid, subject.quadrants, level=subject.level)
    judged = chart(values, errors, days, patterns, subject.quiet(), significance=significance)
    return Series(band, period, subject, tuple(nights), cells, errors, judged)


def _accepted(archive: Archive) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    d, f = schema.darks, schema.flats
    for r in archive.rows(sa.select(d.c.night, d.c.band, d.c.read).where(d.c.status == "accepted")):
        found[r["band"], f"dark {r['read']}"].add(r["night"])
    for r in archive.rows(sa.select(f.c.night, f.c.band).where(f.c.status == "accepted")):
        found[r["band"], "flat"].add(r["night"])
    return found


def _cell_maps(archive: Archive, band: str, subject: Subject) -> dict[str, tuple[Array, float]]:
    m = schema.cell_maps
    query = sa.select(m.c.night, m.c.cells, m.c.error).where(m.c.band == band, m.c.product == subject.product)
    return {
        r["night"]: (np.array(r["cells"], dtype=float), np.nan if r["error"] is None else r["error"])
        for r in archive.rows(query)
    }


def _sky_maps(archive: Archive, profile: Profile, band: str) -> dict[str, tuple[Array, float]]:
    o, read = schema.sky_offsets, profile.responsivity.read
    query = sa.select(o.c.night, o.c.cells_dn, o.c.cell_error_dn, o.c.level_dn).where(
        o.c.band == band, o.c.read == read, o.c.status == "accepted"
    )
    blocks: dict[str, list[Row]] = defaultdict(list)
    for row in archive.rows(query.order_by(o.c.night, o.c.scan, o.c.block)):
        if row["cells_dn"] is not None:
            blocks[row["night"]].append(row)
    found = {}
    for night, rows in blocks.items():
        numbers = [[np.nan if r[n] is None else r[n] for r in rows] for n in ("level_dn", "cell_error_dn")]
        sky = sky_proportional(
            np.array([r["cells_dn"] for r in rows], dtype=float),
            np.array(numbers[0]),
            np.array(numbers[1]),
            profile.drift.quiet.dark_shape_dn[read],
        )
        found[night] = (sky.percent, sky.error_percent)
    return found


def _sky_metrics(series: Iterable[Series], profile: Profile) -> list[Row]:
    """Return the metrics of the sky offsets' part in proportion to the sky: deviations from its first nights, in %."""
    rows: list[Row] = []
    quadrants, cells = profile.detector.quadrants, profile.detector.cells
    for s in series:
        if s.subject.product != SKY:
            continue
        reference_nights = profile.canonical.reference_nights
        reference = s.cells[: None if reference_nights == "all" else reference_nights].mean(axis=0)
        for night, found, error in zip(s.nights, s.cells - reference, s.errors, strict=True):
            values = dict(zip(cell_names(cells), found.ravel(), strict=True))
            means = cell_means(found, np.isfinite(found), quadrants)
            values |= dict(zip(quadrant_names(quadrants), means.ravel(), strict=True))
            values["array"] = np.nanmean(found) if np.isfinite(found).any() else np.nan
            for region, value in values.items():
                n = {"C": 1.0, "Q": found.size / means.size, "a": float(found.size)}[region[0]]
                rows.append(
                    {
                        "night": night,
                        "band": s.band,
                        "product": SKY,
                        "region": region,
                        "metric": "deviation",
                        "value": float(value) if np.isfinite(value) else None,
                        "error": error / float(np.sqrt(n)) if np.isfinite(error) else None,
                        "unit": "%",
                        "key": "",
                    }
                )
    return rows


# Pixels ---------------------------------------------------------------------------------------------------------------

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
    habit = float(np.median(before[-30:])) if before else 0.0
    return max(by_chance, habit, 0.05)


# States ---------------------------------------------------------------------------------------------------------------


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
    m = schema.metrics
    with archive.begin() as connection:
        connection.execute(sa.delete(schema.states))
        upsert(connection, schema.states, _states(archive, profile, health))
        connection.execute(sa.delete(m).where(m.c.product == SKY))
        upsert(connection, m, _sky_metrics(health.series, profile))
    return health


def _states(archive: Archive, profile: Profile, health: Health) -> list[Row]:
    rows: dict[tuple[str, str, str], Row] = {}
    f = schema.files
    taken = sa.select(f.c.night, f.c.band).where(f.c.night.is_not(None), f.c.band.is_not(None)).distinct()
    products = [s.product for s in subjects(profile)] + [PIXELS]
    units = {s.product: s.unit for s in subjects(profile)} | {PIXELS: "px"}
    for r in archive.rows(taken):
        for product in products:
            key = r["night"], r["band"], product
            rows[key] = _state(*key, "UNKNOWN", "no accepted measurement", units[product])
    for s in health.series:
        local = [f for f in health.features if (f.band, f.product, f.period) == (s.band, s.subject.product, s.period)]
        for k, night in enumerate(s.nights):
            row = _charted(s, k)
            there = [f for f in local if f.there(night)]
            rows[night, s.band, s.subject.product] = _worse(row, there, profile)
    for band in profile.bands:
        for night, found in _by_night(p for p in health.pixels if p.band == band).items():
            rows[night, band, PIXELS] = _counted(night, band, found, profile)
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
    numbers = {"value": value, "error": error, "significance": significance}
    return {
        "night": night,
        "band": band,
        "product": product,
        "state": state,
        "cause": cause,
        "region": region,
        **{k: float(v) if np.isfinite(v) else None for k, v in numbers.items()},
        "unit": unit,
        "since": since,
    }


def _charted(s: Series, index: int) -> Row:
    night, judged = s.nights[index], s.chart.nights[index]
    key = night, s.band, s.subject.product
    if not np.isfinite(judged.significance) and judged.pattern is None:
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
