"""Frames that are too many for the memory lie in a file; nobody notices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_camera import assert_same, run
from supplied_camera import camera, masters, sky

from calib import frame_store
from calib.frame_store import FrameStore


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without memory to spare."""
    monkeypatch.setattr(frame_store, "IN_MEMORY_BYTES", 0)


def test_few_frames_stay_in_memory(tmp_path: Path) -> None:
    store = FrameStore(4, (3, 5), np.int32, tmp_path)
    assert not store.on_disk
    store.release(0, 4)
    assert store.frames.shape == (0, 3, 5)


@pytest.mark.usefixtures("crowded")
def test_what_is_let_go_can_be_read_again(tmp_path: Path) -> None:
    frames = np.arange(6 * 70 * 90, dtype=np.int32).reshape(6, 70, 90)
    store = FrameStore(8, (70, 90), np.int32, tmp_path)
    for k in range(0, 6, 2):
        store.add(frames[k : k + 2])
    assert store.on_disk
    for first, end in ((0, 6), (1, 2), (3, 3)):
        store.release(first, end)
        assert np.array_equal(store.frames, frames)
    assert list(tmp_path.iterdir()) == []  # the file has no name, so nothing is left should the process be killed


@pytest.mark.usefixtures("crowded")
def test_frames_of_another_type_widen_the_room(tmp_path: Path) -> None:
    store = FrameStore(3, (4, 4), np.int16, tmp_path)
    store.add(np.full((1, 4, 4), 7, np.int16))
    store.add(np.full((1, 4, 4), np.nan, np.float32))
    assert store.frames.dtype == np.float32
    assert store.frames[0, 0, 0] == 7
    assert np.isnan(store.frames[1]).all()


@pytest.mark.usefixtures("crowded")
def test_a_scan_that_does_not_fit_into_memory_comes_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw"
    masters(raw)
    sky(raw, 25)
    # One frame a second time: what lies in the file is compared with it.
    (raw / "again.fits").write_bytes((raw / "n0003.fits").read_bytes())
    run(tmp_path / "crowded", raw, camera())
    monkeypatch.setattr(frame_store, "IN_MEMORY_BYTES", 2**30)
    run(tmp_path / "roomy", raw, camera())
    assert_same(tmp_path / "crowded", tmp_path / "roomy")
