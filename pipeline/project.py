"""Where the project's own things are: in a working copy, or in what `pip install` made of it.

An installed program has no `make` and no folder of its own: its schema and floors are packed with the package, it is
run in whatever folder is current, and its revision is the one that pip recorded (PEP 610), if it came from git.

Synopsis:

    curated("fashion_mnist.pbtxt").read_text()     # schema/ of the working copy, or pipeline/schema/ where installed
    folder()                                       # the working copy; where installed, the current folder
"""

import argparse
import importlib.metadata
import json
import sys
from pathlib import Path

DISTRIBUTION = "tfx-image-pipeline"
# The folder with the packages.
ROOT = Path(__file__).resolve().parent.parent
# setup.py puts schema/ here; a working copy has no such folder.
_PACKED = Path(__file__).resolve().parent / "schema"


def is_installed() -> bool:
    """Tells whether this code runs from where pip put it, and not from a working copy."""
    return _PACKED.is_dir()


def curated(name: str) -> Path:
    """Returns a file of what the project says of Fashion-MNIST: its schema, its floors."""
    return (_PACKED if is_installed() else ROOT / "schema") / name


def folder() -> Path:
    """Returns the folder whose `data` is looked at first."""
    return Path.cwd() if is_installed() else ROOT


def command(make: str, installed: str) -> str:
    """Returns what a person types to do something: a target of `make`, or what there is where that is not."""
    return installed if is_installed() else make


def program(default: str) -> str:
    """Returns the name that this program was started under: one of setup.py's console commands, else `default`."""
    name = Path(sys.argv[0]).name
    return name if name.startswith("pipeline-") else default


def a_path(text: str) -> Path:
    """Returns the path that an argument of a command is, as argparse's `type`.

    Raises:
      ArgumentTypeError: it is empty, as "$FOLDER" is without that variable; pathlib would take the current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found an empty text")
    return Path(text)


def installed_revision() -> dict:
    """Returns the git revision that pip installed from, and why there is none (`missing`); see `describe_revision`."""
    missing = {"revision": None, "clean": None, "missing": "installed, and not from git"}
    try:
        text = importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return missing
    revision = json.loads(text or "{}").get("vcs_info", {}).get("commit_id")
    return {"revision": revision, "clean": True, "missing": None} if revision else missing
