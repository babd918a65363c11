"""Scans: dark-subtracted, divided by the canonical, freed of their sky offsets.

The frames are touched twice: once for levels and offsets, once (when every block has its verdict and so every
frame its offset) for the output, which streams: some frames are made while others are written.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calib.checks import CheckResult, Verdict, evaluate, judge
from calib.dark import mask_sentinels
from calib.flags import flag, usable
from calib.kernels import NoiseTerms, TrimmedReads
from calib.kernels.compiled import THREADS, TILE, shares
from calib.profile import Profile
from calib.scan_frames import NO_NOISE, Final, Reads, Room, or_zero
from calib.sky import SkyOffset, block_bounds, make_sky_offset, sky_offset
from calib.sky_trend import SkyTrend, trend_images

__all__ = ["Block", "CalibratedBlock", "Master", "ScanCalibration", "calibrate_scan"]

Ruling = Literal["accepted", "rejected"]

# Frames are finished in pieces of so many pixels, which stay in the cache until they are written.
PIECE_PIXELS = 1 << 18

# Levels are taken of so many frames by one thread: few enough that no thread waits long for another.
LEVELS_TOGETHER = 12


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
class CalibratedBlock:
    """Some consecutive final frames of one block.

    Attributes
    ----------
    first : int
        Number of the first frame.
    value, error : ndarray of float32, shape (n, ny × nx)
        DN; NaN where a sample is saturated or its pixel has no calibration. Without rows of errors if none were wanted.
    mask : ndarray of uint8, shape (n, ny × nx)
        Bits 0–7 of `calib.flags`.
    """

    first: int
    value: NDArray[np.float32]
    error: NDArray[np.float32]
    mask: NDArray[np.uint8]


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
    release: Callable[[int, int], None] | None = None,
) -> ScanCalibration:
    """Calibrate one read of a scan.

    Parameters
    ----------
    raw : mapping
        Raw read → frames, shape (n, ny, nx), DN.
    dark, canonical : Master
        Dark of this read and canonical responsivity of the band.
    rulings : mapping, optional
        Block → a person's verdict.
    sink : callable, optional
        Receives the final frames, a few at a time and in order; their arrays are used again after it returns.
    errors : bool
        Whether the final frames get errors.
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
    plus = plus.reshape(n, n_pixels)
    minus = None if minus is None else minus.reshape(n, n_pixels)
    mask = (dark.mask | canonical.mask).astype(np.int16)
    good = usable(mask) & ((mask & (flag("HOT") | flag("NOISY"))) == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(usable(mask), 1 / canonical.value, np.nan).astype(np.float32).ravel()
    offset = -dark.value.ravel() * scale
    bounds = block_bounds(n, profile.sky.block_frames)
    reads = Reads(plus, minus, profile.detector.saturation_dn, scale, offset, good.ravel(), mask.shape)
    level, shift = np.empty(n), np.empty(n)
    with ThreadPoolExecutor(THREADS) as pool:
        underway = _sky_offsets(pool, reads, bounds, level, good, profile, release or _keep)
        noise = _NoiseModel.of(dark, canonical, usable(mask), profile, band, read) if errors else None
        offsets = [offset.result() for offset in underway]
        limits = profile.limits_for("sky_offset", band, read)
        verdicts = [judge_offset(evaluate("sky_offset", o.values, limits), o.level_dn) for o in offsets]
        verdicts = ruled(verdicts, rulings or {})
        used = substitutes(verdicts)

        def final(k: int) -> Final:
            u = used[k]
            own = u == k
            trend = offsets[k].trend if own else None
            terms = NO_NOISE
            bits = mask | offsets[u].mask | (0 if own else flag("SUBST"))
            if own and profile.sky.leave_one_out:
                first, last = bounds[k]
                others = reads.others(first, last + 1, level[first : last + 1], profile.sky.alpha, trend)
                if noise is not None:
                    terms = noise.terms(others.error, own_share=0.0)
                bits = bits | ((others.n_kept == 0).reshape(mask.shape) * np.int16(flag("NODATA")))
                return Final(
                    offset + np.float32(np.nan_to_num(offsets[u].median_dn)),
                    terms,
                    bits.ravel().astype(np.uint8),
                    np.zeros(2),
                    first,
                    others,
                    trend,
                )
            if noise is not None:
                terms = noise.terms(offsets[u].error.ravel(), own_share=1 / offsets[k].n_frames if own else 0.0)
            return Final(
                offset - or_zero(offsets[u].value.ravel()),
                terms,
                bits.ravel().astype(np.uint8),
                np.zeros(2),
                bounds[k][0],
                trend=trend,
            )

        step = max(1, PIECE_PIXELS // n_pixels)
        room = [Room(min(step, n), n_pixels, errors=errors) for _ in range(THREADS + 1)]

        def finish(number: int, first: int, end: int, shared: Future[Final]) -> CalibratedBlock:
            made = reads.finish(first, end, level[first:end], shared.result(), room[number % len(room)])
            shift[first:end] = made.shift
            if release is not None:
                release(first, end)
            return CalibratedBlock(first, made.value, made.error, made.mask)

        # Some pieces are made while the last one is on its way: their arrays are used again in turn.
        waiting: deque[Future[CalibratedBlock]] = deque()
        number = itertools.count()
        # What the frames of a block share is as large as many of them: it is made shortly before it is needed.
        following = pool.submit(final, 0)
        for k, (begin, last) in enumerate(bounds):
            shared = following
            if k + 1 < len(bounds):
                following = pool.submit(final, k + 1)
            for first in range(begin, last + 1, step):
                end = min(first + step, last + 1)
                waiting.append(pool.submit(finish, next(number), first, end, shared))
                if len(waiting) == len(room):
                    _deliver(waiting.popleft(), sink)
        while waiting:
            _deliver(waiting.popleft(), sink)
    status, cause = scan_status(verdicts, used)
    return ScanCalibration(
        read,
        tuple(Block(o, v, u) for o, v, u in zip(offsets, verdicts, used, strict=True)),
        level,
        shift,
        status,
        cause,
    )


def _sky_offsets(
    pool: ThreadPoolExecutor,
    reads: Reads,
    bounds: tuple[tuple[int, int], ...],
    level: NDArray[np.float64],
    good: NDArray[np.bool_],
    profile: Profile,
    release: Callable[[int, int], None],
) -> list[Future[SkyOffset]]:
    """Return the sky offset of every block, under way; write the levels of the frames."""
    alpha, cells = profile.sky.alpha, profile.detector.cells
    offsets: list[Future[SkyOffset]] = []
    trends: dict[int, SkyTrend] = {}

    def take_levels(first: int, end: int) -> None:
        level[first:end] = reads.levels(first, end)

    def trim(trimmed: TrimmedReads, start: int, stop: int, before: list[Future[None]]) -> None:
        wait(before)
        trimmed.trim(start, stop)

    def follow(trimmed: TrimmedReads, first: int, end: int, before: list[Future[None]]) -> None:
        wait(before)
        found = reads.trend(first, end, level[first:end], profile.sky)
        if found is not None:
            trends[first] = found
            trimmed.trend = found.weights, trend_images(found, reads.shape)

    def conclude(trimmed: TrimmedReads, first: int, end: int, before: list[Future[None]]) -> SkyOffset:
        for part in before:
            part.result()
        release(first, end)
        return sky_offset(
            trimmed.result, level[first:end], good=good, first=first, cells=cells, trend=trends.get(first)
        )

    def single(first: int, end: int) -> SkyOffset:
        return make_sky_offset(
            reads.frames(first, end), level[first:end], good=good, first=first, alpha=alpha, cells=cells
        )

    # All threads work on one block, whose raw frames then are still in the cache when they are formed again. What a
    # task waits for has always been submitted before it, and so is done or under way.
    for first, last in bounds:
        end = last + 1
        levels = [
            pool.submit(take_levels, a, min(a + LEVELS_TOGETHER, end)) for a in range(first, end, LEVELS_TOGETHER)
        ]
        if end - first == 1:
            wait(levels)
            offsets.append(pool.submit(single, first, end))
            continue
        trimmed = reads.trimmed(first, end, level[first:end], alpha)
        before = levels
        if profile.sky.trend_degree:
            before = [*levels, pool.submit(follow, trimmed, first, end, levels)]
        parts = [pool.submit(trim, trimmed, a, b, before) for a, b in shares(reads.n_pixels, TILE)]
        offsets.append(pool.submit(conclude, trimmed, first, end, [*before, *parts]))
    return offsets


def _keep(first: int, end: int) -> None:
    """Let no frame go."""


def _deliver(piece: Future[CalibratedBlock], sink: Callable[[CalibratedBlock], None] | None) -> None:
    made = piece.result()
    if sink is not None:
        sink(made)


def judge_offset(checks: tuple[CheckResult, ...], level_dn: float) -> Verdict:
    """Return the verdict on a sky offset.

    Halves that disagree and samples that are skewed may come from airglow or from a galaxy or halo that drifts through.
    Waves leave the level of a frame alone, a bright object lifts it: the unsteadiness of the levels tells them apart.
    """
    if not level_dn > 0:
        return judge(checks, cause="no positive sky level")
    failed = next((c.check.name for c in checks if not c.passed), "")
    measured = {c.check.name: c.value for c in checks}
    if failed not in ("residue", "halves") or not np.isfinite(measured["halves"]):
        return judge(checks)
    lifted = measured["steadiness"] > 0.3 * measured["halves"]
    return judge(checks, cause="galaxy or bright star" if lifted else "airglow wave")


def substitutes(verdicts: list[Verdict]) -> list[int]:
    """Return for each block the block whose offset its frames receive.

    Its own if accepted, else the nearest accepted one (the earlier of two as near), else the best of all: the one
    that exceeds its limits least.
    """
    accepted = [k for k, v in enumerate(verdicts) if v.status == "accepted"]
    if not accepted:
        best = min(range(len(verdicts)), key=lambda k: (len(verdicts[k].failed), _excess(verdicts[k]), k))
        return [best] * len(verdicts)
    return [
        k if v.status == "accepted" else min(accepted, key=lambda a: (abs(a - k), a)) for k, v in enumerate(verdicts)
    ]


def _excess(verdict: Verdict) -> float:
    return max((c.excess for c in verdict.failed), default=0.0)


def ruled(verdicts: list[Verdict], rulings: Mapping[int, Ruling]) -> list[Verdict]:
    """Return the verdicts of blocks with those that a person decided in their places."""
    found = list(verdicts)
    for k, ruling in rulings.items():
        if k < len(found):
            cause = "" if ruling == "accepted" else "rejected by decision"
            found[k] = Verdict(ruling, cause, found[k].checks)
    return found


def scan_status(verdicts: list[Verdict], used: list[int]) -> tuple[str, str]:
    """Return status and cause of a scan by the verdicts on its blocks and the blocks that serve them."""
    rejected = [k for k, v in enumerate(verdicts) if v.status != "accepted"]
    if not rejected:
        return "calibrated", ""
    if len(rejected) == len(verdicts):
        return "best block", f"no accepted sky offset; block {used[0]} serves ({verdicts[used[0]].cause})"
    swaps = ", ".join(f"{k} ← {used[k]}" for k in rejected)
    return "substituted", f"sky offset of blocks {swaps}"


@dataclass(frozen=True)
class _NoiseModel:
    """1σ of a calibrated sample F: σ² = constant + linear · F + quadratic · F², each per pixel."""

    constant: NDArray[np.float32]
    linear: NDArray[np.float32]
    quadratic: NDArray[np.float32]

    @classmethod
    def of(
        cls, dark: Master, canonical: Master, ok: NDArray[np.bool_], profile: Profile, band: str, read: str
    ) -> _NoiseModel:
        gain = profile.detector.gain_e_per_dn[band]
        read_noise = profile.read_noise_dn(band, read)
        with np.errstate(divide="ignore", invalid="ignore"):
            response = np.where(ok, canonical.value, np.nan).ravel()
            constant = (read_noise**2 + dark.error.ravel() ** 2) / response**2
            quadratic = (canonical.error.ravel() / response) ** 2
        return cls(
            constant.astype(np.float32),
            (1 / (gain * response)).astype(np.float32),
            quadratic.astype(np.float32),
        )

    def terms(self, sky_error: NDArray[np.float32], *, own_share: float) -> NoiseTerms:
        """Return the variance of a final frame; ``own_share`` is the weight that a frame has in its own offset."""
        # var(F − S) = var F + var S − 2 cov(F, S), and a frame of n makes up 1/n of its own offset.
        kept = np.float32(1 - 2 * own_share)
        constant = or_zero(sky_error) ** 2
        return NoiseTerms(constant + kept * self.constant, kept * self.linear, kept * self.quadratic)
