"""Finds the data that a run reads, and the name under which it is known.

Models and statistics are compared, and models served, within one name. It has to stay the same where the data are moved
or new ones come into the same folder, and must not be shared by two data sets that both lie in a folder `raw`. So it
follows from what this output root has seen: the same content, else the same folder, else a name that is free.

Synopsis:

    dataset = find_dataset(config, project, root)
    dataset.name, dataset.digest
"""

import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path

from components.errors import InputError
from components.evaluator.chance import interval
from components.evaluator.floors import check_floors, read_floors
from components.evaluator.slices import CLASS
from components.example_gen.dataset import Dataset, ImageSettings, folders_beside, inspect_dataset, read_schema
from components.example_gen.kinds import find_kind
from components.example_gen.spans import Span, SpanPattern
from components.example_gen.splits import plan_splits
from models.features import TEST, TRAIN, VAL
from models.host import home
from pipeline.config import PipelineConfig
from pipeline.metadata.store import Store
from pipeline.output_root import OutputRoot
from pipeline.presets import PRESETS
from pipeline.project import command, curated

NAME = "fashion-mnist"
FLOORS_FILE = "floors.toml"
FASHION_MNIST_SCHEMA = curated("fashion_mnist.pbtxt")
FASHION_MNIST_FLOORS = curated("fashion_mnist.floors.toml")
_FETCH = command(
    "Run 'make data'", "Fetch them with: python -c 'import keras; keras.datasets.fashion_mnist.load_data()'"
)
_CLASSES_TOLD = 20
# Fewer test images tell an accuracy to more than 3 points either way.
_FEW_TEST_IMAGES = 1_000


def candidates(project: Path, home: Path | None, system: Path = Path("/usr/share/datasets")) -> tuple[Path, ...]:
    """Returns the folders that are looked in, in this order: the project's, the system's, Keras's cache.

    Keras's is in `KERAS_HOME`, else `.keras` in the home folder, if there is one.
    """
    keras = os.environ.get("KERAS_HOME") or (home and home / ".keras")
    return (project / "data", system / NAME, *([Path(keras) / "datasets" / NAME] if keras else []))


def locate_data(named: Path | None, folders: tuple[Path, ...]) -> Path:
    """Returns `named` if given, else the first of `folders` that holds data.

    Raises:
      InputError: no folder has them.
    """
    if named:
        return named
    for folder in folders:
        # Nobody named it: another user's is none of theirs to mend.
        if os.access(folder, os.R_OK | os.X_OK) and find_kind(folder):
            return folder
    looked = ", ".join(map(str, folders))
    raise InputError(
        f"no data: expected {NAME} in {looked}, found none. {_FETCH}, or set --data-dir to data of your own."
    )


def find_dataset(config: PipelineConfig, project: Path, root: OutputRoot) -> Dataset:
    """Returns the data set that a run reads, under the name that it is known by in the output root.

    Raises:
      InputError: there is none, its files cannot be used, or the database is none.
    """
    try:
        dataset = inspect_dataset(locate_data(config.data_dir, candidates(project, home())), image_settings(config))
    except InputError as error:
        if config.data_dir is None and _FETCH not in str(error):
            fetch = f"{_FETCH[0].lower()}{_FETCH[1:]}"
            raise InputError(f"{error} If they are the project's own, delete them and {fetch}.") from None
        raise
    seen, published = _seen(root)
    return with_floors(dataclasses.replace(dataset, name=config.name or choose_name(dataset, seen, published)))


def with_floors(dataset: Dataset) -> Dataset:
    """Returns a data set with the floors that lie beside it."""
    files = [folder / FLOORS_FILE for folder in folders_beside(dataset.folder, dataset.span)]
    return dataclasses.replace(dataset, floors=read_floors(next(filter(os.path.isfile, files), files[0]), PRESETS))


def name_spans(config: PipelineConfig, pattern: SpanPattern, root: OutputRoot) -> str:
    """Returns the name of data that arrive in spans: as before by the same pattern, else that of their folder.

    A pattern that leads elsewhere is another data set, unless what the earlier one led to is gone.
    """
    stem = re.sub(r"\W+", "_", Path(os.path.abspath(pattern.root)).name) or "data"  # noqa: PTH100 - not where links lead
    seen, published = _seen(root)
    patterns = {data["name"]: data["span"]["pattern"] for data in seen if data.get("span")}
    known = [name for name, text in patterns.items() if text == pattern.text]
    if config.name or known:
        return config.name or known[-1]
    if stem in patterns and not SpanPattern(patterns[stem]).root.exists():
        return stem
    return _free(stem, {"fashion_mnist", *published, *(data["name"] for data in seen)})


def _seen(root: OutputRoot) -> tuple[list[dict], list[str]]:
    """Returns the data of the runs in an output root, and, without runs, the names under which models are served."""
    runs = Store(root.metadata).runs() if root.metadata.exists() else []
    seen = [run.properties["data"] for run in runs if "data" in run.properties]
    # Without their runs, what is served still has its name.
    return seen, [] if seen else [folder.name for folder in root.serving_folders()]


def describe_plan(config: PipelineConfig, dataset: Dataset) -> list[str]:
    """Returns what a person should know before a run on the data: what they are, and what small numbers mean.

    Raises:
      InputError: there are fewer images than the splits ask for.
    """
    lines = [dataset.describe()]
    plan = plan_splits(dataset.counts, config.split_sizes, config.split_limits)
    sizes = {split: size for splits in plan.values() for split, size in splits.items()}
    if sizes[TEST] < _FEW_TEST_IMAGES:
        low, high = interval(0.9 * sizes[TEST], sizes[TEST])
        lines.append(
            f"few images: train {sizes[TRAIN]:,}, val {sizes[VAL]:,}, test {sizes[TEST]:,}; of a model that is right "
            f"in 90 % of the test images all that is known is {100 * low:.0f} to {100 * high:.0f} %"
        )
    return lines


def floors_in_force(config: PipelineConfig, dataset: Dataset) -> dict[str, float]:
    """Returns the floors of a model: the data set's own for the preset, and before them what a person gave.

    Raises:
      InputError: the data set's own are none.
    """
    own = dataset.floors or (read_floors(FASHION_MNIST_FLOORS, PRESETS) if dataset.is_fashion_mnist else {})
    return {**own.get("default", {}), **own.get(config.preset, {}), **config.floors}


def check_classes(config: PipelineConfig, dataset: Dataset) -> None:
    """Raises `InputError` where a floor is for a class that the data do not have."""
    floors = floors_in_force(config, dataset)
    for key, floor in zip(floors, check_floors(floors), strict=True):
        if floor.slicing == CLASS and floor.value is not None and floor.value not in dataset.class_names:
            more = ["..."] if len(dataset.class_names) > _CLASSES_TOLD else []
            told = ", ".join([*dataset.class_names[:_CLASSES_TOLD], *more])
            # What a person gave is told by its source; what lies beside the data, by its file.
            beside = folders_beside(dataset.folder, dataset.span)
            file = "" if key in config.floors else f"{beside[-1] / FLOORS_FILE}: "
            raise InputError(
                f"{file}floors.{key}: expected a class of the data ({told}), found '{floor.value}'. Rename it, or take "
                "it away."
            )


def image_settings(config: PipelineConfig) -> ImageSettings:
    """Returns what the settings say of the images."""
    return ImageSettings(
        size=config.image_size, channels=config.image_channels, fit=config.image_fit, broken=config.broken_images
    )


def choose_name(dataset: Dataset, seen: list[dict], published: Iterable[str] = ()) -> str:
    """Returns the name of a data set, given what records keep of those of earlier runs, oldest first."""
    if dataset.is_fashion_mnist:
        return dataset.name
    # Data that took the place of Fashion-MNIST are not Fashion-MNIST.
    others = [other for other in seen if not other.get("is_fashion_mnist", other["name"] == "fashion_mnist")]
    # A span by itself would be served in the place of what was trained on the window, and compared with nothing.
    of_spans = {other["name"] for other in seen if other.get("span")}
    others = [other for other in others if other["name"] not in of_spans]
    known = [other for other in others if other["digest"] == dataset.digest]
    known = known or [other for other in others if other["folder"] == str(dataset.folder)]
    if known:
        return known[-1]["name"]
    return _free(dataset.name, {"fashion_mnist", *published, *(other["name"] for other in seen)})


def _free(stem: str, taken: set[str]) -> str:
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    return name


def model_name(config: PipelineConfig, dataset: Dataset) -> str:
    """Returns the name under which models are published: of the data set, and of the variant that a run is.

    Neither holds a dot, so that no two pairs of them share a name.
    """
    return published_as(config, dataset.name)


def published_as(config: PipelineConfig, name: str) -> str:
    """Returns the name under which the models of the data set of a name are published."""
    return ".".join([name, *([config.variant] if config.variant else [])])


def describe_data(dataset: Dataset) -> dict:
    """Returns what a record keeps of a data set, as values for JSON; `recall_dataset` makes it one again."""
    values = dataclasses.asdict(dataclasses.replace(dataset, contents=None))
    del values["contents"]
    return {**values, "folder": str(dataset.folder)}


def recall_dataset(kept: dict) -> Dataset:
    """Returns the data set of an earlier run, whose files nobody reads again.

    Schema and floors beside them are read anew, if the data are still there.
    """
    folder = Path(kept["folder"])
    span = Span(**kept["span"]) if kept.get("span") else None
    beside = folders_beside(folder, span) if folder.exists() else (folder,)
    lists = ("image_shape", "class_names", "class_values", "class_counts", "notes")
    recalled = Dataset(
        **{
            **kept,
            **{name: tuple(kept[name]) for name in lists},
            "folder": folder,
            "contents": None,
            "schema": read_schema(beside) or kept["schema"],
            "span": span,
        }
    )
    return dataclasses.replace(recalled, floors=with_floors(recalled).floors or kept["floors"])
