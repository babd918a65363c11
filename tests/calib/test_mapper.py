"""Jobs in threads of this process."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from small_camera import small, survey_of, write_raw

from calib.night import DarkJob
from calib.raw import group_sequences, identify
from calib.scheduling import ThreadMapper, mapper


def test_raw_files_are_fetched_while_other_jobs_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    monkeypatch.setattr(mapper, "read_ahead", lambda path: fetched.append(path.parent.name))
    raw = write_raw(survey_of(2), tmp_path / "raw")
    sequences = group_sequences([identify(path, small()) for path in sorted(raw.rglob("*.fits"))], small())
    jobs = [DarkJob(tmp_path / "out", s, small()) for s in sequences if s.obs_type == "dark"]
    assert len(jobs) == 2
    with closing(ThreadMapper(1).map(jobs)) as results:
        found = [result.outcomes[0].status for _, result in results]
    assert found == ["used", "used"]
    assert sorted(fetched) == sorted(s.night for s in (job.sequence for job in jobs))
