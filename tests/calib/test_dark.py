"""Darks: simulated nights in, levels, noise, flags and checks out."""

import numpy as np
import pytest
from scipy import ndimage

from calib.checks import evaluate, judge
from calib.dark import (
    column_level,
    compare_darks,
    form_frames,
    make_dark,
    mask_sentinels,
    sequence_drift,
    surroundings,
)
from calib.flags import flag
from calib.night import _dark_row
from calib.profile import load_profile
from calib.regions import nan_median
from calib.simulate import DarkJump, DeadColumn, LightLeak, NewHotPixels, Survey, WarmUp

FULL = load_profile("2mass")
PROFILE = FULL.model_copy(update={"detector": FULL.detector.model_copy(update={"shape": (64, 64)})})
SURVEY = Survey(nights=2, n_dark=30, size_px=64, seed=11)
READS = ("R1", "R2-R1")


def raw_of(sequence):
    return {"R1": sequence.r1.copy(), "R2": sequence.r2.copy()}


def dark_of(survey=SURVEY, *, night=0, band="H", read="R2-R1", change=None):
    sequence = survey.night(night).dark(band)
    raw = raw_of(sequence)
    if change:
        raw = change(raw) or raw
    return make_dark(raw, sequence.time_mjd, band=band, read=read, profile=PROFILE)


def failed(dark, **more):
    limits = PROFILE.limits_for("dark", dark.band, dark.read)
    return [c.check.name for c in judge(evaluate("dark", dark.values | more, limits)).failed]


@pytest.mark.parametrize("band", ["J", "H", "Ks"])
@pytest.mark.parametrize("read", READS)
def test_a_quiet_dark_is_the_detectors_within_its_errors(band, read):
    dark, truth = dark_of(band=band, read=read), SURVEY.night(0).truth(band)
    pull = ((dark.value - truth.dark[read]) / dark.error)[truth.good]
    # An error estimated from 30 frames makes pulls of Student's t, which are 1.036 wide.
    assert pull.std() == pytest.approx(1.036, abs=0.05)
    assert abs(pull.mean()) < 0.1
    noise = (dark.noise / truth.noise_dn[read])[truth.good]
    assert np.median(noise) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(dark.error, dark.noise / np.sqrt(dark.count), rtol=1e-5)
    assert (dark.count.max(), dark.n_frames) == (30, 30)
    assert failed(dark) == []


@pytest.mark.parametrize("read", READS)
def test_the_level_lies_between_odd_and_even_columns(read):
    # The two are a thousand DN or more apart in R1: a median over both would jump from one to the other.
    dark, truth = dark_of(read=read), SURVEY.night(0).truth("H")
    image = np.where(truth.good, truth.dark[read], np.nan)
    middle = 0.5 * (np.nanmedian(image[:, ::2]) + np.nanmedian(image[:, 1::2]))
    assert dark.level_dn == pytest.approx(middle, abs=2)
    assert dark.noise_dn == pytest.approx(PROFILE.read_noise_dn("H", read), rel=0.03)


def test_the_level_moves_as_much_as_the_dark_when_columns_lie_apart():
    rng = np.random.default_rng(1)
    image = rng.normal(0, 5, (64, 64)) + np.where(np.arange(64) % 2, 750.0, -750.0)
    good = rng.random(image.shape) > 0.02
    for shift in (0.0, 3.0, -40.0):
        assert column_level(image + shift, good) == pytest.approx(shift, abs=0.5)
    # Bad pixels, more of one kind than of the other, do not move it.
    good[:40, ::2] = False
    assert column_level(image, good) == pytest.approx(0, abs=0.5)


def test_hot_pixels_are_flagged_in_either_parity_of_columns_and_nothing_else():
    survey = SURVEY.with_fault(NewHotPixels(night=1, count=30, faintest_dn=600.0))
    before, after = dark_of(survey, night=0), dark_of(survey, night=1)
    truth = [survey.night(k).truth("H") for k in (0, 1)]
    excess = truth[1].dark["R2-R1"] - surroundings(truth[1].dark["R2-R1"], truth[1].good)
    hot = (after.mask & flag("HOT")) > 0
    new = truth[0].good & ~truth[1].good
    assert new.sum() == 30
    assert hot[new].all()
    assert not (before.mask & flag("HOT"))[new].any()
    np.testing.assert_array_equal(hot, excess > 400)


def test_surroundings_are_those_of_the_same_parity_of_columns():
    columns = np.where(np.arange(64) % 2, 750.0, -750.0) * np.ones((64, 1))
    image = columns + np.random.default_rng(1).normal(0, 5, (64, 64))
    good = np.ones(image.shape, bool)
    image[20, 31] = 9_000.0
    # The other parity, nearly as many, would draw the median aside by a σ; the pixel itself does not count.
    beside = surroundings(image, good) - columns
    assert abs(beside[:, 1::2].mean()) < 1
    assert abs(beside[:, ::2].mean()) < 1
    assert abs(beside[20, 31]) < 8


def test_hot_and_noisy_pixels_of_r1_are_no_columns():
    # In R1 odd columns stand 1500 DN above even ones, yet no column is hot.
    dark = dark_of(read="R1", change=lambda raw: raw["R1"].__setitem__((slice(None), 20, 31), 20_000))
    assert np.argwhere(dark.mask & flag("HOT")).tolist() == [[20, 31]]
    assert (dark.mask & flag("NOISY") > 0).mean() < 0.005


def test_noisy_pixels_are_flagged():
    dark, truth = dark_of(), SURVEY.night(0).truth("H")
    ratio = truth.noise_dn["R2-R1"] / np.median(truth.noise_dn["R2-R1"])
    noisy = (dark.mask & flag("NOISY")) > 0
    assert (ratio > 3.5).sum() > 0
    assert noisy[ratio > 3.5].all()
    assert not noisy[ratio < 1.5].any()


def test_the_first_frames_after_a_pause_show_as_drift():
    fault = WarmUp(night=0, level_dn=80.0, r1_level_dn=200.0, decay_frames=8.0)
    stretch = np.exp(-np.arange(30).reshape(6, 5) / 8.0)
    ramp = np.median(stretch[0]) - np.median(stretch[-1])
    for read, level in (("R2-R1", 80.0), ("R1", 200.0)):
        dark = dark_of(SURVEY.with_fault(fault), read=read)
        # Samples beyond the clipping limit do not bring the drift down: it is that of the frames.
        assert dark.values["drift"] == pytest.approx(level * ramp, rel=0.05)
        assert "drift" in failed(dark)
        assert dark.frame_level_dn.shape == (30, 4)
        assert np.all(dark.frame_level_dn[0] > dark.frame_level_dn[10])


def test_a_single_odd_frame_is_no_drift_but_a_quadrant_of_its_own_is():
    def lift(raw):
        raw["R2"][13] += 60

    def creep(raw):
        raw["R2"][:, :32, 32:] += (2 * np.arange(30, dtype=np.uint16))[:, None, None]

    assert dark_of(change=lift).values["drift"] < 2
    assert dark_of(change=creep).values["drift"] == pytest.approx(50, abs=3)


def test_drift_is_the_range_of_the_worst_quadrant():
    levels = np.zeros((48, 4))
    levels[:, 2] = np.linspace(0, 47, 48)
    assert sequence_drift(levels) == pytest.approx(40)
    levels[20:24, 1] = 1e4  # half of one stretch
    assert sequence_drift(levels, 6) > 40
    assert sequence_drift(np.zeros((2, 4))) == 0
    levels[5, 0] = np.nan
    assert sequence_drift(levels, 6) > 40
    levels[:8, 0] = np.nan
    assert np.isnan(sequence_drift(levels, 6))


def test_one_frame_that_is_saturated_as_a_whole_costs_no_dark():
    def blind(raw):
        raw["R2"][9] = 65_535

    dark, quiet = dark_of(change=blind), dark_of()
    assert np.isnan(dark.frame_level_dn[9]).all()
    assert dark.values["drift"] == pytest.approx(quiet.values["drift"], abs=0.3)
    assert dark.level_dn == pytest.approx(quiet.level_dn, abs=0.3)


def test_saturated_samples_are_excluded():
    def blind(raw):
        raw["R2"][3:9, 10, 10] = 65_535
        raw["R2"][:, 20, 20] = 52_200

    dark, quiet = dark_of(change=blind), dark_of()
    assert dark.count[10, 10] == 24 - (30 - quiet.count[10, 10])
    assert abs(dark.value[10, 10] - quiet.value[10, 10]) < 5 * quiet.error[10, 10]
    assert dark.count[20, 20] == 0
    assert np.isnan(dark.value[20, 20])
    assert dark.mask[20, 20] == flag("NODATA")
    assert dark.values["good_pixels"] == pytest.approx(100 * 4095 / 4096)


def test_a_pixel_with_one_sample_has_no_noise_and_is_no_data():
    def nearly_blind(raw):
        raw["R2"][1:, 5, 5] = 65_535

    dark = dark_of(change=nearly_blind)
    assert dark.count[5, 5] == 1
    assert np.isnan(dark.noise[5, 5])
    assert dark.mask[5, 5] & flag("NODATA")


def test_a_cosmic_ray_is_clipped():
    def ray(raw):
        raw["R2"][7, 12, 12] += 5_000

    dark, quiet = dark_of(change=ray), dark_of()
    assert dark.count[12, 12] == quiet.count[12, 12] - 1
    assert dark.value[12, 12] == pytest.approx(quiet.value[12, 12], abs=3 * float(quiet.error[12, 12]))


@pytest.mark.parametrize(("rays", "flags"), [(7, 0), (8, flag("CLIPPED"))])
def test_a_pixel_that_loses_more_than_a_quarter_of_its_samples_is_flagged(rays, flags):
    def shower(raw):
        raw["R2"][2 : 2 + rays, 40, 40] += 5_000

    dark = dark_of(change=shower)
    assert dark_of().count[40, 40] == 30
    assert dark.count[40, 40] == 30 - rays
    assert dark.mask[40, 40] == flags


def test_a_pixel_that_goes_up_and_down_is_noisy():
    def restless(raw):
        raw["R2"][::2, 40, 40] += 200

    dark = dark_of(change=restless)
    assert dark.count[40, 40] == 30
    assert dark.noise[40, 40] == pytest.approx(np.hypot(100, dark.noise_dn), rel=0.1)
    assert dark.mask[40, 40] == flag("NOISY")


def test_the_error_of_the_level_is_what_the_frames_scatter_by():
    dark = dark_of()
    levels = dark.frame_level_dn.mean(axis=1)
    row = _dark_row("1999-05-01", dark, "key", None, PROFILE)
    assert row["level_error_dn"] == pytest.approx(levels.std() / np.sqrt(30))
    dark.frame_level_dn[4] = np.nan
    levels = np.delete(levels, 4)
    row = _dark_row("1999-05-01", dark, "key", None, PROFILE)
    assert row["level_error_dn"] == pytest.approx(levels.std() / np.sqrt(29))


def test_sentinels_are_missing_samples_in_any_type_of_number():
    frames = np.array([[5, -99], [7, 9_000_000]])
    sentinels = (-99.0, -9.0e6, 9.0e6)
    for dtype in (np.int32, np.int64, np.float32, np.float64):
        masked = mask_sentinels(frames.astype(dtype), sentinels)
        np.testing.assert_array_equal(masked, [[5, np.nan], [7, np.nan]])
    clean = np.array([[5, 6]], np.uint16)
    assert mask_sentinels(clean, sentinels) is clean
    assert mask_sentinels(clean, ()) is clean
    # In unsigned 16 bits −99 would be 65437: a bright sample, not a missing one.
    bright = np.array([[65_437, 5]], np.uint16)
    np.testing.assert_array_equal(mask_sentinels(bright, sentinels), bright)
    np.testing.assert_array_equal(mask_sentinels(np.array([[0, 5]], np.uint16), (0.0,)), [[np.nan, 5]])


def test_a_sentinel_in_either_raw_read_masks_the_sample():
    def spoil(raw):
        raw = {k: v.astype(np.int32) for k, v in raw.items()}
        raw["R1"][:, 4, 4] = -99
        raw["R2"][:10, 6, 6] = -9_000_000
        return raw

    dark, quiet = dark_of(change=spoil), dark_of()
    assert np.isnan(dark.value[4, 4])
    assert dark.mask[4, 4] & flag("NODATA")
    assert dark.count[6, 6] <= 20
    assert abs(dark.value[6, 6] - quiet.value[6, 6]) < 5 * dark.error[6, 6]


def test_reads_are_formed_as_the_profile_says():
    raw = raw_of(SURVEY.night(0).dark("H"))
    np.testing.assert_array_equal(form_frames(raw, "R1", PROFILE), raw["R1"].reshape(30, -1))
    difference = raw["R2"].astype(int) - raw["R1"]
    np.testing.assert_array_equal(form_frames(raw, "R2-R1", PROFILE), difference.reshape(30, -1))
    ceiling = int(np.median(raw["R2"]))
    np.testing.assert_array_equal(
        np.isnan(form_frames(raw, "R2-R1", PROFILE, ceiling_dn=ceiling)), (raw["R2"] >= ceiling).reshape(30, -1)
    )


@pytest.mark.parametrize("read", READS)
def test_a_light_leak_is_structure_and_a_level_jump_is_not(read):
    tonight = {
        fault.kind: dark_of(SURVEY.with_fault(fault), night=1, read=read)
        for fault in (LightLeak(night=1, level_dn=400.0, scale_px=12.0), DarkJump(night=1, level_dn=2300.0))
    }
    before = dark_of(read=read)
    leak = compare_darks(tonight["LightLeak"].cells_dn, before.cells_dn)
    jump = compare_darks(tonight["DarkJump"].cells_dn, before.cells_dn)
    limit = PROFILE.limits_for("dark", "H", read)["structure"].value
    assert jump["structure"] < 0.5 * limit
    if read == "R2-R1":
        assert failed(tonight["LightLeak"], **leak) == ["structure"]
        assert leak["structure"] == pytest.approx(200, rel=0.5)
    assert failed(tonight["DarkJump"], **jump) == []
    assert tonight["DarkJump"].level_dn - before.level_dn > 900


def test_structure_is_the_worst_cell_that_can_be_measured_and_unknown_when_most_cannot():
    cells = np.zeros((8, 8))
    tonight = cells + 100.0
    tonight[3, 4] -= 25
    assert compare_darks(tonight, cells)["structure"] == 25
    tonight[0, 0] = np.nan
    assert compare_darks(tonight, cells)["structure"] == 25
    tonight[:5] = np.nan
    assert np.isnan(compare_darks(tonight, cells)["structure"])


def test_noise_is_checked_to_either_side_and_per_quadrant():
    def louder(raw):
        part = raw["R2"][:, 32:, 32:]
        rng = np.random.default_rng(3)
        part += rng.normal(0, 8, part.shape).round().astype(np.int64).astype(np.uint16)

    def dumb(raw):
        raw["R2"][:, :32, :32] = raw["R2"][0, :32, :32]
        raw["R1"][:, :32, :32] = raw["R1"][0, :32, :32]

    assert failed(dark_of(change=louder)) == ["noise_high"]
    assert failed(dark_of(change=dumb)) == ["noise_low"]


def test_too_few_frames_fail_and_nothing_valid_measures_nothing():
    assert failed(dark_of(Survey(nights=1, n_dark=12, size_px=64))) == ["frames"]

    def blind(raw):
        raw["R2"][:] = 65_535

    dark = dark_of(change=blind)
    assert {"good_pixels", "noise_high", "noise_low", "drift", "clipped"} <= set(failed(dark))
    assert np.isnan(dark.level_dn)
    assert (dark.mask & flag("NODATA")).all()


def test_a_dead_column_of_the_flat_is_no_matter_for_the_dark():
    survey = SURVEY.with_fault(DeadColumn(night=0))
    np.testing.assert_array_equal(dark_of(survey).value, dark_of().value)


@pytest.mark.parametrize("shape", [(12, 10), (64, 64), (5, 7)])
def test_the_surroundings_are_scipys_median_of_the_neighbours(shape):
    rng = np.random.default_rng(4)
    image = rng.standard_normal(shape).astype(np.float32)
    good = rng.random(shape) > 0.2
    filled = np.where(good, image, nan_median(image[good]))
    footprint = np.zeros((5, 5), bool)
    footprint[:, ::2] = True
    footprint[2, 2] = False
    expected = ndimage.median_filter(filled, footprint=footprint, mode="mirror")
    np.testing.assert_array_equal(surroundings(image, good), expected)
