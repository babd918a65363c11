"""Paths on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

__all__ = ["GivenPath"]


class GivenPath(click.Path):
    """A path that is not empty, as it comes of a variable that is not set: it would be the current folder."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; a usage error if it is empty."""
        if not os.fspath(value):
            self.fail("is empty; is a variable of the shell not set? ('.' is the current folder)", param, ctx)
        return super().convert(value, param, ctx)
