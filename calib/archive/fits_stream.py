"""FITS image extensions written piece by piece, with DATASUM and CHECKSUM.

A scan's frames leave the calibration block by block; three extensions (values, errors, mask) grow side by side in
one file. Sizes are known beforehand, so each extension has its place from the start and headers are completed at
the end.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from astropy.io import fits
from numpy.typing import DTypeLike, NDArray

from calib.kernels_frames import swap_and_sum
from calib.raw.sums import ones_complement_sum

__all__ = ["ImageStream", "summed_header", "table_bytes"]

BLOCK = 2880
_BITPIX = {"f4": -32, "f8": -64, "u1": 8, "i2": 16, "i4": 32}


def _folded(total: int) -> int:
    """Return a sum of 32-bit words in ones' complement."""
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def encode_checksum(value: int) -> str:
    """Return the 16 characters of a CHECKSUM card for the complement of a sum (FITS standard 4.0, appendix J)."""
    value = 0xFFFFFFFF - value
    excluded = {*range(0x3A, 0x41), *range(0x5B, 0x61)}
    encoded = np.zeros((4, 4), np.uint8)
    for k in range(4):
        byte = (value >> (24 - 8 * k)) & 0xFF
        quotient, remainder = divmod(byte, 4)
        four = [quotient + remainder + 0x30, quotient + 0x30, quotient + 0x30, quotient + 0x30]
        while any(c in excluded for c in four):
            for pair in (0, 2):
                if four[pair] in excluded or four[pair + 1] in excluded:
                    four[pair] += 1
                    four[pair + 1] -= 1
        encoded[:, k] = four
    text = encoded.tobytes().decode("ascii")
    return text[-1] + text[:-1]


def summed_header(header: fits.Header, data_sum: int, comment: str | None = None) -> bytes:
    """Return a header as it stands in a file, with the sum of its data and the checksum of the whole unit."""
    header.set("DATASUM", str(data_sum), comment)
    header.set("CHECKSUM", "0" * 16, comment)
    total = _folded(ones_complement_sum(memoryview(header.tostring().encode("ascii"))) + data_sum)
    header["CHECKSUM"] = encode_checksum(total)
    return bytes(header.tostring(), "ascii")


class ImageStream:
    """A FITS file whose image extensions are filled piece by piece.

    Parameters
    ----------
    path : Path
        Written under this very name; the caller renames it when it is whole.
    primary : Header
        Cards of the primary header.
    extensions : mapping
        Name → (header with further cards, dtype, shape).
    """

    def __init__(
        self,
        path: Path,
        primary: fits.Header,
        extensions: Mapping[str, tuple[fits.Header, DTypeLike, tuple[int, ...]]],
    ) -> None:
        self.path = path
        self._file = path.open("wb", buffering=0)
        head = fits.PrimaryHDU(header=primary)
        head.header.set("EXTEND", True, "extensions follow", after="NAXIS")
        # By default the comment would hold the time, and the same inputs would give other bytes.
        head.add_checksum(when="when written")
        self._file.write(head.header.tostring().encode("ascii"))
        self._plans: dict[str, tuple[fits.Header, np.dtype[np.generic], int, int]] = {}
        self._written = dict.fromkeys(extensions, 0)
        self._sums = dict.fromkeys(extensions, 0)
        self._buffer = np.empty(0, np.uint32)
        position = self._file.tell()
        for name, (cards, dtype, shape) in extensions.items():
            header, plain = _image_header(name, cards, dtype, shape), np.dtype(dtype).newbyteorder(">")
            size = int(np.prod(shape)) * plain.itemsize
            start = position + len(header.tostring())
            self._plans[name] = header, plain, start, size
            position = start + -(-size // BLOCK) * BLOCK
        self._file.truncate(position)

    def write(self, name: str, values: NDArray[np.generic]) -> None:
        """Append values to an extension, converted to its type."""
        _, dtype, start, size = self._plans[name]
        if self._written[name] + values.size * dtype.itemsize > size:
            raise ValueError(f"{name} takes {size} bytes, not more")
        plain = np.ascontiguousarray(values, dtype=dtype.newbyteorder("="))
        if dtype.itemsize == 4:
            view, added = self._swapped(plain)
        else:
            view = np.ascontiguousarray(plain, dtype=dtype).data.cast("B")
            # Where a piece does not begin with a word, zeros stand for what came before: they add nothing to the sum.
            begun = self._written[name] % 4
            added = ones_complement_sum(memoryview(bytes(begun) + bytes(view)) if begun else view)
        self._sums[name] = _folded(self._sums[name] + added)
        offset = start + self._written[name]
        self._written[name] += len(view)
        while view:
            done = os.pwrite(self._file.fileno(), view, offset)
            view, offset = view[done:], offset + done

    def _swapped(self, plain: NDArray[np.generic]) -> tuple[memoryview, int]:
        """Return the big-endian bytes of 32-bit values, in a buffer that is used again, and the sum of the words."""
        if self._buffer.size < plain.size:
            self._buffer = np.empty(plain.size, np.uint32)
        out = self._buffer[: plain.size]
        total = swap_and_sum(plain.reshape(-1).view(np.uint32), out)
        return out.data.cast("B"), total

    def finish(self, tables: list[fits.BinTableHDU]) -> None:
        """Write the headers with their checksums, append tables, close."""
        for name, (header, _, start, size) in self._plans.items():
            if self._written[name] != size:
                raise ValueError(f"{name} has {self._written[name]} of {size} bytes")
            text = summed_header(header, self._sums[name])
            os.pwrite(self._file.fileno(), text, start - len(text))
        self._file.close()
        if tables:
            # Appended by astropy to the bytes that are there; the images are not read for it.
            with self.path.open("ab") as file:
                for table in tables:
                    file.write(table_bytes(table))

    def __enter__(self) -> ImageStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def table_bytes(table: fits.BinTableHDU) -> memoryview:
    """Return a table as it stands in a file, with its checksums."""
    # By default the comment would hold the time, and the same inputs would give other bytes.
    table.add_checksum(when="when written")
    memory = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(memory)
    return memory.getbuffer()[BLOCK:]


def _image_header(name: str, cards: fits.Header, dtype: DTypeLike, shape: tuple[int, ...]) -> fits.Header:
    code = np.dtype(dtype).str[1:]
    header = fits.Header()
    header["XTENSION"] = ("IMAGE", "image extension")
    header["BITPIX"] = _BITPIX[code]
    header["NAXIS"] = len(shape)
    for k, n in enumerate(reversed(shape), start=1):
        header[f"NAXIS{k}"] = n
    header["PCOUNT"] = 0
    header["GCOUNT"] = 1
    header["EXTNAME"] = name
    header.update(cards)
    header["CHECKSUM"] = ("0" * 16, "ones' complement of the HDU's sum")
    header["DATASUM"] = ("0", "sum of the data")
    # DATASUM may grow to ten digits; the header's length does not change, for every card takes 80 bytes.
    return header
