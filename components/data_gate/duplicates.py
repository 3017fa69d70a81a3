"""Finds images that occur where they must not: in two splits, or under two labels.

An image of the test split that was trained on makes the test accuracy a lie, and no statistic shows it. Images are
compared by a 64-bit hash of their stored bytes, 16 bytes of memory for each with its label.

Synopsis:

    for split, text in find_duplicates(examples): print(split, text)
"""

import hashlib
import itertools
from collections.abc import Iterator

import numpy as np

from components.statistics_gen.image_statistics import read_records
from models.examples import Examples

_DIGEST_BYTES = 8
_NAMED = 3


def find_duplicates(examples: Examples) -> Iterator[tuple[str, str]]:
    """Yields (split, text) for each pair of splits that share images, and each split that labels an image twice.

    Raises:
      DataRefused: a record is damaged.
    """
    tables = {split: _digests(examples, split) for split in examples.counts}
    for (first, (digests, _)), (second, (others, _)) in itertools.combinations(tables.items(), 2):
        shared = np.isin(others, digests)
        if shared.any():
            yield second, f"expected no image that is in {first} too, found {shared.sum():,}: {_positions(shared)}"
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
            yield split, f"expected one label for each image, found {here.sum():,} with two: {_positions(here)}"


def _digests(examples: Examples, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the digest of each image, uint64 [n], and its label, int64 [n]."""
    digests, labels = [], []
    for shard in examples.shards(split):
        for images, block_labels in read_records(examples, shard):
            digests.extend(hashlib.blake2b(image, digest_size=_DIGEST_BYTES).digest() for image in images)
            labels.append(block_labels)
    return np.frombuffer(b"".join(digests), np.uint64), np.concatenate(labels)


def _positions(found: np.ndarray) -> str:
    first = ", ".join(map(str, np.flatnonzero(found)[:_NAMED]))
    return f"records {first}" + (", ..." if found.sum() > _NAMED else "")
