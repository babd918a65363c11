"""Raw frames of a whole night at full size through dark, flat and scan, against what the simulator knows."""

import numpy as np
import pytest

from calib.checks import evaluate, judge
from calib.dark import make_dark
from calib.profile import load_profile
from calib.responsivity import make_responsivity
from calib.scan import Master, calibrate_scan
from calib.simulate import Survey

PROFILE = load_profile("2mass")
NIGHT = Survey(nights=1, seed=7).night(0)
BAND = "H"
TRUTH = NIGHT.truth(BAND)


def raw_of(sequence):
    return {"R1": sequence.r1, "R2": sequence.r2}


def status(subject, product, read="R2-R1"):
    return judge(evaluate(subject, product.values, PROFILE.limits_for(subject, BAND, read))).status


def width(pull):
    """Return the standard deviation of pulls and check that they have no tail to speak of."""
    assert np.abs(pull).max() < 7
    return float(pull.std())


@pytest.fixture(scope="module")
def darks():
    sequence = NIGHT.dark(BAND)
    return {
        read: make_dark(raw_of(sequence), sequence.time_mjd, band=BAND, read=read, profile=PROFILE)
        for read in ("R1", "R2-R1")
    }


@pytest.fixture(scope="module")
def flat(darks):
    sequence = NIGHT.twilight(BAND)
    dark = darks["R2-R1"]
    return make_responsivity(
        raw_of(sequence),
        sequence.time_mjd,
        dark=dark.value,
        dark_noise=dark.noise,
        dark_mask=dark.mask,
        band=BAND,
        profile=PROFILE,
    )


class Scan:
    """A calibrated scan and its scene."""

    def __init__(self, dark, flat):
        sequence = NIGHT.scan(BAND, 1)
        self.scene = sequence.truth
        self.good = TRUTH.good & (dark.mask == 0) & (flat.mask == 0)
        self.n = sequence.n_frames
        self.value, self.error = (np.empty((self.n, *self.good.shape), np.float32) for _ in range(2))
        self.result = calibrate_scan(
            raw_of(sequence),
            band=BAND,
            read="R2-R1",
            dark=Master(dark.value, dark.error, dark.mask),
            canonical=Master(flat.value, flat.error, flat.mask),
            profile=PROFILE,
            sink=self.keep,
        )

    def keep(self, block):
        part = slice(block.first, block.first + len(block.value))
        self.value[part] = block.value.reshape(-1, *self.good.shape)
        self.error[part] = block.error.reshape(-1, *self.good.shape)


@pytest.fixture(scope="module")
def scan(darks, flat):
    return Scan(darks["R2-R1"], flat)


@pytest.mark.parametrize("read", ["R1", "R2-R1"])
def test_the_dark_is_the_true_one_within_its_errors(darks, read):
    dark = darks[read]
    pull = ((dark.value - TRUTH.dark[read]) / dark.error)[TRUTH.good]
    assert 0.95 < width(pull) < 1.05
    assert abs(pull.mean()) < 0.1
    assert status("dark", dark, read) == "accepted"


@pytest.mark.parametrize("read", ["R1", "R2-R1"])
def test_the_noise_map_is_the_true_noise(darks, read):
    ratio = (darks[read].noise / TRUTH.noise_dn[read])[TRUTH.good]
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    # Scatter over 48 frames is known to 1/√94.
    assert ratio.std() == pytest.approx(1 / np.sqrt(94), rel=0.1)


def test_the_responsivity_is_the_true_one_within_its_errors(flat):
    good = TRUTH.good & (flat.mask == 0)
    assert good.sum() > 0.995 * TRUTH.good.sum()
    truth = TRUTH.responsivity * np.median((flat.value / TRUTH.responsivity)[good])
    pull = ((flat.value - truth) / flat.error)[good]
    assert 0.95 < width(pull) < 1.06
    assert np.median(flat.error[good]) < 0.0015
    assert status("flat", flat) == "accepted"


def test_the_gain_is_the_true_one_within_its_error(flat):
    pulls = [(g.value - PROFILE.detector.gain_e_per_dn[BAND]) / g.error for g in flat.gain]
    assert np.abs(pulls).max() < 3.5
    assert all(g.error < 0.1 for g in flat.gain)


def test_no_large_structure_is_left_in_the_responsivity(flat):
    good = TRUTH.good & (flat.mask == 0)
    ratio = np.where(good, flat.value / TRUTH.responsivity, np.nan)
    cells = np.nanmedian(ratio.reshape(8, 32, 8, 32), axis=(1, 3))
    assert (cells / np.median(cells)).std() < 2e-4


def test_calibrated_frames_show_the_scene_to_within_the_noise_of_light_and_read_out(scan):
    gain = PROFILE.detector.gain_e_per_dn[BAND]
    response = TRUTH.responsivity
    for k in range(0, scan.n, 25):
        scene = scan.scene.scene_dn(k)
        seen = scan.good & np.isfinite(scan.value[k])
        noise = np.sqrt(TRUTH.noise_dn["R2-R1"] ** 2 + response * (scene + scan.scene.pattern_dn(k)) / gain) / response
        residual = ((scan.value[k] - scene) / noise)[seen]
        assert np.sqrt(np.mean(residual**2)) < 1.1
        assert abs(np.median(residual)) < 0.15


def test_the_stated_errors_of_calibrated_samples_are_true(scan):
    pulls = []
    for k in range(3, scan.n, 40):
        pull = ((scan.value[k] - scan.scene.scene_dn(k)) / scan.error[k])[scan.good]
        pulls.append(pull[np.isfinite(pull)])
    assert 0.97 < np.concatenate(pulls).std() < 1.04


def test_the_sky_pattern_is_removed_from_every_block(scan):
    assert scan.result.status == "calibrated"
    for block in scan.result.blocks:
        frames = range(block.offset.first, block.offset.last + 1)
        left = np.mean([scan.value[k] - scan.scene.scene_dn(k) for k in frames], axis=0)
        pattern = np.mean([scan.scene.pattern_dn(k) for k in frames], axis=0)
        assert structure(left, scan.good) < 0.15 * structure(pattern, scan.good)


def structure(image, good):
    """Return the rms over the 8×8 cells, their mean removed."""
    cells = np.nanmedian(np.where(good, image, np.nan).reshape(8, 32, 8, 32), axis=(1, 3))
    return float(cells.std())


def test_the_background_of_every_frame_is_the_sky(scan):
    levels = np.array([np.nanmedian(frame[scan.good]) for frame in scan.value])
    # Stars lift the median of a frame a little.
    assert np.abs(levels / scan.scene.sky_dn - 1).max() < 2e-3
    np.testing.assert_allclose(levels, scan.result.level_dn, atol=0.3)


def test_stars_keep_their_light(scan):
    # What a star has above the sky is in the frame, not in the offset.
    ratio = []
    for k in range(0, scan.n, 12):
        stars = scan.scene.stars_dn(k)
        bright = (stars > 300) & (stars < 10_000) & scan.good & np.isfinite(scan.value[k])
        ratio.append(((scan.value[k] - scan.scene.sky_dn[k])[bright].sum(), stars[bright].sum()))
    measured, true = np.sum(ratio, axis=0)
    assert measured / true == pytest.approx(1, abs=0.01)
