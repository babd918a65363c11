"""The report of a night: one file that needs no other, on screen and on paper."""

from __future__ import annotations

from datetime import UTC, datetime

from calib import __version__
from calib.archive.versions import versions
from calib.regions import quadrant_names
from monitor.collect import Collector, Snapshot
from monitor.collect_series import worst
from monitor.components.html import Safe, join
from monitor.compute import BandHealth
from monitor.compute_alerts import OpenAlert
from monitor.compute_scan import number
from monitor.palette import STATES
from monitor.report.facts import NightFacts, days_before, night_facts
from monitor.report.figures import Panel, panel_svg
from monitor.report.maps import maps_html
from monitor.report.provenance import decisions_html, provenance_html
from monitor.report.scans import scans_html
from monitor.report.style import CSS
from monitor.report.tables import mark, minus, section
from monitor.report.verdicts import verdicts_html
from monitor.shell import age_words, work_words

__all__ = ["report_html"]

SPAN_NIGHTS, FEWEST_NIGHTS = 60, 10
# Scans named with an alert; more are counted.
_SCANS_NAMED = 12


def report_html(collector: Collector, snapshot: Snapshot, night: str) -> str:
    """Return a night's report: a whole HTML page without a script, whose pictures and styles are all within it.

    Parameters
    ----------
    collector : Collector
        Of the archive.
    snapshot : Snapshot
        The tables as they are to be reported.
    night : str
        ISO date. Of a night in which nothing was taken the report says just that.

    Returns
    -------
    str
        What came out of headers, profiles and decisions is text in it, never markup.
    """
    facts = night_facts(snapshot, night)
    read = snapshot.profile.responsivity.read
    body = join(
        (
            _heading(collector, snapshot, facts),
            section("bands", "Bands", "", join(_band(h) for h in facts.health)),
            section(
                "alerts",
                "Open alerts",
                _ALERTS_NOTE if facts.alerts else "",
                _alerts(snapshot, facts),
            ),
            section("verdicts", "Accepted and rejected", "", verdicts_html(collector, snapshot, night)),
            section("maps", "Maps", "", maps_html(collector, snapshot, night)),
            section(
                "deviations",
                "Deviations from the reference",
                f"The {SPAN_NIGHTS} nights to this one. Dark: level of the array in {read}; flat: the quadrant that "
                "deviates most. Error bars are 1 σ.",
                _LEGEND,
                Safe('<div class="panels">{}</div>').format(join(_panels(snapshot, night))),
            ),
            section("scans", "Scans", "", scans_html(collector, snapshot, night)),
            section("decisions", "Decisions", "", decisions_html(snapshot, night)),
            section("provenance", "Provenance", "", provenance_html(collector, snapshot, night)),
        )
    )
    return str(
        Safe(
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{0} · {1} · Vesper</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            # Nothing may be fetched and nothing may run, whatever got into it.
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "style-src 'unsafe-inline'; img-src data:\">"
            '<link rel="icon" href="data:,"><style>{2}</style></head>\n<body><main>{3}</main></body></html>\n'
        ).format(night, snapshot.profile.name, Safe(CSS.replace("NIGHT", night)), body)
    )


_ALERTS_NOTE = (
    "Worst first. The effect is the largest error of a magnitude that the calibration leaves in a scan, in "
    "millimagnitudes (mmag)."
)

_LEGEND = Safe(
    '<p class="legend"><span><b class="good">●</b> accepted</span><span><b class="bad">✕</b> rejected</span>'
    '<span><b>◯</b> this night</span><span><i class="w"></i> watch</span><span><i class="d"></i> drift</span>'
    '<span><i class="p"></i> another hardware period</span></p>'
)


def _heading(collector: Collector, snapshot: Snapshot, facts: NightFacts) -> Safe:
    profile, signed = snapshot.profile, facts.signed
    version = next((v for v in reversed(versions(collector.archive)) if v.hash == profile.hash), None)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    who = mark("unknown", "not signed")
    if signed:
        why = f": {signed.remark}" if signed.remark else ""
        who = mark("accepted", f"signed off by {signed.by} on {signed.time[:16].replace('T', ' ')} UTC{why}")
        if signed.changed:
            who += Safe("<br>{}").format(mark("watch", "the night no longer shows what was signed"))
    lines = [
        ("instrument", f"{profile.name}: {profile.title}" if profile.title else profile.name),
        (
            "profile",
            Safe("{}<code>{}</code>").format(f"version {version.number}, " if version else "", profile.hash[:16]),
        ),
        ("site", f"{profile.site.name}, local time is UTC {minus(f'{profile.site.utc_offset_hours:+g}')} h"),
        ("sign-off", who),
        ("made", f"{made} by Vesper {__version__}"),
    ]
    newest, stale = age_words(snapshot.nights[-1], profile.site.utc_offset_hours) if snapshot.nights else ("", False)
    if stale and facts.night >= snapshot.nights[-1]:
        lines.append(("age", Safe('<span class="watch">{}</span>').format(newest)))
    if work := work_words(snapshot.activity.since):
        lines.append(("now", mark("pending", f"{work}: what it has yet to do is not in this report")))
    state = facts.state
    return Safe(
        '<header><p class="brand">Vesper <span>night report</span></p><h1>Night {}</h1>'
        '<p class="overall {}"><span>Worst of the night:</span> <b><span aria-hidden="true">{}</span> {}</b> <span>· {}'
        '</span></p><dl class="facts">{}</dl></header>'
    ).format(
        facts.night,
        state.name,
        state.sign,
        state.word,
        facts.alert_words,
        join(Safe("<div><dt>{}</dt><dd>{}</dd></div>").format(k, v) for k, v in lines),
    )


def _band(health: BandHealth) -> Safe:
    badges = [
        Safe('<tr><th scope="row">{}</th><td>{}</td><td class="n">{} <small>{}</small></td><td>{}</td></tr>').format(
            b.subject, mark(b.state), b.number or "–", b.unit, b.words
        )
        for b in health.badges
    ]
    return Safe(
        '<article class="band {0}"><h3><span class="{0}" aria-hidden="true">{1}</span> {2}</h3>'
        '<table aria-label="{3}, its five subjects"><tbody>{4}</tbody></table></article>'
    ).format(health.worst, STATES[health.worst].sign, health.sentence, health.band, join(badges))


def _alerts(snapshot: Snapshot, facts: NightFacts) -> Safe:
    if not facts.alerts:
        if snapshot.activity.since:
            words = "No open alert so far; the run at work has yet to judge what is new."
            return Safe('<p class="empty">{}</p>').format(mark("pending", words))
        if all(b.state in ("unknown", "notrun") for h in facts.health for b in h.badges):
            return Safe('<p class="empty">{}</p>').format(
                mark("unknown", "No open alert, and nothing of this night was judged.")
            )
        return Safe('<p class="empty">{}</p>').format(mark("good", "No open alert."))
    return Safe('<ul class="alerts">{}</ul>').format(join(_alert(a) for a in facts.alerts))


def _alert(a: OpenAlert) -> Safe:
    row = a.row
    limit = "" if row["limit"] is None else f"{row['limit']:g} {row['unit']}".strip()
    effect = "" if row["effect_mmag"] is None else f"{number(row['effect_mmag'], 2)} mmag"
    told = (
        ("since", row["since"] or row["night"]),
        ("size", _size(a)),
        ("limit", limit),
        ("scans", _scans(a)),
        ("largest effect", effect if a.n_scans else ""),
    )
    pairs = join(Safe("<span><i>{}</i> {}</span> ").format(k, v) for k, v in told if v)
    return Safe('<li><div>{}</div><div><p>{}</p><p class="note">{}</p><p class="told">{}</p></div></li>').format(
        mark(a.state, a.word), a.text, a.standing, pairs
    )


def _size(a: OpenAlert) -> str:
    value, error = a.row["value"], a.row["error"]
    if value is None or a.row["product"] == "scans":
        return ""
    if a.row["unit"] in ("px", "nights"):
        return f"{int(value)} {a.row['unit']}"
    text = number(value, 3, sign=True) + (f" ± {number(error, 2)}" if error else "")
    return f"{text} {a.row['unit']}".strip()


def _scans(a: OpenAlert) -> str:
    """Return how many scans suffer, and the last of them by night and number."""
    if not a.n_scans:
        return ""
    nights: dict[str, list[str]] = {}
    for night, scan in a.scans[-_SCANS_NAMED:]:
        nights.setdefault(night, []).append(str(scan))
    named = "; ".join(f"{n} no. {', '.join(s)}" for n, s in nights.items())
    return f"{a.n_scans}: {'… ' if a.n_scans > _SCANS_NAMED else ''}{named}"


def _panels(snapshot: Snapshot, night: str) -> list[Safe]:
    read = snapshot.profile.responsivity.read
    quadrants = quadrant_names(snapshot.profile.detector.quadrants)
    first = days_before(night, SPAN_NIGHTS)
    if snapshot.nights:
        # On an axis of a few nights every date would be the same.
        first = min(max(first, snapshot.nights[0]), days_before(night, FEWEST_NIGHTS))
    metrics, drift = snapshot.metrics, snapshot.profile.drift
    drawn = []
    for band in snapshot.bands:
        starts = [n for n, b in snapshot.periods if b in ("", band)]
        dark = metrics.series(band, f"dark {read}").between(first, night)
        flat = worst(metrics.series(band, "responsivity", region=q).between(first, night) for q in quadrants)
        for title, unit, digits, limits, series, verdicts in (
            (f"{band} dark {read}", "DN", 1, drift.dark_dn[read], dark, snapshot.verdicts(band, read)),
            (f"{band} flat", "%", 2, drift.responsivity_percent, flat, snapshot.verdicts(band)),
        ):
            drawn.append(panel_svg(Panel(title, unit, digits, limits, series, verdicts, first, night, starts)))
    return drawn
