"""Regions: names, edges, medians over good finite pixels."""

import warnings

import numpy as np
import pytest
from astropy.stats import sigma_clip
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from calib.regions import (
    cell_means,
    cell_medians,
    cell_names,
    grid_edges,
    grid_slices,
    mad_sigma,
    nan_median,
    quadrant_medians,
    quadrant_names,
    region_counts,
    region_medians,
    region_names,
)


def image_with_holes(shape, seed=1):
    rng = np.random.default_rng(seed)
    image = rng.normal(300, 20, shape).astype(np.float32)
    image[rng.random(shape) < 0.1] = np.nan
    image[rng.random(shape) < 0.02] = np.inf
    return image, rng.random(shape) > 0.1


def plain_median(image, good, part):
    values = image[part][good[part] & np.isfinite(image[part])]
    return np.median(values.astype(float)) if values.size else np.nan


@pytest.mark.parametrize("shape", [(64, 64), (256, 256), (100, 37), (33, 65), (9, 8)])
@pytest.mark.parametrize(("quadrants", "cells"), [((2, 2), (8, 8)), ((1, 4), (3, 5))])
def test_medians_are_those_of_the_slices_for_even_and_uneven_grids(shape, quadrants, cells):
    image, good = image_with_holes(shape)
    expected = [plain_median(image, good, (slice(None), slice(None)))]
    for grid in (quadrants, cells):
        rows, cols = ([round(k * n / parts) for k in range(parts + 1)] for n, parts in zip(shape, grid, strict=True))
        expected += [
            plain_median(image, good, (slice(rows[j], rows[j + 1]), slice(cols[i], cols[i + 1])))
            for j in range(grid[0])
            for i in range(grid[1])
        ]
    found = region_medians(image, good, quadrants, cells)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(found) == len(region_names(quadrants, cells)) == len(region_counts(good, quadrants, cells))
    np.testing.assert_array_equal(
        quadrant_medians(image, good, quadrants), found[1 : 1 + len(quadrant_names(quadrants))]
    )
    np.testing.assert_array_equal(cell_medians(image, good, cells).ravel(), found[-cells[0] * cells[1] :])


def test_numpy_agrees_where_it_can():
    image = np.random.default_rng(3).normal(0, 1, (64, 64))
    image[10:20, 5] = np.nan
    everywhere = np.ones(image.shape, bool)
    assert nan_median(image) == np.nanmedian(image)
    assert quadrant_medians(image, everywhere)[1] == np.nanmedian(image[:32, 32:])
    assert cell_medians(image, everywhere)[7, 0] == np.nanmedian(image[56:, :8])


def test_regions_are_named_row_by_row_from_the_first_pixel():
    names = region_names((2, 2), (8, 8))
    assert names[:5] == ("array", "Q1", "Q2", "Q3", "Q4")
    assert (names[5], names[6], names[13], names[-1]) == ("C00", "C01", "C10", "C77")
    assert len(names) == len(set(names)) == 69
    image = np.zeros((64, 64))
    image[:32, 32:] = 5.0
    image[8:16, :8] = 7.0
    by_name = dict(zip(names, region_medians(image, image > -1), strict=True))
    assert (by_name["Q1"], by_name["Q2"], by_name["Q3"]) == (0, 5, 0)
    assert (by_name["C10"], by_name["C01"], by_name["C07"]) == (7, 0, 5)


def test_names_of_a_fine_grid_have_two_digits_each_and_stay_different():
    names = cell_names((12, 12))
    assert (names[0], names[-1]) == ("C0000", "C1111")
    assert len(set(names)) == 144
    assert len(set(cell_names((2, 12)))) == 24


def test_counts_are_of_good_pixels():
    good = np.ones((64, 64), bool)
    good[:8, :8] = False
    counts = dict(zip(region_names((2, 2), (8, 8)), region_counts(good), strict=True))
    assert (counts["array"], counts["Q1"], counts["Q2"], counts["C00"], counts["C01"]) == (4032, 960, 1024, 0, 64)


def test_a_region_without_a_good_pixel_is_nan_and_alone_so():
    image, good = np.ones((64, 64)), np.ones((64, 64), bool)
    good[:8, :8] = False
    image[:8, 8:16] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cells = cell_medians(image, good)
    assert np.isnan(cells[0, :2]).all()
    assert np.isfinite(cells).sum() == 62


def test_masked_pixels_count_for_nothing_whatever_their_value():
    image, good = np.ones((64, 64)), np.ones((64, 64), bool)
    good[::2] = False
    image[::2] = 1e9
    np.testing.assert_array_equal(region_medians(image, good), 1.0)


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=30))
def test_the_median_is_numpys_over_what_is_finite(values):
    finite = [v for v in values if np.isfinite(v)]
    expected = np.median(finite) if finite else np.nan
    assert nan_median(np.array(values)) == pytest.approx(expected, nan_ok=True)


def test_the_median_absolute_deviation_is_scipys_and_one_sigma_of_a_gaussian():
    values = np.random.default_rng(2).normal(3, 2, 20_001)
    assert mad_sigma(values) == pytest.approx(stats.median_abs_deviation(values, scale="normal"), rel=1e-6)
    assert mad_sigma(values) == pytest.approx(2, rel=0.03)
    assert mad_sigma(np.append(values, [np.nan, np.inf])) == mad_sigma(values)
    assert np.isnan(mad_sigma(np.array([np.nan])))


@given(st.integers(1, 300), st.integers(1, 40))
def test_edges_cover_the_axis_as_evenly_as_whole_pixels_allow(length, parts):
    widths = np.diff(grid_edges(length, parts))
    assert widths.sum() == length
    assert widths.max() - widths.min() <= 1
    assert len(grid_slices((length, length), (parts, 2))) == 2 * parts


@pytest.mark.parametrize("clip", [4.0, 2.0])
def test_the_clipped_mean_of_a_cell_is_astropys(clip):
    """The independent reference is astropy's sigma_clip, one round about the median with the MAD."""
    rng = np.random.default_rng(8)
    image = rng.standard_normal((32, 32)).astype(np.float32)
    image[3, 4], image[20, 20] = 50.0, np.nan
    good = rng.random((32, 32)) > 0.1
    found = cell_means(image, good, (4, 4), clip)
    for k, part in enumerate(grid_slices((32, 32), (4, 4))):
        cell = np.where(good[part], image[part], np.nan).astype(np.float64)
        kept = sigma_clip(cell[np.isfinite(cell)], sigma=clip, maxiters=1, cenfunc="median", stdfunc="mad_std")
        assert found.flat[k] == pytest.approx(kept.mean())


def test_the_mean_of_a_cell_is_as_quiet_as_a_mean_and_as_robust_as_a_median():
    rng = np.random.default_rng(9)
    everywhere = np.ones((64, 64), bool)
    images = [rng.standard_normal((64, 64)) for _ in range(60)]
    means, medians = ([f(i, everywhere, (8, 8)) for i in images] for f in (cell_means, cell_medians))
    assert np.std(means) == pytest.approx(1 / 8, rel=0.05)
    assert np.std(medians) == pytest.approx(1.25 / 8, rel=0.05)
    spoilt = images[0].copy()
    spoilt[:8, :2] = 1000.0
    assert abs(cell_means(spoilt, everywhere, (8, 8))[0, 0]) < 1


def test_a_cell_of_equal_pixels_has_their_value_and_an_empty_one_none():
    image, good = np.full((4, 4), 7.0), np.ones((4, 4), bool)
    image[0, 0] = 9.0
    good[2:, 2:] = False
    found = cell_means(image, good, (2, 2))
    assert found[0, 0] == found[0, 1] == 7.0
    assert np.isnan(found[1, 1])
