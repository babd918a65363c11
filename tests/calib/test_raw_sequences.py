"""Which files are found, and which are processed together."""

import logging
import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_builder import CubeFile, edited

from calib.errors import RawFileError
from calib.raw import Identity, find_raw, group_sequences, identify

SURVEY = edited("2mass")
KECK = edited("nirc2")
UNNUMBERED = edited("2mass", ('scan_number = ["SCANNO"]', "scan_number = []"))
NUMBERED = edited("nirc2", ("scan_number = []", 'scan_number = ["SCANNO"]'))

EVENING = datetime(1999, 5, 2, 3)


def at(minutes, obs_type="scan", *, band="J", scan=None, group=(), night="1999-05-01", name=None):
    """An identity that starts so many minutes into the night."""
    start = EVENING + timedelta(minutes=minutes)
    return Identity(
        path=Path(name or f"{band}-{obs_type}-{minutes}-{'-'.join(group)}.fits"),
        size=1,
        mtime_ns=1,
        obs_type=obs_type,
        band=band,
        night=night,
        start_mjd=51300.125 + minutes / 1440,
        start_iso=start.isoformat(),
        scan=scan,
        n_frames=1,
        group=group,
        temperature_k=None,
    )


def told(sequences):
    return [
        (s.night, s.band, s.obs_type, s.scan, [round((f.start_mjd - 51300.125) * 1440) for f in s.files])
        for s in sequences
    ]


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_folders_are_searched_to_the_bottom_by_name(tmp_path):
    wanted = [
        tmp_path / name
        for name in ("a.fits", "b.FIT.gz", "c/d.fts", "c/e/f.fits.fz", "c/e/Ä ö.fits", "g.FITS.GZ", "h.fit")
    ]
    touch(*wanted)
    touch(
        *(
            tmp_path / name
            for name in (
                ".hidden.fits",
                ".git/a.fits",
                "a.fits.part",
                "a.part.fits",
                "b.tmp.fits.gz",
                "~c.fits",
                "notes.txt",
                "a.fits.bak",
                "fits",
                "a.fitsx",
            )
        )
    )
    assert find_raw([tmp_path]) == sorted(wanted)
    assert find_raw([str(tmp_path)]) == sorted(wanted)


@pytest.mark.parametrize("database", ["archive.sqlite", "database.toml"])
def test_products_of_archives_are_no_raw_files_and_the_own_one_is_nothing_to_speak_of(tmp_path, caplog, database):
    products = ("nights/1999-05-01/J/dark-R1.fits", "references/J/first-light/dark-R1.fits", "supplied/J/dark.fits")
    for archive in (tmp_path / "own", tmp_path / "other"):
        touch(archive / database, *(archive / name for name in products))
    raw = [tmp_path / "nights" / "a.fits", tmp_path / "other" / "raw.fits"]
    touch(*raw)
    assert find_raw([tmp_path], tmp_path / "own") == raw
    assert [r.getMessage() for r in caplog.records] == [
        f"{tmp_path / 'other'} is an archive: its products are left out"
    ]


def test_files_given_are_taken_whatever_their_names_and_nothing_twice(tmp_path):
    touch(tmp_path / "odd.dat", tmp_path / "n" / "a.fits")
    paths = [tmp_path / "n" / "a.fits", tmp_path / "odd.dat", tmp_path / "n", tmp_path / "n" / ".." / "n"]
    found = find_raw(paths)
    assert [p.name for p in found] == ["a.fits", "odd.dat"]
    assert find_raw(reversed(paths)) == found
    assert find_raw([]) == []


def test_links_are_followed_once_and_loops_end(tmp_path):
    touch(tmp_path / "night" / "a.fits", tmp_path / "elsewhere" / "b.fits")
    (tmp_path / "night" / "loop").symlink_to(tmp_path / "night")
    (tmp_path / "night" / "away").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path)
    (tmp_path / "night" / "same.fits").symlink_to(tmp_path / "night" / "a.fits")
    names = {p.resolve().name for p in find_raw([tmp_path / "night"])}
    assert names == {"a.fits", "b.fits"}
    assert len(find_raw([tmp_path / "night"])) == 2


def test_a_dangling_link_is_listed_and_refused_by_name(tmp_path):
    (tmp_path / "gone.fits").symlink_to(tmp_path / "nowhere.fits")
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "folder.fits").mkdir()
    found = find_raw([tmp_path])
    assert [p.name for p in found] == ["gone.fits"]
    with pytest.raises(RawFileError, match="No such file"):
        identify(found[0], SURVEY)


def test_a_path_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RawFileError, match=r"nowhere: no such file or folder"):
        find_raw([tmp_path, tmp_path / "nowhere"])


def test_a_folder_that_cannot_be_listed_is_told_or_left_out_with_a_word(tmp_path, monkeypatch, caplog):
    touch(tmp_path / "a.fits", tmp_path / "closed" / "b.fits")
    scandir = os.scandir

    def guarded(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with caplog.at_level(logging.WARNING):
        assert [p.name for p in find_raw([tmp_path])] == ["a.fits"]
    assert "closed cannot be listed" in caplog.text
    with pytest.raises(RawFileError, match="cannot be listed: Permission denied"):
        find_raw([tmp_path / "closed"])


def test_the_darks_of_a_night_and_band_are_one_sequence(tmp_path):
    night = [
        at(600, "dark"),
        at(0, "dark"),
        at(0, "dark", band="H"),
        at(30, "twilight"),
        at(580, "twilight"),
        at(100, scan=2),
        at(90, scan=1),
        at(0, "dark", night="1999-05-02", name="next"),
    ]
    assert told(group_sequences(night, SURVEY)) == [
        ("1999-05-01", "J", "dark", None, [0, 600]),
        ("1999-05-01", "J", "twilight", None, [30, 580]),
        ("1999-05-01", "J", "scan", 1, [90]),
        ("1999-05-01", "J", "scan", 2, [100]),
        ("1999-05-01", "H", "dark", None, [0]),
        ("1999-05-02", "J", "dark", None, [0]),
    ]


def test_files_that_share_a_scan_number_are_one_scan():
    night = [at(5, scan=3), at(1, scan=3), at(2, scan=3, band="H")]
    assert told(group_sequences(night, SURVEY)) == [
        ("1999-05-01", "J", "scan", 3, [1, 5]),
        ("1999-05-01", "H", "scan", 3, [2]),
    ]


def test_supplied_products_belong_to_no_sequence():
    night = [at(k, f"supplied-{kind}") for k, kind in enumerate(("dark", "flat", "bad-pixels"))]
    night.append(replace(night[2], band=None, night=None, start_mjd=None, start_iso=None))
    assert group_sequences(night, KECK) == []


def test_cubes_without_numbers_are_scans_in_the_order_of_time():
    night = [at(50), at(10), at(30, band="H"), at(20)]
    assert told(group_sequences(night, UNNUMBERED)) == [
        ("1999-05-01", "J", "scan", 1, [10]),
        ("1999-05-01", "J", "scan", 2, [20]),
        ("1999-05-01", "J", "scan", 3, [50]),
        ("1999-05-01", "H", "scan", 1, [30]),
    ]


def test_single_frames_are_cut_into_scans_by_pauses_and_settings():
    ks = {"band": "Ks"}
    frames = [at(m, group=("80",), **ks) for m in (0, 2, 4, 34, 64.1, 66)]
    frames += [at(m, group=("20",), **ks) for m in (1, 3, 65)]
    assert told(group_sequences(frames, KECK)) == [
        ("1999-05-01", "Ks", "scan", 1, [0, 2, 4, 34]),
        ("1999-05-01", "Ks", "scan", 2, [1, 3]),
        ("1999-05-01", "Ks", "scan", 3, [64, 66]),
        ("1999-05-01", "Ks", "scan", 4, [65]),
    ]
    darks = [at(m, "dark", group=(g,), **ks) for m, g in ((0, "80"), (500, "20"))]
    assert told(group_sequences(darks, KECK)) == [("1999-05-01", "Ks", "dark", None, [0, 500])]


def test_a_number_in_the_header_beats_pauses_and_settings():
    frames = [at(m, group=(g,), scan=4, band="Ks") for m, g in ((0, "80"), (500, "20"))]
    assert told(group_sequences(frames, NUMBERED)) == [("1999-05-01", "Ks", "scan", 4, [0, 500])]


IDENTITIES = st.lists(
    st.builds(
        at,
        st.integers(0, 90),
        st.sampled_from(["dark", "twilight", "scan", "supplied-flat"]),
        band=st.just("Ks"),
        group=st.sampled_from([("80",), ("20",)]),
        name=st.sampled_from("abcdef"),
    ),
    max_size=14,
)


@settings(max_examples=300, deadline=None)
@given(IDENTITIES, st.randoms())
def test_the_order_of_the_files_does_not_matter(identities, random):
    expected = group_sequences(identities, KECK)
    shuffled = [*identities, *identities[:3]]
    random.shuffle(shuffled)
    assert group_sequences(shuffled, KECK) == expected
    filed = [one for s in expected for one in s.files]
    assert len(filed) == len(set(filed))
    assert set(filed) == {one for one in identities if not one.obs_type.startswith("supplied-")}
    for s in expected:
        starts = [f.start_mjd for f in s.files]
        assert starts == sorted(starts)
    scans = [s.scan for s in expected if s.obs_type == "scan"]
    assert scans == list(range(1, len(scans) + 1))


def test_from_files_to_sequences(tmp_path):
    file = CubeFile()
    for k, (band, kind) in enumerate((b, t) for b in ("J", "K") for t in ("DARK", "DARK", "TWILIGHT", "SCAN")):
        file.card("FILTER", band).card("OBSTYPE", kind).write(tmp_path / f"{k}.fits")
    sequences = group_sequences([identify(p, SURVEY) for p in find_raw([tmp_path])], SURVEY)
    assert [(s.band, s.obs_type, s.scan, [f.path.name for f in s.files]) for s in sequences] == [
        ("J", "dark", None, ["0.fits", "1.fits"]),
        ("J", "twilight", None, ["2.fits"]),
        ("J", "scan", 7, ["3.fits"]),
        ("Ks", "dark", None, ["4.fits", "5.fits"]),
        ("Ks", "twilight", None, ["6.fits"]),
        ("Ks", "scan", 7, ["7.fits"]),
    ]
