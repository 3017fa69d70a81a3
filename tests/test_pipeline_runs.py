"""Whole runs on real images, as a user starts them: in a process of their own, judged by what they leave behind."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from components.example_gen.idx import read_idx
from models.card import CARD_FILE
from models.files import write_text
from pipeline.run.code_digest import ROOT

pytestmark = pytest.mark.slow

NODES = (
    "ExampleGen",
    "StatisticsGen",
    "AcceptedData",
    "SchemaGen",
    "ExampleValidator",
    "DataGate",
    "Transform",
    "Trainer",
    "Exporter",
    "BlessedModel",
    "InfraValidator",
    "BulkInferrer",
    "Evaluator",
    "Pusher",
)
SERVED_AS = "fashion_mnist.smoke"
# What of a summary has names that are no keys of it: of splits, classes, slices, nodes, signatures.
BY_NAME = {"splits", "labels", "per_class_accuracy", "slices", "gates", "logged", "latency_ms", "made", "provenance"}
# What a run makes in its output root.
OF_A_RUN = {".lock", "artifacts", "checkpoints", "index.html", "metadata.db", "metrics.prom", "runs", "serving"}
OF_A_RUN |= {"tensorboard"}


class Run:
    """A finished run: its exit status, what it printed and its summary."""

    def __init__(self, process: subprocess.CompletedProcess, output: Path) -> None:
        self.status, self.console, self.error = process.returncode, process.stdout, process.stderr
        self.output = output
        finished = sorted(output.glob("runs/*/summary.json"))
        self.summary = json.loads(finished[-1].read_text()) if finished else None

    @property
    def states(self) -> dict[str, str]:
        return {node["id"]: node["state"] for node in self.summary["nodes"]}

    def __repr__(self) -> str:
        return f"status {self.status}\n{self.console}\n{self.error}"


def run_smoke(output: Path, data: Path | None, project: Path = ROOT, *flags: str) -> Run:
    """Runs the smoke preset, with further flags of the command line."""
    command = ["local_runner.py", "--output-root", str(output), *flags]
    # A part of the pipeline has preset and data of the run that it stands on.
    command += ["--preset", "smoke", "--data-dir", str(data)] if data else []
    process = subprocess.run([sys.executable, *command], cwd=project, capture_output=True, text=True, timeout=600)
    return Run(process, output)


def copy_of_project(folder: Path) -> Path:
    for name in ("components", "models", "pipeline", "schema"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "local_runner.py", folder)
    return folder


def folder_content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def data() -> Path:
    return ROOT / "data"


@pytest.fixture(scope="module")
def train_images(data) -> np.ndarray:
    return read_idx(data / "train-images-idx3-ubyte.gz")


@pytest.fixture(scope="module")
def test_images(data) -> np.ndarray:
    return read_idx(data / "t10k-images-idx3-ubyte.gz")


@pytest.fixture
def altered_data(data, tmp_path) -> Path:
    """A copy of the real data in which a test may replace files."""
    folder = tmp_path / "altered"
    shutil.copytree(data, folder)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return copy_of_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def first_run(project, data, tmp_path_factory) -> Run:
    return run_smoke(tmp_path_factory.mktemp("runs") / "output", data, project)


@pytest.fixture(scope="module")
def second_run(first_run, project, data) -> Run:
    return run_smoke(first_run.output, data, project)


def test_smoke_run_blesses_and_pushes_a_model_and_ends_0(first_run):
    assert first_run.status == 0, first_run
    summary = first_run.summary
    assert first_run.states == dict.fromkeys(NODES, "ran")
    assert summary["blessed"] is True
    assert 0.6 < summary["metrics"]["test_accuracy"] < 1
    assert summary["metrics"]["test_loss"] > 0
    assert next(iter(summary["metrics"]["per_class_accuracy"])) == "T-shirt/top"
    assert np.mean(list(summary["metrics"]["per_class_accuracy"].values())) == pytest.approx(
        summary["metrics"]["test_accuracy"], abs=1e-6
    )
    assert summary["data"]["splits"] == {"train": 4000, "val": 500, "test": 1000}
    assert set(summary["environment"]) == {"python", "tensorflow", "tfx", "beam", "glibc"}
    assert Path(summary["pushed_model"], "saved_model.pb").is_file()
    assert Path(summary["pushed_model"]).parent == first_run.output / "serving" / SERVED_AS
    assert summary["served_model"] == summary["pushed_model"]
    assert (summary["name"], summary["base_run"], summary["state"]) == ("fashion_mnist", None, "done")


def test_every_key_of_the_summary_is_documented(first_run):
    told = re.findall("`([^`]+)`", (ROOT / "docs" / "summary.md").read_text())
    documented = {name for text in told for name in text.split(".")}
    found = keys(first_run.summary) | set(first_run.summary["provenance"])
    assert len(found) > 80
    assert found - documented == set()


def keys(content: object) -> set[str]:
    """Returns the names in a summary but for those that are data, of classes and nodes for example."""
    if isinstance(content, list):
        return set().union(*map(keys, content))
    if not isinstance(content, dict):
        return set()
    return set(content).union(*(keys(value) for name, value in content.items() if name not in BY_NAME))


def test_console_has_one_line_a_node_and_no_noise(first_run):
    # What only a busy machine adds: progress after some seconds, and the Trainer's word on waiting for input; and what
    # is told of the environment that the tests are run in.
    slow = re.compile(
        rf"({'|'.join(NODES)}) +(?! |ran )|Trainer: expected at most .* of a step spent waiting|(not )?obeyed, "
    )
    lines = [line for line in first_run.console.splitlines() if not slow.match(line)]
    assert [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in NODES] == list(NODES)
    assert lines[1] == "IDX: 60,000 train and 10,000 test images of 28x28, 10 classes"
    assert len(lines) <= len(NODES) + 13, first_run
    assert first_run.error == ""


def test_everything_a_run_makes_lies_below_the_output_root(first_run, project):
    assert {path.name for path in first_run.output.iterdir()} == OF_A_RUN
    assert not list(project.glob("output*"))


def test_profile_of_the_run_lies_among_the_tensorboard_logs(first_run):
    logs = Path(first_run.summary["tensorboard"])
    assert list(logs.rglob("*.xplane.pb"))
    assert list(logs.rglob("events.out.tfevents.*"))


def test_pushed_model_answers_as_the_evaluator_measured(first_run, test_images, data):
    import tensorflow as tf

    labels = read_idx(data / "t10k-labels-idx1-ubyte.gz")
    shards = sorted(first_run.output.glob("artifacts/ExampleGen/examples/*/Split-test/*"))
    records = list(tf.data.TFRecordDataset([str(shard) for shard in shards]).as_numpy_iterator())
    model = tf.saved_model.load(first_run.summary["pushed_model"])
    answers = model.signatures["serving_default"](examples=tf.constant(records))
    truth = [tf.train.Example.FromString(record).features.feature["label"].int64_list.value[0] for record in records]
    # To the last digit: both are ratios of the same counts.
    assert np.mean(answers["class_id"].numpy() == truth) == first_run.summary["metrics"]["test_accuracy"]
    raw = model.signatures["predict_images"](images=tf.constant(test_images[:50]))
    names = [name.decode() for name in raw["class_name"].numpy()]
    assert len(names) == 50
    assert np.mean(raw["class_id"].numpy() == labels[:50]) > 0.5


def test_kept_predictions_are_the_answers_that_the_evaluator_counted(first_run):
    import pyarrow.parquet as pq

    (path,) = first_run.output.glob("artifacts/BulkInferrer/predictions/*/predictions.parquet")
    answers = pq.read_table(path).to_pydict()
    assert answers["example"] == list(range(1000))
    matrix = np.zeros((10, 10), int)
    np.add.at(matrix, (answers["label"], answers["prediction"]), 1)
    assert matrix.tolist() == first_run.summary["metrics"]["confusion_matrix"]
    by_brightness = first_run.summary["metrics"]["slices"]["brightness"]
    assert {name: part["examples"] for name, part in by_brightness.items()} == {
        name: answers["brightness"].count(name) for name in by_brightness
    }


@pytest.mark.parametrize("runtime", ["tensorflow", "ai_edge_litert"])
def test_readme_s_lines_load_the_pushed_model_in_a_process_without_the_project(runtime, first_run, data, tmp_path):
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    (code,) = [block for block in blocks if runtime in block]
    assert len([line for line in code.splitlines() if line]) <= 5
    code = code.replace("output/serving/fashion_mnist", str(first_run.output / "serving" / SERVED_AS))
    np.save(tmp_path / "images.npy", read_idx(data / "t10k-images-idx3-ubyte.gz")[:3])
    code = f"import numpy, sys\nsys.modules['models'] = None\nimages = numpy.load('images.npy')\n{code}"
    code += f"\nprint({runtime!r} in sys.modules, 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Ankle boot" in done.stdout
    assert done.stdout.splitlines()[-1] == f"True {runtime == 'tensorflow'}"


def test_infra_validator_measures_the_candidate(first_run):
    served = first_run.summary["served"]
    assert served["examples"] == 1000
    assert served["litert_disagreements"] <= 1
    assert served["litert"]["bytes"] < served["bytes"]
    assert set(served["latency_ms"]) == {"predict_images", "serving_default"}


def test_second_run_takes_every_node_from_the_cache(second_run, first_run):
    assert second_run.status == 0, second_run
    assert second_run.states == dict.fromkeys(NODES, "cached")
    assert second_run.summary["metrics"] == first_run.summary["metrics"]
    assert second_run.summary["pushed_model"] == first_run.summary["pushed_model"]


def test_same_data_unzipped_in_another_folder_come_from_the_cache(second_run, project, data, tmp_path):
    for path in data.glob("*.gz"):
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    moved = run_smoke(second_run.output, tmp_path, project)
    assert {node: state for node, state in moved.states.items() if state != "cached"} == {}, moved


def test_part_of_the_pipeline_is_judged_as_the_run_that_it_stands_on(second_run, first_run, project):
    """And not by the floors of the default preset; what contradicts what is not run again is one line."""
    part = run_smoke(first_run.output, None, project, "--from", "Evaluator")
    assert part.status == 0, part
    base = sorted(path.name for path in first_run.output.glob("runs/*"))[-2]
    assert (part.summary["preset"], part.summary["base_run"]) == ("smoke", base)
    assert part.summary["provenance"]["data"]["digest"] == first_run.summary["provenance"]["data"]["digest"]
    report = first_run.output / "runs" / part.summary["run_id"] / "report.html"
    assert f"on run {base}" in report.read_text()
    refused = run_smoke(first_run.output, None, project, "--from", "Evaluator", "--preset", "fast")
    assert refused.status == 2
    (line,) = refused.error.splitlines()
    assert line.startswith("local_runner.py: preset fast: run ")
    assert "is of the variant 'smoke'" in line


def test_rollback_stays_is_told_and_a_deleted_folder_is_pushed_to_again(project, second_run, data):
    """With nothing else changed, a run undoes no rollback, says what is served, and mends what was lost."""
    base = second_run.output / "serving" / SERVED_AS
    (pushed,) = [path for path in base.iterdir() if path.name.isdecimal() and not path.is_symlink()][-1:]
    # As if another model had been pushed before, and somebody had gone back to it.
    older, again = (base / str(int(pushed.name) + step) for step in (-1, 5))
    shutil.copytree(pushed, older)
    card = json.loads((older / CARD_FILE).read_text())
    write_text(older / CARD_FILE, json.dumps(card | {"digest": "another"}))
    again.symlink_to(older.name)
    unchanged = run_smoke(second_run.output, data, project)
    assert unchanged.states["Pusher"] == "cached", unchanged
    assert again.is_symlink()
    assert (unchanged.summary["push"], unchanged.summary["pushed_model"]) == ("taken back", str(pushed))
    assert unchanged.summary["served_model"] == str(again)
    assert f"version {pushed.name} was taken back; {again.name} is served" in unchanged.console
    shutil.rmtree(base)
    mended = run_smoke(second_run.output, data, project)
    assert mended.status == 0, mended
    assert {node for node, state in mended.states.items() if state == "ran"} == {"Pusher"}
    assert Path(mended.summary["pushed_model"], "saved_model.pb").is_file()


@pytest.mark.faults
def test_edited_code_reruns_what_depends_on_it_and_only_that(second_run, project, data):
    trainer = project / "models" / "schedule.py"
    original = trainer.read_text()
    trainer.write_text(original + "\n\nEDITED = True\n")
    edited = run_smoke(second_run.output, data, project)
    trainer.write_text(original + "\n# A comment is no change.\n")
    commented = run_smoke(second_run.output, data, project)
    trainer.write_text(original)

    assert edited.status in (0, 4), edited
    reran = {node for node, state in edited.states.items() if state == "ran"}
    behind = {"Trainer", "Exporter", "InfraValidator", "Evaluator", "BulkInferrer", "Pusher"}
    assert behind <= reran <= behind | {"BlessedModel"}
    assert commented.states["Trainer"] == "cached", commented


def test_edited_data_of_the_same_size_and_time_is_seen(project, altered_data, tmp_path):
    labels = altered_data / "t10k-labels-idx1-ubyte"
    plain = bytearray(gzip.decompress(labels.with_suffix(".gz").read_bytes()))
    labels.with_suffix(".gz").unlink()
    assert plain[8] != plain[9]
    states = []
    for swap in (False, True, False):
        content = bytearray(plain)
        if swap:
            content[8], content[9] = plain[9], plain[8]
        labels.write_bytes(content)
        os.utime(labels, (1, 1))
        states.append(
            run_smoke(tmp_path / "output", altered_data, project, "--only", "ExampleGen").states["ExampleGen"]
        )
    assert states == ["ran", "ran", "cached"]


def test_model_that_cannot_be_served_is_refused_before_it_is_evaluated_and_not_trained_again(second_run, project, data):
    """What was learned outlives a change of how it is exported."""
    exporter = project / "models" / "warmup.py"
    original = exporter.read_text()
    exporter.write_text(original.replace('"tf_serving_warmup_requests"', '"elsewhere"'))
    before = folder_content(second_run.output / "serving")
    refused = run_smoke(second_run.output, data, project)
    exporter.write_text(original)
    assert refused.status == 4, refused
    assert (refused.states["Trainer"], refused.states["Exporter"]) == ("cached", "ran")
    assert refused.states["InfraValidator"] == "failed"
    assert refused.states["Evaluator"] == refused.states["Pusher"] == "skipped"
    assert (refused.summary["blessed"], refused.summary["state"]) == (False, "not blessed")
    assert "expected warm-up requests assets.extra/tf_serving_warmup_requests, found none" in refused.error
    assert folder_content(second_run.output / "serving") == before


def test_model_below_threshold_is_not_pushed_and_ends_4(second_run, project, data):
    before = folder_content(second_run.output / "serving")
    refused = run_smoke(second_run.output, data, project, "--set", "floors.accuracy=0.999")
    assert refused.status == 4, refused
    assert refused.summary["blessed"] is False
    assert refused.summary["pushed_model"] is None
    assert refused.summary["verdict"].startswith("refused: accuracy (overall): expected at least 0.999")
    assert refused.summary["verdict"].removeprefix("refused: ") in refused.console
    assert folder_content(second_run.output / "serving") == before


@pytest.mark.faults
def test_run_killed_while_training_resumes_and_ends_with_the_weights_of_an_unbroken_one(
    first_run, project, data, tmp_path
):
    output = tmp_path / "output"
    command = ["local_runner.py", "--preset", "smoke", "--output-root", str(output), "--data-dir", str(data)]
    killed = subprocess.Popen([sys.executable, *command], cwd=project, stdout=subprocess.PIPE, text=True)
    while not list(output.glob("checkpoints/*[0-9a-f].npz")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    again = run_smoke(output, data, project)
    assert again.status == 0, again
    assert again.states["Transform"] == "cached"
    assert again.states["Trainer"] == "ran"
    assert [epoch["epoch"] for epoch in again.summary["training"]["history"]] == [1, 2, 3, 4]
    (log,) = (path for path in output.glob("runs/*/log.txt") if path.parent.name == again.summary["run_id"])
    assert "from epoch 1\n" not in log.read_text()
    killed_run = min(output.glob("runs/*/summary.json"))
    assert json.loads(killed_run.read_text())["state"] == "interrupted"
    assert not list(output.glob("checkpoints/*"))
    assert not list(output.glob(".image-pipeline-*"))
    assert not _states_in_metadata(output) & {"NEW", "RUNNING"}
    # As the Exporter left them: another test deletes what was pushed.
    models = [
        min(run.output.glob("artifacts/Exporter/model/*/Format-Serving"), key=lambda path: int(path.parent.name))
        for run in (again, first_run)
    ]
    (weights,), (unbroken,) = (list(model.glob("variables/variables.data*")) for model in models)
    assert weights.read_bytes() == unbroken.read_bytes()


# Behind what the Trainer does and before ML Metadata knows of it; in the middle of the export.
_KILLED = """
import os, signal, sys
from {module} import {owner} as owner
done = owner.{name}
def kill(*given, **more):
    if {behind}:
        done(*given, **more)
    os.kill(os.getpid(), signal.SIGKILL)
owner.{name} = kill
import local_runner
sys.exit(local_runner.main(sys.argv[1:]))
"""


@pytest.mark.faults
def test_kills_between_the_last_checkpoint_and_the_end_of_the_export_cost_no_epoch(first_run, project, data, tmp_path):
    output = tmp_path / "output"
    flags = ["--preset", "smoke", "--output-root", str(output), "--data-dir", str(data)]
    kills = (
        {"module": "components.trainer.component", "owner": "_Executor", "name": "Do", "behind": True},
        {"module": "components.exporter", "owner": "component", "name": "export_model", "behind": False},
    )
    for kill in kills:
        command = [sys.executable, "-c", _KILLED.format(**kill), *flags]
        killed = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=600)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert len(list(output.glob("checkpoints/*"))) == 1, kill
    again = run_smoke(output, data, project)
    assert again.status == 0, again
    assert again.states["Trainer"] == "cached", "ML Metadata had it before the second kill"
    assert not list(output.glob("checkpoints/*"))
    first, second, _ = (path.read_text() for path in sorted(output.glob("runs/*/log.txt")))
    assert first.count("validation accuracy") == 4
    assert second.count("validation accuracy") == 0
    assert "from epoch 5" in second
    history = again.summary["training"]["history"]
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert [epoch["val_accuracy"] for epoch in history] == [
        epoch["val_accuracy"] for epoch in first_run.summary["training"]["history"]
    ]
    assert again.summary["model_digest"] == first_run.summary["model_digest"]
    states = [json.loads(path.read_text())["state"] for path in sorted(output.glob("runs/*/summary.json"))]
    assert states == ["interrupted", "interrupted", "done"]
    assert "FAILED" not in _states_in_metadata(output), "nothing failed: what was killed was canceled"


def test_terminated_run_leaves_nothing_open(project, data, tmp_path):
    """As the next run would settle it after a kill, and without one."""
    output, temporary = tmp_path / "output", tmp_path / "temporary"
    temporary.mkdir()
    command = ["local_runner.py", "--preset", "smoke", "--output-root", str(output), "--data-dir", str(data)]
    environ = {**os.environ, "TMPDIR": str(temporary)}
    run = subprocess.Popen([sys.executable, *command], cwd=project, env=environ, stdout=subprocess.PIPE, text=True)
    while not list(output.glob("checkpoints/*[0-9a-f].npz")):
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=120)
    assert run.returncode == 143
    (summary,) = output.glob("runs/*/summary.json")
    kept = json.loads(summary.read_text())
    assert kept["state"] == "interrupted"
    assert {node["id"]: node["state"] for node in kept["nodes"]}["Trainer"] == "interrupted"
    assert not _states_in_metadata(output) & {"NEW", "RUNNING"}
    assert not list(output.glob("artifacts/Trainer/model*/*"))
    assert not list(output.glob(".image-pipeline-*"))
    assert list(temporary.iterdir()) == []


def test_second_run_at_once_on_one_output_root_is_refused(project, data, tmp_path):
    output = tmp_path / "output"
    command = ["local_runner.py", "--preset", "smoke", "--output-root", str(output), "--data-dir", str(data)]
    first = subprocess.Popen([sys.executable, *command], cwd=project, stdout=subprocess.PIPE, text=True)
    first.stdout.readline()
    second = run_smoke(output, data, project)
    first.kill()
    first.wait()
    assert second.status == 75
    assert "another run is using it" in second.error
    assert len(second.error.splitlines()) == 1


def test_file_that_is_no_database_ends_2_and_is_left_alone(data, tmp_path):
    output = tmp_path / "output"
    output.mkdir()
    (output / "metadata.db").write_text("precious" * 1000)
    run = run_smoke(output, data)
    assert run.status == 2, run
    assert f"{output / 'metadata.db'}: expected a database of ML Metadata" in run.error
    assert len(run.error.splitlines()) == 1
    assert (output / "metadata.db").read_text() == "precious" * 1000


@pytest.mark.parametrize(("stop", "state", "status"), [("SIGINT", "interrupted", 130), ("SIGTERM", "terminated", 143)])
def test_stopped_run_says_so_in_one_line(project, data, tmp_path, stop, state, status):
    command = ["local_runner.py", "--preset", "smoke", "--output-root", str(tmp_path / "o"), "--data-dir", str(data)]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that started the tests in the background has made them, and what they start, deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    process.stdout.readline()
    process.send_signal(getattr(signal, stop))
    _, error = process.communicate(timeout=120)
    assert process.returncode == status
    assert error.splitlines() == [f"local_runner.py: {state}. Run it again: what was finished comes from the cache."]


def test_leaked_test_images_end_3_and_name_the_split(altered_data, train_images, test_images, tmp_path):
    leaked = train_images.copy()
    leaked[:100] = test_images[:100]
    (altered_data / "train-images-idx3-ubyte.gz").unlink()
    write_idx(altered_data / "train-images-idx3-ubyte", leaked)
    run = run_smoke(tmp_path / "output", altered_data, ROOT, "--set", "split_limits=none,none,none")
    assert run.status == 3, run
    assert run.states["DataGate"] == "failed"
    assert run.states["Trainer"] == "skipped"
    told = "error: test: image: expected no image that is in train too, found"
    assert told in run.error and told not in run.console
    assert told in (run.output / "runs" / run.summary["run_id"] / "log.txt").read_text()
    assert not (run.output / "serving").exists()
    # A refused run is told on the page of all runs as well, and how large the output root is.
    assert told in (run.output / "index.html").read_text()
    assert run.summary["disk_bytes"] > 100_000


def test_truncated_images_end_2_in_one_line_and_leave_nothing(altered_data, tmp_path):
    images = altered_data / "train-images-idx3-ubyte.gz"
    plain = gzip.decompress(images.read_bytes())
    images.unlink()
    (altered_data / "train-images-idx3-ubyte").write_bytes(plain[:-784])
    run = run_smoke(tmp_path / "output", altered_data)
    assert run.status == 2, run
    line = run.error
    assert "60000x28x28 = 47,040,000 bytes, the file holds 47,039,216" in line
    assert not list((tmp_path / "output").glob("artifacts/ExampleGen/examples/*"))


def test_data_of_another_shape_runs_to_a_pushed_model(train_images, data, tmp_path):
    """The real images, cropped and coloured, with seven of the classes."""
    import tensorflow as tf

    folder = tmp_path / "data"
    folder.mkdir()
    labels = read_idx(data / "train-labels-idx1-ubyte.gz")
    few = np.flatnonzero(labels < 7)[:6000]
    gray = train_images[few][:, 4:24, 2:26]
    images = np.stack([gray, gray // 2, 255 - gray], axis=-1)
    for part, chosen in (("train", slice(0, 5000)), ("t10k", slice(5000, 6000))):
        write_idx(folder / f"{part}-images-idx3-ubyte", images[chosen])
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels[few][chosen])
    flags = ["--set", "split_sizes=none,500,none", "--set", "floors.accuracy=0.3"]
    run = run_smoke(tmp_path / "output", folder, ROOT, *flags)
    assert run.status == 0, run
    assert list(run.summary["metrics"]["per_class_accuracy"]) == [str(label) for label in range(7)]
    model = tf.saved_model.load(run.summary["pushed_model"])
    answer = model.signatures["predict_images"](images=tf.constant(images[:4]))
    assert answer["probabilities"].shape == (4, 7)


def test_encoding_of_a_part_of_the_pipeline_is_that_of_its_examples(first_run, project, data, tmp_path):
    """PNG bytes must not be summed as pixels, whatever the settings say: the same images give the same model."""
    output = tmp_path / "output"
    assert run_smoke(output, data, project, "--image-encoding", "png", "--to", "DataGate").status == 0
    part = run_smoke(output, None, project, "--from", "Transform", "--to", "Trainer")
    assert part.status == 0, part
    curves = [
        [(epoch["loss"], epoch["val_accuracy"]) for epoch in run.summary["training"]["history"]]
        for run in (part, first_run)
    ]
    assert curves[0] == curves[1]
    assert part.summary["provenance"]["settings"]["image_encoding"] == "png"


@pytest.mark.faults
def test_what_is_said_to_be_served_is_served_whatever_order_models_come_in(project, data, tmp_path):
    """Two models in turn, each blessed, and a rollback, which is in ML Metadata and is the next baseline."""
    small = ["--set", "split_sizes=400,100,200", "--set", "training.epochs=1", "--set", "accuracy_tolerance=1.0"]
    small += ["--set", "floors.accuracy=0.0"]
    output, told = tmp_path / "output", []
    for seed in (42, 7, 42, 7):
        run = run_smoke(output, data, project, *small, "--set", f"training.seed={seed}")
        assert run.status == 0, run
        assert run.summary["pushed_model"] == run.summary["served_model"]
        served = output / "serving" / SERVED_AS / "served"
        assert served.resolve() == Path(run.summary["pushed_model"]).resolve()
        told.append(content(served))
    assert told[0] == told[2] != told[1] == told[3]

    command = [sys.executable, "-m", "pipeline.rollback", "--output-root", str(output), "--model", SERVED_AS]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    number = re.search(r"served again, as (\d+);", done.stdout)[1]
    assert content(output / "serving" / SERVED_AS / "served") == told[0]
    lineage = [sys.executable, "-m", "pipeline.metadata", "lineage", number, "--output-root", str(output)]
    tree = subprocess.run(lineage, cwd=project, capture_output=True, text=True, check=True).stdout
    assert "Rollback" in tree and "Trainer" in tree
    other = run_smoke(output, data, project, *small, "--set", "training.seed=8")
    taken_back = next(p for p in output.glob("artifacts/Exporter/model/*/*") if content(p) == told[0])
    (number,) = re.findall(r"compared with model (\d+)", other.summary["verdict"])
    shown = [sys.executable, "-m", "pipeline.metadata", "show", f"a{number}", "--json", "--output-root", str(output)]
    baseline = json.loads(subprocess.run(shown, cwd=project, capture_output=True, text=True, check=True).stdout)
    assert Path(baseline["uri"]) == taken_back.parent


@pytest.mark.faults
def test_model_is_held_back_published_later_taken_back_and_published_again(project, data, tmp_path):
    small = ["--set", "split_sizes=400,100,200", "--set", "training.epochs=1", "--set", "accuracy_tolerance=1.0"]
    small += ["--set", "floors.accuracy=0.0"]
    output = tmp_path / "output"
    root = ["--output-root", str(output)]

    def ask(*words: str) -> str:
        command = [sys.executable, "-m", *words, *root]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout

    def standings() -> list[str | None]:
        return [run["standing"] for run in json.loads(ask("pipeline.metadata", "runs", "--json"))][::-1]

    first = run_smoke(output, data, project, *small)
    again = run_smoke(output, data, project, *small, "--no-cache")
    assert again.summary["push"] == "served already"
    assert again.summary["pushed_model"] == first.summary["pushed_model"]
    held = run_smoke(output, data, project, *small, "--set", "training.seed=7", "--no-push")
    assert (held.status, held.summary["push"], held.summary["pushed_model"]) == (0, "held back", None)
    assert held.summary["provenance"]["origins"]["push"] == "--no-push"
    assert standings() == ["champion", "champion", "challenger"]
    ask("pipeline.publish", held.summary["run_id"])
    assert standings() == ["former", "former", "champion"]
    ask("pipeline.rollback", "--model", SERVED_AS)
    assert standings() == ["champion", "champion", "taken back"]
    evaluated = run_smoke(output, data, project, *small, "--set", "training.seed=7", "--no-cache")
    assert (evaluated.status, evaluated.summary["push"]) == (0, "taken back")
    assert evaluated.summary["served_model"] != evaluated.summary["pushed_model"]
    ask("pipeline.publish", "latest")
    assert standings() == ["former", "former", "champion", "champion"]
    told = ask("pipeline.rollback", "--model", SERVED_AS, "--list").splitlines()
    assert [line.split()[0] for line in told[1:]] == sorted(line.split()[0] for line in told[1:])
    assert len(told) == 5, "two models, a rollback and a publication"
    assert "served" in told[-1] and held.summary["run_id"] in told[-1]


def content(model: Path) -> bytes:
    """The weights of a SavedModel."""
    return next(model.glob("variables/variables.data*")).read_bytes()


def _states_in_metadata(output: Path) -> set[str]:
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(output / "metadata.db")
    store = metadata_store.MetadataStore(connection)
    return {metadata_store_pb2.Execution.State.Name(execution.last_known_state) for execution in store.get_executions()}
