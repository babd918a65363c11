"""The bits of every mask, declared once.

Bits 0–7 can concern a single sample and fit the 8-bit masks of frame cubes; the masks of nightly products
use the same values in 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLAGS", "Flag", "decode", "flag"]


@dataclass(frozen=True)
class Flag:
    """One bit of a mask: its number, short name (a FITS header keyword follows from it) and meaning."""

    bit: int
    name: str
    meaning: str

    @property
    def value(self) -> int:
        """The bit as a number, 2**bit."""
        return 1 << self.bit


FLAGS: tuple[Flag, ...] = (
    Flag(0, "NODATA", "no valid sample"),
    Flag(1, "SATUR", "saturated in the raw read"),
    Flag(2, "DEAD", "responsivity too low or too high to be used"),
    Flag(3, "HOT", "dark far above its surroundings"),
    Flag(4, "NOISY", "noise far above the array's"),
    Flag(5, "SUBST", "sky offset taken from another block"),
    Flag(6, "CLIPPED", "more than a quarter of the samples rejected"),
    Flag(7, "SUPPLIED", "marked in a supplied bad-pixel map"),
)

_BY_NAME = {f.name: f for f in FLAGS}

# A pixel with any of these takes no part in medians, regions and checks.
UNUSABLE = sum(_BY_NAME[n].value for n in ("NODATA", "DEAD", "SUPPLIED"))


def flag(name: str) -> int:
    """Return the value of a flag by name; KeyError if there is none."""
    return _BY_NAME[name].value


def decode(value: int) -> tuple[str, ...]:
    """Return the names of the flags set in a mask value."""
    return tuple(f.name for f in FLAGS if int(value) & f.value)


def usable(mask: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return where a mask leaves a pixel usable for medians, regions and checks (same shape)."""
    return np.asarray((mask & UNUSABLE) == 0)
