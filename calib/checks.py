"""Checks, limits and verdicts, declared once.

`CHECKS` is the only list of checks there is: the keys a profile must give under ``[limits]``, the columns
of the exported tables, the labels on screen and the causes of rejections all derive from it. Of the checks of a subject
the more telling stand first: when several fail, the first of them names the cause.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["CHECKS", "Check", "CheckResult", "Limit", "Verdict", "check_table", "evaluate", "judge"]

Status = Literal["accepted", "rejected", "provisional"]


@dataclass(frozen=True)
class Check:
    """What one check measures.

    Attributes
    ----------
    subject : str
        ``dark``, ``flat`` or ``sky_offset``.
    name : str
        Key in the profile and column in the tables.
    unit : str
        Unit of value and limit; empty for counts and ratios.
    bound : {"min", "max"}
        Whether the limit is the least or the greatest value that passes.
    meaning : str
        One sentence for help texts and hover labels.
    cause : str
        The words that name the cause when only this check fails.
    signed : bool
        Whether the value can be negative; sizes, counts, shares and ratios cannot.
    """

    subject: str
    name: str
    unit: str
    bound: Literal["min", "max"]
    meaning: str
    cause: str
    signed: bool = False


CHECKS: tuple[Check, ...] = (
    Check("dark", "frames", "", "min", "frames combined", "too few frames"),
    Check("dark", "good_pixels", "%", "min", "pixels with a usable value", "bad pixels"),
    Check("dark", "drift", "DN", "max", "range of a quadrant's level during the sequence", "warm-up drift"),
    Check("dark", "noise_high", "", "max", "read noise of the noisiest quadrant / expected", "noisy quadrant"),
    Check("dark", "noise_low", "", "min", "read noise of the quietest quadrant / expected", "noise too low"),
    Check("dark", "clipped", "%", "max", "samples rejected as outliers", "outliers in the sequence"),
    Check(
        "dark",
        "structure",
        "DN",
        "max",
        "largest 8×8 cell against the running dark, level removed",
        "light leak or new structure",
    ),
    Check("flat", "samples_left", "%", "min", "samples left after saturation", "saturated twilight"),
    Check("flat", "frames", "", "min", "twilight frames below saturation", "too few frames"),
    Check("flat", "range", "", "min", "brightest / faintest frame", "too little change of light"),
    Check("flat", "good_pixels", "%", "min", "pixels with a usable slope", "bad pixels"),
    Check("flat", "residual", "", "max", "median reduced χ² of the fits", "moving cloud or unstable light"),
    Check(
        "flat",
        "pixel_scatter",
        "",
        "max",
        "scatter of the ratio between neighbours / expected",
        "noisy responsivity",
    ),
    Check("flat", "cell_rms", "%", "max", "rms of the ratio over the 8×8 cells", "large-scale structure"),
    Check("flat", "cell_extreme", "%", "max", "largest deviation of the ratio in an 8×8 cell", "local structure"),
    Check("flat", "gradient", "%", "max", "edge-to-edge tilt of the ratio", "cloud gradient"),
    Check("flat", "quadrant", "%", "max", "largest quadrant median of the ratio", "quadrant step"),
    Check(
        "flat",
        "beyond_2pct",
        "%",
        "max",
        "pixels whose ratio deviates by more than 2 %",
        "many deviating pixels",
    ),
    Check("sky_offset", "frames", "", "min", "frames in the block", "too few frames"),
    Check("sky_offset", "valid", "%", "min", "good pixels with enough valid samples", "too few valid samples"),
    Check(
        "sky_offset",
        "residue",
        "%",
        "max",
        "positive skew of the samples in the worst 8×8 cell / sky level",
        "galaxy or bright star",
        signed=True,
    ),
    Check(
        "sky_offset",
        "halves",
        "%",
        "max",
        "rms over 8×8 cells of half against half / sky level",
        "airglow wave",
    ),
    Check(
        "sky_offset",
        "amplitude",
        "%",
        "max",
        "largest |offset| over 8×8 cells / sky level",
        "offset too large",
    ),
    Check(
        "sky_offset",
        "steadiness",
        "%",
        "max",
        "scatter of the frame levels about a line / sky level",
        "unsteady background",
    ),
)


@functools.cache
def check_table(subject: str) -> Mapping[str, Check]:
    """Return the checks of a subject by name, in their order of declaration."""
    return MappingProxyType({c.name: c for c in CHECKS if c.subject == subject})


@dataclass(frozen=True)
class Limit:
    """The limit of one check for one band and read: the value that still passes."""

    value: float


@dataclass(frozen=True)
class CheckResult:
    """One measured number against one limit.

    Attributes
    ----------
    check : Check
        What was measured.
    value : float
        The measured number, in the unit of the check; NaN if it could not be measured.
    limit : float
        The value that still passes.
    """

    check: Check
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the value respects the limit; NaN never passes."""
        return self.value >= self.limit if self.check.bound == "min" else self.value <= self.limit

    @property
    def excess(self) -> float:
        """How far beyond its limit, as a ratio ≥ 1 for a failed check; infinite for NaN."""
        if math.isnan(self.value):
            return math.inf
        a, b = (self.limit, self.value) if self.check.bound == "min" else (self.value, self.limit)
        return a / b if b > 0 else (math.inf if a > b else 0.0)

    def words(self) -> str:
        """Return the outcome in words, such as ``gradient 2.31 % > 1 %``."""
        unit = f" {self.check.unit}" if self.check.unit else ""
        if math.isnan(self.value):
            return f"{self.check.name} could not be measured"
        sign = {("min", True): "≥", ("min", False): "<", ("max", True): "≤", ("max", False): ">"}
        return f"{self.check.name} {self.value:.3g}{unit} {sign[self.check.bound, self.passed]} {self.limit:g}{unit}"


def evaluate(subject: str, values: Mapping[str, float], limits: Mapping[str, Limit]) -> tuple[CheckResult, ...]:
    """Put measured values against their limits.

    Parameters
    ----------
    subject : str
        Whose checks.
    values : mapping
        Check name → measured number. Checks without a number are left out, not passed.
    limits : mapping
        Check name → limit, as `calib.profile.Profile.limits_for` gives them.

    Returns
    -------
    tuple of CheckResult
        In the order of `CHECKS`.

    Raises
    ------
    KeyError
        If a value names no check of the subject.
    """
    table = check_table(subject)
    if unknown := values.keys() - table.keys():
        raise KeyError(f"no such check of {subject}: {', '.join(sorted(unknown))}")
    return tuple(
        CheckResult(check, float(values[name]), limits[name].value) for name, check in table.items() if name in values
    )


@dataclass(frozen=True)
class Verdict:
    """The outcome of all checks.

    Attributes
    ----------
    status : {"accepted", "rejected", "provisional"}
        The outcome.
    cause : str
        Why it was rejected, in words; empty when accepted.
    checks : tuple of CheckResult
        Everything that was measured.
    """

    status: Status
    cause: str
    checks: tuple[CheckResult, ...]

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that did not pass, worst first."""
        return tuple(sorted((c for c in self.checks if not c.passed), key=lambda c: -c.excess))


def judge(checks: tuple[CheckResult, ...], *, cause: str = "") -> Verdict:
    """Return the verdict on a set of checks.

    Parameters
    ----------
    checks : tuple of CheckResult
        At least one; no check at all is no reason to accept.
    cause : str
        Words that name the cause better than the worst check can (a diagnosis).
    """
    failed = sorted((c for c in checks if not c.passed), key=lambda c: -c.excess)
    if checks and not failed:
        return Verdict("accepted", "", checks)
    if not failed:
        return Verdict("rejected", "nothing could be measured", checks)
    detail = "; ".join(c.words() for c in failed)
    first = next(c for c in checks if not c.passed)
    # What could not be measured says nothing about why.
    words = cause or (first.check.cause if not math.isnan(first.value) else f"{first.check.meaning}: not measurable")
    return Verdict("rejected", f"{words} ({detail})", checks)
