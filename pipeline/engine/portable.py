"""Beam's portable runner for the executors: its jobs end in bounded time, and its errors say what a worker said.

Beam's own waits for ever for a job server that has gone quiet, leaves the job of a process that is stopped to itself,
and turns whatever a worker raised into a RuntimeError that begins with the name of the job. Here a job is cancelled
when its time is up or the process is stopped. The last lines of a worker's traceback are the marker by which an error
of this project, and so its exit status, comes back as what it was.

Synopsis:

    beam_args = ["--runner=pipeline.engine.portable.BoundedRunner", "--job_endpoint=localhost:8099", "--job_seconds=60"]
    raised_by_a_worker("...\\ncomponents.errors.InputError: no room [while running 'Write']")  # that InputError
"""

import importlib
import re
import threading
from collections.abc import Callable
from typing import Any

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners import runner
from apache_beam.runners.portability import portable_runner

from components.errors import PipelineError
from models.errors import ArtifactError

_CANCEL_SECONDS = 10.0
# As tracebacks end: the dotted name of the class, and the message of our errors, which is one line.
_RAISED = re.compile(r"^((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*): (.*)$", re.MULTILINE)
_TRACEBACK = "Traceback (most recent call last):"
_OWN = ("components.", "models.")


class JobFailedError(PipelineError):
    """An engine could not do a job, or not in time."""


class _JobOptions(PipelineOptions):
    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument("--job_seconds", type=float, default=3600.0, help="after which a job is cancelled")


class BoundedRunner(portable_runner.PortableRunner):
    """Hands a pipeline to a job server, and gives its result; see the module's docstring."""

    def run_portable_pipeline(self, pipeline: Any, options: PipelineOptions) -> "_Bounded":
        seconds = options.view_as(_JobOptions).job_seconds
        endpoint = options.view_as(PortableOptions).job_endpoint
        submit = super().run_portable_pipeline
        return _Bounded(_within(seconds, endpoint, lambda: submit(pipeline, options)), seconds, endpoint)


class _Bounded(runner.PipelineResult):
    """A job that was submitted."""

    def __init__(self, result: runner.PipelineResult, seconds: float, endpoint: str) -> None:
        super().__init__(None)
        self._result, self._seconds, self._endpoint = result, seconds, endpoint

    def wait_until_finish(self, duration: int | None = None) -> Any:
        """Waits for the end of the job.

        Raises:
          PipelineError, ArtifactError: what a worker raised.
          JobFailedError: it failed otherwise, or took too long.
        """
        try:
            return _within(self._seconds, self._endpoint, lambda: self._result.wait_until_finish(duration))
        except BaseException:
            # Also the signal that ends a run: the cluster must not go on for nobody. What has failed is not cancelled
            # by it, and whoever does not answer is not waited for.
            _start(self._result.cancel).join(_CANCEL_SECONDS)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._result, name)


def raised_by_a_worker(text: str) -> Exception | None:
    """Returns what the traceback in the text of a failed job ends with; None where it holds none."""
    found = _RAISED.findall(text.rpartition(_TRACEBACK)[2]) if _TRACEBACK in text else []
    own = [(name, said) for name, said in found if name.startswith(_OWN) and _class_of(name) is not None]
    if own:
        name, said = own[-1]
        return _class_of(name)(said)
    return JobFailedError(f"a worker failed with {': '.join(found[-1])}") if found else None


def _class_of(name: str) -> type[Exception] | None:
    module, _, kind = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError):
        return None
    return found if isinstance(found, type) and issubclass(found, PipelineError | ArtifactError) else None


def _within(seconds: float, endpoint: str, function: Callable[[], Any]) -> Any:
    """Returns what a function returns, in a thread of its own: a call to a host that is gone may never come back."""
    outcome: dict[str, Any] = {}

    def call() -> None:
        try:
            outcome["returned"] = function()
        except BaseException as error:
            outcome["raised"] = error

    thread = _start(call)
    thread.join(seconds)
    if thread.is_alive():
        raise JobFailedError(
            f"job server {endpoint}: expected the end of the job within {seconds:g} seconds (beam_seconds), found it "
            "at work. Give it more, or look at what it waits for."
        )
    if (error := outcome.get("raised")) is None:
        return outcome["returned"]
    if isinstance(error, grpc.FutureTimeoutError):
        raise JobFailedError(
            f"job server {endpoint}: expected an answer, found a port that takes connections and gives none within "
            "--job_server_timeout (300 seconds). End what listens there, or name another."
        ) from error
    if isinstance(error, grpc.RpcError):
        # A multitude of lines, whose essence is its code.
        raise JobFailedError(
            f"job server {endpoint}: it went away ({error.code().name}: {error.details()})."
        ) from error
    if isinstance(error, RuntimeError):
        # Beam's begins with a name of the job that nobody gave it.
        told = re.sub(r"^Pipeline \S+ failed in state \w+: ", "", str(error).strip()) or "no reason was given"
        reason = JobFailedError(f"job server {endpoint}: the job failed ({told.splitlines()[0]}).")
        raise (raised_by_a_worker(told) or reason) from error
    raise error


def _start(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True, name="job")
    thread.start()
    return thread
