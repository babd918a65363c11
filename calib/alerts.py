"""Open matters: drifts, jumps, proposals and stand-ins, put in words.

Alerts are worked out from the whole history each time, so the order in which nights arrived leaves no trace; what a
person said about one of them is a decision and stays.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive, upsert
from calib.archive.decisions import Rulings
from calib.drift import episodes, states
from calib.profile import DriftLimits, Profile
from calib.standards import Standards

__all__ = ["update_alerts"]

Row = dict[str, Any]


def update_alerts(archive: Archive, profile: Profile, standards: Standards, rulings: Rulings) -> int:
    """Work out all alerts anew and replace the table; return how many there are."""
    found: dict[tuple[str, str, str, str, str], Row] = {}
    for row in (
        *_drifts(archive, profile),
        *_jumps(archive, profile),
        *_proposals(standards),
        *_stand_ins(archive),
    ):
        row["acknowledged_by"] = rulings.acknowledged.get((row["night"], row["band"], row["product"], row["metric"]))
        found[row["night"], row["band"], row["product"], row["region"], row["metric"]] = row
    with archive.begin() as connection:
        connection.execute(sa.delete(schema.alerts))
        upsert(connection, schema.alerts, found.values())
    return len(found)


def _alert(
    night: str,
    band: str,
    product: str,
    metric: str,
    state: str,
    text: str,
    *,
    region: str = "array",
    value: float | None = None,
    limit: float | None = None,
    unit: str = "",
    last: str | None = None,
) -> Row:
    return {
        "night": night,
        "band": band,
        "product": product,
        "region": region,
        "metric": metric,
        "state": state,
        "value": value,
        "limit": limit,
        "unit": unit,
        "text": text,
        "last_night": last or night,
    }


def _limits(profile: Profile, product: str) -> DriftLimits | None:
    kind, _, read = product.partition(" ")
    return {
        "dark": profile.drift.dark_dn.get(read),
        "noise": profile.drift.noise_percent,
        "responsivity": profile.drift.responsivity_percent,
        "gain": profile.drift.gain_percent,
    }.get(kind)


def _drifts(archive: Archive, profile: Profile) -> list[Row]:
    m, found = schema.metrics, []
    accepted = _accepted_nights(archive)
    for band in profile.bands:
        query = sa.select(m.c.product, m.c.region, m.c.night, m.c.value, m.c.error, m.c.unit).where(
            m.c.band == band, m.c.metric == "deviation"
        )
        series: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in archive.rows(query.order_by(m.c.night)):
            # A rejected flat says something about the sky; drift is judged on what was accepted.
            if row["night"] in accepted[band, row["product"].replace("noise", "dark")]:
                series[row["product"], row["region"]].append(row)
        by_product: dict[str, list[Row]] = defaultdict(list)
        for (product, region), rows in series.items():
            limits = _limits(profile, product)
            if limits is not None:
                by_product[product] += _episodes(band, product, region, rows, limits, profile.drift.significance)
        for alerts in by_product.values():
            found += [_spokesman(group) for group in _overlapping(alerts)]
    return found


def _episodes(
    band: str, product: str, region: str, rows: list[Row], limits: DriftLimits, significance: float
) -> list[Row]:
    """Return an alert for every stretch of nights in which one series was beyond its limits."""
    values = np.array([np.nan if r["value"] is None else r["value"] for r in rows])
    errors = np.array([np.nan if r["error"] is None else r["error"] for r in rows])
    nightly = states(values, errors, limits, significance)
    found = []
    for e in episodes(nightly, values):
        peak = rows[e.worst]
        state = "DRIFT" if "DRIFT" in nightly[e.first : e.last + 1] else "WATCH"
        limit = limits.drift if state == "DRIFT" else limits.watch
        text = (
            f"{band} {product}, {_where(region)}: {peak['value']:+.3g} {peak['unit']} from the reference on "
            f"{peak['night']}, beyond {limits.watch:g} {peak['unit']} since {rows[e.first]['night']}"
        )
        found.append(
            _alert(
                rows[e.first]["night"],
                band,
                product,
                "deviation",
                state,
                text,
                region=region,
                value=peak["value"],
                limit=limit,
                unit=peak["unit"],
                last=rows[e.last]["night"],
            )
        )
    return found


def _overlapping(alerts: list[Row]) -> list[list[Row]]:
    """Put together the alerts of one product whose nights overlap: one matter, seen in several regions."""
    groups: list[list[Row]] = []
    end = ""
    for alert in sorted(alerts, key=lambda a: (a["night"], a["region"])):
        if groups and alert["night"] <= end:
            groups[-1].append(alert)
            end = max(end, alert["last_night"])
        else:
            groups.append([alert])
            end = alert["last_night"]
    return groups


def _spokesman(group: list[Row]) -> Row:
    """Return the alert that speaks for a group: the coarsest region that shows most of it."""
    most = max(abs(a["value"]) for a in group)
    order = {"a": 0, "Q": 1, "C": 2}
    shown = [a for a in group if abs(a["value"]) >= 0.7 * most]
    return min(shown, key=lambda a: (order[a["region"][0]], -abs(a["value"])))


def _where(region: str) -> str:
    return {"a": "whole array", "Q": f"quadrant {region}", "C": f"cell {region}"}[region[0]]


def _accepted_nights(archive: Archive) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    d, f = schema.darks, schema.flats
    for r in archive.rows(sa.select(d.c.night, d.c.band, d.c.read).where(d.c.status == "accepted")):
        found[r["band"], f"dark {r['read']}"].add(r["night"])
    for r in archive.rows(sa.select(f.c.night, f.c.band).where(f.c.status == "accepted")):
        found[r["band"], "responsivity"].add(r["night"])
        found[r["band"], "gain"].add(r["night"])
    return found


def _jumps(archive: Archive, profile: Profile) -> list[Row]:
    d, found = schema.darks, []
    query = sa.select(d.c.night, d.c.band, d.c.read, d.c.level_dn, d.c.period).where(d.c.status == "accepted")
    last: dict[tuple[str, str, str], Row] = {}
    for row in archive.rows(query.order_by(d.c.night)):
        key = row["band"], row["read"], row["period"]
        before = last.get(key)
        limit = profile.dark.level_jump_dn.get(row["read"])
        if before is not None and limit is not None and None not in (row["level_dn"], before["level_dn"]):
            change = row["level_dn"] - before["level_dn"]
            if abs(change) > limit:
                text = (
                    f"{row['band']} dark {row['read']} jumped by {change:+.0f} DN against {before['night']}; "
                    f"otherwise clean, so it is used. Was the instrument changed? If so, start a hardware period"
                )
                found.append(
                    _alert(
                        row["night"],
                        row["band"],
                        f"dark {row['read']}",
                        "level jump",
                        "DRIFT",
                        text,
                        value=change,
                        limit=limit,
                        unit="DN",
                    )
                )
        last[key] = row
    return found


def _proposals(standards: Standards) -> list[Row]:
    found = []
    products = {(band, "responsivity"): s for band, s in standards.flat_surveys.items()}
    products |= {(band, f"dark {read}"): s for (band, read), s in standards.dark_surveys.items()}
    for (band, product), surveys in products.items():
        for survey in surveys.values():
            for p in survey.proposals:
                text = (
                    f"{band} {product}: {len(p.nights)} rejected nights since {p.first} agree with each other; "
                    f"the instrument changed. Start a hardware period on {p.first}"
                )
                found.append(
                    _alert(
                        p.first,
                        band,
                        product,
                        "hardware period",
                        "DRIFT",
                        text,
                        value=float(len(p.nights)),
                        unit="nights",
                        last=p.nights[-1],
                    )
                )
    return found


def _stand_ins(archive: Archive) -> list[Row]:
    """Return one alert per night and band whose scans were calibrated with what is not their own."""
    s = schema.scans
    reasons: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for row in archive.rows(sa.select(s)):
        scan = row["scan"]
        if row["canonical_status"] == "overtaken":
            reasons[row["night"], row["band"], "canonical overtaken by a change of the instrument"].add(scan)
        elif row["canonical_status"] == "provisional":
            reasons[row["night"], row["band"], "canonical provisional: too few nights agree yet"].add(scan)
        if row["dark_age_nights"]:
            age = row["dark_age_nights"]
            nights = f"{abs(age)} night{'s' if abs(age) > 1 else ''} {'older' if age > 0 else 'younger'}"
            text = f"dark of {row['dark_night']} ({nights})"
            reasons[row["night"], row["band"], text].add(scan)
        if row["status"] == "best block":
            reasons[row["night"], row["band"], f"no accepted sky offset in {row['read']}"].add(scan)
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (night, band, text), scans in sorted(reasons.items()):
        numbers = ", ".join(str(n) for n in sorted(scans))
        found[night, band].append(f"{text} (scan{'s' if len(scans) > 1 else ''} {numbers})")
    return [
        _alert(
            night,
            band,
            "scans",
            "calibration",
            "WATCH",
            f"{band} scans calibrated with a stand-in: " + "; ".join(texts),
            value=float(len(texts)),
        )
        for (night, band), texts in found.items()
    ]
