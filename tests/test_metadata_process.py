"""`python -m pipeline.metadata` as a process: what it imports, and how it ends in a pipe."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.recorded_runs import RecordedRuns
from pipeline.run.code_digest import ROOT

COMMANDS = ("runs", "show", "lineage", "diff", "why", "gc", "tag", "note")


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    runs = RecordedRuns(tmp_path_factory.mktemp("runs") / "output")
    runs.add("20260101-120000-000")
    return runs.output_root


def test_answers_need_neither_tensorflow_nor_the_library_of_ml_metadata(output):
    script = (
        "import sys; from pipeline.metadata.cli import main; "
        f"main(['lineage', 'latest', '--output-root', {str(output)!r}]); "
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Trainer" in done.stdout
    assert not set(done.stderr.split()) & {"tensorflow", "tfx", "keras", "apache_beam", "numpy", "ml_metadata"}


def test_processes_that_the_benchmark_compares_import_no_tfx():
    script = "import benchmarks.metadata, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"tensorflow", "tfx"}


def test_pipe_that_closes_early_ends_quietly(output):
    asked = f"{shlex.quote(sys.executable)} -m pipeline.metadata lineage latest --json --output-root {output}"
    command = f"{asked} | true"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.returncode == 0
    command = f"{asked} | head -n 1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


@pytest.mark.parametrize(
    "words", [(), ("no-such",), ("why",), ("lineage", "a1", "--up", "--down"), ("gc", "--keep", "x")]
)
def test_wrong_usage_ends_2(words):
    command = [sys.executable, "-m", "pipeline.metadata", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""


def test_every_command_and_flag_is_documented():
    document = (ROOT / "docs" / "metadata.md").read_text()
    readme = (ROOT / "README.md").read_text()
    flags = set()
    for command in COMMANDS:
        told = subprocess.run(
            [sys.executable, "-m", "pipeline.metadata", command, "--help"], cwd=ROOT, capture_output=True, text=True
        ).stdout
        flags |= {word.strip("[],") for word in told.split() if word.startswith(("--", "[--"))} - {"--help"}
        assert f"python -m pipeline.metadata {command}" in document
        assert f"python -m pipeline.metadata {command}" in readme
    assert {"--json", "--output-root", "--delete", "--keep", "--down", "--format", "--all"} <= flags
    assert [flag for flag in sorted(flags) if f"`{flag}" not in document] == []


def test_console_script_names_the_same_function():
    assert '"pipeline-metadata": "pipeline.metadata.cli:main"' in (ROOT / "setup.py").read_text()
