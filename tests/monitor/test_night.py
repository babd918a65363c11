"""The images, the pixel and the tables of the Night page, without a browser."""

from __future__ import annotations

import html
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from bokeh.models import LinearColorMapper
from small_camera import Night, rows, run, small

from calib.archive.products import canonical_path, dark_path, responsivity_path
from calib.flags import flag
from monitor.collect import Collector
from monitor.collect_night import NightFiles, night_files, night_rows
from monitor.collect_pixel import PixelHistory, RawStore, pixel_values, twilight_pixel
from monitor.compute_layers import KINDS, Layer, flag_codes, layers
from monitor.compute_pixel import fit_pixel
from monitor.compute_stretch import limits_of
from monitor.compute_window import Window, bin_window, window_of
from monitor.layer_store import LayerStore
from monitor.pages.night_controls import band_key, pixel_html, place_words
from monitor.pages.night_tables import cells_html, checks_html, number, signed_or_dash
from monitor.palette import theme
from monitor.plots.histogram import Histogram

NIGHT, BAND, READ = "1999-05-04", "J", "R2-R1"
ABSENT = {"dark": ("unknown", ""), "flat": ("unknown", "")}


@pytest.fixture(scope="module")
def collector(four_nights: Night) -> Collector:
    return Collector(four_nights.root)


@pytest.fixture
def found(collector: Collector) -> dict[str, Layer]:
    rows = night_rows(collector.snapshot(), NIGHT, BAND)
    return layers(night_files(collector, rows, NIGHT, BAND, READ, ABSENT))


def layer_of(values: object, kind: str = "dark", **parts: object) -> Layer:
    return Layer(KINDS[kind], np.asarray(values, np.float32), **parts)  # type: ignore[arg-type]


# Images ------------------------------------------------------------------------------------------------------------


def test_a_good_night_has_every_image(found: dict[str, Layer]) -> None:
    assert tuple(found) == tuple(KINDS)
    assert {n: x.reason for n, x in found.items() if x.value is None} == {}


def test_the_ratio_is_the_flat_over_the_mean_of_its_standard(collector: Collector, found: dict[str, Layer]) -> None:
    row = collector.snapshot().flat(NIGHT, BAND)
    assert row is not None
    tonight = collector.image(responsivity_path(NIGHT, BAND))
    members = [collector.image(responsivity_path(n, BAND)) for n in row["standard"]]
    expected = tonight / np.mean(members, axis=0)
    ratio = found["ratio"].value
    assert ratio is not None
    seen = np.isfinite(ratio)
    expected = 100 * (expected / np.median(expected[seen]) - 1)
    assert np.median(np.abs((ratio - expected)[seen])) < 0.01


def test_dark_minus_reference_shows_what_moved_beside_the_level() -> None:
    one = {"SCI": np.full((4, 4), 105.0), "ERR": np.full((4, 4), 3.0), "DQ": np.zeros((4, 4), np.int16)}
    one["SCI"][0, 0], one["SCI"][3, 3] = 107.0, 101.0
    reference = {**one, "SCI": np.full((4, 4), 100.0), "ERR": np.full((4, 4), 4.0)}
    layer = layers(NightFiles("n", "J", "R1", dark=one, dark_reference=reference))["dark-reference"]
    assert layer.value is not None
    assert layer.sigma is not None
    assert (layer.level, layer.remark) == (5.0, "level of +5.0 DN removed")
    assert (layer.value[0, 0], layer.value[1, 1], layer.value[3, 3]) == (2.0, 0.0, -4.0)
    np.testing.assert_allclose(layer.sigma, 5.0)


def test_the_level_is_that_of_usable_pixels() -> None:
    one = {"SCI": np.full((4, 4), 90.0), "ERR": np.ones((4, 4)), "DQ": np.full((4, 4), flag("DEAD"))}
    reference = {**one, "SCI": np.full((4, 4), 100.0)}
    assert layers(NightFiles("n", "J", "R1", dark=one, dark_reference=reference))["dark-reference"].value is None
    one["DQ"][2:] = 0
    one["SCI"][2:] = 98.5
    assert layers(NightFiles("n", "J", "R1", dark=one, dark_reference=reference))["dark-reference"].level == -1.5


def test_noise_is_in_electrons_here_as_elsewhere(collector: Collector, found: dict[str, Layer]) -> None:
    snapshot = collector.snapshot()
    row = snapshot.dark(NIGHT, BAND, READ)
    assert row is not None
    gain = snapshot.profile.detector.gain_e_per_dn[BAND]
    assert found["noise"].kind.unit == "e⁻"
    assert np.median(found["noise"].sample) == pytest.approx(row["noise_dn"] * gain, rel=0.02)
    assert f"at {gain:g} e⁻/DN" in found["noise"].remark


def test_what_is_missing_says_why() -> None:
    files = NightFiles("n", "J", "R1", missing={"flat": "no twilight flat was taken in J"})
    made = layers(files)
    assert made["responsivity"].value is None
    assert made["chi2"].reason == "no twilight flat was taken in J"
    assert made["dark"].reason == "no data"
    assert "neither" in made["flags"].reason


def test_a_night_without_flat_says_so(collector: Collector) -> None:
    rows = night_rows(collector.snapshot(), "1999-06-30", BAND)
    made = layers(night_files(collector, rows, "1999-06-30", BAND, READ, ABSENT))
    assert all(layer.value is None for layer in made.values())
    assert "no twilight flat" in made["ratio"].reason
    assert "no dark" in made["dark"].reason
    assert made["dark"].note == ""
    assert made["canonical"].reason.endswith(NIGHT)


def test_the_flag_drawn_is_the_one_that_says_most() -> None:
    mask = np.array([[0, flag("HOT"), flag("HOT") | flag("NODATA"), flag("CLIPPED") | flag("NOISY")]])
    assert flag_codes(mask).tolist() == [[0, 4, 1, 5]]


# Stretch -----------------------------------------------------------------------------------------------------------


def test_percentiles_leave_out_unusable_pixels() -> None:
    values = np.arange(100.0)
    values[99] = 1e6
    flags = np.zeros((10, 10), np.uint8)
    flags[9, 9] = flag("DEAD")
    layer = layer_of(values.reshape(10, 10), flags=flags)
    assert limits_of(layer, "p100") == (0.0, 98.0)


@pytest.mark.parametrize(
    ("stretch", "expected"),
    [("", (-2, 2)), ("s1", (-1, 1)), ("v -3 5", (-3, 5)), ("v 5 -3", (-2, 2)), ("v nan 1", (-2, 2)), ("x", (-2, 2))],
)
def test_stretch_from_the_address(stretch: str, expected: tuple[float, float]) -> None:
    assert limits_of(layer_of(np.ones((4, 4)), "ratio"), stretch) == expected


def test_a_diverging_scale_is_symmetric() -> None:
    low, high = limits_of(layer_of(np.linspace(-1, 30, 400).reshape(20, 20), "dark-reference"))
    assert low == -high
    assert high == pytest.approx(29.7, abs=0.4)


def test_about_the_median_a_shift_as_a_whole_does_not_hide_structure() -> None:
    low, high = limits_of(layer_of(100 + np.linspace(-1, 1, 400).reshape(20, 20), "dark-reference"), "c99")
    assert (low, high) == pytest.approx((99.01, 100.99), abs=0.01)


def test_a_constant_image_still_has_a_scale() -> None:
    low, high = limits_of(layer_of(np.full((4, 4), 7.0)))
    assert low < 7 < high


# Windows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "finest"), [("count", 1.0), ("ratio", 0.01)])
def test_ticks_are_no_finer_than_the_numbers_are_told(kind: str, finest: float) -> None:
    histogram = Histogram(theme(dark=False), LinearColorMapper(low=55, high=56))
    histogram.show(layer_of(np.full((8, 8), 55) + np.eye(8), kind), 55, 56, "a")
    assert histogram.figure.xaxis[0].ticker.min_interval == finest


def test_the_whole_array_is_binned_to_what_the_screen_shows() -> None:
    assert window_of((1024, 1024), (0, 1024, 0, 1024), 128) == Window(0, 1024, 0, 1024, 8)
    assert window_of((256, 256), (0, 256, 0, 256), 512) == Window(0, 256, 0, 256, 1)


def test_zoomed_in_the_pixels_are_sent_as_they_are() -> None:
    window = window_of((1024, 1024), (500, 600, 500, 600), 128)
    assert window.factor == 1
    assert window.x0 <= 500 < 600 <= window.x1


def test_bins_are_means_of_what_is_there() -> None:
    values = np.arange(16.0).reshape(4, 4)
    values[0, 0] = np.nan
    values[2:, 2:] = np.nan
    flags = np.zeros((4, 4), np.uint8)
    flags[0, 1], flags[1, 1] = flag("HOT"), flag("NOISY")
    binned = bin_window(
        layer_of(values, flags=flags, sigma=np.ones((4, 4), np.float32)), Window(0, 4, 0, 4, 2), extras=True
    )
    np.testing.assert_allclose(binned.value, [[(1 + 4 + 5) / 3, 4.5], [10.5, np.nan]])
    assert binned.flags is not None
    assert binned.flags.tolist() == [[flag("HOT") | flag("NOISY"), 0], [0, 0]]
    assert binned.value.dtype == np.float32


def test_an_edge_that_does_not_fill_a_bin_is_kept() -> None:
    binned = bin_window(layer_of(np.arange(9.0).reshape(3, 3)), Window(0, 4, 0, 4, 2), extras=False)
    np.testing.assert_allclose(binned.value, [[2, 3.5], [6.5, 8]])


def test_the_store_forgets_what_was_looked_at_first() -> None:
    store, made = LayerStore(limit_bytes=1), []

    def make(name: str) -> dict[str, Layer]:
        made.append(name)
        return {"dark": layer_of(np.zeros((8, 8)))}

    for name in ("a", "b", "c", "c", "a"):
        store.get((name,), lambda name=name: make(name))  # type: ignore[misc]
    assert made == ["a", "b", "c", "a"]


# One pixel ---------------------------------------------------------------------------------------------------------


def test_the_fit_of_a_pixel_is_that_of_the_product(collector: Collector) -> None:
    snapshot = collector.snapshot()
    path, store = responsivity_path(NIGHT, BAND), RawStore()
    for x, y in ((3, 50), (40, 12), (63, 0)):
        samples = twilight_pixel(collector, store, snapshot, NIGHT, BAND, x, y)
        assert samples.reason == ""
        assert samples.note == ""
        fit = fit_pixel(samples, BAND, snapshot.profile)
        intercept, chi2, count = pixel_values(collector.root / path, ("INTERCEPT", "CHI2", "COUNT"), x, y)
        assert fit.intercept_dn == pytest.approx(intercept, abs=1e-3)
        assert fit.chi2 == pytest.approx(chi2, rel=1e-4)
        assert fit.n_kept == count == fit.fate.count("kept")


def test_the_fit_of_a_pixel_leaves_out_frames_that_stand_in_two_files(four_nights: Night, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for night in (1, 2, 3):
        shutil.copytree(four_nights.raw / four_nights.date(night), raw / four_nights.date(night))
    original = raw / NIGHT / f"{BAND}-twilight.fits"
    with fits.open(original) as hdus:
        for unit in hdus[1:]:
            unit.data = unit.data[4:11]
        hdus[0].header["DATE-OBS"] = Time(hdus["FRAMES"].data["TIME"][0], format="mjd").isot
        hdus.writeto(original.with_name("A-part.fits"), checksum=True)
    run(tmp_path / "archive", raw)
    collector = Collector(tmp_path / "archive")
    (part,) = rows(tmp_path / "archive", "files", path=str(original.with_name("A-part.fits")))
    assert part["status"] in ("used", "duplicate")
    samples = twilight_pixel(collector, RawStore(), collector.snapshot(), NIGHT, BAND, 3, 50)
    assert samples.reason == ""
    alone = Collector(four_nights.root)
    whole = twilight_pixel(alone, RawStore(), alone.snapshot(), NIGHT, BAND, 3, 50)
    for name, values in whole.raw.items():
        assert sorted(samples.raw[name].ravel().tolist()) == sorted(values.ravel().tolist())
    collector.archive.close()
    alone.archive.close()


def test_an_outlier_and_a_saturated_sample_are_told_apart(collector: Collector) -> None:
    snapshot = collector.snapshot()
    samples = twilight_pixel(collector, RawStore(), snapshot, NIGHT, BAND, 20, 20)
    raw = {n: a.copy() for n, a in samples.raw.items()}
    detector = snapshot.profile.detector
    raw["R2"][2] += 3000
    raw["R2"][5], raw["R2"][6] = int(detector.saturation_dn) + 1, int(detector.linearity_dn) + 1
    fit = fit_pixel(
        type(samples)(raw, samples.level_dn, samples.dark_dn, samples.dark_noise_dn), BAND, snapshot.profile
    )
    fate = dict(zip(fit.frame.tolist(), fit.fate, strict=True))
    assert (fate[2], fate[5], fate[6]) == ("rejected", "saturated", "nonlinear")


def test_a_raw_file_that_is_gone_is_named(settled: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector(settled.root)
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    samples = twilight_pixel(collector, RawStore(), collector.snapshot(), NIGHT, BAND, 1, 1)
    assert samples.reason.startswith("the raw file is gone: ")


def test_pixel_values_are_those_of_the_images(collector: Collector) -> None:
    path = dark_path(NIGHT, BAND, READ)
    found = pixel_values(collector.root / path, ("SCI", "DQ", "NOISE", "ABSENT"), 17, 41)
    images = [collector.image(path, n) for n in ("SCI", "DQ", "NOISE")]
    assert list(found[:3]) == [float(i[41, 17]) for i in images if i is not None]
    assert np.isnan(found[3])
    assert np.isnan(pixel_values(collector.root / path, ("SCI",), 64, 0)[0])
    assert np.isnan(pixel_values(collector.root / "absent.fits", ("SCI",), 0, 0)[0])


def test_the_history_is_read_once(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    history = PixelHistory(collector.root)
    keys = [(n, "v1") for n in collector.snapshot().nights]
    first = list(history.points(keys, BAND, READ, 5, 6))
    image = collector.image(canonical_path(first[-1].night, BAND))
    assert image is not None
    assert first[-1].canonical == float(image[6, 5])
    monkeypatch.setattr(PixelHistory, "_read", lambda *_: pytest.fail("read again"))
    assert list(history.points(keys, BAND, READ, 5, 6)) == first


# Words and tables --------------------------------------------------------------------------------------------------


def test_place_of_a_pixel() -> None:
    assert place_words(0, 0, (256, 256), (2, 2), (8, 8)) == "Q1, cell C00"
    assert place_words(255, 40, (256, 256), (2, 2), (8, 8)) == "Q2, cell C17"


def test_a_pixel_without_a_value_has_no_error_and_every_unit_is_named() -> None:
    value, sigma = (np.array([v], "f4") for v in ([np.nan, 1.25], [0.76, 0.11]))
    one = {n: Layer(KINDS[n], value, sigma) for n in ("ratio", "responsivity")}
    dead, alive = (str(pixel_html(x, 0, one, "Q1", (1, 2), "")) for x in (0, 1))
    assert dead.count("<b>no value</b></span>") == 2
    assert "±" not in dead
    assert "<b>1.25</b> ± 0.11" in alive
    for words in (dead, alive):
        assert "<span class=muted>Ratio / %</span>" in words
        assert "<span class=muted>Responsivity</span>" in words


def test_keys_of_bands_do_not_collide() -> None:
    assert [band_key(("J", "H", "Ks"), b) for b in ("J", "H", "Ks")] == ["j", "h", "k"]
    assert band_key(("K", "Ks"), "K") == ""
    assert band_key(("B", "V"), "B") == ""  # b blinks


def test_numbers() -> None:
    assert number(-1.25, 1) == "−1.2"
    assert number(None, 1) == "–"
    assert signed_or_dash(-0.001, 2) == "0.00"
    assert signed_or_dash(-1.5, 2) == "−1.50"


def test_cells_stand_as_in_the_image() -> None:
    profile = small()
    text = str(cells_html({"C00": (3.0, 0.1), "C30": (0.1, 0.1)}, "responsivity", ("responsivity",), profile, ""))
    assert text.index('id="cell-C30"') < text.index('id="cell-C00"')
    assert "✕ " in text[text.index('id="cell-C00"') :]
    assert "no data" in str(cells_html({}, "responsivity", ("responsivity",), profile, ""))


def test_a_check_that_was_not_compared_is_not_failed(collector: Collector) -> None:
    snapshot = collector.snapshot()
    row = dict(snapshot.flat(NIGHT, BAND) or {})
    row |= {"standard": None, "gradient": None, "range": None, "cause": "<b>x</b>"}
    text = str(checks_html("flat", "Flat", row, snapshot, READ, ("unknown", "")))
    assert "not compared" in text
    assert "not measurable" in text
    assert "<b>x</b>" not in text
    assert "<b>x</b>" in html.unescape(text)
