"""The API: the same numbers as the page's, described by the same declaration, wrong questions answered in words."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from astropy.io import fits
from axe_playwright_python.sync_playwright import Axe
from browser_window import Served, Window
from PIL import Image
from small_camera import Night, rows
from web_client import Reply, Web

from calib.archive.integrity import is_as_recorded
from monitor.api.answers import Table, csv_bytes, json_bytes
from monitor.api.description import openapi
from monitor.api.parameters import Parameter, ParameterError, read_parameters
from monitor.api.routes import ROUTES, Route


@pytest.fixture
def ask(server: Served) -> Callable[..., Reply]:
    """Return a function that asks the server for an address below ``/api/v1/``."""
    web = Web(server.url)
    return lambda path, *args, **headers: web.ask(f"/api/v1/{path}", *args, **headers)


# Writing -------------------------------------------------------------------------------------------------------------


def test_what_is_not_a_number_is_null() -> None:
    assert json.loads(json_bytes({"a": [float("nan"), 1.5, float("inf")], "b": None})) == {
        "a": [None, 1.5, None],
        "b": None,
    }


def test_csv_is_data_for_a_spreadsheet_never_a_formula() -> None:
    cells = {"a": "=1+1", "b": -1.5, "c": None, "d": float("nan"), "e": [1, None], "f": True, "g": 'x,"y"\n'}
    first, second = csv.reader(io.StringIO(csv_bytes(Table(list(cells), [cells], 1)).decode()))
    assert first == list(cells)
    assert second == ["'=1+1", "-1.5", "", "", "[1, null]", "true", 'x,"y"\n']


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"limit": ["0"]}, "limit is a whole number from 1 to 10, not 0"),
        ({"limit": ["1_0"]}, "limit is a whole number from 1 to 10, not '1_0'"),
        ({"limit": ["1", "2"]}, "limit is given 2 times"),
        ({"night": ["1999-5-1"]}, "night is a night, YYYY-MM-DD, not '1999-5-1'"),
        ({"night": ["19990501"]}, "night is a night"),
        ({"low": ["nan"]}, "low is a number"),
        ({"kind": ["c"]}, "kind is one of a, b, not 'c'"),
        ({"other": ["1"]}, "'other' is no parameter of this address"),
        ({"kind": ["a" * 101]}, "kind is too long"),
        ({"kind": ["a\0"]}, "kind is too long, or not plain text"),
    ],
)
def test_a_wrong_parameter_is_named(given: dict[str, list[str]], words: str) -> None:
    declared = (
        Parameter("limit", "", "integer", least=1, most=10, default=5),
        Parameter("night", "", "night"),
        Parameter("low", "", "number"),
        Parameter("kind", "", choices=("a", "b")),
    )
    assert read_parameters(declared, {}, {}) == {"limit": 5, "night": None, "low": None, "kind": None}
    with pytest.raises(ParameterError, match=re.escape(words)):
        read_parameters(declared, {}, given)


# Tables --------------------------------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_archive(ask: Callable[..., Reply], faulty: Night) -> None:
    reply = ask("metrics?band=H&product=responsivity&region=array&metric=deviation")
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    expected = rows(faulty.root, "metrics", band="H", product="responsivity", region="array", metric="deviation")
    assert expected
    got = [{n: item[n] for n in ("night", "value", "error", "unit")} for item in reply.json["items"]]
    assert got == [{n: r[n] for n in ("night", "value", "error", "unit")} for r in expected]
    assert "key" not in reply.json["items"][0]


@pytest.mark.parametrize("table", ["darks", "flats", "scans", "sky-offsets", "alerts", "states", "files", "products"])
def test_every_table_is_there_whole(ask: Callable[..., Reply], faulty: Night, table: str) -> None:
    found = ask(f"{table}?limit=20000").json
    assert found["total"] == len(found["items"]) == len(rows(faulty.root, table.replace("-", "_")))


def test_nights_say_how_their_verdicts_fell(ask: Callable[..., Reply], faulty: Night) -> None:
    found = {item["night"]: item for item in ask("nights").json["items"]}
    assert sorted(found) == [faulty.date(k) for k in range(5)]
    night = faulty.date(4)
    flats = rows(faulty.root, "flats", night=night)
    assert found[night]["flats_rejected"] == sum(f["status"] == "rejected" for f in flats) == 1
    assert found[night]["scans"] == 3
    for night, item in found.items():
        offsets = [o["status"] for o in rows(faulty.root, "sky_offsets", night=night)]
        for status in ("accepted", "rejected"):
            assert item[f"sky_offsets_{status}"] == offsets.count(status), (night, status)
    whole = ask(f"nights/{night}").json
    assert whole["flats_rejected"] == 1
    assert {f["band"]: f["status"] for f in whole["tables"]["flats"]} == {f["band"]: f["status"] for f in flats}


def test_verdicts_are_one_list_that_can_be_narrowed(ask: Callable[..., Reply], faulty: Night) -> None:
    everything = ask("verdicts").json["items"]
    assert {v["product"] for v in everything} == {"dark", "flat", "sky-offset"}
    night = faulty.date(4)
    rejected = ask(f"nights/{night}/verdicts?product=flat&status=rejected").json["items"]
    assert [(v["night"], v["band"], v["override"]) for v in rejected] == [(night, "H", False)]
    assert "gradient" in rejected[0]["cause"]
    since = ask(f"verdicts?since={faulty.date(3)}&until={faulty.date(3)}").json["items"]
    assert {v["night"] for v in since} == {faulty.date(3)}


def test_pages_of_a_table_follow_each_other_to_the_end(ask: Callable[..., Reply], server: Served) -> None:
    total = ask("darks").json["total"]
    found, path = [], "/api/v1/darks?limit=9"
    while path:
        reply = Web(server.url).ask(path)
        found += reply.json["items"]
        path = reply.json["next"]
        assert (f'<{path}>; rel="next"' == reply.headers.get("Link")) or path is None
    assert len(found) == total
    assert len({(d["night"], d["band"], d["read"]) for d in found}) == total


def test_a_table_is_csv_too(ask: Callable[..., Reply]) -> None:
    reply = ask("flats?format=csv")
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert 'filename="flats.csv"' in reply.headers["Content-Disposition"]
    found = list(csv.DictReader(io.StringIO(reply.text)))
    items = ask("flats").json["items"]
    assert [f["status"] for f in found] == [i["status"] for i in items]
    assert list(found[0]) == list(items[0])


def test_an_unchanged_answer_is_not_sent_again(ask: Callable[..., Reply]) -> None:
    mark = ask("metrics?limit=50").headers["Etag"]
    again = ask("metrics?limit=50", If_None_Match=mark)
    assert (again.status, again.body) == (304, b"")
    assert ask("metrics?limit=51", If_None_Match=mark).status == 200
    assert again.headers["Cache-Control"] == "private, no-cache"


# Images --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("product", ["dark-R1", "dark-R2-R1", "responsivity", "canonical"])
def test_products_come_as_the_files_they_are(ask: Callable[..., Reply], faulty: Night, product: str) -> None:
    night = faulty.date(3)
    reply = ask(f"images/{night}/J/{product}.fits")
    path = faulty.root / "nights" / night / "J" / f"{product}.fits"
    assert reply.body == path.read_bytes()
    assert reply.headers["Content-Type"] == "application/fits"
    assert is_as_recorded(path, reply.headers["Etag"].strip('"'))
    assert f"{night}-J-{product}.fits" in reply.headers["Content-Disposition"]
    assert ask(f"images/{night}/J/{product}.fits", If_None_Match=reply.headers["Etag"]).status == 304
    head = ask(f"images/{night}/J/{product}.fits", "HEAD")
    assert (int(head.headers["Content-Length"]), head.body) == (len(reply.body), b"")


@pytest.mark.parametrize("product", ["reference-dark-R1", "reference-responsivity"])
def test_the_reference_is_that_of_the_nights_hardware_period(
    ask: Callable[..., Reply], faulty: Night, product: str
) -> None:
    path = faulty.root / "references" / "J" / "first-light" / f"{product.removeprefix('reference-')}.fits"
    assert ask(f"images/{faulty.date(3)}/J/{product}.fits").body == path.read_bytes()


def test_every_recorded_product_of_a_night_has_an_address_that_works(ask: Callable[..., Reply], server: Served) -> None:
    for item in ask("products").json["items"]:
        if item["night"] is None:
            assert item["href"] is None
        else:
            reply = Web(server.url).ask(item["href"], "HEAD")
            assert (reply.status, int(reply.headers["Content-Length"])) == (200, item["size"]), item["href"]


def test_a_picture_is_grey_between_two_values_with_the_first_row_at_the_bottom(
    ask: Callable[..., Reply], faulty: Night
) -> None:
    night = faulty.date(3)
    reply = ask(f"images/{night}/J/responsivity.png?low=0.9&high=1.1")
    assert reply.headers["Content-Type"] == "image/png"
    assert "black 0.9, white 1.1" in reply.headers["Vesper-Stretch"]
    found = np.asarray(Image.open(io.BytesIO(reply.body)))
    data = fits.getdata(faulty.root / "nights" / night / "J" / "responsivity.fits", "SCI")[::-1]
    good = np.isfinite(data)
    expected = np.clip((data - 0.9) / 0.2, 0, 1) * 255
    assert np.abs(found[..., 0][good] - expected[good]).max() <= 1
    assert ((found[..., 1] == 255) == good).all()
    larger = Image.open(io.BytesIO(ask(f"images/{night}/J/responsivity.png?zoom=3&extension=ERR").body))
    assert larger.size == (192, 192)


def test_scans_come_as_files_and_as_pictures_of_a_block_or_frame(ask: Callable[..., Reply], faulty: Night) -> None:
    night = faulty.date(1)
    offsets = f"scans/{night}/J/1/sky-offsets-R2-R1"
    reply = ask(f"{offsets}.fits")
    with fits.open(io.BytesIO(reply.body)) as hdus:
        n = hdus["SCI"].shape[0]
    assert ask(f"{offsets}.png?plane={n - 1}").status == 200
    beyond = ask(f"{offsets}.png?plane={n}")
    assert (beyond.status, beyond.json["error"]) == (400, f"plane is a whole number from 0 to {n - 1} here, not {n}")
    frames = ask(f"scans/{night}/J/1/frames-R2-R1.fits")
    assert frames.body == (faulty.root / "nights" / night / "J/scans/001/frames-R2-R1.fits").read_bytes()


# What is wrong -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("darks?limit=x", 400, "limit is a whole number from 1 to 20000, not 'x'"),
        ("darks?limit=99999", 400, "limit is a whole number from 1 to 20000, not 99999"),
        ("nights/1999-13-01", 400, "night is a night, YYYY-MM-DD, not '1999-13-01'"),
        ("nights/2050-01-01", 404, "there is no night 2050-01-01"),
        ("nights/2050-01-01/verdicts", 404, "there is no night 2050-01-01"),
        ("images/1999-05-01/J/flat.fits", 404, "there is no product 'flat' of 1999-05-01 J (there is"),
        ("images/1999-05-01/100%25/dark-R1.fits", 404, "there is no product 'dark-R1' of 1999-05-01 100%"),
        ("images/1999-05-01/J/dark-R1.png?extension=X", 400, "extension is one of SCI, ERR"),
        ("images/1999-05-01/J/dark-R1.png?low=2&high=1", 400, "low is a number below high"),
        ("scans/1999-05-02/J/one/frames-R1.fits", 400, "scan is a whole number from 0"),
        ("nothing", 404, "there is no such address"),
        ("verdicts?product=dark%20R1", 400, "product is one of dark, flat, sky-offset"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(ask: Callable[..., Reply], path: str, status: int, words: str) -> None:
    reply = ask(path)
    assert (reply.status, reply.json["status"]) == (status, status)
    assert words in reply.json["error"]
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_the_api_is_read_only(ask: Callable[..., Reply], method: str) -> None:
    reply = ask("decisions", method)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
    assert "read-only" in reply.json["error"]


# Description ---------------------------------------------------------------------------------------------------------


def example(route: Route) -> str:
    path = route.path
    for p in route.parameters:
        if p.in_path:
            path = path.replace(f"{{{p.name}}}", quote(p.example))
    return path


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: r.path)
def test_every_address_answers_as_it_is_described(server: Served, route: Route, faulty: Night) -> None:
    path = example(route).replace("1999-05-04", faulty.date(4))
    reply = Web(server.url).ask(path)
    assert reply.status == 200, reply.text
    described = openapi(False)["paths"][route.path]["get"]["responses"]["200"]["content"]
    kind = reply.headers["Content-Type"].split(";")[0]
    assert kind in described
    if route.columns is not None and reply.json["items"]:
        assert set(reply.json["items"][0]) == set(route.columns)
        types = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": (list, dict)}
        for name, of in route.columns.items():
            values: list[Any] = [i[name] for i in reply.json["items"] if i[name] is not None]
            assert all(isinstance(v, types[of]) for v in values), (name, of, values[:3])


def test_the_description_is_whole(server: Served) -> None:
    found = Web(server.url).ask("/api/openapi.json").json
    assert found == openapi(False)
    assert list(found["paths"]) == [r.path for r in ROUTES]
    names = [o["get"]["operationId"] for o in found["paths"].values()]
    assert len(set(names)) == len(names)
    for path, operations in found["paths"].items():
        declared = {p["name"] for p in operations["get"]["parameters"] if p["in"] == "path"}
        assert declared == set(re.findall(r"\{(\w+)\}", path))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_about_it_reads_well_offline(server: Served, window: Callable[..., Window], theme: str) -> None:
    page = window((390, 844), theme).page
    page.goto(f"{server.url}api/")
    assert page.locator("details").count() == len(ROUTES)
    page.locator("summary").nth(3).click()
    assert page.locator("details[open] dt").count() == len(ROUTES[3].parameters)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    faults = Axe().run(page).response["violations"]
    assert not faults, [(f["id"], f["nodes"][0]["html"]) for f in faults]
