"""Reads images out of an Examples artifact without TensorFlow, so that a report takes a second and not ten.

Apart from `examples.py`, for the report's reader is no part of what the nodes' cache keys cover.

Synopsis:

    for position, image, label in read_pictures(examples, "test", {0, 7}):      # uint8 [height, width, channels]
        print(position, image.mean(), examples.class_names[label])
    next(read_labels(examples, "test"))                                         # of its first record
"""

import itertools
from collections.abc import Iterator

import numpy as np

from models.examples import Examples, ExamplesError
from models.tfrecords import decode_image, parse_example, read_records


def read_pictures(examples: Examples, split: str, wanted: set[int]) -> Iterator[tuple[int, np.ndarray, int]]:
    """Yields position, image (uint8 [height, width, channels]) and label of the records at `wanted` positions.

    Raises:
      ExamplesError: a record is damaged, or its image is not stored as the artifact says.
    """
    for position, record in enumerate(itertools.islice(_records(examples, split), max(wanted, default=-1) + 1)):
        if position in wanted:
            yield (position, *_picture(examples, record, f"{split}, record {position:,}"))


def read_labels(examples: Examples, split: str) -> Iterator[int]:
    """Yields the label of each record, whose image is not decoded.

    Raises:
      ExamplesError: a record is damaged.
    """
    for position, record in enumerate(_records(examples, split)):
        yield _picture(examples, record, f"{split}, record {position:,}", decoded=False)[1]


def _records(examples: Examples, split: str) -> Iterator[bytes]:
    try:
        for path in examples.shards(split):
            yield from read_records(path, examples.compression)
    except ValueError as error:
        raise ExamplesError(str(error)) from error


def _picture(examples: Examples, record: bytes, where: str, *, decoded: bool = True) -> tuple[np.ndarray | None, int]:
    """Returns the image, None unless it is to be decoded, and the label of a serialized example."""
    try:
        encoded, label = parse_example(record)
        if not decoded:
            return None, label
        examples.check([encoded], where)
        image = decode_image(encoded)
    except ExamplesError:
        raise
    except Exception as error:  # whatever damaged bytes make of a parser and a decoder
        raise ExamplesError(
            f"{where} of {examples.folder}: expected an image and a label, found a damaged record "
            f"({type(error).__name__}: {error}). Delete the artifact and run again."
        ) from error
    if image.shape != (shape := (*examples.image_shape, 1)[:3]):
        raise ExamplesError(
            f"{where} of {examples.folder}: expected an image of shape {list(shape)}, found {list(image.shape)}. "
            "Delete the artifact and run again."
        )
    return image, label
