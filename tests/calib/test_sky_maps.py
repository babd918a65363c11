"""The sky offsets of each night as a map of the flat: worked out once, and anew when they change."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import sqlalchemy as sa
from small_camera import Night, rows, run, small

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.decisions import decide
from calib.sky_maps import forget_sky_map, sky_maps
from calib.skyflat import sky_proportional
from calib.subjects import SKY


@pytest.fixture
def archive(settled: Night) -> Iterator[Archive]:
    opened = Archive(settled.root)
    yield opened
    opened.close()


def by_the_rows(archive: Archive, night: str, band: str) -> np.ndarray:
    of = [r for r in rows(archive, "sky_offsets", night=night, band=band, read="R2-R1") if r["status"] == "accepted"]
    cells, levels, errors = (np.array([r[n] for r in of], float) for n in ("cells_dn", "level_dn", "cell_error_dn"))
    return sky_proportional(cells, levels, errors, small().drift.quiet.dark_shape_dn["R2-R1"]).percent


def test_maps_are_those_of_the_accepted_offsets_of_a_night(archive: Archive) -> None:
    nights = sorted({r["night"] for r in rows(archive, "scans")})
    for band in ("J", "H"):
        found = sky_maps(archive, small(), band)
        assert list(found) == nights
        for night, (percent, error) in found.items():
            np.testing.assert_allclose(percent, by_the_rows(archive, night, band), atol=1e-5)
            assert 0 < error < 1
    assert sky_maps(archive, small(), "Ks") == {}


def test_offsets_are_read_only_where_there_is_no_map(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sky_maps(archive, small(), "J")
    read: list[str] = []
    monkeypatch.setattr("calib.sky_maps._worked_out", lambda a, b, r, nights, *_: read.extend(nights) or [])
    assert sky_maps(archive, small(), "J").keys() == before.keys()
    assert read == []
    first = min(before)
    with archive.begin() as connection:
        forget_sky_map(connection, first, "J")
    assert sky_maps(archive, small(), "J").keys() == before.keys() - {first}
    assert read == [first]


def test_maps_follow_the_profile_and_the_scans(archive: Archive) -> None:
    before = sky_maps(archive, small(), "J")
    other = small(('dark_shape_dn = { R1 = 2.0, "R2-R1" = 1.0 }', 'dark_shape_dn = { R1 = 2.0, "R2-R1" = 9.0 }'))
    changed = sky_maps(archive, other, "J")
    assert all(changed[n][1] != before[n][1] for n in before)
    assert all(np.array_equal(a[0], before[n][0]) for n, a in sky_maps(archive, small(), "J").items())
    with archive.begin() as connection:
        connection.execute(sa.delete(schema.scans).where(schema.scans.c.night == min(before)))
    assert list(sky_maps(archive, small(), "J")) == [max(before)]
    assert {r["night"] for r in rows(archive, "cell_maps", product=SKY, band="J")} == {max(before)}


def test_a_rejected_offset_leaves_its_map(settled: Night) -> None:
    night = min(r["night"] for r in rows(settled.root, "scans"))
    archive = Archive(settled.root)
    before = sky_maps(archive, small(), "J")[night][0]
    place = {"night": night, "band": "J", "read": "R2-R1", "scan": 1, "block": 0}
    decide(archive, who="ann", kind="override", product="sky-offset", value="rejected", reason="a cloud", **place)
    archive.close()
    run(settled.root, settled.raw)
    archive = Archive(settled.root)
    after = sky_maps(archive, small(), "J")[night][0]
    np.testing.assert_allclose(after, by_the_rows(archive, night, "J"), atol=1e-5)
    assert not np.array_equal(after, before)
    archive.close()
