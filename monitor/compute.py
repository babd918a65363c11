"""From tables and arrays to what a page says: states, numbers, sentences, maps; nothing here draws or reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.archive.products import responsivity_path
from calib.flags import usable
from calib.profile import DriftLimits
from calib.verdict import Flat, mean_flat, ratio_map
from monitor.collect import Collector, Row, Snapshot

__all__ = ["Badge", "BandHealth", "band_health", "cause_words", "pairs", "ratio_percent"]


@dataclass(frozen=True)
class Badge:
    """One subject of one band in one night.

    Attributes
    ----------
    subject : str
        ``dark``, ``flat``, ``sky offsets``, ``noise`` or ``pixels``.
    state : str
        Key of `monitor.palette.STATES`.
    number, unit : str
        The one number that matters, and its unit; empty where there is none.
    words : str
        What it means, for the hover text.
    page : str
        Where to look further.
    """

    subject: str
    state: str
    number: str
    unit: str
    words: str
    page: str = "night"


@dataclass(frozen=True)
class BandHealth:
    """A band's night in one sentence and five badges."""

    band: str
    sentence: str
    badges: tuple[Badge, ...]

    @property
    def worst(self) -> str:
        """The state that the card as a whole takes."""
        order = ("bad", "rejected", "watch", "notice", "provisional", "unknown", "notrun", "good")
        states = {b.state for b in self.badges}
        return next((s for s in order if s in states), "unknown")


def cause_words(cause: str) -> tuple[str, str]:
    """Split a verdict's cause into its words and the failed checks in brackets."""
    found = re.match(r"(.*?)\s*\((.*)\)$", cause or "")
    return (found[1], found[2]) if found else (cause or "", "")


def signed(value: float, digits: int = 0) -> str:
    """Return a number with its sign, a true minus, and ±0 for what rounds to nothing."""
    text = f"{value:+.{digits}f}"
    return f"±{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def drift_state(value: float | None, error: float | None, limits: DriftLimits, significance: float) -> str:
    """Return the state of one deviation by size and significance; missing is unknown."""
    if value is None or not np.isfinite(value):
        return "unknown"
    if abs(value) < limits.watch or abs(value) < significance * (error or 0.0):
        return "good"
    return "bad" if abs(value) >= limits.drift else "watch"


def band_health(snapshot: Snapshot, night: str, band: str) -> BandHealth:
    """Judge one band's night from what the archive holds."""
    badges = (
        _dark_badge(snapshot, night, band),
        _flat_badge(snapshot, night, band),
        _sky_badge(snapshot, night, band),
        _noise_badge(snapshot, night, band),
        _pixel_badge(snapshot, night, band),
    )
    return BandHealth(band, _sentence(band, badges), badges)


def _metric(snapshot: Snapshot, night: str, band: str, product: str, metric: str = "deviation") -> tuple[Any, Any]:
    m = snapshot.metrics
    chosen = m[
        (m["night"] == night)
        & (m["band"] == band)
        & (m["product"] == product)
        & (m["metric"] == metric)
        & (m["region"] == "array")
    ]
    if chosen.empty:
        return None, None
    value, error = chosen.iloc[0][["value", "error"]]
    return (None, None) if value is None or not np.isfinite(value) else (float(value), float(error or 0.0))


def _dark_badge(snapshot: Snapshot, night: str, band: str) -> Badge:
    read = snapshot.profile.responsivity.read
    rows = [r for r in (snapshot.dark(night, band, x) for x in snapshot.profile.reads) if r is not None]
    if not rows:
        return Badge("dark", "unknown", "", "", "no dark was taken")
    refused = [r for r in rows if r["status"] == "rejected"]
    value, error = _metric(snapshot, night, band, f"dark {read}")
    number = "" if value is None else signed(value)
    if refused:
        words = "; ".join(f"{r['read']}: {r['cause']}" for r in refused)
        return Badge("dark", "rejected", number, "DN" if number else "", words)
    if any(r["status"] == "provisional" for r in rows):
        return Badge("dark", "provisional", number, "DN" if number else "", "too few nights to judge it yet")
    state = drift_state(value, error, snapshot.profile.drift.dark_dn[read], snapshot.profile.drift.significance)
    return Badge("dark", state, number, "DN" if number else "", f"accepted; level of {read} against the reference")


def _flat_badge(snapshot: Snapshot, night: str, band: str) -> Badge:
    row = snapshot.flat(night, band)
    if row is None:
        return Badge("flat", "unknown", "", "", "no twilight flat was taken", "flats")
    number = "" if row["cell_rms"] is None else f"{row['cell_rms']:.2f}"
    unit = "%" if number else ""
    if row["status"] == "rejected":
        return Badge("flat", "rejected", number, unit, row["cause"], "flats")
    if row["status"] == "provisional":
        return Badge("flat", "provisional", number, unit, "too few nights to judge it yet", "flats")
    return Badge("flat", "good", number, unit, "accepted; 8×8 cells against the canonical before it", "flats")


def _sky_badge(snapshot: Snapshot, night: str, band: str) -> Badge:
    o = snapshot.offsets
    read = snapshot.profile.responsivity.read
    chosen = o[(o["night"] == night) & (o["band"] == band) & (o["read"] == read)]
    if chosen.empty:
        return Badge("sky offsets", "unknown", "", "", "no scan was taken or calibrated", "scans")
    n, bad = int(chosen.iloc[0]["n_blocks"]), int(chosen.iloc[0]["n_rejected"])
    words = f"{n - bad} of {n} blocks of {read} accepted in {int(chosen.iloc[0]['n_scans'])} scans"
    state = "good" if bad == 0 else ("rejected" if bad == n else "watch")
    return Badge("sky offsets", state, f"{n - bad}/{n}", "", words, "scans")


def _noise_badge(snapshot: Snapshot, night: str, band: str) -> Badge:
    read = snapshot.profile.responsivity.read
    value, error = _metric(snapshot, night, band, f"noise {read}")
    absolute, _ = _metric(snapshot, night, band, f"noise {read}", "noise")
    if absolute is None:
        return Badge("noise", "unknown", "", "", "no noise was measured")
    limits = snapshot.profile.drift.noise_percent
    state = drift_state(value, error, limits, snapshot.profile.drift.significance)
    change = "" if value is None else f"; {value:+.1f} % against the reference"
    return Badge("noise", state, f"{absolute:.1f}", "e⁻", f"read noise of {read}{change}")


def _pixel_badge(snapshot: Snapshot, night: str, band: str) -> Badge:
    read = snapshot.profile.responsivity.read
    d = snapshot.darks
    series = d[(d["band"] == band) & (d["read"] == read) & (d["night"] <= night)].tail(21)
    if series.empty or series.iloc[-1]["night"] != night:
        return Badge("pixels", "unknown", "", "", "no dark to count them in")
    counts = (series["n_hot"] + series["n_noisy"]).to_numpy(dtype=float)
    now = int(counts[-1])
    words = f"{int(series.iloc[-1]['n_hot'])} hot, {int(series.iloc[-1]['n_noisy'])} noisy pixels"
    if len(counts) < 4:
        return Badge("pixels", "provisional", f"{now}", "px", words + "; too few nights to compare")
    usual = float(np.median(counts[:-1]))
    # Counts near a threshold scatter like Poisson's; five times that, and ten pixels at least, is a change.
    change = now - usual
    state = "good" if abs(change) <= max(10.0, 5 * np.sqrt(usual)) else "watch"
    return Badge("pixels", state, signed(change), "px", f"{words}; usually {usual:.0f}")


_PLAIN = {"good": "steady", "watch": "to be watched", "bad": "drifting", "provisional": "provisional"}


def _sentence(band: str, badges: tuple[Badge, ...]) -> str:
    by = {b.subject: b for b in badges}
    flat, dark, sky = by["flat"], by["dark"], by["sky offsets"]
    parts = []
    for badge, name in ((flat, "flat"), (dark, "dark")):
        if badge.state == "rejected":
            cause = badge.words.split(": ", 1)[-1] if name == "dark" else badge.words
            parts.append(f"{name} rejected, {cause_words(cause.split('; R')[0])[0]}")
        elif badge.state == "unknown":
            parts.append(f"no {name}")
        elif name == "flat" and badge.state == "good":
            parts.append("flat accepted")
        else:
            parts.append(f"{name} {_PLAIN.get(badge.state, badge.state)}")
    if sky.state in ("watch", "rejected"):
        parts.append(f"{sky.number} sky offsets accepted")
    if by["noise"].state in ("watch", "bad"):
        parts.append("noise changed")
    if by["pixels"].state == "watch":
        parts.append(f"{by['pixels'].number} flagged pixels")
    return f"{band}: " + "; ".join(parts)


def pairs(row: Row, names: tuple[str, ...]) -> list[tuple[str, Any]]:
    """Return the named columns of a row that have a value."""
    return [(n, row[n]) for n in names if row.get(n) is not None]


def load_flat(collector: Collector, path: str) -> Flat | None:
    """Return a responsivity or canonical for comparison, or None if its product is not there."""
    value, error, mask = (collector.image(path, n) for n in ("SCI", "ERR", "DQ"))
    if value is None or error is None or mask is None:
        return None
    return Flat(np.asarray(value, np.float32), np.asarray(error, np.float32), usable(mask) & np.isfinite(value))


def ratio_percent(collector: Collector, row: Row) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Return 100 × (tonight / what it was judged against − 1) and the good pixels; None where there is no standard.

    Parameters
    ----------
    row : dict
        A row of the flats: its ``standard`` names the nights.
    """
    tonight = load_flat(collector, responsivity_path(row["night"], row["band"]))
    standard = row.get("standard")
    if tonight is None or not isinstance(standard, list) or not standard:
        return None
    members = [load_flat(collector, responsivity_path(n, row["band"])) for n in standard]
    return ratio_map(tonight, mean_flat([m for m in members if m is not None])) if all(members) else None
