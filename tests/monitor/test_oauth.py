"""Signing in with another site: a small one of our own, which vouches for whomever it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from small_camera import Night
from web_client import Closed, Reply, Web, make_accounts

from monitor.access.tickets import COOKIE


class Elsewhere(ThreadingHTTPServer):
    """Another site; ``who`` is the one that is signed in there."""

    who = "octo"
    seen: list[dict[str, list[str]]]


class _Pages(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.seen.append(parse_qs(body))
        self._say({"access_token": "token-of-the-other-site", "token_type": "bearer"})

    def do_GET(self) -> None:
        self._say({"login": self.server.who})

    def _say(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    site = Elsewhere(("127.0.0.1", 0), _Pages)
    site.seen = []
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield site
    site.shutdown()
    site.server_close()


@pytest.fixture(scope="module")
def closed(faulty: Night, elsewhere: Elsewhere, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    from monitor.server import free_port

    accounts = make_accounts(tmp_path_factory.mktemp("oauth"))
    accounts.add("octo", "reviewer", None)
    served = Closed(faulty.root, free_port(), accounts)
    there = f"http://127.0.0.1:{elsewhere.server_port}"
    extra = {"AUTHORIZE_URL": "/authorize", "TOKEN_URL": "/token", "USER_URL": "/user"}
    served.options += ("--oauth-provider", "generic", "--oauth-key", "vesper", "--oauth-extra", "USER_KEY=login")
    for name, path in extra.items():
        served.options += ("--oauth-extra", f"{name}={there}{path}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VESPER_OAUTH_SECRET", "told-nobody")
        served.start()
    yield served
    served.stop()


def set_out(web: Web, target: str = "/?page=log") -> dict[str, list[str]]:
    """Leave for the other site; return what it is told."""
    reply = web.ask(f"/login/oauth?{urlencode({'next': target})}")
    assert reply.status == 302
    assert urlsplit(reply.headers["Location"]).path == "/authorize"
    return parse_qs(urlsplit(reply.headers["Location"]).query)


def come_back(web: Web, state: str) -> Reply:
    return web.ask(f"/login/oauth?{urlencode({'code': 'a-code', 'state': state})}")


def test_who_is_known_comes_in_with_the_role_of_the_account(closed: Closed, elsewhere: Elsewhere) -> None:
    elsewhere.who = "Octo"
    web = Web(closed.url)
    assert "Sign in with your organisation" in web.ask("/login").text
    told = set_out(web)
    assert told["redirect_uri"] == [f"{closed.url}login/oauth"]
    assert "told-nobody" not in str(told)
    reply = come_back(web, told["state"][0])
    assert (reply.status, reply.headers["Location"]) == (302, "/?page=log")
    assert web.ask("/api/v1/nights").status == 200
    assert "octo</b>, reviewer" in web.ask("/logout").text
    assert elsewhere.seen[-1]["client_secret"] == ["told-nobody"]
    kept = {c.split("=")[0]: c for c in reply.cookies if "01 Jan 1970" not in c and '=""' not in c}
    assert set(kept) == {COOKIE}, "nothing of the other site is kept"
    assert "HttpOnly" in kept[COOKIE]
    assert "SameSite=Lax" in kept[COOKIE]
    closed.accounts.set_role("octo", "viewer")
    assert "octo</b>, viewer" in web.ask("/logout").text
    closed.accounts.set_role("octo", "reviewer")


@pytest.mark.parametrize("who", ["stranger", "anna", "<b>"])
def test_who_is_not_known_stays_out_also_under_a_name_that_has_a_password(
    closed: Closed, elsewhere: Elsewhere, who: str
) -> None:
    elsewhere.who = who
    web = Web(closed.url)
    reply = come_back(web, set_out(web)["state"][0])
    assert reply.status == 403
    assert "You have no account here" in reply.text
    assert web.ask("/api/v1/nights").status == 401


def test_a_way_back_that_was_not_begun_here_is_refused(closed: Closed, elsewhere: Elsewhere) -> None:
    elsewhere.who = "octo"
    mine, other = Web(closed.url), Web(closed.url)
    state = set_out(other)["state"][0]
    assert come_back(mine, state).status == 401
    set_out(mine)
    assert come_back(mine, state).status == 401
    assert mine.ask("/api/v1/nights").status == 401


def test_it_leads_to_no_other_place(closed: Closed, elsewhere: Elsewhere) -> None:
    elsewhere.who = "octo"
    for target in ("//evil.example", "https://evil.example", "/\\evil.example"):
        web = Web(closed.url)
        assert come_back(web, set_out(web, target)["state"][0]).headers["Location"] == "/"
