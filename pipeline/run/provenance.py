"""What a run was made of: settings, data, code, revision, packages, machine, command line.

It is kept in ML Metadata, as custom properties of the run's context, and in summary.json. Code is kept as a digest of
each module, and each node's list of modules, so that a changed file can be named later.

Synopsis:

    collect(settings, dataset, project)["git"]      # e.g. {"revision": "54d418f...", "clean": True}
"""

import functools
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from components.example_gen.dataset import Dataset
from models.host import cores, glibc_version, machine_bytes
from pipeline.nodes import NODES
from pipeline.project import ROOT, installed_revision, is_installed
from pipeline.run.code_digest import canonical, code_digest, imported_modules, library_versions, module_digest
from pipeline.run.data import describe_data, floors_in_force
from pipeline.settings import Settings
from pipeline.surroundings import steering

_OF_ANOTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")


def collect(settings: Settings, dataset: Dataset, root: Path) -> dict:
    """Returns what a run on `dataset` is made of, as values for JSON."""
    return {
        "settings": settings.as_dict(),
        # What everybody has needs no reason.
        "origins": {name: origin for name, origin in settings.origins.items() if origin != "default"},
        "data": describe_data(dataset),
        "floors": floors_in_force(settings.config, dataset),
        "code": describe_code(),
        "git": installed_revision() if is_installed() else describe_revision(root),
        "packages": installed_packages(),
        "machine": describe_machine(),
        "variables": steering(os.environ),
        "command": sys.argv,
    }


def describe_code(root: Path = ROOT) -> dict:
    """Returns the digest of the whole code, of each module, and which modules each node depends on."""
    nodes = {node.id: sorted(imported_modules(node.modules, root)) for node in NODES.values()}
    # The DAG itself, with the settings that it makes of the configuration.
    modules = sorted(imported_modules(("pipeline.pipeline",), root).union(*nodes.values()))
    return {
        "digest": code_digest(*modules, root=root),
        "modules": {module: module_digest(module, root) for module in modules},
        "nodes": nodes,
        "libraries": {node.id: sorted(library_versions(node.modules, root)) for node in NODES.values()},
    }


def environment() -> dict[str, str | None]:
    """Returns the versions that the result depends on; `glibc` is None where the C library is another."""
    versions = installed_packages()
    names = {"tensorflow": "tensorflow", "tfx": "tfx", "beam": "apache-beam"}
    return {
        "python": platform.python_version(),
        **{name: versions[package] for name, package in names.items()},
        "glibc": glibc_version(),
    }


def describe_revision(root: Path) -> dict:
    """Returns `revision`, whether the tree has no changes (`clean`), and why there is no revision (`missing`)."""
    missing = ""
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() == root.resolve():
            clean = not _git(root, "status", "--porcelain")
            return {"revision": _git(root, "rev-parse", "HEAD"), "clean": clean, "missing": None}
    except FileNotFoundError:
        missing = "git is not installed" if root.is_dir() else ""
    except subprocess.CalledProcessError as error:
        told = (error.stderr.strip().splitlines() or [f"it ended with status {error.returncode}"])[0]
        if "dubious ownership" in told:
            own = shlex.quote(str(root.resolve()))
            missing = f"git refuses a folder of another user ({told}): git config --global --add safe.directory {own}"
        elif "not a git repository" not in told:
            missing = f"git refuses ({told})"
    except (OSError, subprocess.SubprocessError) as error:
        missing = f"git does not answer ({error})"
    return {"revision": None, "clean": None, "missing": missing or "no working tree of git's"}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", *arguments]
    told = {
        "capture_output": True,
        "encoding": "utf-8",
        "errors": "surrogateescape",
        # A git hook, in which a run may be started, names its own repository in the environment. And what git says is
        # read here: not in the user's language.
        "env": {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
        | {"LC_ALL": "C"},
    }
    return subprocess.run(command, cwd=root, check=True, timeout=10, **told).stdout.strip()


@functools.cache
def installed_packages() -> dict[str, str]:
    """Returns the version of each installed package, by the name that packaging tools compare."""
    found = {canonical(found.metadata["Name"]): found.version for found in importlib.metadata.distributions()}
    return dict(sorted(found.items()))


def describe_machine() -> dict:
    """Returns what the time that a run takes depends on."""
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "cores": cores(),
        "memory_gib": round(machine_bytes() / 2**30, 1),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
