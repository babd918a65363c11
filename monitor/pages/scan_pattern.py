"""The pattern left along a scan, measured on a few frames of every block and remembered."""

from __future__ import annotations

import math
from collections import OrderedDict
from threading import Lock

from monitor.collect import Collector, Snapshot
from monitor.collect_scan import ScanData, read_stages
from monitor.compute_scan import frame_statistics, sampled_frames, statistics_step

__all__ = ["Pattern", "pattern"]

Pattern = tuple[list[int], list[float], list[float], list[float]]

# One scan takes a few tenths of a second; all sessions share what was measured.
_known: OrderedDict[tuple[str, str], Pattern] = OrderedDict()
_lock = Lock()


def pattern(collector: Collector, snapshot: Snapshot, scan: ScanData) -> Pattern:
    """Return frames, and for each the rms over the cells before and after the sky offset, and from noise alone, DN."""
    key = (str(collector.root), f"{scan.row['key']} {scan.row['read']} {scan.row['has_frames']}")
    with _lock:
        if key in _known:
            return _known[key]
    found = _measure(collector, snapshot, scan)
    with _lock:
        _known[key] = found
        while len(_known) > 500:
            _known.popitem(last=False)
    return found


def _measure(collector: Collector, snapshot: Snapshot, scan: ScanData) -> Pattern:
    frames = sampled_frames(scan.blocks)
    grid = snapshot.profile.detector.cells
    before, after, noise = [], [], []
    for k in frames:
        stages = read_stages(collector, snapshot, scan, k)
        final = frame_statistics(stages.final, stages.good, grid)
        before.append(frame_statistics(stages.flattened, stages.good, grid).cell_rms)
        after.append(final.cell_rms)
        # A median of n values scatters by √(π/2)/√n of their σ.
        every = 1 if stages.final is None else statistics_step(stages.final.shape)
        n = 0 if stages.good is None else int(stages.good.sum()) / (grid[0] * grid[1] * every**2)
        noise.append(final.sigma * math.sqrt(math.pi / 2 / n) if n else math.nan)
    return frames, before, after, noise
