"""The gate: who a request comes from, for the page, its websocket, and everything else the server answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bokeh.server.auth_provider import AuthProvider

from calib.errors import CalibError
from monitor.access.accounts import Account, Accounts, secret_beside
from monitor.access.attempts import Attempts
from monitor.access.person import ANYBODY, NOBODY, ONLOOKER, Person
from monitor.access.settings import AccessSettings
from monitor.access.tickets import COOKIE, Ticket, Tickets

__all__ = ["Gate"]

LOGIN, LOGOUT = "/login", "/logout"


class Gate(AuthProvider):  # type: ignore[misc]  # Bokeh's classes have no types
    """Knows who is signed in; without accounts everybody is the same somebody.

    Parameters
    ----------
    settings : AccessSettings
    hosts : iterable of str
        Hosts with ports by which browsers may call this server; empty for any.
    local : bool
        Whether the server can be reached from this machine alone.
    """

    def __init__(
        self, settings: AccessSettings | None = None, hosts: Iterable[str] = (), *, local: bool = True
    ) -> None:
        self.settings = settings = settings or AccessSettings()
        self.hosts = frozenset(h.lower() for h in hosts)
        self.accounts: Accounts | None = None
        self.tickets: Tickets | None = None
        self.attempts = Attempts()
        # Two at a time: each takes a processor for a quarter of a second, and pages are to stay quick.
        self.hashing = ThreadPoolExecutor(2, thread_name_prefix="sign-in")
        self._anonymous = ANYBODY if local else ONLOOKER
        if settings.accounts is not None:
            self.accounts = Accounts(settings.accounts)
            if not self.accounts.all() and settings.oauth is None:
                raise CalibError(
                    f"{settings.accounts} holds no account; add one with `monitor account add NAME --role reviewer "
                    f"--accounts {settings.accounts}`"
                )
            self.tickets = Tickets(secret_beside(settings.accounts), settings.days)
        elif settings.oauth is not None:
            raise CalibError("signing in with another provider needs a file of accounts for the roles: --accounts FILE")
        super().__init__()

    # Who asks ----------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether people have to sign in."""
        return self.tickets is not None

    def ticket(self, handler: Any) -> Ticket | None:
        """Return the valid ticket that a request carries."""
        if self.tickets is None:
            return None
        found = self.tickets.read(handler.get_cookie(COOKIE))
        return found if found is not None and self.admits(found) else None

    def admits(self, ticket: Ticket | None) -> bool:
        """Whether a ticket is good now, by the accounts as they are now."""
        if self.tickets is None:
            return True
        return ticket is not None and not self.tickets.revoked(ticket) and self._person(ticket) is not None

    def person(self, ticket: Ticket | None) -> Person:
        """Return who holds a ticket, with the present role; `NOBODY` if it is void by now."""
        if self.tickets is None:
            return self._anonymous
        if ticket is None or self.tickets.revoked(ticket):
            return NOBODY
        return self._person(ticket) or NOBODY

    def _person(self, ticket: Ticket) -> Person | None:
        assert self.accounts is not None
        if ticket.generation.startswith("@"):
            return self.vouched(ticket.name, ticket.generation[1:])
        account = self.accounts.find(ticket.name)
        if account is None or account.generation != ticket.generation:
            return None
        return Person(account.name, account.role, True)

    def vouched(self, name: str, provider: str) -> Person | None:
        """Return who another provider says somebody is; None if that one may not in.

        An account with a password belongs to whoever knows it: the same name elsewhere is somebody else's.
        """
        oauth = self.settings.oauth
        if oauth is None or provider != oauth.provider or self.accounts is None:
            return None
        account = self.accounts.find(name)
        if account is None:
            return Person(name, "viewer", True) if oauth.strangers and self._readable() else None
        return None if account.hash else Person(account.name, account.role, True)

    def _readable(self) -> bool:
        # A file that cannot be read makes nobody a stranger who may look.
        try:
            assert self.accounts is not None
            self.accounts.all()
        except CalibError:
            return False
        return True

    def sign_in(self, account: Account) -> tuple[Ticket, str]:
        """Return a ticket for an account, and its cookie."""
        assert self.tickets is not None
        return self.tickets.issue(account.name, account.generation)

    def accepts_host(self, host: str) -> bool:
        """Whether a request is meant for this server: another name would be somebody's who points it here."""
        host = host.lower()
        return not self.hosts or (host if _has_port(host) else f"{host}:80") in self.hosts or host in self.hosts

    # What Bokeh asks ---------------------------------------------------------------------------------------------

    @property
    def get_user(self) -> Callable[[Any], Ticket | None] | None:
        """The function that says who a request of the page or its websocket comes from."""
        if not self.closed_by_settings:
            return None

        def user(handler: Any) -> Ticket | None:
            found = self.ticket(handler)
            # The session that is built for this request finds it there.
            handler.request.ticket = found
            return found

        return user

    @property
    def closed_by_settings(self) -> bool:
        """Whether accounts were asked for; known before they are read."""
        return self.settings.accounts is not None

    @property
    def get_user_async(self) -> None:
        """Not used."""
        return None

    @property
    def login_url(self) -> str | None:
        """Where to sign in."""
        return LOGIN if self.closed_by_settings else None

    @property
    def get_login_url(self) -> None:
        """Not used."""
        return None

    @property
    def login_handler(self) -> None:
        """Not used: the server's list of addresses has it."""
        return None

    @property
    def logout_url(self) -> str | None:
        """Where to sign out."""
        return LOGOUT if self.closed_by_settings else None

    @property
    def logout_handler(self) -> None:
        """Not used."""
        return None


def _has_port(host: str) -> bool:
    return host.rpartition("]")[2].count(":") == 1
