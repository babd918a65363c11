"""Consequences in words, for the page and the shell alike."""

from __future__ import annotations

from collections import Counter

from calib.consequences import Change, Consequences, Flip

__all__ = ["change_words", "consequences_lines", "flip_words", "summary_lines"]


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def change_words(change: Change) -> str:
    """Return how much a standard would change, quadrant by quadrant."""
    digits = 2 if change.unit == "%" else 1
    parts = ", ".join(
        f"Q{k} {value:+.{digits}f}".replace("-", "−") if value == value else f"Q{k} unknown"
        for k, value in enumerate(change.quadrants, start=1)
    )
    return f"{change.product} of {change.night} {change.band}: {parts} {change.unit}"


def flip_words(flip: Flip) -> str:
    """Return which verdict would be another."""
    place = "".join(f" {n} {v}" for n, v in (("scan", flip.scan), ("block", flip.block)) if v is not None)
    cause = f" ({flip.cause})" if flip.cause else ""
    return f"{flip.night} {flip.band} {flip.product}{place}: {flip.before} → {flip.after}{cause}"


def summary_lines(found: Consequences) -> list[str]:
    """Return the consequences counted, the weightiest first; one line if there are none."""
    if found.nothing:
        return ["nothing that is computed would change"]
    lines = []
    if found.flips:
        kinds = Counter(f"{f.before} → {f.after}" for f in found.flips)
        verb = "flips" if len(found.flips) == 1 else "flip"
        lines.append(f"{_many(len(found.flips), 'verdict')} {verb}: " + ", ".join(f"{n} {k}" for k, n in kinds.items()))
    if found.canonicals:
        sizes = [c.largest for c in found.changes if c.product == "canonical"]
        known = max((s for s in sizes if s == s), default=None)
        most = f", a quadrant by {known:.2f} % at most" if known is not None else ""
        verb = "changes" if len(found.canonicals) == 1 else "change"
        lines.append(f"{_many(len(found.canonicals), 'canonical')} {verb}{most}")
    if found.remade:
        nights = _many(len(found.remade), "responsivity").replace("responsivitys", "responsivities")
        lines.append(f"{nights} made anew with another dark; verdicts on them are settled then")
    if found.own_frames:
        whose = "gets back the sky offset of its" if found.own_frames == 1 else "get back the sky offset of their"
        lines.append(f"{_many(found.own_frames, 'frame')} {whose} own block")
    if found.frames:
        verb = "receives" if found.frames == 1 else "receive"
        lines.append(f"{_many(found.frames, 'frame')} {verb} the sky offset of another block")
    if found.scans:
        verb = "needs" if len(found.scans) == 1 else "need"
        lines.append(f"{_many(len(found.scans), 'scan')} {verb} to be calibrated again")
    if found.lost:
        lines.append(f"{_many(len(found.lost), 'scan')} of them can no longer be calibrated: nothing usable is left")
    return lines


def consequences_lines(found: Consequences) -> list[str]:
    """Return the consequences in full: counted, then one by one."""
    lines = summary_lines(found)
    lines += [f"  {change_words(c)}" for c in found.changes]
    lines += [f"  {flip_words(f)}" for f in found.flips]
    lines += [f"  {night} {band} scan {scan}: needs to be calibrated again" for night, band, scan in found.scans]
    return lines
