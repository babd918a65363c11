"""Scan: one read of one scan, from its raw frames to the final ones, block by block and frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import panel as pn
from bokeh.events import Tap
from numpy.typing import NDArray

from calib.regions import cell_medians
from monitor.address import View
from monitor.collect import Snapshot
from monitor.collect_scan import ScanData, Stages, read_masters, read_scan, read_stages, records
from monitor.components.frame_slider import FrameSlider
from monitor.components.html import Html, Safe, join
from monitor.compute_scan import (
    STRETCHES,
    block_checks,
    choose_row,
    frame_statistics,
    shrink,
    stretch_percent,
    window,
)
from monitor.pages import scan_words as words
from monitor.pages.scan_pattern import pattern
from monitor.pages.scan_style import BLOCK_CSS, CAPTION_CSS, CARD_CSS, HEAD_CSS, STRIP_CSS, TILES_CSS, TOP_CSS, WIDE_CSS
from monitor.plots.frame_images import LinkedImage, linked_ranges
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
        self._stages = {n: _Tile(session, ranges, SEQUENTIAL) for n in STAGES}
        self._parts = {n: _Tile(session, ranges, DIVERGING) for n in PARTS}
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
                _tiles(self._stages),
                sizing_mode="stretch_width",
                stylesheets=[CARD_CSS],
            ),
            pn.Column(self._checks, _tiles(self._parts), sizing_mode="stretch_width", stylesheets=[CARD_CSS]),
            sizing_mode="stretch_width",
        )
        self._none = Html(on=acts, css=WIDE_CSS)
        self.panel = pn.Column(self._none, self._body, sizing_mode="stretch_width")

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
        s = snapshot.scans
        return choose_row(
            records(s[s["night"] == self._session.night]),
            scan=view.scan,
            band=view.band,
            read=view.read or snapshot.profile.responsivity.read,
            bands=snapshot.bands,
        )

    # Showing ---------------------------------------------------------------------------------------------------

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the page to a scan, block and frame."""
        row = self._choose(view, snapshot)
        self._body.visible, self._none.visible = row is not None, row is None
        if row is None:
            self._none.html = str(_none_html(self._session, snapshot))
            return
        self._show_scan(view, snapshot, row)
        scan = self._scan
        assert scan is not None
        self._locate(view, scan)
        self._strip.html = str(Safe("{}{}").format(_LEVELS_HEAD, words.strip_html(scan, self._block)))
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
        self._head.html = str(words.head_html(scan, _choices(snapshot, row)))
        self._lineage.html = str(words.lineage_html(scan))
        level = scan.frames.get("level", np.full(int(row["n_frames"]), np.nan))
        unknown = np.full(len(level), -1)
        self._levels.show_scan(
            scan.blocks,
            level,
            [utc_time(t) for t in scan.frames.get("time", np.full(len(level), np.nan))],
            scan.frames.get("block", unknown),
            scan.frames.get("used", unknown),
        )
        self._levels.show_rms(*pattern(self._session.collector, snapshot, scan))

    def _show_block(self, snapshot: Snapshot, scan: ScanData, stretch: str) -> None:
        block = next((b for b in scan.blocks if b["block"] == self._block), None)
        if block is None:
            self._checks.html = '<h2>Blocks</h2><div class="empty">The archive knows no block of this scan.</div>'
            return
        planes = {n: _plane(self._session, scan, n, self._block) for n in ("SCI", "HALF1", "HALF2")}
        one, two = planes["HALF1"], planes["HALF2"]
        difference = None if one is None or two is None else two - one
        images = dict(zip(PARTS, (planes["SCI"], one, two, difference), strict=True))
        level, percent = block["level_dn"], stretch_percent(stretch)
        seen = [i for i in images.values() if i is not None]
        half = max((window(i, 0.0, level, percent)[1] for i in seen), default=1.0)
        for name, title in zip(PARTS, ("Sky offset", "First half", "Second half", "Second half − first"), strict=True):
            self._parts[name].show(images[name], title, -half, half, absent="not in the archive")
        self._checks.html = str(self._block_html(snapshot, scan, block, planes["SCI"], difference))

    def _block_html(
        self,
        snapshot: Snapshot,
        scan: ScanData,
        block: Any,
        own: NDArray[np.float32] | None,
        difference: NDArray[np.float32] | None,
    ) -> Safe:
        checks = block_checks(block, snapshot.profile)
        limit = next((c.limit for c in checks if c.check.name == "halves"), None)
        masters = read_masters(self._session.collector, scan)
        grid = snapshot.profile.detector.cells

        def cells(image: NDArray[np.float32] | None) -> NDArray[np.float64] | None:
            if image is None:
                return None
            return cell_medians(image, np.isfinite(image) if masters is None else masters.good, grid)

        size = f"{grid[0]}×{grid[1]} cells"
        tables = [words.cells_html(f"Second half − first, {size}", cells(difference), block["level_dn"], limit)]
        used = _plane(self._session, scan, "SCI", block["used_block"])
        if block["used_block"] != block["block"] and own is not None and used is not None:
            tables.append(
                words.cells_html(
                    f"Left in the frames: own offset − used, {size}", cells(own - used), block["level_dn"], limit
                )
            )
        return Safe('<h2>Block and its sky offset</h2><div class="blocks"><div>{}</div>{}</div>').format(
            words.checks_html(block, checks), join(Safe("<div>{}</div>").format(t) for t in tables)
        )

    def _show_frame(self, snapshot: Snapshot, scan: ScanData, stretch: str) -> None:
        k = self._frame
        stages = read_stages(self._session.collector, snapshot, scan, k)
        used = int(scan.frames["used"][k]) if k < len(scan.frames.get("used", ())) else None
        own = int(scan.frames["block"][k]) if used is not None else None
        time = scan.frames.get("time")
        parts = [f"frame {k} of 0–{scan.row['n_frames'] - 1}", "" if own is None else f"block {own}"]
        parts += [f"offset of block {used}" if used != own else "own offset"] if used is not None else []
        parts += [utc_time(time[k])] if time is not None and k < len(time) else []
        self._slider.state = {
            "n": int(scan.row["n_frames"]),
            "frame": k,
            "words": " · ".join(p for p in parts if p),
        }
        self._frame_head.html = str(_frame_head(stretch, stages))
        self._show_stages(snapshot, stages, scan.row["level_dn"], stretch_percent(stretch))

    def _show_stages(self, snapshot: Snapshot, stages: Stages, level: float | None, percent: float | None) -> None:
        grid = snapshot.profile.detector.cells
        numbers = {n: frame_statistics(getattr(stages, n), stages.good, grid) for n in STAGES}
        ends = {n: window(getattr(stages, n), numbers[n].median, level, percent) for n in STAGES}
        # The eye must compare these two: same width, each about its own median, which is the same sky level.
        pair = [ends[n] for n in ("flattened", "final") if getattr(stages, n) is not None]
        half = max((high - low for low, high in pair), default=2.0) / 2
        read = snapshot.profile.reads[self._scan.row["read"]] if self._scan is not None else None
        formula = "" if read is None else (read.plus if read.minus is None else f"{read.plus} − {read.minus}")
        titles = (f"Raw, {formula}", "Dark subtracted", "Divided by the canonical", "Final: sky offset subtracted")
        for name, title in zip(STAGES, titles, strict=True):
            low, high = ends[name]
            if name in ("flattened", "final") and math.isfinite(numbers[name].median):
                centre = numbers[name].median
                low, high = centre - half, centre + half
            self._stages[name].show(getattr(stages, name), title, low, high, numbers[name])


class _Tile:
    """An image with its caption."""

    def __init__(self, session: Session, ranges: Any, stops: tuple[str, ...]) -> None:
        shape = session.snapshot.profile.detector.shape
        self._image = LinkedImage(session.theme, shape=shape, ranges=ranges, stops=stops)
        self._caption = Html(css=CAPTION_CSS)
        self._scale = "diverging" if stops is DIVERGING else "sequential"
        self.panel = pn.Column(
            pn.pane.Bokeh(self._image.figure, sizing_mode="scale_width"), self._caption, sizing_mode="stretch_width"
        )

    def show(
        self,
        image: NDArray[np.float32] | None,
        title: str,
        low: float,
        high: float,
        numbers: Any = None,
        absent: str = "cannot be shown",
    ) -> None:
        small, factor = (None, 1) if image is None else shrink(image)
        self._image.update(small, low, high)
        title += f" ({factor}×{factor} pixels averaged)" if factor > 1 else ""
        missing = absent if image is None else ""
        self._caption.html = str(words.caption_html(title, low, high, self._scale, numbers, missing))


def _tiles(tiles: dict[str, _Tile]) -> pn.Row:
    return pn.Row(*(t.panel for t in tiles.values()), sizing_mode="stretch_width", stylesheets=[TILES_CSS])


def _plane(session: Session, scan: ScanData, name: str, block: int) -> NDArray[np.float32] | None:
    cube = session.collector.image(scan.offsets_path, name)
    return cube[block] if cube is not None and 0 <= block < len(cube) else None


def utc_time(mjd: float) -> str:
    """Return the time of a frame to a tenth of a second, UTC."""
    if not math.isfinite(mjd):
        return "time unknown"
    seconds = round((mjd % 1) * 864000) / 10
    return f"{int(seconds // 3600) % 24:02d}:{int(seconds % 3600 // 60):02d}:{seconds % 60:04.1f} UTC"


def _choices(snapshot: Snapshot, row: dict[str, Any]) -> list[Safe]:
    s = snapshot.scans
    here = s[s["night"] == row["night"]]
    scans = sorted({int(x) for x in here["scan"]})
    bands = [b for b in snapshot.bands if b in set(here.loc[here["scan"] == row["scan"], "band"])]
    reads = [r for r in snapshot.profile.reads if r in set(here["read"])]
    return [
        words.choice("scan", "scan", [(str(x), str(x)) for x in scans], str(row["scan"])),
        words.choice("band", "band", [(b, b) for b in bands], row["band"]),
        words.choice("read", "read", [(r, r) for r in reads], row["read"]),
    ]


def _frame_head(stretch: str, stages: Stages) -> Safe:
    notes = join(Safe('<p class="note">▲ {}</p>').format(n) for n in stages.notes)
    return Safe(
        '<div class="row"><h2>Frame by frame</h2>{}<span class="muted">keys , and . step; shift + wheel zooms all '
        "images together, a double click resets; magenta: saturated or unusable</span></div>{}"
    ).format(words.stretch_choice(stretch), notes)


def _none_html(session: Session, snapshot: Snapshot) -> Safe:
    nights = sorted(set(snapshot.scans["night"]))
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
    return Safe(
        '<section class="card empty"><h2>No calibrated scan in the night {}</h2>{}'
        '<p><a data-nav href="{}">What became of the scans of this night</a></p></section>'
    ).format(night, nearest, session.href(page="scans", scan=None, frame=None, block=None))


_LEVELS_HEAD = Safe(
    '<div class="row"><h2>Background along the scan</h2><span class="muted">click a block or a frame; '
    "✕ and hatching: rejected sky offset</span></div>"
)
