"""Write a survey: all its raw files, and beside them the truth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .camera import BANDS, CAMERA
from .night import SimulatedNight
from .raw_file import file_name, write_sequence
from .scenarios import SCENARIOS
from .survey import Survey

__all__ = ["Progress", "simulate", "write_night", "write_survey"]

Progress = Callable[[int, int, str], None]
"""Called with the number of pieces of work done, the number of all, and what was done last."""

THREADS = 2


def simulate(
    out: str | os.PathLike[str],
    *,
    nights: int = 30,
    start: str = "1999-05-01",
    seed: int = 7,
    scenario: str = "survey",
    scans: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make the raw nights of a scenario and write them with their truth.

    Parameters
    ----------
    out : path-like
        Folder; ``out/<night>/`` holds the raw FITS files and ``out/truth/`` what is true of them.
    nights : int, optional
        Number of nights.
    start : str, optional
        First night, ISO date of the local evening.
    seed : int, optional
        Seed; the same one gives the same files.
    scenario : str, optional
        A key of `SCENARIOS`.
    scans : int, optional
        Scans on each of the nights that have any, instead of the scenario's own number; 0 for none.
    progress : callable, optional
        Called after each piece of work with the number done, the number of all, and what it was.

    Returns
    -------
    pathlib.Path
        ``out/truth/truth.json``.

    Raises
    ------
    ValueError
        If there is no such scenario.
    FileExistsError
        If the folder holds another simulated survey.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"no scenario {scenario!r}: choose one of {', '.join(sorted(SCENARIOS))}")
    survey = SCENARIOS[scenario](nights=nights, start=start, seed=seed)
    if scans is not None:
        busy = [ordinal for ordinal in range(nights) if survey.n_scans(ordinal)]
        survey = replace(survey, scans=dict.fromkeys(busy, scans))
    return write_survey(survey, out, progress=progress)


def write_survey(survey: Survey, out: str | os.PathLike[str], *, progress: Progress | None = None) -> Path:
    """Write all raw files of a survey and their truth.

    The truth is ``truth/truth.json`` and, per night and band, ``truth/<night>-<band>.npz`` with the arrays
    ``dark_r1_dn``, ``dark_dn``, ``responsivity`` (float32) and ``bad`` (bits of the flattened image, packed),
    and per scan ``truth/<night>-<band>-scan-<nnn>.npz`` with ``sky_dn``, ``pattern``, ``origin_px`` and the
    stars ``star_y_px``, ``star_x_px``, ``star_flux_dn``.  No truth is in FITS, so that a reader of raw data
    does not take it for any.

    Parameters
    ----------
    survey : Survey
        The survey.
    out : path-like
        Folder.
    progress : callable, optional
        Called after each piece of work with the number done, the number of all, and what it was.

    Returns
    -------
    pathlib.Path
        ``out/truth/truth.json``.

    Raises
    ------
    FileExistsError
        If the folder holds another simulated survey, whose files would remain among the new ones.
    """
    out = Path(out)
    record = out / "truth" / "truth.json"
    text = json.dumps(_record(survey), indent=1) + "\n"
    if record.exists() and record.read_text() != text:
        raise FileExistsError(f"{out} holds another simulated survey: choose an empty folder")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(text)

    jobs: list[tuple[str, Callable[[], None]]] = []
    for night in survey:
        for band in BANDS:
            jobs += _jobs(night, band, out)
    with ThreadPoolExecutor(THREADS) as pool:
        futures = {pool.submit(job): what for what, job in jobs}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                if progress is not None:
                    progress(done, len(jobs), futures[future])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return record


def write_night(night: SimulatedNight, out: str | os.PathLike[str]) -> Path:
    """Write the raw files of one night, without the truth.

    Parameters
    ----------
    night : SimulatedNight
        The night, as ``survey.night(ordinal)`` gives it.
    out : path-like
        Folder; the files go to ``out/<night>/``, which is made even if nothing was taken.

    Returns
    -------
    pathlib.Path
        ``out/<night>``.
    """
    folder = Path(out) / night.date
    folder.mkdir(parents=True, exist_ok=True)

    def write(make: Callable[[], Any]) -> None:
        sequence = make()
        if sequence is not None:
            write_sequence(sequence, folder / file_name(sequence))

    makers: list[Callable[[], Any]] = []
    for band in BANDS:
        makers += [partial(night.dark, band), partial(night.twilight, band)]
        makers += [partial(night.scan, band, number) for number in night.scans]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, makers))
    return folder


def _jobs(night: SimulatedNight, band: str, out: Path) -> list[tuple[str, Callable[[], None]]]:
    """Work on one night and band, with what each piece is called."""
    folder, truth = out / night.date, out / "truth"

    def dark() -> None:
        sequence = night.dark(band)
        if sequence is not None:
            write_sequence(sequence, folder / file_name(sequence))

    def twilight() -> None:
        sequence = night.twilight(band)
        if sequence is not None:
            write_sequence(sequence, folder / file_name(sequence))

    def state() -> None:
        detector = night.detector(band)
        np.savez(
            truth / f"{night.date}-{band}.npz",
            dark_r1_dn=detector.r1_dn,
            dark_dn=detector.dark_dn,
            responsivity=detector.responsivity,
            bad=np.packbits(~detector.good),
        )

    def scan(number: int) -> Callable[[], None]:
        def write() -> None:
            sequence = night.scan(band, number)
            if sequence is None:
                return
            write_sequence(sequence, folder / file_name(sequence))
            scene = sequence.truth
            np.savez(
                truth / f"{night.date}-{band}-scan-{number:03d}.npz",
                sky_dn=scene.sky_dn,
                pattern=scene.pattern,
                origin_px=scene.origin_px,
                star_y_px=scene.stars.y_px,
                star_x_px=scene.stars.x_px,
                star_flux_dn=scene.stars.flux_dn,
            )

        return write

    name = f"{night.date} {band}"
    pieces = [(f"{name} truth", state), (f"{name} dark", dark), (f"{name} twilight", twilight)]
    return [*pieces, *((f"{name} scan {number}", scan(number)) for number in night.scans)]


def _record(survey: Survey) -> dict[str, Any]:
    """Everything true of a survey that is not an image, ready for JSON."""
    return {
        "scenario": survey.name,
        "seed": survey.seed,
        "start": survey.start,
        "quiet_variation": survey.quiet,
        "gain_e_per_dn": {band: CAMERA[band].gain_e_per_dn for band in BANDS},
        "read_noise_e": {band: CAMERA[band].read_noise_e for band in BANDS},
        "faults": [fault.description() for fault in survey.faults],
        "nights": [_night_record(night) for night in survey],
    }


def _night_record(night: SimulatedNight) -> dict[str, Any]:
    return {
        "night": night.date,
        "ordinal": night.ordinal,
        "bands": {band: _band_record(night, band) for band in BANDS},
    }


def _band_record(night: SimulatedNight, band: str) -> dict[str, Any]:
    detector, survey = night.detector(band), night.survey
    dark, twilight = night.dark_scene(band), night.twilight_scene(band)
    scans = {number: night.scan_scene(band, number) for number in night.scans}
    good = detector.good
    return {
        "period": survey.period(night.ordinal, band),
        "faults": [fault.description() for fault in survey.faults_of(night.ordinal, band)],
        "dark_frames": 0 if dark is None else dark.n_frames,
        "twilight_frames": 0 if twilight is None else twilight.n_frames,
        "twilight_level_dn": None if twilight is None else [float(twilight.level_dn[i]) for i in (0, -1)],
        "scan_frames": {number: scene.n_frames for number, scene in scans.items() if scene is not None},
        "r1_level_dn": float(np.median(detector.r1_dn[good])),
        "dark_level_dn": float(np.median(detector.dark_dn[good])),
        "bistable_pixels": [[flicker.y, flicker.x] for flicker in detector.flickers],
        "bad_pixels": int(np.count_nonzero(~good)),
    }
