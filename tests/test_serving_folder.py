"""The folder of served versions: what a reader sees while somebody writes, is killed, or goes back."""

import errno
import fcntl
import itertools
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.errors import InputError
from components.pusher import serving_folder
from components.pusher.history import acts, rollbacks, served_version, taken_back, versions
from components.pusher.serving_folder import publish, rollback, superseded
from pipeline.rollback import main
from pipeline.run.code_digest import ROOT

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
    """Reads what a model server would load, which is what `served` leads to."""
    text = (base / str(max(versions(base))) / "saved_model.pb").read_text()
    assert (base / "served" / "saved_model.pb").read_text() == text
    return text


def test_published_version_is_a_whole_copy(base, model):
    version = publish(model("one"), base, keep=3)
    assert versions(base) == {version: version}
    assert abs(version - time.time()) < 5
    assert (base / str(version) / "variables" / "variables.index").read_text() == "one"
    assert {path.name for path in base.iterdir()} == {".lock", "served", str(version)}


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
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["version", "since", "run", "accuracy"]
    assert [row.split()[0] for row in rows] == list(map(str, versions(base)))
    assert rows[0].split()[-2:] == ["-", "-"], "nothing is known of its run, and it is not what was taken back"
    assert rows[1].endswith("taken back")
    assert f"shows {one}" in rows[2]
    assert rows[2].endswith("served")
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


def test_the_same_files_pushed_twice_are_one_version(base, model):
    one = publish(model("one"), base, keep=3)
    assert publish(model("one"), base, keep=3) == one
    assert versions(base) == {one: one}
    # The same content in another place.
    (base.parent / "elsewhere").mkdir()
    again = (model("one")).rename(base.parent / "elsewhere" / "model")
    assert publish(again, base, keep=3) == one


def test_model_that_returns_is_served_again_as_a_link_that_is_no_rollback(base, model):
    one, two = publish(model("one"), base, keep=3), publish(model("two"), base, keep=3)
    three = publish(model("one"), base, keep=3)
    assert versions(base) == {one: one, two: two, three: one}
    assert three > two
    assert (base / str(three)).is_symlink()
    assert served_text(base) == "one"
    assert rollbacks(base) == {}
    assert publish(model("one"), base, keep=3) == three
    four = publish(model("two"), base, keep=3)
    assert versions(base) == {one: one, two: two, three: one, four: two}
    assert rollbacks(base) == {}


def test_rollbacks_are_told_from_pushes_even_after_a_model_returned(base, model):
    one, two = publish(model("one"), base, keep=3), publish(model("two"), base, keep=3)
    *_, three = rollback(base)
    four = publish(model("two"), base, keep=3)
    *_, five = rollback(base, four)
    assert rollbacks(base) == {three: one, five: two}


def test_random_number_in_tensorflow_s_fingerprint_makes_no_other_model(base, model):
    folder = model("one")
    (folder / "fingerprint.pb").write_text("29906347229115649724059959437287661385")
    one = publish(folder, base, keep=3)
    (folder / "fingerprint.pb").write_text("207519847460928099620908705810283238947")
    assert publish(folder, base, keep=3) == one


def test_going_back_takes_back_all_that_came_later_and_going_forward_brings_one_again(base, model):
    one, _, three = (publish(model(text), base, keep=9) for text in ("one", "two", "three"))
    shown = acts(base)
    contents = [act.content for act in shown]
    rollback(base, one)
    number = max(versions(base))
    assert taken_back(acts(base)) == {contents[1]: number, contents[2]: number}
    rollback(base, three)
    assert list(taken_back(acts(base))) == [contents[1]]
    publish(model("two"), base, keep=9)
    assert taken_back(acts(base)) == {}


def test_files_that_differ_in_a_name_alone_are_another_model(base, model):
    one = publish(model("one"), base, keep=3)
    folder = model("one")
    (folder / "saved_model.pb").rename(folder / "saved_model.pbtxt")
    assert publish(folder, base, keep=3) != one


def test_rollback_after_a_model_returned_serves_what_was_served_before_it(base, model):
    one, two = publish(model("one"), base, keep=3), publish(model("two"), base, keep=3)
    publish(model("one"), base, keep=3)
    assert rollback(base)[:2] == (one, two)
    assert served_text(base) == "two"


def test_model_that_returned_counts_as_served_last(base, model):
    one, two = publish(model("one"), base, keep=2), publish(model("two"), base, keep=2)
    publish(model("one"), base, keep=2)
    three = publish(model("three"), base, keep=2)
    assert set(versions(base).values()) == {one, three}
    assert two not in versions(base)
    assert not [path for path in base.iterdir() if path.is_symlink() and not path.exists()]


def test_model_is_superseded_by_the_last_push_of_another(base, model):
    assert superseded(model("one"), base) is None
    one = publish(model("one"), base, keep=3)
    assert superseded(model("one"), base) is None
    two = publish(model("two"), base, keep=3)
    assert superseded(model("one"), base) == two
    assert superseded(model("two"), base) is None
    assert superseded(model("never pushed"), base) is None
    three = publish(model("one"), base, keep=3)
    assert (superseded(model("one"), base), superseded(model("two"), base)) == (None, three)
    assert versions(base)[three] == one


def test_what_a_person_took_back_is_not_to_come_again_by_itself(base, model):
    publish(model("one"), base, keep=3)
    two = publish(model("two"), base, keep=3)
    rollback(base)
    assert superseded(model("two"), base) is None
    assert superseded(model("one"), base) == two
    three = publish(model("three"), base, keep=3)
    assert superseded(model("two"), base) == superseded(model("one"), base) == three


def test_model_whose_files_are_gone_from_the_folder_was_never_pushed(base, model):
    publish(model("one"), base, keep=1)
    publish(model("two"), base, keep=1)
    assert superseded(model("one"), base) is None


def test_served_leads_to_what_is_served_at_any_time(base, model):
    link = base / "served"
    one = publish(model("one"), base, keep=2)
    assert (str(link.readlink()), served_text(base)) == (str(one), "one")
    two = publish(model("two"), base, keep=2)
    assert (str(link.readlink()), served_text(base)) == (str(two), "two")
    *_, three = rollback(base)
    assert (str(link.readlink()), served_text(base)) == (str(three), "one")
    four = publish(model("two"), base, keep=2)
    assert (str(link.readlink()), served_text(base)) == (str(four), "two")
    publish(model("three"), base, keep=1)
    assert served_text(base) == "three"
    assert served_version(base) == int(link.readlink().name)


def fail(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("first", [True, False], ids=["first push", "second push"])
@pytest.mark.parametrize("where", ["shutil.copytree", "os.sendfile", "os.fsync", "pathlib.Path.rename"])
def test_full_disk_is_told_in_a_line_and_leaves_what_is_served(base, model, monkeypatch, where, first):
    """The copy fails as a whole, within a file, when it is flushed, or when it is to be named."""
    before = {} if first else {(one := publish(model("one"), base, keep=3)): one}
    with monkeypatch.context() as patched:
        patched.setattr(where, fail)
        with pytest.raises(InputError) as raised:
            publish(model("two"), base, keep=3)
    message = str(raised.value)
    assert message.startswith(f"{base}: the model cannot be published there (")
    assert "No space left on device" in message
    assert message.endswith("Free some space or mend its permissions, and run again; what is served is as it was.")
    assert "\n" not in message
    assert raised.value.exit_status == 2
    assert versions(base) == before
    assert {path.name for path in base.iterdir()} == {".lock", *(["served", str(one)] if before else [])}
    # And the next push finds the way free.
    publish(model("two"), base, keep=3)
    assert served_text(base) == "two"


def test_folder_that_cannot_be_made_is_told_in_a_line(tmp_path, model):
    (tmp_path / "serving").write_text("a file")
    with pytest.raises(InputError, match=r"cannot be published there \(Not a directory\)\. Free some space or mend"):
        publish(model("one"), tmp_path / "serving" / "name", keep=1)


def test_rollback_goes_by_what_is_there_when_it_is_its_turn(base, model):
    """Whoever has the lock publishes; the rollback that waited meets the new version and not the one it saw first."""
    publish(model("one"), base, keep=3)
    two = publish(model("two"), base, keep=3)
    found = []
    waiting = threading.Thread(target=lambda: found.append(rollback(base)))
    with (base / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting.start()
        time.sleep(0.2)
        assert not found
        model("three").rename(base / str(two + 1))
    waiting.join(10)
    assert [pair[:2] for pair in found] == [(two + 1, two)]
    assert served_text(base) == "two"


def test_folder_without_versions_is_one_line_that_names_those_beside_it(tmp_path, capsys):
    options = ["--output-root", str(tmp_path), "--list"]
    assert main(options) == 2
    assert capsys.readouterr().err.endswith("expected served versions, found none. Run the pipeline first.\n")
    (tmp_path / "serving" / "fashion_mnist.smoke" / "1").mkdir(parents=True)
    assert main(options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("found none; there are fashion_mnist.smoke. Name one with --model.")
    assert main([*options, "--model", "fashion_mnist.smoke"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:1] == ["1"]


def test_rollback_on_a_file_system_without_locks_is_a_line(tmp_path, monkeypatch):
    def flock(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
    monkeypatch.setattr("models.host.fcntl.flock", flock)
    with pytest.raises(InputError) as raised:
        rollback(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}: cannot be written (No locks available).")
    assert versions(tmp_path) == {1: 1, 2: 2}
