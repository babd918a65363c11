"""Whether there is anything to show: for a supervisor, and for pages that wait."""

from __future__ import annotations

from typing import Any

from tornado.ioloop import IOLoop

from calib.archive.heartbeat import last_beat
from monitor.access.guard import Guarded
from monitor.source import Source

__all__ = ["Health"]


class Health(Guarded):
    """Says whether there is anything to show, as JSON.

    A supervisor's address answers 200 or 503. The pages that wait ask another one, which answers 200 in any case: a
    browser would report each 503 as an error of the page. Strangers learn no more than whether the server is well.
    A watch that died makes the server no less well: it is told beside it, under ``watch``.
    """

    open = True

    def initialize(self, source: Source, supervisor: bool) -> None:
        """Take the archive, and who asks."""
        self.source, self.supervisor = source, supervisor

    async def prepare(self) -> None:
        """Answer to any name: a supervisor may know the server by its number alone."""

    async def get(self) -> None:
        """Answer."""
        self.set_header("Cache-Control", "no-store")
        # In a thread: to read a long survey takes seconds, in which all other pages would stand still.
        answer = await IOLoop.current().run_in_executor(None, self._answer)
        if self.supervisor and answer["status"] != "ok":
            self.set_status(503)
        stranger = self.current_user is None or not self.gate.accepts_host(self.request.host)
        self.write({"status": answer["status"]} if stranger else answer)

    def _answer(self) -> dict[str, Any]:
        try:
            if problem := self.source.problem():
                return {"status": "failed", "reason": problem}
            collector = self.source.collector()
            nights, heartbeat = collector.snapshot().nights, last_beat(collector.archive)
        except Exception as error:  # it went away between the two questions, or is damaged
            return {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        watch = None if heartbeat is None else heartbeat.as_told()
        return {"status": "ok", "nights": len(nights), "last_night": nights[-1], "watch": watch}

    head = get
