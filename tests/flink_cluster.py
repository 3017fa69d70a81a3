"""A Flink cluster of its own beside the in-process runner: the same answers, spread, and what a kill comes to.

`make flink-test` runs it, for it takes minutes; `make test` does not. It needs Java and what deploy/flink.lock names,
and fails without.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.example_gen.idx import read_idx
from models.features import TEST, TRAIN
from pipeline.metadata.store import Store
from scripts import flink
from tests.forms import FORMS
from tests.same_answers import TINY, assert_same_answers, summary_of

ROOT = Path(__file__).resolve().parent.parent
# For a job that takes a quarter of a minute where nothing is killed, or five of them, on a machine with other work.
PATIENCE_SECONDS, PATIENCE_FOR_ALL_SECONDS = 240, 720


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two TaskManagers of two slots each; whatever happens, they are ended, and nothing else."""
    start()
    yield
    subprocess.run([sys.executable, "-m", "scripts.flink", "down"], cwd=ROOT, check=True, timeout=60)
    assert flink.noted() == {}


def start() -> None:
    subprocess.run([sys.executable, "-m", "scripts.flink", "down"], cwd=ROOT, check=True, timeout=60)
    subprocess.run([sys.executable, "-m", "scripts.flink", "up", "--slots", "2"], cwd=ROOT, check=True, timeout=600)


# A shard is dealt to a TaskManager at random: of two both go to one half of the time, of twelve once in 2,000 times.
SHARDS = ("--set", "shards=12,12,12")


def runner(output: Path, data: Path, *arguments: str) -> subprocess.Popen:
    where = ["--output-root", str(output), "--data-dir", str(data)]
    command = [sys.executable, "local_runner.py", *TINY, *SHARDS, *where, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen, seconds: float = PATIENCE_SECONDS) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, out, err


@pytest.fixture(scope="module")
def output(fashion_mnist, tmp_path_factory) -> Path:
    """The output root of a whole run on Flink."""
    folder = tmp_path_factory.mktemp("flink") / "output"
    status, out, err = finish(runner(folder, fashion_mnist, "--beam-runner", "flink"), PATIENCE_FOR_ALL_SECONDS)
    assert status == 0, out + err
    return folder


def ask(path: str) -> dict:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:8081{path}") as answer:
        return json.load(answer)


def jobs() -> list[dict]:
    return sorted(ask("/jobs/overview")["jobs"], key=lambda job: job["start-time"])


def records_by_task_manager(job: dict) -> dict[str, int]:
    """Returns how many records the steps of a job read and wrote on each TaskManager."""
    found: dict[str, int] = {}
    for vertex in ask(f"/jobs/{job['jid']}")["vertices"]:
        for part in ask(f"/jobs/{job['jid']}/vertices/{vertex['id']}/taskmanagers")["taskmanagers"]:
            metrics = part["metrics"]
            name = part["taskmanager-id"]
            found[name] = found.get(name, 0) + metrics["read-records"] + metrics["write-records"]
    return found


def assert_spread(done: list[dict], parallelism: int, count: int = 5) -> None:
    """Asserts that the jobs of one run are finished, and that both TaskManagers had their share of each.

    Of a whole run they are ExampleGen's, StatisticsGen's, Transform's, BulkInferrer's and Evaluator's.
    """
    assert [job["state"] for job in done] == ["FINISHED"] * count
    for job in done:
        assert max(vertex["parallelism"] for vertex in ask(f"/jobs/{job['jid']}")["vertices"]) == parallelism
        spread = records_by_task_manager(job)
        assert set(spread) == {"taskmanager-1", "taskmanager-2"} and min(spread.values()) > 0, (job["name"], spread)


@pytest.fixture(scope="module")
def direct(fashion_mnist, tmp_path_factory) -> Path:
    """The output root of the same run in one process."""
    folder = tmp_path_factory.mktemp("direct") / "output"
    status, out, err = finish(runner(folder, fashion_mnist))
    assert status == 0, out + err
    return folder


def test_answers_are_those_of_one_process_and_each_job_is_spread(output, direct):
    assert_spread(jobs(), 2)
    assert_same_answers(direct, output, shards=36)


def test_parallelism_of_4_is_spread_and_the_same(output, direct, fashion_mnist, tmp_path):
    before, again = len(jobs()), tmp_path / "output"
    arguments = ("--beam-runner", "flink", "--set", "beam_args=--parallelism=4")
    status, out, err = finish(runner(again, fashion_mnist, *arguments), PATIENCE_FOR_ALL_SECONDS)
    assert status == 0, out + err
    assert_spread(jobs()[before:], 4)
    assert_same_answers(direct, again, shards=36)


def test_pictures_are_decoded_on_both_and_are_the_same(fashion_mnist, tmp_path):
    """3,000 of them are a dozen pieces of work; ExampleGen has two jobs then, one to decode and one to write."""
    images, labels = (
        read_idx(fashion_mnist / f"train-{kind}-ubyte.gz")[:3_000] for kind in ("images-idx3", "labels-idx1")
    )
    (tmp_path / "pictures").mkdir()
    FORMS["class folders"](
        tmp_path / "pictures", {TRAIN: (images[:2_500], labels[:2_500]), TEST: (images[2_500:], labels[2_500:])}
    )
    before, shards = len(jobs()), []
    for name, engine in (("direct", ()), ("flink", ("--beam-runner", "flink"))):
        arguments = ("--to", "ExampleGen", "--set", "split_limits=none,none,none", *engine)
        status, out, err = finish(runner(tmp_path / name, tmp_path / "pictures", *arguments))
        assert status == 0, out + err
        shards.append([path.read_bytes() for path in sorted((tmp_path / name).rglob("data_tfrecord-*"))])
    assert_spread(jobs()[before:], 2, count=2)
    assert shards[0] == shards[1] and len(shards[0]) == 36


# Each works on the node that has most to import, and so time to be met.
STATISTICS = ("--beam-runner", "flink", "--only", "StatisticsGen", "--no-cache")


def children(process: int) -> list[int]:
    """Returns the ids of the processes that a process has started, and that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(") ")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def in_mid_job(output: Path, data: Path, strike: Callable[[], None]) -> tuple[int, str, str]:
    """Runs a node, and does something once its job runs with workers of both pools."""
    before = len(jobs())
    process = runner(output, data, *STATISTICS)
    deadline = time.monotonic() + PATIENCE_SECONDS
    pools = [process for name, process in flink.noted().items() if name.startswith("worker pool")]
    while len(jobs()) == before or jobs()[-1]["state"] != "RUNNING" or not all(map(children, pools)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    strike()
    return finish(process)


def kill(name: str) -> None:
    os.kill(flink.noted()[name], signal.SIGKILL)


def test_worker_that_is_killed_is_made_up_for(output, fashion_mnist):
    def strike() -> None:
        os.kill(children(flink.noted()["worker pool 1"])[0], signal.SIGKILL)

    status, out, err = in_mid_job(output, fashion_mnist, strike)
    assert status == 0, out + err


def test_task_manager_that_is_killed_is_made_up_for_by_the_other(output, fashion_mnist):
    status, out, err = in_mid_job(output, fashion_mnist, lambda: kill("taskmanager 1"))
    assert status == 0, out + err
    assert set(records_by_task_manager(jobs()[-1])) >= {"taskmanager-2"}
    start()


def test_pool_that_is_killed_ends_the_next_job_with_a_line(output, fashion_mnist):
    """Its workers go on, so that the job which has them does; the next one gets none."""
    status, _, err = in_mid_job(output, fashion_mnist, lambda: (kill("worker pool 1"), kill("worker pool 2")))
    assert status == 0
    complete = statistics(output)
    status, _, err = finish(runner(output, fashion_mnist, *STATISTICS))
    assert status == 1
    (told,) = [line for line in err.splitlines() if line.startswith("StatisticsGen failed: ")]
    assert "job server localhost:8099: the job failed (" in told
    assert statistics(output) == complete
    start()


def test_job_server_that_is_killed_ends_the_run_with_a_line_and_the_next_takes_what_was_complete(output, fashion_mnist):
    complete = statistics(output)
    status, _, err = in_mid_job(output, fashion_mnist, lambda: kill("job server"))
    assert status == 1
    (told,) = [line for line in err.splitlines() if line.startswith("StatisticsGen failed: ")]
    assert told.startswith("StatisticsGen failed: job server localhost:8099: it went away (UNAVAILABLE")
    assert statistics(output) == complete
    # Without it a run ends before it begins, with the status of bad input.
    status, _, err = finish(runner(output, fashion_mnist, "--beam-runner", "flink"))
    assert status == 2
    assert "expected Beam's job server there, found none (Connection refused). Start one ('make flink-up')" in err
    status, out, err = finish(runner(output, fashion_mnist, "--to", "StatisticsGen"))
    assert status == 0, out + err
    states = {node["id"]: node["state"] for node in summary_of(output)["nodes"]}
    assert (states["ExampleGen"], states["StatisticsGen"]) == ("cached", "cached")


def statistics(output: Path) -> set[str]:
    """Returns the artifacts of statistics that ML Metadata calls live, and whose files are there."""
    found = {
        artifact.uri
        for artifact in Store(output / "metadata.db").artifacts.values()
        if artifact.type == "ExampleStatistics" and artifact.state == "live"
    }
    for uri in found:
        assert len(list(Path(uri).glob("Split-*/FeatureStats.pb"))) == 3
    return found
