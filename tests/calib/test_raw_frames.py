"""The frames of a raw file, and every way in which a file can be unfit."""

import gzip
import os
import pickle
from dataclasses import dataclass, field

import numpy as np
import pytest
from astropy.io import fits
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from raw_builder import ABSENT, SHAPE, CubeFile, FrameFile, edited, gzipped, levels, replaced

from calib.errors import RawFileError
from calib.profile import Profile
from calib.raw import RawFrames, files, identify, read_frames
from calib.raw.sums import ones_complement_sum

SURVEY = edited("2mass")
KECK = edited("nirc2")


def refused(path, profile, reason):
    with pytest.raises(RawFileError) as caught:
        read_frames(path, profile)
    assert caught.value.path == path
    assert caught.value.reason == reason


def any_type():
    """Return a profile that takes sky frames of any number type, and masks sentinels."""
    return edited(
        "nirc2",
        ('SHRNAME = ["open"], BITPIX = ["32"], OBJECT = ["!', 'SHRNAME = ["open"], OBJECT = ["!'),
        ("sentinels = []", "sentinels = [-99.0, -9.0e6, 9.0e6]"),
    )


def test_a_cube_file_comes_with_frames_times_and_positions(tmp_path):
    file = CubeFile(n=4)
    path = file.write(tmp_path / "a.fits")
    read = read_frames(path, SURVEY)
    assert list(read.raw) == ["R1", "R2"]
    for name, frames in read.raw.items():
        assert_array_equal(frames, file.frames(name))
        assert frames.dtype == np.uint16
        assert frames.dtype.isnative
        assert frames.flags.c_contiguous
    assert_array_equal(read.time_mjd, 51300.1666 + np.arange(4) * 1.5e-5)
    assert read.ra_deg == pytest.approx([150, 150.1, 150.2, 150.3])
    assert_array_equal(read.dec_deg, 2.5)
    assert read.content_hash == blake3(path.read_bytes()).hexdigest()
    assert read.notes == ()
    again = pickle.loads(pickle.dumps(read))
    assert_array_equal(again.raw["R2"], read.raw["R2"])


def test_a_large_file_is_hashed_as_it_lies_on_disk_while_its_frames_are_turned(tmp_path, monkeypatch):
    file = CubeFile(n=40)
    path = file.write(tmp_path / "a.fits")
    expected = read_frames(path, SURVEY)
    monkeypatch.setattr(files, "READ_BYTES", 1000)
    read = read_frames(path, SURVEY)
    assert read.content_hash == expected.content_hash == blake3(path.read_bytes()).hexdigest()
    assert_array_equal(read.raw["R2"], file.frames("R2"))


def test_fetching_a_file_beforehand_waits_for_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "gone.fits", ""):
        files.read_ahead(tmp_path / name)
    path = CubeFile().write(tmp_path / "a.fits")
    files.read_ahead(path)
    assert read_frames(path, SURVEY).notes == ()


def test_gzip_and_tile_compression_change_nothing_but_the_hash(tmp_path):
    file = CubeFile(n=4)
    plain = file.write(tmp_path / "a.fits")
    packed = file.packed().write(tmp_path / "b.fits.fz")
    double = gzipped(packed)
    expected = read_frames(plain, SURVEY)
    for path in (gzipped(plain), packed, double):
        read = read_frames(path, SURVEY)
        for name in ("R1", "R2"):
            assert_array_equal(read.raw[name], expected.raw[name])
            assert read.raw[name].dtype == np.uint16
        assert_array_equal(read.time_mjd, expected.time_mjd)
        assert read.notes == ()
        assert read.content_hash == blake3(path.read_bytes()).hexdigest() != expected.content_hash


def test_gzip_in_several_members_and_with_rubbish_behind(tmp_path):
    content = CubeFile().content(tmp_path)
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    assert read_frames(path, SURVEY).notes == ()
    path.write_bytes(path.read_bytes() + bytes(512))
    assert read_frames(path, SURVEY).notes == ()
    path.write_bytes(path.read_bytes() + b"rubbish")
    assert read_frames(path, SURVEY).notes == ("7 trailing bytes after the compressed data",)
    assert_array_equal(read_frames(path, SURVEY).raw["R1"], CubeFile().frames("R1"))


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_number_type_comes_as_it_is_in_native_order(tmp_path, dtype):
    data = np.random.default_rng(3).integers(0, 100, SHAPE).astype(dtype)
    if data.dtype.kind == "u":
        data[0, 0] = np.iinfo(dtype).max
    if data.dtype.kind == "i":
        data[0, 0] = np.iinfo(dtype).min
    path = FrameFile(data=data).write(tmp_path / "a.fits")
    frames = read_frames(path, any_type()).raw["CDS"]
    assert frames.dtype == np.dtype(dtype)
    assert frames.dtype.isnative
    assert frames.shape == (1, *SHAPE)
    assert_array_equal(frames[0], data)


def test_scaled_integers_become_floats_as_the_standard_says(tmp_path):
    data = levels(1, level=100)[0].astype(np.int16)
    path = FrameFile(data=data).write(tmp_path / "a.fits")
    for name, value in (("BSCALE", 0.5), ("BZERO", 100.0)):
        # Written into the header behind the back of the library, which would scale the data back.
        with fits.open(path, mode="update", do_not_scale_image_data=True) as opened:
            opened[0].header[name] = value
    frames = read_frames(path, any_type()).raw["CDS"]
    assert frames.dtype == np.float32
    assert_array_equal(frames[0], data * 0.5 + 100)
    assert_array_equal(frames[0], fits.getdata(path))
    with fits.open(path, mode="update", do_not_scale_image_data=True) as opened:
        opened[0].header["BSCALE"] = 0.0
    refused(path, any_type(), "BSCALE is 0 (primary HDU)")
    fits.setval(path, "BSCALE", value="much", do_not_scale_image_data=True)
    refused(path, any_type(), "BSCALE 'much' is not a number (primary HDU)")


def test_undefined_integers_become_nan_and_only_then_floats(tmp_path):
    data = levels(1, level=100)[0].astype(np.int32)
    data[2, 3] = -2147483648
    path = FrameFile(data=data).write(tmp_path / "a.fits")
    assert read_frames(path, any_type()).raw["CDS"].dtype == np.int32
    with fits.open(path, mode="update", do_not_scale_image_data=True) as opened:
        opened[0].header["BLANK"] = -2147483648
    frames = read_frames(path, any_type()).raw["CDS"][0]
    assert frames.dtype == np.float64
    assert np.isnan(frames[2, 3])
    assert np.isnan(frames).sum() == 1
    assert_array_equal(frames[3], data[3])
    with fits.open(path, mode="update", do_not_scale_image_data=True) as opened:
        opened[0].header["BLANK"] = -5
    assert read_frames(path, any_type()).raw["CDS"].dtype == np.int32


def test_sentinels_are_nan_in_floats_and_untouched_in_integers(tmp_path):
    values = levels(1, level=100)[0].astype(np.float32)
    values[0, :5] = -99, 9e6, -9e6, np.inf, np.nan
    frames = read_frames(FrameFile(data=values).write(tmp_path / "a.fits"), any_type()).raw["CDS"][0]
    assert np.isnan(frames[0, :5]).all()
    assert np.isnan(frames).sum() == 5
    assert_array_equal(frames[1:], values[1:])
    whole = np.where(np.isfinite(values), values, 0).astype(np.int32)
    frames = read_frames(FrameFile(data=whole).write(tmp_path / "b.fits"), any_type()).raw["CDS"][0]
    assert_array_equal(frames, whole)
    cube = CubeFile().cube("R1", np.where(levels(3) > 12000, np.float32(-99), np.float32(500)))
    r1 = read_frames(cube.write(tmp_path / "c.fits"), SURVEY).raw["R1"]
    assert_array_equal(np.isnan(r1), levels(3) > 12000)


def test_gzip_in_many_members_is_unpacked_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("calib.raw.files._PIECE_BYTES", 100)
    content = CubeFile().content(tmp_path)
    path = tmp_path / "a.fits.gz"
    path.write_bytes(b"".join(gzip.compress(content[k : k + 500]) for k in range(0, len(content), 500)))
    assert_array_equal(read_frames(path, SURVEY).raw["R2"], CubeFile().frames("R2"))


def test_a_file_that_unfolds_without_end_is_given_up(tmp_path, monkeypatch):
    path = gzipped(CubeFile().write(tmp_path / "a.fits"))
    monkeypatch.setattr("calib.raw.files._MAX_BYTES", 10_000)
    refused(path, SURVEY, "unpacks to more than 0 GiB")


def test_a_single_frame_carries_its_start_and_position(tmp_path):
    path = tmp_path / "a.fits"
    read = read_frames(FrameFile().write(path), KECK)
    assert read.time_mjd == pytest.approx([identify(path, KECK).start_mjd])
    assert (read.ra_deg[0], read.dec_deg[0]) == (150.434, 2.95)
    text = FrameFile().card("RA", "10:01:44.2").card("DEC", "-00:30:00")
    read = read_frames(text.write(path), KECK)
    assert read.ra_deg[0] == pytest.approx(15 * (10 + 1 / 60 + 44.2 / 3600))
    assert read.dec_deg[0] == pytest.approx(-0.5)
    unknown = FrameFile().card("RA", "somewhere").card("DEC", ABSENT)
    read = read_frames(unknown.write(path), KECK)
    assert np.isnan([read.ra_deg[0], read.dec_deg[0]]).all()


def test_a_frame_in_an_extension(tmp_path):
    profile = edited("nirc2", ("extension = 0 ", 'extension = "SCI" '))
    file = FrameFile(extension="SCI", checksum=True)
    read = read_frames(file.write(tmp_path / "a.fits"), profile)
    assert_array_equal(read.raw["CDS"][0], file.frame())
    assert read.raw["CDS"].dtype == np.int32


def test_a_supplied_map_has_no_time(tmp_path):
    path = FrameFile(data=np.eye(16, dtype=np.float32), cards={}).write(tmp_path / "badpix.fits")
    read = read_frames(path, KECK)
    assert np.isnan(read.time_mjd).all()
    assert_array_equal(read.raw["CDS"][0], np.eye(16))


def test_positions_are_optional_times_are_not(tmp_path):
    path = tmp_path / "a.fits"
    read = read_frames(CubeFile().column("RA", ABSENT).column("DEC", ABSENT).write(path), SURVEY)
    assert np.isnan(read.ra_deg).all()
    assert read.ra_deg.shape == read.dec_deg.shape == (3,)
    half = CubeFile().column("RA", np.array([150.0, np.inf, np.nan]))
    assert_array_equal(np.isnan(read_frames(half.write(path), SURVEY).ra_deg), [False, True, True])
    t = 51300.1666 + np.arange(3) * 1e-5
    for name, values, reason in (
        ("TIME", ABSENT, "table FRAMES has no column TIME"),
        ("TIME", np.array([51300.2, np.nan, np.inf]), "column TIME is not finite for 2 of 3 frames"),
        ("TIME", t + 2400000.5, "column TIME is not in MJD (2.4513e+06 to 2.4513e+06)"),
        ("TIME", np.array(["a", "b", "c"]), "column TIME does not hold one number per frame"),
        ("TIME", np.stack([t, t], axis=1), "column TIME does not hold one number per frame"),
        ("DEC", np.array(["a", "b", "c"]), "column DEC does not hold one number per frame"),
    ):
        refused(CubeFile().column(name, values).write(path), SURVEY, reason)
    refused(CubeFile().without("FRAMES").write(path), SURVEY, "no table FRAMES")
    rows = CubeFile().column("TIME", t[:2]).column("RA", ABSENT).column("DEC", ABSENT)
    refused(rows.write(path), SURVEY, "table FRAMES has 2 rows for 3 frames")
    image = CubeFile().without("FRAMES").hdus()
    image.append(fits.ImageHDU(np.zeros((3, 3)), name="FRAMES"))
    image.writeto(path, overwrite=True)
    refused(path, SURVEY, "FRAMES is not a table")


def test_whole_days_are_times_and_columns_have_no_case(tmp_path):
    file = CubeFile().column("TIME", ABSENT).column("time", np.array([51300, 51300, 51300]))
    read = read_frames(file.write(tmp_path / "a.fits"), SURVEY)
    assert_array_equal(read.time_mjd, 51300.0)
    assert read.time_mjd.dtype == np.float64


def test_odd_times_are_read_and_noted(tmp_path):
    path = tmp_path / "a.fits"
    t = 51300.1666 + np.array([0, 2, 1]) * 1e-5
    assert read_frames(CubeFile().column("TIME", t).write(path), SURVEY).notes == (
        "frames are not in the order of time",
    )
    late = CubeFile().column("TIME", 51300.6 + np.arange(3) * 1e-5)
    assert read_frames(late.write(path), SURVEY).notes == ()


def test_frames_half_a_day_from_the_start_in_the_header_are_refused(tmp_path):
    path = tmp_path / "a.fits"
    for days, words in ((10, "+10.00"), (-0.51, "-0.51")):
        CubeFile().column("TIME", 51300.1667 + days + np.arange(3) * 1e-5).write(path)
        refused(path, SURVEY, f"the first frame lies {words} d from the start in the header (column TIME)")


@pytest.mark.parametrize("pad", [b"x", bytes(1856), b"\xf7" * 4736, b"XTENS", b"END".ljust(80) * 40])
def test_trailing_bytes_are_read_through_and_noted(tmp_path, pad):
    path = CubeFile().write(tmp_path / "a.fits")
    path.write_bytes(path.read_bytes() + pad)
    for file in (path, gzipped(path)):
        read = read_frames(file, SURVEY)
        assert read.notes == (f"{len(pad)} trailing bytes after the last HDU",)
        assert_array_equal(read.raw["R2"], CubeFile().frames("R2"))
    assert identify(path, SURVEY).n_frames == 3


def test_padding_of_a_header_may_be_rubbish(tmp_path):
    path = FrameFile().write(tmp_path / "a.fits")
    content = bytearray(path.read_bytes())
    end = content.index(b"END" + b" " * 77)
    content[end + 80 : 2880] = np.random.default_rng(2).bytes(2880 - end - 80)
    path.write_bytes(bytes(content))
    assert_array_equal(read_frames(path, KECK).raw["CDS"][0], FrameFile().frame())


def test_a_last_padding_that_is_missing_is_tolerated_missing_data_are_not(tmp_path):
    path = FrameFile(checksum=True).write(tmp_path / "a.fits")
    content = path.read_bytes()
    data_end = 2880 + 16 * 16 * 4
    assert len(content) == 2 * 2880
    for file_end in (data_end, data_end + 7):
        path.write_bytes(content[:file_end])
        read = read_frames(path, KECK)
        assert read.notes == (f"{2 * 2880 - file_end} bytes of padding missing after the last HDU",)
        assert_array_equal(read.raw["CDS"][0], FrameFile().frame())
    path.write_bytes(content[: data_end - 1])
    refused(path, KECK, "truncated: primary HDU holds 1023 of 1024 bytes")
    path.write_bytes(content[:2880])
    refused(path, KECK, "truncated: primary HDU holds 0 of 1024 bytes")


def test_a_file_cut_anywhere_is_refused_or_was_not_needed(tmp_path):
    content = CubeFile().content(tmp_path)
    path = tmp_path / "a.fits"
    whole = read_frames(tmp_path / "content.fits", SURVEY)
    last_data = len(content) - 2880 + 3 * 24
    reasons = set()
    for length in (*range(0, len(content), 97), *range(2880, len(content), 2880)):
        path.write_bytes(content[:length])
        if length >= last_data:
            assert_array_equal(read_frames(path, SURVEY).time_mjd, whole.time_mjd)
            continue
        with pytest.raises(RawFileError) as caught:
            read_frames(path, SURVEY)
        reasons.add(caught.value.reason.split(":")[0])
    # Between two units nothing is cut, but something is missing.
    assert reasons == {"empty file", "truncated", "no extension R1", "no extension R2", "no table FRAMES"}


def test_gzip_that_is_cut_or_damaged_is_refused(tmp_path):
    path = gzipped(CubeFile().write(tmp_path / "a.fits"))
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    refused(path, SURVEY, "truncated: the compressed data end too early")
    path.write_bytes(content[:-4])
    refused(path, SURVEY, "truncated: the compressed data end too early")
    path.write_bytes(content[:-8] + b"\x00\x01\x02\x03" + content[-4:])
    with pytest.raises(RawFileError, match=r"damaged: the compressed data cannot be unpacked \(.*check"):
        read_frames(path, SURVEY)


@pytest.mark.parametrize("where", ["primary HDU", "extension R1", "extension R2", "extension FRAMES"])
def test_one_changed_byte_fails_the_checksum_of_its_unit(tmp_path, where):
    file = CubeFile()
    path = file.write(tmp_path / "a.fits")
    hdus = file.hdus()
    if where == "primary HDU":
        replaced(path, b"'SCAN    '", b"'SCAN   s'")
        reason = f"checksum does not match ({where})"
    else:
        with fits.open(path) as opened:
            place = opened[where.split()[1]].fileinfo()["datLoc"] + 5
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(bytes(content))
        reason = f"checksum of the data does not match ({where})"
    assert len(hdus) == 4
    refused(path, SURVEY, reason)


def test_a_changed_header_card_fails_although_the_data_are_whole(tmp_path):
    path = CubeFile().write(tmp_path / "a.fits")
    replaced(
        path,
        b"EXTNAME = 'R2      '           / extension name",
        b"EXTNAME = 'R2      '           / Extension name",
    )
    refused(path, SURVEY, "checksum does not match (extension R2)")


@pytest.mark.parametrize(("checksum", "datasum"), [("0" * 16, None), ("", ""), (None, None)])
def test_checksums_never_computed_are_not_held_against_a_file(tmp_path, checksum, datasum):
    file = CubeFile().plain().card("CHECKSUM", ABSENT if checksum is None else checksum)
    path = file.card("DATASUM", ABSENT if datasum is None else datasum).write(tmp_path / "a.fits")
    assert read_frames(path, SURVEY).notes == ()


@pytest.mark.parametrize("datasum", ["junk", "17", "-1", "1e400"])
def test_a_datasum_that_is_wrong_or_no_number_is_refused(tmp_path, datasum):
    path = CubeFile().plain().card("DATASUM", datasum).write(tmp_path / "a.fits")
    refused(path, SURVEY, "checksum of the data does not match (primary HDU)")


@given(st.binary(max_size=400), st.integers(0, 3))
def test_the_sum_is_that_of_the_standard(content, shift):
    content = content[shift:]
    words = np.frombuffer(content.ljust(-(-len(content) // 4) * 4, b"\0"), ">u4")
    expected = sum(map(int, words))
    while expected >> 32:
        expected = (expected & 0xFFFFFFFF) + (expected >> 32)
    assert ones_complement_sum(memoryview(content)) == expected
    if len(content) % 4 == 0 and content:
        theirs = fits.PrimaryHDU()._compute_checksum(np.frombuffer(content, np.uint8))
        assert int(theirs) % 0xFFFFFFFF == expected % 0xFFFFFFFF


def test_sums_of_long_data_carry_over_chunks(tmp_path):
    content = b"\xff" * (4 * (1 << 17) + 8) + b"\x00\x00\x00\x05"
    assert ones_complement_sum(memoryview(content)) == 5


def test_frames_without_a_usable_sample_are_refused(tmp_path):
    path = tmp_path / "a.fits"
    full = np.full((3, *SHAPE), 65535, np.uint16)
    both = CubeFile().cube("R1", full).cube("R2", full)
    refused(both.write(path), SURVEY, "every sample is saturated")
    read = read_frames(CubeFile().cube("R2", full).write(path), SURVEY)
    assert read.notes == ("every sample of R2 is saturated",)
    nothing = np.full(SHAPE, np.nan, np.float32)
    refused(FrameFile(data=nothing).write(path), any_type(), "every sample is NaN or masked")
    sentinels = np.full(SHAPE, -99, np.int16)
    refused(FrameFile(data=sentinels).write(path), any_type(), "every sample is NaN or masked")
    sentinels[0, 0] = 20000
    refused(FrameFile(data=sentinels).write(path), any_type(), "every sample is saturated")
    sentinels[0, 1] = 17999
    assert read_frames(FrameFile(data=sentinels).write(path), any_type()).notes == ()


def test_what_identify_refuses_is_not_read_either(tmp_path):
    path = tmp_path / "a.fits"
    refused(CubeFile().card("FILTER", "Z").write(path), SURVEY, "unknown FILTER value 'Z' (known: J, H, Ks, K)")
    refused(CubeFile().cube("R2", levels(2)).write(path), SURVEY, "R1 has 3 frames, R2 2")
    refused(CubeFile().without("R2").write(path), SURVEY, "no extension R2")
    path.write_bytes(b"")
    refused(path, SURVEY, "empty file")
    refused(tmp_path, SURVEY, "not a regular file")
    refused(tmp_path / "none", SURVEY, "cannot be read: No such file or directory")


def test_a_compressed_image_that_contradicts_its_header_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "a.fits.fz"
    for old, new in ((b"ZTILE1  =                   16", b"ZTILE1  =                    8"),):
        replaced(CubeFile().packed().plain().write(path), old, new)
        refused(path, SURVEY, "the compressed image contradicts its header (extension R1)")
    CubeFile().packed().plain().write(path)
    content = path.read_bytes()
    for axis in (b"ZNAXIS3 ", b"ZTILE3  "):
        at = content.index(axis)
        content = content[:at] + axis + b"=           9999999999" + content[at + 30 :]
    path.write_bytes(content)
    with pytest.raises(RawFileError, match=r"R1 has 9999999999 frames, R2 3"):
        read_frames(path, SURVEY)


@dataclass(frozen=True)
class Sound:
    """A sound file; its content is kept out of the reports on examples, which grow too long by it."""

    content: bytes = field(repr=False)
    profile: Profile = field(repr=False)
    frames: RawFrames = field(repr=False)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    paths = {
        "cube": (CubeFile(n=2).write(folder / "cube.fits"), SURVEY),
        "frame": (FrameFile(checksum=True).write(folder / "frame.fits"), KECK),
        "cube.fz": (CubeFile(n=2).packed().write(folder / "cube.fits.fz"), SURVEY),
    }
    for kind in ("cube", "frame"):
        paths[f"{kind}.gz"] = (gzipped(paths[kind][0]), paths[kind][1])
    files = {kind: Sound(path.read_bytes(), p, read_frames(path, p)) for kind, (path, p) in paths.items()}
    return lambda kind: files[kind]


def read_or_reason(read, path, profile):
    """Return what was read, or why nothing was; any other exception or warning fails the test."""
    try:
        return read(path, profile)
    except RawFileError as error:
        return error.reason


KINDS = ("cube", "frame", "cube.gz", "frame.gz", "cube.fz")
SPOILING = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PLACES = st.integers(0, 2**16)


@pytest.mark.parametrize("kind", KINDS)
@SPOILING
@given(place=PLACES, change=st.integers(1, 255))
def test_one_wrong_byte_is_refused_or_changes_no_frame(sound, tmp_path, kind, place, change):
    whole = sound(kind)
    spoiled = bytearray(whole.content)
    spoiled[place % len(spoiled)] ^= change
    path = tmp_path / "a.fits"
    path.write_bytes(bytes(spoiled))
    read = read_or_reason(read_frames, path, whole.profile)
    if isinstance(read, str):
        assert read
        assert read.isprintable()
        return
    assert not isinstance(read_or_reason(identify, path, whole.profile), str)
    for name, frames in whole.frames.raw.items():
        assert_array_equal(read.raw[name], frames)
    assert_array_equal(read.time_mjd, whole.frames.time_mjd)


@pytest.mark.parametrize("kind", KINDS)
@SPOILING
@given(
    # Headers are the vulnerable part: without checksums nothing stands between them and the reader.
    within=st.sampled_from([2880, 3 * 2880, 2**16]),
    changes=st.lists(st.tuples(PLACES, st.sampled_from(b" 0123456789'TF=-.ZN\x00\xff")), max_size=6),
    cut=st.none() | PLACES,
)
def test_whatever_happens_to_a_file_one_error_tells_it(sound, tmp_path, kind, within, changes, cut):
    content = sound(kind).content
    spoiled = bytearray(content.replace(b"CHECKSUM", b"HISTORY ").replace(b"DATASUM ", b"HISTORY "))
    for place, byte in changes:
        spoiled[place % min(within, len(content))] = byte
    path = tmp_path / "a.fits"
    path.write_bytes(bytes(spoiled[: cut and cut % len(content)]))
    for read in (identify, read_frames):
        outcome = read_or_reason(read, path, sound(kind).profile)
        assert not isinstance(outcome, str) or (outcome and outcome.isprintable())


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=6000))
def test_noise_is_no_fits_file(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "noise.fits"
    path.write_bytes(content)
    for read in (identify, read_frames):
        with pytest.raises(RawFileError, match=r"not a FITS file|empty file|compressed|truncated"):
            read(path, KECK)


@pytest.mark.parametrize("card", ["BSCALE", "BZERO"])
def test_a_scaling_of_more_digits_than_a_machine_word_is_read_or_refused(tmp_path, card):
    path = CubeFile(n=2).plain().write(tmp_path / "a.fits")
    content = path.read_bytes()
    at = content.index(card.encode() + b" " * (8 - len(card)) + b"=")
    path.write_bytes(content[:at] + f"{card:8}= 99999999999999999999".ljust(80).encode() + content[at + 80 :])
    assert read_or_reason(read_frames, path, SURVEY)


@pytest.mark.parametrize("claimed", [2**31, 1000, -1])
@pytest.mark.parametrize("builder", [CubeFile().plain(), CubeFile().packed().plain()], ids=["table", "packed cube"])
def test_a_table_that_claims_more_columns_than_there_may_be_is_refused_unopened(tmp_path, builder, claimed):
    path = builder.write(tmp_path / "scan.fits")
    content = path.read_bytes()
    at = content.index(b"TFIELDS =")
    path.write_bytes(content[: at + 10] + str(claimed).rjust(20).encode() + content[at + 30 :])
    with pytest.raises(RawFileError, match=f"TFIELDS is {claimed}"):
        read_frames(path, edited("2mass"))
