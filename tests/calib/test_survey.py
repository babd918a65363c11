"""A survey from raw files to a settled archive: end to end, cold start, changes of instrument, changed profiles."""

from __future__ import annotations

import os
import shutil
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.io import fits
from small_camera import Night, assert_same, content, rows, run, small, survey_of, verdicts, write_raw

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.decisions import decide
from calib.archive.verify import verify_archive
from calib.errors import ArchiveError
from calib.ingest import sequences_of
from calib.profile import Profile
from calib.raw import find_raw, times
from calib.simulate import CloudGradient, UniformCloud
from calib.survey import run_survey

# Idle runs -------------------------------------------------------------------------------------------------------


def test_a_second_run_is_idle_and_touches_nothing(settled: Night) -> None:
    files = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in settled.root.rglob("*.fits")}
    before = content(settled.root)
    report = run(settled.root, settled.raw)
    assert report.idle
    assert report.nights == ()
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in settled.root.rglob("*.fits")} == files
    assert content(settled.root) == before


def test_every_table_is_filled(four_nights: Night) -> None:
    n = {t: len(rows(four_nights.root, t)) for t in ("darks", "flats", "scans", "sky_offsets", "files", "runs")}
    assert n == {"darks": 16, "flats": 8, "scans": 8, "sky_offsets": 16, "files": 20, "runs": 1}
    assert {r["status"] for r in rows(four_nights.root, "files")} == {"used"}
    assert {r["status"] for r in rows(four_nights.root, "runs")} == {"done"}
    assert rows(four_nights.root, "metrics")
    assert rows(four_nights.root, "lineage")
    assert rows(four_nights.root, "alerts") == []


def test_the_report_tells_what_was_done(tmp_path: Path, four_nights: Night) -> None:
    report = run(tmp_path / "archive", four_nights.raw / four_nights.date(0))
    assert (report.new_files, report.refused, report.nights) == (4, 0, (four_nights.date(0),))
    # Two darks, a responsivity and its canonical are written for each of two bands.
    assert report.products == 8
    assert not report.idle


def test_one_more_night_looks_at_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    survey = survey_of(7, scans={2: 1, 6: 1})
    archive, raw = tmp_path / "archive", write_raw(survey, tmp_path / "raw", nights=range(1, 6))
    run(archive, raw)
    looked_at: list[set[str]] = []

    def note(of: Archive, profile: Profile, nights: Iterable[str]) -> Any:
        looked_at.append(set(nights))
        return sequences_of(of, profile, nights)

    monkeypatch.setattr("calib.survey.sequences_of", note)
    run(archive, write_raw(survey, tmp_path / "later", nights=[6]))
    assert set().union(*looked_at) == {max(verdicts(archive))}
    # What serves a night without a standard of its own lies before it; the very first may serve any.
    looked_at.clear()
    run(archive, write_raw(survey, tmp_path / "earlier", nights=[0]))
    assert set().union(*looked_at) == set(verdicts(archive))


def test_what_hangs_on_a_new_product_is_worked_out_again_and_nothing_else(tmp_path: Path) -> None:
    survey = survey_of(8)
    root, raw = tmp_path / "archive", write_raw(survey, tmp_path / "raw", nights=range(7))
    run(root, raw)
    before = {(r["night"], r["read"]): r for r in rows(root, "darks")}
    anew = sorted({night for night, _ in before})[4]
    archive, d = Archive(root), schema.darks
    with archive.begin() as connection:
        connection.execute(sa.update(d).values(pixels=None, verdict_key="lost"))
        # As a dark stands there whose verdict is still to come.
        connection.execute(sa.update(d).where(d.c.night == anew, d.c.read == "R1").values(verdict_key=None))
    archive.close()
    run(root, write_raw(survey, tmp_path / "later", nights=[7]))
    after = {(r["night"], r["read"]): r for r in rows(root, "darks") if (r["night"], r["read"]) in before}
    again = {key for key, r in after.items() if r["verdict_key"] != "lost"}
    assert again == {(n, r) for n, r in before if r == "R1" and (n == anew or anew in before[n, r]["standard"])}
    assert 2 <= len(again) < 7
    assert all(after[key] == before[key] for key in again)
    # A run that was given up half-way leaves no word of what is settled: then nothing is taken for granted.
    archive = Archive(root)
    with archive.begin() as connection:
        connection.execute(sa.delete(schema.meta).where(schema.meta.c.name == "settled"))
    archive.close()
    run(root, raw)
    assert all(r == before[r["night"], r["read"]] for r in rows(root, "darks") if (r["night"], r["read"]) in before)


def test_a_decision_that_comes_too_late_for_a_run_is_followed_by_the_next(tmp_path: Path, four_nights: Night) -> None:
    root, night = tmp_path / "archive", four_nights.date(1)
    archive = Archive(root, create=True)

    def decides(done: int, total: int, what: str) -> None:
        # Its verdicts are settled, for the last time.
        if what.endswith("deviations") and four_nights.date(3) in what:
            chosen = {"night": night, "band": "J", "product": "flat", "value": "rejected"}
            decide(archive, who="Ada", kind="override", reason="a test", **chosen)

    run_survey(archive, small(), [four_nights.raw], frames=False, progress=decides)
    archive.close()
    assert len(rows(root, "decisions")) == 1
    assert verdicts(root)[night] == "accepted"
    run(root, four_nights.raw, frames=False)
    assert verdicts(root)[night] == "rejected"
    assert run(root, four_nights.raw, frames=False).idle


def test_a_run_without_a_profile_takes_the_one_that_came_while_it_waited(
    tmp_path: Path, four_nights: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path / "archive", create=True)
    writing = Archive.writing

    @contextmanager
    def after_another(self: Archive) -> Iterator[None]:
        with writing(self):
            self.register_profile(small())
            yield

    monkeypatch.setattr(Archive, "writing", after_another)
    assert run_survey(archive, None, [four_nights.raw], frames=False).refused == 0
    current = archive.current_profile()
    assert current is not None
    assert current.hash == small().hash
    archive.close()


def test_frames_of_before_go_when_a_scan_is_calibrated_anew_without(settled: Night) -> None:
    profile = small(("alpha = 0.2 ", "alpha = 0.1 "))
    of_before = {p.relative_to(settled.root).as_posix() for p in settled.root.rglob("frames-*.fits")}
    assert of_before
    # Calibrated as it is, a scan keeps them.
    assert run(settled.root, settled.raw, frames=False).idle
    assert verify_archive(Archive(settled.root), lambda *_: None)[1] == []
    run(settled.root, settled.raw, profile, frames=False)
    assert not any(r["has_frames"] for r in rows(settled.root, "scans"))
    assert not list(settled.root.rglob("frames-*.fits"))
    assert not of_before & {r["path"] for r in rows(settled.root, "products")}
    assert not of_before & {r["child"] for r in rows(settled.root, "lineage")}
    assert verify_archive(Archive(settled.root), lambda *_: None)[1] == []


def test_frames_left_out_are_made_later(tmp_path: Path, four_nights: Night) -> None:
    archive = tmp_path / "archive"
    run(archive, four_nights.raw, frames=False)
    assert not list(archive.rglob("frames-*.fits"))
    assert not any(r["has_frames"] for r in rows(archive, "scans"))
    assert run(archive, four_nights.raw, frames=False).idle
    run(archive, four_nights.raw)
    assert_same(archive, four_nights.root)


def test_a_missing_raw_path_fails_the_run_and_says_so(settled: Night) -> None:
    with pytest.raises(Exception, match="no such file or folder"):
        run(settled.root, settled.raw / "nowhere")
    assert rows(settled.root, "runs")[-1]["status"] == "failed"
    assert run(settled.root, settled.raw).idle


def test_products_outlive_their_raw_files(tmp_path: Path) -> None:
    survey = survey_of(3, scans={2: 1})
    raw = write_raw(survey, tmp_path / "raw")
    archive = tmp_path / "archive"
    run(archive, raw)
    before = content(archive)
    gone = raw / survey.night(2).date / "J-scan-001.fits"
    gone.unlink()
    assert run(archive, raw).idle
    assert content(archive) == before
    report = run(archive, raw, small(("alpha = 0.2 ", "alpha = 0.1 ")))
    assert len(report.messages) == 1
    assert str(gone) in report.messages[0]
    assert "no longer there" in report.messages[0]


def test_raw_files_may_move_to_another_folder(tmp_path: Path) -> None:
    survey = survey_of(3, scans={2: 1})
    raw = write_raw(survey, tmp_path / "raw")
    archive = tmp_path / "archive"
    run(archive, raw)
    before = {k: v for k, v in content(archive).items() if k != "table lineage"}
    moved = raw.rename(tmp_path / "moved")
    run(archive, moved)
    assert {r["status"] for r in rows(archive, "files") if r["path"].startswith(str(moved))} == {"used"}
    assert {k: v for k, v in content(archive).items() if k != "table lineage"} == before
    assert run(archive, moved).idle
    report = run(archive, moved, small(("alpha = 0.2 ", "alpha = 0.1 ")))
    assert report.messages == []
    assert report.nights == (survey.night(2).date,)


def test_two_runs_at_once_on_one_archive(settled: Night) -> None:
    archive = Archive(settled.root)
    inside, leave = threading.Event(), threading.Event()

    def wait(done: int, total: int, what: str) -> None:
        inside.set()
        leave.wait(20)

    first = threading.Thread(target=run_survey, args=(archive, small(), [settled.raw]), kwargs={"progress": wait})
    first.start()
    assert inside.wait(20)
    try:
        with pytest.raises(ArchiveError, match=r"another run \(process \d+\) is writing to .*; wait for it to end"):
            run(settled.root, settled.raw)
    finally:
        leave.set()
        first.join()
    archive.close()
    assert run(settled.root, settled.raw).idle


# Cold start ------------------------------------------------------------------------------------------------------


def test_two_nights_are_provisional(tmp_path: Path, four_nights: Night) -> None:
    raw = [four_nights.raw / four_nights.date(k) for k in (2, 3)]
    run(tmp_path / "archive", raw)
    assert set(verdicts(tmp_path / "archive").values()) == {"provisional"}
    assert {r["canonical_status"] for r in rows(tmp_path / "archive", "scans")} == {"provisional"}
    texts = [r["text"] for r in rows(tmp_path / "archive", "alerts")]
    assert any("canonical provisional: too few nights agree yet" in t for t in texts)
    assert all(fits.getval(p, "STATUS") == "provisional" for p in (tmp_path / "archive").rglob("responsivity.fits"))


def test_provisional_verdicts_are_settled_backwards(tmp_path: Path, four_nights: Night) -> None:
    archive = tmp_path / "archive"
    run(archive, [four_nights.raw / four_nights.date(k) for k in (0, 1)])
    run(archive, four_nights.raw)
    assert set(verdicts(archive).values()) == {"accepted"}
    assert_same(archive, four_nights.root)


def test_scans_whose_files_were_copied_anew_learn_what_became_of_their_standards(tmp_path: Path) -> None:
    survey = survey_of(3, scans={1: 1})
    raw = write_raw(survey, tmp_path / "raw")
    first = [raw / survey.night(k).date for k in (0, 1)]
    run(tmp_path / "archive", first)
    assert {r["dark_status"] for r in rows(tmp_path / "archive", "scans")} == {"provisional"}
    for path in find_raw(first):
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    run(tmp_path / "archive", raw)
    run(tmp_path / "whole", raw)
    assert {r["dark_status"] for r in rows(tmp_path / "archive", "scans")} == {"accepted"}
    assert_same(tmp_path / "archive", tmp_path / "whole")


def test_limits_may_move_while_files_are_copied_anew(tmp_path: Path, four_nights: Night) -> None:
    archive, raw = tmp_path / "archive", tmp_path / "raw"
    shutil.copytree(four_nights.raw, raw)
    moved = small(("steadiness = { max = 3.0 }", "steadiness = { max = 0.001 }"))
    run(archive, raw)
    assert {r["status"] for r in rows(archive, "sky_offsets")} == {"accepted"}
    for path in find_raw([raw]):
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    run(archive, raw, moved)
    run(tmp_path / "whole", raw, moved)
    for table in ("sky_offsets", "scans"):
        assert rows(archive, table) == rows(tmp_path / "whole", table)
    assert {r["status"] for r in rows(archive, "sky_offsets")} == {"rejected"}


def test_a_bad_first_night_does_not_become_the_standard(bad_first_night: Night) -> None:
    flats = rows(bad_first_night.root, "flats")
    assert [r["status"] for r in flats] == ["rejected"] + ["accepted"] * 4
    assert flats[0]["cause"].startswith("cloud gradient (")
    assert "gradient 8.0" in flats[0]["cause"]
    first = bad_first_night.date(0)
    assert all(first not in r["members"] for r in flats)
    for path in bad_first_night.root.rglob("canonical.fits"):
        header = fits.getheader(path)
        assert first not in [header[f"NIGHT{k:03d}"] for k in range(1, header["NMEMBERS"] + 1)]


def test_a_bad_first_night_is_provisional_until_the_others_have_come(bad_first_night: Night, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    folders = [bad_first_night.raw / bad_first_night.date(k) for k in range(5)]
    run(archive, folders[:1])
    assert list(verdicts(archive).values()) == ["provisional"]
    run(archive, folders[:3])
    assert list(verdicts(archive).values()) == ["rejected", "accepted", "accepted"]


def test_an_even_cloud_is_accepted_and_a_slight_gradient_is_not(tmp_path: Path) -> None:
    survey = survey_of(5).with_fault(UniformCloud(night=3, percent=40), CloudGradient(night=4, percent=2.0))
    run(tmp_path / "archive", write_raw(survey, tmp_path / "raw"))
    flats = rows(tmp_path / "archive", "flats")
    assert [r["status"] for r in flats] == ["accepted"] * 4 + ["rejected"]
    assert "cloud gradient" in flats[4]["cause"]
    assert flats[4]["gradient"] == pytest.approx(2.0, abs=0.5)


# A change of the instrument --------------------------------------------------------------------------------------


def test_a_new_array_is_rejected_and_a_hardware_period_proposed(swapped: Night) -> None:
    assert list(verdicts(swapped.root).values()) == ["accepted"] * 4 + ["rejected"] * 4
    alerts = {(r["night"], r["product"], r["metric"]): r for r in rows(swapped.root, "alerts")}
    proposal = alerts[swapped.date(4), "responsivity", "hardware period"]
    assert proposal["value"] == 4
    assert proposal["text"] == (
        f"J responsivity: 4 rejected nights since {swapped.date(4)} agree with each other; the instrument changed. "
        f"Start a hardware period on {swapped.date(4)}"
    )
    assert {r["canonical_status"] for r in rows(swapped.root, "scans")} == {"overtaken"}
    stand_in = alerts[swapped.date(7), "scans", "calibration"]
    assert "canonical overtaken by a change of the instrument (scan 1)" in stand_in["text"]


def test_a_hardware_period_lets_the_new_array_be_accepted(swapped: Night, tmp_path: Path) -> None:
    night = swapped.copy(tmp_path / "archive")
    first = night.date(4)
    decide(Archive(night.root), who="ada", kind="period", night=first, reason="arrays replaced")
    run(night.root, night.raw)
    flats = rows(night.root, "flats")
    assert [r["status"] for r in flats] == ["accepted"] * 8
    assert [r["period"] for r in flats] == [""] * 4 + [first] * 4
    assert all(m >= first for r in flats[4:] for m in r["members"])
    assert all(m < first for r in flats[:4] for m in r["members"])
    assert {r["status"] for r in rows(night.root, "darks")} == {"accepted"}
    assert {r["canonical_status"] for r in rows(night.root, "scans")} == {"accepted"}
    assert rows(night.root, "alerts") == []
    assert (night.root / "references" / "J" / first / "responsivity.fits").is_file()


def test_undoing_a_hardware_period_brings_the_old_archive_back(swapped: Night, tmp_path: Path) -> None:
    night = swapped.copy(tmp_path / "archive")
    number = decide(Archive(night.root), who="ada", kind="period", night=night.date(4), reason="arrays replaced")
    run(night.root, night.raw)
    decide(Archive(night.root), who="ada", kind="undo", undoes=number, reason="it was the cable")
    run(night.root, night.raw)
    assert_same(night.root, swapped.root)


ADOPT = ("adopt_after_nights = 0 ", "adopt_after_nights = 3 ")


def test_the_pipeline_may_adopt_a_hardware_period_by_itself_until_it_is_undone(swapped: Night, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    run(archive, swapped.raw, small(ADOPT))
    (decision,) = rows(archive, "decisions")
    assert (decision["who"], decision["kind"]) == ("pipeline", "period")
    assert (decision["night"], decision["band"]) == (swapped.date(4), "J")
    assert "agree with each other" in decision["reason"]
    assert set(verdicts(archive).values()) == {"accepted"}
    assert run(archive, swapped.raw, small(ADOPT)).idle
    # What a person undoes is not adopted again.
    decide(Archive(archive), who="ada", kind="undo", undoes=1, reason="only dew on the window")
    run(archive, swapped.raw, small(ADOPT))
    assert [d["kind"] for d in rows(archive, "decisions")] == ["period", "undo"]
    assert list(verdicts(archive).values()) == ["accepted"] * 4 + ["rejected"] * 4
    assert run(archive, swapped.raw, small(ADOPT)).idle


# A changed profile -----------------------------------------------------------------------------------------------


def images(path: Path) -> dict[str, np.ndarray]:
    with fits.open(path, checksum=True) as hdus:
        return {h.name: np.asarray(h.data).copy() for h in hdus if isinstance(h, fits.ImageHDU)}


def keys(archive: Path) -> dict[str, str]:
    return {r["path"]: r["key"] for r in rows(archive, "products")}


def redone(night: Night, *edits: tuple[str, str]) -> set[str]:
    """Products with another key after a run with the profile changed."""
    before = keys(night.root)
    run(night.root, night.raw, small(*edits))
    after = keys(night.root)
    assert before.keys() == after.keys()
    return {path for path in after if before[path] != after[path]}


def test_a_changed_limit_flips_verdicts_and_measures_nothing_anew(settled: Night, four_nights: Night) -> None:
    flat = settled.root / "nights" / settled.date(1) / "J" / "responsivity.fits"
    before = {p: images(p) for p in settled.root.rglob("*.fits") if p.name.startswith(("dark", "resp"))}
    # The limits lie just below the worst values, so that one flat and one dark fail.
    residual = {r["band"]: r["residual"] for r in rows(settled.root, "flats", night=settled.date(1))}
    drift = max(r["drift"] for r in rows(settled.root, "darks", read="R1"))
    moved = redone(
        settled,
        ("residual = { max = 1.5 }", f"residual = {{ max = 1.5, J = {residual['J'] - 1e-6!r} }}"),
        ("drift = { max = 6.0, R1 = 25.0 }", f"drift = {{ max = 6.0, R1 = {drift - 1e-6!r} }}"),
    )
    row = rows(settled.root, "flats", night=settled.date(1), band="J")[0]
    assert row["status"] == "rejected"
    assert row["cause"].startswith("moving cloud or unstable light (residual ")
    assert set(verdicts(settled.root, "H").values()) == {"accepted"}
    (dark,) = (r for r in rows(settled.root, "darks") if r["status"] == "rejected")
    assert dark["cause"].startswith("warm-up drift (drift ")
    assert fits.getval(flat, "STATUS") == "rejected"
    assert fits.getval(flat, "CAUSE") == row["cause"].replace("χ²", "chi2")
    for path, old in before.items():
        if path.parts[-4] == "nights" and path.exists():
            for name, image in images(path).items():
                np.testing.assert_array_equal(image, old[name])
    assert not {p for p in moved if p.startswith("nights/") and ("dark-" in p or "responsivity" in p)}
    run(settled.root, settled.raw)
    assert_same(settled.root, four_nights.root)


def test_another_trimming_redoes_the_scans_alone(settled: Night) -> None:
    moved = redone(settled, ("alpha = 0.2 ", "alpha = 0.1 "))
    assert moved == {p for p in keys(settled.root) if "/scans/" in p}


def test_another_clipping_redoes_the_darks_and_all_that_hangs_on_them(settled: Night) -> None:
    moved = redone(settled, ("clip_sigma = 5.0 ", "clip_sigma = 4.2 "))
    assert moved == set(keys(settled.root))


def test_another_clipping_of_the_fit_leaves_the_darks(settled: Night) -> None:
    moved = redone(settled, ("clip_sigma = 4.0 ", "clip_sigma = 4.2 "))
    assert moved == {p for p in keys(settled.root) if "dark-" not in p}


def test_returning_to_the_first_profile_returns_to_the_first_archive(settled: Night, four_nights: Night) -> None:
    edits = ("alpha = 0.2 ", "alpha = 0.1 "), ("block_frames = 42 ", "block_frames = 30 ")
    run(settled.root, settled.raw, small(*edits))
    assert {r["n_blocks"] for r in rows(settled.root, "scans")} == {3}
    run(settled.root, settled.raw)
    assert_same(settled.root, four_nights.root)


def test_another_way_to_read_headers_reads_them_again(settled: Night) -> None:
    """A band that the profile calls by another value is refused, products of the night are left as they are."""
    run(settled.root, settled.raw, small(('H = ["H"]', 'H = ["HX"]')))
    reasons = {r["reason"] for r in rows(settled.root, "files") if r["status"] == "refused"}
    assert len(reasons) == 1
    assert "unknown FILTER value 'H'" in reasons.pop()


def test_no_warning_on_the_way(tmp_path: Path, four_nights: Night) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tmp_path / "archive", find_raw([four_nights.raw / four_nights.date(2)]))


def test_a_file_whose_name_is_not_utf8_is_refused_once_and_the_rest_goes_on(four_nights: Night, tmp_path: Path) -> None:
    raw, night = tmp_path / "raw", four_nights.date(0)
    shutil.copytree(four_nights.raw / night, raw / night)
    dark = raw / night / "J-dark.fits"
    # One beside a copy with a good name, one in a folder.
    shutil.copy(dark, raw / night / os.fsdecode(b"latin_\xe9\xff.fits"))
    folder = raw / os.fsdecode(b"h\xe9")
    folder.mkdir()
    shutil.move(raw / night / "H-dark.fits", folder / "H-dark.fits")
    assert run(tmp_path / "archive", raw).refused == 2
    found = {r["path"]: (r["reason"], r["size"]) for r in rows(tmp_path / "archive", "files", status="refused")}
    assert found == {
        f"{raw}/{night}/latin_\\xe9\\xff.fits": ("its name is not UTF-8; rename it", dark.stat().st_size),
        f"{raw}/h\\xe9/H-dark.fits": ("the name of a folder above it is not UTF-8; rename it", dark.stat().st_size),
    }
    assert {(r["band"], r["status"]) for r in rows(tmp_path / "archive", "files") if r["band"]} == {
        ("J", "used"),
        ("H", "used"),
    }
    assert run(tmp_path / "archive", raw).idle


def test_a_file_ahead_of_the_clock_is_taken_in_once_the_clock_is_right(
    four_nights: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = four_nights.raw / four_nights.date(0)
    with monkeypatch.context() as clock:
        clock.setattr(times, "utc_now", lambda: datetime(1970, 1, 1))
        assert run(tmp_path / "archive", raw).refused == 4
        assert rows(tmp_path / "archive", "darks") == []
        assert run(tmp_path / "archive", raw).idle
    assert run(tmp_path / "archive", raw).new_files == 4


def test_an_archive_among_its_raw_files_takes_in_none_of_its_products(four_nights: Night, tmp_path: Path) -> None:
    night = four_nights.date(0)
    shutil.copytree(four_nights.raw / night, tmp_path / night)
    run(tmp_path / "archive", tmp_path)
    report = run(tmp_path / "archive", tmp_path)
    assert (report.idle, report.refused) == (True, 0)
    assert len(rows(tmp_path / "archive", "files")) == 4
