"""Where the project's things are: in this working copy, and where pip has installed it."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import project
from pipeline.project import ROOT
from pipeline.run.code_digest import canonical
from scripts import tool_environment

SETUP = (ROOT / "setup.py").read_text()
# What the README's tables name, by the module that does it.
COMMANDS = {
    "pipeline-run": ["local_runner.py"],
    "pipeline-kubeflow": ["kubeflow_runner.py"],
    "pipeline-metadata": ["-m", "pipeline.metadata"],
    "pipeline-report": ["-m", "pipeline.report"],
    "pipeline-rollback": ["-m", "pipeline.rollback"],
    "pipeline-publish": ["-m", "pipeline.publish"],
    "pipeline-predict": ["-m", "pipeline.predict"],
    "pipeline-propose-schema": ["-m", "pipeline.propose_schema"],
    "pipeline-sweep": ["-m", "pipeline.sweep"],
    "pipeline-worker-pool": ["-m", "pipeline.engine.worker_pool"],
}


NOT_FROM_GIT = {"revision": None, "clean": None, "missing": "installed, and not from git"}


def test_working_copy_is_not_installed():
    assert not project.is_installed()
    assert project.folder() == ROOT
    assert project.curated("fashion_mnist.pbtxt") == ROOT / "schema" / "fashion_mnist.pbtxt"
    assert project.command("make run", "pipeline-run") == "make run"


def test_installed_program_has_its_schema_in_the_package_and_runs_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr(project, "_PACKED", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert project.is_installed()
    assert project.folder() == tmp_path
    assert project.curated("fashion_mnist.pbtxt") == tmp_path / "fashion_mnist.pbtxt"
    assert project.command("make run", "pipeline-run") == "pipeline-run"


@pytest.mark.parametrize(
    ("started", "expected"),
    [("/env/bin/pipeline-run", "pipeline-run"), ("local_runner.py", "default"), ("/env/bin/pytest", "default")],
)
def test_program_is_told_by_the_name_that_it_was_started_under(monkeypatch, started: str, expected: str):
    monkeypatch.setattr(sys, "argv", [started])
    assert project.program("default") == expected


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (
            {"url": "https://x", "vcs_info": {"vcs": "git", "commit_id": "a" * 40}},
            {"revision": "a" * 40, "clean": True, "missing": None},
        ),
        ({"url": "file:///x", "dir_info": {}}, NOT_FROM_GIT),
        (None, NOT_FROM_GIT),
    ],
)
def test_revision_of_an_installed_program_is_the_one_that_pip_recorded(monkeypatch, recorded, expected):
    text = json.dumps(recorded) if recorded else None
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))
    assert project.installed_revision() == expected


def test_whatever_the_packages_import_is_declared():
    imported = set()
    files = [
        ROOT / "local_runner.py",
        *(path for name in ("pipeline", "components", "models") for path in (ROOT / name).rglob("*.py")),
    ]
    for path in files:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module)
    names = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    tops = {name.split(".")[0] for name in names} - {"pipeline", "components", "models", "google"}
    assert {name for name in names if name.startswith("google.")} == {"google.protobuf"}
    owners = importlib.metadata.packages_distributions()
    declared = {canonical(name) for name in re.findall(r'^    "([a-zA-Z][\w-]*)[^"]*",', SETUP, flags=re.MULTILINE)}
    assert "protobuf" in declared
    missing = {top: owners[top] for top in tops if not declared & set(map(canonical, owners[top]))}
    assert missing == {}


def test_every_program_has_a_console_command():
    declared = dict(re.findall(r'^    "(pipeline-[\w-]+)": "([\w.]+):main",', SETUP, flags=re.MULTILINE))
    modules = [path.relative_to(ROOT) for path in (ROOT / "pipeline").rglob("*.py") if "__main__" in path.read_text()]
    programs = {path.with_suffix("") if path.name != "__main__.py" else path.parent for path in modules}
    # The one has a synopsis that is run; the other is what Kubeflow's containers call.
    named = {".".join(path.parts) for path in programs if path.name not in ("project", "task")}
    assert named == {words[1] for words in COMMANDS.values() if words[0] == "-m"}
    assert set(declared) == set(COMMANDS)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that pip has installed the wheel of a copy of this project into; a build writes beside its sources."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    for name in ("components", "models", "pipeline", "schema"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "proposal.pbtxt"))
    for name in ("kubeflow_runner.py", "local_runner.py", "setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    offline = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    pip = [sys.executable, "-I", "-m", "pip"]
    options = {"check": True, "timeout": 120, "env": tool_environment.clean(os.environ, folder)}
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", folder, source], **options)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", folder / "site", wheel], **options)
    shutil.rmtree(source)
    return folder / "site"


def start(installed: Path, current: Path, *command: str, timeout: int = 120) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed)}
    run = [sys.executable, *command]
    return subprocess.run(run, cwd=current, env=env, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_installed_command_answers_anywhere(installed: Path, tmp_path: Path, name: str):
    done = start(installed, tmp_path, str(installed / "bin" / name), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {name} ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_installed_program_without_data_says_how_to_fetch_them(installed: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = start(installed, tmp_path, str(installed / "bin/pipeline-run"), "--dry-run")
    if "no data" not in done.stderr:
        assert Path("/usr/share/datasets/fashion-mnist").is_dir(), done.stderr
        return
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"pipeline-run: no data: expected fashion-mnist in {tmp_path / 'data'}, ")
    assert "Fetch them with: python -c 'import keras; keras.datasets.fashion_mnist.load_data()', or set" in line


@pytest.mark.slow
def test_installed_program_runs_in_any_folder_on_its_own_code_and_schema(installed, fashion_mnist, tmp_path):
    author = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "another project"]):
        subprocess.run(["git", *author, *words], cwd=tmp_path, check=True)
    command = [str(installed / "bin/pipeline-run"), "--preset", "smoke", "--data-dir", str(fashion_mnist)]
    done = start(installed, tmp_path, *command, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SchemaGen            ran" in done.stdout and "curated" in done.stdout
    told = start(installed, tmp_path, str(installed / "bin/pipeline-metadata"), "show", "latest", "--json").stdout
    assert '"missing": "installed, and not from git"' in told, (
        "the revision of the folder that it happens to be started in is not its own"
    )
    where = start(installed, tmp_path, "-c", "import pipeline; print(pipeline.__file__)").stdout
    assert Path(where.strip()).is_relative_to(installed)
    done = start(installed, tmp_path, str(installed / "bin/pipeline-propose-schema"))
    assert done.returncode == 0, done.stderr
    assert "wrote proposal.pbtxt (run " in done.stdout
    assert done.stdout.endswith(": review it, and carry over to schema.pbtxt beside your data what should hold\n")
