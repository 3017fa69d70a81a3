"""Finds images that occur where they must not: in two splits, or under two labels.

An image of the test split that was trained on makes the test accuracy a lie, and no statistic shows it. Images are
compared by a 64-bit hash of their stored bytes, 16 bytes of memory for each with its label. ExampleGen puts equal
images of one part of the data into one split; what is found here, the data brought.

Synopsis:

    for found in find_duplicates(examples): print(found.split, found.text, found.share)
"""

import hashlib
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from components.statistics_gen.image_statistics import read_records
from models.examples import Examples
from models.origins import read_origins

_DIGEST_BYTES = 8
_NAMED = 3
# Of the records of a split: digests and labels.
Table = tuple[np.ndarray, np.ndarray]


class Duplicates(NamedTuple):
    """Images of a split that occur elsewhere or have two labels: in words, and as a share of the split's."""

    split: str
    text: str
    share: float


def digest_tables(examples: Examples) -> dict[str, Table]:
    """Returns for each split the digest of each image, uint64 [n], and its label, int64 [n].

    Raises:
      DataRefused: a record is damaged.
    """
    return {split: _digests(examples, split) for split in examples.counts}


def find_duplicates(examples: Examples, tables: dict[str, Table] | None = None) -> Iterator[Duplicates]:
    """Yields what is found for each pair of splits that share images, and each split that labels an image twice.

    Args:
      examples: the records.
      tables: what `digest_tables` gave of them, if that is known.

    Raises:
      DataRefused: a record is damaged.
    """
    tables = tables or digest_tables(examples)
    for (first, (digests, _)), (second, (others, _)) in itertools.combinations(tables.items(), 2):
        shared = np.isin(others, digests)
        if shared.any():
            here = np.flatnonzero(shared)[:_NAMED]
            there = [int(np.flatnonzero(digests == others[record])[0]) for record in here]
            pairs = zip(record_names(examples, second, here), record_names(examples, first, there), strict=True)
            told = ", ".join(f"{name} is {other}" for name, other in pairs)
            yield Duplicates(
                second,
                f"expected no image that is in {first} too, found {shared.sum():,}: {told}{_more(shared)}",
                shared.mean(),
            )
    digests = np.concatenate([digests for digests, _ in tables.values()])
    labels = np.concatenate([labels for _, labels in tables.values()])
    splits = np.repeat(list(tables), [len(labels) for _, labels in tables.values()])
    _, inverse = np.unique(digests, return_inverse=True)
    lowest = np.full(inverse.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, inverse, labels)
    conflicting = labels != lowest[inverse]
    for split in tables:
        here = conflicting[splits == split]
        if here.any():
            places = np.flatnonzero(conflicting & (splits == split))[:_NAMED]
            pairs = [(place, _same(inverse, labels, lowest, place)) for place in places]
            told = ", ".join(" is ".join(_name_of(examples, tables, place) for place in pair) for pair in pairs)
            text = f"expected one label for each image, found {here.sum():,} with two: {told}{_more(here)}"
            yield Duplicates(split, text, here.mean())


def _same(inverse: np.ndarray, labels: np.ndarray, lowest: np.ndarray, place: int) -> int:
    """Returns the place of the first image that equals the one at `place` and has another label."""
    return int(np.flatnonzero((inverse == inverse[place]) & (labels == lowest[inverse[place]]))[0])


def _name_of(examples: Examples, tables: dict[str, Table], place: int) -> str:
    """Returns where the image at a place in the order of all splits is."""
    for split, (_, labels) in tables.items():
        if place < len(labels):
            return record_names(examples, split, [int(place)])[0]
        place -= len(labels)
    raise IndexError(place)


def _digests(examples: Examples, split: str) -> Table:
    """Returns the digest of each image, uint64 [n], and its label, int64 [n]."""
    digests, labels = [], []
    for shard in examples.shards(split):
        for images, block_labels in read_records(examples, shard):
            digests.extend(hashlib.blake2b(image, digest_size=_DIGEST_BYTES).digest() for image in images)
            labels.append(block_labels)
    return np.frombuffer(b"".join(digests), np.uint64), np.concatenate(labels)


def record_names(examples: Examples, split: str, records: np.ndarray | list[int]) -> list[str]:
    """Returns where in the user's files the images of some records are, else the numbers of the records."""
    origins = read_origins(examples.folder, split)
    return [f"record {record}" for record in records] if origins is None else origins.names(records)


def _more(found: np.ndarray) -> str:
    return ", ..." if found.sum() > _NAMED else ""
