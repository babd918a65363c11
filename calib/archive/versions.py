"""Versions of the profile: which limits were in force since when, by whom and why. Append-only, counted from 1."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.camera import refuse_other_camera
from calib.archive.database import Archive, utc_now
from calib.errors import DecisionConflict, DecisionError
from calib.limits import Change, differences, words
from calib.profile import Profile, validate_profile

__all__ = ["PIPELINE", "Version", "replaced_words", "save_version", "versions"]

PIPELINE = "pipeline"
"""Who saved a version that came with a run."""

LONGEST = 2000
"""Characters of a reason."""


@dataclass(frozen=True)
class Version:
    """One version of the archive's profile.

    Attributes
    ----------
    number : int
        Counted from 1.
    time, who, reason : str
        When (UTC, ISO), by whom and why it was saved.
    hash, parent : str
        Of its content, and of that of the version before; empty for the first.
    content : dict
        As it is in the database.
    """

    number: int
    time: str
    who: str
    reason: str
    hash: str
    parent: str
    content: dict[str, Any]

    @cached_property
    def profile(self) -> Profile:
        """The profile."""
        return Profile.model_validate(self.content)

    def changes(self, before: Version) -> tuple[Change, ...]:
        """Return what tells it from another version."""
        return differences(before.profile, self.profile)


def versions(archive: Archive) -> list[Version]:
    """Return all versions, the oldest first; the last one is the current profile."""
    return [_version(r) for r in archive.rows(sa.select(schema.profiles).order_by(schema.profiles.c.version))]


def _version(row: dict[str, Any]) -> Version:
    return Version(
        row["version"], row["time"], row["who"], row["reason"], row["hash"], row["parent"] or "", row["content"]
    )


def _latest(archive: Archive) -> Version | None:
    p = schema.profiles
    rows = archive.rows(sa.select(p).order_by(p.c.version.desc()).limit(1))
    return _version(rows[0]) if rows else None


def save_version(archive: Archive, profile: Profile, *, who: str, reason: str, seen: int) -> int:
    """Make a profile the archive's current one, which the next run without another one uses.

    Parameters
    ----------
    archive : Archive
    profile : Profile
        Validated again before it is kept.
    who, reason : str
        Who saves it and why; neither may be empty.
    seen : int
        The version that this person had in front of him and changed.

    Returns
    -------
    int
        Its number.

    Raises
    ------
    DecisionError
        If who or reason is missing, or it says the same as the version that was seen.
    DecisionConflict
        If another version was saved meanwhile.
    ProfileError
        If the profile has faults.
    """
    who, reason = who.strip(), reason.strip()
    for name, given in (("name of who saves it", who), ("reason", reason)):
        if not given:
            raise DecisionError(f"a version of the profile needs a {name}")
        if len(given) > LONGEST:
            raise DecisionError(f"a {name} has at most {LONGEST} characters (given: {len(given)})")
    profile = validate_profile(profile.model_dump(mode="json"), profile.name)
    latest = _latest(archive)
    if latest is None:
        raise DecisionError(f"{archive.root} has no profile yet; the first `calib run` brings one")
    if latest.number != seen:
        raise _conflict(latest, seen)
    if latest.hash == profile.hash:
        raise DecisionError(f"nothing differs from version {seen}")
    try:
        number = _append(archive, profile, seen + 1, who, reason, latest.hash)
    except sa.exc.IntegrityError as error:
        overtaken = _latest(archive)
        assert overtaken is not None
        raise _conflict(overtaken, seen) from error
    archive.announce()
    return number


def _conflict(latest: Version, seen: int) -> DecisionConflict:
    return DecisionConflict(
        f"version {latest.number} was saved by {latest.who} at {latest.time[:16].replace('T', ' ')} UTC, after you "
        f"looked at version {seen}; look at it and save your changes on top of it"
    )


def register(archive: Archive, profile: Profile) -> int:
    """Make the profile of a run the current one, as a new version unless it is that already; return its number.

    Raises
    ------
    ArchiveError
        If it is the profile of another camera.
    """
    # Also where it is the current one already: an older program may have taken it.
    refuse_other_camera(archive, profile)
    while True:
        latest = _latest(archive)
        if latest is not None and latest.hash == profile.hash:
            return latest.number
        if latest is None:
            number, reason, parent = 1, "the first profile of this archive", None
        else:
            number, parent = latest.number + 1, latest.hash
            reason = f"a run was given another profile: {words(differences(latest.profile, profile))}"
        try:
            return _append(archive, profile, number, PIPELINE, reason[:LONGEST], parent)
        except sa.exc.IntegrityError:  # somebody saved one at the same moment
            continue


def replaced_words(archive: Archive, profile: Profile) -> str:
    """Return that a profile takes the place of the current version, and what differs; empty if it does not.

    Raises
    ------
    ArchiveError
        If it cannot, as the profile of another camera.
    """
    latest = _latest(archive)
    if latest is None or latest.hash == profile.hash:
        return ""
    refuse_other_camera(archive, profile)
    changed = words(differences(latest.profile, profile))
    return f"this profile replaces version {latest.number} of the archive ({latest.who}: {latest.reason}): {changed}"


def _append(archive: Archive, profile: Profile, number: int, who: str, reason: str, parent: str | None) -> int:
    row = {
        "version": number,
        "hash": profile.hash,
        "name": profile.name,
        "content": profile.model_dump(mode="json"),
        "time": utc_now(),
        "who": who,
        "reason": reason,
        "parent": parent,
    }
    with archive.begin() as connection:
        connection.execute(sa.insert(schema.profiles).values(**row))
    return number
