"""What Review says of a band's night."""

from __future__ import annotations

import pytest
from small_camera import Night

from monitor.collect import Collector
from monitor.compute import band_health, telling


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
    assert band_health(snapshot, faulty.date(2), "Ks").sentence.startswith("Ks: dark to be watched; no flat")
    collector.archive.close()
