"""To and from the bytes of a file: byte order and sums of words."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from calib.kernels.compiled import F4, kernel

__all__ = ["big_endian", "bits_of", "native_16_bit", "sum_big_endian", "swap_and_sum"]

_WORD = ir.IntType(32)


@intrinsic
def bits_of(_typing, value):  # type: ignore[no-untyped-def]
    """Return the 32 bits of a float32 as an unsigned integer."""

    def code(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _WORD)

    return types.uint32(value), code


@intrinsic
def big_endian(_typing, value):  # type: ignore[no-untyped-def]
    """Return the float32 whose bytes are those of a value in reverse order: only to be stored."""

    def code(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        swapped = builder.bswap(builder.bitcast(arguments[0], _WORD))
        return builder.bitcast(swapped, arguments[0].type)

    return types.float32(value), code


@kernel
def _swap4(words, out):  # type: ignore[no-untyped-def]
    total = np.uint64(0)
    for i in range(words.size):
        w = words[i]
        total += np.uint64(w)
        halves = ((w & np.uint32(0x00FF00FF)) << np.uint32(8)) | ((w >> np.uint32(8)) & np.uint32(0x00FF00FF))
        out[i] = (halves << np.uint32(16)) | (halves >> np.uint32(16))
    return total


def swap_and_sum(values: F4, out: NDArray[np.uint32]) -> int:
    """Write the big-endian words of 32-bit values; return their sum as FITS sums them (not yet folded).

    Parameters
    ----------
    values : ndarray of any 32-bit type, one-dimensional, native byte order
    out : ndarray of uint32, same size
        Receives the same words in big-endian order.
    """
    return int(_swap4(values.view(np.uint32), out))


@kernel
def _swap2(words, flip, out):  # type: ignore[no-untyped-def]
    for i in range(words.size):
        w = words[i]
        out[i] = ((w << np.uint16(8)) | (w >> np.uint16(8))) ^ flip


@kernel
def _swap2_in_place(words, flip):  # type: ignore[no-untyped-def]
    # Given the same array twice, the loop above would see that one may overtake the other and go word by word.
    for i in range(words.size):
        w = words[i]
        words[i] = ((w << np.uint16(8)) | (w >> np.uint16(8))) ^ flip


def native_16_bit(stored: NDArray[np.generic], flip: int, *, in_place: bool = False) -> NDArray[np.uint16]:
    """Return big-endian 16-bit words in native order, the bits of ``flip`` turned; same shape as ``stored``.

    With ``in_place`` they take the room of the stored ones, which must be contiguous.
    """
    words = stored.reshape(-1).view(np.uint16)
    if in_place:
        _swap2_in_place(words, np.uint16(flip))
        return words.reshape(stored.shape)
    out = np.empty(words.shape, np.uint16)
    _swap2(words, np.uint16(flip), out)
    return out.reshape(stored.shape)


@kernel
def _sum_big(words):  # type: ignore[no-untyped-def]
    # Bytes apart: each of the four sums vectorises, and none can overflow in a chunk.
    high = np.uint64(0)
    low = np.uint64(0)
    for i in range(words.size):
        w = words[i]
        high += np.uint64(((w & np.uint32(0xFF)) << np.uint32(8)) | ((w >> np.uint32(8)) & np.uint32(0xFF)))
        low += np.uint64(((w >> np.uint32(8)) & np.uint32(0xFF00)) | (w >> np.uint32(24)))
    return (high << np.uint64(16)) + low


def sum_big_endian(words: NDArray[np.uint32]) -> int:
    """Return the sum of the big-endian words whose bytes these are (not folded; fewer than 2³⁰ words)."""
    return int(_sum_big(words))
