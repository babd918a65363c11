"""Supplied masters of another camera: taken as they come, used until own nights exist."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from small_camera import assert_same, rows, run
from supplied_camera import DARK, RESPONSE, SHAPE, camera, masters, sky, write

from calib.archive.database import Archive
from calib.archive.verify import verify_archive
from calib.flags import flag


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    masters(tmp_path / "raw" / "masters")
    sky(tmp_path / "raw" / "sky")
    return tmp_path / "raw"


def test_supplied_masters_serve_where_there_are_no_own_nights(raw: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    run(archive, raw, camera())
    assert {r["status"] for r in rows(archive, "files") if "/masters/" in r["path"]} == {"supplied"}
    (scan,) = rows(archive, "scans")
    assert (scan["n_frames"], scan["dark_night"], scan["canonical_night"]) == (12, "supplied", "supplied")
    assert (scan["dark_status"], scan["canonical_status"]) == ("supplied", "supplied")
    assert (scan["dark_age_nights"], scan["canonical_age_nights"]) == (None, None)
    with fits.open(archive / "nights" / scan["night"] / "Ks" / "scans" / "001" / "frames-CDS.fits", checksum=True) as f:
        frames, mask = f["SCI"].data, f["DQ"].data
        good = mask[0] == 0
        assert good.mean() > 0.95
        assert np.median(frames[0][good]) == pytest.approx(5600, rel=0.01)
        # Flat: the response is gone, what remains is noise.
        assert frames[:, good].mean(axis=0).std() < 30
    assert run(archive, raw, camera()).idle


def test_bad_pixels_of_one_name_in_two_folders_are_no_fault(raw: Path, tmp_path: Path) -> None:
    (raw / "masters" / "more").mkdir()
    shutil.copy(raw / "masters" / "badpix.fits", raw / "masters" / "more" / "badpix.fits")
    archive = tmp_path / "archive"
    run(archive, raw, camera())
    assert verify_archive(Archive(archive), lambda *_: None)[1] == []
    assert run(archive, raw, camera()).idle


def test_they_are_kept_as_products_without_verdict(raw: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    run(archive, raw, camera())
    with fits.open(archive / "supplied" / "Ks" / "responsivity.fits", checksum=True) as hdus:
        assert hdus[0].header["STATUS"] == "supplied"
        assert hdus[0].header["SOURCE"] == "flat.fits"
        good = hdus["DQ"].data == 0
        assert np.median(hdus["SCI"].data[good]) == pytest.approx(1, abs=1e-6)
        assert hdus["DQ"].data[3, 4] & flag("SUPPLIED")
        assert np.isnan(hdus["ERR"].data).all()
        assert {(r["ROLE"], r["NAME"]) for r in hdus["INPUTS"].data} == {
            ("raw", "flat.fits"),
            ("bad-pixels", "badpix.fits"),
        }
    assert (archive / "supplied" / "Ks" / "dark-CDS.fits").is_file()
    assert verify_archive(Archive(archive), lambda *_: None)[1] == []


def test_masters_that_come_after_the_sky_serve_it_as_well(raw: Path, tmp_path: Path) -> None:
    run(tmp_path / "at once", raw, camera())
    run(tmp_path / "archive", raw / "sky", camera())
    assert rows(tmp_path / "archive", "scans") == []
    run(tmp_path / "archive", raw / "masters", camera())
    assert_same(tmp_path / "archive", tmp_path / "at once")


def test_masters_taken_in_by_a_run_that_broke_off_serve_in_the_next(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "at once", raw, camera())
    run(tmp_path / "archive", raw / "sky", camera())

    def breaks(*_: object) -> list[str]:
        raise RuntimeError("the machine went down")

    with monkeypatch.context() as patch:
        patch.setattr("calib.survey._pending_nights", breaks)
        with pytest.raises(RuntimeError):
            run(tmp_path / "archive", raw / "masters", camera())
    run(tmp_path / "archive", raw / "masters", camera())
    assert_same(tmp_path / "archive", tmp_path / "at once")


def test_of_several_for_one_purpose_the_latest_counts(raw: Path, tmp_path: Path) -> None:
    better = (2 * RESPONSE[::-1]).astype(np.float32)
    write(raw / "newer.fits", better, OBJECT="flat, combined", **{"DATE-OBS": "2011-04-14"})
    run(tmp_path / "archive", raw, camera())
    told = {Path(r["path"]).name: (r["status"], r["reason"]) for r in rows(tmp_path / "archive", "files")}
    assert told["newer.fits"] == ("supplied", "")
    assert told["flat.fits"] == ("duplicate", f"superseded by {raw / 'newer.fits'}")
    value = fits.getdata(tmp_path / "archive" / "supplied" / "Ks" / "responsivity.fits", "SCI")
    assert np.corrcoef(value.ravel(), better.ravel())[0, 1] > 0.99
    # Which one came first does not matter.
    run(tmp_path / "other", raw / "newer.fits", camera())
    run(tmp_path / "other", raw, camera())
    assert_same(tmp_path / "other", tmp_path / "archive")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("flat.fits", np.full(SHAPE, -1, np.float32), "the median of a flat must be positive"),
        ("badpix.fits", np.ones(SHAPE, np.int16), "marks more than half of all pixels as bad"),
        ("flat.fits", np.full(SHAPE, np.nan, np.float32), "every sample is NaN or masked"),
    ],
    ids=["negative flat", "inverted bad pixels", "NaN"],
)
def test_a_master_that_makes_no_sense_is_refused(
    name: str, data: np.ndarray, reason: str, raw: Path, tmp_path: Path
) -> None:
    path = raw / "masters" / name
    with fits.open(path, mode="update") as hdus:
        hdus[0].data = data
        hdus[0].add_checksum()
    run(tmp_path / "archive", raw, camera())
    (row,) = rows(tmp_path / "archive", "files", path=str(path))
    assert row["status"] == "refused"
    assert reason in row["reason"]
    assert len(rows(tmp_path / "archive", "scans")) == (0 if name == "flat.fits" else 1)


def test_a_supplied_product_that_was_altered_is_made_again(raw: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    run(archive, raw, camera())
    run(tmp_path / "other", raw, camera())
    (archive / "supplied" / "Ks" / "responsivity.fits").write_bytes(b"")
    run(archive, raw, camera())
    assert_same(archive, tmp_path / "other")


def test_own_darks_replace_a_supplied_one(raw: Path, tmp_path: Path) -> None:
    for k in range(24):
        frame = np.random.default_rng([3, k]).normal(DARK, 4).round().astype(np.int32)
        write(raw / "darks" / f"d{k}.fits", frame, SHRNAME="closed", OBJECT="dark", UTC=f"04:{k:02d}:00.00")
    run(tmp_path / "archive", raw, camera())
    (scan,) = rows(tmp_path / "archive", "scans")
    (dark,) = rows(tmp_path / "archive", "darks")
    assert (dark["n_frames"], dark["cause"]) == (24, "")
    assert scan["dark_night"] == dark["night"]
    assert scan["canonical_night"] == "supplied"
