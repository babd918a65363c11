"""The programs beside the tests, which no test runs as a whole: each is there and says what it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = [
    f"tests.{path.parent.name}.{path.stem}"
    for folder in ("bench", "torture")
    for path in sorted((ROOT / "tests" / folder).glob("[a-z]*.py"))
    if not path.stem.startswith("test_")
]


@pytest.mark.sqlite("no database is asked")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_imported_by_itself(name: str) -> None:
    command = [sys.executable, "-c", f"import {name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
