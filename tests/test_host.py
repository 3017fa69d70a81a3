"""What the host is asked, this one and others that the tests play: macOS, musl, containers, no locks, no user.

None of them was run on: how they answer is from their manuals (getrusage(2) of macOS, cgroups(7), flock(2)).
"""

import errno
import fcntl
import gc
import os
import platform
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from models import host
from models.host import (
    NoLocksError,
    cores,
    flush,
    for_good,
    glibc_version,
    home,
    machine_bytes,
    memory_bytes,
    peak_memory_bytes,
    take_lock,
)

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_no_garbage_is_looked_for_among_imports_and_afterwards_it_is_again():
    with for_good():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
    assert gc.isenabled() and not any(found is made for found in gc.get_objects())
    with pytest.raises(ImportError), for_good():
        raise ImportError
    assert gc.isenabled()


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes the files of a system below `tmp_path`, by their paths."""

    def write(files: dict[str, str]):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "3000000\n"},
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "3000000\n"},
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/memory.max": "max\n",
            "sys/fs/cgroup/a/memory.max": "3000000\n",
            "sys/fs/cgroup/memory.max": "4000000\n",
        },
        {"proc/self/cgroup": "0::/outside/of/it\n", "sys/fs/cgroup/memory.max": "3000000\n"},
        {
            "proc/self/cgroup": "5:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n",
            "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "3000000\n",
        },
    ],
    ids=["root of a container", "own group", "group above", "path of the host", "version 1"],
)
def test_limit_of_the_container_is_what_the_machine_has(write, files):
    assert memory_bytes(write(files)) == 3_000_000


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"},
        {"proc/self/cgroup": "5:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
    ],
    ids=["no groups", "no limit", "no limit in version 1"],
)
def test_machine_without_a_limit_has_all_of_its_memory(write, files):
    assert memory_bytes(write(files)) == MACHINE


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 64),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/1\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
    ],
    ids=["no groups", "one and a half", "group above", "half of one", "no limit", "version 1"],
)
def test_cores_are_those_that_the_container_may_use(write, files, found, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert cores(write(files)) == found


@pytest.fixture
def macos(monkeypatch) -> None:
    """A system without glibc, affinity and control groups, that counts peak memory in bytes."""

    def confstr(name: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", confstr)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=3_221_225_472))


def test_macos_has_no_glibc_and_tells_peak_memory_in_bytes(macos, tmp_path):
    assert glibc_version() is None
    assert peak_memory_bytes() == 3 * 2**30
    assert cores(tmp_path) == 8
    assert memory_bytes(tmp_path) == machine_bytes() == MACHINE


def test_linux_tells_peak_memory_in_kib(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=3_145_728))
    assert peak_memory_bytes() == 3 * 2**30


def test_record_and_provenance_of_a_run_on_macos(macos):
    """They died there behind the training, and told 1024 times the memory."""
    from pipeline.run.provenance import describe_machine, environment

    assert environment()["glibc"] is None
    assert describe_machine()["cores"] == 8


@pytest.mark.parametrize("answer", [("musl", "1.2.5"), ("libc", ""), ("", "")])
def test_musl_is_no_glibc(answer, monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: answer)
    assert glibc_version() is None


def test_user_without_entry_and_home_has_no_home(monkeypatch):
    def fail(_: str) -> str:
        raise RuntimeError("Could not determine home directory.")

    assert home() == Path.home()
    monkeypatch.setattr(Path, "home", lambda: fail(""))
    assert home() is None


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_system_without_locks_is_told_from_a_lock_that_another_has(number, monkeypatch, tmp_path):
    def flock(descriptor: int, kind: int) -> None:
        raise OSError(number, os.strerror(number))

    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        assert take_lock(first.fileno())
        assert not take_lock(second.fileno())
        assert not take_lock(second.fileno(), shared=True)
        monkeypatch.setattr(fcntl, "flock", flock)
        with pytest.raises(NoLocksError):
            take_lock(second.fileno())


def test_folder_that_cannot_be_flushed_is_passed_over_and_a_file_is_not(monkeypatch, tmp_path):
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    (tmp_path / "file").write_text("x")
    flush(tmp_path), flush(tmp_path / "file")
    monkeypatch.setattr(host.os, "fsync", fsync)
    flush(tmp_path)
    with pytest.raises(OSError, match="Invalid"):
        flush(tmp_path / "file")


def test_nothing_else_asks_the_host():
    """What one system alone has is asked for in one place."""
    asked = ("os.confstr", "getrusage", "sched_getaffinity", "os.cpu_count", "flock(", "os.fsync", "Path.home()")
    folders = [Path(host.__file__).parents[1] / name for name in ("components", "models", "pipeline", "scripts")]
    asking = {
        path.name: word
        for folder in folders
        for path in folder.rglob("*.py")
        for word in asked
        if word in path.read_text()
    }
    # The set-up asks before anything is there, of the machine that it makes an environment on.
    assert set(asking) == {"host.py", "console.py"}
