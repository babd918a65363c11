"""From the archive to tables and arrays; nothing is computed or drawn here.

One `Collector` serves all sessions of a server. A snapshot of the tables is taken once per revision of the archive and
shared; images are read on demand and kept for a while.
"""

from __future__ import annotations

import copy
import json
import logging
import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
from calib.archive.seen import night_digests
from calib.errors import ArchiveError
from calib.profile import Profile
from monitor.collect_activity import QUIET, Activity, read_activity
from monitor.collect_decisions import Signature, alerts_with_life, signatures
from monitor.collect_marks import SHOWN, ByNight, marks
from monitor.collect_scans import Scans, counts_query, night_query
from monitor.collect_series import Metrics, read_series
from monitor.collect_states import NO_STATES, States, read_states
from monitor.collect_supplied import SuppliedMaster, read_supplied

__all__ = ["Collector", "Snapshot"]

_log = logging.getLogger(__name__)

Row = dict[str, Any]

# So long what goes on in the archive is taken for unchanged.
ACTIVITY_S = 1.0
# So long whoever opens the page waits for numbers that are newer than those that were read last.
PATIENCE_S = 1.0


@dataclass(frozen=True)
class Snapshot:
    """The tables of an archive at one revision.

    Attributes
    ----------
    revision : int
    profile : Profile
    darks, flats : DataFrame
        One row per night and band (and read), ordered by night; columns as in `calib.archive.schema`.
    scans : Scans
        One row per night, band, scan and read, read a night at a time.
    offsets : DataFrame
        Per night, band and read: ``n_blocks``, ``n_rejected``, ``n_scans``, ``level_dn`` (mean over scans).
    metrics : Metrics
        Deviations and values of regions over all nights.
    alerts, decisions : DataFrame
        Alerts with what people said about them (`calib.alert_life`), and the decisions that were taken.
    digests : dict
        Night → hash of what it shows (`calib.archive.seen`).
    signed : dict
        Night → who signed it off, when, and whether it has changed since.
    taken : tuple of str
        Nights of which there are raw files, whatever became of them.
    activity : Activity
        Whether a run is at work, and which raw files wait.
    states : States
        What the control charts say of every night.
    supplied : dict
        (``dark`` or ``flat``, band) → the master that a team already had.
    """

    revision: int
    profile: Profile
    darks: pd.DataFrame
    flats: pd.DataFrame
    scans: Scans
    offsets: pd.DataFrame
    metrics: Metrics
    alerts: pd.DataFrame
    decisions: pd.DataFrame
    digests: Mapping[str, str] = field(default_factory=dict)
    signed: Mapping[str, Signature] = field(default_factory=dict)
    taken: tuple[str, ...] = ()
    activity: Activity = QUIET
    states: States = NO_STATES
    supplied: Mapping[tuple[str, str], SuppliedMaster] = field(default_factory=dict)

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
        return tuple(sorted({*self.darks["night"], *self.flats["night"], *self.scans.nights, *self.taken}))

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands in order of wavelength."""
        return self.profile.bands

    @cached_property
    def periods(self) -> tuple[tuple[str, str], ...]:
        """(First night, band) of the hardware periods that were started; band empty where all are meant."""
        standing = self._standing("period")
        return tuple((n, "" if pd.isna(b) else b) for n, b in zip(standing["night"], standing["band"], strict=True))

    def notes(self, night: str) -> list[Row]:
        """Return the decisions that are remarks on a night, in order of their numbers."""
        standing = self._standing("note")
        return [{str(k): v for k, v in r.items()} for r in standing[standing["night"] == night].to_dict("records")]

    def _standing(self, kind: str) -> pd.DataFrame:
        """Return the decisions of a kind that nobody has taken back."""
        d = self.decisions
        if d.empty:
            return d
        undone = set(d.loc[d["kind"] == "undo", "undoes"].dropna())
        return d[(d["kind"] == kind) & ~d["id"].isin(undone)]

    @cached_property
    def unsigned(self) -> tuple[str, ...]:
        """Nights that nobody has signed off, or that changed afterwards; the newest first."""
        return tuple(n for n in reversed(self.nights) if n not in self.signed or self.signed[n].changed)

    @property
    def n_stale(self) -> int:
        """Reads of scans that need to be calibrated again."""
        return self.scans.n_stale

    def near(self, night: str) -> str:
        """Return the night itself if anything was taken in it, else the latest before it, else the last of all."""
        if not self.nights:
            return ""
        before = bisect_right(self.nights, night)
        return self.nights[before - 1] if night and before else self.nights[-1]

    def step(self, night: str, by: int) -> str:
        """Return the night so many nights with data later (earlier if negative), or the last there is."""
        here = bisect_left(self.nights, self.near(night))
        return self.nights[min(max(here + by, 0), len(self.nights) - 1)]

    def flat(self, night: str, band: str) -> Row | None:
        """Return the row of a night's flat."""
        return self._flat_rows.get(night, band)

    def dark(self, night: str, band: str, read: str) -> Row | None:
        """Return the row of a night's dark."""
        return self._dark_rows.get(night, band, read)

    def sky(self, night: str, band: str, read: str) -> Row | None:
        """Return the row of a night's sky offsets."""
        return self._offset_rows.get(night, band, read)

    @cached_property
    def _flat_rows(self) -> _Rows:
        return _Rows(self.flats, "night", "band")

    @cached_property
    def _dark_rows(self) -> _Rows:
        return _Rows(self.darks, "night", "band", "read")

    @cached_property
    def _offset_rows(self) -> _Rows:
        return _Rows(self.offsets, "night", "band", "read")

    def verdicts(self, band: str, read: str = "") -> dict[str, tuple[str, str]]:
        """Return night → verdict and cause of a band's flats, or of its darks of a read, in order of night."""
        key = (band, read)
        if key not in self._verdicts:
            table = self.part("darks", band, read) if read else self.part("flats", band)
            columns = (table[n].tolist() for n in ("night", "status", "cause"))
            self._verdicts[key] = {n: (s, c) for n, s, c in zip(*columns, strict=True)}
        return self._verdicts[key]

    def part(self, table: str, band: str, read: str = "") -> pd.DataFrame:
        """Return the rows of a band (and read) of one of the tables."""
        key = (table, band, read)
        if key not in self._parts:
            whole: pd.DataFrame = getattr(self, table)
            chosen = whole[whole["band"] == band]
            self._parts[key] = chosen[chosen["read"] == read] if read else chosen
        return self._parts[key]

    @cached_property
    def _verdicts(self) -> dict[tuple[str, str], dict[str, tuple[str, str]]]:
        return {}

    @cached_property
    def _parts(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        return {}

    def prepare(self) -> None:
        """Work out what every page asks for, so that none has to wait for it."""
        for band in self.bands:
            self.verdicts(band)
            for read in self.profile.reads:
                self.verdicts(band, read)
        assert self.nights is not None
        for rows in (self._flat_rows, self._dark_rows, self._offset_rows):
            rows.prepare()


class _Rows:
    """Rows of a table by key, each made when it is asked for."""

    def __init__(self, frame: pd.DataFrame, *names: str) -> None:
        self._frame, self._names = frame, names
        self._made: dict[tuple[str, ...], Row] = {}

    @cached_property
    def _columns(self) -> dict[str, list[Any]]:
        return {str(n): self._frame[n].tolist() for n in self._frame.columns}

    @cached_property
    def _places(self) -> dict[tuple[str, ...], int]:
        return {key: k for k, key in enumerate(zip(*(self._columns[n] for n in self._names), strict=True))}

    def prepare(self) -> None:
        """Look up where each row is."""
        assert self._places is not None

    def get(self, *key: str) -> Row | None:
        """Return a row, or None."""
        if key not in self._made:
            place = self._places.get(key)
            if place is None:
                return None
            self._made[key] = {n: _plain(n, column[place]) for n, column in self._columns.items()}
        return self._made[key]


# Columns with lists and tables are read as text, and understood when somebody looks at them.
_JSON = {c.name for t in (schema.darks, schema.flats) for c in t.columns if isinstance(c.type, sa.JSON)}


def _plain(name: str, value: Any) -> Any:
    """Return None for what is missing, so that pages need to know one kind of nothing; and lists as lists."""
    if isinstance(value, float) and np.isnan(value):
        return None
    return json.loads(value) if name in _JSON and isinstance(value, str) else value


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
        self._reading = threading.Lock()
        self._reader: threading.Thread | None = None
        self._trouble: Exception | None = None
        self._digests = ByNight(lambda nights: night_digests(self.archive, nights))
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

    def snapshot(self) -> Snapshot:
        """Return the tables as they were read last, for all sessions; `changed` sees to it that they are read anew."""
        with self._lock:
            if self._snapshot is not None:
                return self._present(self._snapshot)
        return self.refresh()

    def changed(self, known: Snapshot) -> bool:
        """Whether a session that shows a snapshot should look again: new numbers, or a run that began or ended.

        Where the archive has a new revision it is read in a thread of its own; until it is there the old one serves.
        """
        now = self.snapshot()
        if now.revision != self.archive.revision():
            self._start_reader()
        return now.revision != known.revision or now.activity != known.activity

    def latest(self, patience_s: float = PATIENCE_S) -> Snapshot:
        """Return the tables at the present revision if they are read in time, else as they were read last.

        A long archive takes seconds to be read, in which a server that waits for it could answer nobody.
        """
        with self._lock:
            known = self._snapshot
        if known is None:
            return self.refresh()
        if known.revision != self.archive.revision():
            reader = self._start_reader()
            reader.join(patience_s)
            if not reader.is_alive() and self._trouble is not None:
                raise self._trouble
        return self.snapshot()

    def refresh(self) -> Snapshot:
        """Return the tables at the present revision, read now if they were not."""
        with self._reading:
            revision = self.archive.revision()
            with self._lock:
                before = self._snapshot
                if before is not None and before.revision == revision:
                    return self._present(before)
            # What waits is looked at first: what is done meanwhile is then in the tables, and nothing in neither.
            activity, looked = read_activity(self.archive), time.monotonic()
            made = self._read(revision).during(activity)
            made.prepare()
            if before is not None:
                for key in before.metrics.known():
                    made.metrics.series(*key)
            with self._lock:
                self._snapshot, self._activity, self._looked = made, activity, looked
            return made

    def _start_reader(self) -> threading.Thread:
        with self._lock:
            if self._reader is None or not self._reader.is_alive():
                self._reader = threading.Thread(target=self._refresh_quietly, daemon=True)
                self._reader.start()
            return self._reader

    def _refresh_quietly(self) -> None:
        try:
            self.refresh()
            self._trouble = None
        except Exception as error:  # it is locked, or went away; whoever looks next tries again, and says so
            self._trouble = error
            _log.warning("the archive cannot be read", exc_info=True)

    def _present(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot beside what goes on now; the lock is held."""
        now = time.monotonic()
        if now - self._looked >= ACTIVITY_S:
            self._looked, found = now, read_activity(self.archive)
            if found.since and found.since == self._activity.since:
                # What was done since the tables were read is not in them: it is still to come until they are again.
                found = Activity(found.since, found.waiting | self._activity.waiting)
            self._activity = found
        if snapshot.activity != self._activity:
            self._snapshot = snapshot = snapshot.during(self._activity)
        return snapshot

    def _read(self, revision: int) -> Snapshot:
        profile = self.archive.current_profile()
        if profile is None:
            raise ArchiveError(f"{self.root} is empty; fill it with `calib run RAW --archive {self.root}`")
        # Before anything else: what changes meanwhile is then shown and not signed, never the other way round.
        digests = self._digests.bring(marks(self.archive, SHOWN))
        by_number = sa.select(schema.decisions).order_by(schema.decisions.c.id)
        counted = self._frame(counts_query())
        stale = counted.groupby("night")["n_stale"].sum()
        f = schema.files
        # Only what was looked at: while a run is at work the nights still to come are no news.
        taken = sa.select(f.c.night).where(f.c.night.is_not(None), f.c.band.is_not(None)).distinct()
        taken = taken.where(f.c.status.not_in(("pending", "supplied", "gone")))
        # The cells of the darks are for the pipeline; parts and pixels are looked at one night at a time.
        darks = sa.select(*(c for c in schema.darks.columns if c.name not in ("cells_dn", "diagnosis", "pixels")))
        flats = sa.select(*(c for c in schema.flats.columns if c.name != "pixels"))
        return Snapshot(
            revision=revision,
            profile=profile,
            darks=self._frame(darks.order_by(schema.darks.c.night)),
            flats=self._frame(flats.order_by(schema.flats.c.night)),
            scans=Scans({str(n): int(k) for n, k in stale.items()}, lambda night: self._frame(night_query(night))),
            offsets=counted.drop(columns="n_stale"),
            metrics=Metrics(lambda key: read_series(self.archive, key)),
            alerts=alerts_with_life(self.archive),
            decisions=self._frame(by_number),
            digests=digests,
            signed=signatures(self.archive.rows(by_number), digests),
            taken=tuple(r["night"] for r in self.archive.rows(taken)),
            states=States(lambda night: read_states(self.archive, night)),
            supplied=read_supplied(self.archive),
        )

    def _frame(self, query: sa.Select[Any]) -> pd.DataFrame:
        names = [c.name for c in query.selected_columns]
        columns = [sa.cast(c, sa.Text) if isinstance(c.type, sa.JSON) else c for c in query.selected_columns]
        with self.archive.engine.connect() as connection:
            rows = connection.execute(query.with_only_columns(*columns)).all()
        if not rows:
            return pd.DataFrame([], columns=names)
        return pd.DataFrame({n: list(c) for n, c in zip(names, zip(*rows, strict=True), strict=True)})

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
        query = sa.select(f).order_by(*(c.nulls_first() for c in (f.c.night, f.c.band, f.c.start_iso)), f.c.path)
        if night is not None:
            query = query.where(f.c.night == night)
        if status is not None:
            query = query.where(f.c.status == status)
        return self._frame(query)

    def image(self, path: str, name: str = "SCI") -> NDArray[Any] | None:
        """Return an image extension of a product, or None if it is not there; as of `images`."""
        return self.images(path, (name,)).get(name)

    def images(self, path: str, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Return those image extensions of a product that are there, by name; the file is opened once.

        Images are kept in memory up to 512 MB for all sessions together.
        """
        names = tuple(names)
        try:
            stamp = (self.root / path).stat().st_mtime_ns
        except OSError:
            return {}
        found: dict[str, NDArray[Any]] = {}
        with self._lock:
            for name in names:
                if (path, name, stamp) in self._images:
                    self._images.move_to_end((path, name, stamp))
                    found[name] = self._images[path, name, stamp]
        lacking = tuple(n for n in names if n not in found)
        read = self._read_images(path, lacking) if lacking else {}
        with self._lock:
            for name, image in read.items():
                if (path, name, stamp) not in self._images:
                    self._bytes += image.nbytes
                self._images[path, name, stamp] = image
            while self._bytes > 512e6 and len(self._images) > 1:
                _, dropped = self._images.popitem(last=False)
                self._bytes -= dropped.nbytes
        found |= read
        return {n: found[n] for n in names if n in found}

    def _read_images(self, path: str, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        try:
            return read_product(self.root, path, names)
        except ArchiveError:
            if len(names) == 1:
                return {}
        # One that is not there takes none of the others with it.
        return {n: i for name in names for n, i in self._read_images(path, (name,)).items()}
