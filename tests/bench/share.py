"""What a night's statistics cost beside its calibration, on raw frames: ``python -m tests.bench.share``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from calib.archive.database import Archive
from calib.profile import load_profile
from calib.simulate import Survey, write_night
from calib.survey import run_survey


def main(nights: int = 24, scans: int = 2) -> None:
    """Print the share of each stage in a run that adds one night with scans to an archive of some nights."""
    profile = load_profile("2mass")
    survey = Survey(nights=nights, scans={nights - 1: scans})
    with tempfile.TemporaryDirectory(prefix="vesper-bench-", dir="/var/tmp") as name:
        raw = Path(name) / "raw"
        for night in survey:
            write_night(night, raw / night.date)
        archive = Archive(Path(name) / "archive", create=True)
        dates = sorted(raw.iterdir())
        run_survey(archive, profile, dates[:-1], frames=False)
        report = run_survey(archive, profile, dates[-1:], frames=True)
        archive.close()
    total = sum(report.seconds.values())
    print(f"One night of three bands with {scans} scans, the {nights}th of an archive")
    for stage, seconds in report.seconds.items():
        print(f"  {stage:20} {seconds:6.2f} s  {seconds / total:6.1%}")


if __name__ == "__main__":
    main()
