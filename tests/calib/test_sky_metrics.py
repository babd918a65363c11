"""The metrics of the sky offsets: deviations from the first nights, written where they changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from small_camera import Night, rows, small

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.decisions import rulings
from calib.health import update_health
from calib.sky_maps import sky_maps
from calib.subjects import SKY

M = schema.metrics


@pytest.fixture
def archive(settled: Night) -> Iterator[Archive]:
    opened = Archive(settled.root)
    yield opened
    opened.close()


def metrics(archive: Archive) -> list[dict[str, Any]]:
    return archive.rows(sa.select(M).where(M.c.product == SKY).order_by(*M.primary_key.columns))


def test_they_are_deviations_from_the_mean_of_the_first_nights(archive: Archive) -> None:
    found = {(r["night"], r["band"], r["region"]): r for r in metrics(archive)}
    profile = small()
    count = profile.canonical.reference_nights
    for band in ("J", "H"):
        maps = sky_maps(archive, profile, band)
        nights = sorted(maps)
        first = nights if count == "all" else nights[:count]
        reference = np.mean([maps[n][0] for n in first], axis=0)
        for night in nights:
            deviation, error = maps[night][0] - reference, maps[night][1]
            here = {region: r for (n, b, region), r in found.items() if (n, b) == (night, band)}
            assert len(here) == 16 + 4 + 1
            for j, k in np.ndindex(4, 4):
                assert here[f"C{j}{k}"]["value"] == pytest.approx(deviation[j, k], abs=1e-9)
                assert here[f"C{j}{k}"]["error"] == pytest.approx(error)
            # Quadrants of four cells each: too few for anything to be clipped.
            for q, (j, k) in enumerate(np.ndindex(2, 2), start=1):
                of = deviation[2 * j : 2 * j + 2, 2 * k : 2 * k + 2]
                assert here[f"Q{q}"]["value"] == pytest.approx(of.mean(), abs=0.5 * np.ptp(of))
                assert here[f"Q{q}"]["error"] == pytest.approx(error / 2)
            assert here["array"]["value"] == pytest.approx(deviation.mean(), abs=1e-9)
            assert here["array"]["error"] == pytest.approx(error / 4)
            assert {r["unit"] for r in here.values()} == {"%"}
    assert {(n, b) for n, b, _ in found} == {(r["night"], r["band"]) for r in rows(archive.root, "scans")}


def test_a_cell_that_one_night_lacks_is_known_in_the_others(archive: Archive) -> None:
    c = schema.cell_maps
    here = (c.c.product == SKY, c.c.band == "J")
    maps = archive.rows(sa.select(c).where(*here).order_by(c.c.night))
    assert len(maps) > 1
    cells = [[None if (j, k) == (0, 0) else v for k, v in enumerate(row)] for j, row in enumerate(maps[0]["cells"])]
    with archive.begin() as connection:
        connection.execute(sa.update(c).where(*here, c.c.night == maps[0]["night"]).values(cells=cells))
    update_health(archive, small(), rulings(archive))
    found = {r["night"]: r["value"] for r in metrics(archive) if (r["band"], r["region"]) == ("J", "C00")}
    assert found[maps[0]["night"]] is None
    others = [m["cells"][0][0] for m in maps[1:]]
    for m, value in zip(maps[1:], others, strict=True):
        assert found[m["night"]] == pytest.approx(value - np.mean(others), abs=1e-9)


def test_nights_that_are_as_they_were_are_not_written(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    before, written = metrics(archive), []
    monkeypatch.setattr("calib.sky_metrics.upsert", lambda connection, table, rows: written.extend(rows))
    update_health(archive, small(), rulings(archive))
    assert written == []
    assert metrics(archive) == before


@pytest.mark.parametrize(
    "spoiled", ["no key, as of before", "no rows of a night", "a night that is no more", "a region"]
)
def test_whatever_is_there_becomes_what_it_should_be(archive: Archive, spoiled: str) -> None:
    before = metrics(archive)
    night = before[0]["night"]
    here = (M.c.product == SKY, M.c.night == night)
    with archive.begin() as connection:
        if spoiled == "no key, as of before":
            connection.execute(sa.update(M).where(*here).values(key="", value=99.0))
        elif spoiled == "no rows of a night":
            connection.execute(sa.delete(M).where(*here))
        elif spoiled == "a night of no use":
            connection.execute(sa.insert(M).values({**before[0], "night": "1990-01-01", "region": "array"}))
        else:
            connection.execute(sa.insert(M).values({**before[0], "region": "C99"}))
            connection.execute(sa.update(M).where(*here, M.c.region == "array").values(key="of another grid"))
    assert metrics(archive) != before
    update_health(archive, small(), rulings(archive))
    assert metrics(archive) == before
