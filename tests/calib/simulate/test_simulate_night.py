"""What a quiet night is, from one to the next, and its truth."""

from dataclasses import replace

import numpy as np
import pytest

from calib.simulate import BANDS, CAMERA, CloudGradient, MissingDark, Survey
from calib.simulate.seeds import stream

SURVEY = Survey(nights=6, seed=5)
FEW = {"n_dark": 3, "n_twilight": 3, "n_scan": 8, "size_px": 64}


def test_a_night_is_named_by_its_evening_and_lies_in_the_next_ut_day():
    night = Survey(nights=6, start="1999-12-29", **FEW).night(2)
    assert night.date == "1999-12-31"
    for sequence, begin_h in ((night.dark("J"), 1.5), (night.twilight("J"), 2.5), (night.scan("J", 1), 4.0)):
        assert sequence.date == "1999-12-31"
        # 2000-01-01 is MJD 51544.
        assert sequence.time_mjd[0] == pytest.approx(51_544 + begin_h / 24, abs=1e-6)
    # Local noon to local noon, seven hours behind UTC.
    for time_mjd in (night.dark("J").time_mjd, night.scan("J", 1).time_mjd):
        assert np.all((time_mjd - 7 / 24 >= 51_543.5) & (time_mjd - 7 / 24 < 51_544.5))


def test_scans_follow_each_other_and_move_along_y():
    night = Survey(nights=1, scans=2).night(0)
    assert night.scans == (1, 2)
    first, second = night.scan("J", 1), night.scan("J", 2)
    assert second.time_mjd[0] > first.time_mjd[-1]
    assert np.diff(first.time_mjd) * 86_400 == pytest.approx(1.3, abs=1e-3)
    step_px = np.diff(first.dec_deg) * 3_600 / 2.0
    assert np.median(step_px) == pytest.approx(43, abs=1)
    assert np.ptp(first.ra_deg) * 3_600 < 60


def test_the_same_seed_gives_the_same_frames_and_another_one_does_not():
    for what in ("dark", "twilight"):
        one, same = (getattr(Survey(nights=6, seed=5, **FEW).night(3), what)("H") for _ in range(2))
        other = getattr(Survey(nights=6, seed=6, **FEW).night(3), what)("H")
        np.testing.assert_array_equal(one.r2, same.r2)
        assert not np.array_equal(one.r2, other.r2)


def test_a_night_does_not_depend_on_the_others():
    alone = Survey(nights=4, seed=5, **FEW).night(3)
    among = Survey(nights=40, seed=5, **FEW).with_fault(CloudGradient(night=2), MissingDark(night=1)).night(3)
    for band in BANDS:
        np.testing.assert_array_equal(alone.twilight(band).r2, among.twilight(band).r2)
        np.testing.assert_array_equal(alone.scan(band, 1).r1, among.scan(band, 1).r1)


def test_streams_are_the_same_in_every_process():
    raw = stream(7, 17, "H", "twilight").bit_generator.random_raw()
    assert raw == 2_663_898_236_586_222_076
    assert raw != stream(7, 17, "J", "twilight").bit_generator.random_raw()


def test_bands_and_nights_vary_on_their_own():
    survey, still = Survey(nights=2, **FEW), Survey(nights=2, quiet=False, **FEW)
    change = [
        (survey.detector(night, band).responsivity / still.detector(night, band).responsivity).ravel()
        for night in range(2)
        for band in BANDS
    ]
    # What is left after neighbours are subtracted is the scatter of single pixels.
    fine = np.diff(change, axis=1)
    assert np.abs(np.corrcoef(fine) - np.eye(len(fine))).max() < 0.1


def test_every_night_and_band_and_sequence_has_its_own_noise():
    survey = Survey(nights=2, quiet=False, **FEW)
    noise = [
        (sequence.r2 - sequence.expected_dn("R2", 0))[0].ravel()
        for night in survey
        for band in BANDS
        for sequence in (night.dark(band), night.scan(band, 1))
    ]
    correlation = np.corrcoef(noise) - np.eye(len(noise))
    assert np.abs(correlation).max() < 0.1


def test_truth_is_what_the_frames_average_to():
    night = SURVEY.night(2)
    for band in BANDS:
        dark, truth = night.dark(band), night.truth(band)
        for read, cube in (("R1", dark.r1), ("R2-R1", dark.r2.astype(np.float32) - dark.r1)):
            error = np.sqrt((truth.noise_dn[read] ** 2 + 1 / 6) / dark.n_frames)
            pull = (cube.mean(0) - truth.dark[read]) / error
            assert np.std(pull) == pytest.approx(1.0, abs=0.02)
            assert abs(np.mean(pull)) < 0.03


def test_twilight_against_its_level_gives_the_true_responsivity():
    twilight = SURVEY.night(2).twilight("Ks")
    truth = SURVEY.night(2).truth("Ks")
    frames = twilight.r2.astype(np.float64) - twilight.r1 - truth.dark["R2-R1"]
    level = np.median(frames[:, truth.good], axis=1)
    slope = np.tensordot(level - level.mean(), frames, 1) / np.sum((level - level.mean()) ** 2)
    ratio = (slope / np.median(slope[truth.good]) / truth.responsivity)[truth.good]
    low, middle, high = np.percentile(ratio, (15.9, 50, 84.1))
    assert middle == pytest.approx(1.0, abs=1e-3)
    assert (high - low) / 2 < 2e-3


def test_calibrating_a_scan_with_the_truth_gives_the_scene():
    scan = SURVEY.night(1).scan("H", 1)
    truth, detector = scan.truth, scan.detector
    for frame in (0, 100, 275):
        measured = (scan.r2[frame].astype(np.float32) - scan.r1[frame] - detector.dark_dn) / detector.responsivity
        residual = (measured - truth.pattern_dn(frame) - truth.scene_dn(frame))[detector.good]
        assert abs(np.median(residual)) < 0.3
        low, high = np.percentile(residual, (15.9, 84.1))
        expected = np.sqrt(CAMERA["H"].read_noise_dn ** 2 + truth.sky_dn[frame] / CAMERA["H"].gain_e_per_dn)
        assert (high - low) / 2 == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize(("band", "sky_dn"), [("J", 600), ("H", 2800), ("Ks", 1500)])
def test_the_sky_has_its_level_wanders_slowly_and_bears_a_small_even_pattern(band, sky_dn):
    truth = SURVEY.night(0).scan_scene(band, 1)
    good = SURVEY.night(0).truth(band).good
    assert np.median(truth.sky_dn) == pytest.approx(sky_dn, rel=0.1)
    assert 0.005 < np.ptp(truth.sky_dn) / sky_dn < 0.1
    assert np.abs(np.diff(truth.sky_dn)).max() / sky_dn < 0.002
    assert abs(np.median(truth.pattern[good])) < 1e-7
    assert np.abs(truth.pattern).max() == pytest.approx(0.01, rel=0.1)
    low, high = np.percentile(truth.pattern, (5, 95))
    assert -low == pytest.approx(high, rel=0.1)
    assert np.abs(np.diff(truth.pattern, axis=0)).max() < 1e-3


def test_stars_cross_the_array_in_about_six_frames():
    truth = SURVEY.night(0).scan_scene("J", 1)
    bright = np.argsort(truth.stars.flux_dn)[-200:]
    y_px = truth.stars.y_px[bright, None] - truth.origin_px[None, :, 0]
    seen = np.sum((y_px > 0) & (y_px < 255), axis=1)
    assert np.median(seen) == 6
    per_field = [np.sum(truth.stars_dn(frame) > 60) for frame in range(20, 40)]
    assert 50 < np.mean(per_field) < 300


def test_a_star_has_all_its_counts_at_its_place():
    truth = SURVEY.night(0).scan_scene("J", 1)
    alone = replace(
        truth,
        stars=replace(truth.stars, y_px=np.array([100.3]), x_px=np.array([49.8]), flux_dn=np.array([5e3])),
    )
    image = alone.stars_dn(0).astype(np.float64)
    y, x = np.mgrid[:256, :256]
    assert image.sum() == pytest.approx(5e3, rel=1e-4)
    assert (image * y).sum() / 5e3 == pytest.approx(100.3 - truth.origin_px[0, 0], abs=0.01)
    assert (image * x).sum() / 5e3 == pytest.approx(49.8 - truth.origin_px[0, 1], abs=0.01)


@pytest.mark.parametrize("band", BANDS)
def test_responsivity_is_normalised_and_has_structure_and_bad_pixels(band):
    truth = SURVEY.night(0).truth(band)
    good = truth.responsivity[truth.good]
    assert np.median(good) == pytest.approx(1.0, abs=2e-7)
    cells = np.median(truth.responsivity.reshape(8, 32, 8, 32).transpose(0, 2, 1, 3).reshape(8, 8, -1), axis=-1)
    assert 0.02 < np.std(cells) < 0.08
    fine = truth.responsivity[:, 1:] - truth.responsivity[:, :-1]
    assert np.subtract(*np.percentile(fine, (84.1, 15.9))) / 2 / np.sqrt(2) == pytest.approx(0.03, rel=0.1)
    dead = np.mean(truth.responsivity < 0.1)
    assert dead == pytest.approx(0.003, rel=0.3)
    assert np.mean(truth.dark["R2-R1"] > 800) > 0.001
    assert np.all(~truth.good[truth.responsivity < 0.1])


def test_quiet_nights_vary_as_much_as_they_should_and_are_correlated_over_days():
    survey = Survey(nights=1_500, seed=3, size_px=16)
    base = replace(survey, quiet=False).detector(0, "H")
    detectors = [survey.detector(night, "H") for night in range(1_500)]
    for read, rms_dn in (("dark_dn", 20.0), ("r1_dn", 100.0)):
        level = np.array([np.median(getattr(each, read) - getattr(base, read)) for each in detectors])
        assert np.std(level) == pytest.approx(rms_dn, rel=0.15)
        assert np.corrcoef(level[:-1], level[1:])[0, 1] == pytest.approx(np.exp(-1 / 4), abs=0.06)
        assert abs(np.corrcoef(level[:-40], level[40:])[0, 1]) < 0.15


def test_quiet_responsivity_scatters_per_pixel_and_in_smooth_structure():
    survey = Survey(nights=40, seed=3, size_px=64)
    base = replace(survey, quiet=False).detector(0, "J").responsivity
    ratio = np.array([survey.detector(night, "J").responsivity / base for night in range(40)])
    fine = (ratio[:, :, 1:] - ratio[:, :, :-1]) / np.sqrt(2)
    assert np.std(fine) == pytest.approx(0.002, rel=0.05)
    total = np.sqrt(np.mean((ratio - ratio.mean((1, 2), keepdims=True)) ** 2))
    assert np.sqrt(total**2 - 0.002**2) == pytest.approx(0.0015, rel=0.3)


def test_without_quiet_variation_all_nights_are_alike():
    survey = Survey(nights=9, quiet=False, size_px=64)
    one, other = survey.detector(0, "J"), survey.detector(8, "J")
    np.testing.assert_array_equal(one.responsivity, other.responsivity)
    np.testing.assert_array_equal(one.dark_dn, other.dark_dn)


def test_what_does_not_exist_is_refused_by_name():
    with pytest.raises(ValueError, match="no night 6"):
        SURVEY.night(6)
    with pytest.raises(ValueError, match="no band 'K'"):
        SURVEY.night(0).dark("K")
    with pytest.raises(ValueError, match="has no scan 2"):
        SURVEY.night(0).scan("J", 2)
    with pytest.raises(ValueError, match="at least one night"):
        Survey(nights=0)
    with pytest.raises(ValueError, match="side of the array"):
        Survey(size_px=63)
