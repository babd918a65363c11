"""What is foretold of a decision is what then happens, and nothing else; what was not redone yet says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_camera import Night, assert_same, rows, run, small

from calib.archive.database import Archive
from calib.archive.decisions import decide
from calib.archive.products import canonical_path, read_product
from calib.consequences import Change, Consequences, Flip, what_would_follow
from calib.consequences_words import consequences_lines, flip_words, summary_lines
from calib.survey import run_survey

GOOD: dict[str, Any] = {"who": "ada", "reason": "seen with my own eyes"}


def flat(night: str, value: str) -> dict[str, Any]:
    return {"kind": "override", "product": "flat", "night": night, "band": "J", "value": value}


def dark(night: str, value: str, read: str = "R2-R1") -> dict[str, Any]:
    return {**flat(night, value), "product": "dark", "read": read}


def offset(night: str, value: str, block: int) -> dict[str, Any]:
    return {**dark(night, value), "product": "sky-offset", "scan": 1, "block": block}


def without_scans(night: Night) -> None:
    archive = Archive(night.root)
    run_survey(archive, small(), [], frames=None, scans=False)
    archive.close()


CASES: dict[str, tuple[str, Callable[[Night], dict[str, Any]]]] = {
    "a flat is rejected": ("settled", lambda n: flat(n.date(1), "rejected")),
    "a cloudy flat is accepted": ("cloudy", lambda n: flat(n.date(0), "accepted")),
    "a dark is rejected": ("settled", lambda n: dark(n.date(2), "rejected")),
    "a dark that no flat needs is rejected": ("settled", lambda n: dark(n.date(2), "rejected", "R1")),
    "a sky offset is rejected": ("settled", lambda n: offset(n.date(2), "rejected", 0)),
    "a hardware period begins": ("swap", lambda n: {"kind": "period", "night": n.date(4), "band": None}),
}


@pytest.fixture
def archives(
    settled: Night, bad_first_night: Night, swapped: Night, tmp_path: Path
) -> Callable[[str], tuple[Night, dict[str, Any]]]:
    """A copy of the archive that a case is about, and its tables as they are."""

    def get(name: str) -> tuple[Night, dict[str, Any]]:
        if name == "settled":
            night = settled
        else:
            night = {"cloudy": bad_first_night, "swap": swapped}[name].copy(tmp_path / name)
        return night, state(night.root)

    return get


def state(root: Path) -> dict[str, Any]:
    """Verdicts, keys of canonicals and of scans."""
    verdicts: dict[tuple[Any, ...], str] = {(r["night"], r["band"], "flat"): r["status"] for r in rows(root, "flats")}
    verdicts |= {(r["night"], r["band"], f"dark {r['read']}"): r["status"] for r in rows(root, "darks")}
    verdicts |= {
        (r["night"], r["band"], f"sky offset {r['read']}", r["scan"], r["block"]): r["status"]
        for r in rows(root, "sky_offsets")
    }
    return {
        "verdicts": verdicts,
        "canonicals": {(r["night"], r["band"]): r["canonical_key"] for r in rows(root, "flats")},
        "flats": {(r["night"], r["band"]): r["key"] for r in rows(root, "flats")},
        "scans": {(r["night"], r["band"], r["scan"], r["read"]): r["key"] for r in rows(root, "scans")},
    }


def place(f: Flip) -> tuple[Any, ...]:
    return (f.night, f.band, f.product) if f.scan is None else (f.night, f.band, f.product, f.scan, f.block)


@pytest.mark.parametrize("case", CASES)
def test_what_is_foretold_is_what_happens(case: str, archives: Callable[[str], tuple[Night, dict[str, Any]]]) -> None:
    name, make = CASES[case]
    night, before = archives(name)
    decision = make(night)
    archive = Archive(night.root)
    found = what_would_follow(archive, small(), decision)
    assert state(night.root) == before, "foretelling changes nothing"
    number = decide(archive, **GOOD, **decision)
    # First without scans: exactly those that were foretold wait, and say why.
    without_scans(night)
    waiting = {(r["night"], r["band"], r["scan"]) for r in rows(night.root, "scans") if r["stale"]}
    assert waiting == set(found.scans) != set()
    run(night.root, night.raw)
    after = state(night.root)
    assert not any(r["stale"] for r in rows(night.root, "scans"))
    changed = {k for k in before["scans"] | after["scans"] if before["scans"].get(k) != after["scans"].get(k)}
    assert {k[:3] for k in changed} == set(found.scans)
    flipped = {k: v for k, v in after["verdicts"].items() if v != before["verdicts"].get(k)}
    sky_made_anew = {k for k in flipped if len(k) == 5 and k[:2] + k[3:4] in set(found.scans) and case[:5] != "a sky"}
    foretold = {place(f): f.after for f in found.flips}
    remade = {(n, b, "flat") for n, b in found.remade}
    assert {k: v for k, v in flipped.items() if k not in sky_made_anew | remade} == {
        k: v for k, v in foretold.items() if k not in remade
    }
    assert {k for k in after["canonicals"] if after["canonicals"][k] != before["canonicals"].get(k)} == set(
        found.canonicals
    )
    assert {k for k in after["flats"] if after["flats"][k] != before["flats"].get(k)} == set(found.remade)
    # And the other way round: to take it back leads to where all came from.
    back = what_would_follow(Archive(night.root), small(), without=[number])
    assert set(back.canonicals) == set(found.canonicals)
    assert set(back.scans) == set(found.scans)
    # Frames that had to do with another block's sky offset get back their own.
    assert (back.frames, back.own_frames) == (0, found.frames)
    assert bool(found.frames) == (case == "a sky offset is rejected")
    assert {place(f): f.after for f in back.flips if place(f) in foretold} == {place(f): f.before for f in found.flips}


def test_the_change_of_a_canonical_is_that_of_its_files(settled: Night) -> None:
    decision = flat(settled.date(1), "rejected")
    paths = {n: canonical_path(settled.date(n), "J") for n in range(1, 4)}
    before = {n: read_product(settled.root, p, ("SCI",))["SCI"] for n, p in paths.items()}
    found = what_would_follow(Archive(settled.root), small(), decision)
    decide(Archive(settled.root), **GOOD, **decision)
    run(settled.root, settled.raw)
    for change in found.changes:
        n = next(k for k in paths if settled.date(k) == change.night)
        after = read_product(settled.root, paths[n], ("SCI",))["SCI"]
        ratio = 100 * (after / before[n] - 1)
        half = ratio.shape[0] // 2
        told = [np.nanmedian(ratio[a : a + half, b : b + half]) for a in (0, half) for b in (0, half)]
        assert change.quadrants == pytest.approx(told, abs=2e-3)
    assert len(found.changes) == 3


def test_a_second_run_without_scans_has_nothing_to_do_to_them(settled: Night, four_nights: Night) -> None:
    """Marks go when the decision is undone before any scan was touched, and nothing has been made in vain."""
    number = decide(Archive(settled.root), **GOOD, **flat(settled.date(1), "rejected"))
    without_scans(settled)
    stale = {(r["night"], r["stale"]) for r in rows(settled.root, "scans", band="J")}
    assert stale == {(d, f"the canonical of {d}, its dark or the profile changed") for d in map(settled.date, (2, 3))}
    assert not any(r["stale"] for r in rows(settled.root, "scans", band="H"))
    decide(Archive(settled.root), **GOOD, kind="undo", undoes=number)
    without_scans(settled)
    assert not any(r["stale"] for r in rows(settled.root, "scans"))
    assert run(settled.root, settled.raw).products == 0
    assert_same(settled.root, four_nights.root)


def test_without_raw_files_named_a_run_takes_those_it_knows(settled: Night, four_nights: Night) -> None:
    decide(Archive(settled.root), **GOOD, **flat(settled.date(1), "rejected"))
    run(settled.root, [], frames=None)
    flats = rows(settled.root, "flats", band="J")
    assert [r["status"] for r in flats] == ["accepted", "rejected", "accepted", "accepted"]
    assert not any(r["stale"] for r in rows(settled.root, "scans"))


def test_scans_without_final_frames_get_none_when_they_are_calibrated_again(four_nights: Night, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    run(root, four_nights.raw, frames=False)
    decide(Archive(root), **GOOD, **flat(four_nights.date(1), "rejected"))
    run(root, [], frames=None)
    assert {r["has_frames"] for r in rows(root, "scans")} == {False}
    assert not list(root.rglob("frames-*.fits"))


def test_consequences_in_words() -> None:
    found = Consequences(
        flips=[
            Flip("1999-05-02", "J", "flat", "accepted", "rejected", "rejected by decision"),
            Flip("1999-05-03", "J", "sky offset R1", "rejected", "accepted", "", 1, 4),
        ],
        canonicals=[("1999-05-02", "J")],
        changes=[Change("1999-05-02", "J", "canonical", (0.123, -0.5, float("nan"), 0.0), "%")],
        scans=[("1999-05-02", "J", 1), ("1999-05-02", "J", 2)],
        remade=[("1999-05-02", "J")],
        frames=1,
        own_frames=46,
        lost=[("1999-05-02", "J", 2)],
    )
    assert summary_lines(found) == [
        "2 verdicts flip: 1 accepted → rejected, 1 rejected → accepted",
        "1 canonical changes, a quadrant by 0.50 % at most",
        "1 responsivity made anew with another dark; verdicts on them are settled then",
        "46 frames get back the sky offset of their own block",
        "1 frame receives the sky offset of another block",
        "2 scans need to be calibrated again",
        "1 scan of them can no longer be calibrated: nothing usable is left",
    ]
    assert "  canonical of 1999-05-02 J: Q1 +0.12, Q2 −0.50, Q3 unknown, Q4 +0.00 %" in consequences_lines(found)
    assert flip_words(found.flips[1]) == "1999-05-03 J sky offset R1 scan 1 block 4: rejected → accepted"
    assert summary_lines(Consequences()) == ["nothing that is computed would change"]
