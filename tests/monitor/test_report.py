"""The report of a night: says what Review says, opens anywhere, prints, and takes nothing for markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from small_camera import Night, rows

from calib.archive.database import Archive
from calib.archive.decisions import decide
from monitor.cli import main
from monitor.collect import Collector, Snapshot
from monitor.collect_activity import Activity
from monitor.collect_decisions import Signature
from monitor.collect_scans import Scans
from monitor.compute import band_health
from monitor.pages.review_alerts import alerts_html
from monitor.palette import STATES
from monitor.report import find_night, report_html


@pytest.fixture
def collector(faulty: Night) -> Iterator[Collector]:
    opened = Collector(faulty.root)
    yield opened
    opened.archive.close()


def words(html: str) -> str:
    """What is there to read, in one line."""
    bare = re.sub(r"<(style|title)>.*?</\1>", " ", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def part(html: str, name: str) -> str:
    """One section of a report."""
    found = re.search(rf'<section id="{name}".*?</section>', html, re.S)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("ordinal", range(5))
def test_bands_have_the_words_and_numbers_of_review(faulty: Night, collector: Collector, ordinal: int) -> None:
    snapshot, night = collector.snapshot(), faulty.date(ordinal)
    bands = part(report_html(collector, snapshot, night), "bands")
    articles = re.findall(r"<article.*?</article>", bands, re.S)
    for band, article in zip(snapshot.bands, articles, strict=True):
        health = band_health(snapshot, night, band)
        said = words(article)
        assert said.startswith(f"{STATES[health.worst].sign} {health.sentence} ")
        for b in health.badges:
            state = STATES[b.state]
            told = " ".join(f"{b.subject} {state.sign} {state.word} {b.number or '–'} {b.unit} {b.words}".split())
            assert told in said


@pytest.mark.parametrize("ordinal", range(5))
def test_alerts_are_those_of_review_in_its_order(faulty: Night, collector: Collector, ordinal: int) -> None:
    snapshot, night = collector.snapshot(), faulty.date(ordinal)
    on_page = re.findall(r"<a data-nav [^>]*>(.*?)</a>", str(alerts_html(snapshot, night)))
    found = re.findall(r"<li><div>.*?<p>(.*?)</p>", part(report_html(collector, snapshot, night), "alerts"))
    assert found == on_page


def test_a_rejected_flat_shows_each_check_with_value_limit_and_unit(faulty: Night, collector: Collector) -> None:
    snapshot, night = collector.snapshot(), faulty.date(4)
    row = snapshot.flat(night, "H")
    assert row is not None
    said = words(part(report_html(collector, snapshot, night), "verdicts"))
    assert "H ✕ rejected cloud gradient" in said
    limit = snapshot.profile.limits_for("flat", "H", snapshot.profile.responsivity.read)["gradient"].value
    line = re.search(r"gradient edge-to-edge tilt of the ratio (.*?) % ", said)
    assert line is not None
    assert f"✕ {row['gradient']:.2f}" in line[1]
    assert line[1].endswith(f"≤ {limit:g}")


def test_maps_state_their_stretch(faulty: Night, collector: Collector) -> None:
    maps = part(report_html(collector, collector.snapshot(), faulty.date(4)), "maps")
    assert maps.count('src="data:image/png;base64,') == 9
    assert words(maps).count("−2 % +2 %") == 1
    assert words(maps).count("DN 0 is white, no data is magenta") == 2


def test_deviations_have_a_figure_for_every_band_and_product(faulty: Night, collector: Collector) -> None:
    snapshot, night = collector.snapshot(), faulty.date(4)
    figures = part(report_html(collector, snapshot, night), "deviations")
    assert figures.count("<svg ") == 2 * len(snapshot.bands)
    crosses = sum(
        f["status"] == "rejected" and f["night"] <= night and bool(f["cell_rms"]) for f in rows(faulty.root, "flats")
    )
    assert figures.count('class="cross"') >= crosses > 0


def test_a_hardware_period_is_shaded(faulty: Night, copy_of: Callable[[Night], Night]) -> None:
    own = copy_of(faulty)
    archive = Archive(own.root)
    decide(archive, who="Ada", kind="period", night=own.date(3), band="Ks", reason="new array")
    archive.close()
    said = _report(own, 4)
    assert part(said, "deviations").count('class="period"') == 2
    assert part(said, "deviations").count('class="edge"') == 2


def test_scans_name_their_stand_ins(faulty: Night, collector: Collector) -> None:
    snapshot, night = collector.snapshot(), faulty.date(1)
    table = words(part(report_html(collector, snapshot, night), "scans"))
    for r in rows(faulty.root, "scans", night=night):
        assert f"{r['scan']} {r['band']} {r['read']}" in table
        if r["dark_age_nights"]:
            assert str(r["dark_night"]) in table


def _report(night: Night, ordinal: int) -> str:
    collector = Collector(night.root)
    try:
        return report_html(collector, collector.snapshot(), night.date(ordinal))
    finally:
        collector.archive.close()


# People and text -----------------------------------------------------------------------------------------------------

EVIL = '<img src="http://evil.example/x" onerror="alert(1)"><script>alert(2)</script>{0}&amp;'


def test_what_people_wrote_is_text(faulty: Night, copy_of: Callable[[Night], Night]) -> None:
    own = copy_of(faulty)
    archive = Archive(own.root)
    decide(archive, who=EVIL, kind="sign-off", night=own.date(4), reason=EVIL)
    archive.close()
    html = _report(own, 4)
    assert "<script" not in html
    assert '<img src="http' not in html
    assert f"signed off by {EVIL} on " in words(part_header(html))
    assert EVIL in words(part(html, "decisions"))


def test_what_came_with_profile_and_rows_is_text(faulty: Night, collector: Collector) -> None:
    snapshot = collector.snapshot()
    profile = snapshot.profile.model_copy(update={"title": EVIL})
    alerts = snapshot.alerts.assign(text=EVIL, unit="<b>")
    scans = Scans.of_table(pd.concat(snapshot.scans.of(n) for n in snapshot.scans.nights).assign(cause=EVIL))
    flats = snapshot.flats.assign(cause=EVIL)
    altered = replace(snapshot, profile=profile, alerts=alerts, scans=scans, flats=flats)
    for ordinal in (1, 4):
        html = report_html(collector, altered, faulty.date(ordinal))
        assert "<script" not in html
        assert '<img src="http' not in html
        assert 'onerror="' not in html
    assert EVIL in words(html)


def part_header(html: str) -> str:
    found = re.search(r"<header>.*?</header>", html, re.S)
    assert found is not None
    return found[0]


def test_the_heading_says_who_signed_and_when_or_that_nobody_did(
    faulty: Night, collector: Collector, copy_of: Callable[[Night], Night]
) -> None:
    night = faulty.date(4)
    head = words(part_header(report_html(collector, collector.snapshot(), night)))
    assert "sign-off ? not signed" in head
    assert f"profile version 1, {collector.snapshot().profile.hash[:16]}" in head
    assert f"▲ newest data: {night}, " in head
    own = copy_of(faulty)
    archive = Archive(own.root)
    number = decide(archive, who="Ada", kind="sign-off", night=night, reason="looked at")
    assert "sign-off ● signed off by Ada on 2" in words(part_header(_report(own, 4)))
    decide(archive, who="Ada", kind="undo", undoes=number, reason="too early")
    archive.close()
    html = _report(own, 4)
    assert "not signed" in words(part_header(html))
    assert f"(undone by no. {number + 1})" in words(part(html, "decisions"))


def test_a_signature_on_what_has_changed_since_says_so(faulty: Night, collector: Collector) -> None:
    night = faulty.date(4)
    signed = {night: Signature("Ada", "1999-05-06T08:00:00.000Z", "", 1, changed=True)}
    html = report_html(collector, replace(collector.snapshot(), signed=signed), night)
    head = words(part_header(html))
    assert "● signed off by Ada on 1999-05-06 08:00 UTC ▲ the night no longer shows what was signed" in head


def test_an_acknowledged_alert_says_by_whom_until_when_and_why_and_a_resolved_one_is_gone(
    faulty: Night, copy_of: Callable[[Night], Night]
) -> None:
    own = copy_of(faulty)
    first, second = [a for a in rows(own.root, "alerts") if a["product"] != "scans"][:2]
    archive = Archive(own.root)
    for alert, more in ((first, {"kind": "acknowledge", "expires": "2199-12-31"}), (second, {"kind": "resolve"})):
        named = {n: alert[n] for n in ("night", "band", "product", "region", "metric")}
        decide(archive, who="Ada", reason="baffle ordered", **named, **more)
    archive.close()
    alerts = words(part(_report(own, 4), "alerts"))
    assert "acknowledged by Ada until 2199-12-31: baffle ordered" in alerts
    assert first["text"] in alerts
    assert second["text"] not in alerts


# Honest states -------------------------------------------------------------------------------------------------------


def bare(snapshot: Snapshot, activity: Activity) -> Snapshot:
    return replace(snapshot, alerts=snapshot.alerts.iloc[:0]).during(activity)


def test_a_night_without_data_is_never_good(collector: Collector) -> None:
    html = report_html(collector, bare(collector.snapshot(), Activity()), "1999-04-01")
    assert "Worst of the night: ? no data" in words(part_header(html))
    assert "No open alert, and nothing of this night was judged" in words(part(html, "alerts"))
    for name in ("bands", "alerts", "verdicts", "maps", "scans"):
        assert "✓" not in part(html, name)
        assert "●" not in part(html, name)
    assert words(part(html, "deviations")).count("nothing of tonight") == 6


@pytest.mark.parametrize(("since", "word"), [("2026-11-20T07:00:00Z", "in work"), ("", "not run")])
def test_a_night_in_work_or_not_run_says_so(collector: Collector, since: str, word: str) -> None:
    night = "1999-06-01"
    kinds = ("dark", "twilight", "scan")
    waiting = frozenset((night, b, k) for b in ("J", "H", "Ks") for k in kinds)
    snapshot = bare(collector.snapshot(), Activity(since, waiting))
    html = report_html(collector, snapshot, night)
    assert find_night(collector, snapshot, "latest") == night
    sign = {"in work": "…", "not run": "–"}[word]
    assert f"Worst of the night: {sign} {word}" in words(part_header(html))
    for name in ("bands", "alerts", "verdicts", "maps", "scans"):
        assert "✓" not in part(html, name)
    assert words(part(html, "bands")).count(f"{sign} {word}") == 15
    if since:
        assert "what it has yet to do is not in this report" in words(part_header(html))
        assert "the run at work has yet to judge what is new" in words(part(html, "alerts"))


# The command ---------------------------------------------------------------------------------------------------------


def call(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="monitor")


def test_the_command_writes_a_file_or_to_standard_output(faulty: Night, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    night = faulty.date(4)
    done = call("report", "latest", "--archive", faulty.root, "-o", out)
    assert done.exit_code == 0, done.output
    assert done.output == f"report of {night} in {out}\n"
    assert out.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    piped = call("report", night, "--archive", faulty.root, "-o", "-")
    assert piped.stdout.startswith("<!DOCTYPE html>")
    assert piped.stdout.endswith("</html>\n")


@pytest.mark.parametrize(
    ("night", "said"),
    [
        ("1998-01-01", "there is no night 1998-01-01 in .*; the nearest is .*, latest is "),
        ("yesterday", "'yesterday' is no night; give it as YYYY-MM-DD, or say latest"),
        ("<b>", "'<b>' is no night"),
    ],
)
def test_a_night_that_is_not_there_is_one_sentence(faulty: Night, tmp_path: Path, night: str, said: str) -> None:
    done = call("report", night, "--archive", faulty.root, "-o", tmp_path / "r.html")
    assert done.exit_code == 1
    assert re.match(f"monitor: {said}", done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_one_sentence(faulty: Night, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    for out in (tmp_path / "none" / "r.html", tmp_path / "taken"):
        done = call("report", "latest", "--archive", faulty.root, "-o", out)
        assert done.exit_code == 1
        assert re.fullmatch(rf"monitor: {out} cannot be written: .*; choose another place with -o\n", done.stderr)
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_an_archive_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = call("report", "latest", "--archive", tmp_path / "none", "-o", "-")
    assert done.exit_code == 1
    assert "holds no archive; make one with" in done.stderr


# In a browser --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(faulty: Night, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Reports of the quietest and the busiest night."""
    folder = tmp_path_factory.mktemp("reports")
    found = {}
    for ordinal in (0, 4):
        found[ordinal] = folder / f"{ordinal}.html"
        found[ordinal].write_text(_report(faulty, ordinal), "utf-8")
    return found


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_opens_offline_without_a_fault(
    browser: Any, files: dict[int, Path], size: tuple[int, int], theme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, offline=True, bypass_csp=True
    )
    page = context.new_page()
    faults: list[str] = []
    asked: list[str] = []
    page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.on("request", lambda r: asked.append(r.url))
    page.goto(files[4].as_uri())
    assert [a for a in asked if not a.startswith("data:")] == [files[4].as_uri()]
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(243, 245, 247)", "dark": "rgb(15, 21, 27)"}[theme]
    violations = Axe().run(page).response["violations"]
    assert not violations, [(v["id"], [n["html"][:120] for n in v["nodes"]][:3]) for v in violations]
    assert not faults
    context.close()


def test_its_own_rules_forbid_scripts_and_requests(browser: Any, files: dict[int, Path], tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.html"
    hole = '<script>document.title = "run"</script><img src="http://127.0.0.1:9/x"></main>'
    spoilt.write_text(files[0].read_text("utf-8").replace("</main>", hole), "utf-8")
    context = browser.new_context()
    page = context.new_page()
    left: list[str] = []
    page.on("requestfinished", lambda r: left.append(r.url))
    said: list[str] = []
    page.on("console", lambda m: said.append(m.text))
    page.goto(spoilt.as_uri())
    assert page.title() != "run"
    assert not [u for u in left if u.startswith("http")]
    assert sum("Content Security Policy" in s for s in said) == 2
    context.close()


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_it_prints_on_a_few_light_sheets(browser: Any, files: dict[int, Path], paper: str) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(files[4].as_uri())
    pdf = page.pdf(format=paper)
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 9
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(22, 32, 43)"
    context.close()
