"""Patterns: modes that lose nothing, templates that are what they are called."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.fft import dctn

from calib.patterns import cosine_modes, from_modes, mode_orders, templates, to_modes

MAPS = hnp.arrays(np.float64, (8, 8), elements=st.floats(-100, 100))


@given(MAPS)
def test_modes_are_the_cosine_transform(cells):
    """The independent reference is scipy's orthonormal DCT of type 2."""
    np.testing.assert_allclose(to_modes(cells).reshape(8, 8), dctn(cells, norm="ortho"), atol=1e-9)


@given(MAPS)
def test_modes_lose_nothing(cells):
    np.testing.assert_allclose(from_modes(to_modes(cells), (8, 8)), cells, atol=1e-9)


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_modes_are_orthonormal(length):
    np.testing.assert_allclose(cosine_modes(length) @ cosine_modes(length).T, np.eye(length), atol=1e-12)


def test_white_noise_keeps_its_sigma():
    noise = np.random.default_rng(3).standard_normal((4000, 8, 8))
    np.testing.assert_allclose(to_modes(noise).std(axis=0), 1, atol=0.06)


def test_a_cell_that_is_unknown_counts_as_the_mean_of_its_map():
    cells = np.arange(16.0).reshape(4, 4)
    holed = cells.copy()
    holed[1, 2] = np.nan
    filled = holed.copy()
    filled[1, 2] = np.nanmean(holed)
    np.testing.assert_allclose(to_modes(holed), to_modes(filled))


def test_the_order_counts_half_waves():
    orders = mode_orders((3, 4)).reshape(3, 4)
    assert orders[0, 0] == 0
    assert orders.tolist() == [[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3]]


def test_every_pattern_is_there_once_and_has_its_shape():
    found = templates((8, 8), (2, 2), level=True)
    names = [(t.family, t.where) for t in found]
    assert len(set(names)) == len(names) == 1 + 1 + 4 + 4 + 64
    by_name = dict(zip(names, found, strict=True))
    step = from_modes(by_name["quadrant", "Q3"].modes[0], (8, 8))
    inside = step[4:, :4]
    assert np.ptp(inside) < 1e-12
    assert inside.mean() - step[:4].mean() == pytest.approx(1)
    glow = from_modes(by_name["corner", "upper right"].modes[0], (8, 8))
    assert np.unravel_index(np.argmax(glow), (8, 8)) == (7, 7)
    gradient = from_modes(by_name["gradient", ""].modes, (8, 8))
    assert gradient.shape == (2, 8, 8)
    # Edge to edge: the outer cells are half a cell inside.
    assert gradient[0, :, 7] - gradient[0, :, 0] == pytest.approx(7 / 8)
    level = from_modes(by_name["level", ""].modes[0], (8, 8))
    np.testing.assert_allclose(level, 1)


def test_without_the_level_no_pattern_touches_it():
    for t in templates((8, 8), (2, 2), level=False):
        assert t.family != "level"
        np.testing.assert_allclose(t.modes[:, 0], 0)


def test_a_small_grid_has_the_patterns_that_it_can_tell():
    assert {t.family for t in templates((2, 2), (2, 2), level=True)} == {"level", "gradient", "quadrant"}
    assert {t.family for t in templates((1, 1), (2, 2), level=True)} == {"level"}
