"""What the README says exists: flags, targets, files, exit statuses and commands."""

import re
import signal
import subprocess
from pathlib import Path

import pytest

import local_runner
from components import errors
from components.errors import PipelineError
from pipeline import predict, rollback
from pipeline.presets import PRESETS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
# Of errors by their class, of signals 128 and their number; and 0.
EXIT_STATUSES = {0, *(128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))} | {
    kind.exit_status for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PipelineError)
}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def help_text(capsys) -> str:
    with pytest.raises(SystemExit, match="0"):
        local_runner.parse_arguments(["--help"])
    return capsys.readouterr().out


def test_every_flag_is_documented_and_every_documented_flag_exists(capsys):
    flags = set(re.findall(r"--[a-z][a-z-]+", help_text(capsys)))
    table = README[README.index("| flag |") : README.index("| exit status |")]
    assert set(re.findall(r"--[a-z][a-z-]+", table)) == flags


def test_every_preset_is_a_choice_and_documented(capsys):
    assert "{" + ",".join(PRESETS) + "}" in help_text(capsys)
    assert "|".join(PRESETS) in README.replace("\\|", "|")


def test_every_exit_status_is_documented():
    table = README[README.index("| exit status |") : README.index("Below the output root")]
    rows = re.findall(r"^\| (\d[\d, ]*) \|", table, re.MULTILINE)
    assert [status for row in rows for status in map(int, row.split(", "))] == [0, 2, 3, 4, 75, 130, 143, 129, 1]
    scheduled = re.findall(r"^\| (\d[\d, ]*) \|", (ROOT / "docs" / "unattended.md").read_text(), re.MULTILINE)
    epilog = local_runner._EPILOG.partition("settings:")[0]
    told = set(map(int, re.findall(r"(?<![\w.])\d+", epilog)))
    assert told == {int(status) for row in rows for status in row.split(", ")} == EXIT_STATUSES
    assert {int(status) for row in scheduled for status in row.split(", ")} == EXIT_STATUSES


def test_every_command_that_is_installed_is_documented():
    commands = re.findall(r'^    "(pipeline-[a-z-]+)": ', (ROOT / "setup.py").read_text(), re.MULTILINE)
    table = re.findall(r"^\| `(pipeline-[a-z-]+)` \|", (ROOT / "docs" / "setup.md").read_text(), re.MULTILINE)
    assert table == commands


def test_every_make_target_is_documented_and_every_documented_target_exists():
    documented = set(re.findall(r"make ([a-z-]+)", README))
    assert documented - make_targets() == set()
    assert make_targets() - documented - {"help"} == set()


def test_every_make_target_has_a_recipe_that_make_accepts():
    for target in sorted(make_targets() - {"setup", "data", "browser"}):
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_annotated_tree_names_files_that_exist_and_all_modules():
    tree = README[README.index("## Where things are") : README.index("## To change X")]
    modules = set(re.findall(r"\w+\.py", tree))
    for folder in ("pipeline", "components", "models"):
        assert folder + "/" in tree
        for path in (ROOT / folder).rglob("*.py"):
            assert path.name in modules or path.name in ("__init__.py", "__main__.py"), (
                f"{path} is not in the README's tree"
            )
    existing = {
        path.name for folder in ("pipeline", "components", "models", "tests") for path in ROOT.glob(f"{folder}/**/*")
    }
    assert modules - existing == {"kubeflow_runner.py", "local_runner.py"}


def test_links_of_the_documents_lead_to_files():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", prose):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("command", [rollback, predict], ids=["rollback", "predict"])
def test_commands_of_the_served_model_answer_to_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    assert f"python -m {command.__name__}" in capsys.readouterr().out
    assert f"python -m {command.__name__}" in README


def test_files_to_edit_exist():
    table = README[README.index("## To change X") : README.index("## Set-up in detail")]
    for path in re.findall(r"`([\w/]+\.\w+)`", table):
        assert (ROOT / path).exists(), path
