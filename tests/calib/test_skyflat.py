"""The part of the sky offsets that scales with the sky: found, and with an honest error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib.skyflat import sky_proportional


def offsets(levels, flat_percent, additive, noise, rng):
    s = additive + np.asarray(levels)[:, None, None] * flat_percent / 100
    return s + noise * rng.standard_normal(s.shape)


@given(st.integers(0, 1000))
def test_a_flat_error_is_found_within_its_error(seed):
    rng = np.random.default_rng(seed)
    levels = rng.uniform(2000, 3000, 12)
    flat, additive = 0.3 * rng.standard_normal((8, 8)), rng.normal(0, 2.0, (8, 8))
    found = sky_proportional(offsets(levels, flat, additive, 0.5, rng), levels, np.full(12, 0.5), 2.0)
    pulls = (found.percent - flat) / found.error_percent
    assert found.n_blocks == 12
    assert 0.6 < pulls.std() < 1.4
    assert abs(pulls.mean()) < 0.6


def test_it_agrees_with_least_squares_where_the_level_changes_much():
    """The independent reference is numpy's polyfit with both parts free."""
    rng = np.random.default_rng(1)
    levels = np.linspace(500, 5000, 20)
    s = offsets(levels, rng.standard_normal((8, 8)), 3.0, 0.2, rng)
    found = sky_proportional(s, levels, np.full(20, 0.2), 1e6)
    slope, _ = np.polyfit(levels, s.reshape(20, -1), 1)
    np.testing.assert_allclose(found.percent.ravel(), 100 * slope, rtol=1e-6, atol=1e-9)


def test_a_level_that_hardly_changes_says_so_in_the_error():
    levels = np.full(6, 600.0)
    s = np.zeros((6, 8, 8))
    sure, unsure = (sky_proportional(s, levels, np.full(6, 0.1), prior).error_percent for prior in (0.0, 3.0))
    assert unsure == pytest.approx(np.hypot(sure, 100 * 3.0 / 600), rel=1e-3)


def test_blocks_without_a_level_or_error_do_not_count():
    levels = np.array([1000, np.nan, -5.0, 1100])
    found = sky_proportional(np.ones((4, 2, 2)), levels, np.array([1.0, 1, 1, np.nan]), 1.0)
    assert found.n_blocks == 1
    nothing = sky_proportional(np.ones((1, 2, 2)), np.array([np.nan]), np.ones(1), 1.0)
    assert nothing.n_blocks == 0
    assert np.isnan(nothing.percent).all()
    assert np.isnan(nothing.error_percent)
