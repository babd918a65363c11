"""The torture in short; `make torture` is the long form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.sqlite("folders are copied with their database in them")

ROOT = Path(__file__).parents[2]


def tortured(name: str, *options: str) -> str:
    """Run in a process of its own, which has no threads: it forks children."""
    command = [sys.executable, "-m", f"tests.torture.{name}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_runs_and_watches() -> None:
    said = tortured("crashes", "--kills", "6", "--seed", "1")
    assert "0 differ" in said


def test_spoiled_files_and_profiles() -> None:
    said = tortured("fuzz", "--files", "200", "--profiles", "80", "--night", "20", "--runs", "3", "--seed", "1")
    assert "    0 tracebacks or wrong readings" in said


def test_the_seed_is_told_and_tells_the_story() -> None:
    options = ("--files", "60", "--profiles", "40", "--night", "0", "--runs", "0")
    first = tortured("fuzz", *options)
    seed = first.split("seed ", 1)[1].split()[0]
    assert tortured("fuzz", *options, "--seed", seed) == first
