"""Limits: every limit can be moved; what would follow for all past verdicts and alerts is seen before it is saved."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakMethod

import panel as pn

from calib.errors import CalibError, DecisionConflict, ProfileError
from calib.limits import Key, keys
from calib.profile import Profile
from monitor.address import View
from monitor.collect import Snapshot
from monitor.collect_limits import Past, history_of
from monitor.components.html import Html, Safe
from monitor.components.turns import PageHandle
from monitor.compute_limits import Edits, Outlook, outlook, shown, strip
from monitor.desk_limits import may_save, save_limits, signed_name, typed_name
from monitor.pages.limits_flips import BAR_CSS, FLIPS_CSS, bar_html, flips_html, strip_html, summary_html
from monitor.pages.limits_markup import FIELDS_CSS, Fields, field_id, fields_html, numbers_of
from monitor.pages.limits_versions import VERSIONS_CSS, head_html, save_html, versions_html
from monitor.plots.limit_strip import LimitStrip, axis_end
from monitor.session import Session

__all__ = ["build"]

FIRST = "limits.flat.gradient.max"

# What was typed stays while other pages are looked at; a session takes it along when it ends.
_kept: WeakKeyDictionary[Session, Edits] = WeakKeyDictionary()


def build(session: Session) -> Limits:
    """Return the page for a session."""
    return Limits(session)


class Limits:
    """All limits of the current version, and what would come of others."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.keys: dict[str, Callable[[], None]] = {}
        handle = PageHandle()
        # Whoever closes the page is not held back by what is still being read.
        self._ready = partial(_tell, WeakMethod(self._arrived), handle) if handle.live else None
        self._past: Past | None = None
        self._outlook: Outlook | None = None
        self._wrong: list[str] = []
        self._form: dict[str, str] = {"reason": "", "name": typed_name(session)}
        self._said: Safe | str = ""
        self._chosen, self._drawn = FIRST, 0
        self._form_key: tuple[Any, ...] = ()
        known = keys(session.snapshot.profile)
        act: dict[str, Callable[[str], None]] = {
            "go": session._follow,
            "choose": self._choose,
            "slide": self._slide,
            "undo": self._undo,
            "reset": lambda _: self._reset(),
            "rebase": lambda _: self._rebase(),
            "reason": lambda v: self._form.update(reason=v),
            "name": lambda v: self._form.update(name=v),
            "save": lambda _: self._save(),
        }
        setters = {f"set:{name}": partial(self._set, name) for name in known}
        self._head = Html(on=act, css=VERSIONS_CSS)
        self._fields = Fields(on={**act, **setters}, css=FIELDS_CSS)
        self._summary = Html(on=act, css=FLIPS_CSS)
        self._bar = Html(css=BAR_CSS)
        self._control = Html(on=act, css=FLIPS_CSS)
        self._flips = Html(on=act, css=FLIPS_CSS)
        self._save_form = Html(on=act, css=VERSIONS_CSS)
        self._versions = Html(on=act, css=VERSIONS_CSS)
        self._strip = LimitStrip(session.theme, session.snapshot.bands)
        self._figure = pn.Column(
            self._control,
            pn.pane.Bokeh(self._strip.figure, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
            stylesheets=[_CARD_CSS],
        )
        right = pn.Column(
            self._summary,
            self._figure,
            self._save_form,
            self._flips,
            sizing_mode="stretch_width",
            stylesheets=[_RIGHT_CSS],
        )
        left = pn.Column(self._bar, self._fields, sizing_mode="stretch_width", stylesheets=[_LEFT_CSS])
        self.panel = pn.Column(
            self._head,
            pn.Row(left, right, sizing_mode="stretch_width", stylesheets=[_BOTH_CSS]),
            self._versions,
            sizing_mode="stretch_width",
            stylesheets=[_PAGE_CSS],
        )

    # What is there ---------------------------------------------------------------------------------------------

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the page to the archive as it is."""
        past = history_of(self._session.collector).past(snapshot.revision, self._ready)
        fresh = past is not self._past
        self._past = past
        if fresh or not self._drawn:
            if not self._edits.texts and past is not None:
                self._edits.seen = past.latest.number
            self._draw_fields()
        self._weigh()

    def beat(self) -> None:
        """Ask again for past verdicts that could not be read, or of which no word came."""
        revision = self._session.snapshot.revision
        if self._past is None or self._past.revision < revision:
            found = history_of(self._session.collector).past(revision, self._ready)
            if found is not self._past:
                self.show(self._session.view, self._session.snapshot)

    def _arrived(self) -> None:
        if history_of(self._session.collector).problem:
            self._weigh()  # says so; the next beat asks again
        else:
            self.show(self._session.view, self._session.snapshot)

    @property
    def _edits(self) -> Edits:
        seen = self._past.latest.number if self._past is not None else 0
        return _kept.setdefault(self._session, Edits(seen))

    @property
    def _seen(self) -> Profile:
        """The version that is changed."""
        if self._past is not None:
            for v in self._past.versions:
                if v.number == self._edits.seen:
                    return v.profile
            return self._past.latest.profile
        return self._session.snapshot.profile

    @property
    def _key(self) -> Key:
        known = keys(self._seen)
        return known.get(self._chosen) or next(iter(known.values()))

    # What the user does ----------------------------------------------------------------------------------------

    def _set(self, name: str, text: str) -> None:
        key = keys(self._seen).get(name)
        if key is None:
            return
        if key.check is not None:
            # The mark beside its name is left until the fields are drawn again: nobody loses a keystroke over it.
            self._chosen = name
        self._change(key, text)

    def _slide(self, text: str) -> None:
        key = self._key
        low, high = self._ends
        digits = max(0, 2 - int(f"{(high - low) or 1.0:e}".split("e")[1]))
        self._change(key, shown(round(float(text), digits)), sliding=True)
        self._draw_fields()

    def _change(self, key: Key, text: str, *, sliding: bool = False) -> None:
        if not self._edits.texts and self._past is not None:
            self._edits.seen = self._past.latest.number
        self._said = ""
        self._edits.put(key, text, self._seen)
        self._weigh(sliding=sliding)

    def _choose(self, name: str) -> None:
        self._chosen = name
        self._draw_fields()
        self._weigh()

    def _undo(self, name: str) -> None:
        self._edits.texts.pop(name, None)
        self._draw_fields()
        self._weigh()

    def _reset(self) -> None:
        self._edits.texts.clear()
        if self._past is not None:
            self._edits.seen = self._past.latest.number
        self._said = ""
        self._draw_fields()
        self._weigh()

    def _rebase(self) -> None:
        if self._past is not None:
            self._edits.seen = self._past.latest.number
        self._said = ""
        self._draw_fields()
        self._weigh()

    def _save(self) -> None:
        values, wrong = self._edits.values()
        if wrong or not self._edits.texts:
            return
        try:
            number = save_limits(
                self._session, values, self._form["reason"], self._form.get("name", ""), self._edits.seen
            )
        except CalibError as error:
            self._said = Safe('<p class="told bad" role="alert">✕ {}</p>').format(_sentence(error))
            if isinstance(error, DecisionConflict):
                self._look_again()
            self._weigh()
            return
        self._edits.texts.clear()
        self._form["reason"] = ""
        self._said = Safe(
            '<p class="told good" role="status">✓ Version {} is saved; verdicts are being settled under it.</p>'
        ).format(number)
        self._edits.seen = number
        self._look_again()
        self._draw_fields()
        self._weigh()

    def _look_again(self) -> None:
        """Show at once what was just saved, by whomever."""
        self._session.collector.refresh()
        self._session.poll()

    # What is shown ---------------------------------------------------------------------------------------------

    def _draw_fields(self) -> None:
        self._drawn += 1
        self._fields.html = str(fields_html(self._seen, self._edits, self._chosen, self._drawn))

    def _weigh(self, *, sliding: bool = False) -> None:
        """Work out what would follow, and show it."""
        past, edits = self._past, self._edits
        values, wrong = edits.values()
        new: Profile = self._seen
        seen: Outlook | None = None
        if past is not None and not wrong:
            try:
                found = outlook(past, values, self._seen)
                new = found.new
                seen = found if edits.texts or past.base != past.latest.profile else None
            except ProfileError as error:
                wrong = list(error.faults)
        problem = history_of(self._session.collector).problem
        with pn.io.hold():
            profile = self._session.snapshot.profile
            self._head.html = str(head_html(profile.name, profile.title, past))
            self._summary.html = str(summary_html(past, edits, seen, wrong, problem))
            self._bar.html = str(bar_html(seen, wrong))
            self._flips.html = str(flips_html(seen, self._session.href))
            self._flips.visible = bool(self._flips.html)
            self._versions.html = str(versions_html(past))
            self._mark(wrong)
            self._show_strip(past, new, sliding=sliding)
            self._draw_form(past, changed=bool(edits.texts), sound=not wrong)

    def _draw_form(self, past: Past | None, *, changed: bool, sound: bool) -> None:
        about: dict[str, Any] = {
            "changed": changed,
            "sound": sound,
            "may": may_save(self._session),
            "signed": signed_name(self._session),
            "said": self._said,
            "overtaken": past is not None and changed and past.latest.number != self._edits.seen,
        }
        key = (None if past is None else past.latest.number, *about.values())
        # Drawn anew only where it says something else: a reason may be being typed.
        if key != self._form_key:
            self._form_key = key
            self._save_form.html = str(save_html(past, self._form, **about))

    def _mark(self, wrong: list[str]) -> None:
        numbers = numbers_of(self._seen)
        bad = {w.split(": ", 1)[0] for w in wrong}
        moved = [field_id(numbers, n) for n in self._edits.texts if n in numbers and n not in bad]
        self._fields.mark(moved, [field_id(numbers, n) for n in bad if n in numbers])

    def _show_strip(self, past: Past | None, new: Profile, *, sliding: bool) -> None:
        found = None if past is None else strip(past, self._key, past.base, new)
        self._figure.visible = found is not None
        if found is None:
            return
        # While the hand is on the slider neither it nor the axis moves away under it.
        if not sliding:
            self._ends = axis_end(found)
            self._control.html = str(strip_html(self._key, found, self._ends))
        self._strip.show(found, self._ends)

    _ends: tuple[float, float] = (0.0, 1.0)


def _sentence(error: CalibError) -> str:
    return "; ".join(error.faults) if isinstance(error, ProfileError) else str(error)


def _tell(method: WeakMethod[Callable[[], None]], handle: PageHandle) -> None:
    """Let a page look again, from another thread."""
    act = method()
    if act is not None:
        handle.tell(act)


_PAGE_CSS = ":host { gap: 12px; }"
_BOTH_CSS = """
:host { display: grid; grid-template-columns: minmax(0, 1.25fr) minmax(0, 1fr); gap: 12px; align-items: start; }
@media (max-width: 1100px) { :host { grid-template-columns: minmax(0, 1fr); } }
"""
_LEFT_CSS = ":host { min-width: 0; }"
_RIGHT_CSS = """
:host { min-width: 0; gap: 12px; }
@media (min-width: 1101px) { :host { position: sticky; top: 56px; max-height: calc(100vh - 64px); overflow-y: auto; } }
@media (max-width: 1100px) { :host { order: -1; } }
"""
_CARD_CSS = """
:host { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
"""
