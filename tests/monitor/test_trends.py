"""The series that can be followed, and how they are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bokeh.models import Range1d
from survey_tables import StillCollector, long_survey, nothing

from calib.profile import load_profile
from monitor.collect import Snapshot
from monitor.compute_explore import explorer_table
from monitor.compute_trends import (
    WORST,
    Mark,
    catalogue,
    default_region,
    find_choice,
    limit_zones,
    marks,
    region_words,
    regions,
    series_table,
)
from monitor.palette import theme
from monitor.plots.trend import TrendPlot, nearest, reach, value_words, with_gaps
from monitor.session import Session

PROFILE = load_profile("2mass")
CHOICES = catalogue(PROFILE)


@pytest.fixture(scope="module")
def survey() -> Snapshot:
    return long_survey(40)


def decision(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1, "time": "", "who": "ada", "kind": "override", "night": "1997-06-05", "band": "J", "product": "flat",
        "read": None, "scan": None, "block": None, "value": "accepted", "reason": "clear", "undoes": None, **changes,
    }  # fmt: skip


def test_every_choice_gives_a_table_even_of_nothing(survey: Snapshot) -> None:
    for choice in CHOICES:
        for snapshot in (survey, nothing()):
            table = series_table(snapshot, choice, default_region(choice))
            assert list(table.columns) == ["night", "band", "value", "error", "status", "cause", "region"]
            assert table["value"].dtype == float
        assert len({c.key for c in CHOICES}) == len(CHOICES)


def test_an_address_that_names_nothing_shows_the_responsivity() -> None:
    assert find_choice(CHOICES, "", "").key == "responsivity|deviation"
    assert find_choice(CHOICES, "dark R1", "no such").key == "dark R1|deviation"
    assert find_choice(CHOICES, "flat", "gradient").unit == "%"


def test_rejected_nights_carry_their_cause(survey: Snapshot) -> None:
    table = series_table(survey, find_choice(CHOICES, "responsivity", "deviation"), "Q1")
    bad = table[table["status"] == "rejected"]
    assert len(bad) == 4 * 3
    assert set(bad["cause"]) == {"cloud gradient (gradient 2 % > 1.2 %)"}


def test_the_worst_quadrant_is_the_one_farthest_from_zero(survey: Snapshot) -> None:
    choice = find_choice(CHOICES, "responsivity", "deviation")
    worst = series_table(survey, choice, WORST).set_index(["night", "band"])
    for quadrant in ("Q1", "Q2", "Q3", "Q4"):
        one = series_table(survey, choice, quadrant).set_index(["night", "band"])
        assert (one["value"].abs() <= worst["value"].abs()).all()
    assert "array" not in set(worst["region"])


def test_a_night_with_some_blocks_rejected_is_neither_good_nor_rejected(survey: Snapshot) -> None:
    table = series_table(survey, find_choice(CHOICES, "sky R2-R1", "rejected"), "array")
    found = dict(zip(table["value"], table["status"], strict=True))
    assert found[0.0] == "accepted"
    assert found[3.0] == "watch"
    assert found[6.0] == "rejected"


def test_limits_of_deviations_lie_on_both_sides_and_those_of_checks_on_one() -> None:
    zones = limit_zones(find_choice(CHOICES, "responsivity", "deviation"), PROFILE, "J")
    assert {(low, high) for low, high, s in zones if s == "bad"} == {(2.0, None), (None, -2.0)}
    limit = PROFILE.limits["flat"]["range"]["min"]
    assert limit_zones(find_choice(CHOICES, "flat", "range"), PROFILE, "J") == ((None, limit, "bad"),)
    assert limit_zones(find_choice(CHOICES, "detector", "temperature"), PROFILE, "J") == ()


def test_regions_are_those_the_archive_holds() -> None:
    assert len(regions(find_choice(CHOICES, "dark R1", "deviation"), PROFILE)) == 1 + 1 + 4 + 64
    assert regions(find_choice(CHOICES, "dark R1", "level"), PROFILE) == ("array",)
    assert region_words("C34") == "cell in row 3, column 4"


def test_only_standing_decisions_on_the_subject_are_marked(survey: Snapshot) -> None:
    rows = [
        decision(),
        decision(id=2, night="1997-06-06", band="H"),
        decision(id=3, night="1997-06-07"),
        decision(id=4, kind="undo", undoes=3, night="1997-06-07"),
        decision(id=5, kind="period", night="1997-06-20", band=None, product=None),
        decision(id=6, kind="sign-off", night="1997-06-09", band=None, product=None),
        decision(id=7, product="dark", read="R1", night="1997-06-08"),
    ]
    alerts = pd.DataFrame(
        [
            {
                "night": n,
                "band": "J",
                "product": p,
                "metric": "level jump",
                "text": "changed",
                "proposal": proposed,
                "over": False,
            }
            for n, p, proposed in (
                ("1997-06-20", "responsivity", "1997-06-20"),
                ("1997-06-27", "responsivity", "1997-06-25"),
                ("1997-06-26", "dark R1", "1997-06-26"),
                ("1997-06-29", "responsivity", None),
            )
        ]
    )
    snapshot = replace(survey, decisions=pd.DataFrame(rows), alerts=alerts)
    found = [(m.night, m.kind) for m in marks(snapshot, find_choice(CHOICES, "responsivity", ""), "J")]
    assert found == [("1997-06-05", "decision"), ("1997-06-20", "period"), ("1997-06-25", "proposed")]


def test_the_axis_holds_what_was_accepted_and_its_limits() -> None:
    table = pd.DataFrame({"value": [0.1, -0.1, 14.0, np.nan], "status": ["accepted", "accepted", "rejected", ""]})
    zones = ((1.0, 2.0, "watch"), (2.0, None, "bad"))
    low, high = reach(table, zones, "data")
    assert -0.2 < low < -0.1
    assert 0.1 < high < 0.2
    assert 2 < reach(table, zones, "limits")[1] < 3
    assert reach(table, zones, "all")[1] > 14
    assert reach(table[:0], (), "data") == (-1.0, 1.0)


def test_a_line_breaks_at_silences_and_edges() -> None:
    time = pd.to_datetime(["1999-05-01", "1999-05-02", "1999-05-03", "1999-07-01"]).to_numpy()
    _, value = with_gaps(time, np.arange(4.0), ["1999-05-02"])
    np.testing.assert_array_equal(value, [0, np.nan, 1, 2, np.nan, 3])


def test_what_lies_beyond_the_axis_stands_at_its_edge_and_keeps_its_number() -> None:
    plot = TrendPlot(theme(False), band="J", x_range=Range1d(0, 1), height=200)
    table = pd.DataFrame(
        {
            "night": ["1999-05-01", "1999-05-02", "1999-05-03"], "band": "J", "value": [0.1, 14.0, np.nan],
            "error": [0.01, 0.01, np.nan], "status": ["accepted", "rejected", "accepted"], "cause": "", "region": "Q1",
        }
    )  # fmt: skip
    plot.update(table, label="Δ responsivity", unit="%", title="J", night="1999-05-02")
    data = plot.points.data
    assert list(data["marker"]) == ["circle", "triangle"]
    assert data["true"][1] == 14.0
    assert list(plot.line.data["value"]) == [0.1]
    assert len(plot.now.data["time"]) == 1


def test_a_triangle_stands_at_the_edge_of_the_axis_drawn_and_what_fits_is_drawn_as_it_is() -> None:
    plot = TrendPlot(theme(False), band="J", x_range=Range1d(0, 1), height=200)
    values = [0.1, 2.5, 3.4, -14.0]
    table = pd.DataFrame(
        {
            "night": [f"1999-05-0{k}" for k in range(1, 5)], "band": "J", "value": values, "error": 0.01,
            "status": ["accepted", *3 * ["rejected"]], "cause": "", "region": "Q1",
        }
    )  # fmt: skip
    zones = ((2.0, None, "bad"), (None, -2.0, "bad"))
    proposed = Mark("1999-05-02", "proposed", "proposed period", "")
    plot.update(table, label="Δ responsivity", unit="%", title="J", zones=zones, marks=[proposed])
    axis, data = plot.figure.y_range, plot.points.data
    assert 2.7 < axis.end < 3
    assert list(data["marker"]) == ["circle", "x", "triangle", "inverted_triangle"]
    assert list(data["value"][:2]) == [0.1, 2.5]
    room = 0.06 * (axis.end - axis.start)
    assert axis.end - room < data["value"][2] < axis.end
    assert axis.start < data["value"][3] < axis.start + room


def test_the_nearest_point_is_the_nearest_on_screen() -> None:
    x, y = np.array([0.0, 0.0, 10.0]), np.array([0.0, 5.0, 0.0])
    assert nearest(x, y, (0.4, 4.0), (0.1, 0.1)) == (1, pytest.approx(np.hypot(4, 10)))
    assert nearest(x[:0], y[:0], (0, 0), (1, 1))[0] == -1


@pytest.mark.parametrize(
    ("value", "error", "unit", "signed", "words"),
    [
        (0.1234, 0.012, "%", True, "+0.123 ± 0.012 %"),
        (-686.6, 4.0, "DN", True, "−686.6 ± 4.0 DN"),
        (133.0, float("nan"), "pixels", False, "133 pixels"),
        (-442.1978, 0.0041, "DN", True, "−442.2 ± <0.1 DN"),
        (0.0, 0.0, "", False, "0"),
        (float("nan"), 1.0, "DN", True, "no value"),
    ],
)
def test_numbers_have_the_digits_they_deserve(value: float, error: float, unit: str, signed: bool, words: str) -> None:
    assert value_words(value, error, unit, signed=signed) == words


def test_the_explorer_leaves_out_what_has_no_values(survey: Snapshot) -> None:
    table, numbers = explorer_table(survey, "H")
    assert len(table) == 40
    assert {n.name for n in numbers} <= set(table.columns)
    assert (table["verdict"] == "rejected").sum() == 4
    assert explorer_table(nothing(), "J")[1] == ()


@pytest.mark.parametrize("address", ["?page=trends", "?page=trends&product=dark+R1&band=H&days=30&region=C34"])
@pytest.mark.parametrize("full", [True, False])
def test_the_page_shows_any_archive(survey: Snapshot, address: str, full: bool) -> None:
    session = Session(StillCollector(survey if full else nothing()), address)  # type: ignore[arg-type]
    assert session._page is not None, "the page failed"
    session.go(product="detector", metric="temperature")
    assert session._page is not None
