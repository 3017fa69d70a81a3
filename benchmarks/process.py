"""Measures whole processes, two kinds in turn, so that a drift of the machine's speed meets both alike."""

import contextlib
import dataclasses
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# More often would take time from what is measured; a peak never falls, so only the end may be missed.
_POLL_SECONDS = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One finished process: wall and CPU seconds, and the peak resident memory of it and its children in MiB."""

    wall: float
    cpu: float
    peak_mib: float


def measure(command: list[str], log: Path, environment: dict[str, str] | None = None) -> Measured:
    """Runs a Python command in the project's folder; its output goes to `log`.

    Raises:
      RuntimeError: it ended with another status than 0; the message has its last lines.
    """
    with log.open("w") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        peak = 0.0
        # What wait4 reports as the peak begins with the parent's own, and ours may have imported TensorFlow.
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            tree = _tree(process.pid)
            # What is shared counts once, for a process that was just forked shares all; it takes a while to add up.
            together = sum(_held_mib(pid, "smaps_rollup", "Pss") for pid in tree) if len(tree) > 1 else 0.0
            peak = max(peak, _held_mib(process.pid, "status", "VmHWM"), together)
            time.sleep(_POLL_SECONDS)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
    if process.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}:\n{last}")
    return Measured(wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak_mib=peak)


def _tree(pid: int) -> list[int]:
    """Returns a process and what it started, directly or not, as far as that is still there."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def _held_mib(pid: int, file: str, name: str) -> float:
    """Returns a figure of a process's memory, 0 where the system doesn't tell."""
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) / 1024 if found else 0.0


def medians(runs: list[Measured]) -> Measured:
    """Returns the median of each figure."""
    return Measured(
        **{
            field.name: statistics.median(getattr(run, field.name) for run in runs)
            for field in dataclasses.fields(Measured)
        }
    )
