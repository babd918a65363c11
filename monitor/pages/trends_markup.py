"""Markup of the page Trends: choices, legend, the night's numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from monitor.components.html import Safe, join
from monitor.components.tables import Column, table_html
from monitor.compute import cause_words
from monitor.compute_trends import Choice, region_words
from monitor.palette import STATES
from monitor.plots.trend import Zones, value_words

__all__ = ["CARD_CSS", "CONTROLS_CSS", "CSV_CODE", "CSV_CSS", "GRID_CSS", "WRAP_CSS"]
__all__ += ["controls_html", "legend_html", "night_html", "select_html"]

PRESETS = ((30, "30"), (60, "60"), (365, "365"), (0, "all"))


def options_html(offered: Iterable[tuple[str, str]], chosen: str) -> Safe:
    """Return the options of a choice: (value, words)."""
    return join(
        Safe('<option value="{}"{}>{}</option>').format(v, Safe(" selected") if v == chosen else "", w)
        for v, w in offered
    )


def select_html(name: str, act: str, label: str, offered: Iterable[tuple[str, str]], chosen: str) -> Safe:
    """Return a labelled choice."""
    return Safe('<label class="field" for="{0}">{1} <select id="{0}" data-act="{2}">{3}</select></label>').format(
        name, label, act, options_html(offered, chosen)
    )


def controls_html(
    choices: Sequence[Choice],
    choice: Choice,
    offered: Sequence[str],
    region: str,
    bands: Sequence[str],
    band: str,
    fit: str,
    days: int | None,
) -> Safe:
    """Return heading and choices."""
    groups = [
        Safe('<optgroup label="{}">{}</optgroup>').format(
            product, options_html([(c.key, _words(c)) for c in members], choice.key)
        )
        for product, members in groupby(choices, key=lambda c: c.product)
    ]
    series = Safe(
        '<label class="field" for="series">show <select id="series" data-act="series">{}</select></label>'
    ).format(join(groups))
    named = [(r, region_words(r)) for r in offered if not r.startswith("C")]
    cells = [(r, f"{r}: {region_words(r)}") for r in offered if r.startswith("C")]
    more = Safe('<optgroup label="cells">{}</optgroup>').format(options_html(cells, region)) if cells else Safe("")
    where = Safe(
        '<label class="field" for="region">region <select id="region" data-act="region"{}>{}{}</select></label>'
    ).format(Safe(" disabled") if len(offered) == 1 else "", options_html(named, region), more)
    parts = [
        series,
        where,
        select_html("band", "band", "band", [("", "all"), *((b, b) for b in bands)], band),
        select_html(
            "fit",
            "fit",
            "axis",
            [("", "accepted and limits"), ("data", "accepted only"), ("all", "everything")],
            "" if fit == "limits" else fit,
        ),
        _presets(days),
    ]
    title = f"{choice.product}: {choice.label}"
    where_words = f" · {region_words(region)}" if len(offered) > 1 else ""
    return Safe(
        '<div class="head"><h1>{}<span class="muted">{}{}</span></h1><div class="row controls">{}</div></div>'
    ).format(title, where_words, f", {choice.unit}" if choice.unit else "", join(parts))


def _words(choice: Choice) -> str:
    # A closed list shows the chosen line alone, without the heading of its group.
    return f"{choice.product}: {choice.label}"


def _presets(days: int | None) -> Safe:
    buttons = [
        Safe('<button id="days-{0}" data-act="days" data-value="{0}" aria-pressed="{1}">{2}</button>').format(
            n, "true" if (days or 0) == n else "false", word
        )
        for n, word in PRESETS
    ]
    return Safe('<span class="field" role="group" aria-label="nights shown">nights {}</span>').format(join(buttons))


def legend_html(judged: bool, sky: bool, zones: Zones, unit: str) -> Safe:
    """Return what the signs in the figures mean."""
    if judged:
        keys = [Safe('<span><b class="good">●</b> accepted</span>'), Safe('<span><b class="bad">✕</b> rejected</span>')]
        keys.append(
            Safe('<span><b class="watch">●</b> some blocks rejected</span>')
            if sky
            else Safe('<span><b class="provisional">◐</b> provisional</span>')
        )
    else:
        keys = [Safe("<span><b>●</b> measured; no verdict applies</span>")]
    keys.append(Safe("<span><b>△</b> beyond the axis</span>"))
    for state, word, css in (("watch", "watch", "w"), ("bad", "beyond the limit", "d")):
        edges = sorted({abs(e) for low, high, s in zones if s == state for e in (low, high) if e is not None})
        if edges:
            edge = edges[0] if state == "watch" else edges[-1]
            sign = "±" if len(zones) == 4 else ""
            unit_words = f" {unit}" if unit else ""
            word = "drift" if len(zones) == 4 and state == "bad" else word
            keys.append(Safe('<span><i class="{}"></i> {} {}{:g}{}</span>').format(css, word, sign, edge, unit_words))
    keys.append(Safe("<span>┆ hardware period</span><span>◇ decision</span>"))
    return Safe('<div class="legend">{}</div>').format(join(keys))


def night_html(night: str, parts: Mapping[str, pd.DataFrame], choice: Choice, href: Callable[..., str]) -> Safe:
    """Return a table: each band's number in the night that is ringed, and how the window's nights scatter."""
    if not night:
        return Safe('<div class="card empty">No night in the archive yet.</div>')
    columns = (
        Column("band", lead=True),
        Column(f"○ {night}", "n"),
        Column("verdict"),
        Column("median", "n"),
        Column("scatter", "n"),
        Column("nights", "n"),
        Column("rejected", "n"),
    )
    rows = (("", _night_row(night, band, part, choice, href)) for band, part in parts.items())
    return Safe(
        '<section class="card tonight">{}'
        '<p class="muted">Median and robust scatter (1.48 × MAD) of the nights in the window that were not rejected'
        "{}.</p></section>"
    ).format(table_html("each band's number", columns, rows), f", in {choice.unit}" if choice.unit else "")


def _night_row(night: str, band: str, part: pd.DataFrame, choice: Choice, href: Callable[..., str]) -> tuple[Any, ...]:
    part = part[part["value"].notna()]
    here = part[part["night"] == night]
    number, verdict = Safe("no data"), Safe('<span class="unknown">? no data</span>')
    if len(here):
        r = here.iloc[0]
        words = value_words(r["value"], r["error"], choice.unit, signed=choice.metric == "deviation")
        number = Safe('<a data-nav href="{}">{}</a>').format(href(page="night", night=night, band=band), words)
        state = STATES.get(r["status"])
        verdict = Safe("–")
        if state is not None:
            cause = cause_words(r["cause"])[0] or state.word
            verdict = Safe('<span class="{}" title="{}">{} {}</span>').format(state.name, r["cause"], state.sign, cause)
    good = part.loc[part["status"] != "rejected", "value"].to_numpy(dtype=float)
    middle = spread = "–"
    if len(good) >= 3:
        centre = float(np.median(good))
        scatter = 1.4826 * float(np.median(np.abs(good - centre)))
        signed = choice.metric == "deviation"
        # The unit stands below the table.
        middle = value_words(centre, scatter / 2, choice.unit, signed=signed).removesuffix(choice.unit).split(" ±")[0]
        spread = value_words(scatter, scatter / 2, choice.unit, signed=False).removesuffix(choice.unit).split(" ±")[0]
    bad = int((part["status"] == "rejected").sum())
    return (
        Safe("<b>{}</b>").format(band),
        number,
        verdict,
        middle,
        spread,
        len(part),
        bad if choice.subject else "–",
    )


# Quotes keep commas apart, and a leading apostrophe keeps a spreadsheet from reading text as a formula.
CSV_CODE = """
const meta = said.data, shown = new Set(meta.bands[0].split(","))
const text = v => { let t = String(v ?? ""); if (/^[=+\\-@\\t]/.test(t)) t = "'" + t
  return '"' + t.replaceAll('"', '""') + '"' }
const number = v => Number.isFinite(v) ? String(v) : ""
const lines = ["night,band,product,metric,region,value,error,unit,status,cause"]
const sources = [SOURCES]
sources.forEach((s, k) => {
  if (!shown.has(String(k))) return
  const d = s.data
  for (let i = 0; i < d.night.length; i++) {
    if (d.time[i] < x_range.start || d.time[i] > x_range.end) continue
    lines.push([text(d.night[i]), text(d.band[i]), text(meta.product[0]), text(meta.metric[0]), text(d.region[i]),
      number(d.true[i]), number(d.error[i]), text(meta.unit[0]), text(d.status[i]), text(d.cause[i])].join(","))
  }
})
const url = URL.createObjectURL(new Blob([lines.join("\\n") + "\\n"], {type: "text/csv"}))
const a = document.createElement("a")
a.href = url
a.download = `trend-${meta.product[0]}-${meta.metric[0]}.csv`.replaceAll(" ", "-")
document.body.append(a); a.click(); a.remove()
setTimeout(() => URL.revokeObjectURL(url), 10000)
"""

CARD_CSS = """
:host { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 8px 10px;
  margin-top: 10px; box-sizing: border-box; }
"""

CONTROLS_CSS = """
.head h1 { font-size: 17px; margin-bottom: 8px; }
.head h1 .muted { font-weight: 400; font-size: 14px; }
.controls { gap: 8px 14px; } .field { color: var(--muted); font-size: 13px; }
select { max-width: min(420px, 78vw); } #series { max-width: min(340px, 78vw); }
.field button { padding: 4px 9px; }
.legend { display: flex; gap: 3px 14px; flex-wrap: wrap; align-items: baseline; font-size: 12px; padding: 5px 2px; }
.legend i { display: inline-block; width: 12px; height: 10px; border-radius: 2px; }
.w { background: color-mix(in srgb, var(--watch) 30%, transparent); }
.d { background: color-mix(in srgb, var(--bad) 35%, transparent); }
.tonight td.n, .tonight th { white-space: nowrap; }
.tonight { margin-top: 10px; padding: 6px 10px; } .tonight p { margin: 4px 8px 0; font-size: 12px; }
.explore { margin-top: 12px; gap: 8px 14px; } .nights { line-height: 1.8; margin: 6px 0 0; }
"""

WRAP_CSS = ":host { flex-wrap: wrap; gap: 4px; min-height: 40px; } :host > :first-child { flex: 1 1 300px !important; }"

CSV_CSS = """
:host { margin: 0 !important; flex: none !important; }
.bk-btn { font: 13px var(--font) !important; color: var(--ink) !important; background: var(--panel) !important;
  border: 1px solid var(--line) !important; border-radius: 6px !important; box-shadow: none !important; }
.bk-btn:hover { border-color: var(--accent) !important; }
.bk-btn:focus-visible { outline: 2px solid var(--accent) !important; outline-offset: 2px; }
"""

GRID_CSS = """
:host { display: grid !important; gap: 10px; margin-top: 10px; background: var(--panel); border: 1px solid var(--line);
  border-radius: 10px; padding: 8px; box-sizing: border-box; }
:host(.two) { grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); }
:host(.four) { grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); }
"""
