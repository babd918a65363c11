"""The frames of a sequence one after the other: in memory while they are few, beyond that in a file without a name.

A camera of 2048² with 300 frames a scan fills 5 GB with what it read, and a run must not need that much memory. What
reads the frames sees an array in either case; it says which of them it is done with for now, and these leave memory.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["IN_MEMORY_BYTES", "FrameStore"]

IN_MEMORY_BYTES = 2**30
"""Sequences up to this size stay in memory."""


class FrameStore:
    """Room for a number of frames of one size.

    Parameters
    ----------
    n : int
        Frames there is room for.
    shape : tuple of int
        Of one frame.
    dtype : dtype
        Changed to one that holds both if frames of another type follow.
    folder : Path or None
        Where the file without a name may lie; None keeps everything in memory.
    """

    def __init__(self, n: int, shape: tuple[int, ...], dtype: DTypeLike, folder: Path | None) -> None:
        self._folder, self._filled = folder, 0
        self._mapping: mmap.mmap | None = None
        self._room = self._array((n, *shape), np.dtype(dtype))

    def _array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if self._folder is None or size <= IN_MEMORY_BYTES:
            self._mapping = None
            return np.empty(shape, dtype)
        _give_back()
        with tempfile.TemporaryFile(dir=self._folder) as file:
            # Written through, so that a full disk is an error with words and not the end of the process.
            zeros = bytes(2**22)
            for start in range(0, size, len(zeros)):
                file.write(zeros[: size - start])
            file.flush()
            self._mapping = mmap.mmap(file.fileno(), size)
        return np.frombuffer(self._mapping, dtype).reshape(shape)

    @property
    def on_disk(self) -> bool:
        """Whether the frames lie in a file."""
        return self._mapping is not None

    @property
    def frames(self) -> NDArray[Any]:
        """The frames so far, shape (n, ny, nx)."""
        return self._room[: self._filled]

    def add(self, frames: NDArray[Any]) -> None:
        """Append some frames."""
        dtype = np.result_type(self._room, frames)
        if dtype != self._room.dtype:
            self._widen(dtype)
        start = self._filled
        self._filled += len(frames)
        self._room[start : self._filled] = frames
        self.release(start, self._filled)

    def _widen(self, dtype: np.dtype[Any]) -> None:
        old, before = self._room, self._mapping
        self._room = self._array(old.shape, dtype)
        for k in range(self._filled):
            self._room[k] = old[k]
            _let_go(before, old, k, k + 1)
            self.release(k, k + 1)

    def release(self, first: int, end: int) -> None:
        """Let go of the memory of frames ``first`` to ``end`` (excluded); they can be read again at any time."""
        _let_go(self._mapping, self._room, first, end)


@cache
def _give_back() -> None:
    """Have the C library return every array of more than 4 MB to the system as soon as it is freed.

    It would keep those below 32 MB, such as the planes of a large array, and lose as much again between them.
    """
    mmap_threshold = -3
    # Not every C library has it; without it only more memory is used.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_threshold, 2**22)


def _let_go(mapping: mmap.mmap | None, room: NDArray[Any], first: int, end: int) -> None:
    if mapping is None or end <= first or not hasattr(mmap, "MADV_DONTNEED"):
        return
    each = room[0].nbytes
    # Pages at the edges are shared with neighbours, which are read again should they be needed.
    start = first * each // mmap.PAGESIZE * mmap.PAGESIZE
    mapping.madvise(mmap.MADV_DONTNEED, start, end * each - start)
