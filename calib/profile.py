"""Instrument profiles: everything the software must know about one camera, from one TOML file.

A profile is validated as a whole when it is loaded; every fault is reported at once, with its key. The
profile ``2mass`` is the default and documents each key.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from calib.checks import CHECKS, Check, Limit, check_table
from calib.errors import ProfileError

__all__ = ["Profile", "builtin_profiles", "load_profile", "parse_profile", "validate_profile"]

SequenceType = Literal["dark", "twilight", "scan", "supplied-dark", "supplied-flat", "supplied-bad-pixels"]

Positive = Field(gt=0)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,19}")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Site(_Model):
    """Where the nights are counted."""

    name: str = ""
    utc_offset_hours: float = Field(ge=-14, le=14)


class Detector(_Model):
    """The arrays, alike in every band."""

    shape: tuple[int, int]
    quadrants: tuple[int, int] = (2, 2)
    cells: tuple[int, int] = (8, 8)
    saturation_dn: float = Positive
    linearity_dn: float = Positive
    sentinels: tuple[float, ...] = ()
    gain_e_per_dn: dict[str, float]


class Read(_Model):
    """How one read is formed from the raw frames: ``plus`` − ``minus``."""

    plus: str
    minus: str | None = None
    exposure_s: float = Positive
    read_noise_e: dict[str, float]


class CubeLayout(_Model):
    """One file per sequence: an image cube per raw read and a table of frames."""

    kind: Literal["cube"]
    extensions: tuple[str, ...]
    frames_table: str = "FRAMES"
    time_column: str = "TIME"
    ra_column: str = "RA"
    dec_column: str = "DEC"


class SingleLayout(_Model):
    """One 2-D frame per file, grouped into sequences by header cards and gaps in time."""

    kind: Literal["single"]
    extension: str | int = 0
    raw: str = "CDS"
    group_by: tuple[str, ...] = ()
    max_gap_minutes: float = Field(default=30.0, gt=0)
    ra_card: str = "RA"
    dec_card: str = "DEC"


class BandRule(_Model):
    """Which card holds the filter (first present alias wins) and which values mean which band."""

    cards: tuple[str, ...]
    values: dict[str, tuple[str, ...]]


class TimeRule(_Model):
    """One way to read the start time: ISO text from one or two cards (date, time), or an MJD."""

    cards: tuple[str, ...] = ()
    mjd: str | None = None


class HeaderRules(_Model):
    """How a header is read.

    Values match without regard to case and outer blanks; ``*`` is a wildcard, and a value that begins with
    ``!`` excludes: values that all exclude match whatever else the card holds. The card ``@FILE`` is the name
    of the file.
    """

    band: BandRule
    type: dict[SequenceType, tuple[dict[str, tuple[str, ...]], ...]]
    time: tuple[TimeRule, ...]
    scan_number: tuple[str, ...] = ()
    temperature: tuple[str, ...] = ()


class DarkSettings(_Model):
    """How darks are combined."""

    clip_sigma: float = Field(default=5.0, gt=0)
    level_jump_dn: dict[str, float]


class ResponsivitySettings(_Model):
    """How twilight frames become a responsivity."""

    read: str
    clip_sigma: float = Field(default=4.0, gt=0)
    iterations: int = Field(default=4, ge=1, le=20)
    pixel_stability_percent: float = Field(default=0.2, ge=0)


class CanonicalSettings(_Model):
    """The running canonical, its cold start, and the long-term reference."""

    window: int = Field(default=5, ge=1)
    cold_start_nights: int = Field(default=3, ge=2)
    reference_nights: Annotated[int, Field(ge=1)] | Literal["all"] = 20
    stuck_nights: int = Field(default=3, ge=2)
    adopt_after_nights: int = Field(default=0, ge=0)


class SkySettings(_Model):
    """Blocks and sky offsets."""

    alpha: float = Field(default=0.2, ge=0, lt=0.5)
    block_frames: int = Field(default=42, ge=2)
    leave_one_out: bool = False
    trend_degree: int = Field(default=0, ge=0, le=5)
    trend_cells: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (16, 16)

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A profile that does not ask for it keeps its hash and its products their keys.
        content: dict[str, Any] = handler(self)
        if not self.leave_one_out:
            content.pop("leave_one_out", None)
        if self.trend_degree == 0:
            content.pop("trend_degree", None)
            content.pop("trend_cells", None)
        return content


class PixelSettings(_Model):
    """When a pixel is flagged."""

    dead_below: float = Field(default=0.5, ge=0)
    bright_above: float = Field(default=2.0, gt=1)
    hot_above_dn: dict[str, float]
    jump_above_dn: dict[str, float]
    noisy_above: float = Field(default=2.5, gt=1)


class DriftLimits(_Model):
    """Sizes of a deviation that matter: ``watch`` and ``drift``."""

    watch: float = Positive
    drift: float = Positive


class QuietSettings(_Model):
    """How much healthy nights vary: what control charts expect before they have seen any.

    Levels and smooth structure, rms from night to night; the shape of a dark is what is left without its level.
    """

    responsivity_percent: float = Field(default=0.15, gt=0)
    dark_dn: dict[str, float]
    dark_shape_dn: dict[str, float]
    noise_percent: float = Field(default=0.5, gt=0)
    gain_percent: float = Field(default=0.5, gt=0)
    sky_percent: float = Field(default=0.1, gt=0)


class DriftSettings(_Model):
    """When a deviation is drift; each state needs significance and size."""

    significance: float = Field(default=5.0, gt=0)
    dark_dn: dict[str, DriftLimits]
    noise_percent: DriftLimits
    responsivity_percent: DriftLimits
    gain_percent: DriftLimits
    sky_percent: DriftLimits = DriftLimits(watch=1.0, drift=2.0)
    new_pixels: DriftLimits = DriftLimits(watch=50, drift=200)
    quiet: QuietSettings


LimitTable = dict[str, dict[str, float]]


class Profile(_Model):
    """A validated instrument profile.

    Attributes
    ----------
    name, title : str
        Short name and what the camera is.
    bands : tuple of str
        In order of wavelength.
    limits : dict
        Subject → check → ``{"min" or "max": limit, band or read: other limit}``.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")
    title: str = ""
    bands: tuple[str, ...]
    site: Site
    detector: Detector
    reads: dict[str, Read]
    layout: CubeLayout | SingleLayout = Field(discriminator="kind")
    header: HeaderRules
    dark: DarkSettings
    responsivity: ResponsivitySettings
    canonical: CanonicalSettings = CanonicalSettings()
    sky: SkySettings = SkySettings()
    pixels: PixelSettings
    drift: DriftSettings
    limits: dict[str, LimitTable]

    @property
    def hash(self) -> str:
        """SHA-256 of the validated content: two files that say the same have the same hash."""
        return self.fingerprint(*type(self).model_fields)

    def fingerprint(self, *sections: str) -> str:
        """Return the SHA-256 (hex) of some sections: what a product's key depends on.

        A part of a section is named with a dot, such as ``dark.clip_sigma``.
        """
        whole = {s for s in sections if "." not in s}
        data = self.model_dump(mode="json", include=whole)
        for section in sorted(set(sections) - whole):
            above, part = section.split(".", 1)
            data[section] = self.model_dump(mode="json", include={above: {part}})[above][part]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

    def limits_for(self, subject: str, band: str, read: str | None = None) -> dict[str, Limit]:
        """Return check name → limit for a subject; a limit named by the read beats one named by the band."""
        found = {}
        for name, check in check_table(subject).items():
            table = self.limits[subject][name]
            value = table.get(band, table[check.bound])
            found[name] = Limit(table.get(read, value) if read else value)
        return found

    def read_noise_dn(self, band: str, read: str) -> float:
        """Return the read noise of a read in DN."""
        return self.reads[read].read_noise_e[band] / self.detector.gain_e_per_dn[band]


def builtin_profiles() -> tuple[str, ...]:
    """Return the names of the shipped profiles."""
    folder = resources.files("calib.profiles")
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml")))


def load_profile(source: str | Path) -> Profile:
    """Load a shipped profile by name, or one from a TOML file.

    Raises
    ------
    ProfileError
        With every fault of the profile, or if there is no such profile.
    """
    if str(source) in builtin_profiles():
        text = (resources.files("calib.profiles") / f"{source}.toml").read_text("utf-8")
        return parse_profile(text, str(source))
    path = Path(source)
    if not path.is_file():
        names = ", ".join(builtin_profiles())
        raise ProfileError(str(source), [f"no such file, nor a shipped profile ({names})"])
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(str(source), [f"cannot be read: {error}"]) from error
    return parse_profile(text, str(source))


def parse_profile(text: str, source: str) -> Profile:
    """Validate the text of a profile.

    Parameters
    ----------
    text : str
        TOML.
    source : str
        Where it came from, for the message.

    Raises
    ------
    ProfileError
        With every fault of the profile.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of too many digits, or nesting without end
        raise ProfileError(source, [f"not TOML: {error}"]) from error
    return validate_profile(data, source)


def validate_profile(data: dict[str, Any], source: str) -> Profile:
    """Validate the content of a profile, as TOML or the archive gives it.

    Raises
    ------
    ProfileError
        With every fault of the profile.
    """
    faults = _cross_faults(data)
    profile = None
    try:
        profile = Profile.model_validate(data)
    except ValidationError as error:
        for e in error.errors():
            loc = [str(part) for part in e["loc"] if part not in ("cube", "single")]
            given = "" if e["type"] == "missing" else f" (given: {e['input']!r})"
            faults.append(f"{'.'.join(loc) or 'profile'}: {e['msg'].lower()}{given[:120]}")
    if faults or profile is None:
        raise ProfileError(source, list(dict.fromkeys(faults)))
    return profile


def _table(data: Any, *keys: str) -> dict[str, Any]:
    """Return a nested table, or an empty one where the nesting is not as expected."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return dict(data) if isinstance(data, Mapping) else {}


def _cross_faults(data: dict[str, Any]) -> list[str]:
    """Return the faults that show only between keys; the input may be anything TOML can hold."""
    faults: list[str] = []
    given = data.get("bands")
    bands = [b for b in given if isinstance(b, str)] if isinstance(given, list) else []
    if "bands" in data and not bands:
        faults.append("bands: at least one band is needed")
    if len(set(bands)) != len(bands):
        faults.append("bands: a band is named twice")
    reads = _table(data, "reads")
    # Bands and reads name folders and files of the archive.
    for key, names in (("bands", bands), ("reads", reads)):
        bad = [name for name in names if not _NAME.fullmatch(name)]
        faults += [f"{key}: {name!r} is no name of at most 20 letters, digits and +-._" for name in bad]
        # In a table of limits such a name would be read as something else.
        taken = {"min", "max", *(reads if key == "bands" else ())}
        faults += [f"{key}: {name!r} already has another meaning" for name in names if name in taken]
    per_band = {"detector.gain_e_per_dn": _table(data, "detector", "gain_e_per_dn")}
    per_band["header.band.values"] = _table(data, "header", "band", "values")
    for name in reads:
        per_band[f"reads.{name}.read_noise_e"] = _table(data, "reads", name, "read_noise_e")
    for key, table in per_band.items():
        faults += [f"{key}.{b}: missing" for b in bands if b not in table]
        faults += [f"{key}.{b}: no such band" for b in table if b not in bands]
        for b, v in table.items():
            if isinstance(v, int | float) and not v > 0:
                faults.append(f"{key}.{b}: must be greater than 0 (given: {v})")
    per_read = (
        ("dark", "level_jump_dn"),
        ("pixels", "hot_above_dn"),
        ("pixels", "jump_above_dn"),
        ("drift", "dark_dn"),
        ("drift", "quiet", "dark_dn"),
        ("drift", "quiet", "dark_shape_dn"),
    )
    for keys in per_read:
        table, key = _table(data, *keys), ".".join(keys)
        faults += [f"{key}.{r}: missing" for r in reads if r not in table]
        faults += [f"{key}.{r}: no such read" for r in table if r not in reads]
    if not reads:
        faults.append("reads: at least one read is needed")
    faults += _layout_faults(data, reads)
    response = _table(data, "responsivity").get("read")
    if response is not None and response not in list(reads):
        faults.append(f"responsivity.read: no such read (given: {response!r})")
    faults += _detector_faults(_table(data, "detector"))
    faults += _limit_faults(_table(data, "limits"), {*bands, *reads})
    faults += _drift_faults(_table(data, "drift"))
    faults += _size_faults(_table(data, "drift", "quiet"), "drift.quiet")
    faults += _endless_faults(data, "")
    faults += _header_faults(_table(data, "header"))
    return faults


def _header_faults(header: dict[str, Any]) -> list[str]:
    faults: list[str] = []
    aliases: dict[str, str] = {}
    for band, values in _table(header, "band", "values").items():
        for value in values if isinstance(values, list) else []:
            other = aliases.setdefault(str(value).strip().upper(), band)
            if other != band:
                faults.append(f"header.band.values.{band}: {value!r} already means {other}")
        if values == []:
            faults.append(f"header.band.values.{band}: no value, so that no file could match")
    if _table(header, "band").get("cards") == []:
        faults.append("header.band.cards: at least one card is needed")
    for name, ways in _table(header, "type").items():
        key = f"header.type.{name}"
        if ways == []:
            faults.append(f"{key}: no alternative, so that no file could match")
        for k, way in enumerate(ways if isinstance(ways, list) else []):
            if way == {}:
                faults.append(f"{key}.{k}: no card, so that every file would match")
            empty = [card for card, values in _table(way).items() if values == []]
            faults += [f"{key}.{k}.{card}: no value, so that no file could match" for card in empty]
    rules = header.get("time")
    if rules == []:
        faults.append("header.time: at least one way to read the time is needed")
    for k, rule in enumerate(rules if isinstance(rules, list) else []):
        if not isinstance(rule, Mapping):
            continue
        cards = rule.get("cards")
        if bool(cards) == bool(rule.get("mjd")):
            faults.append(f"header.time.{k}: give either cards or mjd")
        elif isinstance(cards, list) and len(cards) > 2:
            faults.append(f"header.time.{k}.cards: one card (date and time) or two (date, time)")
    return faults


def _layout_faults(data: dict[str, Any], reads: dict[str, Any]) -> list[str]:
    layout = _table(data, "layout")
    cube = layout.get("kind") == "cube"
    raw = layout.get("extensions") if cube else [layout.get("raw", "CDS")]
    if not isinstance(raw, list):
        return []
    faults = []
    if not raw:
        faults.append("layout.extensions: at least one extension is needed")
    raw_names = [str(name).upper() for name in raw]
    if len(set(raw_names)) != len(raw_names):
        faults.append("layout.extensions: an extension is named twice")
    if cube and str(layout.get("frames_table", "FRAMES")).upper() in raw_names:
        faults.append("layout.frames_table: also named as an image extension")
    for name in reads:
        read = _table(reads, name)
        for part in ("plus", "minus"):
            if read.get(part) is not None and read[part] not in raw:
                faults.append(f"reads.{name}.{part}: the layout has no raw read {read[part]!r}")
    return faults


def _detector_faults(detector: dict[str, Any]) -> list[str]:
    faults = []
    shape = detector.get("shape")
    pairs = {k: detector.get(k) for k in ("shape", "quadrants", "cells")}
    for key, pair in pairs.items():
        if isinstance(pair, list) and all(isinstance(v, int) for v in pair):
            if len(pair) != 2 or min(pair, default=0) < 1:
                faults.append(f"detector.{key}: two positive whole numbers are needed (given: {pair})")
            elif not (isinstance(shape, list) and len(shape) == 2 and all(isinstance(v, int) for v in shape)):
                continue
            elif any(p > s for p, s in zip(pair, shape, strict=True)):
                faults.append(f"detector.{key}: larger than the array (given: {pair})")
    saturation, linearity = detector.get("saturation_dn"), detector.get("linearity_dn")
    if isinstance(saturation, int | float) and isinstance(linearity, int | float) and linearity > saturation:
        faults.append(f"detector.linearity_dn: above saturation_dn ({linearity} > {saturation})")
    return faults


def _drift_faults(drift: dict[str, Any]) -> list[str]:
    tables = {f"drift.{k}": drift[k] for k in drift if k not in ("dark_dn", "quiet")}
    tables |= {f"drift.dark_dn.{k}": v for k, v in _table(drift, "dark_dn").items()}
    faults = []
    for key, table in tables.items():
        watch, far = (_table(table).get(edge) for edge in ("watch", "drift"))
        if isinstance(watch, int | float) and isinstance(far, int | float) and watch > far:
            faults.append(f"{key}.watch: above drift ({_shown(watch)} > {_shown(far)})")
    return faults


def _size_faults(table: dict[str, Any], key: str) -> list[str]:
    # They are squared and divided by one another.
    faults = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            faults += _size_faults(dict(value), f"{key}.{name}")
        elif isinstance(value, int | float) and not 1e-9 < value < 1e9:
            faults.append(f"{key}.{name}: must lie between 1e-9 and 1e9 (given: {_shown(value)})")
    return faults


def _endless_faults(value: Any, key: str) -> list[str]:
    """Return the numbers that overflow once they are squared; an infinite limit or level asks for none."""
    if isinstance(value, Mapping):
        return [f for n, v in value.items() for f in _endless_faults(v, f"{key}.{n}" if key else str(n))]
    if isinstance(value, list):
        return [f for k, v in enumerate(value) for f in _endless_faults(v, f"{key}.{k}")]
    endless = isinstance(value, int | float) and abs(value) > 1e15
    if endless and (abs(value) < float("inf") or not key.startswith(("limits.", "detector."))):
        return [f"{key}: no number of a camera is as large as {_shown(value)}"]
    return []


def _shown(number: float) -> str:
    # A whole number may have more digits than a float can stand for.
    return f"{number:g}" if not 1e300 < abs(number) < float("inf") else f"{str(number)[:12]}…"


def _limit_faults(limits: dict[str, Any], qualifiers: set[str]) -> list[str]:
    faults = []
    subjects = {c.subject for c in CHECKS}
    there_are = ", ".join(sorted(subjects))
    faults += [f"limits.{s}: no such subject (there are {there_are})" for s in limits if s not in subjects]
    for subject in sorted(subjects):
        given, table = _table(limits, subject), check_table(subject)
        faults += [f"limits.{subject}.{n}: no such check" for n in given if n not in table]
        for name, check in table.items():
            if name not in given:
                faults.append(f"limits.{subject}.{name}: missing ({check.meaning})")
                continue
            keys = set(given[name]) if isinstance(given[name], Mapping) else set()
            if check.bound not in keys:
                faults.append(f"limits.{subject}.{name}.{check.bound}: missing")
            for key in sorted(keys - {check.bound} - qualifiers):
                faults.append(f"limits.{subject}.{name}.{key}: neither {check.bound} nor a band or read")
            for key in sorted(keys):
                value = given[name][key]
                if isinstance(value, float) and value != value:
                    faults.append(f"limits.{subject}.{name}.{key}: not a number")
                elif _below_all(check, value):
                    faults.append(
                        f"limits.{subject}.{name}.{key}: what it limits is never negative (given: {_shown(value)})"
                    )
    return faults


def _below_all(check: Check, value: Any) -> bool:
    """Return whether a limit is negative where no measured value can be; endless ones ask for no limit at all."""
    if check.signed or not isinstance(value, int | float) or value >= 0:
        return False
    return check.bound == "max" or value > -float("inf")
