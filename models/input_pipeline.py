"""Feeds training and evaluation from TFRecord shards without ever making a step wait.

Where the decoded uint8 images fit into memory they are parsed once, batch by batch, and each training step gathers its
rows by a stateless permutation: no scalar op, no shuffle buffer, and the order of any epoch follows from the seed and
its number alone, so that a resumed training sees the batches that the unbroken one would have seen. Larger sets are
streamed from the shards through a shuffle buffer.

Synopsis:

    train = open_split(examples, "train", cache_mib=1024)                              # models.examples.Examples
    for step, images, labels in training_batches(train, batch_size=250, seed=42).take(3):
        print(step, images.shape)                 # (250, 28, 28, 1), of uint8; it goes on for ever
    for images, labels in evaluation_batches(train, batch_size=500):
        print(labels.shape)                       # (500,); the last may be smaller
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from models.examples import Examples, ExamplesError
from models.features import LABEL
from models.images import with_channels

# Batches that are made, and kept ready, at the same time; one of Fashion-MNIST has 196 kB.
PARALLEL = 4
_READ_BATCH = 2048
_SHUFFLE_BUFFER = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """A split of the examples, opened for reading.

    Attributes:
      examples: the artifact.
      name: of the split.
      images: uint8 [size, height, width, channels] where they are cached, else None.
      labels: int64 [size] likewise.
    """

    examples: Examples
    name: str
    images: np.ndarray | None = None
    labels: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Number of examples."""
        return self.examples.counts[self.name]


def open_split(examples: Examples, split: str, *, cache_mib: float) -> Split:
    """Opens a split, and decodes it into memory if its pixels take at most `cache_mib` MiB.

    Raises:
      ExamplesError: a shard is missing, or the shards hold another number of examples than the artifact says.
      tf.errors.InvalidArgumentError: a record is none, or its image is not stored as the artifact says.
    """
    opened = Split(examples=examples, name=split)
    if opened.size * math.prod(examples.image_shape) > cache_mib * 2**20:
        # Counted beforehand: in the stream a record too few would only cut an epoch short.
        records = examples.records(split).batch(_READ_BATCH)
        _check_count(opened, int(records.reduce(np.int64(0), lambda count, batch: count + tf.size(batch, tf.int64))))
        return opened
    images = np.empty((opened.size, *with_channels(examples.image_shape)), np.uint8)
    labels = np.empty(opened.size, np.int64)
    found = 0
    for batch_images, batch_labels in _parsed(opened, _READ_BATCH).as_numpy_iterator():
        rows = slice(found, found + len(batch_labels))
        found = rows.stop
        if found <= opened.size:
            images[rows], labels[rows] = batch_images, batch_labels
    _check_count(opened, found)
    return dataclasses.replace(opened, images=images, labels=labels)


def _check_count(split: Split, found: int) -> None:
    if found != split.size:
        raise ExamplesError(
            f"{split.examples.split_folder(split.name)}: expected {split.size:,} examples, as the artifact says, found "
            f"{found:,}. Delete the artifact and run again."
        )


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Returns how many full batches a pass has; what is left over is in another place of the next permutation."""
    return max(1, split.size // batch_size)


def training_batches(split: Split, *, batch_size: int, seed: int, first_epoch: int = 0) -> tf.data.Dataset:
    """Returns endless batches, each epoch, here a single pass over the images, in an order of its own.

    Args:
      split: cached or not.
      batch_size: images a batch; at most the size of the split.
      seed: of the permutations.
      first_epoch: where a resumed training goes on.

    Yields:
      (step int64 [], images uint8 [batch, height, width, channels], labels int64 [batch]); `step` counts from the
      beginning of the first epoch of all, for stateless augmentation.
    """
    steps = steps_per_epoch(split, batch_size)
    first_step = first_epoch * steps
    batch_size = min(batch_size, split.size)
    if split.images is None:
        stream = tf.data.Dataset.counter(np.int64(first_epoch)).flat_map(
            lambda epoch: (
                split.examples.records(split.name)
                .shuffle(_SHUFFLE_BUFFER, seed=epoch * 1_000_003 + seed, reshuffle_each_iteration=False)
                .batch(batch_size, drop_remainder=True)
                .take(steps)
            )
        )
        parsed = stream.map(split.examples.parse, PARALLEL)
        counter = tf.data.Dataset.counter(np.int64(first_step))
        return untuned(tf.data.Dataset.zip(counter, parsed).map(lambda step, pair: (step, *pair)).prefetch(PARALLEL))
    # Captured as tensors, not as constants of the graph, which protocol buffers limit to 2 GiB.
    images, labels = tf.constant(split.images), tf.constant(split.labels)

    def gather(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        epoch, position = step // steps, step % steps
        index = tf.random.experimental.index_shuffle(
            position * batch_size + tf.range(batch_size, dtype=tf.int64),
            seed=tf.stack([tf.constant(seed, tf.int64), epoch]),
            max_index=np.int64(split.size - 1),
        )
        return step, tf.gather(images, index), tf.gather(labels, index)

    return untuned(tf.data.Dataset.counter(np.int64(first_step)).map(gather, PARALLEL).prefetch(PARALLEL))


def evaluation_batches(split: Split, *, batch_size: int) -> tf.data.Dataset:
    """Returns every example once, in the order of the shards: (images uint8 [batch, ...], labels int64 [batch])."""
    if split.images is None:
        return untuned(_parsed(split, batch_size).prefetch(2))
    return untuned(tf.data.Dataset.from_tensor_slices((split.images, split.labels)).batch(batch_size).prefetch(2))


def class_counts(split: Split) -> np.ndarray:
    """Returns how many examples each class has, int64 [classes], without decoding an image."""
    if split.labels is not None:
        labels = split.labels
    else:
        feature = {LABEL: tf.io.FixedLenFeature([], tf.int64)}
        records = split.examples.records(split.name).batch(_READ_BATCH)
        parsed = records.map(lambda batch: tf.io.parse_example(batch, feature)[LABEL])
        labels = np.concatenate(list(parsed.as_numpy_iterator()))
    return np.bincount(labels, minlength=len(split.examples.class_names))


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


def _parsed(split: Split, batch_size: int) -> tf.data.Dataset:
    return split.examples.records(split.name).batch(batch_size).map(split.examples.parse, PARALLEL)
