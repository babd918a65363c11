"""Small raw files for the tests of the reader, sound ones and spoiled ones."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from calib.profile import Profile, parse_profile
from tests.supplied_camera import CARDS

SHAPE = (16, 16)
ABSENT = object()
"""Stands for a card that is left out."""


def profile_text(name: str) -> str:
    return (resources.files("calib.profiles") / f"{name}.toml").read_text("utf-8")


def edited(name: str, *edits: tuple[str, str]) -> Profile:
    """A shipped profile for arrays of 16×16 pixels, with some of its text replaced."""
    shape = {"2mass": "shape = [256, 256]", "nirc2": "shape = [1024, 1024]"}[name]
    text = profile_text(name)
    for old, new in ((shape, f"shape = {list(SHAPE)}"), *edits):
        assert old in text, old
        text = text.replace(old, new)
    return parse_profile(text, name)


def levels(n: int, shape: tuple[int, ...] = SHAPE, *, seed: int = 1, level: int = 10_000) -> np.ndarray:
    """Frames of raw DN, no two samples alike by more than chance."""
    return np.random.default_rng(seed).integers(level, level + 3000, (n, *shape)).astype(np.uint16)


def _put(header: fits.Header, cards: dict[str, Any]) -> None:
    for name, value in cards.items():
        if value is not ABSENT:
            header[name] = value


@dataclass(frozen=True)
class CubeFile:
    """A file in the layout of the survey's camera: R1, R2 and a table of frames."""

    n: int = 3
    cards: dict[str, Any] = field(
        default_factory=lambda: {
            "DATE-OBS": "1999-05-02T04:00:00.250",
            "FILTER": "J",
            "OBSTYPE": "SCAN",
            "SCANNO": 7,
            "DETTEMP": 77.5,
        }
    )
    cubes: dict[str, np.ndarray] = field(default_factory=dict)
    columns: dict[str, np.ndarray] | None = None
    checksum: bool = True
    left_out: tuple[str, ...] = ()
    compressed: bool = False

    def card(self, name: str, value: Any) -> CubeFile:
        return replace(self, cards={**self.cards, name: value})

    def cube(self, name: str, frames: np.ndarray) -> CubeFile:
        return replace(self, cubes={**self.cubes, name: frames})

    def column(self, name: str, values: Any) -> CubeFile:
        columns = {**(self.columns or self._columns()), name: values}
        return replace(self, columns={k: np.asarray(v) for k, v in columns.items() if v is not ABSENT})

    def without(self, *extensions: str) -> CubeFile:
        return replace(self, left_out=extensions)

    def plain(self) -> CubeFile:
        return replace(self, checksum=False)

    def packed(self) -> CubeFile:
        return replace(self, compressed=True)

    def _columns(self) -> dict[str, np.ndarray]:
        k = np.arange(self.n)
        return {"TIME": 51300.1666 + k * 1.5e-5, "RA": 150 + k * 0.1, "DEC": np.full(self.n, 2.5)}

    def frames(self, name: str) -> np.ndarray:
        return self.cubes.get(name, levels(self.n, seed=len(name) + ord(name[-1])))

    def hdus(self) -> fits.HDUList:
        hdus = fits.HDUList([fits.PrimaryHDU()])
        _put(hdus[0].header, self.cards)
        image = fits.CompImageHDU if self.compressed else fits.ImageHDU
        for name in ("R1", "R2"):
            if name not in self.left_out:
                hdus.append(image(self.frames(name), name=name))
        if "FRAMES" not in self.left_out:
            columns = self.columns if self.columns is not None else self._columns()
            formats = {"f": "D", "i": "K", "U": "8A"}
            hdus.append(
                fits.BinTableHDU.from_columns(
                    [
                        fits.Column(k, f"{v[0].size if v.ndim > 1 else ''}{formats[v.dtype.kind]}", array=v)
                        for k, v in columns.items()
                    ],
                    name="FRAMES",
                )
            )
        return hdus

    def write(self, path: Path) -> Path:
        self.hdus().writeto(path, checksum=self.checksum, overwrite=True)
        return path

    def content(self, folder: Path) -> bytes:
        return self.write(folder / "content.fits").read_bytes()


@dataclass(frozen=True)
class FrameFile:
    """One frame in its file, with the cards of NIRC2."""

    data: Any = None
    cards: dict[str, Any] = field(default_factory=lambda: {**CARDS, "RA": 150.434, "DEC": 2.95})
    extension: str | None = None
    checksum: bool = False

    def card(self, name: str, value: Any) -> FrameFile:
        return replace(self, cards={**self.cards, name: value})

    def at(self, utc: str, date: str = "2011-04-13") -> FrameFile:
        return self.card("UTC", utc).card("DATE-OBS", date)

    def frame(self) -> np.ndarray:
        return levels(1, level=4000)[0].astype(np.int32) if self.data is None else np.asarray(self.data)

    def write(self, path: Path) -> Path:
        primary = fits.PrimaryHDU(None if self.extension else self.frame())
        hdus = fits.HDUList([primary])
        if self.extension:
            hdus.append(fits.ImageHDU(self.frame(), name=self.extension))
        _put(primary.header, self.cards)
        hdus.writeto(path, checksum=self.checksum, overwrite=True)
        return path


def gzipped(path: Path) -> Path:
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(path.read_bytes(), 1))
    return target


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    """Overwrite bytes, the first of the kind."""
    assert len(old) == len(new)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path
