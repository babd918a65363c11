"""The controls of the Night page as markup: band, read, image, stretch, the night to blink with, the chosen pixel."""

from __future__ import annotations

import numpy as np

from calib.flags import FLAGS, decode
from calib.regions import grid_edges
from monitor.collect import Snapshot
from monitor.collect_night import NightRows
from monitor.components.html import Safe, join
from monitor.compute import absent, cause_words, serving, standing
from monitor.compute_layers import KINDS, Layer
from monitor.pages.night_tables import number
from monitor.palette import STATES
from monitor.plots.images import FLAG_COLOURS, MISSING

__all__ = [
    "HEAD_CSS", "PIXEL_CSS", "STRETCH_CSS", "band_key", "head_html", "pixel_html", "place_words", "stretch_html",
]  # fmt: skip

PERCENTILES = (100.0, 99.5, 99.0, 95.0)
HALF_RANGES = (0.5, 1.0, 2.0, 5.0)

# Letters that every page or this one uses for something else.
_TAKEN = set("tbrzsauxn?[],.")


def band_key(bands: tuple[str, ...], band: str) -> str:
    """Return the letter that chooses a band, or an empty text if another has it."""
    first = band[:1].lower()
    alone = sum(b[:1].lower() == first for b in bands) == 1
    return first if alone and first.isalpha() and first not in _TAKEN else ""


def head_html(
    snapshot: Snapshot, rows: NightRows, band: str, read: str, image: str, other: str, blinking: bool, blink_words: str
) -> Safe:
    """Return the bar of choices and the verdicts of the night."""
    bands = join(
        Safe(
            '<button id="band-{0}" data-act="band" data-value="{0}" aria-pressed="{1}" title="{2}">{0}</button>'
        ).format(b, _true(b == band), f"key {k}" if (k := band_key(snapshot.bands, b)) else b)
        for b in snapshot.bands
    )
    reads = join(
        Safe('<button id="read-{0}" data-act="read" data-value="{1}" aria-pressed="{2}">{1}</button>').format(
            k, r, _true(r == read)
        )
        for k, r in enumerate(snapshot.profile.reads)
    )
    options = join(
        Safe('<option value="{}"{}>{}</option>').format(
            k.name, Safe(" selected") if k.name == image else "", k.title + (f" / {k.unit}" if k.unit else "")
        )
        for k in KINDS.values()
    )
    return Safe(
        '<section class="card bar"><h1 class="sr">Night {}, {}</h1><div class="row">'
        '<span class="field" role="group" aria-label="band"><span class="muted">band</span>{}</span>'
        '<span class="field" role="group" aria-label="read of the dark"><span class="muted">dark of</span>{}</span>'
        '<span class="field"><label class="muted" for="image">image</label><select id="image" data-act="image">{}'
        "</select></span>"
        '<span class="field"><label class="muted" for="other">blink with</label>'
        '<button id="other-previous" data-act="step-other" data-value="-1" aria-label="earlier night to blink with">◀'
        '</button><input id="other" type="date" data-act="other" value="{}" min="{}" max="{}">'
        '<button id="other-next" data-act="step-other" data-value="1" aria-label="later night to blink with">▶</button>'
        '<button id="blink" data-act="blink" aria-pressed="{}" title="key b">{}</button>'
        '<span class="muted" role="status">{}</span></span>'
        '</div><p class="verdicts">{}</p></section>'
    ).format(
        rows.night,
        band,
        bands,
        reads,
        options,
        other,
        snapshot.nights[0],
        snapshot.nights[-1],
        _true(blinking),
        "Stop blinking" if blinking else "Blink",
        blink_words,
        _verdicts(snapshot, rows, band),
    )


def _true(on: bool) -> str:
    return "true" if on else "false"


def _verdicts(snapshot: Snapshot, rows: NightRows, band: str) -> Safe:
    parts = []
    for what, row in (("flat", rows.flat), *((f"dark {r}", d) for r, d in rows.darks.items())):
        if row is None:
            name, why = absent(snapshot, rows.night, band, "twilight" if what == "flat" else "dark")
            word = "none taken" if name == "unknown" else STATES[name].word
            master = serving(snapshot, rows.night, band, what.split()[0]) if name == "unknown" else None
            if master is not None:
                name, word, why = "supplied", f"supplied, {master.words}", f"{why}; taken as it came"
            parts.append(
                Safe('<span class="{}" title="{}">{}: {} {}</span>').format(name, why, what, STATES[name].sign, word)
            )
            continue
        name, unsettled = standing(snapshot, row["status"])
        state = STATES[name]
        words, detail = cause_words(row["cause"])
        extra = " ▲ canonical overtaken" if what == "flat" and row.get("overtaken") else ""
        parts.append(
            Safe('<span class="{}" title="{}">{}: {} {}{}{}</span>').format(
                name, unsettled or detail, what, state.sign, state.word, f", {words}" if words else "", extra
            )
        )
    return join(parts)


def stretch_html(layer: Layer, low: float, high: float, stretch: str) -> Safe:
    """Return the controls of the colour scale of an image, and what its special colours mean."""
    kind = layer.kind
    if kind.scale == "flags":
        counts = {f.name: 0 for f in FLAGS}
        if layer.flags is not None:
            counts = {f.name: int(((layer.flags & f.value) > 0).sum()) for f in FLAGS}
        items = join(
            Safe('<span title="{}"><i style="background:{}"></i>{} <b class="num">{}</b></span>').format(
                f.meaning, "var(--ink)" if f.name == "DEAD" else FLAG_COLOURS[f.name], f.name, counts[f.name]
            )
            for f in FLAGS
        )
        return Safe('<div class="key" aria-label="flags and how many pixels have them">{}</div>').format(items)
    presets = HALF_RANGES if kind.half_range else PERCENTILES
    letter, unit = ("s", f" {kind.unit}") if kind.half_range else ("p", " %")
    fallback = f"s{kind.half_range:g}" if kind.half_range else "p99"
    buttons = join(
        Safe('<button id="stretch-{0}" data-act="stretch" data-value="{1}" aria-pressed="{2}">{3}</button>').format(
            k, f"{letter}{p:g}", _true((stretch or fallback) == f"{letter}{p:g}"), _preset(letter, p, unit)
        )
        for k, p in enumerate(presets)
    )
    if kind.scale == "diverging":
        buttons += Safe(
            '<button id="stretch-median" data-act="stretch" data-value="c99" aria-pressed="{}" '
            'title="the inner 99 % about the median instead of zero">about median</button>'
        ).format(_true(stretch == "c99"))
    if layer.value is None:
        return Safe('<div class="key muted">? no image: {}</div>').format(layer.reason)
    bad = int((~np.isfinite(layer.value)).sum())
    held = stretch.startswith("v")
    digits = kind.digits + 1
    return Safe(
        '<div class="row"><span class="field" role="group" aria-label="stretch">{}</span>'
        '<span class="field"><label for="low">from</label><input id="low" type="number" step="any" data-act="low" '
        'value="{}"><label for="high">to</label><input id="high" type="number" step="any" data-act="high" value="{}">'
        '<span class="muted">{}</span></span>'
        '<button id="hold" data-act="hold" aria-pressed="{}" title="keep these ends from night to night">{}</button>'
        '</div><div class="key"><span><i style="background:{}"></i>no value or unusable: '
        '<b class="num">{}</b> px</span>'
        '<span class="muted">drag the ends of the box in the histogram · <kbd>,</kbd> <kbd>.</kbd> other image · '
        "<kbd>z</kbd> whole array</span></div>"
    ).format(
        buttons,
        f"{low:.{digits}f}",
        f"{high:.{digits}f}",
        kind.unit,
        _true(held),
        "Held" if held else "Hold",
        MISSING,
        f"{bad:,}".replace(",", " "),
    )


def _preset(letter: str, value: float, unit: str) -> str:
    return f"±{value:g}{unit}" if letter == "s" else ("all" if value >= 100 else f"{value:g}{unit}")


def place_words(x: int, y: int, shape: tuple[int, int], quadrants: tuple[int, int], cells: tuple[int, int]) -> str:
    """Return the quadrant and the cell of a pixel in words."""

    def index(position: int, length: int, parts: int) -> int:
        edges = grid_edges(length, parts)
        return next(k for k in range(parts) if position < edges[k + 1])

    quadrant = index(y, shape[0], quadrants[0]) * quadrants[1] + index(x, shape[1], quadrants[1]) + 1
    wide = 2 if max(cells) > 10 else 1
    return f"Q{quadrant}, cell C{index(y, shape[0], cells[0]):0{wide}d}{index(x, shape[1], cells[1]):0{wide}d}"


def pixel_html(
    x: int | None, y: int | None, layers: dict[str, Layer], place: str, shape: tuple[int, int], words: str
) -> Safe:
    """Return the chosen pixel: where it is, its flags, its value in every image, what its fit says."""
    head = Safe(
        '<div class="row"><h2>Pixel</h2><span class="field"><label for="px">x</label>'
        '<input id="px" type="number" min="0" max="{}" data-act="x" value="{}">'
        '<label for="py">y</label><input id="py" type="number" min="0" max="{}" '
        'data-act="y" value="{}"></span><span class="muted">{}</span>{}</div>'
    ).format(
        shape[1] - 1,
        "" if x is None else x,
        shape[0] - 1,
        "" if y is None else y,
        place or "choose one: click in the large image, or type its numbers (from 0)",
        "" if x is None else Safe('<button id="pixel-close" data-act="close">Close</button>'),
    )
    if x is None or y is None:
        return Safe('<section class="card pixel">{}</section>').format(head)
    cells = []
    for layer in layers.values():
        kind = layer.kind
        if kind.scale == "flags":
            names = decode(int(layer.flags[y, x])) if layer.flags is not None else ()
            value = Safe("<b>{}</b>").format(", ".join(names) or ("none" if layer.flags is not None else "–"))
        elif layer.value is None:
            value = Safe('<span class="muted" title="{}">no data</span>').format(layer.reason)
        else:
            error = float("nan") if layer.sigma is None else float(layer.sigma[y, x])
            value = _value_words(float(layer.value[y, x]), error, kind.digits)
        title = f"{kind.title} / {kind.unit}" if kind.unit else kind.title
        cells.append(Safe("<div><span class=muted>{}</span><span class=num>{}</span></div>").format(title, value))
    return Safe('<section class="card pixel">{}<div class="values">{}</div><p role="status">{}</p></section>').format(
        head, join(cells), words
    )


def _value_words(value: float, error: float, digits: int) -> Safe:
    """Return a pixel's value with its error; where there is no value its error says nothing."""
    if not np.isfinite(value):
        return Safe("<b>no value</b>")
    return Safe("<b>{}</b>{}").format(
        number(value, digits), f" ± {number(error, digits)}" if np.isfinite(error) else ""
    )


HEAD_CSS = """
.bar { padding: 8px 14px; } .bar .row { gap: 6px 20px; }
.verdicts { margin: 6px 0 0; display: flex; gap: 2px 18px; flex-wrap: wrap; font-size: 13px; }
button[aria-pressed=true] { font-weight: 600; }
"""

STRETCH_CSS = """
:host { padding: 4px 2px; }
.row { gap: 6px 10px; } button { min-height: 28px; padding: 2px 6px; font-size: 13px; }
.field { gap: 4px; } label { color: var(--muted); font-size: 13px; }
input[type=number] { width: 76px; min-height: 28px; padding: 2px 4px; font-size: 13px; }
.key { display: flex; gap: 4px 14px; flex-wrap: wrap; font-size: 12px; margin-top: 6px; }
kbd { font: inherit; border: 1px solid var(--line); border-radius: 3px; padding: 0 4px; }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 5px; vertical-align: -1px;
  border: 1px solid var(--line); }
"""

PIXEL_CSS = """
.values { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 6px 16px; margin-top: 8px; }
.values div { display: flex; flex-direction: column; font-size: 13px; }
input[type=number] { width: 78px; }
p { margin: 8px 0 0; font-size: 13px; }
"""
