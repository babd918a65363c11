"""The programs beside the tests, which no test runs as a whole: each is there and says what it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.memory import measure

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


@pytest.mark.sqlite("a benchmark makes its own archive")
def test_the_benchmark_of_memory_calibrates_what_it_makes(tmp_path: Path) -> None:
    peak, _, size = measure(tmp_path, frames=44, side=128, block_frames=22, final_frames=True)
    assert 0 < peak < 2**30
    assert size > 44 * 128**2 * 4
    assert (tmp_path / "archive" / "nights" / "2011-04-12" / "Ks" / "scans" / "001" / "frames-CDS.fits").is_file()
