"""The images of one night, band and read, as they lie in the archive, and why those that are missing are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from calib.archive.products import canonical_path, dark_path, reference_path, responsivity_path
from monitor.collect import Collector, Row, Snapshot

__all__ = ["NightFiles", "NightRows", "dark_file", "night_files", "night_rows", "supplied_path"]

Images = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class NightFiles:
    """What the archive holds for one night, band and read.

    Attributes
    ----------
    night, band, read : str
    dark, flat, canonical, dark_reference, flat_reference : dict or None
        Extension → image; None where there is no product.
    standard : tuple of dict
        The responsivities whose mean the flat was judged against.
    missing : dict
        Product → why it is not there, in words.
    notes : dict
        Product → what must be said about it: ``supplied``, ``rejected``, ``provisional``, …
    gain_e_per_dn : float
        Of the band, by the profile.
    """

    night: str
    band: str
    read: str
    dark: Images | None = None
    flat: Images | None = None
    canonical: Images | None = None
    dark_reference: Images | None = None
    flat_reference: Images | None = None
    standard: tuple[Images, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    gain_e_per_dn: float = 1.0


@dataclass(frozen=True)
class NightRows:
    """The rows of one night and band, and the verdicts of all nights of that band, looked up once.

    Attributes
    ----------
    night : str
    gain_e_per_dn : float
        Of the band, by the profile.
    flat : dict or None
    darks : dict
        Read → row; None where there is none.
    verdicts : dict
        ``flat``, ``dark R1``, … → night → verdict and cause.
    """

    night: str
    gain_e_per_dn: float
    flat: Row | None
    darks: dict[str, Row | None]
    verdicts: dict[str, dict[str, tuple[str, str]]]


def night_rows(snapshot: Snapshot, night: str, band: str) -> NightRows:
    """Look up the rows of a night and band."""
    judged = {"flat": snapshot.verdicts(band)} | {
        f"dark {r}": snapshot.verdicts(band, r) for r in snapshot.profile.reads
    }
    return NightRows(
        night,
        snapshot.profile.detector.gain_e_per_dn[band],
        snapshot.flat(night, band),
        {r: snapshot.dark(night, band, r) for r in snapshot.profile.reads},
        judged,
    )


def supplied_path(band: str, name: str) -> str:
    """Return where a supplied master lies: ``responsivity`` or ``dark-R2-R1``."""
    return f"supplied/{band}/{name}.fits"


def dark_file(night: str, band: str, read: str) -> str:
    """Return the path of a dark by the night it is of, which may be ``supplied``."""
    return supplied_path(band, f"dark-{read}") if night == "supplied" else dark_path(night, band, read)


def night_files(
    collector: Collector, rows: NightRows, night: str, band: str, read: str, absent: Mapping[str, tuple[str, str]]
) -> NightFiles:
    """Read the images of a night, band and read; supplied masters stand in where there is nothing of its own.

    Parameters
    ----------
    absent : mapping
        For ``dark`` and ``flat`` the state and words of what to say where the archive holds none.
    """
    missing: dict[str, str] = {}
    notes: dict[str, str] = {}
    dark_row, flat_row = rows.darks.get(read), rows.flat

    def load(path: str, *names: str) -> Images | None:
        found = collector.images(path, names)
        return found if "SCI" in found else None

    dark = load(dark_path(night, band, read), "SCI", "ERR", "DQ", "NOISE", "COUNT") if dark_row else None
    if dark is not None and dark_row is not None:
        notes["dark"] = _verdict(dark_row)
    elif dark_row is not None:
        missing["dark"] = f"the product of {night} is not in the archive; calib verify lists what is lost"
    else:
        dark = load(supplied_path(band, f"dark-{read}"), "SCI", "ERR", "DQ", "NOISE")
        if dark is not None:
            notes["dark"] = "supplied"
        used = flat_row["dark_night"] if flat_row else None
        state, words = absent["dark"]
        missing["dark"] = (f"no dark was taken in {band}" if state == "unknown" else words) + (
            f"; that of {used} was used" if used and used != night else ""
        )
    flat = None
    if flat_row is None:
        state, words = absent["flat"]
        missing["flat"] = f"no twilight flat was taken in {band}" if state == "unknown" else words
    elif not flat_row["key"]:
        missing["flat"] = "there was no dark to make a flat with"
    else:
        names = ("SCI", "ERR", "DQ", "INTERCEPT", "INTERR", "CHI2", "CURV", "COUNT")
        flat = load(responsivity_path(night, band), *names)
        notes["flat"] = _verdict(flat_row)
        missing["flat"] = f"the product of {night} is not in the archive; calib verify lists what is lost"
    canonical = load(canonical_path(night, band), "SCI", "ERR", "DQ")
    if canonical is None:
        canonical = load(supplied_path(band, "responsivity"), "SCI", "ERR", "DQ")
        if canonical is not None:
            notes["canonical"] = "supplied"
        missing["canonical"] = "no canonical yet: no flat of this hardware period can serve"
        before = [n for n in rows.verdicts["flat"] if n < night]
        if flat_row is None and before:
            why = "no flat" if state == "unknown" else "the flat is not made yet"
            missing["canonical"] = f"{why}, so no canonical of this night; the one before is of {max(before)}"
    elif flat_row is not None and flat_row["overtaken"]:
        notes["canonical"] = "overtaken"
    elif flat_row is not None and flat_row["status"] == "provisional":
        notes["canonical"] = "provisional"
    dark_reference, flat_reference = None, None
    missing["dark_reference"] = "no accepted dark in this hardware period to compare with"
    missing["flat_reference"] = "no accepted flat in this hardware period to compare with"
    if dark_row is not None:
        dark_reference = load(reference_path(band, dark_row["period"] or "", f"dark-{read}"), "SCI", "ERR", "DQ")
    if flat_row is not None:
        flat_reference = load(reference_path(band, flat_row["period"] or "", "responsivity"), "SCI", "ERR", "DQ")
    standard, missing["standard"] = _standard(load, flat_row)
    return NightFiles(
        night,
        band,
        read,
        dark,
        flat,
        canonical,
        dark_reference,
        flat_reference,
        standard,
        missing,
        notes,
        rows.gain_e_per_dn,
    )


def _standard(load: Any, row: Row | None) -> tuple[tuple[Images, ...], str]:
    nights = row["standard"] if row is not None else None
    if row is None or not isinstance(nights, list) or not nights:
        return (), "nothing to compare with yet"
    members = [load(responsivity_path(n, row["band"]), "SCI", "ERR", "DQ") for n in nights]
    lost = [n for n, m in zip(nights, members, strict=True) if m is None]
    if lost:
        return (), f"of the canonical before it, {', '.join(lost)} is not in the archive"
    return tuple(members), ""


def _verdict(row: Row) -> str:
    return "" if row["status"] == "accepted" else str(row["status"])
