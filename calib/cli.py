"""The ``calib`` command: a thin skin over the library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from calib import __version__
from calib.cli_paths import GivenPath
from calib.cli_profile import profile as profile_commands
from calib.errors import CalibError

_archive_option = click.option(
    "--archive",
    "archive_dir",
    required=True,
    type=GivenPath(file_okay=False),
    help="Folder of the archive.",
)
_database_option = click.option(
    "--database",
    metavar="URL",
    help="Keep the rows of a new archive in a PostgreSQL database, postgresql://user@host/name; the folder remembers "
    "it.  [default: $VESPER_DATABASE, else SQLite in the folder]",
)
_scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Let the workers of a Dask scheduler, tcp://host:8786, do the jobs; 'local' starts --workers processes here.  "
    "[default: threads of this process]",
)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _archive_to_fill(folder: Path, database: str | None, *, create: bool) -> Any:
    """Open an archive, made if need be; say so where it is made anew around products that are there."""
    from calib.archive.database import Archive
    from calib.archive.place import products_without_database

    lost = create and products_without_database(folder)
    archive = Archive(folder, create=create, database=database, upgrade=_say)
    if lost:
        _say(
            f"warning: {folder} holds products of an earlier database, which is not there: a new one is made, and the "
            "decisions, limits and alerts of the earlier one are lost unless it is put back from a backup"
        )
    return archive


class CommandGroup(click.Group):
    """A group whose errors are one sentence on standard error and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn errors into a sentence and a status."""
        try:
            return super().invoke(ctx)
        except CalibError as error:
            click.echo(f"{ctx.info_name}: {error}", err=True)
            ctx.exit(1)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"{ctx.info_name}: {where}{error.strerror or error}", err=True)
            ctx.exit(1)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="calib")
def main() -> None:
    """Calibrate the nights of a near-infrared camera and judge what came out."""


@main.command()
@click.argument("out", type=GivenPath(file_okay=False))
@click.option("--nights", default=30, type=click.IntRange(1, 5000), help="How many nights.")
@click.option("--start", default="1999-05-01", help="First night, YYYY-MM-DD.")
@click.option("--seed", default=7, help="Seed of all random numbers.")
@click.option("--scenario", default="survey", help="Which story; 'list' describes them all.")
@click.option("--scans", default=None, type=click.IntRange(0, 99), help="Scans on each night that has any.")
def simulate(out: Path, nights: int, start: str, seed: int, scenario: str, scans: int | None) -> None:
    """Make raw nights with the faults of a scenario in OUT, and their truth in OUT/truth."""
    from calib import simulate as sim
    from calib.terminal import progress_bar

    if scenario == "list":
        for name, text in sim.describe_scenarios().items():
            click.echo(f"{name:20} {text}")
        return
    if scenario not in sim.SCENARIOS:
        raise click.BadParameter(
            f"no scenario {scenario!r}; there are {', '.join(sim.SCENARIOS)}", param_hint="--scenario"
        )
    try:
        with progress_bar("simulate") as progress:
            truth = sim.simulate(
                out, nights=nights, start=start, seed=seed, scenario=scenario, scans=scans, progress=progress
            )
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    click.echo(f"{nights} nights in {out}, truth in {truth}")


@main.command()
@click.argument("raw", nargs=-1, type=GivenPath())
@_archive_option
@_database_option
@click.option("--instrument", default=None, help="Shipped profile or TOML file.  [default: the archive's, else 2mass]")
@click.option(
    "--frames/--no-frames",
    default=None,
    help="Write the final frames of scans.  [default: yes; without RAW, of those scans that have them]",
)
@click.option(
    "--scans/--no-scans",
    default=True,
    help="Calibrate scans; without, those that are not up to date are marked as in need of it.",
)
@click.option("--workers", default=2, type=click.IntRange(1, 64), help="Jobs at a time.")
@_scheduler_option
def run(
    raw: tuple[Path, ...],
    archive_dir: Path,
    database: str | None,
    instrument: str | None,
    frames: bool | None,
    scans: bool,
    workers: int,
    scheduler: str | None,
) -> None:
    """Bring the archive up to date with the files and folders RAW, and with what people decided.

    Without RAW: with the raw files that it knows already.
    """
    from calib.stopping import stopping_in_words
    from calib.terminal import progress_bar

    stopped = "calib: stopped; what was made is kept, the next run goes on from there"
    with stopping_in_words(stopped), progress_bar("run") as progress:
        # Before the numerical libraries are loaded, which takes as long as all before.
        progress(0, 0, "starting")
        from calib.archive.versions import replaced_words
        from calib.profile import load_profile
        from calib.scheduling import mapper_for
        from calib.survey import run_survey

        chosen = load_profile(instrument) if instrument else None
        archive = _archive_to_fill(archive_dir, database, create=bool(raw))
        if chosen and (replaced := replaced_words(archive, chosen)):
            click.echo(replaced, err=True)
        if frames is None and raw:
            frames = True
        with mapper_for(scheduler, archive.root, workers) as mapper:
            report = run_survey(
                archive,
                chosen,
                raw,
                frames=frames,
                scans=scans,
                workers=workers,
                mapper=mapper,
                progress=progress,
            )
    for message in report.messages:
        click.echo(message, err=True)
    if report.idle:
        click.echo("nothing to do: every file is known and every product is up to date")
    else:
        nights = f"{len(report.nights)} night{'s' if len(report.nights) != 1 else ''}"
        click.echo(f"{report.new_files} new or changed files, {report.products} products made in {nights}")
    if report.refused:
        for line in _refused_lines(archive):
            click.echo(line, err=True)
        click.echo(
            f"{report.refused} files refused: calib export files --archive {archive_dir} --format csv tells why",
            err=True,
        )


def _refused_lines(archive: Any, most: int = 5) -> list[str]:
    """Return the first refused files with their reasons."""
    import sqlalchemy as sa

    from calib.archive import schema

    f = schema.files
    query = sa.select(f.c.path, f.c.reason).where(f.c.status == "refused").order_by(f.c.path).limit(most + 1)
    rows = archive.rows(query)
    return [f"refused: {r['path']}: {r['reason']}" for r in rows[:most]] + (["…"] if len(rows) > most else [])


@main.command()
@click.argument("raw", nargs=-1, required=True, type=GivenPath())
@_archive_option
@_database_option
@click.option(
    "--instrument",
    default=None,
    help="Shipped profile or TOML file, for an archive that has not seen it yet.  [default: the archive's, else 2mass]",
)
@click.option("--interval", default=10.0, type=click.FloatRange(0.02, 3600), help="Seconds between two looks.")
@click.option(
    "--patience",
    default=600.0,
    type=click.FloatRange(0, 86400),
    help="Seconds after which a file that is not whole and does not change any more is refused.",
)
@click.option("--frames/--no-frames", default=True, help="Write the final frames of scans.")
@click.option("--workers", default=2, type=click.IntRange(1, 64), help="Jobs at a time.")
@_scheduler_option
def watch(
    raw: tuple[Path, ...],
    archive_dir: Path,
    database: str | None,
    instrument: str | None,
    interval: float,
    patience: float,
    frames: bool,
    workers: int,
    scheduler: str | None,
) -> None:
    """Bring the archive up to date with the files and folders RAW as they arrive, until SIGTERM or Ctrl-C.

    A file is taken in once it is whole and has not changed for an interval. The log goes to standard error.
    """
    from calib.profile import load_profile
    from calib.watch import Watch, ending_on_signals, log_line, only_watch

    chosen = load_profile(instrument) if instrument else None
    archive = _archive_to_fill(archive_dir, database, create=True)
    with ending_on_signals() as stop, only_watch(archive):
        Watch(
            archive,
            raw,
            instrument=chosen,
            interval_s=interval,
            patience_s=patience,
            frames=frames,
            workers=workers,
            scheduler=scheduler,
            say=lambda text: click.echo(log_line(text), err=True),
            stop=stop,
        ).run()


@main.command()
@_archive_option
@click.option("--json", "as_json", is_flag=True, help="JSON instead of lines.")
def status(archive_dir: Path, as_json: bool) -> None:
    """Print one line per night and band: verdicts and alerts."""
    from calib.archive.database import Archive
    from calib.archive.status import status_lines, status_rows

    rows = status_rows(Archive(archive_dir))
    if as_json:
        import json

        click.echo(json.dumps(rows, indent=1))
    else:
        for line in status_lines(rows):
            click.echo(line)


@main.command()
@click.argument("table")
@_archive_option
@click.option("--format", "form", type=click.Choice(["csv", "json", "parquet"]), default="csv", help="Format.")
@click.option("-o", "--output", type=GivenPath(dir_okay=False), help="File instead of standard output.")
def export(table: str, archive_dir: Path, form: str, output: Path | None) -> None:
    """Write a TABLE: darks, flats, scans, sky_offsets, metrics, alerts, decisions, files."""
    from calib.archive.database import Archive
    from calib.archive.tables import EXPORTS, export_table

    if table not in EXPORTS:
        raise click.BadParameter(f"no table {table!r}; there are {', '.join(EXPORTS)}", param_hint="TABLE")
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("parquet is not text: give a file with --output, or redirect")
    content = export_table(Archive(archive_dir), table, form)
    if output is not None:
        output.write_bytes(content)
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


@main.command()
@_archive_option
def verify(archive_dir: Path) -> None:
    """Check every product against its recorded hash and every row against its file."""
    from calib.archive.database import Archive
    from calib.archive.verify import verify_archive
    from calib.terminal import progress_bar

    with progress_bar("verify") as progress:
        n, faults = verify_archive(Archive(archive_dir), progress)
    for fault in faults:
        click.echo(fault)
    click.echo(f"{n} products checked, {len(faults)} fault{'s' if len(faults) != 1 else ''}")
    if faults:
        click.echo("calib: run `calib run` again with the raw files to repair them", err=True)
        sys.exit(1)


@main.command()
@click.argument("path")
@_archive_option
def lineage(path: str, archive_dir: Path) -> None:
    """Print what PATH (a product or raw file) was made from, and what was made from it."""
    from calib.archive.database import Archive
    from calib.archive.lineage import lineage_lines

    for line in lineage_lines(Archive(archive_dir), path):
        click.echo(line)


@main.command()
@_archive_option
def upgrade(archive_dir: Path) -> None:
    """Bring the tables of an archive that an older version made up to this one, after a backup of them.

    Whatever writes to an archive does so by itself.
    """
    from calib.archive.database import Archive
    from calib.archive.schema import SCHEMA_VERSION

    told: list[str] = []
    archive = Archive(archive_dir, upgrade=told.append)
    for line in told or [f"{archive.place.name} has schema version {SCHEMA_VERSION} already"]:
        click.echo(line)


@main.group()
def decide() -> None:
    """Rule on a matter: override, hardware period, alert, sign-off; or undo one."""


def _decision_options(function: Any) -> Any:
    for option in (
        click.option("--reason", required=True, help="Why."),
        click.option("--who", envvar="USER", required=True, help="Who decides.  [default: $USER]"),
        _archive_option,
    ):
        function = option(function)
    return function


_preview_option = click.option("--preview", is_flag=True, help="Say what would follow, and record nothing.")


def _record(archive_dir: Path, *, preview: bool = False, **decision: Any) -> None:
    from calib.archive.database import Archive
    from calib.archive.decisions import decide as append

    archive = Archive(archive_dir, upgrade=None if preview else _say)
    if preview:
        _foretell(archive, decision)
        return
    number = append(archive, **decision)
    click.echo(f"decision {number} recorded")
    if decision["kind"] in ("override", "period", "undo"):
        click.echo(f"`calib run --archive {archive_dir}` redoes what depends on it")


def _foretell(archive: Any, decision: dict[str, Any]) -> None:
    from calib.archive.decision_rules import validated
    from calib.archive.decisions import active_decisions
    from calib.consequences import what_would_follow
    from calib.consequences_words import consequences_lines

    row = validated(archive, decision, active_decisions(archive))
    profile = archive.current_profile()
    undone = [row["undoes"]] if row["kind"] == "undo" else []
    found = what_would_follow(archive, profile, *([] if undone else [row]), without=undone)
    for line in consequences_lines(found):
        click.echo(line)


@decide.command()
@click.argument("night")
@click.argument("band")
@click.argument("product", type=click.Choice(["dark", "flat", "sky-offset"]))
@click.argument("value", type=click.Choice(["accepted", "rejected"]))
@click.option("--read", help="For a dark or sky offset.")
@click.option("--scan", type=int, help="For a sky offset.")
@click.option("--block", type=int, help="For a sky offset, counted from 0.")
@_preview_option
@_decision_options
def override(archive_dir: Path, **what: Any) -> None:
    """Accept or reject a product against its verdict."""
    _record(archive_dir, kind="override", **what)


@decide.command()
@click.argument("night")
@click.option("--band", help="One band.  [default: all]")
@click.option("--moves", type=int, help="Number of the decision that started the period which is to begin on NIGHT.")
@_preview_option
@_decision_options
def period(archive_dir: Path, moves: int | None, preview: bool, **what: Any) -> None:
    """Start a hardware period on NIGHT, or let one begin there instead of where it does."""
    if moves is None or preview:
        _record(archive_dir, kind="period", preview=preview, **what)
        return
    from calib.archive.database import Archive
    from calib.archive.decisions import move_period

    if what.pop("band") is not None:
        raise click.UsageError("a period that is moved keeps its bands: leave out --band")
    archive = Archive(archive_dir, upgrade=_say)
    click.echo(f"decision {move_period(archive, period=moves, **what)} recorded")


@decide.command()
@click.argument("night")
@click.option("--band", help="One band.  [default: all]")
@_decision_options
def dismiss(archive_dir: Path, **what: Any) -> None:
    """Dismiss the proposal of a hardware period that would begin on NIGHT."""
    _record(archive_dir, kind="dismiss", **what)


def _alert_arguments(function: Any) -> Any:
    for option in (
        click.option("--region", default="array", help="Region that the alert is on."),
        click.argument("metric"),
        click.argument("product"),
        click.argument("band"),
        click.argument("night"),
    ):
        function = option(function)
    return function


@decide.command()
@_alert_arguments
@click.option("--expires", help="Last day on which it counts, YYYY-MM-DD.  [default: it does not expire]")
@_decision_options
def acknowledge(archive_dir: Path, **what: Any) -> None:
    """Acknowledge the alert on METRIC of PRODUCT that was seen on NIGHT."""
    _record(archive_dir, kind="acknowledge", **what)


@decide.command()
@_alert_arguments
@_decision_options
def resolve(archive_dir: Path, **what: Any) -> None:
    """Close the alert on METRIC of PRODUCT that was seen on NIGHT; it opens again if it is still there later."""
    _record(archive_dir, kind="resolve", **what)


@decide.command("sign-off")
@click.argument("night")
@click.option("--reason", default="", help="A remark.")
@click.option("--who", envvar="USER", required=True, help="Who signs.  [default: $USER]")
@_archive_option
def sign_off(archive_dir: Path, **what: Any) -> None:
    """Sign a night off as seen, with the hash of what it shows now."""
    _record(archive_dir, kind="sign-off", **what)


@decide.command()
@click.argument("night")
@click.option("--band", help="Band it is about.")
@click.option("--product", help="Product it is about.")
@_decision_options
def note(archive_dir: Path, **what: Any) -> None:
    """Leave a remark on a night, --reason."""
    _record(archive_dir, kind="note", **what)


@decide.command()
@click.argument("decision", type=int)
@_preview_option
@_decision_options
def undo(archive_dir: Path, decision: int, **what: Any) -> None:
    """Take back DECISION, by its number."""
    _record(archive_dir, kind="undo", undoes=decision, **what)


main.add_command(profile_commands)


if __name__ == "__main__":
    main()
