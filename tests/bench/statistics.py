"""What the monitoring statistics are worth: false alarms on quiet nights, faults caught, limits of detection.

``python -m tests.bench.statistics [--nights 1000] [--trials 100] [--workers 2]``. Quiet nights vary as healthy ones do
(`calib.simulate.detector.vary_quietly`); each fault is put on one night after at least sixty quiet ones, and all is
judged from what was known that night.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from calib.profile import load_profile
from calib.series import cause_of
from calib.simulate import Survey
from calib.simulate.camera import BANDS, CAMERA, quadrant
from calib.simulate.shapes import corner_glow, disc, tilt
from tests.bench.instrument import Band, NightProducts, Truth, measure, name, truth_of

LENGTH = 100
"""Nights of one survey; each has its own arrays and begins cold."""
HISTORY = 60
SIZE = 256


# Faults -----------------------------------------------------------------------------------------------------------


def _flat(truth: Truth, factor: np.ndarray) -> Truth:
    return replace(truth, responsivity=(truth.responsivity * factor).astype(np.float32))


def _dark(truth: Truth, more: dict[str, np.ndarray]) -> Truth:
    return replace(truth, darks={r: (d + more.get(r, 0)).astype(np.float32) for r, d in truth.darks.items()})


def quadrant_step(truth: Truth, size: float, rng: np.random.Generator, band: str) -> Truth:
    factor = np.ones((SIZE, SIZE), np.float32)
    factor[quadrant(int(rng.integers(4)))] += size / 100
    return _flat(truth, factor)


def dust_spot(truth: Truth, size: float, rng: np.random.Generator, band: str) -> Truth:
    center = tuple(rng.uniform(12, SIZE - 12, 2))
    return _flat(truth, 1 - size / 100 * disc(center, 8.0, SIZE))


def cloud_gradient(truth: Truth, size: float, rng: np.random.Generator, band: str) -> Truth:
    return _flat(truth, 1 + size / 100 * tilt(float(rng.uniform(0, 360)), SIZE))


def light_leak(truth: Truth, size: float, rng: np.random.Generator, band: str) -> Truth:
    glow = size * corner_glow(int(rng.integers(4)), 40.0, SIZE)
    return _dark(truth, {"R2-R1": glow})


def dark_jump(truth: Truth, size: float, rng: np.random.Generator, band: str) -> Truth:
    """Jump by so many times the quiet nightly scatter, in both reads."""
    sign = rng.choice([-1, 1])
    return _dark(truth, {"R1": np.float32(100 * size * sign), "R2-R1": np.float32(20 * size * sign)})


def hot_pixels(truth: Truth, size: float, rng: np.random.Generator, band: str, faintest: float = 300.0) -> Truth:
    """Make so many pixels hot, of 300 to 3000 DN above the limit of what is called hot."""
    usable = np.flatnonzero(truth.good & (truth.darks["R2-R1"] < 700))
    places = rng.choice(usable, int(size), replace=False)
    current = np.zeros(SIZE * SIZE, np.float32)
    current[places] = 400 + np.exp(rng.uniform(np.log(faintest), np.log(10 * faintest), int(size)))
    current = current.reshape(SIZE, SIZE)
    noise = np.sqrt(truth.noise["R2-R1"] ** 2 + current / CAMERA[band].gain_e_per_dn).astype(np.float32)
    return replace(_dark(truth, {"R2-R1": current}), noise={**truth.noise, "R2-R1": noise})


@dataclass(frozen=True)
class Case:
    """A fault, the size that must be caught, sizes for the limit of detection, and what counts as its cause."""

    title: str
    unit: str
    make: Callable[..., Truth]
    size: float
    sizes: tuple[float, ...]
    product: str
    causes: tuple[str, ...]
    verdict: str = ""


CASES = (
    Case(
        "quadrant step",
        "%",
        quadrant_step,
        0.5,
        (0.05, 0.1, 0.15, 0.2, 0.3),
        "responsivity",
        ("quadrant step", "slow drift, quadrant step"),
    ),
    Case("dust spot, radius 8 px", "%", dust_spot, 3.0, (0.2, 0.3, 0.4, 0.6, 1.0), "responsivity", ("spot",)),
    Case(
        "cloud gradient (rejected)",
        "%",
        cloud_gradient,
        1.0,
        (0.3, 0.5, 0.6, 0.7, 0.8),
        "responsivity",
        ("cloud gradient",),
        "rejected",
    ),
    Case("light leak in the dark", "DN", light_leak, 50.0, (0.5, 1.0, 2.0, 5.0, 20.0), "dark R2-R1", ("light leak",)),
    Case("dark jump", "σ", dark_jump, 6.0, (2.0, 3.0, 4.0, 5.0), "dark R2-R1", ("level jump",), "accepted"),
    Case("new hot pixels", "px", hot_pixels, 20, (1, 2, 3, 5, 10), "dark R2-R1", ("hot pixels",)),
)


@dataclass(frozen=True)
class Result:
    """What became of one trial."""

    case: str
    size: float
    caught: bool
    named: bool
    false_pixels: int = 0
    others: tuple[bool, ...] = ()


# The rules of others ----------------------------------------------------------------------------------------------

OTHERS = ("6 σ on 5 % of pixels", "±10 % of trend mean", "3 σ of array median")


class Others:
    """Three rules that are in use elsewhere, applied to the same products.

    The first compares every pixel with the standard at its stated error and objects if more than 5 % are beyond 6 σ;
    the second objects if the level (median of the dark, mean of the responsivity) is more than 10 % from its mean over
    the last 30 nights; the third if it is more than 3 σ from that mean, σ being the scatter of those nights.
    """

    def __init__(self) -> None:
        self.levels: dict[str, list[float]] = defaultdict(list)

    @staticmethod
    def _level(products: NightProducts, product: str) -> float:
        if product == "responsivity":
            return float(np.mean(products.flat.value[products.flat.good]))
        return float(np.median(products.darks[product.removeprefix("dark ")].value))

    def add(self, products: NightProducts) -> None:
        for product in ("responsivity", "dark R1", "dark R2-R1"):
            self.levels[product].append(self._level(products, product))

    def judge(self, products: NightProducts, window: list[NightProducts], product: str) -> tuple[bool, ...]:
        """Return whether each rule objects to one product of a night."""

        def parts(p: NightProducts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            image = p.flat if product == "responsivity" else p.darks[product.removeprefix("dark ")]
            return image.value, image.error, image.good

        value, error, good = parts(products)
        before = np.mean([parts(w)[0] for w in window], axis=0)
        share = float((np.abs(value - before) > 6 * error * np.sqrt(1 + 1 / len(window)))[good].mean())
        last = np.array(self.levels[product][-30:])
        level, centre, scatter = self._level(products, product), last.mean(), last.std(ddof=1)
        return share > 0.05, bool(abs(level - centre) > 0.1 * abs(centre)), bool(abs(level - centre) > 3 * scatter)


# One survey of one band -------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What one band of one survey gave."""

    nights: int = 0
    rejected: int = 0
    alerts: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()
    others_false: np.ndarray | None = None
    seconds: float = 0.0
    walks: tuple[tuple[float, float, bool], ...] = ()


def one_band(seed: int, band: str, length: int, trials: bool, missing: float, fine: bool) -> Outcome:
    """Go through the nights of one band."""
    profile = load_profile("2mass")
    survey = Survey(nights=length, seed=seed, scans={})
    it, others, out = Band(profile, band), Others(), Outcome()
    rng = np.random.default_rng([seed, BANDS.index(band)])
    results: list[Result] = []
    alerts: list[str] = []
    false = np.zeros((2, 3), int)
    for night in range(length):
        if rng.random() < missing:
            continue
        truth = truth_of(survey.detector(night, band))
        products = measure(truth, rng)
        if trials and night >= HISTORY and it.reference is not None:
            results += _trials(it, others, truth, night, rng, band, fine)
        start = time.perf_counter()
        told = it.add(night, products)
        out.seconds += time.perf_counter() - start
        out.nights += 1
        out.rejected += not told.accepted
        alerts += [f"{name(night)} {band} {product}: {cause}" for product, cause in told.notices]
        if len(it.window) >= 5 and night > 30:
            false += [others.judge(products, it.window[:-1], p) for p in ("responsivity", "dark R2-R1")]
        others.add(products)
    walks: list[tuple[float, float, bool]] = []
    for product in it.subjects:
        start = time.perf_counter()
        series = it.chart(product)
        out.seconds += time.perf_counter() - start
        for change in series.chart.changes:
            z = change.significance
            alerts.append(f"{series.nights[change.seen]} {band} {product}: {cause_of(product, change)} ({z:.1f} σ)")
    if trials:
        for rate in (0.02, 0.05, 0.1, 0.2):
            walks += _walks(it, rate, rng)
    out.results, out.alerts, out.others_false, out.walks = tuple(results), tuple(alerts), false, tuple(walks)
    return out


def _trials(
    it: Band, others: Others, truth: Truth, night: int, rng: np.random.Generator, band: str, fine: bool
) -> Iterator[Result]:
    """Put every fault on this night in turn."""
    for k, case in enumerate(CASES):
        # One night in eight for the size that must be caught, one in sixteen for each of the others.
        sizes = [case.size] if (night + k) % 8 == 0 else []
        if fine and (night + k) % 16 == 4:
            sizes += list(case.sizes)
        for size in sizes:
            faulty = case.make(truth, size, rng, band)
            products = measure(faulty, rng)
            yield _judged(it, others, case, size, products, truth, faulty, night)


def _judged(
    it: Band,
    others: Others,
    case: Case,
    size: float,
    products: NightProducts,
    truth: Truth,
    faulty: Truth,
    night: int,
) -> Result:
    told = it.judge(products)
    maps = it.cell_maps(products)
    causes = []
    for product in ("responsivity", *(f"dark {r}" for r in it.reads)):
        verdict = told.flat if product == "responsivity" else told.darks[product.removeprefix("dark ")]
        if verdict.status == "rejected":
            causes.append((product, verdict.cause.split(" (")[0]))
            continue
        series = it.chart(product, {name(night): maps[product]})
        last = len(series.nights) - 1
        causes += [(product, cause_of(product, c)) for c in series.chart.changes if c.seen == last]
    causes += list(told.notices)
    verdict = told.flat if case.product == "responsivity" else told.darks[case.product.removeprefix("dark ")]
    caught = bool(causes) and case.verdict in ("", verdict.status)
    named = caught and any(p == case.product and c in case.causes for p, c in causes)
    false = 0
    if case.make is hot_pixels:
        new = faulty.darks["R2-R1"] - truth.darks["R2-R1"] > 0
        false = max(told.counts.get(("dark R2-R1", "hot"), 0) - int(new.sum()), 0)
    return Result(case.title, size, caught, named, false, others.judge(products, it.window, case.product))


def _walks(it: Band, rate: float, rng: np.random.Generator) -> Iterator[tuple[float, float, bool]]:
    """Let the responsivity tilt by so much a night, from several nights on; yield rate, size when seen, cause right."""
    nights = sorted(it.maps["responsivity"])
    for first in range(HISTORY, len(nights) - 15, 5):
        angle = np.deg2rad(rng.uniform(0, 360))
        y, x = np.meshgrid(*[(np.arange(8) + 0.5) / 8 - 0.5] * 2, indexing="ij")
        plane = np.cos(angle) * x + np.sin(angle) * y
        instead, seen = {}, (np.inf, False)
        for k, night in enumerate(nights[first:]):
            cells, error = it.maps["responsivity"][night]
            instead[night] = (cells + rate * (k + 1) * plane, error)
        series = it.chart("responsivity", instead)
        for change in series.chart.changes:
            if change.seen >= first:
                seen = rate * (change.seen - first + 1), change.pattern.family == "gradient"
                break
        yield rate, *seen


# The table --------------------------------------------------------------------------------------------------------


def main(nights: int = 1000, trials: int = 100, workers: int = 2, missing: float = 0.0, seed: int = 1000) -> None:
    """Print the tables."""
    surveys = -(-nights // LENGTH)
    jobs = [(seed + k, band) for k in range(surveys) for band in BANDS]
    run = partial(one_band, length=LENGTH, trials=trials > 0, missing=missing, fine=True)
    with ProcessPoolExecutor(workers) as pool:
        outcomes = list(pool.map(run, *zip(*jobs, strict=True)))
    n = sum(o.nights for o in outcomes)
    alerts = [a for o in outcomes for a in o.alerts]
    print(f"Quiet: {n // len(BANDS)} instrument-nights x {len(BANDS)} bands, {surveys} surveys that begin cold", end="")
    print(f", {missing:.0%} of the nights missing" if missing else "")
    print(f"  alerts of any state      {len(alerts)}")
    print(f"  flats or darks rejected  {sum(o.rejected for o in outcomes)}")
    print(f"  statistics of a night    {1000 * sum(o.seconds for o in outcomes) / n * len(BANDS):.0f} ms, three bands")
    for line in alerts:
        print(f"    {line}")
    if not trials:
        return
    results = [r for o in outcomes for r in o.results]
    print("\nFaults on one night, after at least 60 quiet ones (caught, cause named; false pixels at most)")
    for case in CASES:
        mine = [r for r in results if r.case == case.title and r.size == case.size][: max(trials, 1) * 10]
        caught, named = np.mean([r.caught for r in mine]), np.mean([r.named for r in mine])
        print(
            f"  {case.title:26} {case.size:5g} {case.unit:3} n={len(mine):4} caught {caught:6.1%} named {named:6.1%}",
            end="",
        )
        print(f"  false pixels {max(r.false_pixels for r in mine)}" if case.make is hot_pixels else "")
    walks = [w for o in outcomes for w in o.walks]
    print("\nSlow gradient: share seen before it has grown to 0.5 %, size when seen, named")
    for rate in sorted({w[0] for w in walks}):
        mine = np.array([w[1:] for w in walks if w[0] == rate], float)
        before = np.mean(mine[:, 0] < 0.5 - 1e-9)
        median, late = np.quantile(mine[:, 0], [0.5, 0.95], method="higher")
        named = np.mean(mine[:, 1])
        print(f"  {rate:4.2f} % a night   n={len(mine):4} {before:6.1%}", end="")
        print(f"  median {median:.2f} %, 95 % by {late:.2f} %  {named:.1%}")
    print("\nLimit of detection: share caught the same night with its cause, by size")
    for case in CASES:
        row = []
        for size in (*case.sizes, case.size):
            mine = [r.named for r in results if r.case == case.title and r.size == size]
            row.append(f"{size:g}: {np.mean(mine):.0%}")
        print(f"  {case.title:26} {case.unit:3} " + "  ".join(row))
    print("\nThe rules of others on the same nights (share caught)")
    print(f"  {'':34}" + "".join(f"{o:>26}" for o in OTHERS))
    for case in CASES:
        mine = np.array([r.others for r in results if r.case == case.title and r.size == case.size], float)
        print(f"  {case.title:26} {case.size:5g} {case.unit}" + "".join(f"{v:26.0%}" for v in mine.mean(axis=0)))
    false = np.sum([o.others_false for o in outcomes], axis=0) * 1000 / n
    for what, row in zip(("flats", "darks"), false, strict=True):
        print(f"  {f'false per 1000 quiet {what}':34}" + "".join(f"{v:26.1f}" for v in row))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--missing", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1000)
    main(**vars(parser.parse_args()))
