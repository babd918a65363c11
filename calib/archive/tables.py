"""Tables for export: the columns people join on first, nothing internal."""

from __future__ import annotations

import io
import json
from typing import Any

import pandas as pd
import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive

__all__ = ["EXPORTS", "export_table", "read_table"]

_INTERNAL = {"key", "verdict_key", "cells_dn", "cell_error_dn", "rules_hash", "dark_key", "canonical_key"}

EXPORTS: dict[str, sa.Table] = {
    "darks": schema.darks,
    "flats": schema.flats,
    "scans": schema.scans,
    "sky_offsets": schema.sky_offsets,
    "metrics": schema.metrics,
    "alerts": schema.alerts,
    "states": schema.states,
    "decisions": schema.decisions,
    "files": schema.files,
}


def read_table(archive: Archive, name: str) -> list[dict[str, Any]]:
    """Return the rows of a table in the order of its key, internal columns left out, lists as JSON text.

    A gain per quadrant becomes the columns ``gain_Q1``, ``gain_error_Q1``, …, in e⁻/DN.
    """
    table = EXPORTS[name]
    columns = [c for c in table.c if c.name not in _INTERNAL]
    rows = archive.rows(sa.select(*columns).order_by(*table.primary_key))
    for row in rows:
        gains = row.pop("gain", None)
        for k, (value, error) in enumerate(gains or [], start=1):
            row[f"gain_Q{k}"], row[f"gain_error_Q{k}"] = value, error
        for column, value in row.items():
            if isinstance(value, list | dict):
                row[column] = json.dumps(value, ensure_ascii=False)
    return rows


def export_table(archive: Archive, name: str, form: str) -> bytes:
    """Return a table as CSV, JSON (a list of objects) or Parquet."""
    rows = read_table(archive, name)
    if form == "json":
        return (json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    columns = [c.name for c in EXPORTS[name].c if c.name not in _INTERNAL and c.name != "gain"]
    columns += sorted({c for r in rows for c in r if c not in columns})
    frame = pd.DataFrame(rows, columns=columns)
    for column in columns:
        if column in EXPORTS[name].c:
            frame[column] = _typed(frame[column], EXPORTS[name].c[column].type)
    if form == "csv":
        return frame.to_csv(index=False).encode()
    memory = io.BytesIO()
    frame.to_parquet(memory, index=False)
    return memory.getvalue()


def _typed(column: pd.Series[Any], kind: Any) -> pd.Series[Any]:
    # Whole numbers stay whole where some are missing.
    if isinstance(kind, sa.Boolean):
        return column.astype("boolean")
    if isinstance(kind, sa.Integer):
        return column.astype("Int64")
    if isinstance(kind, sa.Float):
        return column.astype("float64")
    return column
