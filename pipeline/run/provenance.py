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
import subprocess
import sys
from pathlib import Path

from components.example_gen.dataset import Dataset
from pipeline.nodes import NODES
from pipeline.project import ROOT, installed_revision, is_installed
from pipeline.run.code_digest import canonical, code_digest, imported_modules, library_versions, module_digest
from pipeline.run.data import describe_data, floors_in_force
from pipeline.settings import Settings

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


def environment() -> dict[str, str]:
    """Returns the versions that the result depends on."""
    versions = installed_packages()
    names = {"tensorflow": "tensorflow", "tfx": "tfx", "beam": "apache-beam"}
    return {
        "python": platform.python_version(),
        **{name: versions[package] for name, package in names.items()},
        "glibc": platform.libc_ver()[1] if sys.platform != "linux" else os.confstr("CS_GNU_LIBC_VERSION").split()[-1],
    }


def describe_revision(root: Path) -> dict | None:
    """Returns the git revision and whether the tree has no changes; None where `root` is no working tree."""
    try:
        top = _git(root, "rev-parse", "--show-toplevel")
        if Path(top).resolve() != root.resolve():
            return None
        return {"revision": _git(root, "rev-parse", "HEAD"), "clean": not _git(root, "status", "--porcelain")}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", *arguments]
    # A git hook, in which a run may be started, names its own repository in the environment.
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


@functools.cache
def installed_packages() -> dict[str, str]:
    """Returns the version of each installed package, by the name that packaging tools compare."""
    found = {canonical(found.metadata["Name"]): found.version for found in importlib.metadata.distributions()}
    return dict(sorted(found.items()))


def describe_machine() -> dict:
    """Returns what the time that a run takes depends on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
