"""A run through Beam's portable interface beside one in this process: the same answers, without Java.

The job server is Beam's own, embedded in the run; the workers are those of our pool, processes that share nothing with
the run but its files. So what cannot be pickled, what lies in a folder of one process and what a failure loses on its
way back is found out here.
"""

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.features import TEST, TRAIN
from pipeline.engine.worker_pool import serving
from tests.forms import FORMS
from tests.same_answers import TINY, assert_same_answers, summary_of

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(fashion_mnist, tmp_path_factory):
    """Runs the pipeline on a few real images; returns the output root and how the process ended."""

    def go(output: Path, *arguments: str) -> subprocess.CompletedProcess:
        where = ["--output-root", str(output), "--data-dir", str(fashion_mnist)]
        command = [sys.executable, "local_runner.py", *TINY, *where, *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)

    return go


@pytest.fixture(scope="module")
def embedded(tmp_path_factory) -> Iterator[list[str]]:
    """The arguments for Beam's embedded job server and a pool of ours, which is there as long as the tests."""
    folder = tmp_path_factory.mktemp("engine")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    file = folder / "beam.txt"
    file.write_text(f"--job_endpoint=embed\n--environment_config={address}\n")
    with serving(address, folder / "workers.log"):
        yield ["--beam-runner", "portable", "--beam-args", str(file)]


@pytest.fixture(scope="module")
def outputs(run, embedded, tmp_path_factory) -> tuple[Path, Path]:
    """The output roots of a run in one process, and of one through the job server."""
    direct, portable = (tmp_path_factory.mktemp(name) / "output" for name in ("direct", "portable"))
    for output, arguments in ((direct, []), (portable, embedded)):
        done = run(output, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    return direct, portable


def test_answers_are_the_same_as_in_one_process(outputs):
    assert_same_answers(*outputs)


@pytest.mark.faults
def test_pictures_that_its_workers_decode_are_the_same(run, embedded, fashion_images, fashion_labels, tmp_path):
    """Those of training are two pieces of work, and one of them is cut."""
    (tmp_path / "pictures").mkdir()
    parts = {TRAIN: slice(300), TEST: slice(300, 400)}
    FORMS["class folders"](
        tmp_path / "pictures", {part: (fashion_images[rows], fashion_labels[rows]) for part, rows in parts.items()}
    )
    broken = next((tmp_path / "pictures" / "train").rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:-50])
    digests = []
    for name, engine in (("direct", []), ("portable", embedded)):
        only = ["--data-dir", str(tmp_path / "pictures"), "--to", "ExampleGen", "--set", "broken_images=1"]
        done = run(tmp_path / name, *only, "--set", "split_limits=none,none,none", *engine)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"broken and left out: {broken} (" in done.stdout + done.stderr
        (digest,) = {path.read_bytes() for path in (tmp_path / name).rglob("origins.parquet")}
        shards = sorted((tmp_path / name / "artifacts").rglob("data_tfrecord-*"))
        digests.append([digest, *(hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards)])
    assert digests[0] == digests[1] and len(digests[0]) > 3


def test_nodes_that_one_engine_computed_are_cached_for_another(outputs, run):
    _, portable = outputs
    done = run(portable)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = summary_of(portable)
    assert {node["id"]: node["state"] for node in summary["nodes"] if node["state"] != "cached"} == {}
    assert summary["provenance"]["settings"]["beam_runner"] == "direct"


def test_failure_of_a_worker_ends_the_run_with_its_own_line_and_status(outputs, run, embedded):
    _, portable = outputs
    (shard,) = portable.glob("artifacts/ExampleGen/examples/*/Split-val/data_tfrecord-00000-of-*")
    content = bytearray(shard.read_bytes())
    content[-100] ^= 1
    shard.write_bytes(content)
    done = run(portable, *embedded, "--only", "StatisticsGen", "--no-cache")
    assert done.returncode == 3
    assert (
        f"StatisticsGen failed: {shard}: expected records of an image and a label, found a damaged one" in done.stderr
    )
    # One line, and no other with it.
    assert len([line for line in done.stderr.splitlines() if line.startswith("StatisticsGen failed")]) == 1
    assert summary_of(portable)["failure"]["exit_status"] == 3
