"""Named surveys, each with a story to tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from .camera import BANDS
from .faults import (
    FAULTS,
    AirglowWaves,
    ArraySwap,
    BistablePixel,
    BrightStar,
    CloudGradient,
    DarkJump,
    DeadColumn,
    DustSpot,
    Fault,
    Galaxy,
    Latents,
    LightLeak,
    MissingDark,
    MissingFlat,
    MissingNight,
    MovingCloud,
    NewHotPixels,
    QuadrantStep,
    SaturatedTwilight,
    ShortScan,
    SlowDrift,
    TooLittleChange,
    UniformCloud,
    WarmUp,
)
from .survey import Survey

__all__ = ["SCENARIOS", "describe_scenarios"]

STORY_NIGHTS = 30
"""Length of the survey for which the story is written; others stretch it."""
STORY_SCANS = {3: 1, 9: 1, 14: 1, 19: 1, 24: 2, 29: 2}


def quiet(nights: int = 30, start: str = "1999-05-01", seed: int = 7, **options: Any) -> Survey:
    """Nothing goes wrong; healthy nights vary as they do."""
    return Survey(nights, start, seed, scans=_story_scans(nights), name="quiet", **options)


def survey(nights: int = 30, start: str = "1999-05-01", seed: int = 7, **options: Any) -> Survey:
    """Tell of every fault, spread over the nights; the last one has a cloudy H flat and two scans."""
    plan = _Story(Survey(nights, start, seed, scans=_story_scans(nights), name="survey", **options))
    last = nights - 1
    drift_days = max(nights - plan.place(6), 1)

    # What makes the page worth opening comes first: in a short survey the first claim to a night wins.
    plan.tell(CloudGradient(night=plan.place(8), percent=3.5))
    plan.tell(CloudGradient(night=last, bands=("H",), percent=2.3))
    plan.tell(ArraySwap(night=plan.place(22), bands=("Ks",)))
    plan.tell(SlowDrift(night=plan.place(6), bands=("J",), percent_per_night=min(max(2.4 / drift_days, 0.05), 0.3)))
    mended = max(plan.place(15), plan.place(12))
    plan.tell(QuadrantStep(night=plan.place(12), last_night=mended, bands=("H",), percent=3.0))
    plan.tell(BistablePixel(night=plan.place(5), bands=("J",)))
    plan.tell(DustSpot(night=plan.place(17), bands=("H",)))
    plan.tell(NewHotPixels(night=plan.place(18), bands=("H",)))
    plan.tell(DarkJump(night=plan.place(9), bands=("Ks",)))
    plan.tell(DeadColumn(night=plan.place(26), bands=("Ks",)))

    plan.tell(Galaxy(night=last, scan=2))
    plan.tell(AirglowWaves(night=last, scan=1, percent=2.0))
    plan.tell(AirglowWaves(night=plan.scan_night(1)))
    plan.tell(BrightStar(night=plan.scan_night(2)))
    plan.tell(ShortScan(night=plan.scan_night(3)))
    plan.tell(Latents(night=plan.scan_night(4), scan=2))

    plan.tell(UniformCloud(night=plan.place(4)), may_move=True)
    plan.tell(LightLeak(night=plan.place(14)), may_move=True)
    plan.tell(TooLittleChange(night=plan.place(19)), may_move=True)
    plan.tell(SaturatedTwilight(night=plan.place(24), bands=("J",)), may_move=True)
    plan.tell(MovingCloud(night=plan.place(10)), may_move=True)
    plan.tell(WarmUp(night=plan.place(11), bands=("J",)), may_move=True)
    plan.tell(MissingDark(night=plan.place(13), bands=("J",)), may_move=True)
    plan.tell(MissingFlat(night=plan.place(16), bands=("Ks",)), may_move=True)
    plan.tell(MissingNight(night=plan.place(21)), may_move=True)
    return plan.survey


def bad_first_night(nights: int = 30, start: str = "1999-05-01", seed: int = 7, **options: Any) -> Survey:
    """Spoil the very first night by a strong cloud gradient, which must not become the standard."""
    plain = Survey(nights, start, seed, scans={nights - 1: 1}, name="bad-first-night", **options)
    return plain.with_fault(CloudGradient(night=0, percent=8.0))


def array_swap(nights: int = 30, start: str = "1999-05-01", seed: int = 7, **options: Any) -> Survey:
    """All three arrays are replaced half way: new darks, responsivities and bad pixels."""
    plain = Survey(nights, start, seed, scans={nights - 1: 1}, name="array-swap", **options)
    return plain.with_fault(ArraySwap(night=nights // 2))


def stuck(nights: int = 30, start: str = "1999-05-01", seed: int = 7, **options: Any) -> Survey:
    """One quadrant in H changes its gain by 3 % after a third of the nights and stays so."""
    plain = Survey(nights, start, seed, scans={nights - 1: 1}, name="stuck", **options)
    return plain.with_fault(QuadrantStep(night=nights // 3, bands=("H",)))


class _Story:
    """A survey to which faults are added, no two of which spoil the same thing on the same night."""

    def __init__(self, plain: Survey) -> None:
        self.survey = plain
        self._scan_nights = [ordinal for ordinal in range(plain.nights) if plain.n_scans(ordinal)]
        # A night with scans, and the last one, are too good to be lost altogether.
        self._taken: set[tuple[int, str, str]] = {
            (night, band, "night") for night in (*self._scan_nights, plain.nights - 1) for band in BANDS
        }

    def place(self, night: int) -> int:
        """Night of this survey that corresponds to one of the 30; the first night stays clean."""
        return _place(night, self.survey.nights)

    def scan_night(self, number: int) -> int:
        """Night of this survey on which the scans of a number (counted from 0) are, or the last before."""
        return self._scan_nights[min(number, len(self._scan_nights) - 1)]

    def tell(self, fault: Fault, *, may_move: bool = False) -> None:
        """Add a fault if what it spoils is still sound, if need be on a night close by; else leave it out."""
        reach = self.survey.nights // 10 if may_move else 0
        for shift in sorted(range(-reach, reach + 1), key=abs):
            moved = replace(fault, night=fault.night + shift) if fault.night + shift > 0 else fault
            claims = self._claims(moved)
            if moved.night < self.survey.nights and not claims & self._taken:
                self._taken |= claims
                self.survey = self.survey.with_fault(moved)
                return

    def _claims(self, fault: Fault) -> set[tuple[int, str, str]]:
        """List what a fault spoils, as night, band and subject."""
        if fault.subject == "detector":
            # Lasting changes may pile up, but two of a kind would not be told apart.
            return {(fault.night, band, fault.kind) for band in fault.bands}
        if fault.subject == "night":
            lost = ("dark", "twilight", "night")
            return {(fault.night, band, what) for band in fault.bands for what in lost}
        if isinstance(fault, LightLeak):
            return {(fault.night, band, what) for band in fault.bands for what in ("dark", "twilight")}
        what = f"scan {getattr(fault, 'scan', None)}" if fault.subject == "scan" else fault.subject
        return {(fault.night, band, what) for band in fault.bands}


def _place(night: int, nights: int) -> int:
    """Night out of `nights` that corresponds to one out of 30; never the first."""
    return min(max(round(night * (nights - 1) / (STORY_NIGHTS - 1)), 1), nights - 1)


def _story_scans(nights: int) -> dict[int, int]:
    """Spread the scans of the story, by night."""
    return {_place(night, nights): count for night, count in STORY_SCANS.items()}


def _only(kind: type[Fault]) -> Callable[..., Survey]:
    """Make the scenario in which one fault occurs, in the middle of the survey, and nothing else."""

    def scenario(nights: int = 30, start: str = "1999-05-01", seed: int = 7, **options: Any) -> Survey:
        middle = nights // 2
        scans = {middle: 1, nights - 1: 1}
        plain = Survey(nights, start, seed, scans=scans, name=_kebab(kind), **options)
        return plain.with_fault(kind(night=middle))

    scenario.__name__ = _kebab(kind).replace("-", "_")
    scenario.__doc__ = f"One fault, on the middle night: {_first_sentence(kind.__doc__)}"
    return scenario


def _kebab(kind: type[Fault]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def _first_sentence(text: str | None) -> str:
    """First paragraph of a docstring on one line, without the capital."""
    first = " ".join((text or "").strip().split("\n\n")[0].split())
    return first[:1].lower() + first[1:]


SCENARIOS: Mapping[str, Callable[..., Survey]] = MappingProxyType(
    {_kebab(kind): _only(kind) for kind in FAULTS}
    | {
        "survey": survey,
        "quiet": quiet,
        "bad-first-night": bad_first_night,
        "array-swap": array_swap,
        "stuck": stuck,
    }
)
"""Builders of surveys by name; each takes ``nights``, ``start``, ``seed`` and any other field of `Survey`."""


def describe_scenarios() -> dict[str, str]:
    """One sentence on each scenario, by name."""
    return {name: " ".join((builder.__doc__ or "").replace("`", "").split()) for name, builder in SCENARIOS.items()}
