"""Comparisons with the nights before: what a map shows is named, and what is quiet is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calib.comparisons import DarkImages, compare_with_darks, compare_with_flats
from calib.features import local_features
from calib.profile import load_profile
from calib.simulate.shapes import corner_glow, disc, tilt
from calib.verdict import Flat

PROFILE = load_profile("2mass")
SIZE, N = 256, 48
NOISE = 5.5
Image = np.ndarray[Any, Any]


def flat(rng: np.random.Generator, factor: Image | float = 1.0, holes: tuple[tuple[int, int], ...] = ()) -> Flat:
    value = (factor * (1 + 0.0023 * rng.standard_normal((SIZE, SIZE)))).astype(np.float32)
    for place in holes:
        value[place] = 0.02
    value /= np.float32(np.median(value))
    return Flat(value, np.full((SIZE, SIZE), 0.0012, np.float32), np.ones((SIZE, SIZE), bool))


def dark(rng: np.random.Generator, more: Image | float = 0.0) -> DarkImages:
    columns = np.where(np.arange(SIZE) % 2, 800.0, -800.0)
    value = (300 + columns + more + NOISE / np.sqrt(N) * rng.standard_normal((SIZE, SIZE))).astype(np.float32)
    scatter = (NOISE * (1 + rng.standard_normal((SIZE, SIZE)) / np.sqrt(2 * (N - 1)))).astype(np.float32)
    everywhere = np.ones((SIZE, SIZE), bool)
    return DarkImages.of(
        value, scatter / np.float32(np.sqrt(N)), scatter, everywhere, np.ones((SIZE, SIZE), np.float32)
    )


def of_darks(more: Image | float, seed: int = 1, read: str = "R2-R1") -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return compare_with_darks(dark(rng, more), [dark(rng) for _ in range(5)], read, PROFILE)


def of_flats(factor: Image | float, seed: int = 1, **holes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return compare_with_flats(flat(rng, factor, **holes), [flat(rng) for _ in range(5)], PROFILE)


def quadrant(size: float) -> Image:
    image = np.zeros((SIZE, SIZE))
    image[SIZE // 2 :, : SIZE // 2] = size
    return image


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        (30.0 * corner_glow(3, 40.0, SIZE), "light leak"),
        (quadrant(5.0), "quadrant offset"),
        (10.0 * tilt(30.0, SIZE), "gradient"),
        (6.0 * disc((100, 60), 8.0, SIZE), "local glow"),
    ],
)
def test_what_a_dark_shows_is_named(more: Image, cause: str) -> None:
    assert of_darks(more)["cause"] == cause


def test_a_dark_of_another_array_is_called_that() -> None:
    rng = np.random.default_rng(9)
    assert of_darks(40 * rng.standard_normal((SIZE, SIZE)))["cause"] == "another array or its pixels changed"


def test_the_level_of_a_dark_is_no_structure() -> None:
    found = of_darks(500.0)
    assert local_features(found["parts"], "dark R2-R1", PROFILE) == []
    assert all(abs(p["size"]) < 1 for p in found["parts"] if p["name"] != "pixels")


def test_new_hot_pixels_are_counted_and_placed() -> None:
    more = np.zeros((SIZE, SIZE))
    places = [(5, 5), (100, 31), (255, 0)]
    for place in places:
        more[place] = 900.0
    pixels = of_darks(more)["pixels"]
    assert pixels["counts"] == {"hot": 3}
    assert {(y, x) for y, x, *_ in pixels["events"]} == set(places)


def test_a_speck_of_dust_is_a_spot_where_it_lies() -> None:
    found = of_flats(1 - 0.03 * disc((90, 154), 8.0, SIZE))
    (spot,) = local_features(found["parts"], "responsivity", PROFILE)
    _, x, _, y = spot["where"].split()
    assert np.hypot(int(x) - 154, int(y) - 90) < 4
    assert spot["size"] == pytest.approx(-3.0, abs=0.3)


@pytest.mark.parametrize(("angle", "seed"), [(0.0, 1), (45.0, 2), (90.0, 3)])
def test_a_gradient_up_to_the_edge_makes_no_spot(angle: float, seed: int) -> None:
    found = of_flats(1 + 0.02 * tilt(angle, SIZE), seed)
    assert found["cause"] == "cloud gradient"
    assert [p for p in local_features(found["parts"], "responsivity", PROFILE) if p["name"] == "spot"] == []


def test_quiet_nights_show_nothing() -> None:
    for seed in range(5):
        assert local_features(of_flats(1.0, seed)["parts"], "responsivity", PROFILE) == []
        found = of_darks(0.0, seed)
        assert local_features(found["parts"], "dark R2-R1", PROFILE) == []
        assert found["pixels"]["counts"] == {}


def test_a_pixel_that_died_is_told() -> None:
    pixels = of_flats(1.0, holes=((7, 9), (200, 100)))["pixels"]
    assert pixels["counts"] == {"dead": 2}
    assert {(y, x) for y, x, *_ in pixels["events"]} == {(7, 9), (200, 100)}


def test_of_another_array_only_the_number_of_events_is_kept() -> None:
    rng = np.random.default_rng(3)
    more = np.where(rng.random((SIZE, SIZE)) < 0.05, 800.0, 0.0)
    pixels = of_darks(more)["pixels"]
    assert pixels["counts"]["hot"] == int((more > 0).sum())
    assert len(pixels["events"]) == 400
