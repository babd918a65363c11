"""A night in a few lines: what a digest says, whatever it travels by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from monitor.address import View, search
from monitor.collect import Collector, Snapshot
from monitor.compute import cause_words, telling
from monitor.report.facts import NightFacts, age_nights, night_facts

__all__ = ["Rejected", "Summary", "summarise"]

# Of the JSON; it changes when a field changes its meaning or goes.
VERSION = 1


@dataclass(frozen=True)
class Rejected:
    """Something that was rejected: what, why, and the number that tells most."""

    band: str
    product: str
    cause: str
    number: str
    unit: str

    @property
    def words(self) -> str:
        """All of it in a line."""
        comma = "," if self.unit == "blocks" else ""
        return f"{self.band} {self.product}: {self.cause}{comma} {self.number} {self.unit}".rstrip()


@dataclass(frozen=True)
class Summary:
    """What a digest says.

    Attributes
    ----------
    facts : NightFacts
    instrument : str
    rejected : tuple of Rejected
    missing_nights : int
        So many nights came after it and are not in the archive; 0 where that is not worth a word.
    at_work : bool
        Whether a run is at work.
    url : str
        Of the page, or empty.
    """

    facts: NightFacts
    instrument: str
    rejected: tuple[Rejected, ...]
    missing_nights: int
    at_work: bool
    url: str

    @property
    def subject(self) -> str:
        """The worst state and the night, in one line."""
        text = f"Vesper {self.facts.night}: {self.facts.state.word}; {self.facts.alert_words}"
        return f"{text}; no newer night" if self.missing_nights else text

    @property
    def stale_words(self) -> str:
        """That newer nights are missing; empty if none is."""
        n = self.missing_nights
        if not n:
            return ""
        return f"No newer night is in the archive: {n:,} night{'s are' if n > 1 else ' is'} missing since."

    @property
    def level(self) -> int:
        """0 quiet, 1 watch, 2 drift; what is not known is not quiet."""
        if self.facts.state.name in ("bad", "rejected"):
            return 2
        nothing = any(all(b.state in ("unknown", "notrun") for b in h.badges) for h in self.facts.health)
        return int(self.facts.state.name in ("watch", "notrun") or nothing or bool(self.missing_nights))

    @cached_property
    def content(self) -> dict[str, Any]:
        """Everything that makes one digest differ from another."""
        f = self.facts
        return {
            "version": VERSION,
            "night": f.night,
            "instrument": self.instrument,
            "state": f.state.word,
            "subject": self.subject,
            "stale": bool(self.missing_nights),
            "at_work": self.at_work,
            "signed_off": None
            if f.signed is None
            else {
                "who": f.signed.by,
                "time": f.signed.time,
                "changed": f.signed.changed,
            },
            "bands": [
                {
                    "band": h.band,
                    "sentence": h.sentence,
                    "badges": [
                        {
                            "subject": b.subject,
                            "state": b.state if b.state != "bad" else "drift",
                            "number": b.number,
                            "unit": b.unit,
                            "words": b.words,
                        }
                        for b in h.badges
                    ],
                }
                for h in f.health
            ],
            "alerts": [
                {
                    "band": a.row["band"],
                    "product": a.row["product"],
                    "state": str(a.row["state"]).lower(),
                    "text": a.text,
                    "since": a.row["since"] or a.row["night"],
                    "new": a.new,
                    "over": a.over,
                    "acknowledged_by": a.acknowledged_by,
                }
                for a in f.alerts
            ],
            "rejected": [
                {"band": r.band, "product": r.product, "cause": r.cause, "number": r.number, "unit": r.unit}
                for r in self.rejected
            ],
        }

    @property
    def fingerprint(self) -> str:
        """What two digests that say the same have in common, however often they are made."""
        text = json.dumps(self.content, sort_keys=True)
        return hashlib.blake2s(text.encode(), digest_size=12).hexdigest()


def summarise(
    collector: Collector,
    snapshot: Snapshot,
    night: str,
    *,
    latest: bool = True,
    stale_after: int = 1,
    page_url: str | None = None,
    now: datetime | None = None,
) -> Summary:
    """Return what a digest of a night says.

    Parameters
    ----------
    latest : bool
        Whether the newest night was asked for, so that one that is old is worth a word.
    stale_after : int
        From how many missing nights on.
    now : datetime, optional
        With its time zone; the present by default.
    """
    missing = age_nights(night, snapshot.profile.site.utc_offset_hours, now) if latest else 0
    url = page_url.split("?")[0].split("#")[0] + search(View(page="review", night=night)) if page_url else ""
    return Summary(
        facts=night_facts(snapshot, night),
        instrument=snapshot.profile.name,
        rejected=_rejected(collector, snapshot, night),
        missing_nights=missing if missing >= stale_after else 0,
        at_work=bool(snapshot.activity.since),
        url=url,
    )


def _rejected(collector: Collector, snapshot: Snapshot, night: str) -> tuple[Rejected, ...]:
    found = []
    for band in snapshot.bands:
        rows = [("flat", "flat", snapshot.flat(night, band))]
        rows += [("dark", f"dark {r}", snapshot.dark(night, band, r)) for r in snapshot.profile.reads]
        for subject, product, row in rows:
            if row is not None and row["status"] == "rejected":
                cause = cause_words(row["cause"])[0] + (" (by decision)" if row["override"] else "")
                found.append(Rejected(band, product, cause, *telling(subject, row["cause"])))
        for read in snapshot.profile.reads:
            sky = snapshot.sky(night, band, read)
            if sky is not None and sky["n_rejected"]:
                o = collector.sky_offsets(night, band)
                bad = o[(o["read"] == read) & (o["status"] != "accepted")]
                causes = ", ".join(dict.fromkeys(cause_words(c)[0] for c in bad["cause"]))
                n = f"{int(sky['n_rejected'])} of {int(sky['n_blocks'])}"
                found.append(Rejected(band, f"sky offsets {read}", causes, n, "blocks"))
    return tuple(found)
