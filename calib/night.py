"""The way of one night: jobs that turn the raw files of one sequence into products.

A job depends on nothing but its own fields and the files it names, so it can run anywhere that sees the same
folders. It writes products; what it found out goes back to the coordinator, who alone writes to the database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.archive.fits_stream import Card, Column, Table
from calib.archive.products import (
    Image,
    Input,
    ProductFile,
    ProductStream,
    checks_table,
    dark_path,
    frames_path,
    image_cards,
    inputs_table,
    primary_cards,
    read_product,
    responsivity_path,
    sky_offsets_path,
    write_product,
)
from calib.checks import check_table, evaluate
from calib.dark import Dark, make_dark, mask_sentinels
from calib.errors import RawFileError
from calib.flags import flag
from calib.frame_store import FrameStore
from calib.profile import CubeLayout, Profile
from calib.raw import Identity, RawFrames, Sequence, read_frames
from calib.responsivity import Responsivity, make_responsivity
from calib.scan import CalibratedBlock, Master, ScanCalibration, calibrate_scan
from calib.sky import SkyOffset

__all__ = ["DarkJob", "FileOutcome", "FlatJob", "JobResult", "MasterFile", "ScanJob", "combine_key"]

# Raise a number when the algorithm behind it changes what comes out: its products are then made anew.
ALGORITHM = {"dark": 2, "responsivity": 2, "canonical": 2, "scan": 2, "reference": 3, "compare": 3, "chart": 2}


def combine_key(kind: str, *parts: str) -> str:
    """Return the SHA-256 that identifies a product by everything it depends on."""
    return hashlib.sha256("\n".join((kind, str(ALGORITHM[kind]), *parts)).encode()).hexdigest()


@dataclass(frozen=True)
class FileOutcome:
    """What became of one raw file."""

    path: str
    status: str
    reason: str = ""
    content_hash: str | None = None
    notes: str = ""


@dataclass(frozen=True)
class JobResult:
    """What a job gives back: fates of files, products written with their inputs, rows for the tables."""

    outcomes: tuple[FileOutcome, ...]
    products: tuple[tuple[ProductFile, dict[str, Any], tuple[Input, ...]], ...] = ()
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """The frames of a sequence, put together from its files."""

    raw: dict[str, NDArray[np.generic]]
    time_mjd: NDArray[np.float64]
    ra_deg: NDArray[np.float64]
    dec_deg: NDArray[np.float64]
    inputs: tuple[Input, ...]
    outcomes: tuple[FileOutcome, ...]
    temperature_k: float | None
    stores: tuple[FrameStore, ...] = ()

    @property
    def on_disk(self) -> bool:
        """Whether there are so many frames that they do not stay in memory; sentinels in them are NaN then."""
        return any(s.on_disk for s in self.stores)

    def release(self, first: int, end: int) -> None:
        """Let frames that are not needed for now leave memory."""
        for store in self.stores:
            store.release(first, end)

    @property
    def hashes(self) -> tuple[str, ...]:
        """Content hashes of the files used, in the order of time."""
        return tuple(i.hash for i in self.inputs)


def load_sequence(
    sequence: Sequence, profile: Profile, scratch: Path | None = None
) -> Loaded | tuple[FileOutcome, ...]:
    """Read and verify all files of a sequence.

    A file that cannot be read is refused and the rest goes on; one that holds the frames of another is a
    duplicate. Only the outcomes are returned if no file is left.

    Parameters
    ----------
    sequence : Sequence
    profile : Profile
    scratch : Path, optional
        Folder in which frames may lie that are too many for the memory.
    """
    single = not isinstance(profile.layout, CubeLayout)
    outcomes: list[FileOutcome] = []
    used: list[_Used] = []
    stores: dict[str, FrameStore] = {}
    # The frames of the first file are copied only when a second one comes: most sequences are one file.
    alone: dict[str, NDArray[Any]] = {}
    room = sum(i.n_frames for i in sequence.files)

    def keep(raw: dict[str, NDArray[Any]]) -> None:
        for name, frames in raw.items():
            if name not in stores:
                stores[name] = FrameStore(room, frames.shape[1:], frames.dtype, scratch)
            store = stores[name]
            store.add(mask_sentinels(frames, profile.detector.sentinels) if store.on_disk else frames)

    for identity in sequence.files:
        try:
            frames = read_frames(identity.path, profile)
        except RawFileError as error:
            outcomes.append(FileOutcome(str(identity.path), "refused", error.reason))
            continue
        there = alone or {name: store.frames for name, store in stores.items()}
        known = _known_frames(used, there, frames, profile)
        notes = "; ".join(frames.notes)
        twin = next((u for u in used if u.hash == frames.content_hash), None)
        if twin is None and (known >= 0).all() and _begin_together(used[known[0]].identity, identity):
            twin = used[known[0]]
        if twin is not None:
            reason = f"same frames as {twin.identity.path}"
            outcomes.append(FileOutcome(str(identity.path), "duplicate", reason, frames.content_hash, notes))
        elif used and sequence.obs_type == "scan" and not single:
            reason = f"scan {sequence.scan} of this night and band is already there: {used[0].identity.path}"
            outcomes.append(FileOutcome(str(identity.path), "refused", reason, frames.content_hash, notes))
        else:
            if (known >= 0).any():
                n = int((known >= 0).sum())
                others = ", ".join(dict.fromkeys(str(used[k].identity.path) for k in known if k >= 0))
                notes = "; ".join((*frames.notes, f"{n} of {len(known)} frames are those of {others} and left out"))
                frames = frames.only(known < 0)
            outcomes.append(FileOutcome(str(identity.path), "used", "", frames.content_hash, notes))
            first = used[-1].first + len(used[-1].time_mjd) if used else 0
            used.append(_Used(identity, frames.content_hash, first, frames.time_mjd, frames.ra_deg, frames.dec_deg))
            if len(used) == 1:
                alone = frames.raw
            else:
                if alone:
                    keep(alone)
                    alone = {}
                keep(frames.raw)
    if not used:
        return tuple(outcomes)
    temperatures = [u.identity.temperature_k for u in used if u.identity.temperature_k is not None]
    return Loaded(
        raw=dict(alone) or {name: store.frames for name, store in stores.items()},
        time_mjd=np.concatenate([u.time_mjd for u in used]),
        ra_deg=np.concatenate([u.ra_deg for u in used]),
        dec_deg=np.concatenate([u.dec_deg for u in used]),
        inputs=tuple(Input("raw", Path(u.identity.path).name, u.hash) for u in used),
        outcomes=tuple(outcomes),
        temperature_k=float(np.mean(temperatures)) if temperatures else None,
        stores=tuple(stores.values()),
    )


# Times are told to the millisecond at best.
SAME_TIME_S = 5e-4


@dataclass(frozen=True)
class _Used:
    """A file whose frames are used, from which on they lie in the sequence, and what is kept of it beside them."""

    identity: Identity
    hash: str
    first: int
    time_mjd: NDArray[np.float64]
    ra_deg: NDArray[np.float64]
    dec_deg: NDArray[np.float64]


def _begin_together(one: Identity, other: Identity) -> bool:
    if one.start_mjd is None or other.start_mjd is None:
        return False
    return abs(one.start_mjd - other.start_mjd) * 86400 <= SAME_TIME_S


def _known_frames(
    used: list[_Used], there: Mapping[str, NDArray[Any]], frames: RawFrames, profile: Profile
) -> NDArray[np.int_]:
    """Return for each frame the number of the used file that holds it, with the same time and data; −1 for none."""
    found = np.full(len(frames.time_mjd), -1)
    if not used or there.keys() != frames.raw.keys():
        return found
    times = np.concatenate([u.time_mjd for u in used])
    numbers = np.repeat(np.arange(len(used)), [len(u.time_mjd) for u in used])
    for j, time_mjd in enumerate(frames.time_mjd):
        for k in np.flatnonzero(np.abs(times - time_mjd) * 86400 <= SAME_TIME_S):
            if all(_equal(a[k], frames.raw[name][j], profile) for name, a in there.items()):
                found[j] = numbers[k]
                break
    return found


def _equal(kept: NDArray[Any], new: NDArray[Any], profile: Profile) -> bool:
    if kept.dtype.kind != "f":
        return np.array_equal(kept, new)
    # What is kept may have become floats for another file's sake, its sentinels NaN.
    return np.array_equal(kept, mask_sentinels(new, profile.detector.sentinels).astype(kept.dtype), equal_nan=True)


@dataclass(frozen=True)
class MasterFile:
    """A dark or canonical in the archive: where it lies, its key, the night it is of, and its verdict.

    Attributes
    ----------
    night : str
        ISO date, or ``supplied``.
    """

    path: str
    key: str
    night: str
    status: str


@dataclass(frozen=True)
class DarkJob:
    """Make the darks of one night and band, all reads."""

    root: Path
    sequence: Sequence
    profile: Profile
    existing: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def key(profile: Profile, band: str, read: str, hashes: tuple[str, ...]) -> str:
        """Return the key of a dark made from files with these content hashes."""
        sections = ("detector", "reads", "dark.clip_sigma", "pixels", "layout")
        return combine_key("dark", profile.fingerprint(*sections), band, read, *hashes)

    def run(self) -> JobResult:
        """Do the work."""
        loaded = load_sequence(self.sequence, self.profile)
        if not isinstance(loaded, Loaded):
            return JobResult(loaded)
        night, band = self.sequence.night, self.sequence.band
        products, rows = [], []
        for read in self.profile.reads:
            key = self.key(self.profile, band, read, loaded.hashes)
            if self.existing.get(read) == key:
                continue
            dark = make_dark(loaded.raw, loaded.time_mjd, band=band, read=read, profile=self.profile)
            file = _write_dark(self.root, night, dark, loaded.inputs, key, self.profile)
            meta = {"kind": "dark", "night": night, "band": band, "read": read, "scan": None, "key": key}
            products.append((file, meta, loaded.inputs))
            rows.append(_dark_row(night, dark, key, loaded.temperature_k, self.profile))
        return JobResult(loaded.outcomes, tuple(products), {"darks": rows})


def _dark_row(night: str, dark: Dark, key: str, temperature_k: float | None, profile: Profile) -> dict[str, Any]:
    levels = dark.frame_level_dn.mean(axis=1)
    checks = {n: _number(dark.values.get(n)) for n in check_table("dark") if n != "frames"}
    return {
        "night": night,
        "band": dark.band,
        "read": dark.read,
        "n_frames": dark.n_frames,
        "level_dn": _number(dark.level_dn),
        "noise_dn": _number(dark.noise_dn),
        "status": "pending",
        "cause": "",
        **checks,
        "level_error_dn": _number(np.nanstd(levels) / np.sqrt(max(np.isfinite(levels).sum(), 1))),
        "n_hot": int(((dark.mask & flag("HOT")) > 0).sum()),
        "n_noisy": int(((dark.mask & flag("NOISY")) > 0).sum()),
        "temperature_k": temperature_k,
        "cells_dn": _numbers(dark.cells_dn),
        "key": key,
        "verdict_key": None,
        "profile_hash": profile.hash,
    }


def _number(value: Any) -> float | None:
    """Return a float for the database, None for NaN and what is missing."""
    return None if value is None or not np.isfinite(value) else float(value)


def _numbers(cells: NDArray[np.floating]) -> list[list[float | None]]:
    return [[_number(v) for v in row] for row in cells]


def _write_dark(
    root: Path, night: str, dark: Dark, inputs: tuple[Input, ...], key: str, profile: Profile
) -> ProductFile:
    checks = evaluate("dark", dark.values, profile.limits_for("dark", dark.band, dark.read))
    primary = primary_cards(
        "dark",
        band=dark.band,
        key=key,
        profile_name=profile.name,
        profile_hash=profile.hash,
        night=night,
        status="pending",
        extra={
            "READ": (dark.read, "read"),
            "NFRAMES": (dark.n_frames, "frames combined"),
            "LEVEL": (dark.level_dn, "[DN] mean of medians, even and odd columns"),
            "NOISE": (dark.noise_dn, "[DN] median noise of a frame"),
            "CLIPSIG": (profile.dark.clip_sigma, "clipping limit, sigma"),
        },
    )
    n_quadrants = dark.frame_level_dn.shape[1]
    levels = Table(
        "FRAMES",
        (Column("TIME", "D", dark.time_mjd, "d"), Column("LEVEL", f"{n_quadrants}D", dark.frame_level_dn, "DN")),
    )
    images = {
        "SCI": Image(dark.value, "DN", "clipped mean of the frames"),
        "ERR": Image(dark.error, "DN", "1 sigma of it"),
        "DQ": Image(dark.mask, "", "flags"),
        "NOISE": Image(dark.noise, "DN", "scatter over the frames"),
        "COUNT": Image(dark.count, "", "frames kept"),
    }
    tables = (levels, checks_table(checks), inputs_table(inputs))
    return write_product(root, dark_path(night, dark.band, dark.read), primary, images, tables)


@dataclass(frozen=True)
class FlatJob:
    """Make the responsivity of one night and band."""

    root: Path
    sequence: Sequence
    profile: Profile
    dark: MasterFile | None
    existing: str | None = None

    @staticmethod
    def key(profile: Profile, band: str, dark_key: str, hashes: tuple[str, ...]) -> str:
        """Return the key of a responsivity made from these files and this dark."""
        sections = ("detector", "reads", "responsivity", "pixels", "layout")
        return combine_key("responsivity", profile.fingerprint(*sections), band, dark_key, *hashes)

    def run(self) -> JobResult:
        """Do the work; without any dark the files are only verified, and the row says that nothing was made."""
        loaded = load_sequence(self.sequence, self.profile)
        if not isinstance(loaded, Loaded):
            return JobResult(loaded)
        night, band = self.sequence.night, self.sequence.band
        if self.dark is None:
            return JobResult(
                loaded.outcomes, (), {"flats": [_no_flat(night, band, len(loaded.time_mjd), self.profile)]}
            )
        key = self.key(self.profile, band, self.dark.key, loaded.hashes)
        if key == self.existing:
            return JobResult(loaded.outcomes)
        dark = read_product(self.root, self.dark.path, ("SCI", "NOISE", "DQ"))
        result = make_responsivity(
            loaded.raw,
            loaded.time_mjd,
            dark=np.asarray(dark["SCI"], np.float32),
            dark_noise=np.asarray(dark["NOISE"], np.float32),
            dark_mask=dark["DQ"],
            band=band,
            profile=self.profile,
        )
        inputs = (*loaded.inputs, Input("dark", self.dark.path, self.dark.key))
        file = _write_responsivity(self.root, night, result, inputs, key, self.profile)
        meta = {"kind": "responsivity", "night": night, "band": band, "read": None, "scan": None, "key": key}
        checks = {n: _number(result.values.get(n)) for n in check_table("flat") if n != "frames"}
        light = result.level_dn[np.isfinite(result.level_dn)]
        row = {
            "night": night,
            "band": band,
            "status": "pending",
            "cause": "",
            "n_frames": result.n_frames,
            **checks,
            "level_max_dn": _number(light.max()) if light.size else None,
            "level_min_dn": _number(light.min()) if light.size else None,
            "n_dead": int(((result.mask & flag("DEAD")) > 0).sum()),
            "dark_night": self.dark.night,
            "dark_key": self.dark.key,
            "gain": [[_number(g.value), _number(g.error)] for g in result.gain],
            "key": key,
            "verdict_key": None,
            "canonical_key": None,
            "profile_hash": self.profile.hash,
        }
        return JobResult(loaded.outcomes, ((file, meta, inputs),), {"flats": [row]})


def _no_flat(night: str, band: str, n_frames: int, profile: Profile) -> dict[str, Any]:
    """Return the row of a twilight for which there is no dark."""
    unknown = (*(n for n in check_table("flat") if n != "frames"), "level_max_dn", "level_min_dn", "n_dead")
    return {
        "night": night,
        "band": band,
        "status": "pending",
        "cause": "",
        "n_frames": n_frames,
        **dict.fromkeys(unknown),
        "dark_night": None,
        "dark_age_nights": None,
        "dark_key": None,
        "gain": None,
        "key": "",
        "verdict_key": None,
        "profile_hash": profile.hash,
    }


def _write_responsivity(
    root: Path, night: str, result: Responsivity, inputs: tuple[Input, ...], key: str, profile: Profile
) -> ProductFile:
    checks = evaluate("flat", result.values, profile.limits_for("flat", result.band, profile.responsivity.read))
    primary = primary_cards(
        "responsivity",
        band=result.band,
        key=key,
        profile_name=profile.name,
        profile_hash=profile.hash,
        night=night,
        status="pending",
        extra={
            "READ": (profile.responsivity.read, "read"),
            "NFRAMES": (result.n_frames, "frames in the fit"),
            **{
                f"GAIN{k + 1}": (g.value, f"[e-/DN] quadrant Q{k + 1}, +/- {g.error:.2g}")
                for k, g in enumerate(result.gain)
            },
            "CLIPSIG": (profile.responsivity.clip_sigma, "clipping limit, sigma"),
        },
    )
    levels = Table("FRAMES", (Column("TIME", "D", result.time_mjd, "d"), Column("LEVEL", "D", result.level_dn, "DN")))
    images = {
        "SCI": Image(result.value, "", "relative response, median 1"),
        "ERR": Image(result.error, "", "1 sigma of it"),
        "DQ": Image(result.mask, "", "flags"),
        "INTERCEPT": Image(result.intercept, "DN", "signal at no illumination"),
        "INTERR": Image(result.intercept_error, "DN", "1 sigma of it"),
        "CHI2": Image(result.chi2, "", "reduced chi-squared of the fit"),
        "CURV": Image(result.curvature, "DN-1", "quadratic term over the slope"),
        "COUNT": Image(result.count, "", "samples kept"),
    }
    tables = (levels, checks_table(checks), inputs_table(inputs))
    return write_product(root, responsivity_path(night, result.band), primary, images, tables)


@dataclass(frozen=True)
class ScanJob:
    """Calibrate one scan of one band, all reads."""

    root: Path
    sequence: Sequence
    profile: Profile
    darks: Mapping[str, MasterFile]
    canonical: MasterFile | None
    rulings: Mapping[str, Mapping[int, Any]] = field(default_factory=dict)
    frames: bool = True
    existing: Mapping[str, tuple[str, bool]] = field(default_factory=dict)

    @staticmethod
    def key(
        profile: Profile,
        band: str,
        read: str,
        hashes: tuple[str, ...],
        dark_key: str,
        canonical_key: str,
        rulings: Mapping[int, Any],
    ) -> str:
        """Return the key of a calibrated scan, the limits of its sky offsets left aside (`verdict_key`)."""
        sections = ("detector", "reads", "sky", "layout")
        ruled = [f"{block}:{ruling}" for block, ruling in sorted(rulings.items())]
        return combine_key(
            "scan",
            profile.fingerprint(*sections),
            band,
            read,
            *hashes,
            dark_key,
            canonical_key,
            *ruled,
        )

    @staticmethod
    def verdict_key(profile: Profile, band: str, read: str) -> str:
        """Return the key of the limits by which a scan's sky offsets are judged."""
        limits = profile.limits_for("sky_offset", band, read)
        return combine_key("compare", *(f"{n}={limit.value!r}" for n, limit in limits.items()))

    def run(self) -> JobResult:
        """Do the work; without dark or canonical the files are only verified."""
        with ThreadPoolExecutor(1) as beside:
            # Masters are read while the frames are.
            wanted = (self.canonical, *self.darks.values()) if self.canonical else ()
            masters = {m.path: beside.submit(_master, self.root, m.path) for m in wanted}
            loaded = load_sequence(self.sequence, self.profile, self.root)
        if not isinstance(loaded, Loaded):
            return JobResult(loaded)
        products: list[tuple[ProductFile, dict[str, Any], tuple[Input, ...]]] = []
        scans: list[dict[str, Any]] = []
        offsets: list[dict[str, Any]] = []
        if self.canonical is None:
            return JobResult(loaded.outcomes)
        due: list[tuple[str, MasterFile, dict[int, Any], str]] = []
        for read in self.profile.reads:
            dark = self.darks.get(read)
            if dark is None:
                continue
            ruled = dict(self.rulings.get(read, {}))
            key = self.key(self.profile, self.sequence.band, read, loaded.hashes, dark.key, self.canonical.key, ruled)
            known, has_frames = self.existing.get(read, ("", False))
            if known != key or (self.frames and not has_frames):
                due.append((read, dark, ruled, key))
        # One read is written and hashed while the other is computed.
        with ThreadPoolExecutor(max(len(due), 1)) as pool:
            for made in pool.map(lambda d: self._read(d[0], loaded, d[1], masters, d[2], d[3]), due):
                products += made[0]
                scans.append(made[1])
                offsets += made[2]
        return JobResult(loaded.outcomes, tuple(products), {"scans": scans, "sky_offsets": offsets})

    def _read(
        self,
        read: str,
        loaded: Loaded,
        dark: MasterFile,
        masters: Mapping[str, Future[Master]],
        ruled: Mapping[int, Any],
        key: str,
    ) -> tuple[list[tuple[ProductFile, dict[str, Any], tuple[Input, ...]]], dict[str, Any], list[dict[str, Any]]]:
        assert self.canonical is not None
        s, profile = self.sequence, self.profile
        assert s.scan is not None
        inputs = (
            *loaded.inputs,
            Input("dark", dark.path, dark.key),
            Input("canonical", self.canonical.path, self.canonical.key),
        )
        extra = {
            "READ": (read, "read"),
            "SCANNO": (s.scan, "scan"),
            "ALPHA": (profile.sky.alpha, "fraction trimmed at each end"),
            "DARKNGT": (dark.night, "night of the dark"),
            "CANONNGT": (self.canonical.night, "night of the canonical"),
        }
        if profile.sky.leave_one_out:
            extra["LEAVEONE"] = (True, "no frame is in the offset subtracted from it")
        if profile.sky.trend_degree:
            extra["TRENDDEG"] = (profile.sky.trend_degree, "trend of sky within a block, at most")

        def primary(kind: str, status: str = "", cause: str = "") -> list[Card]:
            return primary_cards(
                kind,
                band=s.band,
                key=key,
                profile_name=profile.name,
                profile_hash=profile.hash,
                night=s.night,
                status=status or None,
                cause=cause,
                extra=extra,
            )

        shape = (len(loaded.time_mjd), *profile.detector.shape)
        meta = {"night": s.night, "band": s.band, "read": read, "scan": s.scan, "key": key}
        made: list[tuple[ProductFile, dict[str, Any], tuple[Input, ...]]] = []
        arguments: dict[str, Any] = {
            "band": s.band,
            "read": read,
            "dark": masters[dark.path].result(),
            "canonical": masters[self.canonical.path].result(),
            "profile": _without_sentinels(profile) if loaded.on_disk else profile,
            "rulings": ruled,
            "release": loaded.release,
        }
        if self.frames:
            path = frames_path(s.night, s.band, s.scan, read)
            plan: dict[str, Any] = {
                "SCI": (
                    image_cards(Image(np.empty(0, "f4"), "DN", "calibrated frames")),
                    np.dtype(np.float32),
                    shape,
                ),
                "ERR": (image_cards(Image(np.empty(0, "f4"), "DN", "1 sigma")), np.dtype(np.float32), shape),
                "DQ": (image_cards(Image(np.empty(0, "u1"), "", "flags")), np.dtype(np.uint8), shape),
            }
            # What a night's scans leave is tens of gigabytes and can be made again: not forced to disk one by one.
            with ProductStream(self.root, path, primary("frames"), plan, durable=False) as stream:

                def sink(block: CalibratedBlock) -> None:
                    values, errors = block.sums or (None, None)
                    at = block.first, block.start
                    stream.write("SCI", block.value, values, at=at)
                    stream.write("ERR", block.error, errors, at=at)
                    stream.write("DQ", block.mask, at=at)

                result = calibrate_scan(loaded.raw, **arguments, sink=sink, big_endian=True)
                file = stream.finish([_frames_table(loaded, result), inputs_table(inputs)])
            made.append((file, {**meta, "kind": "frames"}, inputs))
        else:
            result = calibrate_scan(loaded.raw, **arguments, errors=False)
        all_checks = [c for b in result.blocks for c in b.verdict.checks]
        numbers = [k for k, b in enumerate(result.blocks) for _ in b.verdict.checks]
        tables = [
            _blocks_table(result),
            _frames_table(loaded, result),
            checks_table(all_checks, numbers),
            inputs_table(inputs),
        ]
        path = sky_offsets_path(s.night, s.band, s.scan, read)
        cards = primary("sky-offsets", result.status, result.cause)
        made.append((_write_offsets(self.root, path, cards, result, tables), {**meta, "kind": "sky-offsets"}, inputs))
        return made, self._scan_row(result, dark, key, loaded), self._offset_rows(result, ruled)

    def _scan_row(self, result: ScanCalibration, dark: MasterFile, key: str, loaded: Loaded) -> dict[str, Any]:
        assert self.canonical is not None
        s = self.sequence
        rejected = [b for b in result.blocks if b.verdict.status != "accepted"]
        swapped = [b for k, b in enumerate(result.blocks) if b.used_block != k]
        shift = result.shift_dn
        return {
            "night": s.night,
            "band": s.band,
            "scan": s.scan,
            "read": result.read,
            "status": result.status,
            "cause": result.cause,
            "n_frames": len(loaded.time_mjd),
            "n_blocks": len(result.blocks),
            "n_rejected": len(rejected),
            "n_substituted_frames": sum(b.offset.n_frames for b in swapped),
            "level_dn": _number(np.nanmedian(result.level_dn)),
            "level_shift_dn": _number(np.nanmax(np.abs(shift))) if np.isfinite(shift).any() else None,
            "start_iso": s.files[0].start_iso,
            "dark_night": dark.night,
            "dark_status": dark.status,
            "canonical_night": self.canonical.night,
            "canonical_status": self.canonical.status,
            "has_frames": self.frames,
            "stale": "",
            "key": key,
            "verdict_key": self.verdict_key(self.profile, s.band, result.read),
            "profile_hash": self.profile.hash,
        }

    def _offset_rows(self, result: ScanCalibration, ruled: Mapping[int, Any]) -> list[dict[str, Any]]:
        s = self.sequence
        return [
            {
                "night": s.night,
                "band": s.band,
                "scan": s.scan,
                "read": result.read,
                "block": k,
                "first_frame": b.offset.first,
                "last_frame": b.offset.last,
                "n_frames": b.offset.n_frames,
                "status": b.verdict.status,
                "cause": b.verdict.cause,
                "used_block": b.used_block,
                "level_dn": _number(b.offset.level_dn),
                **{n: _number(b.offset.values.get(n)) for n in check_table("sky_offset") if n != "frames"},
                "cells_dn": _numbers(b.offset.cells_dn),
                "cell_error_dn": _number(b.offset.cell_error_dn),
                "override": k in ruled,
            }
            for k, b in enumerate(result.blocks)
        ]


def _without_sentinels(profile: Profile) -> Profile:
    """Return a profile for frames whose sentinels are NaN already, so that nobody looks through all of them again."""
    return profile.model_copy(update={"detector": profile.detector.model_copy(update={"sentinels": ()})})


def _master(root: Path, path: str) -> Master:
    images = read_product(root, path, ("SCI", "ERR", "DQ"))
    # A supplied master comes without an error: it then adds nothing to the error of a frame.
    error = np.nan_to_num(np.asarray(images["ERR"], np.float32))
    return Master(np.asarray(images["SCI"], np.float32), error, images["DQ"])


def _write_offsets(
    root: Path, path: str, cards: list[Card], result: ScanCalibration, tables: list[Table]
) -> ProductFile:
    """Write the sky offsets of a scan plane by plane: of large arrays there is no room for all of them twice."""
    offsets = [b.offset for b in result.blocks]
    floats, mask = np.empty(0, np.float32), np.empty(0, np.int16)
    planes: dict[str, tuple[Image, Callable[[SkyOffset], NDArray[Any]]]] = {
        "SCI": (Image(floats, "DN", "sky offset of each block"), lambda o: o.value),
        "ERR": (Image(floats, "DN", "1 sigma of it"), lambda o: o.error),
        "DQ": (Image(mask, "", "flags"), lambda o: o.mask),
        "HALF1": (Image(floats, "DN", "offset of the first half"), lambda o: o.halves[0]),
        "HALF2": (Image(floats, "DN", "offset of the second half"), lambda o: o.halves[1]),
    }
    shape = (len(offsets), *offsets[0].value.shape)
    plan = {name: (image_cards(image), image.data.dtype, shape) for name, (image, _) in planes.items()}
    trend = _trends(result)
    if trend is not None:
        cells = Image(trend, "DN", "subtracted from each frame, too, between centres")
        plan["TREND"] = (image_cards(cells), trend.dtype, trend.shape)
    with ProductStream(root, path, cards, plan, durable=False) as stream:
        for name, (_, plane) in planes.items():
            for offset in offsets:
                stream.write(name, plane(offset))
        if trend is not None:
            stream.write("TREND", trend)
        return stream.finish(tables)


def _trends(result: ScanCalibration) -> NDArray[np.float32] | None:
    """Return what each frame was freed of besides its sky offset, by cell; None where no trend was followed."""
    found = [b.offset.trend for b in result.blocks]
    shape = next((t.own.shape[1:] for t in found if t is not None), None)
    if shape is None:
        return None
    cells = np.zeros((len(result.level_dn), *shape), np.float32)
    for k, (block, trend) in enumerate(zip(result.blocks, found, strict=True)):
        if trend is not None and block.used_block == k:
            cells[block.offset.first : block.offset.last + 1] = trend.own
    return cells


def _blocks_table(result: ScanCalibration) -> Table:
    blocks = result.blocks
    return Table(
        "BLOCKS",
        (
            Column("BLOCK", "J", np.arange(len(blocks))),
            Column("FIRST", "J", [b.offset.first for b in blocks]),
            Column("LAST", "J", [b.offset.last for b in blocks]),
            Column("LEVEL", "D", [b.offset.level_dn for b in blocks], "DN"),
            Column("STATUS", "12A", [b.verdict.status for b in blocks]),
            Column("USED", "J", [b.used_block for b in blocks]),
        ),
    )


def _frames_table(loaded: Loaded, result: ScanCalibration) -> Table:
    n = len(loaded.time_mjd)
    own, used = np.empty(n, np.int32), np.empty(n, np.int32)
    for k, b in enumerate(result.blocks):
        own[b.offset.first : b.offset.last + 1] = k
        used[b.offset.first : b.offset.last + 1] = b.used_block
    trend = _trends(result)
    rms = () if trend is None else (Column("TREND", "D", np.sqrt((trend**2).mean(axis=(1, 2))), "DN"),)
    return Table(
        "FRAMES",
        (
            Column("FRAME", "J", np.arange(n)),
            Column("TIME", "D", loaded.time_mjd, "d"),
            Column("RA", "D", loaded.ra_deg, "deg"),
            Column("DEC", "D", loaded.dec_deg, "deg"),
            Column("BLOCK", "J", own),
            Column("USED", "J", used),
            Column("SUBST", "L", own != used),
            Column("LEVEL", "D", result.level_dn, "DN"),
            Column("SHIFT", "D", result.shift_dn, "DN"),
            *rms,
        ),
    )
