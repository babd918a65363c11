"""The markup of the Review page: cards, alerts, ratio maps, strips of sky offsets."""

from __future__ import annotations

from monitor.address import View, search
from monitor.collect import Collector, Row, Snapshot
from monitor.collect_supplied import SuppliedMaster
from monitor.components.html import Safe, join
from monitor.compute import BandHealth, absent, cause_words, ratio_percent, serving, standing, telling
from monitor.palette import STATES
from monitor.plots.thumbnail import data_uri, png

__all__ = ["cards_html", "legend_html", "maps_html", "strips_html"]

STRETCH_PERCENT = 2.0


def cards_html(health: list[BandHealth], night: str) -> Safe:
    """Return a card a band: one sentence and its badges."""
    cards = []
    for h in health:
        badges = []
        for b in h.badges:
            state = STATES[b.state]
            target = search(View(page=b.page, night=night, band=h.band))
            badges.append(
                Safe(
                    '<a data-nav class="badge {}" href="{}" title="{}"><span class="what">{}</span>'
                    '<span class="value num{}"><span class="sign" aria-hidden="true">{}</span> {} '
                    "<small>{}</small></span>"
                    '<span class="word">{}</span></a>'
                ).format(
                    b.state,
                    target,
                    b.words,
                    b.subject,
                    " long" if len(b.number) + len(b.unit) > 7 else "",
                    state.sign,
                    b.number or "—",
                    b.unit,
                    state.word,
                )
            )
        cards.append(
            Safe(
                '<section class="card band {}" aria-label="{}"><h2>{}</h2><div class="badges">{}</div></section>'
            ).format(h.worst, h.band, h.sentence, join(badges))
        )
    return Safe('<h1 class="sr">Review of {}</h1><div class="cards">{}</div>').format(night, join(cards))


def legend_html() -> str:
    """Return what the signs in the figures mean."""
    return (
        '<div class="legend"><h2>Deviation from the reference</h2><span><b class="good">●</b> accepted</span>'
        '<span><b class="bad">✕</b> rejected</span><span><b>△</b> beyond the axis</span>'
        '<span><i class="w"></i> watch</span><span><i class="d"></i> drift</span>'
        '<span><i class="p"></i> hardware period</span>'
        '<span class="muted">dark: level; flat: worst quadrant</span></div>'
    )


def maps_html(collector: Collector, snapshot: Snapshot, night: str) -> Safe:
    """Return the ratio maps of a night, all on one stretch."""
    cells = []
    for band in snapshot.bands:
        row = snapshot.flat(night, band)
        target = search(View(page="night", night=night, band=band))
        if row is None:
            state = STATES[absent(snapshot, night, band, "twilight")[0]]
            words = "no flat" if state.name == "unknown" else f"flat {state.word}"
            master = serving(snapshot, night, band, "flat") if state.name == "unknown" else None
            if master is not None:
                cells.append(_supplied_map(master, target, band))
                continue
            hole = Safe('<div class="map none"><div class="hole">{}</div><b>{}</b></div>')
            cells.append(hole.format(words, band))
            continue
        found = ratio_percent(collector, row)
        state = STATES[standing(snapshot, row["status"])[0]]
        picture: Safe | str
        if found is None:
            picture = Safe('<div class="hole">nothing to compare with yet</div>')
        elif not found[1].any():
            picture = Safe('<div class="hole">no usable pixel</div>')
        else:
            factor = max(1, found[0].shape[0] // 128)
            uri = data_uri(png(found[0], -STRETCH_PERCENT, STRETCH_PERCENT, factor=factor))
            picture = Safe('<img src="{}" alt="ratio map of {}">').format(uri, band)
        number, unit = telling("flat", row["cause"])
        words = f"{cause_words(row['cause'])[0] or state.word} {number} {unit}".rstrip()
        cells.append(
            Safe('<a class="map" data-nav href="{}" title="{}">{}<b>{}</b> <span class="{}">{} {}</span></a>').format(
                target, row["cause"] or "accepted", picture, band, row["status"], state.sign, words
            )
        )
    return Safe(
        '<section class="card"><h2>Ratio maps <span class="muted">flat / canonical before it, ±{:g} %</span></h2>'
        '<div class="maps" style="--n: {}">{}</div>'
        '<div class="scale"><span>−{:g} %</span><i></i><span>+{:g} %</span></div></section>'
    ).format(STRETCH_PERCENT, len(cells), join(cells), STRETCH_PERCENT, STRETCH_PERCENT)


def _supplied_map(master: SuppliedMaster, target: str, band: str) -> Safe:
    """Return what stands in the place of a ratio map where the flat was supplied: there is nothing to divide it by."""
    return Safe(
        '<a class="map" data-nav href="{}" title="{}, taken as it came"><div class="hole">nothing to compare with</div>'
        '<b>{}</b> <span class="supplied">{} supplied: {}</span></a>'
    ).format(target, master.words, band, STATES["supplied"].sign, master.name)


_OF_BLOCK = ("scan", "band", "block", "status", "cause", "used_block", "first_frame", "last_frame")


def strips_html(collector: Collector, snapshot: Snapshot, night: str) -> Safe:
    """Return the sky offsets of all scans of a night as strips of blocks."""
    blocks = collector.sky_offsets(night)
    read = snapshot.profile.responsivity.read
    blocks = blocks[blocks["read"] == read]
    head = Safe('<h2>Sky offsets <span class="muted">{} of every scan, block by block</span></h2>').format(read)
    if blocks.empty:
        states = [absent(snapshot, night, b, "scan") for b in snapshot.bands]
        state, words = next((s for s in states if s[0] != "unknown"), ("", "No scan in this night."))
        sign = f"{STATES[state].sign} {STATES[state].word}: " if state else ""
        return Safe('<section class="card">{}<div class="empty">{}{}</div></section>').format(head, sign, words)
    rows = []
    order = {b: k for k, b in enumerate(snapshot.bands)}
    # A survey takes dozens of scans a night, and as many tables of them would take longer than all the rest.
    by_scan: dict[tuple[int, str], list[Row]] = {}
    for values in zip(*(blocks[n].tolist() for n in _OF_BLOCK), strict=True):
        b = dict(zip(_OF_BLOCK, values, strict=True))
        by_scan.setdefault((int(b["scan"]), str(b["band"])), []).append(b)
    for scan, band in sorted(by_scan, key=lambda g: (g[0], order.get(g[1], 99))):
        part = by_scan[scan, band]
        marks = []
        for b in part:
            kind = "accepted" if b["status"] == "accepted" else "rejected"
            swap = "" if b["used_block"] == b["block"] else f"; offset of block {b['used_block']} used"
            title = f"block {b['block']}, frames {b['first_frame']}–{b['last_frame']}: {b['cause'] or 'accepted'}{swap}"
            marks.append(
                Safe('<i class="{}{}" title="{}">{}</i>').format(
                    kind, " subst" if swap else "", title, "" if kind == "accepted" else "✕"
                )
            )
        target = search(View(page="scan", night=night, band=band, scan=scan))
        good = sum(b["status"] == "accepted" for b in part)
        rows.append(
            Safe(
                '<a data-nav class="strip" href="{}"><span>scan {} {}</span><span class="blocks">{}</span>'
                '<span class="num">{}/{}</span></a>'
            ).format(target, scan, band, join(marks), good, len(part))
        )
    legend = Safe(
        '<p class="muted key"><i class="accepted"></i> accepted <i class="rejected">✕</i> rejected '
        '<i class="rejected subst">✕</i> rejected, another block\'s offset used</p>'
    )
    return Safe(
        '<section class="card">{}<div class="strips" data-scroll="strips" data-more="more">{}</div>'
        '<p class="more muted" aria-hidden="true"></p>{}</section>'
    ).format(head, join(rows), legend)
