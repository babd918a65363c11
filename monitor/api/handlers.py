"""The API over HTTP: who may ask, what is asked, and the answer written by a thread of its own."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlencode

import sqlalchemy as sa
from tornado.ioloop import IOLoop
from tornado.web import Finish, HTTPError

from calib.archive.database import Archive
from calib.errors import CalibError
from monitor.access.plain_page import policy
from monitor.api.answers import NotThere, Picture, Table, Whole, csv_bytes, json_bytes
from monitor.api.base import Api
from monitor.api.description import openapi
from monitor.api.page import API_CSS, api_page
from monitor.api.parameters import ParameterError, read_parameters
from monitor.api.routes import ROUTES, Route
from monitor.source import Source

__all__ = ["api_addresses"]

_log = logging.getLogger(__name__)

_threads = ThreadPoolExecutor(3, thread_name_prefix="api")
PIECE = 1 << 18
_STAMP = secrets.token_hex(4)

Address = tuple[Any, ...]


def api_addresses(source: Source) -> list[Address]:
    """Return the patterns and handlers of the API."""
    found: list[Address] = [
        (r"/api/?", Described, {"page": True}),
        (r"/api/openapi\.json", Described, {"page": False}),
    ]
    found += [(_pattern(route.path), Asked, {"route": route, "source": source}) for route in ROUTES]
    return [*found, (r"/api/.*", Unknown)]


def _pattern(path: str) -> str:
    parts = re.split(r"(\{\w+\})", path)
    return "".join(f"(?P<{p[1:-1]}>[^/]+)" if p.startswith("{") else re.escape(p) for p in parts)


class Unknown(Api):
    """Any other address below ``/api/``."""

    def get(self) -> None:
        """Say where to look."""
        raise HTTPError(404, "there is no such address; /api/ lists all")

    head = get


class Described(Api):
    """The description of the API, for people or for programs."""

    def initialize(self, page: bool) -> None:
        """Take for whom."""
        self._page = page

    def get(self) -> None:
        """Describe."""
        self.set_header("Cache-Control", "private, no-cache")
        if self._page:
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.set_header("Content-Security-Policy", policy(API_CSS))
            self.finish(
                api_page(
                    f"{self.request.protocol}://{self.request.host}", self.gate.closed, self.get_cookie("vesper-theme")
                )
            )
        else:
            self.set_header("Content-Type", "application/json; charset=utf-8")
            self.finish(json_bytes(openapi(self.gate.closed)))

    head = get


class Asked(Api):
    """One address of `ROUTES`."""

    def initialize(self, route: Route, source: Source) -> None:
        """Take what is declared of it."""
        self._route, self._source = route, source
        self._etag: str | None = None

    async def get(self, **path: str) -> None:
        """Answer."""
        query = {
            name: [v.decode("utf-8", "replace") for v in values]
            for name, values in self.request.query_arguments.items()
        }
        loop = IOLoop.current()
        try:
            asked = read_parameters(self._route.parameters, path, query)
            archive, revision = await loop.run_in_executor(_threads, self._opened)
            self.set_header("Cache-Control", "private, no-cache")
            if self._route.answers in ("table", "object") and self._unchanged(f"{revision} {sorted(asked.items())}"):
                return
            answer = await loop.run_in_executor(_threads, self._route.answer, archive, asked)
            if isinstance(answer, Whole):
                await self._send_file(answer)
            elif isinstance(answer, Picture):
                self._send_picture(answer)
            else:
                body = await loop.run_in_executor(_threads, self._written, answer, asked, revision)
                self.finish(body)
        except ParameterError as error:
            raise HTTPError(400, str(error).replace("%", "%%")) from error
        except NotThere as error:
            raise HTTPError(404, str(error).replace("%", "%%")) from error
        except sa.exc.DatabaseError as error:
            _log.warning("API: the archive cannot be read: %s", error.orig)
            raise HTTPError(503, "the archive cannot be read; the server's log says why") from error
        except CalibError as error:
            raise HTTPError(503, str(error).replace("%", "%%")) from error

    head = get

    def _opened(self) -> tuple[Archive, str]:
        archive = self._source.collector().archive
        return archive, f"{_STAMP} {id(archive)} {archive.revision()}"

    def _unchanged(self, of: str) -> bool:
        """Set the mark by which a client knows the answer again; whether it has it already."""
        self._etag = f'W/"{hashlib.sha256(of.encode()).hexdigest()[:24]}"'
        self.set_header("ETag", self._etag)
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
            return True
        return False

    def compute_etag(self) -> str | None:
        """Return what was set: an answer is not hashed for it."""
        return self._etag

    def _written(self, answer: Table | dict[str, Any], asked: dict[str, Any], revision: str) -> bytes:
        number = int(revision.rpartition(" ")[2])
        if not isinstance(answer, Table):
            self.set_header("Content-Type", "application/json; charset=utf-8")
            return json_bytes({"revision": number, **answer})
        after = asked["offset"] + len(answer.rows)
        following = self._following(after) if answer.rows and after < answer.total else None
        if following:
            self.set_header("Link", f'<{following}>; rel="next"')
        if asked["format"] == "csv":
            self.set_header("Content-Type", "text/csv; charset=utf-8")
            name = self._route.path.rpartition("/")[2]
            self.set_header("Content-Disposition", f'attachment; filename="{name}.csv"')
            return csv_bytes(answer)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        return json_bytes(
            {
                "revision": number,
                "total": answer.total,
                "limit": asked["limit"],
                "offset": asked["offset"],
                "next": following,
                "items": answer.rows,
            }
        )

    def _following(self, offset: int) -> str:
        kept = [(n, v[-1].decode()) for n, v in self.request.query_arguments.items() if n != "offset"]
        path = quote(self.request.path, safe="/%")
        return f"{path}?{urlencode([*kept, ('offset', offset)])}"

    def _send_picture(self, answer: Picture) -> None:
        self._etag = f'"{hashlib.sha256(answer.png).hexdigest()[:24]}"'
        self.set_header("Content-Type", "image/png")
        self.set_header("Vesper-Stretch", answer.told.encode("ascii", "replace").decode())
        self.finish(answer.png)

    async def _send_file(self, answer: Whole) -> None:
        """Send a file piece by piece, no faster than it is taken."""
        self._etag = f'"{answer.content_hash}"'
        self.set_header("ETag", self._etag)
        if self.check_etag_header():
            self.set_status(304)
            raise Finish
        self.set_header("Content-Type", "application/fits")
        self.set_header("Content-Disposition", f'attachment; filename="{answer.name}"')
        loop = IOLoop.current()
        with answer.path.open("rb") as file:
            # The file may be replaced while it is sent: this is the old one to its end, whole.
            self.set_header("Content-Length", str(file.seek(0, 2)))
            file.seek(0)
            if self.request.method == "HEAD":
                return
            while piece := await loop.run_in_executor(_threads, file.read, PIECE):
                self.write(piece)
                await self.flush()
