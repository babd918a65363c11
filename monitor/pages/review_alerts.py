"""The open alerts of a night on Review: what, since when, what people said, and what to do about it."""

from __future__ import annotations

from monitor.address import View, search
from monitor.collect import Row, Snapshot
from monitor.components.html import Safe, join
from monitor.compute_alerts import OpenAlert, open_alerts
from monitor.palette import STATES

__all__ = ["ALERTS_CSS", "alert_of", "alerts_html"]

_KEY = ("night", "band", "product", "region", "metric")
# Parts of a key are words of the tables; none holds this sign.
_BETWEEN = "|"


def alert_of(snapshot: Snapshot, value: str) -> Row | None:
    """Return the row of the alert that a button stands for; None if there is none any more."""
    a = snapshot.alerts
    parts = value.split(_BETWEEN)
    if len(parts) != len(_KEY):
        return None
    for name, part in zip(_KEY, parts, strict=True):
        a = a[a[name] == part]
    return {str(k): v for k, v in a.iloc[0].items()} if len(a) else None


def alerts_html(snapshot: Snapshot, night: str, may_decide: bool = False) -> Safe:
    """Return the alerts that are open in a night, worst first, with buttons for those who may decide."""
    found = open_alerts(snapshot, night)
    rows = [_row(a, night, may_decide) for a in found]
    body = (
        Safe('<ul data-scroll="alerts" data-more="more" tabindex="0" aria-label="open alerts">{}</ul>').format(
            join(rows)
        )
        if rows
        else Safe('<div class="empty">{}</div>').format(
            # A night that is still in work may raise one yet.
            "… No open alert so far; the run at work has yet to judge what is new."
            if snapshot.activity.since
            else "✓ No open alert."
        )
    )
    more = Safe('<p class="more muted" aria-hidden="true"></p>') if len(rows) > 1 else ""
    # Sizes and scans are those of today, also where the night is long past.
    last = snapshot.nights[-1] if snapshot.nights else night
    known = f", as known after {last}" if rows and night < last else ""
    return Safe(
        '<section class="card alerts"><h2>Open alerts <span class="muted">{}{}</span></h2>{}{}</section>'
    ).format(len(rows) or "", known, body, more)


def _row(alert: OpenAlert, night: str, may_decide: bool) -> Safe:
    r = alert.row
    page = "scans" if r["product"] == "scans" else "trends"
    target = search(
        View(
            page=page,
            night=r["night"] if page == "scans" else night,
            band=r["band"],
            product="" if page == "scans" else r["product"],
            region=r["region"],
        )
    )
    return Safe(
        '<li class="{}"><span class="sign" aria-hidden="true">{}</span><div><a data-nav href="{}">{}</a>'
        '<div class="muted">{} · {}{}</div></div></li>'
    ).format(
        alert.state,
        STATES[alert.state].sign,
        target,
        alert.text,
        alert.word,
        alert.standing,
        _buttons(alert) if may_decide else "",
    )


def _buttons(alert: OpenAlert) -> Safe:
    r = alert.row
    key = _BETWEEN.join(str(r[n]) for n in _KEY)
    acts = []
    if r["metric"] != "hardware period":
        acts = (
            [("resolve", "Resolve")]
            if alert.acknowledged_by
            else [("acknowledge", "Acknowledge"), ("resolve", "Resolve")]
        )
    if r["proposal"] and not (r["metric"] == "hardware period" and alert.over):
        acts.append(("period", "Start period"))
    if r["metric"] == "hardware period":
        acts.append(("dismiss", "Dismiss"))
    name = f"{r['night']} {r['band']} {r['product']} {r['region']} {r['metric']}"
    return Safe('<span class="acts">{}</span>').format(
        join(
            Safe('<button id="{0}-{1}" data-act="{0}" data-value="{1}" aria-label="{2}: {3}">{2}</button>').format(
                act, key, words, name
            )
            for act, words in acts
        )
    )


ALERTS_CSS = """
.alerts { height: 338px; display: flex; flex-direction: column; }
ul { list-style: none; margin: 8px 0 0; padding: 0; overflow: auto; flex: 1; }
li { display: flex; gap: 8px; padding: 7px 0; border-bottom: 1px solid var(--line); font-size: 13px; }
li > div { flex: 1; min-width: 0; }
li a { color: var(--ink); } li .muted { font-size: 12px; }
.sign { font-weight: 700; }
.acts { float: right; display: inline-flex; gap: 6px; }
.acts button { padding: 0 8px; min-height: 24px; font-size: 12px; color: var(--accent); background: none; }
.more { margin: 6px 0 0; font-size: 12px; } .more:empty { display: none; }
@media (max-width: 700px) { .alerts { height: auto; max-height: 420px; } .acts { float: none; display: flex; } }
"""
