"""Where things lie on this machine, for executors.

TFX's cache key holds every property of an execution, and a path is no part of what is made: the same data in another
folder, or a model published to another disk, must not train anew. What lies where is therefore told here by the process
that builds the pipeline, in which its executors run.

Synopsis:

    places.tell(dataset, checkpoints=root.checkpoints, serving=root.serving_root)
    places.dataset(dataset.digest).files["train_images"], places.folder("checkpoints")
"""

from pathlib import Path
from typing import Any

# Of components.example_gen.dataset.Dataset; imported, its source would be part of every node that asks for a folder.
_datasets: dict[str, Any] = {}
_folders: dict[str, Path] = {}


def tell(*datasets: Any, **folders: Path) -> None:
    """Says where data sets lie, and the folders `checkpoints` and `serving`."""
    _datasets.update({dataset.digest: dataset for dataset in datasets})
    _folders.update({name: Path(folder).resolve() for name, folder in folders.items()})


def dataset(digest: str) -> Any:
    """Returns the data set of that digest."""
    return _datasets[digest]


def folder(name: str) -> Path:
    """Returns the folder of that name."""
    return _folders[name]
