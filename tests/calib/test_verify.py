"""Whether the archive is what it says it is, and that a run repairs what is not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from astropy.io import fits
from blake3 import blake3
from small_camera import Night, assert_same, rows, run, survey_of, write_raw

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.products import dark_path, frames_path, responsivity_path
from calib.archive.verify import verify_archive


def verified(root: Path) -> list[str]:
    archive = Archive(root)
    _, faults = verify_archive(archive, lambda *_: None)
    archive.close()
    return faults


def assert_made_again(damaged: Night, sound: Night) -> None:
    """After a run there is no fault, and everything is as it was."""
    run(damaged.root, damaged.raw)
    assert verified(damaged.root) == []
    assert_same(damaged.root, sound.root)


def test_a_settled_archive_has_no_fault(four_nights: Night) -> None:
    seen: list[tuple[int, int, str]] = []
    n, faults = verify_archive(Archive(four_nights.root), lambda *step: seen.append(step))
    assert faults == []
    assert n == len(rows(four_nights.root, "products")) == len(seen)


def test_an_archive_of_before_has_the_blake3_of_its_products(settled: Night) -> None:
    p = schema.products
    archive = Archive(settled.root)
    with archive.begin() as connection:
        for path in archive.rows(sa.select(p.c.path)):
            old = blake3((settled.root / path["path"]).read_bytes()).hexdigest()
            connection.execute(sa.update(p).where(p.c.path == path["path"]).values(content_hash=old))
    archive.close()
    assert verified(settled.root) == []
    # Copied: another time, the same bytes, and nothing is made anew.
    os.utime(settled.root / KINDS["dark"], ns=(0, 0))
    assert run(settled.root, settled.raw).products == 0
    (settled.root / KINDS["frames"]).write_bytes(b"SIMPLE")
    assert verified(settled.root) == [f"{KINDS['frames']}: altered since it was recorded"]
    run(settled.root, settled.raw)
    assert verified(settled.root) == []


KINDS = {
    "dark": "nights/1999-05-02/J/dark-R1.fits",
    "responsivity": "nights/1999-05-02/J/responsivity.fits",
    "canonical": "nights/1999-05-02/J/canonical.fits",
    "sky offsets": "nights/1999-05-03/J/scans/001/sky-offsets-R1.fits",
    "frames": "nights/1999-05-03/J/scans/001/frames-R2-R1.fits",
    "reference dark": "references/J/first-light/dark-R1.fits",
    "reference responsivity": "references/J/first-light/responsivity.fits",
}


@pytest.mark.parametrize("path", KINDS.values(), ids=KINDS)
def test_a_product_that_was_deleted_is_named_and_made_again(path: str, settled: Night, four_nights: Night) -> None:
    (settled.root / path).unlink()
    assert verified(settled.root) == [f"{path}: missing"]
    report = run(settled.root, settled.raw)
    assert not report.idle
    assert verified(settled.root) == []
    assert_same(settled.root, four_nights.root)


@pytest.mark.parametrize("kind", ["dark", "canonical", "frames", "reference responsivity"])
def test_a_product_that_was_altered_is_named_and_made_again(kind: str, settled: Night, four_nights: Night) -> None:
    path = KINDS[kind]
    data = bytearray((settled.root / path).read_bytes())
    data[len(data) // 2] ^= 0x10
    (settled.root / path).write_bytes(data)
    assert verified(settled.root) == [f"{path}: altered since it was recorded"]
    assert_made_again(settled, four_nights)


def test_a_product_that_was_cut_off_stops_no_run(settled: Night, four_nights: Night) -> None:
    for path in ("nights/1999-05-02/J/dark-R2-R1.fits", "nights/1999-05-02/J/responsivity.fits"):
        (settled.root / path).write_bytes((settled.root / path).read_bytes()[:5000])
    run(settled.root, settled.raw)
    assert_same(settled.root, four_nights.root)


def test_what_rotted_on_the_disk_is_made_again_once_it_was_found(settled: Night, four_nights: Night) -> None:
    """Size and time are as they were: only the hash tells."""
    path = settled.root / KINDS["responsivity"]
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-3000] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run(settled.root, settled.raw).idle
    assert verified(settled.root) == [f"{KINDS['responsivity']}: altered since it was recorded"]
    assert_made_again(settled, four_nights)


def test_everything_deleted_is_made_again(settled: Night, four_nights: Night) -> None:
    for path in settled.root.rglob("*.fits"):
        path.unlink()
    assert len(verified(settled.root)) == len(rows(settled.root, "products"))
    run(settled.root, settled.raw)
    assert_same(settled.root, four_nights.root)


def test_a_damaged_product_whose_raw_files_are_gone_stops_no_run(tmp_path: Path) -> None:
    survey = survey_of(4, scans={3: 1})
    raw = write_raw(survey, tmp_path / "raw")
    archive = tmp_path / "archive"
    run(archive, raw)
    for name in ("J-dark.fits", "J-twilight.fits", "J-scan-001.fits"):
        (raw / survey.night(3).date / name).unlink()
    for path in (archive / "nights" / survey.night(3).date).rglob("*.fits"):
        path.unlink()
    report = run(archive, raw)
    assert len(report.messages) == 3
    assert verified(archive) == []
    assert [r["night"] for r in rows(archive, "flats")] == [survey.night(k).date for k in range(3)]
    assert rows(archive, "scans") == []


def test_a_file_that_no_row_knows_is_named(settled: Night) -> None:
    stray = settled.root / "nights" / "1999-05-02" / "J" / "dark-R1-old.fits"
    stray.write_bytes(b"mine")
    assert verified(settled.root) == ["nights/1999-05-02/J/dark-R1-old.fits: not recorded in the database"]


def test_a_row_that_no_product_stands_behind_is_named(settled: Night) -> None:
    path = KINDS["responsivity"]
    archive = Archive(settled.root)
    with archive.begin() as connection:
        connection.execute(sa.delete(schema.products).where(schema.products.c.path == path))
    assert sorted(verified(settled.root)) == [
        f"{path}: a row names it, no product is recorded",
        f"{path}: not recorded in the database",
    ]


def test_final_frames_and_rows_of_scans_must_agree(settled: Night) -> None:
    scan = rows(settled.root, "scans")[0]
    path = frames_path(scan["night"], scan["band"], scan["scan"], scan["read"])
    archive, s = Archive(settled.root), schema.scans
    with archive.begin() as connection:
        here = [s.c[n] == scan[n] for n in ("night", "band", "scan", "read")]
        connection.execute(sa.update(s).where(*here).values(has_frames=False))
    assert verified(settled.root) == [f"{path}: the database says that final frames were not kept"]
    with archive.begin() as connection:
        connection.execute(sa.update(s).where(*here).values(has_frames=True))
        connection.execute(sa.delete(schema.products).where(schema.products.c.path == path))
    (settled.root / path).unlink()
    assert verified(settled.root) == [f"{path}: a row names it, no product is recorded"]


NIGHT, SCAN = "1999-05-02", "1999-05-03"
ALTERED = {
    "status": (
        schema.flats,
        {"night": NIGHT, "band": "J"},
        {"status": "rejected"},
        "responsivity",
        "status is rejected",
    ),
    "cause": (schema.flats, {"night": NIGHT, "band": "J"}, {"cause": "made up"}, "responsivity", "cause is made up"),
    "level": (
        schema.darks,
        {"night": NIGHT, "band": "J", "read": "R1"},
        {"level_dn": 999.0},
        "dark",
        "level_dn is 999.0",
    ),
    "check": (schema.darks, {"night": NIGHT, "band": "J", "read": "R1"}, {"drift": None}, "dark", "drift is None"),
    "members": (schema.flats, {"night": NIGHT, "band": "J"}, {"members": []}, "canonical", "members is []"),
    "block": (
        schema.sky_offsets,
        {"night": SCAN, "band": "J", "scan": 1, "read": "R1", "block": 1},
        {"used_block": 0},
        "sky offsets",
        "used_block of block 1 is 0",
    ),
    "check of a block": (
        schema.sky_offsets,
        {"night": SCAN, "band": "J", "scan": 1, "read": "R1", "block": 0},
        {"halves": 0.5},
        "sky offsets",
        "halves of block 0 is 0.5",
    ),
}


@pytest.mark.parametrize(("table", "place", "values", "kind", "words"), ALTERED.values(), ids=ALTERED)
def test_a_row_that_says_something_else_than_its_product_is_named_and_made_again(
    table: sa.Table,
    place: dict[str, object],
    values: dict[str, object],
    kind: str,
    words: str,
    settled: Night,
    four_nights: Night,
) -> None:
    archive = Archive(settled.root)
    with archive.begin() as connection:
        where = [table.c[n] == v for n, v in place.items()]
        assert connection.execute(sa.update(table).where(*where).values(**values)).rowcount == 1
    archive.close()
    (fault,) = verified(settled.root)
    assert fault.startswith(f"{KINDS[kind]}: {words} in the database, ")
    assert_made_again(settled, four_nights)


@pytest.mark.parametrize("name", ["darks", "flats", "scans", "sky_offsets", "lineage", "products"])
def test_rows_that_are_gone_are_missed_and_made_again(name: str, settled: Night, four_nights: Night) -> None:
    table = schema.metadata.tables[name]
    archive = Archive(settled.root)
    where = [table.c.child.like("nights/%")] if name == "lineage" else [table.c.band == "J", table.c.night == SCAN]
    with archive.begin() as connection:
        assert connection.execute(sa.delete(table).where(*where)).rowcount
    archive.close()
    assert verified(settled.root)
    assert_made_again(settled, four_nights)


def test_a_night_that_comes_while_an_archive_is_verified_is_no_fault(settled: Night, four_nights: Night) -> None:
    root, late = settled.root.with_name("growing"), four_nights.raw / four_nights.date(3)
    others = [p for p in sorted(four_nights.raw.iterdir()) if p != late]
    run(root, others)

    def comes(done: int, total: int, what: str) -> None:
        if done == total // 2:
            run(root, [*others, late])

    archive = Archive(root)
    _, faults = verify_archive(archive, comes)
    archive.close()
    assert [f for f in faults if "a row names it" in f] == []
    assert run(root, four_nights.raw).idle
    assert_same(root, four_nights.root)


def test_nothing_is_given_up_that_cannot_be_made_again(tmp_path: Path) -> None:
    """A row that says something else than its intact product, products without a record; their raw files are gone."""
    survey = survey_of(3, scans={1: 1})
    raw, root = write_raw(survey, tmp_path / "raw"), tmp_path / "archive"
    run(root, raw)
    night = survey.night(1).date
    shutil.rmtree(raw / night)
    run(root, raw)
    p, f, archive = schema.products, schema.flats, Archive(root)
    with archive.begin() as connection:
        for path in (dark_path(night, "J", "R1"), frames_path(night, "J", 1, "R1")):
            assert connection.execute(sa.delete(p).where(p.c.path == path)).rowcount == 1
        connection.execute(sa.update(f).where(f.c.night == night).values(gain=[], cause="made up"))
    archive.close()
    before = verified(root)
    assert len(before) == 5
    run(root, raw)
    assert (root / responsivity_path(night, "J")).exists()
    assert rows(root, "darks", night=night, band="J", read="R1")[0]["key"] != "damaged"
    assert rows(root, "flats", night=night)[0]["key"] != "damaged"
    assert [r["key"] == "damaged" for r in rows(root, "scans", night=night)] == [False, False]
    assert sorted(verified(root)) == sorted(before)


def test_a_product_that_lacks_what_it_should_hold_is_named_and_made_again(settled: Night, four_nights: Night) -> None:
    """It is as it was recorded: only its content tells."""
    path, p, archive = settled.root / KINDS["dark"], schema.products, Archive(settled.root)
    with fits.open(path) as hdus:
        fits.HDUList([u for u in hdus if u.name != "INPUTS"]).writeto(path, overwrite=True)
    values = {"content_hash": blake3(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
    with archive.begin() as connection:
        connection.execute(sa.update(p).where(p.c.path == KINDS["dark"]).values(**values))
    archive.close()
    (fault,) = verified(settled.root)
    assert fault.startswith(f"{KINDS['dark']}: cannot be read: ")
    assert_made_again(settled, four_nights)


@pytest.mark.sqlite("the file of the database is damaged")
def test_a_damaged_database_is_told(settled: Night) -> None:
    path = settled.root / "archive.sqlite"
    content = bytearray(path.read_bytes())
    for k in range(len(content) // 3, len(content) // 3 + 3000):
        content[k] ^= 0x5A
    path.write_bytes(content)
    faults = verified(settled.root)
    assert faults
    assert all(fault.startswith(str(path)) for fault in faults)


def test_a_copied_archive_is_as_good_as_the_first(settled: Night) -> None:
    for path in settled.root.rglob("*.fits"):
        os.utime(path, (1, 1))
    assert run(settled.root, settled.raw).idle
    assert run(settled.root, settled.raw).idle
