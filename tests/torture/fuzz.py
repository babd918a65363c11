"""Spoiled raw files and profiles: ``python -m tests.torture.fuzz --files 2500 --profiles 1000 --seed 1``.

Each is refused with a sentence or read right; nothing else may come of it. Some of the files are put among the good
ones of a night, whose products must not change by a bit; with some of the profiles that pass nights are calibrated.
"""

from __future__ import annotations

import argparse
import gzip
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from astropy.io import fits

from calib.archive.database import Archive
from calib.arrivals import why_unfinished
from calib.errors import CalibError, RawFileError
from calib.profile import Profile, load_profile
from calib.raw import find_raw, identify, read_frames
from calib.raw.frames import RawFrames
from calib.survey import run_survey
from tests.torture.mutations import spoiled_file, spoiled_profile
from tests.torture.stage import Stage, content, differences, run, set_stage, small, small_text

sys.path.insert(0, str(Path(__file__).parents[1] / "calib"))

from raw_builder import CubeFile, FrameFile, edited, profile_text


@dataclass(frozen=True)
class Sound:
    """A sound file; whether its checksums tell every change of it."""

    kind: str
    content: bytes
    profile: Profile
    frames: RawFrames
    summed: bool


def sound_files(top: Path) -> list[Sound]:
    """Files of every layout and packing."""
    survey, keck = edited("2mass"), edited("nirc2")
    made = {
        "cube": (CubeFile(n=2), survey, True),
        "cube without sums": (CubeFile(n=2).plain(), survey, False),
        "cube.fz": (CubeFile(n=2).packed(), survey, True),
        "cube.fz without sums": (CubeFile(n=2).packed().plain(), survey, False),
        "frame": (FrameFile(checksum=True), keck, True),
        "frame without sums": (FrameFile(), keck, False),
    }
    found = []
    for kind, (builder, profile, summed) in made.items():
        # With the hour in its cards a file packs into now more, now fewer bytes: the seed would tell another story.
        with mock.patch.object(fits.hdu.base._ValidHDU, "_get_timestamp", return_value="of this HDU"):
            path = builder.write(top / "sound.fits")
        frames = read_frames(path, profile)
        found.append(Sound(kind, path.read_bytes(), profile, frames, summed))
        if ".fz" not in kind:
            # Packed, every change of a byte is one of the packing, and its own checksum stands before ours.
            packed = gzip.compress(path.read_bytes(), 1, mtime=0)
            found.append(Sound(f"{kind}.gz", packed, profile, frames, True))
    return found


def same(a: RawFrames, b: RawFrames) -> bool:
    """Whether two files hold the same frames at the same times."""
    return (
        a.raw.keys() == b.raw.keys()
        and all(np.array_equal(a.raw[n], b.raw[n], equal_nan=a.raw[n].dtype.kind == "f") for n in a.raw)
        and np.array_equal(a.time_mjd, b.time_mjd, equal_nan=True)
    )


class Fuzz:
    """Spoils things and counts what comes of it."""

    def __init__(self, top: Path, seed: int) -> None:
        self.top, self.seed, self.chance = top, seed, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.harm: list[str] = []

    def attempt(self, label: str, what: Callable[[], Any]) -> Any:
        """Do something that may be refused; anything but a sentence is harm. Return the outcome, or the sentence."""
        try:
            return what()
        except CalibError as error:
            text = error.reason if isinstance(error, RawFileError) else str(error)
            if not text or not text.replace("\n", "").isprintable() or len(text) > 20_000:
                self.harm.append(f"{label}: said {text[:300]!r}")
            return text
        except BaseException:
            self.harm.append(f"{label}:\n{traceback.format_exc()[-1500:]}")
            return ""

    def files(self, n: int) -> None:
        """Spoil single files and read them in all ways there are."""
        path, whole = self.top / "spoiled.fits", sound_files(self.top)
        for k in range(n):
            one = self.chance.choice(whole)
            how, spoiled = spoiled_file(one.content, self.chance)
            path.write_bytes(spoiled)
            label = f"file {k} of seed {self.seed} ({one.kind}, {how})"
            profile = one.profile
            self.attempt(label, lambda p=profile: why_unfinished(path, p))
            said = self.attempt(label, lambda p=profile: identify(path, p))
            read = self.attempt(label, lambda p=profile: read_frames(path, p))
            if isinstance(read, str):
                self.counts["files refused"] += 1
            elif same(read, one.frames):
                self.counts["files read right"] += 1
            elif not one.summed or how == "two cards swapped":
                # Without sums, or with the sum as it was, other bytes are other data.
                self.counts["files read as other data"] += 1
            else:
                self.harm.append(f"{label}: read wrong, though its sums tell")
            if not isinstance(read, str) and isinstance(said, str):
                self.harm.append(f"{label}: its frames are read, its header is refused: {said}")

    def profiles(self, n: int, texts: dict[str, str]) -> list[Profile]:
        """Spoil profiles; return those that pass."""
        path, passed = self.top / "spoiled.toml", []
        for k in range(n):
            name = self.chance.choice(list(texts))
            how, spoiled = spoiled_profile(texts[name], self.chance)
            path.write_bytes(spoiled)
            read = self.attempt(f"profile {k} of seed {self.seed} ({name}, {how})", lambda: load_profile(path))
            self.counts["profiles refused" if isinstance(read, str) else "profiles read"] += 1
            if not isinstance(read, str):
                passed.append(read)
        return passed

    def night(self, stage: Stage, n: int) -> None:
        """Put spoiled copies among the good files of three nights; the archive must stay what it is."""
        heap = self.top / "zz-heap"
        heap.mkdir()
        originals = [(p, p.read_bytes()) for p in find_raw([stage.raw]) if "scan" not in p.name]
        for k in range(n):
            path, whole = self.chance.choice(originals)
            how, spoiled = spoiled_file(whole, self.chance)
            to = heap / f"zz-{k:04d}.fits"
            to.write_bytes(spoiled)
            read = self.attempt(f"night, file {k} of seed {self.seed} ({how})", lambda t=to: identify(t, small()))
            if isinstance(read, str):
                continue
            was = identify(path, small())
            if (read.obs_type, read.band, read.start_iso) != (was.obs_type, was.band, was.start_iso):
                # It says with right sums that it is something else: other data of another sequence.
                to.unlink()
        self.counts["spoiled files among good ones"] += sum(1 for _ in heap.iterdir())
        archive = self.top / "night"
        self.attempt("night", lambda: run(archive, [stage.raw, heap]))
        told = differences(content(archive), content(stage.whole))
        self.harm += [f"night of seed {self.seed}: {t}" for t in told]
        shutil.rmtree(heap)

    def calibrated(self, stage: Stage, profiles: list[Profile], most: int) -> None:
        """Calibrate nights with profiles that differ from the sound one and pass."""
        sound = small().hash
        distinct = list({p.hash: p for p in profiles if p.hash != sound}.values())
        for k, profile in enumerate(self.chance.sample(distinct, min(most, len(distinct)))):
            root = self.top / f"with-profile-{k}"

            def use(root: Path = root, profile: Profile = profile) -> None:
                archive = Archive(root, create=True)
                try:
                    run_survey(archive, profile, [stage.raw])
                finally:
                    archive.close()

            before = len(self.harm)
            said = self.attempt(f"run with profile {k} of seed {self.seed}", use)
            self.counts["nights calibrated with spoiled profiles" if said is None else "runs refused"] += 1
            if len(self.harm) > before:
                from calib.limits import differences as changes
                from calib.limits import words

                self.harm[-1] += f"\n{words(changes(small(), profile))}"
            shutil.rmtree(root)


def main(arguments: list[str] | None = None) -> int:
    """Spoil and report; return 1 if anything else than a refusal or a right reading came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2500)
    parser.add_argument("--profiles", type=int, default=1000)
    parser.add_argument("--night", type=int, default=150)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args(arguments)
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"fuzz: seed {seed}", flush=True)
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as top:
        fuzz = Fuzz(Path(top), seed)
        fuzz.files(options.files)
        fuzz.profiles(options.profiles // 2, {n: profile_text(n) for n in ("2mass", "nirc2")})
        passed = fuzz.profiles(options.profiles - options.profiles // 2, {"small": small_text()})
        if options.night or options.runs:
            stage = set_stage(Path(top) / "stage")
            fuzz.night(stage, options.night)
            fuzz.calibrated(stage, passed, options.runs)
    for what, n in fuzz.counts.items():
        print(f"  {n:5} {what}")
    print(f"  {len(fuzz.harm):5} tracebacks or wrong readings")
    for harm in fuzz.harm[:40]:
        print(harm, file=sys.stderr)
    return 1 if fuzz.harm else 0


if __name__ == "__main__":
    sys.exit(main())
