"""Scans: what a final frame is, number by number, and whose sky offset it received."""

import gc
import math
import time
import weakref

import numpy as np
import pytest
from scipy import stats

from calib.checks import Check, CheckResult, Verdict
from calib.flags import flag
from calib.kernels.finishing import TOGETHER
from calib.profile import load_profile
from calib.scan import Master, calibrate_scan
from calib.scan_frames import Reads
from calib.simulate import AirglowWaves, BrightStar, Galaxy, ShortScan, Survey
from calib.sky_verdicts import substitutes

FULL = load_profile("2mass")
SIZE = 64
PROFILE = FULL.model_copy(update={"detector": FULL.detector.model_copy(update={"shape": (SIZE, SIZE)})})
N_FRAMES = 138
SURVEY = Survey(nights=1, n_scan=N_FRAMES, size_px=SIZE, seed=11)
BLOCKS = ((0, 45), (46, 91), (92, 137))
ERRORS = {"dark": 0.9, "canonical": 6e-4}


def masters_of(truth, read):
    """Return a dark and a canonical that are wrong by their errors; bad pixels are flagged as the pipeline would."""
    rng = np.random.default_rng(3)
    shape = truth.good.shape
    dark = truth.dark[read] + ERRORS["dark"] * rng.standard_normal(shape)
    value = truth.responsivity * (1 + ERRORS["canonical"] * rng.standard_normal(shape))
    mask = np.where(truth.responsivity < 0.5, flag("DEAD"), 0)
    noisy = (truth.noise_dn[read] > 2.5 * np.median(truth.noise_dn[read])) | ~truth.good & (mask == 0)
    return (
        Master(
            dark.astype(np.float32),
            np.full(shape, ERRORS["dark"], np.float32),
            np.where(noisy, flag("NOISY"), 0).astype(np.int16),
        ),
        Master(value.astype(np.float32), np.full(shape, ERRORS["canonical"], np.float32), mask.astype(np.int16)),
    )


class Run:
    """A scan calibrated, with everything that went in and came out."""

    def __init__(self, survey=SURVEY, *, band="H", read="R2-R1", change=None, profile=PROFILE, **options):
        night = survey.night(0)
        self.sequence, self.truth = night.scan(band, 1), night.truth(band)
        self.raw = {"R1": self.sequence.r1.copy(), "R2": self.sequence.r2.copy()}
        self.dark, self.canonical = masters_of(self.truth, read)
        if change:
            self.raw = change(self) or self.raw
        shape = self.raw["R2"].shape
        self.value, self.error = (np.full(shape, np.inf, np.float32) for _ in range(2))
        self.mask, self.times = (np.zeros(shape, np.uint8) for _ in range(2))
        self.firsts = []
        self.result = calibrate_scan(
            self.raw,
            band=band,
            read=read,
            dark=self.dark,
            canonical=self.canonical,
            profile=profile,
            sink=self.keep,
            **options,
        )
        # Every sample has been delivered once.
        assert (self.times == 1).all()
        bits = self.dark.mask | self.canonical.mask
        self.good = bits == 0

    def keep(self, block):
        # The arrays are used again after this returns.
        self.firsts.append(block.first)
        n, width = block.value.shape
        part = slice(block.first, block.first + n), slice(block.start, block.start + width)
        made = {"value": block.value, "error": block.error, "mask": block.mask}
        for name, array in made.items():
            if len(array):
                getattr(self, name).reshape(len(self.times), -1)[part] = array
        self.times.reshape(len(self.times), -1)[part] += 1

    @property
    def used(self):
        return [b.used_block for b in self.result.blocks]


@pytest.fixture(scope="module")
def quiet():
    return Run()


def by_the_book(run):
    """Calibrate with plain NumPy in double precision: (raw − dark)/flat, less the sky offset, level kept."""
    usable = (run.canonical.mask & flag("DEAD")) == 0
    signal = run.raw["R2"].astype(float) - run.raw["R1"]
    signal[run.raw["R2"] >= 52_200] = np.nan
    flat = np.where(usable, run.canonical.value.astype(float), np.nan)
    frames = (signal - run.dark.value.astype(float)) / flat
    final = np.empty_like(frames)
    for first, last in BLOCKS:
        block = frames[first : last + 1]
        level = np.array([np.nanmedian(f[run.good]) for f in block])
        samples = block - level[:, None, None]
        offset = np.full((SIZE, SIZE), np.nan)
        for y, x in np.argwhere(usable):
            column = samples[:, y, x]
            offset[y, x] = stats.trim_mean(column[np.isfinite(column)], 0.2)
        offset -= np.nanmedian(offset[run.good])
        for k, f in enumerate(block):
            plain = f - offset
            final[first + k] = plain + level[k] - np.nanmedian(plain[run.good])
    return final


def test_a_final_frame_is_dark_subtracted_flattened_and_freed_of_its_offset_to_the_last_digit(quiet):
    np.testing.assert_allclose(quiet.value, by_the_book(quiet), rtol=2e-6, atol=5e-3)
    assert quiet.value.dtype == np.float32


def test_the_background_stays_at_the_level_of_the_sky(quiet):
    usable = (quiet.canonical.mask & flag("DEAD")) == 0
    flat = np.where(usable, quiet.canonical.value, np.nan)
    before = (quiet.raw["R2"].astype(float) - quiet.raw["R1"] - quiet.dark.value) / flat
    for k in range(N_FRAMES):
        level = np.nanmedian(before[k][quiet.good])
        assert quiet.result.level_dn[k] == pytest.approx(level, abs=1e-2)
        assert np.nanmedian(quiet.value[k][quiet.good]) == pytest.approx(level, abs=1e-2)
    sky = quiet.sequence.truth.sky_dn
    assert np.abs(quiet.result.level_dn / sky - 1).max() < 0.01


def test_a_skewed_pattern_does_not_move_the_background_either():
    def corner(run):
        y, x = np.indices((SIZE, SIZE)) / SIZE
        glow = 400 * np.exp(-np.hypot(x, y) / 0.2)
        run.raw["R2"] = (run.raw["R2"] + glow).astype(np.uint16)

    run = Run(change=corner)
    assert np.abs(run.result.shift_dn).max() > 0.3
    after = np.array([np.nanmedian(f[run.good]) for f in run.value])
    np.testing.assert_allclose(after, run.result.level_dn, atol=1e-2)


def test_a_quiet_scan_uses_its_own_offsets_and_comes_out_block_by_block(quiet):
    assert [(b.offset.first, b.offset.last) for b in quiet.result.blocks] == list(BLOCKS)
    assert [b.verdict.status for b in quiet.result.blocks] == ["accepted"] * 3
    assert quiet.used == [0, 1, 2]
    assert (quiet.result.status, quiet.result.cause) == ("calibrated", "")
    assert quiet.firsts == sorted(quiet.firsts)
    assert {0, 46, 92} <= set(quiet.firsts)
    assert quiet.value.shape == quiet.error.shape == quiet.mask.shape == (N_FRAMES, SIZE, SIZE)
    assert not (quiet.mask & flag("SUBST")).any()


def test_errors_are_as_wide_as_the_deviations_from_the_truth(quiet):
    scene = quiet.sequence.truth
    truth = np.stack([scene.scene_dn(k) for k in range(N_FRAMES)])
    deviation = quiet.value - truth
    # What all pixels of a frame share is the noise of its level.
    deviation -= np.array([np.nanmedian(f[quiet.good]) for f in deviation])[:, None, None]
    dark_sky = truth < 1.02 * scene.sky_dn[:, None, None]
    pull = (deviation / quiet.error)[dark_sky & quiet.good]
    assert pull.std() == pytest.approx(1, abs=0.03)


def test_the_error_of_the_canonical_grows_with_the_light(quiet):
    def doubt(run):
        run.canonical.error[:] = 0.02

    run = Run(change=doubt)
    more = (run.error.astype(float) ** 2 - quiet.error.astype(float) ** 2)[:, quiet.good]
    signal = (quiet.value / quiet.canonical.value)[:, quiet.good]
    expected = (0.02**2 - ERRORS["canonical"] ** 2) * signal**2 * (1 - 2 / 46)
    assert np.nanmedian(more / expected) == pytest.approx(1, abs=0.01)


def test_saturated_samples_are_missing_and_say_why():
    def star(run):
        run.raw["R2"][50:53, 10:14, 20:24] = 52_200

    run = Run(change=star)
    spot = np.s_[50:53, 10:14, 20:24]
    assert np.isnan(run.value[spot]).all()
    assert (run.mask[spot] & flag("SATUR")).all()
    assert not (run.mask[spot] & flag("NODATA")).any()
    assert np.isfinite(run.value[49, 10:14, 20:24][run.good[10:14, 20:24]]).all()
    others = np.ones(run.value.shape, bool)
    others[spot] = False
    saturated = run.raw["R2"] >= 52_200
    np.testing.assert_array_equal((run.mask & flag("SATUR")) > 0, saturated)
    assert np.isnan(run.value[saturated]).all()


def test_r1_still_shows_what_saturated_later():
    def star(run):
        run.raw["R2"][50:53, 10:14, 20:24] = 60_000

    run = Run(read="R1", change=star)
    assert np.isfinite(run.value[50:53, 10:14, 20:24][:, run.good[10:14, 20:24]]).all()
    assert not (run.mask & flag("SATUR")).any()


def test_dead_pixels_have_no_value_and_hot_ones_keep_theirs(quiet):
    dead = quiet.canonical.mask > 0
    assert dead.any()
    assert np.isnan(quiet.value[:, dead]).all()
    assert (quiet.mask[:, dead] & flag("DEAD")).all()
    assert (quiet.mask[:, dead] & flag("NODATA")).all()
    noisy = (quiet.dark.mask > 0) & ~dead
    assert np.isfinite(quiet.value[:, noisy]).all()
    assert (quiet.mask[:, noisy] & flag("NOISY")).all()


def test_sentinels_in_the_raw_frames_are_missing_samples():
    def spoil(run):
        run.good_pixel = tuple(np.argwhere(run.truth.good)[500])
        raw = {k: v.astype(np.int32) for k, v in run.raw.items()}
        raw["R1"][7, *run.good_pixel] = -99
        return raw

    run = Run(change=spoil)
    y, x = run.good_pixel
    assert np.isnan(run.value[7, y, x])
    assert run.mask[7, y, x] == flag("NODATA")
    assert np.isfinite(run.value[8, y, x])


def test_pixels_that_are_hot_do_not_set_the_level():
    def heat(run):
        run.dark.value[:, ::2] -= 3_000
        run.dark.mask[:, ::2] |= flag("HOT")

    run = Run(change=heat)
    assert np.abs(run.result.level_dn / run.sequence.truth.sky_dn - 1).max() < 0.01


# Substitution ----------------------------------------------------------------------------------------------------

RESIDUE = Check("sky_offset", "residue", "%", "max", "", "galaxy or bright star")
HALVES = Check("sky_offset", "halves", "%", "max", "", "airglow wave")


def verdicts(pattern, excess=None):
    """Return verdicts, A accepted and r rejected; rejected ones exceed their limit by given factors."""
    return [
        Verdict("accepted", "", (CheckResult(RESIDUE, 0.1, 1.0),))
        if c == "A"
        else Verdict("rejected", "", (CheckResult(RESIDUE, (excess or {}).get(k, 2.0), 1.0),))
        for k, c in enumerate(pattern)
    ]


@pytest.mark.parametrize(
    ("pattern", "used"),
    [
        ("AAAAAA", [0, 1, 2, 3, 4, 5]),
        ("rAAAAA", [1, 1, 2, 3, 4, 5]),
        ("ArA", [0, 0, 2]),  # the earlier of two as near
        ("ArrA", [0, 0, 3, 3]),
        ("AArrrr", [0, 1, 1, 1, 1, 1]),
        ("rrrA", [3, 3, 3, 3]),
        ("A", [0]),
        ("r", [0]),
    ],
)
def test_a_rejected_offset_is_replaced_by_the_nearest_accepted_one(pattern, used):
    assert substitutes(verdicts(pattern)) == used


def test_without_an_accepted_one_the_best_serves_all():
    assert substitutes(verdicts("rrrr", {0: 5.0, 1: 3.0, 2: 1.2, 3: 1.2})) == [2, 2, 2, 2]
    twice = Verdict("rejected", "", (CheckResult(RESIDUE, 1.1, 1.0), CheckResult(HALVES, 1.1, 1.0)))
    assert substitutes([twice, *verdicts("r")]) == [1, 1]  # one failed check before two
    unknown = Verdict("rejected", "", (CheckResult(RESIDUE, math.nan, 1.0),))
    assert substitutes([unknown, *verdicts("r", {0: 100.0})]) == [1, 1]


@pytest.mark.parametrize("rejected", [(0,), (0, 1), (1, 2), (2,), (0, 1, 2)])
def test_frames_come_in_order_whatever_blocks_wait_for_others(rejected):
    run = Run(rulings={k: "rejected" if k in rejected else "accepted" for k in range(3)})
    assert run.firsts == sorted(run.firsts)
    assert len(run.value) == N_FRAMES
    for k, (first, last) in enumerate(BLOCKS):
        assert ((run.mask[first : last + 1] & flag("SUBST")) > 0).all() == (run.used[k] != k)


def test_frames_that_received_another_blocks_offset_say_so():
    run, own = Run(rulings={1: "rejected"}), Run()
    assert run.used == [0, 0, 2]
    assert run.result.status == "substituted"
    assert run.result.cause == "sky offset of blocks 1 ← 0"
    assert run.result.blocks[1].verdict.cause == "rejected by decision"
    assert (run.mask[46:92] & flag("SUBST")).all()
    assert not (run.mask[:46] & flag("SUBST")).any()
    assert not (run.mask[92:] & flag("SUBST")).any()
    # They are the same frames with the difference of the two offsets.
    offsets = [b.offset.value for b in run.result.blocks]
    change = run.value[46:92] - own.value[46:92]
    expected = (offsets[1] - offsets[0])[None] + (run.result.shift_dn - own.result.shift_dn)[46:92, None, None]
    np.testing.assert_allclose(change[:, run.good], expected[:, run.good], atol=5e-3)
    np.testing.assert_array_equal(run.value[:46], own.value[:46])


def test_a_galaxy_is_found_in_its_block_and_a_neighbours_offset_used():
    survey = SURVEY.with_fault(Galaxy(night=0, frame=115, peak_dn=800.0, scale_px=50.0))
    run = Run(survey)
    assert [b.verdict.status for b in run.result.blocks][2] == "rejected"
    assert {c.check.name for c in run.result.blocks[2].verdict.failed} & {"residue", "halves"}
    assert run.used[2] in (0, 1)
    assert run.result.status == "substituted"
    # The galaxy is still there, instead of a hole.
    truth = np.stack([run.sequence.truth.scene_dn(k) for k in range(92, 138)])
    deviation = np.nanmean((run.value[92:] - truth)[:, run.good], axis=0)
    own = Run(survey, rulings={2: "accepted"})
    eaten = np.nanmean((own.value[92:] - truth)[:, run.good], axis=0)
    assert np.std(deviation) < 0.5 * np.std(eaten)


def test_a_scan_without_an_accepted_block_takes_its_best_and_is_badged():
    run = Run(SURVEY.with_fault(AirglowWaves(night=0, percent=4.0, wavelength_px=45.0, speed_px=0.4)))
    assert {b.verdict.status for b in run.result.blocks} == {"rejected"}
    assert run.result.status == "best block"
    assert run.result.cause.startswith(f"no accepted sky offset; block {run.used[0]} serves")
    assert len(set(run.used)) == 1
    assert np.isfinite(run.value[:, run.good]).mean() > 0.99


def test_a_short_scan_is_calibrated_with_its_only_block_and_badged():
    run = Run(SURVEY.with_fault(ShortScan(night=0, frames=30)))
    assert len(run.value) == 30
    assert (run.result.status, run.used) == ("best block", [0])
    assert run.result.blocks[0].verdict.cause.startswith("too few frames")
    assert not (run.mask & flag("SUBST")).any()


def test_a_person_may_accept_a_block():
    run = Run(SURVEY.with_fault(ShortScan(night=0, frames=30)), rulings={0: "accepted", 7: "rejected"})
    assert (run.result.status, run.used) == ("calibrated", [0])
    assert run.result.blocks[0].verdict.cause == ""


def test_a_substitutes_error_does_not_count_the_frame_twice(quiet):
    # A frame has a share in its own block's offset, which lowers the error; none in another's.
    run = Run(rulings={1: "rejected"})
    assert np.nanmedian(run.error[46:92] / quiet.error[46:92]) == pytest.approx(1 + 1 / 46, abs=0.01)


def test_a_scan_saturated_throughout_gives_nothing_and_says_so():
    def blind(run):
        run.raw["R2"][:] = 65_535

    run = Run(change=blind)
    assert np.isnan(run.value).all()
    assert run.result.status == "best block"
    assert np.isnan(run.result.level_dn).all()


def test_levels_and_offsets_do_not_need_the_frames_to_be_written(quiet):
    result = calibrate_scan(
        quiet.raw,
        band="H",
        read="R2-R1",
        dark=quiet.dark,
        canonical=quiet.canonical,
        profile=PROFILE,
    )
    np.testing.assert_array_equal(result.level_dn, quiet.result.level_dn)
    np.testing.assert_array_equal(result.shift_dn, quiet.result.shift_dn)
    for one, other in zip(result.blocks, quiet.result.blocks, strict=True):
        np.testing.assert_array_equal(one.offset.value, other.offset.value)


# As those of a large array: stretches of 8 frames, the last of them shorter, as is the last group of a block. Frames
# that have offsets of their own are finished one at a time.
@pytest.mark.parametrize("sky", [{}, {"leave_one_out": True}, {"trend_degree": 2, "trend_cells": (4, 4)}], ids=str)
@pytest.mark.parametrize("big_endian", [False, True])
def test_frames_finished_stretch_by_stretch_are_the_same(sky, big_endian, monkeypatch):
    profile = PROFILE.model_copy(update={"sky": PROFILE.sky.model_copy(update=sky)})
    whole = Run(profile=profile)
    monkeypatch.setattr("calib.scan_pieces.PIECE_SAMPLES", SIZE * SIZE)
    monkeypatch.setattr("calib.scan_pieces.STRETCH_PIXELS", SIZE * SIZE // 2 - 5)
    released = []

    def part_of_a_larger_array(run):
        return {name: np.repeat(frames, 2, axis=0)[::2] for name, frames in run.raw.items()}

    def release(first, end):
        released.extend(range(first, end))

    run = Run(profile=profile, big_endian=big_endian, change=part_of_a_larger_array, release=release)
    firsts = range(46) if sky else range(0, 46, TOGETHER)
    assert run.firsts[: 3 * len(firsts)] == [first for first in firsts for _ in range(3)]
    # Once when its sky offset is done, and once when it is.
    assert sorted(released) == sorted(2 * list(range(len(run.value))))
    for name in ("value", "mask", "error"):
        np.testing.assert_array_equal(getattr(run, name), getattr(whole, name))
    np.testing.assert_array_equal(run.result.shift_dn, whole.result.shift_dn)


@pytest.mark.parametrize("sky", [{}, {"leave_one_out": True}], ids=str)
def test_a_scan_of_one_frame_measures_nothing_and_says_so(sky):
    profile = PROFILE.model_copy(update={"sky": PROFILE.sky.model_copy(update=sky)})

    def first_frame(run):
        return {name: frames[:1] for name, frames in run.raw.items()}

    run = Run(profile=profile, change=first_frame)
    assert run.mask.shape[0] == 1
    assert (run.mask & flag("NODATA")).all()
    # Two are enough.
    two = Run(profile=profile, change=lambda run: {name: frames[:2] for name, frames in run.raw.items()})
    good = two.mask == 0
    assert good.mean() > 0.9
    assert np.isfinite(two.error[good]).all()


def test_masters_may_come_as_another_library_reads_them(quiet):
    def other(run):
        for name, kind in (("dark", ">f4"), ("canonical", "f8")):
            master = getattr(run, name)
            setattr(run, name, Master(master.value.astype(kind), master.error.astype(kind), master.mask))

    found = Run(change=other)
    np.testing.assert_allclose(found.value, quiet.value, rtol=1e-6, atol=4e-3)
    np.testing.assert_allclose(found.error, quiet.error, rtol=1e-6)
    np.testing.assert_array_equal(found.mask, quiet.mask)


def test_a_block_that_fails_ends_the_scan_with_its_error(monkeypatch):
    levels = Reads.levels

    def fail(self, first, end, hint=None):
        if first >= BLOCKS[2][0]:
            raise MemoryError("no room for the last block")
        return levels(self, first, end, hint)

    monkeypatch.setattr(Reads, "levels", fail)
    with pytest.raises(MemoryError, match="last block"):
        Run()


@pytest.mark.parametrize("errors", [False, True])
def test_room_that_is_not_there_ends_the_scan_with_its_error(errors, monkeypatch):
    begun = Reads.trimmed

    def fail(self, first, *rest):
        if first < BLOCKS[1][0]:
            return begun(self, first, *rest)
        time.sleep(0.2)
        raise MemoryError("no room for another block")

    monkeypatch.setattr(Reads, "trimmed", fail)
    with pytest.raises(MemoryError, match="another block"):
        Run(errors=errors)


def test_a_scan_that_is_done_keeps_no_raw_frames(quiet):
    raw = {name: frames.copy() for name, frames in quiet.raw.items()}
    held = [weakref.ref(frames) for frames in raw.values()]
    given = {"dark": quiet.dark, "canonical": quiet.canonical, "profile": PROFILE}
    gc.collect()
    gc.disable()
    try:
        result = calibrate_scan(raw, band="H", read="R2-R1", **given)
        del raw
        assert [frames() for frames in held] == [None, None]
        assert result.blocks
    finally:
        gc.enable()


def test_frames_without_errors_have_the_same_values_and_masks(quiet):
    bare = Run(errors=False)
    assert np.isinf(bare.error).all()  # as it was before
    np.testing.assert_array_equal(bare.value, quiet.value)
    np.testing.assert_array_equal(bare.mask, quiet.mask)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Galaxy(night=0, bands=("H",), scan=1, frame=69), "galaxy or bright star"),
        (BrightStar(night=0, bands=("H",), scan=1, frame=69), "galaxy or bright star"),
        (AirglowWaves(night=0, bands=("H",), percent=3.0), "airglow wave"),
    ],
)
def test_what_spoils_a_sky_offset_is_named(fault, words):
    survey = Survey(nights=1, n_scan=138, quiet=False).with_fault(fault)
    night = survey.night(0)
    sequence, truth = night.scan("H", 1), night.truth("H")
    mask = np.where(truth.good, 0, flag("DEAD")).astype(np.int16)
    dark = Master(truth.dark["R2-R1"].astype("f4"), np.zeros((256, 256), "f4"), mask)
    flat = Master(truth.responsivity.astype("f4"), np.zeros((256, 256), "f4"), mask)
    raw = {"R1": sequence.r1, "R2": sequence.r2}
    made = calibrate_scan(raw, band="H", read="R2-R1", dark=dark, canonical=flat, profile=FULL)
    spoilt = made.blocks[1].verdict
    assert spoilt.status == "rejected"
    assert spoilt.cause.startswith(words)


# Short blocks whose frames are left out of their own offset -------------------------------------------------------

SHORT = SURVEY.with_fault(ShortScan(night=0, frames=33))
ALL_ACCEPTED = {0: "accepted", 1: "accepted", 2: "accepted"}


def short_blocks(*, leave_one_out, **options):
    sky = PROFILE.sky.model_copy(update={"block_frames": 11, "leave_one_out": leave_one_out})
    options = {"rulings": ALL_ACCEPTED, **options}
    return Run(SHORT, profile=PROFILE.model_copy(update={"sky": sky}), **options)


@pytest.fixture(scope="module")
def left_out():
    return short_blocks(leave_one_out=True)


def test_a_frame_left_out_is_freed_of_what_the_others_say_to_the_last_digit(left_out):
    usable = (left_out.canonical.mask & flag("DEAD")) == 0
    signal = left_out.raw["R2"].astype(float) - left_out.raw["R1"]
    signal[left_out.raw["R2"] >= 52_200] = np.nan
    frames = (signal - left_out.dark.value) / np.where(usable, left_out.canonical.value.astype(float), np.nan)
    level = np.array([np.nanmedian(f[left_out.good]) for f in frames])
    for k in (0, 7, 10, 11, 32):
        first = k // 11 * 11
        rest = [i for i in range(first, first + 11) if i != k]
        offset = np.full((SIZE, SIZE), np.nan)
        for y, x in np.argwhere(usable):
            column = frames[rest, y, x] - level[rest]
            offset[y, x] = stats.trim_mean(column[np.isfinite(column)], 0.2)
        expected = frames[k] - offset
        expected += level[k] - np.nanmedian(expected[left_out.good])
        np.testing.assert_allclose(left_out.value[k], expected, rtol=2e-6, atol=5e-3)


def test_errors_of_frames_left_out_are_as_wide_as_their_deviations(left_out):
    scene = left_out.sequence.truth
    truth = np.stack([scene.scene_dn(k) for k in range(33)])
    deviation = left_out.value - truth
    deviation -= np.array([np.nanmedian(f[left_out.good]) for f in deviation])[:, None, None]
    dark_sky = truth < 1.02 * scene.sky_dn[:, None, None]
    assert (deviation / left_out.error)[dark_sky & left_out.good].std() == pytest.approx(1, abs=0.03)
    # Ten others, of which two are trimmed at each end, against a part of 1/11 in the own offset.
    own = short_blocks(leave_one_out=False)
    assert np.nanmedian(left_out.error / own.error) == pytest.approx(np.sqrt((1 + 1 / 10) / (1 - 1 / 11)), rel=0.015)


def test_light_of_a_single_frame_is_kept_whole_when_it_is_left_out(left_out):
    faint = 6  # DN, a fraction of the noise

    def star(run):
        run.raw["R2"][5, 20:24, 30:34] += faint

    spot = np.s_[5, 20:24, 30:34]
    good, flat = left_out.good[spot[1:]], left_out.canonical.value[spot[1:]]

    def kept(**options):
        with_star, without = (short_blocks(**options, change=c) for c in (star, None))
        return np.mean(((with_star.value - without.value)[spot] * flat)[good]) / faint

    assert kept(leave_one_out=True) == pytest.approx(1, abs=2e-3)
    assert kept(leave_one_out=False) == pytest.approx(1 - 1 / 11, abs=0.04)


def test_blocks_and_their_verdicts_are_those_of_all_frames(left_out):
    own = short_blocks(leave_one_out=False)
    for one, other in zip(left_out.result.blocks, own.result.blocks, strict=True):
        np.testing.assert_array_equal(one.offset.value, other.offset.value)
        assert one.verdict == other.verdict
    np.testing.assert_array_equal(left_out.result.level_dn, own.result.level_dn)
    np.testing.assert_array_equal(left_out.mask, own.mask)
    # What is added to keep the level is small: the offset of the others has nearly median zero.
    assert np.abs(left_out.result.shift_dn - own.result.shift_dn).max() < 0.5


def test_the_offset_of_another_block_is_subtracted_whole():
    rulings = {**ALL_ACCEPTED, 1: "rejected"}
    one, other = (short_blocks(leave_one_out=x, rulings=rulings) for x in (True, False))
    assert one.used == [0, 0, 2]
    for got, wanted in ((one.value, other.value), (one.error, other.error), (one.mask, other.mask)):
        np.testing.assert_array_equal(got[11:22], wanted[11:22])


def test_a_pixel_that_no_other_frame_has_seen_says_so():
    def alone(run):
        run.pixel = tuple(np.argwhere(run.truth.good)[700])
        for k in range(11):
            if k != 4:
                run.raw["R2"][k, *run.pixel] = 60_000

    run = short_blocks(leave_one_out=True, change=alone)
    assert np.isfinite(run.value[4, *run.pixel])
    assert (run.mask[:11, *run.pixel] & flag("NODATA")).all()
    assert not (run.mask[11:, *run.pixel] & flag("NODATA")).any()
