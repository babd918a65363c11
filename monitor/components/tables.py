"""Tables that become one card a row on a phone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.components.html import Safe, join

__all__ = ["NOTHING", "Cell", "Column", "table_html"]


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes
    ----------
    head : str
        Its title.
    css : str
        Classes of all its cells, such as ``n`` for numbers.
    title : str
        Hover text of the title.
    lead : bool
        On a phone it stands at the top of the card, without its title.
    """

    head: str
    css: str = ""
    title: str = ""
    lead: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell that has more than its content.

    Attributes
    ----------
    css : str
        Classes beside those of its column; ``again`` for what only repeats the row above it.
    title : str
        Hover text.
    """

    content: Any
    css: str = ""
    title: str = ""


NOTHING = Cell("—", "none")
"""A cell without content, which a card leaves out."""


def table_html(
    label: str, columns: Sequence[Column], rows: Iterable[tuple[str, Sequence[Any]]], *, scroll: str = ""
) -> Safe:
    """Return a table.

    Parameters
    ----------
    label : str
        What it holds, for who cannot see it.
    columns : sequence of Column
    rows : iterable of (str, sequence)
        Classes of a row and its cells: `Cell`, markup or plain text.
    scroll : str
        A name under which its place is kept when it is drawn again.
    """
    heads = join(
        Safe('<th class="{}"{}>{}</th>').format(c.css, Safe(' title="{}"').format(c.title) if c.title else "", c.head)
        for c in columns
    )
    lines = join(Safe('<tr class="{}">{}</tr>').format(css, join(map(_cell, columns, cells))) for css, cells in rows)
    return Safe(
        '<div class="wide-table" tabindex="0" role="group" aria-label="{}"{}><table class="stacked"><thead><tr>{}</tr>'
        "</thead><tbody>{}</tbody></table></div>"
    ).format(label, Safe(' data-scroll="{}"').format(scroll) if scroll else "", heads, lines)


def _cell(column: Column, given: Any) -> Safe:
    cell = given if isinstance(given, Cell) else Cell(given)
    return Safe('<td class="{}"{}{}><span>{}</span></td>').format(
        f"{column.css} {cell.css}".strip(),
        "" if column.lead else Safe(' data-head="{}"').format(column.head),
        Safe(' title="{}"').format(cell.title) if cell.title else "",
        cell.content,
    )
