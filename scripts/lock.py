"""Makes requirements.lock from setup.py, and reads from it. The lock holds no addresses.

Likewise deploy/airflow.lock and deploy/mlflow.lock, for environments beside the project's, and deploy/kubeflow.lock,
which is added to the project's.

Synopsis:

    make lock               # keeps the versions of the lock where setup.py admits them
    make lock UPGRADE=1     # the newest that setup.py admits
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from scripts.console import Stop, exit_status
from scripts.installers import installer_environment

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
# One lock for all the Pythons that setup.py admits, from the lowest on, and for all platforms.
LOCKS = {
    "requirements.lock": "setup.py --extra dev --extra setup",
    "deploy/airflow.lock": "deploy/airflow.in",
    "deploy/mlflow.lock": "deploy/mlflow.in",
    "deploy/kubeflow.lock": "deploy/kubeflow.in --no-deps",
}
COMPILE = "--universal --python-version 3.11 --generate-hashes --custom-compile-command make.lock --output-file"
# What only this host has must not get into a lock for all.
LOCAL_VARIABLES = ("UV_INDEX", "UV_FIND_LINKS", "UV_NO_INDEX")


def entries(lock: str, names: Iterable[str]) -> str:
    """The entries of `names`, with their hashes, from the text of a lock.

    Raises:
      KeyError: one is not there.
    """
    found: dict[str, str] = {}
    for entry in re.findall(r"^[A-Za-z0-9].*(?:\n[ \t]+.*)*", lock, flags=re.MULTILINE):
        name = re.match(r"[A-Za-z0-9._-]+", entry).group()
        found[name] = f"{found.get(name, '')}{entry}\n"  # several where the Pythons differ
    return "".join(found[name] for name in names)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.lock", description="Makes requirements.lock")
    parser.add_argument("--upgrade", action="store_true", help="newest versions that setup.py admits")
    args = parser.parse_args(argv)
    uv = VENV / "bin/uv"
    if not uv.is_file():
        raise Stop(f"{uv} makes the lock, and it is not there: run 'make setup' first.")
    told = installer_environment(VENV / "bin/python", os.environ)
    env = {name: value for name, value in told.items() if name not in LOCAL_VARIABLES}
    upgrade = ["--upgrade"] if args.upgrade else []
    for lock, source in LOCKS.items():
        words = [word.replace("make.lock", "make lock") for word in f"pip compile {source} {COMPILE} {lock}".split()]
        command = [uv, *words, *upgrade, "--python", VENV / "bin/python", "--quiet"]
        if status := subprocess.call(command, cwd=ROOT, env=env):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(exit_status("lock", main))
