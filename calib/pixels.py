"""The pixel monitor: which pixels jumped tonight, which turned hot, dead or noisy, which are bistable.

A pixel is flagged on size, significance and persistence together, and the number that chance alone would bring is
stated beside the number found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from calib.regions import mad_sigma, nan_median

__all__ = ["DarkPixels", "PixelEvent", "PixelLimits", "Turns", "count_significance", "new_dead", "watch_dark"]

Image = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PixelLimits:
    """What makes a change of one pixel count.

    Attributes
    ----------
    jump_dn : float
        Least change of the dark against the pixel's surroundings, DN.
    hot_dn : float
        Excess over the surroundings from which a pixel is hot, DN.
    noisy : float
        Noise over the median noise of the array.
    significance : float
        σ of the change.
    kept : float
        Least fraction of tonight's frames that agree with the pixel's mean: what a minority of the frames shows is a
        particle or a flicker, not a new level.
    """

    jump_dn: float
    hot_dn: float
    noisy: float
    significance: float = 6.0
    kept: float = 0.75


@dataclass(frozen=True)
class PixelEvent:
    """Something that happened to one pixel.

    Attributes
    ----------
    y, x : int
    kind : {"hot", "cooled", "jump", "noisy", "dead", "bistable"}
        Turned hot; no longer hot; jumped without becoming or ceasing to be hot; turned noisy; turned dead; jumped
        back once more.
    size : float
        Change of the dark in DN, or noise over the array's, or responsivity.
    significance : float
        σ.
    """

    y: int
    x: int
    kind: str
    size: float
    significance: float


@dataclass(frozen=True)
class DarkPixels:
    """What a night's dark says about single pixels.

    Attributes
    ----------
    events : tuple of PixelEvent
        Most significant first.
    expected : float
        How many events noise alone would bring.
    n_compared : int
        Pixels that could be compared.
    """

    events: tuple[PixelEvent, ...]
    expected: float
    n_compared: int

    def count(self, *kinds: str) -> int:
        """Return the number of events of some kinds."""
        return sum(e.kind in kinds for e in self.events)


def watch_dark(
    excess: Image,
    error: Image,
    noise: Image,
    kept: Image,
    last_excess: Image,
    last_error: Image,
    standard_noise: Image,
    was_hot: Mask,
    good: Mask,
    limits: PixelLimits,
) -> DarkPixels:
    """Compare each pixel of tonight's dark with the last accepted one, and with what it was in the nights before.

    Parameters
    ----------
    excess, last_excess : ndarray, shape (ny, nx)
        Dark minus the surroundings of the pixel, DN, tonight and in the last accepted night.
    error, last_error : ndarray, shape (ny, nx)
        1σ of either, DN.
    noise, standard_noise : ndarray, shape (ny, nx)
        Scatter over the frames, DN, tonight and in the nights before.
    was_hot : ndarray of bool, shape (ny, nx)
        Pixels that were hot in any of the nights before.
    kept : ndarray, shape (ny, nx)
        Fraction of tonight's frames that entered the mean.
    good : ndarray of bool, shape (ny, nx)
        Pixels with a value both tonight and before.
    limits : PixelLimits

    Returns
    -------
    DarkPixels
    """
    change = np.where(good, excess - last_excess, np.nan)
    sigma = np.hypot(error, last_error)
    # Errors that are stated too small would make every night a night of events: what the array shows counts.
    with np.errstate(divide="ignore", invalid="ignore"):
        inflation = max(mad_sigma(change / sigma), 1.0)
        ratio = change / (sigma * inflation)
    smallest = np.maximum(limits.jump_dn, limits.significance * sigma * inflation)
    jumped = np.nan_to_num(np.abs(change)) >= smallest
    persistent = kept >= limits.kept
    hot, last_hot = excess >= limits.hot_dn, last_excess >= limits.hot_dn
    found: list[PixelEvent] = []
    for y, x in np.argwhere(jumped & persistent):
        kind = "hot" if hot[y, x] and not was_hot[y, x] else "jump"
        kind = "cooled" if last_hot[y, x] and not hot[y, x] else kind
        found.append(PixelEvent(int(y), int(x), kind, float(change[y, x]), float(abs(ratio[y, x]))))
    found += _noisy(noise, standard_noise, kept, good & ~jumped, limits, error)
    n = int(good.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(good, smallest / (sigma * inflation), np.inf)
    expected = float(np.nansum(special.erfc(reach / np.sqrt(2))))
    return DarkPixels(tuple(sorted(found, key=lambda e: -e.significance)), expected, n)


def _noisy(
    noise: Image, standard_noise: Image, kept: Image, good: Mask, limits: PixelLimits, error: Image
) -> list[PixelEvent]:
    """Return the pixels that turned noisy; the scatter of n frames is known to 1/√(2(n − 1))."""
    typical, before = nan_median(noise[good]), nan_median(standard_noise[good])
    with np.errstate(divide="ignore", invalid="ignore"):
        n_frames = np.maximum((noise / error) ** 2, 2.0)
        relative = noise / typical
        significance = (relative - standard_noise / before) / relative * np.sqrt(2 * (n_frames - 1))
    new = good & (relative >= limits.noisy) & (standard_noise / before < limits.noisy)
    new &= significance >= limits.significance
    return [
        PixelEvent(int(y), int(x), "noisy", float(relative[y, x]), float(significance[y, x]))
        for y, x in np.argwhere(new)
    ]


def new_dead(
    tonight: Image, error: Image, standard: Image, good: Mask, last: Image, dead_below: float
) -> tuple[PixelEvent, ...]:
    """Return the pixels whose responsivity fell below the limit of dead ones since the last accepted night.

    Parameters
    ----------
    tonight, error : ndarray, shape (ny, nx)
        Responsivity, median 1, and its 1σ.
    standard : ndarray, shape (ny, nx)
        Canonical before.
    good : ndarray of bool, shape (ny, nx)
        Pixels that were usable before.
    last : ndarray, shape (ny, nx)
        Responsivity of the newest night of the canonical: what was dead there has been told.
    dead_below : float
        Responsivity.
    """
    with np.errstate(invalid="ignore"):
        fallen = good & (tonight < dead_below) & (standard >= dead_below) & (standard - tonight > 6 * error)
        fallen &= ~(last < dead_below)
    return tuple(
        PixelEvent(int(y), int(x), "dead", float(tonight[y, x]), float((standard[y, x] - tonight[y, x]) / error[y, x]))
        for y, x in np.argwhere(fallen)
    )


def count_significance(found: int, expected: float) -> float:
    """Return how many Gaussian σ so many events are, where a number is expected; 0 for no more than expected.

    Parameters
    ----------
    found : int
        Events.
    expected : float
        Mean of their Poisson distribution.
    """
    if found <= expected:
        return 0.0
    p = special.pdtrc(found - 1, max(expected, 1e-12))
    return float(-special.ndtri(np.clip(p, 1e-300, 1.0) / 2)) if p < 1 else 0.0


class Turns:
    """Finds the pixels that jump up and down again and again, night after night.

    Parameters
    ----------
    least : int
        Jumps, in alternating directions, that make a pixel bistable.
    """

    def __init__(self, least: int = 3) -> None:
        self.least = least
        self._last: dict[tuple[int, int], float] = {}
        self._turns: dict[tuple[int, int], int] = {}

    def add(self, events: Iterable[PixelEvent]) -> tuple[PixelEvent, ...]:
        """Take in the events of a night; return those by which a pixel turned bistable."""
        turned = []
        for e in events:
            if e.kind not in ("hot", "cooled", "jump"):
                continue
            place = e.y, e.x
            if place not in self._last or np.sign(e.size) != np.sign(self._last[place]):
                self._turns[place] = self._turns.get(place, 0) + 1
                if self._turns[place] == self.least:
                    turned.append(replace(e, kind="bistable"))
            self._last[place] = e.size
        return tuple(turned)
