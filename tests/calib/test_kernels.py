"""The compiled kernels against their NumPy twins, against independent references, and against symmetry."""

import itertools
import warnings

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.stats import mad_std, sigma_clip
from ccdproc import Combiner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.stats import mstats

from calib import kernels
from calib.kernels import clipped, slope, sorting_network, trimmed, twins
from calib.kernels import straight as straight_code
from calib.kernels.compiled import TILE
from calib.kernels.straight import MOST_ROWS

GAIN = 7.5
READ_NOISE = 5.5


def noisy_frames(n_frames, n_pixels, *, seed=1, outliers=0.0, missing=0.0, sigma=8.0):
    """Frames of about 0 DN with outliers to either side and missing samples, NaN and infinite."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(0.0, sigma, (n_frames, n_pixels))
    frames += np.where(rng.random(frames.shape) < outliers, rng.normal(0.0, 50 * sigma, frames.shape), 0.0)
    hole = rng.choice([np.nan, np.inf, -np.inf], frames.shape)
    return np.where(rng.random(frames.shape) < missing, hole, frames).astype(np.float32)


def twilight(n_frames, n_pixels, *, seed=3, outliers=0.0, missing=0.0, curvature=0.0, noise=1.0):
    """Illumination, samples that follow it with the noise of the model, and the true line."""
    rng = np.random.default_rng(seed)
    levels = 20_000 * 0.5 ** (np.arange(n_frames) * 6.5 / 174)
    rng.shuffle(levels)
    a, b = rng.normal(0, 20, n_pixels), rng.normal(1, 0.04, n_pixels)
    clean = a + b * levels[:, None] + curvature * levels[:, None] ** 2
    sigma = noise * np.sqrt(READ_NOISE**2 + np.maximum(clean, 0) / GAIN)
    frames = clean + sigma * rng.standard_normal(clean.shape)
    frames += np.where(rng.random(frames.shape) < outliers, rng.uniform(500, 20_000, frames.shape), 0)
    hole = rng.choice([np.nan, np.inf], frames.shape)
    frames = np.where(rng.random(frames.shape) < missing, hole, frames)
    return levels, frames.astype(np.float32), a, b


def fit(kernel, frames, levels, *, kappa=4.0, iterations=4, read_variance=None):
    variance = np.full(frames.shape[1], READ_NOISE**2, np.float32) if read_variance is None else read_variance
    return kernel(frames, levels, variance, GAIN, kappa=kappa, iterations=iterations)


# The sorting network ---------------------------------------------------------------------------------------------


def run_network(columns):
    """Sort the rows of an array, column by column, as the kernels do."""
    columns = columns.copy()
    for i, j in sorting_network(len(columns)):
        low, high = np.minimum(columns[i], columns[j]), np.maximum(columns[i], columns[j])
        columns[i], columns[j] = low, high
    return columns


@pytest.mark.parametrize("n", range(1, 13))
def test_the_network_sorts_every_sequence_of_zeros_and_ones_and_therefore_everything(n):
    sequences = np.array(list(itertools.product((0, 1), repeat=n)), np.int8).T
    assert np.all(np.diff(run_network(sequences), axis=0) >= 0)


@pytest.mark.parametrize("n", [13, 16, 17, 31, 42, 46, 48, 63, 64, 65, 80, 200])
def test_longer_networks_sort(n):
    rng = np.random.default_rng(n)
    values = np.concatenate([rng.integers(0, 2, (n, 300)), rng.integers(0, n, (n, 300))], axis=1)
    np.testing.assert_array_equal(run_network(values), np.sort(values, axis=0))
    assert np.all(run_network(np.tri(n, n + 1, -1, dtype=int)[::-1])[0] == np.min(np.tri(n, n + 1, -1), axis=0))


def test_the_network_is_no_longer_than_batchers():
    # Knuth 5.2.2 M: 5, 19, 63, 191, 543 exchanges for 4, 8, 16, 32, 64 values.
    assert [len(sorting_network(n)) for n in (1, 2, 4, 8, 16, 32, 64)] == [0, 1, 5, 19, 63, 191, 543]


# Trimmed mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_pixels", [1, TILE - 1, TILE, TILE + 1])
@pytest.mark.parametrize(("n_frames", "missing"), [(46, 0.0), (45, 0.15), (7, 0.4)])
def test_trimmed_mean_is_its_twin_around_the_edges_of_a_tile(n_frames, n_pixels, missing):
    frames = noisy_frames(n_frames, n_pixels, outliers=0.05, missing=missing)
    levels = np.linspace(-40, 60, n_frames)
    frames += levels.astype(np.float32)[:, None]
    same_trimmed(frames, levels, 0.2)


@pytest.mark.parametrize("n_frames", [*range(1, 13), 41, 42, 63, 64, 65, 80])
def test_trimmed_mean_is_its_twin_for_any_number_of_frames(n_frames):
    for missing, alpha in ((0.0, 0.2), (0.3, 0.2), (0.3, 0.0), (0.1, 0.45)):
        same_trimmed(noisy_frames(n_frames, 40, seed=n_frames, missing=missing), np.zeros(n_frames), alpha)


def same_trimmed(frames, levels, alpha):
    found, twin = kernels.trimmed_mean(frames, levels, alpha), twins.trimmed_mean(frames, levels, alpha)
    np.testing.assert_array_equal(found.n_samples, twin.n_samples)
    for name in ("mean", "low_mean"):
        np.testing.assert_allclose(getattr(found, name), getattr(twin, name), atol=2e-4, rtol=3e-6, err_msg=name)
    # Sums of squares in single precision: good to a few thousandths of the noise (8 DN).
    np.testing.assert_allclose(found.error, twin.error, rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize("n_frames", [2, 3, 4, 7, 45, 46, 80])
@pytest.mark.parametrize("missing", [0.0, 0.2, 0.6])
def test_halves_are_the_trimmed_means_of_halves(n_frames, missing):
    frames = noisy_frames(n_frames, TILE + 1, seed=n_frames, outliers=0.05, missing=missing)
    levels = np.linspace(-40, 60, n_frames)
    whole, *halves = kernels.trimmed_halves(frames, levels, 0.2)
    for one, other in zip(whole, kernels.trimmed_mean(frames, levels, 0.2), strict=True):
        np.testing.assert_array_equal(one, other)
    _, *expected = twins.trimmed_halves(frames, levels, 0.2)
    for half, twin in zip(halves, expected, strict=True):
        np.testing.assert_allclose(half, twin, atol=2e-4, rtol=3e-6)


def test_trimmed_mean_is_scipys_pixel_by_pixel_among_the_valid_samples():
    frames = noisy_frames(46, 200, outliers=0.1, missing=0.2)
    levels = np.random.default_rng(5).normal(0, 5, 46)
    found = kernels.trimmed_mean(frames, levels, 0.2)
    for i in range(200):
        ok = np.isfinite(frames[:, i])
        assert found.n_samples[i] == ok.sum()
        assert found.mean[i] == pytest.approx(stats.trim_mean(frames[ok, i] - levels[ok], 0.2), abs=2e-4)


def test_the_error_of_a_trimmed_mean_is_that_of_tukey_and_mclaughlin():
    # SciPy divides by the nominal share that is kept: take a number of which exactly a fifth is trimmed.
    frames = noisy_frames(45, 100, outliers=0.05)
    found = kernels.trimmed_mean(frames, np.zeros(45), 0.2)
    expected = [float(mstats.trimmed_stde(column.astype(float), limits=(0.2, 0.2))) for column in frames.T]
    np.testing.assert_allclose(found.error, expected, rtol=1e-4)


def test_the_error_of_a_trimmed_mean_is_its_scatter():
    trials = kernels.trimmed_mean(noisy_frames(46, 20_000), np.zeros(46), 0.2)
    assert np.median(trials.error) == pytest.approx(trials.mean.std(), rel=0.03)


def test_the_lower_half_lies_lower_and_more_so_where_samples_are_skewed():
    rng = np.random.default_rng(2)
    even = rng.normal(0, 8, (46, 500)).astype(np.float32)
    skewed = rng.exponential(8, (46, 500)).astype(np.float32)
    gap = [np.median(f.mean - f.low_mean) for f in (kernels.trimmed_mean(x, np.zeros(46), 0.2) for x in (even, skewed))]
    assert 0 < gap[0] < 8
    kept = np.sort(skewed, axis=0)[9:37]
    np.testing.assert_allclose(
        kernels.trimmed_mean(skewed, np.zeros(46), 0.2).low_mean, kept[:14].mean(axis=0), rtol=1e-5
    )


def test_pixels_without_samples_are_nan_and_one_sample_has_no_error():
    frames = np.array([[1, np.nan, np.nan], [2, 5, np.inf], [9, np.nan, -np.inf]], np.float32)
    found = kernels.trimmed_mean(frames, np.array([0.0, 1.0, 0.0]), 0.2)
    np.testing.assert_array_equal(found.n_samples, [3, 1, 0])
    np.testing.assert_allclose(found.mean, [11 / 3, 4, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found.low_mean, [1, 4, np.nan])
    assert np.isfinite(found.error[0])
    assert np.isnan(found.error[1:]).all()


def test_a_frame_without_a_level_takes_no_part():
    frames = noisy_frames(20, 30)
    levels = np.linspace(0, 5, 20)
    levels[7] = np.nan
    found = kernels.trimmed_mean(frames, levels, 0.2)
    without = kernels.trimmed_mean(np.delete(frames, 7, axis=0), np.delete(levels, 7), 0.2)
    np.testing.assert_array_equal(found.n_samples, 19)
    np.testing.assert_allclose(found.mean, without.mean, atol=1e-5)
    np.testing.assert_allclose(found.error, without.error, rtol=1e-4)


def test_a_bright_pixel_keeps_its_error():
    # Sums of squares in single precision: a pixel far from the level must not lose its scatter to rounding.
    frames = noisy_frames(46, 100) + np.float32(1_000)
    twin = twins.trimmed_mean(frames, np.zeros(46), 0.2)
    np.testing.assert_allclose(kernels.trimmed_mean(frames, np.zeros(46), 0.2).error, twin.error, rtol=0.02)


def test_trimmed_mean_is_ccdprocs_where_that_can_say_it():
    # Its min-max rejection drops a number of samples at each end, the same for all pixels.
    frames = noisy_frames(12, 30, outliers=0.1)
    combiner = Combiner([CCDData(frame.astype(float).reshape(5, 6), unit="adu") for frame in frames])
    combiner.clip_extrema(nlow=2, nhigh=2)
    expected = combiner.average_combine().data.ravel()
    np.testing.assert_allclose(kernels.trimmed_mean(frames, np.zeros(12), 0.2).mean, expected, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(n_frames=st.integers(1, 20), seed=st.integers(0, 1000), shift=st.integers(-2000, 2000), k=st.integers(0, 19))
def test_a_frame_may_be_brighter_with_its_level(n_frames, seed, shift, k):
    frames, levels = np.round(noisy_frames(n_frames, 9, seed=seed, missing=0.2)), np.zeros(n_frames)
    moved, moved_levels = frames.copy(), levels.copy()
    moved[k % n_frames] += shift
    moved_levels[k % n_frames] += shift
    for one, other in zip(
        kernels.trimmed_mean(frames, levels, 0.2), kernels.trimmed_mean(moved, moved_levels, 0.2), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=40, deadline=None)
@given(n_frames=st.integers(1, 30), seed=st.integers(0, 1000), factor=st.sampled_from([0.25, 2.0, 8.0]))
def test_the_order_of_frames_does_not_matter_and_the_unit_scales(n_frames, seed, factor):
    frames = noisy_frames(n_frames, 9, seed=seed, outliers=0.1, missing=0.2)
    levels = np.random.default_rng(seed).normal(0, 3, n_frames).astype(np.float32).astype(float)
    order = np.random.default_rng(seed + 1).permutation(n_frames)
    plain = kernels.trimmed_mean(frames, levels, 0.2), kernels.clipped_mean(frames, 5.0)
    mixed = kernels.trimmed_mean(frames[order], levels[order], 0.2), kernels.clipped_mean(frames[order], 5.0)
    scaled = (
        kernels.trimmed_mean(frames * np.float32(factor), levels * factor, 0.2),
        kernels.clipped_mean(frames * np.float32(factor), 5.0),
    )
    for one, other, times in zip(plain, mixed, scaled, strict=True):
        for name, a, b, c in zip(one._fields, one, other, times, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
            unit = 1 if a.dtype.kind == "i" else factor
            np.testing.assert_array_equal(a * np.asarray(unit, a.dtype), c, err_msg=name)


# Straight-line code ----------------------------------------------------------------------------------------------


@pytest.fixture
def straight(monkeypatch):
    """Straight-line code for any number of pixels, as large arrays have it."""
    for module in (trimmed, clipped, slope):
        monkeypatch.setattr(module, "LEAST_PIXELS", 1)


# An α of more than a quarter leaves too few samples to part them as they rise and fall.
@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.4])
@pytest.mark.parametrize(("n_frames", "missing"), [(2, 0.0), (3, 0.2), (7, 0.3), (46, 0.0), (46, 0.02), (45, 0.6)])
def test_straight_line_code_trims_like_the_list_of_exchanges(n_frames, missing, alpha, straight, monkeypatch):
    frames = noisy_frames(n_frames, 2 * TILE + 3, seed=n_frames, outliers=0.05, missing=missing)
    frames[:, 5] = np.nan
    levels = np.linspace(-40, 60, n_frames)
    found = kernels.trimmed_halves(frames, levels, alpha)
    monkeypatch.setattr(trimmed, "LEAST_PIXELS", 1 << 30)
    listed = kernels.trimmed_halves(frames, levels, alpha)
    np.testing.assert_array_equal(found.whole.n_samples, listed.whole.n_samples)
    # Only the order in which kept samples are added differs.
    for one, other in zip((*found.whole, *found[1:]), (*listed.whole, *listed[1:]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-5)


class Value(int):
    """Stands for a vector, as straight-line code exchanges them."""

    def least(self, other):
        return min(self, other)

    def most(self, other):
        return max(self, other)

    def where(self, yes, no):
        return yes if self else no

    def __lt__(self, other):
        return Value(int(self) < int(other))


@pytest.mark.parametrize("n", range(2, 20))
def test_two_sorted_halves_are_parted_and_trimmed_whatever_they_hold(n):
    # All sorted zeros and ones do for a network of exchanges; and all ways in which distinct values fall to the halves
    # of a few.
    m = n // 2
    columns = [([0] * i + [1] * (m - i), [0] * j + [1] * (n - m - j)) for i in range(m + 1) for j in range(n - m + 1)]
    if n < 12:
        columns += [(list(a), [v for v in range(n) if v not in a]) for a in itertools.combinations(range(n), m)]
    for a, b in columns:
        ranked = sorted(a + b)
        for cut in range((n + 1) // 2):
            low, high = straight_code._parted([Value(v) for v in a], [Value(v) for v in b], cut)
            kept = ranked[cut : n - cut]
            middle = (len(kept) + 1) // 2
            assert (sorted(map(int, low)), sorted(map(int, high))) == (kept[:middle], kept[middle:])
        assert [int(v) for v in straight_code._sorted([Value(v) for v in (*b, *a)])] == ranked


@pytest.mark.parametrize("n_frames", [2, 9, 40])
def test_straight_line_code_clips_like_the_twin(n_frames, straight):
    same_clipped(noisy_frames(n_frames, TILE + 1, outliers=0.05, missing=0.05), 5.0)


@pytest.mark.parametrize("n_frames", [4, 10, 56])
def test_straight_line_code_fits_like_the_twin(n_frames, straight):
    levels, frames, *_ = twilight(n_frames, 60, seed=n_frames, outliers=0.03, missing=0.001)
    same_fit(levels, frames)


def test_more_frames_than_straight_line_code_is_made_for_are_trimmed_all_the_same(straight):
    same_trimmed(noisy_frames(MOST_ROWS + 1, 40, missing=0.01), np.zeros(MOST_ROWS + 1), 0.2)
    whole = kernels.trimmed_halves(noisy_frames(MOST_ROWS + 1, 40), np.zeros(MOST_ROWS + 1), 0.2).whole
    twin = twins.trimmed_mean(noisy_frames(MOST_ROWS + 1, 40), np.zeros(MOST_ROWS + 1), 0.2)
    np.testing.assert_allclose(whole.mean, twin.mean, atol=2e-4)


# Clipped mean ----------------------------------------------------------------------------------------------------


def same_clipped(frames, kappa):
    found, twin = kernels.clipped_mean(frames, kappa), twins.clipped_mean(frames, kappa)
    np.testing.assert_array_equal(found.n_samples, twin.n_samples)
    np.testing.assert_array_equal(found.clipped, twin.clipped)
    np.testing.assert_allclose(found.mean, twin.mean, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(found.scatter, twin.scatter, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_pixels", [1, TILE - 1, TILE, TILE + 1])
@pytest.mark.parametrize(("n_frames", "missing"), [(48, 0.0), (47, 0.15), (6, 0.5)])
def test_clipped_mean_is_its_twin_around_the_edges_of_a_tile(n_frames, n_pixels, missing):
    same_clipped(noisy_frames(n_frames, n_pixels, outliers=0.05, missing=missing) + np.float32(10_000), 3.0)


@pytest.mark.parametrize("n_frames", [*range(1, 13), 41, 48, 63, 64, 65, 80])
def test_clipped_mean_is_its_twin_for_any_number_of_frames(n_frames):
    for missing, kappa in ((0.0, 3.0), (0.3, 5.0), (0.1, 1.5)):
        same_clipped(noisy_frames(n_frames, 40, seed=n_frames, outliers=0.1, missing=missing), kappa)


def test_clipped_mean_is_astropys_column_by_column():
    frames = noisy_frames(48, 150, outliers=0.08) + np.float32(300)
    found = kernels.clipped_mean(frames, 3.0)
    for i, column in enumerate(frames.T.astype(float)):
        kept = sigma_clip(column, sigma=3.0, maxiters=None, cenfunc="median", stdfunc="mad_std", masked=False)
        assert found.n_samples[i] == len(kept)
        assert found.mean[i] == pytest.approx(kept.mean(), abs=1e-4)
        assert found.scatter[i] == pytest.approx(kept.std(ddof=1), rel=1e-5)


def test_one_round_of_clipping_is_ccdprocs():
    # Combiner clips once: choose pixels of which a second round takes nothing more.
    frames = noisy_frames(30, 60, seed=8, outliers=0.04)
    combiner = Combiner([CCDData(frame.astype(float).reshape(6, 10), unit="adu") for frame in frames])
    combiner.sigma_clipping(low_thresh=5, high_thresh=5, func=np.ma.median, dev_func=mad_std)
    count = (~combiner.data_arr.mask).sum(axis=0).ravel()
    found = kernels.clipped_mean(frames, 5.0)
    settled = found.n_samples == count
    assert settled.mean() > 0.9
    assert (count < 30).any()
    expected = combiner.average_combine().data.ravel()
    np.testing.assert_allclose(found.mean[settled], expected[settled], atol=1e-4)


def test_outliers_leave_and_their_number_is_told():
    frames = noisy_frames(40, 3)
    frames[[3, 17], 1] += 4_000
    frames[9, 2] = np.nan
    clean, found = kernels.clipped_mean(np.delete(frames, [3, 17], axis=0), 6.0), kernels.clipped_mean(frames, 6.0)
    np.testing.assert_array_equal(found.clipped, [0, 2, 0])
    np.testing.assert_array_equal(found.n_samples, [40, 38, 39])
    assert found.mean[1] == pytest.approx(clean.mean[1], abs=1e-4)
    assert found.scatter[1] == pytest.approx(clean.scatter[1], rel=1e-5)


def test_whole_numbers_that_mostly_agree_keep_only_those():
    # A quantised pixel has MAD 0: nothing but the majority value lies within any number of σ.
    column = np.array([5, 5, 5, 5, 5, 6, 4], np.float32)[:, None]
    found = kernels.clipped_mean(column, 5.0)
    assert (found.mean[0], found.scatter[0], found.n_samples[0], found.clipped[0]) == (5, 0, 5, 2)


def test_scatter_keeps_its_precision_on_a_high_level():
    frames = (noisy_frames(48, 200, sigma=4.0) + np.float32(10_000)).astype(np.float32)
    np.testing.assert_allclose(
        kernels.clipped_mean(frames, 50.0).scatter, frames.astype(float).std(axis=0, ddof=1), rtol=1e-4
    )


def test_no_sample_no_mean_and_one_sample_no_scatter():
    found = kernels.clipped_mean(np.array([[np.nan, 3], [np.inf, np.nan]], np.float32), 5.0)
    np.testing.assert_array_equal(found.mean, [np.nan, 3])
    assert np.isnan(found.scatter).all()
    np.testing.assert_array_equal(found.n_samples, [0, 1])
    np.testing.assert_array_equal(found.clipped, [0, 0])


# Slope against illumination --------------------------------------------------------------------------------------


def same_fit(levels, frames, **options):
    (found, found_rejected), (twin, twin_rejected) = (
        fit(kernel.robust_slope, frames, levels, **options) for kernel in (kernels, twins)
    )
    np.testing.assert_array_equal(found_rejected, twin_rejected)
    np.testing.assert_array_equal(found.n_samples, twin.n_samples)
    for name, a, b in zip(found._fields, found, twin, strict=True):
        # Of what is zero but for noise the scale is its error.
        scale = {"intercept": twin.intercept_error, "curvature": twin.curvature_error}.get(name)
        atol = 1e-9 if scale is None else 1e-5 * np.nan_to_num(scale).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=atol, err_msg=name)


@pytest.mark.parametrize("n_frames", [4, 5, 8, 9, 10, 23, 56, 80])
@pytest.mark.parametrize(("outliers", "missing"), [(0.0, 0.0), (0.06, 0.1)])
def test_robust_slope_is_its_twin(n_frames, outliers, missing):
    levels, frames, *_ = twilight(n_frames, 60, seed=n_frames, outliers=outliers, missing=missing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel whose last samples share one level
        same_fit(levels, frames)


@pytest.mark.parametrize("iterations", [1, 2, 10])
def test_robust_slope_is_its_twin_under_unsteady_light_and_any_number_of_rounds(iterations):
    levels, frames, *_ = twilight(56, 60, outliers=0.05, noise=5.0)
    same_fit(levels, frames, iterations=iterations, kappa=3.0)


def test_without_outliers_the_slope_is_the_weighted_least_squares_line():
    levels, frames, *_ = twilight(56, 40)
    found, rejected = fit(kernels.robust_slope, frames, levels, kappa=50.0, iterations=20)
    assert not rejected.any()
    for i in range(40):
        # The weights follow the fitted line itself: they are those of the model at the end.
        sigma = np.sqrt(READ_NOISE**2 + np.maximum(found.intercept[i] + found.slope[i] * levels, 0) / GAIN)
        (b, a), cov = np.polyfit(levels, frames[:, i], 1, w=1 / sigma, cov="unscaled")
        error_b, error_a = np.sqrt(np.diag(cov))
        assert found.slope[i] == pytest.approx(b, abs=1e-3 * error_b)
        assert found.intercept[i] == pytest.approx(a, abs=1e-2 * error_a)
        assert found.slope_error[i] == pytest.approx(error_b, rel=1e-4)
        assert found.intercept_error[i] == pytest.approx(error_a, rel=1e-4)
        pull = (frames[:, i] - a - b * levels) / sigma
        assert found.chi2[i] == pytest.approx(np.sum(pull**2) / 54, rel=1e-4)


def test_the_slope_is_that_of_a_general_fitter_with_the_same_noise():
    levels, frames, *_ = twilight(56, 8, seed=11)
    found, _ = fit(kernels.robust_slope, frames, levels, kappa=50.0, iterations=20)
    for i in range(8):
        sigma = np.sqrt(READ_NOISE**2 + (found.intercept[i] + found.slope[i] * levels) / GAIN)
        best, cov = optimize.curve_fit(
            lambda x, a, b: a + b * x, levels, frames[:, i], p0=(0, 1), sigma=sigma, absolute_sigma=True
        )
        assert found.slope[i] == pytest.approx(best[1], abs=1e-2 * np.sqrt(cov[1, 1]))
        assert found.slope_error[i] == pytest.approx(np.sqrt(cov[1, 1]), rel=1e-3)


def test_curvature_is_the_quadratic_term_of_a_weighted_parabola():
    for bend in (2e-6, -2e-6):
        levels, frames, *_ = twilight(56, 20, curvature=bend)
        found, _ = fit(kernels.robust_slope, frames, levels, kappa=50.0, iterations=20)
        for i in range(20):
            sigma = np.sqrt(READ_NOISE**2 + np.maximum(found.intercept[i] + found.slope[i] * levels, 0) / GAIN)
            coefficients, cov = np.polyfit(levels, frames[:, i], 2, w=1 / sigma, cov="unscaled")
            assert found.curvature[i] == pytest.approx(coefficients[0], rel=1e-3)
            assert found.curvature_error[i] == pytest.approx(np.sqrt(cov[0, 0]), rel=1e-4)
        assert found.curvature.mean() == pytest.approx(bend, abs=4 * found.curvature_error.mean() / np.sqrt(20))


def test_errors_and_chi2_are_those_of_the_noise():
    levels, frames, a, b = twilight(56, 6_000)
    found, rejected = fit(kernels.robust_slope, frames, levels)
    assert ((found.slope - b) / found.slope_error).std() == pytest.approx(1, abs=0.04)
    assert ((found.intercept - a) / found.intercept_error).std() == pytest.approx(1, abs=0.04)
    assert (found.curvature / found.curvature_error).std() == pytest.approx(1, abs=0.04)
    assert found.chi2.mean() == pytest.approx(1, abs=0.02)
    assert rejected.mean() < 3e-4


def test_stars_and_cosmic_rays_leave_and_no_one_else():
    levels, frames, _, b = twilight(56, 2_000)
    spoilt = frames.copy()
    hit = np.random.default_rng(9).random(frames.shape) < 0.05
    spoilt[hit] += 3_000
    found, rejected = fit(kernels.robust_slope, spoilt, levels)
    assert rejected[hit].mean() > 0.999
    assert rejected[~hit].mean() < 1e-3
    np.testing.assert_array_equal(found.n_samples, 56 - rejected.sum(axis=0))
    pull = (found.slope - b) / found.slope_error
    assert pull.std() == pytest.approx(1, abs=0.06)
    assert abs(pull.mean()) < 0.08


def test_even_a_third_of_bright_samples_at_one_end_does_not_drag_the_line():
    levels, frames, _, b = twilight(60, 200)
    brightest = np.argsort(levels)[-8:]
    frames[brightest] += 2_000
    found, rejected = fit(kernels.robust_slope, frames, levels, iterations=10)
    assert rejected[brightest].mean() > 0.99
    assert np.abs((found.slope - b) / found.slope_error).max() < 6


def test_light_that_is_unsteady_widens_the_limit_instead_of_losing_every_sample():
    levels, frames, *_ = twilight(56, 500, noise=10.0)
    found, rejected = fit(kernels.robust_slope, frames, levels)
    assert rejected.mean() < 0.02
    assert np.median(found.chi2) == pytest.approx(100, rel=0.1)


def test_missing_samples_are_no_rejected_ones():
    levels, frames, *_ = twilight(56, 300, missing=0.2)
    found, rejected = fit(kernels.robust_slope, frames, levels)
    holes = ~np.isfinite(frames)
    assert not (rejected & holes).any()
    np.testing.assert_array_equal(found.n_samples, (~holes & ~rejected).sum(axis=0))


@pytest.mark.parametrize("n_valid", [0, 1, 3])
def test_fewer_than_four_samples_make_no_line(n_valid):
    levels, frames, *_ = twilight(20, 2)
    frames[n_valid:, 0] = np.nan
    found, rejected = fit(kernels.robust_slope, frames, levels)
    for name in ("slope", "intercept", "slope_error", "intercept_error", "chi2", "curvature", "curvature_error"):
        assert np.isnan(getattr(found, name)[0])
        assert np.isfinite(getattr(found, name)[1])
    assert found.n_samples[0] == n_valid
    assert not rejected[:, 0].any()


def test_light_that_does_not_change_makes_no_line():
    found, _ = fit(kernels.robust_slope, noisy_frames(20, 5) + np.float32(900), np.full(20, 900.0))
    assert np.isnan(found.slope).all()


def test_each_pixel_has_its_own_read_noise():
    levels, frames, *_ = twilight(56, 2)
    frames[:, 1] = frames[:, 0]
    found, _ = fit(kernels.robust_slope, frames, levels, read_variance=np.array([30, 90_000], np.float32))
    assert found.slope_error[1] > 5 * found.slope_error[0]
    assert found.chi2[1] < 0.1 * found.chi2[0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 500), n_frames=st.integers(4, 40))
def test_frames_may_come_in_any_order(seed, n_frames):
    levels, frames, *_ = twilight(n_frames, 5, seed=seed, outliers=0.05, missing=0.1)
    order = np.random.default_rng(seed + 1).permutation(n_frames)
    (one, rejected), (other, mixed) = (
        fit(kernels.robust_slope, f, x) for f, x in ((frames, levels), (frames[order], levels[order]))
    )
    np.testing.assert_array_equal(rejected[order], mixed)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


# Forming a read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, np.float64, ">i2", ">f4"])
@pytest.mark.parametrize("correlated", [True, False])
def test_form_read_is_its_twin_for_any_type(dtype, correlated):
    rng = np.random.default_rng(4)
    plus = rng.integers(9_000, 32_000, (7, TILE + 1)).astype(np.dtype(dtype).newbyteorder("="))
    minus = rng.integers(8_000, 12_000, plus.shape).astype(plus.dtype) if correlated else None
    scale, offset = (rng.normal(m, 0.1, TILE + 1).astype(np.float32) for m in (1, -300))
    scale[5] = np.nan
    options = {"saturation_dn": 30_000.0, "scale": scale, "offset": offset}
    found, twin = (k.form_read(plus, minus, **options) for k in (kernels, twins))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, twin, rtol=1e-6, atol=5e-3)
    np.testing.assert_array_equal(np.isnan(found), (plus >= 30_000) | np.isnan(scale))


def test_a_read_is_formed_without_wrapping_round_zero():
    # R2 below R1 in unsigned numbers.
    plus, minus = np.array([[10_000]], np.uint16), np.array([[10_007]], np.uint16)
    one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
    assert kernels.form_read(plus, minus, saturation_dn=5e4, scale=one, offset=none)[0, 0] == -7


def test_the_saturation_level_itself_is_saturated_and_only_the_later_read_counts():
    plus = np.array([[52_199, 52_200, 52_201, 30_000]], np.uint16)
    minus = np.array([[9_000, 9_000, 9_000, 60_000]], np.uint16)
    one, none = np.ones(4, np.float32), np.zeros(4, np.float32)
    found = kernels.form_read(plus, minus, saturation_dn=52_200.0, scale=one, offset=none)
    np.testing.assert_array_equal(found, [[43_199, np.nan, np.nan, -30_000]])


def test_missing_samples_stay_missing():
    plus = np.array([[np.nan, 5.0, np.inf]], np.float32)
    minus = np.array([[1.0, np.nan, 1.0]], np.float32)
    one, none = np.ones(3, np.float32), np.zeros(3, np.float32)
    assert np.isnan(kernels.form_read(plus, minus, saturation_dn=100.0, scale=one, offset=none)).all()
    assert np.isnan(kernels.form_read(plus, None, saturation_dn=100.0, scale=one, offset=none)[0, ::2]).all()


def test_the_read_can_be_written_into_an_array_that_is_there():
    plus = np.arange(12, dtype=np.uint16).reshape(3, 4)
    one, none = np.ones(4, np.float32), np.zeros(4, np.float32)
    for module in (kernels, twins):
        out = np.full((3, 4), -1, np.float32)
        assert module.form_read(plus, None, saturation_dn=9.0, scale=one, offset=none, out=out) is out
        np.testing.assert_array_equal(out[:2], plus[:2])
        assert np.isnan(out[2, 1:]).all()


def test_every_public_kernel_has_a_twin():
    public = {name for name in kernels.__all__ if name.islower() and not name.endswith("_network")}
    assert set(twins.__all__) == public


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 400),
    kind=st.sampled_from([np.float32, np.float64]),
    missing=st.sampled_from([0.0, 0.5, 1.0]),
    ties=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_median_of_finite_values_is_that_of_numpy(n, kind, missing, ties, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(100, 30, (n, 3)).astype(kind)
    if ties:
        values = (values / 20).round().astype(kind)
    values[rng.random(values.shape) < missing] = rng.choice([np.nan, np.inf, -np.inf])
    for given_values in (values, values[::2], values.T):
        expected = twins.finite_median(given_values)
        assert kernels.finite_median(given_values) == pytest.approx(expected, rel=1e-15, nan_ok=True)
