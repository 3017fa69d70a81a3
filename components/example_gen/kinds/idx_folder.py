"""IDX files as they are found: MNIST's, Fashion-MNIST's, EMNIST's, KMNIST's and QMNIST's, gzipped or plain.

Names need the words train, t10k or test and images or labels, whatever stands before, between and behind them; each
may lie in a folder of its own name. Labels are integers of any IDX type; of several columns the first is the class.
"""

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from components.errors import InputError
from components.example_gen.idx import read_blocks, read_header, read_idx
from components.example_gen.kinds.registry import (
    PARTS,
    UNLABELLED,
    Contents,
    Kind,
    Listing,
    PixelPart,
    part_of,
    register,
    rows_a_block,
    words_of,
)
from models.features import TRAIN

STEMS = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
_AXES = {**dict.fromkeys(("images", "image", "imgs", "img"), "images"), **dict.fromkeys(("labels", "label"), "labels")}
_NAMED = re.compile(r"idx\d|ubyte")
_READ_BYTES = 1 << 20


def find_files(
    folder: Path, listing: Listing, for_training: bool = True
) -> tuple[dict[tuple[str, str], Path], tuple[str, ...]] | None:
    """Returns the IDX files of a folder by part and "images" or "labels"; None where those of training are not there.

    Beside them, a note of those that are there twice, of which one is taken: so Kaggle's archive of MNIST unpacks.

    For prediction, labels are not needed, nor a word for the part.

    Raises:
      InputError: there is more than one data set in the folder, or half of a part.
    """
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for path in listing.files:
        stem = path.name.removesuffix(".gz")
        inside = path.parent == folder or path == folder or path.parent.name.startswith(stem)
        part, axis = part_of(stem), next((_AXES[word] for word in words_of(stem) if word in _AXES), None)
        if not for_training:
            part, axis = part or TRAIN, axis or "images"
        if inside and part and axis and (_NAMED.search(stem) or _is_idx(path)):
            # Of a file and its gzipped copy the latter: it can be checked.
            name = str(path.relative_to(folder)).removesuffix(".gz")
            paths = found.setdefault((part, axis), {})
            paths[name] = path if path.suffix == ".gz" else paths.get(name, path)
    whole = {part for part, _ in found if {(part, "images"), (part, "labels")} <= found.keys()}
    if for_training and TRAIN not in whole:
        return None
    if for_training and len(found) > 2 * len(whole):
        (part, axis), paths = next((role, paths) for role, paths in found.items() if role[0] not in whole)
        other = "labels" if axis == "images" else "images"
        raise InputError(
            f"{next(iter(paths.values()))}: expected the {other} of {part} beside it, found none. Add them, or take "
            "this file away."
        )
    if not any(axis == "images" for _, axis in found):
        return None
    several = {role: list(paths.values()) for role, paths in found.items()}
    copies = [path for paths in several.values() for path in paths[1:] if _hold_the_same(paths[0], path)]
    single = {role: [path for path in paths if path not in copies] for role, paths in several.items()}
    if others := next((paths for paths in single.values() if len(paths) > 1), None):
        names = ", ".join(str(path.relative_to(folder)) for path in others)
        raise InputError(
            f"{folder}: expected one data set in the folder, found {names}, which differ. Give each its own."
        )
    return {role: path for role, (path,) in single.items()}, _told(folder, copies)


def _told(folder: Path, copies: list[Path]) -> tuple[str, ...]:
    if not copies:
        return ()
    told = "1 file is" if len(copies) == 1 else f"{len(copies)} files are"
    return (f"{told} there twice, with the same content, and read once ({copies[0].relative_to(folder)})",)


def _hold_the_same(one: Path, other: Path) -> bool:
    """Whether two files, gzipped or not, hold the same bytes; of what cannot be read nobody knows."""
    try:
        kinds = {_is_gzip(path) for path in (one, other)}
        if kinds == {False} and one.stat().st_size != other.stat().st_size:
            return False
        with _plain(one) as first, _plain(other) as second:
            while (block := first.read(_READ_BYTES)) == second.read(_READ_BYTES):
                if not block:
                    return True
    except (OSError, EOFError, zlib.error):
        return False
    return False


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _plain(path: Path) -> BinaryIO:
    return gzip.open(path) if _is_gzip(path) else path.open("rb")


def _is_idx(path: Path) -> bool:
    """Whether a file without the word in its name begins as IDX does."""
    if path.suffix not in ("", ".gz", ".idx", ".bin"):
        return False
    try:
        with _plain(path) as stream:
            first = stream.read(4)
        return first[:2] == b"\0\0" and first[2:3] in b"\x08\x09\x0b\x0c\x0d\x0e" and first[3:] in b"\1\2\3\4"
    except (OSError, EOFError, zlib.error):
        return False


def _open(found: tuple[dict[tuple[str, str], Path], tuple[str, ...]]) -> Contents:
    files, notes = found

    def part(name: str) -> PixelPart:
        images, labels = files[name, "images"], files.get((name, "labels"))
        return PixelPart(file=images, label_file=labels or images, blocks=lambda: _blocks(images, labels))

    return Contents(parts={name: part(name) for name in PARTS if (name, "images") in files}, notes=notes)


def _blocks(images: Path, label_file: Path | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    dtype, shape = read_header(images)
    if dtype != np.uint8 or len(shape) not in (3, 4):
        raise InputError(
            f"{images}: expected images [N, H, W] or [N, H, W, C] of uint8, found {list(shape)} of {dtype.name}. "
            "Use a file of images."
        )
    labels = _read_labels(label_file, images, shape[0]) if label_file else None
    row, start = math.prod(shape[1:]), 0
    for block in read_blocks(images, rows_a_block(shape[1:]) * row):
        # Of a file that was cut short the last image is not whole, and the next block an error.
        whole = len(block) // row
        pixels = np.frombuffer(block, np.uint8, whole * row).reshape(whole, *shape[1:])
        yield pixels, np.full(whole, UNLABELLED) if labels is None else labels[start : start + whole]
        start += whole


def _read_labels(path: Path, images: Path, count: int) -> np.ndarray:
    labels = read_idx(path)
    if labels.dtype.kind != "i" and labels.dtype != np.uint8:
        raise InputError(f"{path}: expected whole numbers as labels, found {labels.dtype.name}. Use such a file.")
    if len(labels) != count or labels.ndim > 2:
        raise InputError(
            f"{path}: expected one label for each of the {count:,} images of {images.name}, found labels of shape "
            f"{list(labels.shape)}. The two are not of one data set."
        )
    return labels.reshape(len(labels), -1)[:, 0]


register(
    Kind(
        name="IDX",
        expects=f"IDX files ({', '.join(f'{stem}[.gz]' for stem in STEMS.values())})",
        find=find_files,
        open=_open,
    )
)
