"""What would follow from a decision: verdicts that flip, canonicals that change and by how much, scans touched.

The survey is settled twice, under the rulings that stand and under those that would, by the functions that settle it
for good; nothing is written. What cannot be known before the raw frames are read again (the verdict on a responsivity
that is made anew with another dark) is said to be open.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.decisions import Rulings, active_decisions, rulings_of
from calib.archive.products import dark_path, read_product
from calib.checks import check_table, evaluate
from calib.comparisons import FlatComparison
from calib.flags import usable
from calib.profile import Profile
from calib.regions import quadrant_medians
from calib.settling import Surveys, canonical_night, dark_night, settled_darks, settled_flats
from calib.sky_verdicts import judge_offset, substitutes, with_ruling
from calib.verdict import mean_flat

__all__ = ["Change", "Consequences", "Flip", "what_follows", "what_would_follow"]

Row = dict[str, Any]

# The change of so many canonicals is worked out; that of further ones is alike, and only counted.
MOST_CHANGES = 12


@dataclass(frozen=True)
class Flip:
    """A verdict that would be another.

    Attributes
    ----------
    product : str
        ``dark R1``, ``flat``, ``sky offset R2-R1``.
    before, after : str
        Verdicts.
    cause : str
        Of the verdict that would be, in words.
    scan, block : int or None
        Of a sky offset.
    """

    night: str
    band: str
    product: str
    before: str
    after: str
    cause: str
    scan: int | None = None
    block: int | None = None


@dataclass(frozen=True)
class Change:
    """How much a standard would change: new / old − 1 of a canonical, new − old of a dark.

    Attributes
    ----------
    product : str
        ``canonical`` or ``dark R1``.
    quadrants : tuple of float
        Median over each quadrant, in `unit`; NaN where it cannot be told.
    """

    night: str
    band: str
    product: str
    quadrants: tuple[float, ...]
    unit: str

    @property
    def largest(self) -> float:
        """The largest size of a quadrant's change; NaN if none is known."""
        sizes = [abs(q) for q in self.quadrants if np.isfinite(q)]
        return max(sizes, default=float("nan"))


@dataclass
class Consequences:
    """Everything that would follow.

    Attributes
    ----------
    flips : list of Flip
        In order of night.
    canonicals : list of (night, band)
        Canonicals that would change, appear or go.
    changes : list of Change
        By how much; of the first `MOST_CHANGES`.
    scans : list of (night, band, scan)
        Scans that would need to be calibrated again.
    remade : list of (night, band)
        Responsivities to be made anew with another dark; their verdicts are settled then.
    frames, own_frames : int
        Frames that would receive the sky offset of another block than before, and those that would get back that of
        their own.
    lost : list of (night, band, scan)
        Of the scans, those that could not be calibrated any more.
    """

    flips: list[Flip] = field(default_factory=list)
    canonicals: list[tuple[str, str]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    scans: list[tuple[str, str, int]] = field(default_factory=list)
    remade: list[tuple[str, str]] = field(default_factory=list)
    frames: int = 0
    own_frames: int = 0
    lost: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether nothing that is computed would change."""
        return not (self.flips or self.canonicals or self.scans or self.remade or self.frames or self.own_frames)


def what_would_follow(archive: Archive, profile: Profile, *new: Row, without: Iterable[int] = ()) -> Consequences:
    """Return what would follow if decisions were added to those that stand, or taken back.

    Parameters
    ----------
    archive : Archive
    profile : Profile
    *new : dict
        Decisions as rows of the table ``decisions``; columns that are left out are None.
    without : iterable of int
        Numbers of standing decisions that would be undone.
    """
    active = active_decisions(archive)
    gone = set(without)
    columns = dict.fromkeys(c.name for c in schema.decisions.c)
    after = [d for d in active if d["id"] not in gone] + [{**columns, **d} for d in new]
    return what_follows(archive, profile, rulings_of(active), rulings_of(after))


def what_follows(archive: Archive, profile: Profile, before: Rulings, after: Rulings) -> Consequences:
    """Return what would follow if other rulings stood; see `what_would_follow`."""
    found = Consequences()
    shifted = {b for _, b in set(before.periods) ^ set(after.periods)}
    bands = set(profile.bands) if None in shifted else {b for b in shifted if b is not None}
    touched: set[tuple[str, str, int]] = set()
    for band in profile.bands:
        remade: set[str] = set()
        for read in profile.reads:
            ruled = {n for n, b, r in _differ(before.dark, after.dark) if (b, r) == (band, read)}
            if ruled or band in bands:
                remade |= _darks(archive, profile, band, read, before, after, ruled, found, touched)
        ruled = {n for n, b in _differ(before.flat, after.flat) if b == band}
        if ruled or remade or band in bands:
            _flats(archive, profile, band, before, after, remade, found, touched)
    for key in _differ(before.sky, after.sky):
        _offsets(archive, profile, key, after, found, touched)
    found.scans = sorted(touched)
    found.lost = sorted(set(found.lost))
    found.flips.sort(key=lambda f: (f.night, f.band, f.product, f.scan or 0, f.block or 0))
    return found


def _differ(one: dict[Any, Any], other: dict[Any, Any]) -> set[Any]:
    return {k for k in one.keys() | other.keys() if one.get(k) != other.get(k)}


def _flipped(before: Surveys, after: Surveys, band: str, product: str) -> list[Flip]:
    old = {s.night: s.verdict for survey in before.values() for s in survey.nights}
    new = {s.night: s.verdict for survey in after.values() for s in survey.nights}
    return [
        Flip(n, band, product, old[n].status, v.status, v.cause)
        for n, v in new.items()
        if n in old and old[n].status != v.status
    ]


def _scans_of(archive: Archive, band: str) -> list[Row]:
    s = schema.scans
    return archive.rows(sa.select(s.c.night, s.c.scan, s.c.read).where(s.c.band == band).order_by(s.c.night, s.c.scan))


# Darks ------------------------------------------------------------------------------------------------------------


def _darks(
    archive: Archive,
    profile: Profile,
    band: str,
    read: str,
    before: Rulings,
    after: Rulings,
    ruled: set[str],
    found: Consequences,
    touched: set[tuple[str, str, int]],
) -> set[str]:
    """Note what follows for the darks of a series; return the nights whose responsivity would be made anew."""
    d, f = schema.darks, schema.flats
    rows = {r["night"]: r for r in archive.rows(sa.select(d).where(d.c.band == band, d.c.read == read))}
    old, new = (settled_darks(rows, band, read, profile, r) for r in (before, after))
    found.flips += _flipped(old, new, band, f"dark {read}")

    def used(night: str) -> tuple[str | None, str | None]:
        return dark_night(old, before, night, band), dark_night(new, after, night, band)

    for row in _scans_of(archive, band):
        if row["read"] == read:
            was, would = used(row["night"])
            if was != would:
                touched.add((row["night"], band, row["scan"]))
                if would is None:
                    found.lost.append((row["night"], band, row["scan"]))
    for night in sorted(ruled):
        was, would = used(night)
        if was and would and was != would:
            found.changes.append(_dark_change(archive, profile, band, read, night, was, would))
    if read != profile.responsivity.read:
        return set()
    nights = [r["night"] for r in archive.rows(sa.select(f.c.night).where(f.c.band == band))]
    remade = {n for n in nights if len(set(used(n))) > 1}
    found.remade += [(n, band) for n in sorted(remade)]
    return remade


def _dark_change(archive: Archive, profile: Profile, band: str, read: str, night: str, was: str, would: str) -> Change:
    one, other = (read_product(archive.root, dark_path(n, band, read), ("SCI", "DQ")) for n in (was, would))
    good = usable(one["DQ"]) & usable(other["DQ"])
    medians = quadrant_medians(other["SCI"] - one["SCI"], good, profile.detector.quadrants)
    return Change(night, band, f"dark {read}", tuple(float(m) for m in medians), "DN")


# Responsivities and canonicals --------------------------------------------------------------------------------------


def _flats(
    archive: Archive,
    profile: Profile,
    band: str,
    before: Rulings,
    after: Rulings,
    remade: set[str],
    found: Consequences,
    touched: set[tuple[str, str, int]],
) -> None:
    f = schema.flats
    rows = {r["night"]: r for r in archive.rows(sa.select(f).where(f.c.band == band))}
    compare = FlatComparison(archive, profile, band, rows)
    old, new = (settled_flats(rows, band, profile, r, compare) for r in (before, after))
    found.flips += _flipped(old, new, band, "flat")
    was, would = (_members(surveys, rows) for surveys in (old, new))
    changed = {n for n in rows if was[n] != would[n] or remade & set(would[n])}
    found.canonicals += [(n, band) for n in sorted(changed)]
    for night in sorted(changed):
        if len(found.changes) < MOST_CHANGES and was[night] and would[night] and was[night] != would[night]:
            one, other = (mean_flat([compare.images(m) for m in members[night]]) for members in (was, would))
            ratio = 100 * (other.value / one.value - 1)
            medians = quadrant_medians(ratio, one.good & other.good, profile.detector.quadrants)
            found.changes.append(Change(night, band, "canonical", tuple(float(m) for m in medians), "%"))
    having, would_have = ([n for n in rows if members[n]] for members in (was, would))
    for row in _scans_of(archive, band):
        now = canonical_night(old, having, before, row["night"], band)
        then = canonical_night(new, would_have, after, row["night"], band)
        if now != then or then in changed:
            touched.add((row["night"], band, row["scan"]))
            if then is None:
                found.lost.append((row["night"], band, row["scan"]))


def _members(surveys: Surveys, rows: dict[str, Row]) -> dict[str, tuple[str, ...]]:
    """Return the nights averaged into each night's canonical; those without a responsivity cannot be."""
    return {s.night: tuple(m for m in s.members if rows[m]["key"]) for v in surveys.values() for s in v.nights}


# Sky offsets --------------------------------------------------------------------------------------------------------


def _offsets(
    archive: Archive,
    profile: Profile,
    key: tuple[str, str, int, str],
    after: Rulings,
    found: Consequences,
    touched: set[tuple[str, str, int]],
) -> None:
    night, band, scan, read = key
    b = schema.sky_offsets
    query = sa.select(b).where(b.c.night == night, b.c.band == band, b.c.scan == scan, b.c.read == read)
    rows = archive.rows(query.order_by(b.c.block))
    if not rows:
        return
    limits = profile.limits_for("sky_offset", band, read)
    verdicts = []
    for row in rows:
        numbers = {n: row["n_frames"] if n == "frames" else row[n] for n in check_table("sky_offset")}
        values = {n: float("nan") if v is None else float(v) for n, v in numbers.items()}
        level = float("nan") if row["level_dn"] is None else float(row["level_dn"])
        verdict = judge_offset(evaluate("sky_offset", values, limits), level)
        verdicts.append(with_ruling(verdict, after.sky.get(key, {}).get(row["block"])))
    for row, verdict, used in zip(rows, verdicts, substitutes(verdicts), strict=True):
        if row["status"] != verdict.status:
            product = f"sky offset {read}"
            found.flips.append(
                Flip(night, band, product, row["status"], verdict.status, verdict.cause, scan, row["block"])
            )
        if row["used_block"] != used:
            if used == row["block"]:
                found.own_frames += row["n_frames"]
            else:
                found.frames += row["n_frames"]
    touched.add((night, band, scan))
