"""One pixel through an archive: its twilight samples in the raw files, and its values in the products of all nights."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from calib.archive.products import canonical_path, dark_path, responsivity_path
from calib.errors import RawFileError
from calib.night import SAME_TIME_S
from calib.profile import Profile
from calib.raw import read_frames
from monitor.collect import Collector, Snapshot
from monitor.collect_night import dark_file

__all__ = ["HistoryPoint", "PixelHistory", "RawStore", "TwilightPixel", "pixel_values", "twilight_pixel"]

_BLOCK = 2880


@dataclass(frozen=True)
class TwilightPixel:
    """The raw twilight samples of one pixel and what their fit needs.

    Attributes
    ----------
    raw : dict of str to ndarray, shape (n, 1, 1)
        Raw read → samples, DN.
    level_dn : ndarray, shape (n,)
        Illumination L_k of each frame; NaN for frames that were left out.
    dark_dn, dark_noise_dn : float
        Of the dark that was used; NaN where unknown.
    dark_path : str
        Which that was.
    reason : str
        Why there is nothing; empty otherwise.
    note : str
        What must be said about the raw files.
    """

    raw: dict[str, NDArray[Any]]
    level_dn: NDArray[np.float64]
    dark_dn: float = float("nan")
    dark_noise_dn: float = float("nan")
    dark_path: str = ""
    reason: str = ""
    note: str = ""

    @classmethod
    def nothing(cls, reason: str) -> TwilightPixel:
        """Return no samples, and why."""
        return cls({}, np.empty(0), reason=reason)


class RawStore:
    """Keeps the raw twilight frames looked at last, for all sessions together.

    Parameters
    ----------
    limit_bytes : float
        How much memory they may take; the latest sequence is kept in any case.
    """

    def __init__(self, limit_bytes: float = 300e6) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Any, ...], tuple[dict[str, NDArray[Any]], NDArray[Any], tuple[str, ...]]] = (
            OrderedDict()
        )

    def frames(
        self, paths: Sequence[str], profile: Profile
    ) -> tuple[dict[str, NDArray[Any]], NDArray[Any], tuple[str, ...]]:
        """Return raw read → frames, their times in MJD, and the hashes of the files.

        Raises
        ------
        OSError, RawFileError
            If a file is gone or cannot be read.
        """
        key = (profile.hash, *((p, Path(p).stat().st_mtime_ns) for p in paths))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            files = [read_frames(p, profile) for p in paths]
            raw = {n: np.concatenate([f.raw[n] for f in files]) for n in files[0].raw}
            found = raw, np.concatenate([f.time_mjd for f in files]), tuple(f.content_hash for f in files)
            self._kept[key] = found
            while len(self._kept) > 1 and sum(a.nbytes for r, *_ in self._kept.values() for a in r.values()) > (
                self._limit
            ):
                self._kept.popitem(last=False)
            return found


def twilight_pixel(
    collector: Collector, store: RawStore, snapshot: Snapshot, night: str, band: str, x: int, y: int
) -> TwilightPixel:
    """Read the twilight samples of a pixel, put in the order of the product's table of frames."""
    path = responsivity_path(night, band)
    row = snapshot.flat(night, band)
    if row is None or not row["key"]:
        return TwilightPixel.nothing("there is no flat of this night and band")
    try:
        with fits.open(collector.root / path, memmap=False) as hdus:
            times = np.array(hdus["FRAMES"].data["TIME"], float)
            levels = np.array(hdus["FRAMES"].data["LEVEL"], float)
            inputs = [(str(r["ROLE"]), str(r["NAME"]), str(r["HASH"])) for r in hdus["INPUTS"].data]
    except (OSError, KeyError, TypeError, ValueError) as error:
        return TwilightPixel.nothing(f"the responsivity of {night} cannot be read ({type(error).__name__})")
    files = collector.files(night, "used")
    files = files[(files["band"] == band) & (files["obs_type"] == "twilight")].sort_values(["start_mjd", "path"])
    paths = [str(p) for p in files["path"]]
    if not paths:
        return TwilightPixel.nothing("the archive names no raw twilight file of this night and band")
    gone = [p for p in paths if not Path(p).is_file()]
    if gone:
        return TwilightPixel.nothing(f"the raw file is gone: {gone[0]}" + _more(len(gone)))
    try:
        raw, mjd, hashes = store.frames(paths, snapshot.profile)
    except (OSError, RawFileError) as error:
        return TwilightPixel.nothing(f"the raw file cannot be read: {error}")
    shape = next(iter(raw.values())).shape[1:]
    if not (0 <= y < shape[0] and 0 <= x < shape[1]):
        return TwilightPixel.nothing(f"no such pixel: the array has {shape[1]} × {shape[0]}")
    order = _in_order_of(times, mjd, raw)
    if order is None:
        return TwilightPixel.nothing("the raw frames are not those the flat was made from; run calib again")
    note = "" if set(hashes) <= {h for role, _, h in inputs if role == "raw"} else "a raw file has changed since"
    used = next((n for role, n, _ in inputs if role == "dark"), "") or dark_file(
        str(row["dark_night"]), band, snapshot.profile.responsivity.read
    )
    dark, noise = pixel_values(collector.root / used, ("SCI", "NOISE"), x, y)
    return TwilightPixel(
        {n: a[order, y : y + 1, x : x + 1] for n, a in raw.items()}, levels, dark, noise, used, "", note
    )


def _more(n: int) -> str:
    return f" and {n - 1} more" if n > 1 else ""


def _in_order_of(
    times: NDArray[np.float64], mjd: NDArray[np.float64], raw: Mapping[str, NDArray[Any]]
) -> NDArray[np.intp] | None:
    """Return which frames the rows of a table stand for; None if they do not belong together."""
    there = np.arange(len(mjd)) if len(times) >= len(mjd) else _once(mjd, raw)
    if len(times) != len(there):
        return None
    rows, frames = np.argsort(times, kind="stable"), there[np.argsort(mjd[there], kind="stable")]
    if not np.allclose(times[rows], mjd[frames], rtol=0, atol=1e-7):
        return None
    order = np.empty(len(times), np.intp)
    order[rows] = frames
    return order


def _once(mjd: NDArray[np.float64], raw: Mapping[str, NDArray[Any]]) -> NDArray[np.intp]:
    """Return the frames without those that a file before has as well: these were left out of the flat."""
    kept: list[int] = []
    for j, time in enumerate(mjd):
        same = [k for k in kept if abs(mjd[k] - time) * 86400 <= SAME_TIME_S]
        if not any(all(np.array_equal(a[k], a[j]) for a in raw.values()) for k in same):
            kept.append(j)
    return np.array(kept, np.intp)


def pixel_values(path: Path, names: Sequence[str], x: int, y: int) -> tuple[float, ...]:
    """Return the values of one pixel in some image extensions of a product; NaN for what is not there.

    Only the headers and the pixel itself are read: a survey has thousands of products.
    """
    found = dict.fromkeys(names, float("nan"))
    left = set(names)
    try:
        with path.open("rb", buffering=0) as file:
            start = 0
            while left:
                file.seek(start)
                text = _header(file)
                if text is None:
                    break
                data = start + len(text)
                dtype, axes, name = _layout(text)
                size = int(np.prod(axes)) * dtype.itemsize if axes else 0
                if name in left and len(axes) == 2:
                    left.discard(name)
                    if 0 <= x < axes[0] and 0 <= y < axes[1]:
                        file.seek(data + (y * axes[0] + x) * dtype.itemsize)
                        content = file.read(dtype.itemsize)
                        found[name] = float(np.frombuffer(content, dtype)[0]) if content else float("nan")
                start = data + -(-size // _BLOCK) * _BLOCK
    except (OSError, ValueError):
        return tuple(float("nan") for _ in names)
    return tuple(found[n] for n in names)


def _header(file: Any) -> bytes | None:
    """Return the blocks of a header up to the one with END."""
    blocks: bytes = b""
    while len(blocks) < 100 * _BLOCK:
        block = file.read(_BLOCK)
        if len(block) < _BLOCK:
            return None
        blocks += block
        end = block.find(b"END" + b" " * 77)
        if end >= 0 and end % 80 == 0:
            return blocks
    return None


_CARD = re.compile(rb"(BITPIX  |NAXIS[12 ]  |PCOUNT  |EXTNAME )= +('?[^/]*)")
_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


def _layout(text: bytes) -> tuple[np.dtype[Any], tuple[int, ...], str]:
    """Return the type, the axes (columns first) and the name of a unit of our own making."""
    cards: dict[bytes, bytes] = {}
    for k in range(0, len(text), 80):
        match = _CARD.match(text, k, k + 80)
        if match:
            cards[match[1].strip()] = match[2].strip()
    n = int(cards.get(b"NAXIS", b"0"))
    axes = tuple(int(cards.get(b"NAXIS%d" % (k + 1), b"0")) for k in range(n))
    name = cards.get(b"EXTNAME", b"").strip(b"' ").decode("ascii", "replace")
    return np.dtype(_TYPES.get(int(cards.get(b"BITPIX", b"8")), ">u1")), axes, name


@dataclass(frozen=True)
class HistoryPoint:
    """One pixel in the products of one night; NaN for what is not there."""

    night: str
    response: float
    response_error: float
    response_flags: int
    dark_dn: float
    dark_error_dn: float
    dark_flags: int
    canonical: float


class PixelHistory:
    """The values of a pixel over all nights, read bit by bit and remembered.

    Parameters
    ----------
    root : Path
        The archive's folder.
    limit_points : int
        So many nights of pixels are remembered.
    """

    def __init__(self, root: Path, limit_points: int = 40_000) -> None:
        self._root, self._limit = root, limit_points
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[Any, ...], HistoryPoint] = OrderedDict()

    def points(self, keys: Sequence[tuple[str, str]], band: str, read: str, x: int, y: int) -> Iterator[HistoryPoint]:
        """Yield one point a night.

        Parameters
        ----------
        keys : sequence of (night, key)
            The key changes whenever a product of that night does.
        """
        for night, version in keys:
            key = (night, version, band, read, x, y)
            with self._lock:
                point = self._known.get(key)
            if point is None:
                point = self._read(night, band, read, x, y)
                with self._lock:
                    self._known[key] = point
                    while len(self._known) > self._limit:
                        self._known.popitem(last=False)
            yield point

    def _read(self, night: str, band: str, read: str, x: int, y: int) -> HistoryPoint:
        names = ("SCI", "ERR", "DQ")
        flat = pixel_values(self._root / responsivity_path(night, band), names, x, y)
        dark = pixel_values(self._root / dark_path(night, band, read), names, x, y)
        (canonical,) = pixel_values(self._root / canonical_path(night, band), ("SCI",), x, y)
        return HistoryPoint(night, flat[0], flat[1], _whole(flat[2]), dark[0], dark[1], _whole(dark[2]), canonical)


def _whole(value: float) -> int:
    return int(value) if np.isfinite(value) else 0
