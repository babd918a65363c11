"""The limits of a profile by key: which there are, how to move them, and what tells two profiles apart.

A key names one number of the profile as its file does, such as ``limits.flat.gradient.max``,
``limits.sky_offset.halves.R1`` or ``drift.dark_dn.R2-R1.watch``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from calib.checks import CHECKS, Check
from calib.errors import ProfileError
from calib.profile import Profile, validate_profile

__all__ = ["Change", "Key", "changed_profile", "differences", "find_key", "keys", "words"]

_MISSING = object()


@dataclass(frozen=True)
class Key:
    """One number of a profile that may be moved.

    Attributes
    ----------
    name : str
        Its key.
    path : tuple of str
        The same in parts: names of reads may hold dots.
    unit : str
        Empty for counts and ratios.
    check : Check or None
        The check it limits; None for drift, jumps and significance.
    of : str
        Band or read whose own limit it is; empty for the one that serves all others.
    what : str
        In words.
    """

    name: str
    path: tuple[str, ...]
    unit: str
    check: Check | None
    of: str
    what: str

    @property
    def optional(self) -> bool:
        """Whether it may be left out, so that the limit of all others serves."""
        return self.check is not None and bool(self.of)

    def value(self, profile: Profile) -> float | None:
        """Return what a profile says; None where it says nothing of its own."""
        found: Any = profile
        for part in self.path:
            found = found.get(part) if isinstance(found, Mapping) else getattr(found, part)
            if found is None:
                return None
        return float(found)


@dataclass(frozen=True)
class Change:
    """One number that differs between two profiles; None where there is none.

    Attributes
    ----------
    key : str
    old, new : float, str or None
    """

    key: str
    old: Any
    new: Any

    def words(self) -> str:
        """Return the change in words."""
        return f"{self.key} {_plain(self.old)} → {_plain(self.new)}"


def keys(profile: Profile) -> dict[str, Key]:
    """Return all keys of a profile that may be moved, by name, in the order of the profile's file."""
    return {k.name: k for k in _keys(profile)}


def _keys(profile: Profile) -> Iterator[Key]:
    for c in CHECKS:
        for of in ("", *profile.bands, *profile.reads):
            place = ("limits", c.subject, c.name, of or c.bound)
            yield Key(".".join(place), place, c.unit, c, of, f"{c.subject.replace('_', ' ')} {c.name}")
    for read in profile.reads:
        path = ("dark", "level_jump_dn", read)
        yield Key(".".join(path), path, "DN", None, read, f"dark {read} level jump")
    yield Key("drift.significance", ("drift", "significance"), "σ", None, "", "significance of a change")
    tables: list[tuple[tuple[str, ...], str, str]] = [
        (("drift", "dark_dn", read), "DN", f"dark {read}") for read in profile.reads
    ]
    tables += [
        (("drift", "noise_percent"), "%", "noise"),
        (("drift", "responsivity_percent"), "%", "responsivity"),
        (("drift", "gain_percent"), "%", "gain"),
        (("drift", "sky_percent"), "%", "sky offsets"),
        (("drift", "new_pixels"), "px", "new pixels"),
    ]
    for table, unit, what in tables:
        for edge in ("watch", "drift"):
            where = (*table, edge)
            yield Key(".".join(where), where, unit, None, "", f"{what}, {edge}")


def find_key(profile: Profile, name: str) -> Key:
    """Return a key by its name.

    Raises
    ------
    ProfileError
        If there is no such key; the nearest names are told.
    """
    known = keys(profile)
    if name in known:
        return known[name]
    from difflib import get_close_matches

    near = get_close_matches(name, known, 3, 0.5)
    raise ProfileError(
        profile.name, [f"{name}: no such limit" + (f"; did you mean {', '.join(near)}?" if near else "")]
    )


def changed_profile(profile: Profile, changes: Mapping[str, float | None]) -> Profile:
    """Return a profile with some limits moved, validated as if it came from a file.

    Parameters
    ----------
    profile : Profile
    changes : mapping
        Key → new value in the unit of the key; None takes a band's or read's own limit away.

    Raises
    ------
    ProfileError
        With every fault: a key that is not there, a value that is no finite number, what the profile's own rules say.
    """
    data = copy.deepcopy(profile.model_dump(mode="json"))
    faults: list[str] = []
    for name, value in changes.items():
        try:
            key = find_key(profile, name)
        except ProfileError as error:
            faults += error.faults
            continue
        if value is None and not key.optional:
            faults.append(f"{name}: a number is needed")
        elif value is not None and not math.isfinite(value):
            faults.append(f"{name}: not a finite number (given: {value})")
        else:
            _put(data, key.path, value)
    if faults:
        raise ProfileError(profile.name, faults)
    return validate_profile(data, profile.name)


def _put(data: dict[str, Any], path: tuple[str, ...], value: float | None) -> None:
    *above, last = path
    for part in above:
        data = data[part]
    if value is None:
        data.pop(last, None)
    else:
        data[last] = value


def differences(old: Profile, new: Profile) -> tuple[Change, ...]:
    """Return everything in which two profiles differ, in the order of the profile's file."""
    return tuple(_differences(old.model_dump(mode="json"), new.model_dump(mode="json"), ""))


def _differences(old: Any, new: Any, key: str) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            below = f"{key}.{name}" if key else name
            yield from _differences(old.get(name, _MISSING), new.get(name, _MISSING), below)
    elif old is _MISSING and isinstance(new, dict):
        yield from _differences({}, new, key)
    elif new is _MISSING and isinstance(old, dict):
        yield from _differences(old, {}, key)
    elif old is _MISSING or new is _MISSING or old != new:
        yield Change(key, None if old is _MISSING else old, None if new is _MISSING else new)


def words(changes: tuple[Change, ...], most: int = 6) -> str:
    """Return differences in words, the first of them if they are many."""
    told = "; ".join(c.words() for c in changes[:most])
    return told + (f"; and {len(changes) - most} more" if len(changes) > most else "")


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
