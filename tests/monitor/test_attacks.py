"""What was tried against a server with accounts, and what came back.

Each test adds rows to one table, printed with ``pytest -s`` and written to $VESPER_ATTACKS if that names a file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from browser_window import Window
from small_camera import Night, copy_archive
from tornado.web import create_signed_value
from web_client import PASSWORDS, Closed, Reply, Web, make_accounts, raw, token_in, upgrade

from calib.archive import schema
from calib.archive.database import Archive
from monitor.access.accounts import secret_beside
from monitor.access.tickets import COOKIE
from monitor.address import PAGES
from monitor.api.routes import ROUTES
from monitor.api.tables import TABLES

EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
SECRETS = (b"SQLite format 3", b"root:x:", b"SIMPLE  =", b"scrypt$")


@dataclass
class Fort:
    """A server with accounts and an archive full of markup, and what was tried against it."""

    served: Closed
    anna: Web
    victor: Web
    night: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def stranger(self, **cookies: str) -> Web:
        return Web(self.served.url, cookies)

    def tried(self, who: str, what: str, came_back: str) -> None:
        self.rows.append((who, what, came_back))

    def alive(self) -> bool:
        return (
            self.stranger().ask("/healthz").json == {"status": "ok"} and self.anna.ask("/api/v1/nights").status == 200
        )


@pytest.fixture(scope="module")
def fort(faulty: Night, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    from monitor.server import free_port

    top = tmp_path_factory.mktemp("fort")
    root = copy_archive(faulty.root, top / "archive")
    _fill_with_markup(root, faulty.date(3))
    (top / "outside.fits").write_bytes(b"SIMPLE  = this is none of the archive's")
    served = Closed(root, free_port(), make_accounts(top))
    served.start()
    found = Fort(served, Web(served.url), Web(served.url), faulty.date(3))
    assert found.anna.sign_in("anna").status == found.victor.sign_in("victor").status == 303
    yield found
    served.stop()
    lines = [f"| {who} | {what} | {came_back} |" for who, what, came_back in found.rows]
    table = "\n".join(["| tried as | what | what came back |", "|---|---|---|", *lines])
    print(f"\n{table}")
    if place := os.environ.get("VESPER_ATTACKS"):
        Path(place).write_text(table + "\n", "utf-8")


def _fill_with_markup(root: Path, night: str) -> None:
    """Put markup wherever a header, a file's name or a person could have put it, and a path that leads outside."""
    archive, evil = Archive(root), {"evil": EVIL}
    with archive.begin() as db:
        for table in ("darks", "flats", "scans", "sky_offsets", "states", "alerts"):
            db.execute(sa.text(f"update {table} set cause = cause || :evil"), evil)
        db.execute(sa.text("update alerts set text = :evil"), evil)
        db.execute(sa.text("update files set path = path || :evil, reason = :evil, notes = :evil"), evil)
        needed = {c.name for c in schema.decisions.c if not c.nullable and c.default is None and c.name != "id"}
        row = dict.fromkeys(needed, "") | {"time": "1999-05-09T12:00:00.000Z", "who": EVIL, "reason": EVIL}
        row |= {"kind": "sign-off", "night": night}
        db.execute(sa.insert(schema.decisions).values(**row))
        p = schema.products
        canonical = (p.c.kind == "canonical", p.c.band == "J", p.c.night == night)
        db.execute(sa.update(p).where(*canonical).values(path="../outside.fits"))
    archive.close()


def _no_secret(*replies: Reply) -> None:
    for reply in replies:
        assert not any(secret in reply.body for secret in SECRETS), reply.text[:200]


def _addresses(fort: Fort) -> list[str]:
    """Return every address of the API with a night that is there."""
    found = []
    for route in ROUTES:
        path = route.path
        for p in route.parameters:
            if p.in_path:
                path = path.replace(f"{{{p.name}}}", fort.night if p.name == "night" else quote(p.example))
        found.append(path)
    return found


# Nobody --------------------------------------------------------------------------------------------------------------


def test_nobody_sees_anything(fort: Fort) -> None:
    nobody = fort.stranger()
    for page in ("/", *(f"/?page={name}" for name in PAGES)):
        reply = nobody.ask(page)
        assert (reply.status, reply.headers["Location"][:8]) == (302, "./login?")
        assert "token" not in reply.text
    fort.tried("nobody", f"the page, {len(PAGES) + 1} addresses", "302 to the sign-in form, nothing of the page")
    replies = [nobody.ask(path) for path in ("/api/", "/api/openapi.json", *_addresses(fort))]
    assert {r.status for r in replies} == {401}
    assert all(set(r.json) == {"status", "error"} for r in replies)
    fort.tried("nobody", f"the API, all {len(replies)} addresses", "401 and a sentence")
    away = ("/metadata", "/autoload.js?bokeh-autoload-element=x", "/liveness?endpoint=/", "/admin", "/index.html")
    away += ("/rest/session_info", "/components/os/path/_css/x", "/components/this/s/_css/x")
    assert [nobody.ask(path).status for path in away] == [404] * len(away)
    fort.tried("nobody", "addresses that Bokeh and Panel have by default", "404: they are not there")
    assert nobody.ask("/healthz").json == nobody.ask("/ready").json == {"status": "ok"}
    fort.tried("nobody", "`/healthz`, `/ready`", '200 `{"status": "ok"}`, no word more')


def test_nobody_has_a_websocket(fort: Fort) -> None:
    token = token_in(fort.anna.ask("/").text)
    assert upgrade(fort.stranger(), token) == 403
    assert upgrade(fort.stranger(), "x") == 403
    fort.tried("nobody", "the websocket, with the key of a reviewer's page", "403")
    assert upgrade(fort.victor, token) == 403
    fort.tried("viewer", "the websocket, with the key of a reviewer's page", "403: a session is its own sign-in's")
    assert upgrade(fort.anna, token) == 101


def test_sessions_are_not_chosen_by_who_asks(fort: Fort) -> None:
    token = token_in(fort.anna.ask("/").text)
    for path in ("/?bokeh-session-id=chosen", f"/?bokeh-token={token}"):
        assert fort.victor.ask(path).status == 403
    assert fort.victor.ask("/", Bokeh_Session_Id="chosen").status == 403
    forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    own = token_in(fort.victor.ask("/").text)
    assert upgrade(fort.victor, own) == 101
    for key in ("bm90IGEgdG9rZW4", "", "a, b", forged, own[:-4] + forged[-4:], own.split(".")[0]):
        assert upgrade(fort.victor, key) == 403, key
    fort.tried("viewer", "a session's number or key of one's own choice", "403")


# Cookies -------------------------------------------------------------------------------------------------------------


def test_cookies_that_are_forged_or_old_are_none(fort: Fort) -> None:
    secret = secret_beside(fort.served.accounts.path)
    good = fort.victor.cookies[COOKIE]
    account = fort.served.accounts.find("anna")
    assert account is not None
    content = f'["anna", "{account.generation}", "0000"]'

    def signed(key: str, age_days: float = 0.0, name: str = COOKIE) -> str:
        return create_signed_value(key, name, content, clock=lambda: time.time() - age_days * 86400).decode()

    forged = {
        "signed with another secret": signed("x" * 64),
        "signed for another cookie": signed(secret, name="other"),
        "one character changed": good[:-1] + ("0" if good[-1] != "0" else "1"),
        "other content under a good signature": good.replace(good.split("|")[4], "0:bnVs"),
        "unsigned": content,
        "empty": "",
        "40 kB": "2|1:0|10:" + "9" * 40_000,
    }
    for what, cookie in forged.items():
        assert fort.stranger(**{COOKIE: cookie}).ask("/api/v1/nights").status == 401, what
        assert fort.stranger(**{COOKIE: cookie}).ask("/").status == 302, what
    fort.tried("forger", "cookies " + ", ".join(forged), "401; 302 to the form")
    assert fort.stranger(**{COOKIE: signed(secret)}).ask("/api/v1/nights").status == 200
    assert fort.stranger(**{COOKIE: signed(secret, 7.1)}).ask("/api/v1/nights").status == 401
    fort.tried("once signed in", "a cookie older than seven days", "401")
    assert fort.stranger(user='"anna"', is_guest="1").ask("/").status == 302
    fort.tried("nobody", "the cookies of Panel's own sign-in", "302 to the form: they mean nothing here")


# Other sites ---------------------------------------------------------------------------------------------------------


def test_other_sites_get_nowhere(fort: Fort) -> None:
    token = token_in(fort.anna.ask("/").text)
    port = fort.served.port
    origins = ("https://evil.example", "null", f"http://127.0.0.1:{port}.evil.example", f"http://localhost:{port + 1}")
    for origin in origins:
        assert upgrade(fort.anna, token, origin) == 403, origin
    fort.tried("another site", f"the websocket from {len(origins)} forged origins", "403")
    for path in ("/", "/login", "/api/v1/nights"):
        assert fort.anna.ask(path, Host="evil.example").status == 403
        assert fort.anna.ask(path, Host=f"evil.example:{port}").status == 403
    assert upgrade(fort.anna, token, f"http://evil.example:{port}", Host=f"evil.example:{port}") == 403
    fort.tried("another site", "its own name pointed at this machine (DNS rebinding)", "403")
    fields = {"name": "anna", "password": PASSWORDS["anna"]}
    assert fort.stranger().form("/login", fields).status == 403
    web = fort.stranger()
    text = web.ask("/login").text
    good = fields | {"_xsrf": text.split('name="_xsrf" value="')[1].split('"')[0]}
    assert web.form("/login", good, Origin="https://evil.example").status == 403
    assert web.form("/login", good, Origin="null").status == 403
    assert fort.stranger().form("/login", good).status == 403
    fort.tried("another site", "the sign-in form without its token, with another's, or sent from there", "403")
    assert fort.victor.ask("/logout").status == 200
    assert fort.victor.form("/logout", {}).status == 403
    assert fort.victor.form("/logout", {"token": "0" * 32}, Origin="https://evil.example").status == 403
    assert fort.victor.ask("/api/v1/nights").status == 200
    fort.tried("another site", "signing somebody out by a link or a form", "a question, or 403; still signed in")
    reply = fort.anna.ask("/api/v1/nights")
    assert "Access-Control-Allow-Origin" not in reply.headers
    page = fort.anna.ask("/")
    for header, value in {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }.items():
        assert page.headers[header] == reply.headers[header] == value
    assert "frame-ancestors 'self'" in page.headers["Content-Security-Policy"]
    assert "Server" not in page.headers
    fort.tried("another site", "framing the page, reading answers, guessing their type", "headers forbid it")


@pytest.mark.parametrize("path", ["/login", "/login?next="])
def test_signing_in_leads_nowhere_else(fort: Fort, path: str) -> None:
    targets = ("https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example", "\\\\evil.example")
    targets += ("javascript:alert(1)", "/%0d%0aSet-Cookie:x=1\r\nX: y", "http:evil.example", "evil.example", "/" * 3000)
    targets += ("/login?next=//evil.example", "/logout", "///evil.example", "/ok\u202e")
    for target in targets:
        if path.endswith("="):
            reply = fort.anna.ask(path + quote(target))
            assert (reply.status, reply.headers["Location"]) == (302, "/"), target
        else:
            reply = fort.stranger().sign_in("victor", target=target)
            assert (reply.status, reply.headers["Location"]) == (303, "/"), target
    if path.endswith("="):
        fort.tried("another site", f"`next` of the form leading elsewhere, {len(targets)} ways", "led to the page")


# Files ---------------------------------------------------------------------------------------------------------------

WAYS_OUT = (
    "../../../archive.sqlite",
    "..%2f..%2f..%2farchive.sqlite",
    "%2e%2e%2f%2e%2e%2farchive.sqlite",
    "..%252f..%252farchive.sqlite",
    "....//....//archive.sqlite",
    "..\\..\\archive.sqlite",
    "..%5c..%5carchive.sqlite",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "dark-R1.fits%00",
    "%c0%ae%c0%ae%2farchive.sqlite",
    "dark-R1.fits%2f..%2f..%2f..%2f..%2farchive.sqlite",
)


def test_no_path_leads_out_of_the_archive(fort: Fort) -> None:
    tried = 0
    for way in WAYS_OUT:
        for place in (
            f"/api/v1/images/{fort.night}/J/{way}.fits",
            f"/api/v1/images/{fort.night}/J/{way}.png",
            f"/api/v1/images/{fort.night}/{way}/dark-R1.fits",
            f"/api/v1/images/{way}/J/dark-R1.fits",
            f"/api/v1/images/{fort.night}/J/{way}",
            f"/api/v1/scans/{fort.night}/J/{way}/frames-R1.fits",
            f"/api/v1/scans/{fort.night}/J/1/{way}.fits",
            f"/api/v1/nights/{way}",
            f"/static/{way}",
            f"/static/extensions/panel/{way}",
            f"/components/{way}",
            f"/{way}",
        ):
            reply = fort.anna.ask(place)
            # Tornado stumbles over a null byte among the scripts and styles, and says nothing.
            stumbled = reply.status == 500 and place.startswith("/static/") and "%00" in place
            assert 400 <= reply.status < 500 or stumbled, (place, reply.status)
            _no_secret(reply)
            tried += 1
    fort.tried(
        "reviewer",
        f"paths out of the archive, {tried} addresses",
        "400, 403 or 404; 500 for a null byte among static files",
    )


def test_a_record_that_points_outside_is_no_product(fort: Fort) -> None:
    reply = fort.anna.ask(f"/api/v1/images/{fort.night}/J/canonical.fits")
    assert reply.status == 404
    _no_secret(reply)
    fort.tried("reviewer", "a product whose record in the database points out of the archive", "404")


# Text ----------------------------------------------------------------------------------------------------------------

INJECTED = (
    "' OR '1'='1",
    "'; DROP TABLE flats; --",
    '" OR 1=1 --',
    "J' UNION SELECT * FROM meta --",
    "%",
    "_",
    "\\",
    "*",
)


def test_no_text_becomes_a_query(fort: Fort) -> None:
    before = {name: fort.anna.ask(f"/api/v1/{name.replace('_', '-')}?limit=1").json["total"] for name in TABLES}
    tried = 0
    for route, path in zip(ROUTES, _addresses(fort), strict=True):
        for parameter in route.parameters:
            for text in INJECTED:
                if parameter.in_path:
                    place = route.path.replace(f"{{{parameter.name}}}", quote(text, safe=""))
                    for other in route.parameters:
                        place = place.replace(
                            f"{{{other.name}}}", fort.night if other.name == "night" else other.example
                        )
                else:
                    place = f"{path}?{parameter.name}={quote(text)}"
                reply = fort.anna.ask(place)
                assert reply.status in (200, 400, 404), (place, reply.text)
                if reply.status == 200:
                    assert reply.json["total"] == 0, place
                assert "sqlite" not in reply.text.lower()
                tried += 1
    after = {name: fort.anna.ask(f"/api/v1/{name.replace('_', '-')}?limit=1").json["total"] for name in TABLES}
    assert after == before
    fort.tried("reviewer", f"SQL in every parameter, {tried} requests", "400, 404 or no rows; all tables as before")


def test_markup_stays_text_in_the_api(fort: Fort) -> None:
    for path in ("alerts", "flats", "files", "decisions", "states"):
        reply = fort.anna.ask(f"/api/v1/{path}")
        assert EVIL in str(reply.json["items"])
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
    for place in (f"/api/v1/{quote(EVIL)}", f"/api/v1/nights/{quote(EVIL, safe='')}", f"/api/v1/flats?{quote(EVIL)}=1"):
        reply = fort.anna.ask(place)
        assert reply.headers["Content-Type"].startswith("application/json")
    fort.tried("a header, a file's name, a person", "markup in all texts, by the API", "JSON and nosniff: text")
    for name in (EVIL, '"><script>window.hacked=1</script>'):
        reply = fort.stranger().sign_in(name)
        assert reply.status == 401
        assert "<script>" not in reply.text
        assert "<img" not in reply.text
        assert "script-src" not in reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    fort.tried("nobody", "markup as a name in the sign-in form", "401, shown as text; the page may run no script")


def test_markup_stays_text_on_every_page(fort: Fort, window: Callable[..., Window]) -> None:
    shown = window()
    page = shown.page
    page.goto(fort.served.url)
    page.get_by_label("Name").fill("victor")
    page.get_by_label("Password").fill(PASSWORDS["victor"])
    page.get_by_role("button", name="Sign in").click()
    page.locator("#rail-review[aria-current=page]").wait_for()
    seen = 0
    for name in PAGES:
        page.goto(f"{fort.served.url}?page={name}&night={fort.night}&band=H")
        page.locator(f"#rail-{name}[aria-current=page]").wait_for()
        shown.settle()
        assert page.evaluate("window.hacked") is None, name
        assert page.locator("img[src=x]").count() == 0, name
        seen += page.get_by_text("onerror").count()
    assert seen, "the markup is nowhere to be seen: nothing was tried"
    page.goto(f"{fort.served.url}?page={quote(EVIL)}&night={quote(EVIL)}&text={quote(EVIL)}&band={quote(EVIL)}")
    page.locator("#rail-review[aria-current=page]").wait_for()
    assert page.evaluate("window.hacked") is None
    fort.tried(
        "a header, a file's name, a person", "markup in all texts, on every page", "shown as text; no script ran"
    )


# Writing --------------------------------------------------------------------------------------------------------------

# Everything that pages and dialogs know, told of every element of the page, whether it is shown or not.
SAY_ALL = """([acts, values]) => {
  let told = 0
  for (const m of Bokeh.documents[0]._all_models.values()) {
    const target = "sent" in m.attributes ? m : m.attributes.data
    if (!target?.attributes || !("sent" in target.attributes)) continue
    const recent = []
    let n = Date.now()
    for (const act of acts) for (const value of values) recent.push([++n, act, value])
    target.sent = {recent}
    told += recent.length
  }
  return told
}"""

# Acts that write, or open what does; names of others do not come near the archive.
ACTS = (
    *("confirm", "preview", "sign-off", "note", "accept", "reject", "recalibrate", "acknowledge", "resolve", "period"),
    *("dismiss", "undo", "move", "save", "reset", "set:limits.flat.gradient.max"),
)


def _enter(fort: Fort, window: Callable[..., Window], name: str, address: str) -> Window:
    shown = window()
    shown.page.goto(fort.served.url)
    shown.page.get_by_label("Name").fill(name)
    shown.page.get_by_label("Password").fill(PASSWORDS[name])
    shown.page.get_by_role("button", name="Sign in").click()
    shown.page.locator("#rail-review[aria-current=page]").wait_for()
    shown.open(fort.served.url + address)
    return shown


def _written(fort: Fort) -> dict[str, list[dict[str, object]]]:
    archive, tables = Archive(fort.served.root), ("decisions", "profiles", "runs", "meta")
    found = {t: archive.rows(sa.select(schema.metadata.tables[t])) for t in tables}
    archive.close()
    return found


def test_a_viewer_writes_nothing_whatever_the_browser_is_made_to_say(fort: Fort, window: Callable[..., Window]) -> None:
    form = json.dumps({"reason": "r", "who": "anna", "what": "J flat", "value": "accepted", "night": fort.night})
    values = [form, f"{fort.night}|Ks|dark R1|array|level jump"]
    told, before = 0, _written(fort)
    for name in ("review", "night", "scan", "limits", "log"):
        shown = _enter(fort, window, "victor", f"?page={name}&night={fort.night}&band=J&scan=1")
        # Each with a confirmation after it, of whatever it may have opened.
        for act in ACTS:
            told += shown.page.evaluate(SAY_ALL, [[act, "confirm"], values])
        # What was said first has been heard when the answer to what is said last is there.
        shown.page.evaluate(SAY_ALL, [["close", "note"], [""]])
        shown.page.locator("dialog", has_text="Viewers see everything and change nothing").wait_for()
        shown.settle()
        shown.page.context.close()
    assert told > 500, "the page was told nothing: nothing was tried"
    assert _written(fort) == before
    # The same way of speaking does write where a reviewer speaks: it is the role that forbids it.
    shown = _enter(fort, window, "anna", f"?page=review&night={fort.night}")
    for act, answer in (("note", "window.vesper.modal"), ("confirm", "!window.vesper.modal")):
        shown.page.evaluate(SAY_ALL, [[act], [form]])
        shown.page.wait_for_function(answer)
    assert len(_written(fort)["decisions"]) == len(before["decisions"]) + 1
    assert fort.alive()
    fort.tried(
        "viewer",
        f"writing: {len(ACTS)} acts of all pages and dialogs sent past the missing buttons, {told:,} messages",
        "nothing written, no run begun",
    )


def test_what_a_reviewer_types_is_text_and_of_a_size(fort: Fort, window: Callable[..., Window]) -> None:
    page = _enter(fort, window, "anna", f"?page=review&night={fort.night}").page
    sql = "'); DROP TABLE decisions; --"
    for reason, came_back in (("x" * 90_000, "has 90000 characters"), ("a\x00b", "control characters")):
        page.keyboard.press("n")
        page.locator("#ask-reason").evaluate("(e, text) => { e.removeAttribute('maxlength'); e.value = text }", reason)
        page.locator("#dialog-confirm").click()
        page.locator("dialog [role=alert]", has_text=came_back).wait_for()
        page.keyboard.press("Escape")
        page.wait_for_function("!window.vesper.modal")
    page.keyboard.press("n")
    page.locator("#ask-reason").fill(sql)
    page.locator("#dialog-confirm").click()
    page.wait_for_function("!window.vesper.modal")
    assert [r for r in _written(fort)["decisions"] if sql in r.values()]
    fort.tried("reviewer", "SQL, 90 kB and control characters as a reason", "kept as text; refused with a sentence")


# Size ----------------------------------------------------------------------------------------------------------------


def test_what_is_too_large_is_refused_and_the_server_lives(fort: Fort) -> None:
    host = fort.anna.host
    line = f"GET /api/v1/flats?band={'x' * 200_000} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    header = f"GET /login HTTP/1.1\r\nHost: {host}\r\nX-Big: {'x' * 200_000}\r\n\r\n".encode()
    many = (
        f"GET /login HTTP/1.1\r\nHost: {host}\r\n{'X-Many: 1' * 1}\r\n".encode() + b"X-Many: 1\r\n" * 20_000 + b"\r\n"
    )
    body = f"POST /login HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000000\r\n\r\n".encode() + b"x" * 100_000
    for request in (line, header, many, body):
        answer = raw(fort.served.url, request)
        assert not answer or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413", b"HTTP/1.1 431")), answer[:100]
    fort.tried("nobody", "an address, a header, 20,000 headers, a body of 200 kB to 100 MB", "400 or closed")
    replies = [
        fort.anna.ask("/api/v1/flats?" + "&".join(f"p{k}=1" for k in range(3000))),
        fort.anna.ask("/api/v1/flats?" + "&".join("band=J" for _ in range(3000))),
        fort.anna.ask(f"/api/v1/flats?band={'x' * 20_000}"),
        fort.anna.ask("/api/v1/flats?limit=" + "9" * 5000),
        fort.anna.ask("/api/v1/flats?offset=1e999"),
    ]
    assert {r.status for r in replies} == {400}
    assert all(len(r.body) < 500 for r in replies)
    fort.tried("reviewer", "thousands of parameters, values of 20 kB, numbers of 5000 digits", "400 and a sentence")
    began = time.monotonic()
    assert fort.stranger().sign_in("anna", "x" * 50_000).status == 401
    assert fort.stranger().sign_in("n" * 50_000, "x").status == 401
    assert fort.stranger().form("/login", {f"f{k}": "x" for k in range(3000)}).status in (400, 403)
    assert time.monotonic() - began < 10
    fort.tried("nobody", "a name or password of 50 kB, a form of 3000 fields", "401 or 403, no work bought")
    assert fort.anna.ask(f"/?page=log&text={'x' * 20_000}").status == 200
    assert fort.alive()


def test_methods_that_are_not_meant_are_refused(fort: Fort) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "FOO"):
        for path in ("/", "/api/v1/flats", "/healthz"):
            assert fort.anna.ask(path, method).status in (403, 405), (method, path)
    fort.tried("reviewer", "POST, PUT, DELETE, PATCH, TRACE to page and API", "405")


# Guessing, last: the address has to wait afterwards -----------------------------------------------------------------


def test_who_guesses_waits_longer_and_longer(fort: Fort) -> None:
    statuses = []
    for k in range(25):
        # Without --behind-proxy nobody is believed to be somebody else.
        web = fort.stranger()
        page = web.ask("/login").text
        fields = {"_xsrf": page.split('name="_xsrf" value="')[1].split('"')[0], "name": f"n{k}", "password": "guess it"}
        reply = web.form("/login", fields, X_Forwarded_For=f"192.0.2.{k}", X_Real_Ip=f"192.0.2.{k}")
        statuses.append(reply.status)
    assert statuses[-1] == 429
    assert set(statuses) <= {401, 429}
    assert "Too many failed attempts" in reply.text
    fort.tried("nobody", "guessing, under many names and forged addresses", "429 and how long to wait, ever longer")
    assert fort.alive(), "who is signed in is not disturbed"
