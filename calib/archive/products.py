"""Products: FITS files with units, checksums and provenance, found by their path without the database.

A product is written beside its place and renamed. It holds no time of making, so that the same inputs give the
same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from calib import __version__
from calib.archive.fits_stream import ImageStream, summed_header, table_bytes
from calib.checks import CheckResult
from calib.errors import ArchiveError
from calib.flags import FLAGS
from calib.raw.files import ByteReader, Refusal, content_hash
from calib.raw.hdus import walk

__all__ = [
    "Image",
    "Input",
    "ProductFile",
    "canonical_path",
    "dark_path",
    "frames_path",
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
        BLAKE3 of the bytes, hexadecimal.
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
) -> fits.Header:
    """Return the primary header every product begins with."""
    cards = fits.Header()
    cards["PRODUCT"] = (kind, "what this is")
    if night is not None:
        cards["NIGHT"] = (night, "local date on which the night begins")
    cards["FILTER"] = (band, "band")
    if status is not None:
        cards["STATUS"] = (status, "verdict")
        cards["CAUSE"] = _plain(cause)
    for name, (value, comment) in (extra or {}).items():
        if isinstance(value, float) and not np.isfinite(value):
            continue
        cards[name] = (_plain(value) if isinstance(value, str) else value, comment)
    cards["PROFILE"] = (profile_name, "instrument profile")
    cards["PROFHASH"] = profile_hash
    cards["PRODKEY"] = key
    cards["SOFTWARE"] = (f"vesper {__version__}", "made by")
    return cards


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


def _plain(text: str) -> str:
    # FITS cards hold printable ASCII alone.
    return "".join(c if 32 <= ord(c) < 127 else "?" for c in text.translate(_PLAIN))


def image_cards(image: Image) -> fits.Header:
    """Return the cards of an image extension: unit, meaning, and for masks the table of flags."""
    cards = fits.Header()
    if image.unit:
        cards["BUNIT"] = _plain(image.unit)
    if image.meaning:
        cards["MEANING"] = _plain(image.meaning)
    if image.data.dtype.kind in "iu" and image.meaning == "flags":
        for f in FLAGS:
            cards[f"FLAG{f.bit}"] = (f.name, _plain(f"{f.value}: {f.meaning}")[:46])
    return cards


def check_table_hdu(checks: Sequence[CheckResult], blocks: Sequence[int] | None = None) -> fits.BinTableHDU:
    """Return the table ``CHECKS``: one row per check (and block)."""
    columns = [
        fits.Column("CHECK", "24A", array=np.array([c.check.name for c in checks], dtype="S24")),
        fits.Column("VALUE", "D", array=np.array([c.value for c in checks], float)),
        fits.Column("BOUND", "3A", array=np.array([c.check.bound for c in checks], dtype="S3")),
        fits.Column("LIMIT", "D", array=np.array([c.limit for c in checks], float)),
        fits.Column("UNIT", "8A", array=np.array([_plain(c.check.unit) for c in checks], dtype="S8")),
        fits.Column("PASSED", "L", array=np.array([c.passed for c in checks], bool)),
    ]
    if blocks is not None:
        columns.insert(0, fits.Column("BLOCK", "J", array=np.array(blocks, np.int32)))
    return fits.BinTableHDU.from_columns(columns, name="CHECKS")


def inputs_hdu(inputs: Sequence[Input]) -> fits.BinTableHDU:
    """Return the table ``INPUTS``: role, name and hash of everything the product was made from.

    The hash of a raw file is the BLAKE3 of its bytes, that of a product its key.
    """
    wide = max([len(_plain(i.name)) for i in inputs], default=1)
    return fits.BinTableHDU.from_columns(
        [
            fits.Column("ROLE", "16A", array=np.array([i.role for i in inputs], dtype="S16")),
            fits.Column("NAME", f"{wide}A", array=np.array([_plain(i.name) for i in inputs], dtype=f"S{wide}")),
            fits.Column("HASH", "64A", array=np.array([i.hash for i in inputs], dtype="S64")),
        ],
        header=fits.Header([("COMMENT", "HASH of raw files: BLAKE3 of the bytes (b3sum FILE); of products: KEY")]),
        name="INPUTS",
    )


def write_product(
    root: Path,
    path: str,
    primary: fits.Header,
    images: Mapping[str, Image],
    tables: Sequence[fits.BinTableHDU] = (),
) -> ProductFile:
    """Write a product beside its place, flush it to disk, and rename it.

    Raises
    ------
    ArchiveError
        If the folder cannot be written (permissions, full disk); nothing that was there is harmed.
    """
    with ProductStream(
        root, path, primary, {n: (image_cards(i), i.data.dtype, i.data.shape) for n, i in images.items()}
    ) as stream:
        for name, image in images.items():
            stream.write(name, image.data)
        return stream.finish(list(tables))


class ProductStream:
    """A product that is written piece by piece and appears under its name only when whole."""

    def __init__(
        self,
        root: Path,
        path: str,
        primary: fits.Header,
        extensions: Mapping[str, tuple[fits.Header, np.dtype[np.generic], tuple[int, ...]]],
        *,
        durable: bool = True,
    ) -> None:
        self._path, self._target, self._durable = path, root / path, durable
        self._part = self._target.with_name(f"{self._target.name}.{os.getpid()}.part")
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._stream = ImageStream(self._part, primary, extensions)
        except OSError as error:
            raise _unwritable(self._target, error) from error

    def write(self, name: str, values: NDArray[np.generic]) -> None:
        """Append values to an extension."""
        try:
            self._stream.write(name, values)
        except OSError as error:
            raise _unwritable(self._target, error) from error

    def finish(self, tables: list[fits.BinTableHDU]) -> ProductFile:
        """Complete the file and give it its name."""
        try:
            self._stream.finish(tables)
            found_hash = file_hash(self._part, durable=self._durable)
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


def _unwritable(path: Path, error: OSError) -> ArchiveError:
    return ArchiveError(
        f"{path} cannot be written: {error.strerror or error}; make room or check permissions, then run again"
    )


def file_hash(path: Path, *, durable: bool = False) -> str:
    """Return the BLAKE3 (hex) of a file, as ``b3sum`` prints it; with ``durable`` flush it to disk first."""
    with path.open("rb", buffering=0) as file:
        if durable:
            os.fsync(file.fileno())
        return content_hash(file)


def read_product(root: Path, path: str, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Return image extensions of a product in native byte order.

    Raises
    ------
    ArchiveError
        If the product is missing or damaged.
    """
    try:
        with fits.open(root / path, memmap=False) as hdus:
            return {n: np.asarray(hdus[n].data, dtype=hdus[n].data.dtype.newbyteorder("=")) for n in names}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ArchiveError(
            f"{root / path} cannot be read ({error}); `calib verify` lists what is damaged, `calib run` makes it anew"
        ) from error


def _set_cards(primary: fits.Header, status: str, cause: str) -> None:
    primary["STATUS"] = status
    # Deleted first: a long text leaves continuation cards behind otherwise.
    position = primary.index("CAUSE")
    del primary["CAUSE"]
    primary.insert(position, ("CAUSE", _plain(cause)))


def set_verdict(root: Path, path: str, status: str, cause: str, checks: Sequence[CheckResult]) -> ProductFile:
    """Write a verdict into a product that is already there; its images stay as they are."""
    target = root / path
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        content = memoryview(target.read_bytes())
        units = list(walk(ByteReader(content), len(content)))  # type: ignore[arg-type]  # reads like a file
        if all(unit.name != "CHECKS" for unit in units):
            raise KeyError("no table CHECKS")
        with part.open("wb") as file:
            # Unit by unit as bytes: to open and write the images anew would take several times as long.
            for unit in units:
                if unit.name == "CHECKS":
                    file.write(table_bytes(check_table_hdu(checks)))
                    continue
                header = fits.Header.fromstring(bytes(content[unit.start : unit.data_start]))
                if unit.index == 0:
                    _set_cards(header, status, cause)
                file.write(summed_header(header, int(header["DATASUM"]), "when written"))
                file.write(content[unit.data_start : unit.end])
            file.flush()
            os.fsync(file.fileno())
        found_hash = file_hash(part)
        os.replace(part, target)
    except (OSError, KeyError, TypeError, ValueError, Refusal) as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            raise _unwritable(target, error) from error
        raise ArchiveError(f"{target} is damaged ({error}); delete it and run `calib run` again") from error
    found = target.stat()
    return ProductFile(path, found_hash, found.st_size, found.st_mtime_ns)
