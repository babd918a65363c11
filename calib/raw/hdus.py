"""The bytes of a FITS file: its header-data units and where they lie.

Files are walked unit by unit instead of being opened by a FITS library: real files end in bytes that are no
FITS, pad their headers with rubbish, or stop in the middle, and a library raises, warns or says nothing
depending on where.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

from astropy.io import fits
from astropy.io.fits.card import Undefined

from calib.raw.files import Refusal, quoted

__all__ = ["BLOCK", "STORED_TYPES", "Hdu", "card", "sole_card", "walk"]

BLOCK = 2880

# How samples lie in a file, by BITPIX.
STORED_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}

# A header of a thousand blocks has 36,000 cards; beyond that the END card is missing and the file is noise.
_MAX_HEADER_BLOCKS = 1000

# A keyword with its value indicator, the continuation of a long text, or a keyword by the HIERARCH rules.
_VALUED = re.compile(r"(?=.{8}= )[A-Za-z0-9_-]+ *= |CONTINUE  |HIERARCH .*=")
_TO_PRINTABLE = bytes(b if 32 <= b < 127 else ord("?") for b in range(256))


@dataclass(frozen=True)
class Hdu:
    """One header-data unit and where it lies.

    Attributes
    ----------
    index : int
        0 for the primary unit.
    header : astropy.io.fits.Header
        Its cards up to END; bytes that are not printable ASCII are read as ``?``.
    start, data_start : int
        Offsets of header and data in bytes.
    data_bytes : int
        Length of the data without padding.
    """

    index: int
    header: fits.Header
    start: int
    data_start: int
    data_bytes: int

    @property
    def end(self) -> int:
        """Offset of the next unit: the end of the data, padded to a whole block."""
        return self.data_start + -(-self.data_bytes // BLOCK) * BLOCK

    @cached_property
    def name(self) -> str:
        """EXTNAME in capitals, or an empty text."""
        value = card((self.header,), "EXTNAME", readable_only=True)
        return str(value).upper() if value is not None else ""

    @cached_property
    def label(self) -> str:
        """What messages call it."""
        return f"extension {self.name[:20] or self.index}" if self.index else "primary HDU"

    @cached_property
    def compressed(self) -> bool:
        """Whether it is a tile-compressed image."""
        return card((self.header,), "ZIMAGE", readable_only=True) is True

    @cached_property
    def bitpix(self) -> int:
        """BITPIX of the image, also of a compressed one."""
        return _whole(self.header, "ZBITPIX" if self.compressed else "BITPIX")

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """Lengths of the image's axes in the order of NumPy; empty for a table or an empty unit."""
        kind = card((self.header,), "XTENSION", readable_only=True)
        if self.compressed:
            return _axes(self.header, "ZNAXIS")
        return _axes(self.header, "NAXIS") if kind in (None, "IMAGE", "IUEIMAGE") else ()


def card(headers: tuple[fits.Header, ...], name: str, *, readable_only: bool = False) -> Any:
    """Return the value of a card from the first header that has it.

    Text comes without outer blanks; None stands for a card that is absent, blank or undefined.

    Raises
    ------
    Refusal
        If the card is there and cannot be read, unless `readable_only` asks for None then.
    """
    for header in headers:
        try:
            value = header.get(name)
        except (fits.VerifyError, ValueError, TypeError, KeyError, IndexError) as error:
            if readable_only:
                return None
            raise Refusal(f"card {name} cannot be read") from error
        if isinstance(value, str):
            value = value.strip()
        if value is not None and not isinstance(value, Undefined) and value != "":
            return value
    return None


def sole_card(headers: tuple[fits.Header, ...], name: str) -> Any:
    """Return what `card` returns, of a card that decides what a file is.

    Raises
    ------
    Refusal
        If the card cannot be read, or stands more than once in its header with different values.
    """
    for header in headers:
        value = card((header,), name)
        if name in header and (n := header.count(name)) > 1:
            _refuse_different(header, name, n)
        if value is not None:
            return value
    return None


def _refuse_different(header: fits.Header, name: str, n: int) -> None:
    try:
        values = [header[name, k] for k in range(n)]
    except (fits.VerifyError, ValueError, TypeError, KeyError, IndexError) as error:
        raise Refusal(f"card {name} cannot be read") from error
    said = {v.strip().upper() if isinstance(v, str) else v for v in values if not isinstance(v, fits.card.Undefined)}
    if len(said - {"", None}) > 1:
        times = {2: "twice", 3: "three times"}.get(n, f"{n} times")
        raise Refusal(f"card {name} stands {times} with different values")


def _whole(header: fits.Header, name: str) -> int:
    value = card((header,), name)
    if value is None:
        raise Refusal(f"not a valid FITS file: no card {name}")
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refusal(f"not a valid FITS file: {name} {quoted(value)} is not a whole number")
    return value


def _axes(header: fits.Header, prefix: str) -> tuple[int, ...]:
    n = _whole(header, prefix)
    if not 0 <= n <= 999:
        raise Refusal(f"not a valid FITS file: {prefix} is {n}")
    axes = tuple(_whole(header, f"{prefix}{k}") for k in range(n, 0, -1))
    if any(length < 0 for length in axes):
        raise Refusal("not a valid FITS file: an axis has a negative length")
    return axes


def _data_bytes(header: fits.Header) -> int:
    bitpix = _whole(header, "BITPIX")
    if bitpix not in (8, 16, 32, 64, -32, -64):
        raise Refusal(f"not a valid FITS file: BITPIX is {bitpix}")
    axes = _axes(header, "NAXIS")
    if not axes:
        return 0
    size = 1
    for length in axes:
        size *= length
    # The library makes room for as many columns as are claimed: two thousand million took all the memory.
    if "TFIELDS" in header and not 0 <= (fields := _whole(header, "TFIELDS")) <= 999:
        raise Refusal(f"not a valid FITS file: TFIELDS is {fields}")
    pcount = card((header,), "PCOUNT") or 0
    gcount = card((header,), "GCOUNT")
    counts = (pcount, 1 if gcount is None else gcount)
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise Refusal("not a valid FITS file: PCOUNT or GCOUNT is not a whole number")
    return int(abs(bitpix) // 8 * counts[1] * (counts[0] + size))


def _read_header(stream: BinaryIO, first: bytes) -> tuple[fits.Header, int]:
    """Read blocks up to the END card; return the header and the number of bytes read."""
    blocks = [first]
    for _ in range(_MAX_HEADER_BLOCKS):
        block = blocks[-1]
        if len(block) < BLOCK:
            raise Refusal("truncated: the file ends within a header")
        for offset in range(0, BLOCK, 80):
            if block[offset : offset + 8] == b"END     ":
                # What lies between END and the end of the block is meant to be blank and often is not.
                return _parsed(b"".join(blocks[:-1]) + block[:offset]), BLOCK * len(blocks)
        blocks.append(stream.read(BLOCK))
    raise Refusal("not a valid FITS file: a header has no END card")


def _parsed(content: bytes) -> fits.Header:
    """Return the header of the cards that carry a value; of others the library would complain."""
    text = content.translate(_TO_PRINTABLE).decode("ascii")
    cards = (text[k : k + 80] for k in range(0, len(text), 80))
    return fits.Header.fromstring("".join(c.ljust(80) for c in cards if _VALUED.match(c)))


def walk(stream: BinaryIO, size: int | None) -> Iterator[Hdu]:
    """Go through the header-data units of a file, reading headers only.

    Parameters
    ----------
    stream : binary file
        At its beginning; seekable forwards.
    size : int or None
        Length in bytes; None if unknown, then the data of the last unit asked for are not seen to be whole.

    Yields
    ------
    Hdu
        In the order of the file. Bytes after a complete unit that begin no extension end the walk.

    Raises
    ------
    Refusal
        If this is no FITS file, or a unit is cut or contradicts itself.
    """
    start, index = 0, 0
    while True:
        first = stream.read(BLOCK)
        if index == 0 and not first:
            raise Refusal("empty file")
        if index == 0 and not first.startswith(b"SIMPLE  ="):
            raise Refusal("not a FITS file")
        if index > 0 and not first.startswith(b"XTENSION"):
            return
        header, length = _read_header(stream, first)
        hdu = Hdu(index, header, start, start + length, _data_bytes(header))
        if size is not None and hdu.data_start + hdu.data_bytes > size:
            held = max(size - hdu.data_start, 0)
            raise Refusal(f"truncated: {hdu.label} holds {held} of {hdu.data_bytes} bytes")
        yield hdu
        start, index = hdu.end, index + 1
        try:
            reached = stream.seek(start)
        except (OverflowError, ValueError) as error:
            raise Refusal(f"truncated: {hdu.label} claims {hdu.data_bytes} bytes") from error
        held = reached - hdu.data_start
        if size is None and held < hdu.data_bytes:
            raise Refusal(f"truncated: {hdu.label} holds {held} of {hdu.data_bytes} bytes")
