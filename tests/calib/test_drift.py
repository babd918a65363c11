"""Drift: deviations with honest errors, states by size, forecasts."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.drift import cell_error, deviations, forecast_nights, state_of
from calib.profile import DriftLimits
from calib.regions import cell_means, region_names

LIMITS = DriftLimits(watch=1.0, drift=2.0)
GRIDS = {"quadrants": (2, 2), "cells": (8, 8)}


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


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_the_error_of_a_cell_is_the_scatter_of_its_mean(share):
    rng = np.random.default_rng(7)
    error = rng.uniform(0.5, 0.7, (64, 64))
    good = rng.random((64, 64)) >= share
    means = [cell_means(error * rng.standard_normal((64, 64)), good, (8, 8)) for _ in range(300)]
    assert np.std(means) == pytest.approx(cell_error(error, good, (8, 8)), rel=0.06)


def test_without_a_good_pixel_no_error_is_known():
    assert np.isnan(cell_error(np.ones((8, 8)), np.zeros((8, 8), bool), (2, 2)))


# States ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("size", "state"),
    [(0.0, "NOTICE"), (0.99, "NOTICE"), (1.0, "WATCH"), (1.99, "WATCH"), (2.0, "DRIFT"), (50, "DRIFT")],
)
def test_a_significant_deviation_is_judged_by_its_size_to_either_side(sign, size, state):
    assert state_of(sign * size, LIMITS) == state


# Forecast --------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(0.01, 0.2), st.floats(0, 0.5), st.sampled_from([1, -1]))
def test_a_straight_walk_is_told_when_it_will_matter(rate, start, sign):
    days = np.arange(10.0)
    sizes = sign * (start + rate * days)
    expected = max((1.0 - (start + rate * 9)) / rate, 0)
    assert forecast_nights(days, sizes, 1.0) == pytest.approx(expected, abs=1e-6)


def test_a_forecast_minds_gaps_and_one_odd_night():
    days = np.array([0, 1, 2, 5, 6, 9, 10.0])
    sizes = 0.05 * days
    sizes[3] = 3.0
    assert forecast_nights(days, sizes, 1.0) == pytest.approx(10, abs=1.5)


def test_what_does_not_grow_never_gets_there():
    assert forecast_nights(np.arange(6.0), np.linspace(0.9, 0.5, 6), 1.0) == np.inf
    assert forecast_nights(np.arange(6.0), np.full(6, -0.4), 1.0) == np.inf


def test_three_nights_are_no_forecast():
    assert np.isnan(forecast_nights(np.arange(4.0), np.array([0.1, np.nan, 0.2, 0.3]), 1.0))
