"""Run by the environment's own Python at the end of the set-up: proves that what the pipeline stands on works.

Exits with a message on the first thing that doesn't. It also serves as the warm-up of the file cache and the bytecode.
"""

import importlib
import locale
import multiprocessing
import os
import socket
import subprocess
import sys

# The two wheels with the newest glibc symbols first, then the rest of the compiled stack, then TFX over all of them.
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
    """Children through sys.executable and multiprocessing must run on the same C library as this process."""
    code = "import os; print(os.confstr('CS_GNU_LIBC_VERSION'))"
    child = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    here = os.confstr("CS_GNU_LIBC_VERSION")
    if child != here:
        sys.exit(f"a child process runs on {child}, this one on {here}")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        if pool.apply(abs, (-1,)) != 1:
            sys.exit("multiprocessing gives wrong results")


def main() -> None:
    """Checks the processes, name look-up and locale first: they are cheap and don't need the packages."""
    if sys.platform == "linux":
        check_processes()
    socket.getaddrinfo("localhost", 80)
    locale.setlocale(locale.LC_ALL, "C.UTF-8" if sys.platform == "linux" else "")
    for module in MODULES:
        importlib.import_module(module)


if __name__ == "__main__":
    main()
