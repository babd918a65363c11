"""Open matters, in words: what raises an alert, what it says, and who has seen it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_camera import Night, rows, run, small, survey_of, write_raw

from calib.archive.database import Archive
from calib.archive.decisions import decide
from calib.archive.status import status_lines, status_rows
from calib.simulate import DarkJump, MissingDark, QuadrantStep, SlowDrift, Survey


def settled(survey: Survey, folder: Path, *edits: tuple[str, str]) -> Night:
    raw = write_raw(survey, folder / "raw")
    run(folder / "archive", raw, small(*edits))
    return Night(folder / "archive", raw, survey)


def alerts(of: Night, **where: Any) -> list[dict[str, Any]]:
    return rows(of.root, "alerts", **where)


@pytest.fixture(scope="module")
def jumped(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The dark jumps on the fourth of five nights; the fifth has none."""
    survey = survey_of(5, scans={4: 1}).with_fault(DarkJump(night=3), MissingDark(night=4))
    return settled(survey, tmp_path_factory.mktemp("jumped"))


def test_good_nights_raise_no_alert(four_nights: Night) -> None:
    assert alerts(four_nights) == []


def test_a_jump_of_the_dark_is_accepted_and_a_period_proposed(jumped: Night) -> None:
    assert {r["status"] for r in rows(jumped.root, "darks")} == {"accepted"}
    found = {r["product"]: r for r in alerts(jumped, metric="level jump")}
    assert set(found) == {"dark R1", "dark R2-R1"}
    alert = found["dark R2-R1"]
    levels = {r["night"]: r["level_dn"] for r in rows(jumped.root, "darks", read="R2-R1")}
    change = levels[jumped.date(3)] - levels[jumped.date(2)]
    assert alert["value"] == pytest.approx(change)
    assert change == pytest.approx(300, abs=60)
    assert (alert["night"], alert["limit"], alert["unit"], alert["state"]) == (jumped.date(3), 120.0, "DN", "DRIFT")
    assert alert["text"] == (
        f"J dark R2-R1 jumped by {change:+.0f} DN against {jumped.date(2)}; otherwise clean, so it is used. "
        "Was the instrument changed? If so, start a hardware period"
    )


def test_a_jump_is_also_far_from_the_reference(jumped: Night) -> None:
    (alert,) = alerts(jumped, product="dark R2-R1", metric="deviation")
    assert (alert["state"], alert["region"], alert["unit"]) == ("DRIFT", "array", "DN")
    assert alert["limit"] == 150.0
    assert f"J dark R2-R1, whole array: {alert['value']:+.3g} DN from the reference" in alert["text"]


def test_a_hardware_period_closes_the_matter(jumped: Night, tmp_path: Path) -> None:
    night = jumped.copy(tmp_path / "archive")
    decide(Archive(night.root), who="ada", kind="period", night=night.date(3), reason="new electronics")
    run(night.root, night.raw)
    assert [r for r in alerts(night) if r["metric"] in ("level jump", "deviation")] == []


def test_a_stand_in_is_told_with_its_age_and_the_scans_concerned(jumped: Night) -> None:
    (alert,) = alerts(jumped, product="scans")
    assert (alert["night"], alert["metric"], alert["state"]) == (jumped.date(4), "calibration", "WATCH")
    assert alert["text"] == (f"J scans calibrated with a stand-in: dark of {jumped.date(3)} (1 night older) (scan 1)")


def test_an_alert_says_who_has_seen_it(jumped: Night, tmp_path: Path) -> None:
    night = jumped.copy(tmp_path / "archive")
    archive = Archive(night.root)
    what = {"night": night.date(3), "band": "J", "product": "dark R1", "value": "level jump"}
    number = decide(archive, who="ada", kind="acknowledge", reason="I changed the cable", **what)
    run(night.root, night.raw)
    seen = {(r["product"], r["metric"]): r["acknowledged_by"] for r in alerts(night)}
    assert seen.pop(("dark R1", "level jump")) == "ada"
    assert set(seen.values()) == {None}
    decide(archive, who="ada", kind="undo", undoes=number, reason="not that one")
    run(night.root, night.raw)
    assert {r["acknowledged_by"] for r in alerts(night)} == {None}


def test_a_slow_drift_is_judged_against_the_reference_not_the_canonical(tmp_path: Path) -> None:
    """Each night is like the last and so accepted; the sum is told."""
    survey = survey_of(10).with_fault(SlowDrift(night=2, percent_per_night=0.35, quadrant=1))
    night = settled(
        survey, tmp_path, ("reference_nights = 20 ", "reference_nights = 3 "), ("window = 5 ", "window = 2 ")
    )
    assert {r["status"] for r in rows(night.root, "flats")} == {"accepted"}
    (alert,) = alerts(night, product="responsivity")
    assert (alert["metric"], alert["region"], alert["unit"]) == ("deviation", "Q2", "%")
    assert alert["state"] in ("WATCH", "DRIFT")
    assert abs(alert["value"]) > 1.0
    assert f"beyond 1 % since {alert['night']}" in alert["text"]
    assert alert["last_night"] == night.date(9)


def test_nights_that_agree_in_being_rejected_propose_a_period(tmp_path: Path) -> None:
    survey = survey_of(7).with_fault(QuadrantStep(night=4, percent=3.0, quadrant=2))
    night = settled(survey, tmp_path)
    (alert,) = alerts(night, metric="hardware period")
    assert (alert["night"], alert["product"], alert["value"]) == (night.date(4), "responsivity", 3.0)
    assert alert["text"].endswith(f"Start a hardware period on {night.date(4)}")
    causes = {r["cause"].split(" (")[0] for r in rows(night.root, "flats", status="rejected")}
    assert causes == {"quadrant step"}


def test_the_status_shows_alerts_under_their_night(jumped: Night) -> None:
    found = status_rows(Archive(jumped.root))
    assert [r["night"] for r in found] == [jumped.date(k) for k in range(5)]
    lines = status_lines(found)
    assert lines[0] == f"{jumped.date(0)} J   dark accepted | flat accepted"
    assert lines[3].startswith(f"{jumped.date(3)} J   dark accepted | flat accepted\n    DRIFT: J dark R1")
    assert lines[4].startswith(f"{jumped.date(4)} J   no dark | flat accepted | 1 scan, 4 sky offsets")
    assert status_lines([]) == ["the archive holds no night yet"]
