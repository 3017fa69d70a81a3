"""A pool of Beam's Python workers, beside each TaskManager of a cluster: a process for each that is asked for.

Beam's own pool starts whatever `python` is in PATH, listens on all interfaces without asking who is there, and leaves
what its workers print in a pipe that nobody reads, which fills and stops them. This one listens on the address that it
is told, by default on loopback, starts the interpreter that it runs in, with this project on its path, and keeps what
workers print in a file. A worker's end is the end of its connection to the engine, which has numbered it: the numbers
of two jobs may be the same, so that one is ended by its number only when nobody listens to it any more.

Synopsis:

    with serving(address, log) as server:                             # address: "127.0.0.1:50000"
        server.processes                                              # of the workers that are alive

    python -m pipeline.engine.worker_pool --address 127.0.0.1:50000 --log pool.log
"""

import argparse
import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

from components.errors import InputError
from pipeline.project import ROOT, program

_ADDRESS = "127.0.0.1:50000"
# By which a worker whose engine is gone has noticed it.
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 1.0
# Unbuffered, so that the file has what a worker said before it was killed; -m needs no such path, but -c does. `models`
# says how TensorFlow computes, before anything imports that.
_WORKER = """\
import sys
import models
from apache_beam.runners.worker.sdk_worker import SdkHarness
SdkHarness(sys.argv[1], worker_id=sys.argv[2], state_cache_size=0, data_buffer_time_limit_ms=-1).run()
"""


@dataclasses.dataclass
class _Worker:
    """A process, the number that the engine gave it, and where the engine is; whether it is there for another one."""

    number: str
    control: str
    process: subprocess.Popen
    instead: bool = False


class WorkerPool(BeamFnExternalWorkerPoolServicer):
    """Beam's pool with workers of its own making; see the module's docstring."""

    def __init__(self, log: Path) -> None:
        super().__init__(use_process=True)
        self._log = log
        self._workers: list[_Worker] = []
        self._lock, self._closed = threading.Lock(), threading.Event()
        threading.Thread(target=self._look, daemon=True, name="pool").start()

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers that are alive."""
        with self._lock:
            return [worker.process.pid for worker in self._workers if worker.process.poll() is None]

    def StartWorker(self, start_worker_request: Any, unused_context: Any) -> Any:
        try:
            self._start(start_worker_request.worker_id, start_worker_request.control_endpoint.url)
        except OSError as error:
            told = f"{self._log}: no worker can be started ({error.strerror})"
            return beam_fn_api_pb2.StartWorkerResponse(error=told)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, stop_worker_request: Any, unused_context: Any) -> Any:
        # It is told by its connection, and `_look` sees to those that do not hear.
        return beam_fn_api_pb2.StopWorkerResponse()

    def close(self) -> None:
        """Ends all workers."""
        self._closed.set()
        with self._lock:
            for worker in self._workers:
                worker.process.kill()
            for worker in self._workers:
                worker.process.wait()

    def _start(self, number: str, control: str, *, instead: bool = False) -> None:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        with self._lock, self._log.open("ab") as log:
            if self._closed.is_set():
                return
            process = subprocess.Popen(
                [sys.executable, "-u", "-c", _WORKER, control, number],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Else gRPC would ask the proxy of http_proxy for the engine, also for one on localhost.
                env={"grpc_proxy": "", **os.environ, "PYTHONPATH": path},
            )
            self._workers.append(_Worker(number, control, process, instead))

    def _look(self) -> None:
        """Reaps workers that have ended, and ends those that nobody talks to any more.

        An engine waits for ever for a worker that died before it had connected: another one takes its place, once.
        """
        deaf: dict[int, float] = {}
        while not self._closed.wait(_LOOK_SECONDS):
            with self._lock:
                ended = [worker for worker in self._workers if worker.process.poll() is not None]
                self._workers = alive = [worker for worker in self._workers if worker not in ended]
            for worker in ended:
                if worker.process.returncode and not worker.instead and _listens(worker.control):
                    with contextlib.suppress(OSError):
                        self._start(worker.number, worker.control, instead=True)
            deaf = {
                worker.process.pid: deaf.get(worker.process.pid, 0.0) + _LOOK_SECONDS
                for worker in alive
                if not _listens(worker.control)
            }
            for worker in alive:
                if deaf.get(worker.process.pid, 0.0) > _GRACE_SECONDS:
                    worker.process.kill()


@contextlib.contextmanager
def serving(address: str, log: Path) -> Iterator[WorkerPool]:
    """Serves a pool at HOST:PORT until the block ends, and then ends its workers.

    Raises:
      InputError: the address is not to be had.
    """
    pool = WorkerPool(log)
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        try:
            server.add_insecure_port(address)
        except RuntimeError:
            raise InputError(
                f"{address}: expected an address of this host that is free, found none. Name another."
            ) from None
        server.start()
        yield pool
    finally:
        server.stop(None)
        pool.close()


def main(argv: list[str] | None = None) -> int:
    """Serves until a signal ends it."""
    parser = argparse.ArgumentParser(
        prog=program("python -m pipeline.engine.worker_pool"), description="Beam's workers."
    )
    parser.add_argument("--address", default=_ADDRESS, help=f"HOST:PORT to listen on ({_ADDRESS})")
    parser.add_argument("--log", type=Path, required=True, help="file for what the workers print")
    arguments = parser.parse_args(argv)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    try:
        with serving(arguments.address, arguments.log):
            ended.wait()
    except InputError as error:
        print(f"worker_pool: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _listens(control: str) -> bool:
    host, _, port = control.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _LOOK_SECONDS).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
