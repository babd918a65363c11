"""Faults of scans, and the night on which nothing was taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..scenes import DarkScene, ScanScene, TwilightScene, Wave
from ..sources import Extended, Latent
from .base import Fault, Occasion, Subject

__all__ = ["AirglowWaves", "BrightStar", "Galaxy", "Latents", "MissingNight", "ShortScan"]


@dataclass(frozen=True, kw_only=True)
class _ScanFault(Fault):
    """A fault of one scan, or of all scans of the night if `scan` is None."""

    scan: int | None = 1

    subject: ClassVar[Subject] = "scan"

    def on_any_scan_of(self, scans: int) -> bool:
        """Tell whether the scan that is meant is one of the night's."""
        return scans > 0 if self.scan is None else self.scan <= scans

    def on_scan(self, scene: ScanScene, occasion: Occasion) -> ScanScene | None:
        """Change the scan if it is the one that is meant."""
        if self.scan not in (None, occasion.scan):
            return scene
        return self.spoil(scene, occasion)

    def spoil(self, scene: ScanScene, occasion: Occasion) -> ScanScene | None:
        """Change the scan that is meant."""
        return scene


@dataclass(frozen=True, kw_only=True)
class AirglowWaves(_ScanFault):
    """Waves of OH airglow, of an amplitude of `percent` of the sky, move over the array.

    They move by `speed_px` a frame: slowly enough that the frames of a block do not average them out.
    """

    bands: tuple[str, ...] = ("H",)
    scan: int | None = None
    percent: float = 3.0
    wavelength_px: float = 180.0
    angle_deg: float = 70.0
    speed_px: float = 1.5

    def spoil(self, scene: ScanScene, occasion: Occasion) -> ScanScene:
        """Add the waves."""
        phase = float(self.random(occasion, occasion.scan or 0).uniform(0.0, 6.28))
        ripple = Wave(self.percent / 100.0, self.wavelength_px, self.angle_deg, self.speed_px, phase)
        return replace(scene, waves=(*scene.waves, ripple))


@dataclass(frozen=True, kw_only=True)
class Galaxy(_ScanFault):
    """A galaxy far larger than the field passes, at its middle in frame `frame`.

    It is so extended (scale length `scale_px`) that most frames of a block have it, and trimming cannot
    remove it.
    """

    frame: int = 115
    peak_dn: float = 800.0
    scale_px: float = 180.0
    axis_ratio: float = 0.5

    def spoil(self, scene: ScanScene, occasion: Occasion) -> ScanScene:
        """Add the galaxy."""
        y_px, x_px = _middle(scene, self.frame, occasion.size_px)
        galaxy = Extended(y_px, x_px, self.peak_dn, self.scale_px, "exponential", self.axis_ratio)
        return replace(scene, extended=(*scene.extended, galaxy))


@dataclass(frozen=True, kw_only=True)
class BrightStar(_ScanFault):
    """A very bright star with a broad halo passes, at the middle of the array in frame `frame`.

    The star itself has `flux_dn` in all its pixels together; its halo has `halo_dn` at the centre and a core
    radius of `scale_px`.
    """

    frame: int = 160
    flux_dn: float = 3.0e6
    halo_dn: float = 4_000.0
    scale_px: float = 80.0

    def spoil(self, scene: ScanScene, occasion: Occasion) -> ScanScene:
        """Add star and halo."""
        y_px, x_px = _middle(scene, self.frame, occasion.size_px)
        halo = Extended(y_px, x_px, self.halo_dn, self.scale_px, "halo")
        stars = scene.stars.with_star(y_px, x_px, self.flux_dn)
        return replace(scene, stars=stars, extended=(*scene.extended, halo))


@dataclass(frozen=True, kw_only=True)
class Latents(_ScanFault):
    """A star that saturates leaves afterglows on the array, which fade while the sky moves on.

    The star passes the middle of the array in frame `frame`.  Every place it shone on afterwards glows with
    `first_dn`, falling by a factor e in `decay_frames` frames, over a disc of `radius_px`.
    """

    frame: int = 100
    flux_dn: float = 1.0e6
    first_dn: float = 400.0
    decay_frames: float = 40.0
    radius_px: float = 2.5

    def spoil(self, scene: ScanScene, occasion: Occasion) -> ScanScene:
        """Add the star and its afterglows."""
        y_px, x_px = _middle(scene, self.frame, occasion.size_px)
        latents = []
        for frame in range(scene.n_frames):
            y = round(y_px - scene.origin_px[frame, 0])
            x = round(x_px - scene.origin_px[frame, 1])
            if 0 <= y < occasion.size_px and 0 <= x < occasion.size_px:
                latents.append(Latent(y, x, frame, self.first_dn, self.decay_frames, self.radius_px))
        stars = scene.stars.with_star(y_px, x_px, self.flux_dn)
        return replace(scene, stars=stars, latents=(*scene.latents, *latents))


@dataclass(frozen=True, kw_only=True)
class ShortScan(_ScanFault):
    """The scan ends after `frames` frames, too few for a block."""

    frames: int = 30

    def spoil(self, scene: ScanScene, occasion: Occasion) -> ScanScene:
        """Break off."""
        return replace(scene, sky_dn=scene.sky_dn[: self.frames], origin_px=scene.origin_px[: self.frames])


@dataclass(frozen=True, kw_only=True)
class MissingNight(Fault):
    """Nothing was taken: rain, or the dome stayed shut."""

    subject: ClassVar[Subject] = "night"

    def on_dark(self, scene: DarkScene, occasion: Occasion) -> None:
        """Take no darks."""
        return None

    def on_twilight(self, scene: TwilightScene, occasion: Occasion) -> None:
        """Take no flats."""
        return None

    def on_scan(self, scene: ScanScene, occasion: Occasion) -> None:
        """Take no scan."""
        return None


def _middle(scene: ScanScene, frame: int, size_px: int) -> tuple[float, float]:
    """Place in the plane of the scan that is at the middle of the array in a frame."""
    frame = min(frame, scene.n_frames - 1)
    return float(scene.origin_px[frame, 0]) + size_px / 2, float(scene.origin_px[frame, 1]) + 0.45 * size_px
