"""Threads that take what is to be done next from one list, and deliver what they make when its turn has come.

Nobody gives out work or is told that a piece is ready. A piece is delivered by the thread that made it, from the cache
of its core, and there are as many pieces in memory as threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Job", "beforehand", "deliver_in_order", "result_of"]

Room = TypeVar("Room")
Piece = TypeVar("Piece")
T = TypeVar("T")

# Who waits for another thread looks up so often whether all has come to an end.
_LOOK_UP_S = 0.1


@dataclass(frozen=True)
class Job(Generic[Room, Piece]):
    """What one thread does at a time.

    Attributes
    ----------
    work : callable
        Makes a piece, given the thread's room.
    delivers : bool
        Whether the piece is to be delivered; what does not deliver prepares what later ones need.
    """

    work: Callable[[Room], Piece]
    delivers: bool = True


def beforehand(make: Callable[[], T], made: Future[T] | None = None) -> tuple[Job[object, None], Future[T]]:
    """Return a job that makes what later ones need, and where `result_of` finds it or why it could not be made."""
    found: Future[T] = Future() if made is None else made

    def work(_room: object) -> None:
        try:
            result = make()
        except BaseException as error:
            found.set_exception(error)
            raise
        found.set_result(result)

    return Job(work, delivers=False), found


def result_of(made: Future[T]) -> T:
    """Return what a job has made beforehand, once it has.

    Raises
    ------
    Exception
        What the job has raised; or, in a thread of `deliver_in_order`, the error that ends all, so that nobody waits
        for what was taken by a thread that was interrupted before it could begin.
    """
    while not made.done():
        wait((made,), timeout=_LOOK_UP_S)
        line = getattr(_here, "line", None)
        if line is not None and line.error is not None and not made.done():
            raise line.error
    return made.result()


def deliver_in_order(jobs: Iterator[Job[Room, Piece]], rooms: Sequence[Room], deliver: Callable[[Piece], None]) -> None:
    """Do jobs on as many threads as there are rooms, the calling one among them; deliver pieces in the order of jobs.

    Parameters
    ----------
    jobs : iterator of Job
        Asked by one thread at a time for what is to be done next, and not again when it has raised. What a job, or the
        iterator, waits for (`result_of`) must come before it.
    rooms : sequence
        Each belongs to one thread, which uses it again when it has delivered what is in it.
    deliver : callable
        Called by one thread at a time, not always the same.

    Raises
    ------
    Exception
        The first that a job, their iterator or ``deliver`` has raised, when no thread is at work any more. Of the
        pieces before it the first ones have been delivered, up to those that were still being made.
    """
    line = _Line(jobs, deliver)
    others = [threading.Thread(target=line.work, args=(room,)) for room in rooms[1:]]
    try:
        for thread in others:
            thread.start()
        line.work(rooms[0])
        for thread in others:
            thread.join()
    except BaseException as error:  # interrupted where there was no job, or there are too many threads
        line.fail(error)
        for thread in others:
            if thread.ident is not None:
                thread.join()
        raise
    found = line.error
    if found is not None:
        try:
            raise found
        finally:
            # Or what was being worked on would stay in memory in a circle of an error and where it came from.
            del line, found


_here = threading.local()


class _Line(Generic[Room, Piece]):
    def __init__(self, jobs: Iterator[Job[Room, Piece]], deliver: Callable[[Piece], None]) -> None:
        self.error: BaseException | None = None
        self._jobs = jobs
        self._deliver = deliver
        self._taking = threading.Lock()
        self._turns = threading.Condition()
        # Number of the piece to be taken next, and of the one to be delivered next.
        self._taken = 0
        self._turn = 0

    def work(self, room: Room) -> None:
        """Do jobs until there are no more, or one has failed."""
        before = getattr(_here, "line", None)
        try:
            _here.line = self
            while (taken := self._take()) is not None:
                job, number = taken
                piece = job.work(room)
                if job.delivers and not self._deliver_at(number, piece):
                    return
        except BaseException as error:
            self.fail(error)
        finally:
            _here.line = before

    def _take(self) -> tuple[Job[Room, Piece], int] | None:
        with self._taking:
            # Whoever waited here while another failed must not ask: what is next may wait for what never comes.
            if self.error is not None:
                return None
            try:
                job = next(self._jobs, None)
            except BaseException as error:
                self.fail(error)
                return None
            number = self._taken
            if job is not None:
                self._taken += job.delivers
        return None if job is None else (job, number)

    def fail(self, error: BaseException) -> None:
        """Let nothing more be begun."""
        with self._turns:
            self.error = self.error or error
            self._turns.notify_all()

    def _deliver_at(self, number: int, piece: Piece) -> bool:
        if self._turn != number:
            with self._turns:
                self._turns.wait_for(lambda: self._turn == number or self.error is not None)
                # A piece before this one was not made: this one's turn will not come.
                if self._turn != number:
                    return False
        self._deliver(piece)
        with self._turns:
            self._turn = number + 1
            self._turns.notify_all()
        return True
