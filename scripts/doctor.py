"""Says what this machine and the environment have. Exit status 0 if `make run` can start at once.

Imports nothing of the environment, so that it also works on a broken one and takes under a second.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from models.host import cores
from scripts import browser, private_glibc, setup_env
from scripts.console import exit_status
from scripts.fetch_data import FILES, ROOT, problem

FAMILY = (
    "tfx",
    "tensorflow",
    "keras",
    "apache-beam",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "ml-metadata",
)


def versions(venv: Path) -> dict[str, str]:
    """Name to version of everything installed in the environment."""
    folders = [str(folder) for folder in venv.glob("lib/python3*/site-packages")]
    # What was interrupted while it was unpacked has no name.
    named = [(d.metadata["Name"], d) for d in distributions(path=folders)]
    return {name.lower().replace("_", "-"): d.version for name, d in named if name}


def environment_glibc(python: Path) -> str:
    """The C library that the environment's Python runs on."""
    code = "import platform; print(*platform.libc_ver())"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def main() -> int:
    python = setup_env.VENV / "bin/python"
    host = private_glibc.host_version()
    installed = versions(setup_env.VENV)
    wrong = [f"{f.name} {reason}" for f in FILES if (reason := problem(ROOT / "data" / f.name, f))]
    if not (ROOT / "data").exists():
        wrong = ["no folder data"]
    state, complete = "missing: make setup", False
    if setup_env.VENV.exists():
        complete = setup_env.is_complete(setup_env.read_stamp(setup_env.VENV))
        state = "complete" if complete else "incomplete or out of date: make setup"

    lines = {
        "machine": f"{platform.platform()}, {cores()} cores",
        "python": f"{platform.python_version()}, {sys.executable}",
        "glibc": ".".join(map(str, host)) if host else "none",
        "compiler": shutil.which("c++") or shutil.which("g++") or shutil.which("clang++") or "none",
        "environment": state,
        "its python": setup_env.read_stamp(setup_env.VENV).get("interpreter", "unknown"),
    }
    if setup_env.runs(python):
        lines["its glibc"] = environment_glibc(python)
    lines |= {name: installed.get(name, "not installed") for name in FAMILY}
    found = browser.find_browser()
    lines["browser"] = f"{browser.version(found)}, {found}" if found else "none; the tests need it: make browser"
    lines["data"] = f"{'; '.join(wrong)}: make data" if wrong else "all four files in data/, checked"
    for name, value in lines.items():
        print(f"{name:<28} {value}")
    return 0 if complete and not wrong else 1


if __name__ == "__main__":
    sys.exit(exit_status("doctor", main))
