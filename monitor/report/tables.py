"""Plain tables, and the sign and word of a state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from monitor.components.html import Safe, join
from monitor.palette import STATES

__all__ = ["mark", "minus", "section", "table"]


def mark(state: str, word: str = "") -> Safe:
    """Return the sign and word of a state in its colour."""
    s = STATES[state]
    return Safe('<span class="state {}"><span aria-hidden="true">{}</span> {}</span>').format(
        state, s.sign, word or s.word
    )


def minus(text: str) -> str:
    """Return a number with true minus signs."""
    return text.replace("-", "−")


def table(label: str, heads: Sequence[str], rows: Iterable[Sequence[Any]], *, numeric: Sequence[int] = ()) -> Safe:
    """Return a table that scrolls sideways where it must; the first cell of a row names it.

    Parameters
    ----------
    label : str
        What it is, for those who hear it.
    heads : sequence of str
        Titles of the columns.
    rows : iterable of sequences
        Cells: text, which is escaped, or markup.
    numeric : sequence of int
        Columns of numbers.
    """
    body = []
    for row in rows:
        cells = [
            Safe('<{0} class="{1}"{2}>{3}</{0}>').format(
                "th" if k == 0 else "td", "n" if k in numeric else "", Safe(' scope="row"') if k == 0 else "", cell
            )
            for k, cell in enumerate(row)
        ]
        body.append(Safe("<tr>{}</tr>").format(join(cells)))
    head = join(
        Safe('<th scope="col" class="{}">{}</th>').format("n" if k in numeric else "", h) for k, h in enumerate(heads)
    )
    return Safe(
        '<div class="wide" role="region" aria-label="{0}" tabindex="0"><table aria-label="{0}">'
        "<thead><tr>{1}</tr></thead><tbody>{2}</tbody></table></div>"
    ).format(label, head, join(body))


def section(name: str, title: str, note: str, *parts: Any) -> Safe:
    """Return a section with its heading and what must be said of all of it."""
    small = Safe('<p class="note">{}</p>').format(note) if note else ""
    return Safe('<section id="{0}" aria-labelledby="{0}-title"><h2 id="{0}-title">{1}</h2>{2}{3}</section>').format(
        name, title, small, join(parts)
    )
