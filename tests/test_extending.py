"""docs/extending.md, executed: its examples go into a copy of the project, which then runs with all of them at once."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.run.code_digest import ROOT

pytestmark = pytest.mark.slow

# "# components/x.py, at its end" and so on; what follows is the example.
_HEAD = re.compile(
    r"# (?P<path>[\w/]+\.py), (?P<how>a new file|at its end|before: (?P<line>[^\n]+))\n(?P<code>.*)", re.DOTALL
)
FLAGS = (
    *("--set", "training.network.kind=pooled", "--set", "training.network.widths=8,16,16"),
    *("--set", "training.augmentations=dim", "--set", "training.learning_rate=0.02"),
    *("--set", "split_sizes=2000,300,none", "--set", "floors.accuracy=0.3"),
    *("--set", "floors.balanced_accuracy=0.3", "--set", "floors.balanced_accuracy@brightness=0.0"),
    *("--set", "floors.accuracy@contrast=0.0"),
)


def examples() -> list[re.Match]:
    text = (ROOT / "docs" / "extending.md").read_text()
    return [_HEAD.fullmatch(block) for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


def apply(example: re.Match, project: Path) -> None:
    path = project / example["path"]
    if example["how"] == "a new file":
        assert not path.exists(), path
        path.parent.mkdir(exist_ok=True)
        path.write_text(example["code"])
    elif example["how"] == "at its end":
        path.write_text(path.read_text() + "\n\n" + example["code"])
    else:
        text = path.read_text()
        assert text.count(example["line"]) == 1, example["line"]
        path.write_text(text.replace(example["line"], example["code"] + example["line"]))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with every example in its place."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("components", "models", "pipeline", "schema"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "local_runner.py", folder)
    for example in examples():
        apply(example, folder)
    return folder


@pytest.fixture(scope="module")
def output(project, fashion_mnist, tmp_path_factory) -> Path:
    """The output root of a run on real images as raw pixels, with all of the examples."""
    from components.example_gen.idx import read_idx

    data, output = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("output") / "output"
    for part, stem, count in (("train", "train", 2300), ("test", "t10k", 500)):
        images, labels = (
            read_idx(fashion_mnist / f"{stem}-{kind}-ubyte.gz")[:count] for kind in ("images-idx3", "labels-idx1")
        )
        (data / f"{part}.28x28.bin").write_bytes(images.tobytes())
        (data / f"{part}.labels.txt").write_text("\n".join(map(str, labels.tolist())))
    command = [sys.executable, "local_runner.py", "--preset", "smoke", "--data-dir", str(data)]
    done = subprocess.run(
        [*command, "--output-root", str(output), *FLAGS], cwd=project, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "balanced accuracy" in done.stdout
    return output


@pytest.fixture(scope="module")
def summary(output) -> dict:
    (path,) = output.glob("runs/*/summary.json")
    return json.loads(path.read_text())


def test_every_example_says_where_it_goes():
    assert len(examples()) > 8
    assert all(examples())


def test_metric_is_measured_overall_and_by_slice(summary):
    accuracies = list(summary["metrics"]["per_class_accuracy"].values())
    assert summary["metrics"]["balanced_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-9)
    assert 0 < summary["metrics"]["margin"] < 1
    assert set(summary["metrics"]["slices"]["brightness"]["dark"]) >= {"accuracy", "balanced_accuracy", "margin"}


def test_slicing_is_measured_and_a_column_of_the_predictions(summary, output):
    import pyarrow.parquet as pq

    (path,) = output.glob("artifacts/BulkInferrer/predictions/*/predictions.parquet")
    names = pq.read_table(path).column("contrast").to_pylist()
    found = {name: part["examples"] for name, part in summary["metrics"]["slices"]["contrast"].items()}
    assert found == {name: names.count(name) for name in set(names)}


def test_network_is_what_was_trained(summary):
    # 3x3x1x8 + 8, 3x3x8x16 + 16, 5x5x16x10 + 10, and the statistics of 784 pixels, which are no weights.
    assert summary["training"]["parameters"] == 80 + 1168 + 4010


def test_component_has_its_line_and_what_it_logged_is_everywhere(summary, output, project):
    (node,) = [node for node in summary["nodes"] if node["id"] == "SharpnessGen"]
    assert (node["state"], node["detail"][:9]) == ("ran", "sharpness")
    logged = summary["logged"]["SharpnessGen"]["sharpness"]
    assert len(logged["tables"]["by class"]["rows"]) == 10
    report = (output / "runs" / summary["run_id"] / "report.html").read_text()
    assert "SharpnessGen, sharpness" in report and "mean sharpness" in report and "image/svg+xml" in report
    command = [sys.executable, "-m", "pipeline.metadata", "show", "latest", "--output-root", str(output)]
    shown = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout
    assert "SharpnessGen.sharpness.figures.mean sharpness" in shown


def test_kind_of_input_is_read(summary):
    assert summary["provenance"]["data"]["kind"] == "raw pixels"
    assert summary["data"]["splits"] == {"train": 2000, "val": 300, "test": 500}
    assert list(summary["metrics"]["per_class_accuracy"]) == [str(label) for label in range(10)]


def test_kind_of_input_refuses_what_does_not_fit_in_a_line_and_is_none_without_labels(project, tmp_path):
    (tmp_path / "train.2x3.bin").write_bytes(bytes(6 * 4))
    told = {
        None: f"{tmp_path}: expected a data set, found none of these: ",
        "a b a": f"{tmp_path / 'train.labels.txt'}: expected 4 labels, one an image, found 3. Mend the file.",
        "a b a b": "raw pixels: 4 train images of 2x3, 2 classes",
    }
    inspect = f"""if True:
        from pathlib import Path
        from components.errors import InputError
        from components.example_gen.dataset import inspect_dataset
        try:
            print(inspect_dataset(Path({str(tmp_path)!r})).describe())
        except InputError as error:
            print(error)"""
    for labels, line in told.items():
        if labels:
            (tmp_path / "train.labels.txt").write_text(labels.replace(" ", "\n"))
        command = [sys.executable, "-c", inspect]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
        (found,) = done.stdout.splitlines()
        assert found.startswith(line), done.stderr


def test_unknown_augmentation_and_network_are_one_line(project, tmp_path):
    refusals = {
        "augmentations=dimm": "augmentations: expected names in models/augment.py (dim), found dimm.",
        "network.kind=polled": (
            "network.kind: expected a network of models/networks (plain, pooled, residual), found polled."
        ),
    }
    for setting, told in refusals.items():
        command = [sys.executable, "local_runner.py", "--preset", "smoke", "--data-dir", str(ROOT / "data")]
        command += ["--output-root", str(tmp_path / "output"), "--set", f"training.{setting}"]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2, done.stdout + done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"local_runner.py: --set training.{setting}: {told.split(': ', 1)[1]}")
