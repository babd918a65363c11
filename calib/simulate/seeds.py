"""Independent random streams, each named by what it is for.

A night must come out the same whether or not its neighbours are made, so no stream is ever shared or handed
on: every use asks for its own by name.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np

__all__ = ["stream"]


def stream(seed: int, *key: int | str) -> np.random.Generator:
    """Open the random stream that belongs to `seed` and a name.

    Parameters
    ----------
    seed : int
        Seed of the survey, not negative.
    *key : int or str
        The name, for example ``(17, "H", "twilight")``.  Texts enter through their CRC-32, which unlike
        `hash` is the same in every process.

    Returns
    -------
    numpy.random.Generator
        Statistically independent of the streams of all other names.
    """
    words = tuple(crc32(part.encode()) if isinstance(part, str) else int(part) for part in key)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=words)))
