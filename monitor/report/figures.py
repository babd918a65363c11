"""Small figures as SVG: they are part of the page, sharp on paper, and take its colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from calib.profile import DriftLimits
from monitor.collect_series import Series
from monitor.components.html import Safe, join
from monitor.compute import signed

__all__ = ["Panel", "panel_svg"]

WIDTH, HEIGHT = 460, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 24, 24
# So far from the middle, as a share of the half axis, what lies outside is drawn at the edge.
_EDGE = 0.86
_FAR_APART = 42


@dataclass(frozen=True)
class Panel:
    """One series over some nights.

    Attributes
    ----------
    title, unit : str
    digits : int
        Decimals of its numbers.
    limits : DriftLimits
    series : Series
        Value and error of each night.
    verdicts : mapping
        Night → (verdict, cause).
    first, night : str
        First night of the axis, and the one the report is of, at its end.
    periods : sequence of str
        First nights of the hardware periods.
    """

    title: str
    unit: str
    digits: int
    limits: DriftLimits
    series: Series
    verdicts: Mapping[str, tuple[str, str]]
    first: str
    night: str
    periods: Sequence[str]


class _Axes:
    """From nights and values to places."""

    def __init__(self, panel: Panel, reach: float) -> None:
        self._start = date.fromisoformat(panel.first).toordinal() - 0.75
        self._days = date.fromisoformat(panel.night).toordinal() + 0.75 - self._start
        self._reach = reach

    def x(self, night: str) -> float:
        share = (date.fromisoformat(night).toordinal() - self._start) / self._days
        return float(_LEFT + np.clip(share, 0, 1) * (WIDTH - _LEFT - _RIGHT))

    def y(self, value: float) -> float:
        share = 0.5 - 0.5 * float(np.clip(value / self._reach, -1, 1))
        return _TOP + share * (HEIGHT - _TOP - _BOTTOM)


def panel_svg(panel: Panel) -> Safe:
    """Return a figure: accepted nights joined, rejected ones as crosses, beyond the limits shaded."""
    series = panel.series.between(panel.first, panel.night).finite()
    bad = np.array([panel.verdicts.get(n, ("", ""))[0] == "rejected" for n in series.night.tolist()], dtype=bool)
    # As on the page: a rejected night does not squeeze the others.
    reach = max(1.3 * panel.limits.drift, 1.1 * float(np.max(np.abs(series.value[~bad]), initial=0.0)))
    axes = _Axes(panel, reach)
    now = series.at(panel.night)
    tonight = f"tonight {signed(now[0], panel.digits)} {panel.unit}" if now else "nothing of tonight"
    parts = [
        *_periods(panel, axes),
        *_limits(panel, axes, reach),
        *_ticks(panel, axes, reach),
        *(_data(panel, axes, series, bad, reach) if len(series) else [_nothing()]),
        Safe('<rect x="{}" y="{}" width="{}" height="{}" class="frame"/>').format(
            _LEFT, _TOP, WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        ),
    ]
    label = f"{panel.title}, deviation from the reference in {panel.unit}, {panel.first} to {panel.night}; {tonight}"
    return Safe(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}"><text x="{}" y="15" class="title">{} / {}</text>'
        '<text x="{}" y="15" class="end">{}</text>{}</svg>'
    ).format(WIDTH, HEIGHT, label, 2, panel.title, panel.unit, WIDTH - _RIGHT, tonight, join(parts))


def _nothing() -> Safe:
    return Safe('<text x="{}" y="{}" class="middle">? no data in these nights</text>').format(
        (WIDTH + _LEFT - _RIGHT) / 2, (HEIGHT + _TOP - _BOTTOM) / 2 - 12
    )


def _periods(panel: Panel, axes: _Axes) -> list[Safe]:
    """Shade every other hardware period, and draw a line where one begins."""
    starts = sorted(set(panel.periods))
    drawn = []
    for k, start in enumerate(starts):
        end = starts[k + 1] if k + 1 < len(starts) else panel.night
        if start > panel.night or end < panel.first:
            continue
        left = axes.x(max(start, panel.first))
        right = axes.x(end) if k + 1 < len(starts) and end <= panel.night else WIDTH - _RIGHT
        if k % 2 == 0:
            drawn.append(
                Safe('<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" class="period"/>').format(
                    left, _TOP, max(right - left, 0), HEIGHT - _TOP - _BOTTOM
                )
            )
        if start >= panel.first:
            drawn.append(
                Safe('<line x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}" class="edge"/>').format(
                    left, _TOP, HEIGHT - _BOTTOM
                )
            )
    return drawn


def _limits(panel: Panel, axes: _Axes, reach: float) -> list[Safe]:
    watch, drift = panel.limits.watch, panel.limits.drift
    found = []
    for low, high, kind in ((watch, drift, "w"), (-drift, -watch, "w"), (drift, reach, "d"), (-reach, -drift, "d")):
        top = axes.y(high)
        found.append(
            Safe('<rect x="{}" y="{:.1f}" width="{}" height="{:.1f}" class="{}"/>').format(
                _LEFT, top, WIDTH - _LEFT - _RIGHT, max(axes.y(low) - top, 0), kind
            )
        )
    return found


def _ticks(panel: Panel, axes: _Axes, reach: float) -> list[Safe]:
    """Label zero, the limits, and the end of an axis that reaches far beyond them, where there is room."""
    step = 10 ** math.floor(math.log10(reach))
    far = math.floor(0.95 * reach / step) * step
    wanted = [0.0, *((far, -far) if far > 1.5 * panel.limits.drift else ())]
    wanted += [panel.limits.drift, -panel.limits.drift, panel.limits.watch, -panel.limits.watch]
    found, taken = [], [-99.0]
    for value in wanted:
        y = axes.y(value)
        if min(abs(y - t) for t in taken) < 11:
            continue
        taken.append(y)
        text = f"{value:+g}".replace("-", "−") if value else "0"
        found.append(
            Safe(
                '<line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}" class="{}"/>'
                '<text x="{}" y="{:.1f}" class="end">{}</text>'
            ).format(_LEFT, WIDTH - _RIGHT, y, y, "grid" if value else "zero", _LEFT - 5, y + 3.5, text)
        )
    first, last = date.fromisoformat(panel.first), date.fromisoformat(panel.night)
    days = next(d for d in (1, 2, 3, 7, 14, 20, 30, 60, 9999) if (last - first).days / d <= 5)
    day = last
    while day >= first:
        x = axes.x(day.isoformat())
        anchor = "end" if x > WIDTH - _RIGHT - 18 else "middle"
        found.append(
            Safe('<line x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}" class="tick"/>').format(
                x, HEIGHT - _BOTTOM, HEIGHT - _BOTTOM + 4
            )
        )
        found.append(
            Safe('<text x="{:.1f}" y="{}" class="{}">{}</text>').format(
                WIDTH - _RIGHT if anchor == "end" else x, HEIGHT - 7, anchor, day.strftime("%m-%d")
            )
        )
        day -= timedelta(days=days)
    return found


def _data(panel: Panel, axes: _Axes, series: Series, bad: np.ndarray, reach: float) -> list[Safe]:
    drawn = [_joined(panel, axes, series.take(~bad), reach)]
    far, named = np.abs(series.value) > _EDGE * reach, -99.0
    for k, night in enumerate(series.night.tolist()):
        value, error = float(series.value[k]), float(np.nan_to_num(series.error[k]))
        shown = float(np.clip(value, -_EDGE * reach, _EDGE * reach))
        x, y = axes.x(night), axes.y(shown)
        status, cause = panel.verdicts.get(night, ("", ""))
        words = f"{night}: {signed(value, panel.digits)} {panel.unit} ({series.region[k]})"
        words += f", {status}" if status else ""
        words += f": {cause[:90]}" if cause else ""
        if bad[k]:
            mark = Safe('<path d="M{0:.1f} {1:.1f}l7 7m0-7l-7 7" class="cross"/>').format(x - 3.5, y - 3.5)
        else:
            mark = Safe('<line x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}" class="error"/>').format(
                x, axes.y(shown - error), axes.y(shown + error)
            ) + Safe('<circle cx="{:.1f}" cy="{:.1f}" r="2.4" class="dot"/>').format(x, y)
        if night == panel.night:
            mark += Safe('<circle cx="{:.1f}" cy="{:.1f}" r="6.5" class="ring"/>').format(x, y)
        if far[k] and night != panel.night and abs(x - named) > _FAR_APART:
            # What stands at the edge is farther out than it looks.
            named = x
            mark += Safe('<text x="{:.1f}" y="{:.1f}" class="far">{}</text>').format(
                min(x, WIDTH - _RIGHT - 18), y + (17 if value > 0 else -9), signed(value, panel.digits)
            )
        drawn.append(Safe("<g><title>{}</title>{}</g>").format(words, mark))
    return drawn


def _joined(panel: Panel, axes: _Axes, series: Series, reach: float) -> Safe:
    """Return a line through the accepted nights, broken where a hardware period begins: its reference is another."""
    starts, path, before = sorted(set(panel.periods)), "", None
    for night, value in zip(series.night.tolist(), series.value.tolist(), strict=True):
        period = sum(s <= night for s in starts)
        y = axes.y(float(np.clip(value, -_EDGE * reach, _EDGE * reach)))
        path += f"{'L' if period == before else 'M'}{axes.x(night):.1f} {y:.1f}"
        before = period
    return Safe('<path d="{}" class="joined"/>').format(path) if path else Safe("")
