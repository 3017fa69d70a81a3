"""Reads a shard of the examples many records at a time; a damaged one is refused in a line.

Synopsis:

    for records in read_batches(shard, examples.compression, 1000):     # string [n]
        images = records.numpy().tolist()
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from components.errors import DataRefused
from models.examples import open_shards


def read_batches(
    shard: Path, compression: str, rows: int, parse: Callable[[tf.Tensor], Any] = lambda records: records
) -> Iterator[Any]:
    """Yields what `parse` makes of the records of one shard, `rows` at a time, in order: string [n].

    Raises:
      DataRefused: a record fails its checksum, or `parse` cannot read it.
    """
    seen = 0
    try:
        for records in open_shards((shard,), compression).batch(rows):
            yield parse(records)
            seen += len(records)
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise DataRefused(
            f"{shard}: expected records of an image and a label, found a damaged one after record {seen:,} "
            f"({_reason(error.message)}). Delete the file and run again."
        ) from error


def _reason(message: str) -> str:
    """Returns the line of TensorFlow's message that says why.

    A graph's begins with where it failed, has places indented, and may end with how many other errors it had.
    """
    lines = [line for line in message.splitlines() if line.strip()]
    telling = [line for line in lines if not line[0].isspace() and "derived errors ignored" not in line]
    return [*lines[:1], *telling][-1].strip() if lines else "no reason was given"
