"""One line per night and band: what stands and what is open."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive

__all__ = ["status_lines", "status_rows"]

Row = dict[str, Any]


def status_rows(archive: Archive) -> list[Row]:
    """Return one row per night and band: verdicts of darks and flat, scans and sky offsets, alerts that are open."""
    rows: dict[tuple[str, str], Row] = {}

    def row(night: str, band: str) -> Row:
        fresh: Row = {
            "night": night,
            "band": band,
            "darks": {},
            "flat": None,
            "flat_cause": "",
            "scans": 0,
            "sky_offsets": {},
            "supplied": [],
            "alerts": [],
        }
        return rows.setdefault((night, band), fresh)

    d, f, a, c = schema.darks, schema.flats, schema.alerts, schema.scans
    for r in archive.rows(sa.select(d.c.night, d.c.band, d.c.read, d.c.status, d.c.cause)):
        row(r["night"], r["band"])["darks"][r["read"]] = {"status": r["status"], "cause": r["cause"]}
    for r in archive.rows(sa.select(f.c.night, f.c.band, f.c.status, f.c.cause)):
        row(r["night"], r["band"]).update(flat=r["status"], flat_cause=r["cause"])
    # Rows of scans know how many sky offsets they have: of those there are ten times as many.
    counts = sa.select(
        c.c.night,
        c.c.band,
        sa.func.count(c.c.scan.distinct()).label("scans"),
        sa.cast(sa.func.sum(c.c.n_blocks), sa.BigInteger).label("n"),
        sa.cast(sa.func.sum(c.c.n_rejected), sa.BigInteger).label("rejected"),
    )
    for r in archive.rows(counts.group_by(c.c.night, c.c.band)):
        offsets = {"accepted": r["n"] - r["rejected"], "rejected": r["rejected"]}
        row(r["night"], r["band"]).update(scans=r["scans"], sky_offsets={k: n for k, n in offsets.items() if n})
    for what, column in (("dark", c.c.dark_status), ("flat", c.c.canonical_status)):
        query = sa.select(c.c.night, c.c.band).where(column == "supplied").distinct()
        for r in archive.rows(query):
            row(r["night"], r["band"])["supplied"].append(what)
    for r in archive.rows(sa.select(a).order_by(a.c.night, a.c.state, a.c.product, a.c.metric, a.c.region)):
        row(r["night"], r["band"])["alerts"].append({"state": r["state"], "text": r["text"]})
    bands = {b: k for k, b in enumerate(_band_order(archive))}
    return [rows[k] for k in sorted(rows, key=lambda k: (k[0], bands.get(k[1], 99), k[1]))]


def _band_order(archive: Archive) -> tuple[str, ...]:
    profile = archive.current_profile()
    return profile.bands if profile else ()


def status_lines(rows: list[Row]) -> list[str]:
    """Return the rows as text."""
    if not rows:
        return ["the archive holds no night yet"]
    return [_line(r) for r in rows]


def _number(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _line(row: Row) -> str:
    parts = []
    if row["darks"]:
        bad = {f"{read} {d['status']}, {d['cause']}" for read, d in row["darks"].items() if d["status"] == "rejected"}
        words = {d["status"] for d in row["darks"].values()}
        parts.append("dark " + ("; ".join(sorted(bad)) if bad else "/".join(sorted(words))))
    else:
        parts.append("dark supplied" if "dark" in row["supplied"] else "no dark")
    if row["flat"] is None:
        parts.append("flat supplied" if "flat" in row["supplied"] else "no flat")
    else:
        parts.append(f"flat {row['flat']}" + (f", {row['flat_cause']}" if row["flat"] == "rejected" else ""))
    if row["scans"]:
        n = row["sky_offsets"]
        text = f"{_number(row['scans'], 'scan')}, {_number(sum(n.values()), 'sky offset')}"
        parts.append(text + (f", {n['rejected']} rejected" if n.get("rejected") else ""))
    text = f"{row['night']} {row['band']:3} " + " | ".join(parts)
    return text + "".join(f"\n    {a['state']}: {a['text']}" for a in row["alerts"])
