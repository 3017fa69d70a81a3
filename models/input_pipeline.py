"""Feeds training and evaluation from TFRecord shards without ever making a step wait.

Each split is decoded once, block by block: into memory, or, where its pixels take more than its share of the budget,
into a file of raw rows that has no name and goes with the process. Each training step gathers its rows by a stateless
permutation: no scalar op, no shuffle buffer, and the order of any epoch follows from the seed and its number alone,
wherever the rows lie, so that a resumed training sees the batches that the unbroken one would have seen.

Synopsis:

    with open_split(examples, "train", memory=2**30, scratch=scratch) as train:        # models.examples.Examples
        for step, images, labels in training_batches(train, batch_size=250, seed=42).take(3):
            print(step, images.shape)             # (250, 28, 28, 1), of uint8; it goes on for ever
        for images, labels in evaluation_batches(train, batch_size=500):
            print(labels.shape)                   # (500,); the last may be smaller
"""

import dataclasses
import functools
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from models.config import InputConfig
from models.examples import Examples, ExamplesError
from models.images import as_written, with_channels
from models.memory import MIB, block_rows, rows_within
from models.row_reader import RowReader, spread_rows

# Of the batches that are made, and of those that are kept ready, at the same time. One of Fashion-MNIST has 196 kB.
_READY_BYTES = 128 * MIB
# Images from which a network may derive weights; not a share of the budget, for what is derived would vary with it.
_SAMPLE, _SAMPLE_BYTES = 2_000, 32 * MIB
_AS_USUAL = InputConfig()
# Of the images in a shuffle buffer; not a share of the budget, for the order goes by it.
_BUFFER_BYTES = 256 * MIB
# Of batches whose rows are gathered by one call, for one of Python's takes as long as 200 rows of Fashion-MNIST.
_AT_ONCE, _AT_ONCE_BYTES = 16, 4 * MIB


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """A split of the examples, opened for reading; a context manager that lets go of its scratch file.

    Attributes:
      examples: the artifact.
      name: of the split.
      labels: int64 [size].
      images: uint8 [size, height, width, channels] where they are in memory, of a streamed split the sample, else None.
      rows: of the scratch file where they are not.
      streamed: whether only the sample is held, and each pass reads the shards anew.
    """

    examples: Examples
    name: str
    labels: np.ndarray
    images: np.ndarray | None = None
    rows: RowReader | None = None
    streamed: bool = False

    def __enter__(self) -> "Split":
        return self

    def __exit__(self, *_: object) -> None:
        if self.rows is not None:
            self.rows.__exit__()

    @property
    def size(self) -> int:
        """Number of examples."""
        return self.examples.counts[self.name]

    def gather(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns the images at `indices` (int64 [n]) in that order: uint8 [n, height, width, channels].

        Not of a split that is streamed.
        """
        # A tensor that tf.data captures is in memory two or three times, and its place stays TensorFlow's for good.
        gather = functools.partial(self.images.take, axis=0) if self.rows is None else self.rows.gather
        # Reading is no state: steps may be drawn out of turn.
        images = tf.numpy_function(gather, [indices], tf.uint8, stateful=False)
        return tf.ensure_shape(images, [indices.shape[0], *with_channels(self.examples.image_shape)])

    def sample(self) -> np.ndarray:
        """Returns the images from which a network may derive weights: uint8 [n, height, width, channels]."""
        if self.streamed:
            return self.images
        rows = sample_rows(self.examples, self.name)
        return self.images[rows] if self.rows is None else self.rows.gather(rows)


def open_split(examples: Examples, split: str, *, memory: float, scratch: Path, streamed: bool = False) -> Split:
    """Opens a split: decodes it into memory if its pixels take at most `memory` bytes, else into a file.

    Args:
      examples: the artifact.
      split: its name.
      memory: in bytes.
      scratch: an existing folder for that file, which has no name in it by the time this returns or fails.
      streamed: whether to hold the sample alone (`sample_rows`); each pass then reads the shards.

    Raises:
      ExamplesError: a shard is missing, or the shards hold another number of examples than the artifact says.
      tf.errors.InvalidArgumentError: a record is none, or its image is not stored as the artifact says.
    """
    size, shape = examples.counts[split], with_channels(examples.image_shape)
    labels = np.empty(size, np.int64)
    if streamed:
        wanted = sample_rows(examples, split)
        images = np.empty((len(wanted), *shape), np.uint8)
        for rows, block, block_labels in _numbered(examples, split):
            labels[rows] = block_labels
            here = slice(*np.searchsorted(wanted, [rows.start, rows.stop]))
            images[here] = block[wanted[here] - rows.start]
        return Split(examples=examples, name=split, labels=labels, images=images, streamed=True)
    if size * math.prod(shape) <= memory:
        images = np.empty((size, *shape), np.uint8)
        for rows, block, block_labels in _numbered(examples, split):
            images[rows], labels[rows] = block, block_labels
        return Split(examples=examples, name=split, labels=labels, images=images)
    with tempfile.NamedTemporaryFile(dir=scratch) as file:
        for rows, block, block_labels in _numbered(examples, split):
            file.write(block)
            labels[rows] = block_labels
        file.flush()
        return Split(examples=examples, name=split, labels=labels, rows=RowReader(Path(file.name), (size, *shape)))


def sample_rows(examples: Examples, split: str) -> np.ndarray:
    """Returns which of a split's images a network may derive weights from (`typical_rows`)."""
    pixels = math.prod(with_channels(examples.image_shape))
    return typical_rows(examples, split, rows_within(_SAMPLE_BYTES, pixels, most=_SAMPLE))


def typical_rows(examples: Examples, split: str, most: int) -> np.ndarray:
    """Returns which of a split's images stand for all of them: at most `most`, ascending, int64 [n].

    The first ones, for shards are shuffled; of a window, whose shards go span by span, as many evenly spread.
    """
    size = examples.counts[split]
    return spread_rows(size, most) if examples.parts else np.arange(min(size, most), dtype=np.int64)


def decoded_blocks(examples: Examples, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields images, uint8 [n, height, width, channels], and labels, int64 [n], of a split in the order of the shards.

    Raises:
      ExamplesError, tf.errors.InvalidArgumentError: as in `open_split`; of a number of examples that is not the
        artifact's no more are yielded than that.
    """
    found, size = 0, examples.counts[split]
    records = examples.records(split).batch(block_rows(examples.image_shape))
    for images, labels in untuned(records.map(as_written(examples.parse), 2).prefetch(1)).as_numpy_iterator():
        found += len(labels)
        if found <= size:
            yield images, labels
    if found != size:
        raise ExamplesError(
            f"{examples.split_folder(split)}: expected {size:,} examples, as the artifact says, found {found:,}. "
            "Delete the artifact and run again."
        )


def _numbered(examples: Examples, split: str) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    start = 0
    for images, labels in decoded_blocks(examples, split):
        yield slice(start, start + len(labels)), images, labels
        start += len(labels)


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Returns how many full batches a pass has; what is left over is in another place of the next one."""
    return max(1, split.size // batch_size)


def batches_at_once(split: Split, batch_size: int, most: int) -> int:
    """Returns how many training batches are made, or kept ready, at the same time where `most` is asked for."""
    return rows_within(_READY_BYTES, _batch_bytes(split, batch_size), most=most)


def _batch_bytes(split: Split, batch_size: int) -> int:
    return batch_size * math.prod(split.examples.image_shape)


def training_batches(
    split: Split, *, batch_size: int, seed: int, first_epoch: int = 0, settings: InputConfig = _AS_USUAL
) -> tf.data.Dataset:
    """Returns endless batches, each epoch, here a single pass over the images, in an order of its own.

    Args:
      split: wherever its images lie.
      batch_size: images a batch; at most the size of the split.
      seed: of the permutations.
      first_epoch: where a resumed training goes on.
      settings: order, parallelism, and what is kept ready.

    Yields:
      (step int64 [], images uint8 [batch, height, width, channels], labels int64 [batch]); `step` counts from the
      beginning of the first epoch of all, for stateless augmentation.
    """
    steps = steps_per_epoch(split, batch_size)
    parallel, ready = (batches_at_once(split, batch_size, most) for most in (settings.parallel, settings.prefetch))
    batch_size = min(batch_size, split.size)
    if split.streamed:
        return _streamed_batches(split, batch_size, seed, first_epoch * steps, steps, settings, parallel, ready)
    labels = tf.constant(split.labels)
    at_once = rows_within(_AT_ONCE_BYTES, _batch_bytes(split, batch_size), most=_AT_ONCE)

    @as_written
    def draw(first_step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        numbers = [first_step + number for number in range(at_once)]
        rows = [drawn_rows(split, step, batch_size=batch_size, seed=seed, settings=settings) for step in numbers]
        index = tf.concat(rows, axis=0)
        images = split.gather(index)
        images = tf.reshape(images, [at_once, batch_size, *images.shape[1:]])
        return tf.stack(numbers), images, tf.reshape(tf.gather(labels, index), [at_once, batch_size])

    counter = tf.data.Dataset.counter(np.int64(first_epoch * steps), np.int64(at_once))
    return untuned(counter.map(draw, parallel).unbatch().prefetch(ready))


@as_written
def drawn_rows(split: Split, step: tf.Tensor, *, batch_size: int, seed: int, settings: InputConfig) -> tf.Tensor:
    """Returns which rows of a split, that is not streamed, a step of `training_batches` has: int64 [batch].

    Args:
      split: the split.
      step: int64 [], from the beginning of the first epoch of all.
      batch_size, seed, settings: as there.
    """
    steps, batch_size = steps_per_epoch(split, batch_size), min(batch_size, split.size)
    places = tf.range(batch_size, dtype=tf.int64)
    if not settings.shuffle:
        # A pass begins with what the one before has left over.
        return (step * batch_size + places) % split.size
    epoch, position = step // steps, step % steps
    places += position * batch_size
    return tf.random.experimental.index_shuffle(
        places,
        seed=tf.stack([tf.constant(seed, tf.int64), epoch]),
        max_index=np.int64(split.size - 1),
    )


def _streamed_batches(
    split: Split,
    batch_size: int,
    seed: int,
    first_step: int,
    steps: int,
    settings: InputConfig,
    parallel: int,
    ready: int,
) -> tf.data.Dataset:
    """Returns what `training_batches` does of a split whose shards are read in each pass."""
    records = split.examples.records(split.name)
    if settings.shuffle:
        # Each pass without what is left over, which is in another place of the next one, as in memory.
        held = rows_within(_BUFFER_BYTES, math.prod(split.examples.image_shape), most=settings.buffer)
        records = records.shuffle(held, seed=seed, reshuffle_each_iteration=True)
        batches = records.batch(batch_size, drop_remainder=True).take(steps).repeat()
    else:
        batches = records.repeat().batch(batch_size, drop_remainder=True)
    batches = batches.skip(first_step)
    parsed = batches.map(as_written(split.examples.parse), parallel)
    numbered = parsed.enumerate(first_step).map(as_written(lambda step, example: (step, *example)), parallel)
    return untuned(numbered.prefetch(ready))


def evaluation_batches(split: Split, *, batch_size: int, rows: np.ndarray | None = None) -> tf.data.Dataset:
    """Returns every example once, in the order of the shards: (images uint8 [batch, ...], labels int64 [batch]).

    Args:
      split: wherever its images lie; if it is streamed, the shards are read through.
      batch_size: images a batch; the last may be smaller.
      rows: ascending, int64 [n], where only these are asked for.
    """
    if split.streamed:
        records = split.examples.records(split.name)
        if rows is not None:
            wanted, block = tf.constant(np.isin(np.arange(split.size), rows)), block_rows(split.examples.image_shape)

            # Before they are decoded, and by the block: one by one it would take 20 seconds of a million.
            @as_written
            def keep(number: tf.Tensor, records: tf.Tensor) -> tf.Tensor:
                return tf.boolean_mask(records, wanted[number * block : (number + 1) * block])

            records = records.take(int(rows[-1]) + 1).batch(block).enumerate().map(keep, 1).unbatch()
        return untuned(records.batch(batch_size).map(as_written(split.examples.parse), 1).prefetch(1))
    labels = tf.constant(split.labels)

    @as_written
    def take(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return split.gather(index), tf.gather(labels, index)

    index = tf.data.Dataset.range(split.size) if rows is None else tf.data.Dataset.from_tensor_slices(rows)
    return untuned(index.batch(batch_size).map(take, 1).prefetch(1))


def class_counts(split: Split) -> np.ndarray:
    """Returns how many examples each class has, int64 [classes]."""
    return np.bincount(split.labels, minlength=len(split.examples.class_names))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the data set without tf.data's autotuning.

    Its thread sleeps for twice as long each time, up to a minute, and closing an iterator waits for it to wake: a
    training of a minute ended half a minute after its last step (docs/LOG.md).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def first_records(examples: Examples, split: str, count: int) -> list[bytes]:
    """Returns the first `count` serialized `tf.train.Example`s of a split, or all where there are fewer."""
    return list(examples.records(split).take(count).as_numpy_iterator())
