"""Named surveys."""

import ast
from pathlib import Path

import pytest

import calib.simulate as package
from calib.simulate import BANDS, FAULTS, SCENARIOS, describe_scenarios


@pytest.mark.parametrize("nights", [3, 10, 30])
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_scenarios_build_for_any_number_of_nights(name, nights):
    survey = SCENARIOS[name](nights=nights, start="2000-01-01", seed=9)
    assert (survey.nights, survey.start, survey.seed, survey.name) == (nights, "2000-01-01", 9, name)
    assert all(fault.night < nights for fault in survey.faults)
    assert (name == "quiet") == (not survey.faults)
    for night in survey:
        for band in BANDS:
            survey.faults_of(night.ordinal, band)
            night.dark_scene(band)


def test_the_survey_tells_of_every_fault_and_ends_on_a_night_worth_a_look():
    survey = SCENARIOS["survey"](nights=30)
    assert {type(fault) for fault in survey.faults} == set(FAULTS)
    assert all(not survey.faults_of(night, band) for night in range(4) for band in BANDS)
    with_scans = [night.ordinal for night in survey if night.scans]
    assert len(with_scans) == 6
    assert survey.night(29).scans == (1, 2)
    assert all(survey.night(night).scan_scene("J", 1) is not None for night in with_scans)
    for fault in survey.faults:
        assert any(fault in survey.faults_of(fault.night, band) for band in fault.bands), fault


@pytest.mark.parametrize("nights", [3, 4, 7, 10, 30, 100])
def test_faults_of_the_survey_do_not_hide_each_other(nights):
    survey = SCENARIOS["survey"](nights=nights)
    for night in survey:
        for band in BANDS:
            twilight = [f.kind for f in survey.faults_of(night.ordinal, band) if f.subject == "twilight"]
            assert len(twilight) <= 1, (night.date, band)
    assert survey.night(nights - 1).dark_scene("H") is not None
    assert "CloudGradient" in [fault.kind for fault in survey.faults_of(nights - 1, "H")]


def test_options_reach_the_survey():
    survey = SCENARIOS["stuck"](nights=3, n_dark=4, size_px=32)
    assert survey.night(0).dark("J").r1.shape == (4, 32, 32)


def test_every_scenario_is_described_in_one_sentence():
    descriptions = describe_scenarios()
    assert set(descriptions) == set(SCENARIOS)
    for text in descriptions.values():
        assert text.endswith(".")
        assert "`" not in text
        assert ".  " not in text


def test_all_public_names_exist_and_are_sorted():
    assert len(set(package.__all__)) == len(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


def test_the_simulator_knows_nothing_of_the_calibration():
    for path in Path(package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                depth = len(path.relative_to(Path(package.__file__).parent).parts)
                assert node.level <= depth, path
                names = [] if node.level else [node.module or ""]
            else:
                continue
            assert not [name for name in names if name.split(".")[0] in {"calib", "monitor"}], path
