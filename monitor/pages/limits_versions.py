"""Markup of the page Limits: saving a version, and those there were."""

from __future__ import annotations

from collections.abc import Mapping

from calib.limits import words
from monitor.collect_limits import Past
from monitor.components.html import Safe, join
from monitor.components.tables import Column, table_html

__all__ = ["VERSIONS_CSS", "head_html", "save_html", "versions_html"]

MOST = 40
"""Versions that are listed, the newest first."""


def head_html(profile_name: str, title: str, past: Past | None) -> Safe:
    """Return what is in force, and under which versions the verdicts were made."""
    if past is None:
        version: Safe | str = ""
    else:
        v = past.latest
        version = Safe('<span class="muted">, version {}, saved by {} on {} UTC</span>').format(
            v.number, v.who, v.time[:16].replace("T", " ")
        )
    return Safe(
        '<section class="card"><h1>Limits</h1><p>Profile <b>{}</b> <span class="muted">{}</span>{}. A value at its '
        "limit still passes; what could not be measured never does.</p>{}</section>"
    ).format(profile_name, title, version, _under(past))


def _under(past: Past | None) -> Safe | str:
    if past is None or not past.under:
        return ""
    now = past.latest.number
    others = {n: m for n, m in sorted(past.under.items()) if n != now}
    if not others:
        return Safe('<p class="muted" id="under">All {:,} verdicts were made under version {}.</p>').format(
            past.under[now], now
        )
    named = [f"{m:,} under {'version ' + str(n) if n else 'a profile that is no version'}" for n, m in others.items()]
    told = f"{past.under.get(now, 0):,} verdicts were made under version {now}, {', '.join(named)}"
    return Safe('<p id="under"><span class="watch">▲</span> {}. A run settles them under version {}.</p>').format(
        told, now
    )


def save_html(
    past: Past | None,
    form: Mapping[str, str],
    *,
    changed: bool,
    sound: bool,
    may: bool,
    signed: str,
    said: Safe | str,
    overtaken: bool,
) -> Safe:
    """Return the form that saves.

    Parameters
    ----------
    past : Past or None
    form : mapping
        ``reason`` and ``name`` as they were typed.
    changed, sound : bool
        Whether anything was moved, and whether all of it can be saved.
    may : bool
        Whether this person may save.
    signed : str
        The proven name; empty where one must be typed.
    said : Safe or str
        What came of the last try.
    overtaken : bool
        Another version was saved since the first limit was moved.
    """
    if past is None:
        return Safe("")
    if not may:
        words = Safe('<p class="muted">Viewers may move limits and see what would follow; reviewers save them.</p>')
        return Safe('<section class="card save"><h2>Save</h2>{}{}</section>').format(words, said)
    ready = changed and sound
    who = (
        Safe('<p class="muted">Saved as {}.</p>').format(signed)
        if signed
        else Safe(
            '<label for="save-name">your name<input id="save-name" type="text" data-act="name" data-live '
            'maxlength="100" value="{}" autocomplete="name"></label>'
        ).format(form.get("name", ""))
    )
    hint = "" if ready else ("what is wrong above comes first" if changed else "move a limit first")
    behind = (
        Safe(
            '<p><span class="watch">▲</span> Version {} was saved by {} since you moved the first limit. '
            '<button id="rebase" data-act="rebase">Put my changes on version {}</button></p>'
        ).format(past.latest.number, past.latest.who, past.latest.number)
        if overtaken
        else ""
    )
    return Safe(
        '<section class="card save"><h2>Save as version {}</h2>{}'
        '<label for="save-reason">why<input id="save-reason" type="text" data-act="reason" data-live maxlength="2000" '
        'value="{}" autocomplete="off"></label>{}'
        '<div class="row"><button id="save" data-act="save" {}>Save as version {}</button>'
        '<span class="muted">{}</span></div>{}</section>'
    ).format(
        past.latest.number + 1,
        behind,
        form.get("reason", ""),
        who,
        "" if ready else "disabled",
        past.latest.number + 1,
        hint,
        said,
    )


_COLUMNS = (
    Column("version", lead=True),
    Column("saved / UTC", "nowrap"),
    Column("by"),
    Column("why", "why"),
    Column("what changed", "why"),
    Column("verdicts", "n", "made under it"),
)


def versions_html(past: Past | None) -> Safe:
    """Return the versions there were."""
    if past is None:
        return Safe("")
    rows = []
    for k in range(len(past.versions) - 1, max(len(past.versions) - 1 - MOST, -1), -1):
        v = past.versions[k]
        changed = words(v.changes(past.versions[k - 1]), most=12) if k else "the first"
        rows.append(
            (
                "",
                (
                    Safe("<b>{}</b>").format(v.number),
                    v.time[:16].replace("T", " "),
                    v.who,
                    v.reason,
                    changed or "the same as before",
                    f"{past.under.get(v.number, 0):,}",
                ),
            )
        )
    more = len(past.versions) - len(rows)
    return Safe('<section class="card" id="versions"><h2>Versions</h2>{}{}</section>').format(
        table_html("versions of the profile", _COLUMNS, rows, scroll="versions"),
        join([Safe('<p class="muted">and {} older ones</p>').format(more)] if more > 0 else []),
    )


VERSIONS_CSS = """
p { margin: 8px 0 0; max-width: 900px; }
.save label { display: grid; gap: 2px; margin-top: 8px; color: var(--muted); font-size: 13px; }
.save input { width: 100%; color: var(--ink); font-size: 14px; }
.save .row { margin-top: 10px; }
.save button#save:not(:disabled) { background: var(--accent); border-color: var(--accent); color: var(--panel); }
.told { margin-top: 10px; }
td { font-size: 13px; } .why { min-width: 180px; max-width: 460px; overflow-wrap: anywhere; }
.nowrap { white-space: nowrap; } #versions .wide-table { margin-top: 6px; max-height: 360px; }
"""
