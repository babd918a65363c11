"""Which alerts would appear, vanish or change their state under other limits of drift, jumps and significance.

An alert's state follows from the largest size it had and from two limits, so it can be told. What another significance
would have found needs the charts run again, which only the next run does: what is said of it here is no more than
which nights lie on the other side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calib.drift import state_of
from calib.profile import DriftLimits, Profile

__all__ = ["AlertChange", "alert_changes"]

Row = Mapping[str, Any]

_LOCAL = ("spot", "column", "row")
# Kinds of alerts that no limit of drift stands behind.
_OTHERS = ("calibration", "hardware period")


@dataclass(frozen=True)
class AlertChange:
    """One alert that is not what it was.

    Attributes
    ----------
    night, band, product, region, metric : str
        The alert.
    before, after : str
        Its states; empty for one that is not there.
    value : float
        The size that decides, in `unit`; NaN where none is known.
    old, new : float
        The limit that decides, before and after, in `limit_unit`.
    certain : bool
        Whether it is worked out from all that counts; otherwise the next run may say differently.
    """

    night: str
    band: str
    product: str
    region: str
    metric: str
    before: str
    after: str
    value: float
    unit: str
    old: float
    new: float
    limit_unit: str
    certain: bool

    def words(self) -> str:
        """Return the change in words."""
        what = {"": "appears as " + self.after}.get(self.before) or (
            f"{self.before} → {self.after}" if self.after else f"{self.before} vanishes"
        )
        where = f" in {self.region}" if self.region not in ("", "array") else ""
        return (
            f"{self.night} {self.band} {self.product}, {self.metric}{where}: {what}, {self.value:.3g} {self.unit} "
            f"(limit {self.old:g} → {self.new:g} {self.limit_unit})"
            + ("" if self.certain else ", for the next run to settle")
        )


def alert_changes(
    alerts: Iterable[Row], states: Iterable[Row], darks: Iterable[Row], old: Profile, new: Profile
) -> list[AlertChange]:
    """Return how the alerts change when one profile takes the place of another, the newest first.

    Parameters
    ----------
    alerts, states : iterable of mapping
        Rows of the archive's tables.
    darks : iterable of mapping
        ``night``, ``band``, ``read``, ``period``, ``level_dn`` and ``status`` of the darks.
    old, new : Profile
        That under which the alerts were worked out, and the other.
    """
    alerts = list(alerts)
    found: list[AlertChange] = []
    if old.drift != new.drift:
        by_series: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for s in states:
            by_series[s["band"], s["product"]].append(s)
        for a in alerts:
            change = _change(a, by_series, old, new)
            if change is not None:
                found.append(change)
        if new.drift.significance < old.drift.significance:
            found += _seen_now(by_series, old, new)
    if old.dark.level_jump_dn != new.dark.level_jump_dn:
        found += _jumps(alerts, list(darks), old, new)
    return sorted(found, key=lambda c: (c.night, c.band, c.product), reverse=True)


def limits_of(profile: Profile, product: str, metric: str = "") -> DriftLimits | None:
    """Return the sizes that matter for a product, or None for one that has none."""
    drift = profile.drift
    if metric.endswith(" pixels") or product == "pixels":
        return drift.new_pixels
    if product.startswith("dark "):
        return drift.dark_dn.get(product.removeprefix("dark "))
    if product.startswith("noise "):
        return drift.noise_percent
    return {
        "responsivity": drift.responsivity_percent,
        "gain": drift.gain_percent,
        "sky offsets": drift.sky_percent,
    }.get(product)


def _change(a: Row, states: dict[tuple[str, str], list[Row]], old: Profile, new: Profile) -> AlertChange | None:
    """Return what becomes of one alert."""
    if a["metric"] in _OTHERS:
        return None
    significance = a["significance"]
    if significance is not None and a["metric"] not in _LOCAL and significance < new.drift.significance:
        limits = (old.drift.significance, new.drift.significance)
        # Seen later perhaps, when more nights have added up; new pixels are counted night by night.
        certain = str(a["metric"]).endswith(" pixels")
        return _told(a, str(a["state"]), "", significance, "σ", *limits, "σ", certain=certain)
    before, after = limits_of(old, a["product"], a["metric"]), limits_of(new, a["product"], a["metric"])
    if before is None or after is None or before == after or a["value"] is None:
        return None
    size, certain = _largest(a, states[a["band"], a["product"]])
    if state_of(size, before) != a["state"]:
        size, certain = _within(size, str(a["state"]), before), False
    state = state_of(size, after)
    if state == a["state"]:
        return None
    edge = "drift" if "DRIFT" in (state, a["state"]) else "watch"
    limits = (float(getattr(before, edge)), float(getattr(after, edge)))
    return _told(a, str(a["state"]), state, size, a["unit"], *limits, a["unit"], certain=certain)


def _told(
    a: Row,
    before: str,
    after: str,
    value: float,
    unit: str,
    old: float,
    new: float,
    limit_unit: str,
    *,
    certain: bool,
) -> AlertChange:
    place = (a["night"], a["band"], a["product"], a["region"], a["metric"])
    return AlertChange(*place, before, after, float(value), unit, old, new, limit_unit, certain)


def _largest(a: Row, states: list[Row]) -> tuple[float, bool]:
    """Return the largest size that an alert had, and whether every night of it is known.

    An alert's state is that of its largest size, but its row holds the present one; the nights' states hold the others,
    unless something larger went on at the same time.
    """
    size = float(a["value"])
    charted = a["significance"] is not None and a["metric"] not in _LOCAL and not str(a["metric"]).endswith("pixels")
    if not charted:
        return size, True
    first, last = a["night"], a["last_night"] or a["night"]
    nights = [s for s in states if first <= s["night"] <= last and s["state"] not in ("UNKNOWN", "OK")]
    own = [s for s in nights if s["since"] == a["since"] and s["region"] == a["region"] and s["value"] is not None]
    sizes = [float(s["value"]) for s in own] + [size]
    return max(sizes, key=abs), len(own) == len(nights)


def _within(size: float, state: str, limits: DriftLimits) -> float:
    """Return the size nearest to a given one that has a state."""
    low, high = {"NOTICE": (0.0, limits.watch), "WATCH": (limits.watch, limits.drift)}.get(
        state, (limits.drift, float("inf"))
    )
    return float(np.clip(abs(size), low, np.nextafter(high, 0.0)))


def _seen_now(states: dict[tuple[str, str], list[Row]], old: Profile, new: Profile) -> Iterator[AlertChange]:
    """Yield the first night of each stretch of quiet nights that a lower significance would not call quiet."""
    for (band, product), rows in states.items():
        before = False
        for s in sorted(rows, key=lambda s: str(s["night"])):
            seen = s["state"] == "OK" and (s["significance"] or 0.0) >= new.drift.significance
            if seen and not before:
                limits = (old.drift.significance, new.drift.significance)
                yield AlertChange(
                    s["night"], band, product, "", "change", "", "NOTICE", float(s["significance"]), "σ", *limits, "σ",
                    certain=False,
                )  # fmt: skip
            before = seen


def _jumps(alerts: list[Row], darks: list[Row], old: Profile, new: Profile) -> Iterator[AlertChange]:
    """Yield the jumps of a dark's level, from one accepted night to the next, between the old and the new limit."""
    told = set()
    there = {}
    for a in alerts:
        if not str(a["product"]).startswith("dark "):
            continue
        if a["metric"] == "level jump" and a["significance"] is None:
            there[a["night"], a["band"], a["product"]] = a
        else:
            if a["metric"] == "level jump":
                told.add((a["night"], a["band"], a["product"]))
            if a["region"] == "array":
                told.add((a["since"], a["band"], a["product"]))
    last: dict[tuple[str, str, str], Row] = {}
    for d in sorted((d for d in darks if d["status"] == "accepted"), key=lambda d: str(d["night"])):
        key, product = (d["band"], d["read"], d["period"]), f"dark {d['read']}"
        before, place = last.get(key), (d["night"], d["band"], product)
        last[key] = d
        if before is None or _unknown(d["level_dn"]) or _unknown(before["level_dn"]):
            continue
        change = d["level_dn"] - before["level_dn"]
        was, limit = old.dark.level_jump_dn[d["read"]], new.dark.level_jump_dn[d["read"]]
        state = state_of(change, new.drift.dark_dn[d["read"]])
        if abs(change) > limit and place not in there and place not in told and abs(change) <= was:
            yield AlertChange(*place, "array", "level jump", "", state, change, "DN", was, limit, "DN", certain=True)
        elif abs(change) <= limit and place in there:
            told_state = str(there[place]["state"])
            yield AlertChange(
                *place, "array", "level jump", told_state, "", change, "DN", was, limit, "DN", certain=True
            )


def _unknown(level: float | None) -> bool:
    return level is None or level != level
