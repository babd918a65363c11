"""A camera that writes one frame per file, its sky, and masters that a team already has."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from calib.profile import Profile, parse_profile

SHAPE = (33, 33)
"""An odd number of pixels, which ends in the middle of a word of every checksum."""


@lru_cache
def camera() -> Profile:
    """The worked example of one frame per file, for a small array."""
    text = (resources.files("calib.profiles") / "nirc2.toml").read_text("utf-8")
    for old, new in (
        ("shape = [1024, 1024]", f"shape = {list(SHAPE)}"),
        ("cells = [8, 8]", "cells = [3, 3]"),
        ("quadrants = [2, 2]", "quadrants = [1, 1]"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    return parse_profile(text, "camera")


RNG = np.random.default_rng(5)
RESPONSE = (1 + 0.1 * RNG.normal(size=SHAPE)).clip(0.6, 1.6).astype(np.float32)
DARK = RNG.normal(40, 2, SHAPE).astype(np.float32)


CARDS: dict[str, Any] = {
    "OBJECT": "COSMOS01",
    "FILTER": "Ks + clear",
    "SHRNAME": "open",
    "ITIME": 80.0,
    "COADDS": 1,
    "SAMPMODE": 3,
    "MULTISAM": 16,
    "CAMNAME": "wide",
    "DATE-OBS": "2011-04-13",
    "UTC": "05:37:43.75",
}


def write(path: Path, data: np.ndarray, **cards: object) -> Path:
    header = {**CARDS, **cards}
    hdu = fits.PrimaryHDU(data)
    for name, value in header.items():
        if value is not None:
            hdu.header[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    hdu.writeto(path, checksum=True, overwrite=True)
    return path


def sky(folder: Path, n: int = 12) -> Path:
    """A field observed in some frames, dark and response as the masters say."""
    for k in range(n):
        rng = np.random.default_rng([9, k])
        frame = DARK + RESPONSE * rng.normal(5600, 35, SHAPE)
        write(folder / f"n{k:04d}.fits", frame.round().astype(np.int32), UTC=f"06:{2 * k:02d}:00.00")
    return folder


def masters(folder: Path, *, scale: float = 3.0, day: str = "2011-04-12") -> Path:
    write(folder / "dark.fits", DARK, SHRNAME="closed", OBJECT="dark", **{"DATE-OBS": day})
    write(folder / "flat.fits", (scale * RESPONSE).astype(np.float32), OBJECT="flat, combined", **{"DATE-OBS": day})
    bad = np.zeros(SHAPE, np.int16)
    bad[3, 4] = 1
    fits.PrimaryHDU(bad).writeto(folder / "badpix.fits", overwrite=True)
    return folder
