"""What all faults share: when and where they act, and the four places at which one can interfere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ..camera import BANDS
from ..detector import Detector
from ..scenes import DarkScene, ScanScene, TwilightScene
from ..seeds import stream

__all__ = ["Fault", "Occasion", "Subject"]

Subject = Literal["dark", "twilight", "scan", "detector", "night"]


@dataclass(frozen=True)
class Occasion:
    """The night, band and sequence that is being made.

    Attributes
    ----------
    seed : int
        Seed of the survey.
    ordinal : int
        Night, counted from 0.
    band : str
        J, H or Ks.
    size_px : int
        Side of the array.
    scan : int or None
        Number of the scan, if it is one.
    """

    seed: int
    ordinal: int
    band: str
    size_px: int
    scan: int | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong.

    A fault takes what a night would have been and returns what it becomes; what it does not touch it returns
    as it was.  It acts from `night` to `last_night`, both included.

    Attributes
    ----------
    night : int
        First night, counted from 0.
    last_night : int or None
        Last night.  None: the first night only or, for faults that stay until someone mends them (`lasting`),
        for good.
    bands : tuple of str
        Bands that have it.
    """

    night: int
    last_night: int | None = None
    bands: tuple[str, ...] = BANDS

    subject: ClassVar[Subject] = "detector"
    lasting: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse nights and bands that do not exist."""
        if self.night < 0:
            raise ValueError(f"{self.kind}: nights are counted from 0, there is no night {self.night}")
        if self.last_night is not None and self.last_night < self.night:
            raise ValueError(f"{self.kind}: last night {self.last_night} is before the first, {self.night}")
        if self.bands != tuple(self.bands) or not self.bands or not set(self.bands) <= set(BANDS):
            raise ValueError(f"{self.kind}: bands must be a tuple out of {BANDS}, not {self.bands!r}")

    @property
    def kind(self) -> str:
        """Name of the fault."""
        return type(self).__name__

    def acts_on(self, ordinal: int, band: str) -> bool:
        """Tell whether it acts on a band on a night."""
        if band not in self.bands or ordinal < self.night:
            return False
        if self.last_night is None:
            return self.lasting or ordinal == self.night
        return ordinal <= self.last_night

    def on_any_scan_of(self, scans: int) -> bool:
        """Tell whether it can show on a night with so many scans; only faults of a certain scan may not."""
        return True

    def description(self) -> dict[str, Any]:
        """Kind and parameters, ready for JSON."""
        return {"kind": self.kind, "subject": self.subject, **asdict(self)}

    def random(self, occasion: Occasion, *key: int | str) -> np.random.Generator:
        """Open a random stream of its own that is the same on all its nights, unless `key` says otherwise."""
        return stream(occasion.seed, occasion.band, self.kind, self.night, *key)

    def on_detector(self, detector: Detector, occasion: Occasion) -> Detector:
        """Change the detector."""
        return detector

    def on_dark(self, scene: DarkScene, occasion: Occasion) -> DarkScene | None:
        """Change the dark sequence; None if it was not taken."""
        return scene

    def on_twilight(self, scene: TwilightScene, occasion: Occasion) -> TwilightScene | None:
        """Change the twilight sequence; None if it was not taken."""
        return scene

    def on_scan(self, scene: ScanScene, occasion: Occasion) -> ScanScene | None:
        """Change a scan; None if it was not taken."""
        return scene
