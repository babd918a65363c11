"""Deviations from the long-term reference: their errors, and the mean gain of an array."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray
from small_camera import Night, rows, small

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.products import dark_path, read_product, responsivity_path
from calib.flags import usable
from calib.references import _gain_rows, reference_path

Array = NDArray[np.floating]
NAMES = ("Q1", "Q2", "Q3", "Q4")


def of_array(gains: list[list[float | None]], typical: list[float]) -> dict[str, tuple[float, float]]:
    """Return metric → value and error of the array."""
    found = _gain_rows(gains, np.array(typical), NAMES)
    return {metric: (d.value, d.error) for d, metric, _ in found if d.region == "array"}


def test_the_gain_of_an_array_is_the_mean_of_its_quadrants_by_their_errors() -> None:
    gains = [[8.0, 0.1], [8.2, 0.2], [7.9, 0.1], [8.1, 0.4]]
    value, error = np.array(gains).T
    found = of_array(gains, [8.0, 8.0, 8.0, 8.0])
    mean = np.average(value, weights=error**-2)
    assert found["gain"] == pytest.approx((mean, np.sum(error**-2) ** -0.5))
    assert found["deviation"] == pytest.approx((100 * (mean / 8 - 1), 100 / 8 * np.sum(error**-2) ** -0.5))


@pytest.mark.parametrize("lacks", ["reference", "value", "error"])
def test_a_quadrant_of_which_something_is_not_known_does_not_count(lacks: str) -> None:
    gains: list[list[float | None]] = [[7.14, 0.1] for _ in NAMES]
    typical = [7.0] * 4
    if lacks == "reference":
        typical[0] = np.nan
    else:
        gains[0][lacks == "error"] = None
    assert of_array(gains, typical)["deviation"] == pytest.approx((2.0, 100 / 7 * 0.1 / np.sqrt(3)))
    known = 4 if lacks == "reference" else 3
    assert of_array(gains, typical)["gain"] == pytest.approx((7.14, 0.1 / np.sqrt(known)))


def test_a_gain_that_no_quadrant_tells_is_unknown() -> None:
    found = of_array([[7.0, 0.1] for _ in NAMES], [np.nan] * 4)
    assert np.isnan(found["deviation"]).all()
    assert found["gain"][0] == pytest.approx(7.0)
    assert np.isnan(of_array([[None, None] for _ in NAMES], [7.0] * 4)["gain"]).all()


# Of the 4 × 4 cells of 16 × 16 pixels.
REGION, CELL = "C12", np.s_[16:32, 32:48]


def errors_of(night: Night, product: str) -> dict[str, float]:
    """Return the error of the deviation of one cell in each night."""
    m = schema.metrics
    where = (m.c.product == product, m.c.band == "J", m.c.region == REGION, m.c.metric == "deviation")
    archive = Archive(night.root)
    found = {r["night"]: r["error"] for r in archive.rows(sa.select(m.c.night, m.c.error).where(*where))}
    archive.close()
    assert len(found) > 3
    return found


def of_median(error: Array, good: NDArray[np.bool_]) -> float:
    """Return the error of a median of Gaussian samples."""
    return float(np.sqrt(np.pi / 2) * np.median(error[CELL][good[CELL]]) / np.sqrt(good[CELL].sum()))


def test_the_scatter_of_n_frames_is_known_to_one_over_the_root_of_twice_n_less_one(settled: Night) -> None:
    reference = read_product(settled.root, reference_path("J", "", "dark-R2-R1"), ("DQ",))
    for night, error in errors_of(settled, "noise R2-R1").items():
        (dark,) = rows(settled.root, "darks", night=night, band="J", read="R2-R1")
        mask = read_product(settled.root, dark_path(night, "J", "R2-R1"), ("DQ",))["DQ"]
        relative = np.full(mask.shape, 100 / np.sqrt(2 * (dark["n_frames"] - 1)))
        assert error == pytest.approx(of_median(relative, usable(mask) & usable(reference["DQ"])), rel=0.01)


def test_the_error_of_a_dark_is_that_of_both_and_of_its_level(settled: Night) -> None:
    reference = read_product(settled.root, reference_path("J", "", "dark-R2-R1"), ("ERR", "DQ"))
    for night, error in errors_of(settled, "dark R2-R1").items():
        (row,) = rows(settled.root, "darks", night=night, band="J", read="R2-R1")
        dark = read_product(settled.root, dark_path(night, "J", "R2-R1"), ("ERR", "DQ"))
        good = usable(dark["DQ"]) & usable(reference["DQ"])
        both = of_median(np.hypot(dark["ERR"], reference["ERR"]), good)
        assert error == pytest.approx(np.hypot(both, row["level_error_dn"]), rel=0.01)


def test_the_error_of_a_responsivity_counts_what_healthy_pixels_vary_by(settled: Night) -> None:
    profile = small()
    accepted = sum(r["status"] == "accepted" for r in rows(settled.root, "flats", band="J"))
    n = accepted if profile.canonical.reference_nights == "all" else min(accepted, profile.canonical.reference_nights)
    reference = read_product(settled.root, reference_path("J", "", "responsivity"), ("SCI", "ERR", "DQ"))
    for night, error in errors_of(settled, "responsivity").items():
        flat = read_product(settled.root, responsivity_path(night, "J"), ("SCI", "ERR", "DQ"))
        photons = 100 * np.hypot(flat["ERR"] / flat["SCI"], reference["ERR"] / reference["SCI"])
        stability = profile.responsivity.pixel_stability_percent * np.sqrt(1 + 1 / n)
        expected = of_median(np.hypot(photons, stability), usable(flat["DQ"]) & usable(reference["DQ"]))
        assert error == pytest.approx(expected, rel=0.01)
