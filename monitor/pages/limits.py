"""Limits: what every check allows today, for each band and read; moving them is not yet possible here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from calib.checks import CHECKS, Check
from calib.profile import DriftLimits, Profile
from monitor.address import View
from monitor.collect import Snapshot
from monitor.components.html import Html, Safe, join
from monitor.components.tables import NOTHING, Cell, Column, table_html
from monitor.session import Session

__all__ = ["build", "overrides"]

SUBJECTS = {"dark": "Darks", "flat": "Flats", "sky_offset": "Sky offsets"}


def build(session: Session) -> Limits:
    """Return the page for a session."""
    return Limits(session)


class Limits:
    """The limits of the profile that the archive is calibrated with."""

    def __init__(self, session: Session) -> None:
        self.keys: dict[str, Callable[[], None]] = {}
        self.panel = self._html = Html(on={"go": session._follow}, css=CSS)

    def show(self, view: View, snapshot: Snapshot) -> None:
        """Bring the page to the current profile."""
        profile = snapshot.profile
        tables = [_subject(profile, subject) for subject in SUBJECTS]
        self._html.html = str(
            Safe(
                '<section class="card head"><h1>Limits</h1><p>Profile <b>{}</b> <span class="muted">{}, version {}'
                "</span>. A value at its limit still passes; what could not be measured never does. Here the limits "
                "are shown as they stand. Moving one, and seeing which verdicts would flip, comes later; until then "
                "change the profile and run <code>calib run</code> again.</p></section>"
                '<div class="tables">{}{}</div>'
            ).format(profile.name, profile.title, profile.hash[:10], join(tables), _drift(profile))
        )


def overrides(profile: Profile, check: Check) -> list[tuple[str, float]]:
    """Return the limits of a check that a band or read has for itself, bands first."""
    table = profile.limits[check.subject][check.name]
    return [(name, table[name]) for name in (*profile.bands, *profile.reads) if name in table]


_SUBJECT = (
    Column("check", "name", lead=True),
    Column("what is measured"),
    Column("passes", "n nowrap"),
    Column("own limit of a band or read", "nowrap"),
    Column("cause named when it fails"),
)
_DRIFT = (
    Column("what", "name", lead=True),
    Column("what is measured"),
    Column("watch from", "n nowrap"),
    Column("drift from", "n nowrap"),
)


def _subject(profile: Profile, subject: str) -> Safe:
    rows = []
    for c in CHECKS:
        if c.subject != subject:
            continue
        sign = "≥" if c.bound == "min" else "≤"
        unit = f" {c.unit}" if c.unit else ""
        own = ", ".join(f"{name}: {sign} {_plain(v)}{unit}" for name, v in overrides(profile, c))
        passes = f"{sign} {_plain(profile.limits[subject][c.name][c.bound])}{unit}"
        rows.append((c.name.replace("2pct", "2 %").replace("_", " "), c.meaning, passes, own or NOTHING, c.cause))
    return _card(SUBJECTS[subject], "a verdict is the outcome of all of them", _SUBJECT, rows)


def _drift(profile: Profile) -> Safe:
    d = profile.drift
    kinds: list[tuple[str, str, DriftLimits]] = [(f"dark {r}, level", "DN", d.dark_dn[r]) for r in profile.reads]
    kinds += [
        ("responsivity", "%", d.responsivity_percent),
        ("noise", "%", d.noise_percent),
        ("gain", "%", d.gain_percent),
    ]
    rows: list[tuple[Any, ...]] = [
        (
            name,
            "deviation from the reference",
            Cell(f"▲ {_plain(limits.watch)} {unit}", "watch"),
            Cell(f"✕ {_plain(limits.drift)} {unit}", "bad"),
        )
        for name, unit, limits in kinds
    ]
    meaning = "change of the level since the dark before: alert, and a hardware period is proposed"
    rows += [
        (f"dark {r}, jump", meaning, NOTHING, Cell(f"✕ {_plain(profile.dark.level_jump_dn[r])} DN", "bad"))
        for r in profile.reads
    ]
    return _card("Drift", f"each state also needs a significance of {_plain(d.significance)} σ", _DRIFT, rows)


def _card(title: str, note: str, columns: tuple[Column, ...], rows: Iterable[tuple[Any, ...]]) -> Safe:
    return Safe('<section class="card"><h2>{} <span class="muted">{}</span></h2>{}</section>').format(
        title, note, table_html(f"limits: {title}", columns, (("", r) for r in rows))
    )


def _plain(value: Any) -> str:
    return f"{value:g}".replace("-", "−")


CSS = """
.tables { display: grid; grid-template-columns: minmax(0, 1fr); gap: 12px; margin-top: 12px; }
.head p { margin: 8px 0 0; max-width: 900px; }
.wide-table { margin-top: 6px; } .wide-table table { min-width: 760px; }
td { font-size: 13px; } .name { font-weight: 600; white-space: nowrap; } .nowrap { white-space: nowrap; }
code { background: var(--ground); border-radius: 4px; padding: 1px 4px; }
h2 .muted { font-weight: 400; font-size: 13px; }
"""
