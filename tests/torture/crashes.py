"""Runs and watches killed with SIGKILL at any moment: ``python -m tests.torture.crashes --kills 200 --seed 1``.

Half of the kills come at a random time, half right before or after a file is renamed or a transaction committed. After
some of them in a row one run comes through, and the archive has to be what it is without any kill. With the URL of a
server in ``VESPER_DATABASE`` the rows are kept there.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from calib.archive.database import Archive
from calib.archive.place import stamp_of
from calib.raw import find_raw
from calib.survey import what_is_open
from tests.torture.stage import Stage, ended, faults_of, fork, rows, set_stage

INTERVAL_S = "0.05"


def at_writes(tick: Callable[[str], None]) -> None:
    """Call ``tick`` before and after every rename and every commit of this process."""
    replace, commit = os.replace, DefaultDialect.do_commit

    def replaced(a: Any, b: Any, **options: Any) -> None:
        tick("before a rename")
        replace(a, b, **options)
        tick("after a rename")

    def committed(self: DefaultDialect, connection: Any) -> None:
        tick("before a commit")
        commit(self, connection)
        tick("after a commit")

    os.replace = replaced
    DefaultDialect.do_commit = committed  # type: ignore[method-assign]


def dying(at: int) -> Callable[[], None]:
    """Return a hook that kills its process at the n-th write."""

    def hook() -> None:
        left = at

        def tick(_: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        at_writes(tick)

    return hook


def counting(to: Path) -> Callable[[], None]:
    """Return a hook that writes one byte for every write of its process."""

    def hook() -> None:
        handle = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        at_writes(lambda _: os.write(handle, b".") and None)

    return hook


def kill_after(pid: int, delay_s: float) -> int:
    """Kill a child after a while, unless it has ended by itself; return how it ended."""
    until = time.monotonic() + delay_s
    while (left := until - time.monotonic()) > 0:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(min(left, 0.002))
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Torture:
    """Kills, counted by kind, and what they did harm to."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage, self.chance = stage, random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.archives, self.lived = 0, 0
        self.harm: list[str] = []
        self.log = stage.top / "log"
        start = time.monotonic()
        counted, archive = stage.top / "count", stage.top / "counted"
        assert ended(fork(stage.order("run", archive), self.log, counting(counted))) == 0, self.log.read_text()
        self.run_s, self.writes = time.monotonic() - start, counted.stat().st_size
        assert faults_of(archive, stage) == []

    @property
    def n(self) -> int:
        return sum(self.kills.values())

    def kill_one(self, order: list[str], words: str) -> None:
        """Start a child and kill it at some moment."""
        if self.chance.random() < 0.5:
            status = kill_after(fork(order, self.log), self.chance.uniform(0, self.run_s))
            how = "at a random time"
        else:
            status = ended(fork(order, self.log, dying(self.chance.randint(1, self.writes))), 30.0)
            how = "at a write"
        if status == -signal.SIGKILL:
            self.kills[f"{words} {how}"] += 1
        else:
            self.lived += 1
            if status != 0:
                self.harm.append(f"{words} ended with status {status}: {self.log.read_text()[-2000:]}")

    def runs(self, kills: int) -> None:
        """Kill runs until so many died; check each archive."""
        goal = self.n + kills
        while self.n < goal:
            archive = self.stage.top / f"archive-{self.archives}"
            for _ in range(self.chance.randint(1, 5)):
                self.kill_one(self.stage.order("run", archive), "run")
            status = ended(fork(self.stage.order("run", archive), self.log))
            self.check(archive, status)

    def watches(self, kills: int) -> None:
        """Kill watches until so many died, while files arrive; check each archive."""
        goal, files = self.n + kills, find_raw([self.stage.raw])
        while self.n < goal:
            archive, inbox = self.stage.top / f"archive-{self.archives}", self.stage.top / f"inbox-{self.archives}"
            order = self.stage.order("watch", archive, inbox, "--interval", INTERVAL_S)
            self.chance.shuffle(files)
            names = {str(inbox / f.relative_to(self.stage.raw)): str(f) for f in files}
            rounds = self.chance.randint(2, 5)
            for k in range(rounds):
                for f in files[k::rounds]:
                    to = inbox / f.relative_to(self.stage.raw)
                    to.parent.mkdir(parents=True, exist_ok=True)
                    # Half of it now, the rest while the next watch lives or is dead.
                    to.write_bytes(f.read_bytes()[: f.stat().st_size // self.chance.choice((1, 2))])
                self.kill_watch(order)
                for f in files[k::rounds]:
                    shutil.copy(f, inbox / f.relative_to(self.stage.raw))
            pid = fork(order, self.log)
            self.wait_settled(archive, len(files))
            os.kill(pid, signal.SIGTERM)
            self.check(archive, ended(pid), names)
            shutil.rmtree(inbox)

    def kill_watch(self, order: list[str]) -> None:
        """As `kill_one`, for what never ends by itself."""
        if self.chance.random() < 0.5:
            kill_after(fork(order, self.log), self.chance.uniform(0, self.run_s))
            self.kills["watch at a random time"] += 1
            return
        at = self.chance.randint(1, max(self.writes // 3, 1))
        start = time.monotonic()
        kill_after(fork(order, self.log, dying(at)), 5 * self.run_s)
        # One that had nothing to write any more was killed while it waited.
        waited = time.monotonic() - start >= 5 * self.run_s
        self.kills["watch that waits" if waited else "watch at a write"] += 1

    def wait_settled(self, archive: Path, n_files: int) -> None:
        """Wait until a watch has taken everything in."""
        until = time.monotonic() + 600
        while time.monotonic() < until:
            time.sleep(0.1)
            if stamp_of(archive) is None:
                continue
            opened = Archive(archive, create=True)
            profile = opened.current_profile()
            settled = profile is not None and not what_is_open(opened, profile)
            opened.close()
            if settled and sum(r["status"] == "used" for r in rows(archive, "files")) == n_files:
                return
        raise TimeoutError(f"{archive} was not settled: {self.log.read_text()[-2000:]}")

    def check(self, archive: Path, status: int, names: dict[str, str] | None = None) -> None:
        """Note what is wrong with an archive in the end."""
        said = self.log.read_text()
        wrong = faults_of(archive, self.stage, names)
        wrong += [f"the last one ended with status {status}"] * (status != 0) + ["traceback"] * ("Traceback" in said)
        if wrong:
            self.harm.append(f"archive {self.archives}: " + "; ".join(wrong) + "\n" + said[-3000:])
        self.log.unlink()
        self.archives += 1
        shutil.rmtree(archive)


def main(arguments: list[str] | None = None) -> int:
    """Kill and report; return 1 if anything was harmed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args(arguments)
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"crashes: seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as top:
        torture = Torture(set_stage(Path(top)), seed)
        torture.runs(options.kills - options.kills // 2)
        torture.watches(options.kills // 2)
    for how, n in sorted(torture.kills.items()):
        print(f"  {n:4} kills of a {how}")
    print(f"  {torture.lived:4} that came through before their time")
    print(f"  {torture.archives:4} archives compared with an uninterrupted one, {len(torture.harm)} differ")
    for harm in torture.harm:
        print(harm, file=sys.stderr)
    return 1 if torture.harm else 0


if __name__ == "__main__":
    sys.exit(main())
