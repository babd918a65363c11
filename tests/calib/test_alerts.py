"""Open matters, in words: what raises an alert, what it says, and who has seen it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_camera import Night, rows, run, small, survey_of, write_raw

from calib.alert_life import with_life
from calib.alerts import _Calibrated, _Course
from calib.archive.database import Archive
from calib.archive.decisions import decide
from calib.archive.products import canonical_path, frames_path, read_product
from calib.archive.status import status_lines, status_rows
from calib.flags import flag
from calib.simulate import DarkJump, DeadColumn, DustSpot, MissingDark, NewHotPixels, QuadrantStep, SlowDrift, Survey


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
    """Three nights are too few for a chart to know what is usual; so large a jump is told all the same."""
    assert {r["status"] for r in rows(jumped.root, "darks")} == {"accepted"}
    found = {r["product"]: r for r in alerts(jumped, metric="level jump")}
    assert set(found) == {"dark R1", "dark R2-R1"}
    alert = found["dark R2-R1"]
    levels = {r["night"]: r["level_dn"] for r in rows(jumped.root, "darks", read="R2-R1")}
    change = levels[jumped.date(3)] - levels[jumped.date(2)]
    assert alert["value"] == pytest.approx(change, abs=30)
    assert change == pytest.approx(300, abs=60)
    assert (alert["night"], alert["unit"], alert["state"], alert["cause"]) == (
        jumped.date(3),
        "DN",
        "DRIFT",
        "level jump",
    )
    assert alert["proposal"] == jumped.date(3)
    assert alert["text"].endswith(
        f"Otherwise clean, so it is used. Was the instrument changed? Start a hardware period on {jumped.date(3)}"
    )


def test_a_hardware_period_closes_the_matter(jumped: Night, tmp_path: Path) -> None:
    night = jumped.copy(tmp_path / "archive")
    decide(Archive(night.root), who="ada", kind="period", night=night.date(3), reason="new electronics")
    run(night.root, night.raw)
    assert [r for r in alerts(night) if r["product"].startswith("dark")] == []


def test_a_stand_in_is_told_with_its_age_and_the_scans_concerned(jumped: Night) -> None:
    (alert,) = alerts(jumped, product="scans")
    assert (alert["night"], alert["metric"], alert["state"]) == (jumped.date(4), "calibration", "WATCH")
    assert alert["text"] == (f"J scans calibrated with a stand-in: dark of {jumped.date(3)} (1 night older) (scan 1)")


def test_what_people_say_of_an_alert_shows_without_a_run(jumped: Night, tmp_path: Path) -> None:
    night = jumped.copy(tmp_path / "archive")
    archive = Archive(night.root)
    what = {"night": night.date(3), "band": "J", "product": "dark R1", "metric": "level jump"}

    def lives() -> dict[tuple[str, str], tuple[str, str]]:
        told = with_life(alerts(night), rows(night.root, "decisions"), "1999-05-10")
        return {(r["product"], r["metric"]): (r["life"], r["life_by"]) for r in told}

    number = decide(archive, who="ada", kind="acknowledge", reason="I changed the cable", **what)
    told = lives()
    assert told.pop(("dark R1", "level jump")) == ("acknowledged", "ada")
    assert set(told.values()) == {("open", "")}
    decide(archive, who="ada", kind="undo", undoes=number, reason="not that one")
    assert set(lives().values()) == {("open", "")}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Thirty-two nights; in the last twelve a quadrant walks, a dust speck falls and goes, pixels turn hot."""
    survey = survey_of(32, scans={31: 1}).with_fault(
        SlowDrift(night=21, percent_per_night=0.1, quadrant=1),
        DustSpot(night=24, last_night=30, percent=4.0, radius_px=2.6, center_px=(20.0, 10.0)),
        NewHotPixels(night=26, count=12, faintest_dn=700.0),
    )
    return settled(survey, tmp_path_factory.mktemp("story"))


def test_a_slow_drift_is_told_while_every_night_is_like_the_last(story: Night) -> None:
    """Each night is like the last and so accepted; the walk is told before it matters, with when it will."""
    assert {r["status"] for r in rows(story.root, "flats")} == {"accepted"}
    (alert,) = alerts(story, product="responsivity", metric="quadrant")
    assert (alert["region"], alert["unit"]) == ("Q2", "%")
    assert alert["cause"] == "slow drift, quadrant step"
    assert story.date(21) <= alert["night"] <= story.date(30)
    assert story.date(19) <= alert["since"] <= story.date(24)
    assert alert["last_night"] == story.date(31)
    assert not alert["over"]
    assert alert["value"] == pytest.approx(1.1, abs=6 * alert["error"])
    assert alert["state"] in ("NOTICE", "WATCH")
    assert alert["significance"] >= 5


def test_an_alert_names_the_scans_it_touches_and_by_how_much(story: Night) -> None:
    (alert,) = alerts(story, product="responsivity", metric="quadrant")
    scans = alert["scans"]
    scans = json.loads(scans) if isinstance(scans, str) else scans
    assert scans == {"n": 1, "scans": [[story.date(31), 1]]}
    # 0.1 % a night, and the canonical is two nights behind.
    assert alert["effect_mmag"] == pytest.approx(2500 * np.log10(1.002), rel=0.4)


def test_of_a_walk_only_what_the_canonicals_have_not_followed_harms_scans(tmp_path: Path) -> None:
    """0.12 % a night from night 20 on: the canonical of five nights is two nights behind, once all of them walk."""
    survey = survey_of(30, scans={20: 1, 28: 1}).with_fault(SlowDrift(night=20, percent_per_night=0.12, quadrant=1))
    night = settled(survey, tmp_path)
    assert {r["status"] for r in rows(night.root, "flats")} == {"accepted"}
    (alert,) = alerts(night, product="responsivity", metric="quadrant")
    assert alert["scans"] == {"n": 2, "scans": [[night.date(20), 1], [night.date(28), 1]]}
    assert alert["value"] == pytest.approx(1.2, abs=0.3)
    # Magnitudes of so small a change of a flux.
    assert alert["effect_mmag"] == pytest.approx(2500 * np.log10(1.0024), rel=0.3)
    assert f"2 scans since, up to {alert['effect_mmag']:.1f} mmag" in alert["text"]


def courses(since: str, sizes: dict[str, float], last: str | None = None) -> _Course:
    days = [date.fromisoformat(n).toordinal() for n in sizes]
    return _Course(since, last, np.array(days, float), np.array(list(sizes.values())))


def test_what_is_left_of_a_deviation_is_its_size_less_the_mean_over_the_canonical() -> None:
    nights = [f"1999-05-{d:02d}" for d in range(1, 11)]
    members = {n: nights[max(k - 4, 0) : k + 1] for k, n in enumerate(nights)}
    scans = _Calibrated([(n, n, 1) for n in nights], members)
    step = courses(nights[5], {nights[5]: 2.0})
    # One of the five nights has it.
    assert scans.left(slice(5, 10), step) == pytest.approx(2.0 * 4 / 5)
    assert scans.left(slice(7, 10), step) == pytest.approx(2.0 * 2 / 5)
    assert scans.left(slice(9, 10), step) == pytest.approx(0)
    # A night that was not measured is between its neighbours.
    walk = courses(nights[0], {nights[0]: 0.0, nights[4]: 0.4, nights[9]: 0.9})
    assert scans.left(slice(6, 10), walk) == pytest.approx(0.2)
    # When it has gone, the canonicals that have learned it are off.
    gone = courses(nights[0], {nights[0]: 2.0}, last=nights[8])
    assert scans.left(slice(9, 10), gone) == pytest.approx(2.0 * 4 / 5)
    # What a canonical is made of may be unknown: all of it counts.
    assert _Calibrated([(nights[7], "supplied", 3)], members).left(slice(0, 1), step) == pytest.approx(2.0)


def test_a_speck_of_dust_is_told_where_it_is_and_when_it_goes(story: Night) -> None:
    (alert,) = alerts(story, metric="spot")
    _, x, _, y = alert["region"].split()
    assert np.hypot(int(x) - 10, int(y) - 20) < 5
    assert (alert["night"], alert["cause"]) == (story.date(24), "dust or local spot")
    assert alert["value"] == pytest.approx(-4, abs=1)
    assert alert["over"]
    assert alert["last_night"] == story.date(31)


def test_a_column_dies_once_and_is_masked_from_that_night_on(tmp_path: Path) -> None:
    survey = survey_of(9, scans={5: 1, 6: 1}).with_fault(DeadColumn(night=5, column=21))
    night = settled(survey, tmp_path)
    assert {r["status"] for r in rows(night.root, "flats")} == {"accepted"}
    counts = {r["night"]: r["pixels"]["counts"].get("dead", 0) for r in rows(night.root, "flats") if r["pixels"]}
    assert {n: c for n, c in counts.items() if c} == {night.date(5): 64}
    (alert,) = alerts(night, metric="dead pixels")
    assert (alert["night"], alert["value"]) == (night.date(5), 64)
    for k in (5, 6):
        canonical = read_product(night.root, canonical_path(night.date(k), "J"), ("DQ",))["DQ"]
        assert (canonical[:, 21] & flag("DEAD")).all()
        assert np.mean(canonical & flag("DEAD") > 0) < 0.03
        frames = read_product(night.root, frames_path(night.date(k), "J", 1, "R2-R1"), ("SCI", "DQ"))
        assert (frames["DQ"][:, :, 21] & flag("DEAD")).all()
        assert np.isnan(frames["SCI"][:, :, 21]).all()
    before = read_product(night.root, canonical_path(night.date(4), "J"), ("DQ",))["DQ"]
    assert not (before[:, 21] & flag("DEAD")).all()


def test_a_column_that_dies_in_a_cold_start_is_told(tmp_path: Path) -> None:
    survey = survey_of(7).with_fault(DeadColumn(night=4, column=21))
    night = settled(survey, tmp_path, ("cold_start_nights = 3", "cold_start_nights = 6"))
    counts = {r["night"]: r["pixels"]["counts"].get("dead", 0) for r in rows(night.root, "flats") if r["pixels"]}
    assert {n: c for n, c in counts.items() if c} == {night.date(4): 64}


def test_new_hot_pixels_are_counted_once(story: Night) -> None:
    (alert,) = alerts(story, metric="hot pixels")
    assert (alert["night"], alert["product"], alert["unit"]) == (story.date(26), "dark R2-R1", "px")
    assert 10 <= alert["value"] <= 14
    (row,) = rows(story.root, "darks", night=story.date(26), read="R2-R1")
    pixels = row["pixels"] if isinstance(row["pixels"], dict) else json.loads(row["pixels"])
    assert pixels["counts"]["hot"] == alert["value"] == sum(e[2] == "hot" for e in pixels["events"])


def test_the_state_of_every_night_is_told(story: Night) -> None:
    states = {(r["night"], r["product"]): r for r in rows(story.root, "states")}
    assert {p for _, p in states} >= {"dark R1", "dark R2-R1", "noise R2-R1", "responsivity", "gain", "pixels"}
    assert states[story.date(1), "responsivity"]["state"] == "UNKNOWN"
    assert states[story.date(15), "responsivity"]["state"] == "OK"
    assert states[story.date(31), "responsivity"]["state"] in ("NOTICE", "WATCH")
    assert states[story.date(26), "pixels"]["state"] == "NOTICE"
    assert states[story.date(27), "pixels"]["state"] == "OK"
    # There are no scans but in the last night: what was not measured is not good.
    assert states[story.date(10), "sky offsets"]["state"] == "UNKNOWN"


def test_nights_that_agree_in_being_rejected_propose_a_period(tmp_path: Path) -> None:
    survey = survey_of(7).with_fault(QuadrantStep(night=4, percent=3.0, quadrant=2))
    night = settled(survey, tmp_path)
    (alert,) = alerts(night, metric="hardware period")
    assert alert["proposal"] == night.date(4)
    assert (alert["night"], alert["product"], alert["value"]) == (night.date(4), "responsivity", 3.0)
    assert alert["text"].endswith(f"Start a hardware period on {night.date(4)}")
    causes = {r["cause"].split(" (")[0] for r in rows(night.root, "flats", status="rejected")}
    assert causes == {"quadrant step"}


def test_an_instrument_that_was_another_one_for_a_while_is_told_to_be_back(tmp_path: Path) -> None:
    survey = survey_of(9).with_fault(QuadrantStep(night=4, last_night=6, percent=3.0, quadrant=2))
    night = settled(survey, tmp_path)
    (alert,) = alerts(night, metric="hardware period")
    assert alert["over"]
    assert (alert["night"], alert["last_night"]) == (night.date(4), night.date(6))
    assert alert["text"].endswith("was another one for a while, and nights after them are accepted again")


def test_the_status_shows_alerts_under_their_night(jumped: Night) -> None:
    found = status_rows(Archive(jumped.root))
    assert [r["night"] for r in found] == [jumped.date(k) for k in range(5)]
    lines = status_lines(found)
    assert lines[0] == f"{jumped.date(0)} J   dark accepted | flat accepted"
    assert lines[3].startswith(f"{jumped.date(3)} J   dark accepted | flat accepted\n    DRIFT: J dark R1: level jump")
    assert lines[4].startswith(f"{jumped.date(4)} J   no dark | flat accepted | 1 scan, 4 sky offsets")
    assert status_lines([]) == ["the archive holds no night yet"]
