"""Whether a product and its rows in the database say the same, and how a run is told to make one anew."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from astropy.io import fits

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.products import plain_text
from calib.errors import ArchiveError

__all__ = ["can_be_made", "disagreement", "mark_damaged"]

Row = dict[str, Any]

# Kind of a product → the table that tells of it, and what identifies a row there.
_TABLES = {
    "dark": (schema.darks, ("night", "band", "read")),
    "responsivity": (schema.flats, ("night", "band")),
    "canonical": (schema.flats, ("night", "band")),
    "sky-offsets": (schema.scans, ("night", "band", "scan", "read")),
    "frames": (schema.scans, ("night", "band", "scan", "read")),
}

# Cards and columns that hold the same.
_CARDS = {
    "dark": {"STATUS": "status", "CAUSE": "cause", "NFRAMES": "n_frames", "LEVEL": "level_dn", "NOISE": "noise_dn"},
    "responsivity": {"STATUS": "status", "CAUSE": "cause", "NFRAMES": "n_frames"},
    "sky-offsets": {"STATUS": "status", "CAUSE": "cause"},
}


def disagreement(archive: Archive, product: Row) -> str:
    """Return the first thing in which a product and the database differ.

    Parameters
    ----------
    archive : Archive
    product : dict
        Its row of the table ``products``.

    Returns
    -------
    str
        In words; empty if there is none.

    Raises
    ------
    ArchiveError
        If the product cannot be read.
    """
    try:
        with fits.open(archive.root / product["path"], memmap=False) as hdus:
            return next(_differences(archive, product, hdus), "")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ArchiveError(f"cannot be read: {error}") from error


def _differences(archive: Archive, product: Row, hdus: fits.HDUList) -> Iterator[str]:
    primary, kind = hdus[0].header, product["kind"]
    yield from _unequal("PRODKEY", product["key"], primary["PRODKEY"])
    told = len(archive.rows(sa.select(schema.lineage).where(schema.lineage.c.child == product["path"])))
    # Files of one name in several folders may be one entry.
    held = len({(str(r["ROLE"]), str(r["NAME"])) for r in hdus["INPUTS"].data})
    if told < held:
        yield f"its lineage has {told} entries in the database, {held} in the product"
    if kind not in _TABLES:
        return
    table, place = _TABLES[kind]
    found = archive.rows(sa.select(table).where(*(table.c[n] == product[n] for n in place)))
    if not found:
        yield f"no row of the table {table.name} tells of it"
        return
    (row,) = found
    key = "canonical_key" if kind == "canonical" else "key"
    yield from _unequal(key, row[key], primary["PRODKEY"])
    for card, column in _CARDS.get(kind, {}).items():
        yield from _unequal(column, row[column], primary.get(card))
    if kind == "frames" and not row["has_frames"]:
        yield "the database says that final frames were not kept"
    elif kind == "canonical":
        yield from _unequal(
            "members", row["members"], [primary[f"NIGHT{k:03d}"] for k in range(1, primary["NMEMBERS"] + 1)]
        )
    elif kind == "sky-offsets":
        yield from _of_blocks(archive, product, hdus)
    elif kind in _CARDS:
        for check in hdus["CHECKS"].data:
            yield from _unequal(check["CHECK"], row[_column(check["CHECK"])], float(check["VALUE"]))


def _of_blocks(archive: Archive, product: Row, hdus: fits.HDUList) -> Iterator[str]:
    o, place = schema.sky_offsets, _TABLES["sky-offsets"][1]
    rows = {r["block"]: r for r in archive.rows(sa.select(o).where(*(o.c[n] == product[n] for n in place)))}
    yield from _unequal("blocks", sorted(rows), [int(b) for b in hdus["BLOCKS"].data["BLOCK"]])
    for block in hdus["BLOCKS"].data:
        row, name = rows[int(block["BLOCK"])], f"of block {block['BLOCK']}"
        yield from _unequal(f"status {name}", row["status"], block["STATUS"])
        yield from _unequal(f"level_dn {name}", row["level_dn"], float(block["LEVEL"]))
        yield from _unequal(f"used_block {name}", row["used_block"], int(block["USED"]))
    for check in hdus["CHECKS"].data:
        row, name = rows[int(check["BLOCK"])], f"{check['CHECK']} of block {check['BLOCK']}"
        yield from _unequal(name, row[_column(check["CHECK"])], float(check["VALUE"]))


def _column(check: str) -> str:
    return "n_frames" if check == "frames" else check


def _unequal(what: str, told: Any, held: Any) -> Iterator[str]:
    """Yield a sentence if the database and the product hold different values."""
    if isinstance(told, int | float) or isinstance(held, float):
        one, other = (math.nan if v is None else float(v) for v in (told, held))
        same = math.isclose(one, other, rel_tol=1e-6) or (math.isnan(one) and math.isnan(other))
    elif isinstance(told, str):
        same = plain_text(told).rstrip() == str(held).rstrip()
    else:
        same = told == held
    if not same:
        yield f"{what} is {told} in the database, {held} in the product"


# Kind of a product → the type of the raw files that it is made from.
_RAW = {"dark": "dark", "responsivity": "twilight", "sky-offsets": "scan", "frames": "scan"}


def can_be_made(archive: Archive, product: Row) -> bool:
    """Return whether the raw files are there that a product is made from; others are made from products.

    Parameters
    ----------
    archive : Archive
    product : dict
        ``kind``, ``night``, ``band`` and ``scan`` of the product.
    """
    f, kind = schema.files, product["kind"]
    if kind in _RAW:
        where = [f.c.night == product["night"], f.c.band == product["band"], f.c.obs_type == _RAW[kind]]
        where += [f.c.status == "used", *([f.c.scan == product["scan"]] if _RAW[kind] == "scan" else [])]
    elif kind.startswith("supplied"):
        where = [f.c.status == "supplied"]
    else:
        return True
    paths = [Path(r["path"]) for r in archive.rows(sa.select(f.c.path).where(*where))]
    return bool(paths) and all(path.exists() for path in paths)


def mark_damaged(connection: sa.Connection, product: Row) -> None:
    """Let the next run make a product anew.

    Parameters
    ----------
    connection : sqlalchemy.Connection
    product : dict
        ``kind``, ``night``, ``band``, ``read`` and ``scan`` of the product.
    """
    kind = product["kind"]
    values: dict[str, Row] = {
        "dark": {"key": "damaged", "verdict_key": None},
        "responsivity": {"key": "damaged", "verdict_key": None},
        "canonical": {"canonical_key": None, "verdict_key": None},
        "frames": {"has_frames": False},
        "sky-offsets": {"key": "damaged"},
    }
    if kind in values:
        table, place = _TABLES[kind]
        connection.execute(sa.update(table).where(*(table.c[n] == product[n] for n in place)).values(**values[kind]))
    elif kind.startswith("supplied"):
        connection.execute(sa.update(schema.files).where(schema.files.c.status == "supplied").values(status="pending"))
    else:
        # References are looked up by the product's row, which is gone now; their deviations hang on it.
        connection.execute(sa.delete(schema.metrics).where(schema.metrics.c.band == product["band"]))
