"""The tables of a long survey, made up: as many nights and bands as wanted, no archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calib.archive import schema
from calib.checks import check_table
from calib.profile import Profile, load_profile
from monitor.collect import Snapshot
from monitor.collect_decisions import LIFE
from monitor.collect_scans import Scans
from monitor.collect_series import Metrics, Series

REGIONS = ("array", "Q1", "Q2", "Q3", "Q4")


class StillCollector:
    """Stands in for a collector: one snapshot, no archive."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    root = Path("nowhere")

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def revision(self) -> int:
        return self._snapshot.revision

    def changed(self, known: Snapshot) -> bool:
        return known is not self._snapshot

    def rows(self, _: Any) -> list[dict[str, Any]]:
        return []


def nights_from(first: str, n: int) -> list[str]:
    return [d.date().isoformat() for d in pd.date_range(first, periods=n)]


def long_survey(n: int, *, profile: Profile | None = None, seed: int = 1) -> Snapshot:
    """Return the tables of so many nights; every tenth night's flat and dark are rejected."""
    profile = profile or load_profile("2mass")
    rng = np.random.default_rng(seed)
    grid = pd.MultiIndex.from_product([nights_from("1997-06-01", n), profile.bands], names=["night", "band"])
    index = grid.to_frame(index=False)
    bad = index.index // len(profile.bands) % 10 == 9
    status = np.where(bad, "rejected", "accepted")
    cause = np.where(bad, "cloud gradient (gradient 2 % > 1.2 %)", "")
    checks = {c: rng.uniform(0.1, 1, len(index)) for c in check_table("flat") if c != "frames"}
    flats = index.assign(
        status=status,
        cause=cause,
        n_frames=56,
        n_dead=100,
        level_max_dn=2e4,
        level_min_dn=5e3,
        override=False,
        **checks,
    )
    darks = pd.concat(
        index.assign(
            read=read,
            status=status,
            cause=cause,
            level_dn=rng.normal(300, 5, len(index)),
            level_error_dn=0.5,
            temperature_k=77.0,
            n_hot=100,
            n_noisy=30,
            **{c: 1.0 for c in check_table("dark") if c != "frames"},
        )
        for read in profile.reads
    ).reset_index(drop=True)
    wanted = [(f"dark {r}", "deviation") for r in profile.reads]
    wanted += [(f"noise {r}", m) for r in profile.reads for m in ("deviation", "noise")]
    wanted += [("responsivity", "deviation"), ("gain", "deviation"), ("gain", "gain")]
    nights = np.array(nights_from("1997-06-01", n))
    series = {
        (band, p, m, r): Series(nights, rng.normal(0, 0.3, n), np.full(n, 0.02), np.full(n, r))
        for p, m in wanted
        for r in REGIONS
        for band in profile.bands
    }
    offsets = pd.concat(
        index.assign(
            read=read,
            n_blocks=6,
            n_rejected=np.arange(len(index)) % 7,
            n_scans=1,
            level_dn=rng.normal(600, 30, len(index)),
        )
        for read in profile.reads
    ).reset_index(drop=True)
    return Snapshot(
        revision=1,
        profile=profile,
        darks=darks,
        flats=flats,
        scans=Scans.of_table(empty(schema.scans)),
        offsets=offsets,
        metrics=known(series),
        alerts=empty(schema.alerts, *LIFE),
        decisions=empty(schema.decisions),
    )


def known(series: dict[Any, Series]) -> Metrics:
    """Return metrics that hold these series and no others."""
    nothing = Series(np.empty(0, "U10"), np.empty(0), np.empty(0), np.empty(0, "U10"))
    return Metrics(lambda key: series.get(key, nothing))


def empty(table: Any, *more: str) -> pd.DataFrame:
    """Return a table of the archive without rows, with further columns."""
    return pd.DataFrame([], columns=[*(c.name for c in table.columns), *more])


def nothing(profile: Profile | None = None) -> Snapshot:
    """Return the tables of an archive in which nothing was taken."""
    offsets = pd.DataFrame([], columns=["night", "band", "read", "n_blocks", "n_rejected", "n_scans", "level_dn"])
    return Snapshot(
        revision=0,
        profile=profile or load_profile("2mass"),
        darks=empty(schema.darks),
        flats=empty(schema.flats),
        scans=Scans.of_table(empty(schema.scans)),
        offsets=offsets,
        metrics=known({}),
        alerts=empty(schema.alerts, *LIFE),
        decisions=empty(schema.decisions),
    )
