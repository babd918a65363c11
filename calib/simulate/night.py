"""One night: its darks, its twilight flats, its scans, and the truth behind them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from .camera import CAMERA, EXPOSURE_S, PIXEL_ARCSEC, UTC_OFFSET_H, FloatImage, Mask
from .detector import Detector
from .exposure import Sequence, expose
from .faults import Fault, Occasion
from .scenes import DarkScene, ScanScene, Scene, TwilightScene
from .seeds import stream
from .shapes import smooth_modes
from .sources import scatter_stars

if TYPE_CHECKING:
    from .survey import Survey

__all__ = ["SimulatedNight", "Truth"]

AnyScene = TypeVar("AnyScene", bound=Scene)

HALVING_S = 2.9 * 60.0
"""Time in which the evening twilight loses half its light."""
TWILIGHT_EVERY = 5
"""One frame in five of a twilight sequence is kept."""
PATTERN_PEAK = 0.01
PATTERN_CHANGE = 0.1
"""Part of the sky pattern that is new in each scan."""
FRAMES_PER_CROSSING = 6
JITTER_PX = 0.3
DARK_UTC_H, TWILIGHT_UTC_H, SCANS_UTC_H = 1.5, 2.5, 4.0
SCAN_PAUSE_S = 45.0
MJD_OF_DAY_0 = -678_576
"""MJD of the proleptic ordinal 0 of `datetime.date`."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of a band on a night.

    Attributes
    ----------
    date : str
        Night, ISO.
    ordinal : int
        Night, counted from 0.
    band : str
        J, H or Ks.
    period : int
        Hardware period: the number of arrays before this one.
    dark : dict of str to ndarray, shape (size, size)
        Dark of the detector by read ("R1", "R2-R1"), DN; light that leaks into the dark sequence is not part
        of it, nor is a warm-up.
    noise_dn : dict of str to ndarray, shape (size, size)
        Noise without light by read, DN rms.
    responsivity : ndarray, shape (size, size)
        Median 1 over the good pixels.
    good : ndarray of bool, shape (size, size)
        False for dead, hot, noisy and bistable pixels.
    faults : tuple of Fault
        What acts on this band tonight.
    sky_pattern : dict of int to ndarray, shape (size, size)
        By scan: sky pattern as a fraction of the sky.
    twilight_shape : ndarray, shape (size, size), or None
        Uneven light of the twilight in proportion to its level, 1 where even: an ideal fit finds the
        responsivity times this.  None if there are no flats.
    """

    date: str
    ordinal: int
    band: str
    period: int
    dark: dict[str, FloatImage]
    noise_dn: dict[str, FloatImage]
    responsivity: FloatImage
    good: Mask
    faults: tuple[Fault, ...]
    sky_pattern: dict[int, FloatImage]
    twilight_shape: FloatImage | None


@dataclass(frozen=True)
class SimulatedNight:
    """A night of a survey, local noon to local noon, named by the date on which it begins.

    Attributes
    ----------
    survey : Survey
        The survey.
    ordinal : int
        Night, counted from 0.
    """

    survey: Survey
    ordinal: int

    @property
    def date(self) -> str:
        """Name of the night, ISO date."""
        return self._day.isoformat()

    @property
    def scans(self) -> tuple[int, ...]:
        """Numbers of the scans that are planned, from 1."""
        return tuple(range(1, self.survey.n_scans(self.ordinal) + 1))

    def dark(self, band: str) -> Sequence[DarkScene] | None:
        """Return the dark sequence of a band; None if there is none."""
        scene = self.dark_scene(band)
        if scene is None:
            return None
        time_mjd = self._time_mjd(DARK_UTC_H, scene.n_frames, EXPOSURE_S)
        return self._sequence(band, "DARK", None, scene, time_mjd, np.zeros((scene.n_frames, 2)))

    def twilight(self, band: str) -> Sequence[TwilightScene] | None:
        """Return the twilight sequence of a band; None if there is none."""
        scene = self.twilight_scene(band)
        if scene is None:
            return None
        time_mjd = self._time_mjd(TWILIGHT_UTC_H, scene.n_frames, TWILIGHT_EVERY * EXPOSURE_S)
        return self._sequence(band, "TWILIGHT", None, scene, time_mjd, scene.origin_px)

    def scan(self, band: str, number: int) -> Sequence[ScanScene] | None:
        """Return a scan of a band; None if it was not taken."""
        scene = self.scan_scene(band, number)
        if scene is None:
            return None
        slot_s = self.survey.n_scan * EXPOSURE_S + SCAN_PAUSE_S
        begin_h = SCANS_UTC_H + (number - 1) * slot_s / 3600.0
        time_mjd = self._time_mjd(begin_h, scene.n_frames, EXPOSURE_S)
        return self._sequence(band, "SCAN", number, scene, time_mjd, scene.origin_px)

    def truth(self, band: str) -> Truth:
        """Return the truth of a band."""
        detector = self.detector(band)
        scenes = {number: self.scan_scene(band, number) for number in self.scans}
        twilight = self.twilight_scene(band)
        return Truth(
            date=self.date,
            ordinal=self.ordinal,
            band=band,
            period=self.survey.period(self.ordinal, band),
            dark={"R1": detector.r1_dn, "R2-R1": detector.dark_dn},
            noise_dn={"R1": detector.r1_noise_dn, "R2-R1": detector.noise_dn},
            responsivity=detector.responsivity,
            good=detector.good,
            faults=self.survey.faults_of(self.ordinal, band),
            sky_pattern={number: scene.pattern for number, scene in scenes.items() if scene is not None},
            twilight_shape=None if twilight is None else twilight.shape,
        )

    def detector(self, band: str) -> Detector:
        """Return the detector of a band."""
        return self.survey.detector(self.ordinal, band)

    def dark_scene(self, band: str) -> DarkScene | None:
        """Return what the darks see; None if there are none."""
        size, n_frames = self.survey.size_px, self.survey.n_dark
        none = np.zeros(n_frames)
        scene: DarkScene | None = DarkScene(n_frames, np.zeros((size, size), np.float32), none, none)
        occasion = self._occasion(band)
        for fault in self.survey.faults_of(self.ordinal, band):
            scene = fault.on_dark(scene, occasion) if scene is not None else None
        return scene

    def twilight_scene(self, band: str) -> TwilightScene | None:
        """Return what the twilight flats see; None if there are none."""
        size, n_frames = self.survey.size_px, self.survey.n_twilight
        rng = self._stream(band, "twilight")
        brightness = 1.0 + np.clip(0.03 * rng.standard_normal(), -0.06, 0.06)
        time_s = TWILIGHT_EVERY * EXPOSURE_S * np.arange(n_frames)
        origin_px = self._origins(n_frames, TWILIGHT_EVERY, "twilight")
        extent_px = (float(origin_px[-1, 0]) + size, float(size))
        key = (self.ordinal, "twilight")
        scene: TwilightScene | None = TwilightScene(
            level_dn=CAMERA[band].twilight_dn * brightness * 0.5 ** (time_s / HALVING_S),
            shape=np.ones((size, size), np.float32),
            constant_dn=np.zeros((size, size), np.float32),
            stars=scatter_stars(self.survey.seed, key, band, CAMERA[band].star_brightness, extent_px),
            origin_px=origin_px,
        )
        occasion = self._occasion(band)
        for fault in self.survey.faults_of(self.ordinal, band):
            scene = fault.on_twilight(scene, occasion) if scene is not None else None
        return scene

    def scan_scene(self, band: str, number: int) -> ScanScene | None:
        """Return what a scan sees; None if it was not taken."""
        if number not in self.scans:
            raise ValueError(f"night {self.date} has no scan {number}: its scans are {self.scans}")
        size, n_frames, physics = self.survey.size_px, self.survey.n_scan, CAMERA[band]
        origin_px = self._origins(n_frames, 1, "scan", number)
        extent_px = (float(origin_px[-1, 0]) + size, float(size))
        key = (self.ordinal, "scan", number)
        scene: ScanScene | None = ScanScene(
            sky_dn=_sky(physics.sky_dn, physics.sky_drift, n_frames, self._stream(band, "sky", number)),
            pattern=self._sky_pattern(band, number),
            origin_px=origin_px,
            stars=scatter_stars(self.survey.seed, key, band, physics.star_brightness, extent_px),
        )
        occasion = self._occasion(band, number)
        for fault in self.survey.faults_of(self.ordinal, band):
            scene = fault.on_scan(scene, occasion) if scene is not None else None
        return scene

    @property
    def _day(self) -> dt.date:
        return dt.date.fromisoformat(self.survey.start) + dt.timedelta(days=self.ordinal)

    def _stream(self, *key: int | str) -> np.random.Generator:
        return stream(self.survey.seed, self.ordinal, *key)

    def _occasion(self, band: str, scan: int | None = None) -> Occasion:
        return Occasion(self.survey.seed, self.ordinal, band, self.survey.size_px, scan)

    def _time_mjd(self, begin_utc_h: float, n_frames: int, step_s: float) -> NDArray[np.float64]:
        """Time the frames; from 17 h local time on, a night lies in the UT day after its name."""
        local_h = begin_utc_h + 24.0 + UTC_OFFSET_H
        midnight_mjd = self._day.toordinal() + MJD_OF_DAY_0 - UTC_OFFSET_H / 24.0
        elapsed_d = np.arange(n_frames, dtype=np.float64) * (step_s / 86_400.0)
        return elapsed_d + (midnight_mjd + local_h / 24.0)

    def _origins(self, n_frames: int, step: int, *key: int | str) -> NDArray[np.float64]:
        """Place the frames in the plane of the sky, the same for all bands: a sixth of the array a frame."""
        size = self.survey.size_px
        jitter = np.clip(self._stream(*key, "jitter").standard_normal((n_frames, 2)), -3.0, 3.0)
        origin_px = JITTER_PX * jitter
        origin_px[:, 0] += step * size / FRAMES_PER_CROSSING * np.arange(n_frames)
        return origin_px

    def _sky_pattern(self, band: str, number: int) -> FloatImage:
        """Sky pattern of a scan: that of the hardware period with a small part of its own."""
        size = self.survey.size_px
        period = self.survey.period(self.ordinal, band)
        own = _odd_modes(self._stream(band, "pattern", number))
        pattern = smooth_modes(
            _odd_modes(stream(self.survey.seed, band, period, "pattern")) + PATTERN_CHANGE * own, size
        )
        pattern *= np.float32(PATTERN_PEAK) / np.max(np.abs(pattern))
        pattern -= np.median(pattern[self.detector(band).good])
        return pattern

    def _sequence(
        self,
        band: str,
        obstype: Literal["DARK", "TWILIGHT", "SCAN"],
        scan: int | None,
        scene: AnyScene,
        time_mjd: NDArray[np.float64],
        origin_px: NDArray[np.float64],
    ) -> Sequence[AnyScene]:
        """Expose a scene."""
        detector = self.detector(band)
        rng = self._stream(band, obstype, scan or 0, "noise")
        flicker = self._stream(band, obstype, scan or 0, "flicker")
        dark_series_dn = {(pixel.y, pixel.x): pixel.levels_dn(scene.n_frames, flicker) for pixel in detector.flickers}
        r1, r2 = expose(scene, detector, CAMERA[band].gain_e_per_dn, dark_series_dn, rng)
        degrees = (origin_px - origin_px[0]) * (PIXEL_ARCSEC / 3600.0)
        ra_deg, dec_deg = self._stream(obstype, scan or 0, "field").uniform((0.0, -30.0), (360.0, 25.0))
        return Sequence(
            date=self.date,
            band=band,
            obstype=obstype,
            scan=scan,
            r1=r1,
            r2=r2,
            time_mjd=time_mjd,
            # East is to the left: the field moves to lower RA as the origin moves to higher x.
            ra_deg=(ra_deg - degrees[:, 1] / np.cos(np.deg2rad(dec_deg))) % 360.0,
            dec_deg=dec_deg + degrees[:, 0],
            truth=scene,
            detector=detector,
            dark_series_dn=dark_series_dn,
        )


def _odd_modes(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw modes that are odd about the centre of the array: as often positive as negative."""
    order = np.add.outer(np.arange(4), np.arange(4))
    drawn = rng.standard_normal((4, 4)) / (1.0 + order) * (order % 2 == 1)
    coefficients: NDArray[np.float64] = drawn / np.sqrt(np.sum(drawn**2))
    return coefficients


def _sky(level_dn: float, drift: float, n_frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the sky of a scan: it wanders slowly about a level that differs a little from scan to scan."""
    time = np.linspace(0.0, 1.0, n_frames)
    phase, own = rng.uniform(0.0, 2 * np.pi, 2), np.clip(0.03 * rng.standard_normal(), -0.06, 0.06)
    wander = 0.6 * np.sin(2 * np.pi * 0.8 * time + phase[0]) + 0.4 * np.sin(2 * np.pi * 1.9 * time + phase[1])
    series: NDArray[np.float64] = level_dn * (1.0 + own) * (1.0 + drift * wander)
    return series
