"""Tickets: the signed cookie that says who signed in, checked against the accounts on every request."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from tornado.web import create_signed_value, decode_signed_value

__all__ = ["COOKIE", "Ticket", "Tickets"]

COOKIE = "vesper-session"
MOST_REVOKED = 10_000


@dataclass(frozen=True)
class Ticket:
    """What a session's cookie says.

    Attributes
    ----------
    name : str
        Of the account, or of somebody another provider vouched for.
    generation : str
        Of the account when it signed in; empty for one that has no account.
    number : str
        Tells one sign-in from another.
    """

    name: str
    generation: str
    number: str


class Tickets:
    """Makes and reads the cookies of a server.

    Parameters
    ----------
    secret : str
        Signs them.
    days : float
        How long one is good.
    """

    def __init__(self, secret: str, days: float) -> None:
        self._secret, self.days = secret, days
        self._revoked: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self, name: str, generation: str) -> tuple[Ticket, str]:
        """Return a new ticket and the cookie's value."""
        ticket = Ticket(name, generation, secrets.token_hex(8))
        content = json.dumps([ticket.name, ticket.generation, ticket.number])
        return ticket, create_signed_value(self._secret, COOKIE, content).decode("ascii")

    def read(self, value: str | None) -> Ticket | None:
        """Return the ticket of a cookie; None if it is forged, too old, or was given back."""
        if not value or len(value) > 2000:
            return None
        content = decode_signed_value(self._secret, COOKIE, value, max_age_days=self.days)
        if content is None:
            return None
        try:
            ticket = Ticket(*(str(part) for part in json.loads(content)))
        except (ValueError, TypeError):
            return None
        return None if self.revoked(ticket) else ticket

    def revoke(self, ticket: Ticket) -> None:
        """Make a ticket void, also for who copied it; remembered while the server runs and the cookie lasts."""
        now = time.time()
        with self._lock:
            self._revoked[ticket.number] = now
            while self._revoked and (
                len(self._revoked) > MOST_REVOKED or next(iter(self._revoked.values())) < now - self.days * 86400
            ):
                self._revoked.popitem(last=False)

    def revoked(self, ticket: Ticket) -> bool:
        """Whether a ticket was given back."""
        return ticket.number in self._revoked

    def form_token(self, ticket: Ticket) -> str:
        """Return what a form of this session carries, which no other site can know."""
        return hmac.new(self._secret.encode(), f"form {ticket.number}".encode(), hashlib.sha256).hexdigest()[:32]
