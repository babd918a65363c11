"""The last pass over a scan: final frames are made in pieces that stay in the cache until they are written.

A piece holds some whole small frames, or a stretch of some large ones, whose shifts have been found before: pieces are
as large for any size of array, and so is what each sample costs. Large frames with offsets of their own come one at a
time, in smaller pieces.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.kernels import FinishedFrames
from calib.kernels.compiled import THREADS
from calib.kernels.finishing import TOGETHER
from calib.scan_frames import Final, Lifted, Reads, Room

__all__ = ["PIECE_SAMPLES", "STRETCH_PIXELS", "CalibratedBlock", "LastPass"]

PIECE_SAMPLES = 1 << 19
STRETCH_PIXELS = PIECE_SAMPLES // TOGETHER

# Some frames of a block, the last excluded, and what they share.
_Group = tuple[int, int, Future[Final]]


@dataclass(frozen=True)
class CalibratedBlock:
    """Some consecutive final frames of one block; of large frames a stretch.

    Attributes
    ----------
    first : int
        Number of the first frame.
    start : int
        The first pixel, counted row by row from 0.
    value, error : ndarray of float32, shape (n, n_pixels)
        DN; NaN where a sample is saturated or its pixel has no calibration. Without rows of errors if none were wanted.
    mask : ndarray of uint8, shape (n, n_pixels)
        Bits 0–7 of `calib.flags`.
    sums : tuple of int or None
        Of the 32-bit words of values and errors, where these are big-endian.
    """

    first: int
    start: int
    value: NDArray[np.float32]
    error: NDArray[np.float32]
    mask: NDArray[np.uint8]
    sums: tuple[int, int] | None = None

    @classmethod
    def of(cls, first: int, start: int, made: FinishedFrames) -> CalibratedBlock:
        """Return what has been made from frame ``first`` and pixel ``start`` on."""
        return cls(first, start, made.value, made.error, made.mask, made.sums)


@dataclass(frozen=True)
class LastPass:
    """Makes the final frames of a scan.

    Attributes
    ----------
    pool : ThreadPoolExecutor
    reads : Reads
    bounds : tuple of (first, last)
        Of each block, both included.
    level : ndarray, shape (n_frames,)
        Of each frame, DN.
    shift : ndarray, shape (n_frames,)
        Is filled with what is added to each frame, DN.
    apart : bool
        Whether frames may have offsets of their own, so that they share nothing.
    release : callable
        Told which frames are not needed for now.
    """

    pool: ThreadPoolExecutor
    reads: Reads
    bounds: tuple[tuple[int, int], ...]
    level: NDArray[np.float64]
    shift: NDArray[np.float64]
    apart: bool
    release: Callable[[int, int], None]

    def run(
        self,
        shared: Iterable[Future[Final]],
        sink: Callable[[CalibratedBlock], None],
        *,
        errors: bool,
        big_endian: bool,
    ) -> None:
        """Make all final frames and hand them over, piece by piece and in order.

        Parameters
        ----------
        shared : iterable of Future
            What the frames of each block have in common; asked for one block ahead.
        sink : callable
        errors, big_endian : bool
            As in `calib.scan.calibrate_scan`.
        """
        small = 2 * self.reads.n_pixels <= PIECE_SAMPLES
        together = self._together(small)
        pieces = (self._whole_frames if small else self._stretches)(self._groups(shared, together))
        shape = min(together, len(self.level)), self.reads.n_pixels if small else STRETCH_PIXELS
        # Some pieces are made while the last one is on its way: their arrays are used again in turn.
        rooms = [Room(*shape, errors=errors, big_endian=big_endian) for _ in range(THREADS + 1)]
        waiting: deque[Future[CalibratedBlock]] = deque()
        for make, room in zip(pieces, itertools.cycle(rooms), strict=False):
            if len(waiting) == len(rooms):
                self._deliver(waiting.popleft(), sink)
            waiting.append(self.pool.submit(make, room))
        while waiting:
            self._deliver(waiting.popleft(), sink)

    def _deliver(self, piece: Future[CalibratedBlock], sink: Callable[[CalibratedBlock], None]) -> None:
        made = piece.result()
        sink(made)
        # Pieces come in order: with the last pixels of some frames nobody is at work on them any more.
        n, width = made.value.shape
        if made.start + width == self.reads.n_pixels:
            self.release(made.first, made.first + n)

    def _together(self, small: bool) -> int:
        if small:
            return PIECE_SAMPLES // self.reads.n_pixels
        return 1 if self.apart else TOGETHER

    def _groups(self, shared: Iterable[Future[Final]], step: int) -> Iterator[_Group]:
        """Yield up to ``step`` frames of a block at a time: first, end, and what they share."""
        coming = iter(shared)
        following = next(coming)
        for begin, last in self.bounds:
            current = following
            for first in range(begin, last + 1, step):
                yield first, min(first + step, last + 1), current
                if first == begin:
                    # What the frames of a block share is as large as many of them: it is made when it is needed next.
                    following = next(coming, current)

    def _whole_frames(self, groups: Iterable[_Group]) -> Iterator[Callable[[Room], CalibratedBlock]]:
        for group in groups:
            yield functools.partial(self._finish, *group)

    def _finish(self, first: int, end: int, shared: Future[Final], room: Room) -> CalibratedBlock:
        made = self.reads.finish(first, end, self.level[first:end], shared.result(), room)
        self.shift[first:end] = made.shift
        return CalibratedBlock.of(first, 0, made)

    def _stretches(self, groups: Iterable[_Group]) -> Iterator[Callable[[Room], CalibratedBlock]]:
        n_pixels = self.reads.n_pixels
        lifted = (self.pool.submit(self._lift, *group) for group in groups)
        before: Future[Lifted] | None = None
        for some in itertools.chain(lifted, (None,)):
            # The shifts of the next frames are given to a thread before these are finished: nobody waits for them.
            if before is not None:
                for start in range(0, n_pixels, STRETCH_PIXELS):
                    yield functools.partial(self._finish_stretch, start, min(start + STRETCH_PIXELS, n_pixels), before)
            before = some

    def _lift(self, first: int, end: int, shared: Future[Final]) -> Lifted:
        found = self.reads.lift(first, end, self.level[first:end], shared.result())
        self.shift[first:end] = found.shift
        return found

    def _finish_stretch(self, start: int, stop: int, some: Future[Lifted], room: Room) -> CalibratedBlock:
        frames = some.result()
        return CalibratedBlock.of(frames.first, start, self.reads.finish_stretch(frames, start, stop, room))
