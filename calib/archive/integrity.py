"""The recorded hash of a product: whether the file is still what was written.

It tells rot and alteration by hand, not forgery; what products are made from is known by BLAKE3 (`calib.raw`). XXH3 is
several times as fast, and is taken of the bytes while they are written. Parts of a file that are written side by side
are hashed each by itself, and the hash of these hashes is recorded with the lengths of the parts, so that it can be
taken again without knowing what they are: ``xxh3:2*2880+276*262144+2496+8640:0f3c…``, 276 parts of the same length
among them. In a product these are the primary header; header and planes of each image, small planes together, and what
fills its last block; and all tables.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from xxhash import xxh3_128

from calib.raw.files import content_hash

__all__ = ["Part", "is_as_recorded", "recorded_hash"]

_NAME = "xxh3"
_NUMBER = r"[1-9]\d{0,17}"
_SOME = rf"(?:{_NUMBER}\*)?{_NUMBER}"
_FORM = re.compile(rf"{_NAME}:({_SOME}(?:\+{_SOME})*):([0-9a-f]{{32}})")
_PIECE_BYTES = 2**20


class Part:
    """Some consecutive bytes of a file, given piece by piece."""

    def __init__(self, *pieces: bytes | memoryview) -> None:
        self._state, self.n_bytes = xxh3_128(), 0
        for piece in pieces:
            self.add(piece)

    def add(self, piece: bytes | memoryview) -> None:
        """Append a piece."""
        self._state.update(piece)
        self.n_bytes += memoryview(piece).nbytes

    @property
    def digest(self) -> bytes:
        """XXH3 (128 bits) of all pieces."""
        return bytes(self._state.digest())


def recorded_hash(parts: Iterable[Part]) -> str:
    """Return what is recorded of a file that consists of these parts, in this order."""
    parts = [part for part in parts if part.n_bytes]
    runs = ((length, len(list(same))) for length, same in itertools.groupby(part.n_bytes for part in parts))
    lengths = "+".join(f"{number}*{length}" if number > 1 else str(length) for length, number in runs)
    return f"{_NAME}:{lengths}:{_hash_of_hashes(parts)}"


def _hash_of_hashes(parts: Iterable[Part]) -> str:
    return xxh3_128(b"".join(part.digest for part in parts if part.n_bytes)).hexdigest()


def _runs(recorded: str) -> Iterator[tuple[int, int]]:
    """Yield how many parts of which length follow each other."""
    for some in recorded.split("+"):
        number, _, length = some.rpartition("*")
        yield int(number or 1), int(length)


def is_as_recorded(path: Path, recorded: str) -> bool:
    """Return whether a file is what was recorded; earlier archives have the BLAKE3 of the whole.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        form = _FORM.fullmatch(recorded)
        if form is None:
            return content_hash(file) == recorded
        runs = list(_runs(form[1]))
        if sum(number * length for number, length in runs) != os.fstat(file.fileno()).st_size:
            return False
        parts, room = [], np.empty(_PIECE_BYTES, np.uint8).data
        for length in itertools.chain.from_iterable(itertools.repeat(length, number) for number, length in runs):
            part = Part()
            while got := file.readinto(room[: min(length - part.n_bytes, len(room))]):
                part.add(room[:got])
            parts.append(part)
        return _hash_of_hashes(parts) == form[2]
