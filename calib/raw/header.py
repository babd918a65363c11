"""What a raw file is, from its header alone: type, band, night, scan, by the rules of the profile."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from astropy.io import fits

from calib.profile import CubeLayout, Profile, SequenceType
from calib.raw.files import Refusal, open_stream, quoted, refusing
from calib.raw.hdus import Hdu, card, sole_card, walk
from calib.raw.layout import RawFile, enough, frame_count, pick
from calib.raw.times import mjd, night_of, start_time

__all__ = ["OBS_TYPES", "Identity", "identify", "identity", "sky_position"]

OBS_TYPES: tuple[str, ...] = get_args(SequenceType)

_LARGEST_SCAN = 2**31 - 1


@dataclass(frozen=True)
class Identity:
    """What one raw file is, from its header alone.

    Attributes
    ----------
    path : Path
        The file.
    size, mtime_ns : int
        Its size in bytes and time of modification in ns, by which a change shows.
    obs_type : str
        One of `OBS_TYPES`.
    band : str or None
        A band of the profile; None for a bad-pixel map that serves all bands.
    night : str or None
        ISO date on which the night begins, local noon to local noon; None only for supplied products
        without a time.
    start_mjd : float or None
        Start in MJD (UTC), likewise.
    start_iso : str or None
        The same as ISO text to the millisecond.
    scan : int or None
        The header's scan number, None if the profile names no card for it or this is no scan.
    n_frames : int
        Number of frames.
    group : tuple of str
        Values of the cards that the profile groups by; empty for cubes.
    temperature_k : float or None
        Temperature of the detector in K, if the header says.
    """

    path: Path
    size: int
    mtime_ns: int
    obs_type: str
    band: str | None
    night: str | None
    start_mjd: float | None
    start_iso: str | None
    scan: int | None
    n_frames: int
    group: tuple[str, ...]
    temperature_k: float | None


def identify(path: Path | str, profile: Profile) -> Identity:
    """Say what a raw file is, reading headers only.

    An uncompressed file is also seen to be whole; of a gzip file no more is unpacked than needed, so that
    its end is verified only by `calib.raw.read_frames`.

    Parameters
    ----------
    path : Path
        FITS, also gzip or tile-compressed, whatever its name.
    profile : Profile
        Whose rules apply.

    Returns
    -------
    Identity
        With every field decided; nothing is guessed.

    Raises
    ------
    calib.errors.RawFileError
        With the reason, if the file is no FITS file, is cut, has frames of another shape, or its header
        matches no type or band or several.
    """
    path = Path(path)
    with refusing(path):
        stream, size = open_stream(path)
        with stream:
            hdus: list[Hdu] = []
            for hdu in walk(stream, size):
                hdus.append(hdu)
                if size is None and enough(hdus, profile):
                    break
            found = pick(hdus, profile, partial=size is None)
        one = identity(path, found, profile)
    return one


def identity(path: Path, found: RawFile, profile: Profile) -> Identity:
    """Apply the header rules of a profile to the headers of a file.

    Raises
    ------
    Refusal
        With the reason, naming card and value.
    """
    rules, layout = profile.header, profile.layout
    headers: tuple[fits.Header, ...] = (found.primary.header,)
    own: dict[str, Any] = {"@FILE": path.name}
    image = next(iter(found.images.values()))
    grouped: tuple[str, ...] = ()
    if not isinstance(layout, CubeLayout):
        # A card of the image's own header stands before one that it inherits from the primary header.
        headers = (image.header, found.primary.header) if image.index else headers
        # Of a compressed image the card of the table it is packed in would say 8.
        own["BITPIX"] = image.bitpix
        grouped = tuple(_text(sole_card(headers, name)) for name in layout.group_by)
    obs_type = _type(headers, own, profile)
    supplied = obs_type.startswith("supplied-")
    band = _band(headers, profile, optional=obs_type == "supplied-bad-pixels")
    start = start_time(lambda name: sole_card(headers, name), rules.time, optional=supplied)
    stat = path.stat()
    return Identity(
        path=path,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        obs_type=obs_type,
        band=band,
        night=None if start is None else night_of(start, profile.site.utc_offset_hours),
        start_mjd=None if start is None else mjd(start),
        start_iso=None if start is None else start.isoformat(timespec="milliseconds"),
        scan=_scan(headers, rules.scan_number) if obs_type == "scan" and rules.scan_number else None,
        n_frames=frame_count(image),
        group=grouped,
        temperature_k=_number(headers, rules.temperature),
    )


def sky_position(found: RawFile, cards: tuple[str, str]) -> tuple[float, float]:
    """Return right ascension and declination of a single frame in degrees, NaN where the header does not say.

    Numbers are degrees; sexagesimal text is hours for the right ascension, as everywhere.
    """
    image = next(iter(found.images.values()))
    headers = (image.header, found.primary.header)
    ra, dec = (_angle(card(headers, name, readable_only=True)) for name in cards)
    return (ra[0] * 15 if ra[1] else ra[0]), dec[0]


def _angle(value: Any) -> tuple[float, bool]:
    """Return an angle and whether it was sexagesimal."""
    try:
        if isinstance(value, str) and ":" in value:
            parts = [float(part) for part in value.split(":")]
            size = sum(abs(part) / 60**k for k, part in enumerate(parts))
            return (-size if value.startswith("-") else size), True
        number = float("nan" if value is None else value)
    except (TypeError, ValueError):
        return math.nan, False
    return (number if math.isfinite(number) else math.nan), False


def _text(value: Any) -> str:
    """Return a card's value as the text that patterns are compared with."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _matches(value: Any, patterns: Iterable[str]) -> bool:
    """Tell whether a value matches one pattern and none of those that begin with ``!``."""
    text = _text(value).upper()
    wanted = [p.strip().upper() for p in patterns]

    def fits_in(pattern: str) -> bool:
        return text == pattern or str(value).upper() == pattern or fnmatchcase(text, pattern)

    if any(fits_in(p[1:].strip()) for p in wanted if p.startswith("!")):
        return False
    positive = [p for p in wanted if not p.startswith("!")]
    return any(map(fits_in, positive)) if positive else True


def _number_word(n: int) -> str:
    return {2: "two", 3: "three", 4: "four"}.get(n, str(n))


def _type(headers: tuple[fits.Header, ...], own: dict[str, Any], profile: Profile) -> str:
    rules = profile.header.type
    names = list(dict.fromkeys(name for ways in rules.values() for way in ways for name in way))
    values = {name: own[name.upper()] if name.upper() in own else sole_card(headers, name) for name in names}

    def fits_rule(way: dict[str, tuple[str, ...]]) -> bool:
        return all(values[n] is not None and _matches(values[n], patterns) for n, patterns in way.items())

    found = [obs_type for obs_type, ways in rules.items() if any(map(fits_rule, ways))]
    if len(found) == 1:
        return found[0]
    if found:
        raise Refusal(f"matches {_number_word(len(found))} types: {', '.join(found)}")
    names = [name for name in names if name != "@FILE"] or names
    if len(names) == 1:
        name, value = names[0], values[names[0]]
        raise Refusal(f"no card {name}" if value is None else f"unknown {name} {quoted(value)}")
    told = [f"{n} {'missing' if values[n] is None else quoted(values[n])}" for n in names]
    raise Refusal(f"matches no type: {', '.join(told)}")


def _band(headers: tuple[fits.Header, ...], profile: Profile, *, optional: bool) -> str | None:
    rule = profile.header.band
    for name in rule.cards:
        value = sole_card(headers, name)
        if value is None:
            continue
        found = [band for band, patterns in rule.values.items() if _matches(value, patterns)]
        if len(found) == 1:
            return found[0]
        if found:
            how_many = _number_word(len(found))
            raise Refusal(f"{name} {quoted(value)} matches {how_many} bands: {', '.join(found)}")
        known = ", ".join(dict.fromkeys(v for band in profile.bands for v in rule.values[band]))
        raise Refusal(f"unknown {name} value {quoted(value)} (known: {known})")
    if optional:
        return None
    raise Refusal(f"no card {' or '.join(rule.cards)}")


def _scan(headers: tuple[fits.Header, ...], names: tuple[str, ...]) -> int:
    for name in names:
        value = sole_card(headers, name)
        if value is None:
            continue
        try:
            number = int(value) if isinstance(value, str) else value
            if isinstance(number, bool) or number != int(number):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise Refusal(f"{name} {quoted(value)} is not a whole number") from None
        if not 0 <= number <= _LARGEST_SCAN:
            raise Refusal(f"{name} {quoted(value)} is not between 0 and {_LARGEST_SCAN}")
        return int(number)
    raise Refusal(f"{' or '.join(names)} missing")


def _number(headers: tuple[fits.Header, ...], names: tuple[str, ...]) -> float | None:
    for name in names:
        value = card(headers, name, readable_only=True)
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number) and not isinstance(value, bool):
            return number
    return None
