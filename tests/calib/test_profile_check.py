"""`calib profile check`: what stands before whoever writes a profile for an unknown camera."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from supplied_camera import SHAPE, camera, masters, sky, write

from calib.cli import main
from calib.profile_check import check_files
from calib.profile_check_words import as_data, check_lines
from calib.raw import find_raw


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return masters(sky(tmp_path / "raw", 23))


def lines_of(folder: Path) -> list[str]:
    return list(check_lines(check_files(camera(), find_raw([folder]))))


def test_a_sound_folder_ends_in_a_summary(raw: Path) -> None:
    lines = lines_of(raw)
    assert lines[0] == "profile nirc2 is sound: bands Ks, reads CDS"
    assert f"{raw / 'n0004.fits'}: scan, band Ks, night 2011-04-12, 1 frame" in lines
    assert "26 files: 26 would be read, 0 refused" in lines
    scan = "  2011-04-12  Ks   scan 1: 23 frames in 23 files, 06:00:00 to 06:44:00 UTC, 1 block of 23"
    assert scan in lines
    assert any(line.endswith("Ks   supplied-dark: 1 file") for line in lines)
    assert "  SHRNAME   'open' × 24, missing × 1, 'closed' × 1" in lines
    assert any(line.startswith("  UTC       ") and " different values from " in line for line in lines)
    assert "  Ks: no own flat; flat.fits is supplied and serves until there is one" in lines


def test_a_name_that_is_not_utf8_is_shown_with_what_to_do(raw: Path) -> None:
    (raw / "n0004.fits").rename(raw / os.fsdecode(b"n\xe9.fits"))
    found = check_files(camera(), find_raw([raw]))
    told = f"{raw}/n\\xe9.fits"
    assert f"{told}: refused: its name is not UTF-8; rename it" in check_lines(found)
    assert told in [f["path"] for f in as_data(found)["files"]]
    "\n".join(check_lines(found)).encode()


@pytest.mark.parametrize(
    ("cards", "reason", "hint"),
    [
        (
            {"FILTER": "J + clear"},
            "unknown FILTER value 'J + clear' (known: Ks + clear)",
            "add the value to header.band",
        ),
        ({"FILTER": None, "FILTNAM": "Ks"}, "no card FILTER", "this file has FILTNAM = 'Ks'"),
        ({"SHRNAME": "ajar", "IMTYPE": "sky"}, "matches no type: SHRNAME 'ajar'", "IMTYPE = 'sky'"),
        ({"UTC": None, "UT-START": "05:00:00"}, "no start time", "UT-START = '05:00:00'"),
        ({"UTC": "tea time"}, "is not a date and time", "header.time names the cards; this file has "),
    ],
    ids=["filter", "card of the filter", "type", "card of the time", "time"],
)
def test_a_refused_file_shows_what_its_cards_say_and_what_would_help(
    cards: dict[str, str | None], reason: str, hint: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "odd.fits", np.ones(SHAPE, np.int32), **cards)
    (found,) = check_files(camera(), [path]).refused
    assert reason in found.reason
    assert hint in found.hint
    told = lines_of(tmp_path)
    assert told[1] == f"{path}: refused: {found.reason}"
    assert told[2].startswith("    it says: SHRNAME ")
    name, value = next(iter(cards.items()))
    assert f"{name} {'missing' if value is None else repr(value)}" in told[2]
    assert told[3] == f"    hint: {found.hint}"
    assert f"  refused     1 × {found.reason}" in told


def test_frames_of_another_size(tmp_path: Path) -> None:
    path = write(tmp_path / "large.fits", np.ones((64, 64), np.int32))
    (found,) = check_files(camera(), [path]).refused
    assert found.hint == "detector.shape is [rows, columns] of one frame"


def test_what_is_no_fits_file_has_no_cards(tmp_path: Path) -> None:
    (tmp_path / "note.fits").write_text("not yet")
    (found,) = check_files(camera(), [tmp_path / "note.fits"]).refused
    assert (found.reason, found.hint, found.cards) == ("not a FITS file", "", {})


def test_too_few_frames_and_missing_masters_are_told_before_the_run(tmp_path: Path) -> None:
    notes = check_files(camera(), find_raw([sky(tmp_path, 4)])).notes()
    assert notes == (
        "2011-04-12 Ks scan: 4 frames, fewer than sky.block_frames = 20",
        "Ks: neither an own nor a supplied dark, so scans wait for one",
        "Ks: neither an own nor a supplied flat, so scans wait for one",
    )


def test_texts_of_headers_are_shown_on_one_line(tmp_path: Path) -> None:
    hdu = fits.PrimaryHDU(np.ones(SHAPE, np.int32))
    hdu.header["SHRNAME"] = "it's <b>open</b>"
    hdu.writeto(tmp_path / "odd.fits")
    assert any("""SHRNAME "it's <b>open</b>\"""" in line for line in lines_of(tmp_path))


def test_as_json(raw: Path, tmp_path: Path) -> None:
    write(raw / "odd.fits", np.ones(SHAPE, np.int32), FILTER="J")
    data = as_data(check_files(camera(), find_raw([raw])))
    assert json.loads(json.dumps(data)) == data
    (odd,) = (f for f in data["files"] if f["status"] == "refused")
    assert odd["cards"]["FILTER"] == "J"
    assert odd["type"] is None
    assert data["sequences"][0]["frames"] == 23
    assert data["values"]["FILTER"] == {"'Ks + clear'": 25, "missing": 1, "'J'": 1}

    profile = tmp_path / "camera.toml"
    profile.write_text((resources.files("calib.profiles") / "nirc2.toml").read_text("utf-8"))
    done = CliRunner().invoke(main, ["profile", "check", str(profile), str(raw / "odd.fits"), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["files"][0]["status"] == "refused"
