"""The ``calib`` command: a thin skin over the library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from calib import __version__
from calib.errors import CalibError

_archive_option = click.option(
    "--archive",
    "archive_dir",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the archive.",
)


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
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
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
@click.argument("raw", nargs=-1, required=True, type=click.Path(path_type=Path))
@_archive_option
@click.option("--instrument", default=None, help="Shipped profile or TOML file.  [default: the archive's, else 2mass]")
@click.option("--frames/--no-frames", default=True, help="Write the final frames of scans.")
@click.option("--workers", default=2, type=click.IntRange(1, 64), help="Jobs at a time.")
def run(raw: tuple[Path, ...], archive_dir: Path, instrument: str | None, frames: bool, workers: int) -> None:
    """Bring the archive up to date with the files and folders RAW."""
    from calib.archive.database import Archive
    from calib.profile import load_profile
    from calib.survey import run_survey
    from calib.terminal import progress_bar

    chosen = load_profile(instrument) if instrument else None
    archive = Archive(archive_dir, create=True)
    profile = chosen or archive.current_profile() or load_profile("2mass")
    with progress_bar("run") as progress:
        report = run_survey(archive, profile, raw, frames=frames, workers=workers, progress=progress)
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
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File instead of standard output."
)
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


@main.group()
def decide() -> None:
    """Rule on a matter: override, hardware period, acknowledgement, sign-off; or undo one."""


def _decision_options(function: Any) -> Any:
    for option in (
        click.option("--reason", required=True, help="Why."),
        click.option("--who", envvar="USER", required=True, help="Who decides.  [default: $USER]"),
        _archive_option,
    ):
        function = option(function)
    return function


def _record(archive_dir: Path, **decision: Any) -> None:
    from calib.archive.database import Archive
    from calib.archive.decisions import decide as append

    number = append(Archive(archive_dir), **decision)
    click.echo(f"decision {number} recorded")
    if decision["kind"] in ("override", "period", "undo"):
        click.echo("`calib run` with the raw files redoes what depends on it")


@decide.command()
@click.argument("night")
@click.argument("band")
@click.argument("product", type=click.Choice(["dark", "flat", "sky-offset"]))
@click.argument("value", type=click.Choice(["accepted", "rejected"]))
@click.option("--read", help="For a dark or sky offset.")
@click.option("--scan", type=int, help="For a sky offset.")
@click.option("--block", type=int, help="For a sky offset, counted from 0.")
@_decision_options
def override(archive_dir: Path, **what: Any) -> None:
    """Accept or reject a product against its verdict."""
    _record(archive_dir, kind="override", **what)


@decide.command()
@click.argument("night")
@click.option("--band", help="One band.  [default: all]")
@_decision_options
def period(archive_dir: Path, **what: Any) -> None:
    """Start a hardware period on NIGHT."""
    _record(archive_dir, kind="period", **what)


@decide.command()
@click.argument("night")
@click.argument("band")
@click.argument("product")
@click.argument("metric")
@_decision_options
def acknowledge(archive_dir: Path, metric: str, **what: Any) -> None:
    """Acknowledge the alert on METRIC of PRODUCT that began on NIGHT."""
    _record(archive_dir, kind="acknowledge", value=metric, **what)


@decide.command("sign-off")
@click.argument("night")
@_decision_options
def sign_off(archive_dir: Path, **what: Any) -> None:
    """Sign a night off as seen."""
    _record(archive_dir, kind="sign-off", **what)


@decide.command()
@click.argument("decision", type=int)
@_decision_options
def undo(archive_dir: Path, decision: int, **what: Any) -> None:
    """Take back DECISION, by its number."""
    _record(archive_dir, kind="undo", undoes=decision, **what)


@main.group()
def profile() -> None:
    """Instrument profiles."""


@profile.command("check")
@click.argument("file")
@click.argument("raw", nargs=-1, type=click.Path(path_type=Path))
def profile_check(file: str, raw: tuple[Path, ...]) -> None:
    """Validate a profile and say of each RAW file how it would be read."""
    from calib.errors import RawFileError
    from calib.profile import load_profile
    from calib.raw import find_raw, identify

    loaded = load_profile(file)
    click.echo(f"profile {loaded.name} is sound: bands {', '.join(loaded.bands)}, reads {', '.join(loaded.reads)}")
    refused = 0
    for path in find_raw(raw) if raw else []:
        try:
            i = identify(path, loaded)
        except RawFileError as error:
            refused += 1
            click.echo(f"{path}: refused: {error.reason}")
        else:
            scan = f" {i.scan}" if i.scan is not None else ""
            click.echo(
                f"{path}: {i.obs_type}{scan}, band {i.band or 'any'}, night {i.night or 'none'}, "
                f"{i.n_frames} frame{'s' if i.n_frames != 1 else ''}"
            )
    if refused:
        sys.exit(1)


if __name__ == "__main__":
    main()
