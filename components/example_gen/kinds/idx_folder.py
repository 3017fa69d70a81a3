"""The kind of input of MNIST and its relatives: four IDX files, gzipped or plain, under MNIST's or EMNIST's names."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from components.errors import InputError
from components.example_gen.idx import read_blocks, read_idx, read_shape
from components.example_gen.kinds.registry import Files, Kind, register

STEMS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
_FILE_NAME = re.compile(r"(?:.*-)?(train|t10k|test)-(images|labels)-idx\d-ubyte(?:\.gz)?")


def find_files(folder: Path) -> Files | None:
    """Returns the four files in `folder` by role (the keys of `STEMS`), or None where one is missing.

    Names are MNIST's or end like EMNIST's: `emnist-letters-test-images-idx3-ubyte.gz`.

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


def _image_shape(files: Files, part: str) -> tuple[int, ...]:
    return read_shape(files[f"{part}_images"])


def _images(files: Files, part: str) -> Iterator[bytes]:
    return read_blocks(files[f"{part}_images"])


def _labels(files: Files, part: str) -> np.ndarray:
    return read_idx(files[f"{part}_labels"])


register(
    Kind(
        name="IDX",
        expects=", ".join(f"{stem}[.gz]" for stem in STEMS.values()),
        find=find_files,
        image_shape=_image_shape,
        images=_images,
        labels=_labels,
    )
)
