"""The morning digest: what it says, and that it reaches e-mail and webhook, or says in a sentence why not."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mail_server import Hooks, Mails, make_certificate
from small_camera import Night

from calib.archive.database import Archive
from calib.archive.decisions import decide
from monitor.cli import main
from monitor.collect import Collector
from monitor.collect_activity import Activity
from monitor.compute import band_health
from monitor.compute_alerts import open_alerts
from monitor.digest import DigestError, load_config, run_digest
from monitor.digest.config import EmailSettings
from monitor.digest.message import chat_json, email_of, html_of, text_of
from monitor.digest.summary import Summary, summarise


@pytest.fixture(autouse=True)
def nothing_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection but to this machine."""
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> None:
        assert address[0] == "127.0.0.1", address
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def collector(faulty: Night) -> Iterator[Collector]:
    opened = Collector(faulty.root)
    yield opened
    opened.archive.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One for this machine, one for another."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    return {
        "good": make_certificate(folder / "good.pem", "IP:127.0.0.1"),
        "other": make_certificate(folder / "other.pem", "DNS:mail.example.org"),
    }


@dataclass
class Sender:
    """Sends digests of an archive by a file of settings, and keeps what was said."""

    root: Path
    folder: Path
    said: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def settings(self, text: str) -> Path:
        path = self.folder / "digest.toml"
        path.write_text(text, "utf-8")
        return path

    def send(self, text: str, night: str = "latest", **options: Any) -> bool:
        self.said.clear()
        self.complaints.clear()
        self.pauses.clear()
        return run_digest(
            self.root,
            night,
            self.settings(text),
            say=self.said.append,
            complain=self.complaints.append,
            sleep=self.pauses.append,
            **options,
        )


@pytest.fixture
def sender(faulty: Night, tmp_path: Path) -> Sender:
    return Sender(faulty.root, tmp_path)


def email(
    mails: Mails, *more: str, security: str = "none", to: str = '"Ada <ada@example.org>", "bob@example.org"'
) -> str:
    lines = ["[email]", 'host = "127.0.0.1"', f"port = {mails.port}", f'security = "{security}"', "timeout_s = 5"]
    lines += [
        'sender = "Vesper <vesper@example.org>"',
        'recipients = ["Ada <ada@example.org>", "bob@example.org"]',
        *more,
    ]
    return "\n".join(lines) + "\n"


def webhook(hooks: Hooks, timeout_s: float = 5) -> str:
    return f'[webhook]\nurl = "{hooks.url}"\ntimeout_s = {timeout_s}\n'


# What it says --------------------------------------------------------------------------------------------------------


def test_it_says_what_review_says(faulty: Night, collector: Collector) -> None:
    snapshot, night = collector.snapshot(), faulty.date(4)
    page = "http://vesper.local:5006/"
    summary = summarise(collector, snapshot, night, page_url=page, now=datetime(1999, 5, 6, 17, tzinfo=UTC))
    text, data = text_of(summary), chat_json(summary)
    for band, told in zip(snapshot.bands, data["bands"], strict=True):
        health = band_health(snapshot, night, band)
        assert f" {health.sentence}\n" in text
        assert told["sentence"] == health.sentence
        assert [(b["subject"], b["number"], b["unit"], b["words"]) for b in told["badges"]] == [
            (b.subject, b.number, b.unit, b.words) for b in health.badges
        ]
    row = snapshot.flat(night, "H")
    assert row is not None
    assert f"- H flat: cloud gradient {row['gradient']:.3g} %\n" in text
    alerts = open_alerts(snapshot, night)
    assert len(data["alerts"]) == len(alerts) > 0
    for alert in alerts:
        assert f"{alert.text} ({alert.standing})" in text
    assert text.endswith(f"\n{page}?page=review&night={night}\n")
    assert summary.subject.startswith(f"Vesper {night}: ")
    assert data["subject"] == summary.subject
    assert not data["stale"]
    assert set(data) == {
        *("version", "night", "instrument", "state", "subject", "stale", "at_work", "signed_off", "bands", "alerts"),
        *("rejected", "fingerprint", "url", "text"),
    }
    json.dumps(data)


@pytest.mark.parametrize(("days", "missing"), [(0, 0), (1, 0), (2, 1), (9, 8)])
def test_it_says_that_newer_nights_are_missing(faulty: Night, collector: Collector, days: int, missing: int) -> None:
    night = faulty.date(4)
    now = datetime.fromisoformat(f"{night}T19:00:00+00:00").replace(day=int(night[-2:]) + days)
    summary = summarise(collector, collector.snapshot(), night, now=now)
    assert summary.missing_nights == missing
    assert ("no newer night" in summary.subject) == bool(missing)
    assert ("missing since" in text_of(summary)) == bool(missing)
    # Asked for by its date, a night is as old as it is.
    assert not summarise(collector, collector.snapshot(), night, latest=False, now=now).missing_nights


def test_a_night_without_data_or_run_is_not_quiet(collector: Collector) -> None:
    snapshot = replace(collector.snapshot(), alerts=collector.snapshot().alerts.iloc[:0])
    now = datetime(1999, 6, 2, 17, tzinfo=UTC)
    empty = summarise(collector, snapshot, "1999-06-01", now=now)
    assert (empty.facts.state.word, empty.level) == ("no data", 1)
    waiting = frozenset(("1999-06-01", b, k) for b in ("J", "H", "Ks") for k in ("dark", "twilight", "scan"))
    not_run = summarise(collector, snapshot.during(Activity("", waiting)), "1999-06-01", now=now)
    assert (not_run.facts.state.word, not_run.level) == ("not run", 1)
    at_work = summarise(collector, snapshot.during(Activity("2026-01-01T00:00:00Z", waiting)), "1999-06-01", now=now)
    assert at_work.facts.state.word == "in work"
    assert "A run is at work" in text_of(at_work)
    assert "✓" not in text_of(empty) + text_of(not_run) + text_of(at_work)


EVIL = "<b>\r\nBcc: eve@example.org\r\n\r\n@channel <!here> &"


@pytest.fixture
def evil(faulty: Night, collector: Collector) -> Summary:
    snapshot = collector.snapshot()
    altered = replace(snapshot, alerts=snapshot.alerts.assign(text=EVIL))
    summary = summarise(collector, altered, faulty.date(4), now=datetime(1999, 5, 6, 17, tzinfo=UTC))
    return replace(summary, instrument=EVIL)


def test_text_from_elsewhere_is_never_markup_or_a_command(evil: Summary) -> None:
    assert "<b>\r" not in html_of(evil)
    assert "&lt;!here&gt;" in html_of(evil)
    chat = chat_json(evil)["text"]
    assert not re.search(r"[<>&]|@[a-z]", chat)
    assert "\nBcc:" not in text_of(evil)


def test_no_header_can_be_slipped_in(evil: Summary) -> None:
    class Spoilt(Summary):
        subject = f"Vesper {EVIL}"  # type: ignore[assignment]

    spoilt = Spoilt(**{n: getattr(evil, n) for n in evil.__dataclass_fields__})
    settings = EmailSettings(host="h", sender="v@example.org", recipients=("a@example.org",))
    message = email_of(spoilt, settings, "<html></html>")
    head = message.as_bytes().split(b"\r\n\r\n")[0].decode()
    assert not re.search(r"^Bcc:", head, re.M)
    assert message["Bcc"] is None
    assert sorted(k.lower() for k in message) == sorted(
        ["subject", "from", "to", "date", "message-id", "auto-submitted", "mime-version", "content-type"]
    )


# Settings ------------------------------------------------------------------------------------------------------------


def test_every_fault_of_the_settings_is_listed_with_its_key_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "digest.toml"
    path.write_text(
        """
        only_when = "sometimes"
        page_url = "vesper.local"
        colour = "red"
        [email]
        host = ""
        port = 99999
        security = "ssl"
        sender = "nobody"
        recipients = ["a@example.org, b@example.org", "c@example.org\\nBcc: d@example.org"]
        [webhook]
        url = "ftp://chat.example.org/SECRET"
        timeout_s = 0
        """,
        "utf-8",
    )
    with pytest.raises(DigestError) as caught:
        load_config(path)
    told = str(caught.value)
    assert "has 11 faults" in told
    for key in ("only_when", "page_url", "colour", "email.host", "email.port", "email.security", "email.sender"):
        assert f"\n  {key}: " in told
    for key in ("email.recipients.0", "email.recipients.1", "webhook.url", "webhook.timeout_s"):
        assert f"\n  {key}: " in told
    assert "SECRET" not in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "neither \\[email\\] nor \\[webhook\\] is given"),
        ("[email", "is no TOML"),
        (
            '[email]\nhost = "h"\nsender = "v@example.org"\nrecipients = ["a@example.org"]\nuser = "u"',
            "user and password_file go together",
        ),
        (
            '[email]\nhost = "h"\nsender = "v@example.org"\nrecipients = ["a@example.org"]\nuser = "u"\n'
            'password_file = "p"\nsecurity = "none"',
            "the password would travel in the clear",
        ),
        ('[email]\nhost = "h"\nsender = "v@example.org"\nrecipients = []', "email.recipients: "),
        ('[webhook]\nurl = "http://chat.example.org:port/"', "webhook.url: "),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "digest.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(DigestError, match=told):
        load_config(path)


def test_paths_in_the_settings_are_relative_to_them(tmp_path: Path) -> None:
    path = tmp_path / "digest.toml"
    path.write_text('state_file = "s.json"\n[webhook]\nurl = "https://chat.example.org/x"', "utf-8")
    assert load_config(path).state_file == tmp_path / "s.json"
    with pytest.raises(DigestError, match="cannot be read"):
        load_config(tmp_path / "none.toml")


# E-mail --------------------------------------------------------------------------------------------------------------


def test_an_email_has_text_html_and_the_report(sender: Sender, faulty: Night) -> None:
    with Mails() as mails:
        assert sender.send(email(mails))
    [(recipients, message)] = mails.got
    night = faulty.date(4)
    assert recipients == ["ada@example.org", "bob@example.org"]
    assert message["To"] == "Ada <ada@example.org>, bob@example.org"
    assert message["From"] == "Vesper <vesper@example.org>"
    assert message["Subject"].startswith(f"Vesper {night}: ")
    body = message.get_body(("plain",))
    assert body is not None
    assert f"Night {night}" in body.get_content()
    assert message.get_body(("html",)) is not None
    [attached] = message.iter_attachments()
    assert attached.get_filename() == f"vesper-{night}.html"
    assert attached.get_content().startswith("<!DOCTYPE html>")
    assert sender.said == [f"e-mail: sent: {message['Subject']}"]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_over_tls_with_a_password(sender: Sender, certificates: dict[str, Path], security: str) -> None:
    (sender.folder / "password").write_text("pass wörd\n", "utf-8")
    more = (f'ca_file = "{certificates["good"]}"', 'user = "vesper"', 'password_file = "password"')
    with Mails(certificates["good"], implicit=security == "tls", password="pass wörd") as mails:
        assert sender.send(email(mails, *more, security=security)), sender.complaints
    assert len(mails.got) == 1
    if security == "starttls":
        assert mails.said.index("STARTTLS") < min(k for k, s in enumerate(mails.said) if s.startswith("AUTH"))


def test_a_wrong_password_is_not_tried_again_nor_shown(sender: Sender, certificates: dict[str, Path]) -> None:
    (sender.folder / "password").write_text("guess", "utf-8")
    more = (f'ca_file = "{certificates["good"]}"', 'user = "vesper"', 'password_file = "password"')
    with Mails(certificates["good"], password="right") as mails:
        assert not sender.send(email(mails, *more, security="starttls"))
    assert not mails.got
    assert mails.connections == 1
    [told] = sender.complaints
    assert "did not let vesper in (code 535); check email.user and email.password_file" in told
    assert "guess" not in told
    assert "\x1b" not in told


@pytest.mark.parametrize(
    ("certificate", "trusted", "implicit", "told"),
    [
        ("other", "other", False, "is not trusted .*mismatch.*; name its authority by email.ca_file, or correct email"),
        ("good", "other", False, "is not trusted .*; name its authority by email.ca_file, or correct email.host"),
        ("good", "", True, "is not trusted .*; name its authority by email.ca_file, or correct email.host"),
        ("", "good", False, "does not offer STARTTLS; check email.security and email.port"),
        ("", "good", True, "no TLS with mail server .*; check email.security and email.port"),
    ],
)
def test_without_a_trusted_tls_nothing_is_said(
    sender: Sender, certificates: dict[str, Path], certificate: str, trusted: str, implicit: bool, told: str
) -> None:
    (sender.folder / "password").write_text("SECRET", "utf-8")
    more = ['user = "vesper"', 'password_file = "password"']
    more += [f'ca_file = "{certificates[trusted]}"'] if trusted else []
    mails = Mails(certificates.get(certificate), implicit=implicit and bool(certificate), password="SECRET")
    with mails:
        assert not sender.send(email(mails, *more, security="tls" if implicit else "starttls"))
    assert re.search(told, sender.complaints[0])
    assert not mails.got
    assert mails.connections == 1
    assert not [s for s in mails.said if s.startswith(("AUTH", "MAIL"))]


def test_one_refused_recipient_does_not_keep_the_others_from_it(sender: Sender) -> None:
    with Mails(refuse={"bob@example.org": "550 no such \x1b[31mbob"}) as mails:
        assert not sender.send(email(mails))
        [(recipients, _)] = mails.got
        assert recipients == ["ada@example.org"]
        [told] = sender.complaints
        assert re.search(r"refused bob@example.org: 550 .*bob; the others got it; check email.recipients", told)
        assert "\x1b" not in told
        # Who got it does not get it again.
        assert sender.send(email(mails))
        assert len(mails.got) == 1


@pytest.mark.parametrize(("answer", "connections"), [("550 no", 1), ("451 later", 3)])
def test_when_all_are_refused_nobody_got_it(sender: Sender, answer: str, connections: int) -> None:
    with Mails(refuse={"ada@example.org": answer, "bob@example.org": answer}) as mails:
        assert not sender.send(email(mails))
    assert not mails.got
    assert mails.connections == connections
    assert "refused every recipient (ada@example.org: " in sender.complaints[0]


@pytest.mark.parametrize(
    ("answers", "pauses"),
    [
        ({"greeting": ["421 busy"]}, [5.0]),
        ({"greeting": ["", "421 busy"]}, [5.0, 10.0]),
        ({"MAIL": ["451 later"]}, [5.0]),
        ({"END": ["452 full"]}, [5.0]),
    ],
)
def test_what_may_pass_is_tried_again(
    sender: Sender, answers: dict[str, list[str | None]], pauses: list[float]
) -> None:
    with Mails(answers=answers) as mails:
        assert sender.send(email(mails)), sender.complaints
    assert sender.pauses == pauses
    identities = {m["Message-ID"] for _, m in mails.got}
    assert len(identities) == 1


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"greeting": ["554 go away"]}, "does not take mail"),
        ({"MAIL": ["550 who"]}, "refused the sender .550 who.; check email.sender"),
        ({"END": ["554 too large"]}, "refused the message .554 too large."),
        ({"END": [""]}, "broke off while it took the message .*; it may have arrived or not"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(sender: Sender, answers: dict[str, list[str | None]], told: str) -> None:
    with Mails(answers=answers) as mails:
        assert not sender.send(email(mails))
    assert re.search(told, sender.complaints[0])
    assert mails.connections == 1
    assert not sender.pauses


@pytest.mark.parametrize(("silent", "connections"), [("greeting", 3), ("EHLO", 3), ("END", 1)])
def test_a_server_that_says_nothing_is_left_in_the_end(sender: Sender, silent: str, connections: int) -> None:
    with Mails(silent=silent) as mails:
        assert not sender.send(email(mails).replace("timeout_s = 5", "timeout_s = 0.3"))
        assert mails.connections == connections
    assert ("did not answer within 0.3 s" in sender.complaints[0]) == (silent != "END")


def test_no_server_at_all(sender: Sender) -> None:
    with Mails() as mails:
        pass
    assert not sender.send(email(mails))
    assert re.search(r"cannot be reached .*; check email.host.* \(3 attempts\)", sender.complaints[0])


# Webhook -------------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_json(sender: Sender, faulty: Night) -> None:
    with Hooks() as hooks:
        assert sender.send(webhook(hooks))
    [(path, headers, data)] = hooks.got
    assert path == "/hooks/SECRET?token=SECRET"
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["Idempotency-Key"] == data["fingerprint"]
    assert data["night"] == faulty.date(4)
    assert data["text"].startswith(f"Night {faulty.date(4)}, ")


@pytest.mark.parametrize(
    ("codes", "well", "posts", "told"),
    [
        ([503, 429], True, 3, ""),
        ([500, 500, 500], False, 3, r"webhook http://127.0.0.1:\d+ answered 500 \(3 attempts\); check webhook.url"),
        ([404], False, 1, r"webhook http://127.0.0.1:\d+ answered 404; check webhook.url"),
        ([302], False, 1, "answered 302; check webhook.url"),
    ],
)
def test_a_webhook_that_does_not_take_it(sender: Sender, codes: list[int], well: bool, posts: int, told: str) -> None:
    with Hooks(codes=codes) as hooks:
        assert sender.send(webhook(hooks)) == well
    assert len(hooks.got) == posts
    assert len({h["Idempotency-Key"] for _, h, _ in hooks.got}) == 1
    if told:
        assert re.search(told, sender.complaints[0])
    assert "SECRET" not in "".join(sender.complaints + sender.said)


def test_a_webhook_that_is_slow_or_gone(sender: Sender) -> None:
    with Hooks(wait_s=0.5) as hooks:
        assert not sender.send(webhook(hooks, 0.1))
        assert "did not answer within 0.1 s (3 attempts)" in sender.complaints[0]
    assert not sender.send(webhook(hooks))
    assert re.search(r"cannot be reached \(.*refused\) \(3 attempts\)", sender.complaints[0])
    assert "SECRET" not in "".join(sender.complaints)


# Together ------------------------------------------------------------------------------------------------------------


def test_one_channel_is_served_when_the_other_fails_and_alone_tried_again(sender: Sender) -> None:
    with Mails() as mails, Hooks(codes=[404]) as hooks:
        assert not sender.send(email(mails) + webhook(hooks))
        assert (len(mails.got), len(hooks.got)) == (1, 1)
        assert sender.send(email(mails) + webhook(hooks))
        assert (len(mails.got), len(hooks.got)) == (1, 2)
        assert "e-mail: nothing new since the last digest" in sender.said[0]
        assert sender.send(email(mails) + webhook(hooks))
        assert (len(mails.got), len(hooks.got)) == (1, 2)


def test_what_is_new_is_sent_and_again_sends_it_once_more(
    faulty: Night, copy_of: Callable[[Night], Night], tmp_path: Path
) -> None:
    own = copy_of(faulty)
    sender = Sender(own.root, tmp_path)
    with Hooks() as hooks:
        assert sender.send(webhook(hooks))
        assert sender.send(webhook(hooks), again=True)
        assert len(hooks.got) == 2
        archive = Archive(own.root)
        decide(archive, who="Ada", kind="sign-off", night=own.date(4), reason="seen")
        archive.close()
        assert sender.send(webhook(hooks))
        assert sender.send(webhook(hooks))
        assert len(hooks.got) == 3
        assert hooks.got[2][2]["signed_off"]["who"] == "Ada"
        # Another night is another digest.
        assert sender.send(webhook(hooks), night=own.date(3))
        assert sender.send(webhook(hooks))
        assert len(hooks.got) == 4


def test_a_memory_that_cannot_be_read_or_written_does_not_keep_it_from_being_sent(sender: Sender) -> None:
    state = sender.folder / "digest.toml.state"
    state.write_text("{")
    with Hooks() as hooks:
        assert sender.send(webhook(hooks))
        assert "cannot be understood" in sender.complaints[0]
        assert json.loads(state.read_text())["sent"]
        nowhere = 'state_file = "none/state"\n' + webhook(hooks)
        assert not sender.send(nowhere)
        assert "sent, but state_file" in sender.complaints[0]
        assert len(hooks.got) == 2
    assert sorted(p.name for p in sender.folder.iterdir()) == ["digest.toml", "digest.toml.state"]


@pytest.mark.parametrize(("ordinal", "only_when", "sent"), [(4, "drift", 1), (4, "watch", 1), (0, "drift", 0)])
def test_quiet_nights_are_left_out_if_so_wished(
    sender: Sender, faulty: Night, ordinal: int, only_when: str, sent: int
) -> None:
    with Hooks() as hooks:
        assert sender.send(f'only_when = "{only_when}"\n' + webhook(hooks), night=faulty.date(ordinal))
    assert len(hooks.got) == sent
    if not sent:
        assert sender.said[0].startswith("nothing sent: ")


def test_the_command(faulty: Night, tmp_path: Path) -> None:
    def call(*arguments: str | Path) -> Any:
        return CliRunner().invoke(main, ["digest", *(str(a) for a in arguments)], prog_name="monitor")

    bare = call("--archive", faulty.root)
    assert bare.exit_code == 1
    assert bare.stderr == (
        "monitor: nothing says where to send it: name a file with --config, or look with --dry-run\n"
    )
    shown = call("--archive", faulty.root, "--dry-run")
    assert shown.exit_code == 0
    assert f"Night {faulty.date(4)}" in shown.stdout
    with Mails() as mails, Hooks(codes=[404]) as hooks:
        config = tmp_path / "digest.toml"
        config.write_text(email(mails) + webhook(hooks), "utf-8")
        dry = call("--archive", faulty.root, "--config", config, "--dry-run")
        assert dry.exit_code == 0
        assert "To: Ada <ada@example.org>, bob@example.org\n" in dry.stdout
        assert "SECRET" not in dry.output
        assert not mails.got
        assert not hooks.got
        assert [p.name for p in tmp_path.iterdir()] == ["digest.toml"]
        done = call("--archive", faulty.root, "--config", config)
        assert done.exit_code == 1
        assert done.stdout.startswith("e-mail: sent: ")
        assert re.fullmatch(r"monitor: webhook: .* answered 404; check webhook.url\n", done.stderr)
        lost = call("--archive", faulty.root, "--config", config, "--night", "1990-01-01")
        assert lost.exit_code == 1
        assert "there is no night 1990-01-01" in lost.stderr
