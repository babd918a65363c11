"""Addresses: every view as a query string that reopens it, and back again with everything checked."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

__all__ = ["PAGES", "View", "parse", "search"]

PAGES: dict[str, str] = {
    "review": "Review",
    "trends": "Trends",
    "flats": "Flats",
    "night": "Night",
    "scans": "Scans",
    "scan": "Scan",
    "limits": "Limits",
    "log": "Log",
}

_NIGHT = re.compile(r"\d{4}-\d{2}-\d{2}")
_WORD = re.compile(r"[\w .+\-]{1,60}")


@dataclass(frozen=True)
class View:
    """What is on screen. Empty text and None stand for the page's own default.

    Attributes
    ----------
    page : str
        Key of `PAGES`.
    night, other : str
        ISO dates: the night shown and the one it is compared with.
    band, read, metric, region, product : str
        What is chosen.
    scan, block, frame, x, y : int or None
        Numbers from 0, except scans, which have their own.
    filter : str
        A page's own filter.
    text : str
        What is searched for.
    sort : str
        Column by which a table is sorted; a leading ``-`` turns the order round.
    start : int or None
        First row of a table that comes in pages.
    days : int or None
        Length of the time axis in nights.
    """

    page: str = "review"
    night: str = ""
    other: str = ""
    band: str = ""
    read: str = ""
    product: str = ""
    metric: str = ""
    region: str = ""
    image: str = ""
    stretch: str = ""
    filter: str = ""
    text: str = ""
    sort: str = ""
    start: int | None = None
    scan: int | None = None
    block: int | None = None
    frame: int | None = None
    x: int | None = None
    y: int | None = None
    days: int | None = None

    def to(self, **changes: Any) -> View:
        """Return the view with some parts changed."""
        return replace(self, **changes)


_NUMBERS = {"scan", "block", "frame", "x", "y", "days", "start"}


def parse(text: str) -> View:
    """Return the view of a query string; whatever is not understood is left at its default."""
    known = {f.name for f in fields(View)}
    found: dict[str, Any] = {}
    for name, value in parse_qsl(text.lstrip("?"), max_num_fields=60) if len(text) < 4000 else []:
        if name not in known or name in found:
            continue
        if name in _NUMBERS:
            if value.isascii() and value.isdigit() and len(value) <= 6:
                found[name] = int(value)
        elif name == "page":
            if value in PAGES:
                found[name] = value
        elif name in ("night", "other"):
            if _NIGHT.fullmatch(value):
                found[name] = value
        elif name == "text":
            # Searched for in paths and reasons: any characters, but no line of its own length.
            if len(value) <= 100 and value.isprintable():
                found[name] = value
        elif _WORD.fullmatch(value):
            found[name] = value
    return View(**found)


def search(view: View) -> str:
    """Return the query string of a view, defaults left out."""
    default = asdict(View())
    parts = {k: v for k, v in asdict(view).items() if v != default[k] or k == "page"}
    return "?" + urlencode(parts)
