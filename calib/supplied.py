"""Supplied masters: combined darks, flats and bad-pixel maps that a team already has.

They enter the archive as what they are, without verdict, and serve until own nights exist. Of several for the same
purpose the latest counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.archive.products import Image, Input, ProductFile, inputs_table, primary_cards, write_product
from calib.errors import RawFileError
from calib.flags import flag, usable
from calib.night import FileOutcome, JobResult, combine_key
from calib.profile import Profile
from calib.raw import Identity, RawFrames, read_frames
from calib.regions import nan_median

__all__ = ["SuppliedJob"]


@dataclass(frozen=True)
class SuppliedJob:
    """Take all supplied masters that are there into the archive."""

    root: Path
    files: tuple[Identity, ...]
    profile: Profile

    def run(self) -> JobResult:
        """Read, verify and write them; a later file for the same purpose replaces an earlier one."""
        outcomes: dict[str, FileOutcome] = {}
        chosen: dict[tuple[str, str | None], tuple[Identity, RawFrames]] = {}
        for identity in self.files:
            path = str(identity.path)
            try:
                frames = read_frames(identity.path, self.profile)
                _check(identity, frames, self.profile)
            except RawFileError as error:
                outcomes[path] = FileOutcome(path, "refused", error.reason)
                continue
            earlier = chosen.get((identity.obs_type, identity.band))
            if earlier is not None:
                old = str(earlier[0].path)
                reason = f"superseded by {path}"
                outcomes[old] = FileOutcome(old, "duplicate", reason, earlier[1].content_hash)
            chosen[identity.obs_type, identity.band] = identity, frames
            outcomes[path] = FileOutcome(path, "supplied", "", frames.content_hash, "; ".join(frames.notes))
        products = []
        for band in self.profile.bands:
            bad, bad_inputs = self._bad_pixels(chosen, band)
            for kind in ("supplied-dark", "supplied-flat"):
                found = chosen.get((kind, band))
                if found is not None:
                    products.append(self._write(kind, band, found, bad, bad_inputs))
        return JobResult(tuple(outcomes.values()), tuple(products))

    def _bad_pixels(
        self, chosen: dict[tuple[str, str | None], tuple[Identity, RawFrames]], band: str
    ) -> tuple[NDArray[np.bool_], tuple[Input, ...]]:
        bad, inputs = np.zeros(self.profile.detector.shape, bool), []
        for owner in (None, band):
            found = chosen.get(("supplied-bad-pixels", owner))
            if found is not None:
                bad |= np.nan_to_num(_image(found[1]), nan=1.0) != 0
                inputs.append(Input("bad-pixels", found[0].path.name, found[1].content_hash))
        return bad, tuple(inputs)

    def _write(
        self,
        kind: str,
        band: str,
        found: tuple[Identity, RawFrames],
        bad: NDArray[np.bool_],
        bad_inputs: tuple[Input, ...],
    ) -> tuple[ProductFile, dict[str, Any], tuple[Input, ...]]:
        identity, frames = found
        value = _image(frames)
        mask = np.where(bad, flag("SUPPLIED"), 0).astype(np.int16)
        mask[~np.isfinite(value)] |= flag("NODATA")
        read = self.profile.responsivity.read
        name, unit = f"dark-{read}", "DN"
        if kind == "supplied-flat":
            name, unit = "responsivity", ""
            value = value / np.float32(nan_median(value[usable(mask)]))
            low, high = self.profile.pixels.dead_below, self.profile.pixels.bright_above
            with np.errstate(invalid="ignore"):
                mask[(value < low) | (value > high)] |= flag("DEAD")
        inputs = (Input("raw", identity.path.name, frames.content_hash), *bad_inputs)
        key = combine_key(
            "reference", kind, band, self.profile.fingerprint("detector", "pixels"), *(i.hash for i in inputs)
        )
        primary = primary_cards(
            kind,
            band=band,
            key=key,
            profile_name=self.profile.name,
            profile_hash=self.profile.hash,
            status="supplied",
            cause="taken as it came",
            extra={"READ": (read, "read"), "SOURCE": (identity.path.name, "file")},
        )
        images = {
            "SCI": Image(value, unit, "as supplied" + (", median 1" if not unit else "")),
            # Nobody said how certain it is.
            "ERR": Image(np.full(value.shape, np.nan, np.float32), unit, "unknown"),
            "DQ": Image(mask, "", "flags"),
        }
        if kind == "supplied-dark":
            images["NOISE"] = Image(np.full(value.shape, np.nan, np.float32), "DN", "unknown")
        file = write_product(self.root, f"supplied/{band}/{name}.fits", primary, images, (inputs_table(inputs),))
        meta = {"kind": kind, "band": band, "read": read if kind == "supplied-dark" else None, "key": key}
        return file, meta, inputs


def _image(frames: RawFrames) -> NDArray[np.float32]:
    plane = next(iter(frames.raw.values()))[0]
    return np.asarray(plane, np.float32)


def _check(identity: Identity, frames: RawFrames, profile: Profile) -> None:
    if len(frames.raw) != 1 or len(next(iter(frames.raw.values()))) != 1:
        raise RawFileError(identity.path, "a supplied master must be one image")
    image = _image(frames)
    if identity.obs_type == "supplied-bad-pixels" and np.mean(np.nan_to_num(image, nan=1.0) != 0) > 0.5:
        raise RawFileError(identity.path, "marks more than half of all pixels as bad (bad pixels are those not 0)")
    if identity.obs_type == "supplied-flat" and not nan_median(image) > 0:
        raise RawFileError(identity.path, "the median of a flat must be positive")
