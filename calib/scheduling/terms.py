"""What must be alike everywhere, or one night's products would not be those of another worker."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from calib import __version__
from calib.night import ALGORITHM

__all__ = ["Terms", "code_here"]


def code_here() -> dict[str, str]:
    """Return what the bytes of a product depend on beside its inputs: numbers of algorithms and versions."""
    libraries = {name: version(name) for name in ("numpy", "numba", "astropy", "scipy")}
    return {"vesper": __version__, **{f"algorithm {k!r}": str(n) for k, n in ALGORITHM.items()}, **libraries}


@dataclass(frozen=True)
class Terms:
    """What a worker must fulfil to take part in a run.

    Attributes
    ----------
    root : Path
        The archive.
    token : str
        Name of the file in it by which a worker knows the folder, and that the run is still there.
    code : tuple of (str, str)
        Versions that must be the worker's, too.
    """

    root: Path
    token: str
    code: tuple[tuple[str, str], ...]

    def refusal(self) -> str:
        """Return why this process must not take part, in words that go on after its name; empty if it may."""
        try:
            found = (self.root / self.token).read_text("ascii")
        except OSError as error:
            return (
                f"does not see the archive {self.root} ({error.strerror}); give it the same folders at the same paths"
            )
        if found != self.token:
            return f"sees another folder at {self.root}; give it the same folders at the same paths"
        return _other_code(dict(self.code), code_here())


def _other_code(ours: dict[str, str], theirs: dict[str, str]) -> str:
    for name in ours:
        if theirs.get(name) != ours[name]:
            return f"has {name} {theirs.get(name, 'missing')}, this run {ours[name]}; install the same on every machine"
    return ""
