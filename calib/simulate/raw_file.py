"""Raw files in the layout of the survey's own camera."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import numpy as np
from astropy.io import fits

from .camera import DETECTOR_K
from .exposure import Sequence
from .scenes import Scene

__all__ = ["file_name", "write_sequence"]

MJD_EPOCH = dt.datetime(1858, 11, 17)


def file_name(sequence: Sequence[Scene]) -> str:
    """Return the usual name of the file of a sequence; no reader should rely on it."""
    number = "" if sequence.scan is None else f"-{sequence.scan:03d}"
    return f"{sequence.band}-{sequence.obstype.lower()}{number}.fits"


def write_sequence(sequence: Sequence[Scene], path: str | os.PathLike[str]) -> Path:
    """Write a sequence as one FITS file with checksums.

    The primary HDU has the header; the extensions R1 and R2 are cubes of unsigned 16-bit raw numbers (DN) and
    the table FRAMES has TIME (MJD, UTC), RA and DEC (degrees).  The file is written beside its place and
    renamed, so that who watches the folder never sees half a file.

    Parameters
    ----------
    sequence : Sequence
        The sequence.
    path : path-like
        Where to; folders are made, an older file is replaced.

    Returns
    -------
    pathlib.Path
        The file.
    """
    path = Path(path)
    primary = fits.PrimaryHDU()
    header = primary.header
    header["TELESCOP"] = ("Mt Hopkins 1.3m", "telescope")
    header["INSTRUME"] = ("3-band camera", "NICMOS3 arrays, J H Ks at once")
    begin = MJD_EPOCH + dt.timedelta(days=float(sequence.time_mjd[0]))
    header["DATE-OBS"] = (begin.isoformat(timespec="milliseconds"), "start of the first frame, UTC")
    header["FILTER"] = (sequence.band, "band")
    header["OBSTYPE"] = (sequence.obstype, "DARK, TWILIGHT or SCAN")
    if sequence.scan is not None:
        header["SCANNO"] = (sequence.scan, "number of the scan in the night")
    header["NFRAMES"] = (sequence.n_frames, "number of frames")
    header["DETTEMP"] = (DETECTOR_K, "[K] temperature of the array")
    header["OBSERVER"] = ("simulated", "observer")
    frames = fits.BinTableHDU.from_columns(
        [
            fits.Column("TIME", "D", unit="d", array=sequence.time_mjd),
            fits.Column("RA", "D", unit="deg", array=sequence.ra_deg),
            fits.Column("DEC", "D", unit="deg", array=sequence.dec_deg),
        ],
        name="FRAMES",
    )
    frames.header["MJDREF"] = (0.0, "TIME is MJD")
    frames.header["TIMESYS"] = ("UTC", "scale of TIME")
    reads = [_cube(sequence.r1, "R1"), _cube(sequence.r2, "R2")]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    try:
        hdus = fits.HDUList([primary, *reads, frames])
        for hdu in hdus:
            # A fixed comment instead of the time of writing: the same sequence gives the same bytes.
            hdu.add_checksum(when="of this HDU")
        hdus.writeto(beside, overwrite=True)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _cube(dn: np.ndarray[tuple[int, ...], np.dtype[np.uint16]], name: str) -> fits.ImageHDU:
    cube = fits.ImageHDU(dn, name=name)
    cube.header["BUNIT"] = ("adu", "data numbers, DN")
    return cube
