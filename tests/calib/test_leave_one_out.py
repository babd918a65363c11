"""The mean of the other frames of a block, against one that is made anew without each frame in turn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.leave_one_out import STRETCH, others_of
from calib.profile import load_profile


def by_the_book(samples, alpha, k):
    """The trimmed mean of all samples but the k-th, one pixel after the other, in double precision."""
    found = np.full(samples.shape[1], np.nan)
    for i, column in enumerate(samples.T.astype(float)):
        rest = np.delete(column, k)
        rest = np.sort(rest[np.isfinite(rest)])
        cut = int(alpha * len(rest))
        if len(rest) and np.isfinite(column[k]):
            found[i] = rest[cut : len(rest) - cut].mean()
    return found


def others(samples, alpha):
    return others_of(lambda start, end: samples[:, start:end], samples.shape[1], alpha)


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(1, 24),
    alpha=st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.4, 0.49]),
    missing=st.sampled_from([0.0, 0.1, 0.6]),
    whole=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_frame_gets_the_trimmed_mean_of_the_others(n, alpha, missing, whole, seed):
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 30, (n, 40)).astype(np.float32)
    if whole:  # with many equal samples
        samples = (samples / 20).round() * 20
    samples[rng.random(samples.shape) < missing] = rng.choice([np.nan, np.inf])
    found = others(samples, alpha)
    for k in range(n):
        own = np.where(np.isfinite(samples[k]), samples[k], np.nan)
        np.testing.assert_allclose(found.offset(own), by_the_book(samples, alpha, k), atol=2e-4)


def test_where_no_other_frame_has_a_sample_there_is_no_offset():
    samples = np.full((5, 3), np.nan, np.float32)
    samples[2, 1] = 7
    samples[:, 2] = 7
    found = others(samples, 0.2)
    np.testing.assert_array_equal(found.n_kept, [0, 0, 4])
    np.testing.assert_array_equal(found.offset(samples[2]), [np.nan, np.nan, 7])


def test_pixels_of_several_stretches_are_all_worked_on():
    samples = np.random.default_rng(5).normal(0, 1, (3, 2 * STRETCH + 17)).astype(np.float32)
    found = others(samples, 0.2).offset(samples[1])
    np.testing.assert_allclose(found, (samples[0] + samples[2]) / 2, atol=1e-6)


@pytest.mark.parametrize("n", [5, 11, 12, 23])
def test_the_error_is_the_scatter_of_the_means(n):
    samples = np.random.default_rng(n).normal(0, 30, (n, 60_000)).astype(np.float32)
    found = others(samples, 0.2)
    scatter = found.offset(samples[0]).std()
    assert np.sqrt(np.mean(found.error.astype(float) ** 2)) == pytest.approx(scatter, rel=0.03 if n > 5 else 0.08)


def test_a_profile_that_does_not_ask_for_it_keeps_its_hash():
    survey = load_profile("2mass")
    assert not survey.sky.leave_one_out
    # Archives from before there was such a key go on without making anything anew.
    assert "leave_one_out" not in survey.model_dump(mode="json")["sky"]
    changed = survey.model_copy(update={"sky": survey.sky.model_copy(update={"leave_one_out": True})})
    assert changed.fingerprint("sky") != survey.fingerprint("sky")
    assert changed.model_dump(mode="json")["sky"]["leave_one_out"] is True
