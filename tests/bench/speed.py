"""How far from memory and disk: one table of medians and ratios, everything measured interleaved in one run.

Run with ``python -m tests.bench.speed [PART …]``, parts being the letters a–h of the table. Speeds depend on the
machine and on what else it does; read the ratios.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numba import njit, prange

from calib import kernels
from calib.archive.database import Archive
from calib.night import MasterFile, ScanJob
from calib.profile import Profile, load_profile
from calib.raw import group_sequences, identify
from calib.scan import CalibratedBlock, Master, calibrate_scan
from calib.simulate import Survey, write_night
from calib.sky import block_bounds
from calib.survey import run_survey
from tests.bench import peers

SCAN = (276, 256, 256)
ROUNDS = 5


def interleaved(work: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of each piece of work, one of each per round."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for function in work.values():
        function()  # compiles, warms caches
    for _ in range(rounds):
        for name, function in work.items():
            gc.collect()
            start = time.perf_counter()
            function()
            taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) for name, t in taken.items()}


def show(title: str, times: dict[str, float], targets: dict[str, str] | None = None) -> None:
    """Print a block of the table; the first entry is ours, ratios are those of the others to it."""
    ours = next(iter(times.values()))
    print(title)
    for name, seconds in times.items():
        target = (targets or {}).get(name, "")
        print(f"  {name:46} {1000 * seconds:10.1f} ms  {seconds / ours:8.2f} ×  {target}".rstrip(), flush=True)


def beside(ratio: float, floor: str) -> str:
    """Return a target in words: at most so many times a floor."""
    return f"→ ours / {floor} ≤ {ratio:g}"


@njit(parallel=True, nogil=True, cache=True)
def _one_pass(plus, minus, out):  # type: ignore[no-untyped-def]
    for k in prange(out.shape[0]):
        a, b, c = plus[k], minus[k], out[k]
        for i in range(c.size):
            c[i] = np.float32(a[i]) - np.float32(b[i])


def scan_arrays(n: int, ny: int, nx: int, profile: Profile) -> dict[str, Any]:
    """Return raw frames, dark and canonical of a scan with a few bad pixels and saturated samples."""
    rng = np.random.default_rng(7)
    flat = (1 + 0.05 * rng.standard_normal((ny, nx))).astype(np.float32)
    dark = (300 + 10 * rng.standard_normal((ny, nx))).astype(np.float32)
    noise = rng.normal(0, 22, (16, ny, nx))
    r1 = np.empty((n, ny, nx), np.uint16)
    r2 = np.empty_like(r1)
    for k in range(n):
        r1[k] = 10_000 + 700 * (np.arange(nx) % 2) + 4 * noise[(3 * k) % 16]
        r2[k] = r1[k] + dark + (2800 + k) * flat + noise[k % 16] + 20 * rng.standard_normal((ny, nx))
    r2[rng.random(r2.shape) < 1e-4] = 60_000
    mask = np.where(rng.random((ny, nx)) < 0.005, 1, 0).astype(np.int16)
    return {
        "raw": {"R1": r1, "R2": r2},
        "dark": Master(dark, np.full_like(dark, 0.9), mask),
        "canonical": Master(flat, np.full_like(flat, 6e-4), mask),
    }


def calibrate(scan: dict[str, Any], profile: Profile, sink: Callable[[CalibratedBlock], None]) -> None:
    """Calibrate a scan in memory, with errors and masks."""
    calibrate_scan(
        scan["raw"],
        band="H",
        read="R2-R1",
        dark=scan["dark"],
        canonical=scan["canonical"],
        profile=profile,
        sink=sink,
    )


def in_memory(profile: Profile) -> None:
    """(a) One read of a scan in memory."""
    scan = scan_arrays(*SCAN, profile)
    r1, r2 = (scan["raw"][name].reshape(SCAN[0], -1) for name in ("R1", "R2"))
    out = np.empty(r2.shape, np.float32)
    bounds = block_bounds(SCAN[0], profile.sky.block_frames)
    bad = scan["dark"].mask > 0
    dark, flat = scan["dark"].value, scan["canonical"].value
    minus = scan["raw"]["R1"].astype(np.float32)
    plus = scan["raw"]["R2"].astype(np.float32)
    work: dict[str, Callable[[], object]] = {
        "calib: values, errors, masks": lambda: calibrate(scan, profile, lambda block: None),
        "floor: two reads in, float32 out, both cores": lambda: _one_pass(r2, r1, out),
    }
    targets = {"floor: two reads in, float32 out, both cores": beside(5, "floor")}
    library = peers.cpl()
    if library is not None:
        work["CPL: values alone"] = lambda: library.scan(plus.copy(), minus, dark, flat, bounds, profile.sky.alpha)
        targets["CPL: values alone"] = "→ ≥ 25"
    times = interleaved(work)
    slow = {"calib": work["calib: values, errors, masks"]}
    slow["ccdproc: values and masks of pixels"] = lambda: peers.ccdproc_scan(
        plus, minus, dark, flat, bad, bounds, profile.sky.alpha
    )
    times["ccdproc: values and masks of pixels"] = interleaved(slow, 3)["ccdproc: values and masks of pixels"]
    targets["ccdproc: values and masks of pixels"] = "→ ≥ 50"
    show(f"(a) one read of a scan in memory, {SCAN}", times, targets)
    if library is None:
        print("  CPL is not installed (Debian: libcpl-dev); left out")


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
    sizes = [p.size for p, *_ in job.run().products]
    target = folder / "floor"
    times = interleaved(
        {
            "calib: two reads with errors, masks, hashes": job.run,
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
    times = interleaved({"calib run": run, "floor: raw read, products written": _floor(files, sizes, target)}, 3)
    _drop(target)
    title = f"(e) a night of 6 scans × 3 bands × 2 reads, {read / 1e9:.1f} GB in, {sum(sizes) / 1e9:.1f} GB out"
    show(title, times, {"floor: raw read, products written": beside(2, "floor")})
    spent = {stage: float(np.median([s.get(stage, 0.0) for s in stages[-3:]])) for stage in stages[-1]}
    spent["headers, database, the rest"] = times["calib run"] - sum(spent.values())
    print("  of it: " + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in spent.items()))
    part = np.random.default_rng(2).bytes(2**26)
    hashing = interleaved({"hash": lambda: blake3(part)})["hash"] * (read + sum(sizes)) / len(part)
    print(f"  of the calibration, over the cores: BLAKE3 of every byte {hashing:.2f} s; reads of scans as in (a)")


def darks() -> None:
    """(c) Darks of 40 and 200 frames."""
    rng = np.random.default_rng(3)
    library = peers.cpl()
    for n in (40, 200):
        frames = rng.normal(300, 6, (n, 256 * 256)).astype(np.float32)
        frames[rng.random(frames.shape) < 0.002] += 500
        work: dict[str, Callable[[], object]] = {
            "calib: mean, noise, counts": lambda frames=frames: kernels.clipped_mean(frames, 5.0),
            "astropy.stats.sigma_clip, mean, std": lambda frames=frames: peers.astropy_dark(frames),
        }
        if library is not None:
            work["CPL: clipped mean"] = lambda frames=frames: library.dark(frames.reshape(-1, 256, 256))
        targets = {"astropy.stats.sigma_clip, mean, std": "→ ≥ 10", "CPL: clipped mean": "→ ≥ 7"}
        show(f"(c) dark of {n} frames", interleaved(work, 3), targets)


def responsivity() -> None:
    """(d) Responsivity of 60 frames."""
    rng = np.random.default_rng(5)
    pixels, n = 256 * 256, 60
    light = 20_000 * 2 ** (-np.arange(n) * 6.5 / 174)
    clean = rng.normal(1, 0.03, pixels) * light[:, None]
    frames = (clean + np.sqrt(30 + clean / 8) * rng.standard_normal(clean.shape)).astype(np.float32)
    frames[rng.random(frames.shape) < 0.002] += 3000
    variance = np.full(pixels, 30.0, np.float32)
    times = interleaved(
        {
            "calib: slope, errors, χ², curvature": lambda: kernels.robust_slope(
                frames, light, variance, 8.0, kappa=4, iterations=4
            ),
            "NumPy, iterative": lambda: peers.iterative_slope(frames, light, variance, 8.0),
        },
        3,
    )
    show("(d) responsivity of 60 frames", times, {"NumPy, iterative": "→ ≥ 15"})


def per_frame(profile: Profile) -> None:
    """(f) Cost per frame and megapixel for block lengths and sizes of array."""
    scan = scan_arrays(*SCAN, profile)
    by_block = {
        str(n): profile.model_copy(update={"sky": profile.sky.model_copy(update={"block_frames": n})})
        for n in (42, 69, 92, 138, 276)
    }
    work: dict[str, Callable[[], object]] = {
        name: lambda p=p: calibrate(scan, p, lambda block: None) for name, p in by_block.items()
    }
    print("(f) cost per frame and megapixel, whole scan in memory")
    pixels = SCAN[0] * SCAN[1] * SCAN[2] / 1e6
    print("  block of   " + ", ".join(f"{n}: {1e3 * s / pixels:.2f} ms" for n, s in interleaved(work, 3).items()))
    sized: dict[str, Callable[[], object]] = {}
    weight = {}
    for side in (256, 512, 1024, 2048):
        n = max(46, 276 // (side // 256) ** 2)
        arrays = scan_arrays(n, side, side, profile)
        p = profile.model_copy(update={"detector": profile.detector.model_copy(update={"shape": (side, side)})})
        sized[str(side)] = lambda a=arrays, p=p: calibrate(a, p, lambda block: None)
        weight[str(side)] = n * side * side / 1e6
    times = interleaved(sized, 3)
    print("  array of   " + ", ".join(f"{n}²: {1e3 * s / weight[n]:.2f} ms" for n, s in times.items()))


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


def main(parts: str = "abcdefgh") -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    profile = load_profile("2mass")
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"Medians of interleaved rounds on {os.cpu_count()} cores; load of the machine at the start {load}")
    if "a" in parts:
        in_memory(profile)
    if "b" in parts or "e" in parts:
        on_disk(profile)
    if "c" in parts:
        darks()
    if "d" in parts:
        responsivity()
    if "f" in parts:
        per_frame(profile)
    if "g" in parts:
        starts(profile)
    if "h" in parts:
        memory()


if __name__ == "__main__":
    main("".join(sys.argv[1:]) or "abcdefgh")
