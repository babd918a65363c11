"""The desk as markup: the questions of its dialogs, and what follows from an answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from calib.consequences import Consequences
from calib.consequences_words import change_words, flip_words, summary_lines
from monitor.components.html import Safe, join

__all__ = ["DESK_CSS", "Asked", "ask_html", "keys_html"]

# So many verdicts and scans are named one by one; the rest is counted.
MOST_LINES = 60


@dataclass
class Asked:
    """A question of the desk.

    Attributes
    ----------
    title, words : str
        What is asked.
    choices, bands : list of (value, words)
        What can be decided on; bands that it can concern.
    begun : dict
        What the fields begin with, and what was chosen since.
    night, expires, reason : bool
        Whether it has such a field.
    reason_needed : bool
        Whether a reason must be given.
    button : str
        Words on the button that answers it.
    told : bool
        It only tells something.
    name : str or None
        Name to begin with; None where it is known who decides.
    seen : int
        Number of the last decision when it was asked.
    follows : Consequences or str or None
        What follows, or in words why that is not known; None where nothing can.
    wrong : str
        Why the answer was not taken.
    """

    title: str
    words: str
    choices: list[tuple[str, str]] = field(default_factory=list)
    bands: list[tuple[str, str]] = field(default_factory=list)
    begun: dict[str, str] = field(default_factory=dict)
    night: bool = False
    expires: bool = False
    reason: bool = True
    reason_needed: bool = True
    button: str = "Record it"
    told: bool = False
    name: str | None = None
    seen: int = 0
    follows: Consequences | str | None = None
    wrong: str = ""


def ask_html(asked: Asked) -> Safe:
    """Return a question as the content of a dialog."""
    head = Safe('<h2 id="dialog-title">{}</h2><p>{}</p>').format(asked.title, asked.words)
    if asked.told:
        return head + Safe(
            '<div class="buttons"><button id="dialog-close" data-act="close" autofocus>Close</button></div>'
        )
    return head + Safe(
        '<form data-act="confirm">{}{}<div class="buttons"><button id="dialog-close" type="button" data-act="close">'
        'Cancel</button><button id="dialog-confirm" type="submit" class="main">{}</button></div></form>'
    ).format(_wrong(asked.wrong), join([*_fields(asked), _follows(asked.follows)]), asked.button)


def _wrong(words: str) -> Safe | str:
    return Safe('<p class="wrong" role="alert"><b class="bad">✕</b> {}</p>').format(words) if words else ""


def _fields(asked: Asked) -> list[Safe]:
    found = []
    first = " autofocus"
    if asked.choices:
        options = _options(asked.choices, asked.begun.get("what", ""))
        found.append(
            Safe(
                '<label class="line"><span>product</span>'
                '<select id="ask-what" name="what" data-act="preview">{}</select></label>'
            ).format(options)
        )
        value = asked.begun.get("value")
        radios = (
            Safe(
                '<label><input type="radio" id="ask-{0}" name="value" value="{0}" data-act="preview"{1}>'
                '<span class="{0}">{2} {0}</span></label>'
            ).format(v, Safe(" checked") if v == value else "", sign)
            for v, sign in (("accepted", "✓"), ("rejected", "✕"))
        )
        found.append(Safe('<fieldset><legend class="sr">verdict</legend>{}</fieldset>').format(join(radios)))
    if asked.night:
        found.append(
            Safe(
                '<label class="line"><span>first night</span><input type="date" id="ask-night" name="night" value="{}" '
                'data-act="preview" required></label>'
            ).format(asked.begun.get("night", ""))
        )
    if asked.bands:
        found.append(
            Safe(
                '<label class="line"><span>band</span><select id="ask-band" name="band" data-act="preview">{}</select>'
                "</label>"
            ).format(_options(asked.bands, asked.begun.get("band", "")))
        )
    if asked.expires:
        found.append(
            Safe(
                '<label class="line"><span>until, last day on which it counts (optional)</span>'
                '<input type="date" id="ask-expires" name="expires"></label>'
            )
        )
    if asked.reason:
        found.append(
            Safe(
                '<label class="line"><span>{}</span><textarea id="ask-reason" name="reason" maxlength="2000"{}{}>'
                "</textarea></label>"
            ).format(
                "reason" if asked.reason_needed else "remark (optional)",
                Safe(" required") if asked.reason_needed else "",
                Safe(first),
            )
        )
    if asked.name is not None:
        found.append(
            Safe(
                '<label class="line"><span>your name</span><input type="text" id="ask-who" name="who" value="{}" '
                'maxlength="100" autocomplete="name" required></label>'
            ).format(asked.name)
        )
    return found


def _options(pairs: list[tuple[str, str]], chosen: str) -> Safe:
    return join(
        Safe('<option value="{}"{}>{}</option>').format(v, Safe(" selected") if v == chosen else "", words)
        for v, words in pairs
    )


def _follows(follows: Consequences | str | None) -> Safe:
    if follows is None:
        return Safe("")
    if isinstance(follows, str):
        body = Safe('<p class="muted">{}</p>').format(follows)
    else:
        body = _list(summary_lines(follows))
        if follows.changes:
            body += _list([change_words(c) for c in follows.changes[:3]])
        lines = [flip_words(f) for f in follows.flips]
        lines += [f"{n} {b} scan {s}: to be calibrated again" for n, b, s in follows.scans]
        if lines:
            more = [f"… and {len(lines) - MOST_LINES:,} more"] if len(lines) > MOST_LINES else []
            body += Safe("<details><summary>one by one</summary>{}</details>").format(_list(lines[:MOST_LINES] + more))
    return Safe('<section class="follows" id="follows" aria-live="polite"><h3>What follows</h3>{}</section>').format(
        body
    )


def _list(lines: list[str]) -> Safe:
    return Safe("<ul>{}</ul>").format(join(Safe("<li>{}</li>").format(line) for line in lines))


def keys_html(keys: list[tuple[str, str]]) -> Safe:
    """Return the list of keys as the content of a dialog."""
    rows = (
        Safe("<dt>{}</dt><dd>{}</dd>").format(join((Safe("<kbd>{}</kbd>").format(p) for p in k.split(" ")), " "), words)
        for k, words in keys
    )
    return Safe(
        '<h2 id="dialog-title">Keys</h2><dl class="keys">{}</dl><div class="buttons">'
        '<button id="dialog-close" data-act="close" autofocus>Close</button></div>'
    ).format(join(rows))


DESK_CSS = """
dialog p { margin: 4px 0 0; }
"""
