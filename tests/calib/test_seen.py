"""The hash of what a night shows: the same for the same content, another for whatever a person would see change."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from small_camera import Night, run

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.decisions import decide
from calib.archive.seen import night_digest, night_digests
from calib.errors import DecisionConflict

GOOD: dict[str, Any] = {"who": "ada", "reason": "as always"}


def test_every_night_has_its_own(four_nights: Night) -> None:
    archive = Archive(four_nights.root)
    found = night_digests(archive)
    assert sorted(found) == [four_nights.date(k) for k in range(4)]
    assert len(set(found.values())) == 4
    assert found[four_nights.date(2)] == night_digest(archive, four_nights.date(2))
    assert night_digest(archive, "2001-01-01") not in found.values()


def test_it_stays_when_the_archive_is_made_anew(four_nights: Night, tmp_path: Any) -> None:
    run(tmp_path / "other", four_nights.raw)
    assert night_digests(Archive(tmp_path / "other")) == night_digests(Archive(four_nights.root))


@pytest.mark.parametrize(
    ("table", "change"),
    [
        (schema.flats, {"status": "rejected"}),
        (schema.flats, {"cause": "cloud gradient"}),
        (schema.flats, {"canonical_key": "x"}),
        (schema.darks, {"key": "x"}),
        (schema.scans, {"status": "substituted"}),
        (schema.scans, {"cause": "sky offset of blocks 0 ← 1"}),
        (schema.states, {"state": "WATCH"}),
    ],
)
def test_what_a_person_would_see_changes_it(table: sa.Table, change: dict[str, Any], settled: Night) -> None:
    archive = Archive(settled.root)
    before = night_digests(archive)
    with archive.begin() as connection:
        connection.execute(sa.update(table).where(table.c.night == settled.date(2)).values(**change))
    after = night_digests(archive)
    assert {n for n in before if before[n] != after[n]} == {settled.date(2)}


def test_a_later_night_leaves_it_alone(four_nights: Night, tmp_path: Any) -> None:
    archive = tmp_path / "archive"
    run(archive, [four_nights.raw / four_nights.date(k) for k in range(3)])
    before = night_digests(Archive(archive))
    run(archive, four_nights.raw)
    after = night_digests(Archive(archive))
    assert {n: after[n] for n in before} == before


def test_a_signature_is_on_what_was_seen(settled: Night) -> None:
    archive, night = Archive(settled.root), settled.date(2)
    looked = night_digest(archive, night)
    decide(archive, **GOOD, kind="sign-off", night=night, digest=looked)
    with archive.begin() as connection:
        connection.execute(sa.update(schema.flats).where(schema.flats.c.night == night).values(status="rejected"))
    with pytest.raises(DecisionConflict, match=f"{night} has changed since you looked at it; it was not signed"):
        decide(archive, **GOOD, kind="sign-off", night=night, digest=looked)
    (row,) = archive.rows(sa.select(schema.decisions))
    assert row["digest"] == looked != night_digest(archive, night)
