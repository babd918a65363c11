"""Control charts: silent on quiet nights, quick on changes, and true to when they began."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_equal
from scipy import stats

from calib.charts import Quiet, Standing, chart, gaussian_equivalent
from calib.patterns import mode_orders, templates, to_modes

GRID = (8, 8)
SMOOTH, NOISE, MEMORY = 0.245, 0.0075, np.exp(-1 / 4)
"""Scatter of a smooth mode, measurement error of any, and correlation from night to night."""
QUIET = Quiet(np.full(64, 0.3), mode_orders(GRID))
SHAPES = templates(GRID, (2, 2), level=False)
Y, X = np.meshgrid(*[(np.arange(8) + 0.5) / 8 - 0.5] * 2, indexing="ij")


def quiet_nights(n, seed, *, missing=0.0):
    """Smooth structure that wanders over days, and noise; the modes of n nights, less those that are missing."""
    rng = np.random.default_rng(seed)
    smooth = (mode_orders(GRID) > 0) & (mode_orders(GRID) <= 4)
    wander = np.empty((n, 64))
    wander[0] = rng.standard_normal(64)
    for t in range(1, n):
        wander[t] = MEMORY * wander[t - 1] + np.sqrt(1 - MEMORY**2) * rng.standard_normal(64)
    values = np.where(smooth, SMOOTH * wander, 0) + NOISE * rng.standard_normal((n, 64))
    values[:, 0] = 0
    kept = rng.random(n) >= missing
    return values[kept], np.full(kept.sum(), NOISE), np.flatnonzero(kept).astype(float)


def judge(values, errors, days, patterns=SHAPES, quiet=QUIET, **options):
    return chart(values, errors, days, patterns, quiet, **options)


# The significance ----------------------------------------------------------------------------------------------------


@given(z=st.floats(0.1, 8))
def test_one_dimension_well_known_is_the_gaussian_itself(z):
    assert float(gaussian_equivalent(np.array(z**2), 1, 1e7)) == pytest.approx(z, abs=1e-3)


@given(z=st.floats(0.5, 6), freedom=st.floats(3, 200))
def test_a_scatter_known_from_few_nights_is_students_t(z, freedom):
    found = float(gaussian_equivalent(np.array(z**2), 1, freedom))
    assert found == pytest.approx(stats.norm.isf(stats.t.sf(z, freedom)), abs=1e-6)


@given(st.floats(1, 100), st.integers(1, 2), st.floats(5, 100), st.floats(1, 500))
def test_whoever_looks_often_must_find_more(t2, k, freedom, trials):
    once, often = (float(gaussian_equivalent(np.array(t2), k, freedom, n)) for n in (1.0, trials))
    assert often <= once


# Silence -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "missing"), [(15, 0.0), (60, 0.0), (60, 0.3), (250, 0.1)])
def test_quiet_nights_are_quiet_from_the_first_on(n, missing):
    for seed in range(600 // n):
        found = judge(*quiet_nights(n, seed, missing=missing))
        assert not found.changes
        assert max(c.significance for c in found.nights) < 5


def test_a_night_that_was_not_measured_is_unknown_and_changes_nothing():
    values, errors, days = quiet_nights(40, 1)
    holes = [0, 17, 39]
    with_holes = values.copy()
    with_holes[holes, 5] = np.nan
    kept = np.setdiff1d(np.arange(40), holes)
    found, plain = judge(with_holes, errors, days), judge(values[kept], errors[kept], days[kept])
    for k in holes:
        assert np.isnan(found.nights[k].significance)
        assert found.nights[k].pattern is None
    assert [found.nights[k] for k in kept] == list(plain.nights)


def test_no_night_at_all_is_no_chart():
    assert judge(np.empty((0, 64)), np.empty(0), np.empty(0)).nights == ()
    everything_missing = judge(np.full((5, 64), np.nan), np.full(5, NOISE), np.arange(5.0))
    assert all(np.isnan(n.significance) for n in everything_missing.nights)


# Changes -------------------------------------------------------------------------------------------------------------


def with_step(values, start, cells, stop=None):
    changed = values.copy()
    modes = to_modes(cells)
    modes[0] = 0
    changed[start:stop] += modes
    return changed


@pytest.mark.parametrize("seed", range(6))
def test_a_small_step_of_one_quadrant_is_seen_the_same_night(seed):
    values, errors, days = quiet_nights(45, seed)
    step = np.zeros(GRID)
    step[4:, :4] = 0.3
    found = judge(with_step(values, 40, step), errors, days)
    (change,) = found.changes
    assert (change.pattern.family, change.pattern.where) == ("quadrant", "Q3")
    assert (change.course, change.since, change.seen, change.last) == ("step", 40, 40, 44)
    assert found.sizes[0][44] == pytest.approx(0.3, abs=5 * found.errors[0][44])
    assert np.isnan(found.sizes[0][:40]).all()


def test_the_size_has_an_honest_error():
    step = np.zeros(GRID)
    step[:4, 4:] = 0.4
    pulls = []
    for seed in range(40):
        values, errors, days = quiet_nights(42, seed)
        found = judge(with_step(values, 40, step), errors, days)
        (k,) = [k for k, c in enumerate(found.changes) if c.pattern.where == "Q2"]
        pulls.append((found.sizes[k][40] - 0.4) / found.errors[k][40])
    assert abs(np.mean(pulls)) < 0.6
    assert 0.6 < np.std(pulls) < 1.5


@pytest.mark.parametrize("seed", range(4))
def test_a_slow_walk_is_told_from_a_step(seed):
    values, errors, days = quiet_nights(100, seed)
    angle = np.deg2rad(70)
    plane = to_modes(np.cos(angle) * X + np.sin(angle) * Y)
    for k in range(20):
        values[80 + k] += 0.05 * (k + 1) * plane
    found = judge(values, errors, days)
    first = found.changes[0]
    assert (first.pattern.family, first.course) == ("gradient", "walk")
    assert 80 <= first.seen < 92
    assert abs(first.since - 80) <= 4
    assert found.sizes[0][99] == pytest.approx(1.0, abs=0.3)


def test_a_change_that_goes_away_is_over_and_is_not_told_twice():
    values, errors, days = quiet_nights(70, 3)
    step = np.zeros(GRID)
    step[4:, 4:] = 0.5
    found = judge(with_step(values, 40, step, 55), errors, days)
    (change,) = found.changes
    assert (change.seen, change.last) == (40, 54)
    assert np.isnan(found.sizes[0][55:]).all()
    assert all(n.significance < 5 for n in found.nights[55:])


def test_a_second_change_on_top_of_the_first_is_seen():
    values, errors, days = quiet_nights(90, 5)
    first, second = np.zeros(GRID), np.zeros(GRID)
    first[4:, 4:], second[:4, :4] = 0.5, -0.5
    found = judge(with_step(with_step(values, 40, first), 60, second), errors, days)
    assert [(c.pattern.where, c.seen) for c in found.changes] == [("Q4", 40), ("Q1", 60)]


def test_of_two_changes_one_goes_and_the_other_stays():
    values, errors, days = quiet_nights(100, 8)
    first, second = np.zeros(GRID), np.zeros(GRID)
    first[4:, 4:], second[:4, :4] = 0.5, -0.5
    found = judge(with_step(with_step(values, 40, first, 75), 55, second), errors, days)
    assert [(c.pattern.where, c.seen, c.last) for c in found.changes] == [("Q4", 40, 74), ("Q1", 55, 99)]


def test_later_nights_do_not_change_what_was_said():
    values, errors, days = quiet_nights(60, 9)
    step = np.zeros(GRID)
    step[2, 5] = 0.4
    values = with_step(values, 44, step)
    whole = judge(values, errors, days)
    for n in (20, 44, 45, 50):
        part = judge(values[:n], errors[:n], days[:n])
        assert list(part.nights) == list(whole.nights[:n])
        seen = [replace(c, last=0, course="") for c in whole.changes if c.seen < n]
        assert [replace(c, last=0, course="") for c in part.changes] == seen


@settings(max_examples=15, deadline=None)
@given(st.floats(-50, 50), st.integers(0, 200))
def test_a_constant_makes_no_difference(constant, seed):
    """The reference may be whatever it is: a chart looks at changes."""
    values, errors, days = quiet_nights(25, seed)
    shifted = values + constant
    a, b = judge(values, errors, days), judge(shifted, errors, days)
    later = slice(2, None)
    np.testing.assert_allclose(
        [n.significance for n in a.nights[later]], [n.significance for n in b.nights[later]], atol=1e-4
    )


def test_a_jump_of_the_level_is_a_level():
    rng = np.random.default_rng(2)
    patterns = templates(GRID, (2, 2), level=True)
    level = np.zeros(50)
    for t in range(1, 50):
        level[t] = MEMORY * level[t - 1] + 20 * np.sqrt(1 - MEMORY**2) * rng.standard_normal()
    level[40:] += 120
    values = 0.03 * rng.standard_normal((50, 64))
    values[:, 0] += 8 * level
    scatter = np.where(mode_orders(GRID) == 0, 160.0, 2.0)
    found = judge(values, np.full(50, 0.03), np.arange(50.0), patterns, Quiet(scatter, mode_orders(GRID)))
    (change,) = found.changes
    assert (change.pattern.family, change.course, change.seen, change.last) == ("level", "step", 40, 49)
    assert found.sizes[0][40] == pytest.approx(120, abs=60)


def test_one_night_of_a_great_change_does_not_blind_the_chart():
    values, errors, days = quiet_nights(60, 12)
    step = np.zeros(GRID)
    step[4:, :4] = 3.0
    small = step / 10
    found = judge(with_step(with_step(values, 30, step, 31), 50, small), errors, days)
    assert [(c.seen, c.pattern.where) for c in found.changes] == [(30, "Q3"), (50, "Q3")]


# More nights -------------------------------------------------------------------------------------------------------


def stormy_nights(n, seed):
    """Nights with steps that come and go, a walk, and nights without a measurement."""
    values, errors, days = quiet_nights(n, seed, missing=0.1)
    rng = np.random.default_rng(seed + 1)
    for _ in range(rng.integers(0, 5)):
        first, pattern = rng.integers(0, max(len(values), 1)), SHAPES[rng.integers(0, len(SHAPES))]
        last = first + rng.integers(1, 60)
        values[first:last] += rng.normal(0, 2) * pattern.modes[0]
    first = rng.integers(0, max(len(values), 1))  # of a single night there may be no measurement
    values[first:] += np.linspace(0, rng.normal(0, 1), len(values) - first)[:, None] * SHAPES[3].modes[0]
    values[rng.random(len(values)) < 0.05, 5] = np.nan
    return values, errors, days


def plain(found):
    """All that a chart says, in plain numbers."""
    return (
        [(n.significance, n.pattern and (n.pattern.family, n.pattern.where), n.learned) for n in found.nights],
        [replace(c, pattern=(c.pattern.family, c.pattern.where)) for c in found.changes],
        [s.tobytes() for s in (*found.sizes, *found.errors)],
        found.standing,
    )


def test_no_night_at_all_makes_an_empty_chart():
    values, errors, days = stormy_nights(1, 68)
    assert len(values) == 0
    found = judge(values, errors, days)
    assert (found.nights, found.changes) == ((), ())


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_chart_goes_on_as_if_it_had_been_drawn_at_once(data):
    values, errors, days = stormy_nights(data.draw(st.integers(1, 260)), data.draw(st.integers(0, 10**6)))
    ends = sorted(data.draw(st.sets(st.integers(0, len(values)), max_size=4)))
    standing = None
    for end in ends:
        standing = judge(values[:end], errors[:end], days[:end], standing=standing).standing
        standing = Standing(**json.loads(json.dumps(asdict(standing))))
    assert_equal(plain(judge(values, errors, days, standing=standing))[:3], plain(judge(values, errors, days))[:3])
