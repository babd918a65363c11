"""What is said of a night while a run works on it, and after one that was killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from browser_window import Served, Window
from small_camera import Night

from calib.archive import schema
from calib.archive.database import Archive
from monitor import collect
from monitor.collect import Collector
from monitor.compute import BandHealth, band_health
from monitor.session import Session
from monitor.source import Source

SINCE = "1999-05-06T04:05:06.000Z"
NIGHT, BAND = 4, "J"


def forget(night: Night, *, verdict: bool = False) -> None:
    """Leave an archive as a run does that has come to the first band of its last night, and no further."""
    archive, date = Archive(night.root), night.date(NIGHT)
    f = schema.files
    with archive.begin() as connection:
        connection.execute(sa.insert(schema.runs).values(
            started=SINCE, status="running", code_version="1", profile_hash="0"
        ))  # fmt: skip
        if verdict:
            of_night = (schema.flats.c.night == date, schema.flats.c.band == BAND)
            connection.execute(sa.update(schema.flats).where(*of_night).values(status="pending"))
        else:
            connection.execute(sa.update(f).where(f.c.night == date, f.c.band == BAND).values(status="pending"))
            for table in (schema.darks, schema.flats, schema.scans, schema.sky_offsets, schema.metrics):
                connection.execute(sa.delete(table).where(table.c.night == date, table.c.band == BAND))
    archive.close()


@contextmanager
def at_work(root: Path) -> Iterator[None]:
    archive = Archive(root)
    with archive.writing():
        yield
    archive.close()


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "ACTIVITY_S", 0.0)


def states(health: BandHealth) -> dict[str, str]:
    return {b.subject: b.state for b in health.badges}


def test_what_is_still_to_come_is_in_work(faulty: Night, copy_of: Callable[[Night], Night]) -> None:
    night = copy_of(faulty)
    forget(night)
    date = night.date(NIGHT)
    collector = Collector(night.root)
    with at_work(night.root):
        during = collector.snapshot()
        assert during.activity.since == SINCE
        assert set(states(band_health(during, date, BAND)).values()) == {"pending"}
        assert band_health(during, date, BAND).sentence == "J: flat in work; dark in work; sky offsets in work"
        # What was taken and done is what it was, and what was not taken is not to come.
        assert "pending" not in states(band_health(during, date, "H")).values()
        assert states(band_health(during, night.date(2), "Ks"))["flat"] == "unknown"
        assert not collector.changed(during)
    # The run was killed: it is not at work for ever.
    assert collector.changed(during)
    after = collector.snapshot()
    assert after.activity.since == ""
    assert set(states(band_health(after, date, BAND)).values()) == {"notrun"}
    collector.archive.close()


def test_a_verdict_that_is_to_come(faulty: Night, copy_of: Callable[[Night], Night]) -> None:
    night = copy_of(faulty)
    forget(night, verdict=True)
    collector = Collector(night.root)
    with at_work(night.root):
        flat = band_health(collector.snapshot(), night.date(NIGHT), BAND).badges[1]
        assert (flat.state, flat.subject) == ("pending", "flat")
    assert band_health(collector.snapshot(), night.date(NIGHT), BAND).badges[1].state == "notrun"
    collector.archive.close()


def test_what_is_done_meanwhile_stays_in_work_until_it_is_read(
    faulty: Night, copy_of: Callable[[Night], Night]
) -> None:
    night = copy_of(faulty)
    forget(night)
    collector = Collector(night.root)
    with at_work(night.root):
        collector.snapshot()
        f = schema.files
        with collector.archive.begin() as connection:
            connection.execute(sa.update(f).where(f.c.status == "pending").values(status="used"))
        badge = band_health(collector.snapshot(), night.date(NIGHT), BAND).badges[0]
        assert badge.state == "pending"
        collector.archive.announce()
        badge = band_health(collector.refresh(), night.date(NIGHT), BAND).badges[0]
        assert (badge.state, badge.words) == ("unknown", "no dark was taken")
    collector.archive.close()


@pytest.mark.parametrize("page", ["night", "scans", "review"])
def test_pages_say_so(faulty: Night, copy_of: Callable[[Night], Night], page: str) -> None:
    night = copy_of(faulty)
    forget(night)

    def words(session: Session) -> str:
        import panel as pn

        panel: Any = pn.Column(session.top, session.main)
        return "\n".join(str(o.html) for o in panel.select(lambda o: hasattr(o, "html")))

    with at_work(night.root):
        session = Session(Collector(night.root), f"?page={page}&night={night.date(NIGHT)}&band={BAND}")
        said = words(session)
        assert "run at work since 1999-05-06 04:05 UTC" in said
        assert "yet to come to it" in said
        assert "no dark was taken" not in said
        assert "no twilight flat was taken" not in said
    session.poll()
    said = words(session)
    assert "run at work" not in said
    assert "no run has come to it" in said
    session.collector.archive.close()


@pytest.mark.slow
def test_the_bar_tells_of_a_run(
    faulty: Night,
    copy_of: Callable[[Night], Night],
    serve: Callable[[Path], Served],
    window: Callable[..., Window],
) -> None:
    night = copy_of(faulty)
    forget(night)
    served = serve(night.root)
    w = window((390, 844))
    page = w.open(served.url)
    assert page.locator(".work").count() == 0
    with at_work(night.root):
        page.locator(".work", has_text="run at work since").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.locator(".work").wait_for(state="detached")
    w.settle()


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_old_tables_serve_until_the_new_ones_are_read(
    faulty: Night, copy_of: Callable[[Night], Night], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long survey takes a while to read: nobody waits for it, and every series on screen is there when it is."""
    night = copy_of(faulty)
    collector = Collector(night.root)
    before = collector.snapshot()
    before.metrics.series("J", "dark R2-R1")
    reading, go = threading.Event(), threading.Event()
    read = Collector._read

    def slow(self: Collector, revision: int) -> Any:
        reading.set()
        assert go.wait(10)
        return read(self, revision)

    monkeypatch.setattr(Collector, "_read", slow)
    collector.archive.announce()
    assert not collector.changed(before)
    assert reading.wait(10)
    assert not collector.changed(before)
    assert collector.snapshot() is before
    go.set()
    wait_for(lambda: collector.changed(before))
    after = collector.snapshot()
    assert after.revision == before.revision + 1
    assert after.metrics.known() == [("J", "dark R2-R1", "deviation", "array")]
    collector.archive.close()


def test_a_reading_that_fails_is_tried_again(
    faulty: Night, copy_of: Callable[[Night], Night], monkeypatch: pytest.MonkeyPatch
) -> None:
    night = copy_of(faulty)
    collector = Collector(night.root)
    before = collector.snapshot()
    failed = threading.Event()

    def broken(self: Collector, revision: int) -> Any:
        failed.set()
        raise OSError("the disk is away")

    collector.archive.announce()
    with monkeypatch.context() as patch:
        patch.setattr(Collector, "_read", broken)
        assert not collector.changed(before)
        assert failed.wait(10)
        assert collector.snapshot() is before
        wait_for(lambda: collector._reader is not None and not collector._reader.is_alive())
    wait_for(lambda: collector.changed(before))
    collector.archive.close()


def test_whoever_comes_first_sees_what_there_is_now(faulty: Night, copy_of: Callable[[Night], Night]) -> None:
    """Also where the archive changed while no page was open to notice, such as from nothing to a first night."""
    night = copy_of(faulty)
    archive = Archive(night.root)
    with archive.begin() as connection:
        gone = connection.execute(sa.select(schema.files)).mappings().all()
        for table in (schema.darks, schema.flats, schema.scans, schema.files):
            connection.execute(sa.delete(table))
    source = Source(night.root)
    assert "holds no night yet" in source.problem()
    with archive.begin() as connection:
        connection.execute(sa.insert(schema.files), [dict(r) for r in gone])
    archive.announce()
    assert source.problem() == ""
    assert source.collector().snapshot().revision == archive.revision()
    assert source.collector().snapshot().nights[-1] == night.date(NIGHT)
    source.collector().archive.close()
    archive.close()


def test_an_archive_of_another_make_is_named(faulty: Night, copy_of: Callable[[Night], Night]) -> None:
    night = copy_of(faulty)
    archive = Archive(night.root)
    with archive.begin() as connection:
        connection.execute(sa.text("ALTER TABLE flats DROP COLUMN overtaken"))
    archive.close()
    words = Source(night.root).problem()
    assert "flats.overtaken" in words
    assert "make a new one with `calib run RAW" in words
