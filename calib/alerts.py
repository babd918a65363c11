"""Open matters: drifts, jumps, new spots and pixels, proposals and stand-ins, put in words.

Alerts are worked out from the whole history each time, so the order in which nights arrived leaves no trace; what a
person said about one of them is a decision and stays. An alert is latched: it is there from the night on which it was
seen, and when what it tells of has gone it says so, until a person closes it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from calib.archive import schema
from calib.archive.database import Archive, upsert
from calib.archive.decisions import Rulings
from calib.charts import Change
from calib.drift import forecast_nights, state_of
from calib.features import Feature, in_cell
from calib.health import Health
from calib.pixel_counts import PixelNight
from calib.profile import Profile
from calib.series import Series, cause_of
from calib.standards import Standards
from calib.subjects import SKY

__all__ = ["update_alerts"]

Row = dict[str, Any]

# A relative error of the flat of 1 % is so many millimagnitudes.
MMAG_PER_PERCENT = 10.857
# As many scans as this are listed with an alert; more are counted.
MOST_SCANS = 100


def update_alerts(archive: Archive, profile: Profile, standards: Standards, rulings: Rulings, health: Health) -> int:
    """Work out all alerts anew and replace the table; return how many there are."""
    found: dict[tuple[str, str, str, str, str], Row] = {}
    scans = _Scans(archive)
    changes = [a for a in _changes(health.series, profile, scans) if not _told(a, health.features, profile)]
    for row in (
        *changes,
        *_jumps(archive, profile, changes),
        *_local(health.features, profile, scans),
        *_new_pixels(health.pixels, profile),
        *_proposals(standards),
        *_stand_ins(archive),
    ):
        found[row["night"], row["band"], row["product"], row["region"], row["metric"]] = row
    with archive.begin() as connection:
        connection.execute(sa.delete(schema.alerts))
        upsert(connection, schema.alerts, found.values())
    return len(found)


def _alert(night: str, band: str, product: str, metric: str, state: str, text: str, **more: Any) -> Row:
    """Return the row of an alert; ``night`` is the one on which it was seen, `since` the one on which it began."""
    plain: Row = {
        "region": "array",
        "value": None,
        "limit": None,
        "unit": "",
        "cause": metric,
        "error": None,
        "significance": None,
        "since": night,
        "last_night": night,
        "over": False,
        "forecast_nights": None,
        "scans": None,
        "effect_mmag": None,
        "proposal": None,
    }
    row = {"night": night, "band": band, "product": product, "metric": metric, "state": state, "text": text}
    return {**row, **plain, **more}


@dataclass(frozen=True)
class _Course:
    """How large a deviation is in the nights from its first to its last, in its unit; outside of these it is nothing.

    Attributes
    ----------
    since : str
    last : str or None
        None if it goes on.
    days, sizes : ndarray, shape (n,)
        Days on which it was measured, in order, and its size; between them it is interpolated.
    """

    since: str
    last: str | None
    days: NDArray[np.float64]
    sizes: NDArray[np.float64]

    def at(self, days: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the size on each day."""
        there = days >= _day(self.since)
        if self.last is not None:
            there &= days <= _day(self.last)
        return np.where(there, np.interp(days, self.days, self.sizes), 0.0)


def _day(night: str) -> float:
    return float(date.fromisoformat(night).toordinal())


@dataclass(frozen=True)
class _Touched:
    """How many scans a deviation touches, the last of them, and how much of it calibration leaves in them.

    Attributes
    ----------
    n : int
    last : list of [night, scan]
        In order, `MOST_SCANS` at most.
    left : float
        Largest difference between the deviation in the night of a scan and its mean over the nights of the scan's
        canonical, in the unit of the deviation.
    """

    n: int
    last: list[list[Any]]
    left: float


class _Calibrated:
    """The scans of one band, by night and canonical.

    Parameters
    ----------
    rows : list of (night, canonical, n)
        In order; how many scans of a night were calibrated with which canonical.
    members : mapping
        Canonical → the nights that it is the mean of.
    """

    def __init__(self, rows: list[tuple[str, str, int]], members: Mapping[str, Sequence[str]]) -> None:
        self.nights = [night for night, *_ in rows]
        self.counts = np.array([n for *_, n in rows], int)
        self._days = np.array([_day(night) for night in self.nights])
        of = [[_day(m) for m in members.get(canonical, ())] for _, canonical, _ in rows]
        self._member_days = np.full((len(rows), max(map(len, of), default=0)), np.nan)
        for k, days in enumerate(of):
            self._member_days[k, : len(days)] = days

    def left(self, here: slice, course: _Course) -> float:
        """Return the largest part of a deviation that is not in the canonicals; all of it where these are unknown."""
        days = self._member_days[here]
        known = np.isfinite(days)
        followed = np.where(known, course.at(np.where(known, days, 0.0)), 0.0).sum(axis=1)
        followed /= np.maximum(known.sum(axis=1), 1)
        return float(np.max(np.abs(course.at(self._days[here]) - followed), initial=0.0))


class _Scans:
    """Which scans a deviation touches. A survey has hundreds of thousands: they are counted, and few are read."""

    def __init__(self, archive: Archive) -> None:
        s, f = schema.scans, schema.flats
        self._archive = archive
        # The reads of a scan are one scan.
        place = s.c.band, s.c.night, s.c.canonical_night
        query = sa.select(*place, sa.func.count(s.c.scan.distinct()).label("n")).group_by(*place).order_by(*place)
        counts: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
        for r in archive.rows(query):
            counts[r["band"]].append((r["night"], r["canonical_night"] or "", r["n"]))
        members: dict[str, dict[str, list[str]]] = defaultdict(dict)
        for r in archive.rows(sa.select(f.c.night, f.c.band, f.c.members)):
            members[r["band"]][r["night"]] = r["members"] or []
        self._bands = {band: _Calibrated(rows, members[band]) for band, rows in counts.items()}

    def touched(self, band: str, since: str, last: str | None, course: _Course | None) -> _Touched:
        """Return what was touched from one night to another, both included; to the end where the last is None.

        Without a course nothing is left of the deviation.
        """
        calibrated = self._bands.get(band)
        if calibrated is None:
            return _Touched(0, [], 0.0)
        nights = calibrated.nights
        here = slice(bisect_left(nights, since), len(nights) if last is None else bisect_right(nights, last))
        if not nights[here]:
            return _Touched(0, [], 0.0)
        s = schema.scans
        query = sa.select(s.c.night, s.c.scan).where(
            s.c.band == band, s.c.night >= since, s.c.night <= nights[here][-1]
        )
        listed = self._archive.rows(query.distinct().order_by(s.c.night.desc(), s.c.scan.desc()).limit(MOST_SCANS))
        return _Touched(
            int(calibrated.counts[here].sum()),
            [[r["night"], r["scan"]] for r in reversed(listed)],
            0.0 if course is None else calibrated.left(here, course),
        )


def _effect(touched: _Touched) -> Row:
    """Return the columns of an alert that tell of scans."""
    if not touched.n:
        return {"scans": {"n": 0, "scans": []}, "effect_mmag": None}
    return {"scans": {"n": touched.n, "scans": touched.last}, "effect_mmag": MMAG_PER_PERCENT * touched.left}


def _effect_words(columns: Row, course: _Course | None) -> str:
    n, mmag = columns["scans"]["n"], columns["effect_mmag"]
    if not n:
        return ""
    many = f"{n} scan{'s' if n > 1 else ''} since"
    if course is None:
        return f"; {many}, taken out with the dark and the sky offset"
    return f"; {many}, up to {mmag:.1f} mmag"


# Charts -----------------------------------------------------------------------------------------------------------


def _changes(series: Iterable[Series], profile: Profile, scans: _Scans) -> list[Row]:
    """Return an alert for every change that a chart has seen."""
    known = list(series)
    every = [(s, k, c) for s in known for k, c in enumerate(s.chart.changes)]
    return [_change(s, k, c, profile, scans, _together(s, c, known, profile)) for s, k, c in every]


def _together(s: Series, change: Change, all_series: list[Series], profile: Profile) -> str:
    """Return what the other bands say: sky, or one array."""
    if len(profile.bands) < 2 or s.subject.product.split()[0] not in ("responsivity", SKY, "dark"):
        return ""
    night = s.nights[change.seen]
    alike, measured = {s.band}, {s.band}
    for other in all_series:
        if other.subject.product != s.subject.product or night not in other.nights:
            continue
        measured.add(other.band)
        for c in other.chart.changes:
            if c.pattern.family == change.pattern.family and night in other.nights[max(c.since - 1, 0) : c.seen + 2]:
                alike.add(other.band)
    if len(alike) == len(profile.bands):
        return "in all bands alike: the sky, or what they share"
    if len(measured) < len(profile.bands):
        return ""
    names = " and ".join(b for b in profile.bands if b in alike)
    return f"in {names} alone: the hardware of {'that band' if len(alike) == 1 else 'those bands'}"


def _change(s: Series, k: int, change: Change, profile: Profile, scans: _Scans, together: str) -> Row:
    subject, sizes = s.subject, s.chart.sizes[k]
    known = np.flatnonzero(np.isfinite(sizes))
    now, worst = known[-1], known[np.argmax(np.abs(sizes[known]))]
    size, error = float(sizes[now]), float(s.chart.errors[k][now])
    over = change.last < len(s.nights) - 1
    since, seen, last = (s.nights[i] for i in (change.since, change.seen, change.last))
    state = state_of(float(sizes[worst]), subject.limits)
    limit = subject.limits.drift if state == "DRIFT" else subject.limits.watch
    cause = cause_of(subject.product, change)
    product = subject.product
    until = last if over else None
    # That of a dark is taken out with the dark and the sky offset.
    course = _Course(since, until, s.days[known], sizes[known]) if product in ("responsivity", SKY) else None
    effect = _effect(scans.touched(s.band, since, until, course))
    ahead = float("nan")
    if change.course == "walk" and not over:
        recent = known[-20:]
        ahead = forecast_nights(s.days[recent], sizes[recent], subject.limits.watch)
    where = "" if not change.pattern.where else f" in {change.pattern.where}"
    jump = profile.dark.level_jump_dn.get(product.removeprefix("dark "))
    proposal = None
    if change.pattern.family == "level" and product.startswith("dark ") and change.course == "step":
        proposal = since if jump is not None and abs(float(sizes[change.seen])) > jump else None
    shown = _signed(size, error) if change.pattern.family != "gradient" else _signed(size, error).lstrip("+")
    text = f"{s.band} {product}: {cause}{where}, {shown} ± {_plain(error)} {subject.unit}"
    text += f" since {since}" if since == seen else f" since {since}, seen on {seen}"
    if over:
        text += f", gone after {last}"
    elif np.isfinite(ahead) and 0 < ahead < 1000:
        text += f"; will reach {subject.limits.watch:g} {subject.unit} in about {max(round(ahead), 1)} nights"
    text += _effect_words(effect, course)
    text += f"; {together}" if together else ""
    if proposal:
        text += _period_words(proposal)
    return _alert(
        seen,
        s.band,
        product,
        "level jump" if cause == "level jump" else change.pattern.family,
        state,
        text,
        region=change.pattern.where or "array",
        value=size,
        limit=limit,
        unit=subject.unit,
        cause=cause,
        error=error,
        significance=float(change.significance),
        since=since,
        last_night=last,
        over=over,
        forecast_nights=ahead if np.isfinite(ahead) else None,
        proposal=proposal,
        **effect,
    )


def _digits(error: float) -> int:
    """Return the decimals that leave two digits of an error."""
    return int(np.clip(1 - np.floor(np.log10(error)), 0, 4)) if error > 0 else 2


def _signed(value: float, error: float) -> str:
    return f"{value:+.{_digits(error)}f}".replace("-", "−")


def _plain(error: float) -> str:
    return f"{error:.{_digits(error)}f}"


def _jumps(archive: Archive, profile: Profile, changes: list[Row]) -> list[Row]:
    """Return an alert for every large jump of a dark's level that no chart tells of: with few nights it cannot."""
    d, found = schema.darks, []
    told = {(a["night"], a["band"], a["product"]) for a in changes if a["metric"] == "level jump"}
    told |= {(a["since"], a["band"], a["product"]) for a in changes if a["region"] == "array"}
    query = sa.select(d.c.night, d.c.band, d.c.read, d.c.level_dn, d.c.period).where(d.c.status == "accepted")
    last: dict[tuple[str, str, str], Row] = {}
    for row in archive.rows(query.order_by(d.c.night)):
        key, product = (row["band"], row["read"], row["period"]), f"dark {row['read']}"
        before, limit = last.get(key), profile.dark.level_jump_dn[row["read"]]
        last[key] = row
        if before is None or None in (row["level_dn"], before["level_dn"]):
            continue
        change = row["level_dn"] - before["level_dn"]
        if abs(change) <= limit or (row["night"], row["band"], product) in told:
            continue
        text = f"{row['band']} {product}: level jump, {_signed(change, 10)} DN against {before['night']}"
        found.append(
            _alert(
                row["night"],
                row["band"],
                product,
                "level jump",
                state_of(change, profile.drift.dark_dn[row["read"]]),
                text + _period_words(row["night"]),
                value=change,
                limit=limit,
                unit="DN",
                proposal=row["night"],
            )
        )
    return found


def _period_words(night: str) -> str:
    return f". Otherwise clean, so it is used. Was the instrument changed? Start a hardware period on {night}"


# Single maps ------------------------------------------------------------------------------------------------------


def _local(features: Iterable[Feature], profile: Profile, scans: _Scans) -> list[Row]:
    """Return an alert for every spot, column and row."""
    found = []
    for f in features:
        limits = f.limits(profile)
        state = state_of(f.size, limits)
        until = f.last if f.over else None
        course = _Course(f.night, until, np.zeros(1), np.array([f.size])) if f.product == "responsivity" else None
        effect = _effect(scans.touched(f.band, f.night, until, course))
        text = f"{f.band} {f.product}: {f.cause} at {f.where}, {_signed(f.size, f.error)} ± {_plain(f.error)} {f.unit}"
        text += f" since {f.night}" + (f", gone on {f.last}" if f.over else "") + _effect_words(effect, course)
        found.append(
            _alert(
                f.night,
                f.band,
                f.product,
                f.kind,
                state,
                text,
                region=f.where[:16],
                value=f.size,
                limit=limits.drift if state == "DRIFT" else limits.watch,
                unit=f.unit,
                cause=f.cause,
                error=f.error,
                significance=f.significance,
                last_night=f.last,
                over=f.over,
                **effect,
            )
        )
    return found


def _told(alert: Row, features: Iterable[Feature], profile: Profile) -> bool:
    """Whether a change of one cell is a spot in it that is told of already."""
    return alert["metric"] == "cell" and any(
        (f.band, f.product) == (alert["band"], alert["product"])
        and f.night <= alert["night"]
        and in_cell(f, alert["region"], profile)
        for f in features
    )


# Pixels -----------------------------------------------------------------------------------------------------------


def _new_pixels(pixels: Iterable[PixelNight], profile: Profile) -> list[Row]:
    found = []
    limits = profile.drift.new_pixels
    for p in pixels:
        if p.significance < profile.drift.significance:
            continue
        state = state_of(p.found, limits)
        text = f"{p.band} {p.product}: {p.found} {p.cause} at once, {p.expected:.2g} expected by chance and habit"
        found.append(
            _alert(
                p.night,
                p.band,
                p.product,
                f"{p.kind} pixels",
                state,
                text,
                value=float(p.found),
                limit=limits.drift if state == "DRIFT" else limits.watch,
                unit="px",
                cause=p.cause,
                significance=p.significance,
            )
        )
    return found


# Proposals and stand-ins ------------------------------------------------------------------------------------------


def _proposals(standards: Standards) -> list[Row]:
    found = []
    products = {(band, "responsivity"): s for band, s in standards.flat_surveys.items()}
    products |= {(band, f"dark {read}"): s for (band, read), s in standards.dark_surveys.items()}
    for (band, product), surveys in products.items():
        for survey in surveys.values():
            for p in survey.proposals:
                many = f"{band} {product}: {len(p.nights)} rejected nights"
                text = (
                    f"{many} from {p.first} to {p.nights[-1]} agree with each other; the instrument was another one "
                    "for a while, and nights after them are accepted again"
                    if p.over
                    else f"{many} since {p.first} agree with each other; the instrument changed. "
                    f"Start a hardware period on {p.first}"
                )
                found.append(
                    _alert(
                        p.first,
                        band,
                        product,
                        "hardware period",
                        "DRIFT",
                        text,
                        value=float(len(p.nights)),
                        unit="nights",
                        last_night=p.nights[-1],
                        over=p.over,
                        proposal=p.first,
                    )
                )
    return found


def _stand_ins(archive: Archive) -> list[Row]:
    """Return one alert per night and band whose scans were calibrated with what is not their own."""
    s = schema.scans
    reasons: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    columns = (s.c.night, s.c.band, s.c.scan, s.c.read, s.c.status, s.c.dark_night, s.c.dark_age_nights)
    odd = (
        s.c.canonical_status.in_(("overtaken", "provisional"))
        | (s.c.dark_age_nights != 0)
        | (s.c.status == "best block")
    )
    for row in archive.rows(sa.select(*columns, s.c.canonical_status).where(odd)):
        scan = row["scan"]
        if row["canonical_status"] == "overtaken":
            reasons[row["night"], row["band"], "canonical overtaken by a change of the instrument"].add(scan)
        elif row["canonical_status"] == "provisional":
            reasons[row["night"], row["band"], "canonical provisional: too few nights agree yet"].add(scan)
        if row["dark_age_nights"]:
            age = row["dark_age_nights"]
            nights = f"{abs(age)} night{'s' if abs(age) > 1 else ''} {'older' if age > 0 else 'younger'}"
            text = f"dark of {row['dark_night']} ({nights})"
            reasons[row["night"], row["band"], text].add(scan)
        if row["status"] == "best block":
            reasons[row["night"], row["band"], f"no accepted sky offset in {row['read']}"].add(scan)
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (night, band, text), scans in sorted(reasons.items()):
        numbers = ", ".join(str(n) for n in sorted(scans))
        found[night, band].append(f"{text} (scan{'s' if len(scans) > 1 else ''} {numbers})")
    return [
        _alert(
            night,
            band,
            "scans",
            "calibration",
            "WATCH",
            f"{band} scans calibrated with a stand-in: " + "; ".join(texts),
            value=float(len(texts)),
        )
        for (night, band), texts in found.items()
    ]
