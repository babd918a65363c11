"""The order in which nights arrive leaves no trace: any way of delivering them ends in the same archive."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from small_camera import assert_same, content, copy_archive, differences, rows, run, small, survey_of, write_raw

from calib.raw import find_raw
from calib.simulate import CloudGradient, MissingDark, MissingFlat, TooLittleChange, WarmUp

# A full run settles the reference over all nights only if not all of them are members.
PROFILE = small(("reference_nights = 20 ", "reference_nights = 3 "), ("window = 5 ", "window = 3 "))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six nights in J on which much goes wrong: nights without dark or flat, bad ones among the good."""
    survey = survey_of(6, scans={0: 1, 1: 1, 4: 1, 5: 1}).with_fault(
        TooLittleChange(night=0),
        MissingDark(night=1),
        CloudGradient(night=3, percent=4.0),
        MissingFlat(night=4),
        WarmUp(night=5),
    )
    return write_raw(survey, tmp_path_factory.mktemp("order") / "raw")


@pytest.fixture(scope="module")
def at_once(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = tmp_path_factory.mktemp("at-once") / "archive"
    run(archive, raw, PROFILE)
    return archive


def deliver(archive: Path, deliveries: Iterable[Iterable[Path]]) -> Path:
    """One run for each delivery."""
    for paths in deliveries:
        run(archive, paths, PROFILE)
    return archive


def test_the_nights_tell_a_story_with_every_kind_of_stand_in(at_once: Path) -> None:
    flats = {r["night"]: r for r in rows(at_once, "flats")}
    assert [r["status"] for r in flats.values()] == ["rejected", "accepted", "accepted", "rejected", "accepted"]
    assert flats["1999-05-02"]["dark_night"] == "1999-05-01"
    scans = {(r["night"], r["scan"], r["read"]): r for r in rows(at_once, "scans")}
    assert scans["1999-05-05", 1, "R1"]["canonical_night"] == "1999-05-04"
    assert scans["1999-05-06", 1, "R2-R1"]["dark_night"] == "1999-05-05"
    assert len(scans) == 8


def nights(raw: Path) -> list[Path]:
    return sorted(p for p in raw.iterdir() if p.is_dir())


ORDERS = {
    "in order": [0, 1, 2, 3, 4, 5],
    "in reverse": [5, 4, 3, 2, 1, 0],
    "a bad night late": [0, 1, 2, 4, 5, 3],
    "a night without dark first": [1, 3, 5, 4, 2, 0],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_one_night_a_run(order: Sequence[int], raw: Path, at_once: Path, tmp_path: Path) -> None:
    folders = nights(raw)
    assert_same(deliver(tmp_path / "archive", ([folders[k]] for k in order)), at_once)


def test_a_late_night_in_the_middle(raw: Path, at_once: Path, tmp_path: Path) -> None:
    folders = nights(raw)
    assert_same(deliver(tmp_path / "archive", [[*folders[:2], *folders[3:]], [folders[2]]]), at_once)


@pytest.mark.parametrize(
    "kinds",
    [["scan", "twilight", "dark"], ["dark", "scan", "twilight"]],
    ids="-".join,
)
def test_one_type_of_file_after_the_other(kinds: Sequence[str], raw: Path, at_once: Path, tmp_path: Path) -> None:
    files = find_raw([raw])
    assert_same(deliver(tmp_path / "archive", ([f for f in files if k in f.name] for k in kinds)), at_once)


@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_order_of_files(data: st.DataObject, raw: Path, at_once: Path) -> None:
    """Files in any order, in up to five runs, whatever night they belong to."""
    files = data.draw(st.permutations(find_raw([raw])), label="order")
    cuts = sorted(data.draw(st.sets(st.integers(1, len(files) - 1), max_size=4), label="cuts"))
    pieces = [files[a:b] for a, b in zip([0, *cuts], [*cuts, len(files)], strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        assert_same(deliver(Path(folder, "archive"), pieces), at_once)


def renamed(folder: Path, to: Path, prefix: str) -> dict[str, str]:
    """Copy a night under other names; return copy → original."""
    to.mkdir(parents=True)
    pairs = {}
    for path in sorted(folder.iterdir()):
        pairs[str(shutil.copy(path, to / f"{prefix}{path.name}"))] = str(path)
    return pairs


@pytest.mark.parametrize("copy_first", [False, True], ids=["original first", "copy first"])
def test_a_night_delivered_twice_under_other_names(copy_first: bool, raw: Path, at_once: Path, tmp_path: Path) -> None:
    folder = nights(raw)[3]
    again = tmp_path / "zz-again"
    names = renamed(folder, again, "copy-of-")
    archive = tmp_path / "archive"
    if copy_first:
        rest = [n for n in nights(raw) if n != folder]
        deliver(archive, [[again, *rest], [folder]])
    else:
        deliver(archive, [[raw], [again]])
    files = {r["path"]: r for r in rows(archive, "files")}
    for copy, original in names.items():
        first, second = sorted((copy, original))
        assert (files[first]["status"], files[second]["status"]) == ("used", "duplicate")
        assert files[second]["reason"] == f"same frames as {first}"
    told = differences(content(archive, names=names), content(at_once, names=names))
    if copy_first:
        # The products name the file they were made from; all they measured is the same.
        made_from_copy = [t for t in told if "scans/" in t or "1999-05-04/J/" in t or t.startswith("table products")]
        assert told == made_from_copy
    else:
        assert told == []


def test_a_second_run_over_everything_changes_nothing(raw: Path, at_once: Path, tmp_path: Path) -> None:
    archive = copy_archive(at_once, tmp_path / "archive")
    before = {p: p.stat().st_mtime_ns for p in archive.rglob("*.fits")}
    assert run(archive, raw, PROFILE).idle
    assert {p: p.stat().st_mtime_ns for p in archive.rglob("*.fits")} == before
    assert_same(archive, at_once)
