"""Masters that a team already had: which files they came from, and when they were made."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive

__all__ = ["SuppliedMaster", "read_supplied"]

_WHAT = {"supplied-dark": "dark", "supplied-flat": "flat"}


@dataclass(frozen=True)
class SuppliedMaster:
    """A combined dark or flat as it came.

    Attributes
    ----------
    name : str
        Name of its file.
    night : str
        Night of the time in its header; empty if it has none.
    """

    name: str
    night: str

    @property
    def parts(self) -> tuple[str, str]:
        """Its file, and the night in words, empty if it has none: what is written apart where there is little room."""
        return self.name, f"of {self.night}" if self.night else ""

    @property
    def words(self) -> str:
        """Where it comes from."""
        return self.name + (f" of {self.night}" if self.night else "")


def read_supplied(archive: Archive) -> dict[tuple[str, str], SuppliedMaster]:
    """Return (``dark`` or ``flat``, band) → the master that stands in the archive."""
    p, i, f = schema.products, schema.lineage, schema.files
    query = (
        sa.select(p.c.kind, p.c.band, i.c.parent, f.c.night)
        .join(i, i.c.child == p.c.path)
        .outerjoin(f, f.c.path == i.c.parent)
        .where(p.c.kind.in_(_WHAT), i.c.role == "raw")
        .order_by(i.c.parent)
    )
    return {
        (_WHAT[r["kind"]], r["band"]): SuppliedMaster(r["parent"].rpartition("/")[2], r["night"] or "")
        for r in archive.rows(query)
    }
