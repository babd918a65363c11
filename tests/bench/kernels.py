"""Kernels beside their peers on the same arrays, in one run: medians and ratios.

Run with ``python -m tests.bench.kernels``. Speeds depend on the machine; read the ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from calib import kernels

ROUNDS = 5


def median_time(work: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of each piece of work, the rounds interleaved."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for function in work.values():
        function()  # compiles, warms caches
    for _ in range(ROUNDS):
        for name, function in work.items():
            start = time.perf_counter()
            function()
            taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) for name, t in taken.items()}


def show(title: str, times: dict[str, float]) -> None:
    """Print a block of the table; the first entry is ours."""
    ours = next(iter(times.values()))
    print(title)
    for name, seconds in times.items():
        print(f"  {name:34} {1000 * seconds:9.1f} ms   {seconds / ours:6.1f} ×")


def main() -> None:
    """Print the table."""
    import warnings

    from astropy.stats import sigma_clip
    from ccdproc import CCDData, Combiner

    warnings.simplefilter("ignore")
    rng = np.random.default_rng(7)
    pixels = 256 * 256

    block = rng.normal(2800, 20, (46, pixels)).astype(np.float32)
    block[rng.random(block.shape) < 0.002] = np.nan
    levels = np.zeros(46)

    def scipy_trim() -> object:
        filled = np.where(np.isnan(block), np.float32(2800), block)
        return stats.trim_mean(filled, 0.2, axis=0)

    show(
        "trimmed mean of 46 frames, masked samples, with errors",
        median_time(
            {"calib": lambda: kernels.trimmed_mean(block, levels, 0.2), "scipy.stats.trim_mean (no mask)": scipy_trim}
        ),
    )
    for n in (48, 200):
        dark = rng.normal(300, 6, (n, pixels)).astype(np.float32)
        stack = [CCDData(d.reshape(256, 256), unit="adu") for d in dark]

        def clipped(dark: np.ndarray = dark) -> object:
            return sigma_clip(dark, sigma=5, axis=0, cenfunc="median", stdfunc="mad_std", maxiters=5).mean(axis=0)

        def combined(stack: list[CCDData] = stack) -> object:
            combiner = Combiner(stack)
            combiner.sigma_clipping(5, 5, func=np.ma.median)
            return combiner.average_combine()

        show(
            f"clipped mean and noise of {n} frames",
            median_time(
                {
                    "calib": lambda dark=dark: kernels.clipped_mean(dark, 5.0),
                    "astropy.stats.sigma_clip": clipped,
                    "ccdproc.Combiner": combined,
                }
            ),
        )
    light = 20000 * 2 ** (-np.arange(56) * 6.5 / 174)
    frames = (rng.normal(1, 0.03, pixels) * light[:, None] + rng.normal(0, 40, (56, pixels))).astype(np.float32)
    variance = np.full(pixels, 30.0, np.float32)

    def iterative() -> object:
        keep = np.ones(frames.shape, bool)
        weight = 1 / (variance + light[:, None] / 8)
        slope = intercept = np.zeros(pixels)
        for _ in range(4):
            w = weight * keep
            total, sx, sy = w.sum(0), (w * light[:, None]).sum(0), (w * frames).sum(0)
            sxx, sxy = (w * light[:, None] ** 2).sum(0), (w * light[:, None] * frames).sum(0)
            slope = (total * sxy - sx * sy) / (total * sxx - sx**2)
            intercept = (sy - slope * sx) / total
            keep = np.abs(frames - intercept - slope * light[:, None]) * np.sqrt(weight) < 4
        return slope, intercept

    show(
        "robust slope of 56 frames with errors and χ²",
        median_time(
            {
                "calib": lambda: kernels.robust_slope(frames, light, variance, 8.0, kappa=4, iterations=4),
                "NumPy, iterative": iterative,
            }
        ),
    )


if __name__ == "__main__":
    main()
