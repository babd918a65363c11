"""The frames of a scan on their way: levels, what a block has in common, and the last pass over each frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.flags import flag
from calib.kernels import (
    FinishedFrames,
    NoiseTerms,
    TrimmedReads,
    finish_frames,
    finish_stretch,
    form_read,
    frame_shifts,
    less_known,
    read_levels,
)
from calib.leave_one_out import Others, others_of
from calib.profile import SkySettings
from calib.regions import cell_medians
from calib.sky_trend import SkyTrend, enlarged, fit_sky_trend, trend_images

__all__ = ["NO_NOISE", "Final", "Lifted", "Reads", "Room"]


@dataclass(frozen=True)
class Final:
    """What all frames of a block share in their last pass.

    Attributes
    ----------
    offset : ndarray of float32, shape (n_pixels,)
        Of dark and sky, DN. Where each frame is left out of its own sky offset, that of the sky is still to come, from
        the others; where a trend is followed, that of each frame.
    noise : NoiseTerms
        Variance of a final sample.
    flags : ndarray of uint8, shape (n_pixels,)
        Bits 0–7 of `calib.flags` of each pixel.
    hint : ndarray, shape (2,)
        The likely shift of a frame, and how far from it to look, DN.
    first : int
        Number of the block's first frame.
    others : Others or None
    trend : SkyTrend or None
    """

    offset: NDArray[np.float32]
    noise: NoiseTerms
    flags: NDArray[np.uint8]
    hint: NDArray[np.float64]
    first: int
    others: Others | None = None
    trend: SkyTrend | None = None

    @property
    def has_own_offsets(self) -> bool:
        """Whether each frame has an offset of its own."""
        return self.others is not None or self.trend is not None


@dataclass(frozen=True)
class Lifted:
    """Some large frames of a block, of which only the last pass is left.

    Attributes
    ----------
    first, end : int
        Numbers of the first and of the one behind the last.
    final : Final
    offset : ndarray of float32, shape (n_pixels,)
        Of dark and sky, the same for all of them, DN.
    shift : ndarray, shape (n,)
        What is added to each, DN; NaN for a frame without a level.
    """

    first: int
    end: int
    final: Final
    offset: NDArray[np.float32]
    shift: NDArray[np.float64]


NO_NOISE = NoiseTerms(*(np.zeros(0, np.float32) for _ in range(3)))
"""Where no errors are wanted."""


class Room:
    """Arrays for one piece of final frames, or of stretches of them, in native order or as they stand in a file."""

    def __init__(self, n: int, n_pixels: int, *, errors: bool, big_endian: bool) -> None:
        self.big_endian = big_endian
        self._value = np.empty((n, n_pixels), np.float32)
        self._error = np.empty((n if errors else 0, n_pixels), np.float32)
        self._mask = np.empty((n, n_pixels), np.uint8)

    def raw(
        self, first: int, end: int, width: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
        """Return the arrays of some of the frames, to be written to; those of fewer pixels are contiguous, too."""
        if width is None or width == self._value.shape[1]:
            return self._value[first:end], self._error[first:end], self._mask[first:end]
        value, error = (a.reshape(-1)[: len(a) * width].reshape(-1, width) for a in (self._value, self._error))
        mask = self._mask.reshape(-1)[: len(self._mask) * width].reshape(-1, width)
        return value[first:end], error[first:end], mask[first:end]

    def part(self, first: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
        """Return the arrays of some of the frames, to be read."""
        value, error, mask = self.raw(first, end)
        order = ">f4" if self.big_endian else "=f4"
        return value.view(order), error.view(order), mask


@dataclass(frozen=True)
class Reads:
    """The raw frames of a scan, and how they are calibrated.

    Attributes
    ----------
    plus, minus : ndarray of a numeric type, shape (n, n_pixels)
        The reads of which one is formed, DN; ``minus`` is None where it is a single one.
    saturation_dn : float
        A sample of which ``plus`` is not below this is NaN.
    scale, offset : ndarray of float32, shape (n_pixels,)
        1/canonical, and −dark/canonical in DN; NaN where a pixel has no calibration.
    counting : ndarray of float32, shape (n_pixels,)
        The scale of pixels that enter medians, NaN for the others.
    good : ndarray of bool, shape (n_pixels,)
        Pixels that enter medians.
    shape : tuple of int
        Rows and columns of a frame.
    """

    plus: NDArray[Any]
    minus: NDArray[Any] | None
    saturation_dn: float
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    counting: NDArray[np.float32]
    good: NDArray[np.bool_]
    shape: tuple[int, int]

    @property
    def n_pixels(self) -> int:
        """Pixels of a frame."""
        return len(self.scale)

    def _formed(self, first: int, end: int) -> dict[str, Any]:
        return {
            "plus": self.plus[first:end],
            "minus": None if self.minus is None else self.minus[first:end],
            "saturation_dn": self.saturation_dn,
            "scale": self.scale,
            "offset": self.offset,
        }

    def frames(self, first: int, end: int) -> NDArray[np.float32]:
        """Return some calibrated frames."""
        return form_read(**self._formed(first, end))

    def levels(self, first: int, end: int, hint: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return the levels of some calibrated frames; the hint is that of `read_levels`."""
        return read_levels(**{**self._formed(first, end), "scale": self.counting}, hint=hint)

    def trimmed(self, first: int, end: int, levels: NDArray[np.float64], alpha: float) -> TrimmedReads:
        """Return the trimmed mean of some calibrated frames, still to be filled in."""
        return TrimmedReads(**self._formed(first, end), levels=levels, alpha=alpha)

    def trend(self, first: int, end: int, levels: NDArray[np.float64], sky: SkySettings) -> SkyTrend | None:
        """Return how the sky pattern changes within a block."""
        good = self.good.reshape(self.shape)
        cells = [
            cell_medians(self.frames(k, k + 1).reshape(self.shape), good, sky.trend_cells) - level
            for k, level in zip(range(first, end), levels, strict=True)
        ]
        return fit_sky_trend(np.stack(cells), sky.trend_degree, leave_one_out=sky.leave_one_out)

    def others(self, first: int, end: int, levels: NDArray[np.float64], alpha: float, trend: SkyTrend | None) -> Others:
        """Return what the frames of a block say about each other's sky, freed of its trend."""
        above = levels.astype(np.float32)[:, None]
        images = None if trend is None else trend_images(trend, self.shape)

        def samples(start: int, stop: int) -> NDArray[np.float32]:
            part = slice(start, stop)
            formed = form_read(
                self.plus[first:end, part],
                None if self.minus is None else self.minus[first:end, part],
                saturation_dn=self.saturation_dn,
                scale=self.scale[part],
                offset=self.offset[part],
            )
            formed -= above
            if trend is not None and images is not None:
                formed -= trend.weights @ images[:, part]
            return formed

        return others_of(samples, self.n_pixels, alpha)

    def finish(self, first: int, end: int, level: NDArray[np.float64], final: Final, room: Room) -> FinishedFrames:
        """Calibrate some frames of a block to the end."""
        if not final.has_own_offsets:
            return self._finish(first, end, level, final.offset, final, room, 0)
        single = [
            self._finish(k, k + 1, level[k - first : k - first + 1], offset, final, room, k - first)
            for k, offset in ((k, self._own_offset(k, level[k - first], final)) for k in range(first, end))
        ]
        sums = [made.sums for made in single if made.sums is not None]
        return FinishedFrames(
            *room.part(0, end - first),
            np.concatenate([made.shift for made in single]),
            (sum(s[0] for s in sums), sum(s[1] for s in sums)) if sums else None,
        )

    def _own_offset(self, number: int, level: float, final: Final) -> NDArray[np.float32]:
        """Return the offset of dark and sky of one frame that has its own."""
        k, offset = number - final.first, final.offset
        if final.others is not None:
            above = self.frames(number, number + 1)[0]
            above -= np.float32(level)
            if final.trend is not None:
                above -= enlarged(final.trend.at(k), self.shape).ravel()
            offset = less_known(offset, final.others.offset(above))
        if final.trend is not None:
            offset = offset - enlarged(final.trend.own[k], self.shape).ravel()
        return offset

    def _finish(
        self,
        first: int,
        end: int,
        level: NDArray[np.float64],
        offset: NDArray[np.float32],
        final: Final,
        room: Room,
        at: int,
    ) -> FinishedFrames:
        return finish_frames(
            **{**self._formed(first, end), "offset": offset},
            level=level,
            good=self.good,
            hint=final.hint,
            **_described(final),
            big_endian=room.big_endian,
            out=room.raw(at, at + end - first),
        )

    def lift(self, first: int, end: int, level: NDArray[np.float64], final: Final) -> Lifted:
        """Find what large frames of a block are to be lifted by; one alone where frames have offsets of their own."""
        offset = final.offset
        if final.has_own_offsets:
            if end - first > 1:
                raise ValueError("frames with offsets of their own are lifted one at a time")
            offset = self._own_offset(first, level[0], final)
        formed = {**self._formed(first, end), "scale": self.counting, "offset": offset}
        shift = frame_shifts(**formed, level=level, hint=final.hint)
        return Lifted(first, end, final, offset, shift)

    def finish_stretch(self, lifted: Lifted, start: int, stop: int, room: Room) -> FinishedFrames:
        """Calibrate pixels ``start`` to ``stop`` (excluded) of some large frames to the end."""
        return finish_stretch(
            **{**self._formed(lifted.first, lifted.end), "offset": lifted.offset},
            first=start,
            shift=lifted.shift,
            **_described(lifted.final),
            big_endian=room.big_endian,
            out=room.raw(0, lifted.end - lifted.first, stop - start),
        )


def _described(final: Final) -> dict[str, Any]:
    return {
        "noise": final.noise,
        "flags": final.flags,
        "saturated": flag("SATUR"),
        "no_data": flag("NODATA"),
    }
