"""What can be accepted or rejected on a page, in words, and which of it is meant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from monitor.address import View
from monitor.collect import Collector, Snapshot
from monitor.compute import cause_words

__all__ = ["Choice", "choices"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """Something that can be accepted or rejected.

    Attributes
    ----------
    key, words : str
        Value of the choice, and what it is called with its present verdict.
    decision : dict
        Its columns in a decision.
    status : str
        Its present verdict.
    """

    key: str
    words: str
    decision: Row = field(default_factory=dict)
    status: str = ""


def choices(collector: Collector, snapshot: Snapshot, view: View, night: str) -> tuple[list[Choice], str]:
    """Return what a page offers to decide on, and the key of what is meant.

    On the page of a scan these are its blocks, elsewhere the night's flats and darks. What is meant is the band and
    block on screen; among the products of a band the first that was rejected, else its flat.
    """
    if view.page == "scan" and view.scan is not None:
        return _blocks(collector, snapshot, view, night)
    found = []
    for band in snapshot.bands:
        flat = snapshot.flat(night, band)
        if flat is not None and flat["key"]:
            found.append(_choice(f"{band} flat", flat, {"product": "flat", "night": night, "band": band}))
        for read in snapshot.profile.reads:
            dark = snapshot.dark(night, band, read)
            if dark is not None:
                what = {"product": "dark", "night": night, "band": band, "read": read}
                found.append(_choice(f"{band} dark {read}", dark, what))
    mine = [c for c in found if c.decision["band"] == view.band] or found
    rejected = [c for c in mine if c.status == "rejected"]
    return found, (rejected or mine)[0].key if mine else ""


def _blocks(collector: Collector, snapshot: Snapshot, view: View, night: str) -> tuple[list[Choice], str]:
    band = view.band if view.band in snapshot.bands else snapshot.bands[0]
    rows = collector.sky_offsets(night, band, view.scan)
    read = view.read if view.read in snapshot.profile.reads else snapshot.profile.responsivity.read
    found = []
    for row in rows.to_dict("records"):
        what = {"product": "sky-offset", "night": night, "band": band, "read": row["read"], "scan": view.scan}
        name = f"{band} scan {view.scan} {row['read']} block {row['block']}"
        found.append(_choice(name, {str(k): v for k, v in row.items()}, {**what, "block": int(row["block"])}))
    of_read = [c for c in found if c.decision["read"] == read] or found
    shown = [c for c in of_read if c.decision["block"] == view.block]
    return found, (shown or of_read)[0].key if of_read else ""


def _choice(name: str, row: Row, decision: Row) -> Choice:
    words, _ = cause_words(row["cause"] or "")
    ruled = ", by decision" if row.get("override") else ""
    verdict = f"{row['status']}{ruled}" + (f": {words}" if words and not ruled else "")
    return Choice(name, f"{name} — {verdict}", decision, row["status"])
