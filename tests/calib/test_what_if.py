"""Which verdicts flip under other limits: told from numbers alone, and as a run under those limits says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from small_camera import Night, rows, run, small

from calib.archive.database import Archive
from calib.archive.decisions import decide
from calib.archive.history import judged_under, read_judged
from calib.archive.products import sky_offsets_path
from calib.archive.verify import verify_archive
from calib.archive.versions import save_version
from calib.checks import check_table
from calib.errors import ProfileError
from calib.judged import COMPARED, Judged
from calib.limits import changed_profile, differences, keys
from calib.profile import Profile, load_profile
from calib.what_if import Flip, Flips, verdict_flips
from calib.what_if_alerts import AlertChange, alert_changes

CAMERA = load_profile("2mass")


def table(subject: str, n: int, **columns: Any) -> dict[str, list[Any]]:
    """Rows of so many nights in J that pass every check, with some columns replaced."""
    limits = CAMERA.limits_for(subject, "J", "R2-R1")
    nights = [d.date().isoformat() for d in pd.date_range("1999-05-01", periods=n)]
    found: dict[str, list[Any]] = {"night": nights, "band": ["J"] * n, "read": ["R2-R1"] * n}
    found |= {"status": ["accepted"] * n, "override": [False] * n, "period": [""] * n, "key": ["k"] * n}
    found |= {"scan": [1] * n, "block": [0] * n}
    found["standard"] = [nights[max(k - 5, 0) : k] or nights[1:3] for k in range(n)]
    for name, check in check_table(subject).items():
        value = limits[name].value * (1.2 if check.bound == "min" else 0.5)
        found["n_frames" if name == "frames" else name] = [value] * n
    return {**found, **{k: list(v) for k, v in columns.items()}}


def flips(subject: str, changes: Mapping[str, float | None], columns: Any, *, camera: Profile = CAMERA) -> Flips:
    judged = Judged.of(subject, columns, read="R2-R1")
    return verdict_flips(judged, camera, changed_profile(camera, changes))


def test_a_lowered_limit_rejects_what_lies_above_it_and_says_by_which_check() -> None:
    found = flips("flat", {"limits.flat.gradient.max": 0.5}, table("flat", 4, gradient=[0.1, 0.6, 0.5, 0.55]))
    told = list(found.first())
    assert [(f.night, f.before, f.after, f.check.name, f.value, f.old, f.new) for f in told] == [
        ("1999-05-04", "accepted", "rejected", "gradient", 0.55, 0.7, 0.5),
        ("1999-05-02", "accepted", "rejected", "gradient", 0.6, 0.7, 0.5),
    ]
    assert found.counts() == {("J", "accepted", "rejected"): 2}


def test_a_raised_limit_accepts_only_what_no_other_check_rejects() -> None:
    columns = table("flat", 3, gradient=[0.1, 0.9, 0.9], range=[3, 3, 1.5], status=["accepted", "rejected", "rejected"])
    (flip,) = flips("flat", {"limits.flat.gradient.max": 1.0}, columns).first()
    assert (flip.night, flip.before, flip.after, flip.check.name) == (
        "1999-05-02",
        "rejected",
        "accepted",
        "gradient",
    )


def test_what_could_not_be_measured_fails_under_any_limit() -> None:
    columns = table("dark", 3, drift=[1.0, None, float("nan")], status=["accepted", "rejected", "rejected"])
    assert not len(flips("dark", {"limits.dark.drift.max": 1e9}, columns))
    (flip,) = flips("dark", {"limits.dark.drift.max": 0.5}, columns).first()
    assert flip.night == "1999-05-01"


def test_a_value_at_its_limit_still_passes() -> None:
    assert not len(flips("dark", {"limits.dark.drift.max": 1.0}, table("dark", 3, drift=[1.0] * 3)))
    below = math.nextafter(1.0, 0.0)
    assert len(flips("dark", {"limits.dark.drift.max": below}, table("dark", 3, drift=[1.0] * 3))) == 3


def test_the_limit_of_a_read_beats_that_of_a_band_and_both_that_of_all() -> None:
    columns = table("dark", 2, read=["R1", "R2-R1"], drift=[5.0, 5.0])
    assert len(flips("dark", {"limits.dark.drift.max": 1.0}, columns)) == 1  # R1 has its own: 25 DN
    assert len(flips("dark", {"limits.dark.drift.R1": 1.0, "limits.dark.drift.J": 50}, columns)) == 1
    assert len(flips("dark", {"limits.dark.drift.J": 1.0}, columns)) == 1
    assert len(flips("dark", {"limits.dark.drift.R1": None, "limits.dark.drift.max": 1.0}, columns)) == 2
    assert not len(flips("dark", {"limits.dark.drift.H": 1.0}, columns))


def test_what_a_person_decided_does_not_flip_and_is_counted() -> None:
    found = flips("dark", {"limits.dark.drift.max": 0.5}, table("dark", 3, drift=[1.0] * 3, override=[True, False, 0]))
    assert (len(found), found.held) == (2, 1)


def test_a_flat_without_a_usable_dark_stays_rejected() -> None:
    nothing = {"gradient": [None] * 2, "status": ["rejected"] * 2, "key": [""] * 2}
    assert not len(flips("flat", {"limits.flat.gradient.max": 99}, table("flat", 2, **nothing)))


def test_nights_behind_a_flip_are_compared_anew_and_their_own_flips_are_not_certain() -> None:
    gradient = [0.1] * 12
    gradient[5] = 0.69
    gradient[7] = 0.65
    found = flips("flat", {"limits.flat.gradient.max": 0.6}, table("flat", 12, gradient=gradient))
    told = {f.night[-2:]: f.certain for f in found.first()}
    assert told == {"06": True, "08": False}
    # Each of them misses in the standard of the five good nights after it.
    assert found.remade == 5
    assert flips("flat", {"limits.flat.cell_rms.max": 0.1}, table("flat", 12, gradient=gradient)).remade == 0


def test_what_fails_by_itself_is_certain_whatever_it_is_compared_with() -> None:
    found = flips("flat", {"limits.flat.range.min": 2.6}, table("flat", 8))
    assert [f.certain for f in found.first()] == [True] * 8


def test_few_nights_are_provisional_whatever_the_comparison_says() -> None:
    two = {"status": ["provisional"] * 2, "gradient": [None, 0.5], "standard": [[], ["1999-05-01"]]}
    assert not len(flips("flat", {"limits.flat.gradient.max": 0.1}, table("flat", 2, **two)))
    told = list(flips("flat", {"limits.flat.range.min": 3.0}, table("flat", 2, **two)).first())
    assert [(f.before, f.after, f.certain) for f in told] == [("provisional", "rejected", True)] * 2


def test_no_row_and_no_change_flip_nothing() -> None:
    empty: dict[str, list[Any]] = {k: [] for k in table("sky_offset", 1)}
    assert not len(flips("sky_offset", {"limits.sky_offset.halves.max": 0.01}, empty))
    assert not len(flips("sky_offset", {}, table("sky_offset", 3)))


def test_sky_offsets_are_told_by_scan_and_block_and_their_scans_counted() -> None:
    columns = table("sky_offset", 3, night=["1999-05-01"] * 3, block=[0, 1, 0], scan=[1, 1, 2])
    found = flips("sky_offset", {"limits.sky_offset.frames.min": 100}, columns)
    assert [(f.scan, f.block, f.check.name) for f in found.first()] == [
        (1, 0, "frames"),
        (1, 1, "frames"),
        (2, 0, "frames"),
    ]
    assert found.scans() == 2


def test_only_so_many_are_told_but_all_are_counted() -> None:
    found = flips("dark", {"limits.dark.drift.max": 0.5}, table("dark", 50, drift=[1.0] * 50))
    assert len(list(found.first(10))) == 10
    assert len(found) == 50


# Against a run --------------------------------------------------------------------------------------------------------

TABLES = {"dark": "darks", "flat": "flats", "sky_offset": "sky_offsets"}


def keyed(root: Path, subject: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    names = ("night", "band", "read", "scan", "block")
    return {tuple(r.get(n) for n in names): r for r in rows(root, TABLES[subject])}


def place(flip: Flip) -> tuple[Any, ...]:
    return flip.night, flip.band, None if flip.subject == "flat" else flip.read, flip.scan, flip.block


def predicted_and_run(night: Night, changes: Mapping[str, float | None]) -> tuple[list[Flip], dict[str, Any]]:
    """Tell the flips, then run under the changed profile; return them and what really flipped by subject and place."""
    archive = Archive(night.root)
    profile = archive.current_profile()
    assert profile is not None
    new = changed_profile(profile, changes)
    told = [f for s in TABLES for f in verdict_flips(read_judged(archive, s, profile), profile, new).first()]
    before = {s: keyed(night.root, s) for s in TABLES}
    run(archive, night.raw, new)
    after = {s: keyed(night.root, s) for s in TABLES}
    real = {
        (s, k): (before[s][k]["status"], row["status"])
        for s in TABLES
        for k, row in after[s].items()
        if row["status"] != before[s][k]["status"]
    }
    return told, real


def between(root: Path, subject: str, check: str, **where: Any) -> float:
    """A limit between the two largest values of a check."""
    values = sorted(r[check] for r in rows(root, TABLES[subject], **where))
    return float(np.mean(values[-2:]))


@pytest.mark.parametrize(
    ("subject", "check"),
    [("dark", "clipped"), ("dark", "noise_high"), ("flat", "residual"), ("sky_offset", "halves")],
)
def test_flips_by_checks_of_the_product_itself_are_those_of_a_run(settled: Night, subject: str, check: str) -> None:
    where = {"band": "J"} if subject == "flat" else {"band": "J", "read": "R2-R1"}
    limit = between(settled.root, subject, check, **where)
    told, real = predicted_and_run(settled, {f"limits.{subject}.{check}.J": limit})
    direct = {(f.subject, place(f)): (f.before, f.after) for f in told}
    assert direct
    flipped = {k: v for k, v in real.items() if k[0] == subject}
    assert {k: v for k, v in flipped.items() if k in direct} == direct
    # Where fewer than three good nights are left nothing is settled any more.
    assert {after for k, (_, after) in flipped.items() if k not in direct} <= {"provisional"}
    assert {f.check.name for f in told} == {check}


def test_flips_by_comparison_are_those_of_a_run_where_the_canonical_stays(settled: Night) -> None:
    nights = {b: rows(settled.root, "flats", band=b) for b in ("J", "H")}
    # The last night's flat alone fails: no night comes after it whose standard would change.
    band, check = next(
        (b, c) for b in nights for c in COMPARED["flat"] if nights[b][-1][c] > max(n[c] for n in nights[b][:-1])
    )
    limit = between(settled.root, "flat", check, band=band)
    told, real = predicted_and_run(settled, {f"limits.flat.{check}.{band}": limit})
    (flip,) = told
    assert (flip.night, flip.check.name, flip.after, flip.certain) == (settled.date(3), check, "rejected", True)
    assert real["flat", place(flip)] == ("accepted", "rejected")
    assert [k for k in real if k[0] != "sky_offset"] == [("flat", place(flip))]


def test_a_rejected_night_is_accepted_as_a_run_says(bad_first_night: Night, tmp_path: Path) -> None:
    night = bad_first_night.copy(tmp_path / "archive")
    first = rows(night.root, "flats")[0]
    assert first["status"] == "rejected"
    wide = {f"limits.flat.{c}.max": 99.0 for c in ("gradient", "cell_rms", "cell_extreme", "quadrant", "beyond_2pct")}
    told, real = predicted_and_run(night, wide)
    (flip,) = told
    assert (flip.night, flip.before, flip.after) == (first["night"], "rejected", "accepted")
    assert real["flat", (first["night"], "J", None, None, None)] == ("rejected", "accepted")


def test_a_decided_verdict_stays_in_a_run_too(settled: Night) -> None:
    archive = Archive(settled.root)
    night = settled.date(3)
    decide(archive, who="ann", kind="override", reason="it is good", night=night, band="J", product="flat",
           value="accepted")  # fmt: skip
    run(archive, settled.raw)
    told, real = predicted_and_run(settled, {"limits.flat.range.J": 50.0})
    assert night not in {f.night for f in told if f.subject == "flat"}
    assert not any(k[1][0] == night for k in real if k[0] == "flat")


def test_every_row_says_under_which_version_it_was_judged(settled: Night) -> None:
    archive = Archive(settled.root)
    profile = archive.current_profile()
    assert profile is not None
    assert set(judged_under(archive)) == {profile.hash}
    # No dark and no scan depends on this limit, and it rejects nothing.
    new = changed_profile(profile, {"limits.flat.beyond_2pct.max": 30.0})
    save_version(archive, new, who="ann", reason="wider", seen=1)
    made = {r["path"]: r["made"] for r in rows(settled.root, "products")}
    run(archive, settled.raw, new)
    assert set(judged_under(Archive(settled.root))) == {new.hash}
    assert {r["path"]: r["made"] for r in rows(settled.root, "products")} == made


# Limits by key --------------------------------------------------------------------------------------------------------


def test_every_key_reads_and_writes_its_own_number() -> None:
    for key in keys(CAMERA).values():
        value = key.value(CAMERA)
        moved = changed_profile(CAMERA, {key.name: 0.999 * (1.0 if value is None else value)})
        (change,) = differences(CAMERA, moved)
        assert change.key == key.name
        assert changed_profile(moved, {key.name: value}) == CAMERA


def test_faults_of_changes_are_told_all_at_once() -> None:
    changes = {"limits.flat.gradint.max": 1.0, "limits.flat.range.min": None, "drift.significance": math.inf}
    with pytest.raises(ProfileError, match="3 faults") as told:
        changed_profile(CAMERA, changes)
    assert "did you mean limits.flat.gradient.max" in str(told.value)
    with pytest.raises(ProfileError, match=r"gain_percent\.watch: above drift"):
        changed_profile(CAMERA, {"drift.gain_percent.watch": 11.0})


# Alerts ---------------------------------------------------------------------------------------------------------------


def alert(**changes: Any) -> dict[str, Any]:
    row = {"night": "1999-05-04", "band": "J", "product": "responsivity", "region": "Q1", "metric": "quadrant"}
    row |= {"state": "WATCH", "value": 1.4, "unit": "%", "significance": 9.0, "since": "1999-05-04"}
    return {**row, "last_night": "1999-05-06", **changes}


def state(night: str, value: float | None = 1.4, **changes: Any) -> dict[str, Any]:
    row = {"night": night, "band": "J", "product": "responsivity", "region": "Q1", "state": "WATCH", "value": value}
    return {**row, "significance": 9.0, "since": "1999-05-04", **changes}


def alerts(changes: Mapping[str, float], found: list[Any], states: list[Any], darks: Any = ()) -> list[AlertChange]:
    return alert_changes(found, states, darks, CAMERA, changed_profile(CAMERA, changes))


def test_an_alerts_state_follows_its_largest_size_not_the_present_one() -> None:
    nights = [state("1999-05-04"), state("1999-05-05", -1.9), state("1999-05-06")]
    (change,) = alerts({"drift.responsivity_percent.drift": 1.8}, [alert()], nights)
    assert (change.before, change.after, change.value, change.certain) == ("WATCH", "DRIFT", -1.9, True)
    assert (change.old, change.new) == (2.0, 1.8)
    assert not alerts({"drift.responsivity_percent.drift": 1.95}, [alert()], nights)
    (change,) = alerts({"drift.responsivity_percent.watch": 1.95}, [alert()], nights)
    assert (change.after, change.certain) == ("NOTICE", True)


def test_an_alert_whose_largest_size_is_not_known_is_not_certain() -> None:
    other = [state("1999-05-05", 2.5, region="C12", since="1999-05-05")]
    (change,) = alerts({"drift.responsivity_percent.watch": 1.5}, [alert()], other)
    assert not change.certain


def test_a_higher_significance_takes_alerts_away_and_a_lower_one_brings_some() -> None:
    (gone,) = alerts({"drift.significance": 9.5}, [alert()], [])
    assert (gone.before, gone.after, gone.certain) == ("WATCH", "", False)
    quiet = [
        state(f"1999-05-1{k}", None, state="OK", significance=s, since=None) for k, s in enumerate((1, 4, 4.2, 1, 4))
    ]
    found = alerts({"drift.significance": 3.9}, [], quiet)
    assert [(c.night, c.before, c.after) for c in found] == [("1999-05-14", "", "NOTICE"), ("1999-05-11", "", "NOTICE")]
    assert not any(c.certain for c in found)


def test_jumps_of_a_darks_level_come_and_go_with_their_limit() -> None:
    levels = [300.0, 300.0, 410.0, 410.0, 150.0]
    darks = [
        {"night": f"1999-05-0{k}", "band": "J", "read": "R2-R1", "period": "", "level_dn": v, "status": "accepted"}
        for k, v in enumerate(levels, start=1)
    ]
    old = alert(night="1999-05-05", product="dark R2-R1", region="array", metric="level jump", state="DRIFT")
    old |= {"significance": None, "value": -260.0, "unit": "DN"}
    (new,) = alerts({"dark.level_jump_dn.R2-R1": 100.0}, [old], [], darks)
    assert (new.night, new.before, new.after, new.value) == ("1999-05-03", "", "WATCH", 110.0)
    (gone,) = alerts({"dark.level_jump_dn.R2-R1": 300.0}, [old], [], darks)
    assert (gone.night, gone.before, gone.after) == ("1999-05-05", "DRIFT", "")


def test_the_archives_profile_is_the_small_one(four_nights: Night) -> None:
    assert Archive(four_nights.root).current_profile() == small()


# Sky offsets under other limits ---------------------------------------------------------------------------------------


def test_other_limits_of_sky_offsets_judge_their_numbers_and_read_no_frame(settled: Night) -> None:
    """Where the same offsets serve, only what is said of them changes; where others do, that scan alone is redone."""
    archive = Archive(settled.root)
    made = {r["path"]: r["made"] for r in rows(settled.root, "products")}
    wider = changed_profile(small(), {"limits.sky_offset.halves.max": 2.0})
    report = run(archive, settled.raw, wider)
    assert report.products == 0
    assert set(judged_under(Archive(settled.root))) == {wider.hash}
    path = sky_offsets_path(settled.date(3), "J", 1, "R2-R1")
    with fits.open(settled.root / path) as product:
        checks = product["CHECKS"].data
        of_halves = checks[checks["CHECK"] == "halves"]
        assert set(of_halves["LIMIT"]) == {2.0}
        assert of_halves["BLOCK"].tolist() == [0, 1]
    assert verify_archive(Archive(settled.root), lambda *_: None)[1] == []

    limit = between(settled.root, "sky_offset", "halves", band="J", read="R2-R1")
    strict = changed_profile(wider, {"limits.sky_offset.halves.R2-R1": limit})
    told = list(verdict_flips(read_judged(Archive(settled.root), "sky_offset", wider), wider, strict).first())
    run(Archive(settled.root), settled.raw, strict)
    scans = {(f.night, f.band) for f in told}
    redone = {p for p, m in made.items() for r in rows(settled.root, "products", path=p) if r["made"] != m}
    assert {p.split("/")[-1] for p in redone} == {"sky-offsets-R2-R1.fits", "frames-R2-R1.fits"}
    assert {(p.split("/")[1], p.split("/")[2]) for p in redone} == scans
    for f in told:
        (row,) = rows(settled.root, "sky_offsets", night=f.night, band=f.band, read="R2-R1", block=f.block)
        assert row["status"] == "rejected"
        # Unless no other is left, and the best one has to serve.
        scan = {k: row[k] for k in ("night", "band", "read", "scan")}
        if any(r["status"] == "accepted" for r in rows(settled.root, "sky_offsets", **scan)):
            assert row["used_block"] != f.block


def test_scans_whose_offsets_are_to_be_replaced_wait_where_no_scan_is_calibrated(settled: Night) -> None:
    limit = between(settled.root, "sky_offset", "halves", band="J", read="R2-R1")
    strict = changed_profile(small(), {"limits.sky_offset.halves.R2-R1": limit})
    run(Archive(settled.root), settled.raw, strict, scans=False)
    stale = [r["stale"] for r in rows(settled.root, "scans", band="J", read="R2-R1") if r["stale"]]
    assert set(stale) == {"limits of its sky offsets were moved, and others of them serve now"}
    run(Archive(settled.root), settled.raw, strict)
    assert not any(r["stale"] for r in rows(settled.root, "scans"))
