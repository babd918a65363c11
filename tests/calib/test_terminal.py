"""Progress where there is no terminal: few lines, and always the last."""

from __future__ import annotations

import pytest

from calib import terminal
from calib.terminal import progress_bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(terminal, "monotonic", lambda: now[0])
    return now


def test_a_log_says_how_far_it_is_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("verify") as progress:
        for k in range(10):
            clock[0] += 0.3
            progress(k, 10, f"file {k}")
        progress(10, 10, "the end")
        progress(10, 10, "the end")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["verify: 0/10 file 0", "verify: 4/10 file 4", "verify: 8/10 file 8", "verify: 10/10 the end"]


def test_of_a_number_that_is_not_known_nothing_is_said(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("run") as progress:
        progress(0, 0, "reading headers")
    assert capsys.readouterr().err == "run: reading headers\n"
