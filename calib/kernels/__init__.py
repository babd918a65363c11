"""The inner loops, compiled with numba; everything else is plain NumPy.

All kernels take frames as rows and pixels as contiguous columns, ``(n_frames, n_pixels)`` float32, and treat
NaN as "no sample". They hold no state and release the GIL. Sorting over frames is done by a sorting network
on tiles of neighbouring pixels: a compare-exchange is then ``min``/``max`` on whole vectors. Medians of frames and
cells count, a vector at a time, and sort only what lies near the middle. The NumPy twins that state what each kernel
computes are in `calib.kernels.twins`.
"""

from calib.kernels.cells import CellAverages, cell_averages, cell_middles
from calib.kernels.clipped import ClippedMean, clipped_mean
from calib.kernels.finishing import FinishedFrames, finish_frames, finish_stretch, frame_shifts
from calib.kernels.frames import calibration_of, form_read, read_levels
from calib.kernels.medians import finite_median, frame_medians
from calib.kernels.networks import merging_network, sorting_network
from calib.kernels.noise import NoiseTerms, sample_noise, scaled_sum_of_squares
from calib.kernels.offsets import ZeroMedian, less_known, zero_median
from calib.kernels.slope import SlopeFit, robust_slope
from calib.kernels.trimmed import TrimmedHalves, TrimmedMean, TrimmedReads, trimmed_halves, trimmed_mean
from calib.kernels.words import native_16_bit, sum_big_endian, swap_and_sum

__all__ = [
    "CellAverages",
    "ClippedMean",
    "FinishedFrames",
    "NoiseTerms",
    "SlopeFit",
    "TrimmedHalves",
    "TrimmedMean",
    "TrimmedReads",
    "ZeroMedian",
    "calibration_of",
    "cell_averages",
    "cell_middles",
    "clipped_mean",
    "finish_frames",
    "finish_stretch",
    "finite_median",
    "form_read",
    "frame_medians",
    "frame_shifts",
    "less_known",
    "merging_network",
    "native_16_bit",
    "read_levels",
    "robust_slope",
    "sample_noise",
    "scaled_sum_of_squares",
    "sorting_network",
    "sum_big_endian",
    "swap_and_sum",
    "trimmed_halves",
    "trimmed_mean",
    "zero_median",
]
