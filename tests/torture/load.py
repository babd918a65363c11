"""Many readers at once while nights arrive, and a thousand who come and go.

Run with ``python -m tests.torture.load [--sessions 50] [--seconds 60] [--soak 1000]``. Readers speak the page's own
protocol over its websocket, without a browser: each opens a page and steps from night to night. Meanwhile a second
process calibrates further nights into the same archive.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "monitor"))

import numpy as np
from browser_window import Served
from page_client import _close, _connect, _message
from small_camera import run, small_text, survey_of, write_raw

from monitor.server import free_port

BANDS = ("J", "H", "Ks")
PAGES = ("review", "night", "trends", "flats", "scans")


@dataclass
class Told:
    """What the readers met with."""

    answers_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def resident_mb(process: int) -> float:
    """Return the memory of a process, MB."""
    text = Path(f"/proc/{process}/status").read_text("ascii")
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


def elements(node: Any) -> Iterator[tuple[str, str]]:
    """Yield the identity of every element of a page that takes events, and its markup."""
    if isinstance(node, dict):
        data = node.get("attributes", {}).get("data") if node.get("type") == "object" else None
        if isinstance(data, dict) and "html" in data.get("attributes", {}):
            yield data["id"], str(data["attributes"]["html"])
        for value in node.values():
            yield from elements(value)
    elif isinstance(node, list):
        for value in node:
            yield from elements(value)


async def reader(url: str, seconds: float, rng: random.Random, told: Told, steps: int | None = None) -> None:
    """Open a page and step through its nights for a while."""
    page = rng.choice(PAGES)
    try:
        socket = await _connect(f"{url}?page={page}")
        for part in ({"msgid": "1", "msgtype": "PULL-DOC-REQ"}, {}, {}):
            await socket.write_message(json.dumps(part))
        document = json.loads((await _message(socket))[2])
        bar = next(name for name, html in elements(document["doc"]["roots"]) if 'id="previous"' in html)
        number, done = int(time.time() * 1000), 0
        until = time.monotonic() + seconds
        while time.monotonic() < until and (steps is None or done < steps):
            done += 1
            number += 1
            event = [number, "step", rng.choice(("-1", "1", "-1"))]
            new = {"type": "map", "entries": [["recent", [event]]]}
            change = {"kind": "ModelChanged", "model": {"id": bar}, "attr": "sent", "new": new}
            start = time.monotonic()
            for part in ({"msgid": str(number), "msgtype": "PATCH-DOC"}, {}, {"events": [change]}):
                await socket.write_message(json.dumps(part))
            # The answer is there when the bar names another night (or says that there is no further one).
            while time.monotonic() - start < 60:
                try:
                    fragments = await asyncio.wait_for(_message(socket), 60)
                except TimeoutError:
                    told.errors.append(f"{page}: no answer for a minute")
                    break
                if '"OK"' in fragments[0] or ("PATCH-DOC" in fragments[0] and bar in fragments[2]):
                    told.answers_s.append(time.monotonic() - start)
                    break
            await asyncio.sleep(rng.uniform(0.5, 2.0))
        await _close(socket)
    except Exception as error:  # whatever a reader meets with is to be told
        told.errors.append(f"{page}: {type(error).__name__}: {error}")


def percent(values: list[float], q: float) -> float:
    return float(np.percentile(values, q)) if values else float("nan")


def load(served: Served, raw: Path, toml: Path, sessions: int, seconds: float, seed: int) -> int:
    """Let many read while nights arrive; print what they met with, and return how many errors there were."""
    assert served._process is not None
    server = served._process.pid
    before = resident_mb(server)
    command = [sys.executable, "-m", "calib.cli", "run", str(raw), "--archive", str(served.root)]
    arriving = subprocess.Popen(
        [*command, "--instrument", str(toml)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    told, peak = Told(), before

    async def all_of_them() -> None:
        nonlocal peak
        chances = [random.Random(seed + k) for k in range(sessions)]
        tasks = [asyncio.create_task(reader(served.url, seconds, chance, told)) for chance in chances]
        while not all(t.done() for t in tasks):
            await asyncio.sleep(1)
            peak = max(peak, resident_mb(server))

    asyncio.run(all_of_them())
    _, words = arriving.communicate(timeout=600)
    a = told.answers_s
    print(
        f"{sessions} sessions for {seconds:.0f} s while nights arrive: {len(a)} steps, answered after "
        f"{1e3 * percent(a, 50):.0f} ms (median), {1e3 * percent(a, 95):.0f} ms (95 %), "
        f"{1e3 * percent(a, 100):.0f} ms at most"
    )
    print(f"  server {before:.0f} MB before, {peak:.0f} MB at most: {(peak - before) / sessions:.1f} MB a session")
    print(f"  errors of readers: {len(told.errors)}; the run beside them ended with status {arriving.returncode}")
    for error in told.errors[:5]:
        print(f"    {error}")
    if arriving.returncode:
        print(words.decode())
    return len(told.errors) + (arriving.returncode != 0)


def soak(served: Served, visits: int, seed: int) -> int:
    """Open and close sessions, five at a time; print the memory as it goes, and return how many met an error."""
    assert served._process is not None
    told, rng, sizes = Told(), random.Random(seed), []
    for done in range(0, visits, 100):

        async def hundred() -> None:
            for _ in range(20):
                await asyncio.gather(*(reader(served.url, 60, random.Random(rng.random()), told, 1) for _ in range(5)))

        asyncio.run(hundred())
        time.sleep(17)  # a session that was left is cleared away within 15 s
        sizes.append(resident_mb(served._process.pid))
        print(f"  after {done + 100:5d} sessions: {sizes[-1]:.0f} MB", flush=True)
    late = (
        np.polyfit(np.arange(len(sizes) - len(sizes) // 2), sizes[len(sizes) // 2 :], 1)[0] if len(sizes) > 3 else 0.0
    )
    print(
        f"{visits} sessions opened and closed: {1e3 * late / 100:.0f} kB each over the later half; "
        f"errors {len(told.errors)}"
    )
    for error in told.errors[:5]:
        print(f"    {error}")
    return len(told.errors)


def main(words: list[str] | None = None) -> int:
    """Print how the server stands many readers; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--soak", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="vesper-load-", dir="/var/tmp") as name:
        top = Path(name)
        survey = survey_of(24, scans={3: 1, 7: 2, 12: 1, 20: 1})
        first = write_raw(survey, top / "first", bands=BANDS, nights=range(10))
        later = write_raw(survey, top / "later", bands=BANDS, nights=range(10, 24))
        run(top / "archive", first)
        (top / "small.toml").write_text(small_text(), "utf-8")
        served = Served(top / "archive", free_port())
        served.start()
        try:
            errors = 0
            if options.sessions:
                errors += load(served, later, top / "small.toml", options.sessions, options.seconds, options.seed)
            if options.soak:
                errors += soak(served, options.soak, options.seed)
            faults = re.findall(r"^(?:ERROR|.*Traceback).*", served.log(), re.MULTILINE)
            print(f"errors in the server's log: {len(faults)}")
            for fault in faults[:5]:
                print(f"  {fault}")
        finally:
            served.stop()
    return 1 if errors or faults else 0


if __name__ == "__main__":
    sys.exit(main())
