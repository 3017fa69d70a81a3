"""How the set-up talks: one line a step with its time, one line an error, everything else in a log.

Synopsis:

    log = Log(venv / "setup.log")
    with step("Python packages"):
        log.run([python, "-m", "pip", "install", "..."])
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

TAIL_LINES = 15


class Stop(Exception):
    """Ends the command with one line for the user and exit status 2. The message says what, where and the next step."""


class StepFailed(Exception):
    """A tool we called failed: exit status 1, with the end of its output and where the rest is."""


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Prints `name ...` at once and its seconds when done, so that a long step is never silent."""
    print(f"  {name} ... ", end="", flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - start:.1f} s", flush=True)


class Log:
    """Runs commands with their output in one file."""

    def __init__(self, path: Path):
        self.path = path
        path.write_bytes(b"")

    def run(self, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        """Runs `command`, with `env` over the present environment.

        Raises:
          StepFailed: it exited with a status other than 0; carries the last lines of its output.
        """
        with self.path.open("ab") as out:
            start = out.tell()
            out.write(f"$ {' '.join(map(str, command))}\n".encode())
            out.flush()
            status = subprocess.call(
                [str(part) for part in command],
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        if status:
            with self.path.open("rb") as written:
                written.seek(start)
                output = written.read().decode(errors="replace").splitlines()[1:]
            tail = "\n".join(f"    {line}" for line in output[-TAIL_LINES:])
            raise StepFailed(
                f"{Path(command[0]).name} exited with status {status}; the end of its output:\n{tail}\n"
                f"  The whole of it is in {self.path}."
            )


def exit_status(prefix: str, main: Callable[[], int]) -> int:
    """Runs `main` and turns the two failures into their lines and statuses."""
    try:
        return main()
    except Stop as stop:
        print(f"{prefix}: {stop}", file=sys.stderr)
        return 2
    except StepFailed as failed:
        print(f"{prefix}: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{prefix}: interrupted; the next run starts this over.", file=sys.stderr)
        return 130
