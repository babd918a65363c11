"""Decisions, undos and nights in any order end in the archive that a fresh run under the same decisions gives."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, note, settings
from hypothesis import strategies as st
from small_camera import assert_same, rows, run, small, survey_of, write_raw

from calib.archive.database import Archive
from calib.archive.decisions import active_decisions, decide
from calib.errors import DecisionError
from calib.simulate import CloudGradient, QuadrantStep
from calib.survey import run_survey

PROFILE = small(("reference_nights = 20 ", "reference_nights = 3 "), ("window = 5 ", "window = 3 "))
NIGHTS = [f"1999-05-0{k}" for k in range(1, 6)]
# More of them by hand; each takes some ten seconds.
EXAMPLES = int(os.environ.get("VESPER_EXAMPLES", "4"))
WHO: dict[str, Any] = {"who": "ada", "reason": "so it is"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five nights in J, a cloudy one and one with a quadrant step among them, scans on three."""
    survey = survey_of(5, scans={0: 1, 2: 1, 4: 1}).with_fault(
        CloudGradient(night=1, percent=4.0), QuadrantStep(night=3, last_night=3, percent=3.0)
    )
    return write_raw(survey, tmp_path_factory.mktemp("rulings") / "raw")


nights = st.sampled_from(NIGHTS)
verdict = st.sampled_from(["accepted", "rejected"])
override = st.one_of(
    st.builds(lambda n, v: {"product": "flat", "night": n, "value": v}, nights, verdict),
    st.builds(
        lambda n, v, r: {"product": "dark", "night": n, "value": v, "read": r},
        nights,
        verdict,
        st.sampled_from(["R1", "R2-R1"]),
    ),
    st.builds(
        lambda n, v, b: {"product": "sky-offset", "night": n, "value": v, "read": "R2-R1", "scan": 1, "block": b},
        st.sampled_from([NIGHTS[0], NIGHTS[2], NIGHTS[4]]),
        verdict,
        st.integers(0, 1),
    ),
).map(lambda d: {"kind": "override", "band": "J", **d})
period = st.builds(lambda n, b: {"kind": "period", "night": n, "band": b}, nights, st.sampled_from(["J", None]))
# The number of an undo counts back from the last decision that stands.
undo = st.builds(lambda k: {"kind": "undo", "undoes": k}, st.integers(0, 3))
arrival = st.builds(lambda n: {"arrives": n}, nights)
settle = st.just({"settle": True})
steps = st.lists(st.one_of(override, override, period, undo, arrival, arrival, settle), min_size=4, max_size=9)


def take(root: Path, step: dict[str, Any], raw: Path) -> None:
    """One step of a story; a decision on what is not there (yet) is refused, and the story goes on."""
    if "arrives" in step:
        run(root, raw / step["arrives"], PROFILE)
        return
    archive = Archive(root)
    try:
        if "settle" in step:
            run_survey(archive, PROFILE, [], frames=None, scans=False)
            return
        if step["kind"] == "undo":
            standing = active_decisions(archive)
            if not standing:
                return
            step = {"kind": "undo", "undoes": standing[-1 - step["undoes"] % len(standing)]["id"]}
        decide(archive, **WHO, **step)
    except DecisionError as error:
        note(f"refused: {error}")
    finally:
        archive.close()


SKY = {"kind": "override", "band": "J", "product": "sky-offset"}


# A period that begins with the first night has the same reference in another place; one read of a scan that is made
# anew leaves the other's standards to be told.
@example(first=NIGHTS[0], story=[{"kind": "period", "night": NIGHTS[0], "band": "J"}])
@example(
    first=NIGHTS[3],
    story=[
        {"arrives": NIGHTS[0]},
        {**SKY, "night": NIGHTS[0], "value": "rejected", "read": "R2-R1", "scan": 1, "block": 1},
        {"settle": True},
        {"arrives": NIGHTS[4]},
        {"kind": "period", "night": NIGHTS[1], "band": None},
    ],
)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(first=nights, story=steps)
def test_any_story_ends_as_a_fresh_run_under_its_decisions(first: str, story: list[dict[str, Any]], raw: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lived, fresh = Path(folder, "lived"), Path(folder, "fresh")
        run(lived, raw / first, PROFILE)
        for step in story:
            note(str(step))
            take(lived, step, raw)
        run(lived, raw, PROFILE)
        run(fresh, raw, PROFILE)
        archive = Archive(fresh)
        columns = ("kind", "night", "band", "product", "read", "scan", "block", "value")
        for d in rows(lived, "decisions"):
            if d["id"] in {a["id"] for a in active_decisions(Archive(lived))}:
                decide(archive, **WHO, **{c: d[c] for c in columns if d[c] is not None or c == "band"})
        archive.close()
        run(fresh, raw, PROFILE)
        assert_same(lived, fresh)
        assert not any(r["stale"] for r in rows(lived, "scans"))
