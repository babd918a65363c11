"""The images of the Night page: what each shows, in which unit, on which scale; nothing here draws or reads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.flags import FLAGS, usable
from calib.verdict import Flat, mean_flat, ratio_map
from monitor.collect_night import Images, NightFiles

__all__ = [
    "KINDS", "Binned", "Kind", "Layer", "LayerStore", "bin_window", "flag_codes", "layers", "limits_of", "window_of",
]  # fmt: skip

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


def limits_of(layer: Layer, stretch: str = "") -> tuple[float, float]:
    """Return the ends of the colour scale.

    Parameters
    ----------
    layer : Layer
    stretch : str
        Empty for the default of the kind; ``p98`` for the inner 98 %; ``c98`` for that about the median;
        ``s2`` for ±2; ``v -3 5`` for given ends.
        What is not understood is the default.
    """
    kind = layer.kind
    if kind.scale == "flags":
        return -0.5, len(FLAGS) + 0.5
    words = stretch.split()
    try:
        if stretch.startswith("v") and len(words) == 3:
            low, high = float(words[1]), float(words[2])
            if np.isfinite([low, high]).all() and high > low:
                return low, high
        elif stretch.startswith("s") and 0 < float(stretch[1:]) < 1e9:
            return -float(stretch[1:]), float(stretch[1:])
        elif stretch.startswith("c") and 0 < float(stretch[1:]) <= 100 and layer.sample.size:
            # About the median: the structure of a map that is shifted as a whole.
            middle = float(np.median(layer.sample))
            half = float(np.percentile(np.abs(layer.sample - middle), float(stretch[1:])))
            return middle - max(half, 10.0**-kind.digits), middle + max(half, 10.0**-kind.digits)
        elif stretch.startswith("p") and 0 < float(stretch[1:]) <= 100:
            return _percentiles(layer, float(stretch[1:]))
    except ValueError:
        pass
    if kind.half_range:
        return -kind.half_range, kind.half_range
    return _percentiles(layer, 99.0)


def _percentiles(layer: Layer, percent: float) -> tuple[float, float]:
    v = layer.sample
    if not v.size:
        return 0.0, 1.0
    if layer.kind.scale == "diverging":
        k = np.sort(np.abs(v))
        half = float(k[min(int(percent / 100 * k.size), k.size - 1)])
        low, high = -half, half
    else:
        tail = (100 - percent) / 200
        low, high = float(v[int(tail * (v.size - 1))]), float(v[int(np.ceil((1 - tail) * (v.size - 1)))])
    least = 10.0**-layer.kind.digits
    return (low, high) if high - low >= least else (low - least, high + least)


@dataclass(frozen=True)
class Window:
    """A part of an image and by how much it is binned: the stretch of columns and rows, and pixels per bin."""

    x0: int
    x1: int
    y0: int
    y1: int
    factor: int

    def serves(self, wanted: Window, view: tuple[float, float, float, float]) -> bool:
        """Whether it covers a view finely enough, and not much too finely."""
        ok = self.x0 <= view[0] and self.x1 >= view[1] and self.y0 <= view[2] and self.y1 >= view[3]
        return ok and self.factor == wanted.factor


def window_of(shape: tuple[int, int], view: tuple[float, float, float, float], target: int) -> Window:
    """Return what must be sent for a view.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the image.
    view : tuple of float
        x and y limits of what is on screen: x from, x to, y from, y to.
    target : int
        So many bins each way are as fine as the screen can show.

    Returns
    -------
    Window
        With a margin of an eighth on each side, so that a small move needs nothing new.
    """
    ny, nx = shape
    span = max(min(view[1], nx) - max(view[0], 0), min(view[3], ny) - max(view[2], 0), 1)
    factor = 1
    while span / factor > target:
        factor *= 2
    edges = []
    for low, high, n in ((view[0], view[1], nx), (view[2], view[3], ny)):
        margin = (high - low) / 8
        first = int(np.clip(np.floor((low - margin) / factor) * factor, 0, max(n - factor, 0) // factor * factor))
        last = int(np.clip(np.ceil((high + margin) / factor) * factor, first + factor, -(-n // factor) * factor))
        edges += [first, last]
    return Window(edges[0], edges[1], edges[2], edges[3], factor)


@dataclass(frozen=True)
class Binned:
    """A window of an image as it is sent: means of the finite values, σ of those means' pixels, all flags together."""

    value: F4
    sigma: F4 | None
    flags: NDArray[np.uint8] | None


def bin_window(layer: Layer, window: Window, *, extras: bool) -> Binned:
    """Return a window of a layer.

    Parameters
    ----------
    layer : Layer
        With an image.
    window : Window
    extras : bool
        Also σ and flags.

    Returns
    -------
    Binned
        A bin is NaN only where all its pixels are; σ is the mean of theirs (of a single pixel, not of the bin).
    """
    assert layer.value is not None
    part = (slice(window.y0, window.y1), slice(window.x0, window.x1))
    size = (window.y1 - window.y0, window.x1 - window.x0)
    top = layer.kind.scale == "flags"
    value = _bins(layer.value[part], size, window.factor, top=top)
    if not extras:
        return Binned(value, None, None)
    sigma = None if layer.sigma is None else _bins(layer.sigma[part], size, window.factor)
    flags = layer.flags
    if flags is not None:
        flags = flags[part]
        if window.factor > 1:
            blocks = _blocks(flags, size, window.factor, 0)
            flags = np.bitwise_or.reduce(np.bitwise_or.reduce(blocks, axis=3), axis=1)
    return Binned(value, sigma, None if flags is None else np.ascontiguousarray(flags))


def _blocks(image: NDArray[Any], size: tuple[int, int], factor: int, fill: float) -> NDArray[Any]:
    if image.shape != size:
        image = np.pad(image, [(0, s - n) for s, n in zip(size, image.shape, strict=True)], constant_values=fill)
    return image.reshape(size[0] // factor, factor, size[1] // factor, factor)


def _bins(image: F4, size: tuple[int, int], factor: int, *, top: bool = False) -> F4:
    if factor == 1:
        return np.ascontiguousarray(image)
    blocks = _blocks(image, size, factor, np.nan)
    if top:
        return _f4(np.nanmax(np.where(np.isfinite(blocks), blocks, 0), axis=(1, 3)))
    seen = np.isfinite(blocks)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _f4(np.where(seen, blocks, 0).sum(axis=(1, 3)) / seen.sum(axis=(1, 3)))


class LayerStore:
    """Keeps the images of the nights looked at last, for all sessions together.

    Parameters
    ----------
    limit_bytes : float
        How much memory they may take.
    """

    def __init__(self, limit_bytes: float = 256e6) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Any, ...], dict[str, Layer]] = OrderedDict()

    def get(self, key: tuple[Any, ...], make: Callable[[], dict[str, Layer]]) -> dict[str, Layer]:
        """Return what is kept under a key, or make and keep it."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > 2 and sum(x.nbytes for m in self._kept.values() for x in m.values()) > self._limit:
                self._kept.popitem(last=False)
        return made
