"""Signing in and out."""

from __future__ import annotations

import hmac
import logging

from tornado.ioloop import IOLoop
from tornado.web import HTTPError

from calib.errors import CalibError
from monitor.access.accounts import Account
from monitor.access.attempts import patience_words
from monitor.access.guard import Guarded, safe_next
from monitor.access.login_markup import CSS, login_page, logout_page, notice_page
from monitor.access.plain_page import policy
from monitor.access.tickets import COOKIE

__all__ = ["Login", "Logout"]

_log = logging.getLogger(__name__)

MOST_WAITING = 16
"""Sign-ins whose passwords are looked at or wait for it; more are asked to come back."""


class PlainHandler(Guarded):
    """A page without scripts, for whoever comes."""

    open = True

    def say(self, page: str) -> None:
        """Send a page that nothing outside it may touch, and that no cache keeps."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", policy(CSS))
        self.set_header("Cache-Control", "no-store")
        self.finish(page)

    @property
    def chosen(self) -> str | None:
        """The theme that was chosen on the page."""
        return self.get_cookie("vesper-theme")

    @property
    def secure(self) -> bool:
        """Whether cookies travel over TLS alone."""
        return self.gate.settings.https or self.request.protocol == "https"

    def admit(self, cookie: str, target: str) -> None:
        """Hand out a session's cookie and go on."""
        days = self.gate.settings.days
        self.set_cookie(COOKIE, cookie, expires_days=days, httponly=True, samesite="Lax", secure=self.secure, path="/")
        self.redirect(target, status=303)

    def write_error(self, status_code: int, **_: object) -> None:
        """Say what is wrong, in the same look."""
        words = {403: "This request did not come from a page of this server, or the page was open for too long."}
        self.say(
            notice_page(
                self._reason if status_code != 403 else "That did not work",
                words.get(status_code, f"The server answered {status_code}."),
                "/login",
                "To the sign-in page",
                self.chosen,
            )
        )


class Login(PlainHandler):
    """The page on which one signs in."""

    waiting = 0

    def get(self) -> None:
        """Show the form; who is signed in goes on."""
        target = safe_next(self.get_query_argument("next", None))
        if not self.gate.closed or self.current_user is not None:
            self.redirect(target)
            return
        self._show(target)

    head = get

    async def post(self) -> None:
        """Look at name and password."""
        if not self.gate.closed:
            raise HTTPError(404)
        if self.from_another_site():
            raise HTTPError(403)
        self.check_xsrf_cookie()
        name = self.get_body_argument("name", "").strip()
        password = self.get_body_argument("password", "", strip=False)
        target = safe_next(self.get_body_argument("next", None))
        if Login.waiting >= MOST_WAITING:
            self.set_status(503)
            self.set_header("Retry-After", "5")
            self._show(target, name, "Too many people sign in at once. Try again in a few seconds.")
            return
        address = self.request.remote_ip or ""
        if wait := self.gate.attempts.begin(name, address):
            self.set_status(429)
            self.set_header("Retry-After", str(int(wait) + 1))
            self._show(target, name, patience_words(wait))
            return
        account = await self._check(name, password)
        if account is None:
            _log.warning("sign-in refused: name %.64r, from %s", name, address)
            self.set_status(401)
            self._show(target, name, "Name or password is wrong.")
            return
        self.gate.attempts.succeeded(name, address)
        _, cookie = self.gate.sign_in(account)
        _log.info("%s signed in, from %s", account.name, address)
        self.admit(cookie, target)

    async def _check(self, name: str, password: str) -> Account | None:
        accounts = self.gate.accounts
        assert accounts is not None
        Login.waiting += 1
        try:
            return await IOLoop.current().run_in_executor(self.gate.hashing, accounts.check, name, password)
        finally:
            Login.waiting -= 1

    def _show(self, target: str, name: str = "", fault: str = "") -> None:
        accounts, oauth = self.gate.accounts, self.gate.settings.oauth
        try:
            passwords = accounts is not None and any(a.hash for a in accounts.all().values())
        except CalibError:
            passwords, fault = True, fault or "Nobody can sign in now: the server cannot read its accounts."
        token = self.xsrf_token.decode()
        self.say(
            login_page(
                token=token,
                target=target,
                name=name[:64],
                fault=fault,
                provider=oauth.provider if oauth else "",
                passwords=passwords or oauth is None,
                chosen=self.chosen,
            )
        )


class Logout(PlainHandler):
    """The page on which one signs out."""

    def get(self) -> None:
        """Ask, for a link alone must not sign anybody out."""
        ticket = self.gate.ticket(self)
        if ticket is None or self.gate.tickets is None:
            self.redirect("/login" if self.gate.closed else "/")
            return
        self.say(logout_page(self.gate.person(ticket), self.gate.tickets.form_token(ticket), self.chosen))

    head = get

    def post(self) -> None:
        """Sign out: the ticket is void from now on, whoever has a copy."""
        ticket = self.gate.ticket(self)
        if ticket is None or self.gate.tickets is None:
            self.redirect("/login", status=303)
            return
        token = self.get_body_argument("token", "")
        if self.from_another_site() or not hmac.compare_digest(
            token.encode(), self.gate.tickets.form_token(ticket).encode()
        ):
            raise HTTPError(403)
        self.gate.tickets.revoke(ticket)
        self.clear_cookie(COOKIE, path="/", httponly=True, samesite="Lax", secure=self.secure)
        self.say(
            notice_page("Signed out", "Windows that were open are closed to you as well.", "/login", "Sign in again")
        )
