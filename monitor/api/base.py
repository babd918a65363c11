"""What every address of the API has in common: who may ask, and how errors are told."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import logging
import secrets
from base64 import b64decode
from collections import OrderedDict
from typing import Any
from urllib.parse import quote

from tornado.ioloop import IOLoop
from tornado.web import HTTPError

from monitor.access.attempts import patience_words
from monitor.access.guard import Guarded
from monitor.access.tickets import Ticket
from monitor.api.answers import json_bytes

__all__ = ["Api"]

_log = logging.getLogger(__name__)


class Api(Guarded):
    """An address of the API: read-only, its errors are a sentence in JSON."""

    _wait_s = 1

    async def prepare(self) -> None:
        """Let in who is signed in, or says name and password with the request as programs do."""
        if self.request.method not in ("GET", "HEAD"):
            raise HTTPError(405)
        if self.gate.closed and self.gate.ticket(self) is None and "Authorization" in self.request.headers:
            await self._by_password()
        await super().prepare()

    def refuse(self) -> None:
        """Show people the way in; tell programs."""
        if "text/html" in self.request.headers.get("Accept", "") and self.request.method == "GET":
            self.redirect(f"/login?next={quote(self.request.uri or '/', safe='')}")
            return
        raise HTTPError(401, "sign in on the page, or send name and password of an account (HTTP Basic)")

    async def _by_password(self) -> None:
        known = _known_credentials.get(self.request.headers["Authorization"])
        if known is not None and self.gate.admits(known):
            self.current_user = known
            return
        name, password = self._credentials()
        address = self.request.remote_ip or ""
        if wait := self.gate.attempts.begin(name, address):
            self._wait_s = int(wait) + 1
            raise HTTPError(429, patience_words(wait))
        assert self.gate.accounts is not None
        assert self.gate.tickets is not None
        check = self.gate.accounts.check
        account = await IOLoop.current().run_in_executor(self.gate.hashing, check, name, password)
        if account is None:
            _log.warning("API: sign-in refused: name %.64r, from %s", name, address)
            raise HTTPError(401, "name or password is wrong")
        self.gate.attempts.succeeded(name, address)
        self.current_user, _ = self.gate.sign_in(account)
        _known_credentials.put(self.request.headers["Authorization"], self.current_user)

    def _credentials(self) -> tuple[str, str]:
        kind, _, coded = self.request.headers["Authorization"].partition(" ")
        try:
            name, colon, password = b64decode(coded, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name, colon, password = "", "", ""
        if kind.lower() != "basic" or not colon:
            raise HTTPError(400, "the header Authorization is Basic, with name and password of an account")
        return name, password

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what is wrong."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        words = error.log_message if isinstance(error, HTTPError) else None
        # Set here, for an error drops what was set before.
        if status_code == 401:
            self.set_header("WWW-Authenticate", 'Basic realm="Vesper", charset="UTF-8"')
        if status_code == 429:
            self.set_header("Retry-After", str(self._wait_s))
        if status_code == 405:
            self.set_header("Allow", "GET, HEAD")
            words = "the API is read-only: GET or HEAD"
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(json_bytes({"status": status_code, "error": words or self._reason}))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Keep what a client did wrong out of the log."""
        if not isinstance(value, HTTPError):
            super().log_exception(typ, value, tb)


class _Known:
    """Names and passwords that were right a moment ago, so that a program need not wait for each of its requests.

    Kept as a keyed hash; a ticket stands for each, and is void as soon as the account changes.
    """

    def __init__(self, most: int = 64) -> None:
        self._key, self._most = secrets.token_bytes(32), most
        self._tickets: OrderedDict[bytes, Ticket] = OrderedDict()

    def get(self, header: str) -> Ticket | None:
        return self._tickets.get(self._digest(header))

    def put(self, header: str, ticket: Any) -> None:
        self._tickets[self._digest(header)] = ticket
        while len(self._tickets) > self._most:
            self._tickets.popitem(last=False)

    def _digest(self, header: str) -> bytes:
        return hmac.new(self._key, header.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


_known_credentials = _Known()
