"""Scans: dark-subtracted, divided by the canonical, freed of their sky offsets.

The frames are touched twice: once for levels and offsets, once (when their block has its verdict and so its frames
their offset) for the output, which streams: some frames are made while others are written; large frames do not stay in
the cache in between and are read once more for what they are lifted by. All of it is one list of jobs, from which
threads take what is next (`calib.in_order`). The second pass comes behind the first: to go on with both side by side
was tried, gains nothing in memory and costs a tenth more on the way to a file, because they are in each other's way in
the cache.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.checks import Verdict, evaluate
from calib.dark import mask_sentinels
from calib.flags import flag, usable
from calib.in_order import beforehand, deliver_in_order, result_of
from calib.kernels import calibration_of, less_known
from calib.profile import Profile, SkySettings
from calib.scan_blocks import sky_offsets
from calib.scan_frames import NO_NOISE, Final, Reads
from calib.scan_noise import FinalNoise, noise_of_frames
from calib.scan_pieces import CalibratedBlock, LastPass
from calib.sky import SkyOffset, block_bounds
from calib.sky_verdicts import Ruling, judge_offset, scan_status, substitutes, with_ruling

__all__ = ["Block", "CalibratedBlock", "Master", "ScanCalibration", "calibrate_scan"]


@dataclass(frozen=True)
class Master:
    """A dark or canonical as the calibration of frames needs it.

    Attributes
    ----------
    value, error : ndarray of float32, shape (ny, nx)
        DN for a dark, dimensionless for a canonical.
    mask : ndarray of int, shape (ny, nx)
        Bits of `calib.flags`.
    """

    value: NDArray[np.float32]
    error: NDArray[np.float32]
    mask: NDArray[np.integer]


@dataclass(frozen=True)
class Block:
    """One block with its sky offset, the verdict on it, and whose offset its frames received."""

    offset: SkyOffset
    verdict: Verdict
    used_block: int


@dataclass(frozen=True)
class ScanCalibration:
    """What one read of a scan gave.

    Attributes
    ----------
    blocks : tuple of Block
    level_dn : ndarray, shape (n_frames,)
        Median over good pixels, the same before and after the sky offset.
    shift_dn : ndarray, shape (n_frames,)
        What was added to each frame after the offset was subtracted to keep that median, DN.
    status : {"calibrated", "substituted", "best block"}
        Whether every frame has its own block's accepted offset, some a neighbour's, or none an accepted one.
    """

    read: str
    blocks: tuple[Block, ...]
    level_dn: NDArray[np.float64]
    shift_dn: NDArray[np.float64]
    status: str
    cause: str


def calibrate_scan(
    raw: Mapping[str, NDArray[np.generic]],
    *,
    band: str,
    read: str,
    dark: Master,
    canonical: Master,
    profile: Profile,
    rulings: Mapping[int, Ruling] | None = None,
    sink: Callable[[CalibratedBlock], None] | None = None,
    errors: bool = True,
    big_endian: bool = False,
    release: Callable[[int, int], None] | None = None,
) -> ScanCalibration:
    """Calibrate one read of a scan.

    Parameters
    ----------
    raw : mapping
        Raw read → frames, shape (n, ny, nx), DN.
    band, read : str
        Which band it is of, and which read is to be formed.
    dark, canonical : Master
        Dark of this read and canonical responsivity of the band.
    profile : Profile
    rulings : mapping, optional
        Block → a person's verdict.
    sink : callable, optional
        Receives the final frames, a few at a time and in order, and of large frames a stretch of each of a few; their
        arrays are used again after it returns. It is called by one thread at a time, not always the same. Should a
        later block fail, it has received the first frames.
    errors : bool
        Whether the final frames get errors.
    big_endian : bool
        Whether the sink receives values and errors in the order of bytes that a file has.
    release : callable, optional
        Told that raw frames ``first`` to ``end`` (excluded) are not needed for now.

    Returns
    -------
    ScanCalibration

    Notes
    -----
    A final frame is F_k − S + δ_k. S has median zero, but the median of a difference is not the difference of the
    medians: where the pattern is skewed and large against the noise, F_k − S alone would move the background by
    δ_k. It is kept at the original sky level exactly, and δ_k (`shift_dn`) is recorded.

    Where the profile leaves one out (`sky.leave_one_out`), S is that of the other frames of the block, less the same
    constant as the block's own; checks and verdicts are those of the whole block. An offset that comes from another
    block never held the frame and is subtracted as it is.

    Where the profile follows a trend (`sky.trend_degree`), frames are freed of it before they are averaged, and their
    own is subtracted with S; not so from frames that receive the offset of another block.
    """
    rule = profile.reads[read]
    plus = mask_sentinels(raw[rule.plus], profile.detector.sentinels)
    minus = None if rule.minus is None else mask_sentinels(raw[rule.minus], profile.detector.sentinels)
    n, n_pixels = len(plus), plus[0].size
    # Frames that are part of a larger array are copied once, not by each of many pieces.
    plus = np.ascontiguousarray(plus.reshape(n, n_pixels))
    minus = None if minus is None else np.ascontiguousarray(minus.reshape(n, n_pixels))
    mask = (dark.mask | canonical.mask).astype(np.int16)
    good = usable(mask) & ((mask & (flag("HOT") | flag("NOISY"))) == 0)
    scale, offset, counting = calibration_of(dark.value.ravel(), canonical.value.ravel(), usable(mask), good)
    bounds = block_bounds(n, profile.sky.block_frames)
    reads = Reads(plus, minus, profile.detector.saturation_dn, scale, offset, counting, good.ravel(), mask.shape)
    level, shift = np.empty(n), np.empty(n)
    # Level of a frame, and how far from a likely one it is to be looked for.
    hint = np.zeros(2)
    jobs, underway = sky_offsets(reads, bounds, level, hint, profile, release or _keep)
    limits = profile.limits_for("sky_offset", band, read)
    verdicts: list[Verdict] = []

    def judged(k: int) -> Verdict:
        while len(verdicts) <= k:
            o, ruling = result_of(underway[len(verdicts)]), (rulings or {}).get(len(verdicts))
            found = judge_offset(evaluate("sky_offset", o.values, limits), o.level_dn)
            verdicts.append(with_ruling(found, ruling))
        return verdicts[k]

    def serving(k: int) -> int:
        # An accepted offset serves its block whatever becomes of the others: no need to wait for them.
        if judged(k).status == "accepted":
            return k
        judged(len(bounds) - 1)
        return substitutes(verdicts)[k]

    describe, noise = beforehand(
        functools.partial(noise_of_frames, dark.error, canonical.error, scale, profile, band, read)
    )
    finals = _Finals(reads, bounds, level, hint, mask.ravel().astype(np.uint8), noise if errors else None, profile.sky)
    used: list[int] = []

    def common(k: int) -> Callable[[], Final]:
        used.append(serving(k))
        return functools.partial(finals.of, k, used[k], result_of(underway[used[k]]))

    apart = profile.sky.leave_one_out or profile.sky.trend_degree > 0
    last_pass = LastPass(reads, bounds, level, shift, apart, release or _keep)
    deliver_in_order(
        itertools.chain(jobs, (describe,) if errors else (), last_pass.jobs(common(k) for k in range(len(bounds)))),
        last_pass.rooms(errors=errors, big_endian=big_endian),
        functools.partial(last_pass.deliver, sink or _drop),
    )
    status, cause = scan_status(verdicts, used)
    return ScanCalibration(
        read,
        tuple(Block(o.result(), v, u) for o, v, u in zip(underway, verdicts, used, strict=True)),
        level,
        shift,
        status,
        cause,
    )


@dataclass(frozen=True)
class _Finals:
    """Makes what all frames of a block share in their last pass."""

    reads: Reads
    bounds: tuple[tuple[int, int], ...]
    level: NDArray[np.float64]
    hint: NDArray[np.float64]
    flags: NDArray[np.uint8]
    noise: Future[FinalNoise] | None
    sky: SkySettings

    def of(self, k: int, u: int, serving: SkyOffset) -> Final:
        """Return it for block k, which the offset of block u serves."""
        first, end = self.bounds[k][0], self.bounds[k][1] + 1
        own = u == k
        trend = serving.trend if own else None
        bits = self.flags | serving.mask.ravel().astype(np.uint8) | np.uint8(0 if own else flag("SUBST"))
        error, share = serving.error.ravel(), 1 / serving.n_frames if own else 0.0
        offset, others = self.reads.offset, None
        if own and self.sky.leave_one_out:
            others = self.reads.others(first, end, self.level[first:end], self.sky.alpha, trend)
            error, share = others.error, 0.0
            bits = bits | ((others.n_kept == 0) * np.uint8(flag("NODATA")))
            offset = offset + np.float32(np.nan_to_num(serving.median_dn))
        else:
            offset = less_known(offset, serving.value.ravel())
            if own and serving.n_frames == 1:
                # A frame that is its own offset takes all of itself away: nothing is measured, so nothing has an error.
                bits = bits | np.uint8(flag("NODATA"))
        terms = NO_NOISE if self.noise is None else result_of(self.noise).of(error, own_share=share)
        return Final(offset, terms, bits, np.array([0, self.hint[1]]), first, others, trend)


def _keep(first: int, end: int) -> None:
    """Let no frame go."""


def _drop(block: CalibratedBlock) -> None:
    """Let the final frames go."""
