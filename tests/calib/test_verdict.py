"""The verdict on a responsivity: what a comparison measures, and what the default limits make of it."""

from dataclasses import replace

import numpy as np
import pytest

from calib.checks import evaluate, judge
from calib.profile import load_profile
from calib.verdict import Flat, compare_flats, mean_flat, origin_of, plane_tilt, ratio_map

PROFILE = load_profile("2mass")
SHAPE = PROFILE.detector.shape
ERROR = 0.0012
STABILITY = 0.002
Y, X = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in SHAPE), indexing="ij")
TRUTH = 1 + 0.04 * np.random.default_rng(0).standard_normal(SHAPE) + 0.03 * np.sin(4 * X)


def night(seed, change=1.0, *, error=ERROR, bad=()):
    """A measured responsivity: the array's own, what changed, each pixel's instability, and noise."""
    rng = np.random.default_rng(seed)
    value = TRUTH * change * (1 + np.hypot(STABILITY, error) * rng.standard_normal(SHAPE))
    good = np.ones(SHAPE, bool)
    for pixel in bad:
        value[pixel], good[pixel] = np.nan, False
    value /= np.nanmedian(value)
    return Flat(value.astype(np.float32), np.full(SHAPE, error, np.float32), good)


CANONICAL = mean_flat([night(k) for k in range(1, 6)])


def verdict_on(tonight, standard=CANONICAL):
    values = compare_flats(tonight, standard, PROFILE).values
    return judge(evaluate("flat", values, PROFILE.limits_for("flat", "H", "R2-R1")))


def failed(tonight, standard=CANONICAL):
    return {c.check.name for c in verdict_on(tonight, standard).failed}


def test_a_quiet_night_passes_and_scatters_as_expected():
    found = compare_flats(night(9), CANONICAL, PROFILE)
    assert verdict_on(night(9)).status == "accepted"
    assert found.values["pixel_scatter"] == pytest.approx(1, abs=0.03)
    assert found.expected_percent == pytest.approx(100 * np.hypot(STABILITY, ERROR) * np.sqrt(1.2), rel=0.05)
    assert np.nanmedian(found.percent[found.good]) == pytest.approx(0, abs=1e-4)
    assert found.values["cell_rms"] < 0.05
    assert found.values["beyond_2pct"] == 0


def test_the_brightness_of_a_flat_is_no_matter():
    one = night(9)
    brighter = replace(one, value=one.value * np.float32(1.4), error=one.error * np.float32(1.4))
    a, b = (compare_flats(f, CANONICAL, PROFILE) for f in (one, brighter))
    np.testing.assert_allclose(a.percent, b.percent, atol=1e-3)
    assert a.values == pytest.approx(b.values, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("angle", [0, 25, 90, 200])
def test_a_gradient_of_two_percent_fails_whatever_its_direction(angle):
    direction = np.cos(np.deg2rad(angle)) * X + np.sin(np.deg2rad(angle)) * Y
    tonight = night(9, 1 + 0.02 * direction)
    assert compare_flats(tonight, CANONICAL, PROFILE).values["gradient"] == pytest.approx(2, abs=0.05)
    assert "gradient" in failed(tonight)


def test_half_a_percent_of_gradient_passes():
    assert verdict_on(night(9, 1 + 0.005 * X)).status == "accepted"


@pytest.mark.parametrize("step", [0.03, -0.03])
def test_a_quadrant_step_fails_to_either_side(step):
    change = np.where((X > 0) & (Y < 0), 1 + step, 1.0)
    tonight = night(9, change)
    assert {"quadrant", "cell_extreme"} <= failed(tonight)
    values = compare_flats(tonight, CANONICAL, PROFILE).values
    # The median of the ratio lies among the three others, a little drawn to the fourth.
    assert values["quadrant"] == pytest.approx(100 * abs(step), abs=0.15)
    assert values["cell_extreme"] == pytest.approx(values["quadrant"], abs=0.15)


def test_a_dim_corner_and_a_bright_one_fail_alike():
    corner = np.exp(-np.hypot(X - 0.5, Y + 0.5) / 0.15)
    for sign in (1, -1):
        assert "cell_extreme" in failed(night(9, 1 + sign * 0.04 * corner))


def test_noisy_pixels_fail_though_no_cell_moves():
    assert failed(night(9, error=0.02)) == {"beyond_2pct"}  # the stated error covers the scatter
    lying = replace(night(9, error=0.006), error=np.full(SHAPE, ERROR, np.float32))
    assert failed(lying) == {"pixel_scatter"}


def test_deviating_pixels_are_counted():
    tonight = night(9)
    tonight.value[::8, ::8] *= 1.05
    assert compare_flats(tonight, CANONICAL, PROFILE).values["beyond_2pct"] == pytest.approx(100 / 64, rel=0.01)
    assert failed(tonight) == {"beyond_2pct"}


def test_smooth_structure_is_not_mistaken_for_noise_of_pixels():
    values = compare_flats(night(9, 1 + 0.1 * X), CANONICAL, PROFILE).values
    assert values["pixel_scatter"] == pytest.approx(1, abs=0.05)


def test_bad_pixels_and_holes_take_no_part_but_leave_the_rest_to_judge():
    tonight = night(9, bad=[(slice(0, 32), slice(0, 32)), (100, 7)])
    tonight.value[200, :50] = 30.0
    tonight.good[200, :50] = False
    tonight.value[5, 200] = np.nan  # good by its mask and yet not a number
    found = compare_flats(tonight, CANONICAL, PROFILE)
    assert found.good.sum() == 65536 - 1024 - 1 - 50 - 1
    assert all(np.isfinite(v) for v in found.values.values())
    assert verdict_on(tonight).status == "accepted"


def test_nothing_to_compare_fails_every_check():
    tonight = night(9)
    tonight.good[:] = False
    tonight.good[0, :10] = True
    found = compare_flats(tonight, CANONICAL, PROFILE)
    assert all(np.isnan(v) for v in found.values.values())
    assert len(verdict_on(tonight).failed) == len(found.values) == 6
    everything_nan = replace(night(9), value=np.full(SHAPE, np.nan, np.float32))
    assert verdict_on(everything_nan).status == "rejected"


def test_the_ratio_is_in_percent_and_has_median_zero():
    percent, good = ratio_map(night(9, 1 + 0.02 * (X > 0.3)), CANONICAL)
    assert percent.dtype == np.float32
    assert np.median(percent[good]) == pytest.approx(0, abs=1e-4)
    assert np.median(percent[:, 230:]) - np.median(percent[:, :180]) == pytest.approx(2, abs=0.02)


def test_the_mean_is_that_of_the_members_and_its_error_smaller():
    members = [night(k) for k in range(1, 6)]
    mean = mean_flat(members)
    plain = np.mean([m.value.astype(float) for m in members], axis=0)
    np.testing.assert_allclose(mean.value, plain / np.median(plain), rtol=1e-6)
    np.testing.assert_allclose(mean.error, ERROR / np.sqrt(5), rtol=0.01)
    assert np.median(mean.value) == pytest.approx(1, abs=1e-6)
    assert mean.n == 5
    assert mean.good.all()


def test_the_error_of_the_mean_is_its_scatter():
    # Without instability of the pixels, noise is all there is.
    rng = np.random.default_rng(4)
    trials = [
        Flat(
            (TRUTH + ERROR * rng.standard_normal(SHAPE)).astype(np.float32),
            np.full(SHAPE, ERROR, np.float32),
            np.ones(SHAPE, bool),
        )
        for _ in range(4)
    ]
    mean = mean_flat(trials)
    pull = (mean.value - TRUTH / np.median(TRUTH)) / mean.error
    assert pull.std() == pytest.approx(1, abs=0.02)


def test_a_pixel_is_averaged_where_it_is_good_and_good_where_it_is_so_mostly():
    members = [night(k) for k in range(1, 6)]
    for k, bad in enumerate((1, 2, 3, 5)):  # in so many members
        for member in members[:bad]:
            member.value[0, k] = 40.0
            member.good[0, k] = False
    mean = mean_flat(members)
    np.testing.assert_array_equal(mean.good[0, :5], [True, True, False, False, True])
    norm = np.median(np.mean([m.value.astype(float) for m in members], axis=0))
    assert mean.value[0, 1] == pytest.approx(np.mean([m.value[0, 1] for m in members[2:]]) / norm, rel=1e-4)
    # Two of five: marked as bad, yet what is known is shown; where none is good, the plain mean.
    assert mean.value[0, 2] == pytest.approx(np.mean([m.value[0, 2] for m in members[3:]]) / norm, rel=1e-4)
    assert mean.value[0, 3] == pytest.approx(40 / norm, rel=1e-4)
    assert mean.error[0, 1] == pytest.approx(ERROR / np.sqrt(3), rel=0.01)


def test_a_pixel_good_in_exactly_half_the_members_is_not_good():
    members = [night(1), night(2)]
    members[0].good[3, 3] = False
    assert not mean_flat(members).good[3, 3]


def test_the_mean_of_one_night_is_that_night():
    one = night(3)
    mean = mean_flat([one])
    np.testing.assert_allclose(mean.value, one.value, rtol=1e-6)
    np.testing.assert_allclose(mean.error, one.error, rtol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (5, 12)])
def test_a_tilt_is_what_a_plane_changes_from_edge_to_edge(shape):
    y, x = np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij")
    assert plane_tilt(3.0 * x + 7) == pytest.approx(3)
    assert plane_tilt(-4.0 * y) == pytest.approx(4)
    assert plane_tilt(3 * x - 4 * y) == pytest.approx(5)
    holes = 3 * x - 4 * y
    holes[0, :3] = np.nan
    assert plane_tilt(holes) == pytest.approx(5)
    assert plane_tilt(np.full(shape, 2.0)) == pytest.approx(0, abs=1e-12)
    assert np.isnan(plane_tilt(np.full(shape, np.nan)))


@pytest.mark.parametrize(
    ("band", "causes", "origin"),
    [
        ("J", {"J": "cloud gradient", "H": "cloud gradient", "Ks": "cloud gradient"}, "sky"),
        ("J", {"J": "cloud gradient", "H": "cloud gradient", "Ks": None}, "sky"),
        ("H", {"J": "", "H": "quadrant step", "Ks": ""}, "hardware"),
        ("H", {"J": None, "H": "quadrant step", "Ks": None}, ""),
        ("H", {"J": "light leak", "H": "quadrant step", "Ks": ""}, ""),
        ("H", {"J": "quadrant step", "H": "", "Ks": "quadrant step"}, ""),
        ("H", {"H": "quadrant step"}, ""),
    ],
)
def test_the_bands_together_tell_sky_from_hardware(band, causes, origin):
    assert origin_of(band, causes) == origin
