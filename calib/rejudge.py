"""Verdicts on the sky offsets of a scan from what was measured then: other limits need no frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calib.checks import CheckResult, Limit, Verdict, check_table, evaluate
from calib.sky_verdicts import judge_offset, scan_status, substitutes, with_ruling

__all__ = ["ScanVerdicts", "judge_blocks"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ScanVerdicts:
    """The verdicts on all blocks of one read of a scan.

    Attributes
    ----------
    verdicts : tuple of Verdict
        In the order of the blocks.
    used : tuple of int
        Block whose offset the frames of each block receive.
    status, cause : str
        Of the scan, as of `calib.scan.ScanCalibration`.
    """

    verdicts: tuple[Verdict, ...]
    used: tuple[int, ...]
    status: str
    cause: str

    @property
    def checks(self) -> list[CheckResult]:
        """All checks, block after block."""
        return [c for v in self.verdicts for c in v.checks]

    @property
    def blocks(self) -> list[int]:
        """The block of each of the checks."""
        return [k for k, v in enumerate(self.verdicts) for _ in v.checks]

    def as_before(self, blocks: Sequence[Row]) -> bool:
        """Whether every block has the verdict of its row and receives the offset that it received."""
        before = [(b["status"], b["used_block"]) for b in blocks]
        return before == [(v.status, u) for v, u in zip(self.verdicts, self.used, strict=True)]


def judge_blocks(blocks: Sequence[Row], limits: Mapping[str, Limit], rulings: Mapping[int, Any]) -> ScanVerdicts:
    """Judge the sky offsets of one read of a scan by the numbers in their rows.

    Parameters
    ----------
    blocks : sequence of mapping
        Rows of `calib.archive.schema.sky_offsets`, in the order of their blocks; None is NaN, which fails.
    limits : mapping
        Check → limit.
    rulings : mapping
        Block → a person's verdict.
    """
    verdicts = []
    for k, block in enumerate(blocks):
        values = {n: _number(block["n_frames" if n == "frames" else n]) for n in check_table("sky_offset")}
        verdict = judge_offset(evaluate("sky_offset", values, limits), _number(block["level_dn"]))
        verdicts.append(with_ruling(verdict, rulings.get(k)))
    used = substitutes(verdicts)
    return ScanVerdicts(tuple(verdicts), tuple(used), *scan_status(verdicts, used))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
