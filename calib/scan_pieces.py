"""The last pass over a scan: final frames are made in pieces that stay in the cache until they are written.

A piece holds some whole small frames, or a stretch of some large ones, whose shifts have been found before: pieces are
as large for any size of array, and so is what each sample costs. Large frames with offsets of their own come one at a
time, in smaller pieces.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.in_order import Job, beforehand, result_of
from calib.kernels import FinishedFrames
from calib.kernels.compiled import THREADS
from calib.kernels.finishing import TOGETHER
from calib.scan_frames import Final, Lifted, Reads, Room

__all__ = ["PIECE_SAMPLES", "STRETCH_PIXELS", "CalibratedBlock", "LastPass"]

PIECE_SAMPLES = 1 << 19
STRETCH_PIXELS = PIECE_SAMPLES // TOGETHER

# Some frames of a block, the last excluded, and what they share.
_Group: TypeAlias = tuple[int, int, Future[Final]]
_Job: TypeAlias = Job[Any, Any]


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

    reads: Reads
    bounds: tuple[tuple[int, int], ...]
    level: NDArray[np.float64]
    shift: NDArray[np.float64]
    apart: bool
    release: Callable[[int, int], None]

    def rooms(self, *, errors: bool, big_endian: bool) -> list[Room]:
        """Return a room for a piece for each thread; ``errors`` and ``big_endian`` as in `calibrate_scan`."""
        shape = min(self._together, len(self.level)), self.reads.n_pixels if self._small else STRETCH_PIXELS
        return [Room(*shape, errors=errors, big_endian=big_endian) for _ in range(THREADS)]

    def jobs(self, finals: Iterable[Callable[[], Final]]) -> Iterator[_Job]:
        """Yield jobs that make all final frames, piece by piece; what prepares them delivers nothing.

        Parameters
        ----------
        finals : iterable of callable
            Each makes what the frames of a block have in common; asked for one block ahead.
        """
        return (self._whole_frames if self._small else self._stretches)(finals)

    def deliver(self, sink: Callable[[CalibratedBlock], None], made: CalibratedBlock) -> None:
        """Hand over a piece, and let go of its raw frames where no later piece needs them."""
        sink(made)
        # Pieces come in order: with the last pixels of some frames nobody is at work on them any more.
        n, width = made.value.shape
        if made.start + width == self.reads.n_pixels:
            self.release(made.first, made.first + n)

    @property
    def _small(self) -> bool:
        return 2 * self.reads.n_pixels <= PIECE_SAMPLES

    @property
    def _together(self) -> int:
        if self._small:
            return PIECE_SAMPLES // self.reads.n_pixels
        return 1 if self.apart else TOGETHER

    def _groups(self, finals: Iterable[Callable[[], Final]]) -> Iterator[_Job | _Group]:
        """Yield some frames of a block at a time, and jobs that make what those of a block share."""
        step = self._together
        coming = iter(finals)
        job, following = beforehand(next(coming))
        yield job
        for begin, last in self.bounds:
            current = following
            # What the frames of a block share is as large as many of them: it is made when it is needed next.
            ahead = next(coming, None)
            if ahead is not None:
                job, following = beforehand(ahead)
                yield job
            for first in range(begin, last + 1, step):
                yield first, min(first + step, last + 1), current

    def _whole_frames(self, finals: Iterable[Callable[[], Final]]) -> Iterator[_Job]:
        for group in self._groups(finals):
            yield group if isinstance(group, Job) else Job(functools.partial(self._finish, *group))

    def _finish(self, first: int, end: int, shared: Future[Final], room: Room) -> CalibratedBlock:
        made = self.reads.finish(first, end, self.level[first:end], result_of(shared), room)
        self.shift[first:end] = made.shift
        return CalibratedBlock.of(first, 0, made)

    def _stretches(self, finals: Iterable[Callable[[], Final]]) -> Iterator[_Job]:
        n_pixels = self.reads.n_pixels
        before: Future[Lifted] | None = None
        for group in itertools.chain(self._groups(finals), (None,)):
            if isinstance(group, Job):
                yield group
                continue
            # The shifts of the next frames are found before these are finished: nobody waits for them.
            lifted = None
            if group is not None:
                job, lifted = beforehand(functools.partial(self._lift, *group))
                yield job
            if before is not None:
                for start in range(0, n_pixels, STRETCH_PIXELS):
                    stop = min(start + STRETCH_PIXELS, n_pixels)
                    yield Job(functools.partial(self._finish_stretch, start, stop, before))
            before = lifted

    def _lift(self, first: int, end: int, shared: Future[Final]) -> Lifted:
        found = self.reads.lift(first, end, self.level[first:end], result_of(shared))
        self.shift[first:end] = found.shift
        return found

    def _finish_stretch(self, start: int, stop: int, some: Future[Lifted], room: Room) -> CalibratedBlock:
        frames = result_of(some)
        return CalibratedBlock.of(frames.first, start, self.reads.finish_stretch(frames, start, stop, room))
