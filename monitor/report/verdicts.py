"""What was accepted and rejected, and why: every check with its value and limit, a column a band."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from calib.checks import CheckResult, check_table, evaluate
from monitor.collect import Collector, Row, Snapshot
from monitor.collect_scan import records
from monitor.components.html import Safe, join
from monitor.compute import ORIGINS, absent, cause_words, serving, standing
from monitor.compute_gallery import plain
from monitor.compute_scan import block_checks, number
from monitor.report.tables import mark, minus, table

__all__ = ["verdicts_html"]

# Checks that only a comparison with other nights gives a number.
_COMPARED = {
    "dark": {"structure"},
    "flat": {"pixel_scatter", "cell_rms", "cell_extreme", "gradient", "quadrant", "beyond_2pct"},
}
# More lines of rejected blocks than these are counted.
_MOST_ROWS = 60


def verdicts_html(collector: Collector, snapshot: Snapshot, night: str) -> Safe:
    """Return the verdicts on a night's flats, darks and sky offsets."""
    base = snapshot.profile.responsivity.read
    flats = {b: snapshot.flat(night, b) for b in snapshot.bands}
    parts = [_subject(snapshot, night, "flat", "Flats", base, flats)]
    for read in snapshot.profile.reads:
        darks = {b: snapshot.dark(night, b, read) for b in snapshot.bands}
        parts.append(_subject(snapshot, night, "dark", f"Darks, {read}", read, darks))
    return join([*parts, _sky(collector, snapshot, night)])


def _subject(snapshot: Snapshot, night: str, subject: str, title: str, read: str, rows: dict[str, Row | None]) -> Safe:
    lines = [_verdict(snapshot, night, subject, band, row) for band, row in rows.items()]
    there = {b: r for b, r in rows.items() if r is not None}
    body: Safe | str = ""
    if there:
        results = {b: _results(snapshot, subject, r, read) for b, r in there.items()}
        names = check_table(subject)
        cells = []
        for name, check in names.items():
            first = next(iter(results.values()))[name]
            limits = {c[name].limit for c in results.values()}
            one = len(limits) == 1
            sign = "≥" if check.bound == "min" else "≤"
            words = Safe("<b>{}</b> <small>{}</small>").format(plain(name), check.meaning)
            limit = f"{sign} {minus(f'{first.limit:g}')}" if one else "by band"
            values = [
                _value(subject, rows[b], results[b][name], sign, one) if b in results else mark("unknown", "–")
                for b in rows
            ]
            cells.append((words, *values, limit, check.unit or "–"))
        n = len(rows)
        numeric = range(1, n + 2)
        body = table(f"checks of the {title.lower()}", ("check", *rows, "limit", "unit"), cells, numeric=numeric)
    older = [b for b, r in there.items() if r["profile_hash"] != snapshot.profile.hash]
    note = (
        f"▲ {', '.join(older)}: the limits shown are today’s; the verdict was made with an earlier profile."
        if older
        else ""
    )
    small = Safe('<p class="note">{}</p>').format(note) if note else ""
    return Safe('<div class="subject"><h3>{}</h3><ul class="verdicts">{}</ul>{}{}</div>').format(
        title, join(lines), body, small
    )


def _verdict(snapshot: Snapshot, night: str, subject: str, band: str, row: Row | None) -> Safe:
    if row is None:
        state, words = absent(snapshot, night, band, "dark" if subject == "dark" else "twilight")
        master = serving(snapshot, night, band, subject) if state == "unknown" else None
        if master is not None:
            state, words = "supplied", f"{words}; {master.words}, taken as it came"
        return Safe("<li><b>{}</b> {} {}</li>").format(band, mark(state), words)
    state, unsettled = standing(snapshot, row["status"])
    words, failed = cause_words(row["cause"])
    # What failed is in the table below, unless the limits have changed since.
    older = row["profile_hash"] != snapshot.profile.hash
    parts = [unsettled or words, plain(failed) if older else "", ORIGINS.get(row.get("origin") or "", "")]
    parts.append("by decision" if row["override"] else "")
    if row["status"] == "provisional":
        parts.append("too few nights agree so far; settled, backwards, as soon as they do")
    said = " · ".join(p for p in parts if p)
    return Safe("<li><b>{}</b> {} {}</li>").format(band, mark(state), said)


def _results(snapshot: Snapshot, subject: str, row: Row, read: str) -> dict[str, CheckResult]:
    names = check_table(subject)
    given = {n: row.get("n_frames" if n == "frames" else n) for n in names}
    values = {n: math.nan if v is None else float(v) for n, v in given.items()}
    found = evaluate(subject, values, snapshot.profile.limits_for(subject, row["band"], read))
    return {c.check.name: c for c in found}


def _value(subject: str, row: Row | None, c: CheckResult, sign: str, one_limit: bool) -> Safe:
    """Return a measured value with the sign of its outcome; with its limit where bands have their own."""
    limit = Safe("") if one_limit else Safe(" <small>{} {}</small>").format(sign, minus(f"{c.limit:g}"))
    if math.isnan(c.value):
        compared = bool(row and isinstance(row.get("standard"), list) and row["standard"])
        if c.check.name in _COMPARED[subject] and not compared:
            return mark("notrun", "not compared") + limit
        return mark("rejected", "not measurable") + limit
    text = number(c.value)
    if c.value.is_integer():
        text = f"{c.value:.0f}"
    elif text == number(c.limit):
        # Rounded to its limit a number would not show on which side it is.
        text = number(c.value, 5)
    if c.passed:
        return Safe('<span class="good" role="img" aria-label="passed">✓</span> {}{}').format(text, limit)
    return Safe('<b class="bad"><span role="img" aria-label="failed">✕</span> {}</b>{}').format(text, limit)


def _sky(collector: Collector, snapshot: Snapshot, night: str) -> Safe:
    """Return how many sky offsets were accepted, and every rejected one with what it failed."""
    blocks = records(collector.sky_offsets(night))
    lines = []
    for band in snapshot.bands:
        for read in snapshot.profile.reads:
            of = [b for b in blocks if (b["band"], b["read"]) == (band, read)]
            if of:
                good = sum(b["status"] == "accepted" for b in of)
                state = "accepted" if good == len(of) else "watch" if good else "rejected"
                scans = len({b["scan"] for b in of})
                words = f"{good} of {len(of)} blocks accepted in {scans} scan{'s' if scans > 1 else ''}"
                lines.append(Safe("<li><b>{} {}</b> {}</li>").format(band, read, mark(state, words)))
        if not any(b["band"] == band for b in blocks):
            state, words = absent(snapshot, night, band, "scan")
            lines.append(Safe("<li><b>{}</b> {} {}</li>").format(band, mark(state), words))
    order = {b: k for k, b in enumerate(snapshot.bands)}
    bad = [b for b in blocks if b["status"] != "accepted"]
    bad.sort(key=lambda b: (b["scan"], order.get(b["band"], 99), b["read"], b["block"]))
    groups: dict[tuple[Any, ...], list[tuple[Row, tuple[CheckResult, ...]]]] = {}
    for b in bad:
        failed = tuple(c for c in block_checks(b, snapshot.profile) if not c.passed)
        same = tuple((c.check.name, math.isnan(c.value)) for c in failed)
        groups.setdefault((b["scan"], b["band"], b["read"], b["cause"].split("(")[0], same), []).append((b, failed))
    rows = [_blocks(group) for group in list(groups.values())[:_MOST_ROWS]]
    heads = ("scan", "blocks", "frames", "cause", "what they failed, and the limit", "offset used", "sky / DN")
    body = table("rejected sky offsets", heads, rows, numeric=(6,)) if rows else Safe("")
    left = len(groups) - _MOST_ROWS
    more = f"and {left} more such lines; the page lists every block" if left > 0 else ""
    return Safe('<div class="subject"><h3>Sky offsets</h3><ul class="verdicts">{}</ul>{}{}</div>').format(
        join(lines), body, Safe('<p class="note">{}</p>').format(more) if more else ""
    )


def _blocks(group: Sequence[tuple[Row, tuple[CheckResult, ...]]]) -> tuple[Any, ...]:
    """Return the line of blocks of one scan, band and read that were rejected for the same reason."""
    rows = [b for b, _ in group]
    first = rows[0]
    told = []
    for k, c in enumerate(group[0][1]):
        values = [failed[k].value for _, failed in group]
        if math.isnan(c.value):
            told.append(f"{c.check.name} not measurable")
            continue
        sign, unit = "<" if c.check.bound == "min" else ">", f" {c.check.unit}" if c.check.unit else ""
        told.append(f"{c.check.name} {_span(values)}{unit} {sign} {minus(f'{c.limit:g}')}{unit}")
    used = sorted({int(b["used_block"]) for b in rows})
    own = all(b["used_block"] == b["block"] for b in rows)
    by_hand = " (by decision)" if any(b["override"] for b in rows) else ""
    levels = [float(b["level_dn"]) for b in rows if b["level_dn"] is not None]
    return (
        f"{first['scan']} {first['band']} {first['read']}",
        _runs(int(b["block"]) for b in rows),
        _frames(rows),
        cause_words(first["cause"])[0] + by_hand,
        plain("; ".join(told)) or plain(cause_words(first["cause"])[1]),
        "its own" if own else f"block {', '.join(map(str, used))}",
        _span(levels, "—"),
    )


def _span(values: Sequence[float], nothing: str = "") -> str:
    """Return the least and the greatest of some numbers, or the one they are."""
    if not values:
        return nothing
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} … {high}"


def _runs(numbers: Iterable[int]) -> str:
    """Return whole numbers with those that follow each other drawn together: ``0–2, 5``."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in runs)


def _frames(rows: Sequence[Row]) -> str:
    return _runs(f for b in rows for f in range(int(b["first_frame"]), int(b["last_frame"]) + 1))
