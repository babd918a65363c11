"""A small camera, its raw nights, and archives to compare."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.place import REMEMBERED
from calib.profile import Profile, parse_profile
from calib.simulate import Survey, file_name, write_sequence
from calib.survey import RunReport, run_survey
from tests.postgresql import copy_rows

FRAMES = {"n_dark": 24, "n_twilight": 24, "n_scan": 90, "size_px": 64}

# 24 twilight frames see less change of light than 56, and a cell of 8×8 pixels is noisier than one of 32×32.
SMALL = (
    ("shape = [256, 256]", "shape = [64, 64]"),
    ("cells = [8, 8]  ", "cells = [4, 4]  "),
    ("range = { min = 2.0 }", "range = { min = 1.3 }"),
    ("halves = { max = 0.15, R1 = 1.0 }", "halves = { max = 1.0, R1 = 10.0 }"),
    ("residue = { max = 0.2, R1 = 2.5 }", "residue = { max = 1.5, R1 = 25.0 }"),
    ("amplitude = { max = 4.0, R1 = 15.0 }", "amplitude = { max = 8.0, R1 = 60.0 }"),
    ("steadiness = { max = 1.0 }", "steadiness = { max = 3.0 }"),
)

Edit = tuple[str, str]


def small_text(*edits: Edit) -> str:
    """The default profile for arrays of 64×64 pixels, with some of its text replaced."""
    text = (resources.files("calib.profiles") / "2mass.toml").read_text("utf-8")
    for old, new in (*SMALL, *edits):
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the profile"
        text = text.replace(old, new)
    return text


@lru_cache
def small(*edits: Edit) -> Profile:
    return parse_profile(small_text(*edits), "small")


def survey_of(nights: int, *, scans: Mapping[int, int] | None = None, **changes: Any) -> Survey:
    """A simulated survey with few frames on small arrays."""
    return Survey(nights=nights, scans=dict(scans or {}), **{**FRAMES, **changes})


def write_raw(survey: Survey, out: Path, *, bands: Iterable[str] = ("J",), nights: Iterable[int] | None = None) -> Path:
    """Write the raw files of some bands, one folder a night, without the truth."""
    for ordinal in range(survey.nights) if nights is None else nights:
        night = survey.night(ordinal)
        for band in bands:
            scans = [night.scan(band, number) for number in night.scans]
            for sequence in (night.dark(band), night.twilight(band), *scans):
                if sequence is not None:
                    write_sequence(sequence, out / night.date / file_name(sequence))
    return out


def run(
    archive: Archive | Path, raw: Path | Iterable[Path], profile: Profile | None = None, **options: Any
) -> RunReport:
    """One run; a path stands for the archive there, made if need be."""
    archive = archive if isinstance(archive, Archive) else Archive(archive, create=True)
    paths = [raw] if isinstance(raw, Path) else list(raw)
    report = run_survey(archive, profile or small(), paths, **options)
    archive.close()
    return report


def rows(archive: Archive | Path, table: sa.Table | str, **where: Any) -> list[dict[str, Any]]:
    """The rows of a table, in the order of its key."""
    archive = archive if isinstance(archive, Archive) else Archive(archive)
    table = schema.metadata.tables[table] if isinstance(table, str) else table
    query = sa.select(table).where(*(table.c[n] == v for n, v in where.items())).order_by(*table.primary_key)
    found = archive.rows(query)
    archive.close()
    return found


def verdicts(archive: Path, band: str = "J") -> dict[str, str]:
    """Night → verdict on its responsivity."""
    return {r["night"]: r["status"] for r in rows(archive, "flats", band=band)}


TABLES = ("darks", "flats", "scans", "sky_offsets", "metrics", "cell_maps", "states", "alerts", "lineage", "products")
MOMENTS = {"made", "mtime_ns", "time"}


def content(archive: Path, *, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Everything an archive says, times aside: the hash of every product on disk and every row.

    ``names`` gives raw files that hold the same content one name.
    """
    found: dict[str, Any] = {
        p.relative_to(archive).as_posix(): sha256(p.read_bytes()).hexdigest()
        for top in ("nights", "references", "supplied")
        for p in sorted((archive / top).rglob("*"))
        if p.is_file()
    }
    for name in TABLES:
        kept = [{k: v for k, v in r.items() if k not in MOMENTS} for r in rows(archive, name)]
        if name == "lineage":
            kept = [{k: (names or {}).get(v, v) for k, v in r.items()} for r in kept]
            kept = sorted({tuple(sorted(r.items())) for r in kept})
        found[f"table {name}"] = kept
    return found


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What two archives disagree about, in words that name the place."""
    told = [f"only one has {k}" for k in sorted(a.keys() ^ b.keys())]
    for k in sorted(a.keys() & b.keys()):
        if a[k] == b[k]:
            continue
        if not k.startswith("table "):
            told.append(f"{k} differs")
            continue
        one, other = a[k], b[k]
        pair = [str([r for r in a if r not in b][:2])[:600] for a, b in ((one, other), (other, one))]
        told.append(f"{k}: {pair[0]} against {pair[1]}")
    return told


def assert_same(one: Path, other: Path, **options: Any) -> None:
    told = differences(content(one, **options), content(other, **options))
    assert not told, "\n".join(told)


def copy_archive(archive: Path, to: Path) -> Path:
    """A copy whose files have the times of the original, so that a run finds nothing to do."""
    shutil.copytree(archive, to)
    if (to / REMEMBERED).exists():
        copy_rows(archive, to)
    return to


@dataclass(frozen=True)
class Night:
    """A settled archive, the raw files behind it, and the survey they were simulated from."""

    root: Path
    raw: Path
    survey: Survey

    def date(self, ordinal: int) -> str:
        return self.survey.night(ordinal).date

    def copy(self, to: Path) -> Night:
        return replace(self, root=copy_archive(self.root, to))
