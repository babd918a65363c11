"""The API's description for people: one page without scripts, from `monitor.api.routes`."""

from __future__ import annotations

from urllib.parse import quote

from markupsafe import Markup as Safe

from calib import __version__
from monitor.access.plain_page import plain_page
from monitor.api.description import INTRODUCTION
from monitor.api.parameters import Parameter
from monitor.api.routes import ROUTES, Route

__all__ = ["API_CSS", "api_page"]

API_CSS = """
main { max-width: 900px; margin: 0 auto; padding: 28px 16px 64px; }
header { margin-bottom: 24px; }
h1 { font-size: 24px; line-height: 1.25; } h1 small { font-size: 14px; font-weight: 400; color: var(--muted); }
header p { margin-top: 10px; max-width: 70ch; }
h2 { font-size: 15px; margin: 28px 0 10px; color: var(--muted); font-weight: 600; }
details { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; margin-top: 8px; }
summary { cursor: pointer; padding: 11px 40px 11px 14px; border-radius: 10px; list-style: none; position: relative; }
summary::-webkit-details-marker { display: none; }
summary::after { content: ""; position: absolute; right: 18px; top: 18px; width: 8px; height: 8px; color: var(--muted);
  border: solid currentColor; border-width: 0 2px 2px 0; transform: rotate(45deg); }
details[open] summary::after { transform: translateY(4px) rotate(225deg); }
summary:hover { background: color-mix(in srgb, var(--accent) 6%, transparent); }
summary code { font-weight: 600; overflow-wrap: anywhere; } summary code i { color: var(--accent); font-style: normal; }
summary span { display: block; color: var(--muted); font-size: 14px; }
.inside { padding: 2px 14px 14px; border-top: 1px solid var(--line); }
code, pre { font: 13.5px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
pre { background: var(--ground); border: 1px solid var(--line); border-radius: 8px; padding: 9px 12px;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: 10px 0 0; }
h3 { font-size: 13px; font-weight: 600; color: var(--muted); margin-top: 14px; }
dl { display: grid; grid-template-columns: minmax(90px, max-content) 1fr; gap: 6px 16px; margin: 6px 0 0; }
dt code { font-weight: 600; } dd { margin: 0; } dd small { color: var(--muted); font-size: 13px; }
.columns { margin-top: 6px; line-height: 1.8; font-size: 14px; }
.columns code { background: var(--ground); border: 1px solid var(--line); border-radius: 5px; padding: 1px 6px;
  white-space: nowrap; }
@media (max-width: 700px) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; } }
"""

_ROUTE = Safe(
    '<details id="{id}"><summary><code>{path}</code><span>{summary}</span></summary><div class="inside">'
    "{parameters}{columns}<h3>Example</h3><pre>curl {sign}&#x27;{example}&#x27;</pre></div></details>"
)
_GROUPS = {"table": "Tables", "object": "Tables", "fits": "Images", "png": "Images"}


def api_page(base: str, closed: bool, chosen: str | None) -> str:
    """Return the page; ``base`` is the server's address, ``closed`` if people have to sign in, ``chosen`` the theme."""
    parts = []
    before = ""
    for route in ROUTES:
        if (group := _GROUPS[route.answers]) != before:
            parts.append(Safe("<h2>{}</h2>").format(group))
            before = group
        parts.append(_route_html(route, base, closed))
    signing = (
        "A program signs in with name and password of an account (HTTP Basic); a browser as on the page."
        if closed
        else "Nobody has to sign in here."
    )
    body = Safe(
        "<main><header><h1>Vesper as JSON, CSV, FITS and PNG <small>version {}</small></h1><p>{}</p><p>{} "
        '<a href="/api/openapi.json">The same for programs (OpenAPI)</a> · <a href="/">Back to the page</a></p>'
        "</header>{}</main>"
    ).format(__version__, _with_code(INTRODUCTION), signing, Safe("").join(parts))
    return plain_page("API · Vesper", body, API_CSS, chosen)


def _with_code(text: str) -> Safe:
    pieces = text.split("`")
    forms = (Safe("{}"), Safe("<code>{}</code>"))
    return Safe("").join(forms[k % 2].format(p) for k, p in enumerate(pieces))


def _route_html(route: Route, base: str, closed: bool) -> Safe:
    path = Safe("{}").format(route.path).replace("{", Safe("<i>{")).replace("}", Safe("}</i>"))
    rows = Safe("").join(_parameter_html(p) for p in route.parameters)
    columns = Safe("")
    if route.columns:
        names = Safe(" ").join(Safe("<code>{}</code>").format(n) for n in route.columns)
        columns = Safe('<h3>Columns</h3><div class="columns">{}</div>').format(names)
    return _ROUTE.format(
        id=route.path.removeprefix("/api/v1/").replace("/", "-").replace("{", "").replace("}", ""),
        path=path,
        summary=route.summary,
        parameters=Safe("<h3>Parameters</h3><dl>{}</dl>").format(rows) if route.parameters else "",
        columns=columns,
        sign="-u NAME " if closed else "",
        example=base + _example(route),
    )


def _parameter_html(p: Parameter) -> Safe:
    bounds = p.schema()
    notes = ["in the address"] if p.in_path else []
    notes += [" or ".join(p.choices)] if p.choices else ["YYYY-MM-DD"] if p.kind == "night" else []
    if "minimum" in bounds and "maximum" in bounds and bounds["maximum"] < 10**5:
        notes.append(f"{bounds['minimum']:g} to {bounds['maximum']:g}")
    notes += [f"{p.default} if not given"] if p.default is not None else []
    said = Safe(" <small>{}</small>").format(", ".join(notes)) if notes else ""
    return Safe("<dt><code>{}</code></dt><dd>{}{}</dd>").format(p.name, p.meaning, said)


def _example(route: Route) -> str:
    path = route.path
    for p in route.parameters:
        if p.in_path:
            path = path.replace(f"{{{p.name}}}", quote(p.example))
    query = {"table": "?limit=5", "png": "?percent=99"}.get(route.answers, "")
    return f"{path}{query}"
