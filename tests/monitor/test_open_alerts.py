"""What is open in a night, and what may be done about it."""

from __future__ import annotations

from pathlib import Path

from small_camera import run, survey_of, write_raw

from calib.simulate import QuadrantStep
from monitor.collect import Collector
from monitor.compute_alerts import OpenAlert, open_alerts
from monitor.compute_trends import catalogue, marks
from monitor.pages.review_alerts import _buttons, alerts_html


def test_a_period_that_is_over_is_told_but_not_to_be_started(tmp_path: Path) -> None:
    survey = survey_of(9).with_fault(QuadrantStep(night=4, last_night=6, percent=3.0, quadrant=2))
    run(tmp_path / "archive", write_raw(survey, tmp_path / "raw"))
    date = [survey.night(k).date for k in range(9)]
    snapshot = Collector(tmp_path / "archive").snapshot()

    def of(night: str) -> OpenAlert:
        (found,) = (a for a in open_alerts(snapshot, night) if a.row["metric"] == "hardware period")
        return found

    assert (of(date[5]).over, of(date[8]).over) == (False, True)
    assert of(date[8]).text == (
        f"J: the instrument was another one from {date[4]} to {date[6]}. responsivity: 3 rejected nights in a row "
        "agree with each other. Nights after them are accepted again"
    )
    assert "Start period" in _buttons(of(date[5]))
    assert "Start period" not in _buttons(of(date[8]))
    assert "Dismiss" in _buttons(of(date[8]))
    # What a past night shows is what is known today.
    assert f"as known after {date[8]}" in alerts_html(snapshot, date[5])
    assert "as known after" not in alerts_html(snapshot, date[8])
    choice = next(c for c in catalogue(snapshot.profile) if c.subject == "flat")
    assert "proposed" not in {m.kind for m in marks(snapshot, choice, "J")}
