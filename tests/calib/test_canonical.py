"""Windows, cold starts settled backwards, rulings, stuck rejections: nights as numbers, the instrument as levels.

Each night of these stories measured one number. It agrees with a standard if it lies within 1 of its mean.
"""

import itertools
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.canonical import Candidate, age_nights, nearest_accepted, reference_members, settle
from calib.checks import Check, CheckResult, judge
from calib.profile import CanonicalSettings

SOUND = (CheckResult(Check("flat", "frames", "", "min", "frames", "too few frames"), 56, 20),)
UNSOUND = (replace(SOUND[0], value=3),)
AGREES = Check("flat", "cell_rms", "%", "max", "distance", "another level")
RULES = CanonicalSettings()


def name(k):
    return (date(1999, 5, 1) + timedelta(days=k)).isoformat()


def story(levels, *, rulings=None, unsound=(), rules=RULES, order=None, asked=None):
    """Settle nights that measured these levels; None is a night without a product."""
    value = {name(k): v for k, v in enumerate(levels) if v is not None}

    def compare(night, standard):
        assert standard, "a comparison needs a standard"
        if asked is not None:
            asked.append((night, standard))
        distance = abs(value[night] - sum(value[n] for n in standard) / len(standard))
        return judge((CheckResult(AGREES, distance, 1.0),))

    candidates = [
        Candidate(name(k), UNSOUND if k in unsound else SOUND, (rulings or {}).get(k))
        for k, v in enumerate(levels)
        if v is not None
    ]
    if order:
        candidates = [candidates[k] for k in order]
    return settle(candidates, compare, rules)


def statuses(survey):
    return "".join({"accepted": "A", "rejected": "r", "provisional": "p"}[s.verdict.status] for s in survey.nights)


def days(nights):
    return [(date.fromisoformat(n) - date(1999, 5, 1)).days for n in nights]


# The window ------------------------------------------------------------------------------------------------------


def test_the_canonical_is_the_mean_of_the_last_five_accepted_nights_tonight_included():
    survey = story([0] * 8)
    assert statuses(survey) == "AAAAAAAA"
    assert days(survey.nights[2].members) == [0, 1, 2]
    assert days(survey.nights[7].members) == [3, 4, 5, 6, 7]
    assert days(survey.nights[7].standard) == [2, 3, 4, 5, 6]


def test_a_rejected_night_leaves_the_canonical_as_it_was_and_never_enters_it():
    survey = story([0, 0, 0, 0, 0, 9, 0, 0])
    assert statuses(survey) == "AAAAArAA"
    assert survey.nights[5].members == survey.nights[4].members
    assert survey.nights[5].verdict.cause.startswith("another level")
    assert days(survey.nights[7].members) == [2, 3, 4, 6, 7]
    assert all(name(5) not in s.members + s.standard for s in survey.nights)


def test_the_window_follows_a_slow_drift_that_the_first_night_would_not_pass():
    survey = story([0.2 * k for k in range(30)])
    assert statuses(survey) == "A" * 30


def test_missing_nights_do_not_shorten_the_window():
    survey = story([0, None, 0, 0, None, None, 0, 0, 0])
    assert days(survey.nights[-1].members) == [2, 3, 6, 7, 8]


def test_another_window_is_a_setting():
    survey = story([0] * 6, rules=CanonicalSettings(window=2))
    assert [days(s.members) for s in survey.nights[-2:]] == [[3, 4], [4, 5]]


# Cold start ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_nights_are_provisional_even_if_they_agree(n):
    survey = story([0] * n)
    assert statuses(survey) == "p" * n
    assert survey.accepted == ()
    assert all(s.members for s in survey.nights)
    assert days(survey.nights[-1].members) == list(range(n))


def test_a_bad_first_night_does_not_become_the_standard():
    assert statuses(story([9, 0])) == "pp"
    survey = story([9, 0, 0])
    assert statuses(survey) == "rAA"
    # The bad night itself is calibrated with those that settled the start.
    assert days(survey.nights[0].members) == [1, 2]
    assert days(survey.nights[0].standard) == [1, 2]
    assert statuses(story([9, 0, 0, 0, 0, 0])) == "rAAAAA"


def test_a_bad_second_or_third_night_neither():
    assert statuses(story([0, 9, 0])) == "ArA"
    assert statuses(story([0, 0, 9])) == "AAr"


def test_nights_that_all_disagree_wait_for_a_majority():
    assert statuses(story([0, 9, 18])) == "ppp"
    assert statuses(story([0, 9, 18, 27])) == "pppp"
    # Three of five: the majority settles all of them, backwards.
    survey = story([0, 9, 18, 9, 9])
    assert statuses(survey) == "rArAA"
    assert days(survey.nights[0].standard) == [1, 3, 4]
    assert days(survey.nights[1].standard) == [3, 4]


def test_half_is_no_majority():
    assert statuses(story([0, 0, 9, 9])) == "AArr"  # settled by the first three
    assert statuses(story([0, 9, 0, 9], rules=CanonicalSettings(cold_start_nights=4))) == "pppp"


def test_unsound_nights_count_for_nothing_in_a_cold_start():
    survey = story([0, 0, 0, 0], unsound=(0, 1))
    assert statuses(survey) == "rrpp"
    assert survey.nights[0].verdict.cause.startswith("too few frames")
    survey = story([0, 0, 0, 0, 0], unsound=(0, 1))
    assert statuses(survey) == "rrAAA"
    # Unsound ones before the first accepted still get a canonical; none holds an unsound night.
    assert days(survey.nights[0].members) == [2, 3, 4]
    assert all(not {0, 1} & set(days(s.members)) for s in survey.nights)


def test_provisional_nights_before_a_sound_one_borrow_the_first_that_comes():
    survey = story([0, 0], unsound=(0,))
    assert statuses(survey) == "rp"
    assert days(survey.nights[0].members) == [1]


def test_no_sound_night_gives_no_canonical():
    survey = story([0, 0, 0], unsound=(0, 1, 2))
    assert statuses(survey) == "rrr"
    assert all(s.members == () for s in survey.nights)
    assert nearest_accepted(survey, name(1)) is None
    assert story([]).nights == ()


def test_a_later_night_is_never_accepted_without_a_comparison():
    # Three that agree pairwise but none with the mean of the others: a comparison can be that odd.
    def compare(night, standard):
        return judge((CheckResult(AGREES, 0.0 if len(standard) == 1 else 5.0, 1.0),))

    survey = settle([Candidate(name(k), SOUND) for k in range(5)], compare, RULES)
    assert all(s.standard for s in survey.nights)
    assert statuses(survey) == "rrrrr"


# Rulings ---------------------------------------------------------------------------------------------------------


def test_a_person_may_reject_a_night_and_the_canonicals_change():
    survey = story([0] * 7, rulings={4: "rejected"})
    assert statuses(survey) == "AAAArAA"
    assert survey.nights[4].verdict.cause == "rejected by decision"
    assert days(survey.nights[6].members) == [1, 2, 3, 5, 6]
    # What was measured stays on record.
    assert {c.check.name for c in survey.nights[4].verdict.checks} == {"frames", "cell_rms"}


def test_a_person_may_accept_a_night_that_failed_and_it_enters_the_canonical():
    survey = story([0, 0, 0, 0, 9, 0], rulings={4: "accepted"})
    assert statuses(survey)[4] == "A"
    assert survey.nights[4].verdict.cause == ""
    assert name(4) in survey.nights[4].members
    assert [c.check.name for c in survey.nights[4].verdict.failed] == ["cell_rms"]
    unsound = story([0] * 5, rulings={3: "accepted"}, unsound=(3,))
    assert statuses(unsound) == "AAAAA"


def test_a_ruling_holds_in_a_cold_start():
    assert statuses(story([0, 0], rulings={0: "accepted"})) == "Ap"
    assert statuses(story([0, 0], rulings={0: "rejected"})) == "rp"
    survey = story([0, 0, 0, 0], rulings={0: "rejected"})
    assert statuses(survey) == "rAAA"


# Stuck rejections ------------------------------------------------------------------------------------------------


def test_rejected_nights_that_agree_with_each_other_propose_a_new_period_at_the_first():
    survey = story([0] * 6 + [9] * 4)
    assert statuses(survey) == "AAAAAArrrr"
    (proposal,) = survey.proposals
    assert proposal.first == name(6)
    assert days(proposal.nights) == [6, 7, 8, 9]
    # The canonical they are calibrated with is out of date, and says so.
    assert [s.overtaken for s in survey.nights] == [False] * 6 + [True] * 4


def test_two_nights_are_not_enough_and_clouds_do_not_agree():
    assert story([0] * 6 + [9] * 2).proposals == ()
    assert story([0] * 6 + [9, 18, 27, 36]).proposals == ()
    assert story([0] * 6 + [9] * 2, rules=CanonicalSettings(stuck_nights=2)).proposals[0].first == name(6)


def test_a_chain_of_small_steps_is_a_drift_and_no_new_instrument():
    # Each agrees with the night before it, none with the first of them.
    assert story([0] * 6 + [9, 9.9, 10.8, 11.7]).proposals == ()


def test_one_cloud_among_them_does_not_hide_a_change_of_the_instrument():
    survey = story([0] * 6 + [9, 9, 30, 9])
    assert days(survey.proposals[0].nights) == [6, 7, 9]
    # Nor one before them.
    survey = story([0] * 6 + [30, 9, 9, 9])
    assert days(survey.proposals[0].nights) == [7, 8, 9]


def test_two_odd_nights_that_agree_do_not_hide_a_change_of_the_instrument():
    survey = story([0] * 6 + [9] * 2 + [20] * 6)
    (proposal,) = survey.proposals
    assert days(proposal.nights) == [8, 9, 10, 11, 12, 13]
    assert [s.overtaken for s in survey.nights] == [False] * 8 + [True] * 6
    # However many such pairs there are.
    pairs = [level for k in range(12) for level in (30 + 9 * k,) * 2]
    (proposal,) = story([0] * 6 + pairs + [20] * 6).proposals
    assert days(proposal.nights) == list(range(30, 36))


def test_an_instrument_that_changes_twice_is_proposed_twice():
    survey = story([0] * 6 + [9] * 3 + [20] * 4)
    assert [p.first for p in survey.proposals] == [name(6), name(9)]
    assert [s.overtaken for s in survey.nights] == [False] * 6 + [True] * 7


def test_of_two_agreements_within_each_other_the_longer_one_counts():
    (proposal,) = story([0] * 6 + [9, 20, 20, 9, 20, 20, 9]).proposals
    assert days(proposal.nights) == [7, 8, 10, 11]


def test_an_accepted_night_ends_the_run():
    survey = story([0] * 6 + [9, 9, 0, 9, 9])
    assert survey.proposals == ()
    survey = story([0] * 6 + [9, 9, 9, 0, 9, 9, 9])
    assert [(p.first, p.over) for p in survey.proposals] == [(name(6), True), (name(10), False)]


def test_nights_rejected_for_themselves_are_no_evidence():
    survey = story([0] * 6 + [9] * 4, unsound=(6, 7))
    assert survey.proposals == ()
    survey = story([0] * 6 + [9] * 4, rulings={6: "rejected"})
    assert survey.proposals[0].first == name(7)


# What serves whom ------------------------------------------------------------------------------------------------


def test_the_reference_is_the_first_accepted_nights_or_all():
    survey = story([0, 0, 0, 9, 0, 0])
    assert days(reference_members(survey, CanonicalSettings(reference_nights=4))) == [0, 1, 2, 4]
    assert days(reference_members(survey, CanonicalSettings(reference_nights="all"))) == [0, 1, 2, 4, 5]


def test_a_rejected_night_is_served_by_the_latest_accepted_one_before_it():
    survey = story([9, 0, 0, 0, 9, 9, 0])
    assert nearest_accepted(survey, name(2)) == name(2)
    assert nearest_accepted(survey, name(5)) == name(3)
    assert nearest_accepted(survey, name(0)) == name(1)  # none before it
    assert nearest_accepted(survey, name(99)) == name(6)
    assert nearest_accepted(story([0, 0]), name(1)) == name(1)
    assert nearest_accepted(story([0, 0]), name(5)) == name(1)


def test_ages_count_nights_across_months_and_either_way():
    assert age_nights("1999-02-27", "1999-03-01") == 2
    assert age_nights("1999-03-01", "1999-02-27") == -2
    assert age_nights("1999-03-01", "1999-03-01") == 0


# Whatever happens ------------------------------------------------------------------------------------------------

LEVELS = st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.4, -0.4, 0.9, 9.0, 9.3, 30.0])), max_size=14)
SURVEYS = st.fixed_dictionaries(
    {
        "levels": LEVELS,
        "unsound": st.sets(st.integers(0, 13), max_size=4),
        "rulings": st.dictionaries(st.integers(0, 13), st.sampled_from(["accepted", "rejected"]), max_size=3),
    }
)


@settings(max_examples=80, deadline=None)
@given(SURVEYS, st.randoms(use_true_random=False))
def test_the_order_in_which_nights_arrive_does_not_matter(given_nights, random):
    n = sum(v is not None for v in given_nights["levels"])
    order = list(range(n))
    random.shuffle(order)
    assert story(**given_nights) == story(**given_nights, order=order)


@settings(max_examples=80, deadline=None)
@given(SURVEYS, st.sampled_from([0.0, 9.0, 30.0]), st.booleans())
def test_a_later_night_never_changes_a_settled_verdict(given_nights, level, sound):
    before = story(**given_nights)
    last = len(given_nights["levels"])
    unsound = set(given_nights["unsound"]) - {last} | (set() if sound else {last})
    rulings = {k: v for k, v in given_nights["rulings"].items() if k != last}
    after = story([*given_nights["levels"], level], unsound=unsound, rulings=rulings)
    assert len(after.nights) == len(before.nights) + 1
    # Settled means that a night was accepted by comparison; until then everything is open.
    if set(days(before.accepted)) - set(given_nights["rulings"]):
        for old, new in zip(before.nights, after.nights, strict=False):
            assert old == replace(new, overtaken=old.overtaken)


@settings(max_examples=150, deadline=None)
@given(SURVEYS, st.integers(1, 6))
def test_canonicals_hold_what_they_should(given_nights, window):
    survey = story(**given_nights, rules=CanonicalSettings(window=window))
    names = [s.night for s in survey.nights]
    assert names == sorted(names)
    settled = not any(s.verdict.status == "provisional" for s in survey.nights)
    accepted = set(survey.accepted)
    for s in survey.nights:
        assert len(s.members) <= window
        assert len(set(s.members)) == len(s.members)
        assert s.night not in s.standard
        if s.verdict.status == "accepted":
            assert s.night in s.members
        if settled and accepted:
            assert set(s.members) <= accepted
        if s.verdict.status == "rejected":
            assert s.night not in s.members
            assert s.verdict.cause
    for proposal in survey.proposals:
        assert proposal.first == proposal.nights[0]
        assert len(proposal.nights) >= 3
        assert not set(proposal.nights) & accepted


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 4), st.integers(5, 9), st.randoms(use_true_random=False))
def test_a_minority_of_bad_nights_never_takes_over(n_bad, n_good, random):
    # Bad nights disagree with each other as well: clouds are all different.
    levels = [0.0] * n_good + [50.0 * (k + 1) for k in range(n_bad)]
    random.shuffle(levels)
    survey = story(levels)
    for s, level in zip(survey.nights, levels, strict=True):
        assert s.verdict.status == ("accepted" if level == 0 else "rejected")
        assert all(levels[k] == 0 for k in days(s.members))


def test_settled_nights_are_compared_once_each():
    # Pairs of the cold start, then one standard per night: not every night with every other.
    asked = []
    story([0] * 40, asked=asked)
    assert len(asked) == 3 + 40
    assert len(set(asked)) == len(asked)
    assert all(a != b for a, b in itertools.pairwise(asked))
