"""Where the jobs of a run are done: in threads of this process, or by Dask workers that see the same folders.

A job depends on nothing but its fields and the files it names; it writes products and gives back rows. So it may be
done anywhere, and twice: the same bytes come out, and they take their place whole. Only the run that maps the jobs
writes to the database.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import secrets
import signal
import socket
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from calib import __version__
from calib.archive.leave import TOKENS, work_for
from calib.errors import ArchiveError, SchedulerError
from calib.night import ALGORITHM, JobResult

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["DaskMapper", "Job", "Mapper", "ThreadMapper", "dask_mapper", "local_cluster", "mapper_for"]

Results = Generator[tuple[int, JobResult], None, None]

CONNECT_S = 10
"""Seconds to wait for a scheduler."""

WORKERS_S = 30
"""Seconds to wait for its first worker, which may just be starting."""

DESERTED_S = 60
"""Seconds after which a scheduler without any worker is given up."""

ASIDE_PER_WORKER = 2
"""Jobs in flight per worker thread: one is done while the next one waits beside it."""


class Job(Protocol):
    """Anything that can run by itself and gives back a result."""

    def run(self) -> JobResult:
        """Do the work."""
        ...


class Mapper(Protocol):
    """Does jobs side by side."""

    def map(self, jobs: Sequence[Job]) -> Results:
        """Yield the number of a job and its result as jobs are done; no more are in flight than there is room for."""
        ...


@dataclass(frozen=True)
class ThreadMapper:
    """Jobs in threads of this process, their results in the order of the jobs."""

    workers: int = 2

    def map(self, jobs: Sequence[Job]) -> Results:
        """Yield the number of a job and its result."""
        with ThreadPoolExecutor(self.workers) as pool:
            # At most two jobs wait per worker, so that memory does not grow with the number of jobs.
            waiting: list[tuple[int, Future[JobResult]]] = []
            try:
                for k, job in enumerate(jobs):
                    waiting.append((k, pool.submit(job.run)))
                    if len(waiting) > 2 * self.workers:
                        first, future = waiting.pop(0)
                        yield first, future.result()
                while waiting:
                    first, future = waiting.pop(0)
                    yield first, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()


# What must be alike everywhere, or one night's products would not be those of another worker ------------------------


def _code() -> dict[str, str]:
    """Return what the bytes of a product depend on beside its inputs: numbers of algorithms and versions."""
    libraries = {name: version(name) for name in ("numpy", "numba", "astropy", "scipy")}
    return {"vesper": __version__, **{f"algorithm {k!r}": str(n) for k, n in ALGORITHM.items()}, **libraries}


@dataclass(frozen=True)
class Terms:
    """What a worker must fulfil to take part in a run.

    Attributes
    ----------
    root : Path
        The archive.
    token : str
        Name of the file in it by which a worker knows the folder, and that the run is still there.
    code : tuple of (str, str)
        Versions that must be the worker's, too.
    """

    root: Path
    token: str
    code: tuple[tuple[str, str], ...]

    def refusal(self) -> str:
        """Return why this process must not take part, in words that go on after its name; empty if it may."""
        try:
            found = (self.root / self.token).read_text("ascii")
        except OSError as error:
            return (
                f"does not see the archive {self.root} ({error.strerror}); give it the same folders at the same paths"
            )
        if found != self.token:
            return f"sees another folder at {self.root}; give it the same folders at the same paths"
        return _other_code(dict(self.code), _code())


def _other_code(ours: dict[str, str], theirs: dict[str, str]) -> str:
    for name in ours:
        if theirs.get(name) != ours[name]:
            return f"has {name} {theirs.get(name, 'missing')}, this run {ours[name]}; install the same on every machine"
    return ""


@cache
def _refusal_here(terms: Terms) -> str:
    return terms.refusal()


# On a worker ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Unseen:
    """A raw file that this worker cannot read."""

    worker: str
    path: str


def _this_worker() -> str:
    from distributed import get_worker

    worker = get_worker()
    return f"{worker.name} ({worker.address})" if str(worker.name) != worker.address else worker.address


def _do(pickled: bytes, terms: Terms) -> JobResult | _Unseen:
    """Do a job on a worker."""
    # Asked of each worker when it gets its first job: workers may join while a run is under way.
    if reason := _refusal_here(terms):
        raise SchedulerError(f"worker {_this_worker()} {reason}")
    job = pickle.loads(pickled)
    for path in _raw_paths(job):
        if not os.access(path, os.R_OK):
            return _Unseen(_this_worker(), path)
    work_for(terms.root, terms.token)
    result: JobResult = job.run()
    return result


def _raw_paths(job: Any) -> list[str]:
    sequence = getattr(job, "sequence", None)
    return [str(i.path) for i in sequence.files] if sequence is not None else []


def _label(job: Any) -> str:
    """Return a name for a job that a person understands on the scheduler's own page."""
    s = getattr(job, "sequence", None)
    if s is None:
        return type(job).__name__
    return f"{s.obs_type} {s.night} {s.band}" + (f" {s.scan}" if s.scan is not None else "")


# With the coordinator ------------------------------------------------------------------------------------------------


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
        self.terms = Terms(root, f"{TOKENS}{secrets.token_hex(8)}", tuple(_code().items()))
        self._checked = False
        self._room, self._asked = 0, -DESERTED_S * 1.0

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
                        _do,
                        pickle.dumps(job),
                        self.terms,
                        key=f"{_label(job)}-{secrets.token_hex(4)}",
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
        if futures and self._client.status == "running":
            with suppress(Exception):
                self._client.cancel(futures, force=True)

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

        for name, found in self._client.run(ask, terms, on_error="return").items():
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
            with suppress(Exception):
                self._room = sum(self._client.nthreads().values())
            self._asked = monotonic()
        return max(ASIDE_PER_WORKER * self._room, 1)

    def _next(self, done: SimpleQueue[Any]) -> Any:
        """Return the next future that is done; do not wait for ever for workers that are not there."""
        deserted = None
        while True:
            try:
                return done.get(timeout=2)
            except Empty:
                if self._client.status != "running":
                    raise SchedulerError(self._lost()) from None
            self._asked = -DESERTED_S
            self._room = 0
            self._most()
            deserted = None if self._room else deserted or monotonic()
            if deserted is not None and monotonic() - deserted > DESERTED_S:
                raise SchedulerError(
                    f"{self._where} has lost all its workers; start some, then the same command goes on from where "
                    "this one stopped"
                )

    def _lost(self) -> str:
        return f"{self._where} was lost; once it is back, the same command goes on from where this one stopped"

    def _result(self, future: Any, job: Job) -> JobResult:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            found = future.result()
        except KilledWorker as error:
            files = _raw_paths(job)
            raise SchedulerError(
                f"{_label(job)} ended {error.allowed_failures + 1} workers one after the other; look at their logs and "
                f"their memory, and at {files[0] if files else 'its files'}"
            ) from error
        except FutureCancelledError as error:
            raise SchedulerError(self._lost()) from error
        if isinstance(found, _Unseen):
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


@contextmanager
def mapper_for(scheduler: str | None, root: Path, workers: int) -> Iterator[Mapper]:
    """Yield a mapper over threads of this process, or over the workers of a scheduler where one is named."""
    if scheduler is None:
        yield ThreadMapper(workers)
        return
    with dask_mapper(scheduler, root, workers) as mapper:
        yield mapper


@contextmanager
def dask_mapper(scheduler: str, root: Path, workers: int = 2) -> Iterator[DaskMapper]:
    """Yield a mapper over the workers of a Dask scheduler; all that was started for it is ended at the end.

    Parameters
    ----------
    scheduler : str
        Address, as ``tcp://host:8786``; ``local`` starts worker processes on this machine.
    root : Path
        The archive.
    workers : int
        Processes to start for ``local``.

    Raises
    ------
    SchedulerError
        If Dask is not installed or the scheduler does not answer.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise SchedulerError(
            "--scheduler needs Dask, which is not installed; `pip install 'vesper[dask]'` brings it"
        ) from error
    with ExitStack() as stack:
        stack.enter_context(_quiet_dask())
        if scheduler == "local":
            address = stack.enter_context(local_cluster(workers))
            where = "the local cluster"
        else:
            address, where = _answering(scheduler), f"the scheduler at {scheduler}"
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT_S, set_as_default=False))
        except (OSError, ValueError) as error:
            raise SchedulerError(_nobody_answers(scheduler)) from error
        mapper = DaskMapper(client, root, where)
        stack.callback(mapper.close)
        yield mapper


def _nobody_answers(scheduler: str) -> str:
    return (
        f"no Dask scheduler answers at {scheduler}; start one with `dask scheduler`, or correct the address, as "
        "tcp://host:8786"
    )


def _answering(scheduler: str) -> str:
    """Return the address of a scheduler that answers; Dask's client itself may wait for ever for one that is mute."""
    from distributed import Security
    from distributed.core import connect

    async def greet(address: str) -> None:
        comm = await connect(address, timeout=CONNECT_S, **Security().get_connection_args("client"))
        await comm.close()

    try:
        url = urlsplit(scheduler if "://" in scheduler else f"tcp://{scheduler}")
        if url.scheme not in ("tcp", "tls") or not url.hostname or not url.port:
            raise ValueError(scheduler)
        # Refused is refused: a second try would be no better.
        socket.create_connection((url.hostname, url.port), timeout=CONNECT_S).close()
        # In a thread: whoever calls may have a loop of their own running in theirs.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: asyncio.run(asyncio.wait_for(greet(url.geturl()), CONNECT_S))).result()
    except (OSError, ValueError) as error:
        raise SchedulerError(_nobody_answers(scheduler)) from error
    return url.geturl()


@contextmanager
def local_cluster(workers: int) -> Iterator[str]:
    """Yield the address of a scheduler with worker processes of one thread each, on this machine alone."""
    from distributed import LocalCluster

    threads = max(1, min(2, (os.cpu_count() or 1) // workers))
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        # No pages of its own; what Dask serves nevertheless stays on this machine, at a port that is free.
        worker_dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        silence_logs=logging.CRITICAL,
        # A job takes what memory it needs, here as in a thread.
        memory_limit=0,
        env={"VESPER_THREADS": str(threads)},
        preload=[__name__],
    ) as cluster:
        yield str(cluster.scheduler_address)


def dask_setup(_: Any) -> None:
    """Leave Ctrl-C to the process that ends its workers; called by Dask in each of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Keep silent what Dask logs of workers that come and go; what matters to the run comes as an error."""
    log = logging.getLogger("distributed")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
