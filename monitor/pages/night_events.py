"""What the comparison with the nights before found, as markup: parts of the deviation, and single pixels."""

from __future__ import annotations

from collections.abc import Callable

from monitor.collect_events import Found
from monitor.components.html import Safe, join
from monitor.pages.night_tables import number, real, signed_or_dash

__all__ = ["EVENTS_CSS", "diagnosis_html", "pixels_html"]

# More rows than a person reads; the archive has them all.
MOST_ROWS = 40
_KINDS = {
    "hot": "turned hot",
    "cooled": "cooled",
    "jump": "jumped",
    "noisy": "turned noisy",
    "dead": "turned dead",
}


def diagnosis_html(found: tuple[Found, ...]) -> Safe:
    """Return the parts of the deviation of every product, the most telling first."""
    head = Safe('<h2>Diagnosis <span class="muted">parts of the deviation from the nights before</span></h2>')
    taken_apart = [f for f in found if f.parts]
    if not taken_apart:
        return Safe(
            '<section class="card">{}<div class="empty">– not run: there is nothing to compare with</div></section>'
        ).format(head)
    bodies = []
    for f in taken_apart:
        lines = []
        for p in f.parts or []:
            share, pixels = p.get("share"), p.get("name") == "pixels"
            lines.append(
                Safe(
                    '<tr><td>{}</td><td class="n">{} {}</td><td class="n">{}</td><td class="n">{}</td><td>{}</td></tr>'
                ).format(
                    p.get("name", ""),
                    signed_or_dash(real(p.get("size")), 2),
                    "% of pixels" if pixels else f.unit,
                    number(real(p.get("significance")), 1),
                    "–" if share is None else f"{100 * share:.0f} %",
                    str(p.get("where", "")).replace("-", "−"),
                )
            )
        bodies.append(
            Safe('<tbody><tr class="heads"><th colspan="5" scope="rowgroup">{}</th></tr>{}</tbody>').format(
                f.product, join(lines)
            )
        )
    return Safe(
        '<section class="card">{}<div class="scroll"><table><thead><tr><th>part</th><th class="n">size</th>'
        '<th class="n">σ</th><th class="n">share</th><th>where</th></tr></thead>{}</table></div>'
        '<p class="muted small">share: of the large-scale variance</p></section>'
    ).format(head, join(bodies))


def pixels_html(found: tuple[Found, ...], href: Callable[[int, int], str]) -> Safe:
    """Return the single pixels that changed overnight, beside the number that chance alone would bring.

    Parameters
    ----------
    found : tuple of Found
    href : callable
        x, y → the address that opens the pixel.
    """
    head = Safe('<h2>Pixels <span class="muted">changed against the night before</span></h2>')
    if not found:
        return Safe(
            '<section class="card">{}<div class="empty">– not run: there is no night to compare with</div></section>'
        ).format(head)
    events = [(f, e) for f in found for e in f.events]
    summary = join(
        Safe("<li><b>{}</b> {}; {} expected by chance</li>").format(
            f.product,
            ", ".join(f"{n} {_KINDS.get(k, k)}" for k, n in f.counts.items() if n) or "no change",
            _chance(f.expected),
        )
        for f in found
    )
    if not events:
        return Safe('<section class="card">{}<ul class="found">{}</ul></section>').format(head, summary)
    rows = join(_row(f, *e, href) for f, e in events[:MOST_ROWS])
    total = sum(sum(f.counts.values()) for f in found)
    more = f"{total - MOST_ROWS} more are in the table darks" if total > MOST_ROWS else ""
    return Safe(
        '<section class="card">{}<ul class="found">{}</ul><div class="scroll tall" tabindex="0" role="group" '
        'aria-label="pixels that changed" data-scroll="pixels"><table><thead><tr><th>what</th>'
        '<th class="n">x</th><th class="n">y</th><th class="n">size</th><th class="n">σ</th><th>product</th></tr>'
        "</thead>"
        '<tbody>{}</tbody></table></div><p class="muted small">{}</p></section>'
    ).format(head, summary, rows, more)


def _row(f: Found, y: int, x: int, kind: str, size: float, sigma: float, href: Callable[[int, int], str]) -> Safe:
    digits, unit = {"noisy": (1, "× median"), "dead": (2, "")}.get(kind, (0, f.unit))
    text = number(size, digits) if kind in ("noisy", "dead") else signed_or_dash(size, digits)
    return Safe(
        '<tr><td><a data-nav href="{}">{}</a></td><td class="n">{}</td><td class="n">{}</td><td class="n">{} {}</td>'
        '<td class="n">{}</td><td>{}</td></tr>'
    ).format(href(x, y), _KINDS.get(kind, kind), x, y, text, unit, number(sigma, 0), f.product)


def _chance(expected: float) -> str:
    return "fewer than 0.01" if expected < 0.01 else f"{expected:.2g}"


EVENTS_CSS = """
.found { margin: 6px 0; padding-left: 18px; font-size: 13px; }
.scroll.tall { max-height: 360px; overflow: auto; }
.heads th { color: var(--ink); padding-top: 10px; }
"""
