"""The decisions of a night, and where everything in a report comes from."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa

from calib import __version__
from calib.archive import schema
from monitor.collect import Collector, Row, Snapshot
from monitor.collect_scan import records
from monitor.components.html import Safe, join
from monitor.compute_scan import number
from monitor.report.facts import decisions_of
from monitor.report.tables import mark, table

__all__ = ["decisions_html", "provenance_html"]

_MOST = 80
# So much of a hash tells two files apart; calib verify compares the whole of it.
_HASH_DIGITS = 16


def decisions_html(snapshot: Snapshot, night: str) -> Safe:
    """Return what people decided about a night."""
    rows = decisions_of(snapshot, night)
    if not rows:
        return Safe(
            '<p class="empty">Nobody decided anything about this night: every verdict is the pipeline’s own.</p>'
        )
    heads = ("no.", "when / UTC", "who", "what", "concerns", "why")
    return table("decisions of the night", heads, [_decision(r) for r in rows])


def _decision(r: Row) -> tuple[Safe | str, ...]:
    what = str(r["kind"]) + (f": {r['value']}" if r["value"] else "")
    if r["undoes"] is not None:
        what += f" of no. {number(r['undoes'])}"
    gone = f" (undone by no. {r['undone_by']})" if r["undone_by"] is not None else ""
    named = [str(r[n]) for n in ("band", "product", "read") if r[n]]
    named += [f"{n} {int(r[n])}" for n in ("scan", "block") if r[n] is not None]
    when = f"{str(r['time'])[:10]} {str(r['time'])[11:16]}"
    return str(int(r["id"])), when, r["who"], what + gone, " ".join(named) or "the night", r["reason"]


def provenance_html(collector: Collector, snapshot: Snapshot, night: str) -> Safe:
    """Return archive, software, profile, the products of the night with their hashes, and its raw files."""
    profile = snapshot.profile
    p = schema.products
    products = collector.rows(sa.select(p).where(p.c.night == night).order_by(p.c.path))
    files = records(collector.files(night))
    made_with = sorted({str(r["code_version"]) for r in products})
    facts = [
        ("archive", Safe("<code>{}</code>, revision {}").format(collector.root, snapshot.revision)),
        ("software", f"Vesper {__version__}" + (f"; products made by {', '.join(made_with)}" if made_with else "")),
        ("profile in force", Safe("{} <code>{}</code>").format(profile.name, profile.hash)),
    ]
    others = Counter(r["profile_hash"] for r in products if r["profile_hash"] != profile.hash)
    if others:
        words = "; ".join(f"{n} products with {h[:_HASH_DIGITS]}…" for h, n in others.items())
        facts.append(("▲ earlier profiles", words))
    facts.append(("raw files", _files_words(files)))
    lines = join(Safe("<div><dt>{}</dt><dd>{}</dd></div>").format(k, v) for k, v in facts)
    parts = [Safe('<dl class="facts">{}</dl>').format(lines)]
    bad = [r for r in files if r["status"] == "refused"]
    if bad:
        cells = [(Safe("<code>{}</code>").format(r["path"]), mark("rejected", "refused"), r["reason"]) for r in bad]
        parts.append(table("refused raw files", ("raw file", "state", "reason"), cells[:_MOST]))
    if products:
        name = "sha256" if "sha256" in products[0] else "content_hash"
        cells = [
            (
                Safe("<code>{}</code>").format(r["path"]),
                Safe("<code>{}</code>").format(str(r[name])[:_HASH_DIGITS]),
                str(r["made"])[:19].replace("T", " "),
            )
            for r in products
        ]
        heads = ("product", f"hash, first {_HASH_DIGITS} digits", "made / UTC")
        parts.append(table("products of the night", heads, cells[:_MOST]))
        if len(products) > _MOST:
            parts.append(
                Safe('<p class="note">and {} more products; calib verify checks them all.</p>').format(
                    len(products) - _MOST
                )
            )
    return join(parts)


def _files_words(files: list[Row]) -> str:
    counts = Counter(str(r["status"]) for r in files)
    return ", ".join(f"{n} {s}" for s, n in counts.most_common()) or "none is known of this night"
