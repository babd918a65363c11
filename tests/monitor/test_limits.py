"""The page Limits: what follows from a moved limit, who may save it, and that nobody overwrites another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_window import Served, Window
from markupsafe import escape
from small_camera import Night, rows, small

from calib.archive.database import Archive
from calib.archive.versions import save_version, versions
from calib.checks import CHECKS
from calib.errors import DecisionConflict, DecisionError
from calib.limits import changed_profile, keys
from monitor.access.person import ONLOOKER, Person
from monitor.collect import Collector
from monitor.collect_limits import History, Past, history_of
from monitor.compute_limits import Edits, outlook, strip
from monitor.desk_limits import save_limits
from monitor.session import Session

GRADIENT = "limits.flat.gradient.max"


def opened(night: Night, **options: Any) -> Session:
    return Session(Collector(night.root), "?page=limits", False, **options)


def markup(session: Session) -> str:
    return " ".join(o.html for o in session.main.select() if hasattr(o, "html"))


def act(session: Session, name: str, value: str = "") -> None:
    """What a browser would report of an element of the page."""
    for o in session.main.select():
        if name in getattr(o, "_on", {}):
            o._on[name](value)
            return
    raise AssertionError(f"nothing on the page answers to {name}")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs that would have been started."""
    started: list[str] = []
    monkeypatch.setattr("monitor.jobs.Jobs.settle", lambda self: started.append("settle"))
    return started


def past_of(night: Night) -> Past:
    return history_of(Collector(night.root)).read()


def test_every_limit_of_today_has_a_field(four_nights: Night) -> None:
    shown = markup(opened(four_nights))
    for check in CHECKS:
        assert escape(check.meaning) in shown
    for name, key in keys(small()).items():
        if key.check is None or key.of in ("", *small().bands) or key.check.subject != "flat":
            assert f'data-act="set:{name}"' in shown
    assert "All 32 verdicts were made under version 1." in shown


def test_a_moved_limit_shows_its_flips_and_an_undone_one_none(four_nights: Night) -> None:
    session = opened(four_nights)
    act(session, f"set:{GRADIENT}", "0.0001")
    shown = markup(session)
    assert "8 verdicts flip" in shown
    assert "flat gradient: <span" in shown
    assert f"?page=night&amp;night={four_nights.date(3)}" in shown
    act(session, "undo", GRADIENT)
    assert "Change a number" in markup(session)


def test_what_was_typed_stays_while_another_page_is_looked_at(four_nights: Night) -> None:
    session = opened(four_nights)
    act(session, f"set:{GRADIENT}", "0.0001")
    session.go(page="log")
    session.go(page="limits")
    assert "8 verdicts flip" in markup(session)


@pytest.mark.parametrize("text", ["1e", "abc", "nan", "inf", "<script>"])
def test_what_is_no_number_is_told_and_cannot_be_saved(four_nights: Night, text: str) -> None:
    session = opened(four_nights)
    act(session, f"set:{GRADIENT}", text)
    shown = markup(session)
    assert str(escape(f"{GRADIENT}: “{text}” is no number")) in shown
    assert "<script>" not in shown
    assert "what is wrong above comes first" in shown


@pytest.mark.parametrize("name", [GRADIENT, "limits.flat.gradient.J", "limits.flat.range.min"])
def test_a_negative_limit_of_what_is_never_negative_is_refused(four_nights: Night, name: str) -> None:
    session = opened(four_nights)
    act(session, f"set:{name}", "-0.5")
    shown = markup(session)
    assert f"{name}: what it limits is never negative (given: -0.5)" in shown
    assert "what is wrong above comes first" in shown
    act(session, f"set:{name}", "0")
    assert "never negative" not in markup(session)


def test_a_residue_may_be_negative_and_so_may_its_limit() -> None:
    assert changed_profile(small(), {"limits.sky_offset.residue.max": -0.1})


def test_what_the_profile_forbids_is_told(four_nights: Night) -> None:
    session = opened(four_nights)
    act(session, "set:drift.gain_percent.watch", "11")
    assert "drift.gain_percent.watch: above drift" in markup(session)
    act(session, "reset")
    act(session, f"set:{GRADIENT}", "")
    assert f"{GRADIENT}: a number is needed" in markup(session)


def test_the_slider_moves_the_limit_whose_history_is_shown(four_nights: Night) -> None:
    session = opened(four_nights)
    act(session, "choose", "limits.dark.clipped.max")
    act(session, "slide", "0.00001")
    assert "dark clipped: <span" in markup(session)
    assert "flips" in markup(session)


def test_the_history_of_a_limit_is_that_of_the_series_it_serves(four_nights: Night) -> None:
    past, known = past_of(four_nights), keys(small())
    both = changed_profile(small(), {"limits.flat.gradient.J": 0.5})
    of_all = strip(past, known[GRADIENT], small(), both)
    of_j = strip(past, known["limits.flat.gradient.J"], small(), both)
    assert of_all is not None
    assert of_j is not None
    assert (set(of_all.band), set(of_j.band)) == ({"H"}, {"J"})
    assert (of_j.old, of_j.new, of_j.of) == (None, 0.5, "J")
    assert strip(past, known["drift.significance"], small(), small()) is None
    sky = strip(past, known["limits.sky_offset.halves.R1"], small(), small())
    assert sky is not None
    # One point a night, band and read: the worst of its blocks.
    assert len(sky.value) == 4
    worst = max(r["halves"] for r in rows(four_nights.root, "sky_offsets", band="J", read="R1"))
    assert worst in sky.value


def test_a_field_with_the_same_number_in_other_words_is_no_change() -> None:
    edits = Edits(1)
    edits.put(keys(small())[GRADIENT], " 0.70 ", small())
    assert not edits.texts
    edits.put(keys(small())["limits.flat.gradient.J"], "", small())
    assert not edits.texts


def test_flips_are_counted_from_the_version_of_the_verdicts(settled: Night) -> None:
    archive = Archive(settled.root)
    strict = changed_profile(small(), {"limits.flat.range.J": 50.0})
    save_version(archive, strict, who="ann", reason="more light", seen=1)
    session = opened(settled)
    shown = markup(session)
    assert "0 verdicts were made under version 2, 32 under version 1" in shown
    assert "4 verdicts flip" in shown
    assert outlook(past_of(settled), {}, strict).n == 4


# Reading --------------------------------------------------------------------------------------------------------------


def test_who_asks_while_others_are_told_is_told_as_well(four_nights: Night) -> None:
    history = history_of(Collector(four_nights.root))
    told = threading.Event()

    def ready() -> None:
        # The archive has gone on meanwhile: what was read is not what this one asks for.
        history.past(10**9, told.set)

    assert history.past(0, ready) is None
    assert told.wait(10)


def test_verdicts_that_cannot_be_read_are_asked_for_again(four_nights: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    history = history_of(Collector(four_nights.root))
    told = threading.Event()

    def broken(self: History) -> Past:
        raise OSError("the disk is away")

    def closed() -> None:
        raise RuntimeError("this window was closed")

    monkeypatch.setattr("monitor.collect_limits.PAUSE_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(History, "read", broken)
        assert history.past(0, closed) is None
        assert history.past(0, told.set) is None
        assert told.wait(10)
        assert history.problem == "OSError: the disk is away"
    told.clear()
    assert history.past(0, told.set) is None
    assert told.wait(10)
    assert history.problem == ""
    assert history.past(0, told.set) is not None


def test_what_cannot_be_read_is_left_alone_for_a_while(four_nights: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    history = history_of(Collector(four_nights.root))
    tried, told = [], threading.Event()

    def broken(self: History) -> Past:
        tried.append(1)
        raise OSError("the disk is away")

    monkeypatch.setattr(History, "read", broken)
    assert history.past(0, told.set) is None
    assert told.wait(10)
    told.clear()
    for _ in range(3):
        assert history.past(0, told.set) is None
    assert not told.wait(0.2)
    assert len(tried) == 1


# Saving ---------------------------------------------------------------------------------------------------------------


def test_saving_keeps_who_and_why_and_lets_verdicts_follow(settled: Night, quiet: list[str]) -> None:
    session = opened(settled)
    act(session, f"set:{GRADIENT}", "0.9")
    act(session, "reason", "too strict")
    act(session, "name", "ann")
    act(session, "save")
    last = versions(Archive(settled.root))[-1]
    assert (last.number, last.who, last.reason) == (2, "ann", "too strict")
    assert last.profile == changed_profile(small(), {GRADIENT: 0.9})
    shown = markup(session)
    assert "Version 2 is saved" in shown
    assert "limits.flat.gradient.max 0.7 → 0.9" in shown
    assert quiet == ["settle"]


def test_without_a_reason_nothing_is_saved_and_it_is_said(settled: Night, quiet: list[str]) -> None:
    session = opened(settled)
    act(session, f"set:{GRADIENT}", "0.9")
    act(session, "save")
    assert "needs a reason" in markup(session)
    assert len(rows(settled.root, "profiles")) == 1
    assert not quiet


def test_a_version_saved_meanwhile_is_told_and_changes_can_be_put_on_top(settled: Night, quiet: list[str]) -> None:
    session = opened(settled)
    act(session, f"set:{GRADIENT}", "0.9")
    other = changed_profile(small(), {"limits.flat.range.min": 1.2})
    save_version(Archive(settled.root), other, who="bob", reason="less light", seen=1)
    act(session, "reason", "too strict")
    act(session, "save")
    shown = markup(session)
    assert "version 2 was saved by bob" in shown
    assert "Put my changes on version 2" in shown
    assert len(rows(settled.root, "profiles")) == 2
    act(session, "rebase")
    act(session, "save")
    last = versions(Archive(settled.root))[-1]
    assert last.number == 3
    assert last.profile == changed_profile(other, {GRADIENT: 0.9})


def test_a_viewer_sees_flips_and_cannot_save_by_any_way(settled: Night, quiet: list[str]) -> None:
    session = opened(settled, person=ONLOOKER)
    act(session, f"set:{GRADIENT}", "0.0001")
    shown = markup(session)
    assert "8 verdicts flip" in shown
    assert 'id="save"' not in shown
    act(session, "reason", "because")
    act(session, "save")
    assert "viewers see everything and change nothing" in markup(session)
    with pytest.raises(DecisionError, match="viewers"):
        save_limits(session, {GRADIENT: 0.9}, "because", "ann", 1)
    assert len(rows(settled.root, "profiles")) == 1
    assert not quiet


def test_whoever_signed_in_saves_under_no_other_name(settled: Night, quiet: list[str]) -> None:
    session = opened(settled, person=Person("carol", "reviewer", True))
    assert save_limits(session, {GRADIENT: 0.9}, "because", "somebody else", 1) == 2
    assert versions(Archive(settled.root))[-1].who == "carol"
    with pytest.raises(DecisionConflict, match="version 2 was saved by carol"):
        save_limits(session, {GRADIENT: 0.8}, "because", "", 1)
    with pytest.raises(DecisionConflict, match="no version 7"):
        save_limits(session, {GRADIENT: 0.8}, "because", "", 7)


# In a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(faulty: Night, copy_of: Callable[[Night], Night], serve: Callable[[Path], Served]) -> tuple[Night, Served]:
    night = copy_of(faulty)
    return night, serve(night.root)


def test_a_limit_is_moved_and_saved_in_a_browser(own: tuple[Night, Served], window: Callable[..., Window]) -> None:
    night, served = own
    shown = window()
    page = shown.open(served.url + "?page=limits")
    page.locator("#under").wait_for()
    limit = page.get_by_label("flat gradient, %", exact=True)
    limit.fill("0.0001")
    page.locator("#flips-head", has_text="flip").wait_for()
    assert page.locator("#flips tbody tr").count() > 5
    # The number being typed stays as it is typed, and the keyboard goes on to the next field.
    assert limit.input_value() == "0.0001"
    limit.fill("1e")
    page.locator(".wrong", has_text="“1e” is no number").wait_for()
    assert page.locator("#save").is_disabled()
    limit.fill("0.9")
    page.locator(".changed", has_text="0.7 →").wait_for()
    page.keyboard.press("Tab")
    page.locator("#save-name").fill("ann")
    page.locator("#save-reason").fill("the cloud was none")
    page.locator("#save").click()
    page.get_by_text("Version 2 is saved").wait_for()
    page.locator("#versions").get_by_text("the cloud was none").wait_for()
    assert versions(Archive(night.root))[-1].who == "ann"
    page.get_by_text("verdicts were made under version 2.").wait_for(timeout=60_000)


def test_what_is_typed_outlives_a_redraw(own: tuple[Night, Served], window: Callable[..., Window]) -> None:
    night, served = own
    page = window().open(served.url + "?page=limits")
    field = page.locator("#save-name")
    field.focus()
    # Typed, and not yet told to the server when somebody else's version draws the form anew.
    page.evaluate(
        """() => {
          const all = e => [e, ...(e.shadowRoot ? all(e.shadowRoot) : []), ...[...e.children].flatMap(all)]
          const field = all(document.body).find(e => e.id === "save-name")
          field.value = "annabel"; field.setSelectionRange(2, 5)
        }"""
    )
    changed = changed_profile(small(), {GRADIENT: 0.8})
    save_version(Archive(night.root), changed, who="bob", reason="too many clouds", seen=1)
    page.locator("h2", has_text="Save as version 3").wait_for()
    assert field.input_value() == "annabel"
    page.keyboard.type("ni")
    assert field.input_value() == "anniel"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_a_phone_and_is_accessible(server: Served, window: Callable[..., Window], theme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    shown = window((390, 844), theme)
    page = shown.open(served_limits(server))
    page.locator("#under").wait_for()
    page.get_by_label("flat gradient, %", exact=True).fill("0.0001")
    page.locator("#flips-head", has_text="flip").wait_for()
    shown.settle()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    assert not found.response["violations"], found.generate_report()


def served_limits(server: Served) -> str:
    return server.url + "?page=limits"
