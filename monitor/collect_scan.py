"""What the archive holds about one scan: rows, lineage, tables of its products, single frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from astropy.io import fits
from numpy.typing import NDArray

from calib.archive import schema
from calib.archive.lineage import ancestors
from calib.archive.products import frames_path, sky_offsets_path
from calib.errors import CalibError
from calib.flags import flag, usable
from calib.sky_trend import enlarged
from monitor.collect import Collector, Snapshot
from monitor.collect_frames import RawFile, product_frame, raw_frame

__all__ = [
    "Masters",
    "RawScan",
    "ScanData",
    "Stages",
    "bands_with_masters",
    "left_out",
    "offset_of",
    "raw_scans",
    "read_masters",
    "read_scan",
    "read_stages",
    "records",
]

Row = dict[str, Any]


@dataclass(frozen=True)
class Masters:
    """The dark and canonical of a scan, as its frames were calibrated with them.

    Attributes
    ----------
    dark : ndarray, shape (ny, nx)
        DN.
    scale : ndarray, shape (ny, nx)
        1 / canonical, NaN where either is unusable.
    good : ndarray of bool
        Pixels over which levels are taken.
    """

    dark: NDArray[np.float32]
    scale: NDArray[np.float32]
    good: NDArray[np.bool_]


@dataclass(frozen=True)
class ScanData:
    """One read of one scan.

    Attributes
    ----------
    row : dict
        Of the table ``scans``.
    blocks : list of dict
        Of the table ``sky_offsets``, in order.
    frames : dict of ndarray
        Per frame, by the columns of the product's table ``FRAMES`` in small letters: ``time``, ``level``, ``shift``,
        ``block``, ``used``, and ``trend`` (rms over cells) if one was followed; empty if the product is gone.
    lineage : tuple of (int, str, str)
        Steps away, role, path of everything it was made from.
    raw : tuple of RawFile
        In the order of calibration.
    """

    row: Row
    blocks: tuple[Row, ...]
    frames: Mapping[str, NDArray[Any]]
    lineage: tuple[tuple[int, str, str], ...]
    raw: tuple[RawFile, ...]

    @property
    def offsets_path(self) -> str:
        """Path of the sky offsets within the archive."""
        return sky_offsets_path(self.row["night"], self.row["band"], self.row["scan"], self.row["read"])

    @property
    def frames_path(self) -> str:
        """Path of the final frames within the archive."""
        return frames_path(self.row["night"], self.row["band"], self.row["scan"], self.row["read"])

    def parent(self, role: str) -> str | None:
        """Return the path of what served as ``dark`` or ``canonical``."""
        return next((path for depth, r, path in self.lineage if depth == 1 and r == role), None)


@dataclass(frozen=True)
class Stages:
    """One frame on its way, each image in DN or None where it cannot be shown.

    Attributes
    ----------
    raw, dark_subtracted, flattened, final : ndarray or None
        Shape (ny, nx); saturated samples and unusable pixels NaN.
    good : ndarray of bool or None
        Pixels over which medians are taken.
    notes : tuple of str
        Where an image comes from if not from where one expects it, and why one is absent.
    """

    raw: NDArray[np.float32] | None
    dark_subtracted: NDArray[np.float32] | None
    flattened: NDArray[np.float32] | None
    final: NDArray[np.float32] | None
    good: NDArray[np.bool_] | None
    notes: tuple[str, ...]


def read_scan(collector: Collector, snapshot: Snapshot, row: Row) -> ScanData:
    """Return what the archive holds about one read of one scan."""
    blocks = collector.sky_offsets(row["night"], row["band"], row["scan"])
    blocks = blocks[blocks["read"] == row["read"]]
    path = sky_offsets_path(row["night"], row["band"], row["scan"], row["read"])
    lineage = tuple(ancestors(collector.archive, path))
    parents = [p for depth, role, p in lineage if depth == 1 and role == "raw"]
    f = schema.files
    query = sa.select(f).where(f.c.path.in_(parents)).order_by(f.c.start_mjd, f.c.path)
    files = [r for r in collector.rows(query) if r["status"] in ("used", "gone")]
    raw = tuple(RawFile(Path(r["path"]), int(r["n_frames"] or 0), int(r["size"])) for r in files)
    return ScanData(row, tuple(records(blocks)), _frame_table(collector.root / path), lineage, raw)


def records(frame: pd.DataFrame) -> list[Row]:
    """Return a table as rows, None for what is missing."""
    found = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(k): v for k, v in r.items()} for r in found]


def _frame_table(path: Path) -> Mapping[str, NDArray[Any]]:
    try:
        return _table(str(path), path.stat().st_mtime_ns)
    except (OSError, KeyError, TypeError, ValueError):
        return {}


@lru_cache(maxsize=64)
def _table(path: str, mtime_ns: int) -> Mapping[str, NDArray[Any]]:
    with fits.open(path, memmap=False) as hdus:
        table = hdus["FRAMES"].data
        native = {n.lower(): np.asarray(table[n]) for n in table.names}
    return {n: a.astype(a.dtype.newbyteorder("=")) for n, a in native.items()}


def read_masters(collector: Collector, scan: ScanData) -> Masters | None:
    """Return the dark and canonical of a scan; None if a product is gone."""
    dark_path, flat_path = scan.parent("dark"), scan.parent("canonical")
    if dark_path is None or flat_path is None:
        return None
    dark, dark_mask = (collector.image(dark_path, n) for n in ("SCI", "DQ"))
    flat, flat_mask = (collector.image(flat_path, n) for n in ("SCI", "DQ"))
    if dark is None or dark_mask is None or flat is None or flat_mask is None:
        return None
    mask = dark_mask | flat_mask
    ok = usable(mask)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(ok, 1 / flat, np.nan).astype(np.float32)
    return Masters(np.asarray(dark, np.float32), scale, ok & ((mask & (flag("HOT") | flag("NOISY"))) == 0))


def read_stages(collector: Collector, snapshot: Snapshot, scan: ScanData, frame: int) -> Stages:
    """Return one frame at every stage, reading no more than that frame.

    The final one comes from the product of final frames; without it, it is computed as flattened − sky offset used
    + shift. Without the raw file, the flattened one is what the final one gives when offset and shift are put back.
    Where the profile leaves a frame out of its own offset, both are nearly so, and it is noted.
    """
    notes: list[str] = []
    final: NDArray[np.float32] | None
    masters = read_masters(collector, scan)
    if masters is None:
        notes.append("the dark or the canonical is not in the archive, so no stage between can be computed")
    try:
        raw: NDArray[np.float32] | None = raw_frame(scan.raw, snapshot.profile, scan.row["read"], frame)
    except CalibError as error:
        raw = None
        notes.append(f"no raw frame: {getattr(error, 'reason', error)}")
    dark_subtracted = flattened = None
    if raw is not None and masters is not None:
        dark_subtracted = raw - masters.dark
        flattened = dark_subtracted * masters.scale
    final = product_frame(collector.root / scan.frames_path, "SCI", frame) if scan.row["has_frames"] else None
    offset = offset_of(collector, scan, frame)
    nearly = (
        ", the offset being that of the whole block and not of its other frames"
        if left_out(snapshot, scan, frame)
        else ""
    )
    if final is None and flattened is not None and offset is not None:
        final = flattened - offset
        why = "is not in the archive" if scan.row["has_frames"] else "was not kept (--no-frames)"
        notes.append(f"the final frame {why}: computed as flattened − sky offset used + shift{nearly}")
    elif final is None:
        notes.append("no final frame in the archive, and none can be computed")
    elif flattened is None and offset is not None:
        flattened = final + offset
        notes.append(f"flattened: final frame + sky offset used − shift{nearly}")
    good = masters.good if masters is not None else (None if final is None else np.isfinite(final))
    return Stages(raw, dark_subtracted, flattened, final, good, tuple(notes))


def left_out(snapshot: Snapshot, scan: ScanData, frame: int) -> bool:
    """Return whether the offset that was subtracted from a frame is that of the other frames of its block."""
    used, own = (scan.frames.get(n) for n in ("used", "block"))
    if used is None or own is None or not 0 <= frame < len(used):
        return False
    return snapshot.profile.sky.leave_one_out and bool(used[frame] == own[frame])


def offset_of(collector: Collector, scan: ScanData, frame: int) -> NDArray[np.float32] | None:
    """Return what was subtracted from a frame: sky offset used, plus trend, minus shift, DN; None if unknown."""
    cube = collector.image(scan.offsets_path, "SCI")
    used = scan.frames.get("used")
    if cube is None or used is None or not 0 <= frame < len(used) or not 0 <= used[frame] < len(cube):
        return None
    shift = float(np.nan_to_num(scan.frames["shift"][frame])) if "shift" in scan.frames else 0.0
    offset = np.asarray(np.nan_to_num(cube[used[frame]]) - np.float32(shift), np.float32)
    trend = trend_of(collector, scan, frame)
    return offset if trend is None else offset + enlarged(trend, offset.shape)


def trend_of(collector: Collector, scan: ScanData, frame: int) -> NDArray[np.float32] | None:
    """Return the trend that was subtracted from a frame besides the offset, by cell, DN; None where there is none."""
    cells = collector.image(scan.offsets_path, "TREND") if "trend" in scan.frames else None
    return None if cells is None or not 0 <= frame < len(cells) else np.asarray(cells[frame], np.float32)


@dataclass(frozen=True)
class RawScan:
    """A scan that was taken, as the raw files tell: night's number, band, its files' status and reason."""

    band: str
    scan: int | None
    path: str
    status: str
    reason: str


def raw_scans(collector: Collector, night: str) -> tuple[RawScan, ...]:
    """Return the raw scan files of a night, whatever became of them."""
    f = schema.files
    query = (
        sa.select(f.c.band, f.c.scan, f.c.path, f.c.status, f.c.reason)
        .where(f.c.night == night, f.c.obs_type == "scan")
        .order_by(f.c.start_mjd, f.c.path)
    )
    return tuple(
        RawScan(str(r["band"] or ""), r["scan"], str(r["path"]), str(r["status"]), str(r["reason"] or ""))
        for r in collector.rows(query)
    )


def bands_with_masters(collector: Collector, snapshot: Snapshot, night: str) -> tuple[set[str], set[str]]:
    """Return the bands that have a dark, and those that have a canonical, to calibrate a scan of a night with."""
    d, p = snapshot.darks, schema.products
    darks = set(d.loc[(d["night"] <= night) & (d["status"] != "rejected"), "band"])
    kinds = ("canonical", "supplied-dark", "supplied-flat")
    query = sa.select(p.c.kind, p.c.band, p.c.night).where(p.c.kind.in_(kinds)).distinct()
    rows = collector.rows(query)
    darks |= {r["band"] for r in rows if r["kind"] == "supplied-dark"}
    flats = {
        r["band"] for r in rows if r["kind"] == "supplied-flat" or (r["kind"] == "canonical" and r["night"] <= night)
    }
    return darks, flats
