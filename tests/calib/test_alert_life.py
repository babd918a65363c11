"""What people said about alerts, joined with what is measured: nothing red turns unremarkable unseen."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from calib.alert_life import LIVES, with_life

ALERT: dict[str, Any] = {
    "night": "1999-05-03",
    "band": "J",
    "product": "responsivity",
    "region": "Q2",
    "metric": "quadrant step",
    "state": "DRIFT",
    "over": False,
    "last_night": "1999-05-05",
    "proposal": None,
}


def decision(number: int, kind: str, **more: Any) -> dict[str, Any]:
    names = ("night", "band", "product", "region", "metric")
    row = {"id": number, "time": f"1999-05-0{number}T10:00:00.000Z", "who": "ada", "kind": kind, "reason": "known"}
    row |= {"value": None, "expires": None, "undoes": None}
    return row | {n: ALERT[n] for n in names} | more


def life(*decisions: dict[str, Any], today: str = "1999-05-06", **alert: Any) -> dict[str, Any]:
    (row,) = with_life([ALERT | alert], decisions, today)
    return row


def test_an_alert_nobody_spoke_of_is_open() -> None:
    row = life()
    assert (row["life"], row["life_by"], row["life_note"], row["life_decision"]) == ("open", "", "", None)


def test_an_alert_of_another_region_is_another_alert() -> None:
    assert life(decision(1, "acknowledge", region="Q3"))["life"] == "open"


def test_an_acknowledgement_counts_until_it_expires() -> None:
    said = decision(1, "acknowledge", expires="1999-05-06")
    assert life(said)["life"] == "acknowledged"
    assert life(said)["life_until"] == "1999-05-06"
    after = life(said, today="1999-05-07")
    assert (after["life"], after["life_note"]) == ("open", "the acknowledgement by ada ended on 1999-05-06")


def test_an_acknowledgement_that_was_undone_counts_no_more() -> None:
    undo = decision(2, "undo", undoes=1)
    assert life(decision(1, "acknowledge"), undo)["life"] == "open"


def test_what_was_resolved_and_is_still_there_on_a_later_night_is_open_again() -> None:
    said = decision(1, "resolve", value="1999-05-05")
    assert life(said)["life"] == "resolved"
    again = life(said, last_night="1999-05-06")
    assert again["life"] == "open"
    assert again["life_note"] == "resolved by ada on 1999-05-01, but still there on 1999-05-06"
    # It was over when the later night came: resolved it stays.
    assert life(said, last_night="1999-05-06", over=True)["life"] == "resolved"


def test_of_two_words_on_one_alert_the_later_counts() -> None:
    assert life(decision(1, "resolve", value="1999-05-05"), decision(2, "acknowledge"))["life"] == "acknowledged"


def test_a_proposal_is_dismissed_for_its_band_or_for_all() -> None:
    proposal = {"metric": "hardware period", "region": "array", "proposal": "1999-05-03"}
    for band in ("J", None):
        assert life(decision(1, "dismiss", band=band), **proposal)["life"] == "dismissed"
        assert life(decision(1, "period", band=band), **proposal)["life"] == "resolved"
    assert life(decision(1, "dismiss", band="H"), **proposal)["life"] == "open"
    assert life(decision(1, "dismiss", night="1999-05-02"), **proposal)["life"] == "open"


@given(
    said=st.lists(st.tuples(st.sampled_from(["acknowledge", "resolve", "undo"]), st.integers(1, 6)), max_size=6),
    last=st.integers(5, 8),
    over=st.booleans(),
)
def test_what_is_still_there_is_never_closed_by_anything_older(
    said: list[tuple[str, int]], last: int, over: bool
) -> None:
    decisions = [
        decision(k, kind, value="1999-05-05", undoes=target if kind == "undo" else None)
        for k, (kind, target) in enumerate(said, start=1)
    ]
    row = life(*decisions, last_night=f"1999-05-0{last}", over=over)
    assert row["life"] in LIVES
    if last > 5 and not over:
        assert row["life"] in ("open", "acknowledged")
    assert {k: v for k, v in row.items() if k in ALERT} == ALERT | {"last_night": f"1999-05-0{last}", "over": over}
