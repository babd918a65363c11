"""Runs on a disk that fills up: ``python -m tests.torture.disk --disks 40 --seed 1``; needs the right to mount.

Each disk is a little too small, at random; once it is enlarged a run has to end with the archive of an uninterrupted
one. SQLite's own writes, its write-ahead log and shared memory run out of space like everything else.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.torture.stage import Stage, ended, faults_of, fork, set_stage


def mounted(where: Path, size_kib: int) -> bool:
    """Mount a disk in memory; return whether that is allowed."""
    where.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(where)]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def fill(stage: Stage, where: Path, size_kib: int) -> tuple[str, list[str]]:
    """Run on a disk of some size, then on a large one; return how the first run ended and what is wrong."""
    log, archive = stage.top / "log", where / "archive"
    log.unlink(missing_ok=True)
    first = ended(fork(stage.order("run", archive), log))
    said = log.read_text()
    last = [line for line in said.splitlines() if line.startswith("calib: ")]
    wrong = []
    if "Traceback" in said or first not in (0, 1) or len(last) != first:
        wrong.append(f"it ended with status {first}: {said[-1500:]}")
    elif first == 1 and ("make room" not in last[0] or str(where) not in last[0]):
        wrong.append(f"it does not say which file and what to do: {last[0]}")
    subprocess.run(["mount", "-o", "remount,size=64m", str(where)], check=True)
    if ended(fork(stage.order("run", archive), log)) != 0:
        wrong.append(f"the next run failed: {log.read_text()[-1500:]}")
    else:
        wrong += faults_of(archive, stage)
    return ("came through" if first == 0 else "full at the " + at(last[0]) if last else "?"), wrong


def at(sentence: str) -> str:
    """Which layer had no room."""
    return "database" if ".sqlite" in sentence else "products" if ".fits" in sentence else "folder"


def main(arguments: list[str] | None = None) -> int:
    """Fill disks and report; return 1 if anything was lost or not told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disks", type=int, default=40)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args(arguments)
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"disk: seed {seed}", flush=True)
    chance, counts, harm = random.Random(seed), Counter[str](), []
    with tempfile.TemporaryDirectory() as top:
        stage = set_stage(Path(top) / "stage")
        whole_kib = sum(p.stat().st_size for p in stage.whole.rglob("*") if p.is_file()) // 1024
        for k in range(options.disks):
            where, size_kib = Path(top) / f"disk-{k}", chance.randint(4, int(1.2 * whole_kib))
            if not mounted(where, size_kib):
                print("  left out: no disk may be mounted here")
                return 0
            try:
                how, wrong = fill(stage, where, size_kib)
            finally:
                subprocess.run(["umount", str(where)], check=True)
            counts[how] += 1
            harm += [f"disk {k} of {size_kib} KiB: {w}" for w in wrong]
    for how, n in sorted(counts.items()):
        print(f"  {n:4} {how}")
    print(f"  {len(harm):4} faults")
    for one in harm:
        print(one, file=sys.stderr)
    return 1 if harm else 0


if __name__ == "__main__":
    sys.exit(main())
