"""From light to raw numbers: both reads of every frame of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .camera import LINEARITY_DN, R1_SHARE, SATURATION_DN, FloatImage, RawCube
from .detector import Detector
from .scenes import Scene

__all__ = ["Sequence", "compressed", "expose"]

AnyScene = TypeVar("AnyScene", bound=Scene, covariant=True)
Read = Literal["R1", "R2", "R2-R1"]
Vector = NDArray[np.float32]

_LINEAR = np.float32(LINEARITY_DN)
_HEADROOM = np.float32(SATURATION_DN - LINEARITY_DN)
_SHARE = np.float32(R1_SHARE)
_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)


def compressed(signal_dn: FloatImage) -> FloatImage:
    """Response of the electronics: linear, then compressive, then flat.

    Up to 43,000 DN the output is the input.  Above, with u the excess and h the 9,200 DN that remain to
    saturation, it is ``43,000 + u - u²/4h``, which joins the line without a kink and reaches 52,200 DN,
    level, at u = 2h.

    Parameters
    ----------
    signal_dn : ndarray
        Raw signal of ideal electronics, DN.

    Returns
    -------
    ndarray
        Same shape, DN.
    """
    excess = np.clip(signal_dn - _LINEAR, 0.0, 2 * _HEADROOM)
    raw: FloatImage = np.minimum(signal_dn, _LINEAR) + excess - excess * excess / (4 * _HEADROOM)
    return raw


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _read_out(
    r1_dn: Vector,
    dark_dn: Vector,
    r1_noise_dn: Vector,
    noise_dn: Vector,
    responsivity: Vector,
    illumination_dn: Vector,
    r1_drift_dn: np.float32,
    drift_dn: np.float32,
    dn_per_e: np.float32,
    r1_random: Vector,
    random: Vector,
    r1_out: NDArray[np.uint16],
    r2_out: NDArray[np.uint16],
) -> None:
    """Both reads of one frame, pixels in a row; `random` holds standard normal deviates."""
    bend = np.float32(0.25) / _HEADROOM
    for i in range(r1_out.size):
        light = responsivity[i] * illumination_dn[i]
        charge = max(light, _ZERO) * dn_per_e
        first = r1_dn[i] + r1_drift_dn + light * _SHARE
        first += r1_random[i] * np.sqrt(r1_noise_dn[i] * r1_noise_dn[i] + charge * _SHARE)
        second = first + dark_dn[i] + drift_dn + light
        second += random[i] * np.sqrt(noise_dn[i] * noise_dn[i] + charge)
        excess = min(max(first - _LINEAR, _ZERO), _HEADROOM + _HEADROOM)
        first = max(min(first, _LINEAR), _ZERO) + excess - excess * excess * bend
        excess = min(max(second - _LINEAR, _ZERO), _HEADROOM + _HEADROOM)
        second = max(min(second, _LINEAR), _ZERO) + excess - excess * excess * bend
        r1_out[i] = np.uint16(np.int32(first + _HALF))
        r2_out[i] = np.uint16(np.int32(second + _HALF))


@dataclass(frozen=True, eq=False)
class Sequence(Generic[AnyScene]):
    """One raw sequence and the truth behind it.

    Attributes
    ----------
    date : str
        Night, ISO.
    band : str
        J, H or Ks.
    obstype : {"DARK", "TWILIGHT", "SCAN"}
        What it is.
    scan : int or None
        Number of the scan; None for darks and twilights.
    r1, r2 : ndarray of uint16, shape (n_frames, size, size)
        Raw reads, DN.
    time_mjd : ndarray of float64, shape (n_frames,)
        Start of each frame, MJD (UTC).
    ra_deg, dec_deg : ndarray of float64, shape (n_frames,)
        Centre of each frame, degrees.
    truth : Scene
        The light of each frame.
    detector : Detector
        The detector as it was this night.
    dark_series_dn : dict of (int, int) to ndarray, shape (n_frames,)
        R2-R1 dark in each frame of the bistable pixels, by (y, x), DN.
    """

    date: str
    band: str
    obstype: str
    scan: int | None
    r1: RawCube
    r2: RawCube
    time_mjd: NDArray[np.float64]
    ra_deg: NDArray[np.float64]
    dec_deg: NDArray[np.float64]
    truth: AnyScene
    detector: Detector
    dark_series_dn: dict[tuple[int, int], NDArray[np.float32]]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.r1.shape[0])

    def expected_dn(self, read: Read, frame: int) -> FloatImage:
        """Mean of what a frame would show if it were exposed again and again.

        Parameters
        ----------
        read : {"R1", "R2", "R2-R1"}
            The read.
        frame : int
            Frame, counted from 0.

        Returns
        -------
        ndarray of float32, shape (size, size)
            DN, without noise and rounding.
        """
        light = self.detector.responsivity * self.truth.illumination_dn(frame)
        r1_drift, drift = self.truth.drift_dn(frame)
        dark = _dark_of_frame(self.detector, self.dark_series_dn, frame)
        r1 = self.detector.r1_dn + np.float32(r1_drift) + light * _SHARE
        if read == "R1":
            return compressed(r1)
        r2 = compressed(r1 + dark + np.float32(drift) + light)
        return r2 if read == "R2" else r2 - compressed(r1)


def expose(
    scene: Scene,
    detector: Detector,
    gain_e_per_dn: float,
    dark_series_dn: dict[tuple[int, int], NDArray[np.float32]],
    rng: np.random.Generator,
) -> tuple[RawCube, RawCube]:
    """Expose all frames of a scene.

    R1 is the dark R1 with 51 ms of light; R2 is that very sample of R1 with the R2-R1 dark and 1.3 s of
    light.  Each of the two steps adds read noise and the shot noise of its own light (Gaussian, of exactly
    Poisson variance).

    Parameters
    ----------
    scene : Scene
        The light.
    detector : Detector
        The detector.
    gain_e_per_dn : float
        Conversion gain, e-/DN.
    dark_series_dn : dict of (int, int) to ndarray
        R2-R1 dark in each frame of the bistable pixels, by (y, x), DN.
    rng : numpy.random.Generator
        Source of the noise.

    Returns
    -------
    r1, r2 : ndarray of uint16, shape (n_frames, size, size)
        Raw reads, DN.
    """
    shape = (scene.n_frames, *detector.good.shape)
    r1, r2 = np.empty(shape, np.uint16), np.empty(shape, np.uint16)
    random = np.empty((2, detector.good.size), np.float32)
    for frame in range(scene.n_frames):
        rng.standard_normal(dtype=np.float32, out=random)
        r1_drift, drift = scene.drift_dn(frame)
        _read_out(
            detector.r1_dn.ravel(),
            _dark_of_frame(detector, dark_series_dn, frame).ravel(),
            detector.r1_noise_dn.ravel(),
            detector.noise_dn.ravel(),
            detector.responsivity.ravel(),
            scene.illumination_dn(frame).ravel(),
            np.float32(r1_drift),
            np.float32(drift),
            np.float32(1.0 / gain_e_per_dn),
            random[0],
            random[1],
            r1[frame].reshape(-1),
            r2[frame].reshape(-1),
        )
    return r1, r2


def _dark_of_frame(
    detector: Detector, dark_series_dn: dict[tuple[int, int], NDArray[np.float32]], frame: int
) -> FloatImage:
    """R2-R1 dark of the night with the bistable pixels as they are in a frame."""
    if not dark_series_dn:
        return detector.dark_dn
    dark = detector.dark_dn.copy()
    for pixel, series in dark_series_dn.items():
        dark[pixel] = series[frame]
    return dark
