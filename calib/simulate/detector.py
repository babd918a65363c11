"""The detector of one band on one night: its dark, its responsivity, its bad pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .camera import CAMERA, R1_SHARE, FloatImage, Mask, quadrant
from .seeds import stream
from .shapes import smooth_modes

__all__ = ["Detector", "Flicker", "build_detector", "frozen", "vary_quietly"]

DEAD_FRACTION = 0.003
HOT_FRACTION = 0.002
NOISY_FRACTION = 0.001
PIXEL_SCATTER = 0.03
SMOOTH_RMS = 0.04
MODES = 5

QUIET_PIXEL = 0.002
QUIET_SMOOTH = 0.0015
QUIET_DARK_DN = 20.0
QUIET_R1_DN = 100.0
QUIET_DAYS = 4.0
"""Correlation time of the quiet variation, days."""


@dataclass(frozen=True)
class Flicker:
    """A bistable pixel: its dark jumps between two levels.

    Attributes
    ----------
    y, x : int
        Pixel.
    low_dn, high_dn : float
        The two levels of its R2-R1 dark, DN.
    starts_high : bool
        State in which a sequence begins.
    switch_probability : float
        Chance that it switches from one frame to the next.
    """

    y: int
    x: int
    low_dn: float
    high_dn: float
    starts_high: bool
    switch_probability: float

    def levels_dn(self, n_frames: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Level in each frame of a sequence, DN, shape (n_frames,)."""
        switches = rng.random(n_frames) < self.switch_probability
        switches[0] = False
        high = (np.cumsum(switches) % 2 == 1) ^ self.starts_high
        return np.where(high, self.high_dn, self.low_dn).astype(np.float32)


@dataclass(frozen=True)
class Detector:
    """What the array of one band is on one night.  Images have the shape (size, size) and no NaN.

    Attributes
    ----------
    r1_dn, dark_dn : ndarray of float32
        Mean R1 and mean R2-R1 without light, DN.
    responsivity : ndarray of float32
        DN out per DN of illumination; median 1 over the good pixels.
    noise_dn, r1_noise_dn : ndarray of float32
        Noise without light of R2-R1 and of R1 about its mean, DN rms.  That of hot pixels includes the shot
        noise of their dark current.
    good : ndarray of bool
        False for dead, hot, noisy and bistable pixels.
    flickers : tuple of Flicker
        The bistable pixels.
    """

    r1_dn: FloatImage
    dark_dn: FloatImage
    responsivity: FloatImage
    noise_dn: FloatImage
    r1_noise_dn: FloatImage
    good: Mask
    flickers: tuple[Flicker, ...] = ()

    @property
    def size_px(self) -> int:
        """Side of the array, pixels."""
        return int(self.good.shape[0])

    def normalised(self) -> Detector:
        """Return the same detector with a median responsivity of 1 over its good pixels."""
        return replace(self, responsivity=self.responsivity / np.median(self.responsivity[self.good]))


def frozen(detector: Detector) -> Detector:
    """Make the images of a detector read-only, for it is shared between the sequences of a night."""
    for image in vars(detector).values():
        if isinstance(image, np.ndarray):
            image.setflags(write=False)
    return detector


def _smooth(rng: np.random.Generator, rms: float, size_px: int, *, modes: int = MODES) -> FloatImage:
    """Random smooth structure of a given rms over the array."""
    falling = 1.0 / (1.0 + np.add.outer(np.arange(modes), np.arange(modes)))
    falling[0, 0] = 0.0
    coefficients = rng.standard_normal((modes, modes)) * falling
    return smooth_modes(coefficients * (rms / np.sqrt(np.sum(coefficients**2))), size_px)


@lru_cache(maxsize=16)
def build_detector(seed: int, band: str, period: int, size_px: int) -> Detector:
    """Build the array of a hardware period, as it is before any night's variation.

    Parameters
    ----------
    seed : int
        Seed of the survey.
    band : str
        J, H or Ks.
    period : int
        0 for the first array, 1 for the one that replaced it, and so on.
    size_px : int
        Side of the array, even.

    Returns
    -------
    Detector
        Its images are read-only, for it is cached.
    """
    physics = CAMERA[band]
    rng = stream(seed, band, period, "array")
    shape = (size_px, size_px)
    half = size_px // 2
    ramp = ((np.arange(size_px) % half) / half)[:, None]

    columns = np.where(np.arange(size_px) % 2 == 1, 0.5, -0.5)[None, :] * physics.column_step_dn
    r1_dn = physics.offset_dn + columns + _smooth(rng, 60.0, size_px) + 8.0 * rng.standard_normal(shape)
    r1_dn = r1_dn + (ramp - 0.5) * 150.0
    dark_dn = physics.dark_dn + 4.0 * rng.standard_normal(shape) + _smooth(rng, 6.0, size_px)
    responsivity = 1.0 + PIXEL_SCATTER * rng.standard_normal(shape) + _smooth(rng, SMOOTH_RMS, size_px)
    for number in range(4):
        part = quadrant(number, size_px)
        dark_dn[part] += (ramp[part[0]] - 0.5) * physics.ramp_dn * rng.uniform(0.7, 1.3)
        dark_dn[part] += rng.normal(0.0, 5.0)
        r1_dn[part] += rng.normal(0.0, 60.0)
        responsivity[part] *= 1.0 + rng.normal(0.0, 0.01)

    lot = rng.random(shape)
    dead = lot < DEAD_FRACTION
    hot = (lot >= DEAD_FRACTION) & (lot < DEAD_FRACTION + HOT_FRACTION)
    noisy = (lot >= DEAD_FRACTION + HOT_FRACTION) & (lot < DEAD_FRACTION + HOT_FRACTION + NOISY_FRACTION)
    responsivity[dead] = rng.uniform(0.0, 0.05, int(dead.sum()))
    current_dn = np.zeros(shape)
    current_dn[hot] = np.exp(rng.uniform(np.log(300.0), np.log(5_000.0), int(hot.sum())))
    louder = np.ones(shape)
    louder[noisy] = rng.uniform(3.0, 10.0, int(noisy.sum()))
    shot_dn2 = current_dn / physics.gain_e_per_dn

    return frozen(
        Detector(
            r1_dn=(r1_dn + current_dn * R1_SHARE).astype(np.float32),
            dark_dn=(dark_dn + current_dn).astype(np.float32),
            responsivity=responsivity.astype(np.float32),
            noise_dn=np.sqrt((physics.read_noise_dn * louder) ** 2 + shot_dn2).astype(np.float32),
            r1_noise_dn=np.sqrt((physics.r1_noise_dn * louder) ** 2 + shot_dn2 * R1_SHARE).astype(np.float32),
            good=~(dead | hot | noisy),
        ).normalised()
    )


@lru_cache(maxsize=64)
def _walk(seed: int, band: str, what: str, nights: int, width: int) -> NDArray[np.float64]:
    """Draw autoregressive series of unit variance, shape (nights, width); longer ones begin the same."""
    memory = np.exp(-1.0 / QUIET_DAYS)
    steps = stream(seed, band, what, "walk").standard_normal((nights, width))
    series = np.empty_like(steps)
    series[0] = steps[0]
    for night in range(1, nights):
        series[night] = memory * series[night - 1] + np.sqrt(1.0 - memory**2) * steps[night]
    series.setflags(write=False)
    return series


def vary_quietly(detector: Detector, seed: int, band: str, ordinal: int, nights: int) -> Detector:
    """Let a detector vary as it does on every healthy night.

    The levels of the dark wander by 20 DN (R2-R1) and 100 DN (R1) rms and the responsivity by 0.15 % rms in
    smooth structure, all correlated over four days; each pixel's responsivity scatters by 0.2 % from night to
    night.

    Parameters
    ----------
    detector : Detector
        The array of the hardware period.
    seed : int
        Seed of the survey.
    band : str
        J, H or Ks.
    ordinal : int
        Night, counted from 0.
    nights : int
        Nights in the survey.

    Returns
    -------
    Detector
        Not normalised.
    """
    size = detector.size_px
    level = _walk(seed, band, "levels", nights, 2)[ordinal]
    # Divided so that the expected mean square of the sum of all modes is one.
    modes = _walk(seed, band, "modes", nights, MODES * MODES)[ordinal].reshape(MODES, MODES).copy()
    modes[0, 0] = 0.0
    modes /= np.sqrt(MODES * MODES - 1)
    pixels = stream(seed, ordinal, band, "pixels").standard_normal((size, size), dtype=np.float32)
    change = 1.0 + QUIET_PIXEL * pixels + QUIET_SMOOTH * smooth_modes(modes, size)
    return replace(
        detector,
        r1_dn=detector.r1_dn + np.float32(QUIET_R1_DN * level[0]),
        dark_dn=detector.dark_dn + np.float32(QUIET_DARK_DN * level[1]),
        responsivity=(detector.responsivity * change).astype(np.float32),
    )
