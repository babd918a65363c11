"""Ways to spoil a raw file and a profile; each takes a source of chance, so that a seed tells the whole story."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

__all__ = ["FILES", "PROFILES", "spoiled_file", "spoiled_profile"]

CARD, BLOCK = 80, 2880

Chance = random.Random

_ABSURD = ("9999999999", "-1", "0", "1", "2147483648", "99999999999999999999", "1E400", "NaN", "'text'", "T", "")
_SIZES = ("NAXIS1", "NAXIS2", "NAXIS3", "NAXIS", "BITPIX", "PCOUNT", "GCOUNT", "TFIELDS", "BZERO", "BSCALE", "BLANK")
_VALUES = (
    "-1", "0", "1e308", "nan", "inf", "-0.0", "true", '""', '"J"', "[]", "{}", "[[1, 2], [3]]", "9" * 30, "1979-05-27",
    '["J", "J"]', "[0, 0]", "[64, 64]", "[1e9, 1e9]", '"\\u0000"', "{ max = -1.0 }", "{ min = 5, max = 1 }",
)  # fmt: skip


def _flip(content: bytearray, chance: Chance) -> bytearray:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return content


def _burst(content: bytearray, chance: Chance) -> bytearray:
    at, length = chance.randrange(len(content)), chance.randint(2, 4096)
    content[at : at + length] = chance.randbytes(len(content[at : at + length]))
    return content


def _zeros(content: bytearray, chance: Chance) -> bytearray:
    at, length = chance.randrange(len(content)), chance.randint(1, len(content))
    content[at : at + length] = bytes(len(content[at : at + length]))
    return content


def _cut(content: bytearray, chance: Chance) -> bytearray:
    return content[: chance.randrange(len(content))]


def _cut_near_an_edge(content: bytearray, chance: Chance) -> bytearray:
    return content[: max(0, chance.randrange(0, len(content), BLOCK) + chance.randint(-81, 81))]


def _inserted(content: bytearray, chance: Chance) -> bytearray:
    at = chance.randrange(len(content))
    return content[:at] + chance.randbytes(chance.choice((1, CARD, BLOCK))) + content[at:]


def _dropped(content: bytearray, chance: Chance) -> bytearray:
    at = chance.randrange(len(content))
    return content[:at] + content[at + chance.choice((1, CARD, BLOCK)) :]


def _doubled(content: bytearray, _: Chance) -> bytearray:
    return content + content


def _cards(content: bytearray) -> list[int]:
    """Where cards with a value begin."""
    return [m.start() for m in re.finditer(rb"[A-Z0-9-]{1,8} *= ", content) if m.start() % CARD == 0]


def _swapped_cards(content: bytearray, chance: Chance) -> bytearray:
    places = _cards(content)
    if len(places) > 1:
        a, b = chance.sample(places, 2)
        content[a : a + CARD], content[b : b + CARD] = content[b : b + CARD], content[a : a + CARD]
    return content


def _lost_card(content: bytearray, chance: Chance) -> bytearray:
    if places := _cards(content):
        at = chance.choice(places)
        content[at : at + CARD] = b" " * CARD
    return content


def _absurd_card(content: bytearray, chance: Chance) -> bytearray:
    places = _cards(content)
    sizes = [p for p in places if content[p : p + 8].decode("ascii", "replace").strip() in _SIZES]
    if pool := chance.choice((sizes, places)) or places:
        at = chance.choice(pool)
        content[at + 10 : at + 31] = chance.choice(_ABSURD).rjust(20).ljust(21).encode()
    return content


def _renamed_card(content: bytearray, chance: Chance) -> bytearray:
    if places := _cards(content):
        at = chance.choice(places)
        content[at + chance.randrange(8)] = chance.choice(b"ABCXYZ019-_ \x00\xff")
    return content


def _end_lost(content: bytearray, chance: Chance) -> bytearray:
    places = [m.start() for m in re.finditer(rb"END {77}", content) if m.start() % CARD == 0]
    if places:
        at = chance.choice(places)
        content[at : at + 3] = b"   "
    return content


FILES: dict[str, Callable[[bytearray, Chance], bytearray]] = {
    "one bit": _flip,
    "a burst of bytes": _burst,
    "a hole of zeros": _zeros,
    "cut": _cut,
    "cut near a block's edge": _cut_near_an_edge,
    "bytes inserted": _inserted,
    "bytes dropped": _dropped,
    "twice in one file": _doubled,
    "two cards swapped": _swapped_cards,
    "a card lost": _lost_card,
    "an absurd value or size": _absurd_card,
    "a card renamed": _renamed_card,
    "no END": _end_lost,
}


def spoiled_file(content: bytes, chance: Chance) -> tuple[str, bytes]:
    """Return how a file was spoiled, and its new content."""
    how = chance.choice(list(FILES))
    spoiled = FILES[how](bytearray(content), chance)
    if chance.random() < 0.25:
        spoiled = FILES[chance.choice(list(FILES))](spoiled or bytearray(b" "), chance)
    return how, bytes(spoiled)


def _value(lines: list[str], chance: Chance) -> list[str]:
    at = chance.choice([k for k, line in enumerate(lines) if "=" in line])
    lines[at] = lines[at].partition("=")[0] + "= " + chance.choice(_VALUES)
    return lines


def _number(lines: list[str], chance: Chance) -> list[str]:
    at = chance.choice([k for k, line in enumerate(lines) if re.search(r"= .*\d", line)])
    numbers = list(re.finditer(r"-?\d+(\.\d+)?", lines[at]))
    m = chance.choice(numbers)
    new = chance.choice(("0", "-1", "1e-300", "1e300", str(float(m[0]) * 10), str(float(m[0]) / 10), "3", "nan"))
    lines[at] = lines[at][: m.start()] + new + lines[at][m.end() :]
    return lines


def _line_lost(lines: list[str], chance: Chance) -> list[str]:
    del lines[chance.randrange(len(lines))]
    return lines


def _line_twice(lines: list[str], chance: Chance) -> list[str]:
    at = chance.randrange(len(lines))
    return [*lines[:at], lines[at], *lines[at:]]


def _lines_swapped(lines: list[str], chance: Chance) -> list[str]:
    a, b = chance.sample(range(len(lines)), 2)
    lines[a], lines[b] = lines[b], lines[a]
    return lines


def _key_misspelt(lines: list[str], chance: Chance) -> list[str]:
    at = chance.choice([k for k, line in enumerate(lines) if "=" in line or line.startswith("[")])
    place = chance.randrange(max(len(lines[at].partition("=")[0]), 1))
    lines[at] = lines[at][:place] + chance.choice("xQ_. -\"'[]") + lines[at][place + 1 :]
    return lines


PROFILES: dict[str, Callable[[list[str], Chance], list[str]]] = {
    "another value": _value,
    "another number": _number,
    "a line lost": _line_lost,
    "a line twice": _line_twice,
    "two lines swapped": _lines_swapped,
    "a key misspelt": _key_misspelt,
}


def spoiled_profile(text: str, chance: Chance) -> tuple[str, bytes]:
    """Return how the text of a profile was spoiled, and its new content."""
    if chance.random() < 0.2:
        return spoiled_file(text.encode(), chance)
    how = chance.choice(list(PROFILES))
    return how, "\n".join(PROFILES[how](text.splitlines(), chance)).encode()
