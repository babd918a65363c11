"""The page as its users meet it: in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from browser_window import IDLE, REPOSITORY, Served, Window
from small_camera import Night, copy_archive, small_text

from calib.archive import schema
from calib.archive.database import Archive
from monitor.address import PAGES
from monitor.server import free_port

pytest.importorskip("pytest_playwright")
pytestmark = pytest.mark.slow

WIDE, NARROW = (1440, 900), (390, 844)
Open = Callable[..., Window]


def query(page: Any) -> dict[str, str]:
    return page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")


def arrive(window_page: Any, /, **parts: str) -> None:
    """Wait until the address says so."""
    window_page.wait_for_function(
        "parts => { const q = new URLSearchParams(location.search);"
        " return Object.entries(parts).every(([k, v]) => q.get(k) === v) }",
        arg=parts,
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_page_opens(server: Served, window: Open, size: tuple[int, int], theme: str) -> None:
    """In both themes, as wide as the window, and without a serious obstacle to whoever uses it otherwise."""
    w = window(size, theme)
    page = w.open(server.url)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    assert page.evaluate("document.documentElement.lang") == "en"
    faults = []
    for name, title in PAGES.items():
        w.go(name)
        assert page.title().startswith(f"{title} · ")
        failed = page.locator("#main [role=alert]")
        if failed.count():
            faults.append(f"{name}: {failed.first.inner_text()}")
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            faults.append(f"{name} is {wide} px wider than the window")
        if size == WIDE:
            faults += [f"{name}: {words}" for words in obstacles(page)]
    assert not faults, "\n".join(faults)


def obstacles(page: Any) -> list[str]:
    """What axe finds, but for trifles and for Bokeh's own elements, which are not ours to mend."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    return [
        f"{found['id']} ({found['help']}): {node['target']} {node['html'][:160]}"
        for found in axe.Axe().run(page).response["violations"]
        if found["impact"] != "minor"
        for node in found["nodes"]
        if not node["html"].startswith(('<div class="bk-', "<canvas"))
    ]


def telling_views(faulty: Night) -> list[dict[str, str]]:
    """Views that show what a quiet night does not: cells far off, stand-ins, rejected blocks, a pixel, the books."""
    jump, step, last = faulty.date(3), faulty.date(2), faulty.date(4)
    return [
        {"page": "review", "night": step},
        {"page": "review", "night": "2099-01-01"},
        {"page": "night", "night": jump, "band": "Ks", "product": "dark R2-R1", "x": "10", "y": "20"},
        {"page": "night", "night": step, "band": "J", "product": "responsivity"},
        {"page": "night", "night": faulty.date(1), "band": "H"},
        {"page": "flats", "image": f"{step} J"},
        {"page": "flats", "product": "sky-offsets"},
        {"page": "scans", "night": faulty.date(1)},
        {"page": "scans", "night": step},
        {"page": "scan", "night": faulty.date(1), "band": "H", "scan": "1", "block": "0"},
        {"page": "trends", "night": last, "filter": "explore"},
        {"page": "log", "product": "alerts"},
        {"page": "log", "product": "files"},
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_stands_in_the_way(
    server: Served, faulty: Night, window: Open, size: tuple[int, int], theme: str
) -> None:
    """Every page in the nights that fill it: one heading, enough contrast, links that are more than a colour."""
    w = window(size, theme)
    faults = []
    for view in telling_views(faulty):
        page = w.open(f"{server.url}?{urlencode(view)}")
        w.settle()
        heads = page.locator("h1").all_inner_texts()
        if len(heads) != 1:
            faults.append(f"{view}: {len(heads)} main headings {heads}")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            faults.append(f"{view}: wider than the window")
        faults += [f"{view}: {words}" for words in obstacles(page)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", list(PAGES))
def test_an_address_opens_its_view(server: Served, faulty: Night, window: Open, name: str) -> None:
    night = faulty.date(2)
    w = window()
    page = w.open(f"{server.url}?page={name}&night={night}&band=H")
    assert page.locator("#night").input_value() == night
    assert page.locator("#rail [aria-current=page]").inner_text().strip() == PAGES[name]
    assert {"page": name, "night": night, "band": "H"}.items() <= query(page).items()
    assert page.locator("#main [role=alert]").count() == 0


def test_what_an_address_cannot_mean_is_left_out(server: Served, window: Open) -> None:
    w = window()
    page = w.open(f"{server.url}?page=nowhere&night=yesterday&band=%3Cscript%3E&scan=-1&x=9999999&unknown=1")
    assert page.locator("#rail [aria-current=page]").inner_text().strip() == "Review"
    assert query(page) == {"page": "review"}


def test_back_returns_to_the_view_before(server: Served, faulty: Night, window: Open) -> None:
    w = window()
    page = w.open(f"{server.url}?page=review&night={faulty.date(3)}")
    w.go("log")
    page.locator("#previous").click()
    arrive(page, page="log", night=faulty.date(2))
    page.go_back()
    arrive(page, page="log", night=faulty.date(3))
    page.wait_for_function(f"() => document.title.includes('{faulty.date(3)}')")
    page.go_back()
    arrive(page, page="review", night=faulty.date(3))
    page.locator("#rail-review[aria-current=page]").wait_for()
    # The same step as before is a step again.
    w.go("log")
    arrive(page, page="log", night=faulty.date(3))
    page.go_back()
    arrive(page, page="review")
    page.go_forward()
    page.locator("#rail-log[aria-current=page]").wait_for()
    w.settle()


def test_nights_are_stepped_by_button_and_calendar(server: Served, faulty: Night, window: Open) -> None:
    w = window()
    page = w.open(server.url)
    assert page.locator("#next").is_disabled()
    page.locator("#previous").click()
    arrive(page, night=faulty.date(3))
    page.locator("#night").fill(faulty.date(0))
    arrive(page, night=faulty.date(0))
    page.locator("#previous[disabled]").wait_for()
    for _ in range(3):
        page.locator("#next").click()
    arrive(page, night=faulty.date(3))
    w.settle()


def test_the_keyboard_serves_the_routine(server: Served, faulty: Night, window: Open) -> None:
    w = window()
    page = w.open(server.url)
    page.keyboard.press("ArrowLeft")
    arrive(page, night=faulty.date(3))
    page.keyboard.press("ArrowRight")
    arrive(page, night=faulty.date(4))
    for number, name in enumerate(PAGES, start=1):
        page.keyboard.press(str(number))
        arrive(page, page=name)
        page.locator(f"#rail-{name}[aria-current=page]").wait_for()
        w.settle()
    # None is lost, however quickly they come.
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    arrive(page, night=faulty.date(0))
    # A key that is typed into a field is the field's own.
    page.keyboard.press("1")
    arrive(page, page="review")
    page.locator("#night").focus()
    page.keyboard.press("3")
    w.settle()
    assert query(page)["page"] == "review"


def test_the_theme_is_kept(server: Served, window: Open) -> None:
    w = window(theme="light")
    page = w.open(server.url)
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.keyboard.press("t")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    assert page.evaluate(ground) != before
    w.settle()
    page.reload()
    page.wait_for_function(IDLE)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("#theme").click()
    page.wait_for_function("() => document.documentElement.dataset.theme === 'light'")
    w.settle()


def test_a_night_that_a_run_adds_appears(
    faulty: Night, copy_of: Callable[[Night], Night], serve: Callable[[Path], Served], window: Open, tmp_path: Path
) -> None:
    night = copy_of(faulty)
    served = serve(night.root)
    w, elsewhere = window(), window()
    page = w.open(served.url)
    other = elsewhere.open(f"{served.url}?page=review&night={faulty.date(2)}")
    assert page.locator("#night").input_value() == faulty.date(4)
    (tmp_path / "small.toml").write_text(small_text(), "utf-8")
    later = faulty.raw.with_name("raw-later")
    run = [sys.executable, "-m", "calib.cli", "run", str(later), "--archive", str(night.root), "--instrument"]
    subprocess.run([*run, str(tmp_path / "small.toml")], cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    page.wait_for_function(f"() => document.title.includes('{faulty.date(5)}')", timeout=15_000)
    page.locator(f"h1:has-text('{faulty.date(5)}')").wait_for(state="attached")
    # Whoever looks at another night is left there, and may step on to the new one.
    assert other.locator("#night").input_value() == faulty.date(2)
    other.wait_for_function(f"() => !!Bokeh && document.title.includes('{faulty.date(2)}')")
    w.settle()


MARKUP = "<script>window.__run = 1</script><img src=nowhere onerror='window.__run = 1'><b>bold</b>"


def test_text_of_headers_stays_text(
    faulty: Night, copy_of: Callable[[Night], Night], serve: Callable[[Path], Served], window: Open
) -> None:
    night = copy_of(faulty)
    archive = Archive(night.root)
    with archive.begin() as connection:
        for table, columns in {
            schema.darks: ("cause",),
            schema.flats: ("cause",),
            schema.scans: ("cause",),
            schema.sky_offsets: ("cause",),
            schema.alerts: ("text",),
            schema.files: ("reason",),
        }.items():
            connection.execute(sa.update(table).values(dict.fromkeys(columns, MARKUP)))
        connection.execute(
            sa.insert(schema.decisions).values(
                time="2000-01-01T00:00:00.000Z",
                who=MARKUP,
                kind="sign-off",
                night=night.date(4),
                reason=MARKUP,
            )
        )
        first = connection.execute(sa.select(schema.files.c.path).limit(1)).scalar_one()
        connection.execute(
            sa.update(schema.files)
            .where(schema.files.c.path == first)
            .values(path=first.replace(".fits", f"{MARKUP}.fits"), status="refused")
        )
    archive.close()
    served = serve(night.root)
    w = window()
    page = w.open(f"{served.url}?page=review&night={night.date(4)}")
    assert page.get_by_text("<script>window.__run", exact=False).count() > 0
    for name in PAGES:
        w.go(name)
        page.wait_for_timeout(200)
        assert page.evaluate("window.__run") is None, name
        assert page.locator("img[src=nowhere]").count() == 0, name
        assert page.locator("#main b", has_text=re.compile("^bold$")).count() == 0, name


def test_the_page_comes_back_after_a_restart(faulty: Night, serve: Callable[[Path], Served], window: Open) -> None:
    served = serve(faulty.root)
    w = window()
    page = w.open(f"{served.url}?page=review&night={faulty.date(3)}")
    page.locator("#previous").click()
    arrive(page, night=faulty.date(2))
    page.evaluate("window.__before = true")
    w.allowed = ["console: Failed to load resource", "console: WebSocket connection", "console: [bokeh"]
    served.stop()
    page.locator("#notice", has_text="Connection lost").wait_for()
    served.start()
    page.wait_for_function("() => !window.__before")
    page.wait_for_function(IDLE)
    page.locator("#notice").wait_for(state="hidden")
    assert query(page)["night"] == faulty.date(2)
    assert page.locator("#night").input_value() == faulty.date(2)


SOCKETS = """
const Own = WebSocket; window.sockets = []
window.WebSocket = class extends Own { constructor(...given) { super(...given); sockets.push(this) } }
"""


def test_the_page_comes_back_after_a_sleep(server: Served, faulty: Night, window: Open) -> None:
    """A machine that sleeps loses its connection, and with it the session on the server; the address is enough."""
    w = window((1000, 500))
    w.page.add_init_script(SOCKETS)
    page = w.open(f"{server.url}?page=review&night={faulty.date(1)}")
    page.evaluate("window.before = true; scrollTo(0, 300)")
    page.evaluate("sockets[0].close()")
    page.wait_for_function("() => !window.before")
    page.wait_for_function(IDLE)
    page.wait_for_function("() => scrollY === 300")
    assert page.locator("#night").input_value() == faulty.date(1)
    page.locator("#next").click()
    arrive(page, night=faulty.date(2))
    w.settle()


def test_an_archive_that_comes_later(
    faulty: Night, serve: Callable[[Path], Served], window: Open, tmp_path: Path
) -> None:
    root = tmp_path / "later"
    served = serve(root)
    w = window(NARROW)
    page = w.page
    page.goto(served.url)

    def says(words: str) -> None:
        page.get_by_role("status").filter(has_text=words).wait_for()
        assert page.locator("h1").inner_text() == "Nothing to show yet"

    def put(folder: Path) -> None:
        """Put another archive in the place of the one that is there."""
        shutil.rmtree(root, ignore_errors=True)
        folder.rename(root)

    for name in ("old", "new"):
        Archive(tmp_path / name, create=True).close()
    old = Archive(tmp_path / "old")
    with old.begin() as connection:
        connection.execute(sa.update(schema.meta).values(value="0"))
    old.close()
    says("holds no archive; make one with `calib run")
    put(tmp_path / "old")
    says("has schema version 0, this program knows")
    put(tmp_path / "new")
    says("is empty; fill it with `calib run")
    put(copy_archive(faulty.root, tmp_path / "filled"))
    page.wait_for_function(IDLE)
    page.locator("#night").wait_for()
    assert page.locator("#night").input_value() == faulty.date(4)
    # It goes away under the page, which says so and stays; and comes back.
    root.rename(root.with_name("away"))
    page.locator("#notice", has_text="cannot be read").wait_for()
    assert page.locator("#night").input_value() == faulty.date(4)
    root.with_name("away").rename(root)
    page.locator("#notice").wait_for(state="hidden")


@pytest.mark.parametrize("name", ["limits", "scans", "trends"])
def test_tables_fit_a_phone(server: Served, faulty: Night, window: Open, name: str) -> None:
    """Nothing lies out of sight to the right: rows are cards, and each number has its title."""
    w = window(NARROW)
    page = w.open(f"{server.url}?page={name}&night={faulty.date(4)}")
    boxes = page.locator("#main .wide-table")
    assert boxes.count() > 0
    assert boxes.evaluate_all("all => all.filter(e => e.scrollWidth > e.clientWidth + 1).length") == 0
    titles = "all => all.every(e => getComputedStyle(e, '::before').content.length > 2)"
    assert page.locator("#main .stacked td[data-head]:visible").evaluate_all(titles)


def test_a_wide_table_shows_that_it_goes_on(server: Served, window: Open) -> None:
    """Of a table that does not fit, a veil lies at the edge behind which there is more."""
    w = window((900, 700))
    page = w.open(f"{server.url}?page=scans")
    box = page.locator("#main .wide-table").first
    assert box.evaluate("e => e.scrollWidth > e.clientWidth")

    def brightness(right: bool) -> float:
        from io import BytesIO

        from PIL import Image

        picture = Image.open(BytesIO(box.screenshot())).convert("L")
        x = picture.width - 3 if right else 2
        return sum(picture.getpixel((x, y)) for y in range(60, picture.height - 20)) / (picture.height - 80)

    assert brightness(right=False) - brightness(right=True) > 15
    box.evaluate("e => e.scrollLeft = e.scrollWidth")
    assert brightness(right=True) - brightness(right=False) > 15


def test_a_page_that_is_left_and_opened_again_shows_what_is_now(server: Served, faulty: Night, window: Open) -> None:
    """The images stay in the browser, out of sight, and are those of the night that is chosen meanwhile."""
    w = window()
    page = w.open(f"{server.url}?page=night&night={faulty.date(3)}&band=J")
    canvas = "() => [...Bokeh.documents[0].all_models].filter(m => m.type === 'Image').map(m => m.id).sort().join()"
    before = page.evaluate(canvas)
    w.go("review")
    assert page.locator("h1:visible, h1.sr").first.inner_text() == f"Review of {faulty.date(3)}"
    assert page.locator("#other").is_hidden()
    page.locator("#previous").click()
    arrive(page, night=faulty.date(2))
    w.go("night")
    assert page.evaluate(canvas) == before
    titles = "() => [...Bokeh.documents[0].all_models].filter(m => m.type === 'Title').map(m => m.text)"
    assert any(f"J · {faulty.date(2)}" in t for t in page.evaluate(titles))
    box = page.locator("#main canvas").first.bounding_box()
    assert box is not None
    assert box["width"] > 300
    # In another theme it is built anew.
    page.keyboard.press("t")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    page.wait_for_function(f"before => ({canvas})() !== before", arg=before)
    w.settle()


@pytest.fixture(scope="module")
def long_server(faulty: Night, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The rows of the archive many times over: 1300 nights."""
    from tests.bench.page import lengthen

    root = lengthen(faulty.root, tmp_path_factory.mktemp("long") / "archive", 1300)
    served = Served(root, free_port())
    served.start()
    yield served
    served.stop()


def test_a_long_survey_is_dragged_and_zoomed(long_server: Served, faulty: Night, window: Open) -> None:
    w = window()
    page = w.open(f"{long_server.url}?page=trends&night={faulty.date(4)}&days=60")
    read = (
        "() => { const all = [...Bokeh.documents[0].all_models];"
        " const s = all.find(m => m.type === 'RangeTool').x_range; return [s.start, s.end] }"
    )
    before, day = page.evaluate(read), 86_400_000
    assert 55 < (before[1] - before[0]) / day < 65
    shown = "() => [...Bokeh.documents[0].all_models].filter(m => m.type === 'ColumnDataSource' && m.data.true)"
    assert page.evaluate(f"({shown})().map(s => s.data.true.length)")[0] >= 1000
    # The strip is the last figure with a canvas; its window is at the right end.
    strip = page.locator("#main canvas:visible").last.bounding_box()
    assert strip is not None
    y, right = strip["y"] + 30, strip["x"] + strip["width"] - 46
    page.mouse.move(right, y)
    page.mouse.down()
    for step in range(1, 9):
        page.mouse.move(right - 50 * step, y)
    page.mouse.up()
    page.wait_for_function(f"before => ({read})()[0] < before - 200 * {day}", arg=before[0], timeout=3000)
    moved = page.evaluate(read)
    assert (moved[1] - moved[0]) == pytest.approx(before[1] - before[0], rel=0.01)
    w.settle()
    # The wheel over a series zooms all of them, and the night stays.
    first = page.locator("#main canvas:visible").first.bounding_box()
    assert first is not None
    page.locator(".bk-tool-icon-wheel-zoom, [title='Wheel Zoom (x-axis)']").first.click(force=True)
    page.mouse.move(first["x"] + first["width"] / 2, first["y"] + 80)
    page.mouse.wheel(0, -400)
    page.wait_for_function(
        f"span => {{ const [a, b] = ({read})(); return b - a < 0.9 * span }}", arg=moved[1] - moved[0], timeout=3000
    )
    w.settle()
    assert query(page)["night"] == faulty.date(4)
