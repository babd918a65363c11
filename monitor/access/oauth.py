"""Signing in with another site: Panel's providers do the talking, our own ticket is what comes of it.

The provider's tokens are used once, to learn who it is, and not kept.
"""

from __future__ import annotations

import json
import logging
import secrets
from base64 import urlsafe_b64encode
from typing import Any

import panel as pn
from panel.auth import AUTH_PROVIDERS
from tornado.web import HTTPError, RequestHandler

from calib.errors import CalibError
from monitor.access.gate import Gate
from monitor.access.guard import check_host, safe_next
from monitor.access.login_markup import CSS, notice_page
from monitor.access.plain_page import policy
from monitor.access.settings import OAUTH, PROVIDERS, OAuth
from monitor.access.tickets import COOKIE

__all__ = ["oauth_handler"]

_log = logging.getLogger(__name__)


def oauth_handler(settings: OAuth) -> type[RequestHandler]:
    """Return the handler of ``/login/oauth`` for a provider, and tell Panel how to reach it.

    Raises
    ------
    CalibError
        If there is no such provider.
    """
    if settings.provider not in PROVIDERS:
        raise CalibError(f"there is no provider {settings.provider!r} (there are {', '.join(PROVIDERS)})")
    pn.config.oauth_key = settings.key
    pn.config.oauth_secret = settings.secret
    pn.config.oauth_extra_params = dict(settings.extra)
    base: Any = AUTH_PROVIDERS[settings.provider]
    return type("OAuthLogin", (_Vouched, base), {"_login_endpoint": OAUTH, "_settings": settings})


class _Vouched:
    """What we do differently from Panel's handlers: where it leads, what is kept, and how faults are told."""

    _settings: OAuth
    _cookie = ""

    def prepare(self: Any) -> None:
        check_host(self)

    @property
    def _redirect_uri(self: Any) -> str:
        return self._settings.redirect or f"{self.request.protocol}://{self.request.host}{OAUTH}"

    def get_state(self: Any) -> str:
        state = {"state_id": secrets.token_hex(16), "next_url": safe_next(self.get_query_argument("next", None))}
        return urlsafe_b64encode(json.dumps(state).encode()).decode("ascii")

    def set_secure_cookie(self: Any, name: str, value: Any, **options: Any) -> None:
        """Turn what Panel would keep into our ticket: a name, and nothing of the provider's."""
        secure = self.application.auth_provider.settings.https or self.request.protocol == "https"
        if name in ("access_token", "id_token", "refresh_token", "oauth_expiry"):
            return
        if name != "user":
            # State and code of the flow: the provider's page sends the browser back with a link, so not Strict.
            self.set_signed_cookie(name, value, expires_days=0.02, httponly=True, samesite="Lax", secure=secure)
            return
        gate: Gate = self.application.auth_provider
        who = str(value)[:64]
        person = gate.vouched(who, self._settings.provider)
        if person is None or gate.tickets is None:
            _log.warning("sign-in refused: %s vouches for %.64r, who has no account here", self._settings.provider, who)
            raise HTTPError(403, "no account")
        _, cookie = gate.tickets.issue(person.name, f"@{self._settings.provider}")
        days = gate.settings.days
        self.set_cookie(COOKIE, cookie, expires_days=days, httponly=True, samesite="Lax", secure=secure, path="/")
        _log.info("%s signed in with %s", person.name, self._settings.provider)

    def write_error(self: Any, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, HTTPError) and error.log_message == "no account":
            words = "You have no account here. Whoever runs this server can add one for you."
        else:
            words = "The other site did not let you in, or took too long. Try again."
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", policy(CSS))
        self.set_header("Cache-Control", "no-store")
        chosen = self.get_cookie("vesper-theme")
        self.finish(notice_page("Not signed in", words, "/login", "To the sign-in page", chosen))
