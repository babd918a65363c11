"""Log: decisions, hardware periods, alerts, runs and raw files, as tables in pages."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import panel as pn

from monitor.address import View
from monitor.address import search as address
from monitor.collect import Snapshot
from monitor.collect_log import BOOKS, Book, Found, Row, find, find_all, statuses
from monitor.components.download import Download
from monitor.components.html import Html, Safe, join
from monitor.compute_scan import number
from monitor.palette import STATES
from monitor.session import Session

__all__ = ["build"]

PAGE = 50

_STATES = {
    "used": "accepted",
    "refused": "rejected",
    "duplicate": "notrun",
    "pending": "unknown",
    "gone": "stale",
    "supplied": "supplied",
    "DRIFT": "bad",
    "WATCH": "watch",
    "NOTICE": "notice",
    "done": "good",
    "running": "notrun",
    "failed": "rejected",
    "accepted": "accepted",
    "rejected": "rejected",
}


def build(session: Session) -> Log:
    """Return the page for a session."""
    return Log(session)


class Log:
    """The archive's books."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.keys: dict[str, Callable[[], None]] = {}
        go = session.go
        self._html = Html(
            on={
                "go": session._follow,
                "book": lambda v: go(product=v, filter="", text="", sort="", start=None),
                "status": lambda v: go(filter=v, start=None),
                "text": lambda v: go(text=v.strip()[:100], start=None),
                "sort": lambda v: go(sort=v, start=None),
                "page": lambda v: go(start=int(v) or None),
                "csv": lambda _: self._save(),
                "undo": lambda v: self._decide("undo", v),
                "move": lambda v: self._decide("move", v),
            },
            css=CSS,
        )
        self._download = Download()
        self.panel = pn.Column(self._html, self._download, sizing_mode="stretch_width")

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the page to one book, filter and page of it."""
        book = BOOKS.get(view.product, BOOKS["decisions"])
        collector = self._session.collector
        known = statuses(collector, snapshot, book)
        status = view.filter if view.filter in {s for s, _ in known} else ""
        start = (view.start or 0) // PAGE * PAGE
        found = find(collector, snapshot, book, status=status, text=view.text, sort=view.sort, start=start)
        if start and not found.rows:
            start = max(found.total - 1, 0) // PAGE * PAGE
            found = find(collector, snapshot, book, status=status, text=view.text, sort=view.sort, start=start)
        self._html.html = str(
            Safe('<section class="card"><h1 class="sr">Log</h1>{}{}{}</section>').format(
                _tabs(book),
                _bar(book, known, status, view.text, found, start),
                _table(book, found, view, status, snapshot, self._session.person.may_decide),
            )
        )

    def _decide(self, act: str, number: str) -> None:
        d = self._session.snapshot.decisions
        rows = d[d["id"] == int(number)] if number.isdigit() else d.iloc[:0]
        if rows.empty:
            return
        decision = {str(k): None if pd.isna(v) else v for k, v in rows.iloc[0].items()} | {"id": int(number)}
        (self._session.desk.undo if act == "undo" else self._session.desk.move)(decision)

    def _save(self) -> None:
        view, snapshot, collector = self._session.view, self._session.snapshot, self._session.collector
        book = BOOKS.get(view.product, BOOKS["decisions"])
        status = view.filter if view.filter in {s for s, _ in statuses(collector, snapshot, book)} else ""
        rows = find_all(collector, snapshot, book, status=status, text=view.text, sort=view.sort)
        self._download.save(f"vesper-{book.name}.csv", as_csv(book, rows))


def as_csv(book: Book, rows: list[Row]) -> str:
    """Return rows as CSV with the columns on screen; numbers in full, lists as JSON, nothing where nothing is."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([c.name for c in book.columns])
    for r in rows:
        cells = (r[c.name] for c in book.columns)
        writer.writerow([json.dumps(v, ensure_ascii=False) if isinstance(v, dict | list) else v for v in cells])
    return out.getvalue()


def _tabs(current: Book) -> Safe:
    return Safe('<div class="row tabs" role="group" aria-label="books">{}</div>').format(
        join(
            Safe('<button id="book-{0}" data-act="book" data-value="{0}" aria-pressed="{1}">{2}</button>').format(
                b.name, "true" if b is current else "false", b.title
            )
            for b in BOOKS.values()
        ),
    )


def _bar(book: Book, known: list[tuple[str, int]], status: str, text: str, found: Found, start: int) -> Safe:
    choice: Safe | str = ""
    if book.status:
        options = [Safe('<option value="">all</option>')]
        options += [
            Safe('<option value="{}"{}>{} ({})</option>').format(s, " selected" if s == status else "", s, n)
            for s, n in known
        ]
        choice = Safe(
            '<span class="field"><label class="muted" for="log-status">{}</label>'
            '<select id="log-status" data-act="status">{}</select></span>'
        ).format(book.status, join(options))
    last = start + len(found.rows)
    turn = Safe(
        '<span class="field"><button id="log-earlier" data-act="page" data-value="{}" aria-label="page before" {}>'
        "◀</button>"
        '<span class="num">{}</span>'
        '<button id="log-later" data-act="page" data-value="{}" aria-label="page after" {}>▶</button></span>'
    ).format(
        max(start - PAGE, 0),
        "" if start else "disabled",
        f"{start + 1}–{last} of {found.total}" if found.total else "none",
        start + PAGE,
        "" if last < found.total else "disabled",
    )
    return Safe(
        '<div class="row bar">{}<span class="field"><label class="muted" for="log-text">search</label>'
        '<input id="log-text" type="search" data-act="text" value="{}" maxlength="100"></span>'
        '<span class="grow"></span><a id="log-api" href="api/" title="the same numbers for programs">API</a>{}'
        '<button id="log-csv" data-act="csv" {}>⤓ CSV of all {}</button></div>'
    ).format(choice, text, turn, "" if found.total else "disabled", found.total)


def _table(book: Book, found: Found, view: View, status: str, snapshot: Snapshot, may_decide: bool) -> Safe:
    if not found.rows:
        words = "Nothing matches this filter." if status or view.text else book.empty
        return Safe('<div class="empty">{}</div>').format(words)
    order = view.sort if view.sort.lstrip("-") in {c.name for c in book.columns} else book.sort
    heads = []
    for c in book.columns:
        here = order.lstrip("-") == c.name
        down = here and order.startswith("-")
        heads.append(
            Safe(
                '<th class="{}" aria-sort="{}"><button class="sorter" id="sort-{}" data-act="sort" data-value="{}">'
                "{}{}</button></th>"
            ).format(
                "n" if c.numeric else "",
                ("descending" if down else "ascending") if here else "none",
                c.name,
                c.name if down or not here else f"-{c.name}",
                c.title,
                " ▼" if down else (" ▲" if here else ""),
            )
        )
    undone = _undone(snapshot) if book.name == "decisions" else set()
    acting = may_decide and book.name == "decisions"
    if acting:
        heads.append(Safe('<th><span class="sr">take back</span></th>'))
    lines = []
    for r in found.rows:
        cells = [
            Safe('<td class="{}">{}</td>').format("n" if c.numeric else c.name, _cell(book, c.name, r))
            for c in book.columns
        ]
        taken_back = book.name == "decisions" and r["id"] in undone
        if acting:
            cells.append(_acts(r, undone))
        lines.append(
            Safe("<tr{}>{}</tr>").format(
                Safe(' class="undone" title="undone later"') if taken_back else "", join(cells)
            )
        )
    return Safe(
        '<div class="wide wide-table" tabindex="0" role="group" aria-label="{}" data-scroll="log-{}">'
        "<table><thead><tr>{}</tr></thead>"
        "<tbody>{}</tbody></table></div>"
    ).format(book.title, book.name, join(heads), join(lines))


def _acts(decision: Row, undone: set[int]) -> Safe:
    """Return the cell with what can be done about a decision."""
    if decision["kind"] == "undo" or decision["id"] in undone:
        return Safe("<td></td>")
    acts = [("undo", "Undo")] + ([("move", "Move")] if decision["kind"] == "period" else [])
    buttons = (
        Safe('<button id="{0}-{1}" data-act="{0}" data-value="{1}" aria-label="{2} decision {1}">{2}</button>').format(
            act, decision["id"], words
        )
        for act, words in acts
    )
    return Safe('<td class="nowrap acts">{}</td>').format(join(buttons, " "))


def _undone(snapshot: Snapshot) -> set[int]:
    d = snapshot.decisions
    return set() if d.empty else {int(x) for x in d["undoes"].dropna()}


def _cell(book: Book, name: str, row: Row) -> Any:
    value = row[name]
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return ""
    if name == book.status or name == "status" or (book.name == "decisions" and name == "value"):
        state = _STATES.get(str(value))
        return (
            value
            if state is None
            else Safe('<span class="{} nowrap">{} {}</span>').format(state, STATES[state].sign, value)
        )
    if name in ("night", "last_night", "first", "last") and len(str(value)) == 10:
        page = "scans" if row.get("obs_type") == "scan" or row.get("product") == "scans" else "night"
        band = row.get("band") or ""
        return Safe('<a data-nav class="nowrap" href="{}">{}</a>').format(
            address(View(page=page, night=str(value), band=str(band))), value
        )
    if isinstance(value, float):
        return f"{value:.0f}".replace("-", "−") if value.is_integer() and abs(value) < 1e6 else number(value)
    if isinstance(value, dict):
        return ", ".join(f"{v} {k.replace('_', ' ')}" for k, v in value.items())
    if name in ("time", "started", "finished", "start_iso"):
        return Safe('<span class="nowrap">{}</span>').format(str(value)[:19].replace("T", " "))
    if name == "profile_hash":
        return Safe('<span title="{}">{}</span>').format(value, str(value)[:10])
    return value


CSS = """
.tabs { gap: 6px; } .bar { margin: 10px 0; } .grow { flex: 1; }
.wide { overflow: auto; max-height: calc(100vh - 210px); min-height: 200px; }
.wide table { min-width: max-content; } .wide th { position: sticky; background: var(--panel); }
td { font-size: 13px; max-width: 520px; overflow-wrap: anywhere; }
.path { min-width: 260px; } .reason, .text, .notes, .began, .summary { min-width: 200px; }
/* A whole sentence is seen beside the columns before it on a screen of 1440 pixels. */
td.text { max-width: 330px; }
.nowrap { white-space: nowrap; }
.sorter { border: 0; background: none; padding: 0; min-height: 24px; font: inherit; color: inherit;
  white-space: nowrap; }
.sorter:hover { color: var(--ink); }
th[aria-sort=ascending], th[aria-sort=descending] { color: var(--ink); }
.acts button { padding: 0 8px; min-height: 26px; font-size: 12px; }
.undone td { text-decoration: line-through; color: var(--muted); }
input[type=search] { width: 220px; max-width: 60vw; }
.supplied, .notrun { color: var(--muted); }
@media (max-width: 700px) { .wide { max-height: none; } td, td.text { max-width: 260px; } }
"""
