"""Which browser the tests get, and how it is started. Fetching it is tested by `make test` itself, which needs it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scripts import browser, console
from scripts.host_apt import Source

DEBIAN = 'NAME="Debian GNU/Linux"\nVERSION_CODENAME=bookworm\nID=debian\n'
UBUNTU = "NAME=Ubuntu\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n"


@pytest.fixture
def bare_host(monkeypatch, tmp_path: Path) -> Path:
    """An empty folder as the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """What `dpkg -x` makes of the packages, with a script in place of the browser."""
    prefix = tmp_path / "browser"
    for name in ("usr/lib/x86/libflac.so.12", "usr/lib/x86/pulseaudio/libpulsecommon.so", "lib/x86/libdbus.so.3"):
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).touch()
    executable(prefix / "usr/lib/chromium" / browser.PACKAGE, 'echo "$LD_LIBRARY_PATH"; echo "$@"')
    return prefix


def executable(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_browser_in_path_is_taken_if_it_starts(bare_host: Path, tmp_path: Path):
    assert browser.find_browser(tmp_path) is None
    executable(bare_host / "chromium-browser", "echo 'install it: snap install chromium' >&2; exit 1")
    assert browser.find_browser(tmp_path) is None
    installed = executable(bare_host / "google-chrome", "echo Google Chrome 150.0")
    assert browser.find_browser(tmp_path) == installed


def test_unpacked_browser_comes_before_one_in_path_while_it_starts(bare_host: Path, tmp_path: Path):
    installed = executable(bare_host / "chromium", "echo Chromium 150.0")
    unpacked = executable(tmp_path / "browser/chromium", "echo Chromium 149.0")
    assert browser.find_browser(tmp_path) == unpacked
    executable(unpacked, "exit 127")
    assert browser.find_browser(tmp_path) == installed


def test_wrapper_puts_the_unpacked_libraries_in_place_of_the_callers(unpacked: Path, tmp_path: Path):
    browser.write_wrapper(unpacked)
    moved = tmp_path / "moved"
    unpacked.rename(moved)
    env = {**os.environ, "LD_LIBRARY_PATH": "/of/the/caller"}
    answer = subprocess.run([moved / "chromium", "a b", "c"], env=env, capture_output=True, text=True, check=True)
    folders, arguments = answer.stdout.splitlines()
    assert folders.split(":") == [str(moved / name) for name in ("lib/x86", "usr/lib/x86", "usr/lib/x86/pulseaudio")]
    assert arguments == "a b c"


def test_packages_without_a_browser_are_refused(tmp_path: Path):
    with pytest.raises(
        console.Stop, match=r"expected the browser of chromium-headless-shell below usr/lib, found none"
    ):
        browser.write_wrapper(tmp_path)


@pytest.mark.parametrize(("text", "expected"), [(DEBIAN, True), ('ID="debian"\n', True), (UBUNTU, False), ("", False)])
def test_browser_is_fetched_on_debian_only(text: str, expected: bool):
    assert browser.is_debian(text) is expected


@pytest.mark.parametrize("text", [DEBIAN, UBUNTU])
def test_host_without_apt_is_told_what_to_install(text: str, monkeypatch, bare_host: Path, tmp_path: Path, capsys):
    (tmp_path / "os-release").write_text(text)
    monkeypatch.setattr(browser, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(browser, "VENV", tmp_path / "venv")
    assert console.exit_status("browser", browser.main) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "install Chromium or Google Chrome so that one of chromium," in error
    assert not (tmp_path / "venv").exists()


def test_suite_is_the_hosts_own_release(monkeypatch, tmp_path: Path):
    own = Source(("http://mirror.example/debian",), "bookworm", ("main",))
    (tmp_path / "os-release").write_text(DEBIAN)
    monkeypatch.setattr(browser, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(browser, "host_source", lambda: ("bookworm", own))
    assert browser.debian_source() == own


def test_failed_download_leaves_nothing(monkeypatch, tmp_path: Path):
    def fail(*_: object) -> None:
        raise console.StepFailed("apt-get exited with status 100", "E: no network")

    monkeypatch.setattr(browser, "download", fail)
    with pytest.raises(console.StepFailed):
        browser.fetch(tmp_path, Source((), "bookworm", ()))
    assert [path.name for path in tmp_path.iterdir()] == ["browser.log"]
