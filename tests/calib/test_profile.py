"""Instrument profiles: what is shipped is sound, and what is not sound is told completely."""

import math
import tomllib
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_builder import profile_text

from calib.checks import CHECKS
from calib.errors import ProfileError
from calib.profile import builtin_profiles, load_profile, parse_profile

SURVEY = profile_text("2mass")


def faults(text):
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "test")
    assert str(caught.value).startswith(f"profile test has {len(caught.value.faults)} fault")
    return caught.value.faults


def edited(*edits, of="2mass"):
    text = profile_text(of)
    for old, new in edits:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    return text


@pytest.mark.parametrize("name", builtin_profiles())
def test_shipped_profiles_load_and_know_every_check(name):
    profile = load_profile(name)
    assert profile.name == name
    for check in CHECKS:
        for band in profile.bands:
            for read in profile.reads:
                limit = profile.limits_for(check.subject, band, read)[check.name]
                assert math.isfinite(limit.value)


def test_the_default_and_the_worked_example_are_shipped():
    assert {"2mass", "nirc2"} <= set(builtin_profiles())
    assert load_profile("2mass").layout.extensions == ("R1", "R2")
    assert load_profile("nirc2").layout.raw == "CDS"


def test_a_profile_from_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(edited(('name = "2mass"', 'name = "mine"')), "utf-8")
    assert load_profile(path).name == "mine"
    assert load_profile(str(path)).hash != load_profile("2mass").hash


def test_a_profile_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(ProfileError, match=r"no such file, nor a shipped profile \(2mass, nirc2"):
        load_profile("3mass")
    with pytest.raises(ProfileError, match="no such file"):
        load_profile(tmp_path)
    (tmp_path / "latin.toml").write_bytes("name = 'Königstuhl'".encode("latin-1"))
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(tmp_path / "latin.toml")


def test_two_files_that_say_the_same_have_the_same_hash():
    plain = parse_profile(SURVEY, "a")
    commented = parse_profile("# another remark\n" + SURVEY.replace("[256, 256]", "[ 256,256 ]"), "b")
    assert plain.hash == commented.hash
    moved = parse_profile(edited(("block_frames = 42", "block_frames = 43")), "c")
    assert moved.hash != plain.hash
    assert moved.fingerprint("dark", "detector") == plain.fingerprint("dark", "detector")
    assert moved.fingerprint("sky") != plain.fingerprint("sky")


def test_limits_of_a_read_beat_those_of_a_band_beat_the_common_one():
    text = edited(("drift = { max = 6.0, R1 = 25.0 }", "drift = { max = 6.0, R1 = 25.0, H = 8.0 }"))
    profile = parse_profile(text, "test")
    assert profile.limits_for("dark", "J", "R2-R1")["drift"].value == 6.0
    assert profile.limits_for("dark", "H", "R2-R1")["drift"].value == 8.0
    assert profile.limits_for("dark", "H", "R1")["drift"].value == 25.0
    assert profile.limits_for("dark", "H")["drift"].value == 8.0


def test_a_fault_is_told_in_letters_whatever_the_profile_holds():
    text = SURVEY.replace('kind = "cube"', 'kind = "\\u0000\\u001b[31m"')
    with pytest.raises(ProfileError, match=r"x00.*x1b") as told:
        parse_profile(text, "test")
    assert all(fault.isprintable() for fault in told.value.faults)


def test_every_fault_is_told_at_once_with_its_key():
    told = faults(
        edited(
            ('bands = ["J", "H", "Ks"]', 'bands = ["J", "H", "Ks", "L"]'),
            ("utc_offset_hours = -7.0", "utc_offset_hours = -70"),
            ("saturation_dn = 52200.0", "saturation_dn = 40000.0"),
            ('minus = "R1"', 'minus = "R0"'),
            ("clip_sigma = 5.0", "clip_sigma = -1"),
            ('read = "R2-R1"', 'read = "R3"'),
            ("block_frames = 42", "blockframes = 42"),
            ('Ks = ["Ks", "K"]', 'Ks = ["Ks", "k", "j "]'),
            ("frames = { min = 20 }", "frames = { max = 20 }"),
            ("cell_rms = { max = 0.45 }", "cellrms = { max = 0.45 }"),
            ("gradient = { max = 0.7 }", "gradient = { max = nan, X = 1 }"),
        )
    )
    expected = (
        "detector.gain_e_per_dn.L: missing",
        "header.band.values.L: missing",
        "reads.R1.read_noise_e.L: missing",
        "reads.R2-R1.read_noise_e.L: missing",
        "site.utc_offset_hours: input should be greater than or equal to -14 (given: -70)",
        "detector.linearity_dn: above saturation_dn (43000.0 > 40000.0)",
        "reads.R2-R1.minus: the layout has no raw read 'R0'",
        "dark.clip_sigma: input should be greater than 0 (given: -1)",
        "responsivity.read: no such read (given: 'R3')",
        "sky.blockframes: extra inputs are not permitted (given: 42)",
        "header.band.values.Ks: 'j ' already means J",
        "limits.dark.frames.min: missing",
        "limits.dark.frames.max: neither min nor a band or read",
        "limits.flat.cellrms: no such check",
        "limits.flat.cell_rms: missing (rms of the ratio over the 8×8 cells)",
        "limits.flat.gradient.X: neither max nor a band or read",
        "limits.flat.gradient.max: not a number",
    )
    assert set(expected) <= set(told)
    assert len(told) == len(expected)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('bands = ["J", "H", "Ks"]', "bands = []", "bands: at least one band is needed"),
        ('bands = ["J", "H", "Ks"]', 'bands = ["J", "H", "Ks", "J"]', "bands: a band is named twice"),
        (
            'bands = ["J", "H", "Ks"]',
            'bands = ["J", "H", "Ks", "../x"]',
            "bands: '../x' is no name of at most 20 letters, digits and +-._",
        ),
        (
            "shape = [256, 256]",
            "shape = [256]",
            "detector.shape: two positive whole numbers are needed (given: [256])",
        ),
        ("shape = [256, 256]", "shape = [4, 256]", "detector.cells: larger than the array (given: [8, 8])"),
        (
            "shape = [256, 256]",
            "shape = [0, 256]",
            "detector.shape: two positive whole numbers are needed (given: [0, 256])",
        ),
        ('bands = ["J", "H", "Ks"]', 'bands = ["J", "H", "R1"]', "bands: 'R1' already has another meaning"),
        ('bands = ["J", "H", "Ks"]', 'bands = ["J", "H", "max"]', "bands: 'max' already has another meaning"),
        ("J = 8.0", "J = 0", "detector.gain_e_per_dn.J: must be greater than 0 (given: 0)"),
        ("J = 8.0", "J = 8.0, Z = 1", "detector.gain_e_per_dn.Z: no such band"),
        ('kind = "cube"', 'kind = "cubes"', "layout: input tag 'cubes' found using"),
        (
            'extensions = ["R1", "R2"]',
            "extensions = []",
            "layout.extensions: at least one extension is needed",
        ),
        (
            'extensions = ["R1", "R2"]',
            'extensions = ["R1", "r1"]',
            "layout.extensions: an extension is named twice",
        ),
        (
            'frames_table = "FRAMES"',
            'frames_table = "r2"',
            "layout.frames_table: also named as an image extension",
        ),
        ('cards = ["FILTER"]', "cards = []", "header.band.cards: at least one card is needed"),
        ('H = ["H"]', "H = []", "header.band.values.H: no value, so that no file could match"),
        (
            'dark = [{ OBSTYPE = ["DARK"] }]',
            "dark = []",
            "header.type.dark: no alternative, so that no file could match",
        ),
        (
            'dark = [{ OBSTYPE = ["DARK"] }]',
            "dark = [{}]",
            "header.type.dark.0: no card, so that every file would match",
        ),
        (
            'dark = [{ OBSTYPE = ["DARK"] }]',
            "dark = [{ OBSTYPE = [] }]",
            "header.type.dark.0.OBSTYPE: no value, so that no file could match",
        ),
        ('dark = [{ OBSTYPE = ["DARK"] }]', 'bias = [{ OBSTYPE = ["DARK"] }]', "header.type.bias"),
        (
            'time = [{ cards = ["DATE-OBS"] }]',
            "time = []",
            "header.time: at least one way to read the time is needed",
        ),
        ('time = [{ cards = ["DATE-OBS"] }]', "time = [{}]", "header.time.0: give either cards or mjd"),
        (
            'time = [{ cards = ["DATE-OBS"] }]',
            'time = [{ cards = ["A"] }, { cards = ["A"], mjd = "B" }]',
            "header.time.1: give either cards or mjd",
        ),
        (
            'time = [{ cards = ["DATE-OBS"] }]',
            'time = [{ cards = ["A", "B", "C"] }]',
            "header.time.0.cards: one card (date and time) or two (date, time)",
        ),
        ('time = [{ cards = ["DATE-OBS"] }]', "time = 5", "header.time: input should be a valid tuple"),
        ('read = "R2-R1"', "read = []", "responsivity.read: no such read (given: [])"),
        ("alpha = 0.2", "alpha = 0.5", "sky.alpha: input should be less than 0.5 (given: 0.5)"),
        (
            "[limits.flat]",
            "[limits.flats]",
            "limits.flats: no such subject (there are dark, flat, sky_offset)",
        ),
        ('name = "2mass"', 'name = "a/b"', "name: string should match pattern"),
        ('name = "2mass"', "", "name: field required"),
    ],
)
def test_each_fault_names_its_key(old, new, fault):
    told = faults(edited((old, new)))
    assert any(f.startswith(fault) for f in told), told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name = ",
        "[a]\n[a]",
        "x = " + "9" * 5000,
        "x = " + "[" * 5000,
        "bands = 5\nreads = 7\nheader = []",
    ],
)
def test_what_is_no_profile_at_all_is_told(text):
    assert faults(text)


def test_a_single_layout_needs_its_raw_read():
    told = faults(edited(('raw = "CDS"', 'raw = "IMG"'), of="nirc2"))
    assert told == ["reads.CDS.plus: the layout has no raw read 'CDS'"]


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.sampled_from(["", "J", "R1", "R2-R1", "cube", "single", "*", "!", "all", "\x00", "../.."]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["J", "R1", "max", "min", "cards", "kind", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(table, path=()):
    for key, value in table.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, (*path, key))
        elif isinstance(value, list):
            for k, item in enumerate(value):
                if isinstance(item, dict):
                    yield from places(item, (*path, key, k))


def as_toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(str(k))} = {as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    # TOML has no word for nothing.
    text = "" if value is None else value
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04X}" for c in text) + '"'


def loaded_or_faults(text):
    try:
        return parse_profile(text, "test")
    except ProfileError as error:
        return error.faults


@pytest.mark.parametrize("name", ["2mass", "nirc2"])
@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_whatever_a_profile_holds_it_loads_or_its_faults_are_told(name, data):
    table = tomllib.loads(profile_text(name))
    known = list(places(table))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(known))
        parent = table
        try:
            for key in path[:-1]:
                parent = parent[key]
            if data.draw(st.booleans()):
                parent[path[-1]] = data.draw(JUNK)
            else:
                parent.pop(path[-1], None)
        except (KeyError, TypeError, IndexError, AttributeError):
            continue  # an earlier change took that place away
    text = "\n".join(f"{as_toml(k)} = {as_toml(v)}" for k, v in deepcopy(table).items())
    profile = loaded_or_faults(text)
    if isinstance(profile, list):
        assert profile
        assert all(isinstance(fault, str) and fault for fault in profile)
    else:
        assert len(profile.hash) == 64
        for check in CHECKS:
            assert profile.limits_for(check.subject, profile.bands[0], next(iter(profile.reads)))


def test_toml_written_by_the_test_says_what_it_should():
    for name in ("2mass", "nirc2"):
        table = tomllib.loads(profile_text(name))
        text = "\n".join(f"{as_toml(k)} = {as_toml(v)}" for k, v in table.items())
        assert parse_profile(text, name).hash == load_profile(name).hash


@pytest.mark.parametrize("size", ["inf", "1e300", "1e-300", "0.0", "nan"])
def test_what_is_quiet_is_a_size_that_can_be_reckoned_with(size):
    told = faults(edited(("responsivity_percent = 0.15", f"responsivity_percent = {size}")))
    assert any(f.startswith("drift.quiet.responsivity_percent: must lie between 1e-9 and 1e9") for f in told)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("noisy_above = 2.5", "noisy_above = 1e300", "pixels.noisy_above: no number of a camera is as large as 1e+300"),
        (
            "noisy_above = 2.5",
            "noisy_above = 1" + "0" * 400,
            "pixels.noisy_above: no number of a camera is as large as",
        ),
        ("gain_percent = { watch = 5.0", "gain_percent = { watch = 1" + "0" * 400, "drift.gain_percent.watch: above"),
        ("noisy_above = 2.5", "noisy_above = inf", "pixels.noisy_above: no number of a camera is as large as inf"),
        ("gradient = { max = 0.7 }", "gradient = { max = -inf }", "limits.flat.gradient.max: what it limits is never"),
        ("reference_nights = 20", "reference_nights = -1", "canonical.reference_nights"),
        ("reference_nights = 20", "reference_nights = 0", "canonical.reference_nights"),
    ],
)
def test_numbers_that_nothing_can_be_reckoned_with(old, new, words):
    assert any(f.startswith(words) for f in faults(edited((old, new))))
