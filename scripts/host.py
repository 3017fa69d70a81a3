"""What this host has for building a package from source, and the command that brings what it lacks.

Synopsis:

    lacking()                              # what building from source lacks here ("headers", "compiler"), and why
    says("install", "3.11", "headers")     # the command that brings it, as host.sh has it for this distribution
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

from scripts.tool_environment import clean

# Named to the tools, as Python's own may not be there (conda's); setuptools asks for both.
COMPILERS = {"CXX": ("c++", "g++", "clang++"), "CC": ("cc", "gcc", "clang")}


def compilers() -> dict[str, str]:
    """The C and C++ compiler in PATH that works, as the variables that name them; empty where none does."""
    found = {}
    for name, commands in COMPILERS.items():
        language = "c++" if name == "CXX" else "c"
        include = b"#include <string>\n" if name == "CXX" else b"#include <string.h>\n"
        for path in filter(None, map(shutil.which, commands)):
            # macOS has a c++ that only says that there is none, and a compiler may come without its library.
            check = [path, "-fsyntax-only", "-x", language, "-"]
            done = subprocess.run(check, input=include, capture_output=True, env=clean(os.environ), check=False)
            if done.returncode == 0:
                found[name] = path
                break
    return {"CC": found["CXX"], **found} if "CXX" in found else {}


def lacking() -> dict[str, str]:
    """What building a package from source lacks here: what host.sh calls it, and why it is missed."""
    lacks = {}
    if not compilers():
        lacks["compiler"] = f"a C++ compiler that works (none of {', '.join(COMPILERS['CXX'])})"
    headers = sysconfig.get_path("include")
    if not Path(headers, "Python.h").is_file():
        lacks["headers"] = f"Python's headers (no Python.h in {headers})"
    return lacks


def says(*words: str) -> str:
    """What scripts/host.sh says."""
    command = ["sh", Path(__file__).with_suffix(".sh"), *words]
    return subprocess.run(command, capture_output=True, text=True, env=clean(os.environ), check=True).stdout.strip()
