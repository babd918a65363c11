"""What a supervisor learns of the watch from the server's address, and strangers do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from small_camera import Night
from web_client import Closed, Web, make_accounts

from calib.archive.database import Archive
from calib.archive.heartbeat import Heartbeat, beat, last_beat


def test_a_heartbeat_is_alive_as_long_as_it_was_heard_lately(settled: Night) -> None:
    archive = Archive(settled.root)
    assert last_beat(archive) is None
    beat(archive, Heartbeat(interval_s=10, queue=2, last_file="/raw/dark.fits"))
    found = last_beat(archive)
    assert found is not None
    assert (found.queue, found.last_file) == (2, "/raw/dark.fits")
    now = datetime.fromisoformat(found.last_pass)
    assert found.alive(now + timedelta(seconds=179))
    assert not found.alive(now + timedelta(seconds=181))
    beat(archive, Heartbeat(interval_s=600))
    slow = last_beat(archive)
    assert slow is not None
    assert slow.alive(datetime.now(UTC) + timedelta(seconds=3000))
    beat(archive, Heartbeat(doing="stopped"))
    stopped = last_beat(archive)
    assert stopped is not None
    assert not stopped.alive()
    archive.close()


def test_the_watch_is_told_to_who_is_signed_in(faulty: Night, tmp_path: Path) -> None:
    from monitor.server import free_port

    night = faulty.copy(tmp_path / "archive")
    archive = Archive(night.root)
    beat(
        archive,
        Heartbeat(
            last_file="/raw/J-scan-003.fits",
            last_night=night.date(4),
            queue=1,
            waits=["/raw/J-dark.fits: truncated"],
            errors=3,
            last_error="the disk is full",
        ),
    )
    archive.close()
    served = Closed(night.root, free_port(), make_accounts(tmp_path))
    served.start()
    try:
        assert Web(served.url).ask("/healthz").json == {"status": "ok"}
        web = Web(served.url)
        web.sign_in("victor")
        told = web.ask("/healthz").json["watch"]
    finally:
        served.stop()
    assert told["alive"] is True
    assert told["last_pass_age_s"] >= 0
    assert told["last_night"] == night.date(4)
    assert told["last_file"] == "/raw/J-scan-003.fits"
    assert (told["queue"], told["waits"]) == (1, ["/raw/J-dark.fits: truncated"])
    assert (told["errors"], told["last_error"]) == (3, "the disk is full")
