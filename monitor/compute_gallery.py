"""What a gallery shows: one item a flat or sky offset, its words, checks, parts, and a small map."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from calib.archive.products import sky_offsets_path
from calib.checks import CheckResult, check_table, evaluate
from calib.flags import usable
from calib.profile import Profile
from monitor.collect import Collector, Row, Snapshot
from monitor.compute import cause_words, ratio_percent

__all__ = [
    "SKY_CAUSES",
    "Item",
    "Part",
    "checks_of",
    "flat_causes",
    "flat_extent",
    "flat_item",
    "flat_keys",
    "flat_map",
    "night_range",
    "parts_of",
    "plain",
    "reduced",
    "sky_extent",
    "sky_item",
    "sky_map",
]

_SKY = check_table("sky_offset")
# A cause is a check's own words, or says that it could not be measured.
SKY_CAUSES: dict[str, str] = {c.cause: c.cause for c in _SKY.values()} | {
    f"{c.meaning}: not measurable": f"{name} not measurable" for name, c in _SKY.items()
}


@dataclass(frozen=True)
class Item:
    """One picture of a gallery with its words.

    Attributes
    ----------
    key : str
        Night, band (scan, read, block): what an address needs to find it again.
    head : str
        What it is, without the night and band.
    words : str
        Cause in words; empty where accepted.
    number : str
        The check that tells most, with its limit.
    checks : tuple of CheckResult
        All that were measured.
    row : dict
        The archive's row.
    """

    key: str
    night: str
    band: str
    head: str
    status: str
    override: bool
    words: str
    number: str
    checks: tuple[CheckResult, ...]
    row: Row

    @property
    def hover(self) -> str:
        """Everything measured, a line each."""
        first = f"{self.night} {self.band} {self.head}".rstrip()
        verdict = f"{self.status}{' by override' if self.override else ''}{': ' if self.words else ''}{self.words}"
        lines = [f"{'✓' if c.passed else '✕'} {plain(c.words())}" for c in self.checks]
        return "\n".join([first, verdict, *lines])


def night_range(snapshot: Snapshot, night: str, days: int | None) -> tuple[str, str]:
    """Return first and last night of so many nights until the one on screen; empty for all."""
    if not days or not night:
        return "", ""
    return str((pd.Timestamp(night) - pd.Timedelta(days=days - 1)).date().isoformat()), night


def checks_of(subject: str, row: Row, profile: Profile, read: str) -> tuple[CheckResult, ...]:
    """Put a row's numbers against the limits in force; what has no number is left out."""
    values = {
        "frames" if n == "frames" else n: row.get("n_frames" if n == "frames" else n) for n in check_table(subject)
    }
    known = {n: float(v) for n, v in values.items() if v is not None and not math.isnan(float(v))}
    return evaluate(subject, known, profile.limits_for(subject, row["band"], read))


def _telling(subject: str, cause: str, checks: Sequence[CheckResult]) -> tuple[str, str]:
    """Return the cause's words and the one number that says most."""
    words, brackets = cause_words(cause)
    named = next((n for n, c in check_table(subject).items() if c.cause == words), "")
    failed = brackets.split("; ") if brackets else []
    # The archive's own words: they hold the limit that was in force when the verdict was given.
    number = next((f for f in failed if named and f.split(" ")[0] == named), failed[0] if failed else "")
    if not number and not words:
        size = {"flat": "cell_rms", "sky_offset": "halves"}[subject]
        number = next((c.words() for c in checks if c.check.name == size), "")
    return words, plain(number)


def plain(text: str) -> str:
    """Return checks as people read them: no underscores, and units that stay with their numbers."""
    return text.replace("beyond_2pct", "beyond 2 %").replace("_", " ").replace(" %", "\u00a0%")


def flat_item(row: Row, profile: Profile) -> Item:
    """Return a flat's item."""
    checks = checks_of("flat", row, profile, profile.responsivity.read)
    words, number = _telling("flat", row["cause"] or "", checks)
    night, band = row["night"], row["band"]
    return Item(f"{night} {band}", night, band, "", row["status"], bool(row["override"]), words, number, checks, row)


def sky_item(row: Row, profile: Profile) -> Item:
    """Return a sky offset's item."""
    checks = checks_of("sky_offset", row, profile, row["read"])
    words, number = _telling("sky_offset", row["cause"] or "", checks)
    night, band, scan, block = row["night"], row["band"], row["scan"], row["block"]
    return Item(
        f"{night} {band} {row['read']} {scan} {block}",
        night,
        band,
        f"scan {scan} block {block}",
        row["status"],
        bool(row["override"]),
        SKY_CAUSES.get(words, words),
        number,
        checks,
        row,
    )


def flat_keys(
    snapshot: Snapshot, *, band: str = "", verdict: str = "", cause: str = "", first: str = "", last: str = ""
) -> list[tuple[str, str]]:
    """Return night and band of the flats that pass the filters, newest first, bands in their order."""
    f = snapshot.flats
    keep = np.ones(len(f), dtype=bool)
    if band:
        keep &= (f["band"] == band).to_numpy(dtype=bool)
    if verdict == "override":
        keep &= f["override"].to_numpy(dtype=bool)
    elif verdict:
        keep &= (f["status"] == verdict).to_numpy(dtype=bool)
    if cause:
        keep &= np.array([cause_words(c)[0] == cause for c in f["cause"]], dtype=bool)
    if first:
        keep &= (f["night"] >= first).to_numpy(dtype=bool)
    if last:
        keep &= (f["night"] <= last).to_numpy(dtype=bool)
    order = {b: k for k, b in enumerate(snapshot.bands)}
    keys = list(zip(f["night"][keep].tolist(), f["band"][keep].tolist(), strict=True))
    keys.sort(key=lambda k: order.get(k[1], len(order)))
    return sorted(keys, key=lambda k: k[0], reverse=True)


def flat_causes(snapshot: Snapshot) -> list[str]:
    """Return the causes that occur, in words."""
    return sorted({cause_words(c)[0] for c in snapshot.flats["cause"] if c})


@dataclass(frozen=True)
class Part:
    """One part of a deviation, as the diagnosis found it; None where it does not apply."""

    name: str
    words: str
    size: float
    significance: float | None
    share: float | None
    where: str


_PART_WORDS = {
    "gradient": "plane gradient",
    "quadrants": "quadrant steps",
    "corner": "corner glow",
    "columns": "column",
    "rows": "row",
    "spot": "local spot",
    "pixels": "single pixels",
}


def parts_of(diagnosis: Any) -> tuple[Part, ...]:
    """Return the parts of a diagnosis, largest first; single pixels, whose size is a number of pixels, last."""
    found = []
    for p in diagnosis if isinstance(diagnosis, list) else []:
        if not isinstance(p, Mapping) or not isinstance(p.get("size"), int | float) or not math.isfinite(p["size"]):
            continue
        name = str(p.get("name", ""))
        words = _PART_WORDS.get(name.split(" ")[0], name)
        found.append(
            Part(
                name,
                words,
                float(p["size"]),
                _finite(p.get("significance")),
                _finite(p.get("share")),
                str(p.get("where", "")),
            )
        )
    return tuple(sorted(found, key=lambda p: (p.name == "pixels", -abs(p.size))))


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def reduced(image: NDArray[np.floating], good: NDArray[np.bool_], side: int) -> NDArray[np.float32]:
    """Return an image averaged over good pixels to at most so many pixels a side.

    A place at least half of whose pixels are bad is NaN, so that a dead column is seen and a lone bad pixel is not.
    """
    factor = max(1, math.ceil(max(image.shape) / side))
    ny, nx = (n // factor * factor for n in image.shape)
    shape = (ny // factor, factor, nx // factor, factor)
    seen = (good & np.isfinite(image))[:ny, :nx]
    total = np.where(seen, image[:ny, :nx], 0).reshape(shape).sum(axis=(1, 3), dtype=np.float64)
    count = seen.reshape(shape).sum(axis=(1, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
    return np.where(2 * count > factor * factor, mean, np.nan).astype(np.float32)


def flat_extent(row: Row) -> float:
    """Return how far a ratio map reaches from zero, in %: its worst cell, or the scatter of its pixels if larger."""
    return max(_number(row.get("cell_extreme")), _number(row.get("pixel_scatter")))


def sky_extent(row: Row) -> float:
    """Return how far a sky offset reaches from zero, in % of the sky level: 19 of 20 cells lie within; 0 if unknown."""
    level, cells = _number(row.get("level_dn")), row.get("cells_dn")
    if isinstance(cells, str):
        cells = json.loads(cells)
    if not level or not isinstance(cells, list):
        return 0.0
    values = np.abs(np.array(cells, np.float64))
    values = values[np.isfinite(values)]
    return float(np.percentile(values, 95)) * 100 / abs(level) if values.size else 0.0


def _number(value: Any) -> float:
    return float(value) if value is not None and math.isfinite(float(value)) else 0.0


def flat_map(collector: Collector, row: Row, side: int) -> NDArray[np.float32] | None:
    """Return a flat's ratio map in %, reduced; None where there is nothing to compare with."""
    found = ratio_percent(collector, row)
    return None if found is None else reduced(*found, side)


def sky_map(collector: Collector, row: Row, side: int) -> NDArray[np.float32] | None:
    """Return a block's sky offset in % of its sky level, reduced; None where there is no product or level."""
    path = sky_offsets_path(row["night"], row["band"], row["scan"], row["read"])
    cube, mask, level = collector.image(path), collector.image(path, "DQ"), row["level_dn"]
    if cube is None or mask is None or not level or not math.isfinite(level) or row["block"] >= len(cube):
        return None
    offset = np.asarray(cube[row["block"]], np.float32)
    return reduced(100 * offset / np.float32(level), usable(mask[row["block"]]), side)
