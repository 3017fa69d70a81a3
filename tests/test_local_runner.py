"""The command line, in processes of its own. Whole runs are in test_pipeline_runs.py."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "local_runner.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def imported(statement: str) -> set[str]:
    """Returns the top-level packages that `statement` has imported when it ends."""
    script = (
        f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(process.stderr.split())


HEAVY = {
    "tensorflow",
    "tfx",
    "keras",
    "apache_beam",
    "numpy",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
}


def test_help_imports_nothing_that_takes_time():
    assert not imported("import local_runner; local_runner.main(['--help'])") & HEAVY


def test_importing_the_settings_and_the_run_needs_no_tensorflow():
    found = imported("import pipeline.run, pipeline.config, components.dataset, models.config")
    assert not found & (HEAVY - {"numpy"})


def test_help_tells_every_exit_status_and_flag():
    process = run("--help")
    assert process.returncode == 0
    for status in ("0 blessed and pushed", "1 anything else", "2 bad input", "3 the data gate", "4 the model was not"):
        assert status in process.stdout
    for flag in ("--preset", "--output-root", "--data-dir", "--seed"):
        assert flag in process.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no-such-flag",),
        ("--preset", "warp"),
        ("--seed", "many"),
        ("--pre", "smoke"),
        ("stray",),
        ("--only", "Trainer", "--from", "Trainer"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_2_and_makes_nothing(tmp_path, arguments):
    process = run(*arguments, "--output-root", str(tmp_path / "output"))
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith("local_runner.py: error: ")
    assert process.stdout == ""
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("existing", [False, True], ids=["new output root", "output root in use"])
def test_missing_data_end_2_in_one_line_and_leave_the_output_root_alone(tmp_path, existing):
    output = tmp_path / "output"
    if existing:
        output.mkdir()
        (output / "precious").write_text("kept")
    process = run("--data-dir", str(tmp_path / "nowhere"), "--output-root", str(output))
    assert process.returncode == 2
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert str(tmp_path / "nowhere") in line
    assert "make data" in line
    assert [path.name for path in tmp_path.rglob("*")] == (["output", "precious"] if existing else [])


@pytest.mark.parametrize("flag", ["--from", "--to", "--only"])
def test_unknown_node_ends_2_and_names_the_nodes_there_are(tmp_path, flag):
    process = run(flag, "Traner", "--output-root", str(tmp_path / "output"))
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith("local_runner.py: node Traner: expected one of the pipeline (ExampleGen, StatisticsGen, ")
    assert list(tmp_path.iterdir()) == []


def test_seed_out_of_range_ends_2_in_one_line():
    process = run("--seed", "-1", "--data-dir", "/nowhere")
    assert process.returncode == 2
    assert process.stderr == "local_runner.py: seed: expected 0 to 2147483647, found -1.\n"
