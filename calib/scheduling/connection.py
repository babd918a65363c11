"""Mappers for the place that a person names: threads, workers started here, or a scheduler elsewhere."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from calib.errors import SchedulerError
from calib.scheduling.coordinator import DaskMapper
from calib.scheduling.mapper import Mapper, ThreadMapper

__all__ = ["dask_mapper", "local_cluster", "mapper_for"]

CONNECT_S = 10
"""Seconds to wait for a scheduler."""


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
        preload=["calib.scheduling.worker"],
    ) as cluster:
        yield str(cluster.scheduler_address)


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
