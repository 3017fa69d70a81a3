"""What a host is and lacks, and which Python is taken: other systems are played by commands of their names in PATH."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import host, lock

ROOT = Path(__file__).resolve().parent.parent
# What the scripts use of any system.
TOOLS = ("sh", "sed", "tr", "head", "tail", "sort", "awk", "id")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder as the whole PATH: the tools of any Linux on x86-64, no Python, no compiler, no package manager."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(shutil.which(name))
    play(folder, "Linux", "x86_64")
    return folder


def command(folder: Path, name: str, body: str = "exit 0") -> Path:
    folder.mkdir(exist_ok=True)
    # A link to the host's own would be written through.
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)
    return folder / name


def play(folder: Path, system: str, machine: str) -> None:
    command(folder, "uname", f'[ "$1" = -s ] && echo {system} || echo {machine}')
    command(folder, "id", "echo 0")


def shell(script: str, *words: str, path: Path, release: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a script of scripts/ with nothing but `path` and, in place of /etc/os-release, the text `release`."""
    (path.parent / "os-release").write_text(release)
    env = {"PATH": str(path), "OS_RELEASE_FILE": str(path.parent / "os-release"), **more}
    run = ["/bin/sh", str(ROOT / "scripts" / script), *words]
    return subprocess.run(run, capture_output=True, text=True, env=env, check=False)


def test_stand_in_for_a_tool_leaves_the_hosts_own_alone(path: Path):
    before = Path(shutil.which("id")).read_bytes()
    command(path, "id", "echo 1")
    assert not (path / "id").is_symlink()
    assert Path(shutil.which("id")).read_bytes() == before


# which systems


@pytest.mark.parametrize(
    ("system", "machine", "release", "told"),
    [
        ("Linux", "x86_64", "ID=debian", ""),
        ("Linux", "aarch64", "ID=ubuntu", "have no wheels for Linux on arm64"),
        ("Linux", "i686", "ID=debian", "have no wheels for Linux on i686"),
        ("Linux", "x86_64", "ID=alpine", "have no wheels for musl (Alpine)"),
        ("Linux", "x86_64", 'ID=other\nID_LIKE="alpine"', "have no wheels for musl (Alpine)"),
        ("Darwin", "arm64", "", ""),
        ("Darwin", "x86_64", "", "have no wheels for macOS on Intel"),
        ("MINGW64_NT-10.0", "x86_64", "", "have no wheels for Windows: use WSL 2"),
        ("FreeBSD", "amd64", "", "have no wheels for FreeBSD on amd64"),
    ],
)
def test_system_without_wheels_is_told_in_one_line(path: Path, system: str, machine: str, release: str, told: str):
    play(path, system, machine)
    answer = shell("host.sh", "unfit", path=path, release=release).stdout
    assert told in answer and answer.count("\n") == bool(told)
    answer = shell("find_python.sh", "", path=path, release=release)
    assert (told in answer.stderr, answer.returncode, answer.stderr.count("\n")) == (True, 2, 1)


def test_intel_shell_on_apple_silicon_is_no_intel_machine(path: Path):
    play(path, "Darwin", "x86_64")
    command(path, "sysctl", "echo 1")
    assert shell("host.sh", "unfit", path=path).stdout == ""


# the command that brings what is missing


@pytest.mark.parametrize(
    ("system", "manager", "version", "expected"),
    [
        ("Linux", "apt-get", "3.12", "apt-get install python3.12 python3.12-venv python3.12-dev g++ make"),
        ("Linux", "apt-get", "", "apt-get install python3 python3-venv python3-dev g++ make"),
        ("Linux", "dnf", "3.12", "dnf install python3.12 python3.12-devel gcc-c++ make"),
        ("Linux", "yum", "", "yum install python3.12 python3.12-devel gcc-c++ make"),
        ("Linux", "zypper", "", "zypper install python313 python313-devel gcc-c++ make"),
        ("Linux", "pacman", "", "pacman -S --needed python gcc make"),
        ("Linux", "apk", "", "apk add python3 python3-dev g++ make"),
        ("Darwin", "brew", "", "xcode-select --install && brew install python@3.13"),
        ("Darwin", "xcode-select", "3.13", "xcode-select --install && install Python 3.13 from python.org"),
    ],
)
def test_one_command_of_the_distribution_brings_all(path, system: str, manager: str, version: str, expected: str):
    play(path, system, "x86_64")
    command(path, manager)
    answer = shell("host.sh", "install", version, "python", "venv", "headers", "compiler", "make", path=path)
    assert (answer.stdout, answer.stderr) == (f"{expected}\n", "")


def test_nothing_is_asked_for_that_is_there(path: Path):
    command(path, "apt-get")
    assert shell("host.sh", "install", "3.11", "headers", path=path).stdout == "apt-get install python3.11-dev\n"


def test_user_who_is_not_root_is_told_sudo_where_it_is(path: Path):
    for name, body in (("apt-get", ""), ("id", "echo 1000")):
        command(path, name, body)
    assert shell("host.sh", "install", "", "compiler", path=path).stdout == "apt-get install g++\n"
    command(path, "sudo")
    assert shell("host.sh", "install", "", "compiler", path=path).stdout == "sudo apt-get install g++\n"


def test_release_whose_python3_is_unfit_gets_the_newest_fit_one(path: Path):
    command(path, "apt-get")
    command(path, "apt-cache", "printf '%s\\n' python3.14 python3.1x python3.12 python3.13 python3.13-dev python3.11")
    assert shell("host.sh", "install", "", "headers", path=path).stdout == "apt-get install python3.13-dev\n"


def test_unknown_distribution_is_told_what_to_install(path: Path):
    answer = shell("host.sh", "install", "", "compiler", "make", path=path).stdout
    assert answer == "no package manager that this script knows: install by hand: compiler make\n"


# what is missing


def test_missing_compiler_and_headers_are_both_named(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(host.sysconfig, "get_path", lambda name: str(tmp_path))
    assert host.lacking() == {
        "compiler": "a C++ compiler that works (none of c++, g++, clang++)",
        "headers": f"Python's headers (no Python.h in {tmp_path})",
    }
    (tmp_path / "Python.h").touch()
    command(tmp_path, "g++")
    assert host.lacking() == {}


def test_compiler_that_only_says_that_there_is_none_is_none(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    command(tmp_path, "c++", "echo 'xcrun: error: invalid active developer path' >&2; exit 1")
    assert host.compilers() == {}
    working = command(tmp_path, "clang++")
    assert host.compilers() == {"CXX": str(working), "CC": str(working)}


def test_compiler_that_the_callers_environment_names_is_not_asked(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("CXX", "/nowhere/conda-c++")
    monkeypatch.setenv("CPLUS_INCLUDE_PATH", "/of/the/caller")
    monkeypatch.setenv("PATH", str(tmp_path))
    command(tmp_path, "c++", f'echo "$CXX,$CPLUS_INCLUDE_PATH" > {tmp_path}/seen')
    assert host.compilers()["CXX"] == str(tmp_path / "c++")
    assert (tmp_path / "seen").read_text() == ",/of/the/caller\n"


# which Python


def test_missing_python_is_one_line_and_status_2(path: Path):
    answer = shell("find_python.sh", "/no/such/python", path=path)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == (
        "setup: /no/such/python is not a Python that runs; name another one with PYTHON=/path/to/python3.11\n"
    )


def test_unfit_python_is_one_line_with_its_reason_and_status_2(path: Path):
    said = "is Python 3.9, and the TFX packages need 3.11, 3.12 or 3.13"
    python = command(path, "python3", f"echo '{said}'; exit 3")
    answer = shell("find_python.sh", str(python), path=path)
    assert (answer.returncode, answer.stdout, answer.stderr.count("\n")) == (2, "", 1)
    assert f"{python} {said};" in answer.stderr


def test_named_python_may_lie_in_a_folder_with_a_space(path: Path, tmp_path: Path):
    python = command(tmp_path / "My Python", "python3", "echo /the/fit/one")
    answer = shell("find_python.sh", str(python), path=path)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "/the/fit/one\n", "")


def test_python_without_venv_is_told_with_all_else_that_is_missing(path: Path):
    command(path, "apt-get")
    command(path, "python3", "echo '3.12 headers'; exit 4")
    answer = shell("find_python.sh", "", path=path)
    assert answer.returncode == 2
    assert answer.stderr == (
        "setup: no fit Python in PATH: python3 has no venv module; there is no C++ compiler; "
        "run: apt-get install python3.12-venv python3.12-dev g++ "
        "(or name a Python 3.11 to 3.13 with PYTHON=/path/to/python3)\n"
    )


def test_search_passes_over_shims_that_do_not_run_and_unfit_versions(path: Path):
    command(path, "python3.11", "exit 127")
    command(path, "python3.12", "echo is unfit; exit 3")
    command(path, "python3", "echo /the/fit/one")
    answer = shell("find_python.sh", "", path=path)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "/the/fit/one\n", "")


def test_search_without_any_python_says_what_to_install(path: Path):
    command(path, "dnf")
    command(path, "c++")
    answer = shell("find_python.sh", "", path=path)
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
    assert "no fit Python in PATH: there is none; run: dnf install python3.12 python3.12-devel (or" in answer.stderr


def test_python_is_probed_whatever_its_variables(path: Path, tmp_path: Path):
    (tmp_path / "os.py").write_text("raise SystemExit(1)\n")
    command(path, "python3.11", f'exec {sys.base_prefix}/bin/python3 "$@"')
    variables = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/nowhere"}
    answer = shell("find_python.sh", "", path=path, **variables)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_versions_that_are_searched_are_those_that_setup_admits():
    (low, high) = re.search(r'python_requires=">=3\.(\d+),<3\.(\d+)"', (ROOT / "setup.py").read_text()).groups()
    text = (ROOT / "scripts/find_python.sh").read_text()
    searched = re.search(r"set -- (python3\..*) python3\n", text).group(1)
    assert searched.split() == [f"python3.{minor}" for minor in range(int(low), int(high))]
    assert f"(3, {low}) <= sys.version_info[:2] < (3, {high})" in text
    assert f"--python-version 3.{low}" in lock.COMPILE
