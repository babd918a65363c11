"""Real frames of another camera, with all that is odd about them."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from calib.profile import load_profile
from calib.raw import find_raw, group_sequences, identify, read_frames

DATA = Path(os.environ.get("VESPER_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "nirc2"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(),
    reason=f"real frames not found in {DATA}; put them there or name their folder in VESPER_DATA",
)


@pytest.fixture(scope="module")
def keck():
    return load_profile("nirc2")


@pytest.fixture(scope="module")
def identities(keck):
    return [identify(path, keck) for path in find_raw([DATA])]


def test_every_file_is_known_for_what_it_is(identities):
    assert Counter(one.obs_type for one in identities) == {
        "scan": 23,
        "supplied-dark": 1,
        "supplied-flat": 1,
        "supplied-bad-pixels": 1,
    }
    names = {one.obs_type: one.path.name for one in identities}
    assert names["supplied-dark"].startswith("drk_80")
    assert names["supplied-flat"].startswith("flat_Ks")
    for one in identities:
        assert one.band == (None if one.obs_type == "supplied-bad-pixels" else "Ks")
        assert (one.night is None) == (one.obs_type == "supplied-bad-pixels")


def test_the_frames_are_one_scan_of_the_night_before_their_ut_date(identities, keck):
    (scan,) = group_sequences(identities, keck)
    assert (scan.night, scan.band, scan.obs_type, scan.scan) == ("2011-04-12", "Ks", "scan", 1)
    assert [one.path.name for one in scan.files] == [f"n00{k}.fits.gz" for k in range(31, 54)]
    assert scan.files[0].start_iso == "2011-04-13T05:37:43.750"
    # The header's own MJD is rounded to a second.
    assert scan.files[0].start_mjd == pytest.approx(55664.23453, abs=1e-5)


def test_the_image_is_read_from_where_it_lies_past_rubbish_before_and_behind(keck):
    read = read_frames(DATA / "n0031.fits.gz", keck)
    (frame,) = read.raw["CDS"]
    assert (frame.dtype, frame.shape) == (np.int32, (1024, 1024))
    assert 5400 < np.median(frame) < 6000
    assert read.notes == ("2880 trailing bytes after the last HDU",)
    assert (read.ra_deg[0], read.dec_deg[0]) == (150.43402, 2.95156)
    # The hot pixels of the combined dark are bright in the frame too: it is not shifted by a single pixel.
    dark = read_frames(DATA / "drk_80_1_16_11apr.fits.gz", keck).raw["CDS"][0]
    hot = dark > 2000
    excess = [np.median(frame[np.roll(hot, shift, axis=1)]) for shift in (-1, 0, 1)]
    assert excess[1] > max(excess[0], excess[2]) + 1000


def test_masters_are_read_as_floats_of_the_same_shape(keck, identities):
    medians = {}
    for one in identities:
        if one.obs_type.startswith("supplied-"):
            (frame,) = read_frames(one.path, keck).raw["CDS"]
            assert (frame.dtype, frame.shape) == (np.float32, (1024, 1024))
            medians[one.obs_type] = float(np.median(frame))
            if one.obs_type == "supplied-bad-pixels":
                assert 100 * frame.mean() == pytest.approx(0.285, abs=0.01)
    assert medians["supplied-flat"] == pytest.approx(1, abs=0.05)
    assert 0 < medians["supplied-dark"] < 20
