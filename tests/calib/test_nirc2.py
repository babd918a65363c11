"""Real frames of another camera, all the way: sky offsets, final frames, what they cost, flats from the sky.

23 dithered frames of a sparse field with masters that the observer had combined. `test_raw_nirc2` tells how they are
read. The figures that each test asserts are those that the issue of this camera asks for.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray
from small_camera import rows, run

from calib.archive.database import Archive
from calib.archive.verify import verify_archive
from calib.kernels import trimmed_mean
from calib.profile import load_profile, parse_profile
from calib.raw import read_frames

DATA = Path(os.environ.get("VESPER_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "nirc2"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(),
    reason=f"real frames not found in {DATA}; put them there or name their folder in VESPER_DATA",
)

NIGHT = "2011-04-12"
PAIR_NOISE_DN = 33.6

Image = NDArray[np.float32]


def profile_text() -> str:
    return (resources.files("calib.profiles") / "nirc2.toml").read_text("utf-8")


def mad_sigma(values: NDArray[np.floating]) -> float:
    values = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


class Reduced:
    """The archive of the 23 frames, and the same frames without a sky offset, with NaN where a pixel is bad."""

    def __init__(self, root: Path) -> None:
        self.root = root
        run(root, DATA, load_profile("nirc2"))
        with fits.open(root / "nights" / NIGHT / "Ks" / "scans" / "001" / "frames-CDS.fits", checksum=True) as hdus:
            self.bad = (hdus["DQ"].data != 0).any(axis=0)
            self.final = np.asarray(hdus["SCI"].data, np.float32)
            self.table = hdus["FRAMES"].data.copy()
        with fits.open(root / "nights" / NIGHT / "Ks" / "scans" / "001" / "sky-offsets-CDS.fits") as hdus:
            self.bounds = [(int(b["FIRST"]), int(b["LAST"]) + 1) for b in hdus["BLOCKS"].data]
        dark = fits.getdata(root / "supplied" / "Ks" / "dark-CDS.fits", "SCI")
        self.flat = np.asarray(fits.getdata(root / "supplied" / "Ks" / "responsivity.fits", "SCI"), np.float32)
        profile = load_profile("nirc2")
        raw = np.stack([read_frames(f, profile).raw["CDS"][0] for f in sorted(DATA.glob("n00*.fits.gz"))])
        with np.errstate(all="ignore"):
            self.before = ((raw - dark) / self.flat).astype(np.float32)
        self.before[:, self.bad] = np.nan
        self.final[:, self.bad] = np.nan
        self.levels = np.nanmedian(self.before.reshape(len(raw), -1), axis=1)

    def offset(self, frames: list[int], alpha: float = 0.2, plus: Image | None = None, to: int = -1) -> Image:
        """The sky offset of some frames, with light added to one of them."""
        stack = self.before[frames] - self.levels[frames, None, None].astype(np.float32)
        if plus is not None:
            stack[frames.index(to)] += plus
        mean = trimmed_mean(stack.reshape(len(frames), -1), np.zeros(len(frames)), alpha).mean
        return (mean - np.nanmedian(mean)).reshape(self.bad.shape)

    def block_of(self, k: int) -> list[int]:
        return next(list(range(a, b)) for a, b in self.bounds if a <= k < b)


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Reduced:
    return Reduced(tmp_path_factory.mktemp("nirc2") / "archive")


def test_the_scan_is_calibrated_with_the_supplied_masters_and_says_so(reduced: Reduced) -> None:
    (scan,) = rows(reduced.root, "scans")
    assert (scan["night"], scan["n_frames"], scan["n_blocks"], scan["n_rejected"]) == (NIGHT, 23, 2, 0)
    assert scan["status"] == "calibrated"
    assert {scan[k] for k in ("dark_night", "dark_status", "canonical_night", "canonical_status")} == {"supplied"}
    assert reduced.bounds == [(0, 12), (12, 23)]
    for name in ("dark-CDS", "responsivity"):
        header = fits.getheader(reduced.root / "supplied" / "Ks" / f"{name}.fits")
        assert header["STATUS"] == "supplied"
        assert header["SOURCE"] in ("drk_80_1_16_11apr.fits.gz", "flat_Ks_W_11apr.fits.gz")
    assert verify_archive(Archive(reduced.root), lambda *_: None)[1] == []


def cell_rms(frame: Image, size: int = 64) -> float:
    n = frame.shape[0] // size
    return float(np.nanmedian(frame.reshape(n, size, n, size), axis=(1, 3)).std())


def test_the_pattern_of_the_sky_falls_below_a_twentieth(reduced: Reduced) -> None:
    before, after = ([cell_rms(f) for f in frames] for frames in (reduced.before, reduced.final))
    share = 100 * np.array(after) / before
    print(f"\ncells of 64 px, rms: {min(before):.0f}-{max(before):.0f} → {min(after):.1f}-{max(after):.1f} DN")
    print(f"share left: {share.min():.2f} to {share.max():.2f} %")
    assert share.max() <= 5


def test_the_background_stays_where_it_was(reduced: Reduced) -> None:
    shift = np.nanmedian(reduced.final.reshape(23, -1), axis=1) - reduced.levels
    told = reduced.table["LEVEL"] - reduced.levels
    # The pixels over which the pipeline takes the median are those that are usable in its masters alone.
    print(f"\nlevels differ by {np.abs(shift).max():.3f} DN at most")
    assert np.abs(shift).max() <= 0.1
    assert np.abs(told).max() <= 0.1


def test_what_is_left_is_noise(reduced: Reduced) -> None:
    """The scatter agrees with the noise of pairs of frames, once a frame's part in its own offset is counted.

    A sample that is kept has the weight 1 / (0.6 n) in its own offset, so that the core of the distribution shrinks: by
    8 % in a block of 12. Against the offset of the other frames it widens instead.
    """
    rng = np.random.default_rng(2)
    own, others = [], []
    for k, frame in enumerate(reduced.final):
        block = reduced.block_of(k)
        white = rng.normal(size=(len(block), 100_000)).astype(np.float32)
        expected = mad_sigma(white[0] - trimmed_mean(white, np.zeros(len(block)), 0.2).mean)
        own.append(mad_sigma(frame) / expected)
        rest = white[1:]
        expected = mad_sigma(white[0] - trimmed_mean(rest, np.zeros(len(rest)), 0.2).mean)
        alone = reduced.before[k] - reduced.offset([i for i in block if i != k])
        others.append(mad_sigma(alone) / expected)
    plain = [mad_sigma(f) for f in reduced.final]
    print(f"\nMAD of final frames {min(plain):.1f}-{max(plain):.1f} DN; noise of a frame that follows from it")
    print(
        f"  {min(own):.1f}-{max(own):.1f} DN (median {np.median(own):.1f}); {np.median(others):.1f} DN from the others"
    )
    print(f"  noise of pairs: {PAIR_NOISE_DN} DN")
    assert np.median(own) == pytest.approx(PAIR_NOISE_DN, rel=0.05)
    assert np.median(others) == pytest.approx(PAIR_NOISE_DN, rel=0.05)
    # Single frames: the sky, and so its noise, changes, and the first and last of the 40 minutes keep some pattern.
    assert own == pytest.approx([PAIR_NOISE_DN] * 23, rel=0.09)


# Photometry ----------------------------------------------------------------------------------------------------

_Y, _X = np.mgrid[-12:13, -12:13]
_R = np.hypot(_X, _Y)
APERTURE, ANNULUS = _R <= 6, (_R > 8) & (_R <= 12)


def flux(image: Image, y: int, x: int) -> float:
    """Light within 6 pixels above the median of a ring around them, DN."""
    stamp = image[y - 12 : y + 13, x - 12 : x + 13]
    return float(np.sum(stamp[APERTURE] - np.median(stamp[ANNULUS])))


def sources(image: Image, least: float) -> list[tuple[int, int]]:
    """Positions of the brightest sources of a frame, brightest first, without those beside a bad pixel."""
    left = np.nan_to_num(image)
    for axis in (0, 1):
        left = sum(np.roll(left, k, axis) for k in range(-2, 3)) / 5
    found = []
    while True:
        y, x = np.unravel_index(int(np.argmax(left)), left.shape)
        if left[y, x] < 8 * PAIR_NOISE_DN / 5:
            return found
        inside = 20 < y < 1003 and 20 < x < 1003
        if inside and np.isfinite(image[y - 12 : y + 13, x - 12 : x + 13]).all() and flux(image, y, x) > least:
            found.append((int(y), int(x)))
        left[max(y - 12, 0) : y + 13, max(x - 12, 0) : x + 13] = 0


def test_bright_sources_keep_their_light(reduced: Reduced) -> None:
    """A frame's own light in its block's offset is a bias: measured against the offset of the other frames."""
    fluxes, changes = [], []
    for k in range(23):
        free = reduced.before[k] - reduced.offset([i for i in reduced.block_of(k) if i != k])
        for y, x in sources(free - reduced.levels[k], 5000):
            fluxes.append(flux(free, y, x))
            changes.append(100 * (flux(reduced.final[k], y, x) / fluxes[-1] - 1))
    bright, change = np.array(fluxes), np.array(changes)
    for least, most in ((5000, 10_000), (10_000, 20_000), (20_000, np.inf)):
        part = change[(bright > least) & (bright <= most)]
        print(f"\nflux {least}-{most} DN: {len(part)} sources, change {np.median(part):+.2f} % (median),")
        print(f"  mean {part.mean():+.2f} %, largest {part[np.argmax(np.abs(part))]:+.2f} %")
    brightest = change[bright > 20_000]
    assert len(brightest) >= 5
    assert np.abs(brightest).max() < 1
    assert abs(np.median(change[bright > 10_000])) < 1
    assert abs(np.average(change, weights=bright)) < 1


def grid_of_stars(peak_dn: float, fwhm: float = 4.0) -> tuple[Image, list[tuple[int, int]]]:
    image = np.zeros((1024, 1024), np.float32)
    places = [(y, x) for y in range(120, 920, 64) for x in range(120, 920, 64)]
    stamp = peak_dn * np.exp(-4 * np.log(2) * (_R / fwhm) ** 2)
    for y, x in places:
        image[y - 12 : y + 13, x - 12 : x + 13] += stamp
    return image, places


def loss_percent(reduced: Reduced, n: int, peak_sigma: float, alpha: float = 0.2) -> float:
    """How much of the light of stars in one frame of a block of n goes into the offset that is subtracted from it."""
    stars, places = grid_of_stars(peak_sigma * PAIR_NOISE_DN)
    frames, k = list(range(n)), n // 2
    taken = reduced.offset(frames, alpha, stars, k) - reduced.offset(frames, alpha)
    known = np.isfinite(taken)

    def light(image: Image) -> float:
        image = np.where(known, image, 0)
        return float(sum(image[y - 6 : y + 7, x - 6 : x + 7].sum() for y, x in places))

    return 100 * light(taken) / light(stars)


def test_the_bias_of_a_frames_own_light_by_length_of_block(reduced: Reduced) -> None:
    peaks = (1, 10, 30, 100, 300)
    loss = {n: [loss_percent(reduced, n, p) for p in peaks] for n in (10, 12, 15, 23)}
    plain = [loss_percent(reduced, 12, p, alpha=0.0) for p in peaks]
    print("\nlight lost to the own offset, %, by peak in σ:", *(f"{p:>6}" for p in peaks))
    for n, values in loss.items():
        print(f"  block of {n}", *(f"{v:6.2f}" for v in values))
    print("  block of 12, nothing trimmed", *(f"{v:6.2f}" for v in plain))
    for n, values in loss.items():
        # What is no brighter than the noise is not trimmed and loses its share in the mean, whatever α.
        assert values[0] == pytest.approx(100 / n, rel=0.1)
        assert values == sorted(values, reverse=True)
        # A sample that is trimmed only shifts which others are kept, by a part of σ: bright stars lose ever less.
        assert values[3] < 1
        assert values[4] < 0.4
    assert plain == pytest.approx([100 / 12] * len(peaks), rel=0.05)


# A responsivity from the sky -------------------------------------------------------------------------------------


def sky_as_twilight(least_range: float) -> str:
    """The profile in which sky frames are twilights: their slope against the level becomes a responsivity."""
    text = profile_text()
    start, end = text.index("twilight = ["), text.index("supplied-dark = [")
    rule = (
        'twilight = [{ SHRNAME = ["open"], BITPIX = ["32"], OBJECT = ["!*flat*", "!twilight*", "!dark", "!*lamp*"] }]\n'
    )
    text = text[:start] + rule + text[end:]
    assert text.count("range = { min = 2.0 }") == 1
    return text.replace("range = { min = 2.0 }", f"range = {{ min = {least_range} }}")


def test_a_responsivity_of_sky_frames_is_refused_for_lack_of_range(reduced: Reduced, tmp_path: Path) -> None:
    run(tmp_path / "archive", DATA, parse_profile(sky_as_twilight(2.0), "sky flats"))
    (row,) = rows(tmp_path / "archive", "flats")
    assert row["status"] == "rejected"
    assert row["cause"] == "too little change of light (range 1.07 < 2)"
    assert row["range"] == pytest.approx(1.069, abs=0.002)

    # With a lower limit it stands, provisional as any first night.
    run(tmp_path / "archive", DATA, parse_profile(sky_as_twilight(1.05), "sky flats"))
    (row,) = rows(tmp_path / "archive", "flats")
    assert (row["status"], row["cause"]) == ("provisional", "")
    with fits.open(tmp_path / "archive" / "nights" / NIGHT / "Ks" / "responsivity.fits") as hdus:
        slope, good = hdus["SCI"].data, (hdus["DQ"].data == 0) & ~reduced.bad
    median_sky = np.median(reduced.before, axis=0) * reduced.flat
    good &= np.isfinite(slope) & np.isfinite(median_sky)

    def correlation(image: Image) -> float:
        return float(np.corrcoef(image[good], reduced.flat[good])[0, 1])

    found, other = correlation(slope), correlation(median_sky)
    print(f"\ncorrelation with the dome flat: slope against level {found:.2f}, median sky {other:.2f}")
    # The glow of warm optics is the same in all frames: the slope leaves it out, the median sky takes it for response.
    assert found > other + 0.2
