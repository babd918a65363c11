"""Limits that are being moved: what was typed, what is wrong with it, and what would come of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calib.checks import check_table
from calib.judged import Judged
from calib.limits import Key, changed_profile, keys
from calib.profile import Profile
from calib.what_if import Flips, verdict_flips
from calib.what_if_alerts import AlertChange
from monitor.collect_limits import SUBJECTS, Past

__all__ = ["Edits", "Outlook", "Strip", "all_keys", "outlook", "shown", "strip"]

MOST_POINTS = 6000
"""Points of the figure; of more nights every second, third, … is left out."""


def shown(value: float | None) -> str:
    """Return a limit as it stands in its field."""
    return "" if value is None else f"{value:.12g}"


@dataclass
class Edits:
    """What somebody has typed, on top of one version of the profile.

    Attributes
    ----------
    seen : int
        That version.
    texts : dict
        Key → what stands in its field, where it differs from the version.
    """

    seen: int
    texts: dict[str, str] = field(default_factory=dict)

    def put(self, key: Key, text: str, profile: Profile) -> None:
        """Take what was typed into a field; what says the same as the version is no change."""
        text = text.strip()
        before = key.value(profile)
        try:
            same = _number(text) == before
        except ValueError:
            same = False
        if same:
            self.texts.pop(key.name, None)
        else:
            self.texts[key.name] = text[:40]

    def values(self) -> tuple[dict[str, float | None], list[str]]:
        """Return key → new value, and what is wrong with what was typed."""
        found: dict[str, float | None] = {}
        wrong = []
        for name, text in self.texts.items():
            try:
                found[name] = _number(text)
            except ValueError:
                wrong.append(f"{name}: “{text}” is no number")
        return found, wrong


def _number(text: str) -> float | None:
    """Return the number that a text says, None for an empty one; ValueError for anything else."""
    if not text:
        return None
    value = float(text.replace("−", "-"))
    if not math.isfinite(value):
        raise ValueError
    return value


@dataclass(frozen=True)
class Outlook:
    """What would come of the limits as they stand in the fields.

    Attributes
    ----------
    old, new : Profile
        Under which the verdicts were made, and what the fields say.
    flips : dict
        Subject → verdicts that flip.
    alerts : list of AlertChange
    """

    old: Profile
    new: Profile
    flips: dict[str, Flips]
    alerts: list[AlertChange]

    @property
    def n(self) -> int:
        """How many verdicts flip."""
        return sum(len(f) for f in self.flips.values())

    @cached_property
    def uncertain(self) -> int:
        """How many of them the next run may settle otherwise."""
        return sum(int(np.count_nonzero(~f.certain)) for f in self.flips.values())


def outlook(past: Past, values: Mapping[str, float | None], seen: Profile) -> Outlook:
    """Work out what would come of changed limits.

    Parameters
    ----------
    past : Past
    values : mapping
        Key → new value.
    seen : Profile
        The version that is changed.

    Raises
    ------
    ProfileError
        If the changed profile has faults.
    """
    new, old = changed_profile(seen, values), past.base
    flips = {s: verdict_flips(past.judged[s], old, new) for s in SUBJECTS}
    return Outlook(old, new, flips, past.alerts.changes(old, new))


@dataclass(frozen=True)
class Strip:
    """The history of the check behind one limit: the worst of each night.

    Attributes
    ----------
    title, unit : str
    nights : tuple of str
        Of each point.
    band : tuple of str
    value : ndarray, shape (n,)
    outcome : tuple of str
        ``accepted`` or ``rejected``: what this check alone says under the new limit.
    flips : ndarray of bool, shape (n,)
        It said otherwise under the old one.
    old, new : float or None
        The limit.
    upper : bool
        Whether it is the greatest value that passes.
    of : str
        Which bands and reads the limit serves.
    """

    title: str
    unit: str
    nights: tuple[str, ...]
    band: tuple[str, ...]
    value: NDArray[np.float64]
    outcome: tuple[str, ...]
    flips: NDArray[np.bool_]
    old: float | None
    new: float | None
    upper: bool
    of: str


def strip(past: Past, key: Key, old: Profile, new: Profile) -> Strip | None:
    """Return the history behind a limit of a check; None for a limit of anything else."""
    if key.check is None:
        return None
    judged, check = past.judged[key.check.subject], key.check
    upper = check.bound == "max"
    served = [k for k, group in enumerate(judged.groups) if _serves(new, key, *group)]
    limits = judged.limits(new)[check.name], judged.limits(old)[check.name]
    value = judged.values[check.name]
    rows = judged.worst(check.name, tuple(served))
    rows = rows[:: max(-(-len(rows) // MOST_POINTS), 1)]
    failed, failed_before = (judged.fails(check.name, limit)[rows] for limit in limits)
    groups = [judged.groups[g] for g in judged.group[rows]]
    return Strip(
        f"{SUBJECTS[check.subject]}: {check.name.replace('2pct', '2 %').replace('_', ' ')}",
        check.unit,
        tuple(judged.nights[n] for n in judged.night[rows]),
        tuple(band for band, _ in groups),
        value[rows],
        tuple("rejected" if f else "accepted" for f in failed),
        failed != failed_before,
        key.value(old),
        key.value(new),
        upper,
        _of(judged, served, new.bands),
    )


def _serves(profile: Profile, key: Key, band: str, read: str) -> bool:
    """Whether a key is the one from which the limit of a band and read comes."""
    assert key.check is not None
    table = profile.limits[key.check.subject][key.check.name]
    decides = read if read in table else band if band in table else key.check.bound
    return decides == (key.of or key.check.bound)


def _of(judged: Judged, served: list[int], in_order: tuple[str, ...]) -> str:
    if not served:
        return ""
    there = {judged.groups[k][0] for k in served}
    bands = [b for b in in_order if b in there]
    reads = dict.fromkeys(judged.groups[k][1] for k in served)
    return " ".join(bands) + ("" if judged.subject == "flat" else f" · {' '.join(reads)}")


def all_keys(profile: Profile, subject: str) -> dict[str, dict[str, Key]]:
    """Return check → (empty, band or read) → key of a subject."""
    table: dict[str, dict[str, Key]] = {name: {} for name in check_table(subject)}
    for key in keys(profile).values():
        if key.check is not None and key.check.subject == subject:
            table[key.check.name][key.of] = key
    return table
