"""Find out whether the archive is what it says it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.integrity import is_as_recorded

__all__ = ["verify_archive"]


def verify_archive(archive: Archive, progress: Callable[[int, int, str], None]) -> tuple[int, list[str]]:
    """Check every product against its recorded hash, and every row against its file.

    Returns
    -------
    n : int
        Products checked.
    faults : list of str
        A line for each product that is missing or altered, each file in the archive that no row knows, and each
        row that has no product.
    """
    faults: list[str] = []
    rows = archive.rows(sa.select(schema.products).order_by(schema.products.c.path))
    for k, row in enumerate(rows):
        progress(k, len(rows), row["path"])
        path = archive.root / row["path"]
        try:
            if not is_as_recorded(path, row["content_hash"]):
                faults.append(f"{row['path']}: altered since it was recorded")
                _let_run_notice(path)
        except OSError as error:
            faults.append(f"{row['path']}: {'missing' if not path.exists() else error.strerror}")
    known = {r["path"] for r in rows}
    for top in ("nights", "references", "supplied"):
        for path in sorted((archive.root / top).rglob("*")):
            name = path.relative_to(archive.root).as_posix()
            if path.is_file() and name not in known:
                faults.append(f"{name}: not recorded in the database")
    faults += _rows_without_product(archive, known)
    return len(rows), faults


def _let_run_notice(path: Path) -> None:
    # A run looks at size and time alone; what rotted on the disk has kept both.
    with suppress(OSError):
        os.utime(path)


def _rows_without_product(archive: Archive, known: set[str]) -> list[str]:
    from calib.archive.products import canonical_path, dark_path, frames_path, responsivity_path, sky_offsets_path

    d, f, s = schema.darks, schema.flats, schema.scans
    wanted = [
        dark_path(r["night"], r["band"], r["read"]) for r in archive.rows(sa.select(d.c.night, d.c.band, d.c.read))
    ]
    for r in archive.rows(sa.select(f.c.night, f.c.band, f.c.key, f.c.canonical_key)):
        wanted += [responsivity_path(r["night"], r["band"])] if r["key"] else []
        wanted += [canonical_path(r["night"], r["band"])] if r["canonical_key"] else []
    surplus = []
    for r in archive.rows(sa.select(s.c.night, s.c.band, s.c.scan, s.c.read, s.c.has_frames)):
        place = r["night"], r["band"], r["scan"], r["read"]
        wanted += [sky_offsets_path(*place), *([frames_path(*place)] if r["has_frames"] else [])]
        surplus += [] if r["has_frames"] or frames_path(*place) not in known else [frames_path(*place)]
    return [
        *(f"{path}: a row names it, no product is recorded" for path in wanted if path not in known),
        *(f"{path}: final frames that no row of a scan names" for path in surplus),
    ]
