"""Which raw files there are, and which of them are processed together."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_IFLNK, S_ISLNK, S_ISREG

from calib.errors import RawFileError, shown_path
from calib.profile import CubeLayout, Profile
from calib.raw.header import OBS_TYPES, Identity

__all__ = ["Sequence", "find_raw", "group_sequences", "raw_names"]

_SUFFIXES = tuple(stem + packed for stem in (".fits", ".fit", ".fts") for packed in ("", ".gz", ".fz"))
_UNFINISHED = {"part", "partial", "tmp", "crdownload"}

# What tells an archive, and where its products lie; the archive imports this module.
_DATABASES = {"archive.sqlite", "database.toml"}
_PRODUCT = re.compile(
    r"nights/\d{4}-\d\d-\d\d/[^/]+/((dark-[^/]+|responsivity|canonical)|scans/\d+/(sky-offsets|frames)-[^/]+)\.fits"
    r"|references/[^/]+/[^/]+/(dark-[^/]+|responsivity)\.fits|supplied/[^/]+/(dark|flat|responsivity)[^/]*\.fits"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sequence:
    """Raw files that are processed together.

    Attributes
    ----------
    night : str
        ISO date on which the night begins.
    band : str
        A band of the profile.
    obs_type : str
        ``dark``, ``twilight`` or ``scan``.
    scan : int or None
        Number of the scan; None for darks and twilights.
    files : tuple of Identity
        In the order of time.
    """

    night: str
    band: str
    obs_type: str
    scan: int | None
    files: tuple[Identity, ...]


def find_raw(paths: Iterable[Path | str], own: Path | None = None) -> list[Path]:
    """List raw files.

    Parameters
    ----------
    paths : iterable of Path
        Files, taken whatever their names, and folders, searched to the bottom for ``.fits``, ``.fit`` and
        ``.fts``, also followed by ``.gz`` or ``.fz``. Hidden and unfinished (``.part``, ``.tmp``) files are
        skipped, links followed, and no file is listed twice. Products of archives in these folders are left out.
    own : Path, optional
        The archive that is being filled, of which nothing is said when it is met.

    Returns
    -------
    list of Path
        Sorted.

    Raises
    ------
    calib.errors.RawFileError
        If a path given is not there or a folder given cannot be listed.
    """
    return [Path(name) for name in raw_names(paths, own)]


def raw_names(paths: Iterable[Path | str], own: Path | None = None) -> list[str]:
    """Return what `find_raw` returns, as text: a survey has hundreds of thousands of files, and few of them are new."""
    listed: dict[str, str] = {}
    visited: set[tuple[int, int]] = set()
    own_folder = "" if own is None else os.path.realpath(own)
    for path in sorted(Path(p) for p in paths):
        if path.is_dir():
            for real, file in _files_below(path, visited, own_folder):
                listed.setdefault(real, file)
        elif path.exists() or path.is_symlink():
            listed.setdefault(os.path.realpath(path), str(path))
        else:
            raise RawFileError(path, "no such file or folder")
    # Folder by folder, as paths are sorted.
    return sorted(listed.values(), key=lambda name: name.split(os.sep))


def _files_below(top: Path, visited: set[tuple[int, int]], own: str) -> Iterator[tuple[str, str]]:
    """Yield the raw files of a folder, each with the path at which it really lies."""

    def complain(error: OSError) -> None:
        if error.filename is not None and Path(error.filename) == top:
            raise RawFileError(top, f"cannot be listed: {error.strerror}") from error
        _log.warning("%s cannot be listed and is left out: %s", shown_path(error.filename), error.strerror)

    archives: list[str] = []
    told: set[str] = set()
    for folder, subfolders, names in os.walk(top, followlinks=True, onerror=complain):
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in visited:
            # A link led back here: what lies below was listed already.
            subfolders.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        real_folder = os.path.realpath(folder)
        if _DATABASES.intersection(names):
            archives.append(real_folder)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in filter(_is_raw_name, sorted(names)):
            file = os.path.join(folder, name)
            if (archive := _archive_of(os.path.join(real_folder, name), archives)) is not None:
                if archive != own and archive not in told:
                    told.add(archive)
                    _log.warning("%s is an archive: its products are left out", shown_path(archive))
                continue
            kind = _kind(file)
            # Among a hundred thousand files no more than links are followed one by one.
            if S_ISREG(kind):
                yield os.path.join(real_folder, name), file
            # A dangling link is listed, and refused by name later; pipes and sockets are nobody's data.
            elif S_ISLNK(kind) and (os.path.isfile(file) or not os.path.exists(file)):
                yield os.path.realpath(file), file


def _archive_of(file: str, archives: list[str]) -> str | None:
    """Return the archive in which a file lies where products lie; None if it does in none."""
    return next((a for a in archives if file.startswith(a + os.sep) and _PRODUCT.fullmatch(file[len(a) + 1 :])), None)


def _kind(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        # Gone meanwhile, like what a dangling link points to.
        return S_IFLNK


def _is_raw_name(name: str) -> bool:
    lower = name.lower()
    return (
        lower.endswith(_SUFFIXES)
        and not lower.startswith((".", "~"))
        and not _UNFINISHED.intersection(lower.split(".")[1:])
    )


def group_sequences(identities: Iterable[Identity], profile: Profile) -> list[Sequence]:
    """Put together the raw files that are processed together.

    All darks of a night and band are one sequence, and likewise all twilights. A scan is what shares night,
    band and scan number. Where the profile names no card for the number, each cube is a scan, and single
    frames form one as long as the cards in ``layout.group_by`` are the same and no gap exceeds
    ``layout.max_gap_minutes``; such scans are numbered from 1 in each night and band, in the order of time.
    Supplied products belong to no sequence.

    Parameters
    ----------
    identities : iterable of Identity
        In any order; the outcome depends only on which they are.
    profile : Profile
        Whose layout applies.

    Returns
    -------
    list of Sequence
        By night, band (in the order of the profile), type and scan.
    """
    pools: dict[tuple[str, str, str, int | None], list[Identity]] = defaultdict(list)
    for one in set(identities):
        if one.night is None or one.band is None or one.obs_type.startswith("supplied-"):
            continue
        pools[one.night, one.band, one.obs_type, one.scan].append(one)
    sequences: list[Sequence] = []
    for (night, band, obs_type, scan), pool in pools.items():
        pool.sort(key=_by_time)
        if obs_type == "scan" and not profile.header.scan_number:
            runs = sorted(_runs(pool, profile), key=lambda run: _by_time(run[0]))
            sequences += [Sequence(night, band, obs_type, k, tuple(run)) for k, run in enumerate(runs, 1)]
        else:
            sequences.append(Sequence(night, band, obs_type, scan, tuple(pool)))

    def place(s: Sequence) -> tuple[str, int, int, int]:
        number = -1 if s.scan is None else s.scan
        return s.night, profile.bands.index(s.band), OBS_TYPES.index(s.obs_type), number

    return sorted(sequences, key=place)


def _by_time(one: Identity) -> tuple[float, str, tuple[str, ...], int]:
    # What follows the time settles ties, so that equal times do not leave the order to chance.
    start = one.start_mjd if one.start_mjd is not None else float("inf")
    return start, str(one.path), one.group, one.mtime_ns


def _runs(pool: list[Identity], profile: Profile) -> list[list[Identity]]:
    """Cut the frames of a night and band, in order of time, into scans."""
    layout = profile.layout
    if isinstance(layout, CubeLayout):
        return [[one] for one in pool]
    runs: list[list[Identity]] = []
    latest: dict[tuple[str, ...], list[Identity]] = {}
    for one in pool:
        run = latest.get(one.group)
        if run is None or _gap_minutes(run[-1], one) > layout.max_gap_minutes:
            run = latest[one.group] = []
            runs.append(run)
        run.append(one)
    return runs


def _gap_minutes(before: Identity, after: Identity) -> float:
    assert before.start_mjd is not None  # sequences hold only files with a night, and hence a time
    assert after.start_mjd is not None
    return (after.start_mjd - before.start_mjd) * 1440.0
