"""Who is in front of the page, and what that person may do."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ANYBODY", "NOBODY", "ONLOOKER", "ROLES", "Person"]

ROLES: dict[str, str] = {
    "viewer": "sees everything and changes nothing",
    "reviewer": "sees everything and takes decisions",
}


@dataclass(frozen=True)
class Person:
    """Somebody who uses the page.

    Attributes
    ----------
    name : str
        Name of the account; empty without accounts.
    role : str
        Key of `ROLES`.
    signed_in : bool
        Whether the name was proven.
    """

    name: str
    role: str
    signed_in: bool

    @property
    def may_decide(self) -> bool:
        """Whether this person may take decisions."""
        return self.role == "reviewer"


ANYBODY = Person("", "reviewer", False)
"""Whoever sits at this machine, where there are no accounts."""

ONLOOKER = Person("", "viewer", False)
"""Whoever comes over the network to a server that was opened to it without accounts."""

NOBODY = Person("", "viewer", False)
"""Who was signed in when the page was opened, and is no more."""
