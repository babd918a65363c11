"""Nights of one band as products, made from the truth of a simulated survey and the errors that the pipeline reaches.

A thousand nights of raw frames take hours; what the statistics see of them are darks and responsivities, whose errors
the tests hold to the truth (`tests/calib/test_truth.py`). So products are drawn here directly: truth plus noise of that
size. Everything after that is the program's own: comparison, verdict, cells, charts, pixels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.checks import Verdict, evaluate, judge
from calib.comparisons import DarkImages, compare_with_darks, compare_with_flats
from calib.dark import cell_levels, compare_darks
from calib.drift import cell_error
from calib.features import local_features
from calib.pixel_counts import expected_count
from calib.pixels import count_significance
from calib.profile import Profile
from calib.regions import cell_means
from calib.series import Series, chart_series
from calib.simulate.detector import Detector
from calib.subjects import SKY, subjects
from calib.verdict import Flat, mean_flat, ratio_map

N_DARK = 48
FLAT_ERROR = 0.00119
"""1σ of a pixel of a responsivity from 56 frames, as the pipeline states it and `test_truth.py` holds it to be."""

Image = NDArray[np.float32]
Cells = NDArray[np.float64]
Maps = dict[str, tuple[Cells, float]]


@dataclass(frozen=True)
class NightProducts:
    """What a night gives: the responsivity, and the darks by read."""

    flat: Flat
    darks: dict[str, DarkImages]


@dataclass(frozen=True)
class Truth:
    """What is to be measured, so that a fault can change it.

    Attributes
    ----------
    responsivity : ndarray, shape (ny, nx)
        Times the shape of the twilight.
    darks, noise : dict
        Read → DN.
    good : ndarray of bool, shape (ny, nx)
    """

    responsivity: Image
    darks: dict[str, Image]
    noise: dict[str, Image]
    good: NDArray[np.bool_]


def truth_of(detector: Detector) -> Truth:
    """Return the truth of a detector's night."""
    return Truth(
        detector.responsivity,
        {"R1": detector.r1_dn, "R2-R1": detector.dark_dn},
        {"R1": detector.r1_noise_dn, "R2-R1": detector.noise_dn},
        detector.responsivity > 0.5,
    )


def measure(truth: Truth, rng: np.random.Generator) -> NightProducts:
    """Return products with the noise that the pipeline leaves."""
    shape = truth.responsivity.shape

    def noise() -> Image:
        return rng.standard_normal(shape, dtype=np.float32)

    value = truth.responsivity * (1 + np.float32(FLAT_ERROR) * noise())
    value = value / np.float32(np.median(value[truth.good]))
    flat = Flat(value.astype(np.float32), np.float32(FLAT_ERROR) * np.abs(value), truth.good)
    darks = {}
    for read, dark in truth.darks.items():
        sigma = truth.noise[read]
        scatter = sigma * (1 + noise() / np.float32(np.sqrt(2 * (N_DARK - 1))))
        mean = dark + sigma * noise() / np.float32(np.sqrt(N_DARK))
        kept = np.ones(shape, np.float32)
        error = (scatter / np.sqrt(N_DARK)).astype(np.float32)
        darks[read] = DarkImages.of(
            mean.astype(np.float32), error, scatter.astype(np.float32), np.ones(shape, bool), kept
        )
    return NightProducts(flat, darks)


@dataclass(frozen=True)
class Told:
    """What one night brought by itself: verdicts, and what single maps and pixel counts tell.

    Attributes
    ----------
    flat : Verdict
    darks : dict of str to Verdict
        By read.
    notices : tuple of (product, cause)
    counts : dict
        (product, kind) → new bad pixels.
    """

    flat: Verdict
    darks: dict[str, Verdict]
    notices: tuple[tuple[str, str], ...] = ()
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether all was accepted."""
        return self.flat.status == "accepted" and all(v.status == "accepted" for v in self.darks.values())


class Band:
    """One band, night after night: the running standards, the reference, the charts.

    The cold start is not repeated here: the first three nights are accepted without a comparison.

    Parameters
    ----------
    profile : Profile
    band : str
    """

    def __init__(self, profile: Profile, band: str) -> None:
        self.profile, self.band = profile, band
        self.reads = tuple(profile.reads)
        self.subjects = {s.product: s for s in subjects(profile) if s.product not in ("gain", SKY)}
        self.window: list[NightProducts] = []
        self.reference: NightProducts | None = None
        self.maps: dict[str, Maps] = {p: {} for p in self.subjects}
        self._first: list[tuple[int, NightProducts]] = []
        self._n = int(profile.canonical.reference_nights)
        self._habits: dict[tuple[str, str], list[int]] = defaultdict(list)

    def add(self, night: int, products: NightProducts) -> Told:
        """Take a night in, as the pipeline would."""
        told = self.judge(products)
        for key, count in told.counts.items():
            self._habits[key].append(count)
        if told.accepted:
            self.window = [*self.window, products][-self.profile.canonical.window :]
            if self.reference is None:
                self._first.append((night, products))
                if len(self._first) == self._n:
                    self._settle_reference()
            else:
                self.put(night, products)
        return told

    def judge(self, products: NightProducts) -> Told:
        """Return verdicts and findings of a night, without taking it in."""
        profile = self.profile
        if len(self.window) < profile.canonical.cold_start_nights:
            fine = Verdict("accepted", "", ())
            return Told(fine, dict.fromkeys(self.reads, fine))
        notices: list[tuple[str, str]] = []
        counts: dict[tuple[str, str], int] = {}

        def note(product: str, outcome: dict[str, Any], kinds: tuple[str, ...]) -> None:
            notices.extend((product, p["name"]) for p in local_features(outcome["parts"], product, profile))
            for kind in kinds:
                counts[product, kind] = n = outcome["pixels"]["counts"].get(kind, 0)
                expected = expected_count(outcome["pixels"]["expected"], self._habits[product, kind])
                if count_significance(n, expected) >= profile.drift.significance:
                    notices.append((product, f"{kind} pixels"))

        outcome = compare_with_flats(products.flat, [p.flat for p in self.window], profile)
        values = {n: np.nan if v is None else v for n, v in outcome["values"].items()}
        limits = profile.limits_for("flat", self.band, profile.responsivity.read)
        flat = judge(evaluate("flat", values, limits), cause=outcome["cause"])
        if flat.status == "accepted":
            note("responsivity", outcome, ("dead",))
        darks = {}
        for read in self.reads:
            tonight, before = products.darks[read], [p.darks[read] for p in self.window]
            cells = profile.detector.cells
            standard = np.mean([cell_levels(d.value, d.good, cells) for d in before], axis=0)
            structure = compare_darks(cell_levels(tonight.value, tonight.good, cells), standard)
            outcome = compare_with_darks(tonight, before, read, profile)
            all_limits = profile.limits_for("dark", self.band, read)
            limit = {"structure": all_limits["structure"]}
            darks[read] = judge(evaluate("dark", structure, limit), cause=outcome["cause"])
            if darks[read].status == "accepted":
                note(f"dark {read}", outcome, ("hot", "noisy"))
        return Told(flat, darks, tuple(notices), counts)

    def _settle_reference(self) -> None:
        nights = [p for _, p in self._first]
        darks = {}
        for read in self.reads:
            value = np.mean([p.darks[read].value for p in nights], axis=0, dtype=np.float32)
            noise = np.sqrt(np.mean([p.darks[read].noise ** 2 for p in nights], axis=0))
            error = np.sqrt(np.mean([p.darks[read].error ** 2 for p in nights], axis=0) / len(nights))
            ones = np.ones_like(value)
            darks[read] = DarkImages(value, error, noise, value, ones > 0, ones)
        self.reference = NightProducts(mean_flat([p.flat for p in nights]), darks)
        for night, products in self._first:
            self.put(night, products)
        self._first = []

    def put(self, night: int, products: NightProducts) -> None:
        """Give a night to the charts."""
        for product, found in self.cell_maps(products).items():
            self.maps[product][name(night)] = found

    def cell_maps(self, products: NightProducts) -> dict[str, tuple[Cells, float]]:
        """Return product → cells and the error of one, as `calib.references` stores them."""
        assert self.reference is not None
        cells = self.profile.detector.cells
        percent, good = ratio_map(products.flat, self.reference.flat)
        error = 100 * np.hypot(products.flat.error / products.flat.value, FLAT_ERROR / np.sqrt(self._n))
        error = np.hypot(error, self.profile.responsivity.pixel_stability_percent * np.sqrt(1 + 1 / self._n))
        maps = {"responsivity": (cell_means(percent, good, cells), cell_error(error, good, cells))}
        for read in self.reads:
            tonight, standard = products.darks[read], self.reference.darks[read]
            good = tonight.good & standard.good
            difference = tonight.value - standard.value
            maps[f"dark {read}"] = (
                cell_means(difference, good, cells),
                cell_error(np.hypot(tonight.error, standard.error), good, cells),
            )
            relative = 100 / np.sqrt(2 * (N_DARK - 1))
            percent = 100 * (tonight.noise / standard.noise - 1)
            maps[f"noise {read}"] = (
                cell_means(percent, good, cells),
                cell_error(np.full(percent.shape, relative), good, cells),
            )
        return maps

    def chart(self, product: str, instead: Maps | None = None) -> Series:
        """Chart a product to the end, or up to the last of the nights that are given instead of what was measured."""
        maps = self.maps[product] | (instead or {})
        nights = sorted(n for n in maps if not instead or n <= max(instead))
        limit = self.profile.drift.significance
        return chart_series(self.band, "", self.subjects[product], nights, maps, limit)


def name(night: int) -> str:
    """Return the date of a night by its number."""
    return str(np.datetime64("1999-01-01") + night)
