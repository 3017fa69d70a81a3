"""How the set-up talks: one line a step with its time, one line an error, the rest in a log.

Synopsis:

    log = Log(venv / "setup.log")
    with step("packages"):
        log.run([python, "-m", "pip", "--version"])
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from scripts.causes import cause, told
from scripts.tool_environment import clean

TAIL_LINES = 15
# As apt, pip, uv and playwright begin them.
ERRORS = ("E: ", "ERROR: ", "error: ", "Error: ")


class Stop(Exception):
    """Ends the command with one line (what, where, the next step) and exit status 2."""


class StepFailed(Exception):
    """A tool we called failed: exit status 1, with the end of its output and where the rest is.

    `reason` is the one line of it that says most, for messages that have one line only.
    """

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


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


@contextlib.contextmanager
def only_one(folder: Path, what: str) -> Iterator[None]:
    """Keeps a second run out of `folder` until this one and all its child processes have ended.

    The folder itself is the lock file, so nothing is left behind. Children inherit the lock: when
    this process is killed, a run that follows waits for the installer that is still writing.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{what}: waiting for another one in {folder} to end", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Log:
    """Runs commands with their output in one file."""

    def __init__(self, path: Path):
        self.path = path
        path.write_bytes(b"")

    def run(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Runs `command` in the folder `cwd`, with `env` over what of the caller's environment reaches the tools.

        Raises:
          StepFailed: it exited with a status other than 0.
        """
        with self.path.open("ab") as out:
            out.write(f"$ {' '.join(map(str, command))}\n".encode())
            out.flush()
            start = out.tell()
            status = subprocess.call(
                [str(part) for part in command],
                env={**clean(os.environ, self.path.parent), **(env or {})},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                close_fds=False,  # only_one's lock; Python's own descriptors are not inheritable
            )
        if status:
            with self.path.open("rb") as written:
                written.seek(start)
                output = written.read().decode(errors="replace").splitlines()
            reason = telling_line(output)
            if known := cause(output):
                raise StepFailed(f"{known} What {Path(command[0]).name} said is in {self.path}.", reason=reason)
            tail = "\n".join(f"    {line}" for line in output[-TAIL_LINES:])
            raise StepFailed(
                f"{Path(command[0]).name} exited with status {status}; the end of its output:\n"
                f"{tail}\n  All of it is in {self.path}.",
                reason=reason,
            )


def telling_line(output: Sequence[str]) -> str:
    """The first line that calls itself an error, else the last that is not empty, as Python's tracebacks have it."""
    lines = [line.strip() for line in output if line.strip()]
    return next((line for line in lines if line.startswith(ERRORS)), lines[-1] if lines else "")


def exit_status(prefix: str, main: Callable[[], int]) -> int:
    """Runs `main` and turns our failures into their lines and statuses."""
    try:
        return main()
    except Stop as stop:
        print(f"{prefix}: {stop}", file=sys.stderr)
        return 2
    except StepFailed as failed:
        print(f"{prefix}: {failed}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{prefix}: {told(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prefix}: interrupted; the next run starts over.", file=sys.stderr)
        return 130
