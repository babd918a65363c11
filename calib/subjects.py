"""What is watched by control charts: every product of every band, its unit, its grid, and what is quiet for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib.charts import Quiet
from calib.patterns import mode_orders
from calib.profile import DriftLimits, Profile

__all__ = ["SKY", "Subject", "subjects"]

SKY = "sky offsets"
# Smooth structure fills few of the modes: those have more scatter than all of them on the average.
UNEVEN = 2.0


@dataclass(frozen=True)
class Subject:
    """What a control chart watches.

    Attributes
    ----------
    product : str
        As in the tables.
    unit : str
    grid, quadrants : tuple of int
        Rows and columns of its cells, and of the read-out quadrants.
    level : bool
        Whether the level counts as well as the shape.
    level_scatter, shape_scatter : float
        What quiet nights vary by, rms, in the unit, before any was seen.
    limits : DriftLimits
        Sizes that matter.
    accepted_of : str
        Whose verdict decides that a night counts: ``dark <read>``, ``flat`` or ``sky``.
    """

    product: str
    unit: str
    grid: tuple[int, int]
    quadrants: tuple[int, int]
    level: bool
    level_scatter: float
    shape_scatter: float
    limits: DriftLimits
    accepted_of: str

    def quiet(self) -> Quiet:
        """Return the prior of the chart."""
        orders = mode_orders(self.grid)
        n = float(np.sqrt(len(orders)))
        scatter = np.where(orders == 0, self.level_scatter * n, UNEVEN * self.shape_scatter)
        return Quiet(scatter, orders)


def subjects(profile: Profile) -> tuple[Subject, ...]:
    """Return what is watched in every band."""
    cells, quadrants = profile.detector.cells, profile.detector.quadrants
    drift, quiet = profile.drift, profile.drift.quiet
    found = []
    for read in profile.reads:
        found.append(
            Subject(
                f"dark {read}",
                "DN",
                cells,
                quadrants,
                True,
                quiet.dark_dn[read],
                quiet.dark_shape_dn[read],
                drift.dark_dn[read],
                f"dark {read}",
            )
        )
        noise = quiet.noise_percent
        found.append(
            Subject(f"noise {read}", "%", cells, quadrants, True, noise, noise, drift.noise_percent, f"dark {read}")
        )
    percent = quiet.responsivity_percent
    found.append(
        Subject("responsivity", "%", cells, quadrants, False, percent, percent, drift.responsivity_percent, "flat")
    )
    gain = quiet.gain_percent
    found.append(Subject("gain", "%", quadrants, quadrants, True, gain, gain, drift.gain_percent, "flat"))
    sky = quiet.sky_percent
    found.append(Subject(SKY, "%", cells, quadrants, False, sky, sky, drift.sky_percent, "sky"))
    return tuple(found)
