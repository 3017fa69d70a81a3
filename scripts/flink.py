"""A small Flink cluster on this machine, for Beam's work: `make flink-up`, `make flink-down`.

Flink and Beam's job server for it are the jars of deploy/flink.lock, each checked against its SHA-256; they lie in
.flink/. They come by mvn, with the registry, mirrors, proxy and local repository of its own settings, or from the
address of a Maven repository (`--from`), which leaves everything outside of .flink/ as it is. `up` starts a JobManager,
TaskManagers with a pool of Python workers beside each, and the job server; `down` ends exactly these, by the ids and
start times that `up` noted. What they print is in .flink/run/log. Flink and the pools listen on loopback alone; Beam's
own servers (the job server's ports 8098 and 8099, and those that TaskManagers open for their workers) listen on all
interfaces, without asking who is there, and nothing can tell them otherwise: keep the network away from such a machine.

Synopsis:

    make flink-up                                 # python -m scripts.flink up
    make flink-up ARGS="--slots 2"                # of each TaskManager
    make flink-up ARGS="--from ADDRESS"           # the jars from there, without mvn
    make flink-down                               # python -m scripts.flink down
    python -m scripts.flink check                 # fetches the jars, starts nothing; 69: they or Java cannot be had
    python -m scripts.flink lock                  # remakes deploy/flink.lock from deploy/flink.pom.xml, by mvn
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.console import Stop, exit_status, only_one, step

ROOT = Path(__file__).resolve().parent.parent
FLINK = ROOT / ".flink"
# The job server has each jar of its class path sent along with each job, which takes a quarter of a minute, but for
# those of a path that Beam takes for a build tool's (PipelineResources.isStageable). The cluster has them all itself.
JARS = FLINK / "gradle/wrapper"
RUN = FLINK / "run"
NOTED = RUN / "processes.json"
LOCK = ROOT / "deploy/flink.lock"
POM = ROOT / "deploy/flink.pom.xml"
HOST = "127.0.0.1"
REST, RPC, JOBS, ARTIFACTS, POOL = 8081, 6123, 8099, 8098, 50000
# What a job's options call the pool; each TaskManager has a file of hosts in which that is its own.
POOL_NAME = "worker-pool"
JAVA_VERSIONS = (11, 17)
# Of the command `check`; sysexits.h has it for a service that is not there.
UNAVAILABLE = 69
TRIES, TIMEOUT_SECONDS, START_SECONDS, END_SECONDS = 3, 60, 60, 10
RELOCK = "python -m scripts.flink lock"
WAYS = 'Install Maven (Debian: apt-get install maven), or name a Maven repository: make flink-up ARGS="--from ADDRESS".'

# As Flink's own scripts start it on a Java with modules.
_OPENED = (
    *("sun.net.util", "java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text"),
    *("java.time", "java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
)
JAVA_OPTIONS = (
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "-XX:+ExitOnOutOfMemoryError",
    # For short jobs on few cores, which the workers need.
    *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
)
CONFIGURATION = """\
jobmanager.rpc.address: {host}
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: {host}
jobmanager.memory.heap.size: 512m
jobmanager.memory.off-heap.size: 128m
jobmanager.memory.jvm-metaspace.size: 256m
jobmanager.memory.jvm-overhead.min: 192m
jobmanager.memory.jvm-overhead.max: 192m
rest.address: {host}
rest.bind-address: {host}
rest.port: {rest}
taskmanager.host: {host}
taskmanager.bind-host: {host}
taskmanager.numberOfTaskSlots: {slots}
# Flink's scripts would work these out; all of them have to be there.
taskmanager.cpu.cores: {slots}
taskmanager.memory.task.heap.size: 512m
taskmanager.memory.task.off-heap.size: 256m
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.network.min: 256m
taskmanager.memory.network.max: 256m
taskmanager.memory.managed.size: 256m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
# Evaluation has 90 steps, and each waits for as many buffers.
taskmanager.network.sort-shuffle.min-buffers: 64
# Who is gone is found out within half a minute, and who is slow not taken for gone.
heartbeat.interval: 5000
heartbeat.timeout: 30000
slot.request.timeout: 30000
cluster.evenly-spread-out-slots: true
# A worker, its pool or a TaskManager may die once in a job: what it did is done again. Beam's option for that is for
# streams alone. All that fails before the others have found out who is gone is one failure. Steps that are begun again
# then ask a TaskManager that is gone for what it had made, if Flink had not yet known that: the second one.
restart-strategy.type: exponential-delay
restart-strategy.exponential-delay.initial-backoff: 15 s
restart-strategy.exponential-delay.max-backoff: 30 s
restart-strategy.exponential-delay.attempts-before-reset-backoff: 2
# A job has no jars of its own.
classloader.resolve-order: parent-first
io.tmp.dirs: {tmp}
"""


# What mvn says of jars that it cannot have, and not of a file of ours that is wrong.
_OUT_OF_REACH = re.compile(
    r"could not (transfer|find artifact|resolve)|no such host|unknown host|connect|timed out", re.I
)


class Unavailable(Stop):
    """What a cluster takes is not here, and cannot be had from here."""


def read_lock(text: str) -> dict[str, str]:
    """Returns the SHA-256 of each jar by its path in a repository.

    Raises:
      Stop: a line is no coordinates with a digest.
    """
    found = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not (match := re.fullmatch(r"([\w.-]+):([\w.-]+):([\w.-]+) ([0-9a-f]{64})", line)):
            raise Stop(f"{LOCK}: expected GROUP:ARTIFACT:VERSION SHA256 in each line, found {line!r}.")
        group, artifact, version, digest = match.groups()
        found[f"{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.jar"] = digest
    return found


def fetch(base: str | None, jars: Path = JARS, lock: Path = LOCK) -> None:
    """Has the jars of the lock, and no other file, in a folder.

    Args:
      base: address of a Maven repository; None has mvn bring them.
      jars: the folder.
      lock: which ones.

    Raises:
      Stop: one cannot be had, or is not what it was; those that were had stay.
    """
    wanted = {Path(path).name: (path, digest) for path, digest in read_lock(lock.read_text(encoding="utf-8")).items()}
    jars.mkdir(parents=True, exist_ok=True)
    for path in jars.iterdir():
        if path.name not in wanted or hashlib.sha256(path.read_bytes()).hexdigest() != wanted[path.name][1]:
            path.unlink()
    missing = [wanted[name] for name in sorted(wanted) if not (jars / name).exists()]
    if not missing:
        return
    with step(f"{len(missing)} jars of {lock.name} {f'from {base}' if base else 'by mvn'}"):
        if base:
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(lambda jar: _download(base, *jar, jars), missing))
        else:
            _take_from_maven(missing, jars)


def _download(base: str, path: str, digest: str, folder: Path) -> None:
    address = f"{base.rstrip('/')}/{path}"
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:
                content = answer.read()
            break
        except (OSError, ValueError, http.client.HTTPException) as error:
            if left and not isinstance(error, urllib.error.HTTPError | ValueError):
                continue
            raise Unavailable(
                f"{address}: cannot be had ({error}). Set the proxy's variable (https_proxy), name another Maven "
                "repository with --from, or leave that out, which has mvn bring the jars."
            ) from None
    _check(address, content, digest)
    part = folder / f"{Path(path).name}.part"
    part.write_bytes(content)
    part.replace(folder / Path(path).name)


def _take_from_maven(wanted: Sequence[tuple[str, str]], folder: Path) -> None:
    # Beside the jars, so that each comes to its place by a rename.
    with tempfile.TemporaryDirectory(dir=folder.parent) as copied:
        _copy_by_maven(Path(copied))
        for path, digest in wanted:
            jar = Path(copied, path)
            if not jar.exists():
                raise Stop(f"{path}: expected it of {POM.name}, which is for another lock. Remake it: {RELOCK}.")
            _check(path, jar.read_bytes(), digest)
            jar.replace(folder / jar.name)


def _check(name: str, content: bytes, digest: str) -> None:
    if (found := hashlib.sha256(content).hexdigest()) != digest:
        raise Stop(f"{name}: expected the SHA-256 {digest}, found {found}. Take it from another place with --from.")


def _copy_by_maven(folder: Path) -> None:
    """Has the runtime dependencies that mvn finds for deploy/flink.pom.xml in a folder, by their paths in a repository.

    Raises:
      Stop: there is no mvn here, or it fails.
    """
    if not shutil.which("mvn"):
        raise Unavailable(f"expected mvn in PATH, found none. {WAYS}")
    how = ["-DincludeScope=runtime", "-Dmdep.useRepositoryLayout=true", f"-DoutputDirectory={folder}"]
    command = ["mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", *how]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        reason = next((line for line in ended.stdout.splitlines() if line.startswith("[ERROR]")), "[ERROR] no reason")
        kind = Unavailable if _OUT_OF_REACH.search(reason) else Stop
        raise kind(f"mvn ended with status {ended.returncode} ({reason.removeprefix('[ERROR] ')}). {WAYS}")


def java() -> str:
    """Returns the Java to run with: that of JAVA_HOME, else the one in PATH.

    Raises:
      Unavailable: there is none, or of another version than Flink 1.19 runs on; or this is no Linux.
    """
    if not sys.platform.startswith("linux"):
        raise Unavailable("expected Linux, where each TaskManager's pool has an address of loopback of its own.")
    wanted = " or ".join(map(str, JAVA_VERSIONS))
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home, "bin/java")) if home else shutil.which("java")
    how = "Install one (Debian: apt-get install openjdk-17-jre-headless), or set JAVA_HOME"
    if not found or not Path(found).is_file():
        raise Unavailable(f"expected Java {wanted}, found none in {'JAVA_HOME' if home else 'PATH'}. {how}.")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if not version or int(version[1]) not in JAVA_VERSIONS:
        raise Unavailable(f"{found}: expected Java {wanted}, found {version[1] if version else 'no Java'}. {how}.")
    return found


def started_at(process: int) -> str:
    """Returns what tells a process from a later one of its number; "" for none, or one that has ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2].split()
    except OSError:
        return ""
    return "" if state[0] == "Z" else state[19]


def noted() -> dict[str, int]:
    """Returns the ids of the processes of the cluster that are alive, by their names."""
    return _alive(_noted())


def _noted() -> dict[str, tuple[int, str]]:
    try:
        return json.loads(NOTED.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        # Empty after a power cut, which ended them, too.
        return {}


def _alive(started: dict[str, tuple[int, str]]) -> dict[str, int]:
    return {name: process for name, (process, start) in started.items() if start and started_at(process) == start}


def commands(java: str, python: Path, task_managers: int) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Yields name, command and further variables of each process, in the order in which they start."""
    run = [java, *JAVA_OPTIONS, f"-Djava.io.tmpdir={RUN / 'tmp'}", "-cp", f"{JARS}/*"]
    conf = ["--configDir", str(RUN / "conf")]
    entry = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
    yield "jobmanager", [*run[:1], "-Xmx512m", *run[1:], entry, *conf], {}
    for number in range(1, task_managers + 1):
        # Of its own address of loopback, as it is on a host of its own.
        address = f"127.0.0.1{number}"
        hosts = RUN / f"conf/hosts-{number}"
        hosts.write_text(f"{HOST} localhost {socket.gethostname()}\n{address} {POOL_NAME}\n", encoding="utf-8")
        pool = ["-m", "pipeline.engine.worker_pool", "--address", f"{address}:{POOL}"]
        log = ["--log", str(RUN / f"log/workers-{number}.log")]
        yield f"worker pool {number}", [str(python), *pool, *log], {"PYTHONPATH": str(ROOT)}
        memory = ["-Xmx640m", "-XX:MaxDirectMemorySize=768m", f"-Djdk.net.hosts.file={hosts}"]
        name = ["-D", f"taskmanager.resource-id=taskmanager-{number}"]
        entry = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        yield f"taskmanager {number}", [*run[:1], *memory, *run[1:], entry, *conf, *name], {}
    server = ["org.apache.beam.runners.flink.FlinkJobServerDriver", f"--flink-master={HOST}:{REST}"]
    ports = [f"--job-host={HOST}", f"--job-port={JOBS}", f"--artifact-port={ARTIFACTS}", "--expansion-port=0"]
    yield "job server", [*run[:1], "-Xmx512m", *run[1:], *server, *ports, f"--artifacts-dir={RUN / 'artifacts'}"], {}


def up(task_managers: int, slots: int, base: str | None) -> None:
    """Starts the cluster, with jars from where `fetch` says, and waits until it takes jobs.

    Raises:
      Stop: it cannot be started here; nothing of it runs.
    """
    if alive := noted():
        raise Stop(
            f"expected no cluster of this project, found its {', '.join(alive)} at work. 'make flink-down' ends it."
        )
    found, python = java(), ROOT / ".venv/bin/python"
    if not python.exists():
        raise Stop(f"{python}: expected the environment of the workers, found none: run 'make setup' first.")
    for port in (REST, RPC, JOBS, ARTIFACTS):
        with socket.socket() as taken:
            if taken.connect_ex((HOST, port)) == 0:
                raise Stop(f"{HOST}:{port}: expected a free port, found another program. End it first.")
    fetch(base)
    shutil.rmtree(RUN, ignore_errors=True)
    for name in ("conf", "log", "tmp"):
        (RUN / name).mkdir(parents=True)
    conf = CONFIGURATION.format(host=HOST, rpc=RPC, rest=REST, slots=slots, tmp=RUN / "tmp")
    (RUN / "conf/config.yaml").write_text(conf, encoding="utf-8")
    running: dict[str, tuple[int, str]] = {}
    try:
        with step(f"Flink: a JobManager, {task_managers} TaskManagers with {slots} slots each, a job server"):
            for name, command, variables in commands(found, python, task_managers):
                running[name] = _start(name, command, variables)
                part = NOTED.with_name(f"{NOTED.name}.part")
                part.write_text(json.dumps(running), encoding="utf-8")
                part.replace(NOTED)
            _wait(running, task_managers)
    except BaseException:
        # Also those that a full disk kept from being noted.
        _end(running)
        raise


def _start(name: str, command: Sequence[str], variables: dict[str, str]) -> tuple[int, str]:
    with (RUN / f"log/{name.replace(' ', '-')}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=RUN,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process.pid, started_at(process.pid)


def _wait(running: dict[str, tuple[int, str]], task_managers: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for name, (process, start) in running.items():
            if started_at(process) != start:
                raise Stop(f"{name} ended at once; why is in {RUN / 'log' / name.replace(' ', '-')}.log.")
        with contextlib.suppress(OSError, ValueError, KeyError, http.client.HTTPException):
            there = overview()["taskmanagers"]
            pools = [(f"127.0.0.1{number}", POOL) for number in range(1, task_managers + 1)]
            for address in [(HOST, JOBS), *pools]:
                socket.create_connection(address, 1).close()
            if there == task_managers:
                return
        time.sleep(0.2)
    raise Stop(f"expected a cluster that takes jobs within {START_SECONDS} seconds, found none; see {RUN / 'log'}.")


def overview() -> dict:
    """Returns what Flink says of itself."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"http://{HOST}:{REST}/overview", None, 2
    ) as it:
        return json.load(it)


def down() -> list[str]:
    """Ends the processes of the cluster that are alive, the last one first; returns their names."""
    return _end(_noted())


def _end(started: dict[str, tuple[int, str]]) -> list[str]:
    alive = _alive(started)
    for process in reversed(alive.values()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + END_SECONDS
    while (left := _alive(started)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    NOTED.unlink(missing_ok=True)
    return list(alive)


def lock() -> None:
    """Remakes the lock from the runtime dependencies that Maven finds for deploy/flink.pom.xml.

    Raises:
      Stop: there is no mvn here, or it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        _copy_by_maven(Path(folder))
        lines = []
        for jar in sorted(Path(folder).rglob("*.jar")):
            *group, artifact, version, _ = jar.relative_to(folder).parts
            lines.append(f"{'.'.join(group)}:{artifact}:{version} {hashlib.sha256(jar.read_bytes()).hexdigest()}\n")
    head = f"# Flink and Beam's job server for it, from deploy/flink.pom.xml: {RELOCK}\n"
    LOCK.write_text(head + "".join(lines), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.flink", description="A small Flink cluster on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up", help="start it")
    starting.add_argument("--task-managers", type=int, choices=range(1, 10), default=2, metavar="N", help="default: 2")
    starting.add_argument("--slots", type=int, choices=range(1, 33), default=1, metavar="N", help="of each, default: 1")
    starting.add_argument("--from", dest="base", metavar="ADDRESS", help="a Maven repository; default: what mvn uses")
    commands.add_parser("down", help="end it")
    commands.add_parser("check", help="fetch what it takes, and start nothing")
    commands.add_parser("lock", help="remake deploy/flink.lock")
    args = parser.parse_args(argv)
    if args.command == "lock":
        lock()
        return 0
    FLINK.mkdir(exist_ok=True)
    with only_one(FLINK, "flink"):
        if args.command == "down":
            ended = down()
            print(f"flink: ended {', '.join(ended)}" if ended else "flink: nothing of it was at work")
        elif args.command == "check":
            try:
                found = java()
                fetch(None)
            except Unavailable as reason:
                print(f"flink: {reason}", file=sys.stderr)
                return UNAVAILABLE
            print(f"flink: {found} and the jars of {LOCK.name} are here")
        else:
            up(args.task_managers, args.slots, args.base)
            print(f"flink: takes jobs at localhost:{JOBS}, tells of them at http://{HOST}:{REST}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("flink", main))
