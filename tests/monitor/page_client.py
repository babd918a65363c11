"""Opens the page without a browser: what one says first over the websocket, and no more."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect


def token_of(url: str) -> str:
    """Load the page as far as its HTML goes; return the key to the session that was made for it."""
    with urllib.request.urlopen(url, timeout=120) as reply:
        (token,) = re.findall(r'"token":"([^"]+)"', reply.read().decode())
    return str(token)


async def _connect(url: str) -> WebSocketClientConnection:
    token = await asyncio.to_thread(token_of, url)
    host = url.split("/")[2]
    # Many at once on a busy machine wait for each other.
    request = HTTPRequest(
        f"ws://{host}/ws", headers={"Origin": f"http://{host}"}, connect_timeout=120, request_timeout=120
    )
    socket = await websocket_connect(request, subprotocols=["bokeh", token], max_message_size=200_000_000)
    assert json.loads((await _message(socket))[0])["msgtype"] == "ACK"
    return socket


async def _message(socket: WebSocketClientConnection) -> list[str]:
    """Return header, metadata and content of a message; arrays that come along are read and left."""
    parts = [str(await socket.read_message()) for _ in range(3)]
    if parts[0].startswith("{"):
        for _ in range(2 * json.loads(parts[0]).get("num_buffers", 0)):
            await socket.read_message()
    return parts


async def _close(socket: WebSocketClientConnection) -> None:
    socket.close()
    while await socket.read_message() is not None:
        pass


async def _visit(url: str) -> dict[str, Any]:
    socket = await _connect(url)
    for part in ({"msgid": "1", "msgtype": "PULL-DOC-REQ"}, {}, {}):
        await socket.write_message(json.dumps(part))
    reply = await _message(socket)
    await _close(socket)
    return dict(json.loads(reply[2]))


def visit(url: str, times: int = 1) -> dict[str, Any]:
    """Open the page and close it again, a number of times; return what the last was sent."""

    async def visits() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(times):
            found = await _visit(url)
        return found

    # In a thread, for the main one may run the browser's loop.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, visits()).result()


_DRAWN = {
    "events": [
        {
            "kind": "MessageSent",
            "msg_type": "bokeh_event",
            "msg_data": {"type": "event", "name": "document_ready", "values": {"type": "map", "entries": []}},
        }
    ]
}


async def _slow_visit(url: str, meanwhile: Callable[[], None], patience_s: float) -> list[str]:
    socket = await _connect(url)
    for part in ({"msgid": "1", "msgtype": "PULL-DOC-REQ"}, {}, {}):
        await socket.write_message(json.dumps(part))
    reply = await _message(socket)
    await asyncio.to_thread(meanwhile)
    for part in ({"msgid": "2", "msgtype": "PATCH-DOC"}, {}, _DRAWN):
        await socket.write_message(json.dumps(part))
    found = [reply[2]]
    try:
        async with asyncio.timeout(patience_s):
            while True:
                header, _, content = await _message(socket)
                if json.loads(header)["msgtype"] == "PATCH-DOC":
                    found.append(content)
    except TimeoutError:
        pass
    await _close(socket)
    return found


def slow_visit(url: str, meanwhile: Callable[[], None], patience_s: float = 1.5) -> list[str]:
    """Open the page in a browser that takes its time to draw it.

    Parameters
    ----------
    url : str
    meanwhile : callable
        Called after the page was sent, before the browser says that it is drawn.
    patience_s : float
        How long is listened after that; less than the server takes to look again by itself.

    Returns
    -------
    list of str
        The document as it was sent, and the changes that came after it.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _slow_visit(url, meanwhile, patience_s)).result()


def knock(url: str, origin: str) -> int:
    """Ask for a websocket as a page of another address would; return the status."""
    connection = HTTPConnection(url.split("/")[2], timeout=20)
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": f"bokeh, {token_of(url)}",
        "Origin": origin,
    }
    try:
        connection.request("GET", "/ws", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def while_open(url: str, times: int, look: Callable[[], float]) -> float:
    """Open the page a number of times at once; return what a look finds while all are open."""

    async def opened() -> float:
        sockets = [await _connect(url) for _ in range(times)]
        found = await asyncio.to_thread(look)
        for socket in sockets:
            await _close(socket)
        return found

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, opened()).result()
