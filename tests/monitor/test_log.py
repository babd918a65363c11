"""The archive's books and today's limits."""

from __future__ import annotations

import csv
import io

import pytest
import sqlalchemy as sa
from small_camera import Night

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.decisions import decide
from monitor.collect import Collector
from monitor.collect_log import BOOKS, find, find_all, hardware_periods, statuses
from monitor.pages.log import as_csv
from monitor.session import Session

EVIL = "<script>alert(1)</script> 100%_sure"


@pytest.fixture
def written(settled: Night) -> Night:
    """An archive with a refused file of a nasty name and two decisions, one of them undone."""
    archive = Archive(settled.root)
    row = {c.name: None for c in schema.files.c} | {
        "path": f"/raw/{EVIL}.fits",
        "size": 1,
        "mtime_ns": 1,
        "status": "refused",
        "reason": EVIL,
        "notes": "",
        "rules_hash": "",
    }
    with archive.begin() as connection:
        connection.execute(sa.insert(schema.files).values(**row))
    first = decide(archive, who="ann", kind="period", night=settled.date(2), band="J", reason="array swapped")
    decide(archive, who="bob", kind="undo", reason="no, it was not", undoes=first)
    decide(archive, who="ann", kind="period", night=settled.date(1), reason="warmed up")
    archive.announce()
    archive.close()
    return settled


def opened(night: Night) -> tuple[Collector, object]:
    collector = Collector(night.root)
    return collector, collector.snapshot()


def test_pages_of_a_table_hold_every_row_once_even_when_all_are_equal(four_nights: Night) -> None:
    collector, snapshot = opened(four_nights)
    book = BOOKS["files"]
    whole = find_all(collector, snapshot, book, status="", text="", sort="status")
    seen = []
    for start in range(0, len(whole), 7):
        part = find(collector, snapshot, book, sort="status", start=start, count=7)
        assert part.total == len(whole)
        seen += [r["path"] for r in part.rows]
    assert seen == [r["path"] for r in whole]
    assert len(set(seen)) == len(seen) == 4 * 2 * 2 + 4


def test_search_takes_signs_literally_and_ignores_capitals(written: Night) -> None:
    collector, snapshot = opened(written)
    assert find(collector, snapshot, BOOKS["files"], text="100%_SURE").total == 1
    assert find(collector, snapshot, BOOKS["files"], text="100%_sare").total == 0
    assert find(collector, snapshot, BOOKS["files"], text="%").total == 1
    assert find(collector, snapshot, BOOKS["files"], text="ALERT(1)", status="used").total == 0
    assert dict(statuses(collector, collector.snapshot(), BOOKS["files"]))["refused"] == 1


def test_what_cannot_be_sorted_by_is_ignored(four_nights: Night) -> None:
    collector, snapshot = opened(four_nights)
    for sort in ("content_hash", "-path; DROP TABLE files", "path"):
        rows = find(collector, snapshot, BOOKS["files"], sort=sort, count=3).rows
        assert [r["path"] for r in rows] == sorted(r["path"] for r in rows)
    for book in BOOKS.values():
        for column in book.columns:
            find(collector, snapshot, book, sort=f"-{column.name}", text="x")


def test_hardware_periods_follow_standing_decisions(written: Night) -> None:
    _, snapshot = opened(written)
    rows = {(r["band"], r["first"]): r for r in hardware_periods(snapshot)}  # type: ignore[arg-type]
    first, second = written.date(0), written.date(1)
    assert set(rows) == {(b, n) for b in ("J", "H") for n in (first, second)}
    assert rows["J", first]["nights"] == 1
    assert rows["J", first]["last"] == first
    assert rows["J", second]["nights"] == 3
    assert "warmed up (ann" in rows["J", second]["began"]


def test_a_csv_holds_every_matching_row_in_full(written: Night) -> None:
    collector, snapshot = opened(written)
    book = BOOKS["files"]
    rows = find_all(collector, snapshot, book, status="refused", text="", sort="")
    table = list(csv.DictReader(io.StringIO(as_csv(book, rows))))
    assert [r["reason"] for r in table] == [EVIL]
    assert table[0]["night"] == ""


def markup(night: Night, query: str) -> str:
    session = Session(Collector(night.root), query, False)
    return " ".join(o.html for o in session.main.select() if hasattr(o, "html"))


def test_text_from_files_is_never_markup(written: Night) -> None:
    shown = markup(written, "?page=log&product=files&filter=refused")
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "1–1 of 1" in shown


def test_an_undone_decision_is_struck_out_and_empty_books_say_so(written: Night, four_nights: Night) -> None:
    assert markup(written, "?page=log").count('class="undone"') == 1
    assert "Nobody has decided anything yet" in markup(four_nights, "?page=log")
    assert "Nothing matches" in markup(four_nights, "?page=log&product=files&text=nowhere")


def test_a_page_beyond_the_last_shows_the_last(four_nights: Night) -> None:
    assert "1–20 of 20" in markup(four_nights, "?page=log&product=files&start=500")
