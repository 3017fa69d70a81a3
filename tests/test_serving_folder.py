"""The folder of served versions: what a reader sees while somebody writes, is killed, or goes back."""

import itertools
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components import serving_folder
from components.errors import InputError
from components.pusher.serving_folder import publish, rollback, versions
from pipeline.run.code_digest import ROOT
from pipeline.rollback import main

# A process that is killed while it copies: the second file never comes to an end.
_PUBLISH_SLOWLY = """
import shutil, sys, time
from pathlib import Path
from components.pusher.serving_folder import publish
copy = shutil.copy2
def slow(source, target, **more):
    print("copying", flush=True)
    copy(source, target, **more)
    time.sleep(60)
original = shutil.copytree
shutil.copytree = lambda source, target: original(source, target, copy_function=slow)
publish(Path(sys.argv[1]), Path(sys.argv[2]), keep=3)
"""


@pytest.fixture
def model(tmp_path: Path):
    """Makes a folder like a SavedModel whose files hold a text."""

    def make(text: str) -> Path:
        folder = tmp_path / "models" / text
        (folder / "variables").mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_text(text)
        (folder / "variables" / "variables.index").write_text(text)
        return folder

    return make


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "name"


def served_text(base: Path) -> str:
    """Reads what a model server would load."""
    return (base / str(max(versions(base))) / "saved_model.pb").read_text()


def test_published_version_is_a_whole_copy(base, model):
    version = publish(model("one"), base, keep=3)
    assert versions(base) == {version: version}
    assert abs(version - time.time()) < 5
    assert (base / str(version) / "variables" / "variables.index").read_text() == "one"
    assert {path.name for path in base.iterdir()} == {".lock", str(version)}


def test_pushes_within_one_second_give_as_many_versions(base, model):
    pushed = [publish(model(text), base, keep=9) for text in ("one", "two", "three")]
    assert pushed == sorted(set(pushed)) == list(versions(base))
    assert served_text(base) == "three"


def test_two_writers_at_once_give_two_versions(base, model):
    writers = [threading.Thread(target=publish, args=(model(str(n)), base), kwargs={"keep": 9}) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(versions(base)) == 4


def test_reader_never_sees_part_of_a_version(base, model, monkeypatch):
    publish(model("old"), base, keep=3)
    seen = []
    copy = serving_folder.shutil.copytree

    def look(source, target, *more):
        copy(source, target, *more)
        seen.append((list(versions(base)), served_text(base)))

    monkeypatch.setattr(serving_folder.shutil, "copytree", look)
    publish(model("new"), base, keep=3)
    # Once for its subfolder, once for the whole.
    assert seen == [([min(versions(base))], "old")] * 2
    assert served_text(base) == "new"


def test_kill_in_the_middle_of_a_push_leaves_the_old_version_and_the_next_push_cleans_up(base, model):
    old = publish(model("old"), base, keep=3)
    command = [sys.executable, "-c", _PUBLISH_SLOWLY, str(model("new")), str(base)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "copying\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(base.glob(".partial-*"))
    assert list(versions(base)) == [old]
    assert served_text(base) == "old"
    newest = publish(model("new"), base, keep=3)
    assert list(versions(base)) == [old, newest]
    assert not list(base.glob(".partial-*"))


def test_the_last_n_models_are_kept(base, model):
    pushed = [publish(model(str(number)), base, keep=2) for number in range(4)]
    assert list(versions(base)) == pushed[-2:]


def test_rollback_serves_the_version_before_under_a_new_number(base, model):
    one, two = publish(model("one"), base, keep=3), publish(model("two"), base, keep=3)
    assert rollback(base) == (two, one, max(versions(base)))
    assert served_text(base) == "one"
    assert list(versions(base).values()) == [one, two, one]


def test_rollback_twice_goes_further_back_and_a_number_goes_forward(base, model):
    one, two, three = (publish(model(text), base, keep=3) for text in ("one", "two", "three"))
    assert rollback(base)[:2] == (three, two)
    assert rollback(base)[:2] == (two, one)
    assert served_text(base) == "one"
    assert rollback(base, three)[:2] == (one, three)
    assert served_text(base) == "three"


def test_what_a_rollback_serves_counts_as_served_last(base, model):
    one, two = publish(model("one"), base, keep=2), publish(model("two"), base, keep=2)
    rollback(base)
    three = publish(model("three"), base, keep=2)
    assert set(versions(base).values()) == {one, three}
    assert two not in versions(base)
    assert all((base / str(number) / "saved_model.pb").exists() for number in versions(base))


@pytest.mark.parametrize("version", [None, 7], ids=["before", "unknown"])
def test_rollback_to_nothing_says_what_there_is_and_changes_nothing(base, model, version):
    one = publish(model("one"), base, keep=3)
    with pytest.raises(InputError, match=f"expected .*{one}"):
        rollback(base, version)
    assert versions(base) == {one: one}


def test_rollback_without_a_push_tells_what_to_do(base):
    with pytest.raises(InputError, match=r"Run the pipeline first\."):
        rollback(base)


def test_command_goes_back_in_under_a_second_and_lists(base, model, tmp_path, capsys):
    one, two = publish(model("one"), base, keep=3), publish(model("two"), base, keep=3)
    options = ["--output-root", str(tmp_path), "--model", "name"]
    assert main([*options]) == 0
    assert f"version {one} is served again, as {max(versions(base))}; before it was {two}" in capsys.readouterr().out
    assert main([*options, "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(one),
        str(two),
        f"{max(versions(base))}  shows {one}  served",
    ]
    assert main([*options, "1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    # The whole process: what it imports decides.
    code = "import sys, pipeline.rollback; print('tensorflow' in sys.modules or 'tfx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_file_that_is_no_version_is_passed_over(base, model):
    version = publish(model("one"), base, keep=1)
    (base / "readme").mkdir()
    (base / "123").write_text("a file")
    (base / "99").symlink_to("nowhere")
    assert list(itertools.chain(versions(base))) == [version]
