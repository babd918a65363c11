"""FITS image extensions written piece by piece, with DATASUM and CHECKSUM.

A scan's frames leave the calibration block by block; three extensions (values, errors, mask) grow side by side in
one file. Sizes are known beforehand, so each extension has its place from the start and headers are completed at
the end.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, DTypeLike, NDArray

from calib.archive.integrity import Part, recorded_hash
from calib.kernels import swap_and_sum
from calib.raw.sums import ones_complement_sum

__all__ = ["Card", "Column", "ImageStream", "Table", "card_text", "header_bytes", "summed_header", "table_bytes"]

# Name, value and comment of a card.
Card = tuple[str, object, str]

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


def summed_header(header: fits.Header, data_sum: int) -> bytes:
    """Return a header as it stands in a file, with the sum of its data and the checksum of the whole unit."""
    return _summed(
        "".join(card.image for card in header.cards if card.keyword not in ("CHECKSUM", "DATASUM")), data_sum
    )


def header_bytes(cards: Iterable[Card], data_sum: int) -> bytes:
    """Return a header of cards as it stands in a file, its two sums among them."""
    return _summed(_text(cards), data_sum)


def _text(cards: Iterable[Card]) -> str:
    return "".join(card_text(*card) for card in cards)


def _summed(text: str, data_sum: int) -> bytes:
    text += card_text("DATASUM", str(data_sum), "sum of the data")
    text += card_text("CHECKSUM", "0" * 16, "ones' complement of the HDU's sum") + "END".ljust(80)
    plain = text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")
    total = _folded(ones_complement_sum(memoryview(plain)) + data_sum)
    return plain.replace(b"'" + b"0" * 16 + b"'", f"'{encode_checksum(total)}'".encode("ascii"), 1)


def card_text(name: str, value: object, comment: str = "") -> str:
    """Return a card as it stands in a file: 80 characters, more for a long text.

    The library forms a card in the same way, and takes thirty times as long.
    """
    if isinstance(value, bool):
        shown = f"{'T' if value else 'F':>20}"
    elif isinstance(value, int):
        shown = f"{value:>20}"
    elif isinstance(value, str):
        doubled = value.replace("'", "''")
        shown = (f"'{doubled:8}'" if value else "''").ljust(20)
    else:
        shown = ""
    text = f"{name:8}= {shown}" + (f" / {comment}" if comment else "")
    if not shown or len(name) > 8 or len(text) > 80:
        return str(fits.Card(name, value, comment or None).image)
    return text.ljust(80)


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, its FITS format (``D``, ``8D``, ``J``, ``L``, ``12A``), values and unit."""

    name: str
    form: str
    values: ArrayLike
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A binary table of a product."""

    name: str
    columns: tuple[Column, ...]
    comment: str = ""


_TYPES = {"D": ">f8", "J": ">i4", "L": "S1"}


def _stored(column: Column) -> NDArray[np.generic]:
    """Return the values of a column as they stand in a file, one row per row."""
    kind, length = column.form[-1], int(column.form[:-1] or 1)
    if kind == "A":
        return np.asarray(column.values, f"S{length}")
    if kind == "L":
        return np.where(np.asarray(column.values, bool), b"T", b"F").astype("S1")
    values = np.asarray(column.values, _TYPES[kind])
    return values.reshape(len(values), length) if length > 1 else values


def table_bytes(table: Table) -> bytes:
    """Return a table as it stands in a file, with its checksums."""
    stored = [_stored(column) for column in table.columns]
    fields = [(c.name, v.dtype, v.shape[1:]) for c, v in zip(table.columns, stored, strict=True)]
    rows = np.zeros(len(stored[0]), fields)
    for column, values in zip(table.columns, stored, strict=True):
        rows[column.name] = values
    data = rows.tobytes()
    cards: list[Card] = [
        ("XTENSION", "BINTABLE", "binary table extension"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", rows.dtype.itemsize, "length of dimension 1"),
        ("NAXIS2", len(rows), "length of dimension 2"),
        ("PCOUNT", 0, "number of group parameters"),
        ("GCOUNT", 1, "number of groups"),
        ("TFIELDS", len(table.columns), "number of table fields"),
    ]
    for k, column in enumerate(table.columns, start=1):
        cards += [(f"TTYPE{k}", column.name, ""), (f"TFORM{k}", column.form, "")]
        cards += [(f"TUNIT{k}", column.unit, "")] if column.unit else []
    cards.append(("EXTNAME", table.name, "extension name"))
    if table.comment:
        cards.append(("MEANING", table.comment, ""))
    return header_bytes(cards, ones_complement_sum(memoryview(data))) + data + bytes(-len(data) % BLOCK)


def _allocate(file: int, size: int) -> None:
    """Give a file its length, with its blocks where the system can: writing is then cheaper, and room is seen to be."""
    if _fallocate is None or _fallocate(file, 0, 0, size):
        if _fallocate is not None and ctypes.get_errno() == errno.ENOSPC:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(file, size)


def _find_fallocate() -> Any:
    # That of the standard library fills the file byte by byte where the file system cannot do it.
    found = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None) if sys.platform == "linux" else None
    if found is not None:
        found.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return found


_fallocate = _find_fallocate()


class ImageStream:
    """A FITS file whose image extensions are filled piece by piece.

    Parameters
    ----------
    path : Path
        Written under this very name; the caller renames it when it is whole.
    primary : sequence of Card
        Cards of the primary header, behind those that every file has.
    extensions : mapping
        Name → (further cards, dtype, shape).
    """

    def __init__(
        self,
        path: Path,
        primary: Iterable[Card],
        extensions: Mapping[str, tuple[Iterable[Card], DTypeLike, tuple[int, ...]]],
    ) -> None:
        self.path = path
        self._file = path.open("wb", buffering=0)
        head = header_bytes((*_PRIMARY, *primary), 0)
        self._file.write(head)
        self._head = Part(head)
        self._plans: dict[str, tuple[str, np.dtype[np.generic], int, int]] = {}
        self._written = dict.fromkeys(extensions, 0)
        self._sums = dict.fromkeys(extensions, 0)
        self._parts = {name: Part() for name in extensions}
        self._buffer = np.empty(0, np.uint32)
        position = len(head)
        for name, (cards, dtype, shape) in extensions.items():
            header, plain = _text(_image_header(name, cards, dtype, shape)), np.dtype(dtype).newbyteorder(">")
            size = int(np.prod(shape)) * plain.itemsize
            # The sums take as much room whatever they are.
            start = position + len(_summed(header, 0))
            self._plans[name] = header, plain, start, size
            position = start + -(-size // BLOCK) * BLOCK
        self._end = position
        _allocate(self._file.fileno(), position)

    def write(self, name: str, values: NDArray[np.generic], word_sum: int | None = None) -> None:
        """Append values to an extension, converted to its type.

        Parameters
        ----------
        word_sum : int, optional
            Sum of their 32-bit words, if values are already as they are to stand in the file.
        """
        _, dtype, start, size = self._plans[name]
        if self._written[name] + values.size * dtype.itemsize > size:
            raise ValueError(f"{name} takes {size} bytes, not more")
        if word_sum is not None and values.dtype == dtype and values.flags.c_contiguous:
            view, added = values.reshape(-1).view(np.uint8).data, word_sum
        else:
            view, added = self._converted(name, np.ascontiguousarray(values, dtype=dtype.newbyteorder("=")))
        self._sums[name] = _folded(self._sums[name] + added)
        offset = start + self._written[name]
        self._written[name] += len(view)
        self._parts[name].add(view)
        self._put(view, offset)

    def _converted(self, name: str, plain: NDArray[np.generic]) -> tuple[memoryview, int]:
        _, dtype, _, _ = self._plans[name]
        if dtype.itemsize == 4:
            return self._swapped(plain)
        view = np.ascontiguousarray(plain, dtype=dtype).data.cast("B")
        # Where a piece does not begin with a word, zeros stand for what came before: they add nothing to the sum.
        begun = self._written[name] % 4
        return view, ones_complement_sum(memoryview(bytes(begun) + bytes(view)) if begun else view)

    def _put(self, view: memoryview, offset: int) -> None:
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

    def finish(self, tables: Iterable[Table], *, durable: bool = False) -> str:
        """Write the headers with their checksums, append tables, flush to disk if asked to, close.

        Returns
        -------
        str
            What is to be recorded of the file (`calib.archive.integrity`).
        """
        parts = [self._head]
        for name, (header, _, start, size) in self._plans.items():
            if self._written[name] != size:
                raise ValueError(f"{name} has {self._written[name]} of {size} bytes")
            text = _summed(header, self._sums[name])
            parts += [self._put_part(text, start - len(text)), self._parts[name]]
            self._parts[name].add(bytes(-size % BLOCK))
        parts.append(self._put_part(b"".join(table_bytes(table) for table in tables), self._end))
        if durable:
            os.fsync(self._file.fileno())
        self._file.close()
        return recorded_hash(parts)

    def _put_part(self, content: bytes, offset: int) -> Part:
        self._put(memoryview(content), offset)
        return Part(content)

    def __enter__(self) -> ImageStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


_PRIMARY: tuple[Card, ...] = (
    ("SIMPLE", True, "conforms to FITS standard"),
    ("BITPIX", 8, "array data type"),
    ("NAXIS", 0, "number of array dimensions"),
    ("EXTEND", True, "extensions follow"),
)


def _image_header(name: str, cards: Iterable[Card], dtype: DTypeLike, shape: tuple[int, ...]) -> list[Card]:
    axes = [(f"NAXIS{k}", n, "") for k, n in enumerate(reversed(shape), start=1)]
    return [
        ("XTENSION", "IMAGE", "image extension"),
        ("BITPIX", _BITPIX[np.dtype(dtype).str[1:]], ""),
        ("NAXIS", len(shape), ""),
        *axes,
        ("PCOUNT", 0, ""),
        ("GCOUNT", 1, ""),
        ("EXTNAME", name, ""),
        *cards,
    ]
