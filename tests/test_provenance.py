"""What a run was made of, and the part of the DAG that it takes."""

import hashlib
import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.example_gen.dataset import inspect_dataset
from pipeline.nodes import NODES
from pipeline.presets import preset
from pipeline.run.code_digest import module_path
from pipeline.run.provenance import collect, describe_code, describe_revision, environment
from pipeline.settings import Settings


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a.py").write_text("A = 1\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


@pytest.fixture
def dataset(idx_folder):
    images, labels = np.zeros((4, 5, 5), np.uint8), np.array([0, 1, 0, 1], np.uint8)
    return inspect_dataset(idx_folder(images, labels, images, labels))


def test_revision_of_a_clean_tree(repository):
    assert describe_revision(repository) == {
        "revision": git(repository, "rev-parse", "HEAD"),
        "clean": True,
        "missing": None,
    }


def test_revision_is_the_trees_own_in_a_git_hook_of_another_repository(repository, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "--quiet")
    own = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert describe_revision(repository) == {"revision": own, "clean": True, "missing": None}


@pytest.mark.parametrize("name", ["a.py", "new.py"])
def test_edited_and_new_files_make_the_tree_unclean(repository, name):
    (repository / name).write_text("B = 2\n")
    assert describe_revision(repository)["clean"] is False


def test_folder_that_is_no_working_tree_has_no_revision(tmp_path, repository):
    inside = repository / "copy"
    inside.mkdir()
    nothing = {"revision": None, "clean": None, "missing": "no working tree of git's"}
    assert describe_revision(inside) == nothing
    assert describe_revision(tmp_path / "nowhere") == nothing


def test_why_git_tells_no_revision_is_kept(repository, monkeypatch):
    """Another user's folder is refused by git, with words that nobody heard."""

    def refuse(command: list, **_: object) -> None:
        told = f"fatal: detected dubious ownership in repository at '{repository}'\nTo add an exception ..."
        raise subprocess.CalledProcessError(128, command, "", told)

    monkeypatch.setattr("pipeline.run.provenance.subprocess.run", refuse)
    assert describe_revision(repository)["missing"] == (
        f"git refuses a folder of another user (fatal: detected dubious ownership in repository at '{repository}'): "
        f"git config --global --add safe.directory {repository}"
    )


def test_missing_git_is_told(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert describe_revision(repository) == {"revision": None, "clean": None, "missing": "git is not installed"}


def test_provenance_is_json_with_every_setting_and_the_data(dataset, tmp_path):
    settings = Settings.of(preset("smoke", seed=7, output_root=tmp_path))
    found = json.loads(json.dumps(collect(settings, dataset, tmp_path)))
    assert found["settings"]["seed"] == 7
    assert found["settings"]["training"]["network"]["widths"] == [16, 32, 64]
    assert found["settings"]["output_root"] == str(tmp_path)
    assert found["origins"]["seed"] == "code"
    assert "compression" not in found["origins"]
    assert found["data"]["digest"] == dataset.digest
    assert found["git"] == {"revision": None, "clean": None, "missing": "no working tree of git's"}
    assert found["packages"]["tfx"] == "1.21.0"
    assert found["machine"]["cores"] >= 1


def test_code_is_told_by_module_and_a_comment_changes_nothing(tmp_path):
    for module in (module for node in NODES.values() for module in node.modules if module_path(module)):
        path = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("A = 1\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "pipeline.py").write_text("import components.trainer.component\n")
    (tmp_path / "components" / "trainer" / "component.py").write_text("import scipy\nfrom models import network\n")
    network = tmp_path / "models" / "network.py"
    network.write_text("A = 1\n")
    before = describe_code(tmp_path)
    network.write_text('"""Said."""\nA = 1  # said\n')
    commented = describe_code(tmp_path)
    network.write_text("A = 2\n")
    after = describe_code(tmp_path)

    assert before["nodes"]["Trainer"] == ["components.trainer.component", "models.network"]
    assert before["nodes"]["Evaluator"] == ["components.evaluator.component"]
    assert commented == before
    assert {name for name in before["modules"] if before["modules"][name] != after["modules"][name]} == {
        "models.network"
    }
    assert before["digest"] != after["digest"]
    assert len(bytes.fromhex(before["modules"]["models.network"])) == hashlib.sha256().digest_size


def test_environment_names_the_versions_that_are_imported():
    import apache_beam
    import tensorflow as tf

    found = environment()
    assert found["tensorflow"] == tf.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["beam"] == apache_beam.__version__
    assert found["glibc"] == (platform.libc_ver()[1] or None)
    assert set(found) == {"python", "tensorflow", "tfx", "beam", "glibc"}
