"""Server time of the page Trends over 1300 nights and three bands, without a browser.

Run with ``python -m tests.bench.trends``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from monitor.session import Session
from tests.monitor.survey_tables import StillCollector, long_survey

ROUNDS = 7
CHANGES: dict[str, list[dict[str, Any]]] = {
    "another metric": [{"product": "dark R1", "metric": "deviation"}, {"product": "flat", "metric": "cell_rms"}],
    "another region": [{"product": "responsivity", "region": "Q1"}, {"product": "responsivity", "region": "Q2"}],
    "one band, all bands": [{"band": "J"}, {"band": ""}],
    "another window": [{"days": 365}, {"days": 60}],
    "another night": [{"night": "1998-01-01"}, {"night": "1998-01-02"}],
}


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    snapshot = long_survey(1300)
    print(f"Trends, {len(snapshot.nights)} nights × {len(snapshot.bands)} bands")
    collector: Any = StillCollector(snapshot)
    print(f"  {'open the page':28} {1000 * seconds(lambda: Session(collector, '?page=trends')):8.0f} ms")
    session = Session(collector, "?page=trends")
    for name, changes in CHANGES.items():
        taken = [seconds(lambda c=c: session.go(**c)) for _ in range(ROUNDS) for c in changes]  # type: ignore[misc]
        print(f"  {name:28} {1000 * float(np.median(taken)):8.0f} ms")
    session.go(band="J")
    print(f"  {'open Explore (first import)':28} {1000 * seconds(lambda: session.go(filter='explore')):8.0f} ms")
    taken = [seconds(lambda b=b: session.go(band=b)) for b in ("H", "Ks", "J")]  # type: ignore[misc]
    print(f"  {'Explore another band':28} {1000 * float(np.median(taken)):8.0f} ms")


if __name__ == "__main__":
    main()
