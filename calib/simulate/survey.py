"""A survey: which nights there are, what goes wrong on them, and the detector of each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from .camera import BANDS, SIZE_PX
from .detector import Detector, build_detector, frozen, vary_quietly
from .faults import ArraySwap, Fault, Occasion
from .night import SimulatedNight

__all__ = ["Survey"]

# What lies outside is refused as the time of an observation; the last night ends a day later.
_FIRST, _LAST = dt.date(1900, 1, 1), dt.date(2099, 12, 30)


@dataclass(frozen=True)
class Survey:
    """A survey of some nights.  Nothing is made before it is asked for.

    Attributes
    ----------
    nights : int
        Number of nights, at least 1.
    start : str
        First night, ISO date of the local evening.
    seed : int
        Seed; the same one gives the same bytes, and each night is the same however many others there are.
    quiet : bool
        Let healthy nights vary as they do: responsivity 0.2 % per pixel and 0.15 % rms in smooth structure,
        levels of the darks 20 DN (R2-R1) and 100 DN (R1), correlated over days.  False: all nights are alike
        but for noise.
    faults : tuple of Fault
        What goes wrong, in order of time.
    scans : int or mapping of int to int
        Scans of each night, or of the nights (counted from 0) that have any.
    n_dark, n_twilight, n_scan : int
        Frames of a dark, a twilight and a scan.
    size_px : int
        Side of the array, even.
    name : str
        Name of the scenario.
    """

    nights: int = 30
    start: str = "1999-05-01"
    seed: int = 7
    quiet: bool = True
    faults: tuple[Fault, ...] = ()
    scans: int | Mapping[int, int] | tuple[tuple[int, int], ...] = 1
    n_dark: int = 48
    n_twilight: int = 56
    n_scan: int = 276
    size_px: int = SIZE_PX
    name: str = ""

    def __post_init__(self) -> None:
        """Check the numbers and make the mapping of scans hashable."""
        if self.nights < 1:
            raise ValueError(f"a survey has at least one night, not {self.nights}")
        if self.seed < 0:
            raise ValueError(f"the seed must not be negative, not {self.seed}")
        if self.size_px < 16 or self.size_px % 2:
            raise ValueError(f"the side of the array must be even and at least 16, not {self.size_px}")
        if min(self.n_dark, self.n_twilight, self.n_scan) < 1:
            raise ValueError("every sequence has at least one frame")
        if not _FIRST <= dt.date.fromisoformat(self.start) <= _LAST - dt.timedelta(days=self.nights - 1):
            raise ValueError(f"nights lie between {_FIRST} and {_LAST}, not {self.nights} from {self.start} on")
        if isinstance(self.scans, Mapping):
            object.__setattr__(self, "scans", tuple(sorted(self.scans.items())))

    def with_fault(self, *faults: Fault) -> Survey:
        """Return the survey with these faults as well."""
        together = sorted((*self.faults, *faults), key=lambda fault: fault.night)
        return replace(self, faults=tuple(together))

    def night(self, ordinal: int) -> SimulatedNight:
        """Return a night, counted from 0."""
        if not 0 <= ordinal < self.nights:
            raise ValueError(f"no night {ordinal}: there are {self.nights}, counted from 0")
        return SimulatedNight(self, ordinal)

    def __iter__(self) -> Iterator[SimulatedNight]:
        """Go through the nights."""
        return (self.night(ordinal) for ordinal in range(self.nights))

    def n_scans(self, ordinal: int) -> int:
        """Return the number of scans planned for a night."""
        if isinstance(self.scans, int):
            return self.scans
        return dict(self.scans).get(ordinal, 0)

    def faults_of(self, ordinal: int, band: str) -> tuple[Fault, ...]:
        """Return what acts on a band on a night, in order of time; old arrays took theirs with them."""
        scans = self.n_scans(ordinal)
        acting = [fault for fault in self.faults if fault.acts_on(ordinal, band) and fault.on_any_scan_of(scans)]
        swaps = [fault.night for fault in acting if isinstance(fault, ArraySwap)]
        if not swaps:
            return tuple(acting)
        return tuple(
            fault
            for fault in acting
            if fault.subject != "detector" or fault.night >= swaps[-1] or isinstance(fault, ArraySwap)
        )

    def period(self, ordinal: int, band: str) -> int:
        """Return the number of arrays that a band has had before the one of this night."""
        return sum(isinstance(fault, ArraySwap) for fault in self.faults_of(ordinal, band))

    def detector(self, ordinal: int, band: str) -> Detector:
        """Return the detector of a band on a night; its images are read-only."""
        if band not in BANDS:
            raise ValueError(f"no band {band!r}: the bands are {', '.join(BANDS)}")
        return _detector(self, ordinal, band)


@lru_cache(maxsize=24)
def _detector(survey: Survey, ordinal: int, band: str) -> Detector:
    detector = build_detector(survey.seed, band, survey.period(ordinal, band), survey.size_px)
    if survey.quiet:
        detector = vary_quietly(detector, survey.seed, band, ordinal, survey.nights)
    occasion = Occasion(survey.seed, ordinal, band, survey.size_px)
    for fault in survey.faults_of(ordinal, band):
        detector = fault.on_detector(detector, occasion)
    return frozen(detector.normalised())
