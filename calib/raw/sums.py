"""Checksums of header-data units: the FITS standard 4.0, section 4.4.2.7 and appendix J."""

from __future__ import annotations

import numpy as np

from calib.kernels import sum_big_endian
from calib.raw.files import Refusal
from calib.raw.hdus import Hdu, card

__all__ = ["ones_complement_sum", "verify_sums"]


def ones_complement_sum(content: memoryview) -> int:
    """Return the 32-bit ones' complement sum of big-endian words; a last word cut short is filled with 0."""
    whole = len(content) // 4 * 4
    total = sum_big_endian(np.frombuffer(content[:whole], "<u4"))
    if whole < len(content):
        total += int.from_bytes(bytes(content[whole:]).ljust(4, b"\0"), "big")
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def verify_sums(content: memoryview, hdu: Hdu) -> None:
    """Compare CHECKSUM and DATASUM, where a unit has them, with its bytes.

    Raises
    ------
    Refusal
        If one of them does not match.
    """
    checksum = card((hdu.header,), "CHECKSUM")
    datasum = card((hdu.header,), "DATASUM")
    # Sixteen zeros are what a writer leaves that never computed the sum.
    check_all = checksum is not None and str(checksum) != "0" * 16
    if not check_all and datasum is None:
        return
    data = ones_complement_sum(content[hdu.data_start : min(hdu.end, len(content))])
    if datasum is not None and str(datasum) != str(data) and not _same_number(datasum, data):
        raise Refusal(f"checksum of the data does not match ({hdu.label})")
    if check_all:
        total = ones_complement_sum(content[hdu.start : hdu.data_start]) + data
        if (total & 0xFFFFFFFF) + (total >> 32) not in (0, 0xFFFFFFFF):
            raise Refusal(f"checksum does not match ({hdu.label})")


def _same_number(text: object, number: int) -> bool:
    try:
        # Zero has two forms in ones' complement.
        return int(str(text)) % 0xFFFFFFFF == number % 0xFFFFFFFF
    except ValueError:
        return False
