"""What Review says of a band's night."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bokeh.events import Tap
from bokeh.models import Range1d
from small_camera import Night
from survey_tables import long_survey

from calib.profile import DriftLimits
from monitor.collect import Collector, Snapshot
from monitor.collect_activity import Activity
from monitor.collect_series import Series
from monitor.collect_states import States
from monitor.compute import band_health, judged, telling
from monitor.pages.review_alerts import alerts_html
from monitor.pages.review_markup import legend_html
from monitor.palette import theme
from monitor.plots.base import night_time
from monitor.plots.deviations import DeviationPlot
from monitor.session import Session


@pytest.mark.parametrize(
    ("subject", "cause", "number"),
    [
        (
            "flat",
            "cloud gradient (beyond_2pct 6.14 % > 1 %; gradient 3.74 % > 1.2 %; cell_rms 1.08 % > 0.45 %)",
            ("3.74", "%"),
        ),
        ("flat", "moving cloud or unstable light (residual 8.22 > 1.5)", ("8.22", "χ²")),
        ("flat", "too little change of light (range 1.15 < 2)", ("1.15", "×")),
        ("flat", "light leak (beyond_2pct 6 % > 1 %; cell_extreme 2.07 % > 1.2 %)", ("2.07", "%")),
        ("flat", "single pixels (beyond_2pct 1.5 % > 1 %)", ("1.5", "% px")),
        ("flat", "saturated twilight (residual could not be measured; samples_left 7.61 % < 70 %)", ("7.61", "% left")),
        ("flat", "unexplained structure (cell_rms 1e-3 % > 0 %)", ("1e−3", "%")),
        ("flat", "median reduced χ² of the fits: not measurable (residual could not be measured)", ("", "")),
        ("flat", "", ("", "")),
        ("dark", "warm-up drift (clipped 8.3 % > 1 %; drift 51.2 DN > 6 DN; noise_high 2.64 > 1.3)", ("51.2", "DN")),
        ("dark", "noisy quadrant (noise_high 2.64 > 1.3)", ("2.64", "×")),
    ],
)
def test_the_number_beside_a_rejection_is_that_of_its_cause(subject: str, cause: str, number: tuple[str, str]) -> None:
    assert telling(subject, cause) == number


def test_a_rejected_flat_shows_what_it_failed(faulty: Night) -> None:
    collector = Collector(faulty.root)
    snapshot = collector.snapshot()
    night = faulty.date(4)
    row = snapshot.flat(night, "H")
    assert row is not None
    assert row["status"] == "rejected"
    health = band_health(snapshot, night, "H")
    badge = {b.subject: b for b in health.badges}["flat"]
    assert (badge.number, badge.unit) == (f"{row['gradient']:.3g}", "%")
    assert health.sentence.startswith(f"H: flat rejected, cloud gradient {row['gradient']:.3g} %; ")
    collector.archive.close()


def test_a_sentence_begins_with_the_worst(faulty: Night) -> None:
    collector = Collector(faulty.root)
    snapshot = collector.snapshot()
    assert band_health(snapshot, faulty.date(1), "H").sentence.startswith("H: no dark; flat ")
    assert band_health(snapshot, faulty.date(2), "Ks").sentence.startswith("Ks: no flat; dark provisional")
    collector.archive.close()


@pytest.fixture(scope="module")
def survey() -> Snapshot:
    return long_survey(40)


def test_what_lies_beyond_the_axis_of_a_chart_is_a_triangle_that_the_legend_explains() -> None:
    limits = DriftLimits(watch=1.0, drift=2.0)
    plot = DeviationPlot(theme(False), title="J flat", unit="%", limits=limits, x_range=Range1d(0, 1), height=94)
    values = np.array([0.1, 2.4, 5.47, -9.0, 2.7])
    nights = np.array([f"1999-05-0{k}" for k in range(1, 6)], dtype=object)
    series = Series(nights, values, np.full(5, 0.01), np.full(5, "Q1", dtype=object))
    verdicts = {n: ("accepted" if k == 0 else "rejected", "") for k, n in enumerate(nights)}
    plot.update(series, verdicts, "1999-05-03")
    end, data = plot.figure.y_range.end, plot.rejected.data
    assert 2.9 < end < 3.2
    assert data["marker"] == ["x", "triangle", "inverted_triangle", "x"]
    assert list(data["value"][[0, 3]]) == [2.4, 2.7]
    assert 0.85 * end < data["value"][1] < end
    assert -end < data["value"][2] < -0.85 * end
    assert list(data["true"]) == list(values[1:])
    assert list(plot.now.data["value"]) == [data["value"][1]]
    assert "△</b> beyond the axis" in legend_html()


def test_an_accepted_night_far_out_is_drawn_where_it_is() -> None:
    limits = DriftLimits(watch=1.0, drift=2.0)
    plot = DeviationPlot(theme(False), title="J flat", unit="%", limits=limits, x_range=Range1d(0, 1), height=94)
    nights = np.array(["1999-05-01"], dtype=object)
    plot.update(Series(nights, np.array([5.0]), np.array([0.1]), np.array(["Q1"], dtype=object)), {}, "")
    assert list(plot.accepted.data["value"]) == [5.0]
    assert plot.figure.y_range.end > 5


def test_a_click_in_a_chart_keeps_its_band_and_read(faulty: Night) -> None:
    collector = Collector(faulty.root)
    session = Session(collector, "?page=review&read=R1")
    charts = session._page._plots  # type: ignore[union-attr]
    night = faulty.date(3)
    when = float(night_time([night]).astype(float)[0])
    for band, kind, read in (("Ks", "flat", "R1"), ("H", "dark", session.snapshot.profile.responsivity.read)):
        session.go(page="review", read="R1")
        figure = charts[band, kind].figure
        figure._trigger_event(Tap(figure, x=when, y=0.0))
        view = session.view
        assert (view.page, view.night, view.band, view.read) == ("night", night, band, read)
    collector.archive.close()


def row(product: str, state: str, **more: Any) -> dict[str, Any]:
    plain = {"cause": "", "region": "", "value": None, "error": None, "unit": "%", "significance": 1.0, "since": None}
    return {"product": product, "state": state, **plain, **more}


def charted(snapshot: Snapshot, *rows: dict[str, Any]) -> Snapshot:
    """Return the same tables with other states of every night and band."""
    return replace(snapshot, states=States(lambda _: {(b, r["product"]): r for b in snapshot.bands for r in rows}))


def test_the_worst_of_several_products_speaks(survey: Snapshot) -> None:
    drift = row("gain", "DRIFT", cause="gain", value=-12.0, significance=9.0, since="1997-06-03")
    notice = row("responsivity", "NOTICE", cause="gradient", value=0.4, significance=6.0, region="")
    night = survey.nights[20]
    both = judged(charted(survey, notice, drift), night, "J", "responsivity", "gain")
    assert (both.state, both.number) == ("bad", ("−12.00", "%"))
    assert both.words == "gain: gain, −12.00 % since 1997-06-03 (9.0 σ)"
    only = judged(charted(survey, notice, drift), night, "J", "responsivity")
    assert (only.state, only.changed, only.cause) == ("notice", True, "gradient")


def test_what_was_not_measured_is_not_good(survey: Snapshot) -> None:
    night = survey.nights[20]
    unknown = row("dark R1", "UNKNOWN", cause="no accepted measurement")
    mixed = charted(survey, unknown, row("dark R2-R1", "OK"))
    assert judged(mixed, night, "J", "dark R1", "dark R2-R1").state == "unknown"
    assert judged(charted(survey), night, "J", "dark R1").state == "unknown"
    few = row("dark R1", "UNKNOWN", cause="only 2 quiet nights to compare with")
    assert judged(charted(survey, few), night, "J", "dark R1").state == "provisional"
    assert judged(charted(survey, row("dark R1", "OK")), night, "J", "dark R1").state == "good"


def test_a_notice_stands_in_the_sentence(survey: Snapshot) -> None:
    snapshot = charted(
        survey,
        *(row(f"{what} {r}", "OK") for r in survey.profile.reads for what in ("dark", "noise")),
        row("responsivity", "OK"),
        row("gain", "OK"),
        row("pixels", "NOTICE", cause="new hot pixels", value=36.0, unit="px", significance=20.0),
    )
    night = next(n for n in survey.nights[20:] if snapshot.verdicts("J")[n][0] == "accepted")
    health = band_health(snapshot, night, "J")
    assert "36 new hot pixels" in health.sentence
    badge = {b.subject: b for b in health.badges}["pixels"]
    assert (badge.state, badge.number, badge.unit) == ("notice", "+36", "px")


def test_no_alert_is_no_all_clear_while_a_run_is_at_work(survey: Snapshot) -> None:
    assert "✓ No open alert." in str(alerts_html(survey, survey.nights[-1]))
    during = str(alerts_html(survey.during(Activity("2026-01-01T08:00:00Z")), survey.nights[-1]))
    assert "✓" not in during
    assert "so far" in during
