"""Accounts: hashes, roles, the file, the command, tickets and patience."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from calib.errors import CalibError
from monitor.access.accounts import Accounts, secret_beside
from monitor.access.attempts import Attempts, Rule, network_of, patience_words
from monitor.access.passwords import Cost, hash_password, verify
from monitor.access.tickets import Tickets
from monitor.cli import main

CHEAP = Cost(n=16, r=1, p=1)
PASSWORD = "correct horse battery"


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    found = Accounts(tmp_path / "accounts.json", CHEAP)
    found.add("Anna", "reviewer", PASSWORD)
    found.add("victor@survey.example", "viewer", "another horse entirely")
    return found


# Passwords -----------------------------------------------------------------------------------------------------------


def test_a_hash_says_how_it_was_made_and_no_two_are_alike() -> None:
    one, other = (hash_password(PASSWORD, CHEAP) for _ in range(2))
    assert one.startswith("scrypt$16$1$1$")
    assert one != other
    assert PASSWORD not in one
    assert verify(PASSWORD, one)
    assert verify(PASSWORD, other)
    assert not verify(PASSWORD + " ", one)


def test_the_same_letters_are_the_same_password_however_they_are_typed() -> None:
    assert verify("café au lait noir", hash_password("café au lait noir", CHEAP))


@pytest.mark.parametrize(
    "stored", ["", None, "scrypt", "scrypt$16$1$1$!$!", "md5$1$1$1$YQ==$YQ==", "scrypt$1073741824$8$1$YQ==$YQ=="]
)
def test_what_is_no_hash_admits_nobody(stored: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.access.passwords.DEFAULT_COST", CHEAP)
    assert not verify(PASSWORD, stored)
    assert not verify("", stored)


def test_an_unknown_name_costs_as_much_work_as_a_wrong_password(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    asked: list[tuple[int, int, int]] = []

    def counted(*_: Any, n: int, r: int, p: int, **__: Any) -> bytes:
        asked.append((n, r, p))
        return b"\0" * 32

    monkeypatch.setattr("monitor.access.passwords.DEFAULT_COST", CHEAP)
    monkeypatch.setattr(hashlib, "scrypt", counted)
    for name in ("Anna", "nobody", "n" * 500):
        assert accounts.check(name, "wrong password") is None
    assert asked == [(16, 1, 1)] * 3


# The file ------------------------------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone_and_holds_no_password(accounts: Accounts) -> None:
    assert stat.S_IMODE(accounts.path.stat().st_mode) == 0o600
    assert PASSWORD not in accounts.path.read_text("utf-8")
    os.chmod(accounts.path, 0o640)
    with pytest.raises(CalibError, match="can be read by others"):
        accounts.all()
    assert accounts.find("Anna") is None


def test_names_are_found_whatever_their_case_and_given_once(accounts: Accounts) -> None:
    assert accounts.check("anna", PASSWORD) == accounts.find("ANNA")
    with pytest.raises(CalibError, match="an account Anna already"):
        accounts.add("aNNa", "viewer", PASSWORD)


@pytest.mark.parametrize("name", ["", " ", "a b", "<b>", "-rf", "a\nb", "a" * 65, "../x"])
def test_names_that_could_be_mistaken_are_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(CalibError, match="no name for an account"):
        accounts.add(name, "viewer", PASSWORD)


@pytest.mark.parametrize("password", ["short", "a" * 30, "x" * 2000])
def test_passwords_that_are_guessed_or_abused_are_refused(accounts: Accounts, password: str) -> None:
    with pytest.raises(CalibError, match="password"):
        accounts.set_password("Anna", password)


def test_changes_are_seen_at_once_by_whoever_reads_the_file(accounts: Accounts) -> None:
    server = Accounts(accounts.path)
    before = server.find("Anna")
    assert before is not None
    accounts.set_role("anna", "viewer")
    after = server.find("Anna")
    assert after is not None
    assert (after.role, after.generation) == ("viewer", before.generation)
    accounts.set_password("Anna", "a new horse entirely")
    changed = server.find("Anna")
    assert changed is not None
    assert changed.generation != before.generation
    accounts.remove("Anna")
    assert server.find("Anna") is None
    accounts.add("Anna", "viewer", PASSWORD)
    again = server.find("Anna")
    assert again is not None
    assert again.generation not in (before.generation, changed.generation)


@pytest.mark.parametrize("content", ["", "[]", '{"version": 2}', '{"version": 1, "accounts": {"a": {"role": "king"}}}'])
def test_a_damaged_file_admits_nobody_and_is_not_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(content)
    path.chmod(0o600)
    found = Accounts(path, CHEAP)
    assert found.find("a") is None
    with pytest.raises(CalibError):
        found.add("Anna", "viewer", PASSWORD)
    assert path.read_text() == content


def test_the_secret_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    secret = secret_beside(tmp_path / "accounts.json")
    place = tmp_path / "accounts.json.secret"
    assert len(secret) == 64
    assert secret_beside(tmp_path / "accounts.json") == secret
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    place.chmod(0o644)
    with pytest.raises(CalibError, match="can be read by others"):
        secret_beside(tmp_path / "accounts.json")


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command_adds_lists_changes_and_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.access.accounts.Accounts.__init__.__defaults__", (CHEAP,))
    file = ["--accounts", str(tmp_path / "accounts.json")]

    def say(*words: str, typed: str = "") -> Any:
        return CliRunner().invoke(main, ["account", *words, *file], input=typed)

    assert say("add", "Anna", "--role", "reviewer", typed=PASSWORD + "\n").output == "Anna may sign in as reviewer\n"
    assert say("add", "octo", "--role", "viewer", "--no-password").exit_code == 0
    assert [line.split()[:2] for line in say("list").output.splitlines()] == [["Anna", "reviewer"], ["octo", "viewer"]]
    assert "without password" in say("list").output
    assert say("role", "Anna", "--role", "viewer").exit_code == 0
    assert say("password", "Anna", typed="another horse entirely\n").exit_code == 0
    assert Accounts(tmp_path / "accounts.json").check("Anna", "another horse entirely") is not None
    assert say("remove", "Anna").exit_code == 0
    gone = say("remove", "Anna")
    assert gone.exit_code == 1
    assert "there is no account 'Anna'" in gone.output


def test_a_password_comes_from_standard_input_never_from_the_command_line(tmp_path: Path) -> None:
    add = ["account", "add", "Anna", "--role", "viewer", "--accounts", str(tmp_path / "a.json")]
    told = CliRunner().invoke(main, [*add, "--password", PASSWORD])
    assert told.exit_code == 2
    none = CliRunner().invoke(main, add, input="")
    assert none.exit_code == 1
    assert "no password on standard input" in none.output


@pytest.mark.parametrize(
    "options", [["--address", "0.0.0.0"], ["--origin", "vesper.example.org"], ["--behind-proxy"], ["--address", "::"]]
)
def test_the_server_refuses_to_be_open_to_a_network(tmp_path: Path, options: list[str]) -> None:
    told = CliRunner().invoke(main, ["serve", "--archive", str(tmp_path), "--port", "5999", *options])
    assert told.exit_code == 1
    assert "--accounts FILE" in told.output
    assert "--open-to-the-network" in told.output


# Tickets -------------------------------------------------------------------------------------------------------------


def test_a_ticket_is_read_by_who_made_it_until_it_is_given_back() -> None:
    tickets = Tickets("s" * 64, days=1)
    ticket, cookie = tickets.issue("Anna", "1234")
    assert tickets.read(cookie) == ticket
    assert Tickets("t" * 64, days=1).read(cookie) is None
    assert Tickets("s" * 64, days=-1).read(cookie) is None
    assert tickets.read(cookie.replace("|", "||", 1)) is None
    assert tickets.form_token(ticket) != tickets.form_token(tickets.issue("Anna", "1234")[0])
    tickets.revoke(ticket)
    assert tickets.read(cookie) is None


@pytest.mark.parametrize("cookie", ["", "x", "2|1:0|", "\0", "2|1:0|10:1|14:vesper-session|4:bnVs|00", "9" * 9999])
def test_what_is_no_ticket_is_none(cookie: str) -> None:
    assert Tickets("s" * 64, days=1).read(cookie) is None


# Patience ------------------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_failure_costs_more_patience_up_to_a_bound() -> None:
    clock = Clock()
    attempts = Attempts(Rule(2, 8.0), Rule(100, 8.0), clock=clock)
    assert [attempts.begin("anna", "192.0.2.1") for _ in range(2)] == [0.0, 0.0]
    waits = []
    for _ in range(6):
        waits.append(attempts.begin("ANNA", "192.0.2.2"))
        clock.now += waits[-1]
        assert attempts.begin("anna", "192.0.2.2") == 0.0
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert attempts.begin("victor", "192.0.2.2") == 0.0


def test_an_address_is_kept_waiting_whatever_names_it_tries() -> None:
    attempts = Attempts(Rule(5, 60.0), Rule(20, 900.0), clock=Clock())
    assert all(attempts.begin(f"name{k}", "2001:db8::1") == 0.0 for k in range(20))
    assert attempts.begin("name", "2001:db8::ffff") > 0
    assert attempts.begin("name", "2001:db8:0:1::1") == 0.0


def test_success_forgives_a_name_and_time_everything() -> None:
    clock = Clock()
    attempts = Attempts(Rule(2, 8.0), Rule(3, 8.0), clock=clock)
    attempts.begin("anna", "192.0.2.1")
    attempts.begin("anna", "192.0.2.1")
    clock.now += 5
    assert attempts.begin("anna", "192.0.2.1") == 0.0
    attempts.succeeded("anna", "192.0.2.1")
    assert attempts.begin("anna", "192.0.2.1") == 0.0
    clock.now += 10_000
    assert [attempts.begin("anna", "192.0.2.1") for _ in range(2)] == [0.0, 0.0]


def test_memory_is_bounded_however_many_names_are_tried() -> None:
    attempts = Attempts(most=50, clock=Clock())
    for k in range(1000):
        attempts.begin(f"name{k}", f"192.0.{k // 250}.{k % 250}")
    assert len(attempts) == 50


def test_the_wait_is_told_in_words() -> None:
    assert "Try again in 2 seconds" in patience_words(1.2)
    assert "Try again in 15 minutes" in patience_words(900)
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("unix") == "unix"


def test_the_file_is_json_that_people_can_read(accounts: Accounts) -> None:
    content = json.loads(accounts.path.read_text("utf-8"))
    assert set(content["accounts"]["Anna"]) == {"role", "hash", "generation", "made"}
