"""Sessions without a browser: every page shows every night, closed ones leave nothing behind, servers say what is."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import panel as pn
import pytest
from bokeh.document import Document
from page_client import knock, slow_visit, visit
from panel.io.state import set_curdoc
from small_camera import Night, run, survey_of, write_raw

from calib.errors import CalibError
from monitor import session as session_module
from monitor.access.settings import AccessSettings
from monitor.address import PAGES
from monitor.collect import Collector
from monitor.collect_limits import History, Past
from monitor.components.events import Inbox
from monitor.components.turns import is_drawn, wait_for_browser, when_drawn
from monitor.desk_bar import PAGES as DESK_PAGES
from monitor.server import free_port, serve
from monitor.session import Session
from monitor.shell import missed_html


def test_an_event_is_taken_once_and_in_order() -> None:
    taken: list[tuple[str, ...]] = []
    inbox = Inbox(lambda *said: taken.append(said))
    inbox.take({"recent": [[1, "step", "-1"]]})
    inbox.take({"recent": [[1, "step", "-1"], [2, "step", "-1"], [3, "night", "1999-05-01"]]})
    inbox.take({"recent": [[1, "step", "-1"], [2, "step", "-1"]]})  # overtaken by the one before
    inbox.take({})
    assert taken == [("step", "-1"), ("step", "-1"), ("night", "1999-05-01")]


@pytest.fixture
def undrawn() -> Iterator[Document]:
    """The document of a session whose browser is still drawing, current in this thread."""
    document = Document()
    context = SimpleNamespace(session=None, request=None)
    document._session_context = lambda: context  # type: ignore[assignment]
    with set_curdoc(document):
        wait_for_browser()
        yield document


def test_what_is_done_before_the_page_is_drawn_is_done_after_it_in_order(undrawn: Document) -> None:
    shown = [10]

    def act(name: str) -> None:
        if name == "fail":
            raise OSError("the disk is away")
        # As a click that opens another view: where it leads is seen from the one before.
        following = shown[-1] - 1 if name == "step" else 2 * shown[-1]
        when_drawn(partial(shown.append, following))

    inbox = Inbox(act)
    inbox.take({"recent": [[1, "step"]]})
    inbox.take({"recent": [[1, "step"], [2, "step"]]})
    inbox.take({"recent": [[1, "step"], [2, "step"], [3, "fail"]]})
    inbox.take({"recent": [[4, "twice"]]})
    assert shown == [10]
    assert not is_drawn()
    pn.state._on_load(undrawn)
    assert shown == [10, 9, 8, 16]
    assert is_drawn()
    inbox.take({"recent": [[5, "step"]]})
    assert shown[-1] == 15


def failures(session: Session) -> list[str]:
    """What the page on screen says if it cannot be shown."""
    return [o.html for o in session.main if 'role="alert"' in getattr(o, "html", "")]


@pytest.mark.parametrize("name", list(PAGES))
def test_every_page_shows_every_night(faulty: Night, name: str) -> None:
    session = Session(Collector(faulty.root), f"?page={name}")
    for night in session.snapshot.nights:
        for band in session.snapshot.bands:
            session.go(night=night, band=band)
            assert not failures(session), (night, band)
    session.collector.archive.close()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A single night of a single band without a scan: everything is provisional, and most is not there."""
    top = tmp_path_factory.mktemp("bare")
    survey = survey_of(1, scans={})
    raw = write_raw(survey, top / "raw", bands=("H",))
    run(top / "archive", raw)
    return Night(top / "archive", raw, survey)


@pytest.mark.parametrize("name", list(PAGES))
def test_every_page_shows_the_very_first_night(bare: Night, name: str) -> None:
    session = Session(Collector(bare.root), f"?page={name}")
    for band in ("", *session.snapshot.bands):
        session.go(band=band)
        assert not failures(session), band
    session.collector.archive.close()


@pytest.mark.parametrize("name", list(PAGES))
def test_the_help_lists_the_keys_of_the_page(faulty: Night, name: str) -> None:
    session = Session(Collector(faulty.root), f"?page={name}&night={faulty.date(1)}")
    session._press("?")
    listed = set(re.findall("<kbd>(.*?)</kbd>", session.desk.dialog.html))
    assert session._page is not None
    assert set(session._page.keys) <= listed
    assert {"t", "u", "?"} <= listed
    if name == "night":
        assert {"b", ",", ".", "z", "j", "h", "k"} <= listed
    assert ("s" in listed) == (name in DESK_PAGES)
    session.collector.archive.close()


def missed(session: Session) -> str:
    """What the page says of a night without data."""
    (words,) = [o.html for o in session.main if 'class="missed"' in getattr(o, "html", "") and o.visible] or [""]
    return str(words)


@pytest.mark.parametrize("name", ["review", "night"])
def test_a_night_without_data_is_told_and_the_address_follows(faulty: Night, name: str) -> None:
    last, before = faulty.date(4), "1999-01-01"
    session = Session(Collector(faulty.root), f"?page={name}&night=2099-01-01&band=H")
    assert f"No data of <b>2099-01-01</b>. Shown is <b>{last}</b>, the newest night." in missed(session)
    assert 'role="status"' in missed(session)
    assert session.browser.nav["search"] == f"?page={name}&night={last}&band=H"
    assert not session.browser.nav["push"]
    session.go(band="J")
    assert "2099-01-01" in missed(session)
    session.go(night=faulty.date(2))
    assert not missed(session)
    session.top._deliver("night", before)
    assert f"No data of <b>{before}</b>. Shown is <b>{last}</b>" in missed(session)
    assert session.view.night == last
    session.top._deliver("night", "<b>")
    assert not missed(session)
    assert session.view.night == ""
    session.collector.archive.close()


def test_a_night_without_data_between_others_gives_way_to_the_one_before() -> None:
    words = str(missed_html("1999-05-02", "1999-05-01", ("1999-05-01", "1999-05-03")))
    assert "No data of <b>1999-05-02</b>. Shown is <b>1999-05-01</b>, the last night with data before it." in words


def test_a_page_that_fails_says_so_and_leaves_the_others(faulty: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        if name == "monitor.pages.log":
            raise RuntimeError("<b>out of paper</b>")
        return found(name)

    found = session_module.import_module
    monkeypatch.setattr(session_module, "import_module", broken)
    session = Session(Collector(faulty.root), "?page=log")
    (words,) = failures(session)
    assert "RuntimeError: &lt;b&gt;out of paper&lt;/b&gt;" in words
    session.go(page="review")
    assert not failures(session)
    session.collector.archive.close()


# Servers in this process ---------------------------------------------------------------------------------------------


@contextmanager
def serving(root: Path, **options: Any) -> Iterator[str]:
    port = free_port()
    serve(root, port=port, threaded=True, **options)
    url = f"http://127.0.0.1:{port}/"
    try:
        until = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.05)
        yield url
    finally:
        pn.state.kill_all_servers()


def test_closed_sessions_leave_nothing_behind(faulty: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    from bokeh.model import Model

    alive: weakref.WeakSet[Session] = weakref.WeakSet()
    original = Session.__init__

    def counted(self: Session, *args: Any, **kwargs: Any) -> None:
        alive.add(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(Session, "__init__", counted)

    def living(kind: type) -> int:
        gc.collect()
        return sum(issubclass(type(o), kind) for o in gc.get_objects())

    quick = {"check_unused_sessions_milliseconds": 100, "unused_session_lifetime_milliseconds": 100}
    with serving(faulty.root, **quick) as url:

        def come_and_go(times: int) -> None:
            for name in PAGES:
                visit(f"{url}?page={name}")
            visit(f"{url}?page=log", times - len(PAGES))
            until = time.monotonic() + 15
            while alive and time.monotonic() < until:
                time.sleep(0.2)
                gc.collect()
            assert not alive, f"{len(alive)} of {times} sessions are still there"

        come_and_go(len(PAGES) + 1)  # what is loaded once stays
        before = living(Document), living(Model)
        come_and_go(50)
        after = living(Document), living(Model)
    assert after[0] <= before[0], f"{after[0] - before[0]} documents are still there"
    assert after[1] <= before[1] + 20, f"{after[1] - before[1]} models are still there"


def answer(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, reply.read(), reply.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def test_the_health_address_tells_a_supervisor(faulty: Night, tmp_path: Path) -> None:
    with serving(faulty.root) as url:
        status, body, _ = answer(f"{url}healthz")
        assert (status, json.loads(body)) == (
            200,
            {"status": "ok", "nights": 5, "last_night": faulty.date(4), "watch": None},
        )
        assert answer(f"{url}healthz", "HEAD")[:2] == (200, b"")
        assert answer(url, "HEAD")[:2] == (200, b"")
    with serving(tmp_path / "nowhere") as url:
        status, body, _ = answer(f"{url}healthz")
        assert status == 503
        assert "calib run" in json.loads(body)["reason"]
        status, body, _ = answer(f"{url}ready")
        assert (status, json.loads(body)["status"]) == (200, "failed")


def test_what_is_sent_is_packed_and_named(faulty: Night) -> None:
    with serving(faulty.root) as url:
        _, body, headers = answer(url, **{"Accept-Encoding": "identity"})
        text = body.decode()
        assert '<html lang="en"' in text
        assert "<title>Vesper</title>" in text
        assert 'rel="icon" href="data:' in text
        assert "http://" not in text.replace(url, "").replace("http://www.w3.org", "")
        assert "https://" not in text
        path = text.split('src="static/js/bokeh.min.js')[1].split('"')[0]
        _, packed, headers = answer(f"{url}static/js/bokeh.min.js{path}", **{"Accept-Encoding": "gzip"})
        assert headers["Content-Encoding"] == "gzip"
        assert len(packed) < 500_000


def test_only_its_own_pages_may_connect(faulty: Night) -> None:
    with serving(faulty.root, origins=["survey.example:8443"], access=AccessSettings(open_to_network=True)) as url:
        host, url = url.split("/")[2], f"{url}?page=log"
        assert knock(url, f"http://{host}") == 101
        assert knock(url, f"http://localhost:{host.split(':')[1]}") == 101
        assert knock(url, "https://survey.example:8443") == 101
        assert knock(url, "http://elsewhere.example") == 403
        assert knock(url, "http://127.0.0.1:1") == 403


def test_an_error_while_the_page_is_built_is_shown(faulty: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the roof leaks")

    monkeypatch.setattr(Session, "__init__", broken)
    with serving(faulty.root) as url:
        assert "RuntimeError: the roof leaks" in json.dumps(visit(url))


def test_what_arrives_while_a_browser_draws_is_shown_once_it_has(
    faulty: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Panel drops what is changed between sending a document and the browser's word that it is drawn."""
    go, gone, read, quietly = threading.Event(), threading.Event(), History.read, History._read_quietly

    def to_the_end(self: History) -> None:
        quietly(self)
        gone.set()

    def held(self: History) -> Past:
        assert go.wait(30)
        return read(self)

    monkeypatch.setattr(History, "read", held)
    monkeypatch.setattr(History, "_read_quietly", to_the_end)
    monkeypatch.setattr("monitor.pages.limits.Limits.beat", lambda self: None)  # what would come by itself, later
    with serving(faulty.root) as url:

        def meanwhile() -> None:
            go.set()
            assert gone.wait(30)
            time.sleep(0.5)  # the server's loop has its turn

        document, *changes = slow_visit(f"{url}?page=limits", meanwhile)
    assert "save-reason" not in document
    assert "save-reason" in " ".join(changes)


def test_a_port_that_is_taken_is_one_sentence() -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CalibError, match=f"port {port} is taken"):
            free_port(port=port)
        command = [sys.executable, "-m", "monitor.cli", "demo", "--port", str(port), "--no-show"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "choose another with --port" in done.stderr
