"""Opening raw files, unpacking them, and saying in words why one is refused."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from calib.errors import RawFileError

__all__ = ["Refusal", "decompressed", "open_stream", "quoted", "refusing", "stored_bytes"]

_GZIP_MAGIC = b"\x1f\x8b"

# Greatest size of a decompressed file: a guard against a small file that unfolds without end.
_MAX_BYTES = 8 * 2**30

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


def _check_regular(path: Path) -> None:
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
    _check_regular(path)
    with path.open("rb") as probe:
        packed = probe.read(2) == _GZIP_MAGIC
        size = probe.seek(0, 2)
    if packed:
        return gzip.open(path, "rb"), None  # type: ignore[return-value]  # reads and seeks like a file
    return path.open("rb"), size


def stored_bytes(path: Path) -> bytes:
    """Return the content of a file as it lies on disk."""
    _check_regular(path)
    return path.read_bytes()


def decompressed(content: bytes) -> tuple[bytes, int]:
    """Unpack gzip content; anything else is returned as it is.

    Returns
    -------
    content : bytes
        All members joined, each with its CRC verified.
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
    members: list[bytes] = []
    rest, room = content, _MAX_BYTES
    while rest[:2] == _GZIP_MAGIC:
        unpacker = zlib.decompressobj(wbits=31)
        member = unpacker.decompress(rest, room)
        if not unpacker.eof:
            if len(member) >= room:
                raise Refusal(f"unpacks to more than {_MAX_BYTES // 2**30} GiB")
            raise EOFError
        members.append(member)
        room = max(room - len(member), 1)
        rest = unpacker.unused_data
    # Zero bytes after the last member are padding of tapes and are nothing to speak of.
    return b"".join(members), len(rest.lstrip(b"\0"))
