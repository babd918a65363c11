"""Faults of the darks and of the twilight flats.  They last one night."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..scenes import DarkScene, MovingPatch, TwilightScene
from ..shapes import corner_glow, tilt
from .base import Fault, Occasion, Subject

__all__ = [
    "CloudGradient",
    "LightLeak",
    "MissingDark",
    "MissingFlat",
    "MovingCloud",
    "SaturatedTwilight",
    "TooLittleChange",
    "UniformCloud",
    "WarmUp",
]


@dataclass(frozen=True, kw_only=True)
class _TwilightFault(Fault):
    subject: ClassVar[Subject] = "twilight"


@dataclass(frozen=True, kw_only=True)
class CloudGradient(_TwilightFault):
    """Cloud makes the twilight brighter on one side, by `percent` across the array along `angle_deg`.

    It stays so during the whole sequence, and so the responsivity comes out tilted by as much.
    """

    percent: float = 3.0
    angle_deg: float = 25.0

    def on_twilight(self, scene: TwilightScene, occasion: Occasion) -> TwilightScene:
        """Tilt the illumination."""
        slope = 1.0 + np.float32(self.percent / 100.0) * tilt(self.angle_deg, occasion.size_px)
        return replace(scene, shape=scene.shape * slope)


@dataclass(frozen=True, kw_only=True)
class MovingCloud(_TwilightFault):
    """A patch of cloud crosses the field during twilight and takes `percent` of the light at its centre."""

    percent: float = 6.0
    sigma_px: float = 60.0

    def on_twilight(self, scene: TwilightScene, occasion: Occasion) -> TwilightScene:
        """Send the patch across, from corner to corner and a little beyond."""
        size = occasion.size_px
        way = np.linspace(-0.3, 1.3, scene.n_frames)
        cloud = MovingPatch(size * (0.25 + 0.5 * way), size * way, self.sigma_px, self.percent / 100.0)
        return replace(scene, patches=(*scene.patches, cloud))


@dataclass(frozen=True, kw_only=True)
class UniformCloud(_TwilightFault):
    """Even cloud dims the whole field by up to `percent`, now more, now less; the slopes are unharmed."""

    percent: float = 40.0

    def on_twilight(self, scene: TwilightScene, occasion: Occasion) -> TwilightScene:
        """Dim the twilight."""
        time = np.linspace(0.0, 1.0, scene.n_frames)
        cover = 0.5 + 0.3 * np.sin(2 * np.pi * 1.3 * time + 0.7) + 0.2 * np.sin(2 * np.pi * 3.1 * time)
        return replace(scene, level_dn=scene.level_dn * (1.0 - self.percent / 100.0 * cover))


@dataclass(frozen=True, kw_only=True)
class TooLittleChange(_TwilightFault):
    """The twilight fades only by the factor `ratio` from the first frame to the last."""

    ratio: float = 1.15

    def on_twilight(self, scene: TwilightScene, occasion: Occasion) -> TwilightScene:
        """Flatten the fading."""
        time = np.linspace(0.0, 1.0, scene.n_frames)
        return replace(scene, level_dn=scene.level_dn[0] * self.ratio**-time)


@dataclass(frozen=True, kw_only=True)
class SaturatedTwilight(_TwilightFault):
    """The twilight is taken too early: it begins at `start_dn`, so that most frames saturate."""

    start_dn: float = 120_000.0

    def on_twilight(self, scene: TwilightScene, occasion: Occasion) -> TwilightScene:
        """Brighten the twilight."""
        return replace(scene, level_dn=scene.level_dn * (self.start_dn / scene.level_dn[0]))


@dataclass(frozen=True, kw_only=True)
class LightLeak(Fault):
    """Light leaks in at a corner, in darks and flats; scans are taken after it was found.

    `level_dn` is the glow of the darks at the very corner in R2-R1; it falls off exponentially over
    `scale_px`.  Flats have `flat_factor` times as much, steady, and `percent` of their own light on top.
    """

    level_dn: float = 80.0
    scale_px: float = 40.0
    corner: int = 3
    flat_factor: float = 3.0
    percent: float = 4.0

    subject: ClassVar[Subject] = "dark"

    def on_dark(self, scene: DarkScene, occasion: Occasion) -> DarkScene:
        """Let the corner glow."""
        glow = corner_glow(self.corner, self.scale_px, occasion.size_px)
        return replace(scene, glow_dn=scene.glow_dn + np.float32(self.level_dn) * glow)

    def on_twilight(self, scene: TwilightScene, occasion: Occasion) -> TwilightScene:
        """Let the corner glow, in part with the twilight."""
        glow = corner_glow(self.corner, self.scale_px, occasion.size_px)
        return replace(
            scene,
            shape=scene.shape + np.float32(self.percent / 100.0) * glow,
            constant_dn=scene.constant_dn + np.float32(self.level_dn * self.flat_factor) * glow,
        )


@dataclass(frozen=True, kw_only=True)
class WarmUp(Fault):
    """The first darks after a pause are too high, by `level_dn` in R2-R1 and `r1_level_dn` in R1.

    The excess falls by a factor e in `decay_frames` frames.
    """

    level_dn: float = 80.0
    r1_level_dn: float = 200.0
    decay_frames: float = 8.0

    subject: ClassVar[Subject] = "dark"

    def on_dark(self, scene: DarkScene, occasion: Occasion) -> DarkScene:
        """Raise the first frames."""
        fading = np.exp(-np.arange(scene.n_frames) / self.decay_frames)
        return replace(
            scene,
            warmup_dn=scene.warmup_dn + self.level_dn * fading,
            r1_warmup_dn=scene.r1_warmup_dn + self.r1_level_dn * fading,
        )


@dataclass(frozen=True, kw_only=True)
class MissingDark(Fault):
    """No darks were taken."""

    subject: ClassVar[Subject] = "dark"

    def on_dark(self, scene: DarkScene, occasion: Occasion) -> None:
        """Take no darks."""
        return None


@dataclass(frozen=True, kw_only=True)
class MissingFlat(_TwilightFault):
    """No twilight flats were taken."""

    def on_twilight(self, scene: TwilightScene, occasion: Occasion) -> None:
        """Take no flats."""
        return None
