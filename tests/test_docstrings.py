"""Docstrings of the calibration core that list parameters list them all, and no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_SECTION = re.compile(r"Parameters\n-+\n(.*?)(?=\n\n[A-Z][a-z]+\n-{3}|\Z)", re.DOTALL)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, Function]]:
    """Yield file:name of every public function and method that lists its parameters."""
    for path in sorted((ROOT / "calib").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        bodies = [("", tree.body), *((f"{n.name}.", n.body) for n in tree.body if isinstance(n, ast.ClassDef))]
        for prefix, body in bodies:
            for node in body:
                if isinstance(node, Function) and not node.name.startswith("_") and listed(node) is not None:
                    yield f"{path.relative_to(ROOT)}:{prefix}{node.name}", node


def listed(node: Function) -> set[str] | None:
    """Return the parameters that a docstring lists, None if it has no list."""
    section = _SECTION.search(ast.get_docstring(node) or "")
    if section is None:
        return None
    heads = [line.split(" : ")[0] for line in section[1].splitlines() if line and not line.startswith(" ")]
    return {name.strip().lstrip("*") for head in heads for name in head.split(",")}


def taken(node: Function) -> set[str]:
    a = node.args
    given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x is not None)]
    return {x.arg for x in given} - {"self", "cls"}


def test_there_are_functions_to_look_at() -> None:
    assert len(list(functions())) > 100


@pytest.mark.parametrize(("name", "node"), list(functions()), ids=lambda x: x if isinstance(x, str) else "")
def test_parameters_are_listed_as_they_are(name: str, node: Function) -> None:
    assert listed(node) == taken(node)
