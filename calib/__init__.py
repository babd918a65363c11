"""The calibration core: raw nights in; darks, responsivities, canonicals, sky offsets and verdicts out."""

__version__ = "0.1.0"
