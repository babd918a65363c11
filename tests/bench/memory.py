"""How much memory a large camera needs: ``python -m tests.bench.memory``.

A camera of 2048² that writes one frame per file, 300 of them in one scan, with a dark and a flat that a team already
has. What is printed is the greatest resident size of the run itself, which is to stay below 4 GB. Raw frames and what
is made of them need some 16 GB of disk (5 GB of it the raw frames, another 5 GB for the time of the run).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

import numpy as np
from astropy.io import fits

SIDE = 2048
GIBIBYTE = 2**30
LIMIT_BYTES = 4 * GIBIBYTE

_CHILD = """
import sys
from pathlib import Path
from calib.archive.database import Archive
from calib.profile import load_profile
from calib.survey import run_survey
archive = Archive(Path(sys.argv[1]), create=True)
report = run_survey(archive, load_profile(sys.argv[2]), [Path(sys.argv[3])], frames=sys.argv[4] == "frames")
archive.close()
assert not report.refused, report
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def large_profile(path: Path, side: int, block_frames: int) -> Path:
    """Write the shipped profile of a camera with one frame per file, for an array of another size."""
    text = (resources.files("calib.profiles") / "nirc2.toml").read_text("utf-8")
    for old, new in (
        ("shape = [1024, 1024]", f"shape = [{side}, {side}]"),
        ("block_frames = 20 ", f"block_frames = {block_frames} "),
        ('name = "nirc2"', 'name = "large"'),
    ):
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


def write_raw(folder: Path, frames: int, side: int) -> int:
    """Write masters and the frames of one scan; return their size in bytes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    shape = (side, side)
    cards = {"FILTER": "Ks + clear", "CAMNAME": "wide", "ITIME": 80.0, "COADDS": 1, "SAMPMODE": 3, "MULTISAM": 16}

    def write(name: str, image: np.ndarray, **more: object) -> None:
        hdu = fits.PrimaryHDU(image)
        hdu.header.update({**cards, "DATE-OBS": "2011-04-13", **more})
        hdu.writeto(folder / name)

    response = rng.normal(1, 0.03, shape).astype(np.float32)
    write("dark.fits", rng.normal(10, 1, shape).astype(np.float32), SHRNAME="closed", OBJECT="dark", UTC="03:00:00")
    write("flat.fits", response, SHRNAME="open", OBJECT="flat", UTC="03:10:00")
    pattern = np.linspace(-900, 900, side, dtype=np.float32) + 5600 * response
    noise = rng.normal(0, 33, 2 * side * side).astype(np.float32)
    for k in range(frames):
        start = int(rng.integers(side * side))
        image = pattern + noise[start : start + side * side].reshape(shape) + 3 * np.sin(k / 20)
        clock = f"{5 + k // 60:02d}:{k % 60:02d}:{k % 50:02d}.{k:03d}"
        write(f"n{k:04d}.fits", image.round().astype(np.int32), SHRNAME="open", OBJECT="field", UTC=clock)
    return sum(f.stat().st_size for f in folder.iterdir())


def measure(folder: Path, *, frames: int, side: int, block_frames: int, final_frames: bool) -> tuple[int, float, int]:
    """Return the peak of a run's resident size in bytes, its seconds, and the size of the raw files."""
    size = write_raw(folder / "raw", frames, side)
    profile = large_profile(folder / "large.toml", side, block_frames)
    start = time.perf_counter()
    kind = "frames" if final_frames else "none"
    command = [sys.executable, "-c", _CHILD, str(folder / "archive"), str(profile), str(folder / "raw"), kind]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) * 1024, time.perf_counter() - start, size


def main() -> None:
    """Print the peak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--block-frames", type=int, default=42)
    parser.add_argument("--no-final-frames", action="store_true")
    given = parser.parse_args()
    pixels = given.frames * given.side**2
    # Raw frames, the same again while the run lasts, and final frames with error and mask.
    needed = pixels * (8 if given.no_final_frames else 17) + 2 * GIBIBYTE
    with tempfile.TemporaryDirectory(prefix="vesper-bench-", dir="/var/tmp") as name:
        free = shutil.disk_usage(name).free
        if free < needed:
            print(
                f"memory of a large camera: not measured, {needed / 1e9:.0f} GB of disk are needed ({free / 1e9:.0f})"
            )
            return
        peak, seconds, size = measure(
            Path(name),
            frames=given.frames,
            side=given.side,
            block_frames=given.block_frames,
            final_frames=not given.no_final_frames,
        )
    verdict = "below" if peak < LIMIT_BYTES else "ABOVE"
    print(
        f"{given.frames} frames of {given.side}² in one scan ({size / 1e9:.1f} GB), blocks of {given.block_frames}: "
        f"peak memory {peak / 1e9:.2f} GB, {verdict} 4 GB; {seconds:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
