"""The sky offsets of a scan: levels, trends, trimmed means, block after block."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.in_order import Job, beforehand, result_of
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
    reads: Reads,
    bounds: tuple[tuple[int, int], ...],
    level: NDArray[np.float64],
    hint: NDArray[np.float64],
    profile: Profile,
    release: Callable[[int, int], None],
) -> tuple[Iterator[Job[object, None]], list[Future[SkyOffset]]]:
    """Return jobs that make the sky offset of every block, and where these will be found.

    All threads work on one block, whose raw frames then are still in the cache when they are formed again.

    Parameters
    ----------
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
    blocks = [_Block(reads, first, last + 1, level, hint, profile, release) for first, last in bounds]
    return _jobs(blocks), [block.offset for block in blocks]


def _jobs(blocks: list[_Block]) -> Iterator[Job[object, None]]:
    before: _Block | None = None
    for block in (*blocks, None):
        if block is not None:
            yield from block.levels()
        # A block is concluded when its last pixels have had time to be trimmed: nobody waits for another.
        if before is not None:
            yield before.conclude()
        if block is not None:
            yield from block.trims()
        before = block


class _Block:
    """A block of frames on the way to its sky offset: jobs, in the order in which they are to be done.

    Attributes
    ----------
    offset : Future of SkyOffset
    """

    def __init__(
        self,
        reads: Reads,
        first: int,
        end: int,
        level: NDArray[np.float64],
        hint: NDArray[np.float64],
        profile: Profile,
        release: Callable[[int, int], None],
    ) -> None:
        self.offset: Future[SkyOffset] = Future()
        self._reads, self._first, self._end = reads, first, end
        self._level, self._hint = level[first:end], hint
        self._profile, self._release = profile, release
        self._waiting: list[Future[Any]] = []
        self._trimmed: TrimmedReads | None = None
        self._trend: SkyTrend | None = None

    def levels(self) -> Iterator[Job[object, None]]:
        """Yield jobs that take the levels of the frames."""
        n = self._end - self._first
        tasks = THREADS * -(-n // (THREADS * LEVELS_TOGETHER))
        levels = [beforehand(functools.partial(self._take_levels, a, b)) for a, b in shares(n, among=tasks)]
        self._waiting = [taken for _, taken in levels]
        for job, _ in levels:
            yield job

    def trims(self) -> Iterator[Job[object, None]]:
        """Yield jobs that follow the trend and average the frames; they wait for the levels."""
        sky = self._profile.sky
        if self._end - self._first == 1:
            return
        self._trimmed = self._reads.trimmed(self._first, self._end, self._level, sky.alpha)
        if sky.trend_degree:
            job, followed = beforehand(functools.partial(self._follow, self._waiting))
            self._waiting = [followed]
            yield job
        parts = [
            beforehand(functools.partial(self._trim, self._trimmed, self._waiting, a, b))
            for a, b in shares(self._reads.n_pixels, TILE)
        ]
        self._waiting = [trimmed for _, trimmed in parts]
        for job, _ in parts:
            yield job

    def conclude(self) -> Job[object, None]:
        """Return the last job, which waits for all others of the block."""
        # Not kept here: the raw frames would be in a circle of references, and stay until somebody looks for those.
        return beforehand(self._concluded, self.offset)[0]

    def _take_levels(self, first: int, end: int) -> None:
        start = self._first
        self._level[first:end] = self._reads.levels(start + first, start + end, self._hint)

    def _follow(self, before: list[Future[Any]]) -> None:
        _results(before)
        self._trend = self._reads.trend(self._first, self._end, self._level, self._profile.sky)
        if self._trend is not None and self._trimmed is not None:
            self._trimmed.trend = self._trend.weights, trend_images(self._trend, self._reads.shape)

    def _trim(self, trimmed: TrimmedReads, before: list[Future[Any]], start: int, stop: int) -> None:
        _results(before)
        trimmed.trim(start, stop)

    def _concluded(self) -> SkyOffset:
        _results(self._waiting)
        reads, first, end, cells = self._reads, self._first, self._end, self._profile.detector.cells
        good = reads.good.reshape(reads.shape)
        if self._trimmed is None:
            alpha = self._profile.sky.alpha
            frames = reads.frames(first, end)
            return make_sky_offset(frames, self._level, good=good, first=first, alpha=alpha, cells=cells)
        self._release(first, end)
        result, self._trimmed = self._trimmed.result, None
        return sky_offset(result, self._level, good=good, first=first, cells=cells, trend=self._trend)


def _results(futures: list[Future[Any]]) -> None:
    for future in futures:
        result_of(future)
