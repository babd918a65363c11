"""The mapper that gives jobs to Dask workers, and what is said of workers and schedulers that fail."""

from __future__ import annotations

import os
import pickle
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

from calib.archive.leave import TOKENS
from calib.errors import ArchiveError, SchedulerError
from calib.night import JobResult
from calib.scheduling.mapper import Job, Results
from calib.scheduling.terms import Terms, code_here
from calib.scheduling.worker import Unseen, do, label, raw_paths

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["DaskMapper"]

WORKERS_S = 30
"""Seconds to wait for its first worker, which may just be starting."""

DESERTED_S = 60
"""Seconds after which a scheduler without any worker is given up."""

ANSWER_S = 10
"""Seconds to wait for what a scheduler knows by heart: it may be there and mute, as on a machine that is frozen."""

FIRST_ANSWER_S = 120
"""Seconds to wait until every worker has said whether it may take part, for which each loads all the code."""

ASIDE_PER_WORKER = 2
"""Jobs in flight per worker thread: one is done while the next one waits beside it."""

GOES_ON = "the same command goes on from where this one stopped"


class DaskMapper:
    """Jobs on the workers of a Dask cluster, their results as they are done.

    Parameters
    ----------
    client : Client
    root : Path
        The archive.
    where : str
        The scheduler, in words.
    """

    def __init__(self, client: Client, root: Path, where: str) -> None:
        self._client, self._where = client, where
        self.terms = Terms(root, f"{TOKENS}{secrets.token_hex(8)}", tuple(code_here().items()))
        self._checked = False
        self._room, self._asked, self._mute = 0, 0.0, False

    def map(self, jobs: Sequence[Job]) -> Results:
        """Yield the number of a job and its result.

        Raises
        ------
        SchedulerError
            If a worker may not take part, a job ends one worker after the other, or scheduler or all workers are lost.
        """
        if not self._checked:
            self._write_token()
            self._check_workers()
            self._checked = True
        done: SimpleQueue[Any] = SimpleQueue()
        flying: dict[Any, int] = {}
        queue = iter(enumerate(jobs))
        try:
            while True:
                while len(flying) < self._most() and (following := next(queue, None)) is not None:
                    k, job = following
                    future = self._client.submit(
                        do,
                        pickle.dumps(job),
                        self.terms,
                        key=f"{label(job)}-{secrets.token_hex(4)}",
                        pure=False,
                    )
                    flying[future] = k
                    future.add_done_callback(done.put)
                if not flying:
                    return
                future = self._next(done)
                k = flying.pop(future)
                yield k, self._result(future, jobs[k])
                future.release()
        finally:
            self._cancel(list(flying))

    def _cancel(self, futures: list[Any]) -> None:
        if not futures or self._client.status != "running" or self._mute:
            return

        def cancel() -> Any:
            return self._client.cancel(futures, asynchronous=True, force=True)

        with suppress(Exception):
            self._client.sync(cancel, callback_timeout=ANSWER_S)

    def close(self) -> None:
        """Take the leave to write from workers that may still be at work."""
        (self.terms.root / self.terms.token).unlink(missing_ok=True)

    def _write_token(self) -> None:
        path = self.terms.root / self.terms.token
        try:
            path.write_text(self.terms.token, "ascii")
        except OSError as error:
            raise ArchiveError(f"{path} cannot be written: {error.strerror}; make room or check permissions") from error

    def _check_workers(self) -> None:
        from distributed import TimeoutError as TooLong

        try:
            self._client.wait_for_workers(1, timeout=WORKERS_S)
        except (TooLong, TimeoutError) as error:
            raise SchedulerError(
                f"{self._where} has no workers; start some with `dask worker ADDRESS --nthreads 1`, then run again"
            ) from error
        terms = pickle.dumps(self.terms)

        # Within a function, so that it goes there as code: a worker without Vesper could not look it up.
        def ask(pickled: bytes) -> str:
            try:
                import pickle

                return str(pickle.loads(pickled).refusal())
            except (ImportError, AttributeError) as error:
                return f"has not this version of Vesper ({error}); install the same on every machine"

        try:
            answers = self._client.run(ask, terms, on_error="return", callback_timeout=FIRST_ANSWER_S)
        except (TooLong, TimeoutError) as error:
            raise SchedulerError(
                f"of the workers of {self._where} one does not answer; end it (its page or its log tells which), then "
                "run again"
            ) from error
        for name, found in answers.items():
            if isinstance(found, OSError):
                # Lost while it was asked; one that takes its place is asked with its first job.
                continue
            if isinstance(found, BaseException):
                found = f"cannot be used ({type(found).__name__}: {found}); install the same on every machine"
            if found:
                raise SchedulerError(f"worker {name} {found}")

    def _most(self) -> int:
        """Return how many jobs may be in flight; workers come and go."""
        if monotonic() - self._asked > 5 or not self._room:
            self._ask()
        return max(ASIDE_PER_WORKER * self._room, 1)

    def _ask(self) -> None:
        """Ask the scheduler how many threads its workers have."""
        try:
            self._room, self._mute = sum(self._client.nthreads(callback_timeout=ANSWER_S).values()), False
        except Exception:  # of many kinds, from a connection that comes and goes
            self._mute = True
        self._asked = monotonic()

    def _next(self, done: SimpleQueue[Any]) -> Any:
        """Return the next future that is done; do not wait for ever for a scheduler or workers that are not there."""
        alone_since = None
        while True:
            try:
                return done.get(timeout=2)
            except Empty:
                if self._client.status != "running":
                    raise SchedulerError(self._lost()) from None
            began = monotonic()
            self._ask()
            if self._room and not self._mute:
                alone_since = None
                continue
            alone_since = began if alone_since is None else alone_since
            if monotonic() - alone_since > DESERTED_S:
                raise SchedulerError(
                    f"{self._where} does not answer any more; once it does, {GOES_ON}"
                    if self._mute
                    else f"{self._where} has lost all its workers; start some, then {GOES_ON}"
                )

    def _lost(self) -> str:
        return f"{self._where} was lost; once it is back, {GOES_ON}"

    def _result(self, future: Any, job: Job) -> JobResult:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            found = future.result()
        except KilledWorker as error:
            files = raw_paths(job)
            raise SchedulerError(
                f"{label(job)} ended {error.allowed_failures + 1} workers one after the other; look at their logs and "
                f"their memory, and at {files[0] if files else 'its files'}"
            ) from error
        except FutureCancelledError as error:
            raise SchedulerError(self._lost()) from error
        if isinstance(found, Unseen):
            if os.access(found.path, os.R_OK):
                raise SchedulerError(
                    f"worker {found.worker} cannot read {found.path}; give it the same folders at the same paths"
                )
            # Nobody can: what a run without workers would say of it is said here.
            found = job.run()
        result: JobResult = found
        self._tidy(result)
        return result

    def _tidy(self, result: JobResult) -> None:
        """Clear away what a worker that was killed left beside these products."""
        for file, _, _ in result.products:
            target = self.terms.root / file.path
            for part in target.parent.glob(f"{target.name}.*.part"):
                part.unlink(missing_ok=True)
