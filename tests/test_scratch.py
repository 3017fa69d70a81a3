"""What a process leaves in its temporary folder is gone when it ends, or when the next begins."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from components.errors import InputError
from pipeline.run.code_digest import ROOT
from pipeline.scratch import scratch

_KILLED = """
import sys, time
from pathlib import Path
from pipeline.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "left").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_everything_left_in_the_temporary_folder_goes_with_it(tmp_path):
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    with scratch(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert (tempfile.gettempdir(), os.environ["TMPDIR"]) == (str(folder), str(folder))
        Path(tempfile.mkdtemp(), "left").write_text("x")
        tempfile.NamedTemporaryFile(delete=False).close()
    assert list(tmp_path.iterdir()) == []
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == before


def test_it_goes_with_an_error_too(tmp_path):
    with pytest.raises(ZeroDivisionError), scratch(tmp_path) as folder:
        Path(folder, "left").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_deleted_by_the_next_and_what_a_living_one_has_is_not(tmp_path):
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as living,
    ):
        left, used = (Path(process.stdout.readline().strip()) for process in (killed, living))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert (left / "left").is_file()
        with scratch(tmp_path):
            assert not left.exists()
            assert (used / "left").is_file()
        living.kill()


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "beam-temp").mkdir()
    (tmp_path / ".image-pipeline-link").symlink_to(tmp_path / "beam-temp")
    with scratch(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"beam-temp", ".image-pipeline-link"}


def test_folder_that_cannot_be_used_is_passed_over(tmp_path, monkeypatch):
    """A pattern is none for TensorFlow, and what is not there cannot be written."""
    (tmp_path / "run [1]").mkdir()
    (tmp_path / "good").mkdir()
    with scratch(tmp_path / "run [1]", tmp_path / "missing", tmp_path / "good") as folder:
        assert folder.parent == tmp_path / "good"


def test_no_folder_at_all_is_told_in_a_line(tmp_path, monkeypatch):
    full = OSError(28, "No space left on device")

    def fail(**_):
        raise full

    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    with pytest.raises(InputError) as raised, scratch(tmp_path):
        pytest.fail("there is none")
    assert str(raised.value).startswith("temporary files: expected a folder to write them to, found none (")
    assert f"{tmp_path}: No space left on device" in str(raised.value)
    assert "\n" not in str(raised.value)
