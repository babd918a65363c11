"""Signing in and out: over HTTP, and in a browser as people do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_window import Window
from small_camera import Night
from web_client import PASSWORDS, Closed, Web, make_accounts, token_in, upgrade

from monitor.access.accounts import Accounts
from monitor.access.gate import Gate
from monitor.access.person import ANYBODY, NOBODY, ONLOOKER, Person
from monitor.access.settings import AccessSettings, OAuth


@pytest.fixture(scope="module")
def closed(faulty: Night, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    """The archive with faults, for those with an account."""
    from monitor.server import free_port

    served = Closed(faulty.root, free_port(), make_accounts(tmp_path_factory.mktemp("accounts")))
    served.start()
    yield served
    served.stop()


@pytest.fixture
def accounts(closed: Closed) -> Iterator[Accounts]:
    """The server's accounts, put back as they were."""
    before = closed.accounts.path.read_bytes()
    yield closed.accounts
    part = closed.accounts.path.with_suffix(".before")
    part.write_bytes(before)
    part.chmod(0o600)
    part.replace(closed.accounts.path)


# Who is who ----------------------------------------------------------------------------------------------------------


def test_without_accounts_whoever_sits_there_decides_and_the_network_only_looks() -> None:
    assert Gate().person(None) == ANYBODY
    assert ANYBODY.may_decide
    assert Gate(local=False).person(None) == ONLOOKER
    assert not ONLOOKER.may_decide


def test_a_person_is_what_the_accounts_say_now(tmp_path: Path) -> None:
    accounts = make_accounts(tmp_path)
    gate = Gate(AccessSettings(accounts=accounts.path))
    anna = accounts.find("anna")
    assert anna is not None
    ticket, _ = gate.sign_in(anna)
    assert gate.person(ticket) == Person("anna", "reviewer", True)
    accounts.set_role("anna", "viewer")
    assert gate.person(ticket) == Person("anna", "viewer", True)
    accounts.set_password("anna", "a new horse entirely")
    assert gate.person(ticket) == NOBODY
    assert not gate.admits(ticket)


def test_another_provider_vouches_for_names_without_a_password_alone(tmp_path: Path) -> None:
    accounts = make_accounts(tmp_path)
    accounts.add("octo", "reviewer", None)
    oauth = OAuth("github", "key", "secret")
    gate = Gate(AccessSettings(accounts=accounts.path, oauth=oauth))
    assert gate.vouched("Octo", "github") == Person("octo", "reviewer", True)
    assert gate.vouched("octo", "google") is None
    assert gate.vouched("anna", "github") is None, "the name has a password: it is somebody else's"
    assert gate.vouched("stranger", "github") is None
    welcoming = Gate(AccessSettings(accounts=accounts.path, oauth=OAuth("github", "key", "secret", strangers=True)))
    assert welcoming.vouched("stranger", "github") == Person("stranger", "viewer", True)
    accounts.path.chmod(0o644)
    assert welcoming.vouched("stranger", "github") is None


# Over HTTP -----------------------------------------------------------------------------------------------------------


def test_the_page_leads_to_the_form_and_the_form_back_to_the_page(closed: Closed) -> None:
    web = Web(closed.url)
    reply = web.ask("/?page=night&night=1999-05-02")
    assert (reply.status, reply.headers["Location"]) == (302, "./login?next=%2F%3Fpage%3Dnight%26night%3D1999-05-02")
    reply = web.sign_in("anna", target="/?page=night&night=1999-05-02")
    assert (reply.status, reply.headers["Location"]) == (303, "/?page=night&night=1999-05-02")
    (cookie,) = [c for c in reply.cookies if c.startswith("vesper-session=")]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie, "on plain HTTP the browser would drop it"
    assert web.ask("/?page=log").status == 200


def test_cookies_are_secure_where_browsers_come_over_tls(faulty: Night, tmp_path: Path) -> None:
    from monitor.server import free_port

    served = Closed(faulty.root, free_port(), make_accounts(tmp_path))
    served.options += ("--https",)
    served.start()
    try:
        reply = Web(served.url).sign_in("anna")
        assert all("Secure" in cookie for cookie in reply.cookies if "session" in cookie)
        assert [c for c in reply.cookies if "session" in c]
    finally:
        served.stop()


def test_the_cookie_is_nowhere_in_the_page(closed: Closed) -> None:
    import base64

    web = Web(closed.url)
    web.sign_in("anna")
    page = web.ask("/").text
    payload = token_in(page).split(".")[0]
    said = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    assert web.cookies["vesper-session"] not in page
    assert b"vesper-session" not in said


def test_signing_out_voids_the_cookie_also_for_who_copied_it(closed: Closed) -> None:
    web = Web(closed.url)
    web.sign_in("anna")
    thief = Web(closed.url, dict(web.cookies))
    assert thief.ask("/api/v1/nights").status == 200
    token = web.ask("/logout").text.split('name="token" value="')[1].split('"')[0]
    assert web.form("/logout", {"token": "0" * 32}).status == 403
    assert thief.ask("/api/v1/nights").status == 200
    assert web.form("/logout", {"token": token}).status == 200
    assert thief.ask("/api/v1/nights").status == 401
    assert web.ask("/").status == 302


@pytest.mark.parametrize("change", ["remove", "password"])
def test_a_change_of_the_accounts_takes_effect_at_once(closed: Closed, accounts: Accounts, change: str) -> None:
    web = Web(closed.url)
    web.sign_in("victor")
    page = web.ask("/").text
    assert upgrade(web, token_in(page)) == 101
    if change == "remove":
        accounts.remove("victor")
    else:
        accounts.set_password("victor", "a new horse entirely")
    assert web.ask("/api/v1/nights").status == 401
    assert web.ask("/").status == 302
    assert upgrade(web, token_in(page)) == 403


def test_programs_sign_in_with_each_request(closed: Closed) -> None:
    import base64

    def with_password(password: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"anna:{password}".encode()).decode()}

    web = Web(closed.url)
    assert web.ask("/api/v1/nights", **with_password(PASSWORDS["anna"])).status == 200
    assert web.ask("/api/v1/nights", **with_password(PASSWORDS["anna"])).status == 200
    assert web.ask("/api/v1/nights", **with_password("wrong")).status == 401
    assert web.ask("/api/v1/nights", Authorization="Bearer x").status == 400
    refused = web.ask("/api/v1/nights")
    assert refused.status == 401
    assert refused.headers["Www-Authenticate"].startswith("Basic")
    shown = web.ask("/api/v1/nights", Accept="text/html")
    assert (shown.status, shown.headers["Location"]) == (302, "/login?next=%2Fapi%2Fv1%2Fnights")
    assert web.ask("/", **with_password(PASSWORDS["anna"])).status == 302, "the page is for browsers"


def test_a_supervisor_learns_whether_the_server_is_well_and_nothing_else(closed: Closed, faulty: Night) -> None:
    reply = Web(closed.url).ask("/healthz")
    assert (reply.status, reply.json) == (200, {"status": "ok"})
    web = Web(closed.url)
    web.sign_in("victor")
    assert web.ask("/healthz").json["last_night"] == faulty.date(4)


def test_who_guesses_is_told_how_long_to_wait(faulty: Night, tmp_path: Path) -> None:
    from monitor.server import free_port

    served = Closed(faulty.root, free_port(), make_accounts(tmp_path))
    served.start()
    try:
        web = Web(served.url)
        replies = [web.sign_in("anna", f"wrong password {k}") for k in range(5)]
        assert [r.status for r in replies] == [401] * 5
        held = web.sign_in("anna")
        assert held.status == 429
        assert "Too many failed attempts. Try again in" in held.text
        assert 1 <= int(held.headers["Retry-After"]) <= 3
        assert Web(served.url).sign_in("victor").status == 303, "others are not kept waiting"
        time.sleep(int(held.headers["Retry-After"]))
        assert web.sign_in("anna").status == 303
    finally:
        served.stop()


# In a browser --------------------------------------------------------------------------------------------------------


def fill_in(page: Any, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_signing_in_and_out_in_a_browser(closed: Closed, window: Callable[..., Window]) -> None:
    shown = window()
    shown.allowed.append("console: Failed to load resource: the server responded with a status of 401")
    page = shown.page
    page.goto(f"{closed.url}?page=log")
    fill_in(page, "anna", "not this one")
    assert page.get_by_role("alert").inner_text() == "✕ Name or password is wrong."
    assert page.get_by_label("Name").input_value() == "anna"
    page.get_by_label("Password").fill(PASSWORDS["anna"])
    page.get_by_role("button", name="Sign in").click()
    page.locator("#rail-log[aria-current=page]").wait_for()
    assert page.locator(".who").inner_text() == "anna reviewer"
    page.reload()
    page.locator("#rail-log[aria-current=page]").wait_for()
    shown.settle()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Signed out").wait_for()
    page.goto(closed.url)
    page.get_by_role("heading", name="Sign in").wait_for()


def test_two_people_have_two_roles_and_a_change_shows_at_once(
    closed: Closed, accounts: Accounts, window: Callable[..., Window]
) -> None:
    pages = {}
    for name in ("anna", "victor"):
        shown = window()
        shown.page.goto(closed.url)
        fill_in(shown.page, name, PASSWORDS[name])
        pages[name] = shown.page
    assert pages["anna"].locator(".who").inner_text() == "anna reviewer"
    assert pages["victor"].locator(".who").inner_text() == "victor viewer"
    accounts.set_role("victor", "reviewer")
    pages["victor"].locator(".who", has_text="victor reviewer").wait_for()
    accounts.remove("victor")
    pages["victor"].get_by_role("heading", name="Sign in").wait_for()
    assert pages["anna"].locator(".who").inner_text() == "anna reviewer"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_form_can_be_used_by_everybody(closed: Closed, window: Callable[..., Window], theme: str) -> None:
    page = window((390, 844), theme).page
    page.goto(f"{closed.url}login")
    faults = Axe().run(page).response["violations"]
    assert not faults, [(f["id"], f["nodes"][0]["html"]) for f in faults]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.activeElement.id") == "name"
