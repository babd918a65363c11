"""Shared by all tests: settled archives of a small camera, made once per process.

A test that changes an archive works on a copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_camera import Night, run, small, small_text, survey_of, write_raw

from calib.profile import Profile
from calib.simulate import ArraySwap, CloudGradient
from tests import postgresql


@pytest.fixture(scope="session", autouse=True)
def rows_on_server() -> Iterator[None]:
    """Where a PostgreSQL server is named, all archives keep their rows there."""
    if not postgresql.server():
        yield
        return
    with postgresql.archives_made_there(postgresql.server()):
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of one database are skipped on the other one, and say why."""
    if postgresql.server() and (mark := item.get_closest_marker("sqlite")):
        pytest.skip(f"SQLite only: {mark.args[0]}")
    if not postgresql.server() and item.get_closest_marker("postgresql"):
        (pytest.fail if os.environ.get(postgresql.REQUIRED) else pytest.skip)(postgresql.NONE)


@pytest.fixture(scope="session")
def small_profile() -> Profile:
    return small()


@pytest.fixture(scope="session")
def small_profile_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "small.toml"
    path.write_text(small_text(), "utf-8")
    return path


@pytest.fixture(scope="session")
def four_nights(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Four good nights in J and H, a scan on the third and the fourth."""
    top = tmp_path_factory.mktemp("four-nights")
    survey = survey_of(4, scans={2: 1, 3: 1})
    raw = write_raw(survey, top / "raw", bands=("J", "H"))
    run(top / "archive", raw)
    return Night(top / "archive", raw, survey)


@pytest.fixture
def settled(four_nights: Night, tmp_path: Path) -> Night:
    """A copy of the archive of four good nights."""
    return four_nights.copy(tmp_path / "archive")


@pytest.fixture(scope="session")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Eight nights in J; the array is replaced on the fifth; a scan on the last."""
    top = tmp_path_factory.mktemp("swapped")
    survey = survey_of(8, scans={7: 1}).with_fault(ArraySwap(night=4))
    raw = write_raw(survey, top / "raw")
    run(top / "archive", raw)
    return Night(top / "archive", raw, survey)


@pytest.fixture(scope="session")
def bad_first_night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Five nights in J; the first flat was taken through a cloud."""
    top = tmp_path_factory.mktemp("bad-first-night")
    survey = survey_of(5, scans={4: 1}).with_fault(CloudGradient(night=0, percent=8.0))
    raw = write_raw(survey, top / "raw")
    run(top / "archive", raw)
    return Night(top / "archive", raw, survey)
