"""Tells how far Beam's workers are, from what lies in a folder: they may be elsewhere, and have another clock.

Synopsis:

    with telling(folder, [3, 2], "examples written"):
        (folder / "0").touch()                           # "3 of 5 examples written"
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# What takes no longer needs no progress.
QUIET_SECONDS = 2.0

progress = logging.getLogger("progress")


def is_long_since(started: float) -> bool:
    """Says whether what began at `started`, of `time.monotonic`, takes so long that it needs progress."""
    return time.monotonic() - started > QUIET_SECONDS


@contextlib.contextmanager
def telling(done: Path, sizes: Sequence[int], what: str) -> Iterator[None]:
    """Tells now and then how many of something are done.

    Args:
      done: a folder in which a file is called by the number of each piece of work that is done.
      sizes: how many each piece has.
      what: of what, and done how, for people.
    """
    ended, started, told = threading.Event(), time.monotonic(), set()

    def tell() -> None:
        count = sum(sizes[int(path.name)] for path in done.iterdir() if path.name.isdigit())
        if count not in told:
            told.add(count)
            progress.info("%s of %s %s", f"{count:,}", f"{sum(sizes):,}", what)

    def look() -> None:
        while not ended.wait(QUIET_SECONDS):
            tell()

    thread = threading.Thread(target=look, daemon=True, name="progress")
    thread.start()
    try:
        yield
        if is_long_since(started):
            tell()
    finally:
        ended.set()
        thread.join()
