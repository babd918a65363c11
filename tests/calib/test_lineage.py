"""Lineage in both directions, from the rows and from the files alike."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from astropy.io import fits
from small_camera import Night, rows

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.lineage import ancestors, descendants, lineage_lines
from calib.errors import ArchiveError


def names(found: list[tuple[int, str, str]], role: str) -> set[str]:
    return {path for _, r, path in found if r == role}


def test_from_final_frames_back_to_every_raw_file(four_nights: Night) -> None:
    archive, last = Archive(four_nights.root), four_nights.date(3)
    found = ancestors(archive, f"nights/{last}/J/scans/001/frames-R2-R1.fits")
    assert names(found, "canonical") == {f"nights/{last}/J/canonical.fits"}
    nights = [four_nights.date(k) for k in range(4)]
    assert names(found, "member") == {f"nights/{n}/J/responsivity.fits" for n in nights}
    assert names(found, "dark") == {f"nights/{n}/J/dark-R2-R1.fits" for n in nights}
    raw = {str(four_nights.raw / n / f"J-{kind}.fits") for n in nights for kind in ("dark", "twilight")}
    assert names(found, "raw") == raw | {str(four_nights.raw / last / "J-scan-001.fits")}
    assert {path for steps, _, path in found if steps == 1} == {
        f"nights/{last}/J/canonical.fits",
        f"nights/{last}/J/dark-R2-R1.fits",
        str(four_nights.raw / last / "J-scan-001.fits"),
    }


@pytest.mark.parametrize("start", ["nights/1999-05-02/J/responsivity.fits", "raw/1999-05-02/J-dark.fits"])
def test_from_a_member_and_from_a_raw_dark_to_the_scans(start: str, four_nights: Night) -> None:
    path = str(four_nights.raw.parent / start) if start.startswith("raw") else start
    found = descendants(Archive(four_nights.root), path)
    scans = {p for _, _, p in found if "/scans/" in p}
    assert scans == {
        f"nights/{n}/J/scans/001/{name}-{read}.fits"
        for n in ("1999-05-03", "1999-05-04")
        for name in ("frames", "sky-offsets")
        for read in ("R1", "R2-R1")
    }
    assert not any("/H/" in p for _, _, p in found)


def test_a_dark_of_the_other_read_is_in_no_lineage_of_a_responsivity(four_nights: Night) -> None:
    found = descendants(Archive(four_nights.root), "nights/1999-05-03/J/dark-R1.fits")
    assert {p for _, _, p in found} == {
        "nights/1999-05-03/J/scans/001/frames-R1.fits",
        "nights/1999-05-03/J/scans/001/sky-offsets-R1.fits",
        "references/J/first-light/dark-R1.fits",
    }


def test_rows_and_files_tell_the_same(swapped: Night) -> None:
    """The table INPUTS of every product against its rows of lineage."""
    archive = Archive(swapped.root)
    for product in rows(archive, "products"):
        table = schema.lineage
        found = archive.rows(sa.select(table).where(table.c.child == product["path"]))
        told = {(r["role"], r["parent"].split("/")[-1] if r["role"] == "raw" else r["parent"]) for r in found}
        inputs = fits.getdata(swapped.root / product["path"], "INPUTS")
        assert told == {(r["ROLE"], r["NAME"]) for r in inputs}
        assert len(told) == len(inputs)


def test_a_stand_in_shows_in_the_lineage(swapped: Night) -> None:
    """The scan of the last night was calibrated with what the old array left behind."""
    last = swapped.date(7)
    found = ancestors(Archive(swapped.root), f"nights/{last}/J/scans/001/frames-R2-R1.fits")
    assert names(found, "member") == {f"nights/{swapped.date(k)}/J/responsivity.fits" for k in range(4)}


def test_as_text(four_nights: Night) -> None:
    lines = lineage_lines(Archive(four_nights.root), "nights/1999-05-03/J/canonical.fits")
    assert lines[:3] == [
        "nights/1999-05-03/J/canonical.fits",
        "made from:",
        "  member     nights/1999-05-01/J/responsivity.fits",
    ]
    assert "used by:" in lines
    assert "  canonical  nights/1999-05-03/J/scans/001/frames-R1.fits" in lines


def test_what_the_archive_does_not_know_is_said(four_nights: Night) -> None:
    with pytest.raises(ArchiveError, match="knows no nights/x; give a path within the archive or of a raw file"):
        lineage_lines(Archive(four_nights.root), "nights/x")
