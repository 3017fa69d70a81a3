"""Runs a person's command when a run has ended: what posts to a chat, sends mail or exports to a tracking server.

It changes nothing of the run: one that fails, or takes too long, is told in a line, and the exit status stays.

Synopsis:

    end = End(exit_status=3, state="data refused", output_root=Path("output"))
    run_command("test $PIPELINE_EXIT_STATUS = 3", end, seconds=60.0)     # None; else the line to tell
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
from pathlib import Path

# Between asking a command to end, and ending it.
_GRACE_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """How a process that was to run the pipeline ended.

    Attributes:
      exit_status: that it is about to end with.
      state: that of its last run; without one "nothing new", "failed", "busy", "interrupted" or "terminated".
      output_root: everything that it made lies below it.
      summaries: `summary.json` of each of its runs, oldest first.
      message: the line on stderr that says what was refused, "" if nothing was.
    """

    exit_status: int
    state: str
    output_root: Path
    summaries: tuple[Path, ...] = ()
    message: str = ""

    def variables(self) -> dict[str, str]:
        """Returns what the command is told, by the names of environment variables."""
        summaries = [str(path.resolve()) for path in self.summaries]
        return {
            "PIPELINE_EXIT_STATUS": str(self.exit_status),
            "PIPELINE_STATE": self.state,
            "PIPELINE_SUMMARY": summaries[-1] if summaries else "",
            "PIPELINE_SUMMARIES": "\n".join(summaries),
            "PIPELINE_OUTPUT_ROOT": str(self.output_root.resolve()),
            "PIPELINE_MESSAGE": self.message,
        }


def run_command(command: str, end: End, *, seconds: float) -> str | None:
    """Runs a command in a shell, waits for it, and returns why it did not do its work, None if it did.

    What it prints goes to stderr, for stdout may hold events.

    Args:
      command: for `sh -c`.
      end: what it is told of.
      seconds: after which it is ended, with all that it started.
    """
    try:
        # A session of its own, so that it can be ended as a whole and a Ctrl-C of the run's is not one of its.
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=2,
            stderr=2,
            start_new_session=True,
            env={**os.environ, **end.variables()},
        )
    except (OSError, ValueError) as error:
        return f"on_end: {command}: cannot be run ({getattr(error, 'strerror', None) or error})."
    try:
        status = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        _stop(process)
        return f"on_end: {command}: took more than on_end_seconds, {seconds:g}, and was ended."
    except KeyboardInterrupt:
        _stop(process)
        return f"on_end: {command}: ended, for it was interrupted."
    if status == 0:
        return None
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    return f"on_end: {command}: ended {how}."


def _stop(process: subprocess.Popen) -> None:
    # SIGKILL as well for what the command started: it may outlive the shell, or not heed SIGTERM.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_SECONDS)
