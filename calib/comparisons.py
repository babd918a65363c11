"""Comparisons of a night's products with the nights before, remembered by what they compare.

What a comparison finds depends on its products alone, so it is made once: values of checks, the parts of the
deviation, the events of single pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.products import dark_path, read_product, responsivity_path
from calib.checks import Verdict, evaluate, judge
from calib.dark import surroundings
from calib.diagnose import DARK_WORDS, Diagnosis, diagnose
from calib.flags import usable
from calib.night import combine_key
from calib.pixels import PixelEvent, PixelLimits, new_dead, watch_dark
from calib.profile import Profile
from calib.regions import nan_median
from calib.verdict import Flat, compare_flats, mean_flat

__all__ = ["DarkComparison", "DarkImages", "FlatComparison", "compare_with_darks", "compare_with_flats"]

Row = dict[str, Any]

# Events of more pixels than this are those of another array: their number says so, their places say no more.
MOST_EVENTS = 400
# Images in memory: the nights of a window, and some that are asked for out of order.
MOST_IMAGES = 24
# Keys that one query names.
MOST_KEYS = 500


def _parts(found: Diagnosis) -> list[Row]:
    return [
        {k: (None if isinstance(v, float) and not np.isfinite(v) else v) for k, v in asdict(p).items()}
        for p in found.parts
    ]


def _events(events: tuple[PixelEvent, ...], expected: float) -> Row:
    """Return events for the archive: a row each as ``[y, x, kind, size, significance]``, and their numbers."""
    counts: dict[str, int] = {}
    for e in events:
        counts[e.kind] = counts.get(e.kind, 0) + 1
    rows = [[e.y, e.x, e.kind, round(e.size, 2), round(e.significance, 1)] for e in events[:MOST_EVENTS]]
    return {"counts": counts, "expected": expected, "events": rows}


@dataclass(frozen=True)
class DarkImages:
    """A night's dark as comparisons need it.

    Attributes
    ----------
    value, error, noise, excess : ndarray of float32, shape (ny, nx)
        Dark, its 1σ, scatter over the frames, and dark minus the surroundings of the pixel, DN.
    good : ndarray of bool, shape (ny, nx)
        Usable pixels.
    kept : ndarray, shape (ny, nx)
        Fraction of the frames that entered the mean.
    """

    value: NDArray[np.float32]
    error: NDArray[np.float32]
    noise: NDArray[np.float32]
    excess: NDArray[np.float32]
    good: NDArray[np.bool_]
    kept: NDArray[np.floating]

    @classmethod
    def of(
        cls,
        value: NDArray[np.float32],
        error: NDArray[np.float32],
        noise: NDArray[np.float32],
        good: NDArray[np.bool_],
        kept: NDArray[np.floating],
    ) -> DarkImages:
        """Work out the excess of every pixel."""
        return cls(value, error, noise, (value - surroundings(value, good)).astype(np.float32), good, kept)


def compare_with_flats(tonight: Flat, before: list[Flat], profile: Profile, last: Flat | None = None) -> Row:
    """Compare a responsivity with the mean of others.

    Parameters
    ----------
    tonight : Flat
    before : list of Flat
        In a cold start also of later nights.
    profile : Profile
    last : Flat, optional
        The newest of them that is earlier than tonight: what was dead there has been told.

    Returns
    -------
    dict
        ``values`` of the checks (None for NaN), ``cause`` in words, ``parts`` of the deviation, ``pixels``: events,
        their counts, and the number expected by chance.
    """
    standard = mean_flat(before)
    ratio = compare_flats(tonight, standard, profile)
    found = diagnose(
        ratio.percent,
        ratio.good,
        quadrants=profile.detector.quadrants,
        limit=2 * profile.drift.quiet.responsivity_percent,
        pixel_sigma=ratio.expected_percent,
    )
    alive = np.full_like(tonight.value, np.inf) if last is None else last.value
    dead = new_dead(tonight.value, tonight.error, standard.value, standard.good, alive, profile.pixels.dead_below)
    return {
        "values": {n: None if not np.isfinite(v) else v for n, v in ratio.values.items()},
        "cause": found.cause,
        "parts": _parts(found),
        "pixels": _events(dead, 0.0),
    }


def compare_with_darks(tonight: DarkImages, before: list[DarkImages], read: str, profile: Profile) -> Row:
    """Compare a dark with the mean of others, and its pixels with the last of them.

    Returns
    -------
    dict
        ``cause`` of a deviation in words, its ``parts`` in DN, ``pixels`` as for flats.
    """
    pixels = profile.pixels
    limits = PixelLimits(pixels.jump_above_dn[read], pixels.hot_above_dn[read], pixels.noisy_above)
    good = tonight.good & np.logical_and.reduce([d.good for d in before])
    difference = tonight.value - np.mean([d.value for d in before], axis=0, dtype=np.float32)
    difference -= np.float32(nan_median(difference[good]))
    standard_error = np.sqrt(np.sum([d.error**2 for d in before], axis=0)) / len(before)
    found = diagnose(
        difference,
        good,
        quadrants=profile.detector.quadrants,
        pixel_limit=limits.jump_dn,
        limit=profile.drift.quiet.dark_shape_dn[read],
        pixel_sigma=nan_median(np.hypot(tonight.error, standard_error)[good]),
        words=DARK_WORDS,
    )
    events = watch_dark(
        tonight.excess,
        tonight.error,
        tonight.noise,
        tonight.kept,
        before[-1].excess,
        before[-1].error,
        np.sqrt(np.mean([d.noise**2 for d in before], axis=0)),
        np.logical_or.reduce([d.excess >= limits.hot_dn for d in before]),
        good,
        limits,
    )
    return {"cause": found.cause, "parts": _parts(found), "pixels": _events(events.events, events.expected)}


class _Comparison:
    """Compares nights of one series, with the images of a window in memory and outcomes remembered by key."""

    def __init__(self, archive: Archive, profile: Profile, rows: dict[str, Row], *sections: str) -> None:
        self.archive, self.profile, self.rows = archive, profile, rows
        self.new: dict[str, Row] = {}
        self._settings = profile.fingerprint("detector", "pixels", "drift.quiet", *sections)
        self._images: OrderedDict[str, Any] = OrderedDict()
        self._known: dict[str, Row] | None = None

    def load(self, night: str) -> Any:
        """Read the images of a night."""
        raise NotImplementedError

    def compare(self, tonight: Any, before: list[Any], last: Any | None) -> Row:
        """Compare them with others; ``last`` is the newest of these that is earlier, None if none is."""
        raise NotImplementedError

    def images(self, night: str) -> Any:
        """Return the images of a night, from memory if they were read lately."""
        key = self.rows[night]["key"]
        if key not in self._images:
            self._images[key] = self.load(night)
            while len(self._images) > MOST_IMAGES:
                self._images.popitem(last=False)
        self._images.move_to_end(key)
        return self._images[key]

    def _key(self, night: str, standard: tuple[str, ...]) -> str:
        keys = (self.rows[night]["key"], *(self.rows[n]["key"] for n in standard))
        return combine_key("compare", self._settings, *keys)

    def recall(self, nights: Iterable[str]) -> None:
        """Read at once what nights were last compared with; of others it is read when it is asked for."""
        self._known = self._recalled(nights)

    def _recalled(self, nights: Iterable[str]) -> dict[str, Row]:
        there = {n: tuple(self.rows[n].get("standard") or ()) for n in nights}
        keys = [self._key(n, s) for n, s in there.items() if s and all(m in self.rows for m in s)]
        c, found = schema.comparisons, {}
        for first in range(0, len(keys), MOST_KEYS):
            query = sa.select(c.c.key, c.c.outcome).where(c.c.key.in_(keys[first : first + MOST_KEYS]))
            found.update({r["key"]: r["outcome"] for r in self.archive.rows(query)})
        return found

    def outcome(self, night: str, standard: tuple[str, ...]) -> Row:
        """Return what a comparison finds, from memory where it was made before."""
        key = self._key(night, standard)
        if key not in self.new:
            if self._known is None:
                # Hardly any of it changes from run to run.
                self._known = self._recalled(self.rows)
            if key in self._known:
                return self._known[key]
            c = schema.comparisons
            known = self.archive.value(sa.select(c.c.outcome).where(c.c.key == key))
            if known is not None:
                return dict(known)
            last = max((n for n in standard if n < night), default=None)
            images = self.images(night), [self.images(n) for n in standard]
            self.new[key] = self.compare(*images, None if last is None else self.images(last))
        return self.new[key]


class FlatComparison(_Comparison):
    """Compares responsivities of one band, and remembers what came out."""

    def __init__(self, archive: Archive, profile: Profile, band: str, rows: dict[str, Row]) -> None:
        super().__init__(archive, profile, rows, "responsivity")
        self._band = band
        self._limits = profile.limits_for("flat", band, profile.responsivity.read)

    def load(self, night: str) -> Flat:
        """Read a night's responsivity."""
        images = read_product(self.archive.root, responsivity_path(night, self._band), ("SCI", "ERR", "DQ"))
        value, error = np.asarray(images["SCI"], np.float32), np.asarray(images["ERR"], np.float32)
        return Flat(value, error, usable(images["DQ"]) & np.isfinite(value))

    def compare(self, tonight: Flat, before: list[Flat], last: Flat | None) -> Row:
        """Compare it with the mean of others."""
        return compare_with_flats(tonight, before, self.profile, last)

    def __call__(self, night: str, standard: tuple[str, ...]) -> Verdict:
        """Return the verdict of the comparison checks."""
        outcome = self.outcome(night, standard)
        values = {n: float("nan") if v is None else v for n, v in outcome["values"].items()}
        return judge(evaluate("flat", values, self._limits), cause=outcome["cause"])


class DarkComparison(_Comparison):
    """Compares darks of one band and read, and remembers what came out."""

    def __init__(self, archive: Archive, profile: Profile, band: str, read: str, rows: dict[str, Row]) -> None:
        super().__init__(archive, profile, rows)
        self._band, self._read = band, read

    def load(self, night: str) -> DarkImages:
        """Read a night's dark."""
        path = dark_path(night, self._band, self._read)
        images = read_product(self.archive.root, path, ("SCI", "ERR", "NOISE", "DQ", "COUNT"))
        value, error, noise = (np.asarray(images[n], np.float32) for n in ("SCI", "ERR", "NOISE"))
        kept = images["COUNT"] / max(self.rows[night]["n_frames"], 1)
        return DarkImages.of(value, error, noise, usable(images["DQ"]) & np.isfinite(value), kept)

    def compare(self, tonight: DarkImages, before: list[DarkImages], last: DarkImages | None) -> Row:
        """Compare it with the mean of others."""
        return compare_with_darks(tonight, before, self._read, self.profile)
