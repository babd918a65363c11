"""Scans from archive to screen: single frames, stages, numbers, words."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from small_camera import Night, small

from calib.errors import RawFileError
from monitor.collect import Collector
from monitor.collect_frames import RawFile, product_frame, raw_frame
from monitor.collect_scan import ScanData, Stages, raw_scans, read_scan, read_stages, records
from monitor.compute_scan import (
    block_checks,
    cause_of,
    choose_row,
    frame_statistics,
    half_width_of_pair,
    missing_scans,
    nice_above,
    number,
    sampled_frames,
    scale_percent,
    shrink,
    stretch_percent,
    window,
)
from monitor.palette import theme
from monitor.plots.frame_images import LinkedImage, linked_ranges
from monitor.plots.scan_levels import ScanLevels
from monitor.plots.thumbnail import SEQUENTIAL
from monitor.session import Session

READ = "R2-R1"


# Single frames ---------------------------------------------------------------------------------------------------


def cube(path: Path, *, packed: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Write a raw scan of three frames of 64×64 pixels with one saturated sample."""
    rng = np.random.default_rng(3)
    r1 = rng.integers(9000, 9500, (3, 64, 64)).astype(np.uint16)
    r2 = r1 + rng.integers(2000, 3000, r1.shape).astype(np.uint16)
    r2[1, 5, 6] = 60000
    head = fits.PrimaryHDU()
    for name, value in {"DATE-OBS": "1999-05-02T04:00:00", "FILTER": "J", "OBSTYPE": "SCAN", "SCANNO": 1}.items():
        head.header[name] = value
    kind = fits.CompImageHDU if packed == "tiles" else fits.ImageHDU
    table = fits.BinTableHDU.from_columns([fits.Column("TIME", "D", array=51300.0 + np.arange(3))], name="FRAMES")
    fits.HDUList([head, kind(r1, name="R1"), kind(r2, name="R2"), table]).writeto(path)
    if packed == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes()))
    return r1, r2


@pytest.mark.parametrize("packed", ["", "gzip", "tiles"])
def test_a_raw_frame_is_the_one_asked_for_however_the_file_is_packed(tmp_path: Path, packed: str) -> None:
    path = tmp_path / "scan.fits"
    r1, r2 = cube(path, packed=packed)
    file = RawFile(path, 3, path.stat().st_size)
    for k in range(3):
        expected = r2[k].astype(float) - r1[k]
        expected[r2[k] >= 52200] = np.nan
        np.testing.assert_array_equal(raw_frame([file], small(), READ, k), expected)
    np.testing.assert_array_equal(raw_frame([file], small(), "R1", 2), r1[2])


def test_frames_are_counted_through_all_files_of_a_scan(tmp_path: Path) -> None:
    one, two = tmp_path / "a.fits", tmp_path / "b.fits"
    cube(one)
    r1, _ = cube(two)
    files = [RawFile(p, 3, p.stat().st_size) for p in (one, two)]
    np.testing.assert_array_equal(raw_frame(files, small(), "R1", 4), r1[1])
    with pytest.raises(RawFileError, match="fewer frames"):
        raw_frame(files, small(), "R1", 6)


def test_a_raw_file_that_changed_or_went_is_not_shown_as_the_one_calibrated(tmp_path: Path) -> None:
    path = tmp_path / "scan.fits"
    cube(path)
    with pytest.raises(RawFileError, match="changed since"):
        raw_frame([RawFile(path, 3, path.stat().st_size + 1)], small(), READ, 0)
    with pytest.raises(RawFileError, match="No such file"):
        raw_frame([RawFile(tmp_path / "gone.fits", 3, 1)], small(), READ, 0)


def test_a_product_frame_is_read_alone_and_nothing_is_guessed(tmp_path: Path) -> None:
    path, values = tmp_path / "p.fits", np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(values, name="SCI")]).writeto(path)
    np.testing.assert_array_equal(product_frame(path, "SCI", 1), values[1])
    assert product_frame(path, "SCI", 3) is None
    assert product_frame(path, "ERR", 0) is None
    assert product_frame(tmp_path / "none.fits", "SCI", 0) is None


# Stages ----------------------------------------------------------------------------------------------------------


def scan_of(root: Path, night: str, band: str = "J", read: str = READ) -> tuple[Collector, ScanData]:
    collector = Collector(root)
    s = collector.snapshot().scans.of(night)
    row = next(r for r in records(s) if (r["night"], r["band"], r["read"]) == (night, band, read))
    return collector, read_scan(collector, collector.snapshot(), row)


def stages(night: Night, frame: int = 50, *, date: str | None = None, read: str = READ) -> Stages:
    collector, scan = scan_of(night.root, date or night.date(3), read=read)
    return read_stages(collector, collector.snapshot(), scan, frame)


@pytest.mark.parametrize("read", ["R1", READ])
def test_stages_lead_from_the_raw_frame_to_the_product(four_nights: Night, read: str) -> None:
    found = stages(four_nights, read=read)
    collector, scan = scan_of(four_nights.root, four_nights.date(3), read=read)
    assert found.notes == ()
    assert found.raw is not None
    assert found.flattened is not None
    assert found.final is not None
    product = fits.getdata(collector.root / scan.frames_path, "SCI")[50]
    np.testing.assert_array_equal(found.final, product)
    assert np.nanmedian(found.raw) > np.nanmedian(found.final)
    # The level stays; what goes is the pattern.
    before, after = (frame_statistics(x, found.good, (4, 4)) for x in (found.flattened, found.final))
    assert after.median == pytest.approx(before.median, abs=0.02)


def test_without_final_frames_they_are_computed_and_it_is_said(settled: Night) -> None:
    kept = stages(settled)
    collector, scan = scan_of(settled.root, settled.date(3))
    (collector.root / scan.frames_path).unlink()
    computed = stages(settled)
    assert computed.notes == ("the final frame is not in the archive: computed as flattened − sky offset used + shift",)
    np.testing.assert_allclose(computed.final, kept.final, atol=0.01)


def test_without_the_raw_file_what_there_is_is_shown(settled: Night) -> None:
    kept = stages(settled)
    collector, scan = scan_of(settled.root, settled.date(3))
    gone = replace(scan, raw=(RawFile(Path("/gone.fits"), 90, 1),))
    found = read_stages(collector, collector.snapshot(), gone, 50)
    assert found.raw is None
    assert found.dark_subtracted is None
    assert "no raw frame" in found.notes[0]
    np.testing.assert_allclose(found.flattened, kept.flattened, atol=0.01)
    (collector.root / scan.frames_path).unlink()
    nothing = read_stages(collector, collector.snapshot(), gone, 50)
    assert nothing.final is None
    assert nothing.flattened is None
    assert "none can be computed" in nothing.notes[-1]


def test_lineage_names_dark_canonical_and_member_nights(four_nights: Night) -> None:
    _, scan = scan_of(four_nights.root, four_nights.date(3))
    assert scan.parent("dark") == f"nights/{four_nights.date(3)}/J/dark-R2-R1.fits"
    members = {p for depth, role, p in scan.lineage if role == "member" and depth == 2}
    assert {p.split("/")[1] for p in members} == {four_nights.date(k) for k in range(4)}
    assert [f.path.name for f in scan.raw] == ["J-scan-001.fits"]
    assert len(scan.frames["level"]) == 90


# Numbers ---------------------------------------------------------------------------------------------------------


def test_numbers_have_as_many_digits_as_they_deserve() -> None:
    assert number(2737.81, 5) == "2737.8"
    assert number(-0.01234) == "−0.0123"
    assert number(36.27, 2) == "36"
    assert number(0.0) == "0"
    assert number(math.nan) == number(None) == "—"
    assert number(11461.0, 3).endswith("461")


@pytest.mark.parametrize(("value", "rounded"), [(0.93, 1), (1.01, 1.5), (1.5, 1.5), (84, 100), (6.1e-3, 8e-3), (0, 1)])
def test_half_widths_are_rounded_up(value: float, rounded: float) -> None:
    assert nice_above(value) == pytest.approx(rounded)


def test_two_images_share_the_wider_stretch_unless_one_would_be_blank() -> None:
    assert half_width_of_pair([(90.0, 110.0), (80.0, 120.0)]) == 20
    assert half_width_of_pair([(-900.0, 1100.0), (80.0, 120.0)]) == 100
    assert half_width_of_pair([(80.0, 120.0)]) == 20
    assert half_width_of_pair([]) == 1


def test_a_stretch_in_percent_is_about_the_level_and_an_unknown_one_fits_itself() -> None:
    image = np.linspace(990, 1010, 10000, dtype=np.float32).reshape(100, 100)
    assert window(image, 1000.0, 2000.0, 5.0) == (900.0, 1100.0)
    assert window(image, 1000.0, None, 5.0) == (990.0, 1010.0)
    assert window(image, 1000.0, 2000.0, None) == (990.0, 1010.0)
    assert window(None, 1000.0, 2000.0, None) == (0.0, 1.0)
    assert stretch_percent("7") is None
    assert stretch_percent("0.5") == 0.5
    assert scale_percent(-200.0) == 0.5
    assert math.isnan(scale_percent(0.0))


def test_shrinking_averages_what_is_finite() -> None:
    image = np.ones((1024, 1024), np.float32)
    image[0, 0], image[0, 1] = 5.0, np.nan
    image[2:4, 2:4] = np.nan
    small_one, factor = shrink(image)
    assert factor == 2
    assert small_one.shape == (512, 512)
    assert small_one[0, 0] == pytest.approx(7 / 3)
    assert np.isnan(small_one[1, 1])
    assert shrink(image[:256, :256])[1] == 1


def test_statistics_tell_a_pattern_from_noise() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(1000, 10, (256, 256))
    tilt = np.linspace(-50, 50, 256)[None, :]
    good = np.ones(noise.shape, bool)
    flat, tilted = (frame_statistics(x, good, (8, 8)) for x in (noise, noise + tilt))
    assert flat.sigma == pytest.approx(10, rel=0.03)
    assert flat.cell_rms < 1
    # Eight columns of cells, evenly spaced over the tilt.
    assert tilted.cell_rms == pytest.approx(np.std((np.arange(8) + 0.5) / 8 * 100), rel=0.03)
    assert math.isnan(frame_statistics(None, None, (8, 8)).median)
    noise[:100] = 1e6
    good[:100] = False
    assert frame_statistics(noise, good, (8, 8)).median == pytest.approx(1000, abs=1)


def test_statistics_of_a_large_image_see_even_and_odd_columns_alike() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(1000, 10, (1024, 1024))
    image[:, ::2] = rng.normal(1040, 14, (1024, 512))
    found = frame_statistics(image, None, (8, 8))
    assert found.median == pytest.approx(np.median(image), abs=0.4)
    assert found.sigma == pytest.approx(1.4826 * np.median(np.abs(image - np.median(image))), rel=0.01)


def test_a_few_frames_of_every_block_are_sampled() -> None:
    blocks = [{"first_frame": 0, "last_frame": 45}, {"first_frame": 46, "last_frame": 47}]
    assert sampled_frames(blocks) == [5, 17, 28, 40, 46, 47]
    assert sampled_frames([]) == []


def test_a_check_without_a_number_does_not_pass() -> None:
    block = {"band": "J", "read": "R1", "n_frames": 46, "valid": 100.0, "halves": 0.5, "residue": None}
    found = {c.check.name: c for c in block_checks(block, small())}
    assert found["frames"].passed
    assert found["frames"].value == 46
    assert not found["residue"].passed
    assert not found["amplitude"].passed
    assert found["halves"].limit == 10.0  # the read's own


# Words -----------------------------------------------------------------------------------------------------------


def taken(band: str, status: str = "used", scan: int | None = 1, reason: str = "") -> SimpleNamespace:
    return SimpleNamespace(band=band, scan=scan, path=f"{band}.fits", status=status, reason=reason)


def test_scans_without_a_result_say_why() -> None:
    raw = [
        taken("J"),
        taken("H"),
        taken("Ks"),
        taken("J", "refused", 2, "truncated"),
        taken("J", "pending", 3),
        taken("J", "gone", 4),
    ]
    found = {(m.band, m.scan): m for m in missing_scans(raw, {("J", 1)}, {"J", "H"}, {"J", "Ks"})}
    assert set(found) == {("H", "1"), ("Ks", "1"), ("J", "2"), ("J", "3")}
    assert found["H", "1"].words == "not calibrated: no canonical to calibrate it with"
    assert found["Ks", "1"].words == "not calibrated: no dark to calibrate it with"
    assert found["J", "2"].words == "refused: truncated"
    assert found["J", "2"].state == "rejected"
    assert (found["J", "3"].state, found["J", "3"].words) == ("notrun", "not run: no run has come to it")
    (waits,) = missing_scans(raw[4:5], [], {"J"}, {"J"}, at_work=True)
    assert (waits.state, waits.words) == ("pending", "in work: the run at work has yet to come to it")


def test_single_frames_without_scan_number_are_not_called_missing() -> None:
    frames = [taken("Ks", scan=None) for _ in range(3)]
    assert missing_scans(frames, {("Ks", 1)}, set(), set()) == []
    assert len(missing_scans(frames, set(), {"Ks"}, {"Ks"})) == 3


def test_the_nearest_scan_is_chosen_when_the_address_names_none_there_is() -> None:
    rows = [{"scan": s, "band": b, "read": r} for s in (1, 2) for b in ("H", "J") for r in ("R1", READ)]

    def chosen(**wish: object) -> tuple[object, ...]:
        row = choose_row(rows, **{"scan": None, "band": "", "read": READ, "bands": ("J", "H"), **wish})  # type: ignore[arg-type]
        assert row is not None
        return tuple(row.values())

    assert chosen() == (1, "J", READ)
    assert chosen(scan=2, band="H", read="R1") == (2, "H", "R1")
    assert chosen(scan=9, band="Ks", read="CDS") == (1, "J", "R1")
    assert choose_row([], scan=1, band="J", read=READ, bands=()) is None


def test_the_cause_of_a_scan_names_those_of_its_blocks_once() -> None:
    wave = {"status": "rejected", "cause": "airglow wave (halves 2 % > 0.15 %)"}
    row = {"cause": "sky offset of blocks 3 ← 2, 4 ← 2"}
    good = {"status": "accepted", "cause": ""}
    assert cause_of(row, [good, wave, wave]) == "sky offset of blocks 3 ← 2, 4 ← 2: airglow wave"
    assert cause_of({"cause": ""}, [wave]) == ""


# Figures and pages -----------------------------------------------------------------------------------------------


def test_rejected_blocks_are_marked_by_more_than_colour() -> None:
    plot = ScanLevels(theme(False))
    blocks = [
        {"block": 0, "first_frame": 0, "last_frame": 41, "status": "accepted", "used_block": 0},
        {"block": 1, "first_frame": 42, "last_frame": 89, "status": "rejected", "used_block": 0},
    ]
    plot.show_scan(blocks, np.full(90, 500.0), ["t"] * 90, np.zeros(90), np.zeros(90))
    data = plot._blocks.data
    assert data["text"] == ["0", "✕ 1 ← 0"]
    assert data["hatch"] == [" ", "/"]
    assert (data["left"], data["right"]) == ([-0.5, 41.5], [41.5, 89.5])
    plot.mark(30)
    assert {s.location for s in plot._spans} == {30}


def test_an_image_keeps_its_zoom_when_it_changes() -> None:
    ranges = linked_ranges((64, 64))
    image = LinkedImage(theme(True), shape=(64, 64), ranges=ranges, stops=SEQUENTIAL)
    ranges[0].update(start=10, end=20)
    image.update(np.ones((64, 64), np.float32), 0.0, 2.0)
    assert (ranges[0].start, ranges[0].end) == (10, 20)
    assert (image.mapper.low, image.mapper.high) == (0.0, 2.0)
    assert image.source.data["image"][0].dtype == np.float32
    image.update(None, 0.0, 1.0)
    assert not image._glyph.visible


def page(night: Night, query: str) -> str:
    """All markup of a page."""
    session = Session(Collector(night.root), query, False)
    parts = [o for o in session.main.select() if hasattr(o, "html")]
    assert session._page is not None, [p.html for p in parts]
    return " ".join(p.html for p in parts)


def test_the_pages_show_a_night_with_scans_and_one_without(four_nights: Night) -> None:
    with_scans, without = four_nights.date(3), four_nights.date(1)
    assert f"Scans of {with_scans}" in page(four_nights, f"?page=scans&night={with_scans}")
    assert "data:image/png" in page(four_nights, f"?page=scans&night={with_scans}&band=H")
    assert "No scan was taken" in page(four_nights, f"?page=scans&night={without}")
    shown = page(four_nights, f"?page=scan&night={with_scans}&band=H&frame=70")
    assert "Scan 1 · H · R2-R1" in shown
    assert "Block 1 · frames 45–89" in shown
    assert "No calibrated scan" in page(four_nights, f"?page=scan&night={without}")


def test_a_step_of_one_frame_leaves_the_rest_of_the_page_alone(four_nights: Night) -> None:
    session = Session(Collector(four_nights.root), f"?page=scan&night={four_nights.date(3)}", False)
    shown = session._page
    session.go(frame=7)
    assert session._page is shown
    before = dict(shown._shown)  # type: ignore[union-attr]
    shown.keys["."]()  # type: ignore[union-attr]
    assert session.view.frame == 8
    changed = {k for k, v in shown._shown.items() if before[k] != v}  # type: ignore[union-attr]
    assert changed == {"frame"}
    assert not session.browser.nav["push"]


def test_raw_scans_are_listed_with_what_became_of_them(four_nights: Night) -> None:
    found = raw_scans(Collector(four_nights.root), four_nights.date(2))
    assert [(r.band, r.scan, r.status) for r in found] == [("H", 1, "used"), ("J", 1, "used")]
