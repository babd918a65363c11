"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

__all__ = ["progress_bar"]

PAUSE_S = 1.0


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yield ``progress(done, total, what)``, which shows how far the work has come on standard error."""
    if not sys.stderr.isatty():
        last, spoken = "", -PAUSE_S

        def line(done: int, total: int, what: str) -> None:
            nonlocal last, spoken
            share = f"{done}/{total} " if total else ""
            text, now = f"{title}: {share}{what}", monotonic()
            # A log that has a line for each of a thousand files tells less than one that says how far it is.
            if text != last and (now - spoken >= PAUSE_S or done == total):
                print(text, file=sys.stderr, flush=True)
                last, spoken = text, now

        yield line
        return
    from tqdm import tqdm

    with tqdm(desc=title, leave=False, dynamic_ncols=True, bar_format="{desc} {bar} {n}/{total} {postfix}") as bar:

        def show(done: int, total: int, what: str) -> None:
            bar.total, bar.n = total or None, done
            bar.set_postfix_str(what)

        yield show
