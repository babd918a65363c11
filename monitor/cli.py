"""The ``monitor`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calib import __version__
from calib.cli import CommandGroup
from monitor.access.command import access_options, account
from monitor.access.settings import AccessSettings, is_published, refuse_to_be_open

_port_option = click.option("--port", default=5006, type=click.IntRange(1, 65535), help="Port.")


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="monitor")
def main() -> None:
    """Show the health of a near-infrared camera in the browser."""


@main.command()
@click.option(
    "--archive", "archive_dir", required=True, type=click.Path(path_type=Path, file_okay=False), help="The archive."
)
@_port_option
@click.option("--address", default="127.0.0.1", help="Where to listen; 0.0.0.0 for every network of this machine.")
@click.option("--origin", "origins", multiple=True, help="Another host name by which browsers open the page.")
@click.option("--show/--no-show", default=False, help="Open a browser.")
@access_options
def serve(
    archive_dir: Path, port: int, address: str, origins: tuple[str, ...], show: bool, access: AccessSettings
) -> None:
    """Serve the page of an archive, which may be filled later.

    Without accounts the page is for this machine alone, and whoever sits at it may decide.
    """
    from monitor.server import free_port
    from monitor.server import serve as serve_page

    refuse_to_be_open(access, address, origins)
    free_port(address, port)
    click.echo(f"Vesper is at http://{'127.0.0.1' if address == '0.0.0.0' else address}:{port}/ — stop with Ctrl-C")
    if access.accounts and not access.https and is_published(access, address, origins):
        click.echo("passwords travel unencrypted unless a proxy in front speaks TLS; say --https if it does", err=True)
    serve_page(archive_dir, port=port, address=address, origins=origins, show=show, access=access)


@main.command()
@click.option(
    "--dir",
    "folder",
    default=None,
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep raw nights and archive here, for the next time.  [default: a new folder, removed at the end]",
)
@click.option("--nights", default=30, type=click.IntRange(3, 400), help="How many nights; the last is last night.")
@click.option("--seed", default=7, type=click.IntRange(0), help="Seed of all random numbers.")
@click.option("--frames/--no-frames", default=False, help="Write the final frames of scans: twice the disk.")
@_port_option
@click.option("--show/--no-show", default=True, help="Open a browser, if there is a screen.")
def demo(**options: Any) -> None:
    """Simulate, calibrate and serve, from nothing."""
    from monitor.demo import run_demo

    run_demo(**options)


@main.command()
@click.argument("night")
@click.option(
    "--archive", "archive_dir", required=True, type=click.Path(path_type=Path, file_okay=False), help="The archive."
)
@click.option("-o", "--output", required=True, help="File to write; - for standard output.")
def report(night: str, archive_dir: Path, output: str) -> None:
    """Write NIGHT (YYYY-MM-DD, or latest) as one HTML file that opens offline and prints."""
    from monitor.report import write_report

    found = write_report(archive_dir, night, output)
    if output != "-":
        click.echo(f"report of {found} in {output}")


@main.command()
@click.option(
    "--archive", "archive_dir", required=True, type=click.Path(path_type=Path, file_okay=False), help="The archive."
)
@click.option("--night", default="latest", help="YYYY-MM-DD, or latest.")
@click.option("--config", "config_file", default=None, type=click.Path(path_type=Path), help="Where to send it, TOML.")
@click.option("--again", is_flag=True, help="Send it although nothing is new since the last one of that night.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent; send nothing.")
@click.pass_context
def digest(
    ctx: click.Context, archive_dir: Path, night: str, config_file: Path | None, again: bool, dry_run: bool
) -> None:
    """Send a night in a few lines to e-mail and webhook, for cron."""
    from monitor.digest import run_digest

    well = run_digest(
        archive_dir,
        night,
        config_file,
        again=again,
        dry_run=dry_run,
        say=click.echo,
        complain=lambda words: click.echo(f"monitor: {words}", err=True),
    )
    if not well:
        ctx.exit(1)


main.add_command(account)

if __name__ == "__main__":
    main()
