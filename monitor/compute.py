"""From tables and arrays to what a page says: states, numbers, sentences, maps; nothing here draws or reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.archive.products import responsivity_path
from calib.checks import check_table
from calib.flags import usable
from calib.verdict import Flat, mean_flat, ratio_map
from monitor.collect import Collector, Row, Snapshot
from monitor.collect_supplied import SuppliedMaster
from monitor.palette import STATES

__all__ = [
    "ORIGINS",
    "Badge",
    "BandHealth",
    "absent",
    "band_health",
    "cause_words",
    "pairs",
    "ratio_percent",
    "serving",
    "standing",
    "telling",
]


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
    cause : str
        Why it was rejected, in a few words; of a supplied master, from which file it is.
    """

    subject: str
    state: str
    number: str
    unit: str
    words: str
    page: str = "night"
    cause: str = ""


@dataclass(frozen=True)
class BandHealth:
    """A band's night in one sentence and five badges."""

    band: str
    sentence: str
    badges: tuple[Badge, ...]

    @property
    def worst(self) -> str:
        """The state that the card as a whole takes."""
        order = (
            "bad",
            "rejected",
            "watch",
            "notice",
            "notrun",
            "pending",
            "provisional",
            "unknown",
            "supplied",
            "good",
        )
        states = {b.state for b in self.badges}
        return next((s for s in order if s in states), "unknown")


def cause_words(cause: str) -> tuple[str, str]:
    """Split a verdict's cause into its words and the failed checks in brackets."""
    found = re.match(r"(.*?)\s*\((.*)\)$", cause or "")
    return (found[1], found[2]) if found else (cause or "", "")


# Parts of a diagnosis whose cause is not a check's own words: the check that measures them best.
_MEASURED_BY = {
    "light leak": "cell_extreme",
    "dust or local spot": "cell_extreme",
    "column": "beyond_2pct",
    "row": "beyond_2pct",
    "single pixels": "beyond_2pct",
    "another array or its pixels changed": "beyond_2pct",
}
# The units of numbers that are ratios, or shares of something.
_UNITS = {"residual": "χ²", "range": "×", "pixel_scatter": "×", "noise_high": "×", "noise_low": "×"}
_UNITS |= {"beyond_2pct": "% px", "good_pixels": "% px", "samples_left": "% left", "frames": "frames"}


def telling(subject: str, cause: str) -> tuple[str, str]:
    """Return the number that goes with the cause of a rejection, and its unit; empty if it could not be measured.

    It is that of the check that names the cause, else of the failed one that is named first.
    """
    words, brackets = cause_words(cause)
    failed = [f.split(" ") for f in brackets.split("; ")] if brackets else []
    named = {c.cause: n for n, c in check_table(subject).items()} | (_MEASURED_BY if subject == "flat" else {})
    measured = [f for f in failed if len(f) >= 4 and f[1] != "could"]
    chosen = next((f for f in measured if f[0] == named.get(words)), measured[0] if measured else None)
    if chosen is None:
        return "", ""
    unit = _UNITS.get(chosen[0], chosen[2] if chosen[2] in ("%", "DN") else "")
    return chosen[1].replace("-", "−"), unit


def signed(value: float, digits: int = 0) -> str:
    """Return a number with its sign, a true minus, and ±0 for what rounds to nothing."""
    text = f"{value:+.{digits}f}"
    return f"±{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


ORIGINS = {
    "": "",
    "sky": "all bands alike: the sky, or what they share",
    "hardware": "this band alone: its own hardware, not the sky",
}
"""What the bands of a night say together about a rejected flat (`calib.verdict.origin_of`)."""

_CHARTED = {"OK": "good", "NOTICE": "notice", "WATCH": "watch", "DRIFT": "bad", "UNKNOWN": "unknown"}
_RANK = ("DRIFT", "WATCH", "NOTICE", "UNKNOWN", "OK")


@dataclass(frozen=True)
class Judged:
    """What the control charts say of some products of a night: the worst of them.

    Attributes
    ----------
    state : str
        Key of `monitor.palette.STATES`.
    words : str
        What it means.
    row : dict or None
        The row of the table of states.
    cause : str
        In a few words; empty where all is quiet.
    """

    state: str
    words: str
    row: Row | None = None
    cause: str = ""

    @property
    def changed(self) -> bool:
        """Whether something changed."""
        return self.state in ("notice", "watch", "bad")

    @property
    def number(self) -> tuple[str, str]:
        """Size and unit of the change; empty where there is none."""
        if self.row is None or self.row["value"] is None:
            return "", ""
        digits = 0 if self.row["unit"] == "DN" and abs(self.row["value"]) >= 10 else 2
        return signed(self.row["value"], digits), self.row["unit"]


def judged(snapshot: Snapshot, night: str, band: str, *products: str) -> Judged:
    """Return what the charts say of products of a night; a night that was not charted is unknown, or in work."""
    rows = [r for r in (snapshot.states.of(night, band, p) for p in products) if r is not None]
    if not rows:
        if snapshot.activity.since:
            return Judged("pending", "the run at work has yet to compare it", cause="accepted, not compared")
        return Judged("unknown", "not compared", cause="accepted, not compared")
    worst = min(rows, key=lambda r: (_RANK.index(r["state"]), -(r["significance"] or 0.0)))
    state, cause = _CHARTED[worst["state"]], worst["cause"]
    if state == "unknown":
        # What is measured and has nothing yet to be compared with is on its way; what is not measured is not.
        few = cause.startswith("only ")
        return Judged("provisional" if few else "unknown", cause, worst, "" if few else "accepted, not compared")
    if state == "good":
        return Judged(state, f"as on the nights before ({worst['significance'] or 0.0:.1f} σ)", worst)
    where = f" in {worst['region']}" if worst["region"] not in ("", "array") else ""
    found = Judged(state, "", worst, cause)
    size = " ".join(found.number)
    since = "" if worst["since"] in (None, night) else f" since {worst['since']}"
    # The size of a pattern is no deviation of the region by itself, which other charts show: the rest moves as well.
    against = " against the rest of the array" if where else ""
    words = f"{worst['product']}: {cause}{where}, {size}{against}{since} ({worst['significance'] or 0.0:.1f} σ)"
    return Judged(state, words, worst, cause)


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


def _metric(
    snapshot: Snapshot, night: str, band: str, product: str, metric: str = "deviation"
) -> tuple[float, float] | tuple[None, None]:
    return snapshot.metrics.series(band, product, metric).at(night) or (None, None)


def absent(snapshot: Snapshot, night: str, band: str, obs_type: str) -> tuple[str, str]:
    """Return the state and words of something that the archive does not hold.

    Parameters
    ----------
    obs_type : str
        ``dark``, ``twilight`` or ``scan``.
    """
    state = snapshot.activity.state(night, band, obs_type)
    what = {"dark": "dark", "twilight": "twilight flat", "scan": "scan"}[obs_type]
    if state == "pending":
        return state, f"a {what} was taken; the run at work has yet to come to it"
    if state == "notrun":
        return state, f"a {what} was taken, but no run has come to it; calib run takes it up"
    return "unknown", f"no {what} was taken"


def serving(snapshot: Snapshot, night: str, band: str, what: str) -> SuppliedMaster | None:
    """Return the supplied master that stands in for a night's own dark or flat, None where none does.

    Parameters
    ----------
    what : str
        ``dark`` or ``flat``.
    """
    master = snapshot.supplied.get((what, band))
    if master is None:
        return None
    column = {"dark": "dark_night", "flat": "canonical_night"}[what]
    scans = snapshot.scans.of(night)
    used = set(scans.loc[scans["band"] == band, column])
    if used:
        return master if "supplied" in used else None
    # Own products replace it as soon as one can serve.
    own = snapshot.part(f"{what}s", band)
    return None if own["status"].isin(("accepted", "provisional")).any() else master


def _supplied_badge(master: SuppliedMaster, what: str, page: str) -> Badge:
    own = {"dark": "dark", "flat": "twilight flat"}[what]
    words = f"no {own} was taken; {master.words}, supplied by the team and taken as it came, serves until there is one"
    return Badge(what, "supplied", "", "", words, page, f"supplied ({master.name})")


def standing(snapshot: Snapshot, status: str) -> tuple[str, str]:
    """Return the state of a verdict; if a run is, or was, in the middle of it, also what to say of that."""
    if status != "pending":
        return (status if status in STATES else "unknown"), ""
    if snapshot.activity.since:
        return "pending", "made; the run at work has yet to judge it"
    return "notrun", "made, but the run ended before it was judged; calib run takes it up"


def _dark_badge(snapshot: Snapshot, night: str, band: str) -> Badge:
    profile, read = snapshot.profile, snapshot.profile.responsivity.read
    rows = [r for r in (snapshot.dark(night, band, x) for x in profile.reads) if r is not None]
    if not rows:
        state, words = absent(snapshot, night, band, "dark")
        master = serving(snapshot, night, band, "dark") if state == "unknown" else None
        return Badge("dark", state, "", "", words) if master is None else _supplied_badge(master, "dark", "night")
    refused = [r for r in rows if r["status"] == "rejected"]
    value, _ = _metric(snapshot, night, band, f"dark {read}")
    number, unit = ("", "") if value is None else (signed(value), "DN")
    if refused:
        # The read of which the flats are made speaks for both.
        chosen = next((r for r in refused if r["read"] == read), refused[0])
        number, unit = telling("dark", chosen["cause"])
        words = "; ".join(f"{r['read']}: {r['cause']}" for r in refused)
        return Badge("dark", "rejected", number, unit, words, cause=cause_words(chosen["cause"])[0])
    for r in rows:
        state, words = standing(snapshot, r["status"])
        if words:
            return Badge("dark", state, number, unit, words)
    if any(r["status"] == "provisional" for r in rows):
        return Badge("dark", "provisional", number, unit, "too few nights to judge it yet")
    found = judged(snapshot, night, band, *(f"dark {r}" for r in profile.reads))
    if found.changed:
        number, unit = found.number
    return Badge("dark", found.state, number, unit, f"accepted; {found.words}", cause=found.cause)


def _flat_badge(snapshot: Snapshot, night: str, band: str) -> Badge:
    row = snapshot.flat(night, band)
    if row is None:
        state, words = absent(snapshot, night, band, "twilight")
        master = serving(snapshot, night, band, "flat") if state == "unknown" else None
        return (
            Badge("flat", state, "", "", words, "flats") if master is None else _supplied_badge(master, "flat", "night")
        )
    number = "" if row["cell_rms"] is None else f"{row['cell_rms']:.2f}"
    unit = "%" if number else ""
    if row["status"] == "rejected":
        number, unit = telling("flat", row["cause"])
        words = f"{row['cause']}; {ORIGINS[row['origin']]}".removesuffix("; ")
        return Badge("flat", "rejected", number, unit, words, "flats", cause_words(row["cause"])[0])
    state, words = standing(snapshot, row["status"])
    if words:
        return Badge("flat", state, number, unit, words, "flats")
    if row["status"] == "provisional":
        return Badge("flat", "provisional", number, unit, "too few nights to judge it yet", "flats")
    found = judged(snapshot, night, band, "responsivity", "gain")
    if found.changed:
        number, unit = found.number
        return Badge("flat", found.state, number, unit, f"accepted; {found.words}", "trends", found.cause)
    words = f"accepted; rms of 8×8 cells against the canonical before it; {found.words}"
    return Badge("flat", found.state, number, unit, words, "flats", found.cause)


def _sky_badge(snapshot: Snapshot, night: str, band: str) -> Badge:
    read = snapshot.profile.responsivity.read
    row = snapshot.sky(night, band, read)
    if row is None:
        state, words = absent(snapshot, night, band, "scan")
        if state == "unknown":
            words = "no scan was taken or calibrated"
        return Badge("sky offsets", state, "", "", words, "scans")
    n, bad = int(row["n_blocks"]), int(row["n_rejected"])
    words = f"{n - bad} of {n} blocks of {read} accepted in {int(row['n_scans'])} scans"
    if bad:
        return Badge("sky offsets", "rejected" if bad == n else "watch", f"{n - bad}/{n}", "", words, "scans")
    found = judged(snapshot, night, band, "sky offsets")
    # Few nights have scans: that a chart knows too little of them does not make accepted offsets doubtful.
    state = found.state if found.changed else "good"
    return Badge("sky offsets", state, f"{n}/{n}", "", f"{words}; {found.words}", "scans", found.cause)


def _noise_badge(snapshot: Snapshot, night: str, band: str) -> Badge:
    read = snapshot.profile.responsivity.read
    value, _ = _metric(snapshot, night, band, f"noise {read}")
    absolute, _ = _metric(snapshot, night, band, f"noise {read}", "noise")
    if absolute is None:
        dark = snapshot.dark(night, band, read)
        state, words = absent(snapshot, night, band, "dark")
        if dark is not None:
            state = "pending" if snapshot.activity.since else "unknown"
            words = "the run at work has yet to measure it" if state == "pending" else "no noise was measured"
        elif state == "unknown" and serving(snapshot, night, band, "dark"):
            words = "not measured: the dark was supplied without its scatter"
        return Badge("noise", state, "", "", words)
    found = judged(snapshot, night, band, *(f"noise {r}" for r in snapshot.profile.reads))
    compared = "no reference to compare it with" if value is None else f"{signed(value, 1)} % against the reference"
    words = f"read noise of {read}; {compared}; {found.words}"
    return Badge("noise", found.state, f"{absolute:.1f}", "e⁻", words, cause=found.cause)


def _pixel_badge(snapshot: Snapshot, night: str, band: str) -> Badge:
    read = snapshot.profile.responsivity.read
    dark = snapshot.dark(night, band, read)
    if dark is None:
        state, words = absent(snapshot, night, band, "dark")
        if state == "unknown":
            supplied = serving(snapshot, night, band, "dark")
            words = "not counted: the dark was supplied" if supplied else "no dark to count them in"
        return Badge("pixels", state, "", "", words)
    totals = f"{int(dark['n_hot'] or 0)} hot, {int(dark['n_noisy'] or 0)} noisy pixels in all"
    found = judged(snapshot, night, band, "pixels")
    new = found.row["value"] if found.row is not None else None
    number = "" if new is None else f"+{int(new)}"
    words = f"pixels that turned hot, noisy, dead or bistable; {totals}; {found.words}"
    return Badge("pixels", found.state, number, "px" if number else "", words, cause=found.cause)


_PLAIN = {"good": "steady", "watch": "to be watched", "bad": "drifting"}
# What comes first in a sentence; a state of another subject than these says nothing of the night.
_WORST_FIRST = ("rejected", "bad", "watch", "notice", "notrun", "unknown", "pending", "provisional", "supplied", "good")


def _sentence(band: str, badges: tuple[Badge, ...]) -> str:
    by = {b.subject: b for b in badges}
    parts = [(by[name].state, _part(by[name])) for name in ("flat", "dark")]
    if by["sky offsets"].state in ("watch", "rejected") and not by["sky offsets"].cause:
        # A stand-in serves the scan: worse is a flat or dark that is not there.
        parts.append(("watch", f"{by['sky offsets'].number} sky offsets accepted"))
    elif by["sky offsets"].state in ("pending", "notrun"):
        parts.append((by["sky offsets"].state, _part(by["sky offsets"])))
    for name in ("noise", "pixels", "sky offsets"):
        if by[name].cause and by[name].state in ("notice", "watch", "bad"):
            number = f"{by[name].number.lstrip('+')} " if name == "pixels" else ""
            parts.append((by[name].state, f"{number}{by[name].cause}"))
    parts.sort(key=lambda p: _WORST_FIRST.index(p[0]))
    return f"{band}: " + "; ".join(words for _, words in parts)


def _part(badge: Badge) -> str:
    name, state = badge.subject, badge.state
    if state == "rejected":
        number = f" {badge.number} {badge.unit}".rstrip() if badge.unit in ("%", "DN") else ""
        return f"{name} rejected, {badge.cause}{number}"
    if badge.cause and state in ("notice", "watch", "bad"):
        return f"{name}: {badge.cause} {badge.number} {badge.unit}".rstrip()
    if badge.cause:
        return f"{name} {badge.cause}"
    if state == "unknown":
        return f"no {name}"
    if name == "flat" and state == "good":
        return "flat accepted"
    return f"{name} {_PLAIN.get(state, STATES[state].word)}"


def pairs(row: Row, names: tuple[str, ...]) -> list[tuple[str, Any]]:
    """Return the named columns of a row that have a value."""
    return [(n, row[n]) for n in names if row.get(n) is not None]


def load_flat(collector: Collector, path: str) -> Flat | None:
    """Return a responsivity or canonical for comparison, or None if its product is not there."""
    found = collector.images(path, ("SCI", "ERR", "DQ"))
    if len(found) < 3:
        return None
    value, error, mask = found.values()
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
