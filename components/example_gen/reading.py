"""Reads the images of the parts of a data set, of whatever kind, in the form that is wanted or as they lie.

Everything is digested as it is read, so that what is taken is what was seen (`survey.py`): encoded pictures as they
are, for decoding them takes ten times as long. They are decoded by several threads.

Synopsis:

    for block in read_part(part, ImageForm((28, 28), "pad"), Broken(0), Digest()):
        block.images, block.labels                                   # uint8 [n, 28, 28], [n]
"""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from components.errors import InputError
from components.example_gen.broken import Broken, where
from components.example_gen.kinds import PicturePart, PixelPart
from components.example_gen.kinds.registry import Picture
from components.pictures import MAGIC_BYTES, BrokenPictureError, can_show, decode, fit, is_picture
from models.host import cores
from models.memory import rows_within

# Pictures that are decoded at a time: so many, or so many bytes of them, encoded or decoded.
_PICTURES = 256
_BYTES = 16 << 20
# Which channel means what, nobody but their owner knows.
_AS_ARE = (
    "only arrays have other numbers of channels, and they are taken as they are. Give an NPZ or NPY of that shape."
)
# As Python writes them: of 1 and 01 only the first is sure to be a number.
_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")


class ImageForm(NamedTuple):
    """What images become: (height, width) or (height, width, channels), and how they are fitted into it."""

    shape: tuple[int, ...]
    fit: str


class Block(NamedTuple):
    """Some images of a part: uint8 [n, ...], their labels as in the files [n], and where they lie, by file.

    `stored` is the shape that pixels had in their file, () for pictures, which have one each.
    """

    images: np.ndarray
    labels: np.ndarray
    files: list[Path]
    positions: list[int | None]
    stored: tuple[int, ...] = ()


class Stored(NamedTuple):
    """Some images of a part that have yet to be decoded, or fitted: those have the bytes of pixels of this shape."""

    pictures: list[Picture]
    stored: tuple[int, ...] = ()


class Digest:
    """SHA-256 of the images and of the labels of a part, over content and shape or, of pictures, over their bytes."""

    def __init__(self) -> None:
        self._images, self._labels = hashlib.sha256(), hashlib.sha256()
        self._shape: tuple[int, ...] | None = None
        self._count = 0

    def pixels(self, images: np.ndarray) -> None:
        """Adds images, uint8 [n, ...]."""
        self._shape = images.shape[1:]
        self._count += len(images)
        self._images.update(np.ascontiguousarray(images))

    def picture(self, encoded: bytes) -> None:
        """Adds an encoded picture."""
        self._count += 1
        self._images.update(len(encoded).to_bytes(8, "little"))
        self._images.update(encoded)

    def labels(self, labels: np.ndarray) -> None:
        """Adds labels, whole numbers or text [n]."""
        text = labels.dtype.kind == "U"
        self._labels.update("\n".join((*labels.tolist(), "")).encode() if text else labels.astype("<i8").tobytes())

    @property
    def of_images(self) -> str:
        """Of the images, hexadecimal."""
        kind = "pictures" if self._shape is None else repr(tuple(map(int, self._shape)))
        return hashlib.sha256(f"{kind} {self._count} {self._images.hexdigest()}".encode()).hexdigest()

    @property
    def of_labels(self) -> str:
        """Of the labels, hexadecimal."""
        return hashlib.sha256(f"{self._count} {self._labels.hexdigest()}".encode()).hexdigest()


def plain_labels(parts: Sequence[np.ndarray | list]) -> np.ndarray:
    """Joins labels: int64 where all are whole numbers, be it in the text of a CSV or the name of a folder, or text."""
    labels = np.concatenate([np.asarray(part) for part in parts]) if parts else np.empty(0, np.int64)
    if labels.dtype.kind in "iub":
        return labels.astype(np.int64)
    if all(_WHOLE.fullmatch(text) for text in set(labels.tolist())):
        return labels.astype(np.int64)
    return labels


def read_part(part: PixelPart | PicturePart, form: ImageForm, broken: Broken, digest: Digest) -> Iterator[Block]:
    """Yields the images of a part in the form that is wanted, and adds what it reads to `digest`.

    Raises:
      InputError: a file is damaged, or has too many broken pictures.
    """
    with ThreadPoolExecutor(cores()) as threads:
        for found in read_stored(part, form, digest):
            if isinstance(found, Block):
                yield found
            elif kept := _whole(found.pictures, decode_all(found, form, threads), broken):
                yield Block(
                    np.stack([image for _, image in kept]),
                    np.array([picture.label for picture, _ in kept]),
                    [picture.file for picture, _ in kept],
                    [picture.position for picture, _ in kept],
                    found.stored,
                )


def read_stored(part: PixelPart | PicturePart, form: ImageForm, digest: Digest) -> Iterator[Block | Stored]:
    """Yields the images of a part as they lie: blocks where they have the form that is wanted, else what has to get it.

    What it reads is added to `digest`; of pixels that have to be fitted the bytes come as pictures.

    Raises:
      InputError: a file is damaged, or its pixels cannot be fitted.
    """
    labels = []
    if isinstance(part, PicturePart):
        for pictures in some_of(part.pictures(), form):
            for picture in pictures:
                digest.picture(picture.encoded)
            labels.append([picture.label for picture in pictures])
            yield Stored(pictures)
    else:
        start = 0
        for images, given in pixel_blocks(part):
            digest.pixels(images)
            labels.append(given)
            stored = images.shape[1:]
            if not start and stored != form.shape:
                _check_fit(part.file, images[0], form)
            positions, start = range(start, start + len(images)), start + len(images)
            if stored == form.shape:
                yield Block(images, given, [part.file] * len(images), list(positions), stored)
            else:
                rows = zip(images, positions, given.tolist(), strict=True)
                pixels = (Picture(part.file, position, image.tobytes(), label) for image, position, label in rows)
                yield from (Stored(pictures, stored) for pictures in some_of(pixels, form))
    digest.labels(plain_labels(labels))


def decode_all(found: Stored, form: ImageForm, threads: ThreadPoolExecutor) -> list[np.ndarray | BrokenPictureError]:
    """Returns each image in the form that is wanted, uint8, or why it is broken."""

    if found.stored:
        # Small and mostly Python's own work: threads would wait for each other.
        return [fit(np.frombuffer(one.encoded, np.uint8).reshape(found.stored), *form) for one in found.pictures]

    def decoded(picture: Picture) -> np.ndarray | BrokenPictureError:
        if picture.fault:
            return BrokenPictureError(picture.fault)
        try:
            return decode(picture.encoded, *form)
        except BrokenPictureError as error:
            return error

    return list(threads.map(decoded, found.pictures))


def some_of(pictures: Iterable[Picture], form: ImageForm) -> Iterator[list[Picture]]:
    """Yields lists of pictures that are bounded in number and in bytes, as they are and in their form."""
    most = rows_within(_BYTES, math.prod(form.shape), most=_PICTURES)
    gathered: list[Picture] = []
    size = 0
    for picture in pictures:
        gathered.append(picture)
        size += len(picture.encoded)
        if len(gathered) >= most or size >= _BYTES:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered


def pixel_blocks(part: PixelPart) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields what the part gives; of one channel, without an axis for it."""
    for images, labels in part.blocks():
        yield images[..., 0] if images.ndim == 4 and images.shape[-1] == 1 else images, labels


def _check_fit(file: Path, image: np.ndarray, form: ImageForm) -> None:
    """Fits one image, of whose number of channels it depends whether all can be."""
    if image.shape != form.shape and not can_show(form.shape):
        raise InputError(f"{file}: expected images of {describe(form.shape)}, found {describe(image.shape)}: {_AS_ARE}")
    try:
        fit(image, *form)
    except BrokenPictureError as error:
        raise InputError(
            f"{file}: expected images of 1, 3 or 4 channels, which alone can be fitted into {describe(form.shape)}, "
            f"found that {error}. Leave image_size and image_channels out."
        ) from None


def check_channels(part: PixelPart | PicturePart, shape: tuple[int, ...]) -> None:
    """Looks at the first image of a part, where `shape` has another number of channels than pictures have.

    Raises:
      InputError: it is a picture.
    """
    first = None if can_show(shape) or isinstance(part, PixelPart) else next(part.pictures(), None)
    if first and is_picture(first.encoded[:MAGIC_BYTES]):
        raise InputError(
            f"{where(first.file, first.position)}: expected images of {shape[2]} channels ({describe(shape)}), found a "
            f"picture, which has 1 or 3: {_AS_ARE}"
        )


def _whole(
    pictures: Sequence[Picture], images: Sequence[np.ndarray | BrokenPictureError], broken: Broken
) -> list[tuple[Picture, np.ndarray]]:
    kept = []
    for picture, image in zip(pictures, images, strict=True):
        if isinstance(image, BrokenPictureError):
            broken.add(picture.file, picture.position, image)
        else:
            kept.append((picture, image))
    return kept


def describe(shape: tuple[int, ...]) -> str:
    """Returns a shape as people write it: 28x28, 96x96x3."""
    return "x".join(map(str, shape))
