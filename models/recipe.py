"""What a `TrainingConfig` means: a network with optimizer, schedule and loss, and the batches that it is fitted to.

Synopsis:

    model = compile_model(config, train, mean=mean, variance=variance, seed=42)         # train: an opened split
    model.fit(augmented_batches(train, config, seed=42), steps_per_epoch=3, shuffle=False)
"""

import math

import keras
import numpy as np
import tensorflow as tf

from models.augment import augment, augment_further, check_augmentations
from models.config import TrainingConfig
from models.images import with_channels
from models.input_pipeline import Split, parallel_batches, steps_per_epoch, training_batches
from models.memory import MIB, rows_within
from models.networks import NetworkInputs, build_network, check_kind
from models.objective import SmoothedCrossEntropy, accuracy
from models.optimizer import Muon
from models.precision import training_policy
from models.schedule import Triangle

# Images from which a network may derive weights; not a share of the budget, for what is derived would vary with it.
_SAMPLE, _SAMPLE_BYTES = 2000, 32 * MIB


def check_names(config: TrainingConfig) -> None:
    """Raises `ValueError` unless network and augmentations of these names are registered."""
    check_augmentations(config.augmentations)
    try:
        check_kind(config.network.kind)
    except ValueError as error:
        raise ValueError(f"network.{error}") from None


def compile_model(
    config: TrainingConfig, train: Split, *, mean: np.ndarray, variance: np.ndarray, seed: int
) -> keras.Model:
    """Builds the network for the images of `train`, with optimizer, schedule and loss."""
    shape = with_channels(train.examples.image_shape)
    sampled = min(train.size, rows_within(_SAMPLE_BYTES, math.prod(shape), most=_SAMPLE))
    inputs = NetworkInputs(
        input_shape=shape,
        classes=len(train.examples.class_names),
        mean=mean,
        variance=variance,
        sample=train.gather(tf.range(sampled, dtype=tf.int64)).numpy(),
    )
    policy = training_policy(config.precision)
    model = build_network(config.network, inputs, seed=seed, policy=policy)
    steps = steps_per_epoch(train, config.batch_size) * config.epochs
    model.compile(
        Muon(
            Triangle(config.learning_rate, steps, config.warmup),
            newton_schulz_dtype=keras.DTypePolicy(policy).compute_dtype,
        ),
        SmoothedCrossEntropy(config.label_smoothing),
        metrics=[accuracy],
        jit_compile=False,
    )
    return model


def augmented_batches(train: Split, config: TrainingConfig, *, seed: int, first_epoch: int = 0) -> tf.data.Dataset:
    """Returns endless training batches: images uint8 [batch, ...], augmented, and one-hot labels float32."""
    steps, classes = steps_per_epoch(train, config.batch_size), len(train.examples.class_names)

    def prepare(step: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
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
        return images, tf.one_hot(labels, classes)

    batches = training_batches(train, batch_size=config.batch_size, seed=seed, first_epoch=first_epoch)
    ready = parallel_batches(train, config.batch_size)
    return batches.map(prepare, ready).prefetch(ready)
