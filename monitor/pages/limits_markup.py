"""Markup of the page Limits: the fields of every limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from calib.checks import check_table
from calib.limits import Key, keys
from calib.profile import Profile
from monitor.collect_limits import SUBJECTS
from monitor.components.html import Html, Safe, join
from monitor.compute_limits import Edits, all_keys, shown

__all__ = ["FIELDS_CSS", "Fields", "field_id", "fields_html", "name_of", "numbers_of"]

_ALL = ""


def name_of(key: Key) -> str:
    """Return what a limit is called, such as ``flat gradient, J`` or ``dark R1, watch``."""
    what = key.what.replace("2pct", "2 %").replace("_", " ")
    return f"{what}, {key.of}" if key.check is not None and key.of else what


def field_id(numbers: Mapping[str, int], name: str) -> str:
    """Return the id of a limit's field."""
    return f"limit-{numbers[name]}"


def numbers_of(profile: Profile) -> dict[str, int]:
    """Return key → number, for ids: names of reads may hold what an id may not."""
    return {name: k for k, name in enumerate(keys(profile))}


def fields_html(profile: Profile, edits: Edits, chosen: str, drawn: int) -> Safe:
    """Return the fields of all limits.

    Parameters
    ----------
    profile : Profile
        The version that is changed.
    edits : Edits
    chosen : str
        Key whose history is shown.
    drawn : int
        Counts the drawings: what was typed gives way also where the markup is what it was.
    """
    numbers = numbers_of(profile)
    subjects = [_subject(profile, edits, chosen, numbers, s) for s in SUBJECTS]
    return Safe('<div class="subjects" data-drawn="{}">{}{}</div>').format(
        drawn, join(subjects), _drift(profile, edits, numbers)
    )


def _input(key: Key, profile: Profile, edits: Edits, numbers: Mapping[str, int], inherited: str = "") -> Safe:
    value = edits.texts.get(key.name, shown(key.value(profile)))
    unit = f", {key.unit}" if key.unit else ""
    return Safe(
        '<input type="text" inputmode="decimal" autocomplete="off" spellcheck="false" id="{}" data-act="set:{}" '
        'data-live value="{}" placeholder="{}" maxlength="40" aria-label="{}{}"{} pattern="{}">'
    ).format(
        field_id(numbers, key.name),
        key.name,
        value,
        inherited,
        name_of(key),
        unit,
        "" if key.optional else Safe(" required"),
        r"\s*[\-+−]?(\d+\.?\d*|\.\d+)([eE][\-+]?\d+)?\s*",
    )


def _subject(profile: Profile, edits: Edits, chosen: str, numbers: Mapping[str, int], subject: str) -> Safe:
    # A flat has one read: a limit of its own for it would say the same as the one for all.
    own = profile.bands if subject == "flat" else (*profile.bands, *profile.reads)
    rows = []
    for name, by in all_keys(profile, subject).items():
        check = check_table(subject)[name]
        base = shown(by[_ALL].value(profile))
        cells = [Safe('<td data-head="all">{}</td>').format(_input(by[_ALL], profile, edits, numbers))]
        cells += [
            Safe('<td data-head="{}">{}</td>').format(of, _input(by[of], profile, edits, numbers, base)) for of in own
        ]
        rows.append(
            Safe(
                '<tr><th scope="row"><button class="check" id="show-{}-{}" data-act="choose" data-value="{}" '
                'aria-pressed="{}">{}</button><span class="muted">{}</span></th>'
                '<td class="sign" data-head="">{} <span class="muted">{}</span></td>{}</tr>'
            ).format(
                subject,
                name,
                by[_ALL].name,
                "true" if any(k.name == chosen for k in by.values()) else "false",
                name.replace("2pct", "2 %").replace("_", " "),
                check.meaning,
                "≥" if check.bound == "min" else "≤",
                check.unit,
                join(cells),
            )
        )
    heads = join(Safe('<th scope="col">{}</th>').format(h) for h in ("check", "passes", "all", *own))
    note = "a read’s own limit beats a band’s" if subject != "flat" else "a band’s own limit beats that of all"
    return Safe(
        '<section class="card" id="subject-{}"><h2>{} <span class="muted">{}; an empty field has none</span></h2>'
        '<div class="wide-table" tabindex="0" role="group" aria-label="limits of {}">'
        '<table class="fields"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div></section>'
    ).format(subject, SUBJECTS[subject], note, SUBJECTS[subject].lower(), heads, join(rows))


def _drift(profile: Profile, edits: Edits, numbers: Mapping[str, int]) -> Safe:
    known = keys(profile)

    def row(what: str, meaning: str, unit: str, cells: Iterable[tuple[str, str]]) -> Safe:
        fields = join(
            Safe('<td data-head="{}">{}</td>').format(head, _input(known[name], profile, edits, numbers))
            if name
            else Safe('<td class="none"></td>')
            for head, name in cells
        )
        return Safe(
            '<tr><th scope="row"><b>{}</b><span class="muted">{}</span></th>'
            '<td class="sign" data-head="">≥ <span class="muted">{}</span></td>{}</tr>'
        ).format(what, meaning, unit, fields)

    pairs = [(f"drift.dark_dn.{r}", f"dark {r}", "DN") for r in profile.reads]
    pairs += [("drift.noise_percent", "noise", "%"), ("drift.responsivity_percent", "responsivity", "%")]
    pairs += [("drift.gain_percent", "gain", "%"), ("drift.sky_percent", "sky offsets", "%")]
    rows = [
        row(what, "deviation from the reference", unit, [("watch", f"{t}.watch"), ("drift", f"{t}.drift")])
        for t, what, unit in pairs
    ]
    new = [("watch", "drift.new_pixels.watch"), ("drift", "drift.new_pixels.drift")]
    rows.append(row("new pixels", "that turn hot, noisy or dead in one night", "px", new))
    rows += [
        row(f"dark {r}: level jump", "since the dark before: a hardware period is proposed", "DN",
            [("", ""), ("from", f"dark.level_jump_dn.{r}")])
        for r in profile.reads
    ]  # fmt: skip
    rows.append(row("significance", "that every state needs besides its size", "σ", [("", ""), ("from", _SIGMA)]))
    heads = join(Safe('<th scope="col">{}</th>').format(h) for h in ("what", "from", "▲ watch", "✕ drift"))
    return Safe(
        '<section class="card" id="subject-drift"><h2>Drift and alerts <span class="muted">a state needs size and '
        'significance</span></h2><div class="wide-table" tabindex="0" role="group" aria-label="limits of drift">'
        '<table class="fields sizes"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div></section>'
    ).format(heads, join(rows))


_SIGMA = "drift.significance"


class Fields(Html):
    """The fields; which of them differ or are wrong is told by style alone, so that no keystroke is lost."""

    stylesheets: list[str]

    def mark(self, moved: Iterable[str], wrong: Iterable[str]) -> None:
        """Mark fields by their ids."""
        css = "".join(f"#{i} {{ border-color: var(--watch); border-width: 2px; font-weight: 600; }}" for i in moved)
        css += "".join(f"#{i} {{ border-color: var(--bad); border-width: 2px; }}" for i in wrong)
        sheets = [*self.stylesheets[:2], css] if css else self.stylesheets[:2]
        if sheets != self.stylesheets:
            self.stylesheets = sheets


FIELDS_CSS = """
.subjects { display: grid; gap: 12px; grid-template-columns: minmax(0, 1fr); }
h2 .muted { font-weight: 400; font-size: 13px; }
.fields th, .fields td { vertical-align: middle; padding: 4px 5px; }
.fields tbody th { font-weight: 400; color: var(--ink); font-size: 13px; min-width: 190px; text-align: left; }
.fields tbody th .muted { display: block; font-size: 12px; line-height: 1.3; }
.fields thead th { white-space: nowrap; }
.fields .sign { white-space: nowrap; font-size: 13px; }
.fields input { width: 68px; text-align: right; padding: 3px 6px; min-height: 30px;
  font-variant-numeric: tabular-nums; }
.fields input::placeholder { color: var(--muted); opacity: .75; }
.fields input:invalid { border-color: var(--bad); border-width: 2px; }
.check { border: 0; background: none; padding: 0; min-height: 24px; font-weight: 600; color: var(--accent);
  text-decoration: underline; text-underline-offset: 2px;
  text-decoration-color: color-mix(in srgb, currentColor 45%, transparent); }
.check[aria-pressed=true] { background: none; color: var(--ink); text-decoration: none; border: 0; }
.check[aria-pressed=true]::before { content: "▸ "; }
@media (max-width: 700px) {
  .fields, .fields :is(tbody, tr, th) { display: block; min-width: 0; }
  .fields thead { display: none; }
  .fields tr { padding: 8px 0; border-bottom: 1px solid var(--line); display: grid; gap: 4px 8px;
    grid-template-columns: repeat(4, minmax(0, 1fr)); }
  .fields tbody th { grid-column: 1 / -1; border: 0; padding: 0; position: static; }
  .fields td { display: block; border: 0; padding: 0; } .fields td.none { display: none; }
  .fields td.sign { grid-column: 1 / -1; } .fields td.sign::before { content: "passes if "; color: var(--muted); }
  .sizes td.sign::before { content: "counts from "; }
  .fields td[data-head]:not([data-head=""])::before { content: attr(data-head); display: block; font-size: 12px;
    color: var(--muted); }
  .fields input { width: 100%; min-height: 36px; font-size: 16px; scroll-margin-top: 150px; }
}
"""
