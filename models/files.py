"""Writes files so that a reader finds the old content or the new one, never a part of it.

Everything that the project writes and another process may read goes through here.

Synopsis:

    write_text(folder / "summary.json", text)
    with replacing(folder / "predictions.parquet") as partial:      # a name of this process's own, gone on failure
        table.to_parquet(partial)
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to; it takes the place of `path` when the block ends well.

    The name is this writer's own: another attempt at the same file, which may still be alive, has another.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        # Renamed by now, unless something failed; then the folder itself may be what is missing.
        with contextlib.suppress(OSError):
            partial.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file, or leaves the one that is there."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes a whole file in UTF-8, or leaves the one that is there; what is no text of a path is told by escapes."""
    write_bytes(path, text.encode(errors="backslashreplace"))
