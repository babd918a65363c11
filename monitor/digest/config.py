"""Where a digest goes, and when: a TOML file, checked as a whole before anything is sent."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from calib.errors import CalibError

__all__ = ["DigestConfig", "DigestError", "EmailSettings", "WebhookSettings", "address_of", "load_config"]

# A digest is no circular; a list has an address of its own.
_MOST_RECIPIENTS = 100
_PORTS = {"none": 25, "starttls": 587, "tls": 465}
# Name and address; what separates addresses or headers can be in neither.
_MAILBOX = re.compile(r"(?:(?P<name>[^<>@,;:\"\\]*)<)?(?P<address>[!-~]+@[A-Za-z0-9.-]+)(?(name)>)")


class DigestError(CalibError):
    """A digest that cannot be made or sent; its text never holds a password or the path of a webhook."""


def _plain(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be text of one line")
    return text.strip()


def _mailbox(text: str) -> str:
    found = _MAILBOX.fullmatch(_plain(text))
    if found is None or re.search(r"[<>,;:\"\\()\[\]]|@.*@", found["address"]):
        raise ValueError("must be an address like ada@example.org, or a name and <ada@example.org>")
    return text.strip()


def _web(text: str) -> str:
    parts = urlsplit(_plain(text))
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[^!-~]", text):
        raise ValueError("must be an address that begins with http:// or https://")
    if parts.port == 0:  # one that is no number is an error of its own
        raise ValueError("port 0 is no port")
    return text


def _some(recipients: tuple[str, ...]) -> tuple[str, ...]:
    if not 1 <= len(recipients) <= _MOST_RECIPIENTS:
        raise ValueError(f"must be 1 to {_MOST_RECIPIENTS} addresses")
    return recipients


Line = Annotated[str, AfterValidator(_plain)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
Web = Annotated[str, AfterValidator(_web)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EmailSettings(_Model):
    """A mail server, and who gets the digest.

    Attributes
    ----------
    security : {"starttls", "tls", "none"}
        ``starttls`` turns the connection to TLS before anything is said, ``tls`` begins with it; a server that cannot
        is an error, never a reason to go on in the clear.
    port : int, optional
        587, 465 or 25 by default, as `security` has it.
    user, password_file
        Both or neither; only over TLS.
    ca_file : Path, optional
        Certificate of an own authority, PEM.
    """

    host: Line
    port: int | None = Field(default=None, ge=1, le=65535)
    security: Literal["none", "starttls", "tls"] = "starttls"
    user: Line | None = None
    password_file: Path | None = None
    sender: Mailbox
    recipients: Annotated[tuple[Mailbox, ...], AfterValidator(_some)]
    ca_file: Path | None = None
    timeout_s: float = Field(default=20.0, gt=0, le=300)

    @model_validator(mode="after")
    def _together(self) -> EmailSettings:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together")
        if self.user is not None and self.security == "none":
            raise ValueError('with security = "none" the password would travel in the clear; use starttls or tls')
        return self

    @property
    def at(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port or _PORTS[self.security]


class WebhookSettings(_Model):
    """Where the digest is posted as JSON."""

    url: Web
    timeout_s: float = Field(default=10.0, gt=0, le=300)

    @property
    def name(self) -> str:
        """Scheme and host: the rest of such an address is often a secret."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}"


class DigestConfig(_Model):
    """Where a digest goes, and when.

    Attributes
    ----------
    only_when : {"always", "watch", "drift"}
        From which state on: ``watch`` includes rejected, not run, without data and stale; ``drift`` includes rejected.
    stale_after_nights : int
        With so many nights missing since the newest one, the digest of ``latest`` says so.
    state_file : Path
        What was sent last; beside the file of settings by default.
    """

    email: EmailSettings | None = None
    webhook: WebhookSettings | None = None
    page_url: Web | None = None
    only_when: Literal["always", "watch", "drift"] = "always"
    stale_after_nights: int = Field(default=1, ge=1, le=10_000)
    state_file: Path

    @model_validator(mode="after")
    def _somewhere(self) -> DigestConfig:
        if self.email is None and self.webhook is None:
            raise ValueError("neither [email] nor [webhook] is given; name at least one")
        return self


def address_of(mailbox: str) -> str:
    """Return the address of a name and address."""
    found = _MAILBOX.fullmatch(mailbox)
    assert found is not None
    return found["address"]


def load_config(path: Path) -> DigestConfig:
    """Read the settings of a digest; paths in it are relative to its folder.

    Raises
    ------
    DigestError
        With every fault, each beginning with the key it concerns. Values are not repeated: some are secrets.
    """
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DigestError(f"{path} cannot be read: {error.strerror}; name another file with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DigestError(f"{path} is no TOML: {error}; correct it") from None
    data.setdefault("state_file", f"{path.name}.state")
    _resolve(data, path.absolute().parent)
    try:
        return DigestConfig.model_validate(data)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {_words(e['msg'])}" for e in error.errors()]
    n = len(faults)
    raise DigestError(f"{path} has {n} fault{'s' if n != 1 else ''}; correct it:\n  " + "\n  ".join(faults))


def _words(message: str) -> str:
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _resolve(data: dict[str, Any], folder: Path) -> None:
    email = data.get("email")
    for table, key in ((data, "state_file"), (email, "password_file"), (email, "ca_file")):
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = str(folder / Path(table[key]).expanduser())
