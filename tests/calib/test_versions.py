"""Versions of the profile: append-only, with who and why, and never over somebody else's."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from small_camera import Night, rows, run, small, small_text

from calib.archive import schema
from calib.archive.database import Archive
from calib.archive.versions import PIPELINE, replaced_words, save_version, versions
from calib.cli import main
from calib.errors import ArchiveError, DecisionConflict, DecisionError, ProfileError
from calib.limits import changed_profile
from calib.profile import Profile, load_profile, validate_profile
from calib.survey import run_survey
from calib.watch import Watch


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive that knows its first profile, and nothing else."""
    archive = Archive(tmp_path / "archive", create=True)
    archive.register_profile(small())
    return archive


def wider(limit: float) -> Profile:
    return changed_profile(small(), {"limits.flat.gradient.max": limit})


def test_the_first_run_brings_version_one(archive: Archive) -> None:
    (first,) = versions(archive)
    assert (first.number, first.who, first.parent, first.hash) == (1, PIPELINE, "", small().hash)
    assert first.profile == small()
    assert archive.register_profile(small()) == 1


def test_a_saved_version_is_the_current_profile_and_says_who_and_why(archive: Archive) -> None:
    revision = archive.revision()
    assert save_version(archive, wider(0.9), who=" ann ", reason=" too strict ", seen=1) == 2
    first, second = versions(archive)
    assert (second.number, second.who, second.reason, second.parent) == (2, "ann", "too strict", first.hash)
    assert [c.words() for c in second.changes(first)] == ["limits.flat.gradient.max 0.7 → 0.9"]
    assert archive.current_profile() == wider(0.9)
    assert archive.revision() > revision


def test_going_back_is_a_version_of_its_own(archive: Archive) -> None:
    save_version(archive, wider(0.9), who="ann", reason="too strict", seen=1)
    save_version(archive, small(), who="bob", reason="it was right", seen=2)
    assert [v.who for v in versions(archive)] == [PIPELINE, "ann", "bob"]
    assert archive.current_profile() == small()


def test_a_version_saved_meanwhile_is_not_overwritten(archive: Archive) -> None:
    save_version(archive, wider(0.9), who="ann", reason="too strict", seen=1)
    with pytest.raises(DecisionConflict, match=r"version 2 was saved by ann at \d{4}-.* UTC, .*version 1"):
        save_version(archive, wider(0.8), who="bob", reason="a little", seen=1)
    assert archive.current_profile() == wider(0.9)


def test_of_two_who_save_at_once_one_is_told(archive: Archive) -> None:
    start, told = threading.Barrier(4), []

    def save(k: int) -> None:
        start.wait()
        try:
            save_version(archive, wider(0.8 + k / 100), who=f"person {k}", reason="mine", seen=1)
        except DecisionConflict as error:
            told.append(str(error))

    threads = [threading.Thread(target=save, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(told) == 3
    assert [v.number for v in versions(archive)] == [1, 2]


@pytest.mark.parametrize(
    ("who", "reason", "limit", "words"),
    [
        ("", "why", 0.9, "needs a name"),
        ("ann", " ", 0.9, "needs a reason"),
        ("ann", "x" * 2001, 0.9, "at most 2000"),
        ("ann", "why", 0.7, "nothing differs from version 1"),
    ],
)
def test_what_cannot_be_saved_says_why(archive: Archive, who: str, reason: str, limit: float, words: str) -> None:
    with pytest.raises(DecisionError, match=words):
        save_version(archive, wider(limit), who=who, reason=reason, seen=1)
    assert len(versions(archive)) == 1


def test_a_profile_with_faults_is_not_saved(archive: Archive) -> None:
    broken = small().model_copy(update={"limits": {}})
    with pytest.raises(ProfileError, match=r"limits\.dark\.frames: missing"):
        save_version(archive, broken, who="ann", reason="why", seen=1)


def test_an_archive_without_a_profile_has_none_to_change(tmp_path: Path) -> None:
    empty = Archive(tmp_path / "empty", create=True)
    with pytest.raises(DecisionError, match="no profile yet"):
        save_version(empty, wider(0.9), who="ann", reason="why", seen=1)
    assert empty.current_profile() is None


def test_a_run_with_another_profile_is_a_version_that_says_what_differs(archive: Archive) -> None:
    save_version(archive, wider(0.9), who="ann", reason="too strict", seen=1)
    words = replaced_words(archive, small())
    assert words == (
        "this profile replaces version 2 of the archive (ann: too strict): limits.flat.gradient.max 0.9 → 0.7"
    )
    assert archive.register_profile(small()) == 3
    assert versions(archive)[-1].who == PIPELINE
    assert "limits.flat.gradient.max 0.9 → 0.7" in versions(archive)[-1].reason
    assert replaced_words(archive, small()) == ""


def test_the_next_run_settles_the_archive_under_the_saved_version(settled: Night) -> None:
    archive = Archive(settled.root)
    # No flat has so large a range: all of them fail.
    strict = changed_profile(small(), {"limits.flat.range.J": 50.0})
    save_version(archive, strict, who="ann", reason="more light", seen=1)
    assert {r["profile_hash"] for r in rows(settled.root, "flats")} == {small().hash}
    current = archive.current_profile()
    assert current is not None
    run(archive, settled.raw, current)
    assert {r["status"] for r in rows(settled.root, "flats", band="J")} == {"rejected"}
    assert {r["status"] for r in rows(settled.root, "flats", band="H")} == {"accepted"}
    for table in ("darks", "flats", "scans"):
        assert {r["profile_hash"] for r in rows(settled.root, table)} <= {strict.hash}


def lacking_h() -> Profile:
    """The small camera without the band H."""
    data = small().model_dump(mode="json")
    data["bands"].remove("H")
    for table in (data["detector"]["gain_e_per_dn"], data["header"]["band"]["values"]):
        del table["H"]
    for read in data["reads"].values():
        del read["read_noise_e"]["H"]
    return validate_profile({**data, "name": "jk"}, "jk")


def state_of(root: Path) -> dict[str, object]:
    return {name: rows(root, name) for name in ("profiles", "files", "runs", "products", "darks")}


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (load_profile("nirc2"), "profile nirc2 is for band Ks of 1024×1024 pixels (8×8 cells) in read CDS"),
        (
            small(("shape = [64, 64]", "shape = [32, 32]")),
            "profile 2mass is for bands J, H, Ks of 32×32 pixels (4×4 cells)",
        ),
        (
            small(("cells = [4, 4]", "cells = [8, 8]")),
            "profile 2mass is for bands J, H, Ks of 64×64 pixels (8×8 cells)",
        ),
        (lacking_h(), "profile jk is for bands J, Ks of 64×64 pixels (4×4 cells)"),
    ],
)
def test_the_profile_of_another_camera_is_refused_before_anything_is_written(
    settled: Night, profile: Profile, words: str, tmp_path: Path
) -> None:
    before = state_of(settled.root)
    told = re.escape(f"holds bands J, H of 64×64 pixels (4×4 cells) in reads R1, R2-R1; {words}")
    with pytest.raises(ArchiveError, match=told):
        run(settled.root, settled.raw / settled.date(0), profile)
    with pytest.raises(ArchiveError, match=told):
        replaced_words(Archive(settled.root), profile)
    with pytest.raises(ArchiveError, match=told):
        Watch(Archive(settled.root), [tmp_path], instrument=profile, say=print, stop=lambda: True).run()
    assert state_of(settled.root) == before
    assert run(settled.root, settled.raw).idle


def test_an_archive_that_an_older_program_gave_another_camera_says_so_and_finds_back(settled: Night) -> None:
    archive, other = Archive(settled.root), load_profile("nirc2")
    row = {"version": 2, "hash": other.hash, "name": "nirc2", "content": other.model_dump(mode="json"), "time": ""}
    with archive.begin() as connection:
        connection.execute(sa.insert(schema.profiles).values(**row, who=PIPELINE, reason="", parent=small().hash))
    with pytest.raises(ArchiveError, match="profile nirc2 is for"):
        run_survey(archive, None, [settled.raw])
    run(archive, settled.raw)
    assert archive.current_profile() == small()


def test_bands_that_have_no_files_may_come_and_go(settled: Night) -> None:
    data = small().model_dump(mode="json")
    data["bands"].append("L")
    data["header"]["band"]["values"]["L"] = ["L"]
    data["detector"]["gain_e_per_dn"]["L"] = 8.0
    for read in data["reads"].values():
        read["read_noise_e"]["L"] = 40.0
    more = validate_profile(data, "more")
    run(settled.root, settled.raw, more)
    assert Archive(settled.root).current_profile() == more
    run(settled.root, settled.raw, small())
    assert Archive(settled.root).current_profile() == small()


def test_where_nothing_was_made_another_camera_may_follow(tmp_path: Path, settled: Night) -> None:
    run(tmp_path / "new", settled.raw / settled.date(0), load_profile("nirc2"))
    assert run(tmp_path / "new", settled.raw / settled.date(0)).products


# The shell ------------------------------------------------------------------------------------------------------------


def call(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == status, result.output
    return str(result.output)


def test_the_shell_tells_flips_and_saves_nothing_until_told(settled: Night) -> None:
    command = ("profile", "set", "limits.flat.range.J=50", "--archive", settled.root)
    told = call(*command, "--dry-run")
    assert "flats: 4 of 8 flip: J 4 accepted → rejected" in told
    assert f"{settled.date(3)} J flat: accepted → rejected, range " in told
    assert "(limit 1.3 → 50)" in told
    assert len(rows(settled.root, "profiles")) == 1
    assert "needs a --reason" in call(*command, status=1)
    told = call(*command, "--who", "ann", "--reason", "more light")
    assert "version 2 saved; the next `calib run --archive" in told
    lines = call("profile", "versions", "--archive", settled.root).splitlines()
    assert lines[0].startswith("1  ")
    assert lines[1].endswith("UTC  ann: more light")
    assert lines[2].strip() == "limits.flat.range.J none → 50"


def test_the_shell_tells_of_alerts_and_refuses_what_is_no_limit(settled: Night) -> None:
    base = ("profile", "set", "--archive", settled.root, "--dry-run")
    assert "alerts: 0 change" in call(*base, "drift.significance=6")
    assert "limits.flat.rnge.min: no such limit; did you mean limits.flat.range.min" in call(
        *base, "limits.flat.rnge.min=2", status=1
    )
    told = call(*base, "limits.flat.range.min=two", "drift.significance", status=1)
    assert "limits.flat.range.min: not a number (given: 'two')" in told
    assert "drift.significance: give it as KEY=VALUE" in told


def test_a_run_with_another_profile_says_what_it_replaces(settled: Night, tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text(small_text(("gradient = { max = 0.7 }", "gradient = { max = 0.8 }")), "utf-8")
    told = call("run", settled.raw, "--archive", settled.root, "--instrument", file)
    assert "this profile replaces version 1 of the archive (pipeline: the first profile" in told
    assert "limits.flat.gradient.max 0.7 → 0.8" in told
    assert "replaces" not in call("run", settled.raw, "--archive", settled.root, "--instrument", file)
