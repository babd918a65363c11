"""Single frames out of large FITS cubes: headers are walked once per file, then only the frame's bytes are read."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from calib.dark import mask_sentinels
from calib.errors import CalibError, RawFileError
from calib.profile import Profile
from calib.raw.files import decompressed, open_stream, refusing
from calib.raw.hdus import Hdu, card, walk
from calib.raw.layout import frame_count, pick

__all__ = ["RawFile", "product_frame", "raw_frame"]

_DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True)
class RawFile:
    """One raw file of a scan.

    Attributes
    ----------
    path : Path
    n_frames : int
        Frames it holds; those of a scan's files follow each other.
    size : int
        Bytes when it was calibrated: a file of another size is not what was calibrated.
    """

    path: Path
    n_frames: int
    size: int


def product_frame(path: Path, name: str, frame: int) -> NDArray[Any] | None:
    """Return one plane of an image cube of a product; None if product, extension or plane is not there.

    Parameters
    ----------
    path : Path
        Of the FITS file.
    name : str
        EXTNAME.
    frame : int
        Counted from 0.

    Returns
    -------
    ndarray, shape (ny, nx)
        In native byte order.
    """
    try:
        hdu = next((h for h in _walked(str(path), path.stat().st_mtime_ns) if h.name == name), None)
        return None if hdu is None else _plane(path, hdu, frame)
    except (OSError, CalibError):
        return None


def raw_frame(files: Sequence[RawFile], profile: Profile, read: str, frame: int) -> NDArray[np.float32]:
    """Return one raw frame of a scan, formed as plus − minus, in DN; saturated samples and sentinels are NaN.

    Parameters
    ----------
    files : sequence of RawFile
        In the order in which they were calibrated.
    read : str
        A read of the profile.
    frame : int
        Counted from 0 through all files.

    Raises
    ------
    RawFileError
        If the file is gone, changed, or cannot be read.
    """
    for file in files:
        if frame < file.n_frames:
            return _formed(file, profile, read, frame)
        frame -= file.n_frames
    raise RawFileError(files[-1].path if files else Path("raw"), "the scan's raw files hold fewer frames")


def _formed(file: RawFile, profile: Profile, read: str, frame: int) -> NDArray[np.float32]:
    with refusing(file.path):
        stat = file.path.stat()
        if stat.st_size != file.size:
            raise RawFileError(file.path, "changed since it was calibrated")
        found = pick(list(_walked(str(file.path), stat.st_mtime_ns)), profile)
        rule, sentinels = profile.reads[read], profile.detector.sentinels
        plus = mask_sentinels(_plane(file.path, found.images[rule.plus], frame), sentinels).astype(np.float32)
        plus[~(plus < profile.detector.saturation_dn) | np.isinf(plus)] = np.nan
        if rule.minus is not None:
            plus -= mask_sentinels(_plane(file.path, found.images[rule.minus], frame), sentinels).astype(np.float32)
        return plus


@lru_cache(maxsize=128)
def _walked(path: str, mtime_ns: int) -> tuple[Hdu, ...]:
    with refusing(Path(path)):
        if _is_gzip(Path(path)):
            content = _unpacked(path, mtime_ns)
            return tuple(walk(io.BytesIO(content), len(content)))
        stream, size = open_stream(Path(path))
        with stream:
            return tuple(walk(stream, size))


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


# A gzip file can only be read from its beginning; the last ones stay unpacked while one steps through them.
@lru_cache(maxsize=2)
def _unpacked(path: str, mtime_ns: int) -> bytes:
    return decompressed(Path(path).read_bytes())[0]


def _plane(path: Path, hdu: Hdu, frame: int) -> NDArray[Any]:
    shape = hdu.axes[-2:]
    if not 0 <= frame < frame_count(hdu):
        raise RawFileError(path, f"{hdu.label} has no frame {frame}")
    packed = _unpacked(str(path), path.stat().st_mtime_ns) if _is_gzip(path) else None
    if hdu.compressed:
        return _tiles(path if packed is None else io.BytesIO(packed), hdu, frame)
    dtype = np.dtype(_DTYPES[hdu.bitpix])
    length = int(np.prod(shape)) * dtype.itemsize
    start = hdu.data_start + frame * length
    if packed is None:
        with path.open("rb") as file:
            content = os.pread(file.fileno(), length, start)
    else:
        content = packed[start : start + length]
    if len(content) < length:
        raise RawFileError(path, f"truncated: {hdu.label} ends within frame {frame}")
    return _physical(np.frombuffer(content, dtype).reshape(shape), hdu)


def _physical(stored: NDArray[Any], hdu: Hdu) -> NDArray[Any]:
    """Return stored values in physical units and native byte order; what is undefined is NaN."""
    values = stored.astype(stored.dtype.newbyteorder("="))
    cards: Mapping[str, Any] = {n: card((hdu.header,), n, readable_only=True) for n in ("BSCALE", "BZERO", "BLANK")}
    scale, zero = float(cards["BSCALE"] or 1.0), float(cards["BZERO"] or 0.0)
    if values.dtype.kind == "f" and (scale, zero) == (1.0, 0.0):
        return values
    if (scale, zero, cards["BLANK"]) == (1.0, 0.0, None):
        return values
    kind: Any = np.float32 if values.itemsize <= 2 else np.float64
    wide: NDArray[Any] = np.asarray(values, kind) * scale + zero
    if values.dtype.kind in "iu" and isinstance(cards["BLANK"], int):
        wide[values == cards["BLANK"]] = np.nan
    return wide


def _tiles(source: Path | io.BytesIO, hdu: Hdu, frame: int) -> NDArray[Any]:
    with fits.open(source, memmap=False) as hdus:
        section = hdus[hdu.index].section
        plane = np.asarray(section[frame] if len(hdu.axes) == 3 else section[:, :])
        return plane.astype(plane.dtype.newbyteorder("="))
