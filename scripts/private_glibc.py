"""Gives the virtual environment a C library of its own where the host's is too old for the TFX wheels.

The Linux wheels of tensorflow-data-validation and ml-metadata need glibc 2.39. On an older Debian or Ubuntu, libc6,
libstdc++6 and libgcc-s1 of a later release are unpacked inside the environment, and its python binary is told to use them:
its ELF interpreter becomes the private loader and its RPATH the private folder. Child processes started through
`sys.executable` inherit that; the host is not changed, and deleting the environment removes all of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from scripts.console import Log, Stop
from scripts.host_apt import download, host_source, unpack

NEEDED = (2, 39)
PACKAGES = ("libc6", "libstdc++6", "libgcc-s1")
# The first stable release with a new enough glibc (Debian 13: 2.41, Ubuntu 24.04: 2.39).
DONORS = {"bullseye": "trixie", "bookworm": "trixie", "focal": "noble", "jammy": "noble"}
# libpython and many wheels carry a RUNPATH, which makes the loader forget the executable's RPATH. What the executable itself
# needs is already loaded by then and is found by its name, so everything that must come from one set is named there.
ONE_SET = (
    "libm.so.6",
    "libstdc++.so.6",
    "libgcc_s.so.1",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libresolv.so.2",
    "libutil.so.1",
    "libanl.so.1",
)


def parse_version(text: str) -> tuple[int, ...]:
    """`glibc 2.36` to (2, 36)."""
    return tuple(int(part) for part in text.split()[-1].split(".")[:2])


def host_version() -> tuple[int, ...] | None:
    """The glibc this very Python runs on, or None (macOS, musl)."""
    try:
        return parse_version(os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError, IndexError):
        return None


def needed_on(version: tuple[int, ...] | None) -> bool:
    """Whether a host with this glibc needs a private one."""
    return version is not None and version < NEEDED


def donor() -> tuple[str, object]:
    """The suite to take the C library from, and the host's source moved to it.

    Raises:
      Stop: this host has no apt source of a release we know a donor for.
    """
    found = host_source()
    if found is None or found[0] not in DONORS:
        have = ".".join(map(str, host_version() or ()))
        raise Stop(
            f"the TFX wheels need glibc 2.39, this host has {have}, and a private one can only be had through apt on "
            "Debian 11-12 or Ubuntu 20.04-22.04. What works as it is: Debian 13, Ubuntu 24.04, Fedora 40 or newer "
            "(a container will do)."
        )
    release, source = found
    return DONORS[release], replace(source, suite=DONORS[release], components=("main",))


def fetch(prefix: Path, log: Log) -> Path:
    """Unpacks the donor's C library under `prefix`; gives the folder that holds its loader and libraries."""
    _, source = donor()
    with tempfile.TemporaryDirectory(prefix="glibc-") as work:
        unpack(download(PACKAGES, source, Path(work), log), prefix, log)
    return library_folder(prefix)


def library_folder(prefix: Path) -> Path:
    """The folder under `prefix` with libc.so.6. Packages differ in having lib or usr/lib."""
    for path in sorted(prefix.rglob("libc.so.6")):
        return path.parent.resolve()
    raise Stop(f"{prefix} holds no libc.so.6: the packages {', '.join(PACKAGES)} have changed their layout.")


def relink(python: Path, libraries: Path, patchelf: Path, log: Log) -> None:
    """Makes `python` run on the C library in `libraries`. Patched beside and renamed: a running binary can't be written."""
    loader = next(libraries.glob("ld-linux*.so.*"))
    patched = python.with_name(".python-patched")
    shutil.copy2(python, patched)
    old = subprocess.run(
        [patchelf, "--print-rpath", patched], check=True, capture_output=True, text=True
    ).stdout.strip()
    needed = [word for name in ONE_SET if (libraries / name).exists() for word in ("--add-needed", name)]
    rpath = ":".join(filter(None, [str(libraries), old]))
    log.run(
        [
            patchelf,
            "--set-interpreter",
            loader,
            "--force-rpath",
            "--set-rpath",
            rpath,
            *needed,
            patched,
        ]
    )
    os.replace(patched, python)
