"""The way of a digest: from the archive to every channel that is configured, each served whatever befalls the other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from monitor.collect import Collector
from monitor.digest.config import DigestConfig, DigestError, load_config
from monitor.digest.mail import send_email
from monitor.digest.memory import Memory
from monitor.digest.message import chat_json, email_of, text_of
from monitor.digest.summary import Summary, summarise
from monitor.digest.webhook import post
from monitor.report import find_night, report_html

__all__ = ["run_digest"]

_LEVELS = {"always": 0, "watch": 1, "drift": 2}

Say = Callable[[str], None]


def run_digest(
    root: Path,
    night: str,
    config_file: Path | None,
    *,
    again: bool = False,
    dry_run: bool = False,
    say: Say = print,
    complain: Say = print,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Send the digest of a night; return whether all went well.

    Parameters
    ----------
    root : Path
        The archive.
    night : str
        ISO date, or ``latest``.
    config_file : Path or None
        Where to send it; needed unless it is only shown.
    again : bool
        Send it although it was sent before.
    dry_run : bool
        Show what would be sent; nothing is sent or remembered.
    say, complain : callable
        Take a line of what was done, and of what went wrong.

    Raises
    ------
    CalibError
        If there is no such archive, night or configuration.
    """
    if config_file is None and not dry_run:
        raise DigestError("nothing says where to send it: name a file with --config, or look with --dry-run")
    config = None if config_file is None else load_config(config_file)
    collector = Collector(root)
    try:
        snapshot = collector.snapshot()
        found = find_night(collector, snapshot, night)
        summary = summarise(
            collector,
            snapshot,
            found,
            latest=night == "latest",
            stale_after=config.stale_after_nights if config else 1,
            page_url=config.page_url if config else None,
        )
        report = report_html(collector, snapshot, found)
    finally:
        collector.archive.close()
    if dry_run:
        say(_preview(summary, config, report))
        return True
    assert config is not None
    if summary.level < _LEVELS[config.only_when]:
        say(f'nothing sent: {summary.subject} (only_when = "{config.only_when}")')
        return True
    return _serve(summary, config, report, str(collector.root), again=again, say=say, complain=complain, sleep=sleep)


def _serve(
    summary: Summary,
    config: DigestConfig,
    report: str,
    root: str,
    *,
    again: bool,
    say: Say,
    complain: Say,
    sleep: Callable[[float], None],
) -> bool:
    memory = Memory(config.state_file)
    if memory.trouble:
        complain(memory.trouble)
    well = True
    channels: list[tuple[str, Callable[[], str]]] = []
    if (email := config.email) is not None:
        channels.append(("e-mail", lambda: send_email(email, email_of(summary, email, report), sleep=sleep)))
    if (webhook := config.webhook) is not None:

        def posted() -> str:
            post(webhook, chat_json(summary), summary.fingerprint, sleep=sleep)
            return ""

        channels.append(("webhook", posted))
    for name, send in channels:
        key = f"{name} {root} {summary.facts.night}"
        if not again and memory.knows(key, summary.fingerprint):
            say(f"{name}: nothing new since the last digest of {summary.facts.night}; --again sends it once more")
            continue
        try:
            remark = send()
            say(f"{name}: sent: {summary.subject}")
            if remark:
                well = False
                complain(f"{name}: {remark}")
            memory.keep(key, summary.fingerprint)
        except DigestError as error:
            well = False
            complain(f"{name}: {error}")
    return well


def _preview(summary: Summary, config: DigestConfig | None, report: str) -> str:
    """Return what would be sent, with no secret in it."""
    lines = []
    if config is None:
        lines += [f"Subject: {summary.subject}", "", text_of(summary)]
    elif summary.level < _LEVELS[config.only_when]:
        lines.append(f'nothing would be sent: only_when = "{config.only_when}"\n')
    if config is not None and config.email is not None:
        message = email_of(summary, config.email, report)
        host, port = config.email.at
        lines.append(f"e-mail by {host}:{port} ({config.email.security})")
        lines += [f"{n}: {message[n]}" for n in ("From", "To", "Subject", "Message-ID")]
        lines.append(f"attached: vesper-{summary.facts.night}.html, {len(report.encode()) / 1024:.0f} kB")
        lines += ["", text_of(summary)]
    if config is not None and config.webhook is not None:
        data = json.dumps(chat_json(summary), ensure_ascii=False, indent=1)
        lines += [f"POST to {config.webhook.name}", data]
    return "\n".join(lines)
