"""Products: where they lie, what is in them, and that anybody can verify them."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from blake3 import blake3
from small_camera import Night, rows

from calib.archive.integrity import is_as_recorded
from calib.archive.products import (
    Image,
    ProductStream,
    checks_table,
    inputs_table,
    primary_cards,
    read_product,
    set_verdict,
    write_product,
)
from calib.checks import check_table
from calib.errors import ArchiveError
from calib.flags import FLAGS, flag

NIGHTLY = ("dark-R1", "dark-R2-R1", "responsivity", "canonical")
PER_SCAN = ("sky-offsets-R1", "sky-offsets-R2-R1", "frames-R1", "frames-R2-R1")


def products(night: Night) -> list[str]:
    return sorted(p.relative_to(night.root).as_posix() for p in night.root.rglob("*.fits"))


def test_people_find_products_without_the_database(four_nights: Night) -> None:
    wanted = []
    for band in ("J", "H"):
        wanted += [f"references/{band}/first-light/{n}.fits" for n in ("dark-R1", "dark-R2-R1", "responsivity")]
        for k in range(4):
            folder = f"nights/{four_nights.date(k)}/{band}"
            wanted += [f"{folder}/{name}.fits" for name in NIGHTLY]
            if k in (2, 3):
                wanted += [f"{folder}/scans/001/{name}.fits" for name in PER_SCAN]
    assert products(four_nights) == sorted(wanted)
    assert [r["path"] for r in rows(four_nights.root, "products")] == sorted(wanted)


def test_every_unit_of_every_product_has_valid_checksums(four_nights: Night) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in products(four_nights):
            with fits.open(four_nights.root / path, checksum=True) as hdus:
                hdus.verify("exception")
                for hdu in hdus:
                    assert {"CHECKSUM", "DATASUM"} <= set(hdu.header), (path, hdu.name)
                    assert hdu.data is None or len(hdu.data)


UNITS = {
    "dark": {"SCI": "DN", "ERR": "DN", "DQ": None, "NOISE": "DN", "COUNT": None},
    "responsivity": {
        "SCI": None,
        "ERR": None,
        "DQ": None,
        "INTERCEPT": "DN",
        "INTERR": "DN",
        "CHI2": None,
        "CURV": "DN-1",
        "COUNT": None,
    },
    "canonical": {"SCI": None, "ERR": None, "DQ": None},
    "sky-offsets": {"SCI": "DN", "ERR": "DN", "DQ": None, "HALF1": "DN", "HALF2": "DN"},
    "frames": {"SCI": "DN", "ERR": "DN", "DQ": None},
    "reference-dark": {"SCI": "DN", "ERR": "DN", "DQ": None, "NOISE": "DN"},
    "reference-responsivity": {"SCI": None, "ERR": None, "DQ": None},
}
TABLES = {
    "dark": ["FRAMES", "CHECKS", "INPUTS"],
    "responsivity": ["FRAMES", "CHECKS", "INPUTS"],
    "canonical": ["INPUTS"],
    "sky-offsets": ["BLOCKS", "FRAMES", "CHECKS", "INPUTS"],
    "frames": ["FRAMES", "INPUTS"],
    "reference-dark": ["INPUTS"],
    "reference-responsivity": ["INPUTS"],
}


@pytest.mark.parametrize("kind", UNITS)
def test_extensions_and_units(kind: str, four_nights: Night) -> None:
    found = rows(four_nights.root, "products", kind=kind)
    assert found
    for row in found:
        with fits.open(four_nights.root / row["path"]) as hdus:
            assert hdus[0].header["PRODUCT"] == kind
            images = {h.name: h for h in hdus if isinstance(h, fits.ImageHDU)}
            assert {n: h.header.get("BUNIT") for n, h in images.items()} == UNITS[kind]
            assert [h.name for h in hdus if isinstance(h, fits.BinTableHDU)] == TABLES[kind]
            shape = {"sky-offsets": (2, 64, 64), "frames": (90, 64, 64)}.get(kind, (64, 64))
            assert {h.data.shape for h in images.values()} == {shape}
            bits = {v: images["DQ"].header[v] for v in images["DQ"].header if v.startswith("FLAG")}
            assert bits == {f"FLAG{f.bit}": f.name for f in FLAGS}


def test_provenance(four_nights: Night) -> None:
    """Inputs by content hash, the profile's hash, the code's version, parameters and the verdict."""
    raw = {r["path"]: r for r in rows(four_nights.root, "files")}
    recorded = {r["path"]: r for r in rows(four_nights.root, "products")}
    for path, row in recorded.items():
        with fits.open(four_nights.root / path) as hdus:
            header, inputs = hdus[0].header, hdus["INPUTS"].data
            assert header["PRODKEY"] == row["key"]
            assert header["PROFHASH"] == row["profile_hash"]
            assert header["PROFILE"] == "2mass"
            assert header["SOFTWARE"].startswith("vesper ")
            assert header.get("NIGHT") == row["night"]
            assert header["FILTER"] == row["band"]
            assert len(inputs)
            for entry in inputs:
                if entry["ROLE"] == "raw":
                    same = [p for p in raw if raw[p]["night"] == row["night"] and p.endswith("/" + entry["NAME"])]
                    assert [raw[p]["content_hash"] for p in same] == [entry["HASH"]]
                    assert blake3(Path(same[0]).read_bytes()).hexdigest() == entry["HASH"]
                else:
                    assert recorded[entry["NAME"]]["key"] == entry["HASH"]
    dark = fits.getheader(four_nights.root / "nights" / four_nights.date(0) / "J" / "dark-R1.fits")
    assert (dark["READ"], dark["NFRAMES"], dark["CLIPSIG"]) == ("R1", 24, 5.0)


@pytest.mark.parametrize(("kind", "subject", "table"), [("dark", "dark", "darks"), ("responsivity", "flat", "flats")])
def test_the_verdict_stands_in_the_product_as_in_the_table(
    kind: str, subject: str, table: str, bad_first_night: Night
) -> None:
    judged = {(r["night"], r["band"], r.get("read")): r for r in rows(bad_first_night.root, table)}
    for product in rows(bad_first_night.root, "products", kind=kind):
        row = judged[product["night"], product["band"], product["read"]]
        with fits.open(bad_first_night.root / product["path"]) as hdus:
            assert hdus[0].header["STATUS"] == row["status"]
            assert hdus[0].header["CAUSE"] == row["cause"].replace("χ²", "chi2")
            checks = {c["CHECK"]: c for c in hdus["CHECKS"].data}
            assert list(checks) == list(check_table(subject))
            for name, check in checks.items():
                value = row["n_frames"] if name == "frames" else row[name]
                assert check["VALUE"] == pytest.approx(value)
                passed = value >= check["LIMIT"] if check["BOUND"] == "min" else value <= check["LIMIT"]
                assert check["PASSED"] == passed
            assert row["status"] == ("accepted" if all(c["PASSED"] for c in checks.values()) else "rejected")


def test_a_canonical_names_its_members(four_nights: Night) -> None:
    for flat in rows(four_nights.root, "flats", band="J"):
        header = fits.getheader(four_nights.root / "nights" / flat["night"] / "J" / "canonical.fits")
        members = [header[f"NIGHT{k:03d}"] for k in range(1, header["NMEMBERS"] + 1)]
        assert members == flat["members"]


def test_final_frames_keep_the_sky_level_and_say_whose_offset_they_got(four_nights: Night) -> None:
    folder = four_nights.root / "nights" / four_nights.date(2) / "J" / "scans" / "001"
    with fits.open(folder / "frames-R2-R1.fits") as frames, fits.open(folder / "sky-offsets-R2-R1.fits") as sky:
        table = frames["FRAMES"].data
        assert list(table["FRAME"]) == list(range(90))
        assert list(table["BLOCK"]) == [0] * 45 + [1] * 45
        assert list(table["USED"]) == list(table["BLOCK"])
        assert not table["SUBST"].any()
        assert [(b["FIRST"], b["LAST"]) for b in sky["BLOCKS"].data] == [(0, 44), (45, 89)]
        unusable = np.bitwise_or.reduce([f.value for f in FLAGS if f.bit < 8])
        good = (frames["DQ"].data & unusable) == 0
        level = [np.median(f[g]) for f, g in zip(frames["SCI"].data, good, strict=True)]
        np.testing.assert_allclose(level, table["LEVEL"], atol=0.05)
        assert np.isfinite(frames["SCI"].data[good]).all()
        assert (frames["ERR"].data[good] > 0).all()


# Writing ---------------------------------------------------------------------------------------------------------


def primary(**changes: object) -> fits.Header:
    defaults = {"band": "J", "key": "k" * 64, "profile_name": "small", "profile_hash": "h" * 64, "night": "1999-05-01"}
    return primary_cards("dark", **{**defaults, "status": "pending", **changes})  # type: ignore[arg-type]


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    image = {"SCI": Image(np.arange(12.0, dtype=np.float32).reshape(3, 4), "DN")}
    files = [write_product(tmp_path, f"{k}/a.fits", primary(), image, [inputs_table([])]) for k in range(2)]
    assert files[0].content_hash == files[1].content_hash
    assert is_as_recorded(tmp_path / "1" / "a.fits", files[0].content_hash)
    assert files[0].size == (tmp_path / "0" / "a.fits").stat().st_size


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = {
        "SCI": Image(rng.normal(size=(5, 7)).astype(np.float32), "DN"),
        "DQ": Image(rng.integers(0, 500, (5, 7)).astype(np.int16), "", "flags"),
    }
    images["SCI"].data[0, 0] = np.nan
    write_product(tmp_path, "a.fits", primary(), images)
    for name, array in read_product(tmp_path, "a.fits", images).items():
        np.testing.assert_array_equal(array, images[name].data)
        assert array.dtype == images[name].data.dtype


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.parametrize("pieces", [[5], [1, 1, 3], [2, 3], [4, 1]], ids=str)
def test_arrays_of_any_size_are_written_piece_by_piece_with_valid_sums(
    dtype: str, pieces: list[int], tmp_path: Path
) -> None:
    """Three by three pixels: a frame of bytes ends in the middle of a word of the checksum."""
    cube = np.random.default_rng(2).integers(0, 250, (5, 3, 3)).astype(dtype)
    plan = {"SCI": (fits.Header(), cube.dtype, cube.shape)}
    with ProductStream(tmp_path, "a.fits", primary(), plan) as stream:
        for part in np.split(cube, np.cumsum(pieces)[:-1]):
            stream.write("SCI", part)
        stream.finish([])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
            np.testing.assert_array_equal(hdus["SCI"].data, cube)


def test_a_product_that_was_not_filled_is_not_finished(tmp_path: Path) -> None:
    plan = {"SCI": (fits.Header(), np.dtype(np.float32), (4, 2, 2))}
    stream = ProductStream(tmp_path, "a.fits", primary(), plan)
    stream.write("SCI", np.zeros((2, 2, 2), np.float32))
    with pytest.raises(ValueError, match="SCI has 32 of 64 bytes"):
        stream.finish([])
    with pytest.raises(ValueError, match="SCI takes 64 bytes, not more"):
        stream.write("SCI", np.zeros((3, 2, 2), np.float32))
    stream.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_text_that_fits_cannot_hold_is_written_plainly(tmp_path: Path) -> None:
    cause = "χ² ≥ 3 − “quoted” \n" + "very long " * 20
    write_product(tmp_path, "a.fits", primary(cause=cause), {})
    header = fits.getheader(tmp_path / "a.fits")
    assert header["CAUSE"].startswith("chi2 >= 3 - ?quoted? ?very long very long")
    assert header["CAUSE"].count("very long") == 20


def test_a_product_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    write_product(tmp_path, "a.fits", primary(), {})
    before = (tmp_path / "a.fits").read_bytes()
    plan = {"SCI": (fits.Header(), np.dtype(np.float32), (4, 2, 2))}

    def begin_and_fail() -> None:
        with ProductStream(tmp_path, "a.fits", primary(), plan) as stream:
            stream.write("SCI", np.zeros((2, 2, 2), np.float32))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        begin_and_fail()
    assert (tmp_path / "a.fits").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.fits"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(ArchiveError, match="cannot be written: Permission denied; make room or check permissions"):
        write_product(tmp_path, "locked/a.fits", primary(), {})


def test_a_file_in_the_place_of_a_folder_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "nights").write_text("in the way")
    with pytest.raises(ArchiveError, match=r"nights/x/a\.fits cannot be written: .*; make room or check permissions"):
        write_product(tmp_path, "nights/x/a.fits", primary(), {})


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "no extension", "no image"])
def test_a_damaged_product_is_one_error_with_the_remedy(harm: str, tmp_path: Path) -> None:
    image = {"SCI": Image(np.zeros((64, 64), np.float32), "DN")}
    write_product(tmp_path, "a.fits", primary(), image)
    path, names = tmp_path / "a.fits", ["SCI"]
    if harm == "missing":
        path.unlink()
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:6000])
    elif harm == "no image":
        path.write_bytes(path.read_bytes().replace(b"'IMAGE   '", b"'IMAGF   '"))
    else:
        names = ["ERR"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ArchiveError, match=r"cannot be read .*`calib run` makes it anew"):
            read_product(tmp_path, "a.fits", names)


def test_writing_a_verdict_leaves_the_images_and_no_trace_of_the_last_one(settled: Night) -> None:
    path = f"nights/{settled.date(0)}/J/responsivity.fits"
    before = (settled.root / path).read_bytes()
    recorded = next(r["content_hash"] for r in rows(settled.root, "products") if r["path"] == path)
    images = read_product(settled.root, path, ("SCI", "ERR", "DQ"))
    with fits.open(settled.root / path) as hdus:
        checks = hdus["CHECKS"].data.copy()
    set_verdict(settled.root, path, "rejected", "cloud gradient " * 20, ())
    assert fits.getheader(settled.root / path)["CAUSE"] == ("cloud gradient " * 20).rstrip()
    for name, image in read_product(settled.root, path, images).items():
        np.testing.assert_array_equal(image, images[name])
    from calib.checks import CheckResult

    table = check_table("flat")
    results = tuple(CheckResult(table[c["CHECK"]], c["VALUE"], c["LIMIT"]) for c in checks)
    file = set_verdict(settled.root, path, "accepted", "", results)
    assert (settled.root / path).read_bytes() == before
    assert file.content_hash == recorded
    assert is_as_recorded(settled.root / path, recorded)


def test_a_disk_that_is_full_at_the_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("calib.archive.fits_stream._allocate", full)
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with pytest.raises(ArchiveError, match=r"a\.fits cannot be written: No space left on device"):
        ProductStream(tmp_path, "a.fits", primary(), {"SCI": ((), np.dtype("f4"), (2, 2))})
    assert list(tmp_path.iterdir()) == []
    assert (len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0) == before


def test_the_recorded_hash_has_the_same_parts_however_a_product_was_written(tmp_path: Path) -> None:
    images = {"SCI": Image(np.ones((2, 3, 4), np.float32), "DN"), "DQ": Image(np.zeros((3, 4), np.int16), "", "flags")}
    tables = [checks_table(()), inputs_table([])]
    long = ("cloud gradient " * 200).rstrip()
    for cause in ("", long):
        for was in ("", long):
            write_product(tmp_path, "later.fits", primary(status="pending", cause=was), images, tables)
            later = set_verdict(tmp_path, "later.fits", "rejected", cause, ())
            once = write_product(tmp_path, "once.fits", primary(status="rejected", cause=cause), images, tables)
            assert later.content_hash == once.content_hash
            assert (tmp_path / "later.fits").read_bytes() == (tmp_path / "once.fits").read_bytes()


def test_flags_of_saturation_are_on_the_samples_concerned(four_nights: Night) -> None:
    for path in four_nights.root.rglob("frames-*.fits"):
        with fits.open(path) as hdus:
            missing = ~np.isfinite(hdus["SCI"].data)
            told = (hdus["DQ"].data & (flag("SATUR") | flag("NODATA"))) > 0
            assert np.array_equal(missing, told & missing)


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "no checks"])
def test_a_verdict_on_a_damaged_product_is_one_error_and_leaves_nothing_behind(harm: str, tmp_path: Path) -> None:
    image = {"SCI": Image(np.zeros((64, 64), np.float32), "DN")}
    path = tmp_path / "a.fits"
    write_product(tmp_path, "a.fits", primary(), image)
    if harm == "missing":
        path.unlink()
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(ArchiveError):
        set_verdict(tmp_path, "a.fits", "accepted", "", ())
    assert [p.name for p in tmp_path.iterdir()] == ([] if harm == "missing" else ["a.fits"])


def test_a_verdict_is_written_without_believing_the_images(settled: Night, tmp_path: Path) -> None:
    """The sums of the images stay what they were, so that damage done before is still found afterwards."""
    path = f"nights/{settled.date(0)}/J/responsivity.fits"
    (tmp_path / path).parent.mkdir(parents=True)
    content = bytearray((settled.root / path).read_bytes())
    with fits.open(settled.root / path) as hdus:
        content[hdus["SCI"].fileinfo()["datLoc"] + 100] ^= 1
    (tmp_path / path).write_bytes(content)
    set_verdict(tmp_path, path, "rejected", "cloud gradient", ())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with fits.open(tmp_path / path, checksum=True) as hdus:
            assert [h.header["DATASUM"] is not None for h in hdus]
            assert hdus[0].header["STATUS"] == "rejected"
            assert hdus["SCI"].data is not None
    assert {str(w.message).split("'")[1] for w in seen if "failed for HDU" in str(w.message)} == {"SCI"}
