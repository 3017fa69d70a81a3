"""Finds out what a data folder holds, from shapes, labels and digests alone, before anything is run.

Beside the files of its kind (`kinds/`) a data set may have `classes.txt` with one class name a line and
`schema.pbtxt`, the curated schema. Fashion-MNIST is recognized by the content of any one of its four parts, so that an
altered copy still meets the schema of the original.

Synopsis:

    dataset = inspect_dataset(Path("data"))
    dataset.image_shape, dataset.class_names, dataset.digest
"""

import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from components.errors import InputError
from components.example_gen.kinds import KINDS, PARTS, Files, find_kind
from models.features import FASHION_MNIST_CLASSES

# What `read_images` and `digest_labels` give of it.
_FASHION_MNIST = {
    "train_images": "d8ad9132a5971887b9275bd3d8e20fc26c599fbad1814014e960b8e10b53d165",
    "train_labels": "3a5a898e8a129e0538eafde7302d0b5bd11e09099e7f981c578c725047895b03",
    "test_images": "3194b88e5a57832ccf9bc8ffc11e1c3d7ccf2c411d27352dcfbfc4afa29c2ce5",
    "test_labels": "b943cf13d75a9c055f388d561d683bed74ca5ce259ad23b9655e45af2ff9e771",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a data folder holds.

    Attributes:
      name: "fashion_mnist", or the folder's; letters, digits and underscores. What is compared with what came before,
        and served in its place, has the same name, shape and number of classes.
      folder: where the files lie.
      kind: of input, a name in `KINDS`.
      files: the path of each file, by role; {} where a run reads none of them.
      image_shape: (height, width) or (height, width, channels).
      class_names: the name of each class, by label.
      digest: SHA-256 over images and labels, in whatever kind of files they lie, hexadecimal.
      is_fashion_mnist: whether any of its parts has the content of the original.
      schema: the text of the curated schema beside the files, "" where there is none.
    """

    name: str
    folder: Path
    kind: str
    files: Files
    image_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    digest: str
    is_fashion_mnist: bool
    schema: str


def inspect_dataset(folder: Path) -> Dataset:
    """Reads shapes, labels and digests of the data set in `folder`.

    Raises:
      InputError: there is none, a file is damaged, or images and labels or train and test do not fit together.
    """
    found = find_kind(folder)
    if found is None:
        kinds = ", or ".join(kind.expects for kind in KINDS.values())
        raise InputError(f"{folder}: expected {kinds}, found not all of them. Run 'make data', or set --data-dir.")
    kind, files = found
    shapes = {part: kind.image_shape(files, part) for part in PARTS}
    labels = {part: kind.labels(files, part) for part in PARTS}
    for part in PARTS:
        images, given = _where(files, f"{part}_images"), _where(files, f"{part}_labels")
        if len(shapes[part]) not in (3, 4):
            raise InputError(f"{images}: expected images [N, H, W] or [N, H, W, C], found {list(shapes[part])}.")
        if labels[part].shape != shapes[part][:1]:
            raise InputError(
                f"{given}: expected one label for each of the {shapes[part][0]:,} images of {images.name}, "
                f"found labels of shape {list(labels[part].shape)}. The two are not of one data set."
            )
    if shapes["train"][1:] != shapes["test"][1:]:
        raise InputError(
            f"{_where(files, 'test_images')}: expected images of shape {list(shapes['train'][1:])} as in training, "
            f"found {list(shapes['test'][1:])}."
        )
    with ThreadPoolExecutor() as threads:
        # Decompressing and hashing leave the interpreter to others.
        read = threads.map(lambda part: read_images(kind.name, files, part, lambda block: None), PARTS)
        digests = {f"{part}_images": digest for part, digest in zip(PARTS, read, strict=True)}
    digests |= {f"{part}_labels": digest_labels(labels[part]) for part in PARTS}
    is_fashion_mnist = any(digests[role] == _FASHION_MNIST[role] for role in digests)
    class_names = _class_names(folder, labels["train"], is_fashion_mnist)
    for part in PARTS:
        if labels[part].max() >= len(class_names):
            raise InputError(
                f"{_where(files, f'{part}_labels')}: expected labels below {len(class_names)}, the number of classes, "
                f"found {labels[part].max()} at position {int(labels[part].argmax())}."
            )
    return Dataset(
        name="fashion_mnist" if is_fashion_mnist else re.sub(r"\W+", "_", folder.resolve().name) or "data",
        folder=folder.resolve(),
        kind=kind.name,
        files=files,
        image_shape=shapes["train"][1:],
        class_names=class_names,
        digest=combine_digests(digests),
        is_fashion_mnist=is_fashion_mnist,
        schema=read_schema(folder),
    )


def read_schema(folder: Path) -> str:
    """Returns the text of the curated schema in a data folder, "" where there is none.

    Raises:
      InputError: it is no schema.
    """
    path = folder / "schema.pbtxt"
    if not path.is_file():
        return ""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    text = _read_text(path)
    try:
        text_format.Parse(text, schema_pb2.Schema())
    except text_format.ParseError as error:
        raise InputError(f"{path}: expected a schema, found an error at {error}. Mend it there.") from None
    return text


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, found {error.reason} at byte {error.start}.") from None


def read_images(kind: str, files: Files, part: str, use: Callable[[bytes], object]) -> str:
    """Hands the pixels of a part to `use`, block by block; returns the SHA-256 (hexadecimal) of shape and pixels.

    Raises:
      InputError: a file is damaged, or holds another number of pixels than it says.
    """
    shape, held = KINDS[kind].image_shape(files, part), 0
    digest = hashlib.sha256(repr(shape).encode())
    for block in KINDS[kind].images(files, part):
        digest.update(block)
        use(block)
        held += len(block)
    if held != math.prod(shape):
        raise InputError(
            f"{_where(files, f'{part}_images')}: expected {'x'.join(map(str, shape))} = {math.prod(shape):,} bytes of "
            f"pixels, found {held:,}. Use a good copy."
        )
    return digest.hexdigest()


def digest_labels(labels: np.ndarray) -> str:
    """Returns the SHA-256 (hexadecimal) of the labels of a part, uint8 [n]."""
    return hashlib.sha256(repr(labels.shape).encode() + labels.astype(np.uint8).tobytes()).hexdigest()


def combine_digests(digests: Mapping[str, str]) -> str:
    """Returns one digest for a data set, given that of images and labels of each part, by role."""
    return hashlib.sha256("".join(digests[role] for role in _FASHION_MNIST).encode()).hexdigest()


def _where(files: Files, role: str) -> Path:
    """Returns the file to name in an error: a kind may have one for all."""
    return files.get(role) or next(iter(files.values()))


def _class_names(folder: Path, train_labels: np.ndarray, is_fashion_mnist: bool) -> tuple[str, ...]:
    """Names the classes: from `classes.txt`, else Fashion-MNIST's by its content, else the numbers."""
    listed = folder / "classes.txt"
    if listed.exists():
        names = tuple(line.strip() for line in _read_text(listed).splitlines() if line.strip())
        if len(set(names)) != len(names) or len(names) < 2:
            raise InputError(f"{listed}: expected two or more different class names, one a line, found {list(names)}.")
        return names
    if is_fashion_mnist:
        return FASHION_MNIST_CLASSES
    return tuple(str(label) for label in range(int(train_labels.max()) + 1))
