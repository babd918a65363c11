"""The commands about access: ``monitor account``, and what ``monitor serve`` is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from calib.cli import CommandGroup
from calib.errors import CalibError
from monitor.access.accounts import Accounts
from monitor.access.passwords import LONGEST, check_password
from monitor.access.person import ROLES
from monitor.access.settings import PROVIDERS, AccessSettings, OAuth

__all__ = ["access_options", "account"]

_file_option = click.option(
    "--accounts", "path", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File of the accounts."
)
_role_option = click.option(
    "--role",
    required=True,
    type=click.Choice(list(ROLES)),
    help="; ".join(f"{role}: {what}" for role, what in ROLES.items()) + ".",
)


@click.group(cls=CommandGroup)
def account() -> None:
    """Say who may sign in to the page; a running server heeds it at once."""


@account.command()
@click.argument("name")
@_role_option
@_file_option
@click.option("--no-password", is_flag=True, help="For who signs in with another provider; NAME as it has it.")
def add(name: str, role: str, path: Path, no_password: bool) -> None:
    """Add the account NAME; its password is asked for, or is the first line of standard input."""
    Accounts(path).add(name, role, None if no_password else _ask_password())
    click.echo(f"{name} may sign in as {role}")


@account.command("list")
@_file_option
def list_accounts(path: Path) -> None:
    """Print name, role and since when, one account a line."""
    found = Accounts(path).all().values()
    wide = max([len(a.name) for a in found], default=0)
    for a in found:
        click.echo(f"{a.name:{wide}}  {a.role:8}  {a.made[:10]}{'' if a.hash else '  without password'}")


@account.command()
@click.argument("name")
@_file_option
def remove(name: str, path: Path) -> None:
    """Remove the account NAME; whoever is signed in with it is so no more."""
    Accounts(path).remove(name)
    click.echo(f"{name} may sign in no more")


@account.command()
@click.argument("name")
@_file_option
def password(name: str, path: Path) -> None:
    """Give NAME another password, asked for or the first line of standard input; old sign-ins end."""
    accounts = Accounts(path)
    accounts.all()
    accounts.set_password(name, _ask_password())
    click.echo(f"{name} has another password and has to sign in anew")


@account.command()
@click.argument("name")
@_role_option
@_file_option
def role(name: str, role: str, path: Path) -> None:
    """Give NAME another role, at once also where it is signed in."""
    Accounts(path).set_role(name, role)
    click.echo(f"{name} is {role} now")


def _ask_password() -> str:
    """Return a password from the terminal, typed twice, or from a pipe; never from the command line."""
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt="Again")
    else:
        typed = sys.stdin.readline(LONGEST + 2).rstrip("\r\n")
        if not typed:
            raise CalibError("no password on standard input; pipe it in as one line, or run this on a terminal")
    check_password(typed)
    return typed


# How `monitor serve` is told about access ----------------------------------------------------------------------------


def access_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options about access; it is called with ``access``, what they say together."""

    @wraps(command)
    def told(
        accounts: Path | None,
        open_to_the_network: bool,
        https: bool,
        behind_proxy: bool,
        sign_in_days: float,
        oauth_provider: str | None,
        oauth_key: str | None,
        oauth_redirect: str,
        oauth_extra: tuple[str, ...],
        oauth_strangers: str,
        **rest: object,
    ) -> None:
        oauth = None
        if oauth_provider is not None:
            # From the environment alone: what stands on a command line can be read by all users of the machine.
            oauth_secret = os.environ.get("VESPER_OAUTH_SECRET")
            if not oauth_key or not oauth_secret:
                raise click.UsageError("--oauth-provider needs --oauth-key and $VESPER_OAUTH_SECRET")
            pairs = tuple((k, v) for k, _, v in (e.partition("=") for e in oauth_extra))
            if not all(k and v for k, v in pairs):
                raise click.UsageError("--oauth-extra is NAME=VALUE")
            looks = oauth_strangers == "viewer"
            oauth = OAuth(oauth_provider, oauth_key, oauth_secret, oauth_redirect, pairs, looks)
        access = AccessSettings(accounts, open_to_the_network, https, behind_proxy, sign_in_days, oauth)
        command(access=access, **rest)

    for option in reversed(_ACCESS_OPTIONS):
        told = option(told)
    return told


_ACCESS_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--accounts",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Let in only who has an account in this file, made by `monitor account`.",
    ),
    click.option(
        "--open-to-the-network", is_flag=True, help="Without accounts: let anybody look who reaches this machine."
    ),
    click.option("--https", is_flag=True, help="Browsers reach the page over TLS: cookies never travel without it."),
    click.option("--behind-proxy", is_flag=True, help="Believe a proxy in front who asks, and whether over TLS."),
    click.option(
        "--sign-in-days", default=7.0, type=click.FloatRange(0.01, 365), help="How long one stays signed in, in days."
    ),
    click.option("--oauth-provider", type=click.Choice(PROVIDERS), help="Let people sign in there too."),
    click.option("--oauth-key", envvar="VESPER_OAUTH_KEY", help="Its client id; or $VESPER_OAUTH_KEY."),
    click.option("--oauth-redirect", default="", help="Where it sends people back, if not PAGE/login/oauth."),
    click.option("--oauth-extra", multiple=True, metavar="NAME=VALUE", help="What it needs besides."),
    click.option(
        "--oauth-strangers",
        type=click.Choice(["refused", "viewer"]),
        default="refused",
        help="What becomes of people without an account.",
    ),
)
