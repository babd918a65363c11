"""Scans in numbers and words: statistics of frames, what a check says, stretches, why a scan is missing."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from calib.checks import CheckResult, check_table, evaluate
from calib.profile import Profile
from calib.regions import cell_medians, mad_sigma, nan_median
from monitor.compute import cause_words

__all__ = [
    "STRETCHES",
    "FrameStatistics",
    "Missing",
    "block_checks",
    "cause_of",
    "cell_rms",
    "choose_row",
    "frame_statistics",
    "half_width",
    "half_width_of_pair",
    "missing_scans",
    "nice_above",
    "number",
    "reduction",
    "sampled_frames",
    "scale_percent",
    "shrink",
    "statistics_step",
    "stretch_percent",
    "window",
]

Row = Mapping[str, Any]
RowT = TypeVar("RowT", bound=Mapping[str, Any])

# Choices of stretch in % of the sky level; the empty one adapts itself.
STRETCHES = ("", "0.2", "0.5", "1", "2", "5", "10", "20")

_NICE = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """Return a number with so many significant digits, a true minus, thousands apart; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "—"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:{'+' if sign else ''}.{min(places, 6)}f}"
    whole, dot, rest = text.partition(".")
    bare = whole.lstrip("+-")
    if len(bare) > 4:
        whole = whole[: len(whole) - len(bare)] + f"{int(bare):,}".replace(",", " ")
    return (whole + dot + rest).replace("-", "−")


def nice_above(value: float) -> float:
    """Return the next round number not below a value; 1 for what is not positive or not finite.

    Half-widths of stretches are rounded so that they stay as they are from frame to frame.
    """
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((n * power for n in _NICE if n * power >= value * (1 - 1e-9)), 10 * power)


def stretch_percent(text: str) -> float | None:
    """Return the stretch of an address in %; None for the one that adapts itself or is not understood."""
    return float(text) if text in STRETCHES[1:] else None


def half_width(image: NDArray[np.floating], centre: float) -> float:
    """Return the round half-width about a centre that holds 98 % of the finite pixels."""
    seen = image[np.isfinite(image)]
    if not seen.size or not math.isfinite(centre):
        return 1.0
    low, high = np.percentile(seen[:: max(1, seen.size // 20000)], (1, 99))
    return nice_above(max(high - centre, centre - low))


def half_width_of_pair(windows: Sequence[tuple[float, float]]) -> float:
    """Return the half-width that two images share, the wider one unless the other would be blank with it.

    Where the pattern that is taken away is more than five times what is left, it saturates.
    """
    widths = [(high - low) / 2 for low, high in windows]
    return min(max(widths), 5 * min(widths)) if widths else 1.0


def window(
    image: NDArray[np.floating] | None, centre: float, level_dn: float | None, percent: float | None
) -> tuple[float, float]:
    """Return the ends of a stretch about a centre: so many % of the sky level, or what the image needs."""
    if image is None or not math.isfinite(centre):
        return 0.0, 1.0
    if percent is not None and level_dn is not None and math.isfinite(level_dn) and level_dn != 0:
        half = abs(level_dn) * percent / 100
    else:
        half = half_width(image, centre)
    return centre - half, centre + half


def reduction(shape: tuple[int, ...], most: int = 512) -> int:
    """Return by how much an image must shrink to have at most so many pixels a side."""
    return max(1, -(-max(shape) // most))


def shrink(image: NDArray[np.floating], most: int = 512) -> tuple[NDArray[np.float32], int]:
    """Return an image as averages over square groups of pixels, at most so many a side, and the group's side.

    NaN takes no part; a group without any finite pixel is NaN. Rows and columns that fill no group are left out.
    """
    factor = reduction(image.shape, most)
    if factor == 1:
        return np.asarray(image, np.float32), 1
    ny, nx = (n // factor * factor for n in image.shape)
    total = np.zeros((ny // factor, nx // factor), np.float32)
    count = np.zeros(total.shape, np.float32)
    for j in range(factor):
        for i in range(factor):
            part = image[j:ny:factor, i:nx:factor]
            seen = np.isfinite(part)
            total += np.where(seen, part, 0)
            count += seen
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / count).astype(np.float32), factor


def scale_percent(level_dn: float | None) -> float:
    """Return the factor that turns DN into % of the sky level; of its size where it is negative, NaN where unknown."""
    if level_dn is None or not math.isfinite(level_dn) or level_dn == 0:
        return math.nan
    return 100.0 / abs(level_dn)


@dataclass(frozen=True)
class FrameStatistics:
    """One image in three numbers, DN: median, rms over the cells of the grid, robust σ of pixels (1.48 MAD)."""

    median: float
    cell_rms: float
    sigma: float


def cell_rms(image: NDArray[np.floating], good: NDArray[np.bool_], cells: tuple[int, int]) -> float:
    """Return the rms of the cell medians about their mean: the large-scale pattern left in an image."""
    medians = cell_medians(image, good, cells)
    seen = medians[np.isfinite(medians)]
    return float(seen.std()) if seen.size else float("nan")


def statistics_step(shape: tuple[int, ...]) -> int:
    """Return the distance of the pixels that `frame_statistics` uses: odd, for even and odd columns read out unlike."""
    return reduction(shape) | 1


def frame_statistics(
    image: NDArray[np.floating] | None, good: NDArray[np.bool_] | None, cells: tuple[int, int]
) -> FrameStatistics:
    """Return the numbers of an image over good pixels; NaN where there is no image.

    Of an image larger than 512 pixels a side only every so many pixels each way are used (`statistics_step`): a hundred
    thousand tell its median to a few thousandths of σ, and one steps through frames without waiting.
    """
    if image is None:
        return FrameStatistics(math.nan, math.nan, math.nan)
    every = statistics_step(image.shape)
    mask = np.ones(image.shape, bool) if good is None else good
    image, mask = image[::every, ::every], mask[::every, ::every]
    values = image[mask]
    return FrameStatistics(nan_median(values), cell_rms(image, mask, cells), mad_sigma(values))


def sampled_frames(blocks: Sequence[Row], each: int = 4) -> list[int]:
    """Return a few frames of every block, evenly spread within it."""
    chosen: list[int] = []
    for b in blocks:
        first, last = int(b["first_frame"]), int(b["last_frame"])
        n = min(each, last - first + 1)
        chosen += [first + int((k + 0.5) * (last - first + 1) / n) for k in range(n)]
    return chosen


def block_checks(block: Row, profile: Profile) -> tuple[CheckResult, ...]:
    """Return the checks of a block's sky offset, measured values against today's limits; missing ones are NaN."""
    limits = profile.limits_for("sky_offset", block["band"], block["read"])
    values = {"frames": block.get("n_frames")} | {n: block.get(n) for n in check_table("sky_offset") if n != "frames"}
    return evaluate("sky_offset", {n: math.nan if v is None else float(v) for n, v in values.items()}, limits)


@dataclass(frozen=True)
class Missing:
    """A scan that was taken and has no calibrated row.

    Attributes
    ----------
    state : str
        Key of `monitor.palette.STATES`.
    words : str
        What became of it.
    """

    band: str
    scan: str
    path: str
    state: str
    words: str


def missing_scans(
    taken: Iterable[Any],
    calibrated: Iterable[tuple[str, int]],
    with_dark: Collection[str],
    with_canonical: Collection[str],
    *,
    at_work: bool = False,
) -> list[Missing]:
    """Return the scans that were taken and not calibrated, with the reason as far as the archive knows it.

    Parameters
    ----------
    taken : iterable of RawScan
        Raw scan files of the night.
    calibrated : iterable of (band, scan)
        Those that have a row.
    with_dark, with_canonical : collection of str
        Bands that have a dark, and a canonical, to calibrate with.
    at_work : bool
        Whether a run is at work, which has yet to come to what is not done.
    """
    have = set(calibrated)
    bands_done = {band for band, _ in have}
    found = []
    for t in taken:
        scan = "" if t.scan is None else str(t.scan)
        if t.status in ("refused", "duplicate"):
            state = "rejected" if t.status == "refused" else "notrun"
            found.append(Missing(t.band, scan, t.path, state, f"{t.status}: {t.reason or 'no reason given'}"))
        elif t.status == "pending":
            words = "in work: the run at work has yet to come to it" if at_work else "not run: no run has come to it"
            found.append(Missing(t.band, scan, t.path, "pending" if at_work else "notrun", words))
        elif t.status == "used" and ((t.band, t.scan) not in have if t.scan is not None else t.band not in bands_done):
            lacking = [
                name for name, bands in (("dark", with_dark), ("canonical", with_canonical)) if t.band not in bands
            ]
            words = (
                f"no {' and no '.join(lacking)} to calibrate it with" if lacking else "the last run did not reach it"
            )
            found.append(Missing(t.band, scan, t.path, "notrun", f"not calibrated: {words}"))
    return found


def choose_row(rows: Sequence[RowT], *, scan: int | None, band: str, read: str, bands: Sequence[str]) -> RowT | None:
    """Return the row of a night's scans that is meant, or the nearest there is; None if there is none.

    Parameters
    ----------
    rows : sequence of dict
        With ``scan``, ``band`` and ``read``.
    scan, band, read
        What is wished for; None or empty for the first.
    bands : sequence of str
        In order of preference.
    """
    left = sorted(rows, key=lambda r: (r["scan"], bands.index(r["band"]) if r["band"] in bands else len(bands)))
    for name, wanted in (("scan", scan), ("band", band), ("read", read)):
        if left:
            left = [r for r in left if r[name] == wanted] or [r for r in left if r[name] == left[0][name]]
    return left[0] if left else None


def cause_of(row: Row, blocks: Iterable[Row]) -> str:
    """Return why a scan is not simply calibrated, with the causes of its rejected blocks in a few words."""
    words, detail = cause_words(row["cause"] or "")
    if not words:
        return ""
    causes = [cause_words(b["cause"] or "")[0] for b in blocks if b["status"] != "accepted"]
    most = ", ".join(c for c in dict.fromkeys(causes) if c) or cause_words(detail)[0]
    return f"{words}: {most}" if most else words
