"""Feeds training and evaluation from TFRecord shards without ever making a step wait.

Where the decoded uint8 images fit into memory they are parsed once, batch by batch, and each training step gathers its
rows by a stateless permutation: no scalar op, no shuffle buffer, and the order of any epoch follows from the seed and
its number alone, so that a resumed training sees the batches that the unbroken one would have seen. Larger sets are
streamed from the shards through a shuffle buffer.

Synopsis:

    source = open_split(files, image_shape=(28, 28), cache_mib=1024)
    for images, labels in training_batches(source, batch_size=250, seed=42, epochs=8): ...
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from models.images import parse_examples, with_channels

# Batches that are made, and kept ready, at the same time; one of Fashion-MNIST has 196 kB.
PARALLEL = 4
_READ_BATCH = 2048
_SHUFFLE_BUFFER = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """A split of the examples, opened for reading.

    Attributes:
      files: its TFRecord shards, in order.
      image_shape: (height, width) or (height, width, channels) of the records.
      size: number of examples.
      images: uint8 [size, height, width, channels] where they are cached, else None.
      labels: int64 [size] likewise.
    """

    files: tuple[str, ...]
    image_shape: tuple[int, ...]
    size: int
    images: np.ndarray | None = None
    labels: np.ndarray | None = None


def open_split(patterns: list[str], *, image_shape: tuple[int, ...], cache_mib: float) -> Split:
    """Opens the shards that match `patterns`, and decodes them into memory if that takes at most `cache_mib` MiB.

    Raises:
      FileNotFoundError: no file matches.
    """
    files = tuple(sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern)))
    if not files:
        raise FileNotFoundError(f"no TFRecord shard matches {patterns}")
    size = int(_records(files).batch(_READ_BATCH).reduce(np.int64(0), lambda count, batch: count + _length(batch)))
    if size * math.prod(image_shape) > cache_mib * 2**20:
        return Split(files=files, image_shape=image_shape, size=size)
    batches = _parsed(files, image_shape, _READ_BATCH).as_numpy_iterator()
    images = np.empty((size, *with_channels(image_shape)), np.uint8)
    labels = np.empty(size, np.int64)
    start = 0
    for batch_images, batch_labels in batches:
        images[start : start + len(batch_labels)] = batch_images
        labels[start : start + len(batch_labels)] = batch_labels
        start += len(batch_labels)
    return Split(files=files, image_shape=image_shape, size=size, images=images, labels=labels)


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Returns how many full batches an epoch has; what is left over is in another place of the next permutation."""
    return max(1, split.size // batch_size)


def training_batches(split: Split, *, batch_size: int, seed: int, first_epoch: int = 0) -> tf.data.Dataset:
    """Returns endless batches, each epoch in an order of its own.

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
                _records(split.files)
                .shuffle(_SHUFFLE_BUFFER, seed=epoch * 1_000_003 + seed, reshuffle_each_iteration=False)
                .batch(batch_size, drop_remainder=True)
                .take(steps)
            )
        )
        parsed = stream.map(lambda records: parse_examples(records, split.image_shape), PARALLEL)
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
        return untuned(_parsed(split.files, split.image_shape, batch_size).prefetch(2))
    return untuned(tf.data.Dataset.from_tensor_slices((split.images, split.labels)).batch(batch_size).prefetch(2))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the data set without tf.data's autotuning.

    Its thread sleeps for twice as long each time, up to a minute, and closing an iterator waits for it to wake: a
    training of a minute ended half a minute after its last step (docs/LOG.md).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def first_records(split: Split, count: int) -> list[bytes]:
    """Returns the first `count` serialized `tf.train.Example`s of the shards, or all where there are fewer."""
    return list(_records(split.files).take(count).as_numpy_iterator())


def _records(files: tuple[str, ...]) -> tf.data.Dataset:
    """Returns the serialized records of the shards, in order; TFRecord compression goes by the ending."""
    compression = "GZIP" if files[0].endswith(".gz") else ""
    return tf.data.TFRecordDataset(list(files), compression, buffer_size=1 << 20)


def _parsed(files: tuple[str, ...], image_shape: tuple[int, ...], batch_size: int) -> tf.data.Dataset:
    records = _records(files).batch(batch_size)
    return records.map(lambda batch: parse_examples(batch, image_shape), PARALLEL)


def _length(batch: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.shape(batch)[0], tf.int64)
