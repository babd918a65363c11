"""The markup of the Scan page: header, lineage, blocks, checks, cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from monitor.address import View
from monitor.address import search as address
from monitor.collect import Snapshot
from monitor.collect_scan import ScanData, Stages
from monitor.collect_supplied import SuppliedMaster
from monitor.components.html import Safe, join
from monitor.compute import cause_words
from monitor.compute_scan import STRETCHES, number
from monitor.palette import STATES
from monitor.session import Session

__all__ = [
    "LEVELS_HEAD",
    "Supplied",
    "choice",
    "choices",
    "frame_head",
    "head_html",
    "lineage_html",
    "mark",
    "none_html",
    "scan_state",
    "stretch_choice",
    "strip_html",
    "utc",
    "utc_time",
]

Row = Mapping[str, Any]
Supplied = Mapping[tuple[str, str], SuppliedMaster]
"""(``dark`` or ``flat``, band) → the master that the team supplied."""

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
    return Safe('<span class="{} nowrap">{} {}</span>').format(state, s.sign, word or s.word)


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
    if r["stale"]:
        low = stale_html(r["stale"]) + low
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


def stale_html(why: str) -> Safe:
    """Return that a scan is not what it would be under the decisions that stand."""
    return Safe('<p class="warn"><b class="watch">▲ Needs to be calibrated again</b>: {}.</p>').format(why)


def lineage_html(scan: ScanData, supplied: Supplied) -> Safe:
    """Return what the scan was made from: dark, canonical and its member nights, raw files."""
    r, lines = scan.row, []
    for role in ("dark", "canonical"):
        lines.append(Safe("<tr><th>{}</th><td>{}</td></tr>").format(role, master_words(r, role, supplied)))
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


def master_words(row: Row, role: str, supplied: Supplied) -> Safe:
    """Return the ``dark`` or ``canonical`` of a scan in words: its night as a link, its age, its standing.

    Of one that the team supplied, its file and the night in its header.
    """
    band, read = row["band"], row["read"] if role == "dark" else ""
    night, age, status = (row[f"{role}_{of}"] for of in ("night", "age_nights", "status"))
    if not night:
        return mark("unknown")
    state = {"accepted": "accepted", "provisional": "provisional", "supplied": "supplied", "overtaken": "watch"}.get(
        status or "", "rejected" if status == "rejected" else "unknown"
    )
    if night == "supplied":
        master = supplied.get(("dark" if role == "dark" else "flat", band))
        if master is None:
            return mark("supplied")
        name, of_night = master.parts
        return Safe('{}: <span class="file">{}</span> <span class="nowrap">{}</span>').format(
            mark("supplied"), name, of_night
        )
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


def utc_time(mjd: float) -> str:
    """Return the time of a frame to a tenth of a second, UTC."""
    if not math.isfinite(mjd):
        return "time unknown"
    seconds = round((mjd % 1) * 864000) / 10
    return f"{int(seconds // 3600) % 24:02d}:{int(seconds % 3600 // 60):02d}:{seconds % 60:04.1f} UTC"


def choices(snapshot: Snapshot, row: dict[str, Any]) -> list[Safe]:
    """Return the choices of scan, band and read of a night."""
    here = snapshot.scans.of(row["night"])
    scans = sorted({int(x) for x in here["scan"]})
    bands = [b for b in snapshot.bands if b in set(here.loc[here["scan"] == row["scan"], "band"])]
    reads = [r for r in snapshot.profile.reads if r in set(here["read"])]
    return [
        choice("scan", "scan", [(str(x), str(x)) for x in scans], str(row["scan"])),
        choice("band", "band", [(b, b) for b in bands], row["band"]),
        choice("read", "read", [(r, r) for r in reads], row["read"]),
    ]


def frame_head(stretch: str, stages: Stages) -> Safe:
    """Return what stands above the frames: the stretch, how to move, and where an image comes from."""
    notes = join(Safe('<p class="note">▲ {}</p>').format(n) for n in stages.notes)
    return Safe(
        '<div class="row"><h2>Frame by frame</h2>{}<span class="muted">keys , and . step; shift + wheel zooms all '
        "images together, a double click resets; magenta: saturated or unusable</span></div>{}"
    ).format(stretch_choice(stretch), notes)


def none_html(session: Session, snapshot: Snapshot) -> Safe:
    """Return what is said in a night without a calibrated scan."""
    nights = snapshot.scans.nights
    night = session.night
    before = [n for n in nights if n < night][-1:]
    after = [n for n in nights if n > night][:1]
    links = [
        Safe('<a data-nav href="{}">{}</a>').format(session.href(night=n, scan=None, frame=None, block=None), n)
        for n in before + after
    ]
    nearest = (
        Safe("<p>Nearest nights with scans: {}</p>").format(join(links, " · "))
        if links
        else Safe("<p>The archive holds no calibrated scan at all.</p>")
    )
    waiting = {snapshot.activity.state(n, b, t) for n, b, t in snapshot.activity.waiting if (n, t) == (night, "scan")}
    if "pending" in waiting:
        heading = Safe("Scans of the night {} are in work").format(night)
    else:
        heading = Safe("No calibrated scan in the night {}").format(night)
    return Safe(
        '<section class="card empty"><h2>{}</h2>{}'
        '<p><a data-nav href="{}">What became of the scans of this night</a></p></section>'
    ).format(heading, nearest, session.href(page="scans", scan=None, frame=None, block=None))


LEVELS_HEAD = Safe(
    '<div class="row"><h2>Background along the scan</h2><span class="muted">click a block or a frame; '
    "✕ and hatching: rejected sky offset</span></div>"
)
