"""What every answer and every request of the server goes through."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from bokeh.protocol.exceptions import ProtocolError
from bokeh.util.token import check_token_signature, get_session_id
from panel.io.server import DocHandler, WSHandler
from tornado.httputil import HTTPHeaders
from tornado.ioloop import PeriodicCallback
from tornado.web import HTTPError, OutputTransform, RequestHandler

from monitor.access.gate import Gate
from monitor.access.tickets import Ticket

__all__ = ["Front", "Guarded", "SecurityHeaders", "Socket", "safe_next"]

# The page is drawn by scripts that the server sends; they build functions from text and import modules from blobs, so
# that much must be allowed. Nothing may be fetched from, sent to, or framed by another site.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: {sockets}; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)


LOOK_MS = 1000

LOGIN_PATHS = ("/login", "/logout")


class SecurityHeaders(OutputTransform):
    """Adds to every answer what tells browsers to be careful with it."""

    def __init__(self, request: Any) -> None:
        host = request.host if all(c.isalnum() or c in ".-:[]" for c in request.host) else ""
        # Older browsers do not count the websocket of the same host as 'self'.
        self._sockets = f"ws://{host} wss://{host}" if host else ""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Complete the headers; what a page of its own set is kept."""
        headers.setdefault("Content-Security-Policy", PAGE_POLICY.format(sockets=self._sockets))
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "SAMEORIGIN"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers.pop("Server", None)
        return status_code, headers, chunk


def safe_next(target: str | None) -> str:
    """Return where to go after signing in: an address on this server, or the page's own."""
    if not target or len(target) > 2000 or not target.startswith("/"):
        return "/"
    # Browsers drop control characters and take a backslash for a slash: //somewhere is another server.
    if target[1:2] in ("/", "\\") or "\\" in target or any(not c.isprintable() for c in target):
        return "/"
    parts = urlsplit(target)
    return "/" if parts.scheme or parts.netloc or parts.path.startswith(LOGIN_PATHS) else target


def check_host(handler: Any) -> None:
    """Refuse a request that was meant for a server of another name.

    A site anywhere can point its own name at this machine; its pages would then be of the same origin as this server.
    """
    if not handler.application.auth_provider.accepts_host(handler.request.host):
        raise HTTPError(403, reason="Not a name of this server")


class Guarded(RequestHandler):
    """A request that needs somebody who is signed in, unless the class says otherwise.

    Attributes
    ----------
    open : bool
        Whether strangers are answered too.
    """

    open = False

    @property
    def gate(self) -> Gate:
        """The server's gate."""
        gate: Gate = self.application.auth_provider  # type: ignore[attr-defined]
        return gate

    def get_current_user(self) -> Ticket | str | None:
        """Return the ticket; without accounts something that stands for everybody."""
        return self.gate.ticket(self) if self.gate.closed else "everybody"

    async def prepare(self) -> None:
        """Check name and ticket before anything is done."""
        check_host(self)
        if not self.open and self.current_user is None:
            self.refuse()

    def refuse(self) -> None:
        """Answer somebody who is not signed in."""
        raise HTTPError(401, reason="Sign in first")

    def from_another_site(self) -> bool:
        """Whether a browser says that a page of another site sent this request."""
        origin = self.request.headers.get("Origin")
        if origin is None:
            return self.request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")
        host = urlsplit(origin).netloc.lower()
        # A proxy in front may call this server by another name than the browser calls the proxy.
        known = bool(self.gate.hosts) and self.gate.accepts_host(host)
        return not host or (host != self.request.host.lower() and not known)


class Front(DocHandler):  # type: ignore[misc]  # Panel's classes have no types
    """The page's address; answers a HEAD as well, without building a session for it."""

    async def prepare(self) -> None:
        """Take no session that the request names: it would be another window's."""
        check_host(self)
        named = {"bokeh-session-id", "bokeh-token"} & set(self.request.arguments)
        if named or "Bokeh-Session-Id" in self.request.headers:
            raise HTTPError(403, reason="Sessions are not shared")
        await super().prepare()

    def head(self) -> None:
        """Say that there is a page."""
        self.set_header("Content-Type", "text/html")


class Socket(WSHandler):  # type: ignore[misc]  # Panel's classes have no types
    """The page's websocket: for whoever opened the page, and as long as that one is signed in."""

    _watch: PeriodicCallback | None = None

    async def prepare(self) -> None:
        """Refuse strangers, and sessions of somebody else, before the connection is made."""
        check_host(self)
        await super().prepare()
        if not self._finished and not self._own():
            self.set_status(403)
            self.finish()

    def _own(self) -> bool:
        """Whether the session that the connection asks for is one of this server's, and of the same sign-in."""
        app = self.application
        try:
            token = self.request.headers.get("Sec-WebSocket-Protocol", "").split(",")[1].strip()
            if not check_token_signature(token, secret_key=app.secret_key, signed=app.sign_sessions):
                return False
            if not app.auth_provider.closed:
                return True
            session = self.application_context.get_session(get_session_id(token))
        except ProtocolError:
            return True  # none yet: it will be made for this request
        except Exception:  # no token, or one that is none
            return False
        context = session.document.session_context
        return context is None or getattr(context.request, "ticket", None) == self.current_user

    def _admitted(self) -> bool:
        """Whether the visitor is signed in still; if not, end the connection."""
        gate: Gate = self.application.auth_provider
        if gate.admits(self.current_user if gate.closed else None):
            return True
        self.close(4401, "signed out")
        return False

    def open(self, *args: Any, **kwargs: Any) -> Any:
        """Look every second whether this is still somebody who is signed in, as long as the connection lasts."""
        if self.application.auth_provider.closed:
            # What Panel sends goes past any method of ours, so the connection itself is ended.
            self._watch = PeriodicCallback(self._look, LOOK_MS)
            self._watch.start()
        return super().open(*args, **kwargs)

    def _look(self) -> None:
        self._admitted()

    def on_close(self) -> None:
        """Look no more."""
        if self._watch is not None:
            self._watch.stop()
        super().on_close()

    async def on_message(self, fragment: str | bytes) -> None:
        """Take a message from somebody who is signed in still."""
        if self._admitted():
            await super().on_message(fragment)
