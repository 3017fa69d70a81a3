"""Brings the images of a data set into plain files of pixels, one a part, in the form that they are to have.

The files are read by the process that runs the node, one after the other: their digest says that they are those that
were inspected. Pixels that lie ready go into the plain file as they are. What has to be decoded or fitted, which takes
ten times as long, Beam's workers do: each a range of rows, at its own place in the file, so that a second attempt
writes the same bytes to the same place.

Synopsis:

    train = unpack(dataset, scratch, new_pipeline)["train"]
    with RowReader(train.plain, (0, *dataset.image_shape), train.stride) as rows:
        rows.gather(train.rows[:2])                          # the first two images
"""

import dataclasses
import hashlib
import itertools
import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import apache_beam as beam
import numpy as np

from components.errors import InputError, folder_unseen
from components.example_gen.broken import Broken
from components.example_gen.dataset import Dataset, combine_digests
from components.example_gen.kinds import PARTS
from components.example_gen.kinds.registry import Picture
from components.example_gen.reading import (
    Block,
    Digest,
    ImageForm,
    Stored,
    decode_all,
    plain_labels,
    read_stored,
    some_of,
)
from components.example_gen.telling import is_long_since, progress, telling
from components.pictures import BrokenPictureError
from models.files import write_text
from models.host import cores
from models.memory import MIB, rows_within

_HASH_BYTES = 8
# A part is decoded in about so many ranges, of at least so many images each, and at most so many bytes of pixels.
_RANGES, _FEWEST_ROWS, _RANGE_BYTES = 64, 256, 64 * MIB
# No two workers write to one page of a file: where they are on two hosts, each has its own copy of it. So what is
# decoded lies whole pages apart or, where that were much of it, so much that a few images fill whole pages.
_PAGE_BYTES, _SMALL_BYTES, _SMALL_APART = 4096, 64 * 1024, 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unpacked:
    """A part whose pixels lie in a plain file, by image.

    Attributes:
      plain: the file.
      stride: from one row of it to the next, in bytes.
      rows: int64 [n], where in the file each image is.
      labels: int64 [n], the number of its class.
      files, positions: where it came from.
      groups: uint64 [n], the same for images that are equal.
    """

    plain: Path
    stride: int
    rows: np.ndarray
    labels: np.ndarray
    files: list[str]
    positions: list[int | None]
    groups: np.ndarray


class _Reading:
    """What was read of a part: its pixels, or its pictures one behind the other, in a file; and all about them."""

    def __init__(self, folder: Path, part: str) -> None:
        self.plain, self.packed = folder / part, folder / f"{part}-packed"
        self.labels: list = []
        self.files: list[str] = []
        self.positions: list[int | None] = []
        self.hashes: list[bytes] = []
        # Of what is packed: the shape that its pixels have, where each image ends, from 0, and which could not be read.
        self.stored: tuple[int, ...] = ()
        self.ends = [0]
        self.faults: dict[int, str] = {}

    def add(self, found: Block | Stored, plain: BinaryIO, packed: BinaryIO) -> int:
        """Writes some images to one file or the other; returns how many."""
        if isinstance(found, Block):
            images = np.ascontiguousarray(found.images)
            plain.write(images)
            self.hashes += map(_hash, images)
            self.labels.append(found.labels)
            self.files += map(str, found.files)
            self.positions += found.positions
            return len(images)
        self.stored = found.stored
        for picture in found.pictures:
            packed.write(picture.encoded)
            self.ends.append(self.ends[-1] + len(picture.encoded))
            if picture.fault:
                self.faults[len(self.files)] = picture.fault
            self.files.append(str(picture.file))
            self.positions.append(picture.position)
        self.labels.append([picture.label for picture in found.pictures])
        return len(found.pictures)

    def stride(self, form: ImageForm) -> int:
        """Returns from one row of the plain file to the next, in bytes: pixels that lay ready lie close together."""
        row_bytes = math.prod(form.shape)
        if self.ends == [0]:
            return row_bytes
        apart = _SMALL_APART if row_bytes < _SMALL_BYTES else _PAGE_BYTES
        return math.ceil(row_bytes / apart) * apart


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Range:
    """Images to decode: of a file of them, where each ends (int64 [n], from 0), which, and where to.

    `driver` is the process that hands them out: host and id.
    """

    packed: Path
    ends: Path
    stored: tuple[int, ...]
    form: ImageForm
    start: int
    stop: int
    plain: Path
    stride: int
    driver: tuple[str, int]


def unpack(dataset: Dataset, scratch: Path, new_pipeline: Callable[[], beam.Pipeline]) -> dict[str, Unpacked]:
    """Writes the pixels of each part to a plain file of its own.

    Args:
      dataset: that was inspected.
      scratch: an empty folder, which the workers see as well.
      new_pipeline: gives a Beam pipeline; called where there is something to decode.

    Raises:
      InputError: what was read is not what was inspected, it has too many broken pictures, or there is no room for it.
    """
    done = scratch / "decoded"
    try:
        found = _read(dataset, scratch)
        ranges = [(part, piece) for part in found for piece in _ranges(found[part], dataset.form, scratch)]
        done.mkdir()
    except OSError as error:
        raise _no_room(scratch, error) from error
    if ranges:
        sizes = [piece.stop - piece.start for _, piece in ranges]
        with telling(done, sizes, "images decoded"), new_pipeline() as root:
            _ = (
                root
                | "Ranges" >> beam.Create([*enumerate(piece for _, piece in ranges)], reshuffle=len(ranges) > 1)
                | "Decode" >> beam.Map(_decode, done)
            )
    hashes = {part: [b"".join(reading.hashes)] for part, reading in found.items()}
    broken: dict[str, dict[int, str]] = {part: {} for part in found}
    for number, (part, piece) in enumerate(ranges):
        answer = json.loads((done / str(number)).read_text(encoding="utf-8"))
        hashes[part].append(bytes.fromhex(answer["hashes"]))
        broken[part] |= {piece.start + int(row): reason for row, reason in answer["broken"].items()}
    for reading in found.values():
        reading.packed.unlink()
    told = Broken(dataset.broken)
    for part, reasons in broken.items():
        for row, reason in sorted(reasons.items()):
            told.add(found[part].files[row], found[part].positions[row], found[part].faults.get(row, reason))
    if len(told):
        progress.warning("broken and left out: %s", told)
    return {
        part: _without(reading, broken[part], np.frombuffer(b"".join(hashes[part]), np.uint64), dataset)
        for part, reading in found.items()
    }


def _read(dataset: Dataset, scratch: Path) -> dict[str, _Reading]:
    parts = [part for part in PARTS if part in dataset.contents.parts]
    readings, digests = {part: _Reading(scratch, part) for part in parts}, {part: Digest() for part in parts}
    started, total, read = time.monotonic(), sum(dataset.counts.values()), 0
    for part in parts:
        reading = readings[part]
        with reading.plain.open("wb") as plain, reading.packed.open("wb") as packed:
            for found in read_stored(dataset.contents.parts[part], dataset.form, digests[part]):
                read += reading.add(found, plain, packed)
                if is_long_since(started):
                    # Of the pictures that are broken the total knows only some.
                    progress.info("%s of %s images read", f"{read:,}", f"{max(read, total):,}")
    # Here and not before: what was read, not what was there a moment ago.
    if (digest := combine_digests(digests)) != dataset.digest:
        raise InputError(
            f"{dataset.folder}: expected files of the digest {dataset.digest[:12]} that this run began with, found "
            f"{digest[:12]}: they were changed while they were read. Run again."
        )
    return readings


def _ranges(reading: _Reading, form: ImageForm, scratch: Path) -> Iterator[_Range]:
    """Yields the pieces of work that a part is, none where its pixels lay ready."""
    if not (count := len(reading.ends) - 1):
        return
    stride = reading.stride(form)
    ends = scratch / f"{reading.plain.name}-ends.npy"
    np.save(ends, np.array(reading.ends, np.int64))
    with reading.plain.open("wb") as plain:
        plain.truncate(count * stride)
    page_rows = _PAGE_BYTES // math.gcd(_PAGE_BYTES, stride)
    rows = rows_within(_RANGE_BYTES, stride, most=max(_FEWEST_ROWS, count // _RANGES))
    size = math.ceil(rows / page_rows) * page_rows
    for start in range(0, count, size):
        yield _Range(
            packed=reading.packed,
            ends=ends,
            stored=reading.stored,
            form=form,
            start=start,
            stop=min(start + size, count),
            plain=reading.plain,
            stride=stride,
            driver=_this_process(),
        )


def _this_process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


def _decode(numbered: tuple[int, _Range], done: Path) -> None:
    """Writes the pixels of a range to their place, and for whoever handed it out their hashes and what is broken."""
    number, piece = numbered
    hashes, broken, row = [], {}, 0
    # The process of the run is alone; of others there are as many as there is room for.
    threads_used = cores() if piece.driver == _this_process() else 1
    try:
        with piece.plain.open("r+b") as plain, ThreadPoolExecutor(threads_used) as threads:
            for pictures in some_of(_packed(piece), piece.form):
                for image in decode_all(Stored(pictures, piece.stored), piece.form, threads):
                    if isinstance(image, BrokenPictureError):
                        broken[row] = str(image)
                        image = np.zeros(piece.form.shape, np.uint8)
                    image = np.ascontiguousarray(image)
                    hashes.append(_hash(image))
                    plain.seek((piece.start + row) * piece.stride)
                    plain.write(image)
                    row += 1
        write_text(done / str(number), json.dumps({"hashes": b"".join(hashes).hex(), "broken": broken}))
    except OSError as error:
        raise _no_room(piece.plain, error) from error


def _packed(piece: _Range) -> Iterator[Picture]:
    ends = np.load(piece.ends, mmap_mode="r")[piece.start : piece.stop + 1].tolist()
    with piece.packed.open("rb") as packed:
        packed.seek(ends[0])
        for start, end in itertools.pairwise(ends):
            yield Picture(piece.packed, None, packed.read(end - start), 0)


def _without(reading: _Reading, broken: dict[int, str], hashes: np.ndarray, dataset: Dataset) -> Unpacked:
    """Returns what is left of a part without its broken images."""
    rows = np.setdiff1d(np.arange(len(reading.files)), list(broken), assume_unique=True)
    labels = np.concatenate([np.asarray(labels) for labels in reading.labels])
    return Unpacked(
        plain=reading.plain,
        stride=reading.stride(dataset.form),
        rows=rows,
        labels=dataset.classes.number(plain_labels([labels[rows]])),
        files=[reading.files[row] for row in rows] if broken else reading.files,
        positions=[reading.positions[row] for row in rows] if broken else reading.positions,
        groups=hashes[rows],
    )


def _hash(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image, digest_size=_HASH_BYTES).digest()


def _no_room(place: Path, error: OSError) -> InputError:
    place = error.filename or place
    if isinstance(error, FileNotFoundError):
        return folder_unseen(place)
    return InputError(
        f"{place}: the pixels cannot be written there ({error.strerror}). Free some space or choose another "
        "--output-root."
    )
