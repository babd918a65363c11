"""Markup of the gallery: choices, pictures with their words, and why one was rejected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calib.checks import CheckResult
from monitor.components.html import Safe, join
from monitor.compute import ORIGINS
from monitor.compute_gallery import Item, Part, parts_of, plain
from monitor.pages.trends_markup import select_html
from monitor.palette import STATES, State

__all__ = ["GALLERY_CSS", "STRETCHES", "Choices", "controls_html", "gallery_html"]

# Half-widths in %; without one they are fitted to what is shown.
STRETCHES = ("0.2", "0.5", "1", "2", "5", "10", "20", "50")
NOTHING = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
VERDICTS = ("accepted", "rejected", "provisional", "override")
DAYS = ((0, "all"), (30, "30"), (60, "60"), (365, "365"))


@dataclass(frozen=True)
class Choices:
    """What is chosen, and what can be; no stretch means the one that fits what is shown."""

    sky: bool
    band: str
    verdict: str
    cause: str
    days: int | None
    stretch: str
    read: str
    bands: Sequence[str]
    reads: Sequence[str]
    causes: Sequence[tuple[str, str]]


def controls_html(c: Choices, fitted: str, shown: int, total: int, start: int, size: int, until: str) -> Safe:
    """Return heading, choices, count and colour bar; ``fitted`` is the stretch that fits what is shown."""
    kinds = join(
        Safe('<button id="kind-{0}" data-act="kind" data-value="{0}" aria-pressed="{1}">{2}</button>').format(
            value, "true" if (value == "sky") == c.sky else "false", word
        )
        for value, word in (("flat", "responsivities"), ("sky", "sky offsets"))
    )
    verdicts = [v for v in VERDICTS if not (c.sky and v == "provisional")]
    parts = [
        Safe('<span class="field" role="group" aria-label="what is shown">{}</span>').format(kinds),
        select_html("band", "band", "band", [("", "all"), *((b, b) for b in c.bands)], c.band),
        select_html("verdict", "verdict", "verdict", [("", "all"), *((v, v) for v in verdicts)], c.verdict),
        select_html("cause", "cause", "cause", [("", "any"), *c.causes], c.cause),
        select_html("days", "days", "nights", [(str(n), w) for n, w in _days(c.days)], str(c.days or 0)),
        select_html(
            "stretch",
            "stretch",
            "stretch",
            [("", f"fitted: ±{fitted} %"), *((s, f"±{s} %") for s in STRETCHES)],
            c.stretch,
        ),
    ]
    if c.sky and len(c.reads) > 1:
        parts.insert(2, select_html("read", "read", "read", [(r, r) for r in c.reads], c.read))
    what = f"sky offset of {c.read} / sky level" if c.sky else "responsivity / canonical before it − 1"
    name = "Sky offsets" if c.sky else "Ratio maps"
    end = min(start + size, shown)
    span = f"{start + 1}–{end} of {shown}" if shown else "none"
    order = ", newest first" if shown > 1 else ""
    of_all = f" ({total} in all)" if total != shown else ""
    until_words = f", {c.days} nights until {until}" if c.days else ""
    return Safe(
        '<h1>{} <span class="muted">{}, all on one stretch</span></h1><div class="row controls">{}</div>'
        '<div class="row under"><span role="status" id="count">showing {}{}{}{}</span>{}{}</div>'
    ).format(
        name,
        what,
        join(parts),
        span,
        of_all,
        until_words,
        order,
        _pager(shown, start, size),
        _scale(c.stretch or fitted) if shown else "",
    )


def _days(days: int | None) -> list[tuple[int, str]]:
    known = list(DAYS)
    return known if not days or days in dict(known) else [*known, (days, str(days))]


def _pager(shown: int, start: int, size: int) -> Safe:
    if shown <= size:
        return Safe("")
    return Safe(
        '<span class="field"><button id="newer" data-act="sheet" data-value="-1" {}>◀ newer</button>'
        '<button id="older" data-act="sheet" data-value="1" {}>older ▶</button></span>'
    ).format("disabled" if start == 0 else "", "disabled" if start + size >= shown else "")


def _scale(stretch: str) -> Safe:
    half = f"{float(stretch) / 2:g}"
    return Safe(
        '<span class="scale"><span class="bar" role="img" aria-label="blue is low, white none, orange high"><i></i>'
        '<span class="ticks num"><b>−{0}</b><b>−{1}</b><b>0</b><b>+{1}</b><b>+{0} %</b></span></span>'
        '<span class="hot"><i></i> no value</span></span>'
    ).format(stretch, half)


def gallery_html(
    items: Sequence[Item],
    names: Sequence[str],
    opened: str,
    large: str,
    href: Callable[[Item], str],
    stretch: str,
    empty: str,
) -> Safe:
    """Return the pictures; after the one that is opened stands why.

    Parameters
    ----------
    items, names
        What to show, and the names of their pictures.
    opened : str
        Key of the item that is explained.
    large : str
        The name of its large picture.
    href : callable
        Item → address of the page that shows it.
    empty : str
        What to say where there is nothing.
    """
    if not items:
        return Safe('<div class="card empty">{}</div>').format(empty)
    cells: list[Safe] = []
    for item, name in zip(items, names, strict=True):
        cells.append(_cell(item, name, item.key == opened, href(item)))
        if item.key == opened:
            cells.append(_why(item, large, href(item), stretch))
    return Safe('<div class="gallery">{}</div>').format(join(cells))


def _state(item: Item) -> State:
    return STATES.get(item.status, STATES["unknown"])


def _frame(item: Item, name: str) -> Safe:
    words = "no usable pixel" if item.row.get("standard") or "block" in item.row else "nothing to compare with yet"
    return Safe(
        '<span class="frame waiting" data-picture="{}" data-none="{}"><img src="{}" alt="{} {} {}"></span>'
    ).format(name, words, NOTHING, item.night, item.band, item.words or item.status)


def _cell(item: Item, name: str, opened: bool, href: str) -> Safe:
    state = _state(item)
    ruled = Safe(' <span class="ruled" title="a person decided this">override</span>') if item.override else Safe("")
    head = Safe('<div class="muted head">{}</div>').format(item.head) if item.head else Safe("")
    ident = "why-" + item.key.replace(" ", "-")
    return Safe(
        '<article class="cell {}" title="{}"><a data-nav href="{}">{}</a><div class="name"><b>{} {}</b>{}</div>{}'
        '<div class="verdict {}">{} {}</div><div class="muted num number">{}</div>'
        '<button id="{}" data-act="why" data-value="{}" aria-expanded="{}" aria-label="why: {}">why</button></article>'
    ).format(
        state.name,
        item.hover,
        href,
        _frame(item, name),
        item.night,
        item.band,
        ruled,
        head,
        state.name,
        state.sign,
        item.words or state.word,
        item.number,
        ident,
        item.key,
        "true" if opened else "false",
        item.key,
    )


def _why(item: Item, large: str, href: str, stretch: str) -> Safe:
    state = _state(item)
    cause = item.row["cause"] or f"{state.word}: every check was passed"
    origin = ORIGINS[item.row.get("origin") or ""]
    standard = item.row.get("standard")
    against = (
        Safe('<p class="muted">Judged against the mean of {}.</p>').format(", ".join(str(n) for n in standard))
        if isinstance(standard, list) and standard
        else Safe("")
    )
    where = "Scan" if "block" in item.row else "Night"
    parts = parts_of(item.row.get("diagnosis"))
    return Safe(
        '<section class="why card" data-reveal="{0} {1}" aria-label="why {0} {1}"><div class="row top"><h2>{0} {1}</h2>'
        '<span class="{2}">{3} {4}</span><span class="grow"></span><a data-nav href="{5}">open in {6}</a>'
        '<button id="close" data-act="why" data-value="">close</button></div>'
        '<div class="columns"><div class="large">{7}<p class="muted">±{8} %</p></div>'
        "<div><h3>Checks</h3>{9}<p class=muted>{10}</p>{11}</div>{12}</div></section>"
    ).format(
        f"{item.night} {item.band}",
        item.head,
        state.name,
        state.sign,
        item.words or state.word,
        href,
        where,
        _frame(item, large),
        stretch,
        _checks(item.checks),
        plain(cause) + (f". {origin.capitalize()}." if origin else ""),
        against,
        _parts(parts, item.words) if "diagnosis" in item.row else Safe(""),
    )


def _checks(checks: Sequence[CheckResult]) -> Safe:
    if not checks:
        return Safe('<p class="unknown">? nothing was measured</p>')
    rows = []
    for c in checks:
        sign, kind = ("✓", "good") if c.passed else ("✕", "bad")
        # The bar is full at three times the limit; the line in it is the limit.
        share = min(c.excess, 3.0) / 3
        bound = "≥" if c.check.bound == "min" else "≤"
        rows.append(
            Safe(
                '<tr title="{}"><td class="{}">{}</td><td>{}</td><td class="n">{}</td><td class="n muted">{} {} {}</td>'
                '<td class="bars"><i class="{}" style="width:{}%"></i><s></s></td></tr>'
            ).format(
                c.check.meaning,
                kind,
                sign,
                plain(c.check.name),
                f"{c.value:.3g}",
                bound,
                f"{c.limit:g}",
                c.check.unit,
                kind,
                f"{100 * share:.0f}",
            )
        )
    return Safe(
        '<table><tr><th><span class="sr">outcome</span></th><th>check</th><th class="n">value</th>'
        '<th class="n">limit</th><th>against limit</th></tr>{}</table>'
    ).format(join(rows))


def _parts(parts: Sequence[Part], cause: str) -> Safe:
    if not parts:
        return Safe('<div><h3>Parts of the deviation</h3><p class="unknown">? not decomposed</p></div>')
    largest = max((abs(p.size) for p in parts if p.name != "pixels"), default=0.0) or 1.0
    rows = []
    for p in parts:
        pixels = p.name == "pixels"
        size = f"{p.size:.2f} % of them" if pixels else f"{p.size:+.2f} %".replace("-", "−")
        sigma = "–" if p.significance is None else f"{abs(p.significance):,.0f} σ".replace(",", " ")
        share = "–" if p.share is None else f"{100 * p.share:.0f} %"
        width = 0.0 if pixels else 100 * abs(p.size) / largest
        rows.append(
            Safe(
                '<tr><td>{}</td><td class="n">{}</td><td class="bars"><i class="part" style="width:{}%"></i></td>'
                '<td class="n">{}</td><td class="n">{}</td><td>{}</td></tr>'
            ).format(p.words, size, f"{width:.0f}", sigma, share, p.where.replace("-", "−"))
        )
    return Safe(
        '<div tabindex="0" role="group" aria-label="parts of the deviation">'
        '<h3>Parts of the deviation <span class="muted">largest first</span></h3><table><tr><th>part</th>'
        '<th class="n">size</th><th><span class="sr">as a bar</span></th><th class="n">significance</th>'
        '<th class="n">share</th><th>where</th></tr>'
        '{}</table><p class="muted">Share: of the large-scale variance of the ratio map.</p></div>'
    ).format(join(rows))


GALLERY_CSS = """
h1 { font-size: 17px; margin-bottom: 8px; } h1 .muted { font-weight: 400; font-size: 14px; }
.controls { gap: 8px 14px; } .field { color: var(--muted); font-size: 13px; } select { max-width: 60vw; }
#cause { max-width: 230px; }
.under { margin: 10px 0 2px; gap: 8px 18px; font-size: 13px; }
.scale { display: inline-flex; gap: 16px; align-items: flex-start; font-size: 11px; color: var(--muted); }
.bar { width: 220px; } .bar i { display: block; height: 9px; border-radius: 4px;
  background: linear-gradient(90deg, #08306b, #2171b5, #9ecae1, #f7f7f7, #fdae6b, #d94801, #5e1f00); }
.ticks { display: flex; justify-content: space-between; } .ticks b { font-weight: 400; }
.hot i { display: inline-block; width: 9px; height: 9px; background: #cc0099; border-radius: 2px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(148px, 1fr)); gap: 10px; margin-top: 10px;
  grid-auto-flow: row dense; }
.cell { position: relative; background: var(--panel); border: 1px solid var(--line); border-top: 3px solid var(--muted);
  border-radius: 8px; padding: 6px; font-size: 12px; color: var(--ink); min-width: 0; display: flex;
  flex-direction: column; gap: 1px; }
.cell.accepted { border-top-color: var(--good); } .cell.rejected { border-top: 3px dashed var(--bad); }
.cell > div { overflow-wrap: anywhere; line-height: 1.3; } .cell .number { flex: 1; }
.cell button { font-size: 12px; min-height: 26px; padding: 1px 10px; align-self: flex-start; margin-top: 4px; }
.cell button[aria-expanded=true] { background: var(--accent); color: var(--panel); border-color: var(--accent); }
.ruled { border: 1px solid currentColor; border-radius: 4px; padding: 0 4px; font-size: 10px; }
.frame { display: grid; aspect-ratio: 1; place-items: center; border-radius: 5px; overflow: hidden; text-align: center;
  color: var(--muted); font-size: 12px; padding: 0; }
.frame img { width: 100%; height: 100%; object-fit: contain; display: block; }
.frame.waiting { background: var(--ground); animation: pulse 1.2s ease-in-out infinite alternate; }
.frame.none { padding: 10px; background: repeating-linear-gradient(45deg, var(--ground) 0 6px, var(--line) 6px 7px); }
@keyframes pulse { from { opacity: .45 } to { opacity: 1 } }
@media (prefers-reduced-motion: reduce) { .frame.waiting { animation: none } }
.why { grid-column: 1 / -1; scroll-margin: 60px 0 70px; } .why .top { gap: 12px; } .grow { flex: 1; }
.why h3 { margin: 4px 0; } .why p { margin: 6px 0 0; font-size: 12px; }
.columns { display: grid; grid-template-columns: 256px minmax(0, 1fr) minmax(0, 1.2fr); gap: 20px; margin-top: 8px; }
.columns > div { min-width: 0; overflow-x: auto; } .columns table { font-size: 12px; }
.columns th, .columns td { padding: 3px 6px; } .columns td:nth-child(2) { white-space: nowrap; }
.large .frame { width: 256px; max-width: 100%; }
td.bars { position: relative; min-width: 70px; width: 26%; vertical-align: middle; }
td.bars i { display: block; height: 9px; border-radius: 2px; background: var(--muted); min-width: 1px; }
td.bars i.good { background: var(--good); } td.bars i.bad { background: var(--bad); }
td.bars s { position: absolute; left: calc(6px + (100% - 12px) / 3); top: 3px; bottom: 3px; width: 1.5px;
  background: var(--ink); }
@media (max-width: 1100px) { .columns { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 700px) { .gallery { grid-template-columns: repeat(auto-fill, minmax(108px, 1fr)); gap: 7px; }
  .bar { width: 190px; } }
"""
