"""The command ``calib``: help, exit status, one sentence for errors, output that programs can read."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from small_camera import Night, assert_same, rows, small_text

from calib import __version__
from calib.archive.database import Archive
from calib.archive.tables import EXPORTS
from calib.cli import main

ROOT = Path(__file__).parents[2]


def call(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="calib")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def fails(*arguments: object) -> str:
    """Standard error of a command that ends with status 1: one sentence, no traceback."""
    result = call(*arguments, status=1)
    text = "".join(line for line in result.stderr.splitlines(keepends=True) if not line.startswith("run: "))
    assert text.startswith("calib: ")
    assert "Traceback" not in text
    return text


def commands(group: click.Group = main, name: str = "calib") -> Iterator[tuple[str, click.Command]]:
    for word, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


COMMANDS = dict(commands())


# Help ------------------------------------------------------------------------------------------------------------


def test_the_commands() -> None:
    assert {
        "calib simulate",
        "calib run",
        "calib status",
        "calib export",
        "calib verify",
        "calib lineage",
        "calib decide override",
        "calib decide period",
        "calib decide acknowledge",
        "calib decide dismiss",
        "calib decide note",
        "calib decide resolve",
        "calib decide sign-off",
        "calib decide undo",
        "calib profile check",
    } <= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option_and_argument(name: str) -> None:
    text = call(*name.split()[1:], "--help").output
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert all(o in text for o in parameter.opts), parameter.name
            assert parameter.help, f"{name} --{parameter.name} has no help"
        else:
            assert parameter.make_metavar(click.Context(command)).strip("[]. ") in text
    assert call(*name.split()[1:], "-h").output == text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_names_every_command(name: str) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.split("\n## Commands\n")[1].split("\n## ")[0]
    # The decisions stand together in one row.
    wanted = "calib decide" if name.startswith("calib decide") else name
    assert f"`{wanted}" in section


@pytest.mark.parametrize("word", sorted({n.split()[-1] for n in COMMANDS if n.startswith("calib decide")}))
def test_the_readme_names_every_decision(word: str) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    (row,) = (line for line in readme.splitlines() if line.startswith("| `calib decide"))
    assert word.replace("period", "hardware period").replace("sign-off", "sign off") in row


def test_the_readme_names_no_option_that_is_not_there() -> None:
    section = (ROOT / "README.md").read_text("utf-8").split("\n## Commands\n")[1].split("\n## ")[0]
    for line in section.splitlines():
        match = re.match(r"\| `(calib [a-z]+(?: check)?)", line)
        if match and match[1] in COMMANDS:
            known = {o for p in COMMANDS[match[1]].params for o in (*p.opts, *p.secondary_opts)}
            assert set(re.findall(r"--[a-z-]+", line)) <= known, line


def test_the_version() -> None:
    assert call("--version").output == f"calib, version {__version__}\n"


def test_the_command_is_installed_and_imports_little() -> None:
    """Help comes at once: no array library is needed for it."""
    code = "import sys, calib.cli; print(sorted({'numba', 'astropy', 'pandas', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


# Wrong usage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Missing option '--archive'"),
        (["run", "raw"], "Missing option '--archive'"),
        (["status"], "Missing option '--archive'"),
        (["fly"], "No such command 'fly'"),
        (["export", "flat", "--archive", "a"], "no table 'flat'; there are darks, flats, scans, sky_offsets, metrics,"),
        (["export", "flats", "--archive", "a", "--format", "xls"], "'xls' is not one of 'csv', 'json', 'parquet'"),
        (["run", "raw", "--archive", "a", "--workers", "0"], "0 is not in the range"),
        (["simulate", "out", "--nights", "0"], "0 is not in the range"),
        (["simulate", "out", "--scenario", "doom"], "no scenario 'doom'; there are "),
        (["simulate", "out", "--start", "May"], "May"),
        (["decide", "override", "1999-05-01", "J", "moon", "rejected"], "'moon' is not one of"),
        (["decide", "undo", "one", "--archive", "a", "--reason", "r"], "'one' is not a valid integer"),
        (["decide", "period", "1999-05-01", "--archive", "a", "--who", "ada"], "Missing option '--reason'"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_wrong_usage_ends_with_status_2(arguments: list[str], words: str) -> None:
    assert words in call(*arguments, status=2).stderr


# Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["status"], ["verify"], ["export", "flats"], ["lineage", "x"]], ids=str)
def test_a_missing_archive(command: list[str], tmp_path: Path) -> None:
    text = fails(*command, "--archive", tmp_path / "nowhere")
    assert text == (
        f"calib: {tmp_path / 'nowhere'} holds no archive; "
        f"make one with `calib run RAW --archive {tmp_path / 'nowhere'}`\n"
    )


def test_a_raw_path_that_is_not_there(tmp_path: Path) -> None:
    text = fails("run", tmp_path / "raw", "--archive", tmp_path / "archive")
    assert text == f"calib: {tmp_path / 'raw'}: no such file or folder\n"


def test_a_bad_profile_is_told_with_all_its_faults(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(small_text(("alpha = 0.2 ", "alpha = 0.7 "), ("window = 5 ", "window = 0 ")), "utf-8")
    for command in (["run", tmp_path, "--archive", tmp_path / "a", "--instrument", bad], ["profile", "check", bad]):
        text = fails(*command)
        assert text.startswith(f"calib: profile {bad} has 2 faults:\n  ")
        assert "canonical.window" in text
        assert "sky.alpha" in text
    assert not (tmp_path / "a").exists()


def test_an_unknown_instrument(tmp_path: Path) -> None:
    text = fails("run", tmp_path, "--archive", tmp_path / "a", "--instrument", "ukirt")
    assert "no such file, nor a shipped profile (2mass, nirc2)" in text


def test_a_locked_archive(settled: Night) -> None:
    with Archive(settled.root).writing():
        text = fails("run", settled.raw, "--archive", settled.root)
    assert re.search(r"another run \(process \d+\) is writing to .*; wait for it to end$", text.strip())


def test_an_output_that_cannot_be_written(four_nights: Night, tmp_path: Path) -> None:
    target = tmp_path / "no" / "flats.csv"
    text = fails("export", "flats", "--archive", four_nights.root, "-o", target)
    assert text == f"calib: {target}: No such file or directory\n"


def test_an_unknown_product(four_nights: Night) -> None:
    assert "knows no nights/x" in fails("lineage", "nights/x", "--archive", four_nights.root)


# Work ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_says_so_and_the_next_one_goes_on(
    number: signal.Signals, four_nights: Night, tmp_path: Path, small_profile_file: Path
) -> None:
    archive = tmp_path / "archive"
    command = ["run", four_nights.raw, "--archive", archive, "--instrument", small_profile_file]
    # Where the tests run in the background, Ctrl-C is ignored, and would be by this process as well.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "calib.cli", *map(str, command)], stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        until = time.monotonic() + 120
        while not any(archive.rglob("*.fits")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(number)
        _, told = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + number, told
    assert told.splitlines()[-1] == "calib: stopped; what was made is kept, the next run goes on from there"
    assert "Traceback" not in told
    assert [r["status"] for r in rows(archive, "runs")] == ["stopped"]
    call(*command)
    assert_same(archive, four_nights.root)


@pytest.mark.sqlite("deletes the database's file")
def test_a_run_that_makes_the_database_of_products_anew_says_what_is_lost(
    settled: Night, small_profile_file: Path
) -> None:
    (settled.root / "archive.sqlite").unlink()
    arguments = ("run", settled.raw / settled.date(0), "--archive", settled.root, "--instrument", small_profile_file)
    assert "holds products of an earlier database" in call(*arguments).stderr
    assert "earlier database" not in call(*arguments).stderr


@pytest.mark.parametrize(("start", "nights"), [("9999-12-31", 1), ("0001-01-01", 1), ("2099-12-30", 2)])
def test_nights_beyond_the_calendar_are_not_simulated(start: str, nights: int, tmp_path: Path) -> None:
    text = call("simulate", tmp_path / "s", "--nights", nights, "--start", start, status=2).stderr
    assert f"nights lie between 1900-01-01 and 2099-12-30, not {nights} from {start} on" in text
    assert not (tmp_path / "s").exists()


def with_path(option: click.Parameter) -> bool:
    return option.name in ("archive_dir", "raw", "out")


@pytest.mark.parametrize(
    ("name", "option"), [(n, p.name) for n, c in COMMANDS.items() for p in c.params if with_path(p)]
)
def test_an_empty_path_is_a_usage_error_and_makes_nothing(
    name: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments: list[str] = []
    for parameter in COMMANDS[name].params:
        value = "" if parameter.name == option else "1"
        if isinstance(parameter, click.Argument):
            arguments.append(value)
        elif parameter.required:
            arguments += [parameter.opts[0], value]
    text = call(*name.split()[1:], *arguments, status=2).stderr
    assert "is empty; is a variable of the shell not set?" in text
    assert list(tmp_path.iterdir()) == []


def test_simulate_run_status_from_nothing(tmp_path: Path, small_profile_file: Path) -> None:
    raw, archive = tmp_path / "raw", tmp_path / "archive"
    out = call("simulate", raw, "--nights", 1, "--scenario", "quiet", "--scans", 0).stdout
    assert out == f"1 nights in {raw}, truth in {raw / 'truth' / 'truth.json'}\n"
    assert sorted(p.name for p in (raw / "1999-05-01").iterdir()) == sorted(
        f"{band}-{kind}.fits" for band in ("J", "H", "Ks") for kind in ("dark", "twilight")
    )
    result = call("run", raw, "--archive", archive)
    assert result.stdout == "6 new or changed files, 12 products made in 1 night\n"
    # Off a terminal progress is plain lines.
    lines = result.stderr.splitlines()
    assert lines[0] == "run: starting"
    assert all(line.startswith("run: ") and "\r" not in line for line in lines)
    assert call("run", raw, "--archive", archive).stdout == (
        "nothing to do: every file is known and every product is up to date\n"
    )
    lines = call("status", "--archive", archive).stdout.splitlines()
    assert lines[0] == "1999-05-01 J   dark provisional | flat provisional"
    assert [line.split()[1] for line in lines] == ["J", "H", "Ks"]


def test_scenarios_are_described() -> None:
    text = call("simulate", "out", "--scenario", "list").stdout
    names = [line.split()[0] for line in text.splitlines()]
    assert {"survey", "quiet", "bad-first-night", "stuck"} <= set(names)


def test_the_archive_remembers_its_instrument(four_nights: Night, tmp_path: Path, small_profile_file: Path) -> None:
    archive, night = tmp_path / "archive", four_nights.raw / four_nights.date(0)
    call("run", night, "--archive", archive, "--instrument", small_profile_file)
    text = call("run", four_nights.raw / four_nights.date(1), "--archive", archive).stdout
    assert re.fullmatch(r"4 new or changed files, 8 products made in 1 night\n", text)
    assert {r["profile_hash"] for r in rows(archive, "darks")} == {rows(archive, "profiles")[0]["hash"]}


def test_frames_may_be_left_out(four_nights: Night, tmp_path: Path, small_profile_file: Path) -> None:
    archive = tmp_path / "archive"
    call("run", four_nights.raw, "--archive", archive, "--instrument", small_profile_file, "--no-frames")
    assert not list(archive.rglob("frames-*.fits"))
    assert list(archive.rglob("sky-offsets-*.fits"))


def test_refused_files_are_counted_with_where_to_look(
    four_nights: Night, tmp_path: Path, small_profile_file: Path
) -> None:
    (tmp_path / "bad.fits").write_bytes(b"nothing of the kind")
    archive = tmp_path / "archive"
    night = four_nights.raw / four_nights.date(0)
    result = call("run", night, tmp_path / "bad.fits", "--archive", archive, "--instrument", small_profile_file)
    hint = f"calib export files --archive {archive} --format csv tells why"
    assert re.search(rf"1 files? refused: {re.escape(hint)}", result.stderr)


def test_status_as_json(swapped: Night) -> None:
    found = json.loads(call("status", "--archive", swapped.root, "--json").stdout)
    assert [r["night"] for r in found] == [swapped.date(k) for k in range(8)]
    assert found[0]["darks"] == {r: {"status": "accepted", "cause": ""} for r in ("R1", "R2-R1")}
    assert found[7]["flat"] == "rejected"
    assert found[7]["scans"] == 1
    assert sum(found[7]["sky_offsets"].values()) == 4
    assert found[4]["alerts"][0]["state"] == "DRIFT"


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@pytest.mark.parametrize("table", EXPORTS)
def test_export_to_standard_output_and_to_a_file(table: str, form: str, swapped: Night, tmp_path: Path) -> None:
    target = tmp_path / "table"
    call("export", table, "--archive", swapped.root, "--format", form, "-o", target)
    printed = call("export", table, "--archive", swapped.root, "--format", form).stdout_bytes
    assert printed == target.read_bytes()
    if form == "csv":
        frame = pd.read_csv(io.BytesIO(printed))
    elif form == "json":
        frame = pd.DataFrame(json.loads(printed))
    else:
        frame = pd.read_parquet(io.BytesIO(printed))
    assert len(frame) == len(rows(swapped.root, table))


def test_export_is_csv_unless_told_otherwise(swapped: Night) -> None:
    text = call("export", "flats", "--archive", swapped.root).stdout
    assert text.startswith("night,band,status,cause,n_frames,")


def test_verify(settled: Night) -> None:
    result = call("verify", "--archive", settled.root)
    n = len(rows(settled.root, "products"))
    assert result.stdout == f"{n} products checked, 0 faults\n"
    path = f"nights/{settled.date(1)}/J/responsivity.fits"
    (settled.root / path).unlink()
    result = call("verify", "--archive", settled.root, status=1)
    assert result.stdout == f"{path}: missing\n{n} products checked, 1 fault\n"
    assert "calib run` again with the raw files" in result.stderr
    call("run", settled.raw, "--archive", settled.root)
    assert call("verify", "--archive", settled.root).stdout == f"{n} products checked, 0 faults\n"


def test_lineage(four_nights: Night) -> None:
    path = f"nights/{four_nights.date(2)}/H/canonical.fits"
    text = call("lineage", path, "--archive", four_nights.root).stdout
    assert text.startswith(f"{path}\nmade from:\n  member     nights/{four_nights.date(0)}/H/responsivity.fits\n")
    raw = four_nights.raw / four_nights.date(2) / "H-dark.fits"
    assert "used by:" in call("lineage", raw, "--archive", four_nights.root).stdout


def test_decide_from_a_shell(settled: Night) -> None:
    date, common = settled.date(1), ["--archive", settled.root, "--reason", "seen", "--who", "ada"]
    out = call("decide", "override", date, "J", "flat", "rejected", "--preview", *common).stdout
    assert out.startswith("1 verdict flips: 1 accepted → rejected\n3 canonicals change, a quadrant by ")
    assert f"  {settled.date(2)} J scan 1: needs to be calibrated again\n" in out
    assert rows(settled.root, "decisions") == []
    out = call("decide", "override", date, "J", "flat", "rejected", *common).stdout
    assert out == f"decision 1 recorded\n`calib run --archive {settled.root}` redoes what depends on it\n"
    call("decide", "override", date, "J", "dark", "rejected", "--read", "R1", *common)
    offset = ["override", settled.date(2), "J", "sky-offset", "rejected", "--read", "R1", "--scan", 1, "--block", 1]
    call("decide", *offset, *common)
    call("decide", "period", settled.date(3), "--band", "H", *common)
    assert call("decide", "sign-off", date, *common).stdout == "decision 5 recorded\n"
    call("decide", "undo", 1, *common)
    call("run", settled.raw, "--archive", settled.root)
    alert = rows(settled.root, "alerts")[0]
    named = [alert[k] for k in ("night", "band", "product", "metric")]
    call("decide", "acknowledge", *named, "--expires", "1999-06-01", *common)
    call("decide", "resolve", *named, *common)
    call("decide", "note", date, "--band", "J", *common)
    call("decide", "period", settled.date(2), "--moves", 4, *common)
    found = rows(settled.root, "decisions")
    assert [d["kind"] for d in found] == [
        *["override"] * 3,
        *["period", "sign-off", "undo", "acknowledge", "resolve", "note", "undo", "period"],
    ]
    assert {d["who"] for d in found} == {"ada"}
    assert (found[3]["band"], found[5]["undoes"]) == ("H", 1)
    assert found[2]["scan"] == found[2]["block"] == 1


def test_who_decides_is_the_user_unless_told(settled: Night) -> None:
    runner = CliRunner(env={"USER": "grace"})
    arguments = ["decide", "sign-off", settled.date(0), "--archive", str(settled.root), "--reason", "seen"]
    assert runner.invoke(main, arguments).exit_code == 0
    assert rows(settled.root, "decisions")[0]["who"] == "grace"


def test_a_decision_that_names_nothing(settled: Night) -> None:
    common = ["--archive", settled.root, "--reason", "seen", "--who", "ada"]
    assert fails("decide", "override", "2001-01-01", "J", "flat", "rejected", *common).startswith(
        "calib: there is no flat 2001-01-01 J in "
    )
    assert "give it as YYYY-MM-DD" in fails("decide", "period", "tomorrow", *common)
    assert "there is no decision 3 to undo" in fails("decide", "undo", 3, *common)


# Profiles --------------------------------------------------------------------------------------------------------


def test_profile_check_says_how_each_file_would_be_read(
    four_nights: Night, small_profile_file: Path, tmp_path: Path
) -> None:
    date = four_nights.date(2)
    folder = four_nights.raw / date
    lines = call("profile", "check", small_profile_file, folder).stdout.splitlines()
    assert lines[0] == "profile 2mass is sound: bands J, H, Ks, reads R1, R2-R1"
    assert f"{folder / 'J-dark.fits'}: dark, band J, night {date}, 24 frames" in lines
    assert f"{folder / 'H-scan-001.fits'}: scan 1, band H, night {date}, 90 frames" in lines
    (tmp_path / "bad.fits").write_bytes(b"")
    result = call("profile", "check", small_profile_file, folder, tmp_path / "bad.fits", status=1)
    assert f"{tmp_path / 'bad.fits'}: refused: " in result.stdout


def test_shipped_profiles_are_sound() -> None:
    for name in ("2mass", "nirc2"):
        assert call("profile", "check", name).stdout.startswith(f"profile {name} is sound: bands ")
