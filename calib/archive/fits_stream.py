"""FITS image extensions written piece by piece, with DATASUM and CHECKSUM.

A scan's frames leave the calibration piece by piece, large ones a stretch of several at a time; three extensions
(values, errors, mask) grow side by side in one file. Sizes are known beforehand, so each plane has its place from the
start and headers are completed at the end.
"""

from __future__ import annotations

import ctypes
import errno
import math
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

__all__ = [
    "Card",
    "Column",
    "ImageStream",
    "Table",
    "card_text",
    "header_bytes",
    "part_pixels",
    "summed_header",
    "table_bytes",
]

# Name, value and comment of a card.
Card = tuple[str, object, str]

BLOCK = 2880
# Pixels; larger planes may be written a stretch at a time (`calib.scan_pieces`).
LARGEST_SMALL_PLANE = 1 << 18
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


class _Planes:
    """An image extension under way: where its planes lie in the file, and what has been written of each.

    Places and lengths are in bytes; ``width`` is the number of pixels of a plane, ``part_width`` that of a part of the
    recorded hash, ``begun`` the number of planes up to the last one of which anything has been written.
    """

    def __init__(self, header: str, dtype: np.dtype[np.generic], shape: tuple[int, ...], position: int) -> None:
        self.header, self.dtype = header, dtype
        # The sums take as much room whatever they are.
        self.start = position + len(_summed(header, 0))
        self.n, self.width, self.part_width = math.prod(shape[:-2]), math.prod(shape[-2:]), part_pixels(shape)
        self.parts = [Part() for _ in range(self.n * self.width // self.part_width)]
        self.n_bytes = self.n * self.width * dtype.itemsize
        self.end = self.start + -(-self.n_bytes // BLOCK) * BLOCK
        self.begun = 0
        self.sum = 0

    @property
    def written(self) -> int:
        """Bytes written so far."""
        return sum(part.n_bytes for part in self.parts)

    def runs(self, plane: int, pixel: int, n: int, width: int) -> list[_Run]:
        """Return where the same pixels of some planes, one after the other, belong.

        Raises
        ------
        ValueError
            If they do not follow what has been written of their parts.
        """
        if width == self.width and self.part_width > self.width:
            n, width = min(n, 1), n * width
        size = self.dtype.itemsize
        runs = []
        for j in range(n):
            first = (plane + j) * self.width + pixel
            part = self.parts[first // self.part_width]
            if part.n_bytes != first % self.part_width * size:
                raise ValueError(f"pixel {pixel} of plane {plane + j} does not follow what has been written")
            runs.append(_Run(part, self.start + first * size, slice(j * width * size, (j + 1) * width * size)))
        return runs


@dataclass(frozen=True)
class _Run:
    """Some of the bytes given, which stand together in a part: their place in the file, and which ones."""

    part: Part
    place: int
    among: slice


def part_pixels(shape: tuple[int, ...]) -> int:
    """Return how many pixels of an image are hashed together, at least one: those of a plane, of all if it is small.

    Small planes come whole and in order, and a call for each of them would be dear.
    """
    plane = math.prod(shape[-2:])
    return max(1, plane if plane > LARGEST_SMALL_PLANE else math.prod(shape))


def _sum_of_runs(view: memoryview, runs: list[_Run]) -> int:
    """Return the sum of 32-bit words; where a run does not begin with a word, zeros stand for what came before."""
    if all(run.place % 4 == 0 and (run.among.stop - run.among.start) % 4 == 0 for run in runs):
        return ones_complement_sum(view)
    return sum(ones_complement_sum(memoryview(bytes(run.place % 4) + view[run.among])) for run in runs)


class ImageStream:
    """A FITS file whose image extensions are filled piece by piece.

    Parameters
    ----------
    path : Path
        Written under this very name; the caller renames it when it is whole.
    primary : sequence of Card
        Cards of the primary header, behind those that every file has.
    extensions : mapping
        Name → (further cards, dtype, shape). The last two axes, or the only one, make a plane.
    """

    def __init__(
        self,
        path: Path,
        primary: Iterable[Card],
        extensions: Mapping[str, tuple[Iterable[Card], DTypeLike, tuple[int, ...]]],
    ) -> None:
        self.path = path
        head = header_bytes((*_PRIMARY, *primary), 0)
        self._head = Part(head)
        self._planes: dict[str, _Planes] = {}
        self._buffer = np.empty(0, np.uint32)
        self._end = len(head)
        for name, (cards, dtype, shape) in extensions.items():
            header, stored = _text(_image_header(name, cards, dtype, shape)), np.dtype(dtype).newbyteorder(">")
            self._planes[name] = _Planes(header, stored, shape, self._end)
            self._end = self._planes[name].end
        self._file = path.open("wb", buffering=0)
        try:
            _allocate(self._file.fileno(), self._end)
            self._put(memoryview(head), 0)
        except OSError:
            self._file.close()
            raise

    def write(
        self,
        name: str,
        values: NDArray[np.generic],
        word_sum: int | None = None,
        *,
        at: tuple[int, int] | None = None,
    ) -> None:
        """Write values of an extension, converted to its type.

        Parameters
        ----------
        name : str
            Of the extension.
        values : ndarray
            Whole planes; or, with ``at``, the same pixels of some planes, shape (n, n_pixels).
        word_sum : int, optional
            Sum of their 32-bit words, if values are already as they are to stand in the file.
        at : tuple of int, optional
            The first plane and the first pixel in it; the planes behind those begun if not given. What is written of a
            plane must follow what has been written of it; planes of up to ``LARGEST_SMALL_PLANE`` pixels must also
            follow each other.

        Raises
        ------
        ValueError
            If they do not fit, or do not follow.
        """
        planes = self._planes[name]
        width = values.shape[-1] if at is not None else planes.width
        n = values.size // width if width else 0
        plane, pixel = at if at is not None else (planes.begun, 0)
        if n * width != values.size or plane + n > planes.n or pixel + width > planes.width:
            raise ValueError(f"{name} takes {planes.n_bytes} bytes, not more, and whole planes or stretches of planes")
        try:
            runs = planes.runs(plane, pixel, n, width)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if word_sum is not None and values.dtype == planes.dtype and values.flags.c_contiguous:
            view, added = values.reshape(-1).view(np.uint8).data, word_sum
        elif planes.dtype.itemsize == 4:
            view, added = self._swapped(np.ascontiguousarray(values, dtype=planes.dtype.newbyteorder("=")))
        else:
            view = np.ascontiguousarray(values, dtype=planes.dtype).data.cast("B")
            added = _sum_of_runs(view, runs)
        planes.sum = _folded(planes.sum + added)
        planes.begun = max(planes.begun, plane + n)
        for run in runs:
            run.part.add(view[run.among])
            self._put(view[run.among], run.place)

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
        for name, planes in self._planes.items():
            if planes.written != planes.n_bytes:
                raise ValueError(f"{name} has {planes.written} of {planes.n_bytes} bytes")
            text = _summed(planes.header, planes.sum)
            fill = Part(bytes(-planes.n_bytes % BLOCK))
            parts += [self._put_part(text, planes.start - len(text)), *planes.parts, fill]
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
