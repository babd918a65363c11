"""What stands around every page: the rail with the pages, and the bar with the night."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from monitor.access.person import ROLES
from monitor.address import PAGES, View, search
from monitor.components.html import Safe, join

if TYPE_CHECKING:
    from monitor.session import Session

__all__ = ["MISSED_CSS", "RAIL_CSS", "TOP_CSS", "age_words", "missed_html", "rail_html", "top_html", "work_words"]

# Outlines drawn for this page, 24 × 24, in the colour of the text.
_ICONS = {
    "review": "M4 13l5 5L20 6",
    "trends": "M3 18l6-7 4 4 8-10",
    "flats": "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
    "night": "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z",
    "scans": "M4 6h16M4 12h16M4 18h16",
    "scan": "M4 4h16v16H4zM4 9.3h16M4 14.6h16",
    "limits": "M6 4v16M12 4v16M18 4v16M3 9h6M9 15h6M15 8h6",
    "log": "M6 3h9l4 4v14H6zM9 11h7M9 15h7",
}


def rail_html(session: Session) -> Safe:
    """Return the rail: one link a page."""
    view = session.view
    links = []
    for page, title in PAGES.items():
        # A page keeps night and band, nothing else: what a filter or frame means differs from page to page.
        target = View(page=page, night=view.night, band=view.band, scan=view.scan if page == "scan" else None)
        current = Safe(' aria-current="page"') if page == view.page else ""
        links.append(
            Safe(
                '<a data-nav id="rail-{0}" href="{1}"{2} title="{3}"><svg viewBox="0 0 24 24" aria-hidden="true">'
                '<path d="{4}"/></svg><span>{3}</span></a>'
            ).format(page, search(target), current, title, _ICONS[page])
        )
    return Safe('<div class="rail">{}</div>').format(join(links))


def top_html(session: Session) -> Safe:
    """Return the bar: night, calendar, age of the newest data, who is signed in, theme."""
    snapshot, night = session.snapshot, session.night
    if not snapshot.nights:
        words = '<div class="bar"><b>Vesper</b><span class="muted">the archive holds no night yet</span>{}</div>'
        return Safe(words).format(_person_html(session))
    first, last = snapshot.nights[0], snapshot.nights[-1]
    age, stale = age_words(last, snapshot.profile.site.utc_offset_hours)
    label = "dark" if not session.theme.dark else "light"
    work = work_words(snapshot.activity.since)
    return Safe(
        '<div class="bar"><span class="brand">Vesper</span>'
        '<span class="field">'
        '<button id="previous" data-act="step" data-value="-1" aria-label="previous night" {0}>◀</button>'
        '<label class="sr" for="night">night</label>'
        '<input id="night" type="date" data-act="night" value="{1}" min="{2}" max="{3}">'
        '<button id="next" data-act="step" data-value="1" aria-label="next night" {4}>▶</button></span>'
        '<span class="age {5}">{6}</span>{10}<span class="grow"></span>'
        '<span class="muted instrument">{7}</span>{11}'
        '<button id="theme" data-act="theme" aria-label="switch to {8}">{9}</button></div>'
    ).format(
        "disabled" if night == first else "",
        night,
        first,
        last,
        "disabled" if night == last else "",
        "stale" if stale else "",
        age,
        snapshot.profile.name,
        label,
        "☾" if label == "dark" else "☀",
        Safe('<span class="work" role="status"><i aria-hidden="true"></i>{}</span>').format(work) if work else "",
        _person_html(session),
    )


def missed_html(asked: str, shown: str, nights: tuple[str, ...]) -> Safe:
    """Return that a night has no data, and which is shown in its place."""
    place = "the newest night" if shown == nights[-1] else "the last night with data before it"
    return Safe('<p class="missed" role="status">? No data of <b>{}</b>. Shown is <b>{}</b>, {}.</p>').format(
        asked, shown, place
    )


def _person_html(session: Session) -> Safe:
    """Return who is signed in, in which role, and the way out; nothing where nobody signs in and all may decide."""
    person = session.person
    if not person.signed_in:
        if person.may_decide:
            return Safe("")
        return Safe('<span class="person" title="Nobody signs in here, and nobody decides."><i>read only</i></span>')
    return Safe(
        '<form class="person" method="post" action="logout"><span class="who" title="{0}, {1}: {2}">'
        '<b>{0}</b> <i>{1}</i></span><input type="hidden" name="token" value="{3}">'
        '<button id="sign-out" type="submit">Sign out</button></form>'
    ).format(person.name, person.role, ROLES[person.role], session.sign_out)


def work_words(since: str) -> str:
    """Return that a run is at work, and since when (UTC, ISO); empty for an empty text."""
    if not since:
        return ""
    today = datetime.now(UTC).date().isoformat()
    return f"run at work since {'' if since[:10] == today else since[:10] + ' '}{since[11:16]} UTC"


def age_words(last: str, utc_offset_hours: float) -> tuple[str, bool]:
    """Return how old the newest night is in words, and whether that is too old for a daily routine."""
    now = datetime.now(timezone(timedelta(hours=utc_offset_hours)))
    days = (now.date() - date.fromisoformat(last)).days
    # A night is named by its evening: the one that ended this morning is yesterday's, last night.
    if days <= 1:
        return f"newest data: {last}, {'tonight' if days <= 0 else 'last night'}", False
    return f"▲ newest data: {last}, {days:,} nights old", True


RAIL_CSS = """
:host { height: 100%; }
.html { height: 100%; }
.rail { height: 100%; background: var(--panel); border-right: 1px solid var(--line); display: flex;
  flex-direction: column; padding-top: 8px; gap: 2px; }
.rail a { display: flex; flex-direction: column; align-items: center; gap: 2px; padding: 8px 2px; color: var(--muted);
  font-size: 11px; border-left: 3px solid transparent; text-decoration: none; }
.rail a:hover { color: var(--ink); }
.rail a[aria-current] { color: var(--accent); border-left-color: var(--accent); font-weight: 600; }
.rail svg { width: 22px; height: 22px; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round;
  stroke-linejoin: round; }
@media (max-width: 700px) {
  .rail { flex-direction: row; justify-content: space-between; border-right: 0; border-top: 1px solid var(--line);
    padding: 0 2px; }
  .rail a { flex: 1; padding: 6px 0; font-size: 10px; border-left: 0; border-top: 3px solid transparent; }
  .rail a[aria-current] { border-top-color: var(--accent); }
}
"""

MISSED_CSS = """
.missed { margin: 0 0 10px; padding: 8px 14px; background: var(--panel); border: 1px solid var(--watch);
  border-radius: 10px; }
"""

TOP_CSS = """
:host { height: 100%; }
.html { height: 100%; }
.bar { height: 100%; display: flex; align-items: center; gap: 16px; padding: 0 16px; background: var(--panel);
  border-bottom: 1px solid var(--line); }
.brand { font-weight: 700; letter-spacing: .02em; }
.grow { flex: 1; }
.age { color: var(--muted); } .age.stale { color: var(--watch); }
.work { color: var(--ink); white-space: nowrap; }
.work i { display: inline-block; width: 9px; height: 9px; margin-right: 6px; border-radius: 50%;
  background: var(--accent); animation: beat 1.6s ease-in-out infinite; }
.person { display: flex; flex: none; align-items: center; gap: 10px; white-space: nowrap; }
.who { flex: none; max-width: 260px; overflow: hidden; text-overflow: ellipsis; }
.person b { font-weight: 600; } .person i { font-style: normal; color: var(--muted); }
@keyframes beat { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { .work i { animation: none; } }
@media (max-width: 1000px) {
  .bar { gap: 10px; } .instrument { display: none; }
  .age { font-size: 12px; line-height: 1.25; } .person button { padding: 4px 8px; }
  .who { display: grid; font-size: 12px; line-height: 1.25; max-width: 120px; } .who > * { overflow: hidden;
    text-overflow: ellipsis; }
}
@media (max-width: 700px) {
  .bar { flex-wrap: wrap; gap: 2px 8px; padding: 4px 8px; align-content: center; }
  .age { order: 9; flex-basis: 100%; font-size: 12px; }
  .person { order: 11; font-size: 12px; gap: 8px; margin-left: auto; }
  .person button { min-height: 28px; padding: 1px 8px; font-size: 12px; }
  .age:has(~ .person) { flex: 1 1 0; min-width: 150px; }
  .work { order: 10; font-size: 12px; } .age:has(+ .work) { flex-basis: auto; }
}
@media (max-width: 360px) { .brand { display: none; } }
"""
