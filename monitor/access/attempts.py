"""How often somebody may guess: failed attempts are counted per name and per address, and each costs more patience."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Attempts", "Rule", "network_of"]


@dataclass(frozen=True)
class Rule:
    """How many attempts are free, and how the wait after each further one grows.

    Attributes
    ----------
    free : int
        Attempts without a wait.
    longest_s : float
        The wait doubles from a second up to this.
    """

    free: int
    longest_s: float

    def wait_s(self, failures: int) -> float:
        """Return the wait after so many failures."""
        over = failures - self.free
        return 0.0 if over < 0 else min(2.0 ** min(over, 30), self.longest_s)


# A name's wait stays short, or anybody could keep its owner out; an address has many guesses to lose.
NAME, ADDRESS = Rule(5, 60.0), Rule(20, 900.0)
FORGOTTEN_S = 3600.0
MOST = 10_000


@dataclass
class _Count:
    failures: int = 0
    free_again: float = 0.0
    last: float = 0.0


class Attempts:
    """Counts attempts to sign in.

    Parameters
    ----------
    name, address : Rule
    most : int
        Names and addresses remembered at most; the ones not heard of longest are forgotten first.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self, name: Rule = NAME, address: Rule = ADDRESS, most: int = MOST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rules = {"name": name, "address": address}
        self._most, self._clock = most, clock
        self._counts: OrderedDict[tuple[str, str], _Count] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, name: str, address: str) -> float:
        """Return 0 and count an attempt as failed, or return for how many seconds there may be none.

        It counts before the password is looked at, so that many at once are no way round.
        """
        now = self._clock()
        keys = self._keys(name, address)
        with self._lock:
            counts = [self._counts.get(k) for k in keys]
            wait = max(c.free_again - now if c else 0.0 for c in counts)
            if wait > 0:
                return wait
            for key in keys:
                self._fail(key, now)
        return 0.0

    def succeeded(self, name: str, address: str) -> None:
        """Take back the attempt, and forget earlier ones of this name."""
        by_name, by_address = self._keys(name, address)
        with self._lock:
            self._counts.pop(by_name, None)
            if count := self._counts.get(by_address):
                count.failures -= 1
                count.free_again = 0.0
                if count.failures <= 0:
                    del self._counts[by_address]

    def __len__(self) -> int:
        return len(self._counts)

    def _fail(self, key: tuple[str, str], now: float) -> None:
        count = self._counts.pop(key, None) or _Count()
        if now - count.last > FORGOTTEN_S:
            count = _Count()
        count.failures, count.last = count.failures + 1, now
        count.free_again = now + self._rules[key[0]].wait_s(count.failures)
        self._counts[key] = count  # at the end: heard of last
        while len(self._counts) > self._most:
            self._counts.popitem(last=False)

    @staticmethod
    def _keys(name: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
        return ("name", name[:64].casefold()), ("address", network_of(address))


def network_of(address: str) -> str:
    """Return the address, or for IPv6 the /64 that one subscriber has to choose from."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def patience_words(wait_s: float) -> str:
    """Return what somebody who guessed too often is told."""
    seconds = max(1, round(wait_s + 0.5))
    when = f"{seconds} second{'s' if seconds != 1 else ''}" if seconds < 120 else f"{round(seconds / 60)} minutes"
    return f"Too many failed attempts. Try again in {when}; until then no password is looked at."
