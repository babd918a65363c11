"""The trend of the sky within a block, against polynomials fitted anew and an independent interpolation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from test_scan import FULL, PROFILE, SIZE, SURVEY, Run

from calib import kernels, sky_trend
from calib.profile import load_profile
from calib.simulate import ShortScan
from calib.sky_trend import enlarged, fit_sky_trend, trend_images


def told_by_others(cells, degree, k):
    """The value in frame k of the polynomial through the other frames."""
    others = [i for i in range(len(cells)) if i != k]
    x = np.linspace(-1, 1, len(cells))
    found = np.polynomial.legendre.legfit(x[others], cells[others].reshape(len(others), -1), degree)
    return np.polynomial.legendre.legval(x[k], found).reshape(cells.shape[1:])


@settings(max_examples=60, deadline=None)
@given(n=st.integers(8, 60), degree=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_a_frame_is_freed_of_what_the_others_say_exactly(n, degree, seed):
    cells = np.random.default_rng(seed).normal(0, 5, (n, 2, 3))
    real = min(degree, n // 4 - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sky_trend, "_ROUNDS", 0)  # plain least squares
        trend = fit_sky_trend(cells, degree, leave_one_out=True)
        plain = fit_sky_trend(cells, degree, leave_one_out=False)
    assert trend.weights.shape == (n, real)
    everyone = np.tensordot(trend.weights, trend.change, 1)
    np.testing.assert_allclose(plain.own, everyone, atol=1e-4)
    for k in (0, n // 3, n - 1):
        np.testing.assert_allclose(trend.at(k), everyone[k], atol=1e-4)
        rest = np.delete(cells - everyone, k, axis=0).mean(axis=0)
        # The mean of the others, freed of the trend, and the frame's own make up what the others foretell of it.
        np.testing.assert_allclose(rest + trend.own[k], told_by_others(cells, real, k), atol=2e-4)


def test_a_polynomial_is_followed_past_a_galaxy():
    x = np.linspace(-1, 1, 23)
    noise = np.random.default_rng(4).normal(0, 0.5, (23, 2, 2))
    clean = (4 + 7 * x - 3 * x**2)[:, None, None] * np.array([[1.0, -2.0], [0.5, 0.0]])
    spoilt = clean + noise
    spoilt[5:8, 0, 1] += 80
    wanted = clean - clean.mean(axis=0)

    def deviation(trend):
        return np.abs(np.tensordot(trend.weights, trend.change, 1) - wanted).max(axis=0)

    assert deviation(fit_sky_trend(spoilt, 2, leave_one_out=True)).max() < 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sky_trend, "_ROUNDS", 0)
        plain = deviation(fit_sky_trend(spoilt, 2, leave_one_out=True))
    assert plain[0, 1] > 15
    assert plain[[0, 1, 1], [0, 0, 1]].max() < 1


def test_frames_and_cells_without_samples_take_no_part():
    x = np.linspace(-1, 1, 23)
    cells = np.repeat((5 * x)[:, None, None], 3, axis=2)
    cells[4] = np.nan
    cells[:20, 0, 1] = np.nan
    cells[:, 0, 2] = np.nan
    trend = fit_sky_trend(cells, 2, leave_one_out=True)
    assert np.isfinite(trend.own).all()
    np.testing.assert_allclose(trend.own[:, 0, 0], 5 * x, atol=1e-4)
    np.testing.assert_array_equal(trend.own[:, 0, 1:], 0)


def test_too_few_frames_have_no_trend_and_few_a_simpler_one():
    cells = np.random.default_rng(2).normal(0, 5, (7, 2, 2))
    assert fit_sky_trend(cells, 2, leave_one_out=True) is None
    assert fit_sky_trend(np.tile(cells, (2, 1, 1))[:11], 2, leave_one_out=True).weights.shape == (11, 1)


@pytest.mark.parametrize(("shape", "grid"), [((64, 64), (8, 8)), ((96, 48), (4, 6)), ((32, 32), (1, 4))])
def test_cells_are_enlarged_as_scipy_does(shape, grid):
    cells = np.random.default_rng(1).normal(0, 10, grid).astype(np.float32)
    places = [(np.arange(n) + 0.5) / (n / m) - 0.5 for n, m in zip(shape, grid, strict=True)]
    expected = ndimage.map_coordinates(cells, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
    np.testing.assert_allclose(enlarged(cells, shape), expected, atol=1e-4)


@pytest.mark.parametrize("n", [11, 46])
@pytest.mark.parametrize("n_pixels", [700, 1 << 15])
def test_reads_are_trimmed_as_if_the_trend_had_been_taken_off_before(n, n_pixels):
    rng = np.random.default_rng(n)
    raw = rng.integers(2000, 2400, (n, n_pixels)).astype(np.uint16)
    raw[3, 5:50] = 60_000
    raw[:, 7] = 60_000
    weights, images = rng.normal(0, 1, (n, 2)).astype("f4"), rng.normal(0, 30, (2, n_pixels)).astype("f4")
    levels = rng.normal(2200, 5, n)
    ones, nothing = np.ones(n_pixels, "f4"), np.zeros(n_pixels, "f4")
    reads = kernels.TrimmedReads(raw, None, saturation_dn=50_000, scale=ones, offset=nothing, levels=levels, alpha=0.2)
    reads.trend = weights, images
    reads.trim(0, n_pixels)
    frames = kernels.form_read(raw, None, saturation_dn=50_000, scale=ones, offset=nothing) - weights @ images
    expected = kernels.trimmed_halves(frames, levels, 0.2)
    for found, wanted in zip((*reads.result.whole, *reads.result[1:]), (*expected.whole, *expected[1:]), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-3)


# A scan whose sky changes ----------------------------------------------------------------------------------------

CHANGING = SURVEY.with_fault(ShortScan(night=0, frames=33))


def glow(k):
    """Light that wanders over the array: up on one side, down on the other, and a little curved in time, DN."""
    x = np.linspace(-1, 1, SIZE)
    t = (k - 16) / 16
    return 40 * t * x[None, :] * np.ones((SIZE, 1)) + 15 * (t**2 - 0.35) * x[:, None]


def changing(run):
    flat = np.where(run.truth.good, run.truth.responsivity, 1)
    frames = np.stack([run.raw["R2"][k] + glow(k) * flat for k in range(33)])
    return {"R1": run.raw["R1"], "R2": frames.round().astype(np.uint16)}


def scan(degree, *, change=changing, leave_one_out=False, **options):
    sky = PROFILE.sky.model_copy(
        update={"block_frames": 20, "leave_one_out": leave_one_out, "trend_degree": degree, "trend_cells": (8, 8)}
    )
    options = {"rulings": {0: "accepted"}, **options}
    return Run(CHANGING, profile=PROFILE.model_copy(update={"sky": sky}), change=change, **options)


def cells_left(run):
    """Rms over 8×8 cells of what a frame shows besides the scene, DN, per frame."""
    scene = np.stack([run.sequence.truth.scene_dn(k) for k in range(33)])
    rest = np.where(run.good, run.value - scene, np.nan).reshape(33, 8, 8, 8, 8)
    middle = np.nanmedian(rest, axis=(2, 4)).reshape(33, -1)
    return middle.std(axis=1)


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_the_trend_is_taken_off_every_frame_and_levels_stay(leave_one_out):
    followed, plain = (scan(d, leave_one_out=leave_one_out) for d in (2, 0))
    quiet = cells_left(scan(0, change=None, leave_one_out=leave_one_out))
    assert cells_left(plain)[[0, -1]].min() > 15
    # What is left where there was no trend at all, and a little for the noise of the medians.
    assert cells_left(followed).max() < quiet.max() + 2
    assert np.median(cells_left(followed)) < 1.15 * np.median(quiet)
    kept = [np.nanmedian(f[followed.good]) for f in followed.value]
    np.testing.assert_allclose(kept, followed.result.level_dn, atol=0.01)
    trend = followed.result.blocks[0].offset.trend
    shape = (SIZE, SIZE)
    middle = np.mean([glow(k) for k in range(33)], axis=0)
    for k in (0, 20, 32):
        found = enlarged(trend.own[k], shape)
        assert np.abs((found - found.mean()) - (glow(k) - middle))[8:-8, 8:-8].max() < 12
    assert trend_images(trend, shape).shape == (2, SIZE * SIZE)


def test_halves_of_a_block_agree_once_the_trend_is_off():
    values = [scan(d).result.blocks[0].offset.values["halves"] for d in (2, 0)]
    assert values[0] < 0.2 * values[1]


def test_a_frame_that_receives_another_offset_has_no_trend():
    sky = PROFILE.sky.model_copy(update={"block_frames": 11, "trend_degree": 1, "trend_cells": (8, 8)})
    rulings = {0: "accepted", 1: "rejected", 2: "accepted"}
    profile = PROFILE.model_copy(update={"sky": sky})
    run = Run(CHANGING, profile=profile, change=changing, rulings=rulings)
    offset = run.result.blocks[0].offset
    signal = run.raw["R2"][15].astype(float) - run.raw["R1"][15]
    expected = (signal - run.dark.value) / run.canonical.value - offset.value
    expected += run.result.level_dn[15] - np.nanmedian(expected[run.good])
    good = run.good & np.isfinite(run.value[15])
    np.testing.assert_allclose(run.value[15][good], expected[good], atol=5e-3)


def test_a_profile_that_does_not_ask_for_it_keeps_its_hash():
    assert not {"trend_degree", "trend_cells"} & set(FULL.model_dump(mode="json")["sky"])
    other = load_profile("nirc2").model_dump(mode="json")["sky"]
    assert (other["trend_degree"], other["trend_cells"]) == (2, [16, 16])
