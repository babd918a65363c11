"""The page: how soon it is there, what it costs the server, the line and the memory.

Run with ``python -m tests.bench.page [ARCHIVE] [--scans N]``; without an archive of some 30 nights, one of a small
camera is made first. The survey of 1300 nights has the rows of that archive many times over, at earlier dates, and no
more images. With ``--scans 60`` each of its nights gets the rows of so many scans more in every band, as a survey has
them: 0.5 million of scans and 2.8 million of sky offsets, 2.4 GB.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.place import REMEMBERED
from calib.archive.status import status_lines, status_rows
from monitor.address import PAGES
from monitor.collect import Collector
from monitor.collect_limits import history_of
from monitor.server import free_port
from monitor.session import Session
from tests.monitor.browser_window import IDLE, Served
from tests.monitor.page_client import visit, while_open
from tests.postgresql import copy_rows
from tests.small_camera import run, survey_of, write_raw

NIGHTS, LONG, BLOCKS = 30, 1300, 6
PLACE = ("night", "band", "scan", "read")
TABLES = ("darks", "flats", "scans", "sky_offsets", "metrics", "states")
DATES = ("night", "dark_night", "canonical_night")


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def make_archive(top: Path) -> Path:
    """Calibrate some nights of a small camera."""
    survey = survey_of(NIGHTS, scans={9: 1, 19: 1, 29: 2})
    run(top / "archive", write_raw(survey, top / "raw", bands=("J", "H", "Ks")))
    return top / "archive"


def lengthen(archive: Path, to: Path, nights: int) -> Path:
    """Copy an archive (its images by links) and repeat its rows at earlier dates until it has so many nights."""
    shutil.copytree(archive, to, copy_function=_link)
    if (to / REMEMBERED).exists():
        copy_rows(archive, to)
    opened = Archive(to)
    with opened.begin() as connection:
        every = [schema.metadata.tables[name] for name in TABLES]
        found = {table: connection.execute(sa.select(table)).mappings().all() for table in every}
        tables = {table: rows for table, rows in found.items() if rows}
        known = sorted({r["night"] for r in tables[schema.flats]})
        span = (dt.date.fromisoformat(known[-1]) - dt.date.fromisoformat(known[0])).days + 1
        for k in range(1, nights // len(known)):
            for table, rows in tables.items():
                dates = [c for c in DATES if c in table.columns]
                connection.execute(
                    sa.insert(table), [{**r, **{c: _earlier(r[c], k * span) for c in dates}} for r in rows]
                )
    opened.close()
    return to


def _earlier(night: str | None, days: int) -> str | None:
    return (dt.date.fromisoformat(night) - dt.timedelta(days=days)).isoformat() if night else night


def add_scans(archive: Path, n: int) -> None:
    """Give each night the rows of so many scans more in every band and read."""
    rng = np.random.default_rng(1)
    with sqlite3.connect(archive / "archive.sqlite") as connection:
        connection.execute("PRAGMA synchronous=OFF")
        scans, offsets = (pd.read_sql(f"SELECT * FROM {t}", connection) for t in ("scans", "sky_offsets"))
        places = scans.drop_duplicates(["band", "read"])
        of_one = [offsets[(offsets[list(PLACE)] == r[list(PLACE)]).all(axis=1)] for _, r in places.iterrows()]
        numbers = np.arange(1000, 1000 + n)
        scan = places.loc[places.index.repeat(n)].assign(scan=np.tile(numbers, len(places)))
        scan["n_blocks"], scan["n_rejected"] = BLOCKS, 0
        block = pd.concat([o.iloc[[0] * (n * BLOCKS)] for o in of_one])
        block["scan"] = np.tile(np.repeat(numbers, BLOCKS), len(places))
        block["block"] = np.tile(np.arange(BLOCKS), n * len(places))
        measured = [c for c in block.columns if block[c].dtype == float]
        for (night,) in connection.execute("SELECT DISTINCT night FROM flats ORDER BY night").fetchall():
            keys = [rng.bytes(32).hex() for _ in range(len(scan))]
            moved = block.assign(night=night)
            moved[measured] *= rng.uniform(0.5, 1, (len(block), len(measured)))
            for name, rows in (("scans", scan.assign(night=night, key=keys)), ("sky_offsets", moved)):
                rows.to_sql(name, connection, if_exists="append", index=False)
    connection.close()


def add_night(archive: Path) -> None:
    """Give an archive the rows of its last night again, at the next date."""
    with sqlite3.connect(archive / "archive.sqlite") as connection:
        (last,) = connection.execute("SELECT max(night) FROM flats").fetchone()
        following = (dt.date.fromisoformat(last) + dt.timedelta(days=1)).isoformat()
        for name in TABLES:
            rows = pd.read_sql(f"SELECT * FROM {name} WHERE night = ?", connection, params=(last,))
            rows.assign(night=following).to_sql(name, connection, if_exists="append", index=False)
    connection.close()


class Halts:
    """The longest time for which another thread could not go on, while something is at work."""

    def __enter__(self) -> Halts:
        self.seconds, self._on = 0.0, True
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._on = False
        self._thread.join()

    def _tick(self) -> None:
        last = time.perf_counter()
        while self._on:
            time.sleep(0.002)
            now = time.perf_counter()
            self.seconds, last = max(self.seconds, now - last), now


def halted(what: str, work: Callable[[], object]) -> None:
    """Print how long a piece of work takes, and how long at most all else stood still meanwhile."""
    with Halts() as halts:
        taken = seconds(work)
    print(f"  {what:34} {1000 * taken:8.0f} ms {1000 * halts.seconds:8.0f} ms")


def one_more_night(archive: Path) -> None:
    """Print what it costs the server that a night is added, and `calib status` (its process apart)."""
    collector = Collector(archive)
    history = history_of(collector)
    print("  in the background: takes, longest halt of all else")
    halted("first look at the tables", collector.snapshot)
    halted("Limits: first look at the past", history.read)
    add_night(archive)
    collector.archive.announce()
    halted("one more night: tables", collector.refresh)
    halted("one more night: past of Limits", history.read)
    halted("calib status", lambda: status_lines(status_rows(collector.archive)))
    collector.archive.close()


def server_times(archive: Path) -> None:
    """Print what opening each page, and stepping a night on it, takes the server."""
    collector = Collector(archive)
    print(f"  {'read the tables':34} {1000 * seconds(collector.snapshot):8.0f} ms")
    first = Session(collector)  # imports and caches
    nights = first.snapshot.nights[-6:]
    for name in PAGES:
        first.go(page=name)
    for name, title in PAGES.items():
        session = Session(collector, "?page=log" if name != "log" else "?page=limits")
        opened = seconds(lambda s=session, n=name: s.go(page=n))  # type: ignore[misc]
        taken = [seconds(lambda s=session, n=n: s.go(night=n)) for n in nights]  # type: ignore[misc]
        print(f"  {title + ': open, step a night':34} {1000 * opened:8.0f} ms {1000 * float(np.median(taken)):8.0f} ms")
    frame_steps(collector)
    taps(collector, nights)
    new_revision(collector)
    collector.archive.close()


def frame_steps(collector: Collector) -> None:
    """Print what a step from frame to frame of the last scan takes the server."""
    scans = collector.snapshot().scans
    if not scans.nights:
        return
    last = scans.of(scans.nights[-1]).iloc[-1]
    place = f"night={last['night']}&band={last['band']}&scan={last['scan']}&read={last['read']}"
    session = Session(collector, f"?page=scan&{place}&frame=9")
    taken = [seconds(lambda k=k: session.go(frame=k)) for k in range(10, 22)]  # type: ignore[misc]
    print(f"  {'Scan: step a frame':34} {1000 * float(np.median(taken)):8.0f} ms")


def taps(collector: Collector, nights: Sequence[str]) -> None:
    """Print what a tap on a point of Review or Trends takes: the page of another night."""
    first, again = [], []
    for night in nights:
        session = Session(collector, f"?page=trends&night={night}")
        first.append(seconds(lambda s=session, n=night: s.go(page="night", night=n)))  # type: ignore[misc]
        session.go(page="trends")
        other = session.snapshot.step(night, -1)
        again.append(seconds(lambda s=session, n=other: s.go(page="night", night=n)))  # type: ignore[misc]
    words = "Trends: tap → night, again"
    print(f"  {words:34} {1000 * float(np.median(first)):8.0f} ms {1000 * float(np.median(again)):8.0f} ms")


def new_revision(collector: Collector) -> None:
    """Print how soon a session shows a new revision, and how long at most it could not answer meanwhile."""
    session = Session(collector, "?page=review")
    collector.archive.announce()
    begun, longest, before = time.perf_counter(), 0.0, session.snapshot
    while session.snapshot is before:
        longest = max(longest, seconds(session.poll))
        time.sleep(0.005)
    words = "new revision: shown, longest halt"
    print(f"  {words:34} {1000 * (time.perf_counter() - begun):8.0f} ms {1000 * longest:8.0f} ms")


def resident_mb(served: Served) -> float:
    """Return the memory of the server's process."""
    assert served._process is not None
    lines = Path(f"/proc/{served._process.pid}/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def health(served: Served) -> None:
    """Print how soon a supervisor is answered: at first, again, and when there is something new."""

    def ask() -> None:
        urllib.request.urlopen(f"{served.url}healthz").close()

    first, again = seconds(ask), seconds(ask)
    collector = Collector(served.root)
    collector.archive.announce()
    collector.archive.close()
    print(
        f"  {'healthz: first, again, new rows':34} {1000 * first:8.0f} ms {1000 * again:8.0f} ms "
        f"{1000 * seconds(ask):8.0f} ms"
    )


def memory(served: Served, sessions: int = 10) -> None:
    """Print what an open session takes."""
    visit(served.url)
    before = resident_mb(served)
    during = while_open(served.url, sessions, lambda: resident_mb(served))
    print(f"  {'memory: server, each session':34} {before:8.0f} MB {(during - before) / sessions:8.1f} MB")


def browser_times(served: Served, launch: dict[str, Any]) -> None:
    """Print how soon the page can be used, and what goes over the line, the first time and the second."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch)
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        for label in ("first visit", "second visit"):
            page = context.new_page()
            wire, framed = [0.0], [0]
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            session.on("Network.loadingFinished", lambda e, w=wire: w.__setitem__(0, w[0] + e["encodedDataLength"]))
            page.on(
                "websocket",
                lambda s, f=framed: s.on("framereceived", lambda d, f=f: f.__setitem__(0, f[0] + len(d))),
            )

            def opened(page: Any = page) -> None:
                page.goto(served.url)
                page.wait_for_function(IDLE)
                page.locator("#main h1, #main h2").first.wait_for()

            taken = seconds(opened)
            page.wait_for_timeout(1000)
            files, frames = wire[0] / 1e6, framed[0] / 1e6
            print(f"  {label + ': usable, files, socket':34} {taken:8.1f} s  {files:8.2f} MB {frames:8.2f} MB")
            page.close()
        step = context.new_page()
        step.goto(served.url)
        step.wait_for_function(IDLE)

        def stepped() -> None:
            before = step.title()
            step.keyboard.press("ArrowLeft")
            step.wait_for_function("before => document.title !== before", arg=before)
            step.wait_for_function(IDLE)

        taken = float(np.median([seconds(stepped) for _ in range(5)]))
        print(f"  {'step a night, as seen':34} {taken:8.2f} s")
        browser.close()


def main() -> None:
    """Print the tables."""
    program = os.environ.get("VESPER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    launch = {"executable_path": program, "args": ["--no-sandbox", "--disable-gpu"]} if program else {}
    words = argparse.ArgumentParser()
    words.add_argument("archive", nargs="?", type=Path)
    words.add_argument("--scans", type=int, default=0)
    # All benchmarks together have words of their own.
    asked = words.parse_args() if __name__ == "__main__" else words.parse_args([])
    with tempfile.TemporaryDirectory(prefix="vesper-bench-", dir="/var/tmp") as name:
        top = Path(name)
        short = asked.archive or make_archive(top)
        shutil.copytree(short, top / "short", copy_function=_link, ignore=shutil.ignore_patterns("frames-*.fits"))
        long = lengthen(top / "short", top / "long", LONG)
        if asked.scans:
            add_scans(long, asked.scans)
        for archive in (top / "short", long):
            collector = Collector(archive)
            print(f"Page, {len(collector.snapshot().nights)} nights")
            collector.archive.close()
            server_times(archive)
            served = Served(archive, free_port())
            print(f"  {'start the server':34} {seconds(served.start):8.1f} s")
            try:
                health(served)
                memory(served)
                browser_times(served, launch)
            finally:
                served.stop()
            one_more_night(archive)


def _link(source: str, target: str) -> None:
    """Link images, copy the database."""
    try:
        (shutil.copy2 if "archive.sqlite" in source else os.link)(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


if __name__ == "__main__":
    main()
