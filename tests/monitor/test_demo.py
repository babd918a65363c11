"""The demo: what it plans, what it refuses, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from browser_window import REPOSITORY
from click.testing import CliRunner, Result

from calib.errors import CalibError
from monitor import demo
from monitor.cli import main
from monitor.demo import Plan
from monitor.server import free_port
from monitor.shell import age_words

PLAN = Plan(nights=30, seed=7, start="2001-02-03")


def test_the_newest_night_is_last_night() -> None:
    plan = Plan.until_last_night(30, 7, False)
    last = (datetime.fromisoformat(plan.start) + timedelta(days=plan.nights - 1)).date()
    site = -7.0
    assert last == (datetime.now(UTC) + timedelta(hours=site)).date() - timedelta(days=1)
    assert not age_words(last.isoformat(), site)[1]


def test_a_plan_is_kept_with_its_folder(tmp_path: Path) -> None:
    assert Plan.read(tmp_path) is None
    PLAN.write(tmp_path, complete=False)
    assert Plan.read(tmp_path) == (PLAN, False)
    PLAN.write(tmp_path, complete=True)
    assert Plan.read(tmp_path) == (PLAN, True)
    assert [p.name for p in tmp_path.iterdir()] == ["demo.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"complete": true, "nights": 3}', '{"complete": true, "moons": 2}'])
def test_a_damaged_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "demo.json").write_text(text)
    with pytest.raises(CalibError, match="cannot be read"):
        Plan.read(tmp_path)


def started(folder: Path, *arguments: str) -> Result:
    command = ["demo", "--dir", str(folder), "--port", str(free_port()), "--no-show", *arguments]
    return CliRunner().invoke(main, command)


def test_what_a_folder_holds_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("…")
    result = started(tmp_path)
    assert result.exit_code == 1
    assert "holds something else than a demo" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("other", [["--nights", "4"], ["--seed", "8"], ["--frames"]])
def test_another_demo_is_left_alone(tmp_path: Path, other: list[str]) -> None:
    PLAN.write(tmp_path, complete=True)
    result = started(tmp_path, *other)
    assert result.exit_code == 1
    assert "holds another demo (30 nights, seed 7, without frames)" in result.output


def test_a_disk_too_small_is_refused_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2e9, 1e9, 1e9))
    result = started(tmp_path)
    assert result.exit_code == 1
    assert "has room for 1.0 GB" in result.output
    assert not list(tmp_path.iterdir())


def test_a_complete_demo_is_served_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr("monitor.server.serve", lambda root, **options: served.append((root, options)))
    monkeypatch.setattr(demo, "_child", lambda *_: pytest.fail("nothing is to be made"))
    PLAN.write(tmp_path, complete=True)
    assert started(tmp_path).exit_code == 0
    ((root, options),) = served
    assert root == tmp_path / "archive"
    assert "waiting" not in options


def answer(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{url}ready", timeout=5) as reply:
            return dict(json.loads(reply.read()))
    except OSError:
        return {"status": "down"}


def children(of: int) -> set[int]:
    """The processes that a process has started, and those that they have."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == of:
            child = int(stat.parent.name)
            found |= {child} | children(child)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc, which Linux has")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_from_nothing_to_a_page_and_back(tmp_path: Path, end: signal.Signals) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "monitor.cli", "demo", "--nights", "3", "--port", str(port), "--no-show"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 120
        said = ""
        # One of them waits for data; the others are stopped in the middle of the work.
        wanted = "ok" if end is signal.SIGINT else "failed"
        while (found := answer(url))["status"] != wanted:
            said = found.get("reason", said)
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        if wanted == "ok":
            assert "The first night is being" in said
        made = children(process.pid)
        assert made
        process.send_signal(end)
        status = process.wait(30)
    finally:
        process.kill()
        log.close()
    assert status == {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGKILL: -9}[end]
    until = time.monotonic() + 10
    while [p for p in made if _runs(p)] and time.monotonic() < until:
        time.sleep(0.1)
    assert not [p for p in made if _runs(p)]
    text = (tmp_path / "log").read_text()
    assert f"Vesper is at {url}" in text
    assert "Traceback" not in text
    if end is not signal.SIGKILL:
        assert [p.name for p in tmp_path.iterdir()] == ["log"]


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
