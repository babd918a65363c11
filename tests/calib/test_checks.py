"""Checks and verdicts: one number against one limit, and what follows when several fail."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib.checks import CHECKS, Check, CheckResult, Limit, check_table, evaluate, judge
from calib.profile import builtin_profiles, load_profile

LEAST = Check("flat", "frames", "", "min", "frames", "too few frames")
MOST = Check("flat", "gradient", "%", "max", "tilt", "cloud gradient")
LIMITS = load_profile("2mass").limits_for("flat", "H", "R2-R1")
GOOD = {
    "samples_left": 99.0,
    "frames": 56.0,
    "range": 4.1,
    "good_pixels": 99.7,
    "residual": 1.0,
    "pixel_scatter": 1.0,
    "cell_rms": 0.1,
    "cell_extreme": 0.3,
    "gradient": 0.2,
    "quadrant": 0.1,
    "beyond_2pct": 0.01,
}


@pytest.mark.parametrize(
    ("check", "value", "passes"),
    [
        (LEAST, 20, True),
        (LEAST, 19.999, False),
        (LEAST, math.inf, True),
        (MOST, 20, True),
        (MOST, 20.001, False),
        (MOST, -5, True),
        (MOST, math.inf, False),
    ],
)
def test_the_limit_is_the_last_value_that_passes(check, value, passes):
    assert CheckResult(check, value, 20).passed is passes


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.subject}-{c.name}")
def test_nan_never_passes(check):
    result = CheckResult(check, math.nan, 1.0)
    assert not result.passed
    assert result.excess == math.inf
    assert result.words() == f"{check.name} could not be measured"
    assert judge((result,)).status == "rejected"


@given(st.sampled_from([LEAST, MOST]), st.floats(0.01, 1e3), st.floats(0.01, 1e3))
def test_the_excess_is_above_one_exactly_where_a_check_fails(check, value, limit):
    result = CheckResult(check, value, limit)
    assert result.passed == (result.excess <= 1)


def test_an_excess_beyond_a_limit_of_zero_is_infinite():
    assert CheckResult(MOST, 0.3, 0.0).excess == math.inf
    assert CheckResult(LEAST, 0.0, 5.0).excess == math.inf
    assert CheckResult(MOST, 0.0, 0.0).excess == 0.0
    assert CheckResult(MOST, 0.0, 0.0).passed


def test_outcomes_in_words_give_value_unit_and_limit():
    assert CheckResult(MOST, 2.314, 1.0).words() == "gradient 2.31 % > 1 %"
    assert CheckResult(MOST, 0.5, 1.0).words() == "gradient 0.5 % ≤ 1 %"
    assert CheckResult(LEAST, 12, 20).words() == "frames 12 < 20"
    assert CheckResult(LEAST, 24, 20).words() == "frames 24 ≥ 20"


def test_values_meet_their_limits_in_the_order_of_declaration():
    results = evaluate("flat", dict(reversed(GOOD.items())), LIMITS)
    assert [r.check.name for r in results] == list(check_table("flat"))
    assert all(r.limit == LIMITS[r.check.name].value for r in results)
    assert judge(results).status == "accepted"
    assert judge(results).cause == ""


def test_what_was_not_measured_is_left_out_and_not_passed():
    results = evaluate("flat", {"gradient": 0.1}, LIMITS)
    assert [r.check.name for r in results] == ["gradient"]
    with pytest.raises(KeyError, match="quadrant"):
        evaluate("flat", {"quadrant": 0.1}, {"gradient": Limit(1.0)})


def test_a_value_that_names_no_check_is_an_error():
    with pytest.raises(KeyError, match="no such check of flat: gradiant"):
        evaluate("flat", {"gradiant": 0.1}, LIMITS)
    with pytest.raises(KeyError, match="structure"):
        evaluate("flat", {"structure": 0.1}, LIMITS)


@pytest.mark.parametrize("name", list(GOOD))
def test_each_failed_check_alone_rejects_and_names_its_own_cause(name):
    bad = 0.0 if check_table("flat")[name].bound == "min" else 1e3
    verdict = judge(evaluate("flat", GOOD | {name: bad}, LIMITS))
    assert verdict.status == "rejected"
    assert verdict.cause.startswith(check_table("flat")[name].cause)
    assert verdict.cause.endswith(f"({verdict.failed[0].words()})")
    assert [c.check.name for c in verdict.failed] == [name]


def test_of_several_failed_checks_the_first_declared_names_the_cause_and_the_worst_stands_first():
    verdict = judge(evaluate("flat", GOOD | {"frames": 19.0, "gradient": 12.0}, LIMITS))
    assert verdict.cause == "too few frames (gradient 12 % > 0.7 %; frames 19 < 20)"
    assert [c.check.name for c in verdict.failed] == ["gradient", "frames"]


def test_what_could_not_be_measured_says_so_instead_of_naming_a_cause():
    verdict = judge(evaluate("flat", GOOD | {"gradient": math.nan}, LIMITS))
    assert verdict.cause.startswith("edge-to-edge tilt of the ratio: not measurable")
    assert "cloud" not in verdict.cause


def test_a_diagnosis_names_the_cause_better_but_saves_nothing():
    results = evaluate("flat", GOOD | {"cell_rms": 2.0}, LIMITS)
    assert judge(results, cause="light leak").cause.startswith("light leak (cell_rms")
    assert judge(evaluate("flat", GOOD, LIMITS), cause="light leak").cause == ""


def test_no_check_at_all_is_no_reason_to_accept():
    verdict = judge(())
    assert verdict.status == "rejected"
    assert verdict.cause == "nothing could be measured"
    assert verdict.failed == ()


def test_checks_are_declared_once_and_every_profile_limits_each():
    keys = [(c.subject, c.name) for c in CHECKS]
    assert len(keys) == len(set(keys))
    assert {c.subject for c in CHECKS} == {"dark", "flat", "sky_offset"}
    assert all(c.meaning and c.cause for c in CHECKS)
    for name in builtin_profiles():
        profile = load_profile(name)
        for subject in ("dark", "flat", "sky_offset"):
            for band in profile.bands:
                assert set(profile.limits_for(subject, band)) == set(check_table(subject))
