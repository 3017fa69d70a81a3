"""Reads a shard of the examples many records at a time; one that is damaged or cut short is refused in a line.

Synopsis:

    for records in read_batches(shard, examples.compression, 1000):     # string [n]
        images = records.numpy().tolist()
    check_count("test", expected=1000, found=1000)                      # DataRefused where they are not the same
    with damage_told(examples, "train", "val"):                         # what the readers in models/ meet
        train = list(examples.records("train"))
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from components.errors import DataRefused
from models.examples import Examples, ExamplesError, open_shards
from models.memory import block_rows


def read_batches(
    shard: Path,
    compression: str,
    rows: int,
    parse: Callable[[tf.Tensor], Any] = lambda records: records,
    *,
    most: int | None = None,
) -> Iterator[Any]:
    """Yields what `parse` makes of the records of one shard, `rows` at a time, in order: string [n].

    With `most` it is that many records at most, and those behind them are not read.

    Raises:
      DataRefused: a record fails its checksum, or `parse` cannot read it.
    """
    seen = 0
    try:
        for records in open_shards((shard,), compression).take(-1 if most is None else most).batch(rows):
            yield parse(records)
            seen += len(records)
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise DataRefused(
            f"{shard}: expected records of an image and a label, found a damaged one after record {seen:,} "
            f"({_reason(error.message)}). Delete the file and run again."
        ) from error


def check_count(where: object, expected: int, found: int) -> None:
    """Compares the number of records that were read with the number that ExampleGen wrote.

    A shard that was cut between two records, or within its gzip header, reads without an error.

    Args:
      where: for the message, the split or its folder.
      expected, found: numbers of records.

    Raises:
      DataRefused: they are not the same.
    """
    if found != expected:
        raise DataRefused(
            f"{where}: expected the {expected:,} records that ExampleGen wrote, found {found:,}: a shard was changed "
            "or cut short. Delete the artifact and run again."
        )


@contextlib.contextmanager
def damage_told(examples: Examples, *splits: str) -> Iterator[None]:
    """Has a shard that is damaged or cut short end whatever reads it within the block as `read_batches` does.

    A training reads several shards at the same time, and knows of none by its name: the splits are read once more.

    Raises:
      DataRefused: in the place of the error that damage had led to.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, ExamplesError):
        rows = block_rows(examples.image_shape)
        for split in splits:
            blocks = (
                labels
                for shard in examples.shards(split)
                for _, labels in read_batches(shard, examples.compression, rows, examples.parse)
            )
            check_count(examples.split_folder(split), examples.counts[split], sum(map(len, blocks)))
        raise


def _reason(message: str) -> str:
    """Returns the line of TensorFlow's message that says why.

    A graph's begins with where it failed, has places indented, and may end with how many other errors it had.
    """
    lines = [line for line in message.splitlines() if line.strip()]
    telling = [line for line in lines if not line[0].isspace() and "derived errors ignored" not in line]
    return [*lines[:1], *telling][-1].strip() if lines else "no reason was given"
