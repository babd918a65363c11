"""Series of regions over nights, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from small_camera import Night

from calib.archive import schema
from monitor.collect import Collector
from monitor.collect_series import Series, worst

NAN = float("nan")


def series(values: dict[str, float], region: str = "Q1", error: float = 0.1) -> Series:
    n = len(values)
    return Series(np.array(list(values), "U10"), np.array(list(values.values())), np.full(n, error), np.full(n, region))


def test_a_night_is_found_and_only_that_night() -> None:
    s = series({"1999-05-01": 1.0, "1999-05-03": NAN, "1999-05-04": -2.0})
    assert s.at("1999-05-01") == (1.0, 0.1)
    assert s.at("1999-05-02") is None
    assert s.at("1999-05-03") is None
    assert s.at("1999-05-05") is None
    assert s.between("1999-05-02", "1999-05-04").night.tolist() == ["1999-05-03", "1999-05-04"]
    assert s.finite().night.tolist() == ["1999-05-01", "1999-05-04"]


def test_an_unknown_error_is_none_at_all() -> None:
    assert series({"1999-05-01": 1.0}, error=NAN).at("1999-05-01") == (1.0, 0.0)


def test_the_worst_of_several_is_the_farthest_from_zero() -> None:
    found = worst(
        [
            series({"1999-05-01": 1.0, "1999-05-02": 0.5, "1999-05-04": NAN}, "Q1"),
            series({"1999-05-01": -2.0, "1999-05-03": 0.1, "1999-05-04": 0.0}, "Q2"),
        ]
    )
    rows = zip(found.night.tolist(), found.value.tolist(), found.region.tolist(), strict=True)
    assert {night: (value, region) for night, value, region in rows} == {
        "1999-05-01": (-2.0, "Q2"),
        "1999-05-02": (0.5, "Q1"),
        "1999-05-03": (0.1, "Q2"),
        "1999-05-04": (0.0, "Q2"),
    }
    assert len(worst([series({}), series({})])) == 0


def test_series_are_what_the_archive_holds(faulty: Night) -> None:
    collector = Collector(faulty.root)
    m = schema.metrics
    rows = collector.rows(sa.select(m).order_by(m.c.night))
    assert rows
    kept = collector.snapshot().metrics
    for band, product, metric, region in sorted({(r["band"], r["product"], r["metric"], r["region"]) for r in rows}):
        found = kept.series(band, product, metric, region)
        wanted = [
            r for r in rows
            if (r["band"], r["product"], r["metric"], r["region"]) == (band, product, metric, region)
        ]  # fmt: skip
        assert found.night.tolist() == [r["night"] for r in wanted]
        values = [NAN if r["value"] is None else r["value"] for r in wanted]
        assert found.value.tolist() == pytest.approx(values, nan_ok=True)
    assert len(kept.series("J", "no such", "deviation", "array")) == 0
    collector.archive.close()


LOOKED_AT_SINGLY = {"cells_dn", "diagnosis", "pixels"}


def test_rows_are_what_the_archive_holds(faulty: Night) -> None:
    """With lists as lists, and None for nothing, in every column."""
    collector = Collector(faulty.root)
    snapshot = collector.snapshot()
    for row in collector.rows(sa.select(schema.flats)):
        found = snapshot.flat(row["night"], row["band"])
        assert found is not None
        assert found == {n: row[n] for n in row if n != "pixels"}
    for row in collector.rows(sa.select(schema.darks)):
        found = snapshot.dark(row["night"], row["band"], row["read"])
        assert found is not None
        assert {n: found[n] for n in found} == {n: row[n] for n in row if n not in LOOKED_AT_SINGLY}
    assert snapshot.flat("1999-01-01", "J") is None
    collector.archive.close()


def test_images_of_a_product_are_read_together(faulty: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extension that is not there takes none of the others with it; what was read is not read again."""
    from monitor import collect

    opened: list[tuple[str, ...]] = []
    read: Any = collect.read_product

    def counted(root: object, path: str, names: tuple[str, ...]) -> Any:
        opened.append(tuple(names))
        return read(root, path, names)

    monkeypatch.setattr(collect, "read_product", counted)
    collector = Collector(faulty.root)
    path = f"nights/{faulty.date(0)}/J/dark-R1.fits"
    assert list(collector.images(path, ("SCI", "DQ"))) == ["SCI", "DQ"]
    assert list(collector.images(path, ("DQ", "ERR", "SCI"))) == ["DQ", "ERR", "SCI"]
    assert opened == [("SCI", "DQ"), ("ERR",)]
    assert list(collector.images(path, ("NOISE", "NONE"))) == ["NOISE"]
    assert collector.image("nights/1999-01-01/J/dark-R1.fits") is None
    collector.archive.close()
