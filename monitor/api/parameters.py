"""What an address of the API can be asked with: each parameter declared once, checked and described from that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

__all__ = ["Parameter", "ParameterError", "read_parameters"]


class ParameterError(ValueError):
    """A parameter that cannot be used; the text names it and says what would do."""


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes
    ----------
    name : str
    meaning : str
        One sentence.
    kind : str
        ``text``, ``night``, ``integer`` or ``number``.
    choices : tuple of str
        The only values there are; empty for any.
    default
        What is taken where it is not given.
    least, most : float, optional
        Bounds of a number, both included.
    in_path : bool
        Whether it is a part of the address.
    example : str
        For the description.
    """

    name: str
    meaning: str
    kind: str = "text"
    choices: tuple[str, ...] = ()
    default: Any = None
    least: float | None = None
    most: float | None = None
    in_path: bool = False
    example: str = ""

    def read(self, text: str) -> Any:
        """Return the value of a text.

        Raises
        ------
        ParameterError
            If it is none.
        """
        if len(text) > 100 or not text.isprintable():
            raise ParameterError(f"{self.name} is too long, or not plain text: at most 100 printable characters")
        if self.choices and text not in self.choices:
            raise ParameterError(f"{self.name} is one of {', '.join(self.choices)}, not {text!r}")
        if self.kind == "night":
            return self._night(text)
        if self.kind in ("integer", "number"):
            return self._number(text)
        return text

    def _night(self, text: str) -> str:
        try:
            if date.fromisoformat(text).isoformat() == text:
                return text
        except ValueError:
            pass
        raise ParameterError(f"{self.name} is a night, YYYY-MM-DD, not {text!r}")

    def _number(self, text: str) -> float:
        what = "a whole number" if self.kind == "integer" else "a number"
        try:
            # Python would take 1_000, and figures of other scripts.
            if not text.isascii() or "_" in text:
                raise ValueError
            value = int(text) if self.kind == "integer" else float(text)
        except ValueError:
            raise ParameterError(f"{self.name} is {what}{self._bounds()}, not {text[:30]!r}") from None
        if (
            not abs(value) < 1e30
            or (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
        ):
            raise ParameterError(f"{self.name} is {what}{self._bounds()}, not {text[:30]}")
        return value

    def _bounds(self) -> str:
        if self.least is not None and self.most is not None:
            return f" from {self.least:.12g} to {self.most:.12g}"
        if self.least is not None:
            return f" from {self.least:.12g} on"
        return f" up to {self.most:.12g}" if self.most is not None else ""

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of its values."""
        if self.kind in ("integer", "number"):
            found: dict[str, Any] = {"type": self.kind}
            found |= {"minimum": self.least} if self.least is not None else {}
            found |= {"maximum": self.most} if self.most is not None else {}
        else:
            found = {"type": "string"} | ({"format": "date"} if self.kind == "night" else {})
        found |= {"enum": list(self.choices)} if self.choices else {}
        return found | ({"default": self.default} if self.default is not None else {})


def read_parameters(
    declared: Sequence[Parameter], path: Mapping[str, str], query: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return name → value of a request; those that were not given have their default.

    Raises
    ------
    ParameterError
        If one is unknown, given twice, or not what it should be.
    """
    known = {p.name: p for p in declared}
    asked = {p.name for p in declared if not p.in_path}
    for name, values in query.items():
        if name not in asked:
            there = ", ".join(sorted(asked)) or "none"
            raise ParameterError(f"{name[:40]!r} is no parameter of this address (there are {there})")
        if len(values) > 1:
            raise ParameterError(f"{name} is given {len(values)} times; once will do")
    given = {**{n: v for n, v in path.items() if n in known}, **{n: v[0] for n, v in query.items()}}
    return {n: p.read(given[n]) if given.get(n, "") != "" else p.default for n, p in known.items()}
