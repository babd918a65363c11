"""The numbers of a band's nights side by side, to be set against each other."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from monitor.collect import Snapshot
from monitor.compute_trends import WORST, catalogue, find_choice, series_table

__all__ = ["Explored", "explorer_table"]


@dataclass(frozen=True)
class Explored:
    """One of the numbers that are set against each other: its column, words, and unit."""

    name: str
    label: str
    unit: str


def explorer_table(snapshot: Snapshot, band: str) -> tuple[pd.DataFrame, tuple[Explored, ...]]:
    """Return one row per night of a band with the numbers that tell its health, side by side.

    Returns
    -------
    table : DataFrame
        Column ``night``, one column per number, and ``verdict``:
        ``rejected`` where the flat or a dark was.
    numbers : tuple of Explored
        The columns, those left out that have fewer than two values.
    """
    choices = catalogue(snapshot.profile)
    read = snapshot.profile.responsivity.read
    wanted = (
        (Explored("dark", "dark deviation", "DN"), f"dark {read}", "deviation", "array"),
        (Explored("responsivity", "responsivity, worst quadrant", "%"), "responsivity", "deviation", WORST),
        (Explored("noise", "read noise", "e⁻"), f"noise {read}", "noise", "array"),
        (Explored("gain", "gain", "e⁻/DN"), "gain", "gain", "array"),
        (Explored("sky", "sky level", "DN"), f"sky {read}", "level", "array"),
        (Explored("cells", "flat, rms of cells", "%"), "flat", "cell_rms", "array"),
        (Explored("hot", "hot pixels", ""), f"dark {read}", "n_hot", "array"),
        (Explored("temperature", "detector temperature", "K"), "detector", "temperature", "array"),
    )
    columns: dict[str, pd.Series[float]] = {}
    for number, product, metric, region in wanted:
        table = series_table(snapshot, find_choice(choices, product, metric), region)
        series = table[table["band"] == band].drop_duplicates("night").set_index("night")["value"].dropna()
        if len(series) >= 2:
            columns[number.name] = series
    wide = pd.DataFrame(columns)
    wide.index.name = "night"
    wide = wide.sort_index().reset_index()
    bad: set[str] = set()
    for judged in (snapshot.flats, snapshot.darks):
        bad |= set(judged.loc[(judged["band"] == band) & (judged["status"] == "rejected"), "night"])
    wide["verdict"] = ["rejected" if n in bad else "" for n in wide["night"]]
    return wide, tuple(n for n, *_ in wanted if n.name in columns)
