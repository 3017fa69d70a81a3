"""Fetching the data: only what has the right content gets in, and a failure changes nothing."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import fetch_data
from scripts.fetch_data import DataFile

CONTENTS = {"a.gz": b"images" * 1000, "b.gz": b"labels"}
NO_PYTHON = Path("/no/such/python")


@pytest.fixture(autouse=True)
def small_files(monkeypatch) -> tuple[DataFile, ...]:
    """Two small files in place of the four: the real ones are checked by `make data` itself."""
    files = tuple(DataFile(name, len(text), hashlib.sha256(text).hexdigest()) for name, text in CONTENTS.items())
    monkeypatch.setattr(fetch_data, "FILES", files)
    return files


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A folder that has the right files."""
    folder = tmp_path / "origin"
    folder.mkdir()
    for name, text in CONTENTS.items():
        (folder / name).write_bytes(gzip.compress(text))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(*argv: str | Path) -> int:
    return fetch_data.exit_status("data", lambda: fetch_data.main([str(word) for word in argv]))


def test_files_arrive_from_a_folder_and_leave_nothing_else(data: Path, origin: Path):
    assert run("--to", data, "--from", origin) == 0
    assert contents(data) == contents(origin)


def test_files_arrive_over_http(data: Path, origin: Path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=origin)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert run("--to", data, "--from", f"http://127.0.0.1:{server.server_port}/") == 0
        server.shutdown()
    assert contents(data) == contents(origin)


def test_second_run_does_nothing_and_needs_no_source(data: Path, origin: Path, capsys):
    run("--to", data, "--from", origin)
    before = {path: path.stat().st_mtime_ns for path in data.iterdir()}
    capsys.readouterr()
    assert run("--to", data, "--from", "/no/such/folder") == 0
    assert {path: path.stat().st_mtime_ns for path in data.iterdir()} == before
    assert capsys.readouterr().out == ""


def test_other_gzip_of_the_same_content_is_right(data: Path, small_files):
    (data / "a.gz").write_bytes(gzip.compress(CONTENTS["a.gz"], compresslevel=1, mtime=7))
    assert fetch_data.problem(data / "a.gz", small_files[0]) is None


def test_damaged_file_is_replaced_and_a_right_one_is_left_alone(data: Path, origin: Path, capsys):
    right = gzip.compress(CONTENTS["a.gz"], compresslevel=1)
    (data / "a.gz").write_bytes(right)
    (data / "b.gz").write_bytes((origin / "b.gz").read_bytes()[:-9])
    assert run("--to", data, "--from", origin) == 0
    assert contents(data) == {"a.gz": right, "b.gz": (origin / "b.gz").read_bytes()}
    assert "b.gz can't be decompressed" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"lapels", b"label", b"labels and more"], ids=["as long", "shorter", "longer"])
def test_other_data_under_the_same_names_stay_and_are_told(data: Path, origin: Path, capsys, content: bytes):
    """MNIST, KMNIST and EMNIST call their files so, and `data/` is where the pipeline looks first."""
    own = {"b.gz": gzip.compress(content)}
    (data / "b.gz").write_bytes(own["b.gz"])
    assert run("--to", data, "--from", origin) == 2
    assert contents(data) == own
    error = capsys.readouterr().err
    assert error.startswith(f"data: {data / 'b.gz'} should ") and error.count("\n") == 1
    assert 'make run ARGS="--data-dir FOLDER"' in error and "or delete them." in error


def test_empty_file_is_nobodys_data(data: Path, origin: Path):
    (data / "b.gz").touch()
    assert run("--to", data, "--from", origin) == 0
    assert contents(data) == contents(origin)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(b"lapels", mtime=0), "should have the SHA-256 "),
        (gzip.compress(b"label", mtime=0), "should hold 6 bytes decompressed and holds 5"),
        (gzip.compress(b"labels and more", mtime=0), "should hold 6 bytes decompressed and holds more"),
        (gzip.compress(b"labels", mtime=0)[:-4], "can't be decompressed"),
        (b"<html>not found</html>", "can't be decompressed"),
        (b"", "should hold 6 bytes decompressed and holds 0"),
    ],
)
def test_wrong_content_is_refused_in_one_line_and_changes_nothing(
    data: Path, origin: Path, capsys, content: bytes, reason: str
):
    (data / "b.gz").write_bytes(b"what was there before")
    (origin / "b.gz").write_bytes(content)
    assert run("--to", data, "--from", origin) == 2
    assert contents(data) == {"b.gz": b"what was there before"}
    error = capsys.readouterr().err
    assert error.startswith(f"data: b.gz from {origin} {reason}")
    assert error.count("\n") == 1


@pytest.mark.parametrize("source", ["nowhere", "http://127.0.0.1:1/my folder", "http://[bad/x"])
def test_missing_source_is_one_line_and_changes_nothing(data: Path, tmp_path: Path, capsys, source: str):
    assert run("--to", data, "--from", source if "://" in source else tmp_path / source) == 2
    assert contents(data) == {}
    error = capsys.readouterr().err
    assert "Fashion-MNIST could not be had" in error and "--from FOLDER_OR_ADDRESS" in error
    assert error.count("\n") == 1


def test_unusable_target_is_one_line(tmp_path: Path, capsys):
    (tmp_path / "file").touch()
    assert run("--to", tmp_path / "file") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_leftovers_of_a_killed_run_are_removed(data: Path, origin: Path):
    (data / ".arriving").mkdir()
    (data / ".arriving/a.gz").write_bytes(b"half")
    assert run("--to", data, "--from", origin) == 0
    assert contents(data) == contents(origin)


def fake_keras(folder: Path, origin: Path) -> Path:
    """A "Python" that does what Keras does: copies into $KERAS_HOME/datasets/fashion-mnist."""
    python = folder / "python"
    target = '"$KERAS_HOME/datasets/fashion-mnist"'
    python.write_text(f"#!/bin/sh\nset -e\nmkdir -p {target}\ncp {origin}/* {target}\n")
    python.chmod(0o755)
    return python


def test_without_apt_the_files_come_through_keras(data: Path, origin: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fetch_data, "host_source", lambda: None)
    assert run("--to", data, "--python", fake_keras(tmp_path, origin)) == 0
    assert contents(data) == contents(origin)


def test_download_through_keras_asks_tensorflows_backend_whatever_the_user_has(tmp_path, monkeypatch):
    """Another would have to be installed."""
    asked = {}
    log = SimpleNamespace(run=lambda command, env: asked.update(env))
    with pytest.raises(FileNotFoundError):
        fetch_data.from_keras(NO_PYTHON, tmp_path, log)
    assert asked["KERAS_BACKEND"] == "tensorflow"
    assert asked["KERAS_HOME"] == str(tmp_path / "keras")


def test_when_apt_fails_keras_is_tried_and_both_reasons_are_given(
    data: Path, origin: Path, tmp_path, monkeypatch, capsys
):
    def no_package(source, into, log):
        log.run(["sh", "-c", "echo 'E: Unable to locate package'; exit 100"])

    monkeypatch.setattr(fetch_data, "host_source", lambda: ("bookworm", None))
    monkeypatch.setattr(fetch_data, "from_apt", no_package)
    assert run("--to", data, "--python", NO_PYTHON) == 2
    error = capsys.readouterr().err
    assert "E: Unable to locate package" in error and str(NO_PYTHON) in error
    assert error.count("\n") == 1
    assert contents(data) == {}
    assert run("--to", data, "--python", fake_keras(tmp_path, origin)) == 0
    assert contents(data) == contents(origin)
