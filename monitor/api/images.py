"""Products as files and as pictures: only what the database records, for no path is ever made from an address."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.products import reference_path
from monitor.api.answers import NotThere, Picture, Row, Whole
from monitor.api.parameters import ParameterError

__all__ = ["address_of", "find_product", "fits_file", "picture"]


def product_name(row: Mapping[str, Any]) -> str:
    """Return the name by which a product is asked for, such as ``dark-R1``."""
    return f"{row['kind']}-{row['read']}" if row["read"] else str(row["kind"])


def address_of(row: Mapping[str, Any]) -> str | None:
    """Return the address of a recorded product; None for one that belongs to no night."""
    from urllib.parse import quote

    if row["night"] is None:
        return None
    parts = [row["night"], row["band"], *([str(row["scan"])] if row["scan"] is not None else []), product_name(row)]
    top = "images" if row["scan"] is None else "scans"
    return f"/api/v1/{top}/" + "/".join(quote(p, safe="") for p in parts) + ".fits"


def find_product(archive: Archive, asked: Mapping[str, Any]) -> Row:
    """Return the record of a product of a night and band (and scan), or of the reference that was in force then.

    Raises
    ------
    NotThere
        If there is none.
    """
    p = schema.products
    night, band, name, scan = asked["night"], asked["band"], asked["product"], asked.get("scan")
    if name.startswith("reference-"):
        paths = _reference_paths(archive, night, band, name.removeprefix("reference-"))
        found = archive.rows(sa.select(p).where(p.c.path.in_(paths))) if paths else []
    else:
        query = sa.select(p).where(p.c.night == night, p.c.band == band)
        query = query.where(p.c.scan.is_(None) if scan is None else p.c.scan == scan)
        found = archive.rows(query)
    for row in found:
        if product_name(row) == name:
            return row
    what = f"scan {scan} of " if scan is not None else ""
    there = ", ".join(sorted(product_name(r) for r in found)) if found else "none at all"
    raise NotThere(f"there is no product {name!r} of {what}{night} {band} (there is {there})")


def _reference_paths(archive: Archive, night: str, band: str, name: str) -> list[str]:
    """Return where the references of a night's hardware period would be recorded."""
    table = schema.flats if name == "responsivity" else schema.darks
    query = sa.select(table.c.period).where(table.c.night == night, table.c.band == band).distinct()
    return [reference_path(band, r["period"] or "", name) for r in archive.rows(query)]


def _place(archive: Archive, row: Row) -> Path:
    """Return where a product lies; a record that points outside the archive is no product."""
    place = (archive.root / str(row["path"])).resolve()
    if not place.is_relative_to(archive.root.resolve()) or not place.is_file():
        raise NotThere(f"{row['path']} is recorded, and not there; `calib verify` lists what is damaged")
    return place


def fits_file(archive: Archive, asked: Mapping[str, Any]) -> Whole:
    """Return a product as the file it is."""
    row = find_product(archive, asked)
    parts = [row["night"], row["band"], *([f"{row['scan']:03d}"] if row["scan"] is not None else [])]
    name = "-".join([str(p) for p in parts if p] + [product_name(row)])
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "+-._") else "_" for c in name)
    return Whole(_place(archive, row), f"{plain}.fits", row["content_hash"])


def picture(archive: Archive, asked: Mapping[str, Any]) -> Picture:
    """Return one image of a product as PNG, grey from ``low`` to ``high``, the first row at the bottom."""
    row = find_product(archive, asked)
    data, unit = _plane(_place(archive, row), asked["extension"], asked["plane"])
    low, high = _stretch(data, asked)
    scaled = (data - low) / (high - low if high > low else 1.0)
    grey = np.where(np.isfinite(scaled), np.clip(scaled, 0.0, 1.0) * 255.0, 0.0).astype(np.uint8)
    seen = np.isfinite(data).astype(np.uint8) * 255
    image = Image.fromarray(np.dstack([grey, seen])[::-1].copy(), "LA")
    if asked["zoom"] > 1:
        image = image.resize((image.width * asked["zoom"], image.height * asked["zoom"]), Image.Resampling.NEAREST)
    told = f"black {low:.6g}, white {high:.6g}{' ' + unit if unit else ''}; transparent where there is no value"
    info = PngImagePlugin.PngInfo()
    info.add_text("Description", told)
    memory = io.BytesIO()
    image.save(memory, "PNG", pnginfo=info)
    return Picture(memory.getvalue(), told)


def _plane(path: Path, extension: str, plane: int) -> tuple[NDArray[np.float64], str]:
    """Return one plane of an image extension; of a cube no more is read than that."""
    with fits.open(path, memmap=False) as hdus:
        names = [h.name for h in hdus if h.is_image and len(h.shape) in (2, 3)]
        if extension not in names:
            raise ParameterError(f"extension is one of {', '.join(names)} here, not {extension!r}")
        hdu = hdus[extension]
        n = hdu.shape[0] if len(hdu.shape) == 3 else 1
        if plane >= n:
            raise ParameterError(f"plane is a whole number from 0 to {n - 1} here, not {plane}")
        data = hdu.section[plane] if len(hdu.shape) == 3 else hdu.data
        return np.asarray(data, np.float64), str(hdu.header.get("BUNIT", ""))


def _stretch(data: NDArray[np.float64], asked: Mapping[str, Any]) -> tuple[float, float]:
    good = data[np.isfinite(data)]
    if not good.size:
        return 0.0, 1.0
    half = (100.0 - asked["percent"]) / 2
    low, high = (float(v) for v in np.percentile(good, [half, 100.0 - half]))
    low = asked["low"] if asked["low"] is not None else low
    high = asked["high"] if asked["high"] is not None else high
    if asked["low"] is not None and asked["high"] is not None and low >= high:
        raise ParameterError(f"low is a number below high, not {low:g} with high {high:g}")
    return low, high
