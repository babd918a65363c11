"""Responsivities: what the slope against the light recovers, and what it does not care about."""

from dataclasses import replace

import numpy as np
import pytest

from calib.checks import evaluate, judge
from calib.flags import flag
from calib.profile import load_profile
from calib.responsivity import make_responsivity
from calib.simulate import (
    CloudGradient,
    DeadColumn,
    MovingCloud,
    SaturatedTwilight,
    Survey,
    TooLittleChange,
    UniformCloud,
)

FULL = load_profile("2mass")
SIZE = 64
PROFILE = FULL.model_copy(update={"detector": FULL.detector.model_copy(update={"shape": (SIZE, SIZE)})})
SURVEY = Survey(nights=2, size_px=SIZE, seed=11)


def fit(raw, truth, *, band="H", dark=None, dark_mask=None):
    """Fit twilight frames with the true dark, so that only the fit itself is on trial."""
    n = len(raw["R2"])
    return make_responsivity(
        raw,
        60_000 + np.arange(n) * 6.5 / 86_400,
        dark=truth.dark["R2-R1"] if dark is None else dark,
        dark_noise=truth.noise_dn["R2-R1"],
        dark_mask=np.zeros(truth.good.shape, np.int16) if dark_mask is None else dark_mask,
        band=band,
        profile=PROFILE,
    )


def observe(survey=SURVEY, *, night=0, band="H"):
    sequence = survey.night(night).twilight(band)
    return {"R1": sequence.r1.copy(), "R2": sequence.r2.copy()}, survey.night(night).truth(band)


def responsivity_of(survey=SURVEY, *, band="H", change=None, **options):
    raw, truth = observe(survey, band=band)
    if change:
        change(raw)
    return fit(raw, truth, band=band, **options), truth


def pulls(found, truth):
    """Return the deviation from the truth in σ over good pixels; the common factor is that of the median ratio."""
    good = truth.good & (found.mask == 0)
    expected = truth.responsivity * truth.twilight_shape
    expected = expected * np.median((found.value / expected)[good])
    return ((found.value - expected) / found.error)[good]


def failed(found):
    limits = PROFILE.limits_for("flat", found.band, "R2-R1")
    return [c.check.name for c in judge(evaluate("flat", found.values, limits)).failed]


def ideal(levels, *, response=1.0, constant=0.0, curvature=0.0, gain=7.5, read_noise=5.7, seed=1):
    """Twilight frames of a perfect camera, R1 of zero, as floats without rounding."""
    rng = np.random.default_rng(seed)
    light = np.asarray(levels, float)[:, None, None]
    clean = constant + np.ones((SIZE, SIZE)) * response * light + curvature * light**2
    noise = rng.standard_normal(clean.shape) * np.sqrt(read_noise**2 + np.maximum(clean, 0) / gain)
    return {"R1": np.zeros(clean.shape, np.float32), "R2": (clean + noise).astype(np.float32)}


class Camera:
    """The truth that goes with `ideal`."""

    good = np.ones((SIZE, SIZE), bool)
    dark = {"R2-R1": np.zeros((SIZE, SIZE), np.float32)}  # noqa: RUF012
    noise_dn = {"R2-R1": np.full((SIZE, SIZE), 5.7, np.float32)}  # noqa: RUF012


LEVELS = 20_000 * 0.5 ** (np.arange(56) * 6.5 / 174)


@pytest.mark.parametrize("band", ["J", "H", "Ks"])
def test_a_quiet_twilight_gives_the_true_responsivity_within_its_errors(band):
    found, truth = responsivity_of(band=band)
    pull = pulls(found, truth)
    assert pull.std() == pytest.approx(1, abs=0.05)
    assert abs(pull.mean()) < 0.1
    assert failed(found) == []
    usable = (found.mask & (flag("NODATA") | flag("DEAD"))) == 0
    assert np.median(found.value[usable]) == pytest.approx(1, abs=1e-6)
    assert np.median(found.error[truth.good]) < 0.0015
    assert found.values["residual"] == pytest.approx(1, abs=0.03)
    assert found.n_frames == 56


def test_the_intercept_is_zero_within_its_error_when_the_dark_is_right():
    found, truth = responsivity_of()
    pull = (found.intercept / found.intercept_error)[truth.good]
    assert pull.std() == pytest.approx(1, abs=0.05)
    # All pixels share the errors of the levels L_k, which are medians of the frames themselves.
    assert abs(np.median(pull)) < 0.3


def test_a_wrong_dark_and_a_steady_glow_show_in_the_intercept_and_not_in_the_slope():
    glow = np.where(np.arange(SIZE) < 20, 150.0, 0.0) * np.ones((SIZE, 1))
    camera = Camera()
    found = fit(ideal(LEVELS, constant=glow), camera)
    plain = fit(ideal(LEVELS), camera)
    lit = glow > 0
    assert np.median(found.intercept[lit]) - np.median(found.intercept[~lit]) == pytest.approx(150, abs=2)
    ratio = found.value / plain.value
    assert np.median(ratio[lit]) / np.median(ratio[~lit]) == pytest.approx(1, abs=3e-4)
    wrong = fit(ideal(LEVELS), camera, dark=(-glow).astype(np.float32))
    assert np.median(wrong.intercept[lit]) - np.median(wrong.intercept[~lit]) == pytest.approx(150, abs=2)


def test_a_uniform_cloud_leaves_the_slopes_unbiased_and_passes():
    clear, truth = responsivity_of()
    cloudy, _ = responsivity_of(SURVEY.with_fault(UniformCloud(night=0, percent=60.0)))
    assert failed(cloudy) == []
    assert np.nanmin(cloudy.level_dn / clear.level_dn) < 0.6
    pull = pulls(cloudy, truth)
    assert pull.std() == pytest.approx(1, abs=0.05)
    # Nor do bright and faint pixels, or one side and the other, part from each other.
    good = truth.good & (clear.mask == 0) & (cloudy.mask == 0)
    for axis in (0, 1):
        ratio = np.nanmedian(np.where(good, cloudy.value / clear.value, np.nan), axis=axis)
        assert abs(np.polyfit(np.linspace(0, 1, SIZE), ratio, 1)[0]) < 2e-4
    assert abs(np.polyfit(clear.value[good], (cloudy.value / clear.value)[good], 1)[0]) < 2e-3


def test_a_cloud_gradient_tilts_the_responsivity_by_as_much():
    flat, truth = responsivity_of()
    tilted, _ = responsivity_of(SURVEY.with_fault(CloudGradient(night=0, percent=3.0, angle_deg=0.0)))
    ratio = np.where(truth.good, tilted.value / flat.value, np.nan)
    across = np.nanmedian(ratio, axis=0)
    assert np.polyfit(np.arange(SIZE) / (SIZE - 1), across, 1)[0] == pytest.approx(0.03, abs=0.002)
    # The sequence by itself looks well: only a comparison can tell.
    assert failed(tilted) == []


def test_a_moving_cloud_does_not_fit_a_line():
    found, _ = responsivity_of(SURVEY.with_fault(MovingCloud(night=0, percent=6.0, sigma_px=15.0)))
    assert "residual" in failed(found)


def test_stars_and_cosmic_rays_leave_the_slopes_alone():
    rng = np.random.default_rng(5)

    def rays(raw):
        hit = rng.random(raw["R2"].shape) < 0.02
        raw["R2"][hit] = np.minimum(raw["R2"][hit].astype(int) + 2_500, 42_000).astype(np.uint16)

    found, truth = responsivity_of(change=rays)
    quiet, _ = responsivity_of()
    pull = pulls(found, truth)
    assert pull.std() == pytest.approx(1, abs=0.06)
    assert abs(pull.mean()) < 0.1
    lost = quiet.count.astype(int) - found.count
    assert lost[truth.good].mean() == pytest.approx(0.02 * 56, rel=0.15)


def test_a_star_that_crosses_many_frames_marks_its_pixels():
    def star(raw):
        raw["R2"][::3, 30, 30] += 4_000

    found, _ = responsivity_of(change=star)
    assert found.mask[30, 30] & flag("CLIPPED")
    assert not found.mask[30, 31] & flag("CLIPPED")


def test_samples_above_the_linear_range_leave_and_frames_full_of_them_do_not_count():
    found, truth = responsivity_of(SURVEY.with_fault(SaturatedTwilight(night=0, start_dn=60_000.0)))
    raw, _ = observe(SURVEY.with_fault(SaturatedTwilight(night=0, start_dn=60_000.0)))
    linear = raw["R2"] < PROFILE.detector.linearity_dn
    counted = np.isfinite(found.level_dn)
    share = linear.reshape(56, -1).mean(axis=1)
    assert 0 < counted.sum() < 56
    assert counted[share > 0.91].all()
    assert not counted[share < 0.89].any()
    assert found.values["frames"] == counted.sum() == found.n_frames
    assert found.values["samples_left"] == pytest.approx(100 * linear.mean(), abs=0.01)
    assert (found.count <= linear[counted].sum(axis=0)).all()
    assert pulls(found, truth).std() == pytest.approx(1, abs=0.06)


def test_the_illumination_means_the_same_pixels_in_every_frame():
    # Where the brightest pixels leave the linear range in the first frames, the median must not move with them.
    response = np.random.default_rng(4).normal(1, 0.1, (SIZE, SIZE))
    levels = 37_000 * 0.5 ** (np.arange(40) * 6.5 / 174)
    raw = ideal(levels, response=response)
    lost = (raw["R2"] >= PROFILE.detector.linearity_dn).mean(axis=(1, 2))
    assert lost[0] > 0.03
    assert lost[-1] == 0
    found = fit(raw, Camera())
    ratio = found.level_dn / levels
    assert found.n_frames == 40
    assert np.median(ratio[lost > 0.01]) == pytest.approx(np.median(ratio[lost < 0.001]), rel=5e-4)


def test_a_twilight_taken_much_too_early_is_rejected_for_saturation():
    found, _ = responsivity_of(SURVEY.with_fault(SaturatedTwilight(night=0, start_dn=120_000.0)))
    limits = PROFILE.limits_for("flat", "H", "R2-R1")
    assert judge(evaluate("flat", found.values, limits)).cause.startswith("saturated twilight")


def test_too_little_change_of_light_shows_as_range():
    found, _ = responsivity_of(SURVEY.with_fault(TooLittleChange(night=0, ratio=1.15)))
    assert found.values["range"] == pytest.approx(1.15, abs=0.01)
    assert failed(found)[0] == "range"
    steady, _ = responsivity_of()
    assert steady.values["range"] == pytest.approx(2 ** (55 * 6.5 / 174), rel=0.01)
    assert np.median(found.error) > 5 * np.median(steady.error)


def test_frames_that_are_all_saturated_measure_nothing_and_fail():
    def blind(raw):
        raw["R2"][:] = 60_000

    found, _ = responsivity_of(change=blind)
    assert not np.isfinite(found.value).any()
    assert (found.mask & flag("NODATA")).all()
    assert found.n_frames == 0
    assert {"samples_left", "frames", "range", "residual", "good_pixels"} <= set(failed(found))
    assert all(np.isnan(g.value) for g in found.gain)


def test_dead_pixels_and_columns_are_flagged():
    survey = SURVEY.with_fault(DeadColumn(night=0, column=21))
    found, truth = responsivity_of(survey)
    dead = (found.mask & flag("DEAD")) > 0
    assert dead[:, 21].all()
    np.testing.assert_array_equal(dead, truth.responsivity < 0.5)


def test_pixels_without_a_dark_have_no_responsivity_and_do_not_set_the_level():
    raw, truth = observe()
    dark_mask = np.zeros(truth.good.shape, np.int16)
    dark = truth.dark["R2-R1"].copy()
    dark_mask[:16, :16], dark[:16, :16] = flag("NODATA"), np.nan
    dark_mask[40, 40], dark[40, 40] = flag("SUPPLIED"), -1e5
    found = fit(raw, truth, dark=dark, dark_mask=dark_mask)
    assert np.isnan(found.value[:16, :16]).all()
    assert (found.mask[:16, :16] & flag("NODATA")).all()
    assert found.mask[40, 40] & flag("SUPPLIED")
    usable = (found.mask & (flag("NODATA") | flag("SUPPLIED") | flag("DEAD"))) == 0
    assert np.median(found.value[usable]) == pytest.approx(1, abs=1e-6)
    assert pulls(found, truth).std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("gain", [4.0, 7.5])
def test_the_gain_follows_from_variance_against_mean_within_its_error(gain):
    camera = Camera()
    measured = [fit(ideal(LEVELS, gain=gain, seed=k), camera).gain for k in range(4)]
    values = np.array([[g.value for g in night] for night in measured])
    errors = np.array([[g.error for g in night] for night in measured])
    assert values.shape == (4, 4)
    assert values.mean() == pytest.approx(gain, rel=0.025)
    pull = (values - gain) / errors
    assert 0.5 < pull.std() < 1.7
    assert np.median(errors / values) < 0.06


def test_the_gain_of_one_quadrant_is_its_own():
    camera = Camera()
    low, high = (ideal(LEVELS, gain=g, seed=3) for g in (5.0, 8.0))
    high["R2"][:, SIZE // 2 :, : SIZE // 2] = low["R2"][:, SIZE // 2 :, : SIZE // 2]
    gains = [g.value for g in fit(high, camera).gain]
    assert gains[2] == pytest.approx(5, rel=0.1)
    assert [gains[k] for k in (0, 1, 3)] == pytest.approx([8, 8, 8], rel=0.1)


@pytest.mark.parametrize("bend", [4e-7, -4e-7])
def test_curvature_has_the_sign_and_size_of_the_pixels_own_non_linearity(bend):
    # The light is measured by the median pixel: only what bends unlike the others shows.
    own = np.zeros((SIZE, SIZE))
    own[10:20, 10:20] = bend
    found = fit(ideal(LEVELS, curvature=own), Camera())
    bent, straight = found.curvature[10:20, 10:20], found.curvature[30:, 30:]
    assert bent.mean() == pytest.approx(bend, rel=0.35)
    assert np.sign(bent.mean()) == np.sign(bend)
    assert abs(np.median(straight)) < 0.1 * abs(bend)


def test_responsivity_does_not_depend_on_the_order_of_frames():
    raw, truth = observe()
    one = fit(raw, truth)
    order = np.random.default_rng(2).permutation(56)
    other = fit({k: v[order] for k, v in raw.items()}, truth)
    np.testing.assert_array_equal(one.value, other.value)
    np.testing.assert_array_equal(one.level_dn[order], other.level_dn)


def test_twice_the_light_leaves_the_same_responsivity():
    survey = replace(SURVEY, n_twilight=40)
    bright, truth = responsivity_of(survey)
    faint = fit({k: v[10:] for k, v in observe(survey)[0].items()}, truth)
    good = truth.good & (bright.mask == 0) & (faint.mask == 0)
    pull = ((faint.value - bright.value) / np.hypot(faint.error, bright.error))[good]
    assert pull.std() < 1.05
    assert abs(pull.mean()) < 0.1
