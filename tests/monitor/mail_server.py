"""A mail server and a web server of a test's own, on this machine alone, that behave as badly as they are told to."""

from __future__ import annotations

import base64
import contextlib
import json
import socketserver
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Mails:
    """A mail server.

    Attributes
    ----------
    certificate : Path or None
        Of its TLS, certificate and key in one file.
    implicit : bool
        TLS from the first byte.
    password : str
        Sign-in is asked for if there is one.
    refuse : dict
        Recipient → answer.
    answers : dict
        Command → answers it gives in turn instead of its own; ``None`` is its own, empty hangs up.
    silent : str
        The command after which it says nothing any more.
    got : list of (recipients, message)
    said : list of str
        All commands, as they came.
    """

    certificate: Path | None = None
    implicit: bool = False
    password: str = ""
    refuse: dict[str, str] = field(default_factory=dict)
    answers: dict[str, list[str | None]] = field(default_factory=dict)
    silent: str = ""
    got: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Mails:
        mails = self
        self._end = threading.Event()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                mails.connections += 1
                with contextlib.suppress(OSError, ValueError):
                    _Talk(mails, self.request, mails._end).run()

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def context(self) -> ssl.SSLContext:
        assert self.certificate is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        return context


class _Talk:
    def __init__(self, mails: Mails, socket: Any, end: threading.Event) -> None:
        self._mails, self._socket, self._end = mails, socket, end
        self._secure = False
        self._recipients: list[str] = []

    def run(self) -> None:
        if self._mails.implicit:
            self._wrap()
        try:
            self._file = self._socket.makefile("rb")
            if self._answer("greeting", "220 here"):
                while line := self._file.readline():
                    if not self._command(line.decode("utf-8").strip()):
                        break
        finally:
            self._file.close()
            self._socket.close()

    def _wrap(self) -> None:
        self._socket = self._mails.context().wrap_socket(self._socket, server_side=True)
        self._secure = True

    def _answer(self, command: str, own: str) -> bool:
        if self._mails.silent == command:
            self._end.wait(20)
            return False
        waiting = self._mails.answers.get(command, [])
        other = waiting.pop(0) if waiting else None
        if other == "":
            return False
        self._socket.sendall(((own if other is None else other) + "\r\n").encode())
        return True

    def _command(self, line: str) -> bool:
        mails, word = self._mails, line.split(" ")[0].upper()
        mails.said.append(line)
        if word == "EHLO":
            offers = ["127.0.0.1"]
            if mails.certificate is not None and not self._secure:
                offers.append("STARTTLS")
            if mails.password:
                offers.append("AUTH PLAIN")
            lines = [f"250{'-' if k < len(offers) - 1 else ' '}{o}" for k, o in enumerate(offers)]
            return self._answer("EHLO", "\r\n".join(lines))
        if word == "STARTTLS":
            if self._answer("STARTTLS", "220 go on"):
                self._file.close()
                self._wrap()
                self._file = self._socket.makefile("rb")
                return True
            return False
        if word == "AUTH":
            good = base64.b64decode(line.split(" ")[-1]).decode().split("\0")[-1] == mails.password
            return self._answer("AUTH", "235 welcome" if good else "535 no: \x1b[31mwrong")
        if word == "RCPT":
            address = line.split("<")[1].split(">")[0]
            if address in mails.refuse:
                return self._answer("RCPT", mails.refuse[address])
            self._recipients.append(address)
            return self._answer("RCPT", "250 ok")
        if word == "DATA":
            if not self._answer("DATA", "354 send it"):
                return False
            lines = []
            while (line_bytes := self._file.readline()) != b".\r\n":
                if not line_bytes:
                    return False
                lines.append(line_bytes[1:] if line_bytes.startswith(b"..") else line_bytes)
            found = message_from_bytes(b"".join(lines), policy=default)
            assert isinstance(found, EmailMessage)
            mails.got.append((self._recipients, found))
            self._recipients = []
            return self._answer("END", "250 taken")
        if word == "QUIT":
            self._answer("QUIT", "221 bye")
            return False
        if word == "RSET":
            self._recipients = []
        return self._answer(word, "250 ok")


@dataclass
class Hooks:
    """A web server that takes posts.

    Attributes
    ----------
    codes : list of int
        What it answers in turn; 204 when there is none left.
    wait_s : float
        How long it thinks.
    got : list of (path, headers, JSON)
    """

    codes: list[int] = field(default_factory=list)
    wait_s: float = 0.0
    got: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    def __enter__(self) -> Hooks:
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hooks.got.append((self.path, dict(self.headers), json.loads(body)))
                time.sleep(hooks.wait_s)
                code = hooks.codes.pop(0) if hooks.codes else 204
                try:
                    self.send_response(code)
                    if code in (301, 302, 307):
                        self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks/SECRET?token=SECRET"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def make_certificate(path: Path, name: str) -> Path:
    """Make a certificate for a name (``IP:127.0.0.1`` or ``DNS:…``) that is its own authority, with its key."""
    key = path.with_suffix(".key")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(key), "-out", str(path)]
    names = ["-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName={name}"]
    subprocess.run(["openssl", "req", "-x509", *curve, *files, *names], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path
