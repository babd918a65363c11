"""Drift: deviations with honest errors, states that need size and significance, episodes."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib.drift import deviations, episodes, states
from calib.profile import DriftLimits
from calib.regions import region_names

LIMITS = DriftLimits(watch=1.0, drift=2.0)
GRIDS = {"quadrants": (2, 2), "cells": (8, 8)}


def state_of(value, error=0.01, *, significance=5.0, series=None):
    """Return the state of the last night of a series."""
    values = np.append([] if series is None else series, value)
    errors = np.full(len(values), error)
    return states(values, errors, LIMITS, significance)[-1]


# Deviations ------------------------------------------------------------------------------------------------------


def test_every_region_gets_the_median_of_its_deviation():
    difference = np.zeros((64, 64))
    difference[:32, 32:] = 3.0
    difference[56:, 56:] = -7.0
    found = {d.region: d for d in deviations(difference, np.ones((64, 64)), difference > -99, **GRIDS)}
    assert tuple(found) == region_names(**GRIDS)
    assert (found["array"].value, found["Q1"].value, found["Q2"].value, found["Q4"].value) == (0, 0, 3, 0)
    assert (found["C77"].value, found["C76"].value, found["C07"].value) == (-7, 0, 3)


def test_errors_are_the_scatter_that_noise_alone_makes():
    rng = np.random.default_rng(1)
    error = rng.uniform(0.5, 0.7, (64, 64))
    good = rng.random((64, 64)) > 0.1
    trials = [deviations(error * rng.standard_normal((64, 64)), error, good, **GRIDS) for _ in range(400)]
    values = np.array([[d.value for d in t] for t in trials])
    stated = np.array([d.error for d in trials[0]])
    pulls = values.std(axis=0) / stated
    assert pulls[0] == pytest.approx(1, abs=0.12)  # array
    assert pulls[1:5].mean() == pytest.approx(1, abs=0.08)  # quadrants
    assert pulls[5:].mean() == pytest.approx(1, abs=0.03)  # cells


def test_what_all_pixels_share_does_not_average_out():
    error = np.full((64, 64), 0.6)
    alone, shared = (deviations(0 * error, error, error > 0, common_error=common, **GRIDS) for common in (0.0, 0.5))
    for a, b in zip(alone, shared, strict=True):
        assert b.error == pytest.approx(np.hypot(a.error, 0.5))
    assert shared[0].error == pytest.approx(0.5, rel=0.01)


def test_fewer_good_pixels_mean_larger_errors_and_none_mean_nan():
    difference, error = np.zeros((64, 64)), np.full((64, 64), 0.8)
    good = np.ones((64, 64), bool)
    good[:8, :8] = False
    good[:8, 8:16] = False
    good[0, 8:12] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = {d.region: d for d in deviations(difference, error, good, **GRIDS)}
    assert np.isnan(found["C00"].value)
    assert np.isnan(found["C00"].error)
    assert found["C01"].error == pytest.approx(1.2533 * 0.8 / 2)
    assert found["C02"].error == pytest.approx(1.2533 * 0.8 / 8)


# States ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("size", "state"), [(0.0, "OK"), (0.99, "OK"), (1.0, "WATCH"), (1.99, "WATCH"), (2.0, "DRIFT"), (50.0, "DRIFT")]
)
def test_a_certain_deviation_is_judged_by_its_size_to_either_side(sign, size, state):
    assert state_of(sign * size) == state


@pytest.mark.parametrize("sign", [1, -1])
def test_a_large_deviation_that_is_not_significant_is_no_drift(sign):
    assert state_of(sign * 3.0, error=0.59) == "DRIFT"
    assert state_of(sign * 3.0, error=0.61) == "OK"
    assert state_of(sign * 3.0, error=0.61, significance=3.0) == "DRIFT"


def test_a_significant_deviation_that_is_small_is_no_drift():
    assert state_of(0.9, error=1e-6) == "OK"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_known_is_not_green(value):
    assert state_of(value) == "UNKNOWN"
    assert states(np.array([0.0, value, 3.0]), np.full(3, 0.01), LIMITS, 5.0) == ["OK", "UNKNOWN", "DRIFT"]


def test_a_series_that_always_jumps_about_needs_more_to_be_significant():
    rng = np.random.default_rng(2)
    nervous = rng.normal(0, 0.8, 40)
    assert state_of(3.0, series=nervous) == "OK"
    assert state_of(6.0, series=nervous) == "DRIFT"
    assert state_of(3.0, series=0.1 * nervous) == "DRIFT"


def test_a_slow_drift_does_not_hide_itself():
    rng = np.random.default_rng(3)
    walk = 0.1 * np.arange(40) + rng.normal(0, 0.05, 40)
    found = states(walk, np.full(40, 0.02), LIMITS, 5.0)
    first = {s: found.index(s) for s in ("WATCH", "DRIFT")}
    assert first["WATCH"] == pytest.approx(10, abs=1)
    assert first["DRIFT"] == pytest.approx(20, abs=1)
    assert set(found[:9]) == {"OK"}


def test_a_single_step_stays_drift_on_every_night_after_it():
    series = np.concatenate([np.zeros(20), np.full(20, 2.5)]) + np.random.default_rng(4).normal(0, 0.1, 40)
    found = states(series, np.full(40, 0.05), LIMITS, 5.0)
    assert found == ["OK"] * 20 + ["DRIFT"] * 20


def test_quiet_nights_raise_nothing():
    rng = np.random.default_rng(5)
    for _ in range(50):
        values = rng.normal(0, 0.3, 100)
        assert set(states(values, np.full(100, 0.05), LIMITS, 5.0)) == {"OK"}


def test_unknown_nights_do_not_make_a_series_steady_or_nervous():
    rng = np.random.default_rng(6)
    values = rng.normal(0, 0.8, 41)
    values[-1] = 3.0
    holes = np.insert(values, np.arange(0, 40, 4), np.nan)
    assert states(values, np.full(41, 0.01), LIMITS, 5.0)[-1] == states(holes, np.full(51, 0.01), LIMITS, 5.0)[-1]


def test_an_empty_series_has_no_states():
    assert states(np.array([]), np.array([]), LIMITS, 5.0) == []


# Episodes --------------------------------------------------------------------------------------------------------

LETTERS = {"o": "OK", "w": "WATCH", "d": "DRIFT", "?": "UNKNOWN"}


def stretches(pattern, values=None):
    nightly = [LETTERS[c] for c in pattern]
    size = np.arange(1.0, len(pattern) + 1) if values is None else np.array(values)
    return [(e.first, e.last, e.worst) for e in episodes(nightly, size)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", []),
        ("oooo", []),
        ("????", []),
        ("owwo", [(1, 2, 2)]),
        ("wodd", [(0, 0, 0), (2, 3, 3)]),
        ("owdwo", [(1, 3, 3)]),
        ("w??d", [(0, 3, 3)]),  # unknown nights do not end it
        ("ow??o", [(1, 1, 1)]),  # nor extend it
        ("?w?", [(1, 1, 1)]),
        ("dddd", [(0, 3, 3)]),
    ],
)
def test_episodes_are_the_stretches_beyond_ok(pattern, expected):
    assert stretches(pattern) == expected


def test_the_worst_night_is_the_farthest_to_either_side():
    assert stretches("dddd", [2.0, -5.0, 3.0, -1.0]) == [(0, 3, 1)]
    assert stretches("d?d", [2.0, np.nan, 3.0]) == [(0, 2, 2)]


@given(st.text(alphabet="owd?", max_size=30))
def test_every_night_beyond_ok_is_in_one_episode_and_no_ok_night_in_any(pattern):
    covered = [k for first, last, _ in stretches(pattern) for k in range(first, last + 1)]
    assert len(covered) == len(set(covered))
    for k, letter in enumerate(pattern):
        if letter in "wd":
            assert k in covered
        elif letter == "o":
            assert k not in covered
    for first, last, worst in stretches(pattern):
        assert first <= worst <= last
        assert {pattern[first], pattern[last], pattern[worst]} <= set("wd")
