"""Every address of the server beside the page's own, and what all requests have in common."""

from __future__ import annotations

import secrets
from typing import Any

from tornado.web import GZipContentEncoding, HTTPError

from monitor.access.gate import LOGIN, LOGOUT, Gate
from monitor.access.guard import Guarded, SecurityHeaders
from monitor.access.login import Login, Logout
from monitor.access.settings import OAUTH, AccessSettings
from monitor.api.handlers import api_addresses
from monitor.api.health import Health
from monitor.source import Source

__all__ = ["addresses", "request_settings"]

Address = tuple[Any, ...]


class Nothing(Guarded):
    """An address that Panel would have and the page does not need."""

    async def prepare(self) -> None:
        """Answer the same to everybody."""
        raise HTTPError(404)


def addresses(source: Source, gate: Gate) -> list[Address]:
    """Return the patterns and handlers of the server."""
    found: list[Address] = [
        (r"/healthz", Health, {"source": source, "supervisor": True}),
        (r"/ready", Health, {"source": source, "supervisor": False}),
        # Panel would import whichever Python module the address names.
        (r"/components/.*", Nothing),
        *api_addresses(source),
    ]
    if gate.closed:
        found += [(LOGIN, Login), (LOGOUT, Logout)]
    if gate.settings.oauth is not None:
        from monitor.access.oauth import oauth_handler

        found.append((OAUTH, oauth_handler(gate.settings.oauth)))
    return found


def request_settings(access: AccessSettings, gate: Gate) -> dict[str, Any]:
    """Return what Bokeh's server is told about requests, cookies and sessions."""
    return {
        "auth_provider": gate,
        # A session's key is made and signed here: nobody can choose one for somebody else, or guess one.
        "sign_sessions": True,
        "secret_key": secrets.token_bytes(32),
        "cookie_secret": secrets.token_hex(32),
        # The page holds what of its request the session is to know; scripts could read a cookie there.
        "include_headers": [],
        "include_cookies": ["vesper-theme"],
        "xsrf_cookie_kwargs": {"httponly": True, "samesite": "Strict", "secure": access.https},
        "xsrf_cookie_name": "vesper-form",
        "use_xheaders": access.behind_proxy,
        "http_server_kwargs": {"max_body_size": 65536, "body_timeout": 30.0, "idle_connection_timeout": 300.0},
        "transforms": [SecurityHeaders, GZipContentEncoding],
    }
