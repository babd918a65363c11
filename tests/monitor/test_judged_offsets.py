"""Sky offsets kept from revision to revision are those that a server reads which starts now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from small_camera import Night, run

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.history import read_judged
from calib.judged import STATUSES, Judged
from monitor.collect_judged import JudgedOffsets, joined, without
from monitor.collect_limits import history_of


@pytest.fixture
def own(faulty: Night, copy_of: Callable[[Night], Night]) -> Iterator[Archive]:
    archive = Archive(copy_of(faulty).root)
    yield archive
    archive.close()


def as_rows(judged: Judged) -> list[tuple[Any, ...]]:
    """Every row with all that is known of it, in the order of the table's key."""
    columns = [
        [judged.nights[k] for k in judged.night],
        [judged.groups[k] for k in judged.group],
        judged.place["scan"].tolist(),
        judged.place["block"].tolist(),
        [STATUSES[k] for k in judged.status],
        judged.fixed.tolist(),
        judged.decided.tolist(),
        *([repr(v) for v in values.tolist()] for values in judged.values.values()),
    ]
    return sorted(zip(*columns, strict=True))


def same(found: Judged, expected: Judged) -> None:
    assert (found.subject, found.nights, found.groups) == (expected.subject, expected.nights, expected.groups)
    assert list(found.values) == list(expected.values)
    assert (found.period, found.standard) == (expected.period, expected.standard)
    assert as_rows(found) == as_rows(expected)
    for name in ("night", "group", "status", "fixed", "decided"):
        assert getattr(found, name).dtype == getattr(expected, name).dtype, name
    assert (np.diff(found.night) >= 0).all()


def whole(archive: Archive) -> Judged:
    profile = archive.current_profile()
    assert profile is not None
    return read_judged(archive, "sky_offset", profile)


def edit(archive: Archive, rng: np.random.Generator) -> None:
    """Let a scan of one band and read come, go or be calibrated again, as a run would."""
    s, o = schema.scans, schema.sky_offsets
    rows = archive.rows(sa.select(s).order_by(*s.primary_key))
    if not rows:
        return
    row = rows[rng.integers(len(rows))]
    place = ("night", "band", "scan", "read")
    offsets = archive.rows(sa.select(o).where(*(o.c[n] == row[n] for n in place)).order_by(o.c.block))
    what = rng.choice(["again", "gone", "elsewhere"])
    moved = {"night": f"1999-0{rng.integers(4, 7)}-11", "key": f"k{rng.integers(1 << 30)}"}
    target = {**row, "key": moved["key"], **(moved if what == "elsewhere" else {})}
    with archive.begin() as connection:
        for table in (s, o):
            for old in (target,) if what == "elsewhere" else (row,):
                connection.execute(sa.delete(table).where(*(table.c[n] == old[n] for n in place)))
        if what == "gone":
            return
        kept = offsets[: rng.integers(1, len(offsets) + 1)]
        connection.execute(sa.insert(s).values(target))
        for block in kept:
            values = {"night": target["night"], "halves": float(rng.normal()), "override": bool(rng.integers(2))}
            values["status"] = str(rng.choice(["accepted", "rejected"]))
            connection.execute(sa.insert(o).values({**block, **values}))


@pytest.mark.parametrize("seed", range(6))
def test_after_any_changes_they_are_those_of_the_table(own: Archive, seed: int) -> None:
    rng, kept = np.random.default_rng(seed), JudgedOffsets(own)
    same(kept.now(), whole(own))
    for _ in range(6):
        for _ in range(rng.integers(1, 3)):
            edit(own, rng)
        same(kept.now(), whole(own))


def test_one_more_night_is_read_and_no_other(faulty: Night, own: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    real = JudgedOffsets._read

    def noted(self: JudgedOffsets, nights: list[str]) -> Judged:
        asked.append(list(nights))
        return real(self, nights)

    monkeypatch.setattr(JudgedOffsets, "_read", noted)
    kept = JudgedOffsets(own)
    before = kept.now()
    assert kept.now() is before
    assert [n for group in asked for n in group] == list(before.nights)
    asked.clear()
    s, o = schema.scans, schema.sky_offsets
    night = before.nights[-1]
    with own.begin() as connection:
        for table in (s, o):
            rows = connection.execute(sa.select(table).where(table.c.night == night)).mappings().all()
            connection.execute(sa.insert(table), [{**r, "night": "1999-07-01"} for r in rows])
    after = kept.now()
    assert asked == [["1999-07-01"]]
    same(after, whole(own))


def test_a_real_run_moves_them_along(faulty: Night, own: Archive) -> None:
    kept = JudgedOffsets(own)
    kept.now()
    run(own.root, [faulty.raw, faulty.raw.parent / "raw-later"])
    same(kept.now(), whole(own))


def test_limits_weighs_the_same_rows(own: Archive) -> None:
    class Collected:
        archive = own

    past = history_of(Collected()).read()
    same(past.judged["sky_offset"], whole(own))
    assert set(past.judged) == {"dark", "flat", "sky_offset"}


def test_nothing_is_joined_to_nothing(own: Archive) -> None:
    some = whole(own)
    assert len(joined(())) == 0
    same(joined((some,)), some)
    same(joined((without(some, some.nights), some)), some)
    assert as_rows(joined((without(some, some.nights),))) == []
    first, rest = without(some, some.nights[1:]), without(some, some.nights[:1])
    same(joined((rest, first)), some)
