"""The sky offsets of a scan, under way: levels, trends, trimmed means, block after block."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from calib.kernels import TrimmedReads
from calib.kernels.compiled import THREADS, TILE, shares
from calib.profile import Profile
from calib.scan_frames import Reads
from calib.sky import SkyOffset, make_sky_offset, sky_offset
from calib.sky_trend import SkyTrend, trend_images

__all__ = ["sky_offsets"]

# Levels are taken of so many frames by one thread at most: few enough that no thread waits long for another.
LEVELS_TOGETHER = 24


def sky_offsets(
    pool: ThreadPoolExecutor,
    reads: Reads,
    bounds: tuple[tuple[int, int], ...],
    level: NDArray[np.float64],
    hint: NDArray[np.float64],
    profile: Profile,
    release: Callable[[int, int], None],
) -> list[Future[SkyOffset]]:
    """Return the sky offset of every block, under way.

    All threads work on one block, whose raw frames then are still in the cache when they are formed again. What a task
    waits for has always been given to the pool before it, and so is done or under way.

    Parameters
    ----------
    pool : ThreadPoolExecutor
    reads : Reads
    bounds : tuple of (first, last)
        Of each block, both included.
    level : ndarray, shape (n_frames,)
        Is filled with the levels of the frames, DN.
    hint : ndarray, shape (2,)
        That of `calib.kernels.read_levels`: neighbouring frames have similar levels, whichever thread takes them.
    profile : Profile
    release : callable
        Told which frames are not needed for now.
    """
    sky, cells, good = profile.sky, profile.detector.cells, reads.good.reshape(reads.shape)

    def take_levels(first: int, end: int) -> None:
        level[first:end] = reads.levels(first, end, hint)

    def follow(trimmed: TrimmedReads, first: int, end: int, before: list[Future[None]]) -> SkyTrend | None:
        wait(before)
        found = reads.trend(first, end, level[first:end], sky)
        if found is not None:
            trimmed.trend = found.weights, trend_images(found, reads.shape)
        return found

    def single(first: int, before: list[Future[None]]) -> SkyOffset:
        for part in before:
            part.result()
        end = first + 1
        return make_sky_offset(
            reads.frames(first, end), level[first:end], good=good, first=first, alpha=sky.alpha, cells=cells
        )

    def block(first: int, end: int) -> Future[SkyOffset]:
        n = end - first
        tasks = THREADS * -(-n // (THREADS * LEVELS_TOGETHER))
        levels = [pool.submit(take_levels, first + a, first + b) for a, b in shares(n, among=tasks)]
        if end - first == 1:
            return pool.submit(single, first, levels)
        trimmed = reads.trimmed(first, end, level[first:end], sky.alpha)
        trend: Future[SkyTrend | None] | None = None
        if sky.trend_degree:
            trend = pool.submit(follow, trimmed, first, end, levels)

        def trim(start: int, stop: int) -> None:
            wait(levels)
            if trend is not None:
                wait([trend])
            trimmed.trim(start, stop)

        parts = [pool.submit(trim, a, b) for a, b in shares(reads.n_pixels, TILE)]

        def conclude() -> SkyOffset:
            for part in (*levels, *parts):
                part.result()
            followed = None if trend is None else trend.result()
            release(first, end)
            return sky_offset(trimmed.result, level[first:end], good=good, first=first, cells=cells, trend=followed)

        return pool.submit(conclude)

    return [block(first, last + 1) for first, last in bounds]
