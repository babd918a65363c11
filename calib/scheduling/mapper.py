"""What does jobs, and the mapper that does them in threads of this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from calib.night import JobResult
from calib.raw.files import read_ahead
from calib.scheduling.worker import raw_paths

__all__ = ["Job", "Mapper", "Results", "ThreadMapper"]

Results = Generator[tuple[int, JobResult], None, None]


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
                    # The disk is at work while other jobs compute.
                    for path in raw_paths(job):
                        read_ahead(Path(path))
                    if len(waiting) > 2 * self.workers:
                        first, future = waiting.pop(0)
                        yield first, future.result()
                while waiting:
                    first, future = waiting.pop(0)
                    yield first, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()
