"""The API's description for programs: OpenAPI, from `monitor.api.routes`."""

from __future__ import annotations

from typing import Any

from calib import __version__
from monitor.api.parameters import Parameter
from monitor.api.routes import ROUTES, Route

__all__ = ["INTRODUCTION", "openapi"]

INTRODUCTION = (
    "The numbers, verdicts and images of the page, read-only. Tables come a page at a time: `next` (and the header "
    "Link) is the address of the following rows, or null. What is not a finite number is null. `?format=csv` writes a "
    "table as CSV. Every answer has an ETag; asking again with If-None-Match costs next to nothing while the archive "
    "is the same. Errors are a sentence in JSON that names the parameter it is about."
)


def openapi(closed: bool) -> dict[str, Any]:
    """Return the description, OpenAPI 3.1; ``closed`` if people have to sign in."""
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Vesper", "version": __version__, "description": INTRODUCTION},
        "paths": {route.path: {"get": _operation(route, closed)} for route in ROUTES},
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["status", "error"],
                    "properties": {"status": {"type": "integer"}, "error": {"type": "string"}},
                }
            }
        },
    }
    if closed:
        found["components"]["securitySchemes"] = {
            "session": {"type": "apiKey", "in": "cookie", "name": "vesper-session"},
            "password": {"type": "http", "scheme": "basic"},
        }
        found["security"] = [{"session": []}, {"password": []}]
    return found


def _operation(route: Route, closed: bool) -> dict[str, Any]:
    name = route.path.removeprefix("/api/v1/").replace("{", "").replace("}", "")
    errors = {"400": "A parameter is wrong; the sentence names it.", "404": "It is not in the archive."}
    errors |= {"401": "Sign in first.", "429": "Too many failed attempts."} if closed else {}
    said = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "operationId": "_".join(part for part in name.replace(".", "/").replace("-", "_").split("/")),
        "summary": route.summary,
        "parameters": [_parameter(p) for p in route.parameters],
        "responses": {
            "200": {"description": route.summary, "content": _content(route)},
            "304": {"description": "Unchanged since the answer whose ETag was sent with If-None-Match."},
            **{code: {"description": words, "content": said} for code, words in sorted(errors.items())},
            "503": {"description": "The archive cannot be read.", "content": said},
        },
    }


def _parameter(p: Parameter) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": p.name,
        "in": "path" if p.in_path else "query",
        "description": p.meaning,
        "schema": p.schema(),
    }
    found |= {"required": True} if p.in_path else {}
    return found | ({"example": p.example} if p.example else {})


def _content(route: Route) -> dict[str, Any]:
    if route.answers == "fits":
        return {"application/fits": {"schema": {"type": "string", "format": "binary"}}}
    if route.answers == "png":
        return {"image/png": {"schema": {"type": "string", "format": "binary"}}}
    if route.columns is None:
        return {"application/json": {"schema": {"type": "object"}}}
    row = {"type": "object", "properties": {n: _column(kind) for n, kind in route.columns.items()}}
    whole = {
        "type": "object",
        "required": ["revision", "total", "limit", "offset", "next", "items"],
        "properties": {
            "revision": {"type": "integer"},
            "total": {"type": "integer"},
            "limit": {"type": "integer"},
            "offset": {"type": "integer"},
            "next": {"type": ["string", "null"]},
            "items": {"type": "array", "items": row},
        },
    }
    return {"application/json": {"schema": whole}, "text/csv": {"schema": {"type": "string"}}}


def _column(kind: str) -> dict[str, Any]:
    # Lists and tables in a column are whatever they are.
    return {} if kind == "object" else {"type": [kind, "null"]}
