"""What changed is read, all else is kept: a collector that was open all along shows what a fresh one does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from small_camera import Night, run

from calib.archive import schema, seen
from calib.archive.database import Archive
from calib.archive.decisions import decide
from monitor.collect import Collector, Snapshot
from monitor.collect_marks import SHOWN, ByNight, marks

EDITED = (schema.darks, schema.flats, schema.scans, schema.states, schema.alerts)
TEXTS = ("status", "cause", "key", "verdict_key", "dark_status", "canonical_status", "state", "region", "stale")


@pytest.fixture
def own(faulty: Night, copy_of: Callable[[Night], Night]) -> Iterator[Archive]:
    archive = Archive(copy_of(faulty).root)
    yield archive
    archive.close()


def same_frames(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected.reset_index(drop=True))


def same_as_read_whole(kept: Snapshot, archive: Archive) -> None:
    """A snapshot that was brought up to date, and what a server that starts now reads."""
    opened = Collector(archive.root)
    whole = opened.snapshot()
    assert kept.digests == whole.digests == seen.night_digests(archive)
    assert kept.signed == whole.signed
    assert (kept.nights, kept.unsigned, kept.n_stale) == (whole.nights, whole.unsigned, whole.n_stale)
    for name in ("darks", "flats", "offsets", "alerts", "decisions"):
        same_frames(getattr(kept, name), getattr(whole, name))
    assert kept.scans.nights == whole.scans.nights
    for night in kept.nights:
        same_frames(kept.scans.of(night), whole.scans.of(night))
    opened.archive.close()


def edit(archive: Archive, rng: np.random.Generator) -> str:
    """Change or remove a row of a table, or copy it to another night; return what was done."""
    table = EDITED[rng.integers(len(EDITED))]
    rows = archive.rows(sa.select(table).order_by(*table.primary_key))
    if not rows:
        return f"{table.name} is empty"
    row = rows[rng.integers(len(rows))]
    here = [c == row[c.name] for c in table.primary_key]
    what = rng.choice(["change", "remove", "copy"])
    with archive.begin() as connection:
        if what == "remove":
            connection.execute(sa.delete(table).where(*here))
        elif what == "copy":
            night = f"1999-06-{rng.integers(1, 29):02d}"
            connection.execute(sa.delete(table).where(table.c.night == night))
            connection.execute(sa.insert(table).values({**row, "night": night}))
        else:
            name = str(rng.choice([n for n in TEXTS if n in table.c and n not in table.primary_key]))
            value = str(rng.choice(["", "x", "x,y", "it's", "NULL"]))
            connection.execute(sa.update(table).where(*here).values({name: value}))
    return f"{what} {table.name} {row['night']}"


@pytest.mark.parametrize("seed", range(6))
def test_after_any_changes_the_tables_are_those_of_a_server_that_starts(own: Archive, seed: int) -> None:
    rng, collector = np.random.default_rng(seed), Collector(own.root)
    collector.snapshot()
    for _ in range(4):
        for _ in range(rng.integers(1, 4)):
            edit(own, rng)
        own.announce()
        same_as_read_whole(collector.refresh(), own)
    collector.archive.close()


def test_one_more_night_and_a_decision_are_seen_at_once(faulty: Night, own: Archive) -> None:
    collector = Collector(own.root)
    before = collector.snapshot()
    run(own.root, [faulty.raw, faulty.raw.parent / "raw-later"])
    after = collector.refresh()
    assert len(after.nights) == len(before.nights) + 1
    same_as_read_whole(after, own)
    night = after.nights[-1]
    decide(own, who="Ada", kind="sign-off", night=night, reason="", digest=after.digests[night])
    signed = collector.refresh()
    assert not signed.signed[night].changed
    same_as_read_whole(signed, own)
    collector.archive.close()


def test_only_nights_that_changed_are_hashed_again(own: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    real = seen.night_digests

    def noted(archive: Archive, nights: Any = None) -> dict[str, str]:
        asked.append(list(nights))
        return real(archive, nights)

    monkeypatch.setattr("monitor.collect.night_digests", noted)
    collector = Collector(own.root)
    nights = list(collector.snapshot().digests)
    f = schema.flats
    with own.begin() as connection:
        connection.execute(sa.update(f).where(f.c.night == nights[2]).values(cause="another"))
    own.announce()
    collector.refresh()
    own.announce()
    collector.refresh()
    collector.archive.close()
    assert asked == [sorted(nights), [nights[2]]]


def test_a_mark_covers_all_that_a_night_shows() -> None:
    shown = {table.name: set(names) for table, names in seen._SHOWN}
    assert {t.name for t in SHOWN} == set(shown)
    for table, names in SHOWN.items():
        assert set(names) >= shown[table.name], table.name


def test_what_is_missing_and_what_says_so_are_two_things(own: Archive) -> None:
    columns, f = {schema.flats: ("origin", "canonical_key", "period")}, schema.flats
    found = []
    for values in ((None, "NULL"), ("NULL", ""), ("", "NULL"), ("a','b", ""), ("a", "b")):
        with own.begin() as connection:
            connection.execute(sa.update(f).values(canonical_key=values[0], period=values[1]))
        found.append(tuple(marks(own, columns).values()))
    assert len(set(found)) == len(found)


def test_a_night_that_is_gone_is_forgotten() -> None:
    asked: list[list[str]] = []

    def read(nights: Any) -> dict[str, int]:
        asked.append(list(nights))
        return {n: len(asked) for n in nights if n != "c"}

    kept = ByNight(read)
    assert kept.bring({"a": "1", "b": "1"}) == {"a": 1, "b": 1}
    assert kept.bring({"b": "1", "c": "1"}) == {"b": 1}
    assert kept.bring({"a": "1", "b": "2"}) == {"a": 3, "b": 3}
    assert kept.bring({"a": "1", "b": "2"}) == {"a": 3, "b": 3}
    assert asked == [["a", "b"], ["c"], ["a", "b"]]


def test_scans_count_their_sky_offsets_as_the_offsets_do(faulty: Night) -> None:
    collector, o = Collector(faulty.root), schema.sky_offsets
    query = sa.select(
        o.c.night,
        o.c.band,
        o.c.read,
        sa.func.count().label("n_blocks"),
        sa.cast(sa.func.sum(sa.case((o.c.status != "accepted", 1), else_=0)), sa.BigInteger).label("n_rejected"),
        sa.func.count(o.c.scan.distinct()).label("n_scans"),
    ).group_by(o.c.night, o.c.band, o.c.read)
    counted = collector.rows(query.order_by(o.c.night, o.c.band, o.c.read))
    names = ["night", "band", "read", "n_blocks", "n_rejected", "n_scans"]
    assert collector.snapshot().offsets[names].to_dict("records") == counted
    levels = [r["level_dn"] for r in collector.rows(sa.select(o.c.level_dn))]
    assert min(levels) * 0.9 < collector.snapshot().offsets["level_dn"].mean() < max(levels) * 1.1
    collector.archive.close()


def test_whoever_opens_the_page_does_not_wait_for_a_long_archive(own: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector(own.root)
    known, go_on = collector.latest(), threading.Event()
    real = collector._read

    def slow(revision: int) -> Snapshot:
        go_on.wait(60)
        return real(revision)

    monkeypatch.setattr(collector, "_read", slow)
    own.announce()
    assert collector.latest(0.01).revision == known.revision
    go_on.set()
    assert collector.latest(60).revision == own.revision() > known.revision
    collector.archive.close()


def test_an_archive_that_cannot_be_read_is_told_to_whoever_opens_the_page(
    own: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector(own.root)
    collector.latest()
    real = collector._read
    monkeypatch.setattr(collector, "_read", lambda _: (_ for _ in ()).throw(OSError("a disk went away")))
    own.announce()
    with pytest.raises(OSError, match="a disk went away"):
        collector.latest(60)
    monkeypatch.setattr(collector, "_read", real)
    assert collector.latest(60).revision == own.revision()
    collector.archive.close()


def test_a_night_without_scans_has_an_empty_table(faulty: Night) -> None:
    collector = Collector(Path(faulty.root))
    assert collector.snapshot().scans.of("1900-01-01").empty
    assert "stale" in collector.snapshot().scans.of("1900-01-01")
    collector.archive.close()
