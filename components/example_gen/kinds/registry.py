"""Kinds of input by name: which of a folder's files a data set is, and how its images and labels are read.

Checks, names, digests and splits are the same for all kinds.

Synopsis:

    kind, files = find_kind(data)               # KINDS["IDX"], {"train_images": Path(...), ...}
    kind.image_shape(files, "train")            # (60000, 28, 28)
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

Files = dict[str, Path]
PARTS = ("train", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of input. The functions take the files that `find` gave, by role, and a part, "train" or "test".

    Attributes:
      name: for people.
      expects: the files of a data set of this kind, for an error.
      find: the files of a folder that are a data set of this kind, None where there is none.
      image_shape: the shape of all images of a part, [n, height, width] or [n, height, width, channels].
      images: their pixels, uint8, in blocks of bytes; exactly as many as `image_shape` says.
      labels: the class of each, uint8 [n].
    """

    name: str
    expects: str
    find: Callable[[Path], Files | None]
    image_shape: Callable[[Files, str], tuple[int, ...]]
    images: Callable[[Files, str], Iterator[bytes]]
    labels: Callable[[Files, str], np.ndarray]


KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Adds a kind; those that were added before are looked for first."""
    KINDS[kind.name] = kind


def find_kind(folder: Path) -> tuple[Kind, Files] | None:
    """Returns the kind of input that a folder holds and its files by role, None where it holds none.

    Raises:
      InputError: it holds more than one data set of a kind.
    """
    for kind in KINDS.values():
        if (files := kind.find(folder)) is not None:
            return kind, files
    return None
