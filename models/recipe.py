"""What a `TrainingConfig` means: a network with optimizer, schedule and loss, and the batches that it is fitted to.

Synopsis:

    model = compile_model(config, train, mean=mean, variance=variance, seed=42)         # train: an opened split
    model.fit(augmented_batches(train, config, seed=42), steps_per_epoch=pace_of(config, train).steps, shuffle=False)
"""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from models.augment import augment, augment_further, check_augmentations
from models.config import TrainingConfig
from models.images import as_written, with_channels
from models.input_pipeline import (
    Split,
    batches_at_once,
    class_counts,
    drawn_rows,
    evaluation_batches,
    steps_per_epoch,
    training_batches,
    typical_rows,
)
from models.memory import block_rows
from models.mirror import LOOKED_AT, judge_mirroring, views_of
from models.networks import NetworkInputs, build_network, check_kind
from models.objective import SmoothedCrossEntropy, accuracy, balanced_weights
from models.optimizer import Muon
from models.precision import training_policy
from models.pruning import pruned
from models.schedule import Triangle

# Images that are averaged down at a time.
_VIEWED = 200
# Pixel bytes of a batch at most, unless that left too few images for the batch norm: 111 images of 224x224x3. Kept
# ready, augmented and standardized, a batch takes many times as much.
_BATCH_BYTES, _FEWEST = 2**24, 16
# Batches that a pass has at least: of larger ones a small set is learned from less well (docs/LOG.md).
_FEWEST_BATCHES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a training goes through its images.

    Attributes:
      batch_size: images a step is fitted to.
      offered: images that these are chosen from; all of them unless some are pruned.
      passes: over the images, an epoch; each has an order, and a side of each image, of its own.
      steps: an epoch.
    """

    batch_size: int
    offered: int
    passes: int
    steps: int

    @property
    def prunes(self) -> bool:
        """Whether a step is fitted to some of what it is offered."""
        return self.offered > self.batch_size


def largest_batch(size: int, image_shape: tuple[int, ...]) -> int:
    """Returns how many of `size` images a step is fitted to at most, whatever `batch_size` says."""
    return min(size, max(_FEWEST, min(_BATCH_BYTES // math.prod(image_shape), size // _FEWEST_BATCHES)))


def pace_of(config: TrainingConfig, train: Split) -> Pace:
    """Returns the pace of a training: no batch that is most of the split or of the memory, no epoch of a few steps."""
    batch_size = min(config.batch_size, largest_batch(train.size, train.examples.image_shape))
    # What is streamed has no rows to be remembered by.
    prune = 0.0 if train.streamed else config.prune
    offered = min(train.size, round(batch_size / (1 - prune)))
    a_pass = steps_per_epoch(train, offered)
    passes = -(-config.min_epoch_steps // a_pass)
    return Pace(batch_size=batch_size, offered=offered, passes=passes, steps=passes * a_pass)


def check_names(config: TrainingConfig) -> None:
    """Raises `ValueError` unless network and augmentations of these names are registered."""
    check_augmentations(config.augmentations)
    try:
        check_kind(config.network.kind)
    except ValueError as error:
        raise ValueError(f"network.{error}") from None


def decide_flip(config: TrainingConfig, train: Split) -> tuple[TrainingConfig, str]:
    """Decides what `flip` leaves open, from the training images alone, so that a resumed training does the same.

    Returns:
      The recipe with `flip` true or false, whose network has a mirrored view only if that is true, and why.
    """
    flip, reason = config.flip, "as asked (training.flip)"
    if flip is None:
        flip, reason = _judged(train)
    network = dataclasses.replace(config.network, mirrored_view=config.network.mirrored_view and flip)
    return dataclasses.replace(config, flip=flip, network=network), reason


def _judged(train: Split) -> tuple[bool, str]:
    """Returns whether images are mirrored, and why."""
    views, labels = [], []
    viewed = min(_VIEWED, block_rows(train.examples.image_shape))
    batches = evaluation_batches(train, batch_size=viewed, rows=typical_rows(train.examples, train.name, LOOKED_AT))
    for images, batch_labels in batches.as_numpy_iterator():
        views.append(views_of(images))
        labels.append(batch_labels)
    plain, mirrored = (np.concatenate(side) for side in zip(*views, strict=True))
    return judge_mirroring(plain, mirrored, np.concatenate(labels), train.examples.class_names)


def compile_model(
    config: TrainingConfig, train: Split, *, mean: np.ndarray, variance: np.ndarray, seed: int
) -> keras.Model:
    """Builds the network for the images of `train`, with optimizer, schedule and loss."""
    shape = with_channels(train.examples.image_shape)
    inputs = NetworkInputs(
        input_shape=shape,
        classes=len(train.examples.class_names),
        mean=mean,
        variance=variance,
        sample=train.sample(),
    )
    policy = training_policy(config.precision)
    model = build_network(config.network, inputs, seed=seed, policy=policy)
    pace = pace_of(config, train)
    if pace.prunes:
        model = pruned(model, shape, size=train.size, batch_size=pace.batch_size, seed=seed)
    # Whatever makes variables in its first step has TensorFlow trace that step twice: a function as a metric, for one,
    # and an optimizer that is not built.
    right = keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")
    model.compile(
        _optimizer(config, pace.steps * config.epochs, policy),
        SmoothedCrossEntropy(config.label_smoothing),
        **{"weighted_metrics" if pace.prunes else "metrics": [right]},
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _optimizer(config: TrainingConfig, steps: int, policy: str) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a training of so many steps, with its schedule."""
    rate = Triangle(config.peak_rate, steps, config.warmup)
    if config.optimizer == "adam":
        return keras.optimizers.Adam(rate)
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
    return Muon(rate, newton_schulz_dtype=keras.DTypePolicy(policy).compute_dtype)


def augmented_batches(train: Split, config: TrainingConfig, *, seed: int, first_epoch: int = 0) -> tf.data.Dataset:
    """Returns endless training batches, beginning with those of an epoch of the training (`Pace`), from 0.

    Args:
      train: an opened split.
      config: the recipe, whose `flip` is decided (`decide_flip`).
      seed: of order and augmentation.
      first_epoch: where a resumed training goes on.

    Returns:
      Batches of images uint8 [offered, height, width, channels], augmented, and one-hot labels float32
      [offered, classes]; where some are pruned also their rows, int64 [offered]; with class weights also the weight of
      each image in the loss, float32 [offered].
    """
    pace, classes = pace_of(config, train), len(train.examples.class_names)
    steps = pace.steps // pace.passes
    weights = None if config.class_weights == "none" else tf.constant(balanced_weights(class_counts(train)))

    def prepare(step: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        images = augment(
            images,
            [seed, tf.cast(step, tf.int32)],
            epoch=step // steps,
            flip=config.flip,
            shift=config.shift,
            erase=config.erase,
            erase_share=config.erase_share,
        )
        images = augment_further(images, [seed, tf.cast(step, tf.int32)], config.augmentations)
        batch = [images, tf.one_hot(labels, classes)]
        if pace.prunes:
            batch.append(drawn_rows(train, step, **drawing))
        if weights is not None:
            batch.append(tf.gather(weights, labels))
        return tuple(batch)

    drawing = {"batch_size": pace.offered, "seed": seed, "settings": config.input}
    batches = training_batches(train, first_epoch=first_epoch * pace.passes, **drawing)
    parallel, ready = (
        batches_at_once(train, pace.offered, most) for most in (config.input.parallel, config.input.prefetch)
    )
    # A person's augmentation may be written as Python that AutoGraph has to make a graph of; ours are not.
    written = prepare if config.augmentations else as_written(prepare)
    return batches.map(written, parallel).prefetch(ready)
