"""Many nights in order: from raw files to a settled archive.

Per stretch of nights: darks, their verdicts, responsivities, their verdicts and canonicals, scans, references,
deviations, alerts. Stages that know nothing of each other run side by side; the database is written by this
thread alone. Every step is decided by keys, so a run that was killed goes on where it stopped and ends alike.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Ordered
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import sqlalchemy as sa

from calib import __version__
from calib.alerts import update_alerts
from calib.archive import schema
from calib.archive.agreement import can_be_made, disagreement, mark_damaged
from calib.archive.database import Archive, upsert, utc_now
from calib.archive.decisions import Rulings, active_decisions, decide, rulings
from calib.archive.integrity import is_as_recorded
from calib.archive.leave import revoke_leaves
from calib.archive.migrations import add_indexes
from calib.archive.products import (
    canonical_path,
    frames_path,
    responsivity_path,
    set_verdict,
    sky_offsets_path,
)
from calib.canonical import age_nights
from calib.errors import ArchiveError
from calib.health import update_health
from calib.ingest import register_files, sequences_of, supplied_files, used_hashes, write_outcomes
from calib.memory import kept_memory
from calib.night import ALGORITHM, DarkJob, FlatJob, JobResult, MasterFile, ScanJob, combine_key
from calib.profile import Profile, load_profile
from calib.raw import Sequence
from calib.references import update_references
from calib.rejudge import judge_blocks
from calib.scheduling import Job, Mapper, ThreadMapper
from calib.sky_maps import forget_sky_map
from calib.standards import Standards, drop_product, record_product, refresh_file
from calib.supplied import SuppliedJob

__all__ = ["Progress", "RunReport", "RunStopped", "run_survey", "what_is_open"]

Row = dict[str, Any]

_OBJECTS_BETWEEN_COLLECTIONS = 100_000

# Kinds of decisions that change what is computed.
_RULING = ("override", "period", "dismiss")
_PLACE = ("night", "band", "scan", "read")
Progress = Callable[[int, int, str], None]


@dataclass
class RunReport:
    """What a run did.

    Attributes
    ----------
    new_files, refused, products : int
        Files that were new or changed, files of the archive that stand refused, products written.
    nights : tuple of str
        Nights in which something was made.
    settled : bool
        Verdicts were settled anew, whether or not one changed.
    seconds : dict
        Time by stage: ``calibration`` (reading, computing and writing darks, responsivities and scans), ``verdicts``,
        ``deviations``, ``charts and alerts``.
    """

    new_files: int = 0
    refused: int = 0
    products: int = 0
    nights: tuple[str, ...] = ()
    settled: bool = False
    messages: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether there was nothing to do."""
        return self.new_files == 0 and not self.settled


class RunStopped(BaseException):
    """Raised by ``progress`` to end a run between two products; the next run goes on from there."""


def _quiet(done: int, total: int, what: str) -> None:
    pass


def run_survey(
    archive: Archive,
    profile: Profile | None,
    raw: Iterable[Path],
    *,
    frames: bool | None = True,
    scans: bool = True,
    workers: int = 2,
    mapper: Mapper | None = None,
    progress: Progress = _quiet,
) -> RunReport:
    """Bring an archive up to date with raw files, profile and decisions.

    Parameters
    ----------
    archive : Archive
    profile : Profile or None
        Becomes the archive's. None: the archive's, as it is once no other run is at work, or `2mass` where it has none.
    raw : iterable of Path
        Files and folders; beside them, whatever the archive knows already.
    frames : bool or None
        Write the final frames of scans; None: of those scans that have them, and of new ones.
    scans : bool
        Calibrate scans. Without, those that are not up to date are marked as `stale`, with the reason: so a decision
        shows its consequences for verdicts and canonicals within seconds, and its scans follow when wanted.
    workers : int
        Threads that read headers and do jobs.
    mapper : Mapper, optional
        Does the jobs elsewhere (`calib.scheduling`).
    progress : callable
        ``progress(done, total, what)``.

    Returns
    -------
    RunReport

    Raises
    ------
    ArchiveError
        If another run holds the archive, or it cannot be written.
    """
    with archive.writing(), kept_memory():
        # Not before: a run that was at work until now, or somebody on the page, may have brought another one.
        profile = profile or archive.current_profile() or load_profile("2mass")
        return _Run(archive, profile, frames, scans, workers, mapper or ThreadMapper(workers), progress).run(raw)


def what_is_open(archive: Archive, profile: Profile) -> str:
    """Return what a run without new files would find to do, as a text that changes with it; empty if nothing.

    Products that are damaged are not looked for.
    """
    settled = archive.value(sa.select(schema.meta.c.value).where(schema.meta.c.name == "settled"))
    state, pending = _state(profile, _decided(archive)), _pending_nights(archive)
    return "" if settled == state and not pending else " ".join((settled or "nothing", state, *pending))


class _Run:
    def __init__(
        self,
        archive: Archive,
        profile: Profile,
        frames: bool | None,
        scans: bool,
        workers: int,
        mapper: Mapper,
        progress: Progress,
    ) -> None:
        self.archive, self.profile, self.frames, self.scans = archive, profile, frames, scans
        self.workers, self.mapper, self.progress = workers, mapper, progress
        self.report = RunReport()
        # Whether all verdicts were worked out once, and nothing was given up half-way since.
        self.settled = False
        # Numbers of the decisions that this run follows.
        self.decided: list[int] = []

    def run(self, raw: Iterable[Path]) -> RunReport:
        archive, profile = self.archive, self.profile
        archive.register_profile(profile)
        add_indexes(archive.engine)
        self._sweep()
        with archive.begin() as connection:
            row = {
                "started": utc_now(),
                "status": "running",
                "code_version": __version__,
                "profile_hash": profile.hash,
            }
            run_id = connection.execute(sa.insert(schema.runs).values(**row)).inserted_primary_key[0]
        status = "failed"
        try:
            self.progress(0, 0, "reading headers")
            self.report.new_files = register_files(archive, profile, raw, self.workers)
            damaged = self._forget_damaged()
            # A decision that comes while this run is at work may come too late for it: the next one is to see it.
            self.decided = _decided(archive)
            supplied = self._take_supplied()
            state = _state(profile, self.decided)
            pending = _pending_nights(archive)
            settled = archive.value(sa.select(schema.meta.c.value).where(schema.meta.c.name == "settled")) == state
            self.settled, everything = settled, bool(damaged) or supplied or not settled
            if pending or everything or self._lacks_frames():
                self.report.settled = True
                with archive.begin() as connection:
                    self._unsettle(connection)
                self._bring_up_to_date(pending, everything=everything)
                # Scans that still wait are found again by the next run that calibrates any.
                if self.scans:
                    with archive.begin() as connection:
                        value = _state(profile, self.decided)
                        upsert(connection, schema.meta, [{"name": "settled", "value": value}])
            status = "done"
        except (RunStopped, KeyboardInterrupt):
            status = "stopped"
            raise
        finally:
            p, f = schema.products, schema.files
            made = archive.rows(sa.select(p.c.night).where(p.c.made >= row["started"]))
            self.report.products = len(made)
            self.report.nights = tuple(sorted({r["night"] for r in made if r["night"]}))
            refused = archive.value(sa.select(sa.func.count()).where(f.c.status == "refused"))
            self.report.refused = int(refused or 0)
            summary = {
                "new_files": self.report.new_files,
                "refused": self.report.refused,
                "products": self.report.products,
                "nights": len(self.report.nights),
            }
            with archive.begin() as connection:
                connection.execute(
                    sa.update(schema.runs)
                    .where(schema.runs.c.id == run_id)
                    .values(finished=utc_now(), status=status, summary=summary)
                )
        return self.report

    @contextmanager
    def _thinking(self, stage: str) -> Iterator[None]:
        """Go through all nights there are, timed."""
        # Rows and verdicts of a long survey are millions of objects that all live: to look through them for rubbish
        # again and again took a quarter of the time. Images are in no cycle of objects and do not wait for it.
        usual = gc.get_threshold()
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *usual[1:])
        try:
            with self._clock(stage):
                yield
        finally:
            gc.set_threshold(*usual)

    @contextmanager
    def _clock(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + perf_counter() - start

    def _sweep(self) -> None:
        """Clear away what a run that was killed left behind."""
        r = schema.runs
        last = self.archive.rows(sa.select(r.c.id, r.c.status).order_by(r.c.id.desc()).limit(1))
        if not last or last[0]["status"] == "done":
            return
        # Before its files: what its workers still write would come after.
        revoke_leaves(self.archive.root)
        for top in ("nights", "references", "supplied"):
            for part in (self.archive.root / top).rglob("*.part"):
                part.unlink(missing_ok=True)
        # The lock is ours: whatever still says that it runs does not.
        with self.archive.begin() as connection:
            connection.execute(sa.update(r).where(r.c.status == "running").values(status="killed"))

    def _lacks_frames(self) -> bool:
        if not self.frames:
            return False
        s = schema.scans
        return bool(self.archive.value(sa.select(sa.func.count()).select_from(s).where(s.c.has_frames.is_(False))))

    def _forget_damaged(self) -> int:
        """Let products that are gone or were altered by hand be made anew; return how many."""
        p, n = schema.products, 0
        with self.archive.begin() as connection:
            # Of a hundred thousand products nearly all are whole: no more is read of them than that takes.
            there = connection.execute(sa.select(p.c.path, p.c.size, p.c.mtime_ns)).all()
            for name in [n for n, *noted in there if not _is_whole(f"{self.archive.root}/{n}", *noted)]:
                row = self.archive.rows(sa.select(p).where(p.c.path == name))[0]
                path = self.archive.root / name
                stat = path.stat() if path.exists() else None
                whole = stat is not None and stat.st_size == row["size"] and is_as_recorded(path, row["content_hash"])
                if stat is not None and whole and self._agrees(row):
                    # Copied, or restored from a backup: another time, the same bytes.
                    values = {"mtime_ns": stat.st_mtime_ns}
                    connection.execute(sa.update(p).where(p.c.path == row["path"]).values(**values))
                    continue
                if whole and not can_be_made(self.archive, row):
                    # Better a row that says something else, which `calib verify` tells, than neither row nor product.
                    continue
                n += 1
                if whole and row["kind"] == "frames":
                    # They may not be wanted any more; where they are, they are made anew with their scan.
                    drop_product(connection, self.archive.root, name)
                connection.execute(sa.delete(p).where(p.c.path == row["path"]))
                mark_damaged(connection, row)
            if n:
                self._unsettle(connection)
        return n

    def _agrees(self, product: Row) -> bool:
        """Whether a product that is as it was written says the same as the database."""
        try:
            return not disagreement(self.archive, product)
        except ArchiveError:
            return False

    def _unsettle(self, connection: sa.Connection) -> None:
        """Leave no word that all is settled, should this run end before its end."""
        connection.execute(sa.delete(schema.meta).where(schema.meta.c.name == "settled"))

    def _damaged_nights(self) -> list[str]:
        tables = (schema.darks, schema.flats, schema.scans)
        return sorted({r["night"] for t in tables for r in self.archive.rows(_damaged(t))})

    def _give_up(self, table: sa.Table) -> None:
        """Forget what was damaged and cannot be made anew because its raw files are gone."""
        m = schema.metrics
        for row in self.archive.rows(_damaged(table)):
            if table is schema.scans:
                self._drop_scan(row)
                continue
            with self.archive.begin() as connection:
                connection.execute(sa.delete(table).where(*(c == row[c.name] for c in table.primary_key)))
                # Those of the night's other products are worked out again.
                connection.execute(sa.delete(m).where(m.c.night == row["night"], m.c.band == row["band"]))
                if table is schema.flats:
                    drop_product(connection, self.archive.root, canonical_path(row["night"], row["band"]))

    def _take_supplied(self) -> bool:
        """Take supplied masters that are new into the archive; return whether there were any."""
        files = supplied_files(self.archive)
        f = schema.files
        waiting = self.archive.value(
            sa.select(sa.func.count()).where(f.c.status == "pending", f.c.obs_type.like("supplied-%"))
        )
        if waiting:
            # Should this run end here, the next one is to see that there is something new.
            with self.archive.begin() as connection:
                self._unsettle(connection)
            self._apply(SuppliedJob(self.archive.root, tuple(files), self.profile).run())
        return bool(waiting)

    def _bring_up_to_date(self, pending: list[str], *, everything: bool) -> None:
        nights = set(pending)
        if everything or self._lacks_frames():
            nights |= self._all_nights()
        ordered = sorted(nights)
        done = 0
        # Verdicts are settled over all nights: what is damaged anywhere is made anew before anything else.
        damaged = self._damaged_nights()
        if damaged:
            self._stretch(damaged, 0, len(ordered))
        # Small stretches first, so that the page has something to show; longer ones then, so that settling the
        # whole survey after each costs little.
        for stretch in _stretches(ordered):
            self._stretch(stretch, done, len(ordered))
            done += len(stretch)
        if not ordered:
            self._stretch([], 0, 0)

    def _all_nights(self, *, read: bool = False) -> set[str]:
        """Return the nights of all raw files, or of those that were read already."""
        f = schema.files
        query = sa.select(f.c.night).where(f.c.night.is_not(None), f.c.band.is_not(None)).distinct()
        if read:
            query = query.where(f.c.status == "used")
        return {r["night"] for r in self.archive.rows(query)}

    def _stretch(self, nights: Ordered[str], done: int, total: int) -> None:
        what = f"{nights[0]} … {nights[-1]}" if nights else "verdicts"
        standing = rulings(self.archive)
        sequences = sequences_of(self.archive, self.profile, nights)
        jobs = list(self._dark_jobs(sequences))
        self._work(jobs, done, total, f"{what}: darks")
        self._give_up(schema.darks)
        while True:
            standards = Standards(self.archive, self.profile, standing, settled=self.settled)
            with self._thinking("verdicts"):
                changed = standards.settle_darks()
            sequences = self._with_others(sequences, nights, standards.first_concerned(changed))
            self._work(list(self._flat_jobs(sequences, standards)), done, total, f"{what}: responsivities")
            self._give_up(schema.flats)
            with self._thinking("verdicts"):
                changed |= standards.settle_flats()
            sequences = self._with_others(sequences, nights, standards.first_concerned(changed))
            self.settled = True
            if not self._adopt(standards):
                break
            standing = rulings(self.archive)
        due = list(self._scan_jobs(sequences, standards, standing))
        if self.scans:
            self._work(due, done, total, f"{what}: scans")
            # Files copied anew may hold what they held, which shows when they are read: their scan was left as it was,
            # and what its row says of standards and limits is brought up to date like that of any other.
            known = {job.sequence.night for job in due if job.existing}
            sequences = sequences_of(self.archive, self.profile, known)
            self._work(list(self._scan_jobs(sequences, standards, standing)), done, total, f"{what}: scans")
            self._give_up(schema.scans)
        self.progress(done, total, f"{what}: deviations")
        with self._thinking("deviations"):
            update_references(self.archive, self.profile, standards)
        with self._thinking("charts and alerts"):
            health = update_health(self.archive, self.profile, standing)
            update_alerts(self.archive, self.profile, standards, standing, health)
        self.archive.announce()
        self.progress(done + len(nights), total, what)

    def _with_others(
        self, sequences: dict[Sequence, list[Row]], nights: Ordered[str], first: str | None
    ) -> dict[Sequence, list[Row]]:
        """Return the sequences of the stretch and of every night that a changed standard may concern, from the first.

        Those are all that were read, also nights of which nothing could be made so far.
        """
        if first is None:
            return sequences
        others = {n for n in self._all_nights(read=True) if n >= first}
        return sequences_of(self.archive, self.profile, others | set(nights))

    def _dark_jobs(self, sequences: dict[Sequence, list[Row]]) -> Iterator[Job]:
        d = schema.darks
        for s, files in sequences.items():
            if s.obs_type != "dark":
                continue
            query = sa.select(d.c.read, d.c.key).where(d.c.night == s.night, d.c.band == s.band)
            existing = {r["read"]: r["key"] for r in self.archive.rows(query)}
            hashes = used_hashes(files)
            if hashes is not None and all(
                existing.get(r) == DarkJob.key(self.profile, s.band, r, hashes) for r in self.profile.reads
            ):
                continue
            if whole := self._whole(s, files):
                yield DarkJob(self.archive.root, whole, self.profile, existing)

    def _flat_jobs(self, sequences: dict[Sequence, list[Row]], standards: Standards) -> Iterator[Job]:
        f, read = schema.flats, self.profile.responsivity.read
        columns = (f.c.night, f.c.band, f.c.key, f.c.dark_key, f.c.dark_night, f.c.dark_age_nights)
        known = {(r["night"], r["band"]): r for r in self.archive.rows(sa.select(*columns))}
        for s, files in sequences.items():
            if s.obs_type != "twilight":
                continue
            dark = standards.dark_for(s.night, s.band, read)
            row = known.get((s.night, s.band))
            hashes = used_hashes(files)
            if hashes is not None and row is not None:
                if dark is None and row["dark_key"] is None:
                    continue
                if dark is not None and row["key"] == FlatJob.key(self.profile, s.band, dark.key, hashes):
                    if (row["dark_night"], row["dark_age_nights"]) != (dark.night, _age(dark, s.night)):
                        self._note_dark(s, dark)
                    continue
            if whole := self._whole(s, files):
                yield FlatJob(self.archive.root, whole, self.profile, dark, row["key"] if row else None)

    def _note_dark(self, s: Sequence, dark: MasterFile) -> None:
        f = schema.flats
        with self.archive.begin() as connection:
            connection.execute(
                sa.update(f)
                .where(f.c.night == s.night, f.c.band == s.band)
                .values(dark_night=dark.night, dark_age_nights=_age(dark, s.night))
            )

    def _scan_jobs(
        self, sequences: dict[Sequence, list[Row]], standards: Standards, standing: Rulings
    ) -> Iterator[ScanJob]:
        t, reads = schema.scans, tuple(self.profile.reads)
        nights = sorted({s.night for s in sequences if s.obs_type == "scan"})
        known = {
            (r["night"], r["band"], r["scan"], r["read"]): r
            for r in self.archive.rows(sa.select(t).where(t.c.night.in_(nights)))
        }
        for s, files in sequences.items():
            if s.obs_type != "scan" or s.scan is None:
                continue
            canonical = standards.canonical_for(s.night, s.band)
            darks = {r: d for r in reads if (d := standards.dark_for(s.night, s.band, r)) is not None}
            ruled = {r: standing.sky.get((s.night, s.band, s.scan, r), {}) for r in reads}
            rows = {r: known[s.night, s.band, s.scan, r] for r in reads if (s.night, s.band, s.scan, r) in known}
            for read in [r for r in rows if canonical is None or r not in darks]:
                if self.scans:
                    self._drop_scan(rows.pop(read))
                else:
                    self._mark_scan(
                        rows.pop(read), f"no usable {'dark' if read not in darks else 'canonical'} any more"
                    )
            hashes = used_hashes(files)
            if hashes is not None and (canonical is None or not darks):
                continue
            if hashes is not None and canonical is not None:
                current = {
                    r: ScanJob.key(self.profile, s.band, r, hashes, darks[r].key, canonical.key, ruled[r])
                    for r in darks
                }
                for r in rows.keys() & darks.keys():
                    if rows[r]["key"] == current[r]:
                        rows[r] = self._judged_anew(rows[r], ruled[r])
                # Each read by itself: that another one is to be made anew says nothing of this one's standards.
                kept = {r: row for r, row in rows.items() if row["key"] == current.get(r)}
                self._note_standards(s, kept, darks, canonical)
                if all(r in kept and (kept[r]["has_frames"] or not self.frames) for r in darks):
                    continue
                if not self.scans:
                    for r in rows.keys() & darks.keys():
                        if rows[r]["key"] != current[r]:
                            self._mark_scan(rows[r], self._why_stale(rows[r], darks[r], canonical, ruled[r]))
            if not self.scans:
                continue
            if whole := self._whole(s, files):
                existing = {r: (row["key"], row["has_frames"]) for r, row in rows.items()}
                frames = self.frames if self.frames is not None else _had_frames(rows)
                yield ScanJob(self.archive.root, whole, self.profile, darks, canonical, ruled, frames, existing)

    def _judged_anew(self, row: Row, ruled: dict[int, Any]) -> Row:
        """Judge a scan's sky offsets by the limits of now, from their numbers; return its row.

        Where other offsets come to serve, its frames are to be made anew: the row comes back without a key.
        """
        verdict_key = ScanJob.verdict_key(self.profile, row["band"], row["read"])
        if row["verdict_key"] == verdict_key:
            return row
        t, b = schema.scans, schema.sky_offsets
        place = row["night"], row["band"], row["scan"], row["read"]
        at = [c == v for c, v in zip((b.c.night, b.c.band, b.c.scan, b.c.read), place, strict=True)]
        blocks = self.archive.rows(sa.select(b).where(*at).order_by(b.c.block))
        found = judge_blocks(blocks, self.profile.limits_for("sky_offset", row["band"], row["read"]), ruled)
        if not blocks or not found.as_before(blocks):
            return {**row, "key": ""}
        values = {"cause": found.cause, "verdict_key": verdict_key, "profile_hash": self.profile.hash}
        path = sky_offsets_path(*place)
        with self.archive.begin() as connection:
            refresh_file(
                connection,
                set_verdict(self.archive.root, path, found.status, found.cause, found.checks, found.blocks),
            )
            for block, verdict in zip(blocks, found.verdicts, strict=True):
                if block["cause"] != verdict.cause:
                    connection.execute(sa.update(b).where(*at, b.c.block == block["block"]).values(cause=verdict.cause))
            connection.execute(sa.update(t).where(*(t.c[n] == row[n] for n in _PLACE)).values(**values))
        return {**row, **values}

    def _why_stale(self, row: Row, dark: MasterFile, canonical: MasterFile, ruled: dict[int, Any]) -> str:
        """Return in words what a scan would be calibrated with now, and was not."""
        b = schema.sky_offsets
        place = (b.c.night, b.c.band, b.c.scan, b.c.read)
        query = sa.select(b.c.block).where(b.c.override, *(c == row[c.name] for c in place))
        if {r["block"] for r in self.archive.rows(query)} != set(ruled):
            return "a decision on its sky offsets"
        if not row["key"]:
            return "limits of its sky offsets were moved, and others of them serve now"
        if row["dark_night"] != dark.night:
            return f"dark of {dark.night} instead of {row['dark_night']}"
        if row["canonical_night"] != canonical.night:
            return f"canonical of {canonical.night} instead of {row['canonical_night']}"
        return f"the canonical of {canonical.night}, its dark or the profile changed"

    def _mark_scan(self, row: Row, why: str) -> None:
        t = schema.scans
        place = (t.c.night, t.c.band, t.c.scan, t.c.read)
        with self.archive.begin() as connection:
            connection.execute(sa.update(t).where(*(column == row[column.name] for column in place)).values(stale=why))

    def _drop_scan(self, row: Row) -> None:
        """Remove one read of a scan that nothing can calibrate any more: what it was calibrated with is rejected."""
        place = row["night"], row["band"], row["scan"], row["read"]
        with self.archive.begin() as connection:
            drop_product(connection, self.archive.root, frames_path(*place))
            drop_product(connection, self.archive.root, sky_offsets_path(*place))
            forget_sky_map(connection, row["night"], row["band"])
            for table in (schema.scans, schema.sky_offsets):
                columns = (table.c.night, table.c.band, table.c.scan, table.c.read)
                where = [column == value for column, value in zip(columns, place, strict=True)]
                connection.execute(sa.delete(table).where(*where))

    def _note_standards(
        self, s: Sequence, rows: dict[str, Row], darks: dict[str, MasterFile], canonical: MasterFile
    ) -> None:
        """Keep what a scan's row says of its standards true where their verdict changed but their content did not."""
        t = schema.scans
        for read, row in rows.items():
            now = {
                "dark_status": darks[read].status,
                "canonical_status": canonical.status,
                "dark_night": darks[read].night,
                "dark_age_nights": _age(darks[read], s.night),
                "canonical_night": canonical.night,
                "canonical_age_nights": _age(canonical, s.night),
                "profile_hash": self.profile.hash,
                # Up to date, perhaps again: the decision that had made it stale was undone.
                "stale": "",
            }
            if any(row[k] != v for k, v in now.items()):
                with self.archive.begin() as connection:
                    connection.execute(
                        sa.update(t)
                        .values(**now)
                        .where(t.c.night == s.night, t.c.band == s.band, t.c.scan == s.scan, t.c.read == read)
                    )

    def _whole(self, s: Sequence, files: list[Row]) -> Sequence | None:
        """Return the sequence with the raw files that are there; None if one is gone, and its products stay."""
        gone = [r for r in files if not Path(r["path"]).exists()]
        if not gone:
            return s
        there = [r for r in files if r not in gone]
        moved = {r["path"]: next((o["path"] for o in there if _same_file(r, o)), None) for r in gone}
        with self.archive.begin() as connection:
            for r in gone:
                path, new = r["path"], moved[r["path"]]
                values: Row
                if new is not None:
                    values = {"status": "gone", "reason": f"moved to {new}"}
                elif r["status"] == "pending":
                    # Of no size: whenever it is back, as after a lost connection, it is new.
                    values = {"status": "refused", "reason": "no such file", "size": -1}
                else:
                    continue
                connection.execute(sa.update(schema.files).where(schema.files.c.path == path).values(**values))
        if all(moved.values()):
            return replace(s, files=tuple(i for i in s.files if str(i.path) not in moved))
        label = f"{s.night} {s.band} {s.obs_type}" + (f" {s.scan}" if s.scan is not None else "")
        lost = next(path for path, new in moved.items() if new is None)
        message = f"{label}: raw file {lost} is no longer there; its products stay as they are"
        if message not in self.report.messages:
            self.report.messages.append(message)
        return None

    def _work(self, jobs: Ordered[Job], done: int, total: int, what: str) -> None:
        self.progress(done, total, what)
        if not jobs:
            return
        with self._clock("calibration"), closing(self.mapper.map(jobs)) as results:
            for _, result in results:
                self._apply(result)
                self.progress(done, total, what)

    def _apply(self, result: JobResult) -> None:
        """Record what a job did, in one transaction."""
        raw_paths = {
            o.content_hash: o.path for o in result.outcomes if o.content_hash and o.status in ("used", "supplied")
        }
        tables = {
            "darks": schema.darks,
            "flats": schema.flats,
            "scans": schema.scans,
            "sky_offsets": schema.sky_offsets,
        }
        # Lasting with the verdicts: until then the disk is left to the products.
        with self.archive.begin(lasting=False) as connection:
            write_outcomes(connection, result.outcomes)
            for file, meta, inputs in result.products:
                record_product(connection, file, meta, inputs, self.profile, raw_paths)
            for name, rows in result.rows.items():
                if name == "sky_offsets":
                    self._drop_offsets(connection, rows)
                for row in rows:
                    for what in ("dark", "canonical"):
                        used = row.get(f"{what}_night")
                        if used is not None:
                            row[f"{what}_age_nights"] = _age_of(used, row["night"])
                    if name == "flats" and not row["key"]:
                        drop_product(connection, self.archive.root, responsivity_path(row["night"], row["band"]))
                    if name == "scans" and not row["has_frames"]:
                        # Those of before were made from something else.
                        drop_product(connection, self.archive.root, frames_path(*(row[c] for c in _PLACE)))
                upsert(connection, tables[name], rows)

    def _drop_offsets(self, connection: sa.Connection, rows: list[Row]) -> None:
        # A new split into blocks may have fewer of them than the last one had.
        t = schema.sky_offsets
        for night, band, scan, read in {(r["night"], r["band"], r["scan"], r["read"]) for r in rows}:
            forget_sky_map(connection, night, band)
            connection.execute(
                sa.delete(t).where(t.c.night == night, t.c.band == band, t.c.scan == scan, t.c.read == read)
            )

    def _adopt(self, standards: Standards) -> bool:
        """Start the hardware periods that the profile lets the pipeline adopt; return whether there were any."""
        least = self.profile.canonical.adopt_after_nights
        if not least:
            return False
        d = schema.decisions
        # What a person has undone or dismissed is not adopted again.
        query = sa.select(d.c.night, d.c.band).where(d.c.kind.in_(("period", "dismiss")))
        known = {(r["night"], r["band"]) for r in self.archive.rows(query)}
        new = {
            (p.first, band): p
            for band, surveys in standards.flat_surveys.items()
            for survey in surveys.values()
            for p in survey.proposals
            if len(p.nights) >= least and not p.over and not {(p.first, band), (p.first, None)} & known
        }
        for (night, band), p in sorted(new.items()):
            reason = f"{len(p.nights)} rejected responsivities since {p.first} agree with each other"
            self.decided.append(
                decide(self.archive, who="pipeline", kind="period", night=night, band=band, reason=reason)
            )
        return bool(new)


def _decided(archive: Archive) -> list[int]:
    """Return the numbers of the decisions that change what is computed and stand."""
    # A signature or a remark changes nothing.
    return [d["id"] for d in active_decisions(archive) if d["kind"] in _RULING]


def _state(profile: Profile, decided: list[int]) -> str:
    """Return a hash of everything but the raw files that the archive's content depends on."""
    numbers = [f"{k}{v}" for k, v in sorted(ALGORITHM.items())]
    return combine_key("compare", profile.hash, *numbers, *map(str, decided))


def _pending_nights(archive: Archive) -> list[str]:
    f = schema.files
    query = sa.select(f.c.night).where(f.c.status == "pending", f.c.night.is_not(None)).distinct()
    return sorted(r["night"] for r in archive.rows(query.where(f.c.obs_type.in_(("dark", "twilight", "scan")))))


def _had_frames(rows: dict[str, Row]) -> bool:
    return not rows or any(row["has_frames"] for row in rows.values())


def _same_file(gone: Row, other: Row) -> bool:
    """Return whether a raw file of the same sequence stands for one that is gone: a copy, or moved there."""
    if (gone["start_mjd"], gone["n_frames"]) != (other["start_mjd"], other["n_frames"]):
        return False
    return bool(gone["size"] == other["size"] or "duplicate" in (gone["status"], other["status"]))


def _is_whole(path: str, size: int, mtime_ns: int) -> bool:
    """Return whether a product is as it was when it was noted, as far as size and time tell."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (size, mtime_ns)


def _damaged(table: sa.Table) -> sa.Select[Any]:
    return sa.select(*table.primary_key).where(table.c.key == "damaged")


def _age(master: MasterFile, night: str) -> int | None:
    return _age_of(master.night, night)


def _age_of(used: str, night: str) -> int | None:
    return None if used == "supplied" else age_nights(used, night)


def _stretches(nights: list[str]) -> Iterator[list[str]]:
    start, length = 0, 3
    while start < len(nights):
        yield nights[start : start + length]
        start, length = start + length, min(2 * length, 64)
