"""Each fault does what it says and nothing else."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from calib.simulate import (
    FAULTS,
    AirglowWaves,
    ArraySwap,
    BistablePixel,
    BrightStar,
    CloudGradient,
    DarkJump,
    DeadColumn,
    DustSpot,
    Galaxy,
    Latents,
    LightLeak,
    MissingDark,
    MissingFlat,
    MissingNight,
    MovingCloud,
    NewHotPixels,
    QuadrantStep,
    SaturatedTwilight,
    ShortScan,
    SlowDrift,
    Survey,
    TooLittleChange,
    UniformCloud,
    WarmUp,
)

SMALL = Survey(nights=4, seed=2, n_dark=6, n_twilight=6, n_scan=30, size_px=64)
FULL = Survey(nights=6, seed=2, quiet=False)

EVERYTHING = {"dark", "twilight", "scan"}
SPOILS = {
    CloudGradient: {"twilight"},
    MovingCloud: {"twilight"},
    UniformCloud: {"twilight"},
    TooLittleChange: {"twilight"},
    SaturatedTwilight: {"twilight"},
    LightLeak: {"dark", "twilight"},
    QuadrantStep: {"twilight", "scan"},
    DarkJump: EVERYTHING,
    WarmUp: {"dark"},
    SlowDrift: {"twilight", "scan"},
    DustSpot: {"twilight", "scan"},
    DeadColumn: {"twilight", "scan"},
    NewHotPixels: EVERYTHING,
    BistablePixel: EVERYTHING,
    AirglowWaves: {"scan"},
    Galaxy: {"scan"},
    BrightStar: {"scan"},
    ShortScan: {"scan"},
    Latents: {"scan"},
    MissingDark: {"dark"},
    MissingFlat: {"twilight"},
    MissingNight: EVERYTHING,
    ArraySwap: EVERYTHING,
}


def sequences(survey, ordinal, band):
    night = survey.night(ordinal)
    return {"dark": night.dark(band), "twilight": night.twilight(band), "scan": night.scan(band, 1)}


def changed(spoilt, sound, ordinal, band):
    """What differs between two surveys."""
    before, after = sequences(sound, ordinal, band), sequences(spoilt, ordinal, band)
    return {
        what
        for what in before
        if after[what] is None
        or not np.array_equal(before[what].r1, after[what].r1)
        or not np.array_equal(before[what].r2, after[what].r2)
    }


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_a_fault_touches_its_nights_bands_and_sequences_only(kind):
    options = {"frames": 20} if kind is ShortScan else {}
    spoilt = SMALL.with_fault(kind(night=1, bands=("H",), **options))
    assert changed(spoilt, SMALL, 1, "H") == SPOILS[kind]
    assert changed(spoilt, SMALL, 0, "H") == set()
    assert changed(spoilt, SMALL, 1, "J") == set()
    assert changed(spoilt, SMALL, 2, "H") == (SPOILS[kind] if kind.lasting else set())
    assert [fault.kind for fault in spoilt.night(1).truth("H").faults] == [kind.__name__]
    assert spoilt.night(1).truth("Ks").faults == ()


def test_every_fault_is_covered_and_frozen():
    assert set(SPOILS) == set(FAULTS)
    for kind in FAULTS:
        with pytest.raises(FrozenInstanceError):
            kind(night=1).night = 2


def test_a_fault_can_be_mended_and_come_again():
    survey = SMALL.with_fault(QuadrantStep(night=1, last_night=2, bands=("J",)), UniformCloud(night=1, last_night=2))
    assert [len(survey.faults_of(night, "J")) for night in range(4)] == [0, 2, 2, 0]


def test_impossible_faults_are_refused():
    with pytest.raises(ValueError, match="no night -1"):
        DarkJump(night=-1)
    with pytest.raises(ValueError, match="before the first"):
        DarkJump(night=4, last_night=3)
    for bands in ("H", ("K",), ()):
        with pytest.raises(ValueError, match="CloudGradient: bands must be"):
            CloudGradient(night=0, bands=bands)


def responsivity_ratio(fault, ordinal=3, band="H"):
    return FULL.with_fault(fault).detector(ordinal, band).responsivity / FULL.detector(ordinal, band).responsivity


def twilight_ratio(fault, frame):
    """Illumination with the fault over that without, both free of stars."""
    images = []
    for survey in (FULL.with_fault(fault), FULL):
        scene = survey.night(3).twilight_scene("H")
        images.append(scene.illumination_dn(frame) - scene_stars(scene, frame))
    return images[0] / images[1]


def scene_stars(scene, frame):
    image = np.zeros_like(scene.shape)
    scene.stars.add_to(image, tuple(scene.origin_px[frame]))
    return image


def test_cloud_gradient_tilts_the_light_by_its_percent_all_the_time():
    fault = CloudGradient(night=3, percent=3.0, angle_deg=0.0)
    for frame in (0, 55):
        ratio = np.median(twilight_ratio(fault, frame), axis=0)
        assert ratio[-1] - ratio[0] == pytest.approx(0.03, rel=0.02)
        assert np.mean(ratio) == pytest.approx(1.0, abs=1e-4)
    truth = FULL.with_fault(fault).night(3).truth("H")
    np.testing.assert_array_equal(truth.responsivity, FULL.night(3).truth("H").responsivity)
    assert np.ptp(truth.twilight_shape) == pytest.approx(0.03, rel=0.01)


def test_moving_cloud_crosses_the_field():
    fault = MovingCloud(night=3, percent=6.0)
    places = []
    for frame in (20, 30, 40):
        ratio = twilight_ratio(fault, frame)
        assert ratio.min() == pytest.approx(0.94, abs=0.003)
        assert ratio.max() > 0.99
        places.append(np.unravel_index(np.argmin(ratio), ratio.shape))
    assert np.all(np.diff(places, axis=0) > 5)


def test_uniform_cloud_dims_all_pixels_alike_more_and_less():
    fault = UniformCloud(night=3, percent=40.0)
    ratios = [twilight_ratio(fault, frame) for frame in range(0, 56, 5)]
    assert max(np.ptp(ratio) for ratio in ratios) < 1e-3
    medians = [np.median(ratio) for ratio in ratios]
    assert 0.59 < min(medians) < 0.7
    assert 0.9 < max(medians) <= 1.0


def test_too_little_change_leaves_a_small_ratio_and_saturation_few_frames():
    level = FULL.with_fault(TooLittleChange(night=3)).night(3).twilight_scene("H").level_dn
    assert level[0] / level[-1] == pytest.approx(1.15)
    sound = FULL.night(3).twilight_scene("H").level_dn
    assert sound[0] / sound[-1] == pytest.approx(2 ** (55 * 6.5 / 174))
    bright = FULL.with_fault(SaturatedTwilight(night=3)).night(3).twilight("H")
    assert np.mean(np.median(bright.r2, axis=(1, 2)) > 43_000) > 0.7


def test_light_leak_glows_in_its_corner_of_darks_and_flats():
    spoilt = FULL.with_fault(LightLeak(night=3, corner=1, level_dn=80.0, flat_factor=3.0, percent=4.0))
    glow = {}
    for what in ("dark", "twilight"):
        before, after = getattr(FULL.night(3), what)("H"), getattr(spoilt.night(3), what)("H")
        glow[what] = np.median(
            (after.r2.astype(np.float32) - after.r1) - (before.r2.astype(np.float32) - before.r1), axis=0
        )
    assert np.median(glow["dark"][:4, -4:]) == pytest.approx(75, abs=10)
    assert abs(np.median(glow["dark"][128:, :128])) < 0.5
    middle_dn = np.median(FULL.night(3).twilight_scene("H").level_dn)
    assert np.median(glow["twilight"][:4, -4:]) == pytest.approx(0.93 * (240 + 0.04 * middle_dn), rel=0.1)
    truth = spoilt.night(3).truth("H")
    np.testing.assert_array_equal(truth.dark["R2-R1"], FULL.night(3).truth("H").dark["R2-R1"])
    assert truth.twilight_shape[0, -1] == pytest.approx(1.04)


def test_quadrant_step_lifts_one_quadrant():
    ratio = responsivity_ratio(QuadrantStep(night=2, percent=3.0, quadrant=2))
    assert np.median(ratio[128:, :128]) / np.median(ratio[:128, :128]) == pytest.approx(1.03, abs=1e-6)
    assert np.ptp(ratio[128:, :128]) < 1e-6
    truth = FULL.with_fault(QuadrantStep(night=2)).night(3).truth("H")
    assert np.median(truth.responsivity[truth.good]) == pytest.approx(1.0, abs=2e-7)


def test_dark_jump_shifts_both_reads():
    before = FULL.detector(3, "H")
    after = FULL.with_fault(DarkJump(night=2, level_dn=300.0, r1_level_dn=1_000.0)).detector(3, "H")
    np.testing.assert_allclose(after.dark_dn - before.dark_dn, 300.0, atol=1e-2)
    np.testing.assert_allclose(after.r1_dn - before.r1_dn, 1_000.0, atol=1e-2)


def test_warm_up_lifts_the_first_darks_and_fades():
    fault = WarmUp(night=3, level_dn=80.0, decay_frames=8.0)
    before, after = FULL.night(3).dark("H"), FULL.with_fault(fault).night(3).dark("H")
    excess = np.mean(after.r2.astype(float) - after.r1 - before.r2 + before.r1, axis=(1, 2))
    np.testing.assert_allclose(excess, 80.0 * np.exp(-np.arange(48) / 8.0), atol=0.1)


@pytest.mark.parametrize("shape", ["quadrant", "gradient"])
def test_slow_drift_grows_every_night(shape):
    fault = SlowDrift(night=2, percent_per_night=0.2, shape=shape, quadrant=1, angle_deg=0.0)
    for ordinal, nights in ((1, 0), (2, 1), (5, 4)):
        ratio = responsivity_ratio(fault, ordinal)
        if shape == "quadrant":
            change = np.median(ratio[:128, 128:]) / np.median(ratio[128:]) - 1
        else:
            change = np.median(ratio[:, -1]) - np.median(ratio[:, 0])
        assert change == pytest.approx(0.002 * nights, abs=2e-5)


def test_dust_spot_takes_three_percent_of_a_disc():
    ratio = responsivity_ratio(DustSpot(night=2, percent=3.0, radius_px=8.0, center_px=(100.0, 60.0)))
    y, x = np.mgrid[:256, :256]
    distance = np.hypot(y - 100, x - 60)
    np.testing.assert_allclose(ratio[distance < 7], 0.97, atol=1e-4)
    np.testing.assert_allclose(ratio[distance > 9], 1.0, atol=1e-4)


def test_dead_column_is_blind_and_no_longer_good():
    detector = FULL.with_fault(DeadColumn(night=2, column=77)).detector(3, "H")
    assert detector.responsivity[:, 77].max() < 0.05
    assert not detector.good[:, 77].any()
    assert detector.good[:, 76].mean() > 0.95


def test_new_hot_pixels_appear_at_once_and_stay():
    survey = FULL.with_fault(NewHotPixels(night=2, count=25))
    new = [FULL.detector(night, "H").good & ~survey.detector(night, "H").good for night in range(4)]
    assert [int(each.sum()) for each in new] == [0, 0, 25, 25]
    np.testing.assert_array_equal(new[2], new[3])
    rise = (survey.detector(3, "H").dark_dn - FULL.detector(3, "H").dark_dn)[new[3]]
    assert rise.min() > 299
    assert rise.max() < 3_001
    other = survey.detector(3, "J").good
    assert np.any(other != survey.detector(3, "H").good)


def test_bistable_pixel_toggles_between_frames_and_between_nights():
    survey = FULL.with_fault(BistablePixel(night=0, pixel=(30, 40), switch_probability=0.1))
    dark = survey.night(1).dark("H")
    series = dark.r2[:, 30, 40].astype(float) - dark.r1[:, 30, 40]
    assert np.all((abs(series - 600) < 40) | (abs(series - 50) < 40))
    assert len(set(series > 300)) == 2
    assert dark.expected_dn("R2-R1", 0)[30, 40] == pytest.approx(series[0], abs=40)
    steady = FULL.with_fault(BistablePixel(night=0, pixel=(30, 40), switch_probability=0.0))
    states = {bool(steady.detector(night, "H").dark_dn[30, 40] > 300) for night in range(6)}
    assert states == {True, False}


def test_array_swap_brings_another_array_and_takes_the_old_faults_away():
    survey = FULL.with_fault(DustSpot(night=1), ArraySwap(night=3, bands=("Ks",)), DeadColumn(night=4))
    assert [survey.period(night, "Ks") for night in range(6)] == [0, 0, 0, 1, 1, 1]
    assert [survey.period(night, "H") for night in range(6)] == [0] * 6
    old, new = survey.detector(2, "Ks"), survey.detector(3, "Ks")
    good = old.good & new.good
    assert abs(np.corrcoef(old.dark_dn[good] - np.median(old.dark_dn, 1).mean(), new.dark_dn[good])[0, 1]) < 0.99
    assert np.std((new.responsivity / old.responsivity)[good]) > 0.03
    assert np.mean(old.good != new.good) > 0.005
    kinds = [fault.kind for fault in survey.faults_of(5, "Ks")]
    assert kinds == ["ArraySwap", "DeadColumn"]
    assert [fault.kind for fault in survey.faults_of(5, "H")] == ["DustSpot", "DeadColumn"]


def test_airglow_waves_move_and_are_in_proportion_to_the_sky():
    scene = FULL.with_fault(AirglowWaves(night=3, percent=3.0)).night(3).scan_scene("H", 1)
    first, later = scene.airglow_dn(0), scene.airglow_dn(60)
    assert first.max() == pytest.approx(0.03 * scene.sky_dn[0], rel=0.02)
    # 60 frames of 1.5 px are half a wavelength of 180 px.
    np.testing.assert_allclose(later / scene.sky_dn[60], -first / scene.sky_dn[0], atol=1e-4)
    assert AirglowWaves(night=3).bands == ("H",)


@pytest.mark.parametrize("fault", [Galaxy(night=3, frame=115), BrightStar(night=3, frame=115)])
def test_extended_sources_outlast_the_trimming_of_a_block(fault):
    scene = FULL.with_fault(fault).night(3).scan_scene("J", 1)
    lit = [np.percentile(scene.galaxy_dn(frame), 20) > 15 for frame in range(92, 138)]
    assert sum(lit) > 0.2 * 46
    assert scene.galaxy_dn(115).max() > 500
    assert scene.galaxy_dn(0).max() < 30
    residual = scene.scene_dn(115) - scene.stars_dn(115) - scene.galaxy_dn(115)
    np.testing.assert_allclose(residual, scene.sky_dn[115], atol=0.1)


def test_bright_star_saturates():
    scan = FULL.with_fault(BrightStar(night=3, frame=20)).night(3).scan("J", 1)
    assert np.sum(scan.r2[20, 118:138, 105:125] == 52_200) > 3


def test_latents_stay_on_the_array_and_decay():
    spoilt = FULL.with_fault(Latents(night=3, frame=20, first_dn=400.0, decay_frames=40.0)).night(3)
    scene = spoilt.scan_scene("J", 1)
    assert 5 <= len(scene.latents) <= 7
    hit = scene.latents[0]
    assert scene.latent_dn(hit.frame)[hit.y, hit.x] == 0
    assert scene.latent_dn(hit.frame + 1)[hit.y, hit.x] == pytest.approx(400)
    assert scene.latent_dn(hit.frame + 41)[hit.y, hit.x] == pytest.approx(400 / np.e)
    scan = spoilt.scan("J", 1)
    assert scan.r2[hit.frame, hit.y, hit.x] == 52_200


def test_short_scan_keeps_the_first_frames():
    before, after = FULL.night(3).scan("J", 1), FULL.with_fault(ShortScan(night=3)).night(3).scan("J", 1)
    assert after.n_frames == after.time_mjd.size == after.dec_deg.size == after.truth.n_frames == 30
    np.testing.assert_array_equal(after.time_mjd, before.time_mjd[:30])


def test_missing_things_are_none_and_a_fault_of_one_scan_spares_the_others():
    survey = Survey(nights=3, scans=2, n_scan=10, size_px=64).with_fault(
        MissingNight(night=1, bands=("H",)), Galaxy(night=0, scan=2), Galaxy(night=2, scan=3)
    )
    assert survey.night(1).dark("H") is survey.night(1).twilight("H") is survey.night(1).scan("H", 1) is None
    assert survey.night(1).truth("H").twilight_shape is None
    assert survey.night(1).dark("J") is not None
    assert [len(survey.night(0).scan_scene("J", number).extended) for number in (1, 2)] == [0, 1]
    # A galaxy in a third scan that was never taken is not true of the night.
    assert survey.night(2).truth("J").faults == ()
