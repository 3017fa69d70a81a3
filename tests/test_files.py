"""Whole files: the old content or the new one, whoever fails, is killed, or writes at the same time."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.files import replacing, write_bytes, write_text
from tests.conftest import ROOT

# A writer that is killed between half of its content and the other.
_WRITE_HALF = """
import sys, time
from pathlib import Path
from models.files import replacing
with replacing(Path(sys.argv[1])) as partial:
    partial.write_text("ne")
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that holds "old", alone in its folder."""
    path = tmp_path / "summary.json"
    path.write_text("old")
    return path


def test_file_that_was_not_there_is_written(tmp_path):
    write_text(tmp_path / "new.txt", "Übergröße\n")
    assert (tmp_path / "new.txt").read_bytes() == "Übergröße\n".encode()
    write_text(tmp_path / "new.txt", "n\udce4.toml")
    assert (tmp_path / "new.txt").read_text() == "n\\udce4.toml"
    write_bytes(tmp_path / "new.bin", b"\x00\r\n\xff")
    assert (tmp_path / "new.bin").read_bytes() == b"\x00\r\n\xff"
    assert {path.name for path in tmp_path.iterdir()} == {"new.txt", "new.bin"}


def test_file_that_was_there_is_replaced_in_one_step(path):
    with path.open() as reader:
        write_text(path, "new")
        # Whoever opened it before reads on in the old one.
        assert reader.read() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_reader_meets_the_old_content_until_the_block_ends(path):
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.parent == path.parent
        assert partial.name.startswith(".")
    assert path.read_text() == "new"


def test_error_in_the_block_leaves_the_old_content_and_no_partial(path):
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("ne")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_interrupt_in_the_block_leaves_the_old_content_and_no_partial(path):
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_full_disk_leaves_the_old_content_and_no_partial(path, monkeypatch, step):
    original = Path.write_bytes

    def fail(self: Path, *_: object) -> None:
        original(self, b"ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(OSError, match="No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_kill_in_the_middle_leaves_the_old_content_and_the_next_writer_is_not_disturbed(path):
    command = [sys.executable, "-c", _WRITE_HALF, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    # What it left has a name of its own, which nobody takes for the file.
    (left,) = set(path.parent.iterdir()) - {path}
    assert (left.name[0], left.suffix, left.read_text()) == (".", ".partial", "ne")


def test_block_that_writes_nothing_is_an_error_and_leaves_the_old_content(path):
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


def test_folder_that_disappears_is_told_by_its_own_error(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ZeroDivisionError), replacing(folder / "file") as partial:
        partial.write_text("ne")
        partial.rename(tmp_path / "elsewhere")
        folder.rmdir()
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError):
        write_text(folder / "file", "text")


def test_two_writers_at_once_have_names_of_their_own_and_the_last_to_end_wins(path):
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            assert second != first
            assert str(os.getpid()) in second.name
            second.write_text("second")
        assert path.read_text() == "second"
        assert first.read_text() == "first"
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_many_writers_at_once_leave_what_one_of_them_wrote_whole(path):
    texts = [str(number) * 50_000 for number in range(8)]
    writers = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() in ["old", *texts]
    for writer in writers:
        writer.join()
    assert path.read_text() in texts
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a" * 200, "with blank.json", ".hidden", "ünïcode"])
def test_any_name_of_a_file_will_do(tmp_path, name):
    write_text(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text"
    assert len(list(tmp_path.iterdir())) == 1
