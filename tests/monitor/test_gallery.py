"""The gallery of flats and sky offsets: what is shown, in which words, with which pictures."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from small_camera import Night
from survey_tables import long_survey

from calib.profile import load_profile
from monitor.address import parse
from monitor.collect import Collector
from monitor.collect_gallery import sky_sheet
from monitor.compute_gallery import (
    SKY_CAUSES,
    flat_extent,
    flat_item,
    flat_keys,
    flat_map,
    night_range,
    parts_of,
    reduced,
    sky_extent,
    sky_item,
    sky_map,
)
from monitor.compute_stretch import shared_half_width
from monitor.pages.flats_pictures import Cache, address, cached, picture_id
from monitor.session import Session

PROFILE = load_profile("2mass")


def flat(**changes: Any) -> dict[str, Any]:
    row = dict.fromkeys(("samples_left", "range", "good_pixels", "residual", "pixel_scatter", "cell_extreme"), None)
    return {
        **row, "night": "1999-05-09", "band": "J", "status": "rejected", "n_frames": 56, "cell_rms": 1.08,
        "gradient": 3.74, "quadrant": float("nan"), "beyond_2pct": 6.0, "override": False, "key": "k",
        "verdict_key": "v", "standard": ["1999-05-08"], "diagnosis": [],
        "cause": "cloud gradient (beyond_2pct 6 % > 1 %; gradient 3.74 % > 1.2 %)", **changes,
    }  # fmt: skip


def test_the_number_shown_is_that_of_the_check_the_cause_names() -> None:
    item = flat_item(flat(), PROFILE)
    assert item.words == "cloud gradient"
    assert item.number == "gradient 3.74\u00a0% > 1.2\u00a0%"
    assert "quadrant" not in {c.check.name for c in item.checks}
    assert "✕ gradient 3.74" in item.hover
    other = flat_item(flat(cause="another array (beyond_2pct 78 % > 1 %)"), PROFILE)
    assert other.number == "beyond 2\u00a0% 78\u00a0% > 1\u00a0%"


def test_an_accepted_flat_shows_its_size() -> None:
    item = flat_item(flat(status="accepted", cause="", cell_rms=0.1), PROFILE)
    assert item.words == ""
    assert item.number.startswith("cell rms 0.1")


def test_filters_and_order() -> None:
    survey = long_survey(20)
    assert flat_keys(survey)[:4] == [
        ("1997-06-20", "J"), ("1997-06-20", "H"), ("1997-06-20", "Ks"), ("1997-06-19", "J"),
    ]  # fmt: skip
    assert len(flat_keys(survey, verdict="rejected", band="H")) == 2
    assert len(flat_keys(survey, cause="cloud gradient")) == 6
    assert flat_keys(survey, cause="dust") == []
    first, last = night_range(survey, "1997-06-10", 3)
    assert {night for night, _ in flat_keys(survey, first=first, last=last)} == {
        "1997-06-08",
        "1997-06-09",
        "1997-06-10",
    }
    assert night_range(survey, "1997-06-10", None) == ("", "")


def test_parts_are_sorted_by_size_and_survive_what_is_missing() -> None:
    parts = parts_of(
        [
            {"name": "pixels", "size": 9.0, "significance": 4.0, "share": None, "where": "3 pixels"},
            {"name": "corner", "size": 0.5, "significance": None, "share": float("nan"), "where": "upper left"},
            {"name": "gradient", "size": -2.0, "significance": 30.0, "share": 0.8, "where": "x"},
            {"name": "spot", "size": None, "significance": 1.0, "share": None, "where": ""},
        ]
    )
    assert [p.name for p in parts] == ["gradient", "corner", "pixels"]
    assert parts[1].share is None
    assert parts_of(None) == ()


def test_reducing_ignores_lone_bad_pixels_and_keeps_dead_columns() -> None:
    image = np.ones((8, 8), np.float32)
    good = np.ones((8, 8), bool)
    good[0, 0] = False
    image[0, 0] = 1e9
    good[:, 5] = False
    small = reduced(image, good, 4)
    assert small.shape == (4, 4)
    assert small[0, 0] == 1
    assert np.isnan(small[:, 2]).all()
    assert np.isfinite(np.delete(small, 2, axis=1)).all()


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    cache = Cache(100)
    cache.put("a", 1, 40)
    cache.put("b", 2, 40)
    assert cache.get("a") == 1
    cache.put("c", 3, 40)
    assert cache.get("b") is None
    assert cache.get("a") == 1
    assert len(cache) == 2


def test_causes_of_sky_offsets_fit_in_an_address() -> None:
    for words in SKY_CAUSES.values():
        assert parse(f"?text={words.replace(' ', '+')}").text == words


@pytest.fixture(scope="module")
def collector(four_nights: Night) -> Collector:
    return Collector(four_nights.root)


def test_sheets_of_sky_offsets(collector: Collector) -> None:
    whole = sky_sheet(collector, read="R2-R1", bands=("J", "H"), size=500)
    assert whole.shown == whole.total == len(whole.rows) > 2
    assert [r["night"] for r in whole.rows] == sorted((r["night"] for r in whole.rows), reverse=True)
    assert whole.rows[0]["band"] == "J"
    second = sky_sheet(collector, read="R2-R1", bands=("J", "H"), start=1, size=1)
    assert second.rows == whole.rows[1:2]
    only = sky_sheet(
        collector, read="R2-R1", bands=("J", "H"), band="H", verdict="accepted", first=whole.rows[0]["night"]
    )
    assert {(r["band"], r["status"], r["night"]) for r in only.rows} <= {("H", "accepted", whole.rows[0]["night"])}
    assert sky_sheet(collector, read="R2-R1", bands=("J",), cause="no such 100% cause").shown == 0


@pytest.mark.parametrize(
    ("extents", "half"),
    [
        ([], "2"),  # nothing is known
        ([float("nan"), 0.0], "2"),
        ([0.31], "0.5"),
        ([0.23], "0.2"),  # a little saturated
        ([0.25], "0.5"),
        ([1.0], "1"),
        ([17.0, 18.0], "20"),
        ([90.0], "100"),
        ([0.001], "0.05"),
        ([0.4] * 20 + [8.0] * 4, "0.5"),  # a few that are far off saturate
        ([0.4] * 4 + [8.0] * 20, "10"),
        ([float("nan")] * 9 + [0.4], "0.5"),
    ],
)
def test_pictures_share_a_round_stretch_that_most_of_them_fill(extents: list[float], half: str) -> None:
    assert shared_half_width(extents) == half


def test_how_far_a_picture_reaches_is_told_by_its_cells() -> None:
    assert flat_extent(flat(cell_extreme=3.0, pixel_scatter=0.2)) == 3.0
    assert flat_extent(flat(cell_extreme=0.1, pixel_scatter=0.2)) == 0.2
    assert flat_extent(flat(cell_extreme=None, pixel_scatter=float("nan"))) == 0.0
    cells: list[list[float | None]] = [[2.0] * 8 for _ in range(8)]
    cells[0][:2] = [-80.0, 90.0]  # a corner
    cells[4][4] = None
    row: dict[str, Any] = {"level_dn": 400.0, "cells_dn": cells}
    assert sky_extent(row) == 0.5
    assert sky_extent({**row, "cells_dn": json.dumps(cells)}) == 0.5
    assert sky_extent({**row, "level_dn": -400.0}) == 0.5
    for gone in ({"level_dn": None}, {"level_dn": 0.0}, {"cells_dn": None}, {"cells_dn": "null"}):
        assert sky_extent({**row, **gone}) == 0.0


def test_the_stretch_is_fitted_unless_one_is_chosen(collector: Collector) -> None:
    snapshot = collector.snapshot()
    rows = [snapshot.flat(*k) or {} for k in flat_keys(snapshot)[:24]]
    half = shared_half_width(flat_extent(r) for r in rows)
    session = Session(collector, "?page=flats")
    page: Any = session._page
    assert f'<option value="" selected>fitted: ±{half} %</option>' in page._controls.html
    assert f"<b>+{half} %</b>" in page._controls.html
    session.go(stretch="20")
    assert f'<option value="">fitted: ±{half} %</option>' in page._controls.html
    assert "<b>+20 %</b>" in page._controls.html
    night = snapshot.scans.nights[-1]
    session.go(page="scans", night=night, stretch="")
    page = session._page
    offsets = sky_sheet(collector, read="R2-R1", bands=snapshot.bands, first=night, last=night, size=999).rows
    half = shared_half_width(sky_extent(r) for r in offsets)
    assert f'<option value="" selected>fitted: ± {half} %</option>' in page._html.html
    assert f"<span>−{half} %</span><i></i><span>+{half} %</span>" in page._html.html


def test_pictures_are_made_once(collector: Collector) -> None:
    snapshot = collector.snapshot()
    row = sky_sheet(collector, read="R2-R1", bands=snapshot.bands, size=1).rows[0]
    sky = sky_item(row, snapshot.profile)
    small = sky_map(collector, row, 32)
    assert small is not None
    assert small.shape == (32, 32)
    assert abs(float(np.nanmedian(small))) < 1  # % of the sky
    last = flat_item(snapshot.flat(*flat_keys(snapshot)[0]) or {}, snapshot.profile)
    ratio = flat_map(collector, last.row, 32)
    assert ratio is not None
    assert abs(float(np.nanmedian(ratio))) < 1
    for item in (sky, last):
        name = picture_id(collector, item, 2.0)
        assert cached(name) is None
        made = address(collector, item, 2.0)
        assert made.startswith("data:image/png;base64,")
        assert cached(name) == made
        assert picture_id(collector, item, 1.0) != name


def test_the_page_shows_flats_and_sky_offsets(collector: Collector) -> None:
    session = Session(collector, "?page=flats&image=no+such&text=no+such&start=9000&stretch=77")
    assert session._page is not None
    n = len(collector.snapshot().flats)
    assert session._page._gallery.html.count("<article") == min(n, 24)  # type: ignore[attr-defined]
    session.go(product="sky-offsets")
    assert session._page is not None
    assert "scan" in session._page._gallery.html  # type: ignore[attr-defined]
    session.go(filter="override")
    assert "Nothing passes" in session._page._gallery.html  # type: ignore[attr-defined]


def test_an_address_that_names_a_picture_opens_its_sheet(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    from monitor.pages import flats

    monkeypatch.setattr(flats, "SHEET", 2)
    keys = flat_keys(collector.snapshot())
    assert len(keys) > 2
    night, band = keys[-1]
    session = Session(collector, f"?page=flats&image={night}+{band}")
    markup = session._page._gallery.html  # type: ignore[union-attr]
    assert f"{night} {band}" in markup
    assert 'aria-expanded="true"' in markup
