"""What a profile makes of raw files: how each would be read, what they say, what is missing.

For whoever writes a profile for a camera: the answers stand beside the cards they came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits

from calib.errors import RawFileError
from calib.profile import CubeLayout, Profile
from calib.raw import Identity, Sequence, group_sequences, identify
from calib.raw.files import Refusal, open_stream, refusing
from calib.raw.hdus import Hdu, card, walk
from calib.raw.layout import enough

__all__ = ["CheckedFile", "ProfileCheck", "check_files", "looked_at"]

# Where another observatory may keep the same thing: parts of names of cards.
_ALIKE = {
    "band": ("FILT", "BAND", "FWNAME"),
    "type": ("TYPE", "OBJECT", "SHUT", "SHR", "IMAGETYP", "CATG"),
    "time": ("DATE", "MJD", "UT", "TIME"),
    "scan": ("SCAN", "SEQ", "GROUP", "EXPNUM"),
}


@dataclass(frozen=True)
class CheckedFile:
    """How one file would be read.

    Attributes
    ----------
    identity : Identity or None
        None if it would be refused.
    reason, hint : str
        Why, and what in the profile would change it; empty if it is read.
    cards : dict
        What the cards say that the profile looks at; None for one that is absent.
    """

    path: Path
    identity: Identity | None
    reason: str
    hint: str
    cards: dict[str, Any]


@dataclass(frozen=True)
class ProfileCheck:
    """What a profile makes of files."""

    profile: Profile
    files: tuple[CheckedFile, ...]
    sequences: tuple[Sequence, ...]

    @property
    def refused(self) -> tuple[CheckedFile, ...]:
        """The files that would be refused."""
        return tuple(f for f in self.files if f.identity is None)

    @property
    def supplied(self) -> tuple[Identity, ...]:
        """The masters that a team already has."""
        return tuple(f.identity for f in self.files if f.identity and f.identity.obs_type.startswith("supplied-"))

    def values(self) -> dict[str, Counter[str]]:
        """Return card → what the files say → how many do."""
        found: dict[str, Counter[str]] = {name: Counter() for name in looked_at(self.profile)}
        for file in self.files:
            for name, value in file.cards.items():
                found[name]["missing" if value is None else repr(value)] += 1
        return found

    def notes(self) -> tuple[str, ...]:
        """Return what a run would lack."""
        p, found = self.profile, []
        for s in self.sequences:
            subject = {"dark": "dark", "twilight": "flat"}.get(s.obs_type)
            n = sum(i.n_frames for i in s.files)
            least = p.limits_for(subject, s.band)["frames"].value if subject else p.sky.block_frames
            if n < least:
                key = f"limits.{subject}.frames" if subject else "sky.block_frames"
                found.append(
                    f"{s.night} {s.band} {s.obs_type}: {n} frame{'s' if n != 1 else ''}, fewer than {key} = {least:g}"
                )
        for band in dict.fromkeys(s.band for s in self.sequences if s.obs_type == "scan"):
            for own, master, what in (
                ("dark", "supplied-dark", "dark"),
                ("twilight", "supplied-flat", "flat"),
            ):
                has_own = any(s.band == band and s.obs_type == own for s in self.sequences)
                given = [i.path.name for i in self.supplied if i.band == band and i.obs_type == master]
                if has_own:
                    continue
                if given:
                    found.append(f"{band}: no own {what}; {given[-1]} is supplied and serves until there is one")
                else:
                    found.append(f"{band}: neither an own nor a supplied {what}, so scans wait for one")
        return tuple(found)


def looked_at(profile: Profile) -> tuple[str, ...]:
    """Return the cards that a profile looks at, in the order in which they are asked."""
    rules = profile.header
    names = [n for ways in rules.type.values() for way in ways for n in way]
    names += rules.band.cards
    names += [n for rule in rules.time for n in ((rule.mjd,) if rule.mjd else rule.cards)]
    names += rules.scan_number
    if not isinstance(profile.layout, CubeLayout):
        names += profile.layout.group_by
    return tuple(dict.fromkeys(names))


def check_files(profile: Profile, paths: Iterable[Path]) -> ProfileCheck:
    """Say of files how they would be read.

    Parameters
    ----------
    profile : Profile
    paths : iterable of Path
        As `calib.raw.find_raw` lists them.
    """
    files = tuple(_check(Path(path), profile) for path in paths)
    known = [f.identity for f in files if f.identity is not None]
    return ProfileCheck(profile, files, tuple(group_sequences(known, profile)))


def _check(path: Path, profile: Profile) -> CheckedFile:
    headers, bitpix = _headers(path, profile)
    cards = {n: _shown(n, path, headers, bitpix) for n in looked_at(profile)} if headers else {}
    try:
        return CheckedFile(path, identify(path, profile), "", "", cards)
    except RawFileError as error:
        return CheckedFile(path, None, error.reason, _hint(error.reason, headers, profile), cards)


def _headers(path: Path, profile: Profile) -> tuple[tuple[fits.Header, ...], int | None]:
    """Return the headers that hold a file's cards as far as they can be read, and the type of the image."""
    hdus: list[Hdu] = []
    try:
        with refusing(path):
            stream, size = open_stream(path)
            with stream:
                for hdu in walk(stream, size):
                    hdus.append(hdu)
                    if size is None and enough(hdus, profile):
                        break
    except RawFileError:
        pass
    if not hdus:
        return (), None
    image = next((h for h in hdus if h.axes), hdus[0])
    if isinstance(profile.layout, CubeLayout) or image is hdus[0]:
        return (hdus[0].header,), image.bitpix
    return (image.header, hdus[0].header), image.bitpix


def _shown(name: str, path: Path, headers: tuple[fits.Header, ...], bitpix: int | None) -> Any:
    if name == "@FILE":
        return path.name
    if name == "BITPIX":
        return bitpix
    try:
        return card(headers, name)
    except Refusal:
        return "(cannot be read)"


def _hint(reason: str, headers: tuple[fits.Header, ...], profile: Profile) -> str:
    """Return what to change in a profile so that a file like this is read."""
    rules = profile.header
    band_cards = " or ".join(rules.band.cards)
    if reason.startswith("frames are "):
        return "detector.shape is [rows, columns] of one frame"
    if "the profile says one frame per file" in reason or reason.startswith("no extension"):
        return (
            'layout.kind is "cube" (one file per sequence) or "single" (one frame per file); layout says where it lies'
        )
    if reason.startswith("no start time") or "is not a date" in reason or "has no time of day" in reason:
        return f"header.time names the cards{_candidates('time', headers)}"
    if reason == f"no card {band_cards}":
        return f"header.band.cards names the card of the filter{_candidates('band', headers)}"
    if any(reason.startswith(f"unknown {name} value") for name in rules.band.cards):
        return "if it is a band of yours, add the value to header.band.values; a new band goes into bands too"
    if any(name in reason for name in rules.band.cards) and " bands: " in reason:
        return "values of header.band.values overlap"
    if " types: " in reason:
        return 'rules of header.type overlap; a value that begins with "!" excludes'
    if rules.scan_number and reason.startswith(" or ".join(rules.scan_number)):
        return f"header.scan_number names the card; leave it empty to number by gaps{_candidates('scan', headers)}"
    if reason.startswith(("matches no type", "unknown ", "no card ")):
        return f"add what it says to one of header.type{_candidates('type', headers)}"
    return ""


def _candidates(kind: str, headers: tuple[fits.Header, ...]) -> str:
    """Return the cards of a file that sound like what is looked for, with their values."""
    found: dict[str, str] = {}
    for header in headers:
        for name in dict.fromkeys(header):
            if any(part in name for part in _ALIKE[kind]) and not name.startswith(("NAXIS", "XTENSION", "TTYPE")):
                value = _shown(name, Path(), (header,), None)
                if isinstance(value, str | int | float) and value != "":
                    found.setdefault(name, repr(value)[:40])
    if not found:
        return ""
    return "; this file has " + ", ".join(f"{n} = {v}" for n, v in list(found.items())[:8])
