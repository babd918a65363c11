"""Scans: what became of every scan of a night, and the sky offsets of its blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from calib.archive.products import sky_offsets_path
from monitor.address import View, search
from monitor.collect import Snapshot
from monitor.collect_scan import bands_with_masters, raw_scans, records
from monitor.components.html import Html, Safe, join
from monitor.compute import cause_words
from monitor.compute_gallery import sky_extent
from monitor.compute_scan import Missing, missing_scans, number, scale_percent
from monitor.compute_stretch import shared_half_width
from monitor.pages.scan_words import choice, mark, scan_state
from monitor.pages.scans_style import SCANS_CSS
from monitor.pages.scans_tables import Blocks, Row, missing_html, scans_html, target
from monitor.plots.thumbnail import data_uri, png
from monitor.session import Session

__all__ = ["build"]

# Rows of pictures at a time: a long night has hundreds, and each is read from disk.
PICTURE_ROWS = 24
PICTURE_SIZE = 64
# Half-widths in % of the sky level; without one they are fitted to what is shown.
STRETCHES = ("0.2", "0.5", "1", "2", "5", "10", "20", "50")


def build(session: Session) -> Scans:
    """Return the page for a session."""
    return Scans(session)


class Scans:
    """All scans of a night."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.keys: dict[str, Callable[[], None]] = {}
        self._pictures: dict[Any, str] = {}
        go = session.go
        self._html = Html(
            on={
                "go": session._follow,
                "band": lambda v: go(band=v, start=None),
                "read": lambda v: go(read=v, start=None),
                "stretch": lambda v: go(stretch=v),
                "page": lambda v: go(start=int(v) or None),
            },
            css=SCANS_CSS,
        )
        self.panel = self._html

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the page to a night."""
        night = self._session.night
        if not night:
            self._html.html = '<div class="card empty">No night in the archive yet.</div>'
            return
        rows = records(snapshot.scans.of(night))
        order = {b: k for k, b in enumerate(snapshot.bands)}
        reads = {r: k for k, r in enumerate(snapshot.profile.reads)}
        rows.sort(key=lambda r: (r["scan"], order.get(r["band"], 99), reads.get(r["read"], 99)))
        lost = self._missing(snapshot, night, rows)
        band = view.band if view.filter != "all" and view.band in snapshot.bands else ""
        chosen = [r for r in rows if (not band or r["band"] == band) and (not view.read or r["read"] == view.read)]
        if view.read and not any(r["read"] == view.read for r in rows):
            chosen = [r for r in rows if not band or r["band"] == band]
        blocks: Blocks = {}
        parts = [self._head(snapshot, view, rows, chosen, lost, band)]
        if rows:
            blocks = self._blocks(night)
            parts.append(scans_html(chosen, blocks, snapshot.supplied))
        parts.append(missing_html(lost))
        if rows:
            parts.append(self._offsets(snapshot, view, chosen, blocks))
        self._html.html = str(join(parts))

    def _missing(self, snapshot: Snapshot, night: str, rows: list[Row]) -> list[Missing]:
        collector = self._session.collector
        darks, canonicals = bands_with_masters(collector, snapshot, night)
        return missing_scans(
            raw_scans(collector, night),
            {(r["band"], int(r["scan"])) for r in rows},
            darks,
            canonicals,
            at_work=bool(snapshot.activity.since),
        )

    def _head(
        self, snapshot: Snapshot, view: View, rows: list[Row], chosen: list[Row], lost: list[Missing], band: str
    ) -> Safe:
        night = self._session.night
        if not rows:
            return self._nothing(snapshot, night, lost)
        scans = len({r["scan"] for r in rows})
        worst = [r for r in rows if r["status"] != "calibrated"]
        good = "all of them calibrated" if len(rows) > 1 else "calibrated"
        sentence = (
            f"{scans} scan{'s' if scans > 1 else ''}; "
            + (f"{len(worst)} of {len(rows)} bands and reads need a look" if worst else good)
            + (f"; {len(lost)} raw file{'s' if len(lost) > 1 else ''} without a result" if lost else "")
        )
        bands = [b for b in snapshot.bands if any(r["band"] == b for r in rows)]
        reads = [r for r in snapshot.profile.reads if any(x["read"] == r for x in rows)]
        return Safe(
            '<section class="card head"><h1>Scans of {}</h1><span>{}</span><span class="grow"></span>{}{}</section>'
        ).format(
            night,
            sentence,
            choice("band", "band", [("", "all"), *((b, b) for b in bands)], band),
            choice("read", "read", [("", "all"), *((r, r) for r in reads)], view.read if view.read in reads else ""),
        )

    def _nothing(self, snapshot: Snapshot, night: str, lost: list[Missing]) -> Safe:
        nights = snapshot.scans.nights
        near = [n for n in nights if n < night][-1:] + [n for n in nights if n > night][:1]
        links = [Safe('<a data-nav href="{}">{}</a>').format(search(View(page="scans", night=n)), n) for n in near]
        waits = next((m.state for m in lost if m.state == "pending"), "")
        why = (
            "Scans were taken; the run at work has yet to come to them."
            if waits
            else "Scans were taken, but none of them is calibrated; the table below says why."
            if lost
            else "No scan was taken in this night, as far as the files in the archive tell."
        )
        return Safe(
            '<section class="card none"><h1>Scans of {}</h1><p>{} {}</p><p class="muted">{}</p></section>'
        ).format(
            night,
            mark(waits) if waits else mark("notrun" if lost else "unknown", "not calibrated" if lost else "no scans"),
            why,
            Safe("Nearest nights with scans: {}").format(join(links, " · ")) if links else "No night has any scan.",
        )

    def _blocks(self, night: str) -> Blocks:
        found: Blocks = {}
        for b in records(self._session.collector.sky_offsets(night)):
            found.setdefault((b["scan"], b["band"], b["read"]), []).append(b)
        return found

    def _offsets(self, snapshot: Snapshot, view: View, chosen: list[Row], blocks: Blocks) -> Safe:
        # The read that shows the sky best, unless another one was asked for.
        read = view.read or snapshot.profile.responsivity.read
        rows = [r for r in chosen if r["read"] == read] or chosen
        start = min(view.start or 0, max(len(rows) - 1, 0)) // PICTURE_ROWS * PICTURE_ROWS
        part = rows[start : start + PICTURE_ROWS]
        shown = [blocks.get((r["scan"], r["band"], r["read"]), []) for r in part]
        fitted = shared_half_width(sky_extent(b) for of_scan in shown for b in of_scan)
        chosen_stretch = view.stretch if view.stretch in STRETCHES else ""
        stretch = chosen_stretch or fitted
        lines = [self._line(snapshot, r, of_scan, stretch) for r, of_scan in zip(part, shown, strict=True)]
        turn = ""
        if len(rows) > PICTURE_ROWS:
            turn = Safe(
                '<span class="field"><button id="earlier" data-act="page" data-value="{}" {}>◀ earlier</button>'
                '<span class="num">{}–{} of {}</span>'
                '<button id="later" data-act="page" data-value="{}" {}>later ▶</button></span>'
            ).format(
                max(start - PICTURE_ROWS, 0),
                "" if start else "disabled",
                start + 1,
                start + len(part),
                len(rows),
                start + PICTURE_ROWS,
                "" if start + PICTURE_ROWS < len(rows) else "disabled",
            )
        return Safe(
            '<section class="card"><div class="row"><h2>Sky offsets, block by block '
            '<span class="muted">{}, in % of the sky level</span></h2><span class="grow"></span>{}{}</div>'
            '<div class="lines">{}</div><div class="scale"><span>−{} %</span><i></i><span>+{} %</span></div>'
            '<p class="muted key"><i class="ok"></i> accepted <i class="no">✕</i> rejected <i class="no subst">✕</i> '
            "rejected, another block's offset used; magenta: no valid sample</p></section>"
        ).format(
            read,
            turn,
            choice(
                "stretch",
                "stretch",
                [("", f"fitted: ± {fitted} %"), *((s, f"± {s} %") for s in STRETCHES)],
                chosen_stretch,
            ),
            join(lines),
            stretch,
            stretch,
        )

    def _line(self, snapshot: Snapshot, row: Row, blocks: list[Row], stretch: str) -> Safe:
        tiles = [self._tile(snapshot, row, b, stretch) for b in blocks]
        _, sign = scan_state(row["status"])
        empty = Safe('<span class="muted">the archive knows no block of this scan</span>')
        return Safe(
            '<div class="line"><a data-nav href="{}"><b>scan {}</b> {}<br><span class="{}">{} {}/{}</span></a>'
            '<div class="tiles">{}</div></div>'
        ).format(
            search(target(row)),
            row["scan"],
            row["band"],
            scan_state(row["status"])[0],
            sign,
            row["n_blocks"] - row["n_rejected"],
            row["n_blocks"],
            join(tiles) if tiles else empty,
        )

    def _tile(self, snapshot: Snapshot, row: Row, block: Row, stretch: str) -> Safe:
        ok, swap = block["status"] == "accepted", block["used_block"] != block["block"]
        words = cause_words(block["cause"] or "")[0] or block["status"]
        note = f"block {block['used_block']} used" if swap else ("" if ok else "used all the same")
        title = (
            f"block {block['block']}, frames {block['first_frame']}–{block['last_frame']}, "
            f"{number(block['level_dn'], 4)} DN: {block['cause'] or 'accepted'}{'; ' + note if note else ''}"
        )
        uri = self._picture(snapshot, row, block, float(stretch))
        inside: Safe | str = (
            Safe('<img src="{}" alt="sky offset of block {}" loading="lazy">').format(uri, block["block"])
            if uri
            else Safe('<span class="hole">no image</span>')
        )
        return Safe(
            '<a data-nav class="tile {}{}" href="{}" title="{}"><span class="pic">{}</span>'
            '<span class="name {}">{} {}</span>{}{}</a>'
        ).format(
            "ok" if ok else "no",
            " subst" if swap else "",
            search(target(row).to(block=int(block["block"]))),
            title,
            inside,
            "accepted" if ok else "rejected",
            "●" if ok else "✕",
            block["block"],
            "" if ok else Safe('<span class="why">{}</span>').format(words),
            Safe('<span class="used">{}</span>').format(note) if note else "",
        )

    def _picture(self, snapshot: Snapshot, row: Row, block: Row, stretch: float) -> str:
        """Return a block's offset as a picture, made once per session and stretch."""
        key = (snapshot.revision, row["night"], row["band"], row["scan"], row["read"], block["block"], stretch)
        if key not in self._pictures:
            cube = self._session.collector.image(_offsets_path(row), "SCI")
            image = cube[block["block"]] if cube is not None and block["block"] < len(cube) else None
            scale = scale_percent(block["level_dn"])
            if len(self._pictures) > 2000:
                self._pictures.clear()
            self._pictures[key] = (
                ""
                if image is None or math.isnan(scale)
                else data_uri(
                    png(image * np.float32(scale), -stretch, stretch, factor=max(1, image.shape[0] // PICTURE_SIZE))
                )
            )
        return self._pictures[key]


def _offsets_path(row: Row) -> str:
    return sky_offsets_path(row["night"], row["band"], row["scan"], row["read"])
