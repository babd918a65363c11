"""The camera that an archive is of: no profile of another one may take its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from calib.archive import schema
from calib.archive.database import Archive
from calib.errors import ArchiveError
from calib.profile import Profile

__all__ = ["refuse_other_camera"]

# What a refused file says of bands was not believed, and of one that is gone nothing is made.
_IN_USE = ("pending", "used", "duplicate", "supplied")


def refuse_other_camera(archive: Archive, profile: Profile) -> None:
    """See that a profile can go on with what an archive holds.

    Settings and limits may change, and bands and reads may be added. What was made of frames of another shape, or of
    a band or read that the profile does not have, can be neither used nor compared; nor can numbers of other cells,
    and nights whose raw files are gone have no new ones.

    Raises
    ------
    ArchiveError
        If the archive is one of another camera.
    """
    bands, reads, made_with = _bands(archive), _reads(archive), _profiles(archive)
    grids = {_grid(p) for p in made_with}
    if bands <= set(profile.bands) and reads <= profile.reads.keys() and grids <= {_grid(profile)}:
        return
    # In the order of wavelength, as far as it is known.
    ordered = dict.fromkeys(b for p in (*made_with, profile) for b in p.bands if b in bands)
    held = _words([*ordered, *sorted(bands - ordered.keys())], grids, sorted(reads))
    wanted = _words(profile.bands, {_grid(profile)}, sorted(profile.reads))
    raise ArchiveError(
        f"{archive.root} holds {held}; profile {profile.name} is for {wanted}: give another --archive, or as "
        "--instrument a profile that covers what this one holds"
    )


def _bands(archive: Archive) -> set[str]:
    f = schema.files
    queries = [sa.select(f.c.band).where(f.c.status.in_(_IN_USE), f.c.band.is_not(None))]
    queries += [sa.select(t.c.band) for t in (schema.darks, schema.flats, schema.scans)]
    return {r["band"] for query in queries for r in archive.rows(query.distinct())}


def _reads(archive: Archive) -> set[str]:
    return {r["read"] for t in (schema.darks, schema.scans) for r in archive.rows(sa.select(t.c.read).distinct())}


def _profiles(archive: Archive) -> list[Profile]:
    """Return the profiles that products were made with."""
    p = schema.profiles
    made_with = sa.select(schema.products.c.profile_hash).distinct()
    rows = archive.rows(sa.select(p.c.hash, p.c.content).where(p.c.hash.in_(made_with)))
    return [Profile.model_validate(content) for content in {r["hash"]: r["content"] for r in rows}.values()]


def _grid(profile: Profile) -> str:
    (ny, nx), (rows, columns) = profile.detector.shape, profile.detector.cells
    return f"{ny}×{nx} pixels ({rows}×{columns} cells)"


def _words(bands: Sequence[str], grids: Iterable[str], reads: Sequence[str]) -> str:
    size = " and ".join(sorted(grids))
    parts = [_counted("band", bands), f"of {size}" if size else "", _counted("in read", reads)]
    return " ".join(part for part in parts if part)


def _counted(word: str, names: Sequence[str]) -> str:
    return f"{word}{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else ""
