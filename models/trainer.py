"""Fits the network: TFX's hook `run_fn`, and below it plain functions that know nothing of TFX."""

import logging
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from models.augment import augment
from models.config import TrainingConfig
from models.export import export_model
from models.images import with_channels
from models.input_pipeline import (
    Split,
    evaluation_batches,
    open_split,
    steps_per_epoch,
    training_batches,
)
from models.network import NetworkConfig, build_model, multiply_adds
from models.optimizer import Muon
from models.preprocessing import read_statistics
from models.profiling import StepProfiler
from models.schedule import Triangle

progress = logging.getLogger("progress")


class TrainingDivergedError(RuntimeError):
    """The loss is no number any more."""


def run_fn(fn_args) -> None:
    """TFX's hook for Trainer: reads the shards and the statistics, trains, and exports the model.

    Args:
      fn_args: `tfx.components.FnArgs`; its `custom_config` holds seed, image_shape, class_names and training.
    """
    settings = fn_args.custom_config
    config = TrainingConfig(**settings["training"])
    image_shape = tuple(settings["image_shape"])
    class_names = tuple(settings["class_names"])
    mean, variance = read_statistics(fn_args.transform_output, image_shape)
    train, val = (
        open_split(patterns, image_shape=image_shape, cache_mib=config.cache_mib)
        for patterns in (fn_args.train_files, fn_args.eval_files)
    )
    model = train_model(
        config,
        train,
        val,
        mean=mean,
        variance=variance,
        class_count=len(class_names),
        seed=settings["seed"],
        log_dir=fn_args.model_run_dir,
    )
    export_model(model, fn_args.serving_model_dir, image_shape, class_names)


def train_model(
    config: TrainingConfig,
    train: Split,
    val: Split,
    *,
    mean: np.ndarray,
    variance: np.ndarray,
    class_count: int,
    seed: int,
    log_dir: str,
) -> keras.Model:
    """Trains a network and returns it with the weights of its best epoch on `val`.

    Args:
      config: network and recipe.
      train, val: opened splits.
      mean, variance: of each pixel over the training split, [height, width, channels].
      class_count: number of classes.
      seed: of weights, order and augmentation.
      log_dir: where TensorBoard's logs and the profile go.

    Raises:
      TrainingDivergedError: the loss became NaN or infinite.
    """
    keras.utils.set_random_seed(seed)
    steps = steps_per_epoch(train, config.batch_size)
    model = build_model(
        NetworkConfig(widths=tuple(config.widths)),
        with_channels(train.image_shape),
        class_count,
        mean,
        variance,
        seed=seed,
    )
    model.compile(
        Muon(Triangle(config.peak, steps * config.epochs, 0.1)),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing),
        metrics=["accuracy"],
        jit_compile=False,
    )
    progress.info(
        "%s parameters, %.1f M multiply-adds an image, %d steps an epoch",
        f"{model.count_params():,}",
        multiply_adds(model) / 1e6,
        steps,
    )
    model.fit(
        augmented_batches(train, config, class_count=class_count, seed=seed),
        epochs=config.epochs,
        steps_per_epoch=steps,
        validation_data=evaluation_batches(val, batch_size=500).map(lambda x, y: (x, tf.one_hot(y, class_count))),
        verbose=0,
        callbacks=[
            keras.callbacks.TensorBoard(str(Path(log_dir)), write_graph=True, profile_batch=0),
            StepProfiler(str(Path(log_dir, "train")), first_step=5, steps=10),
            keras.callbacks.EarlyStopping("val_accuracy", patience=config.patience, restore_best_weights=True),
            _Progress(config.epochs, train.size),
        ],
    )
    return model


def augmented_batches(
    train: Split, config: TrainingConfig, *, class_count: int, seed: int, first_epoch: int = 0
) -> tf.data.Dataset:
    """Returns endless training batches: images uint8 [batch, ...], augmented, and one-hot labels float32."""

    def prepare(step: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = augment(
            images,
            [seed, tf.cast(step, tf.int32)],
            flip=config.flip,
            shift=config.shift,
            erase=config.erase,
        )
        return images, tf.one_hot(labels, class_count)

    batches = training_batches(train, batch_size=config.batch_size, seed=seed, first_epoch=first_epoch)
    return batches.map(prepare, tf.data.AUTOTUNE).prefetch(4)


class _Progress(keras.callbacks.Callback):
    """Tells each epoch in a line and stops a training that diverged."""

    def __init__(self, epochs: int, examples: int) -> None:
        super().__init__()
        self._epochs, self._examples = epochs, examples

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not np.isfinite(logs["loss"]):
            raise TrainingDivergedError(
                f"the training loss is {logs['loss']} after epoch {epoch + 1}; nothing is exported. "
                "Lower the learning rate (`peak` in models/config.py)."
            )
        seconds = time.monotonic() - self._started
        progress.info(
            "epoch %d/%d: loss %.4f, validation accuracy %.4f, %s images/s, %.0f s left",
            epoch + 1,
            self._epochs,
            logs["loss"],
            logs["val_accuracy"],
            f"{self._examples / seconds:,.0f}",
            (self._epochs - epoch - 1) * seconds,
        )
