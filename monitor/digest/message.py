"""A digest as text, as HTML for mail programs, as an e-mail, and as JSON."""

from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime
from typing import Any

from monitor.components.html import Safe, join
from monitor.digest.config import EmailSettings, address_of
from monitor.digest.summary import Summary
from monitor.palette import STATES, theme

__all__ = ["chat_json", "email_of", "html_of", "text_of"]

# More alerts, or rejected products, than these are counted.
_MOST = 20


def _head(s: Summary) -> list[str]:
    f = s.facts
    signed = _signed(s)
    lines = [f"Night {f.night}, {s.instrument}: {f.state.sign} {f.state.word}; {f.alert_words}; {signed}."]
    if s.at_work:
        lines.append("A run is at work: what it has yet to do is not in this digest.")
    return lines + ([s.stale_words] if s.missing_nights else [])


def _signed(s: Summary) -> str:
    signed = s.facts.signed
    if signed is None:
        return "not signed"
    return f"signed off by {signed.by}" + (", but changed since" if signed.changed else "")


def _alerts(s: Summary) -> list[tuple[str, str, str]]:
    """Return state, text and standing of the open alerts, those of this night first."""
    ordered = sorted(s.facts.alerts, key=lambda a: not a.new)
    return [(a.state, f"{a.word}: {a.text}", a.standing) for a in ordered[:_MOST]]


def _more(n: int) -> str:
    return f"and {n - _MOST} more" if n > _MOST else ""


def text_of(s: Summary) -> str:
    """Return the digest as plain text."""
    lines = [*_head(s), "", *(f"{STATES[h.worst].sign} {h.sentence}" for h in s.facts.health)]
    if s.rejected:
        lines += ["", "Rejected", *(f"- {r.words}" for r in s.rejected[:_MOST])]
        lines += [m] if (m := _more(len(s.rejected))) else []
    if s.facts.alerts:
        lines += ["", "Open alerts", *(f"- {text} ({standing})" for _, text, standing in _alerts(s))]
        lines += [m] if (m := _more(len(s.facts.alerts))) else []
    if s.url:
        lines += ["", s.url]
    # What came out of headers may hold line breaks; here a line is a line.
    return "\n".join(" ".join(line.split()) for line in lines) + "\n"


def html_of(s: Summary) -> str:
    """Return the digest as HTML that mail programs show: styles at the elements, no picture, nothing to fetch."""
    t = theme(False)
    state = s.facts.state

    def items(title: str, rows: list[Safe], more: str) -> Safe:
        if not rows:
            return Safe("")
        tail = Safe('<p style="color:{}">{}</p>').format(t.muted, more) if more else ""
        return Safe(
            '<h2 style="font-size:15px;margin:18px 0 4px">{}</h2><ul style="margin:0;padding-left:20px">{}</ul>{}'
        ).format(title, join(rows), tail)

    bands = [
        Safe('<p style="margin:3px 0"><b style="color:{}">{}</b> {}</p>').format(
            t.state(h.worst), STATES[h.worst].sign, h.sentence
        )
        for h in s.facts.health
    ]
    rejected = [Safe('<li style="margin:2px 0">{}</li>').format(r.words) for r in s.rejected[:_MOST]]
    alerts = [
        Safe(
            '<li style="margin:3px 0"><b style="color:{}">{}</b> {}<br><small style="color:{}">{}</small></li>'
        ).format(t.state(name), STATES[name].sign, text, t.muted, standing)
        for name, text, standing in _alerts(s)
    ]
    notes = [Safe('<p style="margin:3px 0">{}</p>').format(line) for line in _head(s)[1:]]
    link = Safe('<p style="margin:18px 0 0"><a href="{0}">{0}</a></p>').format(s.url) if s.url else ""
    signed = _signed(s)
    return str(
        Safe(
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{}</title></head><body style="margin:0;'
            'padding:16px;font:14px/1.45 Arial,sans-serif;color:{};background:{}"><h1 style="font-size:19px;margin:0">'
            'Night {}</h1><p style="margin:2px 0 12px"><b style="color:{}">{} {}</b> · {} · {} · {}</p>{}{}{}{}{}'
            "</body></html>"
        ).format(
            s.subject,
            t.ink,
            t.panel,
            s.facts.night,
            t.state(state.name),
            state.sign,
            state.word,
            s.facts.alert_words,
            signed,
            s.instrument,
            join(notes),
            join(bands),
            items("Rejected", rejected, _more(len(s.rejected))),
            items("Open alerts", alerts, _more(len(s.facts.alerts))),
            link,
        )
    )


def email_of(s: Summary, settings: EmailSettings, report: str) -> EmailMessage:
    """Return the digest as an e-mail with the night's report attached."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = " ".join(s.subject.split())[:200]
    message["From"] = _mailbox(settings.sender)
    message["To"] = [_mailbox(r) for r in settings.recipients]
    message["Date"] = format_datetime(localtime())
    # Two attempts at the same digest are the same message to whoever sorts them.
    message["Message-ID"] = f"<{s.facts.night}.{s.fingerprint}@{address_of(settings.sender).split('@')[1]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text_of(s))
    message.add_alternative(html_of(s), subtype="html")
    message.add_attachment(report.encode(), maintype="text", subtype="html", filename=f"vesper-{s.facts.night}.html")
    return message


def _mailbox(text: str) -> Address:
    address = address_of(text)
    return Address(text.removesuffix(f"<{address}>").strip() if text != address else "", addr_spec=address)


def chat_json(s: Summary) -> dict[str, Any]:
    """Return the digest as the JSON of a webhook; ``text`` is what chat services show."""
    return {**s.content, "fingerprint": s.fingerprint, "url": s.url, "text": _for_chat(text_of(s))}


def _for_chat(text: str) -> str:
    """Take from a text what chat services take for a command: tags in angle brackets, and calls by @name."""
    return text.replace("&", "＆").replace("<", "‹").replace(">", "›").replace("@", "@\u200b")
