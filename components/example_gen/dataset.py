"""Finds out what a folder of IDX files holds, from headers and digests alone, before anything is run.

A data set is four files named as MNIST or EMNIST names them, gzipped or plain, and optionally `classes.txt` with one
class name a line and `schema.pbtxt`, the curated schema. Fashion-MNIST is recognized by the content of any one of its
files, so that an altered copy still meets the schema of the original.

Synopsis:

    dataset = inspect_dataset(Path("data"))
    dataset.image_shape, dataset.class_names, dataset.digest
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from components.errors import InputError
from components.example_gen.idx import digest_idx, read_idx, read_shape
from models.features import FASHION_MNIST_CLASSES

STEMS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
_FILE_NAME = re.compile(r"(?:.*-)?(train|t10k|test)-(images|labels)-idx\d-ubyte(?:\.gz)?")
# What `digest_idx` gives of each file.
_FASHION_MNIST = {
    "train_images": "d8ad9132a5971887b9275bd3d8e20fc26c599fbad1814014e960b8e10b53d165",
    "train_labels": "3a5a898e8a129e0538eafde7302d0b5bd11e09099e7f981c578c725047895b03",
    "test_images": "3194b88e5a57832ccf9bc8ffc11e1c3d7ccf2c411d27352dcfbfc4afa29c2ce5",
    "test_labels": "b943cf13d75a9c055f388d561d683bed74ca5ce259ad23b9655e45af2ff9e771",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a folder of IDX files holds.

    Attributes:
      name: "fashion_mnist", or the folder's; letters, digits and underscores. What is compared with what came before,
        and served in its place, has the same name, shape and number of classes.
      folder: where the files lie.
      files: the path of each of the four files, by role (the keys of `STEMS`); {} where a run reads none of them.
      image_shape: (height, width) or (height, width, channels).
      class_names: the name of each class, by label.
      digest: SHA-256 over the content of the four files, gzipped or not, hexadecimal.
      is_fashion_mnist: whether any of the files has the content of the original.
      schema: the text of the curated schema beside the files, "" where there is none.
    """

    name: str
    folder: Path
    files: dict[str, Path]
    image_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    digest: str
    is_fashion_mnist: bool
    schema: str


def find_files(folder: Path) -> dict[str, Path] | None:
    """Returns the four files in `folder` by role, gzipped or plain, or None where one is missing.

    Names are MNIST's (`STEMS`) or end like EMNIST's: `emnist-letters-test-images-idx3-ubyte.gz`.

    Raises:
      InputError: there is more than one data set in the folder.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*ubyte*"), reverse=True):
        if match := _FILE_NAME.fullmatch(path.name):
            part = "train" if match[1] == "train" else "test"
            found.setdefault(f"{part}_{match[2]}", []).append(path)
    for paths in found.values():
        if len({path.name.removesuffix(".gz") for path in paths}) > 1:
            names = ", ".join(path.name for path in paths)
            raise InputError(f"{folder}: expected one data set in the folder, found {names}. Give each its own.")
    # Gzipped before plain, as sorted.
    return {role: found[role][0] for role in STEMS} if found.keys() == STEMS.keys() else None


def inspect_dataset(folder: Path) -> Dataset:
    """Reads headers, labels and digests of the data set in `folder`.

    Raises:
      InputError: a file is missing or no IDX file, or images and labels or train and test do not fit together.
    """
    files = find_files(folder)
    if files is None:
        names = ", ".join(f"{stem}[.gz]" for stem in STEMS.values())
        raise InputError(f"{folder}: expected {names}, found not all of them. Run 'make data', or set --data-dir.")
    shapes = {}
    for part in ("train", "test"):
        images, labels = files[f"{part}_images"], files[f"{part}_labels"]
        shapes[part], label_shape = read_shape(images), read_shape(labels)
        if len(shapes[part]) not in (3, 4):
            raise InputError(f"{images}: expected images [N, H, W] or [N, H, W, C], found {list(shapes[part])}.")
        if label_shape != shapes[part][:1]:
            raise InputError(
                f"{labels}: expected one label for each of the {shapes[part][0]:,} images of {images.name}, "
                f"found labels of shape {list(label_shape)}. The two files are not of one data set."
            )
    if shapes["train"][1:] != shapes["test"][1:]:
        raise InputError(
            f"{files['test_images']}: expected images of shape {list(shapes['train'][1:])} as in training, "
            f"found {list(shapes['test'][1:])}."
        )
    labels_by_role = {role: read_idx(files[role]) for role in ("train_labels", "test_labels")}
    with ThreadPoolExecutor() as threads:
        # Decompressing and hashing leave the interpreter to others.
        digests = dict(zip(files, threads.map(digest_idx, files.values()), strict=True))
    is_fashion_mnist = any(digests[role] == _FASHION_MNIST[role] for role in files)
    class_names = _class_names(folder, labels_by_role["train_labels"], is_fashion_mnist)
    for role, labels in labels_by_role.items():
        if labels.max() >= len(class_names):
            raise InputError(
                f"{files[role]}: expected labels below {len(class_names)}, the number of classes, "
                f"found {labels.max()} at position {int(labels.argmax())}."
            )
    return Dataset(
        name="fashion_mnist" if is_fashion_mnist else re.sub(r"\W+", "_", folder.resolve().name) or "data",
        folder=folder.resolve(),
        files=files,
        image_shape=shapes["train"][1:],
        class_names=class_names,
        digest=combine_digests(digests),
        is_fashion_mnist=is_fashion_mnist,
        schema=schema.read_text() if (schema := folder / "schema.pbtxt").is_file() else "",
    )


def combine_digests(digests: Mapping[str, str]) -> str:
    """Returns one digest for a data set, given that of each of its files by role."""
    return hashlib.sha256("".join(digests[role] for role in STEMS).encode()).hexdigest()


def _class_names(folder: Path, train_labels: np.ndarray, is_fashion_mnist: bool) -> tuple[str, ...]:
    """Names the classes: from `classes.txt`, else Fashion-MNIST's by its content, else the numbers."""
    listed = folder / "classes.txt"
    if listed.exists():
        names = tuple(line.strip() for line in listed.read_text().splitlines() if line.strip())
        if len(set(names)) != len(names) or len(names) < 2:
            raise InputError(f"{listed}: expected two or more different class names, one a line, found {list(names)}.")
        return names
    if is_fashion_mnist:
        return FASHION_MNIST_CLASSES
    return tuple(str(label) for label in range(int(train_labels.max()) + 1))
