"""The passes over frames against their NumPy twins: masked, NaN, saturated and even-valued frames."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib import kernels
from calib.kernels import NoiseTerms, merging_network, twins
from calib.kernels.few import two_of_few
from calib.kernels.taking import SPARE, take_within

SIZES = [1, 2, 3, 7, 8, 9, 47, 48, 49, 50, 333, 4096]


def frames_of(n, n_pixels, *, seed=1, missing=0.0, whole=False, jitter=3.0):
    """Frames about 2800 DN whose levels differ, with missing samples, and pixels that do not count."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(2800, 25, (n, n_pixels)) + rng.normal(0, jitter, (n, 1))
    frames = np.round(frames / 20) * 20 if whole else frames
    hole = rng.choice([np.nan, np.inf, -np.inf], frames.shape)
    good = rng.random(n_pixels) < 0.9
    return np.where(rng.random(frames.shape) < missing, hole, frames).astype(np.float32), good


@pytest.mark.parametrize("n_pixels", SIZES)
@pytest.mark.parametrize(
    ("missing", "whole", "jitter"), [(0, False, 3), (0.3, False, 100), (0.1, True, 0), (1, False, 1)]
)
def test_medians_are_exact_however_the_levels_jump(n_pixels, missing, whole, jitter):
    frames, good = frames_of(30, n_pixels, missing=missing, whole=whole, jitter=jitter)
    np.testing.assert_array_equal(kernels.frame_medians(frames, good), twins.frame_medians(frames, good))


@settings(max_examples=60, deadline=None)
@given(
    n_pixels=st.integers(1, 3000),
    seed=st.integers(0, 1000),
    power=st.sampled_from([1, 3, 9]),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
)
def test_medians_are_exact_for_any_distribution(n_pixels, seed, power, scale):
    rng = np.random.default_rng(seed)
    frames = (rng.standard_normal((6, n_pixels)) ** power * scale).astype(np.float32)
    good = np.ones(n_pixels, np.bool_)
    np.testing.assert_array_equal(kernels.frame_medians(frames, good), twins.frame_medians(frames, good))


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.one_of(st.floats(width=32), st.sampled_from([0.0, 1.0, 2.0])), max_size=200),
    double=st.booleans(),
    copies=st.integers(1, 9),
)
def test_the_middle_and_the_average_of_a_cell_are_their_twins(values, double, copies):
    kind = np.float64 if double else np.float32
    image = np.array(values * copies, kind).reshape(1, -1)
    image = np.where(np.abs(image) > 1e30, kind(np.nan), image)
    good = np.arange(image.size).reshape(image.shape) % 7 != 3
    edges = (0, 1), (0, image.size // 3, image.size)
    np.testing.assert_array_equal(
        kernels.cell_middles(image, good, *edges), twins.cell_middles(image, good, *edges).reshape(1, 2)
    )


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_averages_of_cells_are_their_twins(kind):
    rng = np.random.default_rng(6)
    image = rng.normal(5, 2, (50, 61)).astype(kind)
    image[rng.random(image.shape) < 0.03] += 500
    image[rng.random(image.shape) < 0.05] = np.nan
    good = rng.random(image.shape) < 0.9
    good[:17, :20] = False
    edges = (0, 17, 34, 50), (0, 20, 40, 61)
    found, twin = kernels.cell_averages(image, good, *edges, 4.0), twins.cell_averages(image, good, *edges, 4.0)
    np.testing.assert_array_equal(found.middle, twin.middle)
    np.testing.assert_allclose(found.mean, twin.mean, rtol=1e-6)
    assert np.isnan(found.mean[0, 0])
    assert np.isfinite(found.mean.ravel()[1:]).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    slope=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
    step=st.sampled_from([0.0, 1e4]),
    digits=st.sampled_from([None, 0, -1]),
)
def test_the_median_of_a_cell_does_not_depend_on_where_it_is_looked_for(seed, slope, step, digits):
    # Each cell is looked through about the median of the one before: right there, beside it, far from it.
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (96, 96)) + slope * np.arange(96)
    image[rng.random(image.shape) < 0.01] *= 1e6
    image[40:60] += step
    image = (image if digits is None else np.round(image, digits)).astype(np.float32)
    good = rng.random(image.shape) < 0.95
    edges = tuple(range(0, 97, 12)), tuple(range(0, 97, 12))
    found, twin = kernels.cell_averages(image, good, *edges, 4.0), twins.cell_averages(image, good, *edges, 4.0)
    np.testing.assert_array_equal(found.middle, twin.middle)
    np.testing.assert_array_equal(kernels.cell_middles(image, good, *edges), twin.middle)
    np.testing.assert_allclose(found.mean, twin.mean, rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(0, 100), seed=st.integers(0, 1000), double=st.booleans(), masked=st.booleans())
def test_what_lies_within_a_range_is_taken_in_order_and_counted(n, seed, double, masked):
    rng = np.random.default_rng(seed)
    source = rng.integers(-4, 5, n).astype(np.float64 if double else np.float32)
    source[rng.random(n) < 0.2] = rng.choice([np.nan, np.inf, -np.inf])
    good = rng.random(n) < 0.7 if masked else None
    counted = np.isfinite(source) & (True if good is None else good)
    inside = counted & (source >= -1) & (source <= 2)
    taken = np.zeros(n + 3 + SPARE, source.dtype)
    counts = take_within(source, good, -1.0, 2.0, taken, 3)
    assert counts == ((counted & (source < -1)).sum(), inside.sum(), counted.sum())
    np.testing.assert_array_equal(taken[3 : 3 + counts[1]], source[inside])
    if good is None:
        assert take_within(source, None, -1.0, 2.0, source, 0)[1] == counts[1]
        np.testing.assert_array_equal(source[: counts[1]], taken[3 : 3 + counts[1]])


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 1000), double=st.booleans(), kinds=st.sampled_from([1, 4, 10_000]))
def test_the_values_of_two_neighbouring_ranks_are_those_of_sorted_values(n, seed, double, kinds):
    values = np.random.default_rng(seed).integers(-kinds, kinds, n).astype(np.float64 if double else np.float32)
    before, ranked = values.copy(), np.sort(values)
    for k in range(n):
        lower, upper = two_of_few(values, k)
        assert lower == ranked[k]
        assert k + 1 == n or upper == ranked[k + 1]
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("m", range(9))
@pytest.mark.parametrize("n", range(9))
def test_the_merging_network_merges_all_sorted_zeros_and_ones_and_therefore_everything(m, n):
    pairs, order = merging_network(m, n)
    assert sorted(order) == list(range(m + n))
    for ones in range(m + 1):
        for more in range(n + 1):
            rows = [0] * (m - ones) + [1] * ones + [0] * (n - more) + [1] * more
            for i, j in pairs:
                rows[i], rows[j] = min(rows[i], rows[j]), max(rows[i], rows[j])
            assert [rows[r] for r in order] == sorted(rows)


def raw_of(n, n_pixels, dtype, *, seed=4):
    rng = np.random.default_rng(seed)
    minus = rng.integers(9_000, 12_000, (n, n_pixels))
    plus = minus + rng.integers(2_000, 4_000, (n, n_pixels))
    plus[rng.random(plus.shape) < 0.01] = 60_000
    if dtype in ("i2", "u1"):
        plus, minus = plus // 400 - 10, minus // 400 - 10
    if np.dtype(dtype).kind == "f":
        plus = np.where(rng.random(plus.shape) < 0.01, np.nan, plus)
    return plus.astype(dtype), minus.astype(dtype)


# By the number of pixels, frames are finished alone or in groups, the last of them shorter; some pixels are left over
# from stretches and from vectors.
@pytest.mark.parametrize("dtype", ["u2", "i2", "u1", "i4", "f4", "f8"])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("n_pixels", [1, 8, 1000, 40_007, 140_001])
def test_final_frames_are_their_twin(dtype, single, n_pixels):
    rng = np.random.default_rng(9)
    plus, minus = raw_of(7, n_pixels, dtype)
    if single:
        minus = None

    def spread(centre, sigma):
        return rng.normal(centre, sigma, n_pixels).astype(np.float32)

    scale = np.where(rng.random(n_pixels) < 0.05, np.nan, spread(1, 0.05)).astype(np.float32)
    common = {
        "saturation_dn": 139.5 if dtype in ("i2", "u1") else 52_200.0,
        "scale": scale,
        "offset": spread(-300, 10),
        "good": rng.random(n_pixels) > 0.1,
    }
    both = kernels, twins
    calibration = {name: common[name] for name in ("saturation_dn", "offset")}
    calibration["scale"] = np.where(common["good"], scale, np.float32(np.nan))
    levels = [t.read_levels(plus, minus, **calibration) for t in both]
    np.testing.assert_allclose(levels[0], levels[1], rtol=1e-6, atol=2e-3)
    for hint in (np.array([levels[0][0], 20.0]), np.array([1e4, 1.0]), np.array([np.nan, 1.0])):
        np.testing.assert_array_equal(kernels.read_levels(plus, minus, **calibration, hint=hint), levels[0])
    level = levels[1].copy()
    level[3] = np.nan
    noise = NoiseTerms(spread(900, 10), spread(0.12, 0.01), spread(1e-3, 1e-4) ** 2)
    rest = {
        "level": level,
        "noise": noise,
        "flags": rng.choice([0, 8, 32], n_pixels).astype(np.uint8),
        "saturated": 2,
        "no_data": 1,
    }

    def room():
        return np.empty(plus.shape, np.float32), np.empty(plus.shape, np.float32), np.empty(plus.shape, np.uint8)

    found, twin = (t.finish_frames(plus, minus, **common, **rest, out=room()) for t in both)
    np.testing.assert_allclose(found.value, twin.value, rtol=1e-6, atol=4e-3)
    np.testing.assert_allclose(found.error, twin.error, rtol=1e-5)
    np.testing.assert_array_equal(found.mask, twin.mask)
    np.testing.assert_allclose(found.shift, twin.shift, atol=4e-3)
    # A hint, right or wrong, changes nothing, and without rows for errors there are none.
    for hint in (np.array([found.shift[0], 5.0]), np.array([1e4, 1.0])):
        value, error, mask = room()
        again = kernels.finish_frames(plus, minus, **common, **rest, hint=hint, out=(value, error[:0], mask))
        np.testing.assert_array_equal(again.value, found.value)
        np.testing.assert_array_equal(again.mask, found.mask)
        np.testing.assert_array_equal(again.shift, found.shift)
    # Frames that are part of a larger array.
    spaced = [None if a is None else np.repeat(a, 2, axis=1)[:, ::2] for a in (plus, minus)]
    np.testing.assert_array_equal(kernels.read_levels(*spaced, **calibration), levels[0])
    again = kernels.finish_frames(*spaced, **common, **rest, out=room())
    np.testing.assert_array_equal(again.value, found.value)
    # As it stands in a file: the same numbers, and the sums of their words.
    for rows in (slice(None), slice(0)):
        value, error, mask = room()
        stored = kernels.finish_frames(plus, minus, **common, **rest, big_endian=True, out=(value, error[rows], mask))
        np.testing.assert_array_equal(stored.value, found.value)
        np.testing.assert_array_equal(stored.error, found.error[rows])
        np.testing.assert_array_equal(stored.mask, found.mask)
        words = [twins.sum_big_endian(a.reshape(-1).view(np.uint32)) for a in (stored.value, stored.error)]
        assert list(stored.sums) == words
    assert found.sums is None
    # Stretch by stretch it is the same, to the last bit.
    shifts = {**calibration, "level": level}
    np.testing.assert_array_equal(kernels.frame_shifts(plus, minus, **shifts), found.shift)
    for hint in (np.array([found.shift[0], 5.0]), np.array([1e4, 1.0])):
        again = kernels.frame_shifts(plus, minus, **shifts, hint=hint)
        np.testing.assert_array_equal(again, found.shift)
    spread_out = {name: rest[name] for name in ("noise", "flags", "saturated", "no_data")}
    for first, end in ((0, n_pixels), (n_pixels // 3, n_pixels), (0, n_pixels // 2), (n_pixels // 2, n_pixels // 2)):
        for rows in (slice(None), slice(0)):
            given = {**calibration, **spread_out, "scale": scale, "shift": found.shift}
            outs = [
                tuple(
                    np.empty((len(a[r]), end - first), a.dtype)
                    for a, r in zip(room(), (slice(None), rows, slice(None)), strict=True)
                )
                for _ in range(3)
            ]
            native = kernels.finish_stretch(plus, minus, first, **given, out=outs[0])
            stored = kernels.finish_stretch(plus, minus, first, **given, big_endian=True, out=outs[1])
            twin = twins.finish_stretch(plus, minus, first, **given, out=outs[2])
            for made in (native, stored):
                np.testing.assert_array_equal(made.value, found.value[:, first:end])
                np.testing.assert_array_equal(made.error, found.error[rows, first:end])
                np.testing.assert_array_equal(made.mask, found.mask[:, first:end])
            np.testing.assert_allclose(twin.value, native.value, rtol=1e-6, atol=4e-3)
            np.testing.assert_array_equal(twin.mask, native.mask)
            words = [twins.sum_big_endian(a.reshape(-1).view(np.uint32)) for a in (stored.value, stored.error)]
            assert native.sums is None
            assert list(stored.sums) == words


# Levels that stay, drift, leap, or are not there at all; few pixels, and so many that some of them are asked first.
@pytest.mark.parametrize("n_pixels", [3, 700, 20_011])
@settings(max_examples=25, deadline=None)
@given(leaps=st.sampled_from([0.0, 0.3, 30.0, 3000.0]), drift=st.sampled_from([0, 7]), seed=st.integers(0, 1000))
def test_levels_are_medians_however_they_leap(n_pixels, leaps, drift, seed):
    rng, n = np.random.default_rng(seed), 30
    minus = rng.integers(9_000, 12_000, (n, n_pixels)).astype(np.uint16)
    light = 5000 + drift * np.arange(n) + leaps * rng.standard_normal(n) * (rng.random(n) < 0.7)
    plus = (minus + np.clip(light[:, None] + 20 * rng.standard_normal(minus.shape), 0, 40_000)).astype(np.uint16)
    plus[rng.random(n) < 0.1] = 60_000
    given_too = {
        "saturation_dn": 52_200.0,
        "scale": np.where(rng.random(n_pixels) < 0.05, np.nan, 1.01).astype(np.float32),
        "offset": rng.normal(-300, 10, n_pixels).astype(np.float32),
    }
    good = np.isfinite(given_too["scale"])
    for reads in ((plus, minus), (plus, None)):
        found = kernels.read_levels(*reads, **given_too)
        np.testing.assert_array_equal(found, kernels.frame_medians(kernels.form_read(*reads, **given_too), good))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 300), seed=st.integers(0, 100))
def test_words_are_swapped_and_summed_as_they_stand_in_a_file(n, seed):
    words = np.random.default_rng(seed).integers(0, 2**32, n, dtype=np.uint32)
    words[: n // 3] = 0xFFFFFFFF
    out = [np.empty(n, np.uint32) for _ in range(2)]
    sums = [t.swap_and_sum(words, o) for t, o in zip((kernels, twins), out, strict=True)]
    np.testing.assert_array_equal(out[0], out[1])
    assert sums[0] == sums[1] == kernels.sum_big_endian(out[0]) == twins.sum_big_endian(out[0])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n_pixels=st.sampled_from([30, 900, 5000]),
    jump=st.sampled_from([0.0, 1.0, 30.0, 3000.0]),
    alternate=st.booleans(),
    empty=st.booleans(),
)
def test_levels_do_not_depend_on_how_they_move(seed, n_pixels, jump, alternate, empty):
    rng = np.random.default_rng(seed)
    levels = 3000 + jump * (np.arange(9) % 2 if alternate else rng.normal(0, 1, 9))
    plus = (1000 + levels[:, None] + rng.normal(0, 30, (9, n_pixels))).astype(np.uint16)
    if empty:
        plus[rng.integers(9)] = 60_000
    common = {
        "saturation_dn": 52_200.0,
        "scale": np.where(rng.random(n_pixels) < 0.9, 1, np.nan).astype(np.float32),
        "offset": rng.normal(-1000, 1, n_pixels).astype(np.float32),
    }
    twin = twins.read_levels(plus, None, **common)
    for hint in (None, np.array([3000.0, 500.0]), np.array([0.0, np.inf]), np.array([np.inf, -1.0])):
        np.testing.assert_array_equal(kernels.read_levels(plus, None, **common, hint=hint), twin)


@pytest.mark.parametrize("flip", [0, 1 << 15])
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5, 7)])
def test_stored_words_come_in_native_order(flip, shape):
    stored = np.random.default_rng(3).integers(-(2**15), 2**15, shape).astype(">i2")
    found, twin = (t.native_16_bit(stored, flip) for t in (kernels, twins))
    assert np.array_equal(kernels.native_16_bit(stored.copy(), flip, in_place=True), twin)
    np.testing.assert_array_equal(found, twin)
    np.testing.assert_array_equal(found, (stored.astype(int) + flip) % 2**16)


@pytest.mark.parametrize("n", [2, 7, 46])
def test_offsets_of_median_zero_are_their_twins(n):
    rng = np.random.default_rng(n)
    frames = rng.normal(3000, 20, (n, 4000)).astype(np.float32)
    frames[rng.random(frames.shape) < 0.3] = np.nan
    frames[:, :50] = np.nan
    good = rng.random(4000) < 0.9
    fit = twins.trimmed_halves(frames, np.full(n, 3000.0), 0.2)
    found, twin = kernels.zero_median(fit, good, (n + 1) // 2), twins.zero_median(fit, good, (n + 1) // 2)
    for name, value in twin._asdict().items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
    assert 0 < found.n_enough < np.count_nonzero(good)
    assert np.isfinite(found.medians).all()


def test_a_pixel_is_calibrated_as_its_twin():
    rng = np.random.default_rng(6)
    dark, responsivity = rng.normal(300, 9, 1003), rng.normal(1, 0.1, 1003)
    responsivity[5] = 0
    usable, good = rng.random((2, 1003)) < 0.9
    for kind in ("f4", ">f4", "f8"):
        given_now = dark.astype(kind), responsivity.astype(kind), usable[:, None], usable & good
        for found, twin in zip(kernels.calibration_of(*given_now), twins.calibration_of(*given_now), strict=True):
            np.testing.assert_array_equal(found, twin)
            assert found.dtype == np.float32


def test_variances_are_their_twins():
    rng = np.random.default_rng(2)
    errors, variance = rng.normal(0, 5, (2, 1000)).astype(np.float32) ** 2
    errors[::7], errors[1::7], errors[2::7], variance[::5] = np.nan, np.inf, -np.inf, np.nan
    np.testing.assert_array_equal(kernels.less_known(variance, errors), twins.less_known(variance, errors))
    found, twin = (t.scaled_sum_of_squares(errors, variance, 0.95) for t in (kernels, twins))
    np.testing.assert_allclose(found, twin, rtol=3e-7)
    assert np.isnan(found).sum() == np.isnan(variance).sum()


def test_the_noise_of_a_sample_is_its_twin_and_that_of_the_measured_quantities():
    rng = np.random.default_rng(6)
    scale, dark_error, flat_error = np.abs(rng.normal(1, 0.1, (3, 1000))).astype(np.float32)
    scale[::11], dark_error[::7], flat_error[::5] = np.nan, np.nan, np.nan
    found, twin = (t.sample_noise(scale, dark_error, flat_error, 6.0, 8.0) for t in (kernels, twins))
    for a, b in zip(found, twin, strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-7)
    with pytest.raises(ValueError, match="shape"):
        kernels.sample_noise(scale, dark_error[:1], flat_error, 6.0, 8.0)
    # σ² = (r² + σ_d²)/R² + F/(g R) + (σ_R/R)² F² for a response R.
    response = 1 / scale.astype(float)
    np.testing.assert_allclose(found.constant, (36 + dark_error.astype(float) ** 2) / response**2, rtol=1e-6)
    np.testing.assert_allclose(found.linear, 1 / (8 * response), rtol=1e-6)
    np.testing.assert_allclose(found.quadratic, (flat_error / response) ** 2, rtol=1e-6)
