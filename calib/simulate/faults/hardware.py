"""Faults of the detector and its electronics.  They stay until the night they are mended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from ..camera import CAMERA, R1_SHARE, quadrant
from ..detector import Detector, Flicker
from ..shapes import disc, tilt
from .base import Fault, Occasion, Subject

__all__ = [
    "ArraySwap",
    "BistablePixel",
    "DarkJump",
    "DeadColumn",
    "DustSpot",
    "NewHotPixels",
    "QuadrantStep",
    "SlowDrift",
]


@dataclass(frozen=True, kw_only=True)
class _HardwareFault(Fault):
    """A fault that stays and leaves with the array, should that be replaced."""

    subject: ClassVar[Subject] = "detector"
    lasting: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class QuadrantStep(_HardwareFault):
    """The gain of one quadrant changes by `percent`."""

    percent: float = 3.0
    quadrant: int = 2

    def on_detector(self, detector: Detector, occasion: Occasion) -> Detector:
        """Multiply the responsivity of the quadrant."""
        responsivity = detector.responsivity.copy()
        responsivity[quadrant(self.quadrant, occasion.size_px)] *= 1.0 + self.percent / 100.0
        return replace(detector, responsivity=responsivity)


@dataclass(frozen=True, kw_only=True)
class SlowDrift(_HardwareFault):
    """The responsivity changes by `percent_per_night` from night to night, from the first night on.

    Either one quadrant grows, or the responsivity tilts by so much from side to side along `angle_deg`.
    """

    percent_per_night: float = 0.1
    shape: Literal["quadrant", "gradient"] = "quadrant"
    quadrant: int = 1
    angle_deg: float = 30.0

    def on_detector(self, detector: Detector, occasion: Occasion) -> Detector:
        """Multiply the responsivity by what has come together so far."""
        change = self.percent_per_night / 100.0 * (occasion.ordinal - self.night + 1)
        factor = np.ones_like(detector.responsivity)
        if self.shape == "quadrant":
            factor[quadrant(self.quadrant, occasion.size_px)] += change
        else:
            factor += np.float32(change) * tilt(self.angle_deg, occasion.size_px)
        return replace(detector, responsivity=detector.responsivity * factor)


@dataclass(frozen=True, kw_only=True)
class DustSpot(_HardwareFault):
    """A speck of dust takes `percent` of the light from a disc.

    `center_px` is (y, x); None puts it at about a third of the height and six tenths of the width.
    """

    percent: float = 3.0
    radius_px: float = 8.0
    center_px: tuple[float, float] | None = None

    def on_detector(self, detector: Detector, occasion: Occasion) -> Detector:
        """Dim the disc."""
        size = occasion.size_px
        center = self.center_px if self.center_px is not None else (0.35 * size, 0.6 * size)
        factor = 1.0 - np.float32(self.percent / 100.0) * disc(center, self.radius_px, size)
        return replace(detector, responsivity=detector.responsivity * factor)


@dataclass(frozen=True, kw_only=True)
class DeadColumn(_HardwareFault):
    """A column goes blind.

    `column` None takes the one at seven tenths of the width.
    """

    column: int | None = None

    def on_detector(self, detector: Detector, occasion: Occasion) -> Detector:
        """Take the responsivity of the column down to 2 % of what it was."""
        column = self.column if self.column is not None else int(0.7 * occasion.size_px)
        responsivity, good = detector.responsivity.copy(), detector.good.copy()
        responsivity[:, column] *= 0.02
        good[:, column] = False
        return replace(detector, responsivity=responsivity, good=good)


@dataclass(frozen=True, kw_only=True)
class DarkJump(_HardwareFault):
    """The level of the dark jumps by `level_dn` in R2-R1 and by `r1_level_dn` in R1."""

    level_dn: float = 300.0
    r1_level_dn: float = 1_000.0

    def on_detector(self, detector: Detector, occasion: Occasion) -> Detector:
        """Shift both darks."""
        return replace(
            detector,
            dark_dn=detector.dark_dn + np.float32(self.level_dn),
            r1_dn=detector.r1_dn + np.float32(self.r1_level_dn),
        )


@dataclass(frozen=True, kw_only=True)
class NewHotPixels(_HardwareFault):
    """Good pixels turn hot: `count` of them, with `faintest_dn` to `brightest_dn` more in the R2-R1 dark."""

    count: int = 40
    faintest_dn: float = 300.0
    brightest_dn: float = 3_000.0

    def on_detector(self, detector: Detector, occasion: Occasion) -> Detector:
        """Add dark current, of which R1 has its share, and its shot noise."""
        rng = self.random(occasion)
        # Drawn among all pixels, so that they stay where they are when another fault spoils some pixels.
        order = rng.permutation(detector.good.size)
        chosen = order[detector.good.ravel()[order]][: self.count]
        span = (np.log(self.faintest_dn), np.log(self.brightest_dn))
        current_dn = np.exp(rng.uniform(*span, self.count)).astype(np.float32)[: chosen.size]
        current = np.zeros_like(detector.dark_dn)
        current.ravel()[chosen] = current_dn
        current_r1 = current * np.float32(R1_SHARE)
        dn_per_e = np.float32(1.0 / CAMERA[occasion.band].gain_e_per_dn)
        return replace(
            detector,
            dark_dn=detector.dark_dn + current,
            r1_dn=detector.r1_dn + current_r1,
            noise_dn=np.sqrt(detector.noise_dn**2 + current * dn_per_e),
            r1_noise_dn=np.sqrt(detector.r1_noise_dn**2 + current_r1 * dn_per_e),
            good=detector.good & (current == 0.0),
        )


@dataclass(frozen=True, kw_only=True)
class BistablePixel(_HardwareFault):
    """The R2-R1 dark of a pixel jumps between `high_dn` and `low_dn`, between nights and within sequences.

    `switch_probability` is the chance of a jump from one frame to the next.  `pixel` is (y, x); None picks a
    good one.
    """

    high_dn: float = 600.0
    low_dn: float = 50.0
    switch_probability: float = 0.02
    pixel: tuple[int, int] | None = None

    def on_detector(self, detector: Detector, occasion: Occasion) -> Detector:
        """Make the pixel flicker and put it in tonight's state."""
        if self.pixel is None:
            order = self.random(occasion, "place").permutation(detector.good.size)
            place = int(order[detector.good.ravel()[order]][0])
            pixel = (place // occasion.size_px, place % occasion.size_px)
        else:
            pixel = self.pixel
        high = bool(self.random(occasion, "state", occasion.ordinal).random() < 0.5)
        dark_dn, good = detector.dark_dn.copy(), detector.good.copy()
        dark_dn[pixel] = self.high_dn if high else self.low_dn
        good[pixel] = False
        flicker = Flicker(*pixel, self.low_dn, self.high_dn, high, self.switch_probability)
        return replace(detector, dark_dn=dark_dn, good=good, flickers=(*detector.flickers, flicker))


@dataclass(frozen=True, kw_only=True)
class ArraySwap(_HardwareFault):
    """Another array is put in: new dark, responsivity and bad pixels, and the old array's faults are gone.

    It begins a hardware period.  The survey itself makes the new array, for all that comes before is void.
    """
