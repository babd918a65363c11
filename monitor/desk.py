"""The desk: the one place through which the page writes what a person decides.

Every decision is asked for in a dialog, with what follows from it where anything does, and its role is checked here,
at the moment of writing: a hidden button is no lock.
"""

from __future__ import annotations

import getpass
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from calib.archive.decision_rules import validated
from calib.archive.decisions import active_decisions, decide, latest_decision, move_period
from calib.consequences import Consequences, what_would_follow
from calib.errors import CalibError, DecisionConflict
from monitor.components.dialog import Dialog
from monitor.components.turns import PageHandle
from monitor.desk_choices import Choice
from monitor.desk_markup import DESK_CSS, Asked, ask_html, keys_html
from monitor.jobs import Jobs, jobs_of

if TYPE_CHECKING:
    from monitor.session import Session

__all__ = ["Desk", "keys_of"]

Form = dict[str, str]
Row = dict[str, Any]

# Kinds of decisions after which verdicts are settled anew.
_RULING = ("override", "period", "dismiss", "undo")


class Desk:
    """What one session may decide.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._handle = PageHandle()
        self.jobs: Jobs = jobs_of(session.collector.root)
        self.name = _user()
        self._asked: Asked | None = None
        self._make: Callable[[Form], Row] = dict
        self._preview: tuple[Any, Consequences | str] | None = None
        self.dialog = Dialog(
            on={"close": lambda _: self.close(), "confirm": self._confirm, "preview": self._look_ahead}, css=DESK_CSS
        )

    # Asking ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Put the question away."""
        self._asked = self._preview = None
        self.dialog.close()

    def _ask(self, asked: Asked, make: Callable[[Form], Row], *, follows: bool = False) -> None:
        person = self._session.person
        if not person.may_decide:
            words = "Viewers see everything and change nothing. Ask a reviewer, or sign in as one."
            asked = Asked(asked.title, words, told=True)
        self._asked, self._make, self._preview = asked, make, None
        asked.name = None if person.signed_in else self.name
        asked.seen = latest_decision(self._session.collector.archive)
        if follows and not asked.told:
            asked.follows = "Working out what follows …"
        self.dialog.ask(str(ask_html(asked)))
        if follows and not asked.told:
            self._look_ahead({**asked.begun})

    def override(self, title: str, choices: list[Choice], chosen: str, value: str) -> None:
        """Ask whether a product is to be accepted or rejected."""
        by_key = {c.key: c for c in choices}

        def make(form: Form) -> Row:
            choice = by_key.get(form.get("what", ""))
            if choice is None:
                raise CalibError("choose what is to be decided on")
            return {"kind": "override", **choice.decision, "value": form.get("value", "")}

        if not choices:
            self._tell(title, "Nothing was made of this night that could be accepted or rejected.")
            return
        begun = {"what": chosen if chosen in by_key else choices[0].key, "value": value}
        asked = Asked(
            title,
            "Against its checks, or with them: from then on the verdict is yours.",
            choices=[(c.key, c.words) for c in choices],
            begun=begun,
            button="Record the decision",
        )
        self._ask(asked, make, follows=True)

    def period(self, night: str, band: str, why: str = "") -> None:
        """Ask whether a hardware period begins on a night."""

        def make(form: Form) -> Row:
            return {"kind": "period", "night": form.get("night", ""), "band": form.get("band") or None}

        bands = [("", "all bands"), *((b, b) for b in self._session.snapshot.bands)]
        asked = Asked(
            "Start a hardware period",
            "Neither canonical nor reference ever looks across its edge." + (f" {why}" if why else ""),
            bands=bands,
            begun={"night": night, "band": band},
            night=True,
            button="Start the period",
        )
        self._ask(asked, make, follows=True)

    def move(self, decision: Row) -> None:
        """Ask on which night a hardware period begins instead."""

        def make(form: Form) -> Row:
            return {"kind": "move", "night": form.get("night", ""), "period": decision["id"], "band": decision["band"]}

        asked = Asked(
            "Move a hardware period",
            f"It begins on {decision['night']} ({decision['band'] or 'all bands'}; decision {decision['id']}).",
            begun={"night": decision["night"]},
            night=True,
            button="Move the period",
        )
        self._ask(asked, make, follows=True)

    def dismiss(self, night: str, band: str) -> None:
        """Ask whether the proposal of a hardware period is to be dismissed."""
        asked = Asked(
            "Dismiss the proposal",
            f"No hardware period is to begin on {night} in {band}. The rejected nights stay rejected.",
            button="Dismiss it",
        )
        self._ask(asked, lambda form: {"kind": "dismiss", "night": night, "band": band})

    def alert(self, kind: str, alert: Row) -> None:
        """Ask whether an alert is to be acknowledged or resolved."""
        key = {n: alert[n] for n in ("night", "band", "product", "region", "metric")}
        if kind == "acknowledge":
            asked = Asked(
                "Acknowledge the alert",
                f"{alert['text']}. It stays on the list, as known.",
                expires=True,
                button="Acknowledge it",
            )
        else:
            still = "" if alert["over"] else " It is still there: should a later night show it again, it opens again."
            asked = Asked("Resolve the alert", f"{alert['text']}.{still}", button="Resolve it")
        self._ask(asked, lambda form: {"kind": kind, **key, "expires": form.get("expires") or None})

    def note(self, night: str) -> None:
        """Ask for a remark on a night."""
        asked = Asked(
            "Note", f"A remark on {night}, for everybody to read on its pages and in the log.", button="Keep the note"
        )
        self._ask(asked, lambda form: {"kind": "note", "night": night})

    def undo(self, decision: Row) -> None:
        """Ask whether a decision is to be taken back."""
        what = " ".join(str(decision[n]) for n in ("kind", "night", "band", "product", "read", "value") if decision[n])
        asked = Asked(
            f"Undo decision {decision['id']}",
            f"{what}, by {decision['who']}: “{decision['reason']}”. It stays in the log, as undone.",
            button="Undo it",
        )
        follows = decision["kind"] in ("override", "period")
        self._ask(asked, lambda form: {"kind": "undo", "undoes": decision["id"]}, follows=follows)

    def sign_off(self, night: str) -> None:
        """Sign a night off; where somebody is signed in and nothing is odd, without a question."""
        # Of the tables on screen; should the archive have moved on, the signature is refused.
        digest = self._session.snapshot.digests.get(night)
        odd = self._oddities(night)
        asked = Asked(
            f"Sign off {night}",
            "Signed with your name and the hash of what is shown now." + (f" {odd}" if odd else ""),
            button="Sign off",
            reason_needed=False,
        )

        def make(form: Form) -> Row:
            return {"kind": "sign-off", "night": night, "digest": digest}

        if self._session.person.signed_in and not odd and self._session.person.may_decide:
            self._asked, self._make = asked, make
            asked.seen = latest_decision(self._session.collector.archive)
            self._confirm({})
            return
        self._ask(asked, make)

    def _oddities(self, night: str) -> str:
        """Return in words what speaks against signing a night unseen."""
        snapshot = self._session.snapshot
        words = []
        if any(n == night for n, _, _ in snapshot.activity.waiting):
            words.append("raw files of this night wait still")
        if (snapshot.scans.of(night)["stale"] != "").any():
            words.append("some of its scans need to be calibrated again")
        return ("Mind: " + ", and ".join(words) + ".") if words else ""

    def recalibrate(self) -> None:
        """Ask whether all scans that wait are to be calibrated again."""
        n = self._session.snapshot.n_stale
        if not n:
            self._tell("Calibrate again", "No scan waits.")
            return
        asked = Asked(
            "Calibrate again",
            f"{n:,} reads of scans are not what they would be under the decisions that stand. They are calibrated "
            "again in the background; final frames are written for those that have them.",
            button="Calibrate them",
            reason=False,
        )
        self._ask(asked, lambda form: {"kind": "recalibrate"})

    def show_keys(self, keys: list[tuple[str, str]]) -> None:
        """Say which keys there are."""
        self._asked = None
        self.dialog.ask(str(keys_html(keys)))

    def _tell(self, title: str, words: str) -> None:
        self._asked = None
        self.dialog.ask(str(ask_html(Asked(title, words, told=True))))

    # What follows ------------------------------------------------------------------------------------------------

    def _look_ahead(self, form: Form) -> None:
        """Work out in a thread of its own what would follow from what the form says now."""
        asked = self._asked
        if asked is None or asked.follows is None:
            return
        asked.begun = {**asked.begun, **{k: v for k, v in form.items() if k in ("what", "value", "night", "band")}}
        asked.follows = "Working out what follows …"
        self.dialog.redraw(str(ask_html(asked)))
        wanted = dict(asked.begun)

        def work() -> None:
            found = self._consequences(wanted)

            def show() -> None:
                if self._asked is asked and asked.begun == wanted:
                    asked.follows = found
                    self.dialog.redraw(str(ask_html(asked)))

            self._handle.tell(show)

        threading.Thread(target=work, name="what follows", daemon=True).start()

    def _consequences(self, form: Form) -> Consequences | str:
        archive = self._session.collector.archive
        try:
            row = self._make(form)
            profile = archive.current_profile()
            if profile is None:
                return "The archive is empty."
            if row["kind"] == "undo":
                return what_would_follow(archive, profile, without=[row["undoes"]])
            if row["kind"] == "move":
                moved = {"kind": "period", "night": row["night"], "band": row["band"]}
                return what_would_follow(archive, profile, moved, without=[row["period"]])
            checked = validated(archive, {**row, "who": "-", "reason": "-"}, active_decisions(archive))
            return what_would_follow(archive, profile, checked)
        except CalibError as error:
            return str(error)
        except Exception as error:  # a product that cannot be read must not take the question away
            return f"What follows cannot be told: {type(error).__name__}: {error}"

    # Writing -------------------------------------------------------------------------------------------------------

    def _confirm(self, form: Form) -> None:
        asked = self._asked
        if asked is None:
            return
        person = self._session.person
        if not person.may_decide:
            self.close()
            self._tell(asked.title, "You may not decide any more: your role is that of a viewer now.")
            return
        who = person.name if person.signed_in else form.get("who", "").strip()
        try:
            row = self._make(form)
            self._record(row, who, form.get("reason", ""), asked)
        except CalibError as error:
            if isinstance(error, DecisionConflict):
                # What the other one did is on the page before this one decides again.
                asked.seen = latest_decision(self._session.collector.archive)
                self._session.refresh()
            asked.wrong = str(error)
            if self.dialog.html:
                self.dialog.redraw(str(ask_html(asked)))
            else:
                self._tell(asked.title, str(error))
            return
        if not person.signed_in and who:
            self.name = who
        self.close()
        self._session.refresh()

    def _record(self, row: Row, who: str, reason: str, asked: Asked) -> None:
        archive = self._session.collector.archive
        if row["kind"] == "recalibrate":
            self.jobs.recalibrate()
            return
        if row["kind"] == "move":
            move_period(archive, who=who, reason=reason, period=row["period"], night=row["night"], seen=asked.seen)
            self.jobs.settle()
            return
        decide(archive, who=who, reason=reason, seen=asked.seen, **row)
        if row["kind"] in _RULING:
            self.jobs.settle()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a process without a name in the system's table
        return ""


def keys_of(own: list[tuple[str, str]], *, routine: bool) -> list[tuple[str, str]]:
    """Return the keys of every page and of the page on screen, those of the routine where it has a desk."""
    desk = [
        ("s", "sign the night off"),
        ("a", "accept a product"),
        ("x", "reject a product"),
        ("n", "leave a note"),
    ]
    return [
        ("← →", "night before, night after"),
        ("u", "next night that is not signed off"),
        *(desk if routine else []),
        *own,
        ("t", "light or dark"),
        ("1 … 8", "the pages"),
        ("?", "these keys"),
    ]
