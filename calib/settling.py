"""Settling one series: the rows of the archive, the rules of `calib.canonical`, and what people ruled.

Nothing is written here, so the same functions tell what is (`calib.standards`) and what would be under other
rulings (`calib.consequences`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from itertools import chain
from typing import Any

import numpy as np

from calib.archive.decisions import Rulings
from calib.canonical import Candidate, Survey, nearest_accepted, settle
from calib.checks import CheckResult, Verdict, check_table, evaluate, judge
from calib.dark import compare_darks
from calib.profile import Profile

__all__ = [
    "COMPARED",
    "Surveys",
    "canonical_night",
    "dark_night",
    "periods",
    "settled_darks",
    "settled_flats",
]

Row = dict[str, Any]
# Hardware period → its nights, settled.
Surveys = dict[str, Survey]

# Checks on a responsivity that compare it with the canonical before it.
COMPARED = ("pixel_scatter", "cell_rms", "cell_extreme", "gradient", "quadrant", "beyond_2pct")


def periods(nights: Iterable[str], band: str, rulings: Rulings) -> dict[str, list[str]]:
    """Return the nights of each hardware period in order, by its first night (empty before any change)."""
    found: dict[str, list[str]] = defaultdict(list)
    for night in sorted(nights):
        found[rulings.period(night, band)].append(night)
    return found


def settled_darks(rows: Mapping[str, Row], band: str, read: str, profile: Profile, rulings: Rulings) -> Surveys:
    """Give all darks of a band and read their verdicts.

    Parameters
    ----------
    rows : mapping
        Night → row of the table ``darks``.
    band, read : str
    profile : Profile
    rulings : Rulings
        What people decided.
    """
    limits = profile.limits_for("dark", band, read)
    cells = {n: np.array(r["cells_dn"], dtype=float) for n, r in rows.items()}
    structure = {k: v for k, v in limits.items() if k == "structure"}

    def compare(night: str, standard: tuple[str, ...]) -> Verdict:
        mean = np.mean([cells[n] for n in standard], axis=0)
        return judge(evaluate("dark", compare_darks(cells[night], mean), structure))

    found: Surveys = {}
    for period, nights in periods(rows, band, rulings).items():
        candidates = [
            Candidate(
                n,
                own_checks("dark", rows[n], limits, skip=("structure",)),
                rulings.dark.get((n, band, read)),
            )
            for n in nights
        ]
        found[period] = settle(candidates, compare, profile.canonical)
    return found


def settled_flats(
    rows: Mapping[str, Row],
    band: str,
    profile: Profile,
    rulings: Rulings,
    compare: Callable[[str, tuple[str, ...]], Verdict],
) -> Surveys:
    """Give all responsivities of a band their verdicts.

    Parameters
    ----------
    rows : mapping
        Night → row of the table ``flats``; one without a key had no usable dark.
    band : str
    profile : Profile
    rulings : Rulings
        What people decided.
    compare : callable
        As `calib.canonical.settle` takes it.
    """
    limits = profile.limits_for("flat", band, profile.responsivity.read)
    found: Surveys = {}
    for period, nights in periods(rows, band, rulings).items():
        candidates = [
            Candidate(
                n,
                own_checks("flat", rows[n], limits, skip=COMPARED) if rows[n]["key"] else (),
                rulings.flat.get((n, band)) if rows[n]["key"] else None,
            )
            for n in nights
        ]
        found[period] = settle(candidates, compare, profile.canonical)
    return found


def own_checks(subject: str, row: Row, limits: Any, skip: tuple[str, ...]) -> tuple[CheckResult, ...]:
    """Return the checks that need nothing but the product itself, from the numbers in its row."""
    values = {}
    for name in check_table(subject):
        if name not in skip:
            number = row["n_frames"] if name == "frames" else row[name]
            values[name] = float("nan") if number is None else float(number)
    return evaluate(subject, values, limits)


def dark_night(surveys: Surveys, rulings: Rulings, night: str, band: str) -> str | None:
    """Return the night whose dark a night is calibrated with; None if there is none in its hardware period."""
    survey = surveys.get(rulings.period(night, band))
    return nearest_accepted(survey, night) if survey else None


def canonical_night(surveys: Surveys, known: Container[str], rulings: Rulings, night: str, band: str) -> str | None:
    """Return the night whose canonical a night is calibrated with: its own, else the nearest earlier one's.

    Parameters
    ----------
    surveys : dict
        Hardware period → its nights, settled.
    known : container of str
        Nights that have a canonical.
    rulings : Rulings
        What people decided.
    night, band : str
    """
    survey = surveys.get(rulings.period(night, band))
    if survey is None:
        return None
    here = bisect_right(survey.order, night)
    nearest = chain(reversed(survey.order[:here]), survey.order[here:])
    return next((n for n in nearest if n in known), None)
