"""Where things lie on this machine, and how much memory they may take, for executors.

TFX's cache key holds every property of an execution, and a path is no part of what is made: the same data in another
folder, or a model published to another disk, must not train anew; nor is the memory to make it in. Both are therefore
told here by the process that builds the pipeline, in which its executors run.

Synopsis:

    places.tell(dataset, memory=2**30, checkpoints=root.checkpoints, serving=root.serving_root)
    places.dataset(dataset.digest).contents, places.folder("checkpoints")
    places.memory()      # 1073741824
"""

import os
from pathlib import Path
from typing import Any

# Of an output root (`pipeline/output_root.py`): what TFX keeps, and the database of ML Metadata, or what names it.
ARTIFACTS, DATABASE, DATABASE_ELSEWHERE = "artifacts", "metadata.db", "metadata.toml"

# Of components.example_gen.dataset.Dataset; imported, its source would be part of every node that asks for a folder.
_datasets: dict[str, Any] = {}
_folders: dict[str, Path] = {}
_memory: dict[str, int] = {}


def is_output_root(folder: Path) -> bool:
    """Whether a folder is one that runs put their outputs into."""
    databases = (os.path.isfile(folder / name) for name in (DATABASE, DATABASE_ELSEWHERE))  # noqa: PTH113 - never raises
    return any(databases) and os.path.isdir(folder / ARTIFACTS)  # noqa: PTH112 - likewise


def tell(*datasets: Any, memory: int | None = None, **folders: Path) -> None:
    """Says where data sets lie, and folders by name, and, if given, the budget in bytes.

    The folders are `checkpoints`, `trials`, `serving` and, of a run, `tensorboard`, where its logs are to be found.
    """
    _datasets.update({dataset.digest: dataset for dataset in datasets})
    if memory is not None:
        _memory["budget"] = memory
    _folders.update({name: Path(folder).resolve() for name, folder in folders.items()})


def dataset(digest: str) -> Any:
    """Returns the data set of that digest."""
    return _datasets[digest]


def told(name: str) -> Path | None:
    """Returns the folder of that name, None where nobody said where it is."""
    return _folders.get(name)


def folder(name: str) -> Path:
    """Returns the folder of that name."""
    return _folders[name]


def memory() -> int:
    """Returns how many bytes of the data executors may hold (`models.memory`)."""
    return _memory["budget"]
