"""What is recorded of a product, and that nothing can be changed in it unnoticed."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from astropy.io import fits
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128

from calib.archive.fits_stream import LARGEST_SMALL_PLANE as LARGEST
from calib.archive.fits_stream import Column, ImageStream, Table
from calib.archive.integrity import Part, is_as_recorded, recorded_hash
from calib.scan_pieces import PIECE_SAMPLES

LARGEST_SMALL_PLANE = "calib.archive.fits_stream.LARGEST_SMALL_PLANE"
SHAPES = {"SCI": (np.dtype("f4"), (3, 20, 40)), "DQ": (np.dtype("u1"), (3, 20, 40))}


def written(path: Path, pieces: int) -> str:
    """Write a file, its images side by side in so many pieces, and return what is to be recorded."""
    rng = np.random.default_rng(3)
    values = {name: (100 * rng.random(shape)).astype(dtype) for name, (dtype, shape) in SHAPES.items()}
    stream = ImageStream(path, [], {name: ((), dtype, shape) for name, (dtype, shape) in SHAPES.items()})
    cut = {name: np.array_split(v, pieces) for name, v in values.items()}
    for k in range(pieces):
        for name, parts in cut.items():
            stream.write(name, parts[k])
    return stream.finish([Table("FRAMES", (Column("LEVEL", "D", [1.0, 2.0]),))])


@pytest.fixture
def large_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LARGEST_SMALL_PLANE, 0)


def parts_of(path: Path, *, small_planes: bool) -> list[bytes]:
    """Return the bytes of headers, planes, what fills their last block, and tables."""
    content, parts, end = path.read_bytes(), [], 0
    with fits.open(path) as hdus:
        for hdu in hdus[:-1]:
            where = hdu.fileinfo()
            start, planes = where["datLoc"], [] if hdu.data is None else [plane.tobytes() for plane in hdu.data]
            parts += [content[end:start], *([b"".join(planes)] if small_planes else planes)]
            end = start + where["datSpan"]
            parts.append(content[start + sum(len(plane) for plane in planes) : end])
    return [part for part in (*parts, content[end:]) if part]


def hashed(parts: list[bytes]) -> str:
    return xxh3_128(b"".join(xxh3_128(part).digest() for part in parts)).hexdigest()


@pytest.mark.parametrize(
    ("largest", "lengths"),
    [(800, "2*2880+9600+1920+2880+2400+480+5760"), (799, "2*2880+3*3200+1920+2880+3*800+480+5760")],
    ids=["small planes are one part", "each large plane is a part"],
)
def test_parts_are_headers_planes_and_tables(
    largest: int, lengths: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(LARGEST_SMALL_PLANE, largest)
    recorded = written(tmp_path / "a.fits", 3)
    parts = parts_of(tmp_path / "a.fits", small_planes=largest == 800)
    assert b"".join(parts) == (tmp_path / "a.fits").read_bytes()
    assert recorded == f"xxh3:{lengths}:{hashed(parts)}"
    assert is_as_recorded(tmp_path / "a.fits", recorded)


@pytest.mark.parametrize("largest", [0, 800])
def test_it_does_not_depend_on_the_pieces(largest: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(LARGEST_SMALL_PLANE, largest)
    assert len({written(tmp_path / f"{n}.fits", n) for n in (1, 2, 3)}) == 1


# Planes of 15 bytes: most stretches do not begin with a word of the checksum. Stretches of small planes come one plane
# after the other.
@settings(max_examples=60, deadline=None)
@given(
    small=st.booleans(),
    shape=st.sampled_from([(5, 3, 5), (3, 4, 8), (2, 1, 1)]),
    together=st.integers(1, 5),
    cuts=st.lists(st.integers(0, 32), max_size=4),
    seed=st.integers(0, 99),
)
def test_planes_written_stretch_by_stretch_make_the_same_file(
    small: bool,
    shape: tuple[int, int, int],
    together: int,
    cuts: list[int],
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("stretches")
    n, width = shape[0], shape[1] * shape[2]
    largest = width if small else width - 1
    images = {name: rng.integers(0, 250, shape).astype(name) for name in ("u1", "i2", "f4", "f8")}
    plan = {name: ((), image.dtype, image.shape) for name, image in images.items()}
    recorded = []
    for name, edges in (("whole", [0, width]), ("cut", sorted({0, width, *(c for c in cuts if c < width)}))):
        step = 1 if small and name == "cut" else together
        with mock.patch(LARGEST_SMALL_PLANE, largest), ImageStream(folder / name, [], plan) as stream:
            for first in range(0, n, step):
                for a, b in itertools.pairwise(edges):
                    for kind, image in images.items():
                        stretch = image.reshape(n, width)[first : first + step, a:b]
                        # As they stand in a file already, or not.
                        stored = np.ascontiguousarray(stretch, ">f4") if kind == "f4" and seed % 2 else None
                        total = None if stored is None else int(stored.view(">u4").sum(dtype=np.uint64))
                        stream.write(kind, stretch if stored is None else stored, total, at=(first, a))
            recorded.append(stream.finish([]))
    assert recorded[0] == recorded[1]
    assert (folder / "whole").read_bytes() == (folder / "cut").read_bytes()
    assert is_as_recorded(folder / "cut", recorded[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(folder / "cut", checksum=True) as hdus:
            for name, image in images.items():
                np.testing.assert_array_equal(hdus[name].data, image)


@pytest.mark.parametrize(
    ("at", "size", "words"),
    [((0, 2), 2, "does not follow"), ((1, 0), 2, "does not follow"), ((0, 6), 3, "not more"), ((2, 0), 1, "not more")],
)
@pytest.mark.usefixtures("large_planes")
def test_a_stretch_must_fit_and_follow_what_is_there(
    at: tuple[int, int], size: int, words: str, tmp_path: Path
) -> None:
    with ImageStream(tmp_path / "a.fits", [], {"SCI": ((), np.dtype("f4"), (2, 2, 4))}) as stream:
        stream.write("SCI", np.ones((1, 6), np.float32), at=(0, 0))
        stream.write("SCI", np.ones((1, 1), np.float32), at=(1, 0))
        with pytest.raises(ValueError, match=words):
            stream.write("SCI", np.ones((1, size), np.float32), at=at)
        with pytest.raises(ValueError, match="SCI has 28 of 64 bytes"):
            stream.finish([])


@pytest.mark.parametrize(("at", "shape"), [((1, 0), (1, 8)), ((0, 0), (2, 3)), ((0, 3), (1, 5))])
def test_small_planes_come_in_order(at: tuple[int, int], shape: tuple[int, int], tmp_path: Path) -> None:
    with ImageStream(tmp_path / "a.fits", [], {"SCI": ((), np.dtype("f4"), (2, 2, 4))}) as stream:
        with pytest.raises(ValueError, match=r"SCI: pixel . of plane . does not follow"):
            stream.write("SCI", np.ones(shape, np.float32), at=at)
        stream.write("SCI", np.ones((2, 8), np.float32), at=(0, 0))
        stream.finish([])


def test_what_a_scan_hands_over_in_stretches_is_no_small_plane() -> None:
    assert 2 * LARGEST <= PIECE_SAMPLES


def test_archives_of_before_have_images_in_one_part_and_each_length_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    written(path, 1)
    content = path.read_bytes()
    edges = np.cumsum([0, 2880, 2880, 11_520, 2880, 2880, 5760])
    parts = [content[a:b] for a, b in itertools.pairwise(edges)]
    assert edges[-1] == len(content)
    recorded = f"xxh3:{'+'.join(str(len(part)) for part in parts)}:{hashed(parts)}"
    assert is_as_recorded(path, recorded)
    path.write_bytes(content[:-1] + b"\1")
    assert not is_as_recorded(path, recorded)


def test_no_byte_changes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    recorded, content = written(path, 2), path.read_bytes()
    for at in (*range(0, len(content), 997), len(content) - 1):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert not is_as_recorded(path, recorded), at
    for other in (b"", content[:-1], content[:2880], content + b"\0", content + content):
        path.write_bytes(other)
        assert not is_as_recorded(path, recorded), len(other)
    path.write_bytes(content)
    assert is_as_recorded(path, recorded)


def test_archives_of_before_have_the_blake3_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(b"SIMPLE" * 1000)
    recorded = blake3(path.read_bytes()).hexdigest()
    assert is_as_recorded(path, recorded)
    path.write_bytes(b"SIMPLE" * 1001)
    assert not is_as_recorded(path, recorded)


@given(st.lists(st.binary(max_size=50), max_size=6), st.lists(st.integers(0, 300), max_size=6))
def test_parts_may_come_in_any_pieces_and_empty_ones_do_not_count(parts: list[bytes], cuts: list[int]) -> None:
    plain = recorded_hash([Part(part) for part in parts])
    assert plain == recorded_hash([*(Part(part) for part in parts if part), Part(), Part(b"")])
    edges = [0, *sorted(cuts), 300]
    assert plain == recorded_hash(
        [Part(*(memoryview(part)[a:b] for a, b in itertools.pairwise(edges))) for part in parts]
    )


@pytest.mark.parametrize(
    "recorded",
    [
        "",
        "xxh3:",
        "xxh3:2880:",
        "xxh3:2880+:00",
        "xxh3:-1:" + 32 * "0",
        "xxh3:x:y",
        "ü",
        "xxh3:9*:" + 32 * "0",
        "xxh3:99999999999999*1:" + 32 * "0",
        "xxh3:*9:" + 32 * "0",
        "xxh3:99999999999999999999*1:" + 32 * "0",
        "xxh3:99999999999999*0:" + 32 * "0",
        pytest.param(f"xxh3:{5000 * '9'}:" + 32 * "0", id="endless"),
    ],
)
def test_what_was_never_recorded_fits_no_file(tmp_path: Path, recorded: str) -> None:
    written(tmp_path / "a.fits", 1)
    assert not is_as_recorded(tmp_path / "a.fits", recorded)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        is_as_recorded(tmp_path / "a.fits", "xxh3:5:" + 32 * "0")
