"""Find out whether the archive is what it says it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.agreement import can_be_made, disagreement, mark_damaged
from calib.archive.database import Archive
from calib.archive.integrity import is_as_recorded
from calib.archive.products import canonical_path, dark_path, frames_path, responsivity_path, sky_offsets_path
from calib.archive.trouble import ANEW
from calib.errors import ArchiveError, CalibError

__all__ = ["verify_archive"]


def verify_archive(archive: Archive, progress: Callable[[int, int, str], None]) -> tuple[int, list[str]]:
    """Check every product against its recorded hash, and every row against its file.

    What a run can make anew is marked, so that the next one does.

    Returns
    -------
    n : int
        Products checked.
    faults : list of str
        A line for what is wrong with the database itself, for each product that is missing or altered or says something
        else than its rows, each file in the archive that no row knows, and each row that has no product.
    """
    try:
        damages = archive.damages()
    except ArchiveError as error:
        damages = [str(error)]
    if damages:
        # Whatever it says of products may be wrong.
        return 0, [f"{archive.place.name}: {words}; {ANEW}" for words in damages]
    faults = []
    # Rows first: what a run takes in meanwhile has its products recorded by the time these are read.
    named = dict(_products_named(archive))
    rows = archive.rows(sa.select(schema.products).order_by(schema.products.c.path))
    for k, row in enumerate(rows):
        progress(k, len(rows), row["path"])
        fault = _fault_of(archive, row)
        faults += [f"{row['path']}: {fault}"] if fault else []
    known = {r["path"] for r in rows}
    for top in ("nights", "references", "supplied"):
        for path in sorted((archive.root / top).rglob("*")):
            name = path.relative_to(archive.root).as_posix()
            if path.is_file() and name not in known:
                faults.append(f"{name}: not recorded in the database")
    without = [path for path in named if path not in known]
    if without:
        _mark(archive)
    return len(rows), [*faults, *(f"{path}: a row names it, no product is recorded" for path in without)]


def _fault_of(archive: Archive, row: dict[str, Any]) -> str:
    """Return what is wrong with a product, in words."""
    path = archive.root / row["path"]
    try:
        fault = (
            disagreement(archive, row) if is_as_recorded(path, row["content_hash"]) else "altered since it was recorded"
        )
    except OSError as error:
        return "missing" if not path.exists() else str(error.strerror)
    except ArchiveError as error:
        fault = str(error)
    if fault:
        _let_run_notice(path)
    return fault


def _let_run_notice(path: Path) -> None:
    # A run looks at size and time alone; what rotted on the disk has kept both.
    with suppress(OSError):
        os.utime(path)


def _mark(archive: Archive) -> None:
    """Let the next run make the products that rows name and that are not recorded, as far as it can.

    Nothing is marked while a run is at work, or where the archive may not be written to.
    """
    with suppress(CalibError, OSError), archive.writing():
        # Looked at anew: none of it changes while nobody else writes.
        known = {r["path"] for r in archive.rows(sa.select(schema.products.c.path))}
        missing = [(path, product) for path, product in _products_named(archive) if path not in known]
        marked = [product for _, product in missing if can_be_made(archive, product)]
        with archive.begin() as connection:
            for product in marked:
                mark_damaged(connection, product)
            if marked:
                connection.execute(sa.delete(schema.meta).where(schema.meta.c.name == "settled"))


def _products_named(archive: Archive) -> list[tuple[str, dict[str, Any]]]:
    """Return path and place of every product that a row of a night or scan names."""
    d, f, s = schema.darks, schema.flats, schema.scans
    found = [
        (dark_path(r["night"], r["band"], r["read"]), {**r, "kind": "dark"})
        for r in archive.rows(sa.select(d.c.night, d.c.band, d.c.read))
    ]
    for r in archive.rows(sa.select(f.c.night, f.c.band, f.c.key, f.c.canonical_key)):
        place = r["night"], r["band"]
        found += [(responsivity_path(*place), {**r, "kind": "responsivity"})] if r["key"] else []
        found += [(canonical_path(*place), {**r, "kind": "canonical"})] if r["canonical_key"] else []
    for r in archive.rows(sa.select(s.c.night, s.c.band, s.c.scan, s.c.read, s.c.has_frames)):
        scan = r["night"], r["band"], r["scan"], r["read"]
        found.append((sky_offsets_path(*scan), {**r, "kind": "sky-offsets"}))
        found += [(frames_path(*scan), {**r, "kind": "frames"})] if r["has_frames"] else []
    return found
