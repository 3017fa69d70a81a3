"""Makes requirements.lock from setup.py, and reads from it. The lock holds no addresses.

Synopsis:

    make lock               # keeps the versions of the lock where setup.py admits them
    make lock UPGRADE=1     # the newest that setup.py admits
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from scripts.console import Stop, exit_status

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
# One lock for all the Pythons that setup.py admits, from the lowest on, and for all platforms.
COMPILE = (
    "pip compile setup.py --extra dev --extra setup --universal --python-version 3.11 "
    "--generate-hashes --custom-compile-command make.lock --output-file requirements.lock"
)
# pip's settings and the variables by which uv knows them: a host with an index, certificates or a
# proxy of its own has told pip, and should not have to say it twice.
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


def uv_environment(pip_config: str) -> dict[str, str]:
    """The output of `pip config list` as the variables that tell uv the same; later lines win."""
    settings: dict[str, str] = {}
    for line in pip_config.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            settings[key.rpartition(".")[2]] = " ".join(ast.literal_eval(value).split())
    env = {UV_VARIABLES[name]: value for name, value in settings.items() if name in UV_VARIABLES}
    if "UV_FIND_LINKS" in env:
        env["UV_FIND_LINKS"] = ",".join(env["UV_FIND_LINKS"].split())
    # pip takes the best match of all indexes, uv the first index that has the name: a local index
    # with other versions would hide the locked one. The hashes make pip's way as safe.
    env["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    env["UV_PYTHON_DOWNLOADS"] = "never"
    return env


def host_environment(python: Path) -> dict[str, str]:
    """`uv_environment` of this host's pip; what the caller has set for uv itself stands."""
    command = [python, "-m", "pip", "config", "list"]
    config = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {k: v for k, v in uv_environment(config).items() if k not in os.environ}


def main() -> int:
    uv = VENV / "bin/uv"
    if not uv.is_file():
        raise Stop(f"{uv} makes the lock, and it is not there: run 'make setup' first.")
    env = {k: v for k, v in os.environ.items() if k not in LOCAL_VARIABLES}
    added = host_environment(VENV / "bin/python")
    env |= {k: v for k, v in added.items() if k not in LOCAL_VARIABLES}
    words = [word.replace("make.lock", "make lock") for word in COMPILE.split()]
    upgrade = ["--upgrade"] if os.environ.get("UPGRADE") else []
    command = [uv, *words, *upgrade, "--python", VENV / "bin/python", "--quiet"]
    return subprocess.call(command, cwd=ROOT, env=env)


if __name__ == "__main__":
    sys.exit(exit_status("lock", main))
