"""The pixel monitor: what changed overnight, and what chance brings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from calib.pixels import PixelEvent, PixelLimits, Turns, count_significance, new_dead, watch_dark

SHAPE = (64, 64)
NOISE, N = 5.5, 48
LIMITS = PixelLimits(jump_dn=20.0, hot_dn=400.0, noisy=2.5)


def night(rng, excess=None, noise=None):
    """Excess, its error and the noise of a night of N frames."""
    sigma = np.full(SHAPE, NOISE) if noise is None else noise
    scatter = sigma * (1 + rng.standard_normal(SHAPE) / np.sqrt(2 * (N - 1)))
    mean = (np.zeros(SHAPE) if excess is None else excess) + sigma / np.sqrt(N) * rng.standard_normal(SHAPE)
    return mean, scatter / np.sqrt(N), scatter


def watch(rng, *, excess=None, before=None, noise=None, noise_before=None, kept=None, good=None, limits=LIMITS):
    tonight, last = night(rng, excess, noise), night(rng, before, noise_before)
    everywhere = np.ones(SHAPE, bool)
    return watch_dark(
        *tonight,
        np.ones(SHAPE) if kept is None else kept,
        *last,
        last[0] >= limits.hot_dn,
        everywhere if good is None else good,
        limits,
    )


def with_pixels(places, dn):
    image = np.zeros(SHAPE)
    for y, x in places:
        image[y, x] = dn
    return image


PLACES = [(3, 4), (10, 60), (33, 7), (63, 63)]


def test_a_quiet_night_has_no_event():
    for seed in range(20):
        found = watch(np.random.default_rng(seed))
        assert found.events == ()
        assert found.expected < 1e-3
        assert found.n_compared == 64 * 64


def test_new_hot_pixels_are_all_found_and_no_other():
    found = watch(np.random.default_rng(1), excess=with_pixels(PLACES, 900.0))
    assert {(e.y, e.x) for e in found.events} == set(PLACES)
    assert {e.kind for e in found.events} == {"hot"}
    assert found.count("hot") == 4
    for e in found.events:
        assert e.size == pytest.approx(900, abs=6)
        assert e.significance > 100


def test_what_was_hot_before_is_not_new():
    hot = with_pixels(PLACES, 900.0)
    assert watch(np.random.default_rng(2), excess=hot, before=hot).events == ()


def test_pixels_cool_and_jump():
    before = with_pixels(PLACES[:2], 900.0)
    found = watch(np.random.default_rng(3), excess=with_pixels(PLACES[2:], 150.0), before=before)
    kinds = {(e.y, e.x): (e.kind, np.sign(e.size)) for e in found.events}
    assert kinds == {
        PLACES[0]: ("cooled", -1),
        PLACES[1]: ("cooled", -1),
        PLACES[2]: ("jump", 1),
        PLACES[3]: ("jump", 1),
    }


@pytest.mark.parametrize(("kept", "n"), [(0.9, 4), (0.5, 0)])
def test_what_a_minority_of_frames_shows_does_not_count(kept, n):
    share = np.ones(SHAPE)
    share[tuple(np.transpose(PLACES))] = kept
    assert len(watch(np.random.default_rng(4), excess=with_pixels(PLACES, 900.0), kept=share).events) == n


def test_pixels_without_a_value_do_not_count():
    good = np.ones(SHAPE, bool)
    good[tuple(np.transpose(PLACES))] = False
    found = watch(np.random.default_rng(5), excess=with_pixels(PLACES, 900.0), good=good)
    assert found.events == ()
    assert found.n_compared == 64 * 64 - 4


def test_errors_that_are_stated_too_small_do_not_make_events():
    limits = PixelLimits(jump_dn=1.0, hot_dn=400.0, noisy=2.5)
    rng = np.random.default_rng(6)
    tonight, last = night(rng), night(rng)
    wandering = tonight[0] + 5 * rng.standard_normal(SHAPE)
    ones = np.ones(SHAPE)
    found = watch_dark(wandering, *tonight[1:], ones, *last, ones < 0, ones > 0, limits)
    assert len(found.events) == 0


def test_the_number_expected_is_the_number_found():
    limits = PixelLimits(jump_dn=0.0, hot_dn=400.0, noisy=2.5, significance=3.0)
    found = [watch(np.random.default_rng(s), limits=limits) for s in range(60)]
    expected = np.mean([f.expected for f in found])
    assert expected == pytest.approx(64 * 64 * 0.0027, rel=0.1)
    assert np.mean([len(f.events) for f in found]) == pytest.approx(expected, rel=0.2)


def test_pixels_that_turn_noisy():
    noise = np.full(SHAPE, NOISE)
    noise[PLACES[0]] = 6 * NOISE
    rng = np.random.default_rng(8)
    (event,) = watch(rng, noise=noise).events
    assert (event.kind, event.y, event.x) == ("noisy", *PLACES[0])
    assert event.size == pytest.approx(6, abs=2.5)
    assert watch(rng, noise=noise, noise_before=noise).events == ()


def test_dead_pixels_are_those_that_fell():
    standard, error = np.ones(SHAPE), np.full(SHAPE, 0.002)
    tonight = standard.copy()
    tonight[5, 6], tonight[7, 8] = 0.1, 0.3
    standard[7, 8] = 0.3
    good = np.ones(SHAPE, bool)
    last = standard.copy()
    (event,) = new_dead(tonight, error, standard, good, last, 0.5)
    assert (event.y, event.x, event.kind, event.size) == (5, 6, "dead", 0.1)
    # The nights before it in the canonical had it alive; that it died has been told.
    last[5, 6] = 0.1
    assert new_dead(tonight, error, standard, good, last, 0.5) == ()


@given(st.integers(0, 60), st.floats(0.05, 40))
def test_the_significance_of_a_number_is_that_of_poisson(found, expected):
    significance = count_significance(found, expected)
    if found <= expected:
        assert significance == 0
    else:
        p = stats.poisson.sf(found - 1, expected)
        assert significance == pytest.approx(stats.norm.isf(p / 2) if p < 1 else 0, abs=1e-6)


def test_a_pixel_that_goes_up_and_down_is_bistable():
    def jump(y, x, size):
        return PixelEvent(y, x, "jump", size, 50.0)

    nights = [[jump(1, 1, 500), jump(2, 2, 500)], [jump(1, 1, -500)], [], [jump(1, 1, 480), jump(2, 2, 300)]]
    turns = Turns()
    found = [turns.add(events) for events in (*nights, [jump(1, 1, -450)])]
    assert found[:3] == [(), (), ()]
    ((event,), again) = found[3:]
    assert (event.y, event.x, event.kind, event.size) == (1, 1, "bistable", 480)
    # It is told once.
    assert again == ()
