"""What a raw file is, told from its header, and why one is refused."""

import os
import pickle
import re
from datetime import datetime

import numpy as np
import pytest
from astropy.io import fits
from raw_builder import ABSENT, SHAPE, CubeFile, FrameFile, edited, gzipped, levels, replaced

from calib.errors import RawFileError
from calib.raw import OBS_TYPES, identify, times

SURVEY = edited("2mass")
KECK = edited("nirc2")


def refused(path, profile, reason):
    with pytest.raises(RawFileError) as caught:
        identify(path, profile)
    assert caught.value.path == path
    assert caught.value.reason == reason


def test_a_scan_says_everything_in_its_header(tmp_path):
    path = CubeFile(n=5).write(tmp_path / "any name.fits")
    one = identify(path, SURVEY)
    assert (one.obs_type, one.band, one.night, one.scan, one.n_frames) == ("scan", "J", "1999-05-01", 7, 5)
    assert one.start_iso == "1999-05-02T04:00:00.250"
    assert one.start_mjd == pytest.approx(51300 + (4 * 3600 + 0.25) / 86400, abs=1e-10)
    assert (one.path, one.size, one.mtime_ns) == (path, path.stat().st_size, path.stat().st_mtime_ns)
    assert (one.temperature_k, one.group) == (77.5, ())
    assert one.obs_type in OBS_TYPES


def test_darks_and_twilights_have_no_scan_number_even_if_a_card_is_left_over(tmp_path):
    for value, obs_type in (("DARK", "dark"), ("TWILIGHT", "twilight")):
        one = identify(CubeFile().card("OBSTYPE", value).write(tmp_path / "a.fits"), SURVEY)
        assert (one.obs_type, one.scan) == (obs_type, None)


@pytest.mark.parametrize(
    ("value", "band"), [("J", "J"), ("  j ", "J"), ("K", "Ks"), ("Ks", "Ks"), ("KS", "Ks"), ("h", "H")]
)
def test_bands_match_by_alias_without_regard_to_case_and_blanks(tmp_path, value, band):
    assert identify(CubeFile().card("FILTER", value).write(tmp_path / "a.fits"), SURVEY).band == band


@pytest.mark.parametrize(
    ("card", "value", "reason"),
    [
        ("FILTER", ABSENT, "no card FILTER"),
        ("FILTER", "   ", "no card FILTER"),
        ("FILTER", "Z", "unknown FILTER value 'Z' (known: J, H, Ks, K)"),
        ("FILTER", 3, "unknown FILTER value '3' (known: J, H, Ks, K)"),
        ("FILTER", "J" * 66, f"unknown FILTER value '{'J' * 59}…' (known: J, H, Ks, K)"),
        ("OBSTYPE", ABSENT, "no card OBSTYPE"),
        ("OBSTYPE", "FOCUS", "unknown OBSTYPE 'FOCUS'"),
        ("OBSTYPE", "DARKS", "unknown OBSTYPE 'DARKS'"),
        ("DATE-OBS", ABSENT, "no start time (DATE-OBS)"),
        ("DATE-OBS", "yesterday", "DATE-OBS 'yesterday' is not a date"),
        ("DATE-OBS", "1999-02-30T01:00:00", "DATE-OBS '1999-02-30T01:00:00' is not a date"),
        ("DATE-OBS", "1999-05-02", "DATE-OBS '1999-05-02' has no time of day"),
        ("DATE-OBS", "1999-05-02T25:00:00", "DATE-OBS '1999-05-02T25:00:00' is not a date and time"),
        ("DATE-OBS", "1999-05-02T04:00:61", "DATE-OBS '1999-05-02T04:00:61' is not a date and time"),
        ("DATE-OBS", "0001-01-01T00:00:00", "DATE-OBS '0001-01-01T00:00:00' is not between 1900 and 2099"),
        ("DATE-OBS", "0000-00-00T00:00:00", "DATE-OBS '0000-00-00T00:00:00' is not a date"),
        ("DATE-OBS", "1850-01-01T00:00:00", "DATE-OBS '1850-01-01T00:00:00' is not between 1900 and 2099"),
        ("DATE-OBS", "9999-12-31T23:59:60", "DATE-OBS '9999-12-31T23:59:60' is not between 1900 and 2099"),
        (
            "DATE-OBS",
            "2098-05-02T04:00",
            "DATE-OBS '2098-05-02T04:00' lies more than a day ahead of this computer's clock",
        ),
        ("SCANNO", ABSENT, "SCANNO missing"),
        ("SCANNO", "x7", "SCANNO 'x7' is not a whole number"),
        ("SCANNO", 7.5, "SCANNO '7.5' is not a whole number"),
        ("SCANNO", True, "SCANNO 'True' is not a whole number"),
        ("SCANNO", -1, "SCANNO '-1' is not between 0 and 2147483647"),
        ("SCANNO", 10**12, "SCANNO '1000000000000' is not between 0 and 2147483647"),
    ],
)
def test_a_header_that_does_not_say_is_refused_by_name(tmp_path, card, value, reason):
    refused(CubeFile().card(card, value).write(tmp_path / "a.fits"), SURVEY, reason)


def test_a_start_ahead_of_the_clock_is_refused_only_beyond_a_day(tmp_path, monkeypatch):
    path = CubeFile().write(tmp_path / "a.fits")
    monkeypatch.setattr(times, "utc_now", lambda: datetime(1999, 5, 1, 4, 0, 1))
    assert identify(path, SURVEY).night == "1999-05-01"
    monkeypatch.setattr(times, "utc_now", lambda: datetime(1999, 5, 1, 4, 0, 0))
    refused(path, SURVEY, "DATE-OBS '1999-05-02T04:00:00.250' lies more than a day ahead of this computer's clock")


def again(path, *cards):
    """The file with these cards in its primary header once more."""
    with fits.open(path) as hdus:
        for name, value in cards:
            hdus[0].header.append((name, value))
        hdus.writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize(
    ("card", "value"),
    [("FILTER", "H"), ("OBSTYPE", "DARK"), ("DATE-OBS", "1999-05-03T04:00:00"), ("SCANNO", 8)],
)
def test_a_card_that_contradicts_itself_is_refused_by_name(tmp_path, card, value):
    path = again(CubeFile().write(tmp_path / "a.fits"), (card, value))
    refused(path, SURVEY, f"card {card} stands twice with different values")
    refused(again(path, (card, value)), SURVEY, f"card {card} stands three times with different values")


@pytest.mark.parametrize("blank", ["", "   ", fits.card.UNDEFINED])
def test_a_card_that_stands_again_without_a_value_says_nothing(blank, tmp_path):
    path = CubeFile().write(tmp_path / "a.fits")
    with fits.open(path, mode="update") as hdus:
        hdus[0].header.append(fits.Card("FILTER", blank))
    assert identify(path, SURVEY).band == identify(CubeFile().write(tmp_path / "b.fits"), SURVEY).band


def test_cards_that_say_the_same_twice_or_matter_to_nobody_are_read(tmp_path):
    path = CubeFile().card("OBSERVER", "ann").write(tmp_path / "a.fits")
    one = identify(again(path, ("FILTER", "j "), ("SCANNO", 7.0), ("OBSERVER", "bob")), SURVEY)
    assert (one.band, one.scan) == ("J", 7)


def test_a_card_by_which_frames_are_grouped_must_not_contradict_itself(tmp_path):
    name = KECK.layout.group_by[0]
    path = FrameFile().card(name, "a").write(tmp_path / "a.fits")
    refused(again(path, (name, "b")), KECK, f"card {name} stands twice with different values")


@pytest.mark.parametrize("number", [7, 7.0, "7", " 007 "])
def test_a_scan_number_may_be_text_or_a_float(tmp_path, number):
    assert identify(CubeFile().card("SCANNO", number).write(tmp_path / "a.fits"), SURVEY).scan == 7


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("1999-05-02T04:00:00", "1999-05-02T04:00:00.000"),
        ("1999-05-02 04:00:00.5", "1999-05-02T04:00:00.500"),
        ("1999-05-02T04:00:00.75Z", "1999-05-02T04:00:00.750"),
        ("1999-05-02T04:00:00 UT", "1999-05-02T04:00:00.000"),
        ("1999-05-01T21:00:00-07:00", "1999-05-02T04:00:00.000"),
        ("1999-05-02T06:00:00+0200", "1999-05-02T04:00:00.000"),
        ("1999-05-02T04:00", "1999-05-02T04:00:00.000"),
        ("1998-12-31T23:59:60", "1999-01-01T00:00:00.000"),
        ("1998-12-31T23:59:60.5", "1999-01-01T00:00:00.500"),
    ],
)
def test_times_come_in_several_forms(tmp_path, text, iso):
    assert identify(CubeFile().card("DATE-OBS", text).write(tmp_path / "a.fits"), SURVEY).start_iso == iso


@pytest.mark.parametrize(
    ("utc", "offset", "night"),
    [
        ("1999-05-01T18:59:59.9", -7.0, "1999-04-30"),
        ("1999-05-01T19:00:00", -7.0, "1999-05-01"),
        ("1999-05-02T18:59:59", -7.0, "1999-05-01"),
        ("1999-05-02T00:00:00", -7.0, "1999-05-01"),
        ("1999-12-31T22:00:00", -10.0, "1999-12-31"),
        ("2000-01-01T21:59:00", -10.0, "1999-12-31"),
        ("1999-05-01T02:30:00", 9.5, "1999-05-01"),
        ("1999-05-01T02:29:00", 9.5, "1999-04-30"),
        ("1999-05-01T12:00:00", 0.0, "1999-05-01"),
        ("1999-05-01T11:59:59", 0.0, "1999-04-30"),
    ],
)
def test_a_night_runs_from_local_noon_to_local_noon(tmp_path, utc, offset, night):
    profile = edited("2mass", ("utc_offset_hours = -7.0", f"utc_offset_hours = {offset}"))
    assert identify(CubeFile().card("DATE-OBS", utc).write(tmp_path / "a.fits"), profile).night == night


def test_time_from_two_cards_or_as_mjd_and_the_next_rule_serves_where_one_fails(tmp_path):
    path = tmp_path / "a.fits"
    file = FrameFile()
    assert identify(file.write(path), KECK).start_iso == "2011-04-13T05:37:43.750"
    assert identify(file.write(path), KECK).night == "2011-04-12"
    assert identify(file.card("DATE-OBS", "2011-04-13T00:00:00").write(path), KECK).start_iso == (
        "2011-04-13T05:37:43.750"
    )
    # The form of the standard before 1998.
    assert identify(file.card("DATE-OBS", "13/04/99").write(path), KECK).night == "1999-04-12"
    rounded = file.card("MJD-OBS", 55664.25)
    for faulty in (
        rounded.card("UTC", ABSENT),
        rounded.card("UTC", "5 am"),
        rounded.card("DATE-OBS", "2011"),
    ):
        assert identify(faulty.write(path), KECK).start_iso == "2011-04-13T06:00:00.000"
    refused(file.card("UTC", "5 am").write(path), KECK, "DATE-OBS + UTC '2011-04-13 5 am' is not a date and time")
    refused(file.card("UTC", ABSENT).write(path), KECK, "no start time (DATE-OBS + UTC or MJD-OBS)")
    julian = file.card("UTC", ABSENT).card("MJD-OBS", 2455664.75)
    refused(julian.write(path), KECK, "MJD-OBS '2455664.75' is not an MJD")
    refused(julian.card("MJD-OBS", "soon").write(path), KECK, "MJD-OBS 'soon' is not an MJD")


def test_every_type_of_the_single_layout(tmp_path):
    sky, master = FrameFile(), FrameFile(data=np.ones(SHAPE, np.float32))
    cases = {
        "scan": sky,
        "dark": sky.card("SHRNAME", "closed").card("OBJECT", "Dark"),
        "twilight": sky.card("OBJECT", "TwiFlat east"),
        "supplied-dark": master.card("SHRNAME", "closed"),
        "supplied-flat": master.card("OBJECT", "domeflat"),
    }
    for obs_type, file in cases.items():
        one = identify(file.write(tmp_path / "a.fits"), KECK)
        assert (one.obs_type, one.band, one.n_frames, one.scan) == (obs_type, "Ks", 1, None)
        assert one.group == ("Ks + clear", "wide", "80", "1", "3", "16")


def test_a_map_without_cards_is_known_by_its_name_and_serves_all_bands(tmp_path):
    bare = FrameFile(data=np.zeros(SHAPE, np.float32), cards={})
    one = identify(bare.write(tmp_path / "BadPix_2012.fits"), KECK)
    assert (one.obs_type, one.band, one.night, one.start_mjd) == ("supplied-bad-pixels", None, None, None)
    refused(
        bare.write(tmp_path / "map.fits"),
        KECK,
        "matches no type: SHRNAME missing, BITPIX '-32', OBJECT missing",
    )
    odd = bare.write(tmp_path / "badpix.fits")
    fits.setval(odd, "FILTER", value="open")
    refused(odd, KECK, "unknown FILTER value 'open' (known: Ks + clear)")


def test_a_supplied_master_needs_no_time_but_a_scan_does(tmp_path):
    timeless = FrameFile().card("UTC", ABSENT).card("DATE-OBS", ABSENT)
    refused(timeless.write(tmp_path / "a.fits"), KECK, "no start time (DATE-OBS + UTC or MJD-OBS)")
    master = timeless.card("SHRNAME", "closed").write(tmp_path / "b.fits")
    fits.writeto(master, np.ones(SHAPE, np.float32), fits.getheader(master), overwrite=True)
    assert identify(master, KECK).night is None


def test_what_matches_no_type_or_two_is_refused_with_the_values(tmp_path):
    lamp = FrameFile().card("OBJECT", "domeflat").write(tmp_path / "a.fits")
    refused(lamp, KECK, "matches no type: SHRNAME 'open', BITPIX '32', OBJECT 'domeflat'")
    twice = edited("2mass", ('scan = [{ OBSTYPE = ["SCAN"] }]', 'scan = [{ OBSTYPE = ["SC*", "DARK"] }]'))
    refused(CubeFile().card("OBSTYPE", "DARK").write(tmp_path / "b.fits"), twice, "matches two types: dark, scan")
    bands = edited("2mass", ('H = ["H"]', 'H = ["H", "?"]'))
    refused(CubeFile().write(tmp_path / "c.fits"), bands, "FILTER 'J' matches two bands: J, H")


def test_patterns_with_wildcards_exclusions_and_several_cards(tmp_path):
    rule = 'dark = [{ OBSTYPE = ["D*", "!*flat*"], LAMP = ["!on"] }, { IMGTYP = ["zero"] }]'
    profile = edited("2mass", ('dark = [{ OBSTYPE = ["DARK"] }]', rule))
    plain = CubeFile().card("OBSTYPE", ABSENT)
    path = tmp_path / "a.fits"
    for cards, obs_type in (
        ({"OBSTYPE": "Dark 30s", "LAMP": "off"}, "dark"),
        ({"OBSTYPE": "Dark 30s", "LAMP": "ON "}, None),
        ({"OBSTYPE": "Dark 30s"}, None),  # what excludes still needs the card
        ({"OBSTYPE": "Domeflat", "LAMP": "off"}, None),
        ({"IMGTYP": "Zero"}, "dark"),
        ({"OBSTYPE": "SCAN", "LAMP": "off"}, "scan"),
    ):
        file = plain
        for name, value in cards.items():
            file = file.card(name, value)
        file.write(path)
        if obs_type:
            assert identify(path, profile).obs_type == obs_type
        else:
            with pytest.raises(RawFileError, match="matches no type"):
                identify(path, profile)


def test_values_with_brackets_match_literally_and_numbers_as_text(tmp_path):
    profile = edited(
        "2mass",
        ('H = ["H"]', 'H = ["[FeII] 1.64", "2", "T"]'),
    )
    path = tmp_path / "a.fits"
    for value in ("[FeII] 1.64", 2, 2.0, True):
        assert identify(CubeFile().card("FILTER", value).write(path), profile).band == "H"


def test_the_first_card_present_among_aliases_counts(tmp_path):
    profile = edited(
        "2mass",
        ('cards = ["FILTER"]', 'cards = ["FILTER", "FILT1"]'),
        ('temperature = ["DETTEMP"]', 'temperature = ["TEMP1", "DETTEMP"]'),
    )
    path = tmp_path / "a.fits"
    assert identify(CubeFile().card("FILTER", ABSENT).card("FILT1", "H").write(path), profile).band == "H"
    assert identify(CubeFile().card("FILT1", "H").write(path), profile).band == "J"
    refused(CubeFile().card("FILTER", ABSENT).write(path), profile, "no card FILTER or FILT1")
    assert identify(CubeFile().card("TEMP1", "warm").write(path), profile).temperature_k == 77.5
    assert identify(CubeFile().card("DETTEMP", ABSENT).write(path), profile).temperature_k is None


def test_cards_of_other_observatories_with_long_names(tmp_path):
    profile = edited("2mass", ("OBSTYPE", '"ESO DPR TYPE"'))
    path = CubeFile().card("OBSTYPE", ABSENT).card("HIERARCH ESO DPR TYPE", "DARK").write(tmp_path / "a.fits")
    assert identify(path, profile).obs_type == "dark"


@pytest.mark.parametrize("where", ["SCI", 1, "sci"])
def test_a_frame_in_an_extension_with_cards_in_both_headers(tmp_path, where):
    profile = edited("nirc2", ("extension = 0 ", f"extension = {where!r} "))
    file = FrameFile(extension="SCI").card("ITIME", 5)
    path = file.write(tmp_path / "a.fits")
    fits.setval(path, "ITIME", value=2.5, ext=1)
    fits.setval(path, "UTC", value="06:00:00", ext=1)
    one = identify(path, profile)
    assert (one.obs_type, one.group[2], one.start_iso) == ("scan", "2.5", "2011-04-13T06:00:00.000")
    refused(path, KECK, "no image in the primary HDU")
    missing = "no extension SCI" if isinstance(where, str) else "no extension number 1"
    with pytest.raises(RawFileError, match=f"(?i){missing}"):
        identify(FrameFile().write(tmp_path / "b.fits"), profile)


def test_control_characters_in_a_header_are_harmless(tmp_path):
    path = CubeFile().plain().card("OBSTYPE", "ABCDE").write(tmp_path / "a.fits")
    replaced(path, b"ABCDE", b"A\x1b[\x00\xff")
    refused(path, SURVEY, "unknown OBSTYPE 'A?[??'")
    odd = edited("2mass", ('scan_number = ["SCANNO"]', 'scan_number = ["NOTE"]'))
    refused(CubeFile().card("NOTE", "<b>x</b>").write(path), odd, "NOTE '<b>x</b>' is not a whole number")


def test_a_card_that_cannot_be_read_matters_only_if_it_is_needed(tmp_path):
    path = CubeFile().plain().card("OTHER", "value").write(tmp_path / "a.fits")
    replaced(path, b"OTHER   = 'value   '", b"OTHER   = 'value    ")
    assert identify(path, SURVEY).obs_type == "scan"
    replaced(path, b"FILTER  = 'J       '", b"FILTER  = 'J        ")
    refused(path, SURVEY, "card FILTER cannot be read")


def test_frames_of_another_shape_or_number_are_refused_naming_both(tmp_path):
    path = tmp_path / "a.fits"
    wide = levels(3, (8, 16))
    refused(CubeFile().cube("R1", wide).write(path), SURVEY, "frames are 8×16, the profile says 16×16")
    refused(CubeFile().cube("R2", levels(2)).write(path), SURVEY, "R1 has 3 frames, R2 2")
    refused(CubeFile().without("R2").write(path), SURVEY, "no extension R2")
    refused(CubeFile().without("R1", "R2").write(path), SURVEY, "no extension R1")
    refused(CubeFile().cube("R1", levels(1)[0, 0]).write(path), SURVEY, "R1 is no cube of frames but has 1 axes")
    refused(FrameFile(data=levels(1, (16, 8))[0]).write(path), KECK, "frames are 16×8, the profile says 16×16")
    many = "the frame is a cube of 2 frames, the profile says one frame per file"
    refused(FrameFile(data=levels(2)).write(path), KECK, many)
    two = CubeFile().hdus()
    two.append(fits.ImageHDU(levels(3), name="R2"))
    two.writeto(path, overwrite=True)
    refused(path, SURVEY, "two extensions are named R2")


def test_a_cube_without_frames_is_refused(tmp_path):
    nothing = np.zeros((0, *SHAPE), np.uint16)
    path = CubeFile(n=0).cube("R1", nothing).cube("R2", nothing).write(tmp_path / "a.fits")
    refused(path, SURVEY, "R1 has no frames")


def test_a_2d_image_in_a_cube_extension_is_one_frame(tmp_path):
    flat = CubeFile(n=1).cube("R1", levels(1)[0]).cube("R2", levels(1)[0])
    assert identify(flat.write(tmp_path / "a.fits"), SURVEY).n_frames == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<html><body>404 Not Found</body></html>", "not a FITS file"),
        (b"\x00" * 5000, "not a FITS file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a FITS file"),
        (b"SIMPLE  =                    T", "truncated: the file ends within a header"),
        (b"SIMPLE  =                    T".ljust(2880), "truncated: the file ends within a header"),
        (
            b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
            "not a valid FITS file: no card BITPIX",
        ),
    ],
)
def test_what_is_no_fits_file_is_told_plainly(tmp_path, content, reason):
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    refused(path, SURVEY, reason)
    if content:
        refused(gzipped(path), SURVEY, reason)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"BITPIX  =                   16", b"BITPIX  =                   17", "BITPIX is 17"),
        (
            b"BITPIX  =                   16",
            b"BITPIX  =                  1.6",
            "BITPIX '1.6' is not a whole number",
        ),
        (
            b"NAXIS3  =                    3",
            b"NAXIS3  =                   -3",
            "an axis has a negative length",
        ),
        (b"NAXIS   =                    3", b"NAXIS   =                 3000", "NAXIS is 3000"),
        (b"NAXIS   =                    3", b"NAXIS   =                    4", "no card NAXIS4"),
        (
            b"PCOUNT  =                    0",
            b"PCOUNT  =                   -1",
            "PCOUNT or GCOUNT is not a whole number",
        ),
    ],
)
def test_headers_that_contradict_themselves_are_refused(tmp_path, old, new, reason):
    path = replaced(CubeFile().plain().write(tmp_path / "a.fits"), old, new)
    refused(path, SURVEY, f"not a valid FITS file: {reason}")


def test_a_header_that_never_ends_is_given_up(tmp_path):
    path = tmp_path / "a.fits"
    card = b"SIMPLE  =                    T".ljust(2880)
    path.write_bytes(card + b" " * 2880 * 1200)
    refused(path, SURVEY, "not a valid FITS file: a header has no END card")


def test_an_axis_beyond_all_bounds_is_a_truncated_file_and_takes_no_memory(tmp_path):
    path = CubeFile().plain().write(tmp_path / "a.fits")
    replaced(path, b"NAXIS3  =                    3", b"NAXIS3  = 99999999999999999999")
    with pytest.raises(RawFileError, match=r"^[^:]*: truncated: extension R1 holds \d+ of \d+ bytes$"):
        identify(path, SURVEY)


def test_a_file_that_is_still_growing_is_truncated_until_it_is_whole(tmp_path):
    content = CubeFile().content(tmp_path)
    path = tmp_path / "a.fits"
    for length in (1000, 2880 + 500, 2880 * 2 + 100, len(content) - 2880):
        path.write_bytes(content[:length])
        with pytest.raises(RawFileError, match=r"truncated|no extension"):
            identify(path, SURVEY)
    path.write_bytes(content)
    assert identify(path, SURVEY).n_frames == 3


def test_of_gzip_no_more_is_unpacked_than_needed(tmp_path):
    path = gzipped(CubeFile(n=400).write(tmp_path / "a.fits"))
    whole = identify(path, SURVEY)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 4])
    assert identify(path, SURVEY).n_frames == whole.n_frames == 400
    path.write_bytes(content[:40])
    refused(path, SURVEY, "truncated: the compressed data end too early")
    path.write_bytes(content[:60] + bytes(40) + content[100:])
    with pytest.raises(RawFileError, match=r"damaged: the compressed data cannot be unpacked"):
        identify(path, SURVEY)


def test_a_unit_cut_before_the_one_that_counts_is_seen_in_gzip_too(tmp_path):
    profile = edited("nirc2", ("extension = 0 ", 'extension = "SCI" '))
    path = FrameFile(data=np.ones((64, 64))).write(tmp_path / "a.fits")
    path.write_bytes(path.read_bytes()[: 2880 * 3])
    for file in (path, gzipped(path)):
        refused(file, profile, "truncated: primary HDU holds 5760 of 32768 bytes")


def test_content_decides_not_the_name(tmp_path):
    packed = gzipped(CubeFile().write(tmp_path / "a.fits")).rename(tmp_path / "b.fits")
    assert identify(packed, SURVEY).obs_type == "scan"
    plain = CubeFile().write(tmp_path / "c.fits").rename(tmp_path / "c.fits.gz")
    assert identify(plain, SURVEY).obs_type == "scan"


def test_compressed_images_are_identified_by_their_own_axes(tmp_path):
    one = identify(CubeFile(n=4).packed().write(tmp_path / "a.fits.fz"), SURVEY)
    assert (one.obs_type, one.n_frames) == ("scan", 4)
    frame = fits.CompImageHDU(FrameFile().frame())
    for name, value in FrameFile().cards.items():
        frame.header[name] = value
    fits.HDUList([fits.PrimaryHDU(), frame]).writeto(tmp_path / "b.fits.fz")
    assert identify(tmp_path / "b.fits.fz", KECK).obs_type == "scan"


def test_what_is_no_file_is_refused(tmp_path):
    refused(tmp_path / "none.fits", SURVEY, "cannot be read: No such file or directory")
    refused(tmp_path, SURVEY, "not a regular file")
    pipe = tmp_path / "pipe.fits"
    os.mkfifo(pipe)
    refused(pipe, SURVEY, "not a regular file")


def test_identities_travel_to_other_processes(tmp_path):
    one = identify(CubeFile().write(tmp_path / "a.fits"), SURVEY)
    assert pickle.loads(pickle.dumps(one)) == one
    assert hash(one) == hash(identify(str(one.path), SURVEY))


def test_the_text_of_a_refusal_is_one_line(tmp_path):
    path = CubeFile().card("FILTER", "Z").write(tmp_path / "a.fits")
    with pytest.raises(RawFileError) as caught:
        identify(path, SURVEY)
    assert re.fullmatch(r".*a\.fits: unknown FILTER value 'Z' \(known: J, H, Ks, K\)", str(caught.value))
