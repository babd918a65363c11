"""What `monitor serve` is told about access, and when it refuses to serve."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from calib.errors import CalibError

__all__ = ["AccessSettings", "OAuth", "is_loopback", "is_published", "refuse_to_be_open"]

OAUTH = "/login/oauth"

PROVIDERS = ("github", "gitlab", "google", "bitbucket", "azure", "okta", "auth0", "generic")


@dataclass(frozen=True)
class OAuth:
    """Another site that vouches for people.

    Attributes
    ----------
    provider : str
        One of Panel's: github, gitlab, google, …
    key, secret : str
        What the provider calls client id and client secret.
    redirect : str
        Address to which it sends people back; empty for ``/login/oauth`` under the name by which the page was opened.
    extra : tuple of (str, str)
        What the provider needs besides, such as the addresses of a ``generic`` one.
    strangers : bool
        Whether people without an account may look; those with one have its role.
    """

    provider: str
    key: str
    secret: str
    redirect: str = ""
    extra: tuple[tuple[str, str], ...] = ()
    strangers: bool = False


@dataclass(frozen=True)
class AccessSettings:
    """What `monitor serve` was told about access.

    Attributes
    ----------
    accounts : Path or None
        File of the accounts; None lets everybody in who reaches the server.
    open_to_network : bool
        Whether that may be anybody on the network.
    https : bool
        Whether browsers reach the page over TLS.
    behind_proxy : bool
        Whether a proxy in front says who asks, and how.
    days : float
        How long one stays signed in.
    oauth : OAuth or None
    """

    accounts: Path | None = None
    open_to_network: bool = False
    https: bool = False
    behind_proxy: bool = False
    days: float = 7.0
    oauth: OAuth | None = None


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine itself."""
    name = host if host.count(":") > 1 and "[" not in host else urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_published(access: AccessSettings, address: str, origins: Iterable[str]) -> bool:
    """Whether anybody but this machine's own users can reach the page."""
    return access.behind_proxy or not is_loopback(address) or not all(is_loopback(o) for o in origins)


def refuse_to_be_open(access: AccessSettings, address: str, origins: Iterable[str]) -> None:
    """Raise CalibError if the page would be open to a network without anybody having said so."""
    if access.accounts is not None or access.open_to_network or not is_published(access, address, origins):
        return
    raise CalibError(
        "without accounts anybody who reaches this server over the network could read everything; give it accounts "
        "with --accounts FILE (`monitor account add NAME --role reviewer --accounts FILE` makes the first), or let "
        "everybody look, and nobody decide, with --open-to-the-network"
    )
