"""Raw nights of a three-band NICMOS3 camera, with everything that can go wrong, and the truth behind them.

The simulator knows nothing of the calibration: it is made from the physics of the camera alone, so that the
two can bear witness against each other.

>>> from calib.simulate import CloudGradient, Survey
>>> survey = Survey(nights=10, seed=7).with_fault(CloudGradient(night=5, bands=("H",), percent=3.0))
>>> survey.night(5).date
'1999-05-06'
>>> survey.night(5).twilight("H").r2.shape
(56, 256, 256)
"""

from .camera import BANDS, CAMERA, BandPhysics
from .detector import Detector
from .exposure import Sequence
from .faults import (
    FAULTS,
    AirglowWaves,
    ArraySwap,
    BistablePixel,
    BrightStar,
    CloudGradient,
    DarkJump,
    DeadColumn,
    DustSpot,
    Fault,
    Galaxy,
    Latents,
    LightLeak,
    MissingDark,
    MissingFlat,
    MissingNight,
    MovingCloud,
    NewHotPixels,
    QuadrantStep,
    SaturatedTwilight,
    ShortScan,
    SlowDrift,
    TooLittleChange,
    UniformCloud,
    WarmUp,
)
from .night import SimulatedNight, Truth
from .production import Progress, simulate, write_night, write_survey
from .raw_file import file_name, write_sequence
from .scenarios import SCENARIOS, describe_scenarios
from .scenes import DarkScene, ScanScene, TwilightScene
from .survey import Survey

__all__ = [
    "BANDS",
    "CAMERA",
    "FAULTS",
    "SCENARIOS",
    "AirglowWaves",
    "ArraySwap",
    "BandPhysics",
    "BistablePixel",
    "BrightStar",
    "CloudGradient",
    "DarkJump",
    "DarkScene",
    "DeadColumn",
    "Detector",
    "DustSpot",
    "Fault",
    "Galaxy",
    "Latents",
    "LightLeak",
    "MissingDark",
    "MissingFlat",
    "MissingNight",
    "MovingCloud",
    "NewHotPixels",
    "Progress",
    "QuadrantStep",
    "SaturatedTwilight",
    "ScanScene",
    "Sequence",
    "ShortScan",
    "SimulatedNight",
    "SlowDrift",
    "Survey",
    "TooLittleChange",
    "Truth",
    "TwilightScene",
    "UniformCloud",
    "WarmUp",
    "describe_scenarios",
    "file_name",
    "simulate",
    "write_night",
    "write_sequence",
    "write_survey",
]
