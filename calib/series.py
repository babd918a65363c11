"""Series of nights, charted: the accepted nights of one product, band and hardware period.

Their numbers are cells (`schema.cell_maps`): of the night's deviation from the reference, and of the sky offsets' part
in proportion to the sky.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from blake3 import blake3
from numpy.typing import NDArray

from calib.archive import schema
from calib.archive.database import Archive, upsert
from calib.archive.decisions import Rulings
from calib.charts import Change, Chart, Standing, chart
from calib.night import combine_key
from calib.patterns import templates, to_modes
from calib.profile import Profile
from calib.sky_maps import sky_maps
from calib.subjects import SKY, Subject, subjects

__all__ = ["Series", "cause_of", "chart_series", "watch_all"]

Row = dict[str, Any]
Array = NDArray[np.float64]


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
    key : str
        Identifies what the chart's standing depends on.
    """

    band: str
    period: str
    subject: Subject
    nights: tuple[str, ...]
    cells: Array
    errors: Array
    chart: Chart
    key: str

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

    Where a chart stood before its last nights is kept in the archive; it goes on from there as long as the nights
    before are what they were.

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
    kept = {(r["band"], r["product"], r["period"]): r for r in archive.rows(sa.select(schema.standings))}
    found: list[Series] = []
    for band in profile.bands:
        for subject in subjects(profile):
            maps = sky_maps(archive, profile, band) if subject.product == SKY else _cell_maps(archive, band, subject)
            by_period: dict[str, list[str]] = defaultdict(list)
            for night in sorted(maps):
                if subject.accepted_of == "sky" or night in accepted[band, subject.accepted_of]:
                    by_period[rulings.period(night, band)].append(night)
            for period, nights in by_period.items():
                standing = kept.get((band, subject.product, period))
                found.append(chart_series(band, period, subject, nights, maps, profile.drift.significance, standing))
    _keep(archive, found, kept)
    return found


def _keep(archive: Archive, found: list[Series], kept: dict[tuple[str, str, str], Row]) -> None:
    rows = []
    for s in found:
        known = kept.get((s.band, s.subject.product, s.period))
        if known is None or known["key"] != s.key:
            content = json.dumps(asdict(s.chart.standing), separators=(",", ":"))
            place = {"band": s.band, "product": s.subject.product, "period": s.period}
            rows.append({**place, "key": s.key, "content": content})
    t = schema.standings
    gone = kept.keys() - {(s.band, s.subject.product, s.period) for s in found}
    with archive.begin() as connection:
        upsert(connection, t, rows)
        for band, product, period in sorted(gone):
            connection.execute(sa.delete(t).where(t.c.band == band, t.c.product == product, t.c.period == period))


def chart_series(
    band: str,
    period: str,
    subject: Subject,
    nights: list[str],
    maps: dict[str, tuple[Array, float]],
    significance: float,
    kept: Row | None = None,
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
    kept : dict, optional
        Row of `schema.standings`; used as far as it is of the same nights under the same rules.
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
    standing = None
    if kept is not None:
        standing = Standing(**json.loads(kept["content"]))
        if kept["key"] != _key(values, errors, days, subject, significance, standing.night):
            standing = None
    judged = chart(values, errors, days, patterns, subject.quiet(), significance=significance, standing=standing)
    key = _key(values, errors, days, subject, significance, judged.standing.night)
    return Series(band, period, subject, tuple(nights), cells, errors, judged, key)


def _key(values: Array, errors: Array, days: Array, subject: Subject, significance: float, n: int) -> str:
    """Return what identifies all that the first n measured nights of a chart depend on."""
    first = np.flatnonzero(np.isfinite(values).all(axis=1) & np.isfinite(errors))[:n]
    quiet = subject.quiet()
    rules = (subject.grid, subject.quadrants, subject.level, significance, n)
    content = blake3(repr(rules).encode())
    for numbers in (quiet.scatter, quiet.orders, values[first], errors[first], days[first]):
        content.update(np.ascontiguousarray(numbers).tobytes())
    return combine_key("chart", content.hexdigest())


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
