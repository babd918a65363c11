"""The ``monitor`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calib import __version__
from calib.cli import CommandGroup

_archive_option = click.option(
    "--archive", "archive_dir", required=True, type=click.Path(path_type=Path, file_okay=False), help="The archive."
)
_port_option = click.option("--port", default=5006, type=click.IntRange(1, 65535), help="Port.")
_show_option = click.option("--show/--no-show", default=False, help="Open a browser.")


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="monitor")
def main() -> None:
    """Show the health of a near-infrared camera in the browser."""


@main.command()
@_archive_option
@_port_option
@_show_option
def serve(archive_dir: Path, port: int, show: bool) -> None:
    """Serve the page of an archive on this machine."""
    from monitor.server import serve as serve_page

    click.echo(f"Vesper at http://127.0.0.1:{port}/ — stop with Ctrl-C")
    serve_page(archive_dir, port=port, show=show)


@main.command()
@click.option(
    "--dir",
    "folder",
    default=None,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where raw nights and archive go.  [default: a new temporary folder]",
)
@click.option("--nights", default=30, type=click.IntRange(3, 400), help="How many nights; the last is last night.")
@click.option("--seed", default=7, help="Seed of all random numbers.")
@_port_option
@_show_option
def demo(**options: Any) -> None:
    """Simulate, calibrate and serve, from nothing."""
    from monitor.demo import run_demo

    run_demo(**options)


if __name__ == "__main__":
    main()
