"""The tables of the Night page as markup: cells, checks, what was used."""

from __future__ import annotations

from typing import Any

import numpy as np

from calib.checks import CheckResult, check_table, evaluate
from calib.profile import DriftLimits, Profile
from calib.regions import cell_names, quadrant_names
from monitor.address import View, search
from monitor.collect import Row, Snapshot
from monitor.collect_night import NightRows
from monitor.components.html import Safe, join
from monitor.compute import cause_words, signed, standing
from monitor.palette import STATES

__all__ = ["TABLES_CSS", "cells_html", "checks_html", "number", "real", "signed_or_dash", "used_html"]

# Checks that only a comparison with other nights gives a number.
_COMPARED = {
    "dark": {"structure"},
    "flat": {"pixel_scatter", "cell_rms", "cell_extreme", "gradient", "quadrant", "beyond_2pct"},
}

Cells = dict[str, tuple[float | None, float | None]]


def number(value: float | None, digits: int) -> str:
    """Return a number with a true minus sign, a dash for nothing."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def limits_of_product(profile: Profile, product: str) -> tuple[DriftLimits, str, int]:
    """Return the drift limits of a product (``responsivity``, ``dark R1``, ``noise R1``), its unit and decimals."""
    kind, _, read = product.partition(" ")
    if kind == "dark":
        return profile.drift.dark_dn[read], "DN", 1
    if kind == "noise":
        return profile.drift.noise_percent, "%", 1
    return profile.drift.responsivity_percent, "%", 2


def drift_state(value: float | None, error: float | None, limits: DriftLimits, significance: float) -> str:
    """Return the state of one region's deviation by size and significance; missing is unknown."""
    if value is None or not np.isfinite(value):
        return "unknown"
    if abs(value) < limits.watch or abs(value) < significance * (error or 0.0):
        return "good"
    return "bad" if abs(value) >= limits.drift else "watch"


def cells_html(cells: Cells, product: str, products: tuple[str, ...], profile: Profile, region: str) -> Safe:
    """Return the grid of cells and the quadrants as heat tables, first row of pixels at the bottom."""
    limits, unit, digits = limits_of_product(profile, product)
    buttons = join(
        Safe('<button id="cells-{0}" data-act="product" data-value="{1}" aria-pressed="{2}">{1}</button>').format(
            k, p, "true" if p == product else "false"
        )
        for k, p in enumerate(products)
    )
    head = Safe(
        '<h2>Deviation from the reference <span class="muted">/ {}; 1σ in the hover text</span></h2>'
        '<div class="row tabs" role="group" aria-label="product of the table">{}</div>'
    ).format(unit, buttons)
    if not cells:
        return Safe('<section class="card tables">{}<div class="empty">? no data: nothing of {} to compare, or no '
                    "reference yet</div></section>").format(head, product)  # fmt: skip
    significance = profile.drift.significance
    if max((abs(v) for v, _ in cells.values() if v is not None and np.isfinite(v)), default=0.0) >= 100:
        digits = 0

    def cell(name: str, big: bool) -> Safe:
        value, error = cells.get(name, (None, None))
        state = drift_state(value, error, limits, significance)
        sign = STATES[state].sign + " " if state in ("watch", "bad") else ""
        words = f"{name}: {signed_or_dash(value, digits)} ± {number(error, digits + 1)} {unit}"
        if value is not None and error:
            words += f", {abs(value) / error:.1f} σ"
        words += f", {STATES[state].word}" if state != "good" else ""
        return Safe(
            '<td style="background:{}"><button id="cell-{}" data-act="region" data-value="{}" title="{}" '
            'aria-label="zoom to {}" aria-pressed="{}"><b class="{}">{}{}</b>{}</button></td>'
        ).format(
            _heat(value, limits.drift),
            name,
            name,
            words,
            words,
            "true" if name == region else "false",
            state if sign else "",
            sign,
            signed_or_dash(value, digits),
            Safe("<small>±{}</small>").format(number(error, digits + 1)) if big else "",
        )

    def grid(names: tuple[str, ...], columns: int, big: bool, label: str) -> Safe:
        rows = [names[k : k + columns] for k in range(0, len(names), columns)][::-1]
        body = join(Safe("<tr>{}</tr>").format(join(cell(n, big) for n in r)) for r in rows)
        return Safe('<table class="heat {}" aria-label="{}"><tbody>{}</tbody></table>').format(
            "big" if big else "", label, body
        )

    d = profile.detector
    value, error = cells.get("array", (None, None))
    return Safe(
        '<section class="card tables">{}<div class="grids"><div class="cells">{}</div><div class="side">'
        "<h3>Quadrants</h3>{}<h3>Array</h3><p class=num>{} ± {} {}</p>"
        '<p class="muted note">{} watch from {:g} {}, {} drift from {:g} {}, each beyond {:g} σ. '
        "First row of pixels at the bottom; choose a cell to zoom the images to it.</p></div></div></section>"
    ).format(
        head,
        grid(cell_names(d.cells), d.cells[1], False, f"deviation of the cells, {unit}"),
        grid(quadrant_names(d.quadrants), d.quadrants[1], True, f"deviation of the quadrants, {unit}"),
        signed_or_dash(value, digits),
        number(error, digits + 1),
        unit,
        STATES["watch"].sign,
        limits.watch,
        unit,
        STATES["bad"].sign,
        limits.drift,
        unit,
        significance,
    )


def signed_or_dash(value: float | None, digits: int) -> str:
    """Return a number with its sign, or a dash; what rounds to nothing has no sign."""
    if value is None or not np.isfinite(value):
        return "–"
    text = signed(value, digits)
    return text if text.strip("+−±0.") else f"{0:.{digits}f}"


def _heat(value: float | None, full: float) -> str:
    if value is None or not np.isfinite(value):
        return "repeating-linear-gradient(45deg,var(--ground) 0 5px,var(--line) 5px 6px)"
    share = min(abs(value) / full, 1.0) * 62
    return f"color-mix(in srgb, {'#d9822b' if value > 0 else '#2171b5'} {share:.0f}%, var(--panel))"


def _results(subject: str, row: Row, profile: Profile, read: str) -> tuple[CheckResult, ...]:
    names = check_table(subject)
    values = {n: float("nan") if row.get(_column(n)) is None else float(row[_column(n)]) for n in names}
    return evaluate(subject, values, profile.limits_for(subject, row["band"], read))


def _column(name: str) -> str:
    return "n_frames" if name == "frames" else name


def checks_html(subject: str, title: str, row: Row | None, snapshot: Snapshot, read: str, why: tuple[str, str]) -> Safe:
    """Return the checks of a dark or flat against their limits, or the state and words of why there is none."""
    if row is None:
        state, words = STATES[why[0]], why[1]
        return Safe('<section class="card checks"><h2>{}</h2><div class="empty">{} {}: {}</div></section>').format(
            title, state.sign, state.word, words
        )
    profile = snapshot.profile
    name, unsettled = standing(snapshot, row["status"])
    state = STATES[name]
    lines = []
    compared = isinstance(row.get("standard"), list) and bool(row["standard"])
    for c in _results(subject, row, profile, read):
        unmeasured = not np.isfinite(c.value)
        if unmeasured and c.check.name in _COMPARED[subject] and not compared:
            kind, sign, word = "notrun", STATES["notrun"].sign, "not compared"
        elif c.passed:
            kind, sign, word = "good", STATES["good"].sign, "passed"
        else:
            kind, sign, word = "rejected", STATES["rejected"].sign, "not measurable" if unmeasured else "failed"
        unit = f" {c.check.unit}" if c.check.unit else ""
        value = "–" if unmeasured else f"{c.value:.4g}".replace("-", "−") + unit
        lines.append(
            Safe(
                '<tr title="{}"><td><b>{}</b> <span class="muted small">{}</span></td><td class="n{}">{}</td>'
                '<td class="n muted">{} {:g}{}</td>'
                '<td class="outcome {}"><span aria-hidden="true">{}</span> {}</td></tr>'
            ).format(
                c.check.meaning,
                c.check.name.replace("2pct", "2 %").replace("_", " "),
                c.check.meaning,
                " strong" if kind == "rejected" else "",
                value,
                "≥" if c.check.bound == "min" else "≤",
                c.limit,
                unit,
                kind,
                sign,
                word,
            )
        )
    older = Safe(
        '<p class="muted small">▲ The limits shown are today’s; the verdict was made with an earlier profile.</p>'
    )
    words = unsettled or cause_words(row["cause"])[0]
    by_hand = Safe(' <span class="muted">· by decision</span>') if row["override"] else ""
    return Safe(
        '<section class="card checks"><h2>{} <span class="{}">{} {}</span>{}</h2>{}<div class="scroll"><table>'
        '<thead><tr><th>check</th><th class="n">value</th><th class="n">limit</th><th>outcome</th></tr></thead>'
        "<tbody>{}</tbody></table></div>{}</section>"
    ).format(
        title,
        state.name,
        state.sign,
        state.word,
        by_hand,
        Safe("<p>{}</p>").format(words) if words else "",
        join(lines),
        older if row["profile_hash"] != profile.hash else "",
    )


def real(value: Any) -> float | None:
    """Return a number as such, anything else as nothing."""
    return float(value) if isinstance(value, int | float) else None


def used_html(snapshot: Snapshot, rows: NightRows, night: str, band: str) -> Safe:
    """Return what was used: dark and its age, members of the canonical, what the flat was judged against."""
    row = rows.flat
    scans = snapshot.scans.of(night)
    scans = scans[scans["band"] == band]
    lines: list[Safe] = []

    def line(what: str, text: Safe | str, kind: str = "") -> None:
        lines.append(Safe('<dt>{}</dt><dd class="{}">{}</dd>').format(what, kind, text))

    def link(other: str, what: str = "flat") -> Safe:
        verdict = rows.verdicts.get(what, {}).get(other, ("", ""))[0]
        sign = STATES[verdict].sign + " " if verdict in STATES else ""
        target = search(View(page="night", night=other, band=band))
        return Safe('<a data-nav href="{}"><span class="{}" aria-hidden="true">{}</span>{}</a>').format(
            target, verdict, sign, other
        )

    def aged(used: Any, age: Any, what: str) -> tuple[Safe | str, str]:
        if used is None or used != used:
            return "✕ none there was", "rejected"
        if used == "supplied":
            master = snapshot.supplied.get(("dark" if what.startswith("dark") else "flat", band))
            where = f": {master.words}" if master else ""
            return f"{STATES['supplied'].sign} supplied by the team{where}, taken as it came", "supplied"
        if used == night:
            return Safe("{} <span class=muted>this night</span>").format(link(night, what)), ""
        days = int(age) if age is not None else 0
        words = f"▲ {abs(days)} night{'s' if abs(days) != 1 else ''} {'older' if days > 0 else 'younger'}"
        return Safe('{} <span class="watch">{}</span>').format(link(str(used), what), words), ""

    def members(nights: Any) -> Safe | str:
        return join((link(n) for n in nights), " · ") if isinstance(nights, list) and nights else ""

    if row is not None:
        line(
            "dark of the flat",
            *aged(row["dark_night"], row["dark_age_nights"], f"dark {snapshot.profile.responsivity.read}"),
        )
        line("judged against", members(row["standard"]) or "nothing: too few nights yet")
        line("canonical: mean of", members(row["members"]) or "no accepted night yet")
        if row["overtaken"]:
            words = "nights in a row were rejected and agree with each other: the instrument changed"
            line("overtaken", f"▲ {words}, this canonical no longer describes it", "watch")
        if row["status"] == "provisional":
            line("provisional", "◐ too few nights agree so far; the verdict is settled, backwards, as soon as they do")
        gains = row["gain"] if isinstance(row["gain"], list) else []
        if gains:
            text = ", ".join(f"Q{k + 1} {number(real(g[0]), 2)} ± {number(real(g[1]), 2)}" for k, g in enumerate(gains))
            line("gain / e⁻/DN", text)
        if row["level_max_dn"] is not None and row["level_min_dn"] is not None:
            light = f"{row['level_min_dn']:.0f} to {row['level_max_dn']:.0f} DN"
            line("light", f"{light}, {row['n_frames']} twilight frames")
        line("hardware period", f"since {row['period']}" if row["period"] else "since first light")
    for what in ("dark", "canonical"):
        used = {
            (f"dark {r}" if what == "dark" else what, n, None if a is None or a != a else int(a))
            for r, n, a in zip(scans["read"], scans[f"{what}_night"], scans[f"{what}_age_nights"], strict=True)
        }
        for name, other, age in sorted(used, key=str):
            line(f"{name} of the scans", *aged(other, age, name))
    if not lines:
        line("nothing", "? neither a flat nor a scan of this night and band is in the archive")
    return Safe('<section class="card used"><h2>What was used</h2><dl>{}</dl></section>').format(join(lines))


TABLES_CSS = """
.card + .card { margin-top: 12px; }
h2 .muted { font-weight: 400; font-size: 13px; }
.tabs { margin: 8px 0; gap: 6px; } .tabs button { min-height: 28px; padding: 2px 9px; font-size: 13px; }
.grids { display: flex; gap: 18px; flex-wrap: wrap; }
.cells { flex: 1 1 400px; min-width: 0; overflow-x: auto; } .side { flex: 0 1 190px; }
.side h3 { margin: 4px 0; } .side p { margin: 2px 0 8px; }
.heat { table-layout: fixed; } .heat td { padding: 0; border: 1px solid var(--line); }
.heat button { width: 100%; min-height: 30px; padding: 2px 1px; border: 0; border-radius: 0; background: none;
  font-size: 12px; color: var(--ink); white-space: nowrap; }
.heat button[aria-pressed=true] { outline: 2px solid var(--accent); outline-offset: -2px; background: none; }
.heat b { font-weight: 500; color: var(--ink); } .heat b.watch, .heat b.bad { font-weight: 800; }
.heat.big button { min-height: 46px; } .heat.big small { display: block; font-size: 11px; }
.note, .small { font-size: 12px; } .checks p { margin: 4px 0; } .strong { font-weight: 700; }
.scroll { overflow-x: auto; margin-top: 6px; }
td { padding: 4px 8px; } td b { font-weight: 500; } td.n, td.outcome, dd a { white-space: nowrap; }
dl { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 4px 14px; margin: 8px 0 0; }
dt { color: var(--muted); } dd { margin: 0; font-variant-numeric: tabular-nums; }
@media (max-width: 700px) { td, th { padding: 4px; }
  .cells { flex-basis: 100%; } .heat button { font-size: 10px; letter-spacing: -.03em; } }
"""
