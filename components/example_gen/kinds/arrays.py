"""NumPy archives: `x_train`, `y_train` as Keras has them, `train_images`, `train_labels` as MedMNIST, or single arrays.

Arrays are found by the words of their names (and of the file's); those of images are streamed, whatever their size.
"""

import contextlib
import io
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from components.errors import InputError
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
from models.streams import read_promised

_AXES = {
    **dict.fromkeys(("x", "images", "image", "imgs", "img"), "images"),
    **dict.fromkeys(("y", "labels", "label", "targets", "target"), "labels"),
}
# Up to here a float is sure to be a whole number.
_WHOLE = 1 << 53
# What damage makes zipfile and NumPy raise, each found by flipping bytes or seen in their source.
_FAILURES = (OSError, ValueError, EOFError, SyntaxError, LookupError, TypeError, RuntimeError, OverflowError)
_FAILURES += (MemoryError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)


# The record at the end of an archive, and the longest comment behind it.
_ZIP_END_BYTES, _ZIP64 = 22 + (1 << 16), 0xFFFF


class Array(NamedTuple):
    """An array in a file: a member of an archive, or None for a file that is one."""

    file: Path
    member: str | None


def find(
    folder: Path, listing: Listing, for_training: bool
) -> tuple[dict[tuple[str, str], Array], tuple[str, ...]] | None:
    """Returns the arrays of a folder by part and "images" or "labels"; None where those of training are not there.

    Beside them, notes of images without labels, which are passed over for training.

    For prediction, where there are only arrays, one without such a word in its name is one of images.

    Raises:
      InputError: two arrays have one role, or an archive cannot be read.
    """
    found: dict[tuple[str, str], list[Array]] = {}
    # Beside other files an array that does not say so is none of images.
    any_name = not for_training and all(path.suffix in (".npz", ".npy") for path in listing.files)
    for path in listing.files:
        if path.suffix not in (".npz", ".npy"):
            continue
        for member in _members(path):
            name = f"{path.stem} {'' if member is None else member}"
            part = (part_of(member or "") or part_of(name)) or TRAIN
            axes = [_AXES[word] for word in (*words_of(member or ""), *words_of(path.stem)) if word in _AXES]
            if axes or any_name:
                found.setdefault((part, (axes or ["images"])[0]), []).append(Array(path, member))
    if for_training and not {(TRAIN, "images"), (TRAIN, "labels")} <= found.keys():
        return None
    if not any(axis == "images" for _, axis in found):
        return None
    for arrays in found.values():
        if len(arrays) > 1:
            names = ", ".join(" ".join(filter(None, (array.file.name, array.member))) for array in arrays)
            raise InputError(f"{folder}: expected one data set in the folder, found {names}. Give each its own.")
    alone = [role for role in found if not {(role[0], "images"), (role[0], "labels")} <= found.keys()]
    if not for_training:
        return {role: array for role, (array,) in found.items()}, ()
    notes = (
        f"{array.member or array.file.name} has no {'labels' if axis == 'images' else 'images'} and is passed over"
        for (_, axis), array in ((role, found[role][0]) for role in alone)
    )
    return {role: array for role, (array,) in found.items() if role not in alone}, tuple(notes)


def _members(path: Path) -> list[str | None]:
    if path.suffix == ".npy":
        return [None]
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if (told := _entries(path)) not in (len(names), _ZIP64):
                raise zipfile.BadZipFile(f"{len(names)} members where its end tells {told}")
            for name in names:
                # A name stands twice in an archive; of a damaged one the array would be taken for none of the data.
                archive.open(name).close()
            return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    except _FAILURES as error:
        raise InputError(f"{path}: expected a NumPy archive, found {error}. Use a good copy.") from None


def _entries(path: Path) -> int:
    """Returns how many members the end of an archive tells, which zipfile does not look at."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _ZIP_END_BYTES))
        tail = stream.read()
    return struct.unpack_from("<H", tail, tail.rindex(b"PK\5\6") + 10)[0]


def _open(found: tuple[dict[tuple[str, str], Array], tuple[str, ...]]) -> Contents:
    files, notes = found

    def part(name: str) -> PixelPart:
        images, labels = files[name, "images"], files.get((name, "labels"))
        file = (labels or images).file
        return PixelPart(file=images.file, label_file=file, blocks=lambda: _blocks(images, labels))

    return Contents(parts={name: part(name) for name in PARTS if (name, "images") in files}, notes=notes)


def _blocks(images: Array, labels: Array | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    given = _read_labels(labels) if labels else None
    try:
        with _stream(images) as stream:
            shape, dtype = _header(images, stream)
            if given is not None and len(given) != shape[0]:
                raise InputError(
                    f"{_where(labels)}: expected one label for each of the {shape[0]:,} images of {_where(images)}, "
                    f"found {len(given):,}. The two are not of one data set."
                )
            row, start = math.prod(shape[1:]) * dtype.itemsize, 0
            while start < shape[0]:
                count = min(rows_a_block(shape[1:], dtype.itemsize), shape[0] - start)
                content = read_promised(stream, count * row)
                if len(content) < count * row:
                    raise InputError(
                        f"{_where(images)}: expected {shape[0]:,} images, found {start + len(content) // row:,}: it "
                        "was cut short. Use a good copy."
                    )
                values = np.frombuffer(content, dtype).reshape(count, *shape[1:])
                known = np.full(count, UNLABELLED) if given is None else given[start : start + count]
                yield as_pixels(values, _where(images), start), known
                start += count
            _require_end(images, stream)
    except _FAILURES as error:
        raise InputError(f"{_where(images)}: expected a NumPy array, found {error}. Use a good copy.") from None


def as_pixels(values: np.ndarray, where: str, first: int) -> np.ndarray:
    """Returns whole numbers from 0 to 255 as uint8.

    Args:
      values: [n, ...] of any number type.
      where, first: the file, and the position of the first image, for the error.

    Raises:
      InputError: there is another value.
    """
    if values.dtype == np.uint8:
        return values
    with np.errstate(invalid="ignore"):
        pixels = values.astype(np.uint8)
    odd = (pixels != values).reshape(len(values), -1).any(axis=1)
    if odd.any():
        position = int(odd.argmax())
        value = values[position][pixels[position] != values[position]][0]
        raise InputError(
            f"{where}: expected whole numbers from 0 to 255, found {value} in image {first + position:,}. Scale the "
            "pixels to 0 to 255 and store them as uint8."
        )
    return pixels


def _header(array: Array, stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and type of the images behind, whose values are next in the stream."""
    shape, fortran, dtype = _any_header(stream)
    if len(shape) not in (3, 4) or 0 in shape or dtype.kind not in "uif" or fortran:
        order = " in Fortran's order" if fortran else ""
        raise InputError(
            f"{_where(array)}: expected images [N, H, W] or [N, H, W, C] of numbers, found {list(shape)} of "
            f"{dtype}{order}. Save them so."
        )
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] > 4:
        raise InputError(
            f"{_where(array)}: expected images [N, H, W, C], found {list(shape)}, channels first. "
            "Save them with numpy.moveaxis(images, 1, -1)."
        )
    return shape, dtype


def _any_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Returns what NumPy tells of an array: shape, whether it lies in Fortran's order, and type."""
    version = np.lib.format.read_magic(stream)
    read, size_bytes = {
        (1, 0): (np.lib.format.read_array_header_1_0, 2),
        (2, 0): (np.lib.format.read_array_header_2_0, 4),
    }[version]
    size = stream.read(size_bytes)
    # NumPy would ask memory for whatever a damaged one promises.
    header = read_promised(stream, int.from_bytes(size, "little"))
    return read(io.BytesIO(size + header))


def _read_labels(array: Array) -> np.ndarray:
    try:
        with _stream(array) as stream:
            shape, _, dtype = _any_header(stream)
            labels = np.zeros(0, dtype)
            is_column = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
            if is_column and dtype.kind in "uifU":
                content = read_promised(stream, shape[0] * dtype.itemsize)
                if len(content) < shape[0] * dtype.itemsize:
                    raise EOFError(f"{len(content):,} bytes of {shape[0] * dtype.itemsize:,}")
                labels = np.frombuffer(content, dtype)
                _require_end(array, stream)
    except _FAILURES as error:
        raise InputError(f"{_where(array)}: expected labels, found {error}. Use a good copy.") from None
    if labels.dtype.kind == "f" and (labels == np.floor(labels)).all() and np.abs(labels).max(initial=0) < _WHOLE:
        labels = labels.astype(np.int64)
    if not is_column or labels.dtype.kind not in "uiU":
        raise InputError(
            f"{_where(array)}: expected one whole number or name an image, found {list(shape)} of {dtype}. Save one "
            "class for each."
        )
    return labels


def _require_end(array: Array, stream: BinaryIO) -> None:
    """Reads past the values, which also makes zipfile compare its checksum."""
    if stream.read(1):
        raise InputError(
            f"{_where(array)}: expected an array as its header says, found more behind it. Use a good copy."
        )


@contextlib.contextmanager
def _stream(array: Array) -> Iterator[BinaryIO]:
    if array.member is None:
        with array.file.open("rb") as stream:
            yield stream
    else:
        with zipfile.ZipFile(array.file) as archive, archive.open(f"{array.member}.npy") as stream:
            yield stream


def _where(array: Array) -> str:
    return f"{array.file}{f', {array.member}' if array.member else ''}"


register(
    Kind(
        name="NumPy",
        expects="NumPy arrays (*.npz with x_train and y_train or train_images and train_labels)",
        find=find,
        open=_open,
    )
)
