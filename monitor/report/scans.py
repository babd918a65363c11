"""The night's scans: what each was calibrated with, and which frames had a stand-in."""

from __future__ import annotations

import math
from typing import Any

from monitor.collect import Collector, Snapshot
from monitor.collect_scan import bands_with_masters, raw_scans, records
from monitor.components.html import Safe
from monitor.compute_scan import cause_of, missing_scans, number
from monitor.palette import STATES
from monitor.report.tables import mark, table

__all__ = ["scans_html"]

Row = dict[str, Any]
_STATES = {"calibrated": "accepted", "substituted": "watch", "best block": "rejected"}
# A long night has hundreds of scans; in print the ones in need of a look come first.
_MOST = 150


def scans_html(collector: Collector, snapshot: Snapshot, night: str) -> Safe:
    """Return the table of scans, those without a result below it."""
    rows = records(snapshot.scans.of(night))
    order = {b: k for k, b in enumerate(snapshot.bands)}
    reads = {r: k for k, r in enumerate(snapshot.profile.reads)}
    rows.sort(key=lambda r: (r["scan"], order.get(r["band"], 99), reads.get(r["read"], 99)))
    darks, canonicals = bands_with_masters(collector, snapshot, night)
    lost = missing_scans(
        raw_scans(collector, night),
        {(r["band"], int(r["scan"])) for r in rows},
        darks,
        canonicals,
        at_work=bool(snapshot.activity.since),
    )
    if not rows and not lost:
        return Safe('<p class="empty">{} no scan was taken in this night, as far as the files tell.</p>').format(
            mark("unknown")
        )
    parts = Safe("")
    if len(rows) > _MOST:
        left = len(rows) - _MOST
        rows = sorted(rows, key=lambda r: r["status"] == "calibrated")[:_MOST]
        parts += Safe('<p class="note">Those in need of a look first; {} more are on the page.</p>').format(left)
    if rows:
        parts += _calibrated(collector, snapshot, night, rows)
    if lost:
        heads = ("scan", "state", "why", "raw file")
        cells = (
            (
                f"{m.scan or '–'} {m.band or '–'}",
                mark(m.state, m.words.split(":")[0]),
                m.words.partition(": ")[2] or "–",
                Safe("<code>{}</code>").format(m.path),
            )
            for m in lost
        )
        parts += Safe("<h3>Raw scans without a result</h3>{}").format(table("raw scans without a result", heads, cells))
    return parts


def _calibrated(collector: Collector, snapshot: Snapshot, night: str, rows: list[Row]) -> Safe:
    blocks: dict[tuple[int, str, str], list[Row]] = {}
    for b in records(collector.sky_offsets(night)):
        blocks.setdefault((b["scan"], b["band"], b["read"]), []).append(b)
    heads = ("scan", "start / UTC", "status", "offsets", "stand-in frames", "sky / DN", "made with", "why")
    cells = []
    for r in rows:
        state = _STATES.get(r["status"], "unknown")
        swapped = int(r["n_substituted_frames"])
        cells.append(
            (
                f"{r['scan']} {r['band']} {r['read']}",
                (r["start_iso"] or "–")[11:19] or "–",
                mark(state, r["status"]),
                f"{r['n_blocks'] - r['n_rejected']}/{r['n_blocks']}",
                Safe('<b class="watch">{} {} of {}</b>').format(STATES["watch"].sign, swapped, r["n_frames"])
                if swapped
                else f"0 of {r['n_frames']}",
                number(r["level_dn"], 4),
                _masters(snapshot, night, r),
                _why(r, blocks.get((r["scan"], r["band"], r["read"]), [])),
            )
        )
    return table("scans of the night", heads, cells, numeric=(3, 4, 5))


def _why(row: Row, blocks: list[Row]) -> Safe:
    """Return why a scan is not simply calibrated, and that a run has to take it up again."""
    words = Safe("{}").format(cause_of(row, blocks))
    if row.get("stale"):
        words += Safe('<br><span class="watch">{} not up to date: {}</span>').format(STATES["watch"].sign, row["stale"])
    return words


def _masters(snapshot: Snapshot, night: str, row: Row) -> Safe | str:
    """Return with which dark and canonical a scan was calibrated, in a word where both are the night's own."""
    own = [row[f"{w}_night"] == night and row[f"{w}_status"] == "accepted" for w in ("dark", "canonical")]
    if all(own):
        return "tonight’s dark and canonical"
    dark, canonical = (_master(snapshot, night, row, what) for what in ("dark", "canonical"))
    return Safe("dark {}<br>canonical {}").format(dark, canonical)


def _master(snapshot: Snapshot, night: str, row: Row, what: str) -> Safe:
    """Return the night of what a scan was calibrated with, its age, and its standing unless it is accepted.

    Of one that the team supplied, its file and the night in its header.
    """
    used, age, status = row[f"{what}_night"], row[f"{what}_age_nights"], row[f"{what}_status"]
    if not used:
        return mark("unknown", "none")
    if used == "supplied":
        master = snapshot.supplied.get(("dark" if what == "dark" else "flat", row["band"]))
        return mark("supplied", f"supplied: {master.words}" if master is not None else "")
    days = 0 if age is None or math.isnan(age) else int(age)
    words = "tonight’s" if used == night else str(used)
    if days:
        words += f", {abs(days)} night{'s' if abs(days) > 1 else ''} {'older' if days > 0 else 'younger'}"
    if status in ("accepted", None):
        return Safe("{}{}").format(f"{STATES['watch'].sign} " if days else "", words)
    return mark({"overtaken": "watch"}.get(status, status if status in STATES else "unknown"), f"{words}, {status}")
