"""Finds the data that a run reads, and the name under which it is known.

Models and statistics are compared, and models served, within one name. It has to stay the same where the data are moved
or new ones come into the same folder, and must not be shared by two data sets that both lie in a folder `raw`. So it
follows from what this output root has seen: the same content, else the same folder, else a name that is free.

Synopsis:

    dataset = find_dataset(config, project, root)
    dataset.name, dataset.digest
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from components.errors import InputError
from components.example_gen.dataset import Dataset, inspect_dataset, read_schema
from components.example_gen.kinds import find_kind
from pipeline.config import PipelineConfig
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot

NAME = "fashion-mnist"


def candidates(project: Path, home: Path, system: Path = Path("/usr/share/datasets")) -> tuple[Path, ...]:
    """Returns the folders that are looked in, in this order: the project's, the system's, Keras's cache."""
    return (project / "data", system / NAME, home / ".keras" / "datasets" / NAME)


def locate_data(named: Path | None, folders: tuple[Path, ...]) -> Path:
    """Returns `named` if given, else the first of `folders` that holds all four files.

    Raises:
      InputError: no folder has them.
    """
    for folder in (named,) if named else folders:
        if find_kind(folder):
            return folder
    looked = ", ".join(map(str, (named,) if named else folders))
    raise InputError(
        f"no data: expected the four IDX files of {NAME} in {looked}, found none. Run 'make data', or set --data-dir."
    )


def find_dataset(config: PipelineConfig, project: Path, root: OutputRoot) -> Dataset:
    """Returns the data set that a run reads, under the name that it is known by in the output root.

    Raises:
      InputError: there is none, its files cannot be used, or the database is none.
    """
    dataset = inspect_dataset(locate_data(config.data_dir, candidates(project, Path.home())))
    runs = Store(root.metadata).runs() if root.metadata.exists() else []
    seen = [run.properties["data"] for run in runs if "data" in run.properties]
    # Without their runs, what is served still has its name.
    published = [folder.name for folder in root.serving_folders()] if not seen else []
    return dataclasses.replace(dataset, name=config.name or choose_name(dataset, seen, published))


def choose_name(dataset: Dataset, seen: list[dict], published: Iterable[str] = ()) -> str:
    """Returns the name of a data set, given `name`, `digest` and `folder` of those of earlier runs, oldest first."""
    if dataset.is_fashion_mnist:
        return dataset.name
    # Data that took the place of Fashion-MNIST are not Fashion-MNIST.
    others = [other for other in seen if not other.get("is_fashion_mnist", other["name"] == "fashion_mnist")]
    known = [other for other in others if other["digest"] == dataset.digest]
    known = known or [other for other in others if other["folder"] == str(dataset.folder)]
    if known:
        return known[-1]["name"]
    taken, number, name = {"fashion_mnist", *published, *(other["name"] for other in seen)}, 1, dataset.name
    while name in taken:
        number += 1
        name = f"{dataset.name}_{number}"
    return name


def model_name(config: PipelineConfig, dataset: Dataset) -> str:
    """Returns the name under which models are published: of the data set, and of the variant that a run is."""
    return "-".join([dataset.name, *([config.variant] if config.variant else [])])


def describe_data(dataset: Dataset) -> dict:
    """Returns what a record keeps of a data set, as values for JSON; `recall_dataset` makes it one again."""
    values = {name: value for name, value in dataclasses.asdict(dataset).items() if name != "files"}
    return {**values, "folder": str(dataset.folder)}


def recall_dataset(kept: dict) -> Dataset:
    """Returns the data set of an earlier run, whose files nobody reads again; a schema beside them is read anew."""
    return Dataset(
        **{
            **kept,
            "folder": Path(kept["folder"]),
            "files": {},
            "image_shape": tuple(kept["image_shape"]),
            "class_names": tuple(kept["class_names"]),
            "schema": read_schema(Path(kept["folder"])) or kept["schema"],
        }
    )
