"""The torture in short; `make torture` is the long form."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def command(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own, which has no threads: it forks children."""
    words = [sys.executable, "-m", f"tests.torture.{name}", *options]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=1800)


def tortured(name: str, *options: str) -> str:
    done = command(name, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_runs_and_watches() -> None:
    said = tortured("crashes", "--kills", "6", "--seed", "1")
    assert "0 differ" in said


@pytest.mark.sqlite("folders are copied with their database in them")
def test_spoiled_files_and_profiles() -> None:
    said = tortured("fuzz", "--files", "200", "--profiles", "80", "--night", "20", "--runs", "3", "--seed", "1")
    assert "    0 tracebacks or wrong readings" in said


@pytest.mark.sqlite("no database is asked")
def test_the_seed_is_told_and_tells_the_story() -> None:
    options = ("--files", "60", "--profiles", "40", "--night", "0", "--runs", "0")
    # Whatever a new seed finds: what is asked here is that it can be had again.
    first = command("fuzz", *options)
    seed = first.stdout.split("seed ", 1)[1].split()[0]
    again = command("fuzz", *options, "--seed", seed)
    assert (again.returncode, again.stdout) == (first.returncode, first.stdout)
    assert "tracebacks or wrong readings" in first.stdout


def test_readers_while_nights_arrive() -> None:
    said = tortured("load", "--sessions", "6", "--seconds", "5", "--soak", "0", "--seed", "1")
    assert re.search(r"6 sessions for 5 s while nights arrive: [1-9]\d* steps", said)
    assert "errors in the server's log: 0" in said
