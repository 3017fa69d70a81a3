"""Finds the folder of IDX files that a run reads."""

from pathlib import Path

from components.dataset import find_files
from components.errors import InputError

NAME = "fashion-mnist"


def candidates(root: Path, home: Path, system: Path = Path("/usr/share/datasets")) -> tuple[Path, ...]:
    """Returns the folders that are looked in, in this order: the project's, the system's, Keras's cache."""
    return (root / "data", system / NAME, home / ".keras" / "datasets" / NAME)


def locate_data(named: Path | None, folders: tuple[Path, ...]) -> Path:
    """Returns `named` if given, else the first of `folders` that holds all four files.

    Raises:
      InputError: no folder has them.
    """
    for folder in (named,) if named else folders:
        if find_files(folder):
            return folder
    looked = ", ".join(map(str, (named,) if named else folders))
    raise InputError(
        f"no data: expected the four IDX files of {NAME} in {looked}, found none. Run 'make data', or set --data-dir."
    )
