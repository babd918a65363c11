"""Saving limits: the one place through which the page writes a version of the profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calib.archive.versions import save_version, versions
from calib.errors import DecisionConflict, DecisionError
from calib.limits import changed_profile

__all__ = ["may_save", "save_limits", "signed_name", "typed_name"]


def may_save(session: Any) -> bool:
    """Whether whoever looks may save limits, by the role of this moment."""
    return bool(session.person.may_decide)


def signed_name(session: Any) -> str:
    """Return the proven name of whoever looks; empty where nobody is signed in."""
    person = session.person
    return str(person.name) if person.signed_in else ""


def typed_name(session: Any) -> str:
    """Return the name that was typed last, or that of whoever runs the server."""
    desk = getattr(session, "desk", None)
    return str(desk.name) if desk is not None else ""


def save_limits(session: Any, changes: Mapping[str, float | None], reason: str, name: str, seen: int) -> int:
    """Save changed limits as a new version of the profile, and let verdicts follow.

    Parameters
    ----------
    session : Session
        Whose person is asked at this moment: a hidden button is no lock.
    changes : mapping
        Key → new value, on top of the version that was seen; None takes a band's or read's own limit away.
    reason, name : str
        Why and by whom; the name counts only where nobody is signed in.
    seen : int
        The version that was changed.

    Returns
    -------
    int
        Number of the new version.

    Raises
    ------
    DecisionError
        If this person may not decide, or who or why is missing.
    DecisionConflict
        If another version was saved meanwhile.
    ProfileError
        If the changed profile has faults.
    """
    person = session.person
    if not person.may_decide:
        raise DecisionError("viewers see everything and change nothing: ask a reviewer to save these limits")
    archive = session.collector.archive
    base = next((v for v in versions(archive) if v.number == seen), None)
    if base is None:
        raise DecisionConflict(f"the archive has no version {seen} any more: load the page again")
    who = person.name if person.signed_in else name
    number = save_version(archive, changed_profile(base.profile, changes), who=who, reason=reason, seen=seen)
    desk = getattr(session, "desk", None)
    if desk is not None:
        if not person.signed_in:
            desk.name = name.strip()
        desk.jobs.settle()
    return number
