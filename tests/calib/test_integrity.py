"""What is recorded of a product, and that nothing can be changed in it unnoticed."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128

from calib.archive.fits_stream import Column, ImageStream, Table
from calib.archive.integrity import Part, is_as_recorded, recorded_hash

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


def test_parts_are_headers_images_and_tables(tmp_path: Path) -> None:
    recorded = written(tmp_path / "a.fits", 3)
    content = (tmp_path / "a.fits").read_bytes()
    with fits.open(tmp_path / "a.fits") as hdus:
        edges = [0]
        for hdu in hdus[:-1]:
            where = hdu.fileinfo()
            edges += [where["datLoc"], where["datLoc"] + where["datSpan"]]
    parts = [content[a:b] for a, b in zip(edges, [*edges[1:], len(content)], strict=True) if a < b]
    whole = xxh3_128(b"".join(xxh3_128(part).digest() for part in parts)).hexdigest()
    assert recorded == f"xxh3:{'+'.join(str(len(part)) for part in parts)}:{whole}"
    assert is_as_recorded(tmp_path / "a.fits", recorded)


def test_it_does_not_depend_on_the_pieces(tmp_path: Path) -> None:
    assert len({written(tmp_path / f"{n}.fits", n) for n in (1, 2, 3)}) == 1


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
    "recorded", ["", "xxh3:", "xxh3:2880:", "xxh3:2880+:00", "xxh3:-1:" + 32 * "0", "xxh3:x:y", "ü"]
)
def test_what_was_never_recorded_fits_no_file(tmp_path: Path, recorded: str) -> None:
    written(tmp_path / "a.fits", 1)
    assert not is_as_recorded(tmp_path / "a.fits", recorded)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        is_as_recorded(tmp_path / "a.fits", "xxh3:5:" + 32 * "0")
