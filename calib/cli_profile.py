"""``calib profile``: check a profile, look at the archive's versions of it, move its limits."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from calib.cli_paths import GivenPath
from calib.errors import DecisionError, ProfileError

__all__ = ["profile"]

MOST = 20
"""Flips that are printed; the others are counted."""


@click.group()
def profile() -> None:
    """Instrument profiles, and the versions of an archive's own."""


@profile.command()
@click.argument("file")
@click.argument("raw", nargs=-1, type=GivenPath())
@click.option("--json", "as_json", is_flag=True, help="JSON instead of lines.")
def check(file: str, raw: tuple[Path, ...], as_json: bool) -> None:
    """Validate a profile and say of each RAW file how it would be read.

    Beside every file that would be refused stands what its cards say and what in the profile would change it. At the
    end: the sequences that come of the files, every value met in the cards that are looked at, and what is missing.
    """
    from calib.profile import load_profile
    from calib.profile_check import check_files
    from calib.raw import find_raw

    loaded = load_profile(file)
    found = check_files(loaded, find_raw(raw) if raw else [])
    if as_json:
        import json

        from calib.profile_check_words import as_data

        click.echo(json.dumps(as_data(found), indent=1))
    else:
        from calib.profile_check_words import check_lines

        for line in check_lines(found):
            click.echo(line)
    if found.refused:
        sys.exit(1)


_archive = click.option(
    "--archive",
    "archive_dir",
    required=True,
    type=GivenPath(file_okay=False),
    help="Folder of the archive.",
)


@profile.command("versions")
@_archive
def list_versions(archive_dir: Path) -> None:
    """List the versions of the archive's profile: when, by whom, why, and what changed."""
    from calib.archive.database import Archive
    from calib.archive.versions import versions
    from calib.limits import words

    before = None
    for v in versions(Archive(archive_dir)):
        click.echo(f"{v.number}  {v.time[:16].replace('T', ' ')} UTC  {v.who}: {v.reason}")
        if before is not None:
            click.echo(f"   {words(v.changes(before), most=1000)}")
        before = v


@profile.command("set")
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE...")
@_archive
@click.option("--reason", default="", help="Why.  [required unless --dry-run]")
@click.option("--who", envvar="USER", default="", help="Who saves it.  [default: $USER]")
@click.option("--dry-run", is_flag=True, help="Tell which verdicts and alerts would flip, and save nothing.")
def set_limits(changes: tuple[str, ...], archive_dir: Path, reason: str, who: str, dry_run: bool) -> None:
    """Move limits of the archive's profile and save it as a new version.

    A KEY is that of the profile's file, such as limits.flat.gradient.max, limits.sky_offset.halves.R1,
    drift.responsivity_percent.watch or drift.significance; a band's or read's own limit is taken away with KEY=none.
    """
    from calib.archive.database import Archive
    from calib.archive.history import read_alert_tables, read_judged
    from calib.archive.versions import save_version, versions
    from calib.limits import changed_profile
    from calib.what_if import verdict_flips

    wanted = _parse(changes)
    archive = Archive(archive_dir, upgrade=lambda line: click.echo(line, err=True))
    known = versions(archive)
    if not known:
        raise DecisionError(f"{archive.root} has no profile yet; the first `calib run` brings one")
    old = known[-1].profile
    new = changed_profile(old, wanted)
    if not dry_run and not reason.strip():
        raise DecisionError("a version of the profile needs a --reason (or --dry-run to see what would flip)")
    for subject in ("dark", "flat", "sky_offset"):
        if old.limits[subject] == new.limits[subject]:
            continue
        flips = verdict_flips(read_judged(archive, subject, old), old, new)
        counts = flips.counts()
        told = ", ".join(f"{band} {n} {b} → {a}" for (band, b, a), n in sorted(counts.items()))
        click.echo(
            f"{subject.replace('_', ' ')}s: {len(flips)} of {len(flips.judged)} flip" + (f": {told}" * bool(told))
        )
        _print((f.words() for f in flips.first(MOST)), len(flips))
        if flips.held:
            click.echo(f"  {flips.held} more would flip, had nobody decided on them")
        if flips.remade:
            click.echo(f"  {flips.remade} later comparisons are made anew by the next run, and may flip more")
    if old.drift != new.drift or old.dark != new.dark:
        alerts = read_alert_tables(archive).changes(old, new)
        click.echo(f"alerts: {len(alerts)} change")
        _print((a.words() for a in alerts[:MOST]), len(alerts))
    if not dry_run:
        number = save_version(archive, new, who=who, reason=reason, seen=known[-1].number)
        click.echo(f"version {number} saved; the next `calib run --archive {archive_dir}` judges by it")


def _print(lines: Iterable[str], n: int) -> None:
    for line in lines:
        click.echo(f"  {line}")
    if n > MOST:
        click.echo(f"  … and {n - MOST} more")


def _parse(changes: Iterable[str]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    faults = []
    for change in changes:
        key, sign, value = change.partition("=")
        try:
            found[key.strip()] = None if value.strip().lower() == "none" else float(value)
        except ValueError:
            faults.append(f"{key}: not a number (given: {value!r})" if sign else f"{change}: give it as KEY=VALUE")
    if faults:
        raise ProfileError("as changed", faults)
    return found
