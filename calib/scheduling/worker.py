"""What a Dask worker does of a run."""

from __future__ import annotations

import os
import pickle
import signal
from dataclasses import dataclass
from functools import cache
from typing import Any

from calib.archive.leave import work_for
from calib.errors import SchedulerError
from calib.night import JobResult
from calib.scheduling.terms import Terms

__all__ = ["Unseen", "dask_setup", "do", "label", "raw_paths"]


@cache
def _refusal_here(terms: Terms) -> str:
    return terms.refusal()


@dataclass(frozen=True)
class Unseen:
    """A raw file that this worker cannot read."""

    worker: str
    path: str


def _this_worker() -> str:
    from distributed import get_worker

    worker = get_worker()
    return f"{worker.name} ({worker.address})" if str(worker.name) != worker.address else worker.address


def do(pickled: bytes, terms: Terms) -> JobResult | Unseen:
    """Do a job on a worker."""
    # Asked of each worker when it gets its first job: workers may join while a run is under way.
    if reason := _refusal_here(terms):
        raise SchedulerError(f"worker {_this_worker()} {reason}")
    job = pickle.loads(pickled)
    for path in raw_paths(job):
        if not os.access(path, os.R_OK):
            return Unseen(_this_worker(), path)
    work_for(terms.root, terms.token)
    result: JobResult = job.run()
    return result


def raw_paths(job: Any) -> list[str]:
    """Return the raw files that a job reads."""
    sequence = getattr(job, "sequence", None)
    return [str(i.path) for i in sequence.files] if sequence is not None else []


def label(job: Any) -> str:
    """Return a name for a job that a person understands on the scheduler's own page."""
    s = getattr(job, "sequence", None)
    if s is None:
        return type(job).__name__
    return f"{s.obs_type} {s.night} {s.band}" + (f" {s.scan}" if s.scan is not None else "")


def dask_setup(_: Any) -> None:
    """Leave Ctrl-C to the process that ends its workers; called by Dask in each of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
