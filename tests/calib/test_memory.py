"""Memory that is freed while frames are calibrated: kept for the next arrays, and given back at the end."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Says how many MB the process holds: with arrays, after they are freed inside, after the end.
_CHILD = """
import numpy as np
from calib.memory import kept_memory

def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) // 1024

def use():
    arrays = [np.ones(2**17) for _ in range(100)]
    return held()

before = held()
with kept_memory():
    with kept_memory():
        used = use()
    freed = held()
    again = use()
print(used - before, freed - before, again - before, held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the C library of GNU is told what to keep")
def test_freed_memory_serves_the_next_arrays_and_goes_back_at_the_end() -> None:
    run = subprocess.run([sys.executable, "-c", _CHILD], check=True, capture_output=True, text=True)
    used, freed, again, left = map(int, run.stdout.split())
    assert used >= 100
    assert freed >= 95
    assert again <= used + 5
    assert left <= 20
