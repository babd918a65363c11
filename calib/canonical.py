"""The running standard: window of accepted nights, cold start settled backwards, stuck rejections, reference.

The same rules serve responsivities and darks; what differs is how two of them are compared. Every function is
pure: the outcome depends on the set of nights alone, never on the order in which they arrived.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Literal

from calib.checks import CheckResult, Verdict, judge
from calib.profile import CanonicalSettings

__all__ = ["Candidate", "Proposal", "Settled", "Survey", "nearest_accepted", "reference_members", "settle"]


@dataclass(frozen=True)
class Candidate:
    """A night's product before its verdict.

    Attributes
    ----------
    night : str
        ISO date.
    checks : tuple of CheckResult
        What could be judged on the product by itself.
    ruling : {"accepted", "rejected"} or None
        A person's override.
    """

    night: str
    checks: tuple[CheckResult, ...]
    ruling: Literal["accepted", "rejected"] | None = None

    @cached_property
    def sound(self) -> bool:
        """Whether the product may be compared at all."""
        if self.ruling is not None:
            return self.ruling == "accepted"
        return judge(self.checks).status == "accepted"


@dataclass(frozen=True)
class Settled:
    """A night with its verdict and what follows from it.

    Attributes
    ----------
    night : str
    verdict : Verdict
    standard : tuple of str
        Nights whose mean it was judged against; empty where there was none.
    members : tuple of str
        Nights averaged into this night's canonical; empty where no night can serve.
    overtaken : bool
        The canonical is one that a stuck rejection shows to be out of date.
    """

    night: str
    verdict: Verdict
    standard: tuple[str, ...]
    members: tuple[str, ...]
    overtaken: bool = False


@dataclass(frozen=True)
class Proposal:
    """Rejected nights in a row that agree with each other: the instrument changed at the first of them.

    Attributes
    ----------
    first : str
    nights : tuple of str
    over : bool
        Nights after them are accepted again: the instrument was another one for a while.
    """

    first: str
    nights: tuple[str, ...]
    over: bool = False


@dataclass(frozen=True)
class Survey:
    """All nights of one band in one hardware period, settled."""

    nights: tuple[Settled, ...]
    proposals: tuple[Proposal, ...]

    @cached_property
    def accepted(self) -> tuple[str, ...]:
        """The accepted nights in order."""
        return tuple(s.night for s in self.nights if s.verdict.status == "accepted")

    @cached_property
    def usable(self) -> tuple[str, ...]:
        """The accepted nights in order, or the provisional ones while nothing is settled."""
        return self.accepted or tuple(s.night for s in self.nights if s.verdict.status == "provisional")

    @cached_property
    def by_night(self) -> dict[str, Settled]:
        """The settled nights by their dates, in order."""
        return {s.night: s for s in self.nights}

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All nights in order."""
        return tuple(s.night for s in self.nights)


Compare = Callable[[str, tuple[str, ...]], Verdict]

# So many ways in which rejected nights may agree are followed at a time, the shortest and oldest given up first.
_RUNS_FOLLOWED = 8


def settle(candidates: Sequence[Candidate], compare: Compare, settings: CanonicalSettings) -> Survey:
    """Give every night of a hardware period its verdict and its canonical.

    Parameters
    ----------
    candidates : sequence of Candidate
        Nights in any order, each at most once.
    compare : callable
        ``compare(night, standard_nights)`` → the verdict of the comparison checks alone.
    settings : CanonicalSettings

    Returns
    -------
    Survey

    Notes
    -----
    Cold start: nights are `provisional` until at least `cold_start_nights` sound ones are there and more than half
    of them agree with each other. Then all of them are judged, backwards, against the mean of those that agree
    (without themselves). From there on each night is judged against the mean of the last `window` accepted ones.
    """
    ordered = sorted(candidates, key=lambda c: c.night)
    seeds, n_cold = _cold_start(ordered, compare, settings)
    if not seeds:
        return Survey(_provisional(ordered, compare, settings.window), ())
    accepted: list[str] = []
    settled: list[Settled] = []
    for position, candidate in enumerate(ordered):
        cold = position < n_cold
        others = tuple(n for n in seeds if n != candidate.night)
        # Should none of them pass, they remain the standard: no night is accepted without a comparison.
        standard = others if cold or not accepted else tuple(accepted[-settings.window :])
        verdict = _verdict(candidate, standard, compare)
        if verdict.status == "accepted":
            accepted.append(candidate.night)
        settled.append(Settled(candidate.night, verdict, standard, tuple(accepted[-settings.window :])))
    # Nights before the first accepted one take the canonical of the nights that settled the cold start.
    first = tuple(n for n in seeds if n in set(accepted))[: settings.window]
    settled = [s if s.members else Settled(s.night, s.verdict, s.standard, first) for s in settled]
    proposals = _stuck(settled, {c.night for c in ordered if c.sound}, compare, settings.stuck_nights)
    overtaken = {n for p in proposals for n in p.nights}
    return Survey(
        tuple(Settled(s.night, s.verdict, s.standard, s.members, True) if s.night in overtaken else s for s in settled),
        proposals,
    )


def _verdict(candidate: Candidate, standard: tuple[str, ...], compare: Compare) -> Verdict:
    own = judge(candidate.checks)
    compared = compare(candidate.night, standard) if standard and candidate.checks else None
    checks = candidate.checks + (compared.checks if compared else ())
    if candidate.ruling is not None:
        return Verdict(candidate.ruling, "" if candidate.ruling == "accepted" else "rejected by decision", checks)
    if own.status != "accepted" or compared is None:
        return Verdict(own.status, own.cause, checks)
    return Verdict(compared.status, compared.cause, checks)


def _cold_start(
    ordered: Sequence[Candidate], compare: Compare, settings: CanonicalSettings
) -> tuple[tuple[str, ...], int]:
    """Return the nights that agree and how many nights it took to settle them; ((), 0) while unsettled."""
    pool: list[str] = []
    friends: dict[str, set[str]] = {}
    for position, candidate in enumerate(ordered):
        if not candidate.sound:
            continue
        night = candidate.night
        friends[night] = {night}
        for other in pool:
            if compare(night, (other,)).status == "accepted":
                friends[night].add(other)
                friends[other].add(night)
        pool.append(night)
        if len(pool) < settings.cold_start_nights:
            continue
        centre = max(pool, key=lambda n: (len(friends[n]), n))
        group = friends[centre]
        agreeing = tuple(n for n in pool if n in group and 2 * len(friends[n] & group) > len(group))
        if 2 * len(agreeing) > len(pool):
            return agreeing, position + 1
    return (), 0


def _provisional(ordered: Sequence[Candidate], compare: Compare, window: int) -> tuple[Settled, ...]:
    settled: list[Settled] = []
    sound: list[str] = []
    for candidate in ordered:
        standard = tuple(sound[-window:])
        verdict = _verdict(candidate, standard, compare)
        if candidate.sound:
            sound.append(candidate.night)
            if candidate.ruling is None:
                verdict = Verdict("provisional", verdict.cause, verdict.checks)
        settled.append(Settled(candidate.night, verdict, standard, tuple(sound[-window:])))
    # A night before any sound one is calibrated with the first that comes, and says how far away it is.
    return tuple(s if s.members else Settled(s.night, s.verdict, s.standard, tuple(sound[:1])) for s in settled)


def _stuck(settled: Sequence[Settled], sound: set[str], compare: Compare, least: int) -> tuple[Proposal, ...]:
    proposals: list[Proposal] = []
    runs: list[list[str]] = []

    def close(*, over: bool) -> None:
        found: list[list[str]] = []
        # Of two that lie within each other the longer one counts: the instrument did not change there and back.
        for run in sorted((r for r in runs if len(r) >= least), key=len, reverse=True):
            if all(run[-1] < other[0] or other[-1] < run[0] for other in found):
                found.append(run)
        proposals.extend(Proposal(run[0], tuple(run), over) for run in sorted(found))
        runs.clear()

    for s in settled:
        if s.verdict.status == "accepted":
            close(over=True)
        elif s.night in sound and s.standard:
            # Each newcomer must agree with the first of a run: a chain of small steps is a drift, not a swap. An odd
            # night (a cloud) between them does not end a run, and a new one may begin there.
            run = next((r for r in runs if compare(s.night, (r[0],)).status == "accepted"), None)
            if run is not None:
                run.append(s.night)
                continue
            runs.append([s.night])
            if len(runs) > _RUNS_FOLLOWED:
                runs.remove(min(runs[:-1], key=len))
    close(over=False)
    return tuple(proposals)


def reference_members(survey: Survey, settings: CanonicalSettings) -> tuple[str, ...]:
    """Return the nights of the long-term reference: the first N accepted ones, or all."""
    accepted = survey.accepted
    return accepted if settings.reference_nights == "all" else accepted[: settings.reference_nights]


def nearest_accepted(survey: Survey, night: str) -> str | None:
    """Return the night whose product stands in for a night of the same period.

    The night itself if accepted (or provisional while nothing is settled), else the latest accepted one before it,
    else the first after it; None if there is none.
    """
    usable = survey.usable
    position = bisect_right(usable, night)
    return usable[max(position - 1, 0)] if usable else None


def age_nights(used: str, night: str) -> int:
    """Return how many nights older the used product is; negative if it is younger."""
    return (date.fromisoformat(night) - date.fromisoformat(used)).days
