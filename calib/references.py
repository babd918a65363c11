"""The long-term reference of every hardware period, and each night's deviations from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from calib.archive import schema
from calib.archive.database import Archive, upsert
from calib.archive.products import (
    Image,
    Input,
    dark_path,
    inputs_table,
    primary_cards,
    read_product,
    reference_path,
    responsivity_path,
    write_product,
)
from calib.canonical import Survey, reference_members
from calib.drift import Deviation, cell_error, deviations
from calib.flags import usable
from calib.night import combine_key
from calib.profile import Profile
from calib.regions import cell_means, quadrant_names
from calib.standards import Standards, drop_product, record_product, write_canonical
from calib.verdict import Flat, ratio_map

__all__ = ["update_references"]

Row = dict[str, Any]
Images = dict[str, NDArray[Any]]


def update_references(archive: Archive, profile: Profile, standards: Standards) -> set[str]:
    """Bring references and deviations up to date; return the bands in which a number changed."""
    touched: set[str] = set()
    for (band, read), surveys in standards.dark_surveys.items():
        for period, survey in surveys.items():
            if _dark_period(archive, profile, band, read, period, survey):
                touched.add(band)
    for band, surveys in standards.flat_surveys.items():
        for period, survey in surveys.items():
            if _flat_period(archive, profile, band, period, survey):
                touched.add(band)
    _drop_orphans(archive, profile, standards)
    return touched


def _drop_orphans(archive: Archive, profile: Profile, standards: Standards) -> None:
    """Remove the references of hardware periods that are no more, or have no accepted night."""
    wanted = {
        reference_path(band, period, f"dark-{read}")
        for (band, read), surveys in standards.dark_surveys.items()
        for period, survey in surveys.items()
        if reference_members(survey, profile.canonical)
    }
    wanted |= {
        reference_path(band, period, "responsivity")
        for band, surveys in standards.flat_surveys.items()
        for period, survey in surveys.items()
        if reference_members(survey, profile.canonical)
    }
    p = schema.products
    there = {r["path"] for r in archive.rows(sa.select(p.c.path).where(p.c.kind.like("reference-%")))}
    with archive.begin() as connection:
        for path in sorted(there - wanted):
            drop_product(connection, archive.root, path)


def _known_keys(archive: Archive, band: str, product: str) -> dict[str, str]:
    m = schema.metrics
    query = sa.select(m.c.night, m.c.key).where(m.c.band == band, m.c.product == product, m.c.region == "array")
    return {r["night"]: r["key"] for r in archive.rows(query)}


@dataclass(frozen=True)
class CellMap:
    """A night's deviation by cells, as control charts take it.

    Attributes
    ----------
    cells : ndarray, shape (ny, nx)
        Clipped means.
    error : float
        1σ of a cell.
    unit : str
    """

    cells: NDArray[np.float64]
    error: float
    unit: str


def _store(
    archive: Archive,
    band: str,
    night: str,
    key: str,
    products: dict[str, list[tuple[Deviation, str, str]]],
    maps: dict[str, CellMap],
) -> None:
    """Replace the metrics and cell maps of one night, band and some products, all or none of them."""
    m = schema.metrics
    with archive.begin() as connection:
        upsert(
            connection,
            schema.cell_maps,
            [
                {
                    "night": night,
                    "band": band,
                    "product": product,
                    # More digits than any error deserves, and few enough to be read quickly.
                    "cells": [[round(float(v), 5) if np.isfinite(v) else None for v in row] for row in found.cells],
                    "error": found.error if np.isfinite(found.error) else None,
                    "unit": found.unit,
                    "key": key,
                }
                for product, found in maps.items()
            ],
        )
        for product, rows in products.items():
            connection.execute(sa.delete(m).where(m.c.night == night, m.c.band == band, m.c.product == product))
            upsert(
                connection,
                m,
                [
                    {
                        "night": night,
                        "band": band,
                        "product": product,
                        "region": d.region,
                        "metric": metric,
                        "value": d.value if np.isfinite(d.value) else None,
                        "error": d.error if np.isfinite(d.error) else None,
                        "unit": unit,
                        "key": key,
                    }
                    for d, metric, unit in rows
                ],
            )


def _is_there(archive: Archive, path: str, key: str) -> bool:
    """Whether a reference is at its place; its members may be as before while its hardware period has another name."""
    return bool(archive.value(sa.select(schema.products.c.key).where(schema.products.c.path == path)) == key)


def _forget(archive: Archive, band: str, products: tuple[str, ...], nights: set[str]) -> None:
    with archive.begin() as connection:
        for night in nights:
            for t in (schema.metrics, schema.cell_maps):
                connection.execute(sa.delete(t).where(t.c.night == night, t.c.band == band, t.c.product.in_(products)))


def _dark_period(archive: Archive, profile: Profile, band: str, read: str, period: str, survey: Survey) -> bool:
    d = schema.darks
    columns = (d.c.night, d.c.key, d.c.level_error_dn, d.c.level_dn, d.c.noise_dn, d.c.n_frames)
    nights = {s.night for s in survey.nights}
    rows = {
        r["night"]: r
        for r in archive.rows(sa.select(*columns).where(d.c.band == band, d.c.read == read))
        if r["night"] in nights
    }
    members = reference_members(survey, profile.canonical)
    product, noise_product = f"dark {read}", f"noise {read}"
    known = {n: k for n, k in _known_keys(archive, band, product).items() if n in nights}
    if not members:
        _forget(archive, band, (product, noise_product), set(known))
        return bool(known)
    reference_key = combine_key("reference", *(rows[n]["key"] for n in members))
    wanted = {n: combine_key("reference", reference_key, r["key"]) for n, r in rows.items()}
    stale = [n for n in sorted(wanted) if known.get(n) != wanted[n]]
    if not stale and _is_there(archive, reference_path(band, period, f"dark-{read}"), reference_key):
        return False
    reference = _dark_reference(archive, profile, band, read, period, members, rows, reference_key)
    for night in stale:
        images = read_product(archive.root, dark_path(night, band, read), ("SCI", "ERR", "DQ", "NOISE"))
        row = rows[night]
        common = row["level_error_dn"] or 0.0
        good = usable(images["DQ"]) & usable(reference["DQ"])
        error = np.hypot(images["ERR"], reference["ERR"])
        difference = images["SCI"] - reference["SCI"]
        found = _deviations(difference, error, good, profile, common_error=common)
        level = Deviation("array", _real(row["level_dn"]), common)
        with np.errstate(divide="ignore", invalid="ignore"):
            percent = 100 * (images["NOISE"] / reference["NOISE"] - 1)
        # The scatter of n frames is known to 1/√(2(n − 1)).
        relative = 100 / np.sqrt(2 * max(row["n_frames"] - 1, 1))
        noise = _deviations(percent, np.full(percent.shape, relative), good, profile)
        gain = profile.detector.gain_e_per_dn[band]
        absolute = Deviation(
            "array",
            _real(row["noise_dn"]) * gain,
            relative / 100 * _real(row["noise_dn"]) * gain / np.sqrt(max(good.sum(), 1)),
        )
        metrics = {
            product: [(x, "deviation", "DN") for x in found] + [(level, "level", "DN")],
            noise_product: [(x, "deviation", "%") for x in noise] + [(absolute, "noise", "e⁻")],
        }
        cells = profile.detector.cells
        maps = {
            product: CellMap(cell_means(difference, good, cells), cell_error(error, good, cells), "DN"),
            noise_product: CellMap(
                cell_means(percent, good, cells), cell_error(np.full(percent.shape, relative), good, cells), "%"
            ),
        }
        _store(archive, band, night, wanted[night], metrics, maps)
    return True


def _deviations(
    difference: NDArray[np.floating],
    error: NDArray[np.floating],
    good: NDArray[np.bool_],
    profile: Profile,
    *,
    common_error: float = 0.0,
) -> tuple[Deviation, ...]:
    detector = profile.detector
    return deviations(
        difference, error, good, quadrants=detector.quadrants, cells=detector.cells, common_error=common_error
    )


def _real(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _dark_reference(
    archive: Archive,
    profile: Profile,
    band: str,
    read: str,
    period: str,
    members: tuple[str, ...],
    rows: dict[str, Row],
    key: str,
) -> Images:
    path = reference_path(band, period, f"dark-{read}")
    if archive.value(sa.select(schema.products.c.key).where(schema.products.c.path == path)) == key:
        return read_product(archive.root, path, ("SCI", "ERR", "DQ", "NOISE"))
    total: dict[str, NDArray[np.float64]] = {}
    counts = np.zeros(profile.detector.shape)
    mask = np.zeros(profile.detector.shape, np.int16)
    for night in members:
        images = read_product(archive.root, dark_path(night, band, read), ("SCI", "ERR", "DQ", "NOISE"))
        good = usable(images["DQ"])
        counts += good
        mask |= images["DQ"].astype(np.int16)
        for name, power in (("SCI", 1), ("ERR", 2), ("NOISE", 2)):
            part = np.where(good, images[name].astype(np.float64) ** power, 0)
            total[name] = total.get(name, 0) + part
    with np.errstate(divide="ignore", invalid="ignore"):
        images = {
            "SCI": (total["SCI"] / counts).astype(np.float32),
            "ERR": (np.sqrt(total["ERR"]) / counts).astype(np.float32),
            "NOISE": np.sqrt(total["NOISE"] / counts).astype(np.float32),
        }
    # A pixel that is good in most members is good in their mean.
    mask[2 * counts > len(members)] = 0
    inputs = tuple(Input("member", dark_path(n, band, read), rows[n]["key"]) for n in members)
    extra: dict[str, tuple[object, str]] = {
        "READ": (read, "read"),
        "PERIOD": (period or "first light", "hardware period"),
        "NMEMBERS": (len(members), "nights averaged"),
    }
    primary = primary_cards(
        "reference-dark",
        band=band,
        key=key,
        profile_name=profile.name,
        profile_hash=profile.hash,
        extra=extra,
    )
    layers = {
        "SCI": Image(images["SCI"], "DN", "mean of nightly darks"),
        "ERR": Image(images["ERR"], "DN", "1 sigma of it"),
        "DQ": Image(mask, "", "flags"),
        "NOISE": Image(images["NOISE"], "DN", "rms of nightly noise"),
    }
    file = write_product(archive.root, path, primary, layers, (inputs_table(inputs),))
    with archive.begin() as connection:
        meta = {"kind": "reference-dark", "band": band, "read": read, "key": key}
        record_product(connection, file, meta, inputs, profile)
    return {**images, "DQ": mask}


def _flat_period(archive: Archive, profile: Profile, band: str, period: str, survey: Survey) -> bool:
    f = schema.flats
    nights = {s.night for s in survey.nights}
    query = sa.select(f.c.night, f.c.key, f.c.gain).where(f.c.band == band)
    rows = {r["night"]: r for r in archive.rows(query) if r["night"] in nights and r["key"]}
    members = reference_members(survey, profile.canonical)
    known = {n: k for n, k in _known_keys(archive, band, "responsivity").items() if n in nights}
    if not members:
        _forget(archive, band, ("responsivity", "gain"), set(known))
        return bool(known)
    reference_key = combine_key("reference", *(rows[n]["key"] for n in members))
    wanted = {n: combine_key("reference", reference_key, r["key"]) for n, r in rows.items()}
    _forget(archive, band, ("responsivity", "gain"), known.keys() - wanted.keys())
    stale = [n for n in sorted(wanted) if known.get(n) != wanted[n]]
    path = reference_path(band, period, "responsivity")
    there = _is_there(archive, path, reference_key)
    if not stale and there:
        return False
    if not there:
        loaded = [_flat(archive, responsivity_path(n, band)) for n in members]
        inputs = tuple(Input("member", responsivity_path(n, band), rows[n]["key"]) for n in members)
        file = write_canonical(
            archive.root,
            path,
            "reference-responsivity",
            [x for x, _ in loaded],
            [m for _, m in loaded],
            inputs,
            key=reference_key,
            band=band,
            night=None,
            members=members,
            profile=profile,
        )
        with archive.begin() as connection:
            meta = {"kind": "reference-responsivity", "band": band, "key": reference_key}
            record_product(connection, file, meta, inputs, profile)
    reference, _ = _flat(archive, path)
    gains = np.array([[_real(g[0]) for g in rows[n]["gain"]] for n in members])
    with np.errstate(invalid="ignore"):
        typical = np.nanmedian(gains, axis=0) if np.isfinite(gains).any() else np.full(gains.shape[1], np.nan)
    for night in stale:
        tonight, _ = _flat(archive, responsivity_path(night, band))
        percent, good = ratio_map(tonight, reference)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = 100 * np.hypot(tonight.error / tonight.value, reference.error / reference.value)
        # The pixels of a healthy array vary by themselves, beyond what their errors say.
        error = np.hypot(error, profile.responsivity.pixel_stability_percent * np.sqrt(1 + 1 / len(members)))
        found = _deviations(percent, error, good, profile)
        metrics = {
            "responsivity": [(x, "deviation", "%") for x in found],
            "gain": _gain_rows(rows[night]["gain"], typical, quadrant_names(profile.detector.quadrants)),
        }
        cells = profile.detector.cells
        maps = {
            "responsivity": CellMap(cell_means(percent, good, cells), cell_error(error, good, cells), "%"),
            "gain": _gain_map(rows[night]["gain"], typical, profile.detector.quadrants),
        }
        _store(archive, band, night, wanted[night], metrics, maps)
    return True


def _gain_rows(
    gains: list[list[float | None]], typical: NDArray[np.float64], names: tuple[str, ...]
) -> list[tuple[Deviation, str, str]]:
    values = np.array([_real(g[0]) for g in gains])
    errors = np.array([_real(g[1]) for g in gains])
    found = [(Deviation(n, float(v), float(e)), "gain", "e⁻/DN") for n, v, e in zip(names, values, errors, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        percent, percent_error = 100 * (values / typical - 1), 100 * errors / typical
    found += [
        (Deviation(n, float(v), float(e)), "deviation", "%")
        for n, v, e in zip(names, percent, percent_error, strict=True)
    ]
    found.append((_weighted_mean(values, errors), "gain", "e⁻/DN"))
    found.append((_weighted_mean(percent, percent_error), "deviation", "%"))
    return found


def _weighted_mean(values: NDArray[np.float64], errors: NDArray[np.float64]) -> Deviation:
    """Return the mean of the quadrants of which value and error are known, weighted by their variances; NaN if none."""
    ok = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    if not ok.any():
        return Deviation("array", float("nan"), float("nan"))
    weight = 1 / errors[ok] ** 2
    return Deviation("array", float(np.sum(weight * values[ok]) / weight.sum()), float(1 / np.sqrt(weight.sum())))


def _gain_map(gains: list[list[float | None]], typical: NDArray[np.float64], quadrants: tuple[int, int]) -> CellMap:
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = 100 * (np.array([_real(g[0]) for g in gains]) / typical - 1)
        errors = 100 * np.array([_real(g[1]) for g in gains]) / typical
    return CellMap(percent.reshape(quadrants), float(np.mean(errors)), "%")


def _flat(archive: Archive, path: str) -> tuple[Flat, NDArray[np.integer[Any]]]:
    images = read_product(archive.root, path, ("SCI", "ERR", "DQ"))
    value, error = np.asarray(images["SCI"], np.float32), np.asarray(images["ERR"], np.float32)
    mask = np.asarray(images["DQ"], np.int16)
    return Flat(value, error, usable(mask) & np.isfinite(value)), mask
