"""Raw files on disk, and the truth beside them."""

import datetime as dt
import json
from hashlib import sha256

import numpy as np
import pytest
from astropy.io import fits

from calib.simulate import (
    CloudGradient,
    Latents,
    MissingDark,
    ShortScan,
    Survey,
    file_name,
    simulate,
    write_sequence,
    write_survey,
)

SMALL = Survey(nights=2, seed=4, n_dark=3, n_twilight=4, n_scan=5, size_px=32)


@pytest.mark.parametrize("what", ["dark", "twilight", "scan"])
def test_a_raw_file_has_the_layout_of_the_camera(tmp_path, what):
    night = SMALL.night(0)
    sequence = night.scan("Ks", 1) if what == "scan" else getattr(night, what)("Ks")
    path = write_sequence(sequence, tmp_path / "deep" / "any name.fits")
    # A wrong checksum is a warning, and warnings are errors here.
    with fits.open(path, checksum=True) as hdus:
        header = hdus[0].header
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "R1", "R2", "FRAMES"]
        assert header["FILTER"] == "Ks"
        assert header["OBSTYPE"] == what.upper()
        assert header.get("SCANNO") == (1 if what == "scan" else None)
        assert {"TELESCOP", "INSTRUME", "OBSERVER", "DETTEMP"} <= set(header)
        begin = dt.datetime.fromisoformat(header["DATE-OBS"])
        elapsed = begin - dt.datetime(1858, 11, 17)
        assert elapsed.total_seconds() / 86_400 == pytest.approx(sequence.time_mjd[0], abs=1e-7)
        assert header["DATE-OBS"].startswith("1999-05-02T")
        for name, cube in (("R1", sequence.r1), ("R2", sequence.r2)):
            assert hdus[name].data.dtype.newbyteorder("=") == np.uint16
            assert hdus[name].header["BITPIX"] == 16
            np.testing.assert_array_equal(hdus[name].data, cube)
        frames = hdus["FRAMES"].data
        np.testing.assert_array_equal(frames["TIME"], sequence.time_mjd)
        np.testing.assert_array_equal(frames["RA"], sequence.ra_deg)
        np.testing.assert_array_equal(frames["DEC"], sequence.dec_deg)
        for hdu in hdus:
            assert {"CHECKSUM", "DATASUM"} <= set(hdu.header)
    assert [each.name for each in path.parent.iterdir()] == ["any name.fits"]


def test_a_spoilt_byte_breaks_the_checksum(tmp_path):
    path = write_sequence(SMALL.night(0).dark("J"), tmp_path / "dark.fits")
    raw = bytearray(path.read_bytes())
    raw[9_000] ^= 1
    path.write_bytes(raw)
    with pytest.warns(UserWarning, match="verification failed"), fits.open(path, checksum=True) as hdus:
        _ = [hdu.data for hdu in hdus]


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    paths = [write_sequence(SMALL.night(1).twilight("H"), tmp_path / name) for name in ("one", "two")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_sequence(SMALL.night(0).dark("J"), tmp_path / "dark.fits")
    before = path.read_bytes()

    def full_disk(self, name, **_):
        name.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_sequence(SMALL.night(1).dark("J"), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_names_of_files():
    night = SMALL.night(0)
    assert file_name(night.dark("H")) == "H-dark.fits"
    assert file_name(night.scan("Ks", 1)) == "Ks-scan-001.fits"


def test_a_survey_is_written_with_its_truth(tmp_path):
    survey = SMALL.with_fault(
        CloudGradient(night=1, bands=("H",), percent=2.5),
        MissingDark(night=0, bands=("J",)),
        ShortScan(night=1, frames=2),
        Latents(night=0, frame=1),
    )
    said = []
    record = write_survey(survey, tmp_path, progress=lambda done, total, what: said.append((done, total, what)))
    assert record == tmp_path / "truth" / "truth.json"
    truth = json.loads(record.read_text())
    assert [night["night"] for night in truth["nights"]] == ["1999-05-01", "1999-05-02"]
    spoilt = truth["nights"][1]["bands"]["H"]
    assert [fault["kind"] for fault in spoilt["faults"]] == ["CloudGradient", "ShortScan"]
    assert spoilt["faults"][0]["percent"] == 2.5
    assert spoilt["scan_frames"] == {"1": 2}
    assert truth["nights"][0]["bands"]["J"]["dark_frames"] == 0

    assert not list((tmp_path / "truth").glob("*.fits"))
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.fits"))
    expected = [
        f"{night}/{band}-{what}.fits"
        for night in ("1999-05-01", "1999-05-02")
        for band in ("H", "J", "Ks")
        for what in ("dark", "scan-001", "twilight")
    ]
    expected.remove("1999-05-01/J-dark.fits")
    assert written == expected

    state = np.load(tmp_path / "truth" / "1999-05-02-H.npz")
    detector = survey.detector(1, "H")
    np.testing.assert_array_equal(state["responsivity"], detector.responsivity)
    np.testing.assert_array_equal(np.unpackbits(state["bad"]).astype(bool), ~detector.good.ravel())
    assert spoilt["dark_level_dn"] == pytest.approx(np.median(state["dark_dn"][detector.good]))
    scan = np.load(tmp_path / "truth" / "1999-05-02-H-scan-001.npz")
    assert scan["sky_dn"].shape == (2,)

    assert [done for done, _, _ in said] == list(range(1, said[0][1] + 1))
    assert any(what == "1999-05-02 H twilight" for _, _, what in said)


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.suffix in {".fits", ".json"}
    }


def test_writing_again_changes_nothing_and_another_survey_is_refused(tmp_path):
    write_survey(SMALL, tmp_path)
    before = digests(tmp_path)
    write_survey(SMALL, tmp_path)
    assert digests(tmp_path) == before
    with pytest.raises(FileExistsError, match="choose an empty folder"):
        write_survey(SMALL.with_fault(CloudGradient(night=0)), tmp_path)
    assert digests(tmp_path) == before


def test_simulate_writes_a_scenario(tmp_path):
    record = simulate(tmp_path, nights=3, start="2001-02-27", seed=1, scenario="bad-first-night", scans=0)
    truth = json.loads(record.read_text())
    assert truth["scenario"] == "bad-first-night"
    assert truth["seed"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "2001-02-27",
        "2001-02-28",
        "2001-03-01",
        "truth",
    ]
    assert len(list(tmp_path.rglob("*.fits"))) == 18
    with fits.open(tmp_path / "2001-02-27" / "J-twilight.fits") as hdus:
        assert hdus["R2"].shape == (56, 256, 256)


def test_an_unknown_scenario_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"no scenario 'survy': choose one of .*survey"):
        simulate(tmp_path / "out", scenario="survy")
    assert not (tmp_path / "out").exists()
