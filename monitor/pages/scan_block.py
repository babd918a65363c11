"""The markup of one block: its checks, and what is left over the cells of the grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.checks import CheckResult
from calib.regions import cell_medians
from monitor.collect import Collector, Snapshot
from monitor.collect_scan import Row, ScanData, read_masters
from monitor.components.html import Safe, join
from monitor.compute import cause_words, signed
from monitor.compute_scan import block_checks, number
from monitor.pages.scan_words import mark

__all__ = ["block_html", "cells_html", "checks_html", "plane"]


def plane(collector: Collector, scan: ScanData, name: str, block: int) -> NDArray[np.float32] | None:
    """Return one block's image of the sky offsets; None if the archive has it no more."""
    cube = collector.image(scan.offsets_path, name)
    return cube[block] if cube is not None and 0 <= block < len(cube) else None


def block_html(
    collector: Collector, snapshot: Snapshot, scan: ScanData, block: Row, difference: NDArray[np.float32] | None
) -> Safe:
    """Return a block's checks and the cells of its half difference, and of what a substitute left in its frames."""
    checks = block_checks(block, snapshot.profile)
    limit = next((c.limit for c in checks if c.check.name == "halves"), None)
    masters = read_masters(collector, scan)
    grid = snapshot.profile.detector.cells

    def cells(image: NDArray[np.float32] | None) -> NDArray[np.float64] | None:
        if image is None:
            return None
        return cell_medians(image, np.isfinite(image) if masters is None else masters.good, grid)

    size = f"{grid[0]}×{grid[1]} cells"
    tables = [cells_html(f"Second half − first, {size}", cells(difference), block["level_dn"], limit)]
    own, used = (plane(collector, scan, "SCI", block[n]) for n in ("block", "used_block"))
    if block["used_block"] != block["block"] and own is not None and used is not None:
        title = f"Left in the frames: own offset − used, {size}"
        tables.append(cells_html(title, cells(own - used), block["level_dn"], limit))
    return Safe('<h2>Block and its sky offset</h2><div class="blocks"><div>{}</div>{}</div>').format(
        checks_html(block, checks), join(Safe("<div>{}</div>").format(t) for t in tables)
    )


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
        '<th class="n">limit</th><th>unit</th><th>outcome</th></tr></thead><tbody>{}</tbody></table>'
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
                    colour, 55 * size, _percent(v)
                )
            )
        rows.append(Safe("<tr>{}</tr>").format(join(marks)))
    seen = percent[np.isfinite(percent)]
    rms = float(np.sqrt(np.mean(seen**2))) if seen.size else math.nan
    return Safe(
        '<h3>{} <span class="muted">% of sky level, rms {} %</span></h3><table class="cells">{}</table>'
    ).format(title, number(rms, 2), join(rows))


def _percent(value: float) -> str:
    if not math.isfinite(value):
        return "—"
    return signed(value, 2) if abs(value) >= 0.005 else "0.00"
