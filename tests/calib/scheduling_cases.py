"""Jobs on Dask workers: the same archive, whatever becomes of the workers."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from small_camera import Night, assert_same, run, small

from calib.archive.database import Archive
from calib.archive.leave import TOKENS, revoke_leaves, work_for
from calib.archive.products import write_product
from calib.errors import ArchiveError, RawFileError, SchedulerError
from calib.night import FileOutcome, JobResult
from calib.raw import read_frames
from calib.scheduling import (
    DaskMapper,
    Job,
    Results,
    ThreadMapper,
    connection,
    coordinator,
    dask_mapper,
    local_cluster,
    mapper_for,
)

pytest.importorskip("distributed", reason="Dask is not installed; `pip install 'vesper[dask]'` brings it")

pytestmark = [
    # Sockets that Dask leaves for the collector when a worker is killed under it.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a scheduler with two workers on this machine."""
    import dask

    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), local_cluster(2) as address:
        yield address


@dataclass(frozen=True)
class Says:
    """A job that tells who did it."""

    word: str

    def run(self) -> JobResult:
        return JobResult((FileOutcome(self.word, str(os.getpid())),))


@dataclass(frozen=True)
class Raises:
    error: Exception

    def run(self) -> JobResult:
        raise self.error


@dataclass(frozen=True)
class DiesOnce:
    """A job whose process is killed when about to rename its first product; the second time it is done."""

    job: Any
    marker: Path

    @property
    def sequence(self) -> Any:
        return self.job.sequence

    def run(self) -> JobResult:
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            result: JobResult = self.job.run()
            return result
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        self.job.run()
        raise AssertionError("no product was renamed")


@dataclass(frozen=True)
class Dies:
    sequence: Any

    def run(self) -> JobResult:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@dataclass(frozen=True)
class Deadly:
    """A mapper on whose workers the first job of the first three maps ends a worker."""

    inner: DaskMapper
    markers: Path

    def map(self, jobs: Sequence[Job]) -> Results:
        killed = len(list(self.markers.iterdir()))
        return self.inner.map(jobs if killed == 3 else [DiesOnce(jobs[0], self.markers / str(killed)), *jobs[1:]])


def test_workers_make_the_archive_that_threads_make(cluster: str, four_nights: Night, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    told = []
    with dask_mapper(cluster, archive, 2) as mapper:
        run(archive, four_nights.raw, mapper=mapper, progress=lambda *shown: told.append(shown))
    assert_same(archive, four_nights.root)
    assert told[-1][:2] == (4, 4)
    assert not list(archive.glob(f"{TOKENS}*"))
    assert run(archive, four_nights.raw).idle


def test_workers_that_are_killed_change_nothing(cluster: str, four_nights: Night, tmp_path: Path) -> None:
    """SIGKILL in the middle of a dark, a responsivity and a scan, a file half written each time."""
    archive, markers = tmp_path / "archive", tmp_path / "markers"
    markers.mkdir()
    with dask_mapper(cluster, archive, 2) as mapper:
        run(archive, four_nights.raw, mapper=Deadly(mapper, markers))
    assert len(list(markers.iterdir())) == 3
    assert_same(archive, four_nights.root)
    assert not list(archive.rglob("*.part"))


def test_local_workers_are_gone_at_the_end(tmp_path: Path) -> None:
    with mapper_for("local", tmp_path, 1) as mapper, closing(mapper.map([Says("a")])) as results:
        ((_, result),) = list(results)
    pid = int(result.outcomes[0].status)
    assert pid != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_job_that_ends_every_worker_is_named(cluster: str, four_nights: Night, tmp_path: Path) -> None:
    from calib.ingest import sequences_of

    archive = Archive(four_nights.root)
    sequence = next(iter(sequences_of(archive, small(), [four_nights.date(0)])))
    archive.close()
    with (
        dask_mapper(cluster, tmp_path) as mapper,
        closing(mapper.map([Dies(sequence)])) as results,
        pytest.raises(SchedulerError, match=r"ended 2 workers one after the other; .*\.fits$"),
    ):
        list(results)


def test_more_jobs_than_workers_are_each_done_once(cluster: str, tmp_path: Path) -> None:
    with dask_mapper(cluster, tmp_path) as mapper, closing(mapper.map([Says(str(k)) for k in range(20)])) as results:
        found = {k: r.outcomes[0].path for k, r in results}
    assert found == {k: str(k) for k in range(20)}


@pytest.mark.parametrize(
    "error", [ArchiveError("full; make room"), RawFileError(Path("a.fits"), "empty"), OSError(28, "No space", "b.fits")]
)
def test_an_error_of_a_worker_comes_back_as_it_was(cluster: str, tmp_path: Path, error: Exception) -> None:
    with (
        dask_mapper(cluster, tmp_path) as mapper,
        closing(mapper.map([Raises(error)])) as results,
        pytest.raises(type(error)) as caught,
    ):
        list(results)
    assert str(caught.value) == str(error)


def test_a_worker_that_does_not_see_the_folder_is_refused(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DaskMapper, "_write_token", lambda _: None)
    with (
        dask_mapper(cluster, tmp_path) as mapper,
        closing(mapper.map([Says("a")])) as results,
        pytest.raises(SchedulerError, match=r"worker \S+ does not see the archive .*; give it the same folders"),
    ):
        list(results)


def test_a_worker_with_other_code_is_refused(cluster: str, tmp_path: Path) -> None:
    with dask_mapper(cluster, tmp_path) as mapper:
        mapper.terms = replace(mapper.terms, code=(("algorithm 'scan'", "0"),))
        with closing(mapper.map([Says("a")])) as results, pytest.raises(SchedulerError, match="has algorithm 'scan'"):
            list(results)


def test_a_raw_file_that_a_worker_alone_does_not_see_is_an_error(
    cluster: str, four_nights: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not be recorded as refused."""
    raw = Path(shutil.copytree(four_nights.raw, tmp_path / "raw"))
    monkeypatch.setattr(coordinator.pickle, "dumps", lambda job, dumps=pickle.dumps: dumps(_elsewhere(job)))
    monkeypatch.setattr(coordinator.os, "access", lambda *_: True)
    with (
        dask_mapper(cluster, tmp_path / "archive") as mapper,
        pytest.raises(SchedulerError, match=r"worker .* cannot read \S+; give it the same folders"),
    ):
        run(tmp_path / "archive", raw, mapper=mapper)


def _elsewhere(job: Any) -> Any:
    if not hasattr(job, "sequence"):
        return job
    s = job.sequence
    return replace(job, sequence=replace(s, files=tuple(replace(i, path=Path("/nowhere/a.fits")) for i in s.files)))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "tcp://[x", "nonsense", "http://127.0.0.1:80"])
def test_a_scheduler_that_does_not_answer_is_one_sentence(address: str, tmp_path: Path) -> None:
    with (
        pytest.raises(SchedulerError, match=r"^no Dask scheduler answers at .*; start one with `dask scheduler`"),
        dask_mapper(address, tmp_path),
    ):
        pass


def test_a_server_that_is_no_scheduler_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 1)
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(SchedulerError, match="no Dask scheduler"),
        dask_mapper(f"tcp://127.0.0.1:{mute.getsockname()[1]}", tmp_path),
    ):
        pass


def test_nothing_of_an_overtaken_run_takes_the_place_of_a_product(tmp_path: Path) -> None:
    (tmp_path / f"{TOKENS}old").touch()
    try:
        work_for(tmp_path, f"{TOKENS}old")
        write_product(tmp_path, "nights/a.fits", [], {})
        revoke_leaves(tmp_path)
        with pytest.raises(ArchiveError, match="has ended"):
            write_product(tmp_path, "nights/b.fits", [], {})
    finally:
        from calib.archive import leave

        leave._given.pop(tmp_path)
    assert [p.name for p in (tmp_path / "nights").iterdir()] == ["a.fits"]


def test_threads_give_results_in_order() -> None:
    with closing(ThreadMapper(2).map([Says(str(k)) for k in range(9)])) as results:
        assert [(k, r.outcomes[0].path) for k, r in results] == [(k, str(k)) for k in range(9)]


def test_errors_and_profile_travel(tmp_path: Path) -> None:
    with pytest.raises(RawFileError) as caught:
        read_frames(tmp_path / "gone.fits", small())
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert pickle.loads(pickle.dumps(small())).hash == small().hash
