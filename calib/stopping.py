"""How a command ends that is told to stop: in words, with the status that says which signal it was."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["stopping_in_words"]


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which unwinds the work just as Ctrl-C does."""


@contextmanager
def stopping_in_words(words: str) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the program with a line on standard error and the status 130 or 143."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    # Only there may handlers be set; elsewhere signals do not arrive.
    before = signal.signal(signal.SIGTERM, terminate) if _in_main_thread() else None
    try:
        yield
    except KeyboardInterrupt as stop:
        print(words, file=sys.stderr, flush=True)
        sys.exit(128 + (signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT))
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
