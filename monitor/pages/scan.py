"""Scan: one read of one scan, from its raw frames to the final ones, block by block and frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import panel as pn
from bokeh.events import Tap

from monitor.address import View
from monitor.collect import Snapshot
from monitor.collect_scan import ScanData, Stages, left_out, read_scan, read_stages, records
from monitor.components.frame_slider import FrameSlider
from monitor.components.html import Html, Safe
from monitor.compute_scan import (
    STRETCHES,
    choose_row,
    frame_statistics,
    half_width_of_pair,
    stretch_percent,
    window,
)
from monitor.pages import scan_words as words
from monitor.pages.scan_block import block_html, plane
from monitor.pages.scan_pattern import pattern
from monitor.pages.scan_style import BLOCK_CSS, CARD_CSS, HEAD_CSS, STRIP_CSS, TOP_CSS, WIDE_CSS
from monitor.pages.scan_tiles import Tile, tiles
from monitor.plots.frame_images import linked_ranges
from monitor.plots.scan_levels import ScanLevels
from monitor.plots.thumbnail import DIVERGING, SEQUENTIAL
from monitor.session import Session

__all__ = ["build"]

STAGES = ("raw", "dark_subtracted", "flattened", "final")
PARTS = ("offset", "half1", "half2", "difference")


def build(session: Session) -> Scan:
    """Return the page for a session."""
    return Scan(session)


class Scan:
    """One read of one scan."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.keys: dict[str, Callable[[], None]] = {
            ",": lambda: self._step(-1),
            ".": lambda: self._step(1),
            "[": lambda: self._step_block(-1),
            "]": lambda: self._step_block(1),
        }
        self.told_keys = [(", .", "frame before, frame after"), ("[ ]", "block before, block after")]
        self._scan: ScanData | None = None
        self._shown: dict[str, Any] = {}
        self._frame = self._block = 0
        go = session.go
        acts = {
            "go": session._follow,
            "scan": lambda v: go(scan=int(v), frame=None, block=None),
            "band": lambda v: go(band=v),
            "read": lambda v: go(read=v),
            "stretch": lambda v: go(stretch=v),
            "block": lambda v: go(block=int(v), frame=None),
        }
        self._head = Html(on=acts, css=HEAD_CSS, css_classes=["wide"])
        self._lineage = Html(on=acts, css=HEAD_CSS, css_classes=["narrow"])
        self._strip = Html(on=acts, css=STRIP_CSS)
        self._frame_head = Html(on=acts, css=STRIP_CSS)
        self._checks = Html(on=acts, css=BLOCK_CSS)
        self._slider = FrameSlider(lambda k: go(frame=k, block=None))
        self._levels = ScanLevels(session.theme)
        for f in (self._levels.level, self._levels.pattern):
            f.on_event(Tap, lambda e: self._tap(e.x))
        ranges = linked_ranges(session.snapshot.profile.detector.shape)
        self._stages = {n: Tile(session, ranges, SEQUENTIAL) for n in STAGES}
        self._parts = {n: Tile(session, ranges, DIVERGING) for n in PARTS}
        self._body = pn.Column(
            pn.Row(self._head, self._lineage, sizing_mode="stretch_width", stylesheets=[TOP_CSS]),
            pn.Column(
                self._strip,
                pn.pane.Bokeh(self._levels.level, sizing_mode="stretch_width"),
                pn.pane.Bokeh(self._levels.pattern, sizing_mode="stretch_width"),
                sizing_mode="stretch_width",
                stylesheets=[CARD_CSS],
            ),
            pn.Column(
                self._frame_head,
                self._slider,
                tiles(self._stages),
                sizing_mode="stretch_width",
                stylesheets=[CARD_CSS],
            ),
            pn.Column(self._checks, tiles(self._parts), sizing_mode="stretch_width", stylesheets=[CARD_CSS]),
            sizing_mode="stretch_width",
        )
        self._none = Html(on=acts, css=WIDE_CSS)
        self.panel = pn.Column(sizing_mode="stretch_width")

    # Choosing --------------------------------------------------------------------------------------------------

    def _step(self, by: int) -> None:
        if self._scan is not None:
            k = min(max(self._frame + by, 0), self._scan.row["n_frames"] - 1)
            self._session.go(frame=k, block=None)

    def _step_block(self, by: int) -> None:
        if self._scan is not None and self._scan.blocks:
            self._session.go(block=min(max(self._block + by, 0), len(self._scan.blocks) - 1), frame=None)

    def _tap(self, x: float) -> None:
        if self._scan is not None and math.isfinite(x):
            k = min(max(round(x), 0), self._scan.row["n_frames"] - 1)
            self._session.go(frame=k, block=None)

    def _choose(self, view: View, snapshot: Snapshot) -> dict[str, Any] | None:
        return choose_row(
            records(snapshot.scans.of(self._session.night)),
            scan=view.scan,
            band=view.band,
            read=view.read or snapshot.profile.responsivity.read,
            bands=snapshot.bands,
        )

    # Showing ---------------------------------------------------------------------------------------------------

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the page to a scan, block and frame."""
        row = self._choose(view, snapshot)
        shown = self._none if row is None else self._body
        if shown not in self.panel:
            self.panel[:] = [shown]
        if row is None:
            self._none.html = str(words.none_html(self._session, snapshot))
            return
        self._show_scan(view, snapshot, row)
        scan = self._scan
        assert scan is not None
        self._locate(view, scan)
        self._strip.html = str(Safe("{}{}").format(words.LEVELS_HEAD, words.strip_html(scan, self._block)))
        self._levels.mark(self._frame)
        stretch = view.stretch if view.stretch in STRETCHES else ""
        whole = (snapshot.revision, *(row[n] for n in ("night", "band", "scan", "read")), stretch)
        if self._new("block", (*whole, self._block)):
            self._show_block(snapshot, scan, stretch)
        if self._new("frame", (*whole, self._frame)):
            self._show_frame(snapshot, scan, stretch)

    def _new(self, part: str, key: Any) -> bool:
        if self._shown.get(part) == key:
            return False
        self._shown[part] = key
        return True

    def _locate(self, view: View, scan: ScanData) -> None:
        last = max(int(scan.row["n_frames"]) - 1, 0)
        frame = None if view.frame is None else min(view.frame, last)
        chosen = next((b for b in scan.blocks if b["block"] == view.block), None)
        if frame is None:
            frame = int(chosen["first_frame"]) if chosen is not None else 0
        here = next((b for b in scan.blocks if b["first_frame"] <= frame <= b["last_frame"]), None)
        chosen = chosen or here or (scan.blocks[0] if scan.blocks else None)
        self._frame, self._block = frame, int(chosen["block"]) if chosen is not None else 0

    def _show_scan(self, view: View, snapshot: Snapshot, row: dict[str, Any]) -> None:
        key = (snapshot.revision, row["night"], row["band"], row["scan"], row["read"])
        if not self._new("scan", key):
            return
        self._scan = scan = read_scan(self._session.collector, snapshot, row)
        self._head.html = str(words.head_html(scan, words.choices(snapshot, row)))
        self._lineage.html = str(words.lineage_html(scan, snapshot.supplied))
        level = scan.frames.get("level", np.full(int(row["n_frames"]), np.nan))
        unknown = np.full(len(level), -1)
        self._levels.show_scan(
            scan.blocks,
            level,
            [words.utc_time(t) for t in scan.frames.get("time", np.full(len(level), np.nan))],
            scan.frames.get("block", unknown),
            scan.frames.get("used", unknown),
        )
        self._levels.show_rms(*pattern(self._session.collector, snapshot, scan))

    def _show_block(self, snapshot: Snapshot, scan: ScanData, stretch: str) -> None:
        block = next((b for b in scan.blocks if b["block"] == self._block), None)
        if block is None:
            self._checks.html = '<h2>Blocks</h2><div class="empty">The archive knows no block of this scan.</div>'
            return
        planes = {n: plane(self._session.collector, scan, n, self._block) for n in ("SCI", "HALF1", "HALF2")}
        one, two = planes["HALF1"], planes["HALF2"]
        difference = None if one is None or two is None else two - one
        images = dict(zip(PARTS, (planes["SCI"], one, two, difference), strict=True))
        level, percent = block["level_dn"], stretch_percent(stretch)
        # The offset and its halves share one stretch; their difference, far smaller, would vanish on it.
        common = max((window(i, 0.0, level, percent)[1] for n, i in images.items() if n != "difference"), default=1.0)
        for name, title in zip(PARTS, ("Sky offset", "First half", "Second half", "Second half − first"), strict=True):
            half = window(difference, 0.0, level, percent)[1] if name == "difference" else common
            self._parts[name].show(images[name], title, -half, half, absent="not in the archive")
        self._checks.html = str(block_html(self._session.collector, snapshot, scan, block, difference))

    def _show_frame(self, snapshot: Snapshot, scan: ScanData, stretch: str) -> None:
        k = self._frame
        stages = read_stages(self._session.collector, snapshot, scan, k)
        used = int(scan.frames["used"][k]) if k < len(scan.frames.get("used", ())) else None
        own = int(scan.frames["block"][k]) if used is not None else None
        time = scan.frames.get("time")
        parts = [f"frame {k} of 0–{scan.row['n_frames'] - 1}", "" if own is None else f"block {own}"]
        ours = "offset of its other frames" if left_out(snapshot, scan, k) else "own offset"
        parts += [f"offset of block {used}" if used != own else ours] if used is not None else []
        trend = scan.frames.get("trend")
        parts += [f"its trend {trend[k]:.1f} DN rms"] if trend is not None and k < len(trend) and used == own else []
        parts += [words.utc_time(time[k])] if time is not None and k < len(time) else []
        self._slider.state = {
            "n": int(scan.row["n_frames"]),
            "frame": k,
            "words": " · ".join(p for p in parts if p),
        }
        self._frame_head.html = str(words.frame_head(stretch, stages))
        self._show_stages(snapshot, stages, scan.row["level_dn"], stretch_percent(stretch))

    def _show_stages(self, snapshot: Snapshot, stages: Stages, level: float | None, percent: float | None) -> None:
        grid = snapshot.profile.detector.cells
        numbers = {n: frame_statistics(getattr(stages, n), stages.good, grid) for n in STAGES}
        ends = {n: window(getattr(stages, n), numbers[n].median, level, percent) for n in STAGES}
        # The eye must compare these two: same width, each about its own median, which is the same sky level.
        half = half_width_of_pair([ends[n] for n in ("flattened", "final") if getattr(stages, n) is not None])
        read = snapshot.profile.reads[self._scan.row["read"]] if self._scan is not None else None
        formula = "" if read is None else (read.plus if read.minus is None else f"{read.plus} − {read.minus}")
        titles = (f"Raw, {formula}", "Dark subtracted", "Divided by the canonical", "Final: sky offset subtracted")
        for name, title in zip(STAGES, titles, strict=True):
            low, high = ends[name]
            if name in ("flattened", "final") and math.isfinite(numbers[name].median):
                centre = numbers[name].median
                low, high = centre - half, centre + half
            self._stages[name].show(getattr(stages, name), title, low, high, numbers[name])
