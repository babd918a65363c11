"""Dask schedulers: the cases of `scheduling_cases` and `scheduler_lost_cases`, in a process of their own.

Playwright keeps an event loop running in the thread of the tests once a browser was used, and there Dask's clients wait
for each other.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("cases", ["scheduling_cases", "scheduler_lost_cases"])
def test_jobs_on_dask_workers(cases: str) -> None:
    pytest.importorskip("distributed", reason="no distributed: `pip install 'vesper[dask]'`")
    path = Path(__file__).with_name(f"{cases}.py")
    words = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:playwright", str(path)]
    own = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(words, cwd=Path(__file__).parents[2], env=own, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
