"""Products: FITS files with units, checksums and provenance, found by their path without the database.

A product is written beside its place and renamed. It holds no time of making, so that the same inputs give the
same bytes.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from calib import __version__
from calib.archive.fits_stream import Card, Column, ImageStream, Table, part_pixels, summed_header, table_bytes
from calib.archive.integrity import Part, recorded_hash
from calib.archive.leave import assure_leave
from calib.checks import CheckResult
from calib.errors import ArchiveError
from calib.flags import FLAGS
from calib.raw.files import ByteReader, Refusal
from calib.raw.hdus import STORED_TYPES, Hdu, walk

__all__ = [
    "Image",
    "Input",
    "ProductFile",
    "canonical_path",
    "dark_path",
    "frames_path",
    "plain_text",
    "primary_cards",
    "read_product",
    "reference_path",
    "responsivity_path",
    "sky_offsets_path",
    "write_product",
]


@dataclass(frozen=True)
class Image:
    """One image extension: its array and the unit of its values."""

    data: NDArray[np.generic]
    unit: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Input:
    """Something a product was made from: its role, name and content hash (or the key of a product)."""

    role: str
    name: str
    hash: str


@dataclass(frozen=True)
class ProductFile:
    """A product as it lies in the archive.

    Attributes
    ----------
    path : str
        Relative to the archive, with forward slashes.
    content_hash : str
        What `calib.archive.integrity` records of the bytes.
    """

    path: str
    content_hash: str
    size: int
    mtime_ns: int


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "+-._" else "_" for c in name)


def dark_path(night: str, band: str, read: str) -> str:
    """Return the path of a nightly dark within the archive."""
    return f"nights/{night}/{_safe(band)}/dark-{_safe(read)}.fits"


def responsivity_path(night: str, band: str) -> str:
    """Return the path of a nightly responsivity within the archive."""
    return f"nights/{night}/{_safe(band)}/responsivity.fits"


def canonical_path(night: str, band: str) -> str:
    """Return the path of a night's canonical within the archive."""
    return f"nights/{night}/{_safe(band)}/canonical.fits"


def sky_offsets_path(night: str, band: str, scan: int, read: str) -> str:
    """Return the path of a scan's sky offsets within the archive."""
    return f"nights/{night}/{_safe(band)}/scans/{scan:03d}/sky-offsets-{_safe(read)}.fits"


def frames_path(night: str, band: str, scan: int, read: str) -> str:
    """Return the path of a scan's final frames within the archive."""
    return f"nights/{night}/{_safe(band)}/scans/{scan:03d}/frames-{_safe(read)}.fits"


def reference_path(band: str, period: str, name: str) -> str:
    """Return the path of a hardware period's reference: ``dark-R1``, …, ``responsivity``."""
    return f"references/{_safe(band)}/{period or 'first-light'}/{_safe(name)}.fits"


def primary_cards(
    kind: str,
    *,
    band: str,
    key: str,
    profile_name: str,
    profile_hash: str,
    night: str | None = None,
    status: str | None = None,
    cause: str = "",
    extra: Mapping[str, tuple[object, str]] | None = None,
) -> list[Card]:
    """Return the cards every product begins with."""
    cards: list[Card] = [("PRODUCT", kind, "what this is")]
    if night is not None:
        cards.append(("NIGHT", night, "local date on which the night begins"))
    cards.append(("FILTER", band, "band"))
    if status is not None:
        cards += [("STATUS", status, "verdict"), ("CAUSE", plain_text(cause), "")]
    for name, (value, comment) in (extra or {}).items():
        if isinstance(value, float) and not np.isfinite(value):
            continue
        cards.append((name, plain_text(value) if isinstance(value, str) else value, comment))
    return [
        *cards,
        ("PROFILE", profile_name, "instrument profile"),
        ("PROFHASH", profile_hash, ""),
        ("PRODKEY", key, ""),
        ("SOFTWARE", f"vesper {__version__}", "made by"),
    ]


_PLAIN = str.maketrans(
    {
        "×": "x",
        "≥": ">=",
        "≤": "<=",
        "χ": "chi",
        "²": "2",
        "σ": "sigma",
        "−": "-",
        "–": "-",
        "←": "<-",
        "…": "...",
        "⁻": "-",
        "·": ".",
    }
)


def plain_text(text: str) -> str:
    """Return a text as a FITS card can hold it: printable ASCII alone."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if 32 <= ord(c) < 127 else "?" for c in text.translate(_PLAIN))


def image_cards(image: Image) -> list[Card]:
    """Return the cards of an image extension: unit, meaning, and for masks the table of flags."""
    cards: list[Card] = []
    if image.unit:
        cards.append(("BUNIT", plain_text(image.unit), ""))
    if image.meaning:
        cards.append(("MEANING", plain_text(image.meaning), ""))
    if image.data.dtype.kind in "iu" and image.meaning == "flags":
        cards += [(f"FLAG{f.bit}", f.name, plain_text(f"{f.value}: {f.meaning}")[:46]) for f in FLAGS]
    return cards


def checks_table(checks: Sequence[CheckResult], blocks: Sequence[int] | None = None) -> Table:
    """Return the table ``CHECKS``: one row per check (and block)."""
    of_block = () if blocks is None else (Column("BLOCK", "J", blocks),)
    return Table(
        "CHECKS",
        (
            *of_block,
            Column("CHECK", "24A", [c.check.name for c in checks]),
            Column("VALUE", "D", [c.value for c in checks]),
            Column("BOUND", "3A", [c.check.bound for c in checks]),
            Column("LIMIT", "D", [c.limit for c in checks]),
            Column("UNIT", "8A", [plain_text(c.check.unit) for c in checks]),
            Column("PASSED", "L", [c.passed for c in checks]),
        ),
    )


def inputs_table(inputs: Sequence[Input]) -> Table:
    """Return the table ``INPUTS``: role, name and hash of everything the product was made from.

    The hash of a raw file is the BLAKE3 of its bytes, that of a product its key.
    """
    wide = max([len(plain_text(i.name)) for i in inputs], default=1)
    return Table(
        "INPUTS",
        (
            Column("ROLE", "16A", [i.role for i in inputs]),
            Column("NAME", f"{wide}A", [plain_text(i.name) for i in inputs]),
            Column("HASH", "64A", [i.hash for i in inputs]),
        ),
        "HASH: raw files BLAKE3 (b3sum FILE), products PRODKEY",
    )


def write_product(
    root: Path,
    path: str,
    primary: Sequence[Card],
    images: Mapping[str, Image],
    tables: Sequence[Table] = (),
    *,
    durable: bool = True,
) -> ProductFile:
    """Write a product beside its place, flush it to disk unless it need not be `durable`, and rename it.

    Raises
    ------
    ArchiveError
        If the folder cannot be written (permissions, full disk); nothing that was there is harmed.
    """
    with ProductStream(
        root,
        path,
        primary,
        {n: (image_cards(i), i.data.dtype, i.data.shape) for n, i in images.items()},
        durable=durable,
    ) as stream:
        for name, image in images.items():
            stream.write(name, image.data)
        return stream.finish(tables)


class ProductStream:
    """A product that is written piece by piece and appears under its name only when whole."""

    def __init__(
        self,
        root: Path,
        path: str,
        primary: Sequence[Card],
        extensions: Mapping[str, tuple[Sequence[Card], np.dtype[np.generic], tuple[int, ...]]],
        *,
        durable: bool = True,
    ) -> None:
        self._path, self._target, self._durable = path, root / path, durable
        self._part = _beside(self._target)
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._stream = ImageStream(self._part, primary, extensions)
        except OSError as error:
            with suppress(OSError):
                self._part.unlink()
            raise _unwritable(self._target, error) from error
        try:
            assure_leave(root)
        except ArchiveError:
            self.__exit__()
            raise

    def write(
        self,
        name: str,
        values: NDArray[np.generic],
        word_sum: int | None = None,
        *,
        at: tuple[int, int] | None = None,
    ) -> None:
        """Write values of an extension, as `ImageStream.write` does."""
        try:
            self._stream.write(name, values, word_sum, at=at)
        except OSError as error:
            raise _unwritable(self._target, error) from error

    def finish(self, tables: Sequence[Table]) -> ProductFile:
        """Complete the file and give it its name."""
        try:
            found_hash = self._stream.finish(tables, durable=self._durable)
            os.replace(self._part, self._target)
            found = self._target.stat()
        except OSError as error:
            raise _unwritable(self._target, error) from error
        return ProductFile(self._path, found_hash, found.st_size, found.st_mtime_ns)

    def __enter__(self) -> ProductStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.__exit__(None, None, None)
        self._part.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    """Return a name beside a product that nobody else uses: processes of two machines may have the same number."""
    return target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(6)}.part")


def _unwritable(path: Path, error: OSError) -> ArchiveError:
    return ArchiveError(
        f"{path} cannot be written: {error.strerror or error}; make room or check permissions, then run again"
    )


def read_product(root: Path, path: str, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Return image extensions of a product in native byte order.

    Raises
    ------
    ArchiveError
        If the product is missing or damaged.
    """
    try:
        with (root / path).open("rb", buffering=0) as file:
            return _images(file, tuple(names))
    except (OSError, KeyError, TypeError, ValueError, Refusal) as error:
        raise ArchiveError(
            f"{root / path} cannot be read ({error}); `calib verify` lists what is damaged, `calib run` makes it anew"
        ) from error


def _images(file: io.FileIO, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    units: dict[str, Hdu] = {}
    for unit in walk(file, os.fstat(file.fileno()).st_size):
        units[unit.name] = unit
        if units.keys() >= set(names):
            break
    return {name: _image(file, units[name]) for name in names}


def _image(file: io.FileIO, unit: Hdu) -> NDArray[Any]:
    if not unit.axes:
        raise ValueError(f"{unit.label} holds no image")
    stored = np.empty(unit.axes, STORED_TYPES[unit.bitpix])
    file.seek(unit.data_start)
    room = stored.reshape(-1).view(np.uint8).data
    while room:
        if not (got := file.readinto(room)):
            raise ValueError(f"truncated within {unit.label}")
        room = room[got:]
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def _recorded(units: Sequence[Hdu], pieces: Sequence[memoryview]) -> str:
    """Return the recorded hash of a product from its units, in the parts in which a stream takes it."""
    # The primary header, which no data follow, may have another length than it had.
    parts, tables = [Part(pieces[0])], Part()
    for unit, piece in zip(units[1:], pieces[1:], strict=True):
        if unit.header.get("XTENSION") == "BINTABLE":
            tables.add(piece)
        else:
            header, end = unit.data_start - unit.start, unit.data_start - unit.start + unit.data_bytes
            length = part_pixels(unit.axes) * abs(unit.bitpix) // 8
            images = (Part(piece[k : k + length]) for k in range(header, end, length))
            parts += [Part(piece[:header]), *images, Part(piece[end:])]
    return recorded_hash([*parts, tables])


def _set_cards(primary: fits.Header, status: str, cause: str) -> None:
    primary["STATUS"] = status
    # Deleted first: a long text leaves continuation cards behind otherwise.
    position = primary.index("CAUSE")
    del primary["CAUSE"]
    primary.insert(position, ("CAUSE", plain_text(cause)))


def set_verdict(
    root: Path,
    path: str,
    status: str,
    cause: str,
    checks: Sequence[CheckResult],
    blocks: Sequence[int] | None = None,
) -> ProductFile:
    """Write a verdict into a product that is already there; its images stay as they are."""
    target = root / path
    part = _beside(target)
    try:
        content = memoryview(target.read_bytes())
        units = list(walk(ByteReader(content), len(content)))  # type: ignore[arg-type]  # reads like a file
        if all(unit.name != "CHECKS" for unit in units):
            raise KeyError("no table CHECKS")
        # Unit by unit as bytes: to open and write the images anew would take several times as long.
        pieces = [content[unit.start : unit.end] for unit in units]
        for k, unit in enumerate(units):
            if unit.name == "CHECKS":
                pieces[k] = memoryview(table_bytes(checks_table(checks, blocks)))
        header = fits.Header.fromstring(bytes(content[: units[0].data_start]))
        _set_cards(header, status, cause)
        pieces[0] = memoryview(summed_header(header, int(header["DATASUM"])))
        recorded = _recorded(units, pieces)
        with part.open("wb", buffering=0) as file:
            for piece in pieces:
                while piece:
                    piece = piece[file.write(piece) :]
            os.fsync(file.fileno())
        os.replace(part, target)
    except (OSError, KeyError, TypeError, ValueError, Refusal) as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            raise _unwritable(target, error) from error
        raise ArchiveError(f"{target} is damaged ({error}); delete it and run `calib run` again") from error
    found = target.stat()
    return ProductFile(path, recorded, found.st_size, found.st_mtime_ns)
