"""The frames of one raw file, verified to the last byte."""

from __future__ import annotations

import io
import math
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from calib.kernels import native_16_bit
from calib.profile import CubeLayout, Profile
from calib.raw.files import ByteReader, Refusal, decompressed, quoted, refusing, stored_bytes
from calib.raw.hdus import STORED_TYPES, Hdu, card, walk
from calib.raw.header import identity, sky_position
from calib.raw.layout import RawFile, frame_count, pick
from calib.raw.sums import verify_sums
from calib.raw.times import plausible_mjd

__all__ = ["RawFrames", "read_frames"]

# Offsets by which FITS, which knows no other signs, stores unsigned (and signed 8-bit) integers.
_OFFSETS = {8: -(2.0**7), 16: 2.0**15, 32: 2.0**31, 64: 2.0**63}

# Greatest size of an unpacked image: a damaged header may claim any.
_MAX_BYTES = 8 * 2**30

# So far may the first frame lie from the start that the header tells.
_FURTHEST_DAYS = 0.5

# Switching warnings off is a matter of the whole process; two threads at it would leave them off.
_LIBRARY = threading.Lock()


@dataclass(frozen=True)
class RawFrames:
    """The frames of one raw file.

    Attributes
    ----------
    raw : dict of str to ndarray, shape (n, ny, nx)
        Raw read → frames in DN, in native byte order and the type of the file. Integers are as they are,
        sentinels included; in floats, sentinels of the profile and infinities are NaN. Integers of which
        some are undefined (``BLANK``) come as floats with NaN.
    time_mjd : ndarray, shape (n,)
        Start of each frame in MJD (UTC); NaN only for supplied products without a time.
    ra_deg, dec_deg : ndarray, shape (n,)
        Where the telescope pointed, in degrees; NaN where the file does not say.
    content_hash : str
        BLAKE3 of the bytes of the file as they lie on disk, hexadecimal.
    notes : tuple of str
        What was tolerated.
    """

    raw: dict[str, NDArray[Any]]
    time_mjd: NDArray[np.float64]
    ra_deg: NDArray[np.float64]
    dec_deg: NDArray[np.float64]
    content_hash: str
    notes: tuple[str, ...]

    def only(self, kept: NDArray[np.bool_]) -> RawFrames:
        """Return some of the frames; ``kept`` has shape (n,)."""
        raw = {name: frames[kept] for name, frames in self.raw.items()}
        return replace(
            self, raw=raw, time_mjd=self.time_mjd[kept], ra_deg=self.ra_deg[kept], dec_deg=self.dec_deg[kept]
        )


def read_frames(path: Path | str, profile: Profile) -> RawFrames:
    """Verify a raw file completely and read its frames.

    The file is read once. Every unit is seen to be whole, checksums are verified where there are any, and
    the header is put to the same rules as by `calib.raw.identify`.

    Parameters
    ----------
    path : Path
        FITS, also gzip or tile-compressed, whatever its name.
    profile : Profile
        Whose layout and rules apply.

    Returns
    -------
    RawFrames
        Frames of every raw read that the profile names.

    Raises
    ------
    calib.errors.RawFileError
        With the reason.
    """
    path = Path(path)
    # Damaged floats overflow or signal; what comes of them is NaN, not a warning.
    with refusing(path), np.errstate(all="ignore"):
        stored, hashed = stored_bytes(path)
        buffer, beyond_gzip = decompressed(stored)
        del stored
        hdus = list(walk(ByteReader(buffer), len(buffer)))  # type: ignore[arg-type]  # reads and seeks like a file
        notes = _notes(hdus[-1], len(buffer), beyond_gzip)
        for hdu in hdus:
            verify_sums(buffer, hdu)
        found = pick(hdus, profile)
        header_says = identity(path, found, profile)
        n, order = header_says.n_frames, []
        optional_time = header_says.obs_type.startswith("supplied-")
        if isinstance(profile.layout, CubeLayout):
            # Read while the content is still hashed.
            time_mjd, ra_deg, dec_deg = _frame_table(buffer, found, n, profile.layout, optional=optional_time)
            _refuse_contradiction(time_mjd, header_says.start_mjd, profile.layout.time_column)
            order = ["frames are not in the order of time"] * bool(np.any(np.diff(time_mjd) < 0))
        else:
            ra, dec = sky_position(found, (profile.layout.ra_card, profile.layout.dec_card))
            start = np.nan if header_says.start_mjd is None else header_says.start_mjd
            time_mjd, ra_deg, dec_deg = np.full(n, start), np.full(n, ra), np.full(n, dec)
        # The room of the bytes may become that of the frames.
        digest = hashed.result()
        raw = _images(buffer, found, profile)
        notes += _usable(raw, profile) + order
        frames = RawFrames(raw, time_mjd, ra_deg, dec_deg, digest, tuple(notes))
    return frames


def _notes(last: Hdu, size: int, beyond_gzip: int) -> list[str]:
    notes = []
    if size > last.end:
        notes.append(f"{size - last.end} trailing bytes after the last HDU")
    if size < last.end:
        notes.append(f"{last.end - size} bytes of padding missing after the last HDU")
    if beyond_gzip:
        notes.append(f"{beyond_gzip} trailing bytes after the compressed data")
    return notes


def _library_hdu(buffer: memoryview, hdu: Hdu) -> fits.HDUList:
    """Open one extension with the FITS library, behind an empty primary unit of our own."""
    primary = fits.PrimaryHDU().header.tostring().encode("ascii")
    content = primary + bytes(buffer[hdu.start : hdu.end])
    padding = b"\0" * (hdu.end - hdu.start - (len(content) - len(primary)))
    return fits.open(io.BytesIO(content + padding), memmap=False)


def _images(buffer: memoryview, found: RawFile, profile: Profile) -> dict[str, NDArray[Any]]:
    def quietly(hdu: Hdu) -> NDArray[Any]:
        with np.errstate(all="ignore"):
            return _image(buffer, hdu, profile)

    if len(found.images) == 1:
        return {name: _image(buffer, hdu, profile) for name, hdu in found.images.items()}
    with ThreadPoolExecutor(len(found.images)) as pool:
        return dict(zip(found.images, pool.map(quietly, found.images.values()), strict=True))


def _image(buffer: memoryview, hdu: Hdu, profile: Profile) -> NDArray[Any]:
    """Return the frames of a unit, shape (n, ny, nx)."""
    shape = (frame_count(hdu), *hdu.axes[-2:])
    if hdu.compressed:
        return _without_sentinels(_unpacked(buffer, hdu).reshape(shape), profile)
    stored = np.frombuffer(buffer[hdu.data_start : hdu.data_start + hdu.data_bytes], STORED_TYPES[hdu.bitpix])
    if stored.size != shape[0] * shape[1] * shape[2]:
        raise Refusal(f"{hdu.label} holds {stored.size} samples, its axes say otherwise")
    values = stored.reshape(shape)
    scale, zero = _scaling(hdu, "BSCALE", 1.0), _scaling(hdu, "BZERO", 0.0)
    if scale == 0:
        raise Refusal(f"BSCALE is 0 ({hdu.label})")
    blank = card((hdu.header,), "BLANK", readable_only=True) if hdu.bitpix > 0 else None
    undefined = None
    if isinstance(blank, int) and not isinstance(blank, bool):
        undefined = values == blank
        if not undefined.any():
            undefined = None
    scaled = _scaled(values, hdu.bitpix, scale, zero)
    if undefined is not None:
        scaled = scaled.astype(np.float32 if hdu.bitpix <= 16 else np.float64)
        scaled[undefined] = np.nan
    return _without_sentinels(scaled, profile)


def _scaling(hdu: Hdu, name: str, default: float) -> float:
    value = card((hdu.header,), name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Refusal(f"{name} {quoted(value)} is not a number ({hdu.label})")
    return float(value)


def _scaled(values: NDArray[Any], bitpix: int, scale: float, zero: float) -> NDArray[Any]:
    """Return values × scale + zero in native byte order; integers stay integers where FITS means them to."""
    if bitpix == 16 and scale == 1 and zero in (0, _OFFSETS[16]):
        # The bytes of the file are of no further use: no second room of their size is needed.
        turned = native_16_bit(values, 0 if zero == 0 else 1 << 15, in_place=values.flags.writeable)
        return turned.view(np.int16) if zero == 0 else turned
    native = values.astype(values.dtype.newbyteorder("="))
    if scale == 1 and zero == 0:
        return native
    if bitpix > 0 and scale == 1 and zero == _OFFSETS[bitpix]:
        # Adding half the range is turning the highest bit.
        bits = native.view(f"u{bitpix // 8}")
        bits ^= bits.dtype.type(1 << (bitpix - 1))
        return bits.view(np.int8) if bitpix == 8 else bits
    if bitpix > 0:
        native = native.astype(np.float32 if bitpix <= 16 else np.float64)
    native *= native.dtype.type(scale)
    native += native.dtype.type(zero)
    return native


def _tiles(hdu: Hdu) -> int:
    """Return the number of rows that the table of a compressed image must have."""
    n = 1
    for k, length in enumerate(reversed(hdu.axes), start=1):
        tile = card((hdu.header,), f"ZTILE{k}", readable_only=True)
        if tile is None:
            # By default a tile is one row.
            tile = length if k == 1 else 1
        if not isinstance(tile, int) or tile < 1:
            return -1
        n *= -(-length // tile)
    return n


def _unpacked(buffer: memoryview, hdu: Hdu) -> NDArray[Any]:
    samples = math.prod(hdu.axes)
    # Before the library believes the header: it would make room for whatever that claims.
    if card((hdu.header,), "NAXIS2") != _tiles(hdu) or samples * abs(hdu.bitpix) // 8 > _MAX_BYTES:
        raise Refusal(f"the compressed image contradicts its header ({hdu.label})")
    try:
        with _LIBRARY, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _library_hdu(buffer, hdu) as opened:
                data = np.asarray(opened[1].data)
    except Exception as error:  # a library fed with damaged bytes raises whatever it meets first
        raise Refusal(f"the compressed image cannot be unpacked ({hdu.label})") from error
    if data.dtype.kind not in "iuf" or data.size != samples:
        raise Refusal(f"the compressed image cannot be unpacked ({hdu.label})")
    return data.astype(data.dtype.newbyteorder("="))


def _without_sentinels(values: NDArray[Any], profile: Profile) -> NDArray[Any]:
    if values.dtype.kind != "f":
        return values
    # Comparing in the type of the samples: a sentinel is rounded by the file as it is here.
    for sentinel in profile.detector.sentinels:
        values[values == values.dtype.type(sentinel)] = np.nan
    values[np.isinf(values)] = np.nan
    return values


def _usable(raw: dict[str, NDArray[Any]], profile: Profile) -> list[str]:
    """Refuse frames without a single usable sample; note a raw read that has none."""
    faults = {name: _why_useless(frames, profile) for name, frames in raw.items()}
    useless = {name: why for name, why in faults.items() if why}
    if len(useless) == len(raw):
        raise Refusal(f"every sample is {' or '.join(dict.fromkeys(useless.values()))}")
    return [f"every sample of {name} is {why}" for name, why in useless.items()]


def _why_useless(frames: NDArray[Any], profile: Profile) -> str:
    saturated = False
    for frame in frames:
        masked = np.isin(frame, profile.detector.sentinels) | (frame != frame)
        if np.any(~masked & (frame < profile.detector.saturation_dn)):
            return ""
        saturated |= bool(np.any(~masked))
    return "saturated" if saturated else "NaN or masked"


def _frame_table(
    buffer: memoryview, found: RawFile, n: int, layout: CubeLayout, *, optional: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return time, right ascension and declination of every frame."""
    unknown = np.full(n, np.nan)
    if found.table is None:
        if optional:
            return unknown, unknown.copy(), unknown.copy()
        raise Refusal(f"no table {layout.frames_table}")
    name = layout.frames_table
    if card((found.table.header,), "XTENSION") not in ("BINTABLE", "TABLE") or found.table.compressed:
        raise Refusal(f"{name} is not a table")
    try:
        with _LIBRARY, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _library_hdu(buffer, found.table) as opened:
                table = opened[1].data
                names = {} if table is None else {str(c).upper(): str(c) for c in table.names}
                rows = 0 if table is None else len(table)
                wanted = (layout.time_column, layout.ra_column, layout.dec_column)
                columns = {w: np.array(table[names[w.upper()]]) for w in wanted if w.upper() in names}
    except Exception as error:  # a library fed with damaged bytes raises whatever it meets first
        raise Refusal(f"table {name} cannot be read") from error
    if layout.time_column not in columns:
        raise Refusal(f"table {name} has no column {layout.time_column}")
    if rows != n:
        raise Refusal(f"table {name} has {rows} rows for {n} frames")
    time_mjd = _column(columns[layout.time_column], n, layout.time_column)
    if lost := int((~np.isfinite(time_mjd)).sum()):
        raise Refusal(f"column {layout.time_column} is not finite for {lost} of {n} frames")
    first, last = float(time_mjd.min()), float(time_mjd.max())
    if not (plausible_mjd(first) and plausible_mjd(last)):
        raise Refusal(f"column {layout.time_column} is not in MJD ({first:g} to {last:g})")
    positions = [
        _column(columns[key], n, key) if key in columns else unknown.copy()
        for key in (layout.ra_column, layout.dec_column)
    ]
    for position in positions:
        position[~np.isfinite(position)] = np.nan
    return time_mjd, positions[0], positions[1]


def _column(values: NDArray[Any], n: int, name: str) -> NDArray[np.float64]:
    if values.dtype.kind not in "iuf" or values.shape not in ((n,), (n, 1)):
        raise Refusal(f"column {name} does not hold one number per frame")
    return values.reshape(n).astype(np.float64)


def _refuse_contradiction(time_mjd: NDArray[np.float64], start_mjd: float | None, column: str) -> None:
    # One of the two is wrong, and the night hangs on which.
    if start_mjd is not None and abs(off_days := float(time_mjd[0]) - start_mjd) > _FURTHEST_DAYS:
        raise Refusal(f"the first frame lies {off_days:+.2f} d from the start in the header (column {column})")
