"""What `calib profile check` prints, and the same as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from calib.errors import shown_path
from calib.profile_check import CheckedFile, ProfileCheck
from calib.raw import Identity, Sequence
from calib.sky import block_bounds

__all__ = ["as_data", "check_lines"]

MOST_VALUES = 6
"""Different values of a card that are printed; the others are counted."""


def check_lines(check: ProfileCheck) -> Iterator[str]:
    """Yield the lines of a check."""
    p = check.profile
    yield f"profile {p.name} is sound: bands {', '.join(p.bands)}, reads {', '.join(p.reads)}"
    for file in check.files:
        yield from _file_lines(file)
    if not check.files:
        return
    yield ""
    n, bad = len(check.files), len(check.refused)
    yield f"{n} file{'s' if n != 1 else ''}: {n - bad} would be read, {bad} refused"
    yield from (f"  {words}" for words in _summary(check))
    yield ""
    yield "cards that the profile looks at, and what the files say:"
    values = {name: counts for name, counts in check.values().items() if name != "@FILE"}
    wide = max((len(name) for name in values), default=0)
    yield from (f"  {name:{wide}}  {_counted(counts)}" for name, counts in values.items())
    if notes := check.notes():
        yield ""
        yield "to know before a run:"
        yield from (f"  {note}" for note in notes)


def _file_lines(file: CheckedFile) -> Iterator[str]:
    if file.identity is None:
        yield f"{shown_path(file.path)}: refused: {file.reason}"
        if file.cards:
            said = ", ".join(
                f"{n} {'missing' if v is None else repr(v)}" for n, v in file.cards.items() if n != "@FILE"
            )
            yield f"    it says: {said}"
        if file.hint:
            yield f"    hint: {file.hint}"
        return
    i = file.identity
    scan = f" {i.scan}" if i.scan is not None else ""
    yield (
        f"{shown_path(file.path)}: {i.obs_type}{scan}, band {i.band or 'any'}, night {i.night or 'none'}, "
        f"{i.n_frames} frame{'s' if i.n_frames != 1 else ''}"
    )


def _summary(check: ProfileCheck) -> Iterator[str]:
    """Yield a line per sequence, per supplied master, and per reason to refuse."""
    for s in check.sequences:
        n = sum(i.n_frames for i in s.files)
        name = s.obs_type if s.scan is None else f"{s.obs_type} {s.scan}"
        clock = (
            f"{_clock(s.files[0])} to {_clock(s.files[-1])} UTC" if len(s.files) > 1 else f"{_clock(s.files[0])} UTC"
        )
        blocks = f", {block_words(s, check)}" if s.obs_type == "scan" else ""
        frames = f"{n} frame{'s' if n != 1 else ''}"
        yield f"{s.night}  {s.band:4} {name}: {frames} in {_files(len(s.files))}, {clock}{blocks}"
    kinds = Counter((i.obs_type, i.band or "any") for i in check.supplied)
    for (kind, band), n in kinds.items():
        of_many = ", of which the latest counts" if n > 1 else ""
        yield f"{'':10}  {band:4} {kind}: {_files(n)}{of_many}"
    for reason, n in Counter(f.reason for f in check.refused).most_common():
        yield f"{'refused':10}  {n} × {reason}"


def block_words(sequence: Sequence, check: ProfileCheck) -> str:
    """Return into which blocks the frames of a scan fall."""
    bounds = block_bounds(sum(i.n_frames for i in sequence.files), check.profile.sky.block_frames)
    sizes = Counter(last - first + 1 for first, last in bounds)
    return " and ".join(f"{k} block{'s' if k != 1 else ''} of {n}" for n, k in sorted(sizes.items(), reverse=True))


def _files(n: int) -> str:
    return f"{n} file{'s' if n != 1 else ''}"


def _clock(identity: Identity) -> str:
    return (identity.start_iso or "")[11:19]


def _counted(counts: Counter[str]) -> str:
    many = [value for value in counts if value != "missing"]
    if len(many) > MOST_VALUES and 2 * len(many) > counts.total():
        # Times differ in nearly every file: only where they begin and end is of interest.
        gone = f", missing × {counts['missing']}" if "missing" in counts else ""
        return f"{len(many)} different values from {min(many)} to {max(many)}{gone}"
    shown = [f"{value} × {n}" for value, n in counts.most_common(MOST_VALUES)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f", and {more} more values" if more > 0 else "")


def as_data(check: ProfileCheck) -> dict[str, Any]:
    """Return a check as data for JSON."""

    def of_file(file: CheckedFile) -> dict[str, Any]:
        i = file.identity
        return {
            "path": shown_path(file.path),
            "status": "refused" if i is None else "read",
            "type": i and i.obs_type,
            "band": i and i.band,
            "night": i and i.night,
            "scan": i and i.scan,
            "start": i and i.start_iso,
            "frames": i and i.n_frames,
            "reason": file.reason,
            "hint": file.hint,
            "cards": {n: v if isinstance(v, str | int | float | None) else str(v) for n, v in file.cards.items()},
        }

    sequences = [
        {
            "night": s.night,
            "band": s.band,
            "type": s.obs_type,
            "scan": s.scan,
            "files": [str(i.path) for i in s.files],
            "frames": sum(i.n_frames for i in s.files),
            "blocks": block_words(s, check) if s.obs_type == "scan" else "",
        }
        for s in check.sequences
    ]
    return {
        "profile": check.profile.name,
        "files": [of_file(f) for f in check.files],
        "sequences": sequences,
        "values": {name: dict(counts.most_common()) for name, counts in check.values().items()},
        "notes": list(check.notes()),
    }
