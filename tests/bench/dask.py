"""A run in threads beside 1, 2 and 4 Dask workers, on a survey of full frames that is simulated first.

Run with ``python -m tests.bench.dask [NIGHTS]``. Workers on one machine share its cores and its disk: more workers than
cores gain nothing.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from calib import simulate
from calib.archive.database import Archive
from calib.profile import load_profile
from calib.scheduling import mapper_for
from calib.survey import run_survey


def main(nights: int = 3) -> None:
    """Simulate, run, print."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        simulate.simulate(top / "raw", nights=nights, seed=7, scenario="quiet", scans=2)
        read = sum(p.stat().st_size for p in (top / "raw").rglob("*.fits"))
        print(f"{nights} nights, {read / 1e9:.2f} GB of raw files, {os.cpu_count()} cores")
        # The first run fetches the compiled code and the raw files, and is not counted.
        for name, scheduler, workers in (
            ("", None, 2),
            ("threads, 2 jobs at a time", None, 2),
            ("1 Dask worker", "local", 1),
            ("2 Dask workers", "local", 2),
            ("4 Dask workers", "local", 4),
        ):
            _run(name, top, scheduler, workers)


def _run(name: str, top: Path, scheduler: str | None, workers: int) -> None:
    with tempfile.TemporaryDirectory(dir=top) as folder:
        archive, begin = Archive(Path(folder) / "archive", create=True), time.perf_counter()
        with mapper_for(scheduler, archive.root, workers) as mapper:
            up = time.perf_counter()
            report = run_survey(archive, load_profile("2mass"), [top / "raw"], mapper=mapper)
            end = time.perf_counter()
        archive.close()
        files = [p for p in archive.root.rglob("*") if p.is_file()]
        rows = sum(p.stat().st_size for p in files if p.name.startswith("archive.sqlite"))
        written = sum(p.stat().st_size for p in files) - rows
    if name:
        print(
            f"  {name:26} start {up - begin:5.1f} s   run {end - up:6.1f} s   of it darks, flats, scans "
            f"{report.seconds['calibration']:6.1f} s   {written / 1e9:.1f} GB written, {rows / 1e6:.1f} MB of rows",
            flush=True,
        )


if __name__ == "__main__":
    main(*(int(n) for n in sys.argv[1:2]))
