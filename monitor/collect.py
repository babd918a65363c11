"""From the archive to tables and arrays; nothing is computed or drawn here.

One `Collector` serves all sessions of a server. A snapshot of the tables is taken once per revision of the archive and
shared; images are read on demand and kept for a while.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.products import read_product
from calib.errors import ArchiveError
from calib.profile import Profile
from monitor.collect_activity import QUIET, Activity, read_activity

__all__ = ["Collector", "Snapshot"]

Row = dict[str, Any]

# So long what goes on in the archive is taken for unchanged.
ACTIVITY_S = 1.0


@dataclass(frozen=True)
class Snapshot:
    """The tables of an archive at one revision.

    Attributes
    ----------
    revision : int
    profile : Profile
    darks, flats : DataFrame
        One row per night and band (and read), ordered by night; columns as in `calib.archive.schema`.
    scans : DataFrame
        One row per night, band, scan and read.
    offsets : DataFrame
        Per night, band and read: ``n_blocks``, ``n_rejected``, ``n_scans``, ``level_dn``.
    metrics : DataFrame
        Deviations and values of the whole array and the quadrants, all nights: night, band, product, region,
        metric, value, error, unit.
    alerts, decisions : DataFrame
        Alerts, and the decisions that were taken.
    taken : tuple of str
        Nights of which there are raw files, whatever became of them.
    activity : Activity
        Whether a run is at work, and which raw files wait.
    """

    revision: int
    profile: Profile
    darks: pd.DataFrame
    flats: pd.DataFrame
    scans: pd.DataFrame
    offsets: pd.DataFrame
    metrics: pd.DataFrame
    alerts: pd.DataFrame
    decisions: pd.DataFrame
    taken: tuple[str, ...] = ()
    activity: Activity = QUIET

    @property
    def state(self) -> tuple[int, str]:
        """What tells apart all that can be said of the same night: the revision, and the run that is at work."""
        return self.revision, self.activity.since

    def during(self, activity: Activity) -> Snapshot:
        """Return the same tables, and what was worked out from them, beside another activity."""
        other = copy.copy(self)
        object.__setattr__(other, "activity", activity)
        return other

    @cached_property
    def nights(self) -> tuple[str, ...]:
        """All nights in which anything was taken, in order."""
        return tuple(sorted({*self.darks["night"], *self.flats["night"], *self.scans["night"], *self.taken}))

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands in order of wavelength."""
        return self.profile.bands

    @cached_property
    def periods(self) -> tuple[tuple[str, str], ...]:
        """(First night, band) of the hardware periods that were started; band empty where all are meant."""
        d = self.decisions
        if d.empty:
            return ()
        undone = set(d.loc[d["kind"] == "undo", "undoes"].dropna())
        standing = d[(d["kind"] == "period") & ~d["id"].isin(undone)]
        return tuple((n, "" if pd.isna(b) else b) for n, b in zip(standing["night"], standing["band"], strict=True))

    def near(self, night: str) -> str:
        """Return the night itself if anything was taken in it, else the latest before it, else the last of all."""
        if not self.nights:
            return ""
        before = [n for n in self.nights if n <= night]
        return before[-1] if night and before else self.nights[-1]

    def step(self, night: str, by: int) -> str:
        """Return the night so many nights with data later (earlier if negative), or the last there is."""
        here = self.nights.index(self.near(night))
        return self.nights[min(max(here + by, 0), len(self.nights) - 1)]

    def flat(self, night: str, band: str) -> Row | None:
        """Return the row of a night's flat."""
        return self._flat_rows.get((night, band))

    def dark(self, night: str, band: str, read: str) -> Row | None:
        """Return the row of a night's dark."""
        return self._dark_rows.get((night, band, read))

    @cached_property
    def _flat_rows(self) -> dict[tuple[Any, ...], Row]:
        return _by_key(self.flats, "night", "band")

    @cached_property
    def _dark_rows(self) -> dict[tuple[Any, ...], Row]:
        return _by_key(self.darks, "night", "band", "read")

    def series(self, band: str, product: str, metric: str = "deviation", region: str = "array") -> pd.DataFrame:
        """Return the nights, values and errors of one metric, in order."""
        m = self.metrics
        chosen = m[(m["band"] == band) & (m["product"] == product) & (m["metric"] == metric) & (m["region"] == region)]
        return chosen.sort_values("night")


def _by_key(frame: pd.DataFrame, *names: str) -> dict[tuple[Any, ...], Row]:
    rows = ({str(k): _plain(v) for k, v in r.items()} for r in frame.to_dict("records"))
    return {tuple(r[n] for n in names): r for r in rows}


def _plain(value: Any) -> Any:
    """Return None for what is missing, so that pages need to know one kind of nothing."""
    return None if isinstance(value, float) and np.isnan(value) else value


class Collector:
    """Reads an archive for all sessions of a server.

    Parameters
    ----------
    root : Path
        The archive's folder.

    Raises
    ------
    ArchiveError
        If there is no archive, or it holds nothing yet.
    """

    def __init__(self, root: Path) -> None:
        self.archive = Archive(root)
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._activity, self._looked = QUIET, -ACTIVITY_S
        self._images: OrderedDict[tuple[str, str, int], NDArray[Any]] = OrderedDict()
        self._bytes = 0

    @property
    def root(self) -> Path:
        """The archive's folder."""
        return self.archive.root

    def revision(self) -> int:
        """Return the archive's present revision; cheap."""
        return self.archive.revision()

    def changed(self, known: Snapshot) -> bool:
        """Whether a session that shows a snapshot should look again: new numbers, or a run that began or ended."""
        with self._lock:
            return known.revision != self.archive.revision() or known.activity != self._look(known.revision)

    def snapshot(self) -> Snapshot:
        """Return the tables at the present revision, read once for all sessions."""
        with self._lock:
            revision = self.archive.revision()
            if self._snapshot is None or self._snapshot.revision != revision:
                self._looked = -ACTIVITY_S
                self._activity = QUIET
                self._snapshot = self._read(revision)
            activity = self._look(revision)
            if self._snapshot.activity != activity:
                self._snapshot = self._snapshot.during(activity)
            return self._snapshot

    def _look(self, revision: int) -> Activity:
        """Return what goes on, as it concerns the tables of a revision."""
        now = time.monotonic()
        if now - self._looked < ACTIVITY_S:
            return self._activity
        self._looked, found = now, read_activity(self.archive)
        if found.since and found.since == self._activity.since:
            # What was done since the tables were read is not in them: it is still to come until they are read again.
            found = Activity(found.since, found.waiting | self._activity.waiting)
        self._activity = found
        return found

    def _read(self, revision: int) -> Snapshot:
        profile = self.archive.current_profile()
        if profile is None:
            raise ArchiveError(f"{self.root} is empty; fill it with `calib run RAW --archive {self.root}`")
        s, o, m = schema.scans, schema.sky_offsets, schema.metrics
        offsets = (
            sa.select(
                o.c.night,
                o.c.band,
                o.c.read,
                sa.func.count().label("n_blocks"),
                sa.func.sum(sa.case((o.c.status != "accepted", 1), else_=0)).label("n_rejected"),
                sa.func.count(o.c.scan.distinct()).label("n_scans"),
                sa.func.avg(o.c.level_dn).label("level_dn"),
            )
            .group_by(o.c.night, o.c.band, o.c.read)
            .order_by(o.c.night)
        )
        f = schema.files
        # Only what was looked at: while a run is at work the nights still to come are no news.
        taken = sa.select(f.c.night).where(f.c.night.is_not(None), f.c.band.is_not(None)).distinct()
        taken = taken.where(f.c.status.not_in(("pending", "supplied", "gone")))
        regions = ["array", *(f"Q{k + 1}" for k in range(int(np.prod(profile.detector.quadrants))))]
        metrics = sa.select(m).where(m.c.region.in_(regions)).order_by(m.c.night)
        return Snapshot(
            revision=revision,
            profile=profile,
            darks=self._frame(sa.select(schema.darks).order_by(schema.darks.c.night)),
            flats=self._frame(sa.select(schema.flats).order_by(schema.flats.c.night)),
            scans=self._frame(sa.select(s).order_by(s.c.night, s.c.scan)),
            offsets=self._frame(offsets),
            metrics=self._frame(metrics),
            alerts=self._frame(sa.select(schema.alerts).order_by(schema.alerts.c.night)),
            decisions=self._frame(sa.select(schema.decisions).order_by(schema.decisions.c.id)),
            taken=tuple(r["night"] for r in self.archive.rows(taken)),
        )

    def _frame(self, query: sa.Select[Any]) -> pd.DataFrame:
        return pd.DataFrame(self.archive.rows(query), columns=[c.name for c in query.selected_columns])

    def rows(self, query: sa.Select[Any]) -> list[Row]:
        """Return the rows of a query on `calib.archive.schema`, for what no snapshot holds."""
        return self.archive.rows(query)

    def cells(self, night: str, band: str, product: str) -> dict[str, tuple[float | None, float | None]]:
        """Return region → (deviation, error) of one night, band and product, cells included."""
        m = schema.metrics
        query = sa.select(m.c.region, m.c.value, m.c.error).where(
            m.c.night == night, m.c.band == band, m.c.product == product, m.c.metric == "deviation"
        )
        return {r["region"]: (r["value"], r["error"]) for r in self.archive.rows(query)}

    def sky_offsets(self, night: str, band: str | None = None, scan: int | None = None) -> pd.DataFrame:
        """Return the sky-offset rows of a night, ordered by band, scan, read and block."""
        o = schema.sky_offsets
        query = sa.select(o).where(o.c.night == night).order_by(o.c.scan, o.c.read, o.c.block)
        if band is not None:
            query = query.where(o.c.band == band)
        if scan is not None:
            query = query.where(o.c.scan == scan)
        return self._frame(query)

    def files(self, night: str | None = None, status: str | None = None) -> pd.DataFrame:
        """Return the rows of raw files."""
        f = schema.files
        query = sa.select(f).order_by(f.c.night, f.c.band, f.c.start_iso, f.c.path)
        if night is not None:
            query = query.where(f.c.night == night)
        if status is not None:
            query = query.where(f.c.status == status)
        return self._frame(query)

    def image(self, path: str, name: str = "SCI") -> NDArray[Any] | None:
        """Return an image extension of a product, or None if the product is not there.

        Images are kept in memory up to 512 MB for all sessions together.
        """
        target = self.root / path
        try:
            stamp = target.stat().st_mtime_ns
        except OSError:
            return None
        key = (path, name, stamp)
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
        try:
            found = read_product(self.root, path, (name,))[name]
        except ArchiveError:
            return None
        with self._lock:
            self._images[key] = found
            self._bytes = sum(a.nbytes for a in self._images.values())
            while self._bytes > 512e6 and len(self._images) > 1:
                _, dropped = self._images.popitem(last=False)
                self._bytes -= dropped.nbytes
        return found
