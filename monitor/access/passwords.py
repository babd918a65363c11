"""Passwords: scrypt hashes that say how they were made, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from base64 import b64decode, b64encode
from dataclasses import dataclass

from calib.errors import CalibError

__all__ = ["LONGEST", "SHORTEST", "Cost", "check_password", "hash_password", "verify"]

SHORTEST, LONGEST = 10, 1024
"""Characters of a password; the upper bound keeps a request from buying work."""


@dataclass(frozen=True)
class Cost:
    """What a guess costs: scrypt's n, r and p; memory is 128·n·r bytes."""

    n: int = 2**15
    r: int = 8
    p: int = 3

    @property
    def usable(self) -> bool:
        """Whether these are parameters that this program would ever have written."""
        power_of_two = self.n > 1 and self.n & (self.n - 1) == 0
        return power_of_two and 128 * self.n * self.r <= 2**28 and 1 <= self.r <= 32 and 1 <= self.p <= 16


DEFAULT_COST = Cost()


def check_password(password: str) -> None:
    """Raise CalibError if a password cannot be taken."""
    n = len(password)
    if n < SHORTEST:
        raise CalibError(f"a password has at least {SHORTEST} characters, this one has {n}; several words are easy")
    if n > LONGEST:
        raise CalibError(f"a password has at most {LONGEST} characters, this one has {n}")
    if len(set(password)) < 4:
        raise CalibError("this password repeats a few characters; choose one that is harder to guess")


def hash_password(password: str, cost: Cost = DEFAULT_COST) -> str:
    """Return ``scrypt$n$r$p$salt$hash``, the last two in base64."""
    salt = secrets.token_bytes(16)
    parts = (b64encode(salt).decode(), b64encode(_derive(password, salt, cost)).decode())
    return f"scrypt${cost.n}${cost.r}${cost.p}${parts[0]}${parts[1]}"


def verify(password: str, stored: str | None) -> bool:
    """Whether a password is the one that was stored.

    Without a usable hash (no such account, one without a password) the same work is done for nothing, so that the time
    taken says nothing about which names there are.
    """
    found = _parse(stored) if stored else None
    if len(password) > LONGEST:
        password, found = "", None
    salt, expected, cost = found or (b"no such account.", b"", DEFAULT_COST)
    return hmac.compare_digest(_derive(password, salt, cost), expected) and found is not None


def _parse(stored: str) -> tuple[bytes, bytes, Cost] | None:
    try:
        kind, n, r, p, salt, digest = stored.split("$")
        cost = Cost(int(n), int(r), int(p))
        found = b64decode(salt, validate=True), b64decode(digest, validate=True), cost
    except ValueError:
        return None
    return found if kind == "scrypt" and cost.usable and len(found[1]) == 32 else None


def _derive(password: str, salt: bytes, cost: Cost) -> bytes:
    # The same letters typed on two keyboards may come as different code points.
    plain = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    memory = 128 * cost.r * (cost.n + cost.p + 2) + 2**16
    return hashlib.scrypt(plain, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=memory, dklen=32)
