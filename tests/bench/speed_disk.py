"""How far from the disk: scans and nights file to file, starts of commands, memory, and long archives.

Parts b, e, g, h and i of ``python -m tests.bench.speed``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from blake3 import blake3
from xxhash import xxh3_128

from calib.archive.database import Archive
from calib.archive.decisions import rulings
from calib.health import update_health
from calib.memory import kept_memory
from calib.night import MasterFile, ScanJob
from calib.profile import Profile
from calib.raw import group_sequences, identify
from calib.simulate import Survey, write_night
from calib.survey import run_survey
from tests.bench.long_archive import lengthen, short_archive, widen
from tests.bench.speed import ROUNDS, SCAN, beside, interleaved, show
from tests.small_camera import run, small


@contextmanager
def workshop(scans: int, nights: int = 1) -> Iterator[tuple[Path, list[Path]]]:
    """Yield a folder and the raw folders of simulated nights in it, the last night with scans."""
    with tempfile.TemporaryDirectory(prefix="vesper-bench-", dir="/var/tmp") as name:
        raw = Path(name) / "raw"
        for night in Survey(nights=nights, scans=dict.fromkeys(range(nights), scans)):
            write_night(night, raw / night.date)
        yield Path(name), sorted(raw.iterdir())


def _copy(sources: list[Path], sizes: list[int], folder: Path) -> None:
    """Read files and write as many bytes as given: what a run must at least do."""
    spare = np.random.default_rng(1).bytes(2**22)
    buffer = bytearray(2**22)
    for source in sources:
        with source.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    for k, size in enumerate(sizes):
        with (folder / str(k)).open("wb", buffering=0) as file:
            for start in range(0, size, len(spare)):
                file.write(spare[: size - start] if size - start < len(spare) else spare)


def _floor(sources: list[Path], sizes: list[int], folder: Path) -> Callable[[], None]:
    def work() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _copy(sources, sizes, folder)

    return work


# So much memory is left free: some hundred MB more than the system begins to look for pages at.
_LEFT_FREE = 700 * 2**20


def _fill_memory(folder: Path) -> None:
    """Fill free memory with pages that can be taken at once, those of a file that holds nothing.

    A virtual machine gives pages that have long been free back to its host, and to have them again takes up to seconds
    a GB: whoever writes first would pay for all.
    """
    os.sync()
    wanted, room = _free_bytes() - _LEFT_FREE, bytearray(2**24)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as ballast:
        ballast.truncate(max(wanted, 0))
        with Path(ballast.name).open("rb", buffering=0) as file:
            while file.readinto(room):
                pass


def _free_bytes() -> int:
    told = Path("/proc/meminfo").read_text().splitlines() if sys.platform == "linux" else []
    return next((1024 * int(line.split()[1]) for line in told if line.startswith("MemFree:")), 0)


def _drop(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def on_disk(profile: Profile) -> None:
    """(b) One scan file to file, and (e) a whole night."""
    with workshop(scans=6) as (folder, raw):
        files = sorted(raw[0].rglob("*.fits"))
        root = folder / "archive"
        archive = Archive(root, create=True)
        run_survey(archive, profile, raw, frames=False)
        archive.close()
        _one_scan(profile, folder, root, files)
        _night(profile, folder, raw, files)


def _one_scan(profile: Profile, folder: Path, root: Path, files: list[Path]) -> None:
    sequences = group_sequences([identify(f, profile) for f in files], profile)
    scan = next(s for s in sequences if s.obs_type == "scan" and s.band == "H" and s.scan == 1)
    masters = {p.name: p.relative_to(root).as_posix() for p in root.rglob("H/*.fits")}
    darks = {r: MasterFile(masters[f"dark-{r}.fits"], "d" * 64, scan.night, "accepted") for r in profile.reads}
    canonical = MasterFile(
        masters.get("canonical.fits", masters["responsivity.fits"]), "c" * 64, scan.night, "accepted"
    )
    job = ScanJob(root, scan, profile, darks, canonical)
    made = [(root / p.path, p.size) for p, *_ in job.run().products]
    sizes = [size for _, size in made]
    target = folder / "floor"

    def anew() -> None:
        # As the floor does: a file that takes the place of another is written to disk there and then.
        for path, _ in made:
            path.unlink()
        job.run()

    # As a run has it.
    with kept_memory():
        times = interleaved(
            {
                "calib: two reads with errors, masks, hashes": anew,
                "floor: those bytes read, those bytes written": _floor([i.path for i in scan.files], sizes, target),
            }
        )
    _drop(target)
    title = f"(b) one scan file to file, {scan.files[0].size / 1e6:.0f} MB in, {sum(sizes) / 1e6:.0f} MB out"
    show(title, times, {"floor: those bytes read, those bytes written": beside(1.6, "floor")})


def _night(profile: Profile, folder: Path, raw: list[Path], files: list[Path]) -> None:
    root = folder / "night"
    stages: list[dict[str, float]] = []

    def run() -> None:
        _drop(root)
        archive = Archive(root, create=True)
        stages.append(run_survey(archive, profile, raw).seconds)
        archive.close()

    run()
    products = [p for p in root.rglob("*") if p.is_file()]
    sizes = [p.stat().st_size for p in products]
    read = sum(f.stat().st_size for f in files)
    target = folder / "floor"

    def prepare() -> None:
        # What the last round left is no part of this one, and its pages are not to be had for nothing.
        _drop(root)
        _drop(target)
        _fill_memory(folder)

    work = {"calib run": run, "floor: raw read, products written": _floor(files, sizes, target)}
    times = interleaved(work, 3, before=prepare)
    _drop(target)
    title = f"(e) a night of 6 scans × 3 bands × 2 reads, {read / 1e9:.1f} GB in, {sum(sizes) / 1e9:.1f} GB out"
    show(title, times, {"floor: raw read, products written": beside(2, "floor")})
    spent = {stage: float(np.median([s.get(stage, 0.0) for s in stages[-3:]])) for stage in stages[-1]}
    spent["headers, database, the rest"] = times["calib run"] - sum(spent.values())
    print("  of it: " + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in spent.items()))
    part = np.random.default_rng(2).bytes(2**26)
    hashing = interleaved({"raw": lambda: blake3(part), "products": lambda: xxh3_128(part)})
    raw_s, products_s = hashing["raw"] * read / len(part), hashing["products"] * sum(sizes) / len(part)
    print(
        f"  of the calibration, over the cores: BLAKE3 of what is read {raw_s:.2f} s, XXH3 of what is written "
        f"{products_s:.2f} s; reads of scans as in (a)"
    )


def starts(profile: Profile) -> None:
    """(g) Second starts of commands."""
    with workshop(scans=0) as (folder, raw):
        archive = Archive(folder / "archive", create=True)
        run_survey(archive, profile, raw)
        archive.close()
        calib = str(Path(sys.executable).with_name("calib"))
        where = ["--archive", str(folder / "archive")]
        commands = {
            "calib --help": [calib, "--help"],
            "calib status": [calib, "status", *where],
            "calib run, nothing to do": [calib, "run", str(raw[0]), *where],
        }

        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS + 1):
            for name, command in commands.items():
                start = time.perf_counter()
                with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
                    assert process.stdout is not None
                    process.stdout.read(1)
                    taken[name].append(time.perf_counter() - start)
                    process.stdout.read()
        show(
            "(g) a second start to its first output (→ < 1000 ms)",
            {name: float(np.median(t[1:])) for name, t in taken.items()},
        )


_CHILD = """
import sys
from pathlib import Path
from calib.archive.database import Archive
from calib.archive.decisions import rulings
from calib.health import update_health
from calib.profile import load_profile
from calib.survey import run_survey
archive = Archive(Path(sys.argv[1]), create=True)
run_survey(archive, load_profile("2mass"), [Path(p) for p in sys.argv[2:]])
archive.close()
# What getrusage tells of a child begins with the size of its parent.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def memory() -> None:
    """(h) Peak memory of a run by the number of scans and nights."""
    parts = []
    for scans, nights in ((2, 1), (8, 1), (2, 3)):
        with workshop(scans, nights) as (folder, raw):
            command = [sys.executable, "-c", _CHILD, str(folder / "archive"), *map(str, raw)]
            peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
            parts.append(f"{nights} × {scans}: {peak / 1024:.0f} MB")
    print("(h) peak memory of a run, nights × scans (three bands)")
    print("  " + ", ".join(parts), flush=True)


def growth() -> None:
    """(i) One more night, and nothing to do, by the number of nights in the archive."""
    with tempfile.TemporaryDirectory(prefix="vesper-bench-", dir="/var/tmp") as name:
        top = Path(name)
        archive, raw, one_more = short_archive(top)
        places = {30: (archive, raw), 1290: lengthen(archive, raw, top / "long", 43)}
        print("(i) one more night of a small camera (3 bands, one scan), by the nights there are; nothing to do")
        took: dict[int, float] = {}
        for nights, (root, known) in places.items():
            if nights > 30:
                run(root, known)
            scans = widen(root, 60)
            with_maps = Archive(root)
            update_health(with_maps, small(), rulings(with_maps))
            with_maps.close()
            seconds, stages, idle = [], [], []
            for _ in range(3):
                shutil.copy2(root / "archive.sqlite", top / "kept.sqlite")
                start = time.perf_counter()
                stages.append(run(root, [known, one_more]).seconds)
                seconds.append(time.perf_counter() - start)
                start = time.perf_counter()
                run(root, [known, one_more])
                idle.append(time.perf_counter() - start)
                shutil.copy2(top / "kept.sqlite", root / "archive.sqlite")
            took[nights] = float(np.median(seconds))
            spent = {stage: float(np.median([s[stage] for s in stages])) for stage in stages[-1]}
            words = ", ".join(f"{stage} {1000 * s:.0f}" for stage, s in spent.items())
            print(
                f"  {nights:5} nights, {scans} reads of scans: {1000 * np.median(seconds):7.0f} ms ({words}); "
                f"{1000 * np.median(idle):.0f} ms"
            )
        frames = 60 * 3 * 2 * SCAN[0]
        print(
            f"  of what the longer one takes more, a frame of a full night (60 scans × 3 bands × 2 reads) bears "
            f"{1e6 * (took[1290] - took[30]) / frames:.0f} µs"
        )
