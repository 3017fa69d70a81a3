"""Gives the environment a C library of its own where the host's is too old for the TFX wheels.

The Linux wheels of tensorflow-data-validation and ml-metadata need glibc 2.39. On an older Debian
or Ubuntu, libc6, libstdc++6 and libgcc-s1 of a later release are unpacked inside the environment,
and its python binary is told to use them: its ELF interpreter becomes the private loader and its
RPATH the private folder. Children started through `sys.executable` inherit that. The host is not
changed, and deleting the environment removes all of it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from models.host import glibc_version
from scripts.console import Log, Stop
from scripts.host_apt import Source, download, unpack

NEEDED = (2, 39)
PACKAGES = ("libc6", "libstdc++6", "libgcc-s1")
# The first stable release with a new enough glibc: Debian 13 has 2.41, Ubuntu 24.04 has 2.39.
DONORS = {"bullseye": "trixie", "bookworm": "trixie", "focal": "noble", "jammy": "noble"}
# libpython and many wheels carry a RUNPATH, which makes the loader ignore the executable's RPATH
# for them. A library that is already loaded is taken by its name, though, so the executable itself
# asks for each one that must not come from the host beside the private libc.
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
    """The glibc this very Python runs on; None where there is none (macOS, musl)."""
    version = glibc_version()
    return parse_version(version) if version else None


def needed_on(version: tuple[int, ...] | None) -> bool:
    """Whether a host with this glibc needs a private one."""
    return version is not None and version < NEEDED


def donor(found: tuple[str, Source] | None, version: tuple[int, ...]) -> Source:
    """The host's own source (as `host_source` found it), moved to the release that has the glibc.

    Raises:
      Stop: there is no apt here, or no donor is known for its release.
    """
    if found is None or found[0] not in DONORS:
        raise Stop(
            f"the TFX wheels need glibc 2.39 and this host has {'.'.join(map(str, version))}; a "
            "private one is taken through apt on Debian 11-12 and Ubuntu 20.04-22.04 only. Debian "
            "13, Ubuntu 24.04, Fedora 40 and newer work as they are, in a container too."
        )
    release, source = found
    return replace(source, suite=DONORS[release], components=("main",))


def fetch(source: Source, prefix: Path, log: Log) -> Path:
    """Unpacks the C library under `prefix`; gives the folder of its loader and libraries."""
    with tempfile.TemporaryDirectory(prefix="glibc-") as work:
        unpack(download(PACKAGES, source, Path(work), log), prefix, log)
    # Debian 13 has /usr/lib/<triplet>, Ubuntu's packages may still have /lib/<triplet>.
    libraries = {path.parent.resolve() for path in prefix.rglob("libc.so.6")}
    if len(libraries) != 1:
        raise Stop(f"{prefix}: expected one libc.so.6 from {PACKAGES}, found {len(libraries)}.")
    return libraries.pop()


def relink(python: Path, libraries: Path, patchelf: Path, log: Log) -> None:
    """Makes `python` run on the C library in `libraries`.

    The copy is patched and then renamed, as a binary that is running can't be written to.
    """
    (loader,) = libraries.glob("ld-linux*.so.*")
    patched = python.with_name(".python-patched")
    shutil.copy2(python, patched)
    command = [patchelf, "--print-rpath", patched]
    old = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    rpath = ":".join(filter(None, [str(libraries), old]))
    present = [name for name in ONE_SET if (libraries / name).exists()]
    needed = [word for name in present for word in ("--add-needed", name)]
    elf = ["--set-interpreter", loader, "--force-rpath", "--set-rpath", rpath, *needed]
    log.run([patchelf, *elf, patched])
    patched.replace(python)
