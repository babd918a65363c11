"""Names that have moved to `calib.kernels`."""

from calib.kernels import native_16_bit, sum_big_endian, swap_and_sum

__all__ = ["native_16_bit", "sum_big_endian", "swap_and_sum"]
