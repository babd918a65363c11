"""The desk: every flow of a decision in a browser, by a reviewer and a viewer, and that nobody's decision is lost."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_window import Window
from playwright.sync_api import Page, expect
from small_camera import Night, rows
from web_client import Closed, Web, make_accounts

from calib.archive.database import Archive
from calib.archive.decisions import decide
from monitor.access.person import ONLOOKER, Person
from monitor.collect import Collector
from monitor.jobs import Jobs, jobs_of
from monitor.session import Session

WORKING = 90_000
"""Milliseconds in which a run that the page started may end on a busy machine."""

expect.set_options(timeout=20_000)


@pytest.fixture
def archive(faulty: Night, copy_of: Callable[[Night], Night]) -> Night:
    """A copy of the archive with faults, for decisions of a test's own."""
    return copy_of(faulty)


@pytest.fixture
def closed(archive: Night, tmp_path: Path) -> Iterator[Closed]:
    """That archive, served to a reviewer, Anna, and a viewer, Victor."""
    from monitor.server import free_port

    served = Closed(archive.root, free_port(), make_accounts(tmp_path))
    served.start()
    yield served
    served.stop()


@pytest.fixture
def enter(closed: Closed, window: Callable[..., Window]) -> Callable[..., Window]:
    """Return a function that opens a window in which somebody is signed in."""

    def start(name: str, address: str = "", size: tuple[int, int] = (1440, 900)) -> Window:
        shown = window(size)
        web = Web(closed.url)
        web.sign_in(name)
        cookies = [{"name": n, "value": v, "url": closed.url} for n, v in web.cookies.items()]
        shown.page.context.add_cookies(cookies)
        shown.open(closed.url + address)
        return shown

    return start


def confirm(page: Page, reason: str = "") -> None:
    if reason:
        page.locator("#ask-reason").fill(reason)
    page.locator("#dialog-confirm").click()


def decisions(night: Night) -> list[dict[str, Any]]:
    return rows(night.root, "decisions")


def closed_dialog(page: Page) -> None:
    expect(page.locator("dialog[open]")).to_have_count(0)


# Overrides ------------------------------------------------------------------------------------------------------------


def test_a_flat_is_rejected_its_scans_wait_and_all_is_taken_back(archive: Night, enter: Callable[..., Window]) -> None:
    night = archive.date(1)
    shown = enter("anna", f"?page=night&night={night}&band=J")
    page = shown.page
    expect(page.locator(".sig")).to_have_text("○ not signed off")
    page.keyboard.press("x")
    expect(page.locator("#dialog-title")).to_have_text(f"Reject a product of {night}")
    expect(page.locator("#ask-what")).to_have_value("J flat")
    expect(page.locator("#follows")).to_contain_text("1 verdict flips: 1 accepted → rejected")
    expect(page.locator("#follows")).to_contain_text("a quadrant by")
    # Another product, another answer; the reason that was begun stays.
    page.locator("#ask-reason").fill("a star trail across it")
    page.locator("#ask-what").select_option("J dark R2-R1")
    expect(page.locator("#follows")).to_contain_text("responsivity made anew with another dark")
    page.locator("#ask-what").select_option("J flat")
    expect(page.locator("#follows")).to_contain_text("2 scans need to be calibrated again")
    expect(page.locator("#ask-reason")).to_have_value("a star trail across it")
    confirm(page)
    closed_dialog(page)
    (made,) = decisions(archive)
    assert (made["who"], made["kind"], made["product"], made["value"]) == ("anna", "override", "flat", "rejected")
    assert made["reason"] == "a star trail across it"
    # What follows comes by itself: the verdict at once, the scans when they are asked for.
    expect(page.locator(".verdicts").first).to_contain_text("rejected by decision", timeout=WORKING)
    expect(page.locator(".desk")).to_contain_text("4 reads of scans wait for calibration", timeout=WORKING)
    page.goto(f"{page.url.split('?')[0]}?page=scans&night={night}")
    expect(page.locator(".watch", has_text="▲ to calibrate again")).to_have_count(2)
    page.goto(f"{page.url.split('?')[0]}?page=scan&night={night}&band=J&scan=1&read=R1")
    expect(page.locator(".warn")).to_contain_text("▲ Needs to be calibrated again: ")
    page.locator("#desk-recalibrate").click()
    expect(page.locator("#dialog-title")).to_have_text("Calibrate again")
    confirm(page)
    expect(page.locator("#desk-recalibrate")).to_have_count(0, timeout=WORKING)
    assert not any(r["stale"] for r in rows(archive.root, "scans"))
    # Undone from the log, by another decision.
    shown.go("log")
    page.locator("#undo-1").click()
    expect(page.locator("#follows")).to_contain_text("1 verdict flips: 1 rejected → accepted")
    confirm(page, "it was a shadow")
    closed_dialog(page)
    expect(page.locator("tr.undone")).to_have_count(1)
    page.goto(f"{page.url.split('?')[0]}?page=night&night={night}&band=J")
    expect(page.locator(".verdicts").first).to_contain_text("flat: ● accepted", timeout=WORKING)


def test_a_sky_offset_is_rejected_on_the_page_of_its_scan(archive: Night, enter: Callable[..., Window]) -> None:
    shown = enter("anna", f"?page=scan&night={archive.date(1)}&band=J&scan=1&read=R2-R1&block=1")
    page = shown.page
    page.locator("#desk-reject").click()
    expect(page.locator("#ask-what")).to_have_value("J scan 1 R2-R1 block 1")
    expect(page.locator("#follows")).to_contain_text("receive the sky offset of another block")
    confirm(page, "a satellite")
    closed_dialog(page)
    (made,) = decisions(archive)
    assert (made["product"], made["scan"], made["read"], made["block"]) == ("sky-offset", 1, "R2-R1", 1)
    expect(page.locator(".desk")).to_contain_text("1 reads of scans wait for calibration", timeout=WORKING)


# Hardware periods and alerts ------------------------------------------------------------------------------------------


def test_a_period_is_started_from_its_alert_moved_and_shown(archive: Night, enter: Callable[..., Window]) -> None:
    shown = enter("anna", f"?page=review&night={archive.date(4)}")
    page = shown.page
    page.get_by_role("button", name=re.compile(f"Start period: {archive.date(3)} Ks dark R1")).click()
    expect(page.locator("#ask-night")).to_have_value(archive.date(3))
    expect(page.locator("#ask-band")).to_have_value("Ks")
    expect(page.locator("#follows li").first).to_be_visible()
    confirm(page, "new electronics")
    closed_dialog(page)
    shown.go("log")
    page.locator("#move-1").click()
    page.locator("#ask-night").fill(archive.date(2))
    confirm(page, "it was a night earlier")
    closed_dialog(page)
    made = decisions(archive)
    assert [(d["kind"], d["night"], d["band"], d["undoes"]) for d in made] == [
        ("period", archive.date(3), "Ks", None),
        ("undo", archive.date(3), None, 1),
        ("period", archive.date(2), "Ks", None),
    ]
    assert {d["who"] for d in made} == {"anna"}


def test_an_alert_is_acknowledged_then_resolved_and_stays_in_the_log(
    archive: Night, enter: Callable[..., Window]
) -> None:
    shown = enter("anna", f"?page=review&night={archive.date(4)}")
    page = shown.page
    before = page.locator(".alerts li").count()
    name = f"{archive.date(3)} Ks dark R1 array level jump"
    page.get_by_role("button", name=f"Acknowledge: {name}").click()
    page.locator("#ask-expires").fill("2999-01-01")
    confirm(page, "the cable was changed")
    closed_dialog(page)
    said = page.locator(".alerts li", has_text="acknowledged by anna until 2999-01-01: the cable was changed")
    expect(said).to_have_count(1)
    # What is known comes after what is not.
    expect(page.locator(".alerts li").last).to_contain_text("acknowledged by anna")
    assert page.locator(".alerts li").count() == before
    page.get_by_role("button", name=f"Resolve: {name}").click()
    expect(page.locator("dialog")).to_contain_text("It is still there: should a later night show it again")
    confirm(page, "as it should be")
    closed_dialog(page)
    expect(page.locator(".alerts li")).to_have_count(before - 1)
    page.goto(f"{page.url.split('?')[0]}?page=log&product=alerts&filter=resolved")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("as it should be")
    # Its badge is what was measured, whatever was said about it.
    states = {(r["product"], r["state"]) for r in rows(archive.root, "states", night=archive.date(3), band="Ks")}
    assert any(state not in ("OK", "") for product, state in states if product.startswith("dark"))


# The routine ----------------------------------------------------------------------------------------------------------


def test_all_nights_are_signed_off_by_the_keyboard_and_one_that_changes_says_so(
    archive: Night, enter: Callable[..., Window]
) -> None:
    shown = enter("anna")
    page = shown.page
    nights = [archive.date(k) for k in range(5)]
    for k, night in enumerate(reversed(nights)):
        expect(page.locator("#night")).to_have_value(night)
        expect(page.locator(".sig")).to_contain_text("not signed off")
        page.keyboard.press("s")
        expect(page.locator(".sig")).to_contain_text("✓ signed off by anna")
        left = len(nights) - 1 - k
        if left:
            words = f"{left} more night{'s' if left > 1 else ''} to sign off ▸"
            expect(page.locator("#desk-unsigned")).to_have_text(words)
            page.keyboard.press("u")
    expect(page.locator("#desk-unsigned")).to_have_count(0)
    signed = decisions(archive)
    assert [d["night"] for d in signed] == nights[::-1]
    assert all(d["kind"] == "sign-off" and len(d["digest"]) == 64 for d in signed)
    # A decision from a shell changes a night that was signed.
    own = Archive(archive.root)
    decide(own, who="bob", reason="no", kind="override", product="flat", night=nights[1], band="J", value="rejected")
    own.close()
    jobs = Jobs(archive.root)
    jobs.settle()
    assert jobs.wait(120)
    assert jobs.problem == ""
    page.goto(f"{page.url.split('?')[0]}?page=review&night={nights[1]}")
    expect(page.locator(".sig")).to_contain_text("▲ changed since it was signed off by anna")
    page.keyboard.press("?")
    expect(page.locator("dialog .keys")).to_contain_text("sign the night off")
    page.keyboard.press("Escape")
    closed_dialog(page)


def test_keys_are_the_dialogs_while_it_is_open(archive: Night, enter: Callable[..., Window]) -> None:
    shown = enter("anna", f"?page=review&night={archive.date(3)}")
    page = shown.page
    page.keyboard.press("n")
    page.locator("#ask-reason").wait_for()
    page.keyboard.type("s x a u 2")
    page.locator("#dialog-close").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("s")
    shown.settle()
    expect(page.locator("#dialog-title")).to_have_text("Note")
    expect(page.locator("#night")).to_have_value(archive.date(3))
    assert decisions(archive) == []


def test_markup_in_a_reason_is_text_wherever_it_is_shown(archive: Night, enter: Callable[..., Window]) -> None:
    shown = enter("anna", f"?page=review&night={archive.date(3)}")
    page = shown.page
    evil = "<img src=x onerror=alert(1)><b>bold</b> & 'quoted'"
    page.keyboard.press("n")
    confirm(page, evil)
    closed_dialog(page)
    shown.go("log")
    expect(page.locator("td.reason")).to_have_text(evil)
    page.locator("#undo-1").click()
    expect(page.locator("dialog")).to_contain_text(evil)
    assert page.locator("dialog img, td.reason img, td.reason b").count() == 0


def test_the_report_of_the_night_is_one_click_away(archive: Night, enter: Callable[..., Window]) -> None:
    page = enter("victor", f"?page=review&night={archive.date(3)}").page
    with page.expect_download() as saved:
        page.locator("#desk-report").click()
    assert saved.value.suggested_filename == f"vesper-{archive.date(3)}.html"
    text = Path(saved.value.path()).read_text("utf-8")
    assert archive.date(3) in text
    assert "not signed" in text


def test_without_a_reason_nothing_is_decided(archive: Night, enter: Callable[..., Window]) -> None:
    shown = enter("anna", f"?page=review&night={archive.date(3)}")
    page = shown.page
    page.keyboard.press("n")
    page.locator("#ask-reason").fill("  ")
    page.locator("#dialog-confirm").click()
    expect(page.locator("dialog [role=alert]")).to_contain_text("a decision needs --reason")
    assert decisions(archive) == []


def test_at_a_phone_the_desk_can_be_used(archive: Night, enter: Callable[..., Window]) -> None:
    shown = enter("anna", f"?page=review&night={archive.date(3)}", size=(390, 844))
    page = shown.page
    page.locator("#desk-reject").click()
    expect(page.locator("#follows")).to_contain_text("verdict")
    box = page.locator("dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    confirm(page, "by thumb")
    closed_dialog(page)
    assert len(decisions(archive)) == 1


# Two roles, two reviewers ---------------------------------------------------------------------------------------------


def test_a_viewer_sees_everything_and_changes_nothing(archive: Night, enter: Callable[..., Window]) -> None:
    shown = enter("victor", f"?page=review&night={archive.date(4)}")
    page = shown.page
    expect(page.locator(".sig")).to_have_text("○ not signed off")
    expect(page.locator("#desk-report")).to_be_visible()
    for name in ("accept", "reject", "note", "sign-off"):
        expect(page.locator(f"#desk-{name}")).to_have_count(0)
    assert page.locator(".acts button").count() == 0
    for key in "sxan":
        page.keyboard.press(key)
        expect(page.locator("dialog")).to_contain_text("Viewers see everything and change nothing")
        assert page.locator("#dialog-confirm").count() == 0
        page.keyboard.press("Escape")
        closed_dialog(page)
    assert decisions(archive) == []


def test_a_reviewer_who_became_a_viewer_meanwhile_decides_nothing(
    archive: Night, closed: Closed, enter: Callable[..., Window]
) -> None:
    page = enter("anna", f"?page=review&night={archive.date(3)}").page
    page.keyboard.press("n")
    page.locator("#ask-reason").fill("too late")
    closed.accounts.set_role("anna", "viewer")
    page.locator("#dialog-confirm").click()
    expect(page.locator("dialog")).to_contain_text("You may not decide any more")
    assert decisions(archive) == []


def test_of_two_reviewers_the_later_is_told_and_may_decide_anew(
    archive: Night, closed: Closed, enter: Callable[..., Window]
) -> None:
    closed.accounts.set_role("victor", "reviewer")
    address = f"?page=night&night={archive.date(1)}&band=J"
    pages = {name: enter(name, address).page for name in ("anna", "victor")}
    for page in pages.values():
        page.keyboard.press("x")
        expect(page.locator("#follows")).to_contain_text("1 verdict flips")
        page.locator("#ask-reason").fill("I saw it")
    confirm(pages["anna"])
    closed_dialog(pages["anna"])
    confirm(pages["victor"])
    told = pages["victor"].locator("dialog [role=alert]")
    expect(told).to_contain_text("anna was earlier: decision 1 (override flat rejected)")
    expect(told).to_contain_text("Nothing of yours was recorded")
    expect(pages["victor"].locator("#ask-reason")).to_have_value("I saw it")
    assert [d["who"] for d in decisions(archive)] == ["anna"]
    confirm(pages["victor"])
    closed_dialog(pages["victor"])
    assert [d["who"] for d in decisions(archive)] == ["anna", "victor"]


def test_a_night_that_changed_since_it_was_looked_at_is_not_signed(archive: Night) -> None:
    session = Session(Collector(archive.root), f"?page=review&night={archive.date(1)}", person=ANNA)
    own = Archive(archive.root)
    from calib.archive import schema

    with own.begin() as connection:
        connection.execute(schema.flats.update().where(schema.flats.c.night == archive.date(1)).values(cause="else"))
    own.close()
    session.routine("sign-off")
    assert "has changed since you looked at it; it was not signed" in session.desk.dialog.html
    assert decisions(archive) == []


# Without a browser ----------------------------------------------------------------------------------------------------

ANNA = Person("anna", "reviewer", True)


def test_where_nobody_signs_in_a_name_is_asked_for_and_remembered(archive: Night) -> None:
    session = Session(Collector(archive.root), f"?page=review&night={archive.date(1)}")
    session.routine("note")
    assert 'name="who"' in session.desk.dialog.html
    session.desk._confirm({"who": "  ", "reason": "r"})
    assert "a decision needs --who" in session.desk.dialog.html
    session.desk._confirm({"who": "grace", "reason": "r"})
    assert session.desk.dialog.html == ""
    session.routine("note")
    assert 'value="grace"' in session.desk.dialog.html
    assert [d["who"] for d in decisions(archive)] == ["grace"]


def test_a_note_stands_on_the_pages_of_its_night_until_it_is_taken_back(archive: Night) -> None:
    night, session = archive.date(1), Session(Collector(archive.root), f"?page=night&night={archive.date(1)}")
    assert "notes" not in session._bar.html.html
    note = {"kind": "note", "night": night, "who": "Ada", "reason": "dew on the <window>"}
    made = decide(Archive(archive.root), **note)
    session.refresh()
    for page in ("night", "review"):
        session.go(page=page)
        assert session._bar.html.visible
        assert re.search(
            r"note by Ada, [\d-]{10} [\d:]{5} UTC: <q>dew on the &lt;window&gt;</q>", session._bar.html.html
        )
    session.go(night=archive.date(2))
    assert "dew on" not in session._bar.html.html
    decide(Archive(archive.root), kind="undo", who="Ada", reason="of another night", undoes=made)
    session.refresh()
    session.go(night=night)
    assert "dew on" not in session._bar.html.html
    session.collector.archive.close()


def test_an_onlooker_cannot_write_past_the_missing_buttons(archive: Night) -> None:
    """Whatever a browser sends, the role is asked for when it is written."""
    session = Session(Collector(archive.root), f"?page=review&night={archive.date(1)}", person=ONLOOKER)
    for act in ("note", "sign-off", "accept", "recalibrate"):
        session.routine(act)
        session.desk._confirm({"who": "mallory", "reason": "r", "what": "J flat", "value": "accepted"})
    assert decisions(archive) == []
    assert 'data-act="sign-off"' not in session._bar.html.html


def test_fields_that_no_form_has_decide_nothing(archive: Night) -> None:
    session = Session(Collector(archive.root), f"?page=review&night={archive.date(1)}", person=ANNA)
    session.routine("accept")
    session.desk._confirm({"what": "J moon", "value": "accepted", "reason": "r"})
    assert "choose what is to be decided on" in session.desk.dialog.html
    session.desk._confirm({"what": "J flat", "value": "perfect", "reason": "r"})
    assert "an override says accepted or rejected" in session.desk.dialog.html
    session.desk._confirm({"what": "J flat", "value": "accepted", "reason": "r", "who": "somebody else"})
    assert [d["who"] for d in decisions(archive)] == ["anna"]
    session.desk.jobs.wait(120)


@pytest.mark.parametrize("first", ["settle", "recalibrate"])
@pytest.mark.parametrize("second", ["settle", "recalibrate"])
def test_a_wish_that_comes_while_a_run_is_at_work_is_followed_by_another(
    first: str, second: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs, begun, go, ran = Jobs(tmp_path), threading.Event(), threading.Event(), []

    def run(self: Jobs, scans: bool) -> str:
        ran.append(scans)
        begun.set()
        assert go.wait(30)
        return ""

    monkeypatch.setattr(Jobs, "_run", run)
    words = {"settle": "verdicts are being settled anew", "recalibrate": "scans are being calibrated again"}
    getattr(jobs, first)()
    assert begun.wait(30)
    getattr(jobs, second)()
    assert jobs.at_work == words[first]
    go.set()
    assert jobs.wait(30)
    assert ran == [first == "recalibrate", second == "recalibrate"]


def test_a_run_of_the_page_that_finds_no_archive_says_so(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "gone")
    jobs.settle()
    assert jobs.wait(30)
    assert str(tmp_path / "gone") in jobs.problem
    assert jobs.at_work == ""


def test_runs_of_the_page_are_joined_and_say_why_they_failed(archive: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = jobs_of(archive.root)
    assert jobs_of(archive.root) is jobs
    begun, go, ran = threading.Event(), threading.Event(), []

    def run(self: Jobs, scans: bool) -> str:
        ran.append(scans)
        begun.set()
        assert go.wait(30)
        return "the disk is full" if scans else ""

    monkeypatch.setattr(Jobs, "_run", run)
    jobs.settle()
    assert begun.wait(30)
    assert jobs.at_work == "verdicts are being settled anew"
    for _ in range(5):
        jobs.recalibrate()
        jobs.settle()
    go.set()
    assert jobs.wait(30)
    # The run at work had begun before the others were wished for: one more does for all of them.
    assert ran == [False, True]
    assert jobs.problem == "the disk is full"
    assert jobs.at_work == ""
