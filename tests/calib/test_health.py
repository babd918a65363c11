"""States: what a chart says becomes OK, NOTICE, WATCH or DRIFT; what is not known is never OK."""

from typing import Any

import numpy as np
import pytest

from calib.features import Feature
from calib.health import _charted, _worse
from calib.pixel_counts import expected_count
from calib.profile import load_profile
from calib.series import cause_of, chart_series
from calib.subjects import Subject, subjects

PROFILE = load_profile("2mass")
SUBJECTS = {s.product: s for s in subjects(PROFILE)}


def nights(n: int) -> list[str]:
    return [str(np.datetime64("1999-01-01") + k) for k in range(n)]


def charted(subject: Subject, n: int, change: Any, *, start: int = 30, seed: int = 0) -> Any:
    """A quiet series to which a map is added from a night on."""
    rng = np.random.default_rng(seed)
    maps = {}
    for k, night in enumerate(nights(n)):
        cells = 0.008 * rng.standard_normal(subject.grid) + rng.standard_normal() * 0.01
        maps[night] = (cells + (change(k - start) if k >= start else 0), 0.008)
    return chart_series("H", "", subject, nights(n), maps, 5.0)


def step(percent: float) -> Any:
    quadrant = np.zeros((8, 8))
    quadrant[4:, :4] = percent
    return lambda k: quadrant


@pytest.mark.parametrize(
    ("percent", "state"), [(0.3, "NOTICE"), (0.9, "NOTICE"), (1.5, "WATCH"), (-1.5, "WATCH"), (3.0, "DRIFT")]
)
def test_the_size_makes_the_state(percent: float, state: str) -> None:
    series = charted(SUBJECTS["responsivity"], 34, step(percent))
    row = _charted(series, 30)
    assert (row["state"], row["cause"], row["region"], row["unit"]) == (state, "quadrant step", "Q3", "%")
    assert row["value"] == pytest.approx(percent, abs=0.1)
    assert row["significance"] > 5
    assert row["since"] == nights(34)[30]
    assert _charted(series, 29)["state"] == "OK"


def test_the_first_nights_are_unknown_not_good() -> None:
    series = charted(SUBJECTS["responsivity"], 6, step(0.0), start=99)
    states = [_charted(series, k)["state"] for k in range(6)]
    assert states == ["UNKNOWN"] * 3 + ["OK"] * 3
    assert _charted(series, 1)["cause"] == "only 1 quiet night to compare with"


def test_a_night_that_could_not_be_measured_is_unknown() -> None:
    subject = SUBJECTS["responsivity"]
    maps = {n: (np.zeros((8, 8)), 0.01) for n in nights(12)}
    holes = np.full((8, 8), np.nan)
    holes[:3] = 0.0
    maps[nights(12)[7]] = (holes, 0.01)
    series = chart_series("H", "", subject, nights(12), maps, 5.0)
    assert _charted(series, 7)["state"] == "UNKNOWN"
    assert _charted(series, 8)["state"] == "OK"


def test_a_walk_is_called_a_slow_drift() -> None:
    quadrant = np.zeros((8, 8))
    quadrant[4:, :4] = 0.05
    series = charted(SUBJECTS["responsivity"], 50, lambda k: (k + 1) * quadrant)
    change = series.chart.changes[0]
    assert cause_of("responsivity", change) in ("slow drift, quadrant step", "quadrant step")
    assert series.nights[change.seen] <= nights(50)[38]


@pytest.mark.parametrize(
    ("product", "limit"), [("dark R1", 1000.0), ("dark R2-R1", 150.0), ("noise R1", 20.0), ("gain", 10.0)]
)
def test_every_product_has_its_own_limits(product: str, limit: float) -> None:
    assert SUBJECTS[product].limits.drift == limit


def feature(size: float, where: str = "x 144 y 80", last: str = "1999-02-03", over: bool = False) -> Feature:
    return Feature("1999-01-31", "H", "responsivity", "", "spot", where, size, 80.0, last, over)


def test_a_spot_speaks_where_the_chart_sees_only_its_cell() -> None:
    cell = np.zeros((8, 8))
    cell[2, 4] = 0.2
    row = _charted(charted(SUBJECTS["responsivity"], 34, lambda k: cell), 31)
    assert (row["region"], row["cause"]) == ("C24", "local change")
    told = _worse(row, [feature(-3.0)], PROFILE)
    assert (told["state"], told["cause"], told["value"]) == ("DRIFT", "dust or local spot", -3.0)
    # A spot elsewhere that is no worse leaves the chart its say.
    assert _worse(row, [feature(-0.4, "x 10 y 10")], PROFILE) is row
    assert _worse(row, [], PROFILE) is row


def test_a_habit_excuses_what_is_usual_and_chance_what_is_expected() -> None:
    assert expected_count(0.0, []) == 0.05
    assert expected_count(3.0, [0, 0, 0]) == 3.0
    assert expected_count(0.0, [4, 5, 300, 4, 5]) == 5.0
