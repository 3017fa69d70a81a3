"""Fits the network: TFX's hook `run_fn`, and below it plain functions that know nothing of TFX."""

import hashlib
import json
import logging
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from models.augment import augment
from models.calibration import fit_temperature, scale_logits
from models.checkpoint import Checkpoint
from models.config import TrainingConfig
from models.export import export_model
from models.graph_summary import write_graph
from models.images import with_channels
from models.input_pipeline import (
    PARALLEL,
    Split,
    evaluation_batches,
    first_records,
    open_split,
    steps_per_epoch,
    training_batches,
)
from models.network import average_trunks, build_model, in_float32, multiply_adds, whitening_kernel
from models.objective import TrunkLoss, accuracy
from models.optimizer import Muon
from models.precision import training_policy
from models.preprocessing import read_statistics
from models.profile_report import read_profile
from models.profiling import StepProfiler
from models.schedule import Triangle
from models.warmup import BATCHES

REPORT_FILE = "training.json"
_TELL_SECONDS = 1.0

progress = logging.getLogger("progress")


class TrainingDivergedError(RuntimeError):
    """The loss is no number any more."""


def run_fn(fn_args) -> None:
    """TFX's hook for Trainer: reads the shards and the statistics, trains, and exports the model.

    Args:
      fn_args: `tfx.components.FnArgs`; its `custom_config` holds seed, image_shape, class_names and training.
    """
    settings = fn_args.custom_config
    config = TrainingConfig.from_dict(settings["training"])
    image_shape = tuple(settings["image_shape"])
    class_names = tuple(settings["class_names"])
    mean, variance = read_statistics(fn_args.transform_output, image_shape)
    train, val = (
        open_split(patterns, image_shape=image_shape, cache_mib=config.cache_mib)
        for patterns in (fn_args.train_files, fn_args.eval_files)
    )
    model, history = train_model(
        config,
        train,
        val,
        mean=mean,
        variance=variance,
        class_count=len(class_names),
        seed=settings["seed"],
        log_dir=Path(fn_args.model_run_dir),
        checkpoint_path=Path(settings["checkpoint_dir"], f"{_state_key(settings, fn_args)}.npz"),
    )
    export_model(model, fn_args.serving_model_dir, image_shape, class_names, first_records(val, max(BATCHES)))
    history["profile"] = read_profile(Path(fn_args.model_run_dir))
    Path(fn_args.model_run_dir, REPORT_FILE).write_text(json.dumps(history, indent=2) + "\n")


def _state_key(settings: dict, fn_args) -> str:
    """Names the state of a training by what decides it: settings, code, and the artifacts that it reads."""
    inputs = [settings, fn_args.train_files, fn_args.eval_files, fn_args.transform_output]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def train_model(
    config: TrainingConfig,
    train: Split,
    val: Split,
    *,
    mean: np.ndarray,
    variance: np.ndarray,
    class_count: int,
    seed: int,
    log_dir: Path,
    checkpoint_path: Path,
) -> tuple[keras.Model, dict]:
    """Trains a network.

    Args:
      config: network and recipe.
      train, val: opened splits.
      mean, variance: of each pixel over the training split, [height, width, channels].
      class_count: number of classes.
      seed: of weights, order and augmentation.
      log_dir: where TensorBoard's logs and the profile go.
      checkpoint_path: file that an interrupted training is taken up from; gone when it is complete.

    Returns:
      The model with the weights of its best epoch on `val`, in float32 and calibrated there, and a report: `epochs`
      run, `best_epoch`, `val_accuracy` of the returned model, `temperature` that its logits were divided by, the
      dtype policy it was trained in as `precision`, `parameters`, `multiply_adds` for an image, `examples_per_second`
      of training, and `history`, a dict for each epoch that this process ran.

    Raises:
      TrainingDivergedError: the loss became NaN or infinite.
    """
    keras.utils.set_random_seed(seed)
    # The same weights, bit for bit, from the same seed on the same kind of machine; it costs about 3 %.
    tf.config.experimental.enable_op_determinism()
    steps = steps_per_epoch(train, config.batch_size)
    model = compile_model(config, train, mean=mean, variance=variance, class_count=class_count, seed=seed)
    stopping = keras.callbacks.EarlyStopping(
        "val_accuracy", mode="max", patience=config.patience, restore_best_weights=True
    )
    checkpoint = Checkpoint(checkpoint_path, stopping)
    first_epoch = checkpoint.restore(model)
    progress.info(
        "%s parameters, %.1f M multiply-adds an image, %d steps an epoch, from epoch %d",
        f"{model.count_params():,}",
        multiply_adds(model) / 1e6,
        steps,
        first_epoch + 1,
    )
    telling = Progress(config.epochs, train.size)
    write_graph(model, log_dir / "train")
    model.fit(
        augmented_batches(train, config, class_count=class_count, seed=seed, first_epoch=first_epoch),
        initial_epoch=first_epoch,
        epochs=config.epochs,
        steps_per_epoch=steps,
        validation_data=evaluation_batches(val, batch_size=500).map(lambda x, y: (x, tf.one_hot(y, class_count))),
        verbose=0,
        shuffle=False,
        callbacks=[
            telling,
            keras.callbacks.TensorBoard(str(log_dir), write_graph=False, profile_batch=0),
            StepProfiler(str(log_dir / "train"), first_step=5, steps=10),
            stopping,
            checkpoint,
        ],
    )
    model = in_float32(average_trunks(model))
    logits, labels = _answers(model, val)
    temperature = fit_temperature(logits, labels)
    scale_logits(model, temperature)
    checkpoint.delete()
    return model, {
        "epochs": telling.epoch + 1,
        "best_epoch": stopping.best_epoch + 1,
        "val_accuracy": float(np.mean(np.argmax(logits, axis=-1) == labels)),
        "temperature": round(temperature, 4),
        "precision": training_policy(config.precision),
        "parameters": model.count_params(),
        "multiply_adds": multiply_adds(model),
        "examples_per_second": round(telling.examples_per_second, 1),
        "history": telling.history,
    }


def _answers(model: keras.Model, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns the model's logits, float32 [size, classes], and the labels, int64 [size]."""
    answers = [(model(images), labels) for images, labels in evaluation_batches(split, batch_size=500)]
    logits, labels = zip(*answers, strict=True)
    return np.concatenate(logits), np.concatenate(labels)


def compile_model(
    config: TrainingConfig, train: Split, *, mean: np.ndarray, variance: np.ndarray, class_count: int, seed: int
) -> keras.Model:
    """Builds the network for the images of `train`, to the logits of each trunk, with optimizer, schedule and loss."""
    sample, _ = next(evaluation_batches(train, batch_size=2000).as_numpy_iterator())
    stem = whitening_kernel(sample, mean, variance, config.network.stem_size)
    shape, policy = with_channels(train.image_shape), training_policy(config.precision)
    model = build_model(config.network, shape, class_count, mean, variance, stem, seed=seed, policy=policy)
    steps = steps_per_epoch(train, config.batch_size) * config.epochs
    model.compile(
        Muon(
            Triangle(config.learning_rate, steps, config.warmup),
            newton_schulz_dtype=keras.DTypePolicy(policy).compute_dtype,
        ),
        TrunkLoss(config.label_smoothing),
        metrics=[accuracy],
        jit_compile=False,
    )
    return model


def augmented_batches(
    train: Split, config: TrainingConfig, *, class_count: int, seed: int, first_epoch: int = 0
) -> tf.data.Dataset:
    """Returns endless training batches: images uint8 [batch, ...], augmented, and one-hot labels float32."""
    steps = steps_per_epoch(train, config.batch_size)

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
        return images, tf.one_hot(labels, class_count)

    batches = training_batches(train, batch_size=config.batch_size, seed=seed, first_epoch=first_epoch)
    return batches.map(prepare, PARALLEL).prefetch(PARALLEL)


class Progress(keras.callbacks.Callback):
    """Tells each epoch in a line and stops a training that diverged.

    Attributes:
      epoch: the last one, from 0.
      examples_per_second: of the last one, validation included.
      history: of each epoch: `epoch`, from 1, `loss`, `accuracy`, `val_loss`, `val_accuracy`, `seconds`, and the
        `learning_rate` that it ended with.
    """

    def __init__(self, epochs: int, examples: int) -> None:
        super().__init__()
        self._epochs, self._examples = epochs, examples
        self.history: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch
        self._started = self._told = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        now = time.monotonic()
        if now - self._told > _TELL_SECONDS:
            self._told = now
            steps = self.params["steps"]
            rate = (batch + 1) / steps * self._examples / (now - self._started)
            progress.debug(
                "epoch %d/%d: step %d/%d, %s images/s", self.epoch + 1, self._epochs, batch, steps, f"{rate:,.0f}"
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not np.isfinite(logs["loss"]):
            raise TrainingDivergedError(
                f"the training loss is {logs['loss']} after epoch {epoch + 1}; nothing is exported. "
                "Lower the learning rate (`learning_rate` in models/config.py)."
            )
        seconds = time.monotonic() - self._started
        self.examples_per_second = self._examples / seconds
        measured = {name: round(float(value), 6) for name, value in logs.items()}
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self.history.append({"epoch": epoch + 1, **measured, "seconds": round(seconds, 2), "learning_rate": rate})
        progress.info(
            "epoch %d/%d: loss %.4f, validation accuracy %.4f, %s images/s, %.0f s left",
            epoch + 1,
            self._epochs,
            logs["loss"],
            logs["val_accuracy"],
            f"{self.examples_per_second:,.0f}",
            (self._epochs - epoch - 1) * seconds,
        )
