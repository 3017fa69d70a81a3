"""What becomes of settings and of failures on their way to an engine and back; no engine is started here."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, beam_runner_api_pb2

import local_runner
from components.errors import DataRefused, InputError
from models.examples import ExamplesError
from pipeline.config import PipelineConfig
from pipeline.engine import portable, worker_pool
from pipeline.engine.options import beam_options, check_engine, read_beam_args, value_of
from pipeline.engine.portable import JobFailedError, raised_by_a_worker
from pipeline.run.outcome import describe_failure
from pipeline.surroundings import taken_over

ROOT = Path(__file__).resolve().parent.parent


def port_that_nobody_has() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def test_default_is_the_runner_in_this_process_and_asks_nobody(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("somebody was asked"))
    assert beam_options(PipelineConfig()) == ("--runner=FnApiRunner", "--sdk_container_image=none")
    check_engine(PipelineConfig())


def test_options_that_are_given_go_before_those_of_the_engine():
    given = ("--parallelism=4", "--job_endpoint=flink.example:8099")
    options = beam_options(PipelineConfig(beam_runner="flink", beam_args=given, beam_seconds=90))
    assert value_of(options, "parallelism") == "4"
    assert value_of(options, "job_endpoint") == "flink.example:8099"
    assert value_of(options, "execution_mode_for_batch") == "BATCH_FORCED"
    assert value_of(options, "job_seconds") == "90"
    assert value_of(options, "no_such_option") is None


def test_file_of_options_has_one_a_line_and_goes_before_no_set(tmp_path):
    file = tmp_path / "cluster.txt"
    file.write_text("# ours\n--parallelism=4\n\n  --job_endpoint=flink:8099\n")
    assert read_beam_args(file) == ("--parallelism=4", "--job_endpoint=flink:8099")
    arguments = local_runner.parse_arguments(["--beam-runner", "flink", "--beam-args", str(file)])
    assert local_runner.flags_of_settings(arguments) == {
        "beam_runner": ("--beam-runner flink", "flink"),
        "beam_args": (f"--beam-args {file}", ("--parallelism=4", "--job_endpoint=flink:8099")),
    }


def test_file_of_options_that_is_not_there_is_a_line_and_status_2(tmp_path, capsys):
    assert local_runner.main(["--beam-args", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.endswith(f"{tmp_path / 'none'}: cannot be read (No such file or directory).\n")


def test_job_server_that_is_not_there_is_a_line_and_status_2_and_nothing_is_made(tmp_path, capsys, fashion_mnist):
    port = port_that_nobody_has()
    output = tmp_path / "output"
    set_ = f"beam_args=--job_endpoint=127.0.0.1:{port}"
    where = ["--data-dir", str(fashion_mnist), "--output-root", str(output)]
    assert local_runner.main(["--beam-runner", "flink", "--set", set_, *where]) == 2
    assert capsys.readouterr().err == (
        f"local_runner.py: --beam-runner flink: --job_endpoint=127.0.0.1:{port}: expected Beam's job server there, "
        "found none (Connection refused). Start one ('make flink-up'), or name another.\n"
    )
    assert not list(tmp_path.rglob("runs/*"))


@pytest.mark.parametrize(
    ("runner", "given", "message"),
    [
        ("portable", (), "portable expected --job_endpoint=HOST:PORT among beam_args, found none"),
        ("flink", ("--job_endpoint=flink",), "--job_endpoint=flink: expected HOST:PORT of Beam's job server, found"),
        ("flink", ("--job_endpoint=a:99999",), "--job_endpoint=a:99999: expected HOST:PORT of Beam's job server"),
        (
            "portable",
            ("--job_endpoint=embed", "--environment_config=127.0.0.1:1"),
            "--environment_config=127.0.0.1:1: expected a worker pool there, found none (Connection refused)",
        ),
    ],
)
def test_engine_that_cannot_be_reached_is_named(runner, given, message):
    with pytest.raises(InputError) as refused:
        check_engine(PipelineConfig(beam_runner=runner, beam_args=given))
    assert str(refused.value).startswith(f"beam_runner: {message}")


# Errors on their way back.

TRACEBACK = """\
java.lang.RuntimeException: Error received from SDK harness for instruction 3: Traceback (most recent call last):
  File "sdk_worker.py", line 310, in _execute
    response = task()
{error}

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient$ResponseStreamObserver.onNext(FnApiControl.java)
Caused by: java.lang.Error: other
"""


@pytest.mark.parametrize("kind", [InputError, DataRefused, ExamplesError])
def test_error_of_a_worker_keeps_its_class_its_line_and_its_status(kind):
    line = "shard-3: expected TFRecords, found: none. Delete it."
    text = f"{kind.__module__}.{kind.__name__}: {line} [while running 'WriteShard-ptransform-12']"
    raised = raised_by_a_worker(TRACEBACK.format(error=text))
    assert type(raised) is kind
    assert describe_failure(raised) == (line, getattr(kind, "exit_status", 2))


def test_other_error_of_a_worker_is_told_in_a_line():
    error = "ZeroDivisionError: division by zero [while running 'Map-ptransform-1']"
    told, status = describe_failure(raised_by_a_worker(TRACEBACK.format(error=error)))
    assert (told, status) == ("a worker failed with ZeroDivisionError: division by zero", 1)


def test_name_that_is_no_error_of_this_project_is_not_taken_for_one():
    for name in ("components.errors.NoSuchError", "components.no_such_module.Error", "models.memory.MIB"):
        assert type(raised_by_a_worker(TRACEBACK.format(error=f"{name}: text"))) is JobFailedError
    assert raised_by_a_worker("java.io.IOException: no room") is None


# A job in bounded time.


class _Job:
    """Stands for a job of Beam's: it ends as `how` does, and notes that it was cancelled."""

    def __init__(self, how) -> None:
        self.how, self.cancelled = how, threading.Event()

    def wait_until_finish(self, duration=None) -> str:
        return self.how()

    def cancel(self) -> None:
        self.cancelled.set()


def test_job_that_takes_too_long_is_cancelled_and_named():
    job = _Job(threading.Event().wait)
    started = time.monotonic()
    with pytest.raises(JobFailedError, match=r"job server flink:8099: expected the end of the job within 0\.2 seconds"):
        portable._Bounded(job, 0.2, "flink:8099").wait_until_finish()
    assert time.monotonic() - started < 5
    assert job.cancelled.is_set()


def test_job_that_ends_gives_what_it_gives():
    job = _Job(lambda: "DONE")
    assert portable._Bounded(job, 60, "flink:8099").wait_until_finish() == "DONE"
    assert not job.cancelled.is_set()


def test_job_server_that_goes_away_is_a_line():
    class Gone(grpc.RpcError):
        def code(self):
            return grpc.StatusCode.UNAVAILABLE

        def details(self):
            return "Socket closed"

    def fail():
        raise Gone

    with pytest.raises(JobFailedError, match=r"^job server a:1: it went away \(UNAVAILABLE: Socket closed\)\.$"):
        portable._Bounded(_Job(fail), 60, "a:1").wait_until_finish()


def test_port_that_takes_connections_and_never_answers_is_a_line():
    """As what is no job server, or a proxy, does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        options = PipelineOptions([f"--job_endpoint={endpoint}", "--job_server_timeout=1"])
        with pytest.raises(JobFailedError, match=rf"^job server {endpoint}: expected an answer, found a port that"):
            portable.BoundedRunner().run_portable_pipeline(beam_runner_api_pb2.Pipeline(), options)


def test_process_that_is_stopped_cancels_its_job(monkeypatch):
    job = _Job(threading.Event().wait)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(portable, "_within", stopped)
    with pytest.raises(KeyboardInterrupt):
        portable._Bounded(job, 60, "a:1").wait_until_finish()
    assert job.cancelled.is_set()


# The pool.


@pytest.fixture
def worker(monkeypatch):
    """Has workers that say where they are, and more than a pipe holds, and then wait."""
    monkeypatch.setattr(
        worker_pool,
        "_WORKER",
        "import sys, time, pipeline\n"
        "print(sys.executable, sys.argv[2], pipeline.__file__)\nprint('x' * 200_000)\nprint('said', flush=True)\n"
        "time.sleep(600)",
    )


def request(stub, number: str, control: str):
    from apache_beam.portability.api import endpoints_pb2

    endpoint = endpoints_pb2.ApiServiceDescriptor(url=control)
    return stub.StartWorker(beam_fn_api_pb2.StartWorkerRequest(worker_id=number, control_endpoint=endpoint))


def eventually(what, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_workers_are_of_this_interpreter_with_the_project_on_their_path_and_may_talk(tmp_path, worker, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address, log = f"127.0.0.1:{port_that_nobody_has()}", tmp_path / "log"
    with (
        socket.create_server(("127.0.0.1", 0)) as engine,
        worker_pool.serving(address, log) as pool,
        grpc.insecure_channel(address) as channel,
    ):
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        control = f"127.0.0.1:{engine.getsockname()[1]}"
        # Of two jobs, which number their workers alike.
        assert [request(stub, "1-1", control).error for _ in range(2)] == ["", ""]
        assert len(pool.processes) == 2
        eventually(lambda: log.read_bytes().count(b"said") == 2)
        assert f"{sys.executable} 1-1 {ROOT / 'pipeline'}" in log.read_text()
        # The connection of one has ended, that of the other has not: a number ends neither.
        stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"))
        assert len(pool.processes) == 2
        processes = pool.processes
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.fixture
def proxy(monkeypatch) -> Iterator[socket.socket]:
    """What the environment names as the proxy of all; nobody may have asked it."""
    for name in ("grpc_proxy", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as named:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{named.getsockname()[1]}")
        yield named
        named.setblocking(False)
        with pytest.raises(BlockingIOError):
            named.accept()


def test_run_asks_no_proxy_for_beams_servers(proxy, tmp_path):
    address = f"localhost:{port_that_nobody_has()}"
    with (
        worker_pool.serving(address, tmp_path / "log"),
        taken_over(os.environ, tmp_path),
        grpc.insecure_channel(address) as channel,
    ):
        grpc.channel_ready_future(channel).result(20)


def test_worker_asks_no_proxy_for_its_engine(proxy, tmp_path, monkeypatch):
    meets = "import grpc, sys; grpc.channel_ready_future(grpc.insecure_channel(sys.argv[1])).result(20); print('met')"
    monkeypatch.setattr(worker_pool, "_WORKER", meets)
    address, log = f"localhost:{port_that_nobody_has()}", tmp_path / "log"
    with worker_pool.serving(address, log) as pool:
        # Any server that speaks gRPC.
        pool._start("1-1", address)
        eventually(lambda: log.read_text() == "met\n")


def test_worker_whose_engine_is_gone_is_ended(tmp_path, worker, monkeypatch):
    monkeypatch.setattr(worker_pool, "_GRACE_SECONDS", 0.1)
    monkeypatch.setattr(worker_pool, "_LOOK_SECONDS", 0.1)
    address = f"127.0.0.1:{port_that_nobody_has()}"
    with worker_pool.serving(address, tmp_path / "log") as pool, grpc.insecure_channel(address) as channel:
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        request(stub, "1-1", f"127.0.0.1:{port_that_nobody_has()}")
        eventually(lambda: not pool.processes)


def test_worker_that_dies_has_one_in_its_place_once(tmp_path, worker, monkeypatch):
    monkeypatch.setattr(worker_pool, "_LOOK_SECONDS", 0.1)
    address = f"127.0.0.1:{port_that_nobody_has()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as engine,
        worker_pool.serving(address, tmp_path / "log") as pool,
        grpc.insecure_channel(address) as channel,
    ):
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        request(stub, "1-1", f"127.0.0.1:{engine.getsockname()[1]}")
        (first,) = pool.processes
        os.kill(first, signal.SIGKILL)
        eventually(lambda: pool.processes and pool.processes != [first])
        os.kill(pool.processes[0], signal.SIGKILL)
        eventually(lambda: not pool.processes)
        time.sleep(0.5)
        assert not pool.processes


def test_pool_listens_on_the_address_that_it_is_told_alone(tmp_path):
    port = port_that_nobody_has()
    with worker_pool.serving(f"127.0.0.1:{port}", tmp_path / "log"):
        socket.create_connection(("127.0.0.1", port), 5).close()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.2", port), 5)


@pytest.mark.slow
def test_address_that_is_taken_is_a_line_and_status_2(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        where = ["--address", address, "--log", str(tmp_path / "log")]
        command = [sys.executable, "-m", "pipeline.engine.worker_pool", *where]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    told = f"worker_pool: {address}: expected an address of this host that is free, found none. Name another."
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, told)


def test_worker_that_cannot_be_started_is_told_to_the_engine(tmp_path):
    pool = worker_pool.WorkerPool(tmp_path / "no/folder/log")
    wanted = SimpleNamespace(worker_id="1", control_endpoint=SimpleNamespace(url="127.0.0.1:1"))
    assert pool.StartWorker(wanted, None).error.endswith("no worker can be started (No such file or directory)")
    pool.close()
