"""A client of the server without a browser: what comes back of one request, cookies kept by hand."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from browser_window import Served

from monitor.access.accounts import Accounts
from monitor.access.passwords import Cost

PASSWORDS = {"anna": "correct horse anna", "victor": "correct horse victor"}
CHEAP = Cost(n=16, r=1, p=1)


def make_accounts(folder: Path) -> Accounts:
    """Accounts of a reviewer, Anna, and a viewer, Victor, whose passwords are cheap to check."""
    accounts = Accounts(folder / "accounts.json", CHEAP)
    accounts.add("anna", "reviewer", PASSWORDS["anna"])
    accounts.add("victor", "viewer", PASSWORDS["victor"])
    return accounts


class Closed(Served):
    """A server that lets in only who has an account."""

    def __init__(self, root: Path, port: int, accounts: Accounts) -> None:
        super().__init__(root, port)
        self.accounts = accounts
        self.options = ("--accounts", str(accounts.path))


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    cookies: list[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Web:
    """One visitor of a server."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.url.split("/")[2]

    def ask(self, path: str, method: str = "GET", body: str | bytes | None = None, **headers: str) -> Reply:
        """Send a request; underscores in names of headers stand for hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent.setdefault("Cookie", "; ".join(f"{n}={v}" for n, v in self.cookies.items()))
        connection = HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, body=body, headers=sent)
            reply = connection.getresponse()
            found = Reply(reply.status, dict(reply.headers), reply.headers.get_all("Set-Cookie") or [], reply.read())
        finally:
            connection.close()
        for line in found.cookies:
            name, value = line.split(";")[0].split("=", 1)
            self.cookies[name] = value.strip('"')
        return found

    def form(self, path: str, fields: dict[str, str], **headers: str) -> Reply:
        """Send a form as a page of this server would."""
        headers.setdefault("Origin", f"http://{self.host}")
        headers.setdefault("Content_Type", "application/x-www-form-urlencoded")
        return self.ask(path, "POST", urlencode(fields), **headers)

    def sign_in(self, name: str, password: str = "", target: str = "/") -> Reply:
        """Fill in the form and send it."""
        page = self.ask(f"/login?{urlencode({'next': target})}").text
        (token,) = re.findall(r'name="_xsrf" value="([^"]+)"', page)
        (next_,) = re.findall(r'name="next" value="([^"]*)"', page)
        fields = {"_xsrf": token, "name": name, "password": password or PASSWORDS.get(name, "wrong"), "next": next_}
        return self.form("/login", {n: v.replace("&amp;", "&") for n, v in fields.items()})


def raw(url: str, request: bytes) -> bytes:
    """Send bytes as they are; return the beginning of the answer, empty if the connection is closed without one."""
    host, port = url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        try:
            connection.sendall(request)
            return connection.recv(4096)
        except (ConnectionError, TimeoutError):
            return b""


def upgrade(web: Web, token: str, origin: str = "", **headers: str) -> int:
    """Ask for a websocket; return the status."""
    return web.ask(
        "/ws",
        Connection="Upgrade",
        Upgrade="websocket",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        Sec_WebSocket_Version="13",
        Sec_WebSocket_Protocol=f"bokeh, {token}",
        Origin=origin or f"http://{web.host}",
        **headers,
    ).status


def token_in(page: str) -> str:
    """Return the key of the session that was made for a page."""
    (token,) = re.findall(r'"token":"([^"]+)"', page)
    return str(token)
