"""What can be followed over the nights: the catalogue of series, their tables, limits, edges and decisions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from calib.checks import check_table
from calib.profile import Profile
from calib.regions import cell_names, quadrant_names
from monitor.collect import Snapshot
from monitor.collect_series import Series, worst

__all__ = [
    "COLUMNS",
    "WORST",
    "Choice",
    "Mark",
    "catalogue",
    "default_region",
    "find_choice",
    "limit_zones",
    "marks",
    "region_words",
    "regions",
    "series_table",
]

WORST = "worst"
COLUMNS = ("night", "band", "value", "error", "status", "cause", "region")


@dataclass(frozen=True)
class Choice:
    """One series that can be shown.

    Attributes
    ----------
    product, metric : str
        As they stand in the address; for the archive's metrics also in its table.
    label : str
        Words for the choice and the axis.
    unit : str
        Unit of the values; empty for ratios and counts.
    source : str
        ``metrics``, ``darks``, ``flats`` or ``offsets``: the table of the snapshot.
    column : str
        The column of that table, where it is not ``metrics``.
    subject : str
        Whose verdict the nights carry: ``dark``, ``flat``, ``sky_offset``, or empty for none.
    read : str
        The read, where there is one.
    where : str
        Regions it has: ``array``, ``quadrants`` or ``cells``; each includes those before it.
    """

    product: str
    metric: str
    label: str
    unit: str
    source: str
    column: str = ""
    subject: str = ""
    read: str = ""
    where: str = "array"

    @property
    def key(self) -> str:
        """Product and metric in one word."""
        return f"{self.product}|{self.metric}"


_DEVIATION = "deviation from the reference"


def catalogue(profile: Profile) -> tuple[Choice, ...]:
    """Return every series that an archive of a profile can hold, product by product."""
    found: list[Choice] = []
    reads = tuple(profile.reads)
    for r in reads:
        dark: dict[str, Any] = {"product": f"dark {r}", "subject": "dark", "read": r}
        found.append(Choice(metric="deviation", label=_DEVIATION, unit="DN", source="metrics", where="cells", **dark))
        found.append(Choice(metric="level", label="level", unit="DN", source="metrics", **dark))
        for name, check in check_table("dark").items():
            if name != "frames":
                found.append(
                    Choice(metric=name, label=check.meaning, unit=check.unit, source="darks", column=name, **dark)
                )
        for column, label in (("n_hot", "hot pixels"), ("n_noisy", "noisy pixels")):
            found.append(Choice(metric=column, label=label, unit="pixels", source="darks", column=column, **dark))
    for r in reads:
        noise: dict[str, Any] = {"product": f"noise {r}", "subject": "dark", "read": r, "source": "metrics"}
        found.append(Choice(metric="deviation", label=_DEVIATION, unit="%", where="cells", **noise))
        found.append(Choice(metric="noise", label="read noise", unit="e⁻", **noise))
    flat: dict[str, Any] = {"subject": "flat", "read": profile.responsivity.read}
    found.append(Choice("responsivity", "deviation", _DEVIATION, "%", "metrics", where="cells", **flat))
    found.append(Choice("gain", "deviation", _DEVIATION, "%", "metrics", where="quadrants", **flat))
    found.append(Choice("gain", "gain", "conversion gain", "e⁻/DN", "metrics", where="quadrants", **flat))
    for name, check in check_table("flat").items():
        if name != "frames":
            found.append(Choice("flat", name, check.meaning, check.unit, "flats", name, **flat))
    for column, label, unit in (
        ("n_dead", "dead pixels", "pixels"),
        ("level_max_dn", "brightest twilight frame", "DN"),
        ("level_min_dn", "faintest twilight frame", "DN"),
    ):
        found.append(Choice("flat", column, label, unit, "flats", column, **flat))
    found.append(
        Choice("detector", "temperature", "detector temperature", "K", "darks", "temperature_k", read=reads[-1])
    )
    for r in reads:
        sky: dict[str, Any] = {"source": "offsets", "subject": "sky_offset", "read": r}
        found.append(Choice(f"sky {r}", "level", "sky level", "DN", column="level_dn", **sky))
        found.append(Choice(f"sky {r}", "rejected", "rejected sky offsets", "blocks", column="n_rejected", **sky))
        found.append(Choice(f"sky {r}", "blocks", "blocks observed", "blocks", column="n_blocks", **sky))
    flat_monitor = "part that scales with the sky, against its first nights"
    sky = {"source": "metrics", "where": "cells", "subject": "sky_offset", "read": profile.responsivity.read}
    found.append(Choice("sky offsets", "deviation", flat_monitor, "%", **sky))
    return tuple(found)


def find_choice(choices: tuple[Choice, ...], product: str, metric: str) -> Choice:
    """Return the choice of an address; where it names none, the product's first, or the responsivity's deviation."""
    of_product = [c for c in choices if c.product == product]
    exact = [c for c in of_product if c.metric == metric]
    home = [c for c in choices if c.product == "responsivity"]
    return (exact or of_product or home or list(choices))[0]


def regions(choice: Choice, profile: Profile) -> tuple[str, ...]:
    """Return the regions of a series: the array, the worst quadrant, quadrants, cells."""
    found: tuple[str, ...] = ("array",)
    if choice.where in ("quadrants", "cells"):
        found += (WORST, *quadrant_names(profile.detector.quadrants))
    if choice.where == "cells":
        found += cell_names(profile.detector.cells)
    return found


def default_region(choice: Choice) -> str:
    """Return the region shown at first: the array, except where the array is constant by definition."""
    return WORST if choice.product in ("responsivity", "sky offsets") else "array"


def series_table(snapshot: Snapshot, choice: Choice, region: str) -> pd.DataFrame:
    """Return one row per night and band of a series, ordered by night.

    Parameters
    ----------
    snapshot : Snapshot
        The tables.
    choice : Choice
        What.
    region : str
        One of `regions`.

    Returns
    -------
    DataFrame
        Columns as in `COLUMNS`; value and error NaN where the archive has none. Status is empty where nothing judges
        the night; of sky offsets it is ``watch`` where some blocks were rejected and ``rejected`` where all were.
    """
    if choice.source == "metrics":
        rows = _metric_rows(snapshot, choice, region)
        judged = _verdicts(snapshot, choice)
        rows = rows.merge(judged, on=["night", "band"], how="left")
    else:
        table: pd.DataFrame = getattr(snapshot, choice.source)
        if choice.source in ("darks", "offsets") and len(table):
            table = table[table["read"] == choice.read]
        rows = pd.DataFrame({"night": table["night"], "band": table["band"], "value": table[choice.column]})
        errors = {"level_dn": "level_error_dn"}.get(choice.column, "")
        rows["error"] = table.get(errors, np.nan)
        rows["region"] = "array"
        rows = rows.merge(_verdicts(snapshot, choice), on=["night", "band"], how="left")
    for name in ("value", "error"):
        rows[name] = pd.to_numeric(rows[name], errors="coerce").astype(float)
    for name in ("status", "cause"):
        rows[name] = rows[name].astype(object).where(rows[name].notna(), "")
    return rows[list(COLUMNS)].sort_values(["night", "band"], kind="stable").reset_index(drop=True)


def _metric_rows(snapshot: Snapshot, choice: Choice, region: str) -> pd.DataFrame:
    parts = []
    for band in snapshot.bands:
        if region != WORST:
            found = snapshot.metrics.series(band, choice.product, choice.metric, region)
        else:
            names = quadrant_names(snapshot.profile.detector.quadrants)
            several = [snapshot.metrics.series(band, choice.product, choice.metric, q).finite() for q in names]
            found = worst(several) if choice.metric == "deviation" else _farthest(several)
        parts.append((band, found))
    return pd.DataFrame(
        {
            "night": np.concatenate([f.night for _, f in parts]).astype(object),
            "band": np.repeat([b for b, _ in parts], [len(f) for _, f in parts]).astype(object),
            "value": np.concatenate([f.value for _, f in parts]),
            "error": np.concatenate([f.error for _, f in parts]),
            "region": np.concatenate([f.region for _, f in parts]).astype(object),
        }
    )


def _farthest(several: list[Series]) -> Series:
    """Return of each night the value farthest from what is usual in its region."""
    usual = [float(np.median(s.value)) if len(s) else 0.0 for s in several]
    away = worst(replace(s, value=s.value - u) for s, u in zip(several, usual, strict=True))
    of = {str(s.region[0]): u for s, u in zip(several, usual, strict=True) if len(s)}
    return replace(away, value=away.value + np.array([of[r] for r in away.region.tolist()]))


def _verdicts(snapshot: Snapshot, choice: Choice) -> pd.DataFrame:
    """Return night, band, status and cause of what judges a series."""
    names = ["night", "band", "status", "cause"]
    if choice.subject == "flat":
        return snapshot.flats[names]
    if choice.subject == "dark":
        d = snapshot.darks
        return d[d["read"] == choice.read][names] if len(d) else d[names]
    o = snapshot.offsets
    if choice.subject != "sky_offset" or o.empty:
        return pd.DataFrame({n: pd.Series(dtype=object) for n in names})
    o = o[o["read"] == choice.read]
    n, bad = o["n_blocks"].astype(int), o["n_rejected"].astype(int)
    words = [f"{b} of {a} blocks rejected" if b else "" for a, b in zip(n, bad, strict=True)]
    status = np.where(bad == 0, "accepted", np.where(bad == n, "rejected", "watch"))
    return pd.DataFrame({"night": o["night"], "band": o["band"], "status": status, "cause": words})


def limit_zones(choice: Choice, profile: Profile, band: str) -> tuple[tuple[float | None, float | None, str], ...]:
    """Return (from, to, state) of the values that are too large or small; None stands for without end."""
    drift = profile.drift
    if choice.metric == "deviation":
        limits = {
            "dark": drift.dark_dn.get(choice.read),
            "noise": drift.noise_percent,
            "responsivity": drift.responsivity_percent,
            "gain": drift.gain_percent,
            "sky": drift.sky_percent,
        }.get(choice.product.split()[0])
        if limits is None:
            return ()
        w, d = limits.watch, limits.drift
        return ((w, d, "watch"), (-d, -w, "watch"), (d, None, "bad"), (None, -d, "bad"))
    if choice.source not in ("darks", "flats") or choice.column not in check_table(choice.subject or "dark"):
        return ()
    if not choice.subject:
        return ()
    limit = profile.limits_for(choice.subject, band, choice.read)[choice.column].value
    low = check_table(choice.subject)[choice.column].bound == "min"
    return ((None, limit, "bad"),) if low else ((limit, None, "bad"),)


@dataclass(frozen=True)
class Mark:
    """Something that happened in a night: a hardware period, a proposal of one, or another decision.

    Attributes
    ----------
    kind : str
        ``period``, ``proposed`` or ``decision``.
    """

    night: str
    kind: str
    label: str
    words: str


_OF_PRODUCT = {"dark": "dark", "flat": "flat", "sky-offset": "sky_offset"}


def marks(snapshot: Snapshot, choice: Choice, band: str) -> tuple[Mark, ...]:
    """Return what to mark in a band's series, in order of night; sign-offs are routine and left out."""
    found: dict[tuple[str, str], list[str]] = {}
    label = {"period": "hardware period", "proposed": "proposed period", "decision": ""}
    d = snapshot.decisions
    undone = set(d.loc[d["kind"] == "undo", "undoes"].dropna()) if len(d) else set()
    for row in d.to_dict("records"):
        # In a table of texts what is missing is NaN, which counts as true.
        r: dict[str, Any] = {str(k): "" if pd.isna(v) else v for k, v in row.items()}
        about = _OF_PRODUCT.get(r["product"], "")
        if r["kind"] in ("undo", "sign-off") or r["id"] in undone or r["band"] not in ("", band):
            continue
        if r["kind"] == "override" and (about != choice.subject or r["read"] not in ("", choice.read)):
            continue
        kind = "period" if r["kind"] == "period" else "decision"
        what = {"period": "hardware period begins", "override": f"override: {r['value']}"}.get(r["kind"], r["kind"])
        found.setdefault((r["night"], kind), []).append(f"{what} ({r['who']}: {r['reason']})")
    a = snapshot.alerts
    products = {"dark": f"dark {choice.read}", "flat": "responsivity"}.get(choice.subject)
    proposed = a["proposal"].notna() & (a["band"] == band) & ~a["over"].astype(bool)
    for alert in a[proposed].to_dict("records") if len(a) else []:
        if products in (None, alert["product"]) and (alert["proposal"], "period") not in found:
            found.setdefault((alert["proposal"], "proposed"), []).append(str(alert["text"]))
    return tuple(Mark(n, k, label[k], " · ".join(w)) for (n, k), w in sorted(found.items()))


def region_words(region: str) -> str:
    """Return a region in words."""
    if region == "array":
        return "whole array"
    if region == WORST:
        return "quadrant that deviates most"
    if region.startswith("C"):
        half = (len(region) - 1) // 2
        return f"cell in row {int(region[1 : 1 + half])}, column {int(region[1 + half :])}"
    return f"quadrant {region}"
