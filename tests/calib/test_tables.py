"""Tables for export: the columns people join on, types that survive, nothing that is not a number."""

from __future__ import annotations

import io
import json
import math

import pandas as pd
import pytest
from small_camera import Night

from calib.archive.database import Archive
from calib.archive.decisions import decide
from calib.archive.tables import EXPORTS, export_table, read_table
from calib.checks import check_table

# As the design names them.
COLUMNS = {
    "flats": {"night", "band", "status", "cause", *(c for c in check_table("flat") if c != "frames"), "n_frames"},
    "sky_offsets": {
        "night",
        "band",
        "scan",
        "read",
        "block",
        "first_frame",
        "last_frame",
        "n_frames",
        "status",
        "cause",
        *(c for c in check_table("sky_offset") if c != "frames"),
    },
    "darks": {"night", "band", "read", "n_frames", "level_dn", "noise_dn", "status", "cause"},
    "alerts": {"night", "band", "product", "region", "metric", "state", "value", "limit", "text"},
    "files": {"path", "status", "reason"},
    "scans": {"night", "band", "scan", "read", "status", "dark_night", "canonical_night", "canonical_status"},
    "metrics": {"night", "band", "product", "region", "metric", "value", "error", "unit"},
    "states": {
        "night",
        "band",
        "product",
        "state",
        "cause",
        "region",
        "value",
        "error",
        "unit",
        "significance",
        "since",
    },
    "decisions": {"id", "time", "who", "kind", "night", "reason", "undoes"},
}
WHOLE = {
    "flats": ["n_frames", "n_dead", "dark_age_nights"],
    "sky_offsets": ["scan", "block", "first_frame", "last_frame", "n_frames", "used_block"],
    "darks": ["n_frames", "n_hot"],
    "scans": ["scan", "n_frames", "dark_age_nights", "n_substituted_frames"],
    "files": ["scan", "n_frames", "size"],
    "decisions": ["id", "scan", "block", "undoes"],
}


@pytest.fixture(scope="module")
def archive(swapped: Night, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """The night with an alert and a rejection, a decision, and a file that was refused."""
    night = swapped.copy(tmp_path_factory.mktemp("tables") / "archive")
    archive = Archive(night.root)
    decide(archive, who="ada", kind="period", night=night.date(4), reason='new array, "the good one"\nat last')
    return archive


def test_there_is_a_table_for_each_in_the_design() -> None:
    assert set(EXPORTS) == set(COLUMNS)


@pytest.mark.parametrize("table", EXPORTS)
def test_csv_json_and_parquet_say_the_same(table: str, archive: Archive) -> None:
    csv = pd.read_csv(io.BytesIO(export_table(archive, table, "csv")), dtype_backend="numpy_nullable")
    parquet = pd.read_parquet(io.BytesIO(export_table(archive, table, "parquet")))
    as_json = json.loads(export_table(archive, table, "json"))
    assert len(csv) == len(parquet) == len(as_json) > 0
    assert list(csv.columns) == list(parquet.columns)
    assert set(csv.columns) == set(as_json[0])
    assert COLUMNS[table] <= set(csv.columns)
    for row, record in zip(as_json, parquet.to_dict("records"), strict=True):
        for name, value in row.items():
            other = record[name]
            assert (value is None and pd.isna(other)) or value == other, (name, value, other)


@pytest.mark.parametrize("table", WHOLE)
def test_whole_numbers_stay_whole_where_some_are_missing(table: str, archive: Archive) -> None:
    parquet = pd.read_parquet(io.BytesIO(export_table(archive, table, "parquet")))
    for column in WHOLE[table]:
        assert pd.api.types.is_integer_dtype(parquet[column]), column
    text = export_table(archive, table, "csv").decode()
    csv = pd.read_csv(io.StringIO(text), dtype=str)
    for column in WHOLE[table]:
        assert csv[column].dropna().str.fullmatch(r"-?\d+").all(), column


@pytest.mark.parametrize("table", EXPORTS)
def test_json_is_strict_and_internal_columns_stay_inside(table: str, archive: Archive) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    for row in json.loads(export_table(archive, table, "json"), parse_constant=refuse):
        assert not {"key", "verdict_key", "cells_dn", "rules_hash", "dark_key", "canonical_key"} & row.keys()
        assert not any(isinstance(v, float) and not math.isfinite(v) for v in row.values())


def test_rows_come_in_the_order_of_their_key(archive: Archive) -> None:
    found = [(r["night"], r["band"], r["read"]) for r in read_table(archive, "darks")]
    assert found == sorted(found)


def test_a_gain_per_quadrant_is_a_column_each(archive: Archive) -> None:
    (first, *_) = read_table(archive, "flats")
    assert {f"gain_Q{k}" for k in range(1, 5)} | {f"gain_error_Q{k}" for k in range(1, 5)} <= first.keys()
    assert "gain" not in first


def test_lists_are_json_text(archive: Archive) -> None:
    for row in read_table(archive, "flats"):
        assert row["night"] >= json.loads(row["members"])[-1]


def test_text_of_people_survives(archive: Archive) -> None:
    csv = pd.read_csv(io.BytesIO(export_table(archive, "decisions", "csv")))
    assert csv["reason"][0] == 'new array, "the good one"\nat last'


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@pytest.mark.parametrize("table", EXPORTS)
def test_an_empty_table_has_its_columns(table: str, form: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = Archive(tmp_path_factory.mktemp("empty"), create=True)
    content = export_table(empty, table, form)
    empty.close()
    if form == "json":
        assert json.loads(content) == []
    else:
        reader = pd.read_csv if form == "csv" else pd.read_parquet
        frame = reader(io.BytesIO(content))
        assert len(frame) == 0
        assert COLUMNS[table] <= set(frame.columns)
