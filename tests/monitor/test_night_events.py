"""What the page of a night says of its single maps: parts of the deviation, and pixels beside what chance brings."""

from __future__ import annotations

from typing import Any

from small_camera import Night

from monitor.collect import Collector
from monitor.collect_events import Found, night_events
from monitor.pages.night_events import diagnosis_html, pixels_html


def href(x: int, y: int) -> str:
    return f"?x={x}&y={y}"


def found(**changes: Any) -> Found:
    plain: dict[str, Any] = {
        "product": "dark R2-R1",
        "unit": "DN",
        "counts": {},
        "expected": 0.0,
        "events": (),
        "parts": None,
    }
    return Found(**{**plain, **changes})


def test_new_hot_pixels_are_listed_with_where_and_how_sure(faulty: Night) -> None:
    collector = Collector(faulty.root)
    happened = {f.product: f for f in night_events(collector, faulty.date(3), "H")}
    assert set(happened) == {"dark R1", "dark R2-R1", "responsivity"}
    hot = [e for e in happened["dark R2-R1"].events if e[2] == "hot"]
    assert len(hot) == happened["dark R2-R1"].counts["hot"] > 20
    text = str(pixels_html(tuple(happened.values()), href))
    y, x = hot[0][:2]
    assert f'href="?x={x}&amp;y={y}"' in text
    assert f"{len(hot)} turned hot" in text
    collector.archive.close()


def test_a_night_without_anything_to_compare_with_says_so(faulty: Night) -> None:
    collector = Collector(faulty.root)
    # H has no dark that night; what was not compared is not "no change".
    products = {f.product for f in night_events(collector, faulty.date(1), "H")}
    assert "dark R2-R1" not in products
    assert night_events(collector, "1999-01-01", "H") == ()
    assert "not run" in str(pixels_html((), href))
    assert "not run" in str(diagnosis_html((found(),)))
    collector.archive.close()


def test_a_quiet_night_says_what_chance_would_bring() -> None:
    text = str(pixels_html((found(expected=0.3), found(product="responsivity", unit="%")), href))
    assert "no change; 0.3 expected by chance" in text
    assert "fewer than 0.01 expected by chance" in text
    assert "<table" not in text


def test_every_size_has_the_unit_of_its_kind() -> None:
    events = ((1, 2, "hot", 812.4, 300.0), (3, 4, "noisy", 4.21, 20.0), (5, 6, "dead", 0.07, 90.0))
    text = str(pixels_html((found(counts={"hot": 1, "noisy": 1, "dead": 1}, events=events),), href))
    assert "+812 DN" in text
    assert "4.2 × median" in text
    assert "0.07 <" in text


def test_parts_have_the_unit_of_their_product() -> None:
    part = {"name": "corner", "size": -41.56, "significance": 900.0, "share": 0.9, "where": "upper right"}
    text = str(diagnosis_html((found(parts=[part]), found(product="responsivity", unit="%", parts=[part]))))
    assert "−41.56 DN" in text
    assert "−41.56 %" in text
    assert "90 %" in text
