"""What a sequence looks at, frame by frame: the light before the detector does anything to it.

A scene is made for a quiet night and then handed from fault to fault, each of which returns it changed; the
last one is what is exposed and at the same time the truth of the sequence.  All light is in DN that a pixel
of responsivity 1 collects between the two reads (1.3 s); images are float32 of shape (size, size) without
NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .camera import FloatImage
from .shapes import disc, patch, wave
from .sources import Extended, Latent, StarField

__all__ = ["DarkScene", "MovingPatch", "ScanScene", "Scene", "TwilightScene", "Wave"]

Series = NDArray[np.float64]


class Scene(Protocol):
    """What exposing a sequence needs to know of its scene."""

    @property
    def n_frames(self) -> int:
        """Number of frames."""

    def illumination_dn(self, frame: int) -> FloatImage:
        """Light on the array in a frame, DN."""

    def drift_dn(self, frame: int) -> tuple[float, float]:
        """Departure of the levels of R1 and of R2-R1 from the dark of the night, DN."""


@dataclass(frozen=True, eq=False)
class DarkScene:
    """A dark sequence: no light but what leaks in.

    Attributes
    ----------
    n_frames : int
        Number of frames.
    glow_dn : ndarray, shape (size, size)
        Stray light, DN.
    r1_warmup_dn, warmup_dn : ndarray, shape (n_frames,)
        Departure of the levels of R1 and of R2-R1 from the dark of the night, DN.
    """

    n_frames: int
    glow_dn: FloatImage
    r1_warmup_dn: Series
    warmup_dn: Series

    def illumination_dn(self, frame: int) -> FloatImage:
        """Light on the array in a frame, DN."""
        return self.glow_dn

    def drift_dn(self, frame: int) -> tuple[float, float]:
        """Departure of the levels of R1 and of R2-R1 from the dark of the night, DN."""
        return float(self.r1_warmup_dn[frame]), float(self.warmup_dn[frame])


@dataclass(frozen=True, eq=False)
class MovingPatch:
    """A cloud that crosses the field.

    Attributes
    ----------
    y_px, x_px : ndarray, shape (n_frames,)
        Centre in each frame, pixels of the array.
    sigma_px : float
        Standard deviation of its Gaussian profile.
    depth : float
        Light it takes away at its centre, as a fraction; negative if it shines.
    """

    y_px: Series
    x_px: Series
    sigma_px: float
    depth: float

    def transmission(self, frame: int, size_px: int) -> FloatImage:
        """Fraction of the light that passes in a frame, shape (size_px, size_px)."""
        center = (float(self.y_px[frame]), float(self.x_px[frame]))
        return 1.0 - np.float32(self.depth) * patch(center, self.sigma_px, size_px)


@dataclass(frozen=True, eq=False)
class TwilightScene:
    """A twilight sequence.

    Attributes
    ----------
    level_dn : ndarray, shape (n_frames,)
        Brightness of the twilight, DN.
    shape : ndarray, shape (size, size)
        What multiplies it, the same in all frames; 1 for an even sky.  A fit of signal against level finds
        the responsivity times this.
    constant_dn : ndarray, shape (size, size)
        Light that does not change with the twilight, DN.
    patches : tuple of MovingPatch
        Clouds that cross the field.
    stars : StarField
        Stars.
    origin_px : ndarray, shape (n_frames, 2)
        Place (y, x) of each frame in the plane of the stars.
    """

    level_dn: Series
    shape: FloatImage
    constant_dn: FloatImage
    stars: StarField
    origin_px: Series
    patches: tuple[MovingPatch, ...] = ()

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.level_dn.size

    def illumination_dn(self, frame: int) -> FloatImage:
        """Light on the array in a frame, DN."""
        image = np.float32(self.level_dn[frame]) * self.shape
        for cloud in self.patches:
            image *= cloud.transmission(frame, image.shape[0])
        image += self.constant_dn
        self.stars.add_to(image, _origin(self.origin_px, frame))
        return image

    def drift_dn(self, frame: int) -> tuple[float, float]:
        """Departure of the levels of R1 and of R2-R1 from the dark of the night, DN."""
        return 0.0, 0.0


@dataclass(frozen=True)
class Wave:
    """Airglow waves that move over the array.

    Attributes
    ----------
    amplitude : float
        Fraction of the sky.
    wavelength_px : float
        Distance between crests.
    angle_deg : float
        Direction across the crests: 0 along +x, 90 along +y.
    speed_px : float
        Movement from frame to frame, pixels.
    phase_rad : float
        Phase of pixel (0, 0) in frame 0.
    """

    amplitude: float
    wavelength_px: float
    angle_deg: float
    speed_px: float
    phase_rad: float

    def image(self, frame: int, size_px: int) -> FloatImage:
        """Brightness in a frame as a fraction of the sky, shape (size_px, size_px)."""
        phase = self.phase_rad - 2 * np.pi * self.speed_px * frame / self.wavelength_px
        return np.float32(self.amplitude) * wave(self.wavelength_px, self.angle_deg, phase, size_px)


@dataclass(frozen=True, eq=False)
class ScanScene:
    """A scan: dark sky, stars that move along y, and a pattern of the sky that stays.

    A frame that is calibrated without flaw equals `scene_dn`; the sky offset of a block is the mean of
    `pattern_dn` over its frames.

    Attributes
    ----------
    sky_dn : ndarray, shape (n_frames,)
        Level of the sky, DN.
    pattern : ndarray, shape (size, size)
        Residual illumination pattern of the dark sky as a fraction of its level, zero in the median over the
        good pixels.  Twilight does not have it.
    origin_px : ndarray, shape (n_frames, 2)
        Place (y, x) of each frame in the plane of the scan.
    stars : StarField
        Stars.
    extended : tuple of Extended
        Galaxies and haloes.
    waves : tuple of Wave
        Airglow.
    latents : tuple of Latent
        Afterglows of saturated stars.
    """

    sky_dn: Series
    pattern: FloatImage
    origin_px: Series
    stars: StarField
    extended: tuple[Extended, ...] = ()
    waves: tuple[Wave, ...] = ()
    latents: tuple[Latent, ...] = field(default=())

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.sky_dn.size

    @cached_property
    def _afterglow(self) -> tuple[FloatImage, ...]:
        size = self.pattern.shape[0]
        return tuple(disc((latent.y, latent.x), latent.radius_px, size) for latent in self.latents)

    def stars_dn(self, frame: int) -> FloatImage:
        """Stars in a frame, DN."""
        image = np.zeros_like(self.pattern)
        self.stars.add_to(image, _origin(self.origin_px, frame))
        return image

    def galaxy_dn(self, frame: int) -> FloatImage:
        """Galaxies and haloes in a frame, DN."""
        image = np.zeros_like(self.pattern)
        for source in self.extended:
            image += source.image_dn(image.shape[0], _origin(self.origin_px, frame))
        return image

    def scene_dn(self, frame: int) -> FloatImage:
        """Sky level, stars and galaxies of a frame: what it should show after calibration, DN."""
        image = self.stars_dn(frame)
        if self.extended:
            image += self.galaxy_dn(frame)
        image += np.float32(self.sky_dn[frame])
        return image

    def pattern_dn(self, frame: int) -> FloatImage:
        """Additive sky pattern in a frame, which calibration should remove, DN."""
        return np.float32(self.sky_dn[frame]) * self.pattern

    def airglow_dn(self, frame: int) -> FloatImage:
        """Airglow waves in a frame, DN: neither scene nor steady pattern, beyond any calibration."""
        image = np.zeros_like(self.pattern)
        for ripple in self.waves:
            image += np.float32(self.sky_dn[frame]) * ripple.image(frame, image.shape[0])
        return image

    def latent_dn(self, frame: int) -> FloatImage:
        """Afterglow of saturated stars in a frame, DN."""
        image = np.zeros_like(self.pattern)
        for latent, shape in zip(self.latents, self._afterglow, strict=True):
            image += np.float32(latent.level_dn(frame)) * shape
        return image

    def illumination_dn(self, frame: int) -> FloatImage:
        """All light on the array in a frame, DN."""
        image = self.scene_dn(frame)
        image += self.pattern_dn(frame)
        if self.waves:
            image += self.airglow_dn(frame)
        if self.latents:
            image += self.latent_dn(frame)
        return image

    def drift_dn(self, frame: int) -> tuple[float, float]:
        """Departure of the levels of R1 and of R2-R1 from the dark of the night, DN."""
        return 0.0, 0.0


def _origin(origin_px: Series, frame: int) -> tuple[float, float]:
    return float(origin_px[frame, 0]), float(origin_px[frame, 1])
