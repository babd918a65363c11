"""The night's maps as pictures within the page, each row of them on one stretch, with its scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.archive.products import dark_path, reference_path
from calib.flags import usable
from monitor.collect import Collector, Row, Snapshot
from monitor.components.html import Safe, join
from monitor.compute import absent, cause_words, ratio_percent, signed, standing, telling
from monitor.compute_gallery import reduced
from monitor.compute_scan import number
from monitor.plots.thumbnail import data_uri, png
from monitor.report.tables import mark, minus

__all__ = ["maps_html"]

RATIO_PERCENT = 2.0
# On paper 128 places are some 5 cm wide.
_SIDE = 128
_MOST_A_ROW = 4


@dataclass(frozen=True)
class _Map:
    """One picture: the image or why there is none, and what is written below it."""

    band: str
    image: NDArray[np.float32] | None
    words: Safe | str
    hole: str = ""


def maps_html(collector: Collector, snapshot: Snapshot, night: str) -> Safe:
    """Return the ratio maps of a night, and its darks minus their references in every read."""
    parts = [
        _row(
            "Ratio maps",
            "flat / canonical before it − 1",
            [_ratio(collector, snapshot, night, b) for b in snapshot.bands],
            RATIO_PERCENT,
            "%",
        )
    ]
    for read in snapshot.profile.reads:
        found = [_dark(collector, snapshot, night, b, read) for b in snapshot.bands]
        limits = [snapshot.profile.limits_for("dark", b, read)["structure"].value for b in snapshot.bands]
        # The same from night to night: the ends are what no cell may reach.
        title, note = f"Dark − reference, {read}", "level removed, which is written below each map"
        parts.append(_row(title, note, found, max(limits), "DN"))
    return join(parts)


def _ratio(collector: Collector, snapshot: Snapshot, night: str, band: str) -> _Map:
    row = snapshot.flat(night, band)
    if row is None:
        state, words = absent(snapshot, night, band, "twilight")
        return _Map(band, None, mark(state), words)
    name, _ = standing(snapshot, row["status"])
    measure, unit = telling("flat", row["cause"])
    words = f"{cause_words(row['cause'])[0]} {measure} {unit}".strip()
    below = mark(name, words) if words else mark(name)
    found = ratio_percent(collector, row)
    if found is None or not found[1].any():
        return _Map(band, None, below, "nothing to compare with yet" if found is None else "no usable pixel")
    return _Map(band, reduced(*found, _SIDE), below)


def _dark(collector: Collector, snapshot: Snapshot, night: str, band: str, read: str) -> _Map:
    row = snapshot.dark(night, band, read)
    if row is None:
        state, words = absent(snapshot, night, band, "dark")
        return _Map(band, None, mark(state), words)
    name, _ = standing(snapshot, row["status"])
    found = _difference(collector, row, band, read)
    if isinstance(found, str):
        return _Map(band, None, mark(name), found)
    difference, good = found
    # A level that moved as a whole would hide whatever changed beside it.
    level = float(np.median(difference[good]))
    below = Safe('{} <span class="n">level {} DN</span>').format(mark(name), signed(level, 1))
    return _Map(band, reduced(difference - np.float32(level), good, _SIDE), below)


def _difference(
    collector: Collector, row: Row, band: str, read: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | str:
    dark = collector.images(dark_path(row["night"], band, read), ("SCI", "DQ"))
    reference = collector.images(reference_path(band, row["period"] or "", f"dark-{read}"), ("SCI", "DQ"))
    if len(dark) < 2:
        return "the dark itself is not in the archive; calib verify lists what is lost"
    if len(reference) < 2:
        return "no accepted dark in this hardware period to compare with"
    difference = np.asarray(dark["SCI"] - reference["SCI"], np.float32)
    good = usable(dark["DQ"]) & usable(reference["DQ"]) & np.isfinite(difference)
    return (difference, good) if good.any() else "no usable pixel"


def _row(title: str, note: str, maps: list[_Map], half: float, unit: str) -> Safe:
    cells = []
    for m in maps:
        if m.image is None or not np.isfinite(m.image).any():
            picture = Safe('<div class="hole">{}</div>').format(m.hole or "no usable pixel")
        else:
            uri = data_uri(png(m.image, -half, half))
            picture = Safe('<img src="{}" width="{}" height="{}" alt="{} of {}, ± {:g} {}">').format(
                uri, m.image.shape[1], m.image.shape[0], title, m.band, half, unit
            )
        cells.append(Safe("<figure>{}<figcaption><b>{}</b> {}</figcaption></figure>").format(picture, m.band, m.words))
    ends = [minus(f"-{half:g}"), f"+{half:g}"]
    middle = number(0.0)
    return Safe(
        '<div class="mapset"><h3>{} <span>{}</span></h3><div class="maps" style="--n: {}">{}</div>'
        '<div class="scale"><span>{} {u}</span><i></i><span>{} {u}</span>'
        "<small>{} is white, no data is magenta; first row of pixels at the bottom</small></div></div>"
    ).format(title, note, min(len(cells), _MOST_A_ROW), join(cells), ends[0], ends[1], middle, u=unit)
