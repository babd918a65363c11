"""How far from memory and disk: one table of medians and ratios, everything measured interleaved in one run.

Run with ``python -m tests.bench.speed [PART …]``, parts being the letters a–i of the table. Speeds depend on the
machine and on what else it does; read the ratios.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange

from calib import kernels
from calib.memory import kept_memory
from calib.profile import Profile, load_profile
from calib.scan import CalibratedBlock, Master, calibrate_scan
from calib.sky import block_bounds
from tests.bench import peers

SCAN = (276, 256, 256)
ROUNDS = 5


def interleaved(
    work: dict[str, Callable[[], object]], rounds: int = ROUNDS, *, before: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Return the median seconds of each piece of work, one of each per round; ``before`` each something is done."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for function in work.values():
        function()  # compiles, warms caches
    for _ in range(rounds):
        for name, function in work.items():
            gc.collect()
            before()
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


@njit(parallel=True, nogil=True, cache=True)
def _one_pass_with_errors(plus, minus, out, error, mask):  # type: ignore[no-untyped-def]
    for k in prange(out.shape[0]):
        a, b, c, d, e = plus[k], minus[k], out[k], error[k], mask[k]
        for i in range(c.size):
            c[i] = np.float32(a[i]) - np.float32(b[i])
        for i in range(c.size):
            d[i] = np.float32(a[i])
        for i in range(c.size):
            e[i] = np.uint8(a[i] > 52_200)


def scan_arrays(n: int, ny: int, nx: int, profile: Profile, *, jumps_dn: float = 0.0) -> dict[str, Any]:
    """Return raw frames, dark and canonical of a scan with a few bad pixels and saturated samples.

    Levels rise by 1 DN a frame and scatter by ``jumps_dn`` about that.
    """
    rng = np.random.default_rng(7)
    flat = (1 + 0.05 * rng.standard_normal((ny, nx))).astype(np.float32)
    dark = (300 + 10 * rng.standard_normal((ny, nx))).astype(np.float32)
    noise = rng.normal(0, 22, (16, ny, nx))
    r1 = np.empty((n, ny, nx), np.uint16)
    r2 = np.empty_like(r1)
    for k in range(n):
        r1[k] = 10_000 + 700 * (np.arange(nx) % 2) + 4 * noise[(3 * k) % 16]
        level = 2800 + k + jumps_dn * rng.standard_normal()
        r2[k] = r1[k] + dark + level * flat + noise[k % 16] + 20 * rng.standard_normal((ny, nx))
    r2[rng.random(r2.shape) < 1e-4] = 60_000
    mask = np.where(rng.random((ny, nx)) < 0.005, 1, 0).astype(np.int16)
    return {
        "raw": {"R1": r1, "R2": r2},
        "dark": Master(dark, np.full_like(dark, 0.9), mask),
        "canonical": Master(flat, np.full_like(flat, 6e-4), mask),
    }


def calibrate(
    scan: dict[str, Any], profile: Profile, sink: Callable[[CalibratedBlock], None], *, errors: bool = True
) -> None:
    """Calibrate a scan in memory, with masks and, unless told otherwise, errors."""
    calibrate_scan(
        scan["raw"],
        band="H",
        read="R2-R1",
        dark=scan["dark"],
        canonical=scan["canonical"],
        profile=profile,
        sink=sink,
        errors=errors,
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
    error, bits = np.empty(r2.shape, np.float32), np.empty(r2.shape, np.uint8)
    product, floor = "calib: values, errors, masks, levels, checks", "floor: two reads in; values, errors, masks out"
    values, least = "calib: the same without errors", "floor: two reads in, values out"
    work: dict[str, Callable[[], object]] = {
        product: lambda: calibrate(scan, profile, lambda block: None),
        values: lambda: calibrate(scan, profile, lambda block: None, errors=False),
        floor: lambda: _one_pass_with_errors(r2, r1, out, error, bits),
        least: lambda: _one_pass(r2, r1, out),
    }
    targets = {floor: "→ first / this ≤ 5"}
    peer = "CPL: values alone"
    library = peers.cpl()
    if library is not None:
        work[peer] = lambda: library.scan(plus.copy(), minus, dark, flat, bounds, profile.sky.alpha)
        targets[peer] = "→ ≥ 25 × second"
    with kept_memory():  # as a run does
        times = interleaved(work)
    peer = "ccdproc: values and masks of pixels"
    work[peer] = lambda: peers.ccdproc_scan(plus, minus, dark, flat, bad, bounds, profile.sky.alpha)
    times[peer] = interleaved({name: work[name] for name in (product, peer)}, 3)[peer]
    targets[peer] = "→ ≥ 50 × second"
    for name, target in targets.items():
        ours = product if name == floor else values
        targets[name] = f"{target}: {times[name] / times[ours] if name != floor else times[ours] / times[name]:.1f}"
    show(f"(a) one read of a scan in memory, {SCAN}", times, targets)
    if library is None:
        print("  CPL is not installed (Debian: libcpl-dev); left out")


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
    scans = {f"{dn:g} DN": scan_arrays(*SCAN, profile, jumps_dn=dn) for dn in (0.0, 3.0, 30.0)}
    jumping: dict[str, Callable[[], object]] = {
        name: lambda a=scan: calibrate(a, profile, lambda block: None) for name, scan in scans.items()
    }
    times = interleaved(jumping, 3)
    print("  levels that scatter by " + ", ".join(f"{n}: {1e3 * s / pixels:.2f} ms" for n, s in times.items()))
    sized: dict[str, Callable[[], object]] = {}
    weight = {}
    for side in (256, 512, 1024, 2048):
        # Two blocks at least: beside a single one there is nothing else to do while it is concluded.
        n = max(92, 276 // (side // 256) ** 2)
        arrays = scan_arrays(n, side, side, profile)
        p = profile.model_copy(update={"detector": profile.detector.model_copy(update={"shape": (side, side)})})
        sized[str(side)] = lambda a=arrays, p=p: calibrate(a, p, lambda block: None)
        weight[str(side)] = n * side * side / 1e6
    times = interleaved(sized, 3)
    print("  array of   " + ", ".join(f"{n}²: {1e3 * s / weight[n]:.2f} ms" for n, s in times.items()))


PARTS = "abcdefghi"


def main(parts: str = PARTS) -> None:
    """Print these parts of the table."""
    from tests.bench import speed_disk

    warnings.simplefilter("ignore")
    profile = load_profile("2mass")
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"Medians of interleaved rounds on {os.cpu_count()} cores; load of the machine at the start {load}")
    if "a" in parts:
        in_memory(profile)
    if "b" in parts or "e" in parts:
        speed_disk.on_disk(profile)
    if "c" in parts:
        darks()
    if "d" in parts:
        responsivity()
    if "f" in parts:
        with kept_memory():
            per_frame(profile)
    if "g" in parts:
        speed_disk.starts(profile)
    if "h" in parts:
        speed_disk.memory()
    if "i" in parts:
        speed_disk.growth()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"letters of the table, among {PARTS}; all if none")
    wanted = "".join(parser.parse_args().parts) or PARTS
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    main(wanted)
