"""Every address of the API, declared once: the server, its description and the page about it come from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from calib.archive.database import Archive
from monitor.api import images, tables
from monitor.api.answers import Picture, Table, Whole
from monitor.api.parameters import Parameter

__all__ = ["ROUTES", "Route"]

Answer = Table | Whole | Picture | dict[str, Any]


@dataclass(frozen=True)
class Route:
    """One address.

    Attributes
    ----------
    path : str
        With parts in braces.
    summary : str
        What it answers, in one line.
    answers : str
        ``table``, ``object``, ``fits`` or ``png``.
    parameters : tuple of Parameter
    answer : callable
        Archive and parameters → answer; called in a thread of its own.
    columns : mapping, optional
        Of a table: column → type in JSON.
    """

    path: str
    summary: str
    answers: str
    parameters: tuple[Parameter, ...]
    answer: Callable[[Archive, Mapping[str, Any]], Answer]
    columns: Mapping[str, str] | None = None


_NIGHT = Parameter("night", "The night, by the date on which it begins.", "night", in_path=True, example="1999-05-04")
_BAND = Parameter("band", "The band.", in_path=True, example="H")
_SINCE = Parameter("since", "First night.", "night")
_UNTIL = Parameter("until", "Last night.", "night")
_PAGING = (
    Parameter("limit", "Rows of one answer.", "integer", default=1000, least=1, most=20_000),
    Parameter("offset", "Rows before the first of this answer.", "integer", default=0, least=0, most=10**9),
    Parameter("format", "How the table is written.", choices=("json", "csv"), default="json"),
)
_MEANINGS = {
    "band": "Of this band.",
    "product": "Of this product, such as dark R1, noise R1, responsivity.",
    "read": "Of this read, such as R1.",
    "scan": "Of the scan of this number.",
    "metric": "Of this metric, such as deviation or level.",
    "region": "Of this region: array, Q1 …, or a cell.",
    "kind": "Of this kind.",
    "status": "With this status.",
    "state": "In this state: OK, NOTICE, WATCH, DRIFT or UNKNOWN.",
}
_SUMMARIES = {
    "darks": "Nightly darks: verdict, cause, and the value of every check.",
    "flats": "Nightly responsivities: verdict, cause, and the value of every check.",
    "scans": "Calibrated scans with what they were calibrated with.",
    "sky_offsets": "Sky offsets of every block of every scan, with their checks.",
    "metrics": "Values and deviations from the reference, by night, band, product and region, with errors.",
    "alerts": "Matters that a person must close, in plain words.",
    "states": "What the control charts say of every night, band and product.",
    "decisions": "What people ruled: who, when, why.",
    "files": "Raw files and what became of each.",
    "products": "Products that can be had, with their address.",
}
_TYPES = {"Float": "number", "Integer": "integer", "BigInteger": "integer", "Boolean": "boolean", "JSON": "object"}


def _filter(name: str) -> Parameter:
    if name == "scan":
        return Parameter(name, _MEANINGS[name], "integer", least=0, most=10**9)
    return Parameter(name, _MEANINGS[name])


def _table_route(name: str) -> Route:
    table = tables.TABLES[name]
    nights = (_SINCE, _UNTIL) if "night" in table.c else ()
    columns = {c.name: _TYPES.get(type(c.type).__name__, "string") for c in tables.visible(table)}

    def answer(archive: Archive, asked: Mapping[str, Any]) -> Table:
        found = tables.read_rows(archive, name, asked)
        if name != "products":
            return found
        rows = [{**row, "href": images.address_of(row)} for row in found.rows]
        return Table([*found.columns, "href"], rows, found.total)

    if name == "products":
        columns["href"] = "string"
    return Route(
        f"/api/v1/{name.replace('_', '-')}",
        _SUMMARIES.get(name, f"The table {name}."),
        "table",
        (*(_filter(n) for n in tables.filters_of(table)), *nights, *_PAGING),
        answer,
        columns,
    )


_VERDICT_FILTERS = (
    _filter("band"),
    Parameter("product", "What was judged.", choices=("dark", "flat", "sky-offset")),
    _filter("read"),
    _filter("scan"),
    _filter("status"),
)
_VERDICT_COLUMNS = {
    n: {"scan": "integer", "block": "integer", "override": "boolean"}.get(n, "string")
    for n in ("night", "band", "product", "read", "scan", "block", "status", "cause", "override")
}
_PICTURE = (
    Parameter("extension", "Image extension of the file: SCI, ERR, DQ, …", default="SCI"),
    Parameter("plane", "Plane of a cube, from 0.", "integer", default=0, least=0, most=10**6),
    Parameter("low", "Value that is black; by default as percent says.", "number"),
    Parameter("high", "Value that is white; by default as percent says.", "number"),
    Parameter("percent", "Share of the pixels between black and white.", "number", default=99.0, least=1, most=100),
    Parameter("zoom", "Screen pixels for each pixel, along each side.", "integer", default=1, least=1, most=8),
)
_PRODUCT = Parameter(
    "product",
    "dark-READ, responsivity, canonical, or the reference of that night's hardware period: reference-dark-READ, "
    "reference-responsivity.",
    in_path=True,
    example="responsivity",
)
_SCAN = Parameter("scan", "Number of the scan.", "integer", least=0, most=10**9, in_path=True, example="1")
_SCAN_PRODUCT = Parameter("product", "sky-offsets-READ or frames-READ.", in_path=True, example="sky-offsets-R2-R1")
_IMAGE, _SCAN_IMAGE = "/api/v1/images/{night}/{band}/{product}", "/api/v1/scans/{night}/{band}/{scan}/{product}"

ROUTES: tuple[Route, ...] = (
    Route(
        "/api/v1/nights",
        "All nights, with how many verdicts fell which way.",
        "table",
        (_SINCE, _UNTIL, *_PAGING),
        tables.nights,
        {n: "string" if n in ("night", "signed_off_by") else "integer" for n in tables.NIGHT_COLUMNS},
    ),
    Route(
        "/api/v1/nights/{night}",
        "One night with its darks, flats, scans, alerts, states, decisions and products.",
        "object",
        (_NIGHT,),
        lambda archive, asked: tables.night_summary(archive, asked["night"]),
    ),
    Route(
        "/api/v1/nights/{night}/verdicts",
        "The verdicts of one night.",
        "table",
        (_NIGHT, *_VERDICT_FILTERS, *_PAGING),
        tables.verdicts,
        _VERDICT_COLUMNS,
    ),
    Route(
        "/api/v1/verdicts",
        "Verdicts on darks, flats and sky offsets, with their causes.",
        "table",
        (*_VERDICT_FILTERS, _SINCE, _UNTIL, *_PAGING),
        tables.verdicts,
        _VERDICT_COLUMNS,
    ),
    *(_table_route(name) for name in tables.TABLES),
    Route(
        f"{_IMAGE}.fits",
        "A dark, responsivity, canonical or reference as the file it is.",
        "fits",
        (_NIGHT, _BAND, _PRODUCT),
        images.fits_file,
    ),
    Route(
        f"{_IMAGE}.png",
        "The same as a picture, grey between two values.",
        "png",
        (_NIGHT, _BAND, _PRODUCT, *_PICTURE),
        images.picture,
    ),
    Route(
        f"{_SCAN_IMAGE}.fits",
        "Sky offsets or final frames of a scan as the file they are.",
        "fits",
        (_NIGHT, _BAND, _SCAN, _SCAN_PRODUCT),
        images.fits_file,
    ),
    Route(
        f"{_SCAN_IMAGE}.png",
        "One block or frame of them as a picture.",
        "png",
        (_NIGHT, _BAND, _SCAN, _SCAN_PRODUCT, *_PICTURE),
        images.picture,
    ),
)
