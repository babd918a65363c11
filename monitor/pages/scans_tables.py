"""The tables of the Scans page: every calibrated scan, and the raw ones without a result."""

from __future__ import annotations

from typing import Any

from monitor.address import View, search
from monitor.components.html import Safe, join
from monitor.compute_scan import Missing, cause_of, number
from monitor.pages.scan_words import mark, master_words, scan_state

__all__ = ["Blocks", "Row", "missing_html", "scans_html", "target"]

Row = dict[str, Any]
Blocks = dict[tuple[int, str, str], list[Row]]


def target(row: Row) -> View:
    """Return the view of one scan."""
    return View(page="scan", night=row["night"], band=row["band"], read=row["read"], scan=int(row["scan"]))


def scans_html(rows: list[Row], blocks: Blocks) -> Safe:
    """Return the table of calibrated scans, band by band and read by read."""
    lines, before = [], None
    for r in rows:
        state, sign = scan_state(r["status"])
        words = cause_of(r, blocks.get((r["scan"], r["band"], r["read"]), []))
        first = before != r["scan"]
        before = r["scan"]
        low = r["level_dn"] is not None and r["level_dn"] <= 0
        lines.append(
            Safe(
                '<tr class="{}"><td>{}</td><td class="nowrap">{}</td><td>{}</td><td class="nowrap">{}</td>'
                '<td class="nowrap"><a data-nav href="{}"><span class="{}">{} {}</span></a></td>'
                '<td class="n">{}/{}</td>'
                '<td class="n">{}</td><td class="n {}">{}{}</td><td class="n">{}</td>'
                '<td>{}</td><td class="nowrap">{}</td>'
                '<td class="cause" title="{}">{}</td></tr>'
            ).format(
                "first" if first else "",
                Safe("<b>{}</b>").format(r["scan"]) if first else "",
                (r["start_iso"] or "—")[11:19] if first else "",
                r["band"],
                r["read"],
                search(target(r)),
                state,
                sign,
                r["status"],
                r["n_blocks"] - r["n_rejected"],
                r["n_blocks"],
                r["n_frames"],
                "bad" if low else "",
                "✕ " if low else "",
                number(r["level_dn"], 4),
                number(r["level_shift_dn"], 2),
                master_words(r["band"], r["read"], r["dark_night"], r["dark_age_nights"], r["dark_status"]),
                master_words(r["band"], "", r["canonical_night"], r["canonical_age_nights"], r["canonical_status"]),
                r["cause"] or "",
                words or "—",
            )
        )
    return Safe(
        '<section class="card"><div class="wide" data-scroll="scans" tabindex="0" aria-label="scans"><table>'
        "<thead><tr><th>scan</th><th>start / UTC</th><th>band</th><th>read</th><th>status</th>"
        '<th class="n" title="sky offsets accepted / blocks">accepted</th>'
        '<th class="n">frames</th><th class="n">sky level / DN</th>'
        '<th class="n" title="largest shift added to keep the background at its level">shift kept / DN</th>'
        "<th>dark</th><th>canonical</th><th>cause</th></tr></thead><tbody>{}</tbody></table></div></section>"
    ).format(join(lines))


def missing_html(lost: list[Missing]) -> Safe:
    """Return the table of raw scans without a result, or nothing."""
    if not lost:
        return Safe("")
    lines = [
        Safe('<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class="path">{}</td></tr>').format(
            m.scan or "—",
            m.band or "—",
            mark(m.state, m.words.split(":")[0]),
            m.words.partition(": ")[2] or "—",
            m.path,
        )
        for m in lost
    ]
    return Safe(
        '<section class="card"><h2>Raw scans without a result</h2><div class="wide"><table><thead><tr><th>scan</th>'
        "<th>band</th><th>state</th><th>why</th><th>file</th></tr></thead><tbody>{}</tbody></table></div></section>"
    ).format(join(lines))
