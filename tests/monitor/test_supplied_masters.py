"""What pages say of darks and flats that a team already had: what they are, where from, in grey."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_camera import run
from supplied_camera import SHAPE, camera, masters, sky, write

from calib.archive.database import Archive
from calib.archive.status import status_lines, status_rows
from calib.sky_trend import enlarged
from monitor.collect import Collector, Snapshot
from monitor.collect_night import night_rows
from monitor.collect_scan import left_out, offset_of, read_scan, read_stages, records
from monitor.compute import band_health, serving
from monitor.pages.night_controls import _verdicts
from monitor.pages.night_tables import used_html
from monitor.pages.review_markup import cards_html, maps_html
from monitor.pages.scan_words import lineage_html
from monitor.pages.scans_tables import scans_html
from monitor.report.scans import scans_html as report_of_scans
from monitor.session import Session

NIGHT = "2011-04-12"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("supplied")
    masters(top / "raw" / "masters")
    run(top / "archive", sky(top / "raw", 12), camera())
    return top / "archive"


@pytest.fixture(scope="module")
def collector(archive: Path) -> Collector:
    return Collector(archive)


@pytest.fixture(scope="module")
def snapshot(collector: Collector) -> Snapshot:
    return collector.snapshot()


def test_badges_and_sentence_name_the_files(snapshot: Snapshot) -> None:
    health = band_health(snapshot, NIGHT, "Ks")
    assert health.sentence == "Ks: flat supplied (flat.fits); dark supplied (dark.fits)"
    badges = {b.subject: b for b in health.badges}
    assert (badges["dark"].state, badges["flat"].state) == ("supplied", "supplied")
    # What was not measured is unknown; that its dark was supplied is the reason and no merit.
    assert (badges["noise"].state, badges["pixels"].state) == ("unknown", "unknown")
    assert "no dark was taken; dark.fits of 2011-04-11, supplied by the team" in badges["dark"].words
    assert badges["noise"].words == "not measured: the dark was supplied without its scatter"
    assert badges["pixels"].words == "not counted: the dark was supplied"
    assert health.worst == "unknown"


def test_nothing_supplied_is_green_or_missing_on_review(collector: Collector, snapshot: Snapshot) -> None:
    cards = str(cards_html([band_health(snapshot, NIGHT, "Ks")], NIGHT))
    assert cards.count('class="badge supplied"') == 2
    maps = str(maps_html(collector, snapshot, NIGHT))
    assert "◇ supplied: flat.fits" in maps
    for page in (cards, maps):
        assert "no dark" not in page.replace("no dark was taken; dark.fits", "")
        assert "no flat" not in page


def test_the_night_says_it_too(snapshot: Snapshot) -> None:
    rows = night_rows(snapshot, NIGHT, "Ks")
    used = str(used_html(snapshot, rows, NIGHT, "Ks"))
    assert "◇ supplied by the team: dark.fits of 2011-04-11, taken as it came" in used
    assert "◇ supplied by the team: flat.fits of 2011-04-11, taken as it came" in used
    assert "✕" not in used
    verdicts = str(_verdicts(snapshot, rows, "Ks"))
    assert "none taken" not in verdicts
    assert "◇ supplied, flat.fits of 2011-04-11" in verdicts


def test_the_line_of_status(archive: Path) -> None:
    (line,) = status_lines(status_rows(Archive(archive)))
    assert line == f"{NIGHT} Ks  dark supplied | flat supplied | 1 scan, 1 sky offset"


def test_own_darks_take_its_place(tmp_path: Path) -> None:
    raw = sky(tmp_path / "raw", 12)
    masters(raw / "masters")
    for k in range(24):
        frame = np.random.default_rng([3, k]).normal(40, 4, SHAPE).round().astype(np.int32)
        write(raw / "darks" / f"d{k}.fits", frame, SHRNAME="closed", OBJECT="dark", UTC=f"04:{k:02d}:00.00")
    run(tmp_path / "archive", raw, camera())
    collector = Collector(tmp_path / "archive")
    snapshot = collector.snapshot()
    assert serving(snapshot, NIGHT, "Ks", "dark") is None
    assert serving(snapshot, NIGHT, "Ks", "flat") is not None
    # Also in a night without scans: once there are own ones, the supplied one is out of use.
    assert serving(snapshot, "2011-05-01", "Ks", "dark") is None
    assert serving(snapshot, "2011-05-01", "Ks", "flat") is not None
    assert serving(snapshot, NIGHT, "J", "flat") is None
    collector.archive.close()


def the_scan(collector: Collector) -> dict[str, object]:
    (row,) = records(collector.snapshot().scans.of(NIGHT))
    return row


def test_the_pages_of_scans_name_the_files_too(collector: Collector, snapshot: Snapshot) -> None:
    row = the_scan(collector)
    scan = read_scan(collector, snapshot, row)
    for page in (str(scans_html([row], {}, snapshot.supplied)), str(lineage_html(scan, snapshot.supplied))):
        for name in ("dark.fits", "flat.fits"):
            assert (
                f'◇ supplied</span>: <span class="file">{name}</span> <span class="nowrap">of 2011-04-11</span>' in page
            )
    # Nothing is made up where the archive no longer knows the file.
    assert str(lineage_html(scan, {})).count("◇ supplied</span></td>") == 2


def test_the_report_of_the_night_names_the_files_too(collector: Collector, snapshot: Snapshot) -> None:
    report = str(report_of_scans(collector, snapshot, NIGHT))
    for role, name in (("dark", "dark.fits"), ("canonical", "flat.fits")):
        assert f'{role} <span class="state supplied"><span aria-hidden="true">◇</span> supplied: {name} of' in report
    unknown = str(report_of_scans(collector, replace(snapshot, supplied={}), NIGHT))
    assert unknown.count("◇</span> supplied</span>") == 2


def test_a_final_frame_that_was_not_kept_is_told_to_be_nearly_that(collector: Collector, snapshot: Snapshot) -> None:
    scan = read_scan(collector, snapshot, the_scan(collector))
    assert left_out(snapshot, scan, 3)
    stages = read_stages(collector, snapshot, scan, 3)
    assert stages.notes == ()
    scan.row["has_frames"] = False
    without = read_stages(collector, snapshot, scan, 3)
    assert without.notes == (
        "the final frame was not kept (--no-frames): computed as flattened − sky offset used + shift, "
        "the offset being that of the whole block and not of its other frames",
    )
    assert stages.final is not None
    assert without.final is not None
    assert np.nanstd(stages.final - without.final) < 0.2 * np.nanstd(stages.final)


def test_what_was_subtracted_from_a_frame_has_its_trend(collector: Collector, snapshot: Snapshot) -> None:
    scan = read_scan(collector, snapshot, the_scan(collector))
    cube, cells = (collector.image(scan.offsets_path, n) for n in ("SCI", "TREND"))
    found = offset_of(collector, scan, 3)
    assert cube is not None
    assert cells is not None
    assert found is not None
    assert cells.shape == (12, 16, 16)
    np.testing.assert_allclose(scan.frames["trend"], np.sqrt((cells**2).mean(axis=(1, 2))))
    expected = np.nan_to_num(cube[0]) + enlarged(cells[3], found.shape) - scan.frames["shift"][3]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    page: Any = Session(collector, f"?page=scan&night={NIGHT}&band=Ks&scan=1&frame=3")._page
    assert f"its trend {scan.frames['trend'][3]:.1f} DN rms" in page._slider.state["words"]


def test_the_gallery_without_an_own_flat_names_the_supplied_one(collector: Collector) -> None:
    session = Session(collector, "?page=flats")
    page: Any = session._page
    assert "supplied by the team and taken as it came: flat.fits of 2011-04-11 in Ks." in page._gallery.html
    assert 'class="scale"' not in page._controls.html
    session.go(product="sky-offsets")
    assert page._gallery.html.count("<article") == 1
    assert 'class="scale"' in page._controls.html
