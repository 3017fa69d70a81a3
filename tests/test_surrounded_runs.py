"""A whole run where all around it is unusual at once: names of folders, Keras's settings, umask, locale.

Project, data and output have names that are patterns, with spaces and letters of three scripts.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_pipeline_runs import NODES, OF_A_RUN, SERVED_AS, copy_of_project

pytestmark = pytest.mark.slow


class Place:
    """The folders, and how a command is run among them."""

    def __init__(self, folder: Path) -> None:
        self.project, self.data = folder / "pro [je]ct* ä", folder / "da?ta {1} [2] 日本"
        self.output, self.temporary = folder / "out [1]*? ü#%20'\\", folder / "temporary"
        for path in (self.project, self.data, self.temporary, folder / "keras"):
            path.mkdir()
        copy_of_project(self.project)
        settings = {"floatx": "float16", "image_data_format": "channels_first", "epsilon": 0.1}
        (folder / "keras" / "keras.json").write_text(json.dumps(settings))
        around = {
            "KERAS_HOME": str(folder / "keras"),
            "KERAS_BACKEND": "jax",
            "MPLBACKEND": "nonsense",
            "TF_USE_LEGACY_KERAS": "1",
            "TMPDIR": str(self.temporary),
            "PYTHONIOENCODING": "ascii",
            "LC_ALL": "C",
        }
        self._environ = os.environ | around
        # What is asked for in a home folder is not: the list of users has one.
        self._environ.pop("HOME", None)

    def run(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.project,
            env=self._environ,
            umask=0o077,
            capture_output=True,
            text=True,
            timeout=900,
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory, fashion_mnist) -> Place:
    place = Place(tmp_path_factory.mktemp("around"))
    for path in fashion_mnist.glob("*.gz"):
        shutil.copy(path, place.data)
    return place


@pytest.fixture(scope="module")
def first(place) -> subprocess.CompletedProcess:
    command = ["local_runner.py", "--preset", "smoke", "--output-root", str(place.output)]
    return place.run(*command, "--data-dir", f"{place.data}/")


def test_run_is_as_any_other(place, first):
    assert (first.returncode, first.stderr) == (0, ""), first.stdout + first.stderr
    (summary,) = place.output.glob("runs/*/summary.json")
    kept = json.loads(summary.read_text())
    assert {node["id"]: node["state"] for node in kept["nodes"]} == dict.fromkeys(NODES, "ran")
    assert 0.6 < kept["metrics"]["test_accuracy"] < 1
    assert Path(kept["pushed_model"]).parent == place.output / "serving" / SERVED_AS
    (config,) = place.output.glob("artifacts/Evaluator/evaluation/*/eval_config.json")
    (model,) = json.loads(config.read_text())["modelLocations"].values()
    assert Path(model).is_relative_to(place.output)


def test_settings_that_are_not_obeyed_are_told_in_a_line(first):
    (line,) = [line for line in first.stdout.splitlines() if line.startswith("not obeyed")]
    for told in ("floatx float16", "epsilon 0.1", "image_data_format channels_first", "KERAS_BACKEND=jax"):
        assert told in line


def test_what_tensorflow_cannot_load_by_its_path_is_told_in_a_line(first):
    (line,) = [line for line in first.stdout.splitlines() if line.startswith("served models")]
    assert "[ and \\ in it" in line


def test_nothing_is_left_in_the_temporary_folder_nor_beside_what_a_run_makes(place, first):
    assert list(place.temporary.iterdir()) == []
    assert {path.name for path in place.output.iterdir()} == OF_A_RUN


def test_umask_is_respected_and_what_is_served_is_as_readable_as_the_rest(place, first):
    modes = {stat.S_IMODE(path.lstat().st_mode) for path in place.output.rglob("*") if not path.is_symlink()}
    assert modes == {0o700, 0o600}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("pipeline.metadata", "runs"), "smoke"),
        (("pipeline.metadata", "show", "latest"), "Evaluator"),
        (("pipeline.metadata", "lineage", "latest"), "ExampleGen"),
        (("pipeline.metadata", "gc"), ""),
        (("pipeline.report",), "report.html"),
        (("pipeline.rollback", "--model", SERVED_AS, "--list"), "served"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_other_commands_answer_there(place, first, command, told):
    done = place.run("-m", *command, "--output-root", str(place.output))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert told in done.stdout
    assert list(place.temporary.iterdir()) == []


def test_served_model_answers_there(place, first):
    result, model = place.output / "answers [*].csv", place.output / "serving" / SERVED_AS
    images = place.output.parent / "i[m]ages?"
    images.mkdir()
    for path in place.data.glob("t10k*"):
        shutil.copy(path, images)
    done = place.run("-m", "pipeline.predict", f"{images}/", str(result), "--model", str(model))
    assert done.returncode == 0, done.stdout + done.stderr
    # What takes more than two seconds tells how far it is before.
    assert done.stdout.splitlines()[-1].startswith("10,000 answers in ")
    assert len(result.read_text().splitlines()) == 10_001
    result.unlink()
    assert list(place.temporary.iterdir()) == []
