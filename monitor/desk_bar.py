"""The bar at the foot of the pages of a night: is it signed off, its notes, what waits, the buttons of the routine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.collect import Snapshot
from monitor.components.download import Download
from monitor.components.html import Html, Safe, join

if TYPE_CHECKING:
    from monitor.session import Session

__all__ = ["DeskBar", "notes_html", "signature_words"]

PAGES = ("review", "night", "flats", "scans", "scan")


def signature_words(snapshot: Snapshot, night: str) -> tuple[str, str, str]:
    """Return the state of a night's signature, its sign, and what it says in words."""
    signed = snapshot.signed.get(night)
    if signed is None:
        return "unknown", "○", "not signed off"
    when = f"{signed.by}, {signed.time[:10]} {signed.time[11:16]} UTC"
    if signed.changed:
        return "watch", "▲", f"changed since it was signed off by {when}"
    return "good", "✓", f"signed off by {when}"


def notes_html(snapshot: Snapshot, night: str) -> Safe:
    """Return what was remarked on a night, by whom and when; nothing if nobody has said anything."""
    lines = [
        Safe("<li>note by {}, {} {} UTC: <q>{}</q></li>").format(
            n["who"], n["time"][:10], n["time"][11:16], n["reason"]
        )
        for n in snapshot.notes(night)
    ]
    if not lines:
        return Safe("")
    # Long remarks are read by scrolling: the bar must not cover the page.
    words = '<ul class="notes" aria-label="notes on {}" tabindex="0" data-scroll="notes">{}</ul>'
    return Safe(words).format(night, join(lines))


class DeskBar:
    """The bar, as the foot of a page.

    Attributes
    ----------
    html : Html
        What is shown.
    download : Download
        Hands the report to the browser.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        acts = ("sign-off", "note", "accept", "reject", "unsigned", "keys", "recalibrate", "report")
        self.html = Html(on={a: self._presser(a) for a in acts}, css=BAR_CSS, css_classes=["desk"])
        self.download = Download()

    def _presser(self, act: str):  # type: ignore[no-untyped-def]
        return lambda _: self._session.routine(act)

    def show(self, page: str, night: str) -> None:
        """Bring the bar to a page and night."""
        session = self._session
        self.html.visible = page in PAGES and bool(night)
        if self.html.visible:
            self.html.html = str(_bar(session, night))

    def save_report(self, night: str) -> None:
        """Make the report of a night and hand it to the browser."""
        from monitor.report import report_html

        text = report_html(self._session.collector, self._session.snapshot, night)
        self.download.save(f"vesper-{night}.html", text, "text/html")


def _bar(session: Session, night: str) -> Safe:
    snapshot, desk = session.snapshot, session.desk
    state, sign, words = signature_words(snapshot, night)
    parts = [
        Safe('<span class="sig {0}" role="status"><b aria-hidden="true">{1}</b> {2}</span>').format(state, sign, words)
    ]
    waiting = [n for n in snapshot.unsigned if n != night]
    if waiting:
        n = len(waiting)
        parts.append(
            Safe(
                '<button id="desk-unsigned" data-act="unsigned" title="key u">{} more night{} to sign off ▸</button>'
            ).format(f"{n:,}", "" if n == 1 else "s")
        )
    if at_work := desk.jobs.at_work:
        parts.append(Safe('<span class="muted" role="status">… {}</span>').format(at_work))
    elif desk.jobs.problem:
        parts.append(
            Safe('<span class="bad" role="alert">✕ what follows could not be worked out: {}</span>').format(
                desk.jobs.problem
            )
        )
    may = session.person.may_decide
    if snapshot.n_stale:
        button = Safe('<button id="desk-recalibrate" data-act="recalibrate">Calibrate again</button>') if may else ""
        parts.append(
            Safe('<span class="watch">▲ {} reads of scans wait for calibration</span>{}').format(
                f"{snapshot.n_stale:,}", button
            )
        )
    buttons = []
    if may:
        for act, title, key in (
            ("accept", "Accept …", "a"),
            ("reject", "Reject …", "x"),
            ("note", "Note …", "n"),
        ):
            buttons.append(
                Safe('<button id="desk-{0}" data-act="{0}" title="key {2}">{1}</button>').format(act, title, key)
            )
    buttons.append(Safe('<button id="desk-report" data-act="report">Report</button>'))
    if may:
        again = "Sign again" if state == "good" else "Sign off"
        main = "" if state == "good" else "main"
        buttons.append(
            Safe('<button id="desk-sign-off" class="{}" data-act="sign-off" title="key s">{}</button>').format(
                main, again
            )
        )
    buttons.append(Safe('<button id="desk-keys" data-act="keys" aria-label="keys" title="key ?">?</button>'))
    return Safe('<div class="bar">{}{}<span class="grow"></span>{}</div>').format(
        notes_html(snapshot, night), join(parts), join(buttons)
    )


BAR_CSS = """
:host { position: sticky; bottom: 0; z-index: 12; margin-top: 12px; }
.bar { display: flex; gap: 6px 10px; align-items: center; flex-wrap: wrap; padding: 6px 12px; background: var(--panel);
  border: 1px solid var(--line); border-radius: 10px; box-shadow: 0 -2px 12px rgb(0 0 0 / .08); font-size: 13px; }
.bar button { padding: 2px 10px; min-height: 30px; font-size: 13px; }
.bar .main { background: var(--accent); color: var(--panel); border-color: var(--accent); font-weight: 600; }
.grow { flex: 1; }
.sig { font-weight: 600; }
.notes { flex-basis: 100%; max-height: 72px; margin: 0; padding: 2px 0 2px 18px; overflow-y: auto; }
.notes q { white-space: pre-line; overflow-wrap: anywhere; }
/* On a phone it would cover a third of the page: there it is the page's end. */
@media (max-width: 700px) { :host { position: static; } .bar { padding: 6px 8px; } .grow { display: none; }
  .sig { flex-basis: 100%; } }
@media print { :host { display: none; } }
"""
