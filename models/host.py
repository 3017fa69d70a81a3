"""What is asked of the host: C library, cores, memory, locks, the disk, the home folder; the one place that does so.

What only one system has is asked here so that another one answers too: glibc's version, `ru_maxrss`, which counts KiB
on Linux and bytes on macOS, control groups, locks that a file system may lack, users that no list has. Beside
that, how this process imports. Standard library only, and no more than Python 3.9 has, for the set-up asks as well.

Synopsis:

    glibc_version()                                # e.g. "2.41"; none on macOS and with musl
    cores(), memory_bytes(), peak_memory_bytes()   # e.g. (2, 25275301888, 104857600)
    with for_good():                               # a fifth less time
        import tensorflow
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import math
import os
import platform
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

# What flock(2) says where the file system, or the server behind it, has no locks.
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


@contextlib.contextmanager
def for_good() -> Iterator[None]:
    """Looks for no garbage among what is imported within the block, for it stays; TensorFlow takes a fifth less."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def glibc_version() -> str | None:
    """Returns the version of the GNU C library that this Python runs on, None where it is another."""
    name, version = platform.libc_ver()
    return version if name == "glibc" and version else None


def cores(root: Path = Path("/")) -> int:
    """Returns how many cores this process may use: of the machine, of its affinity, or of its control group."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = []
    for group in _groups(root, "cpu"):
        text = _read(group / "cpu.max") or f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}"
        # "max", or -1, is no limit.
        with contextlib.suppress(ValueError):
            quota, period = map(int, text.split())
            shares += [math.ceil(quota / period)] if quota > 0 and period > 0 else []
    return max(1, min([found, *shares]))


def memory_bytes(root: Path = Path("/")) -> int:
    """Returns the memory that this process can have: the machine's, or the limit of its control group if that is less.

    Args:
      root: of the file system that tells the limits, as of https://docs.kernel.org/admin-guide/cgroup-v2.html.
    """
    limits = [machine_bytes()]
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            # "max" is no limit.
            with contextlib.suppress(ValueError):
                limits.append(int(_read(group / name)))
    return min(limit for limit in limits if limit)


def machine_bytes() -> int:
    """Returns the memory of the machine, whatever this process may have of it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_memory_bytes() -> int:
    """Returns the most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def home() -> Path | None:
    """Returns the home folder; None where neither HOME nor the list of users has one."""
    try:
        return Path.home()
    except (RuntimeError, KeyError):
        return None


def take_lock(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Takes the lock of an open file, and says whether it could.

    Raises:
      NoLocksError: the file system has none.
    """
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocksError(error.errno, error.strerror) from None
        raise
    return True


class NoLocksError(OSError):
    """The file system has no locks."""


def flush(path: Path) -> None:
    """Has the disk hold a file or a folder before it is named, so that a power cut leaves no empty files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Network and user-space file systems may have no such thing for a folder.
        if error.errno not in _NO_LOCKS or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yields the folders of this process's control group, and of those above it, whose limits hold for it too."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if names == [""] or controller in names:
            mounted = root / "sys/fs/cgroup" / controllers
            group = mounted / path.lstrip("/")
            # A container may see its own as the root of all.
            yield from (folder for folder in (group, *group.parents) if mounted in (folder, *folder.parents))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
