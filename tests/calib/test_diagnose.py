"""Why a flat deviates: each pattern by itself, on noise, must be called by its name."""

import numpy as np
import pytest

from calib.diagnose import FLAT_WORDS, diagnose
from calib.verdict import plane_tilt

SIGMA = 0.25


def axes(n):
    return np.meshgrid(*(np.linspace(-0.5, 0.5, n),) * 2, indexing="ij")


def noise(n=256, seed=1, sigma=SIGMA):
    return sigma * np.random.default_rng(seed).standard_normal((n, n))


def plane(n, percent, angle=25.0):
    y, x = axes(n)
    return percent * (np.cos(np.deg2rad(angle)) * x + np.sin(np.deg2rad(angle)) * y)


def step(n, percent, number):
    image = np.zeros((n, n))
    j, i = divmod(number - 1, 2)
    image[j * n // 2 : (j + 1) * n // 2, i * n // 2 : (i + 1) * n // 2] = percent
    return image


def glow(n, percent, corner, scale=40 / 256):
    y, x = axes(n)
    cy, cx = ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))[corner]
    return percent * np.exp(-np.hypot(x - cx, y - cy) / scale)


def column(n, percent, k):
    image = np.zeros((n, n))
    image[:, k] = percent
    return image


def spot(n, percent, y, x, radius=8.0):
    j, i = np.indices((n, n))
    return np.where(np.hypot(j - y, i - x) <= radius, percent, 0.0)


def explain(image, good=None, **options):
    good = np.ones(image.shape, bool) if good is None else good
    return diagnose(image, good, **({"limit": 0.3} | options))


def part(diagnosis, name):
    return next(p for p in diagnosis.parts if p.name == name)


@pytest.mark.parametrize("n", [64, 256, 250])
@pytest.mark.parametrize("percent", [1.2, 3.0, -10.0])
@pytest.mark.parametrize("angle", [0.0, 25.0, 135.0])
def test_a_plane_is_a_cloud_gradient(n, percent, angle):
    image = plane(n, percent, angle)
    found = explain(image + noise(n))
    assert found.cause == FLAT_WORDS["gradient"] == "cloud gradient"
    corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert part(found, "gradient").size == pytest.approx(np.ptp(corners), rel=0.15)
    assert part(found, "gradient").share > 0.9


@pytest.mark.parametrize("n", [64, 256])
@pytest.mark.parametrize("percent", [1.0, -3.0, 12.0])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_step_is_called_by_its_quadrant(n, percent, number):
    found = explain(step(n, percent, number) + noise(n))
    assert found.cause == "quadrant step"
    largest = part(found, "quadrants")
    assert largest.size == pytest.approx(abs(percent), abs=0.1)
    assert largest.where == f"Q{number}"
    assert largest.share > 0.95


@pytest.mark.parametrize("corner", range(4))
@pytest.mark.parametrize("percent", [2.0, 4.0, 20.0, -4.0])
def test_a_glow_in_a_corner_is_a_light_leak(corner, percent):
    found = explain(glow(256, percent, corner) + noise())
    assert found.cause == "light leak"
    leak = part(found, "corner")
    assert leak.where == ("lower left", "lower right", "upper left", "upper right")[corner]
    assert np.sign(leak.size) == np.sign(percent)
    assert abs(leak.size) == pytest.approx(abs(percent), rel=0.4)


@pytest.mark.parametrize("scale", [0.08, 0.12, 0.22, 0.3])
@pytest.mark.parametrize("corner", [0, 3])
def test_a_glow_may_be_narrower_or_broader_than_expected(scale, corner):
    found = explain(glow(256, 6.0, corner, scale) + noise())
    assert found.cause == "light leak"
    assert part(found, "corner").where == ("lower left", "lower right", "upper left", "upper right")[corner]


@pytest.mark.parametrize("percent", [-98.0, -5.0, 2.0])
@pytest.mark.parametrize("k", [0, 117, 255])
def test_a_dead_column_is_called_by_its_number(percent, k):
    found = explain(column(256, percent, k) + noise())
    assert found.cause == "column"
    assert part(found, "columns").where == f"column {k}"
    assert part(found, "columns").size == pytest.approx(percent, rel=0.05)
    turned = explain((column(256, percent, k) + noise()).T)
    assert turned.cause == "row"
    assert part(turned, "rows").where == f"row {k}"


@pytest.mark.parametrize("percent", [-3.0, -10.0, 3.0])
@pytest.mark.parametrize("place", [(90, 153), (30, 200), (128, 128)])
def test_a_speck_of_dust_is_a_spot_in_its_place(percent, place):
    found = explain(spot(256, percent, *place) + noise())
    assert found.cause == "dust or local spot"
    where = part(found, "spot").where.split()
    assert abs(int(where[1]) - place[1]) <= 8
    assert abs(int(where[3]) - place[0]) <= 8
    assert np.sign(part(found, "spot").size) == np.sign(percent)


@pytest.mark.parametrize("seed", range(8))
def test_noise_alone_names_nothing(seed):
    for n, sigma in ((64, 0.25), (256, 0.25), (256, 1.0)):
        found = explain(noise(n, seed, sigma), limit=0.05)
        assert found.cause == "unexplained structure"


def test_noise_at_the_edge_of_the_array_or_of_a_hole_is_no_spot():
    good = np.ones((64, 64), bool)
    good[:, ::3] = False
    causes = {explain(noise(64, seed), good, limit=0.05).cause for seed in range(60)}
    assert causes == {"unexplained structure"}


@pytest.mark.parametrize("quadrants", [(1, 1), (1, 4), (4, 2)])
def test_arrays_with_other_quadrants(quadrants):
    assert diagnose(plane(256, 3.0) + noise(), np.ones((256, 256), bool), quadrants=quadrants).cause == "cloud gradient"
    if quadrants != (1, 1):
        rows, cols = 256 // quadrants[0], 256 // quadrants[1]
        image = noise()
        image[-rows:, :cols] += 3.0
        found = diagnose(image, np.ones((256, 256), bool), quadrants=quadrants, limit=0.3)
        assert found.cause == "quadrant step"
        assert part(found, "quadrants").where == f"Q{(quadrants[0] - 1) * quadrants[1] + 1}"


def test_a_part_below_the_limit_is_measured_but_never_named():
    image = plane(256, 0.25) + noise()
    assert explain(image, limit=0.1).cause == "cloud gradient"
    assert explain(image, limit=0.5).cause == "unexplained structure"
    assert part(explain(image, limit=0.5), "gradient").significance > 6


def test_the_larger_of_two_patterns_is_named():
    both = plane(256, 3.0) + step(256, 1.0, 4)
    assert explain(both + noise()).cause == "cloud gradient"
    assert explain(plane(256, 0.6) + step(256, 3.0, 4) + noise()).cause == "quadrant step"
    # A sharp pattern must stand well above the smooth one to be the story.
    assert explain(plane(256, 3.0) + spot(256, -3.0, 80, 80) + noise()).cause == "cloud gradient"
    assert explain(plane(256, 1.0) + column(256, -98.0, 40) + noise()).cause == "column"


def test_parts_stand_in_order_of_what_they_tell_and_cover_every_kind():
    found = explain(plane(256, 3.0) + step(256, 1.0, 4) + noise())
    assert {p.name for p in found.parts} == {"gradient", "quadrants", "corner", "columns", "rows", "spot", "pixels"}
    assert found.parts[0].name in ("gradient", "quadrants")
    assert sum(p.share for p in found.parts if not np.isnan(p.share)) <= 1 + 1e-9


def test_the_pixels_part_counts_those_that_deviate():
    image = noise()
    image[::16, ::16] += 5.0
    pixels = part(explain(image), "pixels")
    assert pixels.size == pytest.approx(100 / 256)
    assert pixels.where == "256 pixels"
    assert pixels.significance > 100
    expected = part(explain(noise(sigma=1.0)), "pixels")
    assert expected.size == pytest.approx(4.55, abs=0.3)  # two σ
    assert abs(expected.significance) < 5


def test_an_array_whose_pixels_changed_is_no_pattern():
    found = explain(noise(sigma=4.0) + plane(256, 3.0), pixel_sigma=0.25)
    assert found.cause == "another array or its pixels changed"
    assert explain(noise() + plane(256, 3.0), pixel_sigma=0.25).cause == "cloud gradient"


def test_bad_pixels_and_holes_do_not_disturb():
    image, good = plane(256, 3.0) + noise(), np.ones((256, 256), bool)
    image[20:60, 100:140] = np.nan
    image[:, 200], good[:, 200] = 400.0, False
    good[::7, ::5] = False
    image[::7, ::5] = -1e6
    found = explain(image, good)
    assert found.cause == "cloud gradient"
    assert part(found, "gradient").size == pytest.approx(
        part(explain(plane(256, 3.0) + noise()), "gradient").size, rel=0.03
    )


def test_too_little_left_to_explain():
    good = np.zeros((256, 256), bool)
    good[:16, :16] = True
    assert explain(noise(), good).cause == "unexplained structure"
    assert explain(noise(), good).parts == ()


def test_other_words_for_another_product():
    words = FLAT_WORDS | {"corner": "glow of the amplifier"}
    assert explain(glow(256, 20.0, 1) + noise(), words=words).cause == "glow of the amplifier"


def test_the_gradient_is_the_one_that_the_check_measures():
    image = plane(256, 2.0, 0.0) + noise()
    cells = image.reshape(8, 32, 8, 32).mean(axis=(1, 3))
    assert part(explain(image), "gradient").size == pytest.approx(plane_tilt(cells), rel=0.1)
