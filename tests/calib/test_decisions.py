"""Decisions: what may be decided, what follows, and that undoing one leaves no trace in the products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from small_camera import Night, assert_same, content, rows, run, small, verdicts

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.decisions import active_decisions, decide, latest_decision, move_period, rulings
from calib.errors import DecisionConflict, DecisionError

GOOD: dict[str, Any] = {"who": "ada", "reason": "seen with my own eyes"}
FLAT = {**GOOD, "kind": "override", "product": "flat", "night": "1999-05-02", "band": "J", "value": "rejected"}
DARK = {**FLAT, "product": "dark", "read": "R1"}
SKY = {**DARK, "product": "sky-offset", "night": "1999-05-03", "scan": 1, "block": 0}
PERIOD = {**GOOD, "kind": "period", "night": "1999-05-03"}
ACKNOWLEDGE = {**GOOD, "kind": "acknowledge", "night": "1999-05-02", "band": "J", "product": "dark R1", "metric": "x"}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such kind": ({**FLAT, "kind": "veto"}, "no such kind of decision: veto (there are override, period,"),
    "no reason": ({**FLAT, "reason": ""}, "a decision needs --reason"),
    "blank reason": ({**FLAT, "reason": " \n"}, "a decision needs --reason"),
    "nobody": ({**FLAT, "who": " "}, "a decision needs --who"),
    "bad date": ({**FLAT, "night": "2nd of May"}, "'2nd of May' is no night; give it as YYYY-MM-DD"),
    "impossible date": ({**PERIOD, "night": "1999-02-30"}, "'1999-02-30' is no night"),
    "no date": ({**PERIOD, "night": ""}, "'' is no night"),
    "a date of another form": ({**PERIOD, "night": "19990503"}, "'19990503' is no night; give it as YYYY-MM-DD"),
    "unknown night": ({**FLAT, "night": "2001-01-01"}, "there is no flat 2001-01-01 J in "),
    "unknown band": ({**FLAT, "band": "L"}, "no band 'L' (there are J, H, Ks)"),
    "unknown band of a period": ({**PERIOD, "band": "L"}, "no band 'L' (there are J, H, Ks)"),
    "a band without flats": ({**FLAT, "band": "Ks"}, "there is no flat 1999-05-02 Ks in "),
    "no band": ({**FLAT, "band": None}, "an override names a band"),
    "unknown product": ({**FLAT, "product": "canonical"}, "an override names a product: dark, flat, sky-offset"),
    "no verdict": ({**FLAT, "value": "maybe"}, "an override says accepted or rejected"),
    "a dark without read": ({**DARK, "read": None}, "an override of a dark names a read"),
    "unknown read": ({**DARK, "read": "R9"}, "there is no dark 1999-05-02 J R9 in "),
    "an offset without scan": ({**SKY, "scan": None}, "an override of a sky-offset names a scan"),
    "an offset without block": ({**SKY, "block": None}, "an override of a sky-offset names a block"),
    "unknown block": ({**SKY, "block": 7}, "there is no sky-offset 1999-05-03 J R1 1 7 in "),
    "unknown alert": (ACKNOWLEDGE, "there is no alert 1999-05-02 J dark R1 array x"),
    "sign-off of no night": ({**GOOD, "kind": "sign-off", "night": "2001-01-01"}, "there is no night 2001-01-01 in "),
    "a note of no night": ({**GOOD, "kind": "note", "night": "2001-01-01"}, "there is no night 2001-01-01 in "),
    "a dismissal of nothing": ({**PERIOD, "kind": "dismiss"}, "no hardware period is proposed for 1999-05-03"),
    "resolved alert that is none": (
        {**ACKNOWLEDGE, "kind": "resolve"},
        "there is no alert 1999-05-02 J dark R1 array x",
    ),
    "a long reason": ({**FLAT, "reason": "x" * 2001}, "--reason has 2001 characters; 2000 are the most"),
    "a reason with an escape": ({**FLAT, "reason": "\x1b[2Jgone"}, "--reason holds control characters"),
    "undo of nothing": ({**GOOD, "kind": "undo", "undoes": 99}, "there is no decision 99 to undo"),
    "undo without number": ({**GOOD, "kind": "undo"}, "there is no decision None to undo"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_decision_that_names_nothing_or_contradicts_itself(name: str, four_nights: Night) -> None:
    decision, message = WRONG[name]
    archive = Archive(four_nights.root)
    with pytest.raises(DecisionError) as caught:
        decide(archive, **decision)
    assert message in str(caught.value)
    assert rows(archive, "decisions") == []


@pytest.mark.parametrize(
    "decision",
    [FLAT, DARK, SKY, PERIOD, {**PERIOD, "band": "H"}, {**GOOD, "kind": "sign-off", "night": "1999-05-04"}],
    ids=["flat", "dark", "sky offset", "period", "period of a band", "sign-off"],
)
def test_a_decision_is_recorded_with_who_when_and_why(decision: dict[str, Any], settled: Night) -> None:
    archive = Archive(settled.root)
    number = decide(archive, **decision)
    (row,) = rows(archive, "decisions")
    assert row["id"] == number
    assert row["time"].endswith("Z")
    assert {k: row[k] for k in decision} == decision


def test_an_undo_can_be_undone_by_deciding_again_only(settled: Night) -> None:
    archive = Archive(settled.root)
    first = decide(archive, **FLAT)
    undo = decide(archive, **GOOD, kind="undo", undoes=first)
    assert active_decisions(archive) == []
    for number in (first, undo):
        with pytest.raises(DecisionError, match=f"decision {number} is undone already, or is itself an undo"):
            decide(archive, **GOOD, kind="undo", undoes=number)
    again = decide(archive, **FLAT)
    assert [d["id"] for d in active_decisions(archive)] == [again]
    # Nothing is ever taken out of the log.
    assert [r["id"] for r in rows(archive, "decisions")] == [first, undo, again]


def test_of_two_decisions_on_one_matter_the_later_counts(settled: Night) -> None:
    archive = Archive(settled.root)
    decide(archive, **FLAT)
    second = decide(archive, **{**FLAT, "value": "accepted"})
    assert rulings(archive).flat == {("1999-05-02", "J"): "accepted"}
    decide(archive, **GOOD, kind="undo", undoes=second)
    assert rulings(archive).flat == {("1999-05-02", "J"): "rejected"}


def test_a_period_begins_on_its_first_night(settled: Night) -> None:
    archive = Archive(settled.root)
    decide(archive, **PERIOD)
    decide(archive, **{**PERIOD, "night": "1999-05-04", "band": "H"})
    ruled = rulings(archive)
    assert [ruled.period(n, "H") for n in ("1999-05-02", "1999-05-03", "1999-05-04", "2010-01-01")] == [
        "",
        "1999-05-03",
        "1999-05-04",
        "1999-05-04",
    ]
    assert ruled.period("1999-05-04", "J") == "1999-05-03"


# Two persons -----------------------------------------------------------------------------------------------------


def test_whoever_decides_later_on_the_same_matter_is_told(settled: Night) -> None:
    archive = Archive(settled.root)
    seen = latest_decision(archive)
    first = decide(archive, **FLAT, seen=seen)
    with pytest.raises(DecisionConflict) as caught:
        decide(archive, **{**FLAT, "who": "bob", "value": "accepted"}, seen=seen)
    assert f"ada was earlier: decision {first} (override flat rejected)" in str(caught.value)
    assert "“seen with my own eyes”" in str(caught.value)
    # Nothing of it is in the log, and with open eyes he may.
    assert [d["id"] for d in rows(archive, "decisions")] == [first]
    decide(archive, **{**FLAT, "who": "bob", "value": "accepted"}, seen=first)
    assert rulings(archive).flat == {("1999-05-02", "J"): "accepted"}


def test_decisions_on_different_matters_do_not_stand_in_each_others_way(settled: Night) -> None:
    archive = Archive(settled.root)
    seen = latest_decision(archive)
    decide(archive, **FLAT, seen=seen)
    decide(archive, **{**FLAT, "night": "1999-05-03"}, seen=seen)
    decide(archive, **{**GOOD, "kind": "note", "night": "1999-05-02"}, seen=seen)
    decide(archive, **PERIOD, seen=seen)
    assert len(rows(archive, "decisions")) == 4
    with pytest.raises(DecisionConflict, match="ada was earlier"):
        decide(archive, **{**PERIOD, "night": "1999-05-04", "who": "bob"}, seen=seen)


def test_an_undo_comes_after_another_word_on_the_same_matter(settled: Night) -> None:
    archive = Archive(settled.root)
    first = decide(archive, **FLAT)
    decide(archive, **{**FLAT, "value": "accepted", "who": "bob"})
    with pytest.raises(DecisionConflict, match="bob was earlier"):
        decide(archive, **GOOD, kind="undo", undoes=first, seen=first)


def test_a_period_is_moved_in_one_step(settled: Night) -> None:
    archive = Archive(settled.root)
    first = decide(archive, **{**PERIOD, "band": "H"})
    second = move_period(archive, **GOOD, period=first, night="1999-05-02")
    assert rulings(archive).periods == (("1999-05-02", "H"),)
    assert [(d["kind"], d["undoes"]) for d in rows(archive, "decisions")] == [
        ("period", None),
        ("undo", first),
        ("period", None),
    ]
    with pytest.raises(DecisionError, match=f"decision {first} is no hardware period that stands"):
        move_period(archive, **GOOD, period=first, night="1999-05-03")
    with pytest.raises(DecisionError, match="is no night"):
        move_period(archive, **GOOD, period=second, night="soon")
    assert len(rows(archive, "decisions")) == 3


def test_a_period_begins_once(settled: Night) -> None:
    archive = Archive(settled.root)
    decide(archive, **PERIOD)
    with pytest.raises(DecisionError, match="a hardware period of all bands begins on 1999-05-03 already"):
        decide(archive, **PERIOD)


def test_an_alert_is_acknowledged_by_its_whole_name(swapped: Night, tmp_path: Path) -> None:
    night = swapped.copy(tmp_path / "archive")
    archive = Archive(night.root)
    alert = rows(archive, schema.alerts)[0]
    name = {n: alert[n] for n in ("night", "band", "product", "region", "metric")}
    decide(archive, **GOOD, **name, kind="acknowledge", expires="1999-06-01")
    with pytest.raises(DecisionError, match="'soon' is no date"):
        decide(archive, **GOOD, **name, kind="acknowledge", expires="soon")
    decide(archive, **GOOD, **name, kind="resolve")
    assert [(d["kind"], d["value"]) for d in active_decisions(archive)] == [
        ("acknowledge", None),
        ("resolve", alert["last_night"]),
    ]
    # What is computed depends on neither.
    assert run(night.root, night.raw).idle


def test_a_dismissed_proposal_is_not_adopted(swapped: Night, tmp_path: Path) -> None:
    adopting = small(("adopt_after_nights = 0", "adopt_after_nights = 3"))
    night = swapped.copy(tmp_path / "archive")
    decide(Archive(night.root), **GOOD, kind="dismiss", night=night.date(4), band="J")
    run(night.root, night.raw, adopting)
    assert rulings(Archive(night.root)).periods == ()
    undone = rows(night.root, "decisions")[0]["id"]
    decide(Archive(night.root), **GOOD, kind="undo", undoes=undone)
    assert rulings(Archive(night.root)).dismissed == frozenset()


# What follows ----------------------------------------------------------------------------------------------------


def undone(night: Night, whole: Night, number: int) -> None:
    """Undo a decision: the archive is what it was, to the byte."""
    decide(Archive(night.root), **GOOD, kind="undo", undoes=number)
    run(night.root, night.raw)
    assert_same(night.root, whole.root)


def test_a_rejected_flat_leaves_the_canonicals(settled: Night, four_nights: Night) -> None:
    number = decide(Archive(settled.root), **FLAT)
    run(settled.root, settled.raw)
    flats = {r["night"]: r for r in rows(settled.root, "flats", band="J")}
    row = flats["1999-05-02"]
    assert (row["status"], row["cause"], row["override"]) == ("rejected", "rejected by decision", True)
    assert all("1999-05-02" not in r["members"] for r in flats.values())
    path = settled.root / "nights" / "1999-05-02" / "J" / "responsivity.fits"
    assert fits.getval(path, "STATUS") == "rejected"
    assert fits.getval(path, "CAUSE") == "rejected by decision"
    # The other band is as it was.
    one, other = content(settled.root), content(four_nights.root)
    assert all(one[p] == other[p] for p in other if "/H/" in p)
    assert any(one[p] != other[p] for p in other if "/J/scans/" in p)
    undone(settled, four_nights, number)


def test_a_rejected_dark_is_replaced_by_the_latest_accepted_one(settled: Night, four_nights: Night) -> None:
    number = decide(Archive(settled.root), **{**DARK, "night": "1999-05-03", "read": "R2-R1"})
    run(settled.root, settled.raw)
    (scan,) = rows(settled.root, "scans", night="1999-05-03", band="J", read="R2-R1")
    assert (scan["dark_night"], scan["dark_age_nights"], scan["dark_status"]) == ("1999-05-02", 1, "accepted")
    (flat,) = rows(settled.root, "flats", night="1999-05-03", band="J")
    assert (flat["dark_night"], flat["dark_age_nights"]) == ("1999-05-02", 1)
    texts = [r["text"] for r in rows(settled.root, "alerts", night="1999-05-03")]
    assert texts == ["J scans calibrated with a stand-in: dark of 1999-05-02 (1 night older) (scan 1)"]
    undone(settled, four_nights, number)


def test_a_rejected_sky_offset_is_replaced_by_its_neighbour(settled: Night, four_nights: Night) -> None:
    number = decide(Archive(settled.root), **{**SKY, "read": "R2-R1"})
    run(settled.root, settled.raw)
    blocks = rows(settled.root, "sky_offsets", night="1999-05-03", band="J", read="R2-R1")
    assert [(b["status"], b["used_block"], b["override"]) for b in blocks] == [
        ("rejected", 1, True),
        ("accepted", 1, False),
    ]
    (scan,) = rows(settled.root, "scans", night="1999-05-03", band="J", read="R2-R1")
    assert (scan["status"], scan["n_rejected"], scan["n_substituted_frames"]) == ("substituted", 1, 45)
    path = settled.root / "nights" / "1999-05-03" / "J" / "scans" / "001" / "frames-R2-R1.fits"
    table = fits.getdata(path, "FRAMES")
    assert list(table["SUBST"]) == [True] * 45 + [False] * 45
    one, other = content(settled.root), content(four_nights.root)
    assert {p for p in other if one[p] != other[p] and not p.startswith("table")} == {
        f"nights/1999-05-03/J/scans/001/{name}-R2-R1.fits" for name in ("frames", "sky-offsets")
    }
    undone(settled, four_nights, number)


def test_a_flat_that_was_rejected_can_be_accepted(bad_first_night: Night, tmp_path: Path) -> None:
    night = bad_first_night.copy(tmp_path / "archive")
    decision = {**FLAT, "night": night.date(0), "value": "accepted"}
    number = decide(Archive(night.root), **decision)
    run(night.root, night.raw)
    flats = rows(night.root, "flats")
    assert (flats[0]["status"], flats[0]["cause"], flats[0]["override"]) == ("accepted", "", True)
    assert all(night.date(0) in r["members"] for r in flats)
    undone(night, bad_first_night, number)


def test_without_any_accepted_dark_nothing_is_calibrated_until_there_is_one(settled: Night, four_nights: Night) -> None:
    """A rejected dark is not used, not even where there is no other."""
    archive = Archive(settled.root)
    numbers = [decide(archive, **{**DARK, "night": settled.date(k), "read": "R2-R1"}) for k in range(4)]
    run(settled.root, settled.raw)
    flats = rows(settled.root, "flats", band="J")
    assert {(r["status"], r["cause"], r["dark_night"]) for r in flats} == {("rejected", "no usable dark", None)}
    assert {r["read"] for r in rows(settled.root, "scans", band="J")} == set()
    assert [p.name for p in sorted((settled.root / "nights" / settled.date(2) / "J").rglob("*.fits"))] == [
        "dark-R1.fits",
        "dark-R2-R1.fits",
    ]
    assert {r["product"] for r in rows(settled.root, "metrics", band="J")} == {"dark R1", "noise R1"}
    assert set(verdicts(settled.root, "H").values()) == {"accepted"}
    assert run(settled.root, settled.raw).idle
    for number in numbers:
        decide(archive, **GOOD, kind="undo", undoes=number)
    run(settled.root, settled.raw)
    assert_same(settled.root, four_nights.root)


def test_without_any_accepted_flat_no_scan_is_calibrated(settled: Night, four_nights: Night) -> None:
    archive = Archive(settled.root)
    numbers = [decide(archive, **{**FLAT, "night": settled.date(k)}) for k in range(4)]
    run(settled.root, settled.raw)
    assert rows(settled.root, "scans", band="J") == []
    assert rows(settled.root, "sky_offsets", band="J") == []
    assert not list(settled.root.glob("nights/*/J/canonical.fits"))
    assert not list(settled.root.glob("references/J/*/responsivity.fits"))
    for number in numbers:
        decide(archive, **GOOD, kind="undo", undoes=number)
    run(settled.root, settled.raw)
    assert_same(settled.root, four_nights.root)


def test_an_override_of_all_nights_together_is_as_if_given_before_the_first_run(
    settled: Night, four_nights: Night, tmp_path: Path
) -> None:
    """The same decisions and files end in the same archive whichever came first."""
    decide(Archive(settled.root), **FLAT)
    run(settled.root, settled.raw)
    other = tmp_path / "other"
    run(other, [four_nights.raw / "1999-05-02"])
    decide(Archive(other), **FLAT)
    run(other, four_nights.raw)
    assert_same(settled.root, other)
