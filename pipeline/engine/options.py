"""Turns settings into Beam's options: the one place that knows an engine.

`direct` is Beam's in-process runner: it starts nothing and downloads nothing. `flink` hands each node's work to Beam's
job server, and so to a Flink cluster, as `make flink-up` starts one; `portable` to any other job server, which
`beam_args` name. What `beam_args` say comes last, so that it goes before what an engine brings. None of it is part of
a cache key: a node that one engine has computed is cached for each.

Synopsis:

    beam_options(PipelineConfig())               # ("--runner=FnApiRunner", "--sdk_container_image=none")
    beam_options(PipelineConfig(beam_runner="flink", beam_args=("--parallelism=4",)))
    check_engine(PipelineConfig())               # an InputError where there is no such job server
    read_beam_args(arguments)                    # the options of a file: ("--parallelism=4", ...)
"""

import re
import socket
from pathlib import Path

from components.errors import InputError
from components.text import read_text
from pipeline.config import DIRECT, FLINK, PORTABLE, PipelineConfig

# Naming a container image keeps TFX from building an sdist of itself for every Beam executor.
_ALWAYS = ("--sdk_container_image=none",)
_OVER_A_JOB_SERVER = (
    # A PortableRunner whose jobs end in bounded time, and whose errors keep their exit status.
    "--runner=pipeline.engine.portable.BoundedRunner",
    # The job server and the cluster would start workers in containers; these are of the pool that stands beside each.
    "--environment_type=EXTERNAL",
    # Else Beam runs `pip freeze` for each node.
    "--experiments=disable_logging_submission_environment",
    # Between two steps of a job its workers would be ended, and the next ones made to import TensorFlow anew.
    "--environment_cache_millis=20000",
)
_ENGINES = {
    # Not `DirectRunner`: that would try a Prism binary from the network first.
    DIRECT: ("--runner=FnApiRunner",),
    PORTABLE: _OVER_A_JOB_SERVER,
    FLINK: (
        *_OVER_A_JOB_SERVER,
        "--job_endpoint=localhost:8099",
        # A name, which each host of the cluster takes for itself: the pool has to stand beside its TaskManager.
        "--environment_config=worker-pool:50000",
        "--parallelism=2",
        # Pipelined exchanges of Flink 1.x can wait for each other for ever.
        "--execution_mode_for_batch=BATCH_FORCED",
    ),
}
_PATIENCE_SECONDS = 5.0


def beam_options(config: PipelineConfig) -> tuple[str, ...]:
    """Returns the arguments that every Beam pipeline of a run is made with."""
    bound = () if config.beam_runner == DIRECT else (f"--job_seconds={config.beam_seconds:g}",)
    return (*_ENGINES[config.beam_runner], *_ALWAYS, *bound, *config.beam_args)


def check_engine(config: PipelineConfig) -> None:
    """Raises InputError where the engine that is asked for is not to be reached.

    A pool is asked for where the job server is embedded, and so in this process: else it is reached from the hosts of
    the cluster, not from here.
    """
    options = beam_options(config)
    if config.beam_runner == DIRECT:
        return
    endpoint = value_of(options, "job_endpoint")
    if not endpoint:
        raise InputError(
            f"beam_runner: {config.beam_runner} expected --job_endpoint=HOST:PORT among beam_args, found none. Add it."
        )
    if endpoint != "embed":
        _reach("job_endpoint", endpoint, "Beam's job server", "Start one ('make flink-up'), or name another")
    elif value_of(options, "environment_type") == "EXTERNAL":
        pool = value_of(options, "environment_config") or ""
        _reach("environment_config", pool, "a worker pool", "Start one (python -m pipeline.engine.worker_pool)")


def value_of(options: tuple[str, ...], name: str) -> str | None:
    """Returns the value that counts of an option that is given as `--name=value`: the last one's."""
    given = [option.partition("=")[2] for option in options if option.startswith(f"--{name}=")]
    return given[-1] if given else None


def read_beam_args(file: Path) -> tuple[str, ...]:
    """Returns the options in a file, one a line; empty lines and those that begin with # are left out.

    Raises:
      InputError: the file cannot be read.
    """
    lines = [line.strip() for line in read_text(file)[0].splitlines()]
    return tuple(line for line in lines if line and not line.startswith("#"))


def _reach(option: str, address: str, what: str, way_out: str) -> None:
    told = f"beam_runner: --{option}={address}"
    if not (match := re.fullmatch(r"(?:\w+://)?\[?([^\]]+?)\]?:(\d{1,5})", address)) or int(match[2]) > 65535:
        raise InputError(f"{told}: expected HOST:PORT of {what}, found another text.")
    try:
        socket.create_connection((match[1], int(match[2])), _PATIENCE_SECONDS).close()
    except OSError as error:
        raise InputError(f"{told}: expected {what} there, found none ({error.strerror or error}). {way_out}.") from None
