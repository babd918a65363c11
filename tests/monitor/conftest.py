"""A small archive with faults, servers on it, and a browser that reports whatever goes wrong in it.

The browser is Chromium, found as $VESPER_CHROMIUM, on the path, or as Playwright installed it. Without one the tests
that need it are skipped, or fail where $VESPER_REQUIRE_BROWSER is set.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser_window import Served, Window
from small_camera import Night, copy_archive, run, survey_of, write_raw

from calib.simulate import CloudGradient, DarkJump, MissingDark, MissingFlat, NewHotPixels, QuadrantStep

BANDS = ("J", "H", "Ks")
LAST = 5
"""Ordinal of the night that the archive does not hold at first."""


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Five nights in three bands, with scans and most kinds of verdicts; a sixth lies ready in ``raw-later``."""
    top = tmp_path_factory.mktemp("faulty")
    survey = survey_of(LAST + 1, scans={1: 1, 4: 1}).with_fault(
        MissingDark(night=1, bands=("H",)),
        QuadrantStep(night=2, last_night=2, bands=("J",), percent=3.0),
        MissingFlat(night=2, bands=("Ks",)),
        NewHotPixels(night=3, bands=("H",)),
        DarkJump(night=3, bands=("Ks",)),
        CloudGradient(night=4, bands=("H",), percent=4.0),
    )
    raw = write_raw(survey, top / "raw", bands=BANDS, nights=range(LAST))
    write_raw(survey, top / "raw-later", bands=BANDS, nights=[LAST])
    run(top / "archive", raw)
    return Night(top / "archive", raw, survey)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Night], Night]:
    """Return a function that copies an archive, for tests that change it."""

    def copy(night: Night) -> Night:
        return replace(night, root=copy_archive(night.root, tmp_path / "archive"))

    return copy


@pytest.fixture(scope="session")
def server(faulty: Night) -> Iterator[Served]:
    """The archive with faults, served; nothing may change it."""
    yield from _serving(faulty.root)


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Served]]:
    """Return a function that serves an archive of a test's own."""
    from monitor.server import free_port

    started: list[Served] = []

    def start(root: Path) -> Served:
        started.append(Served(root, free_port()))
        started[-1].start()
        return started[-1]

    yield start
    for served in started:
        served.stop()


def _serving(root: Path) -> Iterator[Served]:
    from monitor.server import free_port

    served = Served(root, free_port())
    served.start()
    yield served
    served.stop()


# The browser ---------------------------------------------------------------------------------------------------------


def _chromium() -> str | None:
    """Return the browser's program: an own one, the system's, or Playwright's."""
    if named := os.environ.get("VESPER_CHROMIUM"):
        return named if Path(named).exists() else None
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """What pytest-playwright starts the browser with."""
    program = _chromium()
    if program is None:
        reason = (
            "no browser: install Debian's chromium, run `playwright install chromium`, or name one by $VESPER_CHROMIUM"
        )
        if os.environ.get("VESPER_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    return {"executable_path": program, "args": quiet}


@pytest.fixture
def window(request: pytest.FixtureRequest) -> Iterator[Callable[..., Window]]:
    """Return a function that opens a window of a size and theme; all must be free of faults in the end."""
    browser = request.getfixturevalue("browser")
    opened: list[tuple[Any, Window]] = []

    def start(size: tuple[int, int] = (1440, 900), theme: str = "light") -> Window:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
        context.set_default_timeout(20_000)
        shown = Window(context.new_page())

        def watch(route: Any) -> None:
            if route.request.url.startswith("http://127.0.0.1:"):
                route.continue_()
            else:
                shown.faults.append(f"request to {route.request.url}")
                route.abort()

        def said(message: Any) -> None:
            if message.type == "error":
                shown.faults.append(f"console: {message.text}")

        context.route(lambda url: url.startswith("http"), watch)
        shown.page.on("console", said)
        shown.page.on("pageerror", lambda error: shown.faults.append(f"exception: {error}"))
        shown.page.on(
            "websocket",
            lambda s: None if s.url.startswith("ws://127.0.0.1:") else shown.faults.append(f"socket to {s.url}"),
        )
        opened.append((context, shown))
        return shown

    yield start
    for context, _ in opened:
        context.close()
    for _, shown in opened:
        shown.check()
