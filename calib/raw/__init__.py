"""Raw files: which there are, what each one is, what is processed together, and the frames themselves.

`find_raw` lists files, `identify` says from the header alone what one of them is, `group_sequences` puts
together what belongs together, and `read_frames` verifies and reads one file completely. Whatever is wrong
with a file ends in one `calib.errors.RawFileError` with a reason in words.
"""

from calib.raw.frames import RawFrames, read_frames
from calib.raw.header import OBS_TYPES, Identity, identify
from calib.raw.sequences import Sequence, find_raw, group_sequences, raw_names

__all__ = [
    "OBS_TYPES",
    "Identity",
    "RawFrames",
    "Sequence",
    "find_raw",
    "group_sequences",
    "identify",
    "raw_names",
    "read_frames",
]
