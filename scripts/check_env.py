"""Run by the environment's own Python at the end of the set-up: does all that matters work?

Exits with a message at the first thing that doesn't. It also warms the file cache for what follows.
"""

import importlib
import locale
import multiprocessing
import platform
import socket
import subprocess
import sys

# The two wheels with the newest glibc symbols, the rest of the compiled stack, TFX over it all.
MODULES = (
    "numpy",
    "pyarrow",
    "tensorflow_data_validation",
    "ml_metadata",
    "tensorflow",
    "pkg_resources",
    "tfx.v1",
)


def check_processes() -> None:
    """Children through sys.executable and multiprocessing must run on this process's C library."""
    code = "import platform; print(*platform.libc_ver())"
    command = [sys.executable, "-c", code]
    child = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    here = " ".join(platform.libc_ver())
    if child != here:
        sys.exit(f"a child process runs on {child}, this one on {here}")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        spawned = " ".join(pool.apply(platform.libc_ver))
    if spawned != here:
        sys.exit(f"a multiprocessing child runs on {spawned}, this one on {here}")


def main() -> None:
    """The cheap checks, which need no package, come first."""
    if sys.platform == "linux":
        check_processes()
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
    socket.getaddrinfo("localhost", 80)
    for module in MODULES:
        importlib.import_module(module)


if __name__ == "__main__":
    main()
