"""A server in a process of its own, and a browser's window on it."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Served:
    """A server in a process of its own.

    Attributes
    ----------
    root : Path
        The archive's folder.
    port : int
    options : tuple of str
        Further words of the command.
    """

    root: Path
    port: int
    options: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = None
    _log: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        words = ["serve", "--archive", str(self.root), "--port", str(self.port), *self.options]
        command = [sys.executable, "-m", "monitor.cli", *words]
        self._log = open(self.root.parent / f"server-{self.port}.log", "ab")  # noqa: SIM115
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=self._log, stderr=subprocess.STDOUT)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(urllib.request.Request(self.url, method="HEAD"), timeout=2).close()
                return
            except OSError:
                assert self._process.poll() is None, self.log()
                time.sleep(0.05)
        raise TimeoutError(self.log())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None
            self._log.close()

    def log(self) -> str:
        return (self.root.parent / f"server-{self.port}.log").read_text("utf-8", "replace")


IDLE = """() => window.Bokeh && Bokeh.documents.length && Bokeh.documents.every(d => d.is_idle)
          && !document.getElementById("starting")"""


@dataclass
class Window:
    """A browser's window on the page, and whatever went wrong in it.

    Attributes
    ----------
    page : playwright.sync_api.Page
    faults : list of str
        Errors on the console, exceptions, requests to other machines.
    allowed : list of str
        Beginnings of faults that the test brings about itself.
    """

    page: Any
    faults: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def open(self, url: str) -> Any:
        self.page.goto(url)
        self.page.wait_for_function(IDLE)
        self.page.locator("#main h1, #main h2, #main [role=alert]").first.wait_for()
        return self.page

    def go(self, name: str) -> None:
        """Open one of the pages by the rail."""
        self.page.locator(f"#rail-{name}").click()
        self.page.wait_for_function("name => new URLSearchParams(location.search).get('page') === name", arg=name)
        self.page.locator(f"#rail-{name}[aria-current=page]").wait_for()
        self.settle()

    def settle(self) -> None:
        """Wait until the page has drawn what the server sent."""
        self.page.wait_for_function(IDLE)
        self.page.wait_for_timeout(150)

    def check(self) -> None:
        left = [f for f in self.faults if not any(f.startswith(a) for a in self.allowed)]
        assert not left, "\n".join(left)
