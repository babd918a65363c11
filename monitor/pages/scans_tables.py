"""The tables of the Scans page: every calibrated scan, and the raw ones without a result."""

from __future__ import annotations

from typing import Any

from monitor.address import View, search
from monitor.components.html import Safe
from monitor.components.tables import NOTHING, Cell, Column, table_html
from monitor.compute_scan import Missing, cause_of, number
from monitor.pages.scan_words import Supplied, mark, master_words, scan_state

__all__ = ["Blocks", "Row", "missing_html", "scans_html", "target"]

Row = dict[str, Any]
Blocks = dict[tuple[int, str, str], list[Row]]


def target(row: Row) -> View:
    """Return the view of one scan."""
    return View(page="scan", night=row["night"], band=row["band"], read=row["read"], scan=int(row["scan"]))


_SCANS = (
    Column("scan", lead=True),
    Column("start / UTC", "nowrap"),
    Column("band", "head"),
    Column("read", "nowrap head"),
    Column("status", "nowrap"),
    Column("accepted", "n", "sky offsets accepted / blocks"),
    Column("frames", "n"),
    Column("sky level / DN", "n"),
    Column("shift kept / DN", "n", "largest shift added to keep the background at its level"),
    Column("dark"),
    Column("canonical", "nowrap"),
    Column("cause", "cause"),
)
_MISSING = (
    Column("scan"),
    Column("band"),
    Column("state", "nowrap"),
    Column("why"),
    Column("file", "path"),
)


def scans_html(rows: list[Row], blocks: Blocks, supplied: Supplied) -> Safe:
    """Return the table of calibrated scans, band by band and read by read."""
    lines, before = [], None
    for r in rows:
        state, sign = scan_state(r["status"])
        words = cause_of(r, blocks.get((r["scan"], r["band"], r["read"]), []))
        again = "again" if before == r["scan"] else ""
        before = r["scan"]
        low = r["level_dn"] is not None and r["level_dn"] <= 0
        cells = (
            Cell(
                Safe('<b class="wide">{}</b><b class="short">scan {} {} {}</b>').format(
                    r["scan"], r["scan"], r["band"], r["read"]
                ),
                again,
            ),
            Cell((r["start_iso"] or "—")[11:19] or "—", again),
            r["band"],
            r["read"],
            Safe('<a data-nav href="{}" class="{}">{} {}</a>{}').format(
                search(target(r)), state, sign, r["status"], _stale(r["stale"])
            ),
            f"{r['n_blocks'] - r['n_rejected']}/{r['n_blocks']}",
            r["n_frames"],
            Cell(f"{'✕ ' if low else ''}{number(r['level_dn'], 4)}", "bad" if low else ""),
            number(r["level_shift_dn"], 2),
            master_words(r, "dark", supplied),
            master_words(r, "canonical", supplied),
            Cell(words, title=r["cause"] or "") if words else NOTHING,
        )
        lines.append(("" if again else "first", cells))
    return Safe('<section class="card table">{}</section>').format(table_html("scans", _SCANS, lines, scroll="scans"))


def _stale(why: str) -> Safe:
    """Return that a scan waits to be calibrated again, with the reason behind the word."""
    return Safe('<br><span class="watch" title="{}">▲ to calibrate again</span>').format(why) if why else Safe("")


def missing_html(lost: list[Missing]) -> Safe:
    """Return the table of raw scans without a result, or nothing."""
    if not lost:
        return Safe("")
    rows = (
        (
            "",
            (
                m.scan or "—",
                m.band or "—",
                mark(m.state, m.words.split(":")[0]),
                m.words.partition(": ")[2] or "—",
                m.path,
            ),
        )
        for m in lost
    )
    return Safe('<section class="card table"><h2>Raw scans without a result</h2>{}</section>').format(
        table_html("raw scans without a result", _MISSING, rows)
    )
