"""The layout of an output root, who may write there, and that nobody else knows either."""

import ast
import errno
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.errors import InputError
from components.places import ARTIFACTS, DATABASE
from components.trainer.logs import show_files, show_folder
from pipeline.output_root import DEFAULT, OutputRoot, training_logs
from tests.conftest import ROOT

# A process that has the lock until it is told to end.
_HOLD = """
import sys
from pipeline.output_root import OutputRoot
with OutputRoot(sys.argv[1]).lock("Wait."):
    print("locked", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def root(tmp_path: Path) -> OutputRoot:
    """An output root whose folder is not there yet."""
    return OutputRoot(tmp_path / "output")


@pytest.fixture
def made(root: OutputRoot) -> OutputRoot:
    """One whose folder is there."""
    root.path.mkdir()
    return root


@pytest.fixture
def other_run(made: OutputRoot):
    """Another process that has the lock; called, it ends."""
    command = [sys.executable, "-c", _HOLD, str(made)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    yield lambda: process.communicate("\n")
    process.kill()
    process.communicate()


# Layout


def test_everything_lies_below_the_root_where_the_documentation_says():
    root = OutputRoot("there")
    assert {
        "metadata": root.metadata,
        "artifacts": root.artifacts,
        "checkpoints": root.checkpoints,
        "serving_root": root.serving_root,
        "serving": root.serving("animals"),
        "summary": root.run("20261123-200513-360").summary,
        "report": root.run("20261123-200513-360").report,
        "log": root.run("20261123-200513-360").log,
        "tensorboard": root.tensorboard,
    } == {
        "metadata": Path("there/metadata.db"),
        "artifacts": Path("there/artifacts"),
        "checkpoints": Path("there/checkpoints"),
        "serving_root": Path("there/serving"),
        "serving": Path("there/serving/animals"),
        "summary": Path("there/runs/20261123-200513-360/summary.json"),
        "report": Path("there/runs/20261123-200513-360/report.html"),
        "log": Path("there/runs/20261123-200513-360/log.txt"),
        "tensorboard": Path("there/tensorboard"),
    }
    assert str(root) == "there"
    assert OutputRoot().path == DEFAULT == Path("output")
    assert OutputRoot.of_database("there/metadata.db").path == root.path


def test_nothing_is_made_before_it_is_asked_for(root):
    assert not root.is_in_use()
    assert root.serving_folders() == root.output_folders() == list(root.output_folders_of(1)) == []
    for path in (root.metadata, root.artifacts, root.checkpoints, root.serving("name"), root.run("run").summary):
        assert not path.exists()
    assert not root.path.exists()


def test_folder_of_a_run_is_made_with_all_above_it_and_nothing_else(root):
    assert root.make_run("run") == root.run("run")
    assert [path.relative_to(root.path).as_posix() for path in sorted(root.path.rglob("*"))] == ["runs", "runs/run"]


def test_run_whose_folder_cannot_be_made_is_told_in_a_line_with_the_way_out(root):
    root.path.write_text("a file")
    with pytest.raises(InputError) as raised:
        root.make_run("run")
    assert str(raised.value) == f"{root}: cannot be written (Not a directory). Choose another --output-root."
    assert raised.value.exit_status == 2


def test_two_runs_do_not_share_a_folder(root):
    root.make_run("run")
    with pytest.raises(InputError, match=r"cannot be written \(File exists\)"):
        root.make_run("run")


def test_served_models_are_the_folders_by_name(made):
    for name in ("b", "a"):
        made.serving(name).mkdir(parents=True)
    (made.serving_root / "readme.txt").write_text("")
    assert made.serving_folders() == [made.serving("a"), made.serving("b")]


def test_outputs_are_found_by_node_key_and_execution(made):
    for name in ("Trainer/model/7", "Trainer/model_run/7", "Pusher/pushed_model/9", "Trainer/.system/stateful/7"):
        (made.artifacts / name).mkdir(parents=True)
    (made.artifacts / "Trainer/.system/executor_execution/7").mkdir(parents=True)
    (made.artifacts / "Trainer/model/8").symlink_to(made.path)

    def told(paths) -> set[str]:
        return {path.relative_to(made.artifacts.resolve()).as_posix() for path in paths}

    assert told(made.output_folders()) == {
        "Trainer/model/7",
        "Trainer/model/8",
        "Trainer/model_run/7",
        "Pusher/pushed_model/9",
    }
    assert told(made.output_folders_of(7)) >= {
        "Trainer/model/7",
        "Trainer/model_run/7",
        "Trainer/.system/executor_execution/7",
    }
    assert told(made.output_folders_of(70)) == set()


# Lock


def test_logs_are_found_under_the_id_of_the_run_that_trained_also_where_the_root_was_moved(tmp_path):
    root = OutputRoot(tmp_path / "output")
    logs = root.artifacts / "Trainer" / "model_run" / "8"
    (logs / "train").mkdir(parents=True)
    show_folder(root.tensorboard / "20260101-120000-000", logs)
    assert training_logs(str(logs), "20260101-120000-000") == str(root.tensorboard / "20260101-120000-000")
    # A run of an earlier version has no link, and of a file system without them there is none.
    assert training_logs(str(logs), None) == training_logs(str(logs), "20250101") == str(logs)
    moved = OutputRoot(root.path.rename(tmp_path / "moved"))
    assert [path.relative_to(moved.path).as_posix() for path in moved.tensorboard.glob("*/train")] == [
        "tensorboard/20260101-120000-000/train"
    ]


def test_outputs_of_a_root_that_was_moved_are_found_in_it_and_no_others(tmp_path):
    root = OutputRoot(tmp_path / "root")
    (root.artifacts / "Trainer" / "model_run" / "8").mkdir(parents=True)
    places = {
        1: "/before/artifacts/Trainer/model_run/8",
        2: str(root.artifacts / "Trainer" / "model_run" / "8"),
        3: "/before/artifacts/Trainer/model_run/9",
        4: "/before/serving/fashion_mnist/1796033882",
        5: "",
    }
    assert root.moved(places.items()) == {1: places[2]}


def test_links_to_logs_that_are_gone_are_removed_and_others_stay(tmp_path):
    root = OutputRoot(tmp_path / "output")
    root.remove_dead_links()
    logs = [root.artifacts / "Trainer" / "model_run" / str(number) for number in (8, 9, 10)]
    for number, folder in enumerate(logs):
        (folder / "train").mkdir(parents=True)
        (folder / "train" / "events").write_text("")
        show_folder(root.tensorboard / f"run {number}", folder)
    show_files(root.tensorboard / "run 1", logs[1])
    (root.tensorboard / "mine").mkdir()
    shutil.rmtree(logs[0])
    show_folder(root.tensorboard / "run 2", logs[2])
    assert sorted(path.name for path in root.tensorboard.iterdir()) == ["mine", "run 1", "run 2"]
    assert not (root.tensorboard / "run 1").is_symlink()
    assert (root.tensorboard / "run 1" / "train" / "events").resolve() == (logs[1] / "train" / "events").resolve()
    shutil.rmtree(logs[1])
    root.remove_dead_links()
    assert sorted(path.name for path in root.tensorboard.iterdir()) == ["mine", "run 2"]


def test_lock_is_refused_while_another_process_has_it_and_given_when_that_ended(made, other_run):
    with pytest.raises(InputError) as raised, made.lock("Wait for it."):
        pytest.fail("two have the lock")
    assert str(raised.value) == f"{made}: another run is using it. Wait for it."
    assert raised.value.exit_status == 75
    assert made.is_in_use()
    other_run()
    assert not made.is_in_use()
    with made.lock("Wait for it."):
        assert made.is_in_use()


def test_lock_of_a_killed_process_is_free(made):
    command = [sys.executable, "-c", _HOLD, str(made)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        assert made.is_in_use()
        process.kill()
    assert not made.is_in_use()


def test_lock_is_free_again_after_an_error_within_it(made):
    with pytest.raises(ZeroDivisionError), made.lock("Wait."):
        raise ZeroDivisionError
    assert not made.is_in_use()


def test_lock_is_refused_within_the_same_process_too(made):
    refused = pytest.raises(InputError, match=r"another run is using it\. Wait for it\.")
    with made.lock("Wait."), refused, made.lock("Wait for it."):
        pytest.fail("two have the lock")


def test_whoever_only_asks_for_a_moment_is_waited_for(made):
    """A reader takes the lock to see whether a run goes on; a run that begins just then must not be refused."""
    asked = threading.Event()

    def ask() -> None:
        with made.lock("Wait."):
            asked.set()
            time.sleep(0.1)

    reader = threading.Thread(target=ask)
    reader.start()
    asked.wait()
    with made.lock("Wait."):
        pass
    reader.join()


def test_whether_it_is_in_use_can_be_asked_by_many_and_takes_nothing_from_a_run(made):
    with made.lock("Wait."):
        pass
    assert not any(made.is_in_use() for _ in range(3))
    with made.lock("Wait."):
        assert all(made.is_in_use() for _ in range(3))


def test_lock_where_nothing_can_be_written_is_told_in_a_line(root):
    with pytest.raises(InputError) as raised, root.lock("Wait."):
        pytest.fail("there is no folder")
    assert str(raised.value) == (
        f"{root}: cannot be written (No such file or directory). Choose another --output-root."
    )
    assert not root.path.exists()


def test_file_system_without_locks_is_refused_in_a_line(made, monkeypatch):
    def flock(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("models.host.fcntl.flock", flock)
    with pytest.raises(InputError) as raised, made.lock("Wait."):
        pytest.fail("there are no locks")
    assert str(raised.value) == (
        f"{made}: expected a file system with locks, found one without (No locks available): two runs there, and "
        "sqlite, would harm each other's files. Choose an --output-root on another disk."
    )
    assert raised.value.exit_status == 2
    assert not made.is_in_use()


# One place knows


PARTS = {"metadata.db", "artifacts", "serving", "runs", "checkpoints", "tensorboard"}
JOINING = {"Path", "PurePath", "joinpath", "with_name", "join"}


def joined(path: Path) -> set[str]:
    """Returns those of `PARTS` that a module joins to a path: in `a / "b"`, `Path(a, "b")`, `a.joinpath("b")`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parts: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts = [node.left, node.right]
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
            parts = node.args if name in JOINING else []
        for part in parts:
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                found |= PARTS & set(part.value.split("/"))
    return found


def test_no_other_module_knows_the_layout():
    modules = [path for name in ("components", "models", "pipeline") for path in ROOT.joinpath(name).rglob("*.py")]
    modules += ROOT.glob("*.py")
    knowing = {path.relative_to(ROOT).as_posix(): parts for path in modules if (parts := joined(path))}
    # Two it has from components/places.py, by whose names outputs among the data are told from these.
    assert knowing.pop("pipeline/output_root.py") == PARTS - {ARTIFACTS, DATABASE}
    assert knowing == {}
