"""The images of the Night page: what each shows and in which unit, made from a night's products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.flags import FLAGS, usable
from calib.verdict import Flat, mean_flat, ratio_map
from monitor.collect_night import Images, NightFiles

__all__ = ["F4", "KINDS", "Kind", "Layer", "flag_codes", "layers"]

F4 = NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """One of the page's images.

    Attributes
    ----------
    name, title, unit : str
    digits : int
        Decimals of its numbers.
    scale : str
        ``sequential``, ``diverging`` (symmetric about zero) or ``flags``.
    group : str
        Images of one group share their stretch.
    half_range : float
        Default half range of a diverging scale; 0 takes it from the image.
    meaning : str
        One sentence for the hover text.
    source : str
        The product without which there is no such image.
    """

    name: str
    title: str
    unit: str
    digits: int
    scale: str
    group: str
    half_range: float
    meaning: str
    source: str


KINDS: dict[str, Kind] = {
    k.name: k
    for k in (
        Kind("dark", "Dark", "DN", 1, "sequential", "dark", 0, "clipped mean of the night's dark frames", "dark"),
        Kind("dark-reference", "Dark − reference", "DN", 1, "diverging", "dark-reference", 0,
             "tonight's dark minus the long-term canonical dark of the hardware period, the level removed", "dark"),
        Kind("noise", "Noise", "e⁻", 1, "sequential", "noise", 0, "scatter over the dark frames", "dark"),
        Kind("flags", "Flags", "", 0, "flags", "flags", 0, "mask of the dark and of the responsivity together", "any"),
        Kind("responsivity", "Responsivity", "", 4, "sequential", "responsivity", 0,
             "slope of each pixel against the illumination, median 1", "flat"),
        Kind("canonical", "Canonical", "", 4, "sequential", "responsivity", 0,
             "mean of the last accepted responsivities, tonight included if accepted", "canonical"),
        Kind("ratio", "Ratio", "%", 2, "diverging", "ratio", 2.0,
             "tonight / the canonical before it − 1, what the verdict is on", "flat"),
        Kind("drift", "Flat / reference", "%", 2, "diverging", "ratio", 2.0,
             "tonight / the long-term reference of the hardware period − 1", "flat"),
        Kind("intercept", "Intercept", "DN", 1, "diverging", "intercept", 0,
             "signal of the twilight fit at no illumination", "flat"),
        Kind("chi2", "Reduced χ²", "", 2, "sequential", "chi2", 0, "of the twilight fit", "flat"),
        Kind("curvature", "Curvature", "10⁻⁶/DN", 2, "diverging", "curvature", 0,
             "quadratic term of the twilight fit over its slope: 1 × 10⁻⁶/DN is 1 % in 10 000 DN", "flat"),
        Kind("count", "Samples kept", "", 0, "sequential", "count", 0, "twilight samples in the fit", "flat"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """One image of one night.

    Attributes
    ----------
    value : ndarray of float32, shape (ny, nx), or None
        In the unit of its kind; NaN where there is none or the pixel may not be used.
    sigma : ndarray of float32 or None
        1σ, where it is known.
    flags : ndarray of uint8 or None
        Bits of `calib.flags`.
    reason : str
        Why there is no image.
    note : str
        ``supplied``, ``rejected``, ``provisional``, ``overtaken`` or empty.
    level : float or None
        What was taken from every pixel so that the structure is seen, in the unit of its kind.
    remark : str
        What else must be known to read the numbers.
    """

    kind: Kind
    value: F4 | None = None
    sigma: F4 | None = None
    flags: NDArray[np.uint8] | None = None
    reason: str = ""
    note: str = ""
    level: float | None = None
    remark: str = ""

    @cached_property
    def sample(self) -> F4:
        """Finite values, sorted, thinned to what percentiles need."""
        if self.value is None:
            return np.empty(0, np.float32)
        good = np.isfinite(self.value)
        if self.flags is not None and self.kind.scale != "flags":
            good &= usable(self.flags)
        # A prime step follows no column pattern of the read-out.
        values = self.value[good]
        return np.sort(values[:: 7 if values.size > 400_000 else 1])

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(a.nbytes for a in (self.value, self.sigma, self.flags) if a is not None)


def layers(files: NightFiles) -> dict[str, Layer]:
    """Return the images of a night by name, in the order of `KINDS`.

    Parameters
    ----------
    files : NightFiles

    Returns
    -------
    dict of str to Layer
        All of them; those that cannot be made carry the reason.
    """
    made: dict[str, Layer] = {}
    for name, kind in KINDS.items():
        maker = _MAKERS.get(name)
        note = files.notes.get(kind.source, "")
        found = maker(files) if maker is not None else None
        if isinstance(found, tuple):
            value, sigma, mask = found
            if value is None or not np.isfinite(value).any():
                made[name] = Layer(kind, reason="unknown: every value is missing", note=note)
            else:
                made[name] = Layer(kind, _f4(value), None if sigma is None else _f4(sigma), _u1(mask), "", note)
        elif isinstance(found, Layer):
            made[name] = replace(found, note=note)
        else:
            made[name] = Layer(kind, reason=found or files.missing.get(kind.source, "no data"), note=note)
    return made


Found = tuple[Any, Any, Any] | Layer | str | None


def _dark(f: NightFiles) -> Found:
    return None if f.dark is None else (f.dark["SCI"], f.dark.get("ERR"), f.dark.get("DQ"))


def _noise(f: NightFiles) -> Found:
    if f.dark is None:
        return None
    noise, count = f.dark.get("NOISE"), f.dark.get("COUNT")
    if noise is None or not np.isfinite(noise).any():
        return "unknown: the dark was supplied without its scatter"
    # The scatter of n frames is known to 1/√(2(n − 1)).
    sigma = None if count is None else noise / np.sqrt(2.0 * np.maximum(count.astype(np.float32) - 1, 1))
    mask, gain = _u1(f.dark.get("DQ")), np.float32(f.gain_e_per_dn)
    usual = float(np.nanmedian(noise if mask is None else np.where(usable(mask), noise, np.nan)))
    remark = f"median {usual * f.gain_e_per_dn:.1f} e⁻ = {usual:.2f} DN at {f.gain_e_per_dn:g} e⁻/DN"
    return Layer(KINDS["noise"], _f4(noise * gain), None if sigma is None else _f4(sigma * gain), mask, remark=remark)


def _dark_reference(f: NightFiles) -> Found:
    if f.dark is None or f.notes.get("dark") == "supplied":
        return f.missing.get("dark") if f.dark is None else "a supplied dark has no reference"
    if f.dark_reference is None:
        return f.missing["dark_reference"]
    mask, difference = _u1(f.dark["DQ"]), _f4(f.dark["SCI"] - f.dark_reference["SCI"])
    assert mask is not None
    good = usable(mask) & np.isfinite(difference)
    if not good.any():
        return "unknown: every value is missing"
    # A level that moved as a whole would hide whatever changed beside it.
    level = float(np.median(difference[good]))
    return Layer(
        KINDS["dark-reference"],
        difference - np.float32(level),
        _f4(np.hypot(f.dark["ERR"], f.dark_reference["ERR"])),
        mask,
        level=level,
        remark=f"level of {level:+.1f} DN removed".replace("-", "−"),
    )


def _flags(f: NightFiles) -> Found:
    # A flat of which no pixel could be fitted says nothing of the pixels.
    fitted = f.flat is not None and bool(usable(f.flat["DQ"]).any())
    masks = [p["DQ"] for p in (f.dark, f.flat if fitted else f.canonical) if p is not None and "DQ" in p]
    if not masks:
        return "there is neither a dark nor a flat"
    mask = np.bitwise_or.reduce([m.astype(np.uint8) for m in masks])
    return flag_codes(mask), None, mask


def _responsivity(f: NightFiles) -> Found:
    return None if f.flat is None else (f.flat["SCI"], f.flat.get("ERR"), f.flat.get("DQ"))


def _canonical(f: NightFiles) -> Found:
    return None if f.canonical is None else (f.canonical["SCI"], f.canonical.get("ERR"), f.canonical.get("DQ"))


def _ratio(f: NightFiles) -> Found:
    if f.flat is None:
        return None
    if not f.standard:
        return f.missing["standard"]
    return _relative(f.flat, mean_flat([_flat(m) for m in f.standard]))


def _drift(f: NightFiles) -> Found:
    if f.flat is None:
        return None
    return f.missing["flat_reference"] if f.flat_reference is None else _relative(f.flat, _flat(f.flat_reference))


def _relative(flat: Images, standard: Flat) -> Found:
    tonight = _flat(flat)
    percent, good = ratio_map(tonight, standard)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = 100 * np.hypot(tonight.error / tonight.value, standard.error / standard.value)
    return np.where(good, percent, np.nan), sigma, flat["DQ"]


def _flat(images: Images) -> Flat:
    value = np.asarray(images["SCI"], np.float32)
    return Flat(value, np.asarray(images["ERR"], np.float32), usable(images["DQ"]) & np.isfinite(value))


def _of_fit(name: str, error: str = "", factor: float = 1.0) -> Callable[[NightFiles], Found]:
    def found(f: NightFiles) -> Found:
        if f.flat is None or name not in f.flat:
            return None
        return f.flat[name] * np.float32(factor), f.flat.get(error), f.flat.get("DQ")

    return found


def _chi2(f: NightFiles) -> Found:
    if f.flat is None or "CHI2" not in f.flat:
        return None
    count = f.flat.get("COUNT")
    # The width of reduced χ² with n − 2 degrees of freedom.
    sigma = None if count is None else np.sqrt(2.0 / np.maximum(count.astype(np.float32) - 2, 1))
    return f.flat["CHI2"], sigma, f.flat.get("DQ")


_MAKERS: dict[str, Callable[[NightFiles], Found]] = {
    "dark": _dark,
    "dark-reference": _dark_reference,
    "noise": _noise,
    "flags": _flags,
    "responsivity": _responsivity,
    "canonical": _canonical,
    "ratio": _ratio,
    "drift": _drift,
    "intercept": _of_fit("INTERCEPT", "INTERR"),
    "chi2": _chi2,
    "curvature": _of_fit("CURV", factor=1e6),
    "count": _of_fit("COUNT"),
}


def _f4(image: Any) -> F4:
    return np.ascontiguousarray(image, np.float32)


def _u1(mask: Any) -> NDArray[np.uint8] | None:
    return None if mask is None else np.ascontiguousarray(mask).astype(np.uint8)


# Of several flags in a pixel the one that says most about it is drawn.
_RANK = ("NODATA", "SUPPLIED", "DEAD", "HOT", "NOISY", "SATUR", "CLIPPED", "SUBST")


def flag_codes(mask: NDArray[np.integer[Any]]) -> F4:
    """Return 0 for a clean pixel, else 1 + the bit of the flag that says most, shape (ny, nx)."""
    codes = np.zeros(mask.shape, np.float32)
    bits = {f.name: f for f in FLAGS}
    for name in reversed(_RANK):
        codes[(mask & bits[name].value) > 0] = bits[name].bit + 1
    return codes
