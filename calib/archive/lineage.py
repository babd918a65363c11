"""Lineage in both directions: what a product was made from, and what was made from it."""

from __future__ import annotations

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.errors import ArchiveError

__all__ = ["ancestors", "descendants", "lineage_lines"]


def _walk(archive: Archive, start: str, here: str, there: str) -> list[tuple[int, str, str]]:
    table = schema.lineage
    found: list[tuple[int, str, str]] = []
    seen, front, depth = {start}, [start], 0
    while front:
        depth += 1
        query = sa.select(table).where(table.c[here].in_(front)).order_by(table.c.role, table.c[there])
        front = []
        for row in archive.rows(query):
            if row[there] not in seen:
                seen.add(row[there])
                front.append(row[there])
                found.append((depth, row["role"], row[there]))
    return found


def ancestors(archive: Archive, path: str) -> list[tuple[int, str, str]]:
    """Return (steps away, role, path) of everything a product was made from, nearest first."""
    return _walk(archive, path, "child", "parent")


def descendants(archive: Archive, path: str) -> list[tuple[int, str, str]]:
    """Return (steps away, role, path) of everything made from a product or raw file, nearest first."""
    return _walk(archive, path, "parent", "child")


def lineage_lines(archive: Archive, path: str) -> list[str]:
    """Return both directions as text; ArchiveError if the archive knows no such product or file."""
    table = schema.lineage
    known = sa.select(sa.func.count()).select_from(table).where((table.c.child == path) | (table.c.parent == path))
    if not archive.value(known):
        raise ArchiveError(f"{archive.root} knows no {path}; give a path within the archive or of a raw file")
    lines = [path]
    for title, found in (("made from", ancestors(archive, path)), ("used by", descendants(archive, path))):
        if found:
            lines.append(f"{title}:")
            lines += [f"{'  ' * depth}{role:10} {name}" for depth, role, name in found]
    return lines
