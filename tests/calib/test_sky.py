"""Sky offsets: blocks of a scan, what trimming removes, and what the checks find when it cannot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib.checks import evaluate, judge
from calib.flags import flag
from calib.kernels import frame_medians
from calib.profile import load_profile
from calib.sky import block_bounds, make_sky_offset, positive_residue, unsteadiness

PROFILE = load_profile("2mass")
SIZE = 128
SKY = 2_800.0
Y, X = np.meshgrid(*(np.linspace(-0.5, 0.5, SIZE),) * 2, indexing="ij")
PATTERN = 0.01 * (2 * X + np.sin(5 * Y))
GOOD = np.ones((SIZE, SIZE), bool)


def block(n=46, *, seed=1, pattern=PATTERN, levels=None, sigma=20.0):
    """Calibrated frames of a block: sky, its pattern, noise."""
    rng = np.random.default_rng(seed)
    levels = SKY * (1 + 0.003 * np.linspace(-1, 1, n)) if levels is None else levels
    frames = levels[:, None, None] * (1 + pattern) + sigma * rng.standard_normal((n, SIZE, SIZE))
    return frames.astype(np.float32)


def offset_of(frames, *, good=GOOD, alpha=0.2, first=0):
    flat = frames.reshape(len(frames), -1)
    levels = frame_medians(flat, good.ravel())
    return make_sky_offset(flat, levels, good=good, first=first, alpha=alpha, cells=(8, 8))


def failed(offset):
    verdict = judge(evaluate("sky_offset", offset.values, PROFILE.limits_for("sky_offset", "H", "R2-R1")))
    return [c.check.name for c in verdict.failed]


# Blocks ----------------------------------------------------------------------------------------------------------


def test_a_full_scan_makes_six_equal_blocks():
    assert block_bounds(276, 42) == ((0, 45), (46, 91), (92, 137), (138, 183), (184, 229), (230, 275))


@pytest.mark.parametrize(("n", "lengths"), [(0, []), (1, [1]), (41, [41]), (42, [42]), (83, [83]), (84, [42, 42])])
def test_a_short_scan_is_one_block(n, lengths):
    assert [b - a + 1 for a, b in block_bounds(n, 42)] == lengths


@given(st.integers(1, 2_000), st.integers(2, 100))
def test_blocks_cover_the_scan_evenly_and_none_is_too_short(n, least):
    bounds = block_bounds(n, least)
    lengths = [b - a + 1 for a, b in bounds]
    assert [k for a, b in bounds for k in range(a, b + 1)] == list(range(n))
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) >= min(least, n)
    # Nor are they longer than need be.
    assert len(bounds) == max(1, n // least)


# The offset ------------------------------------------------------------------------------------------------------


def test_a_steady_sky_gives_its_pattern_and_passes():
    found = offset_of(block(), first=92)
    assert failed(found) == []
    assert (found.first, found.last, found.n_frames) == (92, 137, 46)
    assert found.level_dn == pytest.approx(SKY, rel=1e-3)
    expected = SKY * (PATTERN - np.median(PATTERN))
    pull = (found.value - expected) / found.error
    # The winsorised variance of 46 samples, of which 28 are kept, makes pulls of Student's t, 1.04 wide.
    assert pull.std() == pytest.approx(1.04, abs=0.05)
    assert np.median(found.value) == pytest.approx(0, abs=1e-3)
    assert found.value.dtype == np.float32
    assert not found.mask.any()


def test_the_median_is_zero_over_good_pixels_alone():
    good = GOOD.copy()
    good[:, :40] = False
    frames = block()
    frames[:, :, :40] += 3_000
    found = offset_of(frames, good=good)
    assert np.median(found.value[good]) == pytest.approx(0, abs=1e-3)
    assert np.median(found.value[~good]) > 2_900
    assert failed(found) == []


def test_the_level_of_each_frame_leaves_before_samples_are_compared():
    # Light that doubles during the block moves the levels, not the offset.
    steady = offset_of(block(pattern=0 * PATTERN))
    changing = offset_of(block(pattern=0 * PATTERN, levels=np.linspace(SKY, 2 * SKY, 46)))
    np.testing.assert_allclose(changing.value, steady.value, atol=0.05)


def test_stars_that_move_through_the_block_are_removed():
    frames, clean = block(), offset_of(block())
    for k in range(46):
        y = (k * 21) % SIZE
        frames[k, max(y - 3, 0) : y + 3, 60:66] += 20_000
    found = offset_of(frames)
    assert failed(found) == []
    spoilt = np.abs(found.value - clean.value)[:, 60:66]
    # What a few bright samples of 46 leave behind is a shift of ranks, a fraction of the noise.
    assert spoilt.max() < 15
    assert np.abs(frames.mean(axis=0) - block().mean(axis=0)).max() > 800


def test_a_galaxy_that_most_frames_have_leaves_residue_and_fails():
    frames = block(pattern=0 * PATTERN)
    for k in range(46):
        middle = 0.5 - 1.0 * k / 45
        frames[k] += (400 * np.exp(-np.hypot(X, (Y - middle)) / 0.15)).astype(np.float32)
    found = offset_of(frames)
    assert "residue" in failed(found)
    assert found.values["residue"] > 0


def test_airglow_waves_part_the_halves_and_are_no_galaxy():
    frames = block()
    for k in range(46):
        wave = np.sin(2 * np.pi * (Y * SIZE / 90 - 1.0 * k / 90))
        frames[k] += (0.03 * SKY * wave).astype(np.float32)
    found = offset_of(frames)
    assert "halves" in failed(found)
    assert "residue" not in failed(found)


def test_the_halves_are_the_offsets_of_either_half():
    frames = block(47)
    found = offset_of(frames)
    for half, part in zip(found.halves, (frames[:23], frames[23:]), strict=True):
        np.testing.assert_allclose(half, offset_of(part).value, atol=1e-4)
    shifted = frames.copy()
    shifted[23:, :16, :16] += 100
    values = offset_of(shifted).values
    assert values["halves"] == pytest.approx(100 / SKY * 100 / 8, rel=0.1)  # one cell of 64


def test_a_flat_that_is_wrong_shows_as_amplitude():
    assert failed(offset_of(block(pattern=0.12 * X))) == ["amplitude"]


def test_an_unsteady_background_fails_but_a_trend_does_not():
    rng = np.random.default_rng(2)
    flicker = SKY * (1 + 0.03 * rng.standard_normal(46))
    assert failed(offset_of(block(levels=flicker))) == ["steadiness"]
    assert failed(offset_of(block(levels=np.linspace(SKY, 1.2 * SKY, 46)))) == []


def test_too_few_frames_fail():
    assert failed(offset_of(block(30))) == ["frames"]
    single = offset_of(block(1))
    assert {"frames", "halves", "steadiness"} <= set(failed(single))
    assert np.isnan(single.error).all()


def test_saturated_samples_are_left_out_and_told():
    frames = block()
    frames[:, 5, 5] = np.nan
    frames[10:, 6, 6] = np.nan
    frames[:20, 7, 7] = np.nan  # more than half are left: valid
    frames[0] = np.nan
    found = offset_of(frames)
    assert np.isnan(found.value[5, 5])
    assert found.mask[5, 5] == flag("NODATA")
    assert np.isfinite(found.value[6, 6])
    assert found.mask[6, 6] == 0
    assert found.values["valid"] == pytest.approx(100 * (1 - 2 / SIZE**2))
    assert failed(found) == []


def test_a_block_without_any_sample_measures_nothing_and_fails():
    found = offset_of(np.full((46, SIZE, SIZE), np.nan, np.float32))
    assert set(failed(found)) == {"valid", "halves", "residue", "amplitude", "steadiness"}
    assert (found.mask == flag("NODATA")).all()


def test_a_sky_of_nothing_has_no_percentages():
    found = offset_of(block(levels=np.full(46, -5.0)))
    assert {"halves", "residue", "amplitude", "steadiness"} <= set(failed(found))


# The numbers -----------------------------------------------------------------------------------------------------


def test_residue_is_upwards_only():
    skew = np.zeros((8, 8))
    assert positive_residue(skew + 3) == 0
    skew[2, 2] = 5
    assert positive_residue(skew) == 5
    skew[4, 4] = -4
    assert positive_residue(skew) == 1
    skew[2, 2] = 0
    assert positive_residue(skew) == -4
    assert np.isnan(positive_residue(np.full((8, 8), np.nan)))


def test_unsteadiness_is_the_scatter_about_a_line():
    rng = np.random.default_rng(6)
    levels = 2_800 + 5.0 * np.arange(400) + rng.normal(0, 7, 400)
    assert unsteadiness(levels) == pytest.approx(7, rel=0.1)
    levels[10] = np.nan
    assert unsteadiness(levels) == pytest.approx(7, rel=0.1)
    assert unsteadiness(np.arange(5.0)) == pytest.approx(0, abs=1e-9)
    assert np.isnan(unsteadiness(np.array([1.0, 2.0, np.nan])))
