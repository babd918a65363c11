"""Where raw data enters: which files are new, what they are, and what became of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive, upsert
from calib.errors import RawFileError, shown_path
from calib.night import FileOutcome
from calib.profile import Profile
from calib.raw import Identity, Sequence, group_sequences, identify, raw_names
from calib.raw.times import AHEAD

__all__ = ["UNREADABLE", "register_files", "rules_hash", "sequences_of", "write_outcomes"]

Row = dict[str, Any]

UNREADABLE = "cannot be read: "
"""How the reason begins where no byte of the file is to blame."""

_UNREAD: Row = {
    "obs_type": None,
    "night": None,
    "band": None,
    "scan": None,
    "n_frames": None,
    "start_iso": None,
    "start_mjd": None,
    "sequence_group": None,
    "temperature_k": None,
}


def rules_hash(profile: Profile) -> str:
    """Return the hash of what decides how a header is read; when it changes, every header is read again."""
    return profile.fingerprint("bands", "site", "detector", "layout", "header")


def register_files(archive: Archive, profile: Profile, paths: Iterable[Path], workers: int) -> int:
    """Read the headers of new and changed files and note them; return how many there were.

    A file whose size and time are as they were is not opened.
    """
    f, rules = schema.files, rules_hash(profile)
    columns = (f.c.path, f.c.size, f.c.mtime_ns, f.c.rules_hash)
    # A file that was gone and is back is new. One that could not be read may be readable now: what was in the way was
    # a disk, a network or a permission, and none of these shows in its size and time.
    # Nor does a clock that is set right.
    passing = sa.or_(f.c.reason.startswith(UNREADABLE), f.c.reason.endswith(AHEAD, autoescape=True))
    again = sa.and_(f.c.status == "refused", passing)
    known = {r["path"]: r for r in archive.rows(sa.select(*columns).where(f.c.status != "gone", ~again))}
    failed = {r["path"]: r["reason"] for r in archive.rows(sa.select(f.c.path, f.c.reason).where(again))}
    fresh: list[tuple[Path, int, int]] = []
    for name in raw_names((Path(p).absolute() for p in paths), archive.root):
        try:
            stat = os.stat(name)
        except OSError:
            fresh.append((Path(name), -1, -1))
            continue
        row = known.get(shown_path(name))
        if row is None or (row["size"], row["mtime_ns"], row["rules_hash"]) != (
            stat.st_size,
            stat.st_mtime_ns,
            rules,
        ):
            fresh.append((Path(name), stat.st_size, stat.st_mtime_ns))

    def look(entry: tuple[Path, int, int]) -> Row:
        path, size, mtime_ns = entry
        base = {
            "path": shown_path(path),
            "size": size,
            "mtime_ns": mtime_ns,
            "content_hash": None,
            "notes": "",
            "rules_hash": rules,
        }
        try:
            identity = identify(path, profile)
        except RawFileError as error:
            return {**base, **_UNREAD, "status": "refused", "reason": error.reason}
        return {**base, **_identity_columns(identity), "status": "pending", "reason": ""}

    with ThreadPoolExecutor(workers) as pool:
        rows = list(pool.map(look, fresh))
    with archive.begin() as connection:
        upsert(connection, f, rows)
    return sum(r["status"] != "refused" or failed.get(r["path"]) != r["reason"] for r in rows)


def _identity_columns(identity: Identity) -> Row:
    return {
        "obs_type": identity.obs_type,
        "night": identity.night,
        "band": identity.band,
        "scan": identity.scan,
        "n_frames": identity.n_frames,
        "start_iso": identity.start_iso,
        "start_mjd": identity.start_mjd,
        "sequence_group": list(identity.group),
        "temperature_k": identity.temperature_k,
    }


def _identity(row: Row) -> Identity:
    return Identity(
        path=Path(row["path"]),
        size=row["size"],
        mtime_ns=row["mtime_ns"],
        obs_type=row["obs_type"],
        band=row["band"],
        night=row["night"],
        start_mjd=row["start_mjd"],
        start_iso=row["start_iso"],
        scan=row["scan"],
        n_frames=row["n_frames"],
        group=tuple(row["sequence_group"] or ()),
        temperature_k=row["temperature_k"],
    )


def sequences_of(archive: Archive, profile: Profile, nights: Iterable[str]) -> dict[Sequence, list[Row]]:
    """Return the sequences of some nights with the rows of their files, refused files left out."""
    f = schema.files
    query = sa.select(f).where(f.c.night.in_(sorted(nights)), f.c.status.in_(("pending", "used", "duplicate")))
    rows = {r["path"]: r for r in archive.rows(query) if r["band"] is not None}
    found = group_sequences([_identity(r) for r in rows.values()], profile)
    return {s: [rows[str(i.path)] for i in s.files] for s in found}


def supplied_files(archive: Archive) -> list[Identity]:
    """Return the supplied masters that are waiting, in the order of time."""
    f = schema.files
    query = sa.select(f).where(f.c.obs_type.like("supplied-%"), f.c.status.in_(("pending", "supplied")))
    return [_identity(r) for r in archive.rows(query.order_by(f.c.start_mjd, f.c.path))]


def write_outcomes(connection: sa.Connection, outcomes: Iterable[FileOutcome]) -> None:
    """Note what became of files."""
    for o in outcomes:
        connection.execute(
            sa.update(schema.files)
            .where(schema.files.c.path == o.path)
            .values(status=o.status, reason=o.reason, content_hash=o.content_hash, notes=o.notes)
        )


def used_hashes(rows: list[Row]) -> tuple[str, ...] | None:
    """Return the content hashes of the files of a sequence that are in use; None while one is unread."""
    if any(r["status"] == "pending" for r in rows):
        return None
    return tuple(r["content_hash"] for r in rows if r["status"] == "used")
