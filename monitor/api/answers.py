"""What an address can answer with, and how it is written: JSON without NaN, CSV that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["NotThere", "Picture", "Table", "Whole", "csv_bytes", "json_bytes"]

Row = dict[str, Any]


class NotThere(LookupError):
    """What was asked for is not in the archive; the text says what."""


@dataclass(frozen=True)
class Table:
    """Rows of a table, a page of them.

    Attributes
    ----------
    columns : sequence of str
    rows : list of dict
    total : int
        Rows there are in all.
    """

    columns: Sequence[str]
    rows: list[Row]
    total: int


@dataclass(frozen=True)
class Whole:
    """A file of the archive, as it is."""

    path: Path
    name: str
    content_hash: str


@dataclass(frozen=True)
class Picture:
    """An image made for the eye; ``told`` says in words what its grey means."""

    png: bytes
    told: str


def json_bytes(content: Any) -> bytes:
    """Return JSON; what is not a finite number is null."""
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace") + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def csv_bytes(table: Table) -> bytes:
    """Return CSV with a line of names; lists and tables are JSON, what is missing is empty."""
    memory = io.StringIO()
    writer = csv.writer(memory, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow([_cell(row.get(name)) for name in table.columns])
    return memory.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(_finite(value), ensure_ascii=False)
    # A text out of a header that begins like a formula would be run by a spreadsheet.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value
