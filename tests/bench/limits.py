"""How long it takes to tell what flips under another limit, over a whole survey.

Run with ``python -m tests.bench.limits``. Verdicts of 1300 nights in three bands with sixty scans a night, as an
archive holds them; reading them from the database is measured on fewer nights.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.history import AlertTables, read_judged
from calib.archive.versions import Version
from calib.checks import check_table
from calib.judged import Coded, Judged
from calib.limits import changed_profile, keys
from calib.profile import load_profile
from monitor.collect_limits import Past
from monitor.compute_limits import outlook, strip
from tests.monitor.survey_tables import nights_from

NIGHTS, SCANS, BLOCKS, READ_NIGHTS = 1300, 60, 6, 20
MOVES: tuple[Mapping[str, float | None], ...] = (
    {"limits.flat.gradient.max": 0.4},
    {"limits.dark.drift.max": 3.0},
    {"limits.sky_offset.halves.max": 0.1},
    {"limits.sky_offset.halves.max": 0.1, "limits.sky_offset.residue.max": 0.15, "limits.flat.cell_rms.J": 0.3},
    {"drift.responsivity_percent.watch": 0.8},
    {"drift.significance": 4.0},
)


def columns(subject: str, n_nights: int, per_night: int) -> dict[str, Any]:
    """Return the columns of a table made up: most rows pass, and one in twenty fails one of its checks."""
    profile, rng = load_profile("2mass"), np.random.default_rng(1)
    reads = [""] if subject == "flat" else list(profile.reads)
    shape = (n_nights, len(profile.bands), len(reads), per_night)
    night, band, read, number = (g.ravel().astype(np.int32) for g in np.indices(shape))
    n = len(night)
    limits = profile.limits_for(subject, "J", "R2-R1")
    names = tuple(nights_from("1997-06-01", n_nights))
    bands = Coded.of(profile.bands)
    found: dict[str, Any] = {
        "night": Coded(names, night),
        "band": Coded(bands.names, bands.number[band]),
        "read": Coded(tuple(reads), read),
        "override": np.zeros(n, bool),
        "scan": number // BLOCKS,
        "block": number % BLOCKS,
        "period": [""] * n if per_night == 1 else [],
        "key": ["k"] * n if per_night == 1 else [],
        "standard": [list(names[max(k - 5, 0) : k] or names[1:3]) for k in night] if per_night == 1 else [],
    }
    bad = np.zeros(n, bool)
    for name, check in check_table(subject).items():
        limit = limits[name].value
        value = limit * (1.2 + 0.1 * rng.standard_normal(n) if check.bound == "min" else rng.gamma(4, 0.1, n))
        bad |= ~(value >= limit if check.bound == "min" else value <= limit)
        found["n_frames" if name == "frames" else name] = value
    found["status"] = Coded(("accepted", "rejected"), bad.astype(np.int32))
    return found


def made_up() -> Past:
    """Return the past of a long survey."""
    profile = load_profile("2mass")
    judged = {
        "dark": Judged.of("dark", columns("dark", NIGHTS, 1)),
        "flat": Judged.of("flat", columns("flat", NIGHTS, 1), read="R2-R1"),
        "sky_offset": Judged.of("sky_offset", columns("sky_offset", NIGHTS, SCANS * BLOCKS)),
    }
    rng, products = np.random.default_rng(2), ("dark R1", "dark R2-R1", "responsivity", "gain", "sky offsets")
    nights = nights_from("1997-06-01", NIGHTS)
    states = [
        {"night": n, "band": b, "product": p, "state": "OK", "region": "", "value": None, "since": None,
         "significance": s}
        for b in profile.bands
        for p in products
        for n, s in zip(nights, rng.gamma(2, 0.8, NIGHTS).tolist(), strict=True)
    ]  # fmt: skip
    alerts = [
        {"night": n, "band": "J", "product": "responsivity", "region": "Q1", "metric": "quadrant", "state": "WATCH",
         "value": 1.2, "unit": "%", "significance": 8.0, "since": n, "last_night": n}
        for n in nights[::5]
    ]  # fmt: skip
    first = Version(1, "", "", "", profile.hash, "", profile.model_dump(mode="json"))
    return Past(1, (first,), {1: 1}, judged, AlertTables(alerts, states, []))


def stored(folder: Path) -> Archive:
    """Return an archive with the sky offsets of some nights, each with its cells as text."""
    archive = Archive(folder, create=True)
    made = columns("sky_offset", READ_NIGHTS, SCANS * BLOCKS)
    coded = {n: np.array(made[n].names, object)[made[n].number].tolist() for n in ("night", "band", "read", "status")}
    names = ["n_frames" if c == "frames" else c for c in check_table("sky_offset")]
    cells = np.random.default_rng(3).normal(0, 2, (8, 8)).round(4).tolist()
    with archive.begin() as connection:
        rows = [
            {**dict(zip((*coded, *names), values, strict=True)), "scan": int(s), "block": int(b), "cause": "",
             "first_frame": 0, "last_frame": 45, "used_block": int(b), "level_dn": 600.0, "cells_dn": cells}
            for *values, s, b in zip(*coded.values(), *(made[n].tolist() for n in names), made["scan"], made["block"],
                                     strict=True)
        ]  # fmt: skip
        connection.execute(sa.insert(schema.sky_offsets), rows)
    return archive


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print the tables."""
    past, profile = made_up(), load_profile("2mass")
    rows = {s: f"{len(j):,}" for s, j in past.judged.items()}
    print(f"Limits, {NIGHTS} nights × {len(profile.bands)} bands, {SCANS} scans a night; rows: {rows}")
    for changes in MOVES:
        new = changed_profile(profile, changes)
        found = outlook(past, changes, profile)
        for judged in past.judged.values():
            judged._known.clear()
            judged._worst.clear()
        first = seconds(lambda c=changes: outlook(past, c, profile))  # type: ignore[misc]
        nearby = {k: v * 1.01 for k, v in changes.items() if v is not None}
        again = seconds(lambda c=nearby: outlook(past, c, profile))  # type: ignore[misc]
        key = keys(profile)[next(iter(changes))]
        figure = seconds(lambda k=key, p=new: strip(past, k, profile, p))  # type: ignore[misc]
        print(
            f"  {', '.join(changes):96} {1000 * first:6.0f} ms, moved on {1000 * again:5.0f} ms, "
            f"figure {1000 * figure:5.0f} ms; {found.n:,} flips, {len(found.alerts)} alerts"
        )
    with tempfile.TemporaryDirectory() as folder:
        archive = stored(Path(folder) / "archive")
        n = int(archive.value(sa.select(sa.func.count()).select_from(schema.sky_offsets)))
        taken = seconds(lambda: read_judged(archive, "sky_offset", profile))
        archive.close()
    whole = len(past.judged["sky_offset"])
    print(
        f"  read {n:,} sky offsets once a revision, in the background: {taken:.2f} s "
        f"(of the whole survey about {taken * whole / n:.0f} s)"
    )


if __name__ == "__main__":
    main()
