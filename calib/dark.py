"""Nightly darks: all frames of the night's dark sequences, combined by a clipped mean per pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib import kernels
from calib.flags import flag, usable
from calib.profile import Profile
from calib.regions import cell_medians, nan_median, quadrant_medians

__all__ = ["Dark", "compare_darks", "make_dark", "mask_sentinels"]


@dataclass(frozen=True)
class Dark:
    """A nightly dark of one band and read.

    Attributes
    ----------
    value, error : ndarray of float32, shape (ny, nx)
        Clipped mean of the frames and its 1σ uncertainty, DN; NaN where a pixel has no sample.
    noise : ndarray of float32, shape (ny, nx)
        Scatter over the frames, DN.
    mask : ndarray of int16, shape (ny, nx)
        Bits of `calib.flags`.
    count : ndarray of int16, shape (ny, nx)
        Frames kept.
    frame_level_dn : ndarray, shape (n_frames, n_quadrants)
        Median over each quadrant of each frame minus the dark, DN; NaN for a frame that has no sample there.
    time_mjd : ndarray, shape (n_frames,)
        Start of each frame, UTC.
    level_dn : float
        Mean of the medians over the usable pixels of even and of odd columns, DN.
    noise_dn : float
        Median over usable pixels, DN.
    cells_dn : ndarray, shape (ny, nx) of the cells
        Level of each cell, DN.
    values : dict
        The measured number of every check on the dark by itself.
    """

    band: str
    read: str
    value: NDArray[np.float32]
    error: NDArray[np.float32]
    noise: NDArray[np.float32]
    mask: NDArray[np.int16]
    count: NDArray[np.int16]
    frame_level_dn: NDArray[np.float64]
    time_mjd: NDArray[np.float64]
    level_dn: float
    noise_dn: float
    cells_dn: NDArray[np.float64]
    values: dict[str, float]

    @property
    def n_frames(self) -> int:
        """Frames of the sequences."""
        return len(self.time_mjd)


def mask_sentinels(frames: NDArray[Any], sentinels: tuple[float, ...]) -> NDArray[Any]:
    """Return frames in which values that stand for "no data" are NaN.

    Frames without such a value are returned as they are; float32 otherwise.
    """
    if frames.dtype.kind == "u":
        sentinels = tuple(s for s in sentinels if s >= 0 and s <= np.iinfo(frames.dtype).max)
    if not sentinels:
        return frames
    hit = np.isin(frames, np.array(sentinels, dtype=frames.dtype if frames.dtype.kind == "f" else np.float64))
    if not hit.any():
        return frames
    out = frames.astype(np.float32)
    out[hit] = np.nan
    return out


def form_frames(
    raw: Mapping[str, NDArray[np.generic]], read: str, profile: Profile, *, ceiling_dn: float | None = None
) -> NDArray[np.float32]:
    """Form a read of raw frames without calibrating it.

    Parameters
    ----------
    raw : mapping
        Raw read → frames, shape (n, ny, nx), DN.
    read : str
        Which read of the profile.
    profile : Profile
    ceiling_dn : float, optional
        Samples whose ``plus`` frame is not below this are NaN; by default the saturation level.

    Returns
    -------
    ndarray of float32, shape (n, ny × nx)
        DN; NaN where saturated, masked or missing.
    """
    rule = profile.reads[read]
    sentinels = profile.detector.sentinels
    plus = mask_sentinels(raw[rule.plus], sentinels)
    minus = None if rule.minus is None else mask_sentinels(raw[rule.minus], sentinels)
    n, n_pixels = len(plus), plus[0].size
    return kernels.form_read(
        plus.reshape(n, n_pixels),
        None if minus is None else minus.reshape(n, n_pixels),
        saturation_dn=profile.detector.saturation_dn if ceiling_dn is None else ceiling_dn,
        scale=np.ones(n_pixels, np.float32),
        offset=np.zeros(n_pixels, np.float32),
    )


def make_dark(
    raw: Mapping[str, NDArray[np.generic]],
    time_mjd: NDArray[np.float64],
    *,
    band: str,
    read: str,
    profile: Profile,
) -> Dark:
    """Combine all frames of a night's dark sequences.

    Parameters
    ----------
    raw : mapping
        Raw read → frames, shape (n, ny, nx), DN; saturated samples are excluded.
    time_mjd : ndarray, shape (n,)
        Start of each frame, UTC.
    band, read : str
        Which band it is of, and which read is to be formed.
    profile : Profile

    Returns
    -------
    Dark
    """
    shape = profile.detector.shape
    frames = form_frames(raw, read, profile)
    fit = kernels.clipped_mean(frames, profile.dark.clip_sigma)
    value, noise = fit.mean.reshape(shape), fit.scatter.reshape(shape)
    count, clipped = fit.n_samples.reshape(shape), fit.clipped.reshape(shape)
    mask = np.zeros(shape, np.int16)
    mask[(count == 0) | ~np.isfinite(noise)] |= flag("NODATA")
    mask[clipped > 0.25 * (count + clipped)] |= flag("CLIPPED")
    good = usable(mask)
    typical = nan_median(noise[good])
    mask[good & (noise > profile.pixels.noisy_above * typical)] |= flag("NOISY")
    excess = value - surroundings(value, good)
    mask[good & (excess > profile.pixels.hot_above_dn[read])] |= flag("HOT")
    levels = _frame_levels(frames.reshape(-1, *shape), value, good, profile.detector.quadrants)
    expected = profile.read_noise_dn(band, read)
    quadrant_noise = quadrant_medians(noise, good, profile.detector.quadrants) / expected
    seen = int((count + clipped).sum())
    values = {
        "frames": float(len(frames)),
        "good_pixels": 100.0 * float(good.mean()),
        "noise_high": float(np.max(quadrant_noise)),
        "noise_low": float(np.min(quadrant_noise)),
        "drift": sequence_drift(levels),
        "clipped": 100.0 * float(clipped.sum()) / seen if seen else float("nan"),
    }
    return Dark(
        band=band,
        read=read,
        value=value,
        error=(noise / np.sqrt(np.maximum(count, 1))).astype(np.float32),
        noise=noise,
        mask=mask,
        count=count.astype(np.int16),
        frame_level_dn=levels,
        time_mjd=np.asarray(time_mjd, float),
        level_dn=column_level(value, good),
        noise_dn=typical,
        cells_dn=cell_levels(value, good, profile.detector.cells),
        values=values,
    )


def column_level(image: NDArray[np.floating], good: NDArray[np.bool_]) -> float:
    """Return the level of an image in its own unit: the mean of the medians over even and over odd columns.

    Odd and even columns lie far apart; a median over both would jump between them.
    """
    return 0.5 * (nan_median(image[:, ::2][good[:, ::2]]) + nan_median(image[:, 1::2][good[:, 1::2]]))


def cell_levels(image: NDArray[np.floating], good: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.float64]:
    """Return the level of each cell, the mean of its medians over even and odd columns, shape ``grid``."""
    even, odd = slice(None, None, 2), slice(1, None, 2)
    return 0.5 * (cell_medians(image[:, even], good[:, even], grid) + cell_medians(image[:, odd], good[:, odd], grid))


def surroundings(image: NDArray[np.floating], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the upper median of each pixel's 14 neighbours in its own column parity, shape (ny, nx).

    Neighbouring columns of these arrays are read out with different offsets, so every second column is compared.
    """
    filled = np.where(good, image, nan_median(image[good])).astype(np.float32)
    ny, nx = filled.shape
    # A side of one pixel has no neighbour to mirror.
    padded = np.pad(filled, 2, mode="reflect" if min(ny, nx) > 2 else "edge")
    places = [(j, i) for j in range(5) for i in range(0, 5, 2) if (j, i) != (2, 2)]
    around = np.stack([padded[j : j + ny, i : i + nx] for j, i in places])
    spare = np.empty_like(filled)
    for a, b in kernels.sorting_network(len(places)):
        np.minimum(around[a], around[b], out=spare)
        np.maximum(around[a], around[b], out=around[b])
        around[a] = spare
    return np.asarray(around[len(places) // 2])


def _frame_levels(
    frames: NDArray[np.float32], value: NDArray[np.float32], good: NDArray[np.bool_], grid: tuple[int, int]
) -> NDArray[np.float64]:
    return np.array([quadrant_medians(frame - value, good, grid) for frame in frames])


def sequence_drift(levels: NDArray[np.float64], parts: int = 6) -> float:
    """Return by how much the level of a quadrant ranged during a sequence.

    Parameters
    ----------
    levels : ndarray, shape (n_frames, n_quadrants)
        Frame levels in DN.
    parts : int
        The sequence is cut into this many stretches, the median of each counts: a single odd frame does not,
        first frames after a pause do.

    Returns
    -------
    float
        Largest range over the quadrants, DN. Frames without a level (saturated as a whole) do not count; NaN if a
        quadrant has none in a whole stretch.
    """
    medians = np.array([_median_of_known(s) for s in np.array_split(levels, parts) if len(s)])
    return float(np.max(medians.max(axis=0) - medians.min(axis=0)))


def _median_of_known(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each column over what is finite in it, NaN where nothing is."""
    columns = [column[np.isfinite(column)] for column in levels.T]
    return np.array([np.median(column) if column.size else np.nan for column in columns])


def compare_darks(cells_dn: NDArray[np.float64], standard_dn: NDArray[np.float64]) -> dict[str, float]:
    """Compare the large-scale structure of two darks.

    Parameters
    ----------
    cells_dn, standard_dn : ndarray, shape (8, 8)
        Cell medians of tonight's dark and of the standard, DN.

    Returns
    -------
    dict
        Check name → value: the largest |cell| of the difference in DN, its median removed. A change of the level
        alone is no structure.
    """
    difference = cells_dn - standard_dn
    # A cell without a usable pixel says nothing; with half of them gone there is nothing to compare.
    if np.isfinite(difference).mean() < 0.5:
        return {"structure": float("nan")}
    return {"structure": float(np.nanmax(np.abs(difference - nan_median(difference))))}
