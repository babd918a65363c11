"""Settling the survey: which darks and responsivities stand, and what each night is calibrated with.

Here the pure rules of `calib.canonical` meet the rows and products of the archive. Everything is recomputed from
what is there, so the order in which nights arrived leaves no trace; comparisons of images are remembered by key.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive, upsert, utc_now
from calib.archive.decisions import Rulings
from calib.archive.products import (
    Image,
    Input,
    ProductFile,
    canonical_path,
    dark_path,
    inputs_table,
    primary_cards,
    read_product,
    responsivity_path,
    set_verdict,
    write_product,
)
from calib.canonical import Settled, Survey
from calib.checks import CheckResult, Verdict, judge
from calib.comparisons import DarkComparison, FlatComparison
from calib.flags import flag, usable
from calib.night import MasterFile, combine_key
from calib.profile import Profile
from calib.settling import COMPARED, canonical_night, dark_night, settled_darks, settled_flats
from calib.verdict import Flat, mean_flat, origin_of

__all__ = ["Standards", "drop_product", "record_product"]

Row = dict[str, Any]


def record_product(
    connection: sa.Connection,
    file: ProductFile,
    meta: Row,
    inputs: Iterable[Input],
    profile: Profile,
    raw_paths: dict[str, str] | None = None,
) -> None:
    """Write the row of a product and its lineage; raw inputs are recorded by their full path."""
    from calib import __version__

    row = {
        "path": file.path,
        "content_hash": file.content_hash,
        "size": file.size,
        "mtime_ns": file.mtime_ns,
        "kind": meta["kind"],
        "night": meta.get("night"),
        "band": meta["band"],
        "read": meta.get("read"),
        "scan": meta.get("scan"),
        "key": meta["key"],
        "profile_hash": profile.hash,
        "code_version": __version__,
        "made": utc_now(),
    }
    upsert(connection, schema.products, [row])
    connection.execute(sa.delete(schema.lineage).where(schema.lineage.c.child == file.path))
    parents = {(i.role, (raw_paths or {}).get(i.hash, i.name) if i.role == "raw" else i.name) for i in inputs}
    upsert(connection, schema.lineage, [{"child": file.path, "parent": p, "role": r} for r, p in sorted(parents)])


def refresh_file(connection: sa.Connection, file: ProductFile) -> None:
    """Note a product's new hash after its verdict was written into it."""
    connection.execute(
        sa.update(schema.products)
        .where(schema.products.c.path == file.path)
        .values(content_hash=file.content_hash, size=file.size, mtime_ns=file.mtime_ns)
    )


def drop_product(connection: sa.Connection, root: Path, path: str) -> None:
    """Remove a product that nothing stands behind any more, with its row and its lineage."""
    # The file goes first: should the rows survive a crash, the next run sees that it is missing.
    (root / path).unlink(missing_ok=True)
    connection.execute(sa.delete(schema.products).where(schema.products.c.path == path))
    connection.execute(sa.delete(schema.lineage).where(schema.lineage.c.child == path))


class Standards:
    """Verdicts and standards of the whole archive under one profile and the standing decisions.

    Parameters
    ----------
    archive, profile, rulings
    settled : bool
        The archive was settled once and nothing was given up half-way since: what a row says of a night that is as it
        was, judged against nights that are as they were, is not worked out again.
    """

    def __init__(self, archive: Archive, profile: Profile, rulings: Rulings, *, settled: bool = False) -> None:
        self.archive, self.profile, self.rulings = archive, profile, rulings
        self._settled = settled
        self._darks: dict[tuple[str, str], dict[str, Survey]] = {}
        self._dark_keys: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._flats: dict[str, dict[str, Survey]] = {}
        self._canonicals: dict[str, dict[str, tuple[str, str]]] = {}
        self._profile_hash = profile.hash
        self._supplied = self._find_supplied()

    @property
    def flat_surveys(self) -> dict[str, dict[str, Survey]]:
        """Band → period → settled nights."""
        return self._flats

    @property
    def dark_surveys(self) -> dict[tuple[str, str], dict[str, Survey]]:
        """(Band, read) → period → settled nights."""
        return self._darks

    def _find_supplied(self) -> dict[tuple[str, str, str | None], MasterFile]:
        rows = self.archive.rows(sa.select(schema.products).where(schema.products.c.kind.like("supplied-%")))
        return {
            (r["kind"], r["band"], r["read"]): MasterFile(r["path"], r["key"], "supplied", "supplied") for r in rows
        }

    # Darks -----------------------------------------------------------------------------------------------------

    def settle_darks(self) -> set[tuple[str, str]]:
        """Give every dark its verdict; return the (night, band) whose dark in use may have changed."""
        changed: set[tuple[str, str]] = set()
        for band in self.profile.bands:
            for read in self.profile.reads:
                changed |= {(n, band) for n in self._settle_dark(band, read)}
        return changed

    def _settle_dark(self, band: str, read: str) -> set[str]:
        d = schema.darks
        query = sa.select(*_settling(d)).where(d.c.band == band, d.c.read == read)
        rows = {r["night"]: r for r in self.archive.rows(query)}
        images = DarkComparison(self.archive, self.profile, band, read, rows)
        surveys = settled_darks(rows, band, read, self.profile, self.rulings)
        before = self._darks.get((band, read))
        self._darks[band, read] = surveys
        for n, r in rows.items():
            self._dark_keys[band, read, n] = (r["key"], dark_path(n, band, read))
        changed, fresh, due = set(), self._fresh(rows), []
        for period, survey in surveys.items():
            for s in survey.nights:
                told = {
                    "status": s.verdict.status,
                    "cause": s.verdict.cause,
                    "standard": list(s.standard),
                    "structure": _value(s.verdict, "structure"),
                    "period": period,
                    "override": (s.night, band, read) in self.rulings.dark,
                }
                if not self._stands(rows[s.night], told, fresh):
                    due.append((s, told))
        images.recall(s.night for s, _ in due)
        with self.archive.begin() as connection:
            for s, told in due:
                found = images.outcome(s.night, s.standard) if s.standard else {}
                verdict = _named(s.verdict, found.get("cause", ""))
                update = {
                    **told,
                    "cause": verdict.cause,
                    "diagnosis": found.get("parts"),
                    "pixels": found.get("pixels"),
                }
                path = dark_path(s.night, band, read)
                if self._update_verdict(connection, d, rows[s.night], update, verdict, path):
                    changed.add(s.night)
            upsert(connection, schema.comparisons, [{"key": k, "outcome": v} for k, v in images.new.items()])
        return changed if before is None or changed else set()

    def dark_for(self, night: str, band: str, read: str) -> MasterFile | None:
        """Return the dark that a night is to be calibrated with."""
        surveys = self._darks.get((band, read), {})
        used = dark_night(surveys, self.rulings, night, band)
        if used is None:
            return self._supplied.get(("supplied-dark", band, read))
        key, path = self._dark_keys[band, read, used]
        survey = surveys[self.rulings.period(night, band)]
        return MasterFile(path, key, used, survey.by_night[used].verdict.status)

    def first_concerned(self, changed: set[tuple[str, str]]) -> str | None:
        """Return the first night that may be calibrated otherwise after standards changed; None if there is none.

        A standard serves its own night and later ones. Earlier nights take it only where none of their hardware
        period comes before them; then any night may be concerned, and "" is returned.

        Parameters
        ----------
        changed : set of (night, band)
            What `settle_darks` or `settle_flats` returned.
        """
        for night, band in changed:
            period = self.rulings.period(night, band)
            series = [self._flats.get(band, {}), *(v for (b, _), v in self._darks.items() if b == band)]
            for survey in (surveys[period] for surveys in series if period in surveys):
                if not survey.usable or night <= survey.usable[0]:
                    return ""
        return min((night for night, _ in changed), default=None)

    # Responsivities --------------------------------------------------------------------------------------------

    def settle_flats(self) -> set[tuple[str, str]]:
        """Give every responsivity its verdict and write the canonicals; return the (night, band) that changed."""
        changed: set[tuple[str, str]] = set()
        for band in self.profile.bands:
            changed |= {(n, band) for n in self._settle_flat(band)}
        self._tell_origins()
        return changed

    def _tell_origins(self) -> None:
        """Write what the bands of each night say together about rejected responsivities."""
        f = schema.flats
        nights: dict[str, dict[str, Row]] = defaultdict(dict)
        for r in self.archive.rows(sa.select(f.c.night, f.c.band, f.c.status, f.c.cause, f.c.origin)):
            nights[r["night"]][r["band"]] = r
        with self.archive.begin() as connection:
            for night, rows in nights.items():
                rejected = {b: r["cause"].split(" (")[0] if r["status"] == "rejected" else "" for b, r in rows.items()}
                for band, row in rows.items():
                    origin = origin_of(band, rejected)
                    if origin != row["origin"]:
                        where = (f.c.night == night, f.c.band == band)
                        connection.execute(sa.update(f).where(*where).values(origin=origin))

    def _settle_flat(self, band: str) -> set[str]:
        f = schema.flats
        rows = {r["night"]: r for r in self.archive.rows(sa.select(*_settling(f)).where(f.c.band == band))}
        compare = FlatComparison(self.archive, self.profile, band, rows)
        surveys = settled_flats(rows, band, self.profile, self.rulings, compare)
        self._flats[band] = surveys
        self._canonicals[band] = {}
        changed, fresh = set(), self._fresh(rows)
        for period, survey in surveys.items():
            for s in survey.nights:
                changed |= self._record_flat(band, period, rows, s, compare, fresh)
        with self.archive.begin() as connection:
            upsert(connection, schema.comparisons, [{"key": k, "outcome": v} for k, v in compare.new.items()])
        return changed

    def _record_flat(
        self, band: str, period: str, rows: dict[str, Row], s: Settled, compare: FlatComparison, fresh: set[str]
    ) -> set[str]:
        row = rows[s.night]
        verdict = s.verdict
        if not row["key"]:
            verdict = Verdict("rejected", "no usable dark", ())
        members = tuple(m for m in s.members if rows[m]["key"])
        keys = [rows[m]["key"] for m in members]
        canonical_key = combine_key("canonical", s.night, *keys) if keys else None
        told = {
            "status": verdict.status,
            "cause": verdict.cause,
            "standard": list(s.standard),
            "members": list(members),
            "period": period,
            "overtaken": s.overtaken,
            "override": (s.night, band) in self.rulings.flat,
            **{n: _value(verdict, n) for n in COMPARED},
            "canonical_key": canonical_key,
        }
        path = responsivity_path(s.night, band)
        changed: set[str] = set()
        if canonical_key is not None:
            self._canonicals[band][s.night] = (canonical_key, _canonical_status(verdict, s, members, rows))
        if self._stands(row, told, fresh):
            return changed
        found = compare.outcome(s.night, s.standard) if s.standard and row["key"] else {}
        update = told | {"diagnosis": found.get("parts"), "pixels": found.get("pixels")}
        if canonical_key == row["canonical_key"] and self._is_current(row, self._verdict_key(update, verdict)):
            return changed
        with self.archive.begin() as connection:
            if canonical_key != row["canonical_key"] and canonical_key is not None:
                flats = [compare.images(m) for m in members]
                masks = [read_product(self.archive.root, responsivity_path(m, band), ("DQ",))["DQ"] for m in members]
                inputs = tuple(Input("member", responsivity_path(m, band), rows[m]["key"]) for m in members)
                file = write_canonical(
                    self.archive.root,
                    canonical_path(s.night, band),
                    "canonical",
                    flats,
                    masks,
                    inputs,
                    key=canonical_key,
                    band=band,
                    night=s.night,
                    members=members,
                    profile=self.profile,
                )
                meta = {"kind": "canonical", "night": s.night, "band": band, "key": canonical_key}
                record_product(connection, file, meta, inputs, self.profile)
                changed.add(s.night)
            if canonical_key is None and row["canonical_key"] is not None:
                drop_product(connection, self.archive.root, canonical_path(s.night, band))
                changed.add(s.night)
            if self._update_verdict(connection, schema.flats, row, update, verdict, path if row["key"] else None):
                changed.add(s.night)
        return changed

    def canonical_for(self, night: str, band: str) -> MasterFile | None:
        """Return the canonical that a night is to be calibrated with: its own, else of the nearest earlier night."""
        known = self._canonicals.get(band, {})
        used = canonical_night(self._flats.get(band, {}), known, self.rulings, night, band)
        if used is None:
            return self._supplied.get(("supplied-flat", band, None))
        key, status = known[used]
        return MasterFile(canonical_path(used, band), key, used, status)

    # Common ----------------------------------------------------------------------------------------------------

    def _fresh(self, rows: dict[str, Row]) -> set[str]:
        """Return the nights whose product was made anew, or was not yet judged under this version of the profile."""
        return {n for n, r in rows.items() if r["verdict_key"] is None or r["profile_hash"] != self._profile_hash}

    def _stands(self, row: Row, told: Row, fresh: set[str]) -> bool:
        """Return whether a row says all that is told, and what else it says comes from products that are as they were.

        That is how the night differs from its standard: of the same products nothing else can come out.
        """
        if not self._settled or row["night"] in fresh or not fresh.isdisjoint(told["standard"]):
            return False
        return all(row[name] == value for name, value in told.items())

    @staticmethod
    def _verdict_key(update: Row, verdict: Verdict) -> str:
        content = update | {"checks": _as_text(verdict.checks)}
        return combine_key("compare", json.dumps(content, sort_keys=True, default=str))

    def _is_current(self, row: Row, verdict_key: str) -> bool:
        """Return whether a row says all that there is to say, under this version of the profile."""
        return bool(row["verdict_key"] == verdict_key and row["profile_hash"] == self._profile_hash)

    def _update_verdict(
        self,
        connection: sa.Connection,
        table: sa.Table,
        row: Row,
        update: Row,
        verdict: Verdict,
        path: str | None,
    ) -> bool:
        """Write a verdict into row and product where it differs from what they say."""
        verdict_key = self._verdict_key(update, verdict)
        if self._is_current(row, verdict_key):
            return False
        if verdict_key == row["verdict_key"]:
            # The same outcome; yet it is a verdict under this version of the profile now.
            same = sa.update(table).where(*(c == row[c.name] for c in table.primary_key))
            connection.execute(same.values(profile_hash=self._profile_hash))
            return False
        key = [c == row[c.name] for c in table.primary_key]
        if path is not None:
            refresh_file(
                connection,
                set_verdict(self.archive.root, path, verdict.status, verdict.cause, verdict.checks),
            )
        update = {**update, "profile_hash": self.profile.hash, "verdict_key": verdict_key}
        connection.execute(sa.update(table).where(*key).values(**update))
        return True


def _settling(table: sa.Table) -> list[sa.Column[Any]]:
    """Return the columns that settling reads: all but those which are long and come out of comparisons again."""
    return [c for c in table.c if c.name not in ("diagnosis", "pixels")]


def _named(verdict: Verdict, cause: str) -> Verdict:
    """Return the verdict on a dark with the cause that the map of its deviation tells, where its structure failed."""
    failed = [c.check.name for c in verdict.checks if not c.passed]
    if verdict.status != "rejected" or failed[:1] != ["structure"] or not cause:
        return verdict
    return judge(verdict.checks, cause=cause)


def _canonical_status(verdict: Verdict, settled: Settled, members: tuple[str, ...], rows: dict[str, Row]) -> str:
    if settled.overtaken:
        return "overtaken"
    return "provisional" if verdict.status == "provisional" else "accepted"


def _value(verdict: Verdict, check: str) -> float | None:
    """Return the number of a check for the database; None for NaN and what was not checked."""
    value = next((c.value for c in verdict.checks if c.check.name == check), None)
    return None if value is None or not np.isfinite(value) else float(value)


def _as_text(checks: Iterable[CheckResult]) -> list[str]:
    return [f"{c.check.name} {c.value!r} {c.limit!r}" for c in checks]


def write_canonical(
    root: Path,
    path: str,
    kind: str,
    flats: list[Flat],
    masks: list[Any],
    inputs: tuple[Input, ...],
    *,
    key: str,
    band: str,
    night: str | None,
    members: tuple[str, ...],
    profile: Profile,
) -> ProductFile:
    """Average responsivities, in the order of their nights, and write the mean as a canonical or reference."""
    mean = mean_flat(flats)
    good = mean.good
    if night is not None:
        # What died in the newest of them is dead in the scans that it serves, alive as it was in the others.
        good = good & ((masks[-1] & flag("DEAD")) == 0)
    mask = np.zeros(good.shape, np.int16)
    seen = np.bitwise_or.reduce(masks)
    mask[~good] = seen[~good]
    mask[~good & usable(mask)] |= flag("NODATA")
    extra: dict[str, tuple[object, str]] = {"NMEMBERS": (len(members), "nights averaged")}
    extra |= {f"NIGHT{k:03d}": (n, "member night") for k, n in enumerate(members[:999], start=1)}
    primary = primary_cards(
        kind,
        band=band,
        key=key,
        profile_name=profile.name,
        profile_hash=profile.hash,
        night=night,
        extra=extra,
    )
    images = {
        "SCI": Image(mean.value, "", "mean relative response, median 1"),
        "ERR": Image(mean.error, "", "1 sigma of it"),
        "DQ": Image(mask, "", "flags"),
    }
    return write_product(root, path, primary, images, (inputs_table(inputs),))
