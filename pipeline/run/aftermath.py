"""What follows when a process that was to run the pipeline ends, however it ends: metrics, the command `on_end`.

The page of all runs is a run's own work; where a run was stopped before it, it follows too.

A step that fails is told in a line on stderr; the exit status is the run's.

Synopsis:

    @followed_up
    def run(settings, project):
        made(OutputRoot(settings.config.output_root).run("20261123-200513-360"))
        return 0                                      # the exit status; or a PipelineError, a KeyboardInterrupt

    run(settings, Path("."))     # 0
"""

import contextvars
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from components.errors import BusyError, PipelineError, disk_told
from pipeline.config import PipelineConfig
from pipeline.output_root import OutputRoot, RunFolder
from pipeline.project import program
from pipeline.run.console import say
from pipeline.run.on_end import End, run_command
from pipeline.run.outcome import RUNNING, state_of
from pipeline.stopping import how_stopped

NOTHING_NEW = "nothing new"
_FAILED, _BUSY = "failed", "busy"
_MADE: contextvars.ContextVar[list[RunFolder]] = contextvars.ContextVar("_MADE")


def followed_up(function: Callable[..., int]) -> Callable[..., int]:
    """Has `after_run` called behind a function that takes settings first and returns an exit status, or raises.

    Once for each process: within another such function nothing follows on this one.
    """

    @functools.wraps(function)
    def run(settings, *arguments, **options) -> int:
        if _MADE.get(None) is not None:
            return function(settings, *arguments, **options)
        runs: list[RunFolder] = []
        token = _MADE.set(runs)
        try:
            with disk_told():
                status = function(settings, *arguments, **options)
        except BaseException as error:
            state, status = how_ended(error)
            after_run(settings.config, runs, status, state, str(error) if isinstance(error, PipelineError) else "")
            raise
        finally:
            _MADE.reset(token)
        nothing = NOTHING_NEW if status == 0 else _FAILED
        after_run(settings.config, runs, status, state_of({"exit_status": status}) if runs else nothing)
        return status

    return run


def made(run: RunFolder) -> None:
    """Notes a run of this process: what follows is told of it. One without a summary at the end is passed over."""
    _MADE.get([]).append(run)


def how_ended(error: BaseException) -> tuple[str, int]:
    """Returns state and exit status of a process that an exception ends."""
    if isinstance(error, KeyboardInterrupt):
        return how_stopped(error)
    status = error.exit_status if isinstance(error, PipelineError) else 1
    return (_BUSY if isinstance(error, BusyError) else _FAILED), status


def after_run(config: PipelineConfig, runs: list[RunFolder], status: int, state: str, message: str = "") -> None:
    """Does what follows on the end of a process, and fails for none of it.

    Args:
      config: in force.
      runs: that it made, oldest first.
      status: its exit status.
      state: what to say of it if no run says so.
      message: the line that tells what was refused.
    """
    root = OutputRoot(config.output_root)
    summaries = tuple(run.summary for run in runs if os.path.exists(run.summary))  # noqa: PTH110 - never raises
    end = End(
        exit_status=status,
        state=_state_of(summaries[-1], state) if summaries else state,
        output_root=root.path,
        summaries=summaries,
        message=message,
    )
    for told in _steps(config, root, end):
        say(f"{program('local_runner.py')}: {told}", sys.stderr)
        if summaries:
            _log(summaries[-1].with_name("log.txt"), told)


def refresh(root: OutputRoot, exit_status: int | None = None) -> Iterator[str]:
    """Writes anew what tells how an output root stands, and yields a line for each thing that could not be written.

    Args:
      root: which is left as it is where nothing was ever run in it.
      exit_status: of a run that ends; None where something else has changed what is served.
    """
    try:
        if not root.metadata.exists():
            return
        from pipeline.run.monitoring import write_metrics

        write_metrics(root, exit_status=exit_status, now=time.time())
    except (Exception, KeyboardInterrupt) as error:
        yield f"{root.metrics}: not written ({type(error).__name__}: {error})."
    if exit_status is None:
        yield from _refresh_index(root)


def _refresh_index(root: OutputRoot) -> Iterator[str]:
    try:
        from pipeline.report.index_page import write_index

        write_index(root)
    except PipelineError as error:
        yield f"no page of all runs: {error}"
    except (Exception, KeyboardInterrupt) as error:
        yield f"{root.index}: not written ({type(error).__name__}: {error})."


def _is_behind(index: Path, summary: Path) -> bool:
    """Says whether a run was recorded after the page was made: one that was stopped makes none."""
    try:
        return index.stat().st_mtime_ns < summary.stat().st_mtime_ns
    except OSError:
        return True


def _steps(config: PipelineConfig, root: OutputRoot, end: End) -> Iterator[str]:
    """Takes the steps in order, and yields a line for each that failed or that a signal met; the next follows."""
    yield from refresh(root, end.exit_status)
    if end.summaries and _is_behind(root.index, end.summaries[-1]):
        yield from _refresh_index(root)
    if config.on_end:
        told = run_command(config.on_end, end, seconds=config.on_end_seconds)
        if told:
            yield told


def _state_of(summary: Path, otherwise: str) -> str:
    """Returns the state in a summary, unless that still goes on: the end of its run could not be recorded."""
    try:
        state = json.loads(summary.read_text(encoding="utf-8"))["state"]
    except (OSError, ValueError, KeyError):
        return otherwise
    return otherwise if state == RUNNING else state


def _log(log: Path, line: str) -> None:
    try:
        with log.open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(line + "\n")
    except OSError:
        # stderr has it.
        return
