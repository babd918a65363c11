"""Markup of the page Limits: what would come of the limits as they stand in the fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from calib.limits import Key, keys
from calib.what_if import Flip
from calib.what_if_alerts import AlertChange
from monitor.collect_limits import SUBJECTS, Past
from monitor.components.html import Safe, join
from monitor.components.tables import NOTHING, Cell, Column, table_html
from monitor.compute_limits import Edits, Outlook, Strip, shown
from monitor.pages.limits_markup import name_of
from monitor.palette import STATES

__all__ = ["BAR_CSS", "FLIPS_CSS", "bar_html", "flips_html", "strip_html", "summary_html"]

MOST = 60
"""Flips and alerts that are listed; the others are counted."""

Link = Callable[..., str]

_ALERTS = {"DRIFT": "bad", "WATCH": "watch", "NOTICE": "notice"}


def _state(word: str) -> Safe:
    state = STATES[_ALERTS.get(word, word)]
    return Safe('<span class="{} nowrap">{} {}</span>').format(state.name, state.sign, word)


def summary_html(past: Past | None, edits: Edits, seen: Outlook | None, wrong: Sequence[str], problem: str) -> Safe:
    """Return what changes, and how many verdicts and alerts follow."""
    if past is None:
        words = problem or "Reading all past verdicts; moved limits are weighed as soon as they are there …"
        return Safe('<section class="card" role="status"><h2>What would follow</h2><p>{}</p></section>').format(words)
    parts = [_wrong(wrong)] if wrong else []
    if edits.texts:
        parts.append(_changed(past, edits))
    if seen is None:
        if not wrong:
            parts.append(
                Safe(
                    '<p class="muted">Change a number: which past verdicts and alerts would flip appears here at once. '
                    "Nothing is saved until you say so.</p>"
                )
            )
    else:
        parts.append(_counts(past, seen))
    return Safe(
        '<section class="card follow" aria-live="polite"><div class="row"><h2>What would follow</h2>'
        '<span class="grow"></span>{}</div>{}</section>'
    ).format(
        Safe('<button id="reset" data-act="reset">Reset all</button>') if edits.texts else "",
        join(parts),
    )


def _wrong(wrong: Sequence[str]) -> Safe:
    return Safe('<div class="wrong" role="alert">{}</div>').format(
        join(Safe('<p class="bad">✕ {}</p>').format(w) for w in wrong)
    )


def _changed(past: Past, edits: Edits) -> Safe:
    profile = next((v.profile for v in past.versions if v.number == edits.seen), past.latest.profile)
    known = keys(profile)
    lines = []
    for k, (name, text) in enumerate(edits.texts.items()):
        key: Key | None = known.get(name)
        if key is None:
            continue
        before = key.value(profile)
        unit = f" {key.unit}" if key.unit else ""
        lines.append(
            Safe(
                '<li><span>{}: <span class="num">{} → <b>{}</b>{}</span></span>'
                '<button id="undo-{}" data-act="undo" data-value="{}" aria-label="take back: {}">↶</button></li>'
            ).format(name_of(key), shown(before) or "none", text or "none", unit, k, name, name_of(key))
        )
    return Safe('<ul class="changed" aria-label="moved limits">{}</ul>').format(join(lines))


def _head(seen: Outlook) -> str:
    n, alerts = seen.n, len(seen.alerts)
    head = f"{n:,} verdict{'s' if n != 1 else ''} flip{'' if n != 1 else 's'}" if n else "No past verdict flips"
    return head + (f", {alerts:,} alert{'s' if alerts != 1 else ''} change{'s' if alerts == 1 else ''}" * bool(alerts))


def bar_html(seen: Outlook | None, wrong: Sequence[str]) -> Safe:
    """Return the same in one line, which stays above the fields on a phone."""
    if wrong:
        return Safe('<div class="brief bad">✕ {}</div>').format(wrong[0])
    return Safe("") if seen is None else Safe('<div class="brief">{}</div>').format(_head(seen))


def _counts(past: Past, seen: Outlook) -> Safe:
    bands = seen.new.bands
    rows = []
    for subject, flips in seen.flips.items():
        if not len(flips):
            continue
        counts = flips.counts()
        cells = []
        for band in bands:
            found = [(after, counts[b, before, after]) for b, before, after in sorted(counts) if b == band]
            told = {a: sum(m for x, m in found if x == a) for a in ("accepted", "provisional", "rejected")}
            words = [
                Safe('<span class="{} nowrap">{} {:,} {}</span>').format(a, STATES[a].sign, m, a)
                for a, m in told.items()
                if m
            ]
            cells.append(Cell(join(words, " ")) if words else NOTHING)
        rows.append(("", (SUBJECTS[subject], *cells, f"{len(past.judged[subject]):,}")))
    columns = (Column("become", lead=True), *(Column(b) for b in bands), Column("of", "n"))
    table = table_html("how many verdicts flip", columns, rows) if rows else ""
    return Safe('<p class="head" id="flips-head"><b>{}</b></p>{}{}').format(_head(seen), table, _notes(seen))


def _notes(seen: Outlook) -> Safe:
    notes = []
    if seen.uncertain:
        notes.append(
            f"{seen.uncertain:,} of them rest{'s' if seen.uncertain == 1 else ''} on a comparison with nights that "
            "flip too: the next run settles that."
        )
    remade = sum(f.remade for f in seen.flips.values())
    if remade:
        notes.append(
            f"{remade:,} more night{'s are' if remade != 1 else ' is'} compared with another standard then, and may "
            "flip in the next run."
        )
    scans = seen.flips["sky_offset"].scans()
    if scans:
        notes.append(
            f"The next run chooses which sky offset serves in {scans:,} read{'s' if scans != 1 else ''} of scans."
        )
    held = sum(f.held for f in seen.flips.values())
    if held:
        notes.append(f"{held:,} would flip had nobody decided on them; a decision stands under any limit.")
    return join(Safe('<p class="muted note">{}</p>').format(n) for n in notes)


_FLIPS = (
    Column("night", "nowrap", lead=True),
    Column("what", "what"),
    Column("flips"),
    Column("because of"),
)
_CHANGES = (
    Column("night", "nowrap", lead=True),
    Column("what"),
    Column("state", "nowrap"),
    Column("because of"),
)


def flips_html(seen: Outlook | None, link: Link) -> Safe:
    """Return the verdicts that flip and the alerts that change, the newest first."""
    if seen is None or not (seen.n or seen.alerts):
        return Safe("")
    found: list[Flip] = [f for flips in seen.flips.values() for f in flips.first(MOST)]
    found.sort(key=lambda f: f.night, reverse=True)
    parts = []
    if found:
        rows = (("", _flip(f, link)) for f in found[:MOST])
        parts.append(_listed("Verdicts that flip", "flips", _FLIPS, rows, seen.n))
    if seen.alerts:
        lines = (("", _alert(a, link)) for a in seen.alerts[:MOST])
        parts.append(_listed("Alerts that change", "alerts", _CHANGES, lines, len(seen.alerts)))
    return join(parts)


def _listed(title: str, name: str, columns: tuple[Column, ...], rows: object, n: int) -> Safe:
    more = Safe('<p class="muted note">and {:,} more, older ones</p>').format(n - MOST) if n > MOST else ""
    return Safe(
        '<section class="card listed" id="{}"><h2>{} <span class="muted num">{:,}</span></h2>{}{}</section>'
    ).format(
        name,
        title,
        n,
        table_html(title.lower(), columns, rows, scroll=name),  # type: ignore[arg-type]
        more,
    )


def _unsure(certain: bool) -> Safe | str:
    return "" if certain else Safe(' <span class="muted nowrap" title="the next run settles it">◐ not certain</span>')


def _flip(f: Flip, link: Link) -> tuple[object, ...]:
    if f.scan is None:
        href = link(page="night", night=f.night, band=f.band)
    else:
        href = link(page="scan", night=f.night, band=f.band, read=f.read, scan=f.scan, block=f.block)
    unit = f" {f.check.unit}" if f.check.unit else ""
    value = f"{f.value:.3g}{unit}" if f.value == f.value else "not measured"
    limit = f"{f.old:g}{unit}" if f.old == f.new else f"{f.old:g} → {f.new:g}{unit}"
    return (
        Safe('<a data-nav href="{}">{}</a>').format(href, f.night),
        f"{f.band} {f.product}",
        Safe("{} → {}{}").format(_state(f.before), _state(f.after), _unsure(f.certain)),
        Safe('{} <span class="num">{}</span> <span class="muted nowrap">limit {}</span>').format(
            f.check.name.replace("2pct", "2 %").replace("_", " "), value, limit
        ),
    )


def _alert(a: AlertChange, link: Link) -> tuple[object, ...]:
    if not a.before:
        change = Safe("appears: {}").format(_state(a.after))
    elif not a.after:
        change = Safe("{} vanishes").format(_state(a.before))
    else:
        change = Safe("{} → {}").format(_state(a.before), _state(a.after))
    where = f" in {a.region}" if a.region not in ("", "array") else ""
    return (
        Safe('<a data-nav href="{}">{}</a>').format(link(page="night", night=a.night, band=a.band), a.night),
        f"{a.band} {a.product}, {a.metric}{where}",
        Safe("{}{}").format(change, _unsure(a.certain)),
        Safe('<span class="num">{:.3g} {}</span> <span class="muted nowrap">limit {:g} → {:g} {}</span>').format(
            a.value, a.unit, a.old, a.new, a.limit_unit
        ),
    )


def strip_html(key: Key, strip: Strip | None, ends: tuple[float, float]) -> Safe:
    """Return heading, legend and slider of the history of one check."""
    if strip is None:
        return Safe("")
    low, high = ends
    unit = f" {strip.unit}" if strip.unit else ""
    at = strip.new if strip.new is not None else high
    step = (high - low) / 200 or 1.0
    words = strip.of or "no band or read: others of its limits serve them all"
    return Safe(
        '<h2>{} <span class="muted">{} · worst of each night</span></h2>'
        '<div class="legend"><span><b class="good">●</b> passes</span><span><b class="bad">●</b> fails</span>'
        "<span>ringed: flips</span><span>┅ limit then {}</span><span>━ limit in the field</span>"
        "<span>△ beyond the axis</span></div>"
        '<label class="slide" for="slide">move {} {}<input id="slide" type="range" data-act="slide" min="{:.6g}" '
        'max="{:.6g}" step="{:.6g}" value="{:.6g}" aria-valuetext="{:.4g}{}"></label>'
    ).format(
        strip.title,
        words,
        f"{strip.old:g}{unit}" if strip.old is not None else "of all",
        name_of(key),
        f"/ {strip.unit}" if strip.unit else "",
        low,
        high,
        step,
        at,
        at,
        unit,
    )


FLIPS_CSS = """
.follow p { margin: 8px 0 0; } .follow .head { font-size: 16px; } .grow { flex: 1; }
.note { font-size: 13px; margin: 6px 0 0; }
.wrong p { margin: 6px 0 0; overflow-wrap: anywhere; }
.changed { list-style: none; margin: 8px 0 0; padding: 0; display: grid; gap: 4px; max-height: 180px; overflow: auto; }
.changed li { display: flex; gap: 8px; justify-content: space-between; align-items: center; }
.changed button { min-height: 26px; padding: 0 9px; }
.listed + .listed { margin-top: 12px; } .listed .wide-table { max-height: 340px; margin-top: 6px; }
.listed td, .follow td { font-size: 13px; } .nowrap { white-space: nowrap; }
.listed th, .listed td { padding: 5px 5px; } .what { min-width: 105px; }
h2 .muted { font-weight: 400; font-size: 13px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; color: var(--muted); font-size: 12px; margin: 6px 0; }
.slide { display: grid; gap: 2px; font-size: 13px; color: var(--muted); }
.slide input { width: 100%; accent-color: var(--accent); min-height: 24px; }
"""

BAR_CSS = """
:host { display: none; }
@media (max-width: 1100px) {
  :host { display: block; position: sticky; top: 52px; z-index: 5; }
  .brief { background: var(--panel); border: 1px solid var(--accent); border-radius: 8px; padding: 8px 12px;
    margin-bottom: 8px; font-weight: 600; overflow-wrap: anywhere; box-shadow: 0 2px 8px rgb(0 0 0 / 18%); }
}
@media (max-width: 700px) { :host { top: 94px; } }
"""
