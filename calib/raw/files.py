"""Opening raw files, unpacking them, and saying in words why one is refused."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from blake3 import blake3

from calib.errors import RawFileError, shown_path

__all__ = [
    "ByteReader",
    "Refusal",
    "content_hash",
    "decompressed",
    "open_stream",
    "quoted",
    "read_ahead",
    "refusing",
    "stored_bytes",
]

Content = TypeVar("Content", bytes, memoryview)

_GZIP_MAGIC = b"\x1f\x8b"

# Greatest size of a decompressed file: a guard against a small file that unfolds without end.
_MAX_BYTES = 8 * 2**30
_PIECE_BYTES = 2**18
HASHED_BYTES = 2**20
READ_BYTES = 2**22

_SHOWN_CHARACTERS = 60


class Refusal(Exception):
    """Why a file is refused; becomes a `RawFileError` where the path is known."""


def quoted(value: object) -> str:
    """Return header text fit for a message: quoted, on one line, without control characters, not too long."""
    text = str(value)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 1] + "…"
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return f"'{shown}'"


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn every way in which reading a file can fail into one `RawFileError`."""
    try:
        yield
    except Refusal as refusal:
        raise RawFileError(path, str(refusal)) from None
    except EOFError:
        raise RawFileError(path, "truncated: the compressed data end too early") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise RawFileError(path, f"damaged: the compressed data cannot be unpacked ({error})") from error
    except OSError as error:
        raise RawFileError(path, f"cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise RawFileError(path, "cannot be read: too large for the memory of this machine") from error


def _check_path(path: Path) -> None:
    # Neither databases nor logs take such a name, and under another one the file would not be found again.
    if shown_path(path) != str(path):
        what = "its name" if shown_path(path.name) != path.name else "the name of a folder above it"
        raise Refusal(f"{what} is not UTF-8; rename it")
    # Reading a pipe would wait for ever; what does not exist fails where it is opened.
    if path.exists() and not path.is_file():
        raise Refusal("not a regular file")


def open_stream(path: Path) -> tuple[BinaryIO, int | None]:
    """Open a file for reading its headers.

    Returns
    -------
    stream : binary file
        Seekable forwards; decompressed on the fly if the content is gzip, whatever the name says.
    size : int or None
        Length in bytes, None if only complete decompression could tell.
    """
    _check_path(path)
    with path.open("rb") as probe:
        packed = probe.read(2) == _GZIP_MAGIC
        size = probe.seek(0, 2)
    if packed:
        return gzip.open(path, "rb"), None  # type: ignore[return-value]  # reads and seeks like a file
    return path.open("rb"), size


def read_ahead(path: Path) -> None:
    """Ask the system to fetch a file that is to be read soon, and do not wait for it."""
    if not hasattr(os, "posix_fadvise"):
        return
    # What cannot be read will say so when it is read. A pipe must not be waited for.
    with suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(file)


def content_hash(file: io.RawIOBase) -> str:
    """Return the BLAKE3 (hex) of an unbuffered file, from where it stands to its end."""
    # Read in pieces that stay in the cache. To map the file would be no faster, and kill us should it be cut meanwhile.
    digest, piece = blake3(), np.empty(HASHED_BYTES, np.uint8).data
    while got := file.readinto(piece):
        digest.update(piece[:got])
    return digest.hexdigest()


def stored_bytes(path: Path) -> tuple[memoryview, Future[str]]:
    """Return the content of a file as it lies on disk, and its BLAKE3 (hex), which may still be under way.

    The content is not to be changed before the hash is there.
    """
    _check_path(path)
    with path.open("rb", buffering=0) as file:
        # An array of this size is given large pages, a bytes object is not: half of the time of reading goes there.
        content = np.empty(os.fstat(file.fileno()).st_size, np.uint8).data
        if len(content) < 4 * READ_BYTES:
            filled = 0
            while filled < len(content) and (got := file.readinto(content[filled:])):
                filled += got
            hashed: Future[str] = Future()
            hashed.set_result(blake3(content[:filled]).hexdigest())
            return content[:filled], hashed
        return _read_and_hash(file, content)


def _read_and_hash(file: io.RawIOBase, content: memoryview) -> tuple[memoryview, Future[str]]:
    """Fill a buffer from a file; each piece is hashed by another thread, while it lies in the cache."""
    filled, digest, beside = 0, blake3(), ThreadPoolExecutor(1)
    try:
        while filled < len(content) and (got := file.readinto(content[filled : filled + READ_BYTES])):
            beside.submit(digest.update, content[filled : filled + got])
            filled += got
        return content[:filled], beside.submit(digest.hexdigest)
    finally:
        beside.shutdown(wait=False)


class ByteReader(io.RawIOBase):
    """A stream over bytes in memory that does not copy them."""

    def __init__(self, content: memoryview) -> None:
        self._content, self._at = content, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted from the beginning; it may lie beyond the end."""
        if whence != io.SEEK_SET or offset < 0:
            raise ValueError("only places from the beginning")
        self._at = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from here on."""
        part = self._content[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def decompressed(content: Content) -> tuple[Content, int]:
    """Unpack gzip content; anything else is returned as it is.

    Returns
    -------
    content : bytes or memoryview
        As it came. All members joined, each with its CRC verified.
    trailing : int
        Number of bytes after the last member that are no gzip.

    Raises
    ------
    EOFError
        If the last member is cut.
    zlib.error
        If the content is damaged.
    """
    if content[:2] != _GZIP_MAGIC:
        return content, 0
    view, at, room = memoryview(content), 0, _MAX_BYTES
    pieces: list[bytes] = []
    while view[at : at + 2] == _GZIP_MAGIC:
        member = zlib.decompressobj(wbits=31)
        # In pieces, because what follows a member is handed back as a copy, and there may be many members.
        while not member.eof and at < len(view):
            packed = view[at : at + _PIECE_BYTES]
            pieces.append(member.decompress(packed))
            at += len(packed)
            room -= len(pieces[-1])
            if room < 0:
                raise Refusal(f"unpacks to more than {_MAX_BYTES // 2**30} GiB")
        if not member.eof:
            raise EOFError
        at -= len(member.unused_data)
    # Zero bytes after the last member are the padding of tapes and nothing to speak of.
    return type(content)(b"".join(pieces)), len(bytes(view[at:]).lstrip(b"\0"))
