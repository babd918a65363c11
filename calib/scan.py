"""Scans: dark-subtracted, divided by the canonical, freed of their sky offsets.

The frames are touched twice: once for levels and offsets, once (when every block has its verdict and so every
frame its offset) for the output, which streams block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calib import kernels
from calib.checks import CheckResult, Verdict, evaluate, judge
from calib.dark import mask_sentinels
from calib.flags import flag, usable
from calib.profile import Profile
from calib.sky import SkyOffset, block_bounds, frame_levels, make_sky_offset

__all__ = ["Block", "CalibratedBlock", "Master", "ScanCalibration", "calibrate_scan"]

Ruling = Literal["accepted", "rejected"]


@dataclass(frozen=True)
class Master:
    """A dark or canonical as the calibration of frames needs it.

    Attributes
    ----------
    value, error : ndarray of float32, shape (ny, nx)
        DN for a dark, dimensionless for a canonical.
    mask : ndarray of int, shape (ny, nx)
        Bits of `calib.flags`.
    """

    value: NDArray[np.float32]
    error: NDArray[np.float32]
    mask: NDArray[np.integer]


@dataclass(frozen=True)
class Block:
    """One block with its sky offset, the verdict on it, and whose offset its frames received."""

    offset: SkyOffset
    verdict: Verdict
    used_block: int


@dataclass(frozen=True)
class CalibratedBlock:
    """The final frames of one block.

    Attributes
    ----------
    first : int
        Number of the first frame.
    value, error : ndarray of float32, shape (n, ny × nx)
        DN; NaN where a sample is saturated or its pixel has no calibration.
    mask : ndarray of uint8, shape (n, ny × nx)
        Bits 0–7 of `calib.flags`.
    """

    first: int
    value: NDArray[np.float32]
    error: NDArray[np.float32]
    mask: NDArray[np.uint8]


@dataclass(frozen=True)
class ScanCalibration:
    """What one read of a scan gave.

    Attributes
    ----------
    blocks : tuple of Block
    level_dn : ndarray, shape (n_frames,)
        Median over good pixels, the same before and after the sky offset.
    shift_dn : ndarray, shape (n_frames,)
        What was added to each frame after the offset was subtracted to keep that median, DN.
    status : {"calibrated", "substituted", "best block"}
        Whether every frame has its own block's accepted offset, some a neighbour's, or none an accepted one.
    """

    read: str
    blocks: tuple[Block, ...]
    level_dn: NDArray[np.float64]
    shift_dn: NDArray[np.float64]
    status: str
    cause: str


def calibrate_scan(
    raw: Mapping[str, NDArray[np.generic]],
    *,
    band: str,
    read: str,
    dark: Master,
    canonical: Master,
    profile: Profile,
    rulings: Mapping[int, Ruling] | None = None,
    sink: Callable[[CalibratedBlock], None] | None = None,
) -> ScanCalibration:
    """Calibrate one read of a scan.

    Parameters
    ----------
    raw : mapping
        Raw read → frames, shape (n, ny, nx), DN.
    dark, canonical : Master
        Dark of this read and canonical responsivity of the band.
    rulings : mapping, optional
        Block → a person's verdict.
    sink : callable, optional
        Receives the final frames block by block, in order; its arrays are reused after it returns.

    Returns
    -------
    ScanCalibration

    Notes
    -----
    A final frame is F_k − S + δ_k. S has median zero, but the median of a difference is not the difference of the
    medians: where the pattern is skewed and large against the noise, F_k − S alone would move the background by
    δ_k. It is kept at the original sky level exactly, and δ_k (`shift_dn`) is recorded.
    """
    rule = profile.reads[read]
    plus = mask_sentinels(raw[rule.plus], profile.detector.sentinels)
    minus = None if rule.minus is None else mask_sentinels(raw[rule.minus], profile.detector.sentinels)
    n, n_pixels = len(plus), plus[0].size
    plus = plus.reshape(n, n_pixels)
    minus = None if minus is None else minus.reshape(n, n_pixels)
    mask = (dark.mask | canonical.mask).astype(np.int16)
    good = usable(mask) & ((mask & (flag("HOT") | flag("NOISY"))) == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(usable(mask), 1 / canonical.value, np.nan).astype(np.float32).ravel()
    offset = -dark.value.ravel() * scale
    columns = np.flatnonzero(good)
    bounds = block_bounds(n, profile.sky.block_frames)
    buffer = np.empty((max(b - a + 1 for a, b in bounds), n_pixels), np.float32)

    def corrected(first: int, last: int) -> NDArray[np.float32]:
        part = slice(first, last + 1)
        return kernels.form_read(
            plus[part],
            None if minus is None else minus[part],
            saturation_dn=profile.detector.saturation_dn,
            scale=scale,
            offset=offset,
            out=buffer[: last - first + 1],
        )

    limits = profile.limits_for("sky_offset", band, read)
    level, shift = np.empty(n), np.empty(n)
    offsets: list[SkyOffset] = []
    for first, last in bounds:
        frames = corrected(first, last)
        level[first : last + 1] = frame_levels(frames, columns)
        offsets.append(
            make_sky_offset(
                frames,
                level[first : last + 1],
                good=good,
                first=first,
                alpha=profile.sky.alpha,
                cells=profile.detector.cells,
            )
        )
    verdicts = [judge_offset(evaluate("sky_offset", o.values, limits), o.level_dn) for o in offsets]
    for k, ruling in (rulings or {}).items():
        if k < len(verdicts):
            cause = "" if ruling == "accepted" else "rejected by decision"
            verdicts[k] = Verdict(ruling, cause, verdicts[k].checks)
    used = substitutes(verdicts)
    noise = _NoiseModel.of(dark, canonical, usable(mask), profile, band, read)
    mask_row = mask.ravel().astype(np.uint8)
    errors = np.empty_like(buffer) if sink else None
    masks = np.empty(buffer.shape, np.uint8) if sink else None
    for k, (first, last) in enumerate(bounds):
        frames = corrected(first, last)
        sky = offsets[used[k]]
        frames -= np.nan_to_num(sky.value.ravel())
        shift[first : last + 1] = level[first : last + 1] - frame_levels(frames, columns)
        if sink is None or errors is None or masks is None:
            continue
        m = last - first + 1
        frames += np.nan_to_num(shift[first : last + 1]).astype(np.float32)[:, None]
        noise.errors(frames, sky.error.ravel(), errors[:m], own_share=1 / m if used[k] == k else 0.0)
        flags = mask_row | sky.mask.ravel().astype(np.uint8)
        if used[k] != k:
            flags = flags | np.uint8(flag("SUBST"))
        masks[:m] = flags
        _flag_missing(frames, plus[first : last + 1], profile.detector.saturation_dn, masks[:m])
        sink(CalibratedBlock(first, frames, errors[:m], masks[:m]))
    status, cause = _scan_status(verdicts, used)
    return ScanCalibration(
        read,
        tuple(Block(o, v, u) for o, v, u in zip(offsets, verdicts, used, strict=True)),
        level,
        shift,
        status,
        cause,
    )


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


def _scan_status(verdicts: list[Verdict], used: list[int]) -> tuple[str, str]:
    rejected = [k for k, v in enumerate(verdicts) if v.status != "accepted"]
    if not rejected:
        return "calibrated", ""
    if len(rejected) == len(verdicts):
        return "best block", f"no accepted sky offset; block {used[0]} serves ({verdicts[used[0]].cause})"
    swaps = ", ".join(f"{k} ← {used[k]}" for k in rejected)
    return "substituted", f"sky offset of blocks {swaps}"


@dataclass(frozen=True)
class _NoiseModel:
    """1σ of a calibrated sample F: σ² = constant + linear · F + quadratic · F², each per pixel."""

    constant: NDArray[np.float32]
    linear: NDArray[np.float32]
    quadratic: NDArray[np.float32]

    @classmethod
    def of(
        cls, dark: Master, canonical: Master, ok: NDArray[np.bool_], profile: Profile, band: str, read: str
    ) -> _NoiseModel:
        gain = profile.detector.gain_e_per_dn[band]
        read_noise = profile.read_noise_dn(band, read)
        with np.errstate(divide="ignore", invalid="ignore"):
            response = np.where(ok, canonical.value, np.nan).ravel()
            constant = (read_noise**2 + dark.error.ravel() ** 2) / response**2
            quadratic = (canonical.error.ravel() / response) ** 2
        return cls(
            constant.astype(np.float32),
            (1 / (gain * response)).astype(np.float32),
            quadratic.astype(np.float32),
        )

    def errors(
        self,
        frames: NDArray[np.float32],
        sky_error: NDArray[np.float32],
        out: NDArray[np.float32],
        *,
        own_share: float,
    ) -> None:
        """Write the error of each sample; ``own_share`` is the weight that a frame itself has in its offset."""
        # var(F − S) = var F + var S − 2 cov(F, S), and a frame of n makes up 1/n of its own offset.
        kept = np.float32(1 - 2 * own_share)
        constant = np.nan_to_num(sky_error) ** 2
        np.maximum(frames, 0, out=out)
        np.sqrt(constant + kept * (self.constant + out * (self.linear + out * self.quadratic)), out=out)


def _flag_missing(
    frames: NDArray[np.float32],
    plus: NDArray[Any],
    saturation_dn: float,
    masks: NDArray[np.uint8],
) -> None:
    # Few samples are missing: look at them alone.
    rows, cols = np.nonzero(~np.isfinite(frames))
    saturated = plus[rows, cols] >= saturation_dn
    masks[rows, cols] |= np.where(saturated, flag("SATUR"), flag("NODATA")).astype(np.uint8)
