"""The ends of the colour scale of an image, and of one that many share."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from calib.flags import FLAGS
from monitor.compute_layers import Layer

__all__ = ["limits_of", "shared_half_width"]

# A value that is so much too large for a round number is still drawn with it: it is only a little saturated.
_OVER = 1.2


def shared_half_width(extents: Iterable[float]) -> str:
    """Return the half-width of a scale about zero that many pictures share: 1, 2 or 5 times a power of ten.

    Half of the pictures lie within it: one band that is far off does not make all others look blank.

    Parameters
    ----------
    extents : iterable of float
        How far each picture reaches from zero; what is not finite or not positive takes no part.

    Returns
    -------
    str
        As one writes it, such as ``0.5``; at least 0.05, and 2 where nothing is known.
    """
    known = [e for e in extents if math.isfinite(e) and e > 0]
    wanted = max(float(np.median(known)) / _OVER, 0.05) if known else 2.0
    power = 10.0 ** math.floor(math.log10(wanted))
    return f"{next((n * power for n in (1, 2, 5) if n * power >= wanted * (1 - 1e-9)), 10 * power):g}"


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
