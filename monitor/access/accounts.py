"""The accounts: names, roles and password hashes in a file that its owner alone can read.

The file is looked at anew whenever somebody is checked, so that a change takes effect at once in a running server.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from calib.archive.database import utc_now
from calib.errors import CalibError
from monitor.access.passwords import DEFAULT_COST, Cost, check_password, hash_password, verify
from monitor.access.person import ROLES

__all__ = ["Account", "Accounts", "secret_beside", "write_private"]

_log = logging.getLogger(__name__)

_NAME = re.compile(r"\w[\w.@+-]{0,63}")
VERSION = 1


@dataclass(frozen=True)
class Account:
    """One account.

    Attributes
    ----------
    name, role : str
    hash : str
        Of the password, as of `hash_password`; empty for one who signs in with another provider.
    generation : str
        Changes with the password and with a new account of an old name; a cookie of another one is void.
    made : str
        When the account was added, UTC, ISO.
    """

    name: str
    role: str
    hash: str
    generation: str
    made: str


Stamp = tuple[int, int, int]


class Accounts:
    """The accounts of a file.

    Parameters
    ----------
    path : Path
        The file; it need not exist yet.
    cost : Cost
        Of the hashes that are made here.
    """

    def __init__(self, path: Path, cost: Cost = DEFAULT_COST) -> None:
        self.path = Path(path).absolute()
        self._cost = cost
        self._lock = threading.Lock()
        self._known: tuple[Stamp, dict[str, Account]] | None = None
        self._said = ""

    # Reading -----------------------------------------------------------------------------------------------------

    def all(self) -> dict[str, Account]:
        """Return folded name → account, as the file says now.

        Raises
        ------
        CalibError
            If the file cannot be read, is readable by others, or holds something else.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise CalibError(f"{self.path} cannot be read: {error.strerror}; {self._remedy()}") from error
        stamp = found.st_ino, found.st_mtime_ns, found.st_size
        if found.st_mode & 0o077:
            raise CalibError(f"{self.path} can be read by others; take that from them with `chmod 600 {self.path}`")
        with self._lock:
            if self._known is not None and self._known[0] == stamp:
                return self._known[1]
        accounts = _parsed(self.path)
        with self._lock:
            self._known = stamp, accounts
        return accounts

    def find(self, name: str) -> Account | None:
        """Return an account, or None; where the file cannot be read nobody has one, and the log says why."""
        try:
            found = self.all().get(_folded(name))
        except CalibError as error:
            if self._said != str(error):
                self._said = str(error)
                _log.error("nobody can sign in: %s", error)
            return None
        self._said = ""
        return found

    def check(self, name: str, password: str) -> Account | None:
        """Return the account if the password is right; takes equally long if there is none of that name."""
        account = self.find(name) if len(name) <= 64 else None
        return account if verify(password, account.hash if account else None) else None

    # Writing -----------------------------------------------------------------------------------------------------

    def add(self, name: str, role: str, password: str | None) -> Account:
        """Add an account; without a password it is for one who signs in with another provider."""
        if not _NAME.fullmatch(name):
            raise CalibError(f"{name!r} is no name for an account: letters, digits and . _ @ + -, at most 64")
        account = Account(name, _role(role), self._hash(password), _generation(), utc_now())
        with self._changing(create=True) as accounts:
            if other := accounts.get(_folded(name)):
                raise CalibError(f"there is an account {other.name} already; change it, or choose another name")
            accounts[_folded(name)] = account
        return account

    def remove(self, name: str) -> None:
        """Remove an account; whoever is signed in with it is so no more."""
        with self._changing() as accounts:
            del accounts[self._key(accounts, name)]

    def set_password(self, name: str, password: str | None) -> None:
        """Give an account another password; whoever is signed in with it has to do so again."""
        made = self._hash(password)
        with self._changing() as accounts:
            key = self._key(accounts, name)
            accounts[key] = replace(accounts[key], hash=made, generation=_generation())

    def set_role(self, name: str, role: str) -> None:
        """Give an account another role, at once also where it is signed in."""
        with self._changing() as accounts:
            key = self._key(accounts, name)
            accounts[key] = replace(accounts[key], role=_role(role))

    def _hash(self, password: str | None) -> str:
        if password is None:
            return ""
        check_password(password)
        return hash_password(password, self._cost)

    def _key(self, accounts: dict[str, Account], name: str) -> str:
        if _folded(name) not in accounts:
            there = ", ".join(a.name for a in accounts.values()) or "none at all"
            raise CalibError(f"there is no account {name!r} in {self.path} (there is {there})")
        return _folded(name)

    @contextmanager
    def _changing(self, *, create: bool = False) -> Iterator[dict[str, Account]]:
        """Yield the accounts to change, and write them; two who change them at once wait for each other."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CalibError(f"{self.path.parent} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            accounts = {} if create and not self.path.exists() else dict(self.all())
            yield accounts
            rows = {a.name: {k: v for k, v in asdict(a).items() if k != "name"} for a in accounts.values()}
            write_private(self.path, json.dumps({"version": VERSION, "accounts": rows}, indent=1) + "\n")
        finally:
            os.close(lock)

    def _remedy(self) -> str:
        return f"add an account with `monitor account add NAME --accounts {self.path}`"


def _folded(name: str) -> str:
    # Two names that look alike to a reader of the decisions must not be two people.
    return name.casefold()


def _role(role: str) -> str:
    if role not in ROLES:
        raise CalibError(f"there is no role {role!r} (there are {', '.join(ROLES)})")
    return role


def _generation() -> str:
    return secrets.token_hex(8)


def _parsed(path: Path) -> dict[str, Account]:
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        if content["version"] != VERSION:
            raise CalibError(f"{path} has version {content['version']}, this program knows {VERSION}")
        accounts = [Account(name=str(n), **{k: str(v) for k, v in a.items()}) for n, a in content["accounts"].items()]
    except OSError as error:
        raise CalibError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CalibError(f"{path} holds no accounts ({error}); restore it, or begin another file") from error
    for account in accounts:
        _role(account.role)
    return {_folded(a.name): a for a in accounts}


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, beside its place, and rename it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CalibError(f"{path} cannot be written: {error.strerror}; choose another place") from error


def secret_beside(path: Path) -> str:
    """Return the secret with which cookies are signed, made the first time, from the file beside the accounts.

    Raises
    ------
    CalibError
        If others can read it.
    """
    place = Path(path).absolute().with_name(f"{Path(path).name}.secret")
    try:
        handle = os.open(place, os.O_RDONLY)
    except FileNotFoundError:
        write_private(place, secrets.token_hex(32) + "\n")
        return secret_beside(path)
    except OSError as error:
        raise CalibError(f"{place} cannot be read: {error.strerror}") from error
    with os.fdopen(handle, encoding="utf-8") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise CalibError(f"{place} can be read by others; delete it, and everybody signs in anew")
        secret = file.read().strip()
    if len(secret) < 64:
        raise CalibError(f"{place} is damaged; delete it, and everybody signs in anew")
    return secret
