"""Noise, light and electronics of single frames."""

import numpy as np
import pytest

from calib.simulate import BANDS, CAMERA, SaturatedTwilight, Survey
from calib.simulate.exposure import compressed

SURVEY = Survey(nights=2, seed=11, quiet=False)


def difference(sequence):
    return sequence.r2.astype(np.float32) - sequence.r1


def robust_sigma(values):
    low, high = np.percentile(values, (15.865, 84.135))
    return (high - low) / 2


@pytest.mark.parametrize("band", BANDS)
def test_levels_of_the_dark_are_those_of_the_camera(band):
    dark = SURVEY.night(0).dark(band)
    good = dark.detector.good
    r1 = dark.r1.mean(0)[good]
    assert dark.r1.shape == (48, 256, 256)
    assert dark.r1.dtype == dark.r2.dtype == np.uint16
    # The mean, for columns are of two kinds.
    assert np.mean(r1) == pytest.approx(10_000, abs=400)
    assert 150 < np.median(difference(dark).mean(0)[good]) < 500
    columns = np.nanmedian(np.where(good, dark.r1.mean(0), np.nan), axis=0)
    step = np.median(columns[1::2] - columns[::2])
    assert step == pytest.approx(CAMERA[band].column_step_dn, abs=25)
    assert 1_000 < step < 2_000


def test_the_dark_rises_along_each_quadrant():
    dark = np.median(difference(SURVEY.night(0).dark("H")).mean(0), axis=1)
    rise = [dark[half + 100 : half + 128].mean() - dark[half : half + 28].mean() for half in (0, 128)]
    assert min(rise) > 0.4 * CAMERA["H"].ramp_dn
    assert dark[127] - dark[128] > 0.4 * CAMERA["H"].ramp_dn


@pytest.mark.parametrize("band", BANDS)
def test_noise_of_darks_is_the_read_noise(band):
    dark = SURVEY.night(0).dark(band)
    good, physics = dark.detector.good, CAMERA[band]
    noise = difference(dark)[:, good].std(0, ddof=1)
    # The steps of both reads add a sixth of a DN².
    expected = np.hypot(physics.read_noise_dn, np.sqrt(1 / 6))
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(expected, rel=0.01)
    r1 = dark.r1[:, good].astype(np.float32).std(0, ddof=1)
    assert np.sqrt(np.mean(r1**2)) == pytest.approx(np.hypot(physics.r1_noise_dn, np.sqrt(1 / 12)), rel=0.01)
    assert 40 <= physics.read_noise_e <= 45
    assert 7 <= physics.gain_e_per_dn <= 8


def test_frames_are_independent_and_r2_carries_the_noise_of_r1():
    dark = SURVEY.night(0).dark("J")
    good = dark.detector.good
    r1 = (dark.r1 - dark.r1.mean(0))[:, good]
    r2 = (dark.r2 - dark.r2.mean(0))[:, good]
    step = (difference(dark) - difference(dark).mean(0))[:, good]
    assert abs(np.corrcoef(r1[0], r1[1])[0, 1]) < 0.03
    assert abs(np.corrcoef(step[0], r1[0])[0, 1]) < 0.03
    assert np.corrcoef(r1[0], r2[0])[0, 1] > 0.4


@pytest.mark.parametrize("band", BANDS)
def test_variance_of_twilight_against_its_mean_gives_the_gain(band):
    twilight = SURVEY.night(0).twilight(band)
    good = twilight.detector.good
    means, variances = [], []
    for frame in range(0, 56, 5):
        residual = difference(twilight)[frame] - twilight.expected_dn("R2-R1", frame)
        means.append(np.median(twilight.expected_dn("R2-R1", frame)[good] - twilight.detector.dark_dn[good]))
        variances.append(robust_sigma(residual[good]) ** 2)
    slope, intercept = np.polyfit(means, variances, 1)
    assert 1 / slope == pytest.approx(CAMERA[band].gain_e_per_dn, rel=0.03)
    assert intercept == pytest.approx(CAMERA[band].read_noise_dn ** 2, abs=40)


@pytest.mark.parametrize(("read", "share"), [("R2-R1", 1.0), ("R1", 0.051 / 1.3)])
def test_noise_has_exactly_the_variance_of_read_noise_and_photons(read, share):
    twilight = SURVEY.night(0).twilight("H")
    detector, frame = twilight.detector, 3
    light = detector.responsivity * twilight.truth.illumination_dn(frame) * share
    own = detector.noise_dn if read == "R2-R1" else detector.r1_noise_dn
    steps = 1 / 6 if read == "R2-R1" else 1 / 12
    measured = difference(twilight)[frame] if read == "R2-R1" else twilight.r1[frame]
    pull = (measured - twilight.expected_dn(read, frame)) / np.sqrt(own**2 + light / CAMERA["H"].gain_e_per_dn + steps)
    # Stars bright enough to bend the response do not count.
    linear = twilight.expected_dn("R2", frame) < 42_000
    assert np.mean(pull[linear] ** 2) == pytest.approx(1.0, abs=0.03)
    assert abs(np.mean(pull[linear])) < 0.02


def test_r1_sees_51_ms_of_the_light_of_a_frame():
    night = SURVEY.night(0)
    twilight, dark = night.twilight("J"), night.dark("J")
    good = twilight.detector.good
    light = np.median((difference(twilight)[0] - difference(dark).mean(0))[good])
    early = np.median((twilight.r1[0] - dark.r1.mean(0))[good])
    assert early / light == pytest.approx(0.051 / 1.3, rel=0.03)


def test_electronics_are_linear_then_compressive_then_saturated():
    signal = np.arange(0.0, 90_000.0, 10.0, dtype=np.float32)
    raw = compressed(signal)
    slope = np.diff(raw) / 10.0
    np.testing.assert_array_equal(raw[signal <= 43_000], signal[signal <= 43_000])
    assert np.all(slope[(signal[:-1] > 43_000) & (signal[:-1] < 61_000)] < 1.0)
    assert np.all(slope > -0.001)
    assert slope[4_301] > 0.99
    assert raw.max() == 52_200
    assert np.all(raw[signal > 61_400] == 52_200)


def test_too_much_light_saturates_r2_and_in_the_end_r1():
    bright = SURVEY.with_fault(SaturatedTwilight(night=0)).night(0).twilight("H")
    good = bright.detector.good
    assert np.all(bright.r2[0][good] == 52_200)
    assert bright.r1[0].max() < 43_000
    blinding = SURVEY.with_fault(SaturatedTwilight(night=0, start_dn=3e6)).night(0).twilight("H")
    assert np.all(blinding.r1[0][good] == 52_200)


def test_healthy_twilight_stays_in_the_linear_range_and_halves_in_2_9_minutes():
    twilight = SURVEY.night(0).twilight("H")
    assert np.percentile(twilight.r2[0], 99.9) < 43_000
    level = np.median(difference(twilight) - twilight.detector.dark_dn, axis=(1, 2))
    minutes = (twilight.time_mjd - twilight.time_mjd[0]) * 1_440
    halving = -1 / np.polyfit(minutes, np.log2(level), 1)[0]
    assert halving == pytest.approx(2.9, rel=0.01)
    assert np.diff(minutes * 60) == pytest.approx(6.5, abs=1e-3)
