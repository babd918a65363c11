"""The markup of the Scan page: header, lineage, blocks, checks, cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.checks import CheckResult
from monitor.address import View
from monitor.address import search as address
from monitor.collect_scan import ScanData
from monitor.components.html import Safe, join
from monitor.compute import cause_words
from monitor.compute_scan import STRETCHES, FrameStatistics, number
from monitor.palette import STATES

__all__ = [
    "caption_html",
    "cells_html",
    "checks_html",
    "choice",
    "head_html",
    "lineage_html",
    "mark",
    "scan_state",
    "stretch_choice",
    "strip_html",
    "utc",
]

_SCAN_STATES = {"calibrated": "accepted", "substituted": "watch", "best block": "rejected"}


def scan_state(status: str) -> tuple[str, str]:
    """Return the state and sign of a scan's status."""
    state = _SCAN_STATES.get(status, "unknown")
    return state, STATES[state].sign


def utc(start_iso: str | None) -> str:
    """Return a start as date and time to the second, UTC."""
    return f"{start_iso[:10]} {start_iso[11:19]} UTC" if start_iso and len(start_iso) >= 19 else "start unknown"


def mark(state: str, word: str = "") -> Safe:
    """Return the sign and word of a state in its colour."""
    s = STATES[state]
    return Safe('<span class="{}">{} {}</span>').format(state, s.sign, word or s.word)


def choice(act: str, label: str, options: Sequence[tuple[str, str]], current: str) -> Safe:
    """Return a labelled select; options are (value, word)."""
    parts = [
        Safe('<option value="{}"{}>{}</option>').format(v, " selected" if v == current else "", w) for v, w in options
    ]
    return Safe(
        '<span class="field"><label class="muted" for="{0}">{1}</label>'
        '<select id="{0}" data-act="{2}">{3}</select></span>'
    ).format(f"choose-{act}", label, act, join(parts))


def stretch_choice(current: str) -> Safe:
    """Return the choice of stretch."""
    options = [(s, f"± {s} % of sky level" if s else "fitted to each image") for s in STRETCHES]
    return choice("stretch", "stretch", options, current if current in STRETCHES else "")


def head_html(scan: ScanData, choices: Sequence[Safe]) -> Safe:
    """Return the head: choices, status with cause, facts."""
    r = scan.row
    state, sign = scan_state(r["status"])
    words, detail = cause_words(r["cause"] or "")
    facts = [
        ("start", utc(r["start_iso"])),
        ("frames", str(r["n_frames"])),
        ("blocks accepted", f"{r['n_blocks'] - r['n_rejected']} of {r['n_blocks']}"),
        ("frames with a substitute", f"{r['n_substituted_frames']} of {r['n_frames']}"),
        ("sky level", f"{number(r['level_dn'], 5)} DN"),
        ("largest shift to keep the level", f"{number(r['level_shift_dn'], 2)} DN"),
    ]
    cells = [Safe("<div><dt>{}</dt><dd class=num>{}</dd></div>").format(k, v) for k, v in facts]
    low = (
        Safe(
            '<p class="warn"><b class="bad">✕ The sky level is not positive</b>: the dark or the canonical does not '
            "fit this scan. Percentages of the sky level mean nothing here.</p>"
        )
        if r["level_dn"] is not None and r["level_dn"] <= 0
        else ""
    )
    return Safe(
        '<section class="card"><div class="row"><h1>Scan {} · {} · {}</h1>{}</div>'
        '<p class="status"><b class="{}">{} {}</b>{}</p>{}<dl>{}</dl></section>'
    ).format(
        r["scan"],
        r["band"],
        r["read"],
        join(choices),
        state,
        sign,
        r["status"],
        Safe(" — {} <span class=muted>{}</span>").format(words, detail) if words else "",
        low,
        join(cells),
    )


def lineage_html(scan: ScanData) -> Safe:
    """Return what the scan was made from: dark, canonical and its member nights, raw files."""
    r, lines = scan.row, []
    for role, night, age, status in (
        ("dark", r["dark_night"], r["dark_age_nights"], r["dark_status"]),
        ("canonical", r["canonical_night"], r["canonical_age_nights"], r["canonical_status"]),
    ):
        lines.append(
            Safe("<tr><th>{}</th><td>{}</td></tr>").format(
                role, master_words(r["band"], r["read"] if role == "dark" else "", night, age, status)
            )
        )
    members = [p for depth, role, p in scan.lineage if role == "member" and depth == 2]
    nights = sorted({n for n in (_night_of(p) for p in members) if n})
    if nights:
        links = [
            Safe('<a data-nav href="{}">{}</a>').format(address(View(page="night", night=n, band=r["band"])), n)
            for n in nights
        ]
        lines.append(Safe("<tr><th>its members</th><td>{}</td></tr>").format(join(links, ", ")))
    if scan.raw:
        first = scan.raw[0].path
        gone = sum(not f.path.exists() for f in scan.raw)
        more = f" and {len(scan.raw) - 1} more" if len(scan.raw) > 1 else ""
        lost = Safe(' <b class="watch">▲ {} no longer there</b>').format(
            "" if len(scan.raw) == 1 else f"{gone} of {len(scan.raw)}"
        )
        lines.append(
            Safe('<tr><th>raw</th><td><span title="{}">{}</span>{}{}</td></tr>').format(
                str(first), PurePath(first).name, more, lost if gone else ""
            )
        )
    else:
        lines.append(Safe("<tr><th>raw</th><td>{}</td></tr>").format(mark("unknown", "the archive knows no raw file")))
    lines.append(
        Safe('<tr><th>products</th><td class="path">{}<br>{}</td></tr>').format(
            scan.offsets_path, scan.frames_path if r["has_frames"] else "final frames were not kept"
        )
    )
    return Safe('<section class="card"><h2>Made from</h2><table class="lineage">{}</table></section>').format(
        join(lines)
    )


def master_words(band: str, read: str, night: str | None, age: float | None, status: str | None) -> Safe:
    """Return a dark or canonical in words: its night as a link, its age, its standing."""
    if not night:
        return mark("unknown")
    state = {"accepted": "accepted", "provisional": "provisional", "supplied": "supplied", "overtaken": "watch"}.get(
        status or "", "rejected" if status == "rejected" else "unknown"
    )
    if night == "supplied":
        return mark("supplied", "supplied")
    link = Safe('<a data-nav href="{}">{}</a>').format(
        address(View(page="night", night=night, band=band, read=read)), night
    )
    nights = 0 if age is None or math.isnan(age) else int(age)
    old = "" if nights == 0 else f", {nights} night{'s' if nights > 1 else ''} old"
    return Safe("{}{} {}").format(link, old, mark(state, status or "standing unknown"))


def _night_of(path: str) -> str:
    parts = path.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "nights" else ""


def strip_html(scan: ScanData, current: int | None) -> Safe:
    """Return the blocks as a strip of buttons."""
    buttons = []
    for b in scan.blocks:
        ok, swap = b["status"] == "accepted", b["used_block"] != b["block"]
        title = f"frames {b['first_frame']}–{b['last_frame']}: {b['cause'] or 'accepted'}"
        word = "accepted" if ok else (f"offset of {b['used_block']} used" if swap else "rejected, yet used")
        buttons.append(
            Safe(
                '<button id="block-{0}" data-act="block" data-value="{0}" aria-pressed="{1}" class="block {2}{3}" '
                'title="{4}"><b>{5} {0}</b><small>{6}</small></button>'
            ).format(
                b["block"],
                "true" if b["block"] == current else "false",
                "ok" if ok else "no",
                " subst" if swap else "",
                title + (f"; offset of block {b['used_block']} used" if swap else ""),
                "●" if ok else "✕",
                word,
            )
        )
    return Safe('<div class="blockstrip" role="group" aria-label="blocks">{}</div>').format(join(buttons))


def checks_html(block: Any, checks: Sequence[CheckResult]) -> Safe:
    """Return a block's checks as a table: value, limit, whether it passed."""
    rows = []
    for c in checks:
        sign = "≥" if c.check.bound == "min" else "≤"
        rows.append(
            Safe(
                '<tr title="{}"><td>{}</td><td class="n">{}</td><td class="n muted">{} {}</td><td class="muted">{}</td>'
                '<td class="{}">{}</td></tr>'
            ).format(
                f"{c.check.name}: {c.check.meaning}",
                c.check.name,
                f"{c.value:.0f}" if c.check.name == "frames" and math.isfinite(c.value) else number(c.value),
                sign,
                f"{c.limit:g}",
                c.check.unit,
                "good" if c.passed else ("unknown" if math.isnan(c.value) else "bad"),
                "✓ passed" if c.passed else ("? not measured" if math.isnan(c.value) else "✕ failed"),
            )
        )
    words, detail = cause_words(block["cause"] or "")
    state = "accepted" if block["status"] == "accepted" else "rejected"
    swap = (
        Safe("<p>▲ Its frames received the offset of block {}.</p>").format(block["used_block"])
        if block["used_block"] != block["block"]
        else ""
    )
    ruled = Safe("<p>By a person's decision.</p>") if block.get("override") else ""
    return Safe(
        '<h3>Block {} · frames {}–{}</h3><p>{}{}</p>{}{}<table><thead><tr><th>check</th><th class="n">value</th>'
        '<th class="n">limit</th><th></th><th></th></tr></thead><tbody>{}</tbody></table>'
    ).format(
        block["block"],
        block["first_frame"],
        block["last_frame"],
        mark(state, block["status"]),
        Safe(' — <span title="{}">{}</span>').format(detail, words) if words else "",
        swap,
        ruled,
        join(rows),
    )


def cells_html(title: str, cells: NDArray[np.floating] | None, level_dn: float | None, limit: float | None) -> Safe:
    """Return the cells of a grid as numbers in % of the sky level, upper row first, shaded by size."""
    if cells is None or not level_dn or level_dn <= 0:
        why = "the sky level is not positive" if cells is not None else "no data"
        return Safe('<h3>{}</h3><div class="empty">{}</div>').format(title, why)
    percent = 100 * cells / level_dn
    scale = limit or float(np.nanmax(np.abs(percent), initial=0.0)) or 1.0
    rows = []
    for row in percent[::-1]:
        marks = []
        for v in row:
            size = 0.0 if not math.isfinite(v) else min(1.0, abs(v) / (2 * scale))
            colour = "var(--cold)" if v < 0 else "var(--warm)"
            marks.append(
                Safe('<td style="background: color-mix(in srgb, {} {:.0f}%, transparent)">{}</td>').format(
                    colour, 55 * size, "—" if not math.isfinite(v) else f"{v:+.2f}".replace("-", "−")
                )
            )
        rows.append(Safe("<tr>{}</tr>").format(join(marks)))
    seen = percent[np.isfinite(percent)]
    rms = float(np.sqrt(np.mean(seen**2))) if seen.size else math.nan
    return Safe(
        '<h3>{} <span class="muted">% of sky level, rms {} %</span></h3><table class="cells">{}</table>'
    ).format(title, number(rms, 2), join(rows))


def caption_html(
    title: str, low: float, high: float, scale: str, numbers: FrameStatistics | None = None, absent: str = ""
) -> Safe:
    """Return what stands below an image: its name, its colour bar in DN, and its numbers."""
    if absent:
        return Safe('<div class="cap"><b>{}</b><div class="muted">{}</div></div>').format(title, absent)
    digits = 3 if high - low >= 0.02 * max(abs(low), abs(high)) else 5
    bar = Safe('<div class="bar"><span>{}</span><i class="{}"></i><span>{} DN</span></div>').format(
        number(low, digits), scale, number(high, digits)
    )
    table = ""
    if numbers is not None:
        table = Safe(
            '<dl class="num"><div><dt>median</dt><dd>{}</dd></div><div><dt>rms of cells</dt><dd>{}</dd></div>'
            "<div><dt>pixel σ (MAD)</dt><dd>{}</dd></div></dl>"
        ).format(number(numbers.median, 5), number(numbers.cell_rms), number(numbers.sigma))
    return Safe('<div class="cap"><b>{}</b>{}{}</div>').format(title, bar, table)
