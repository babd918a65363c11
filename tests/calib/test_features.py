"""Local features: told once, followed while they stay, over when their shadow shows."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.features import follow_features, in_cell, local_features
from calib.profile import load_profile

PROFILE = load_profile("2mass")


def part(name: str, size: float, significance: float = 50.0, where: str = "x 100 y 60") -> dict[str, Any]:
    return {"name": name, "size": size, "significance": significance, "share": None, "where": where}


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (part("spot", -3.0), True),
        (part("spot", -0.2), False),
        (part("spot", -3.0, 6.0), False),
        (part("columns", 0.5, where="column 117"), True),
        (part("gradient", 3.0), False),
        (part("pixels", 3.0), False),
        ({**part("spot", 0.0), "size": None, "significance": None}, False),
    ],
)
def test_only_what_is_local_large_and_significant_is_told(found: dict[str, Any], told: bool) -> None:
    assert bool(local_features([found], "responsivity", PROFILE)) == told


def test_the_size_that_counts_depends_on_the_product() -> None:
    assert local_features([part("spot", 2.0)], "dark R2-R1", PROFILE) == []
    assert local_features([part("spot", 4.0)], "dark R2-R1", PROFILE)
    assert local_features([part("spot", 4.0)], "dark R1", PROFILE) == []


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path, create=True)


def add(archive: Archive, night: int, *parts: dict[str, Any], status: str = "accepted", period: str = "") -> None:
    row = dict.fromkeys(c.name for c in schema.flats.columns)
    row |= {"night": f"1999-05-{night:02d}", "band": "H", "status": status, "cause": "", "n_frames": 56}
    row |= {"overtaken": False, "period": period, "override": False, "key": "k", "profile_hash": "p", "origin": ""}
    with archive.begin() as connection:
        connection.execute(sa.insert(schema.flats).values(**{**row, "diagnosis": list(parts)}))


def test_a_spot_is_told_once_and_followed(archive: Archive) -> None:
    add(archive, 1)
    add(archive, 2, part("spot", -3.0))
    add(archive, 3, part("spot", -2.4, where="x 101 y 58"))
    add(archive, 4, part("spot", -2.0, where="x 200 y 58"))
    first, second = follow_features(archive, PROFILE)
    assert (first.night, first.where, first.size, first.last, first.over) == (
        "1999-05-02", "x 100 y 60", -3.0, "1999-05-03", False,
    )  # fmt: skip
    assert second.where == "x 200 y 58"
    assert [first.there(f"1999-05-0{n}") for n in (1, 2, 9)] == [False, True, True]


def test_a_spot_that_goes_is_over(archive: Archive) -> None:
    add(archive, 2, part("spot", -3.0))
    add(archive, 8, part("spot", 3.0))
    (found,) = follow_features(archive, PROFILE)
    assert found.over
    assert found.there("1999-05-07")
    assert not found.there("1999-05-08")


def test_rejected_nights_and_other_periods_do_not_mix(archive: Archive) -> None:
    add(archive, 2, part("spot", -3.0), status="rejected")
    add(archive, 3, part("columns", 1.0, where="column 7"))
    add(archive, 4, part("columns", 1.0, where="column 7"), period="1999-05-04")
    assert [(f.night, f.kind, f.period) for f in follow_features(archive, PROFILE)] == [
        ("1999-05-03", "column", ""),
        ("1999-05-04", "column", "1999-05-04"),
    ]


def test_a_spot_lies_in_its_cell_and_touches_the_next(archive: Archive) -> None:
    add(archive, 2, part("spot", -3.0, where="x 100 y 60"))
    (spot,) = follow_features(archive, PROFILE)
    assert in_cell(spot, "C13", PROFILE)
    assert in_cell(spot, "C23", PROFILE)
    assert not in_cell(spot, "C33", PROFILE)
    assert not in_cell(spot, "C00", PROFILE)
