"""Verdicts on the sky offsets of a scan, and whose offset serves the frames of each block."""

from __future__ import annotations

from typing import Literal

import numpy as np

from calib.checks import CheckResult, Verdict, judge

__all__ = ["Ruling", "judge_offset", "scan_status", "substitutes", "with_ruling"]

Ruling = Literal["accepted", "rejected"]


def judge_offset(checks: tuple[CheckResult, ...], level_dn: float) -> Verdict:
    """Return the verdict on a sky offset.

    Halves that disagree and samples that are skewed may come from airglow or from a galaxy or halo that drifts through.
    Waves leave the level of a frame alone, a bright object lifts it: the unsteadiness of the levels tells them apart.
    """
    if not level_dn > 0:
        return judge(checks, cause="no positive sky level")
    failed = next((c.check.name for c in checks if not c.passed), "")
    measured = {c.check.name: c.value for c in checks}
    if failed not in ("residue", "halves") or not np.isfinite(measured["halves"]):
        return judge(checks)
    lifted = measured["steadiness"] > 0.3 * measured["halves"]
    return judge(checks, cause="galaxy or bright star" if lifted else "airglow wave")


def substitutes(verdicts: list[Verdict]) -> list[int]:
    """Return for each block the block whose offset its frames receive.

    Its own if accepted, else the nearest accepted one (the earlier of two as near), else the best of all: the one
    that exceeds its limits least.
    """
    accepted = [k for k, v in enumerate(verdicts) if v.status == "accepted"]
    if not accepted:
        best = min(range(len(verdicts)), key=lambda k: (len(verdicts[k].failed), _excess(verdicts[k]), k))
        return [best] * len(verdicts)
    return [
        k if v.status == "accepted" else min(accepted, key=lambda a: (abs(a - k), a)) for k, v in enumerate(verdicts)
    ]


def _excess(verdict: Verdict) -> float:
    return max((c.excess for c in verdict.failed), default=0.0)


def with_ruling(verdict: Verdict, ruling: Ruling | None) -> Verdict:
    """Return the verdict on a block, or what a person decided in its place."""
    if ruling is None:
        return verdict
    return Verdict(ruling, "" if ruling == "accepted" else "rejected by decision", verdict.checks)


def scan_status(verdicts: list[Verdict], used: list[int]) -> tuple[str, str]:
    """Return status and cause of a scan by the verdicts on its blocks and the blocks that serve them."""
    rejected = [k for k, v in enumerate(verdicts) if v.status != "accepted"]
    if not rejected:
        return "calibrated", ""
    if len(rejected) == len(verdicts):
        return "best block", f"no accepted sky offset; block {used[0]} serves ({verdicts[used[0]].cause})"
    swaps = ", ".join(f"{k} ← {used[k]}" for k in rejected)
    return "substituted", f"sky offset of blocks {swaps}"
