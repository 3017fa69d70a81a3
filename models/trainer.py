"""Fits the network: TFX's hook `run_fn`, and below it plain functions that know nothing of TFX.

Synopsis:

    train, val = (open_split(examples, split, memory=2**30, scratch=folder) for split in ("train", "val"))
    moments = {"mean": mean, "variance": variance}                              # of each pixel, float64 [28, 28, 1]
    paths = {"log_dir": folder, "checkpoint_path": folder / "state.npz"}
    trained, report = train_model(config, train, val, **moments, seed=42, **paths)      # models.trained.Trained
    trained.model()(images), report["val_accuracy"]
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import logging
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from models.calibration import fit_temperature
from models.checkpoint import Checkpoint
from models.config import TrainingConfig
from models.examples import Examples
from models.features import TRAIN, VAL
from models.graph_summary import multiply_adds, write_graph
from models.images import as_written, with_channels
from models.input_pipeline import Split, evaluation_batches, open_split
from models.memory import inference_rows
from models.precision import training_policy
from models.preprocessing import read_statistics
from models.profile_report import read_profile
from models.profiling import StepProfiler
from models.progress import Progress
from models.recipe import augmented_batches, compile_model, decide_flip, pace_of
from models.search_space import with_values
from models.trained import Trained, read_trained, save_trained

REPORT_FILE = "training.json"
# Of the budget; the rest is the network's.
TRAIN_SHARE, VAL_SHARE = 1 / 2, 1 / 8

# Validation images from which on the first of equally good epochs is kept: one image is 0.2 points then, as much as two
# seeds differ by, and of fewer more are equal by chance.
_TELLING = 500

# By the folder of TensorBoard's logs, what an epoch's line of them is named by.
_CURVES = {"train": ("loss", "accuracy", "learning_rate"), "validation": ("val_loss", "val_accuracy")}

progress = logging.getLogger("progress")


def run_fn(fn_args) -> None:
    """TFX's hook for Trainer: reads the examples and their statistics, trains, and leaves what was learned.

    Nothing is exported here; that is the Exporter's job, and so is to delete the last checkpoint behind it. The report
    is `training.json` in the model run.

    Args:
      fn_args: `tfx.components.FnArgs`; its `custom_config` holds `seed`, `training` (a `TrainingConfig`) and
        `code_digest`, which are part of the cache key, and, from the executor, `examples` (`folder` and `properties` of
        the artifact), `checkpoint_dir` and `memory` (the budget in bytes), which are not.
    """
    settings = dict(fn_args.custom_config)
    artifact, checkpoint_dir, memory = (settings.pop(name) for name in ("examples", "checkpoint_dir", "memory"))
    examples = Examples.open(artifact["folder"], artifact["properties"])
    config = TrainingConfig.from_dict(settings["training"])
    if fn_args.hyperparameters:
        # KerasTuner's, from a search.
        config = with_values(config, fn_args.hyperparameters["values"])
        settings["training"] = dataclasses.asdict(config)
    mean, variance = read_statistics(fn_args.transform_output, examples.image_shape)
    start = read_trained(Path(fn_args.base_model)) if fn_args.base_model else None
    key = _state_key([settings, start.digest()] if start else settings, examples, mean, variance)
    checkpoint_path = Path(checkpoint_dir, f"{key}.npz")
    # Beside the checkpoints, on the disk of the output root: a temporary folder may lie in memory.
    scratch = checkpoint_path.parent
    scratch.mkdir(parents=True, exist_ok=True)
    with (
        open_split(
            examples, TRAIN, memory=TRAIN_SHARE * memory, scratch=scratch, streamed=not config.input.cached
        ) as train,
        open_split(examples, VAL, memory=VAL_SHARE * memory, scratch=scratch) as val,
    ):
        trained, report = train_model(
            config,
            train,
            val,
            mean=mean,
            variance=variance,
            seed=settings["seed"] if config.seed is None else config.seed,
            log_dir=Path(fn_args.model_run_dir),
            checkpoint_path=checkpoint_path,
            start=start,
        )
    report["profile"] = read_profile(Path(fn_args.model_run_dir))
    # Until ML Metadata knows what was learned, only this file saves another training; the Exporter deletes it.
    report["checkpoint"] = checkpoint_path.name
    Path(fn_args.model_run_dir, REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n")
    # Where TFX looks for a model.
    save_trained(Path(fn_args.serving_model_dir), trained)


def _state_key(settings: dict | list, examples: Examples, mean: np.ndarray, variance: np.ndarray) -> str:
    """Names the state of a training by what decides it: settings, code and data, wherever they lie."""
    inputs = json.dumps([settings, examples.digest, statistics_digest(mean, variance)], sort_keys=True)
    return hashlib.sha256(inputs.encode()).hexdigest()[:16]


def statistics_digest(mean: np.ndarray, variance: np.ndarray) -> str:
    """Names the statistics that a network standardizes with by their content."""
    return hashlib.sha256(mean.tobytes() + variance.tobytes()).hexdigest()


def train_model(
    config: TrainingConfig,
    train: Split,
    val: Split,
    *,
    mean: np.ndarray,
    variance: np.ndarray,
    seed: int,
    log_dir: Path,
    checkpoint_path: Path,
    hopeless: Callable[[list[float]], bool] | None = None,
    profiled: bool = True,
    start: Trained | None = None,
) -> tuple[Trained, dict]:
    """Trains a network.

    Args:
      config: network and recipe.
      train, val: opened splits.
      mean, variance: of each pixel over the training split, [height, width, channels].
      seed: of weights, order and augmentation.
      log_dir: where TensorBoard's logs and the profile go.
      checkpoint_path: file that an interrupted training is taken up from; the caller's to delete, once what was
        learned is exported.
      hopeless: asked after each epoch, with the validation accuracies so far, whether to give up.
      profiled: whether some steps are traced for TensorBoard's profiler, and the graph is written.
      start: what was learned before, to begin with by the recipe's warm schedule, if it is of this network.

    Returns:
      The network with the weights of its best epoch on `val`, calibrated there, and a report: `epochs` run,
      `stopped_early`, `best_epoch`, `val_accuracy` of the network in float32, `temperature` that its logits are
      divided by, the dtype policy it was trained in as `precision`, whether it began with `start` as `warm_start`,
      whether images were mirrored as `flip` and why as `flip_reason`, whether the network answers for both sides of an
      image as `mirrored_view`, `parameters`, `multiply_adds` for an image,
      the share of images that is left out of a step as `pruned`, `examples_per_second` that were fitted in the last
      epoch, validation included, and
      `history`, a dict for each epoch (see `Progress`), whichever process ran it. The `val_loss` of an ensemble is that
      of the mean of its members (and of both sides), its `loss` the sum of theirs.

    Raises:
      TrainingDivergedError: the loss or a weight became NaN or infinite.
    """
    keras.utils.set_random_seed(seed)
    # The same weights, bit for bit, from the same seed on the same kind of machine with as many cores; it costs 3 %.
    tf.config.experimental.enable_op_determinism()
    asked_view = config.network.mirrored_view
    config, flip_reason = decide_flip(config, train)
    progress.info("mirrored: %s; %s", "yes" if config.flip else "no", flip_reason)
    if asked_view and not config.flip:
        progress.info("no mirrored view (training.network.mirrored_view): the training does not mirror")
    warm = start is not None and not (obstacle := start.obstacle(config.network, train.examples))
    if start is not None:
        progress.info("begun with what the served model learned" if warm else f"begun anew: {obstacle}")
    config = config.warmed if warm else config
    pace = pace_of(config, train)
    shape, classes = with_channels(train.examples.image_shape), len(train.examples.class_names)
    asked = evaluation_batches(val, batch_size=inference_rows(shape))
    model = compile_model(config, train, mean=mean, variance=variance, seed=seed)
    if warm:
        start.begin(model)
    kind = _LatestOfEquals if val.size < _TELLING else keras.callbacks.EarlyStopping
    stopping = kind("val_accuracy", mode="max", patience=config.epochs_of_patience, restore_best_weights=True)
    history: list[dict] = []
    checkpoint = Checkpoint(checkpoint_path, stopping, history)
    first_epoch, epochs = checkpoint.restore(model, config.epochs)
    additions = multiply_adds(model, shape)
    progress.info(
        "%s parameters, %.1f M multiply-adds an image%s, %d steps of %d images%s an epoch, from epoch %d",
        f"{model.count_params():,}",
        additions / 1e6,
        _seen_at(model),
        pace.steps,
        pace.batch_size,
        f", chosen of {pace.offered}," if pace.prunes else "",
        first_epoch + 1,
    )
    if config.prune and train.streamed:
        progress.info("none is left out of a pass (training.prune): the images are streamed")
    if first_epoch:
        write_curves(history, log_dir)
    if profiled:
        write_graph(model, shape, log_dir / "train")
    model.fit(
        augmented_batches(train, config, seed=seed, first_epoch=first_epoch),
        initial_epoch=first_epoch,
        epochs=epochs,
        steps_per_epoch=pace.steps,
        validation_data=asked.map(as_written(lambda x, y: (x, tf.one_hot(y, classes)))),
        verbose=0,
        shuffle=False,
        callbacks=[
            Progress(config.epochs, pace.steps * pace.batch_size, history, config.peak_rate),
            keras.callbacks.TensorBoard(str(log_dir), write_graph=False, profile_batch=0),
            *([StepProfiler(str(log_dir / "train"), first_step=5, steps=10)] if profiled else []),
            *([_GiveUp(hopeless, history)] if hopeless else []),
            stopping,
            checkpoint,
        ],
    )
    if len(history) < config.epochs:
        progress.info(
            "stopped after epoch %d of %d: none of the last %d was better than epoch %d",
            len(history),
            config.epochs,
            config.epochs_of_patience,
            stopping.best_epoch + 1,
        )
    trained = Trained(
        network=config.network,
        image_shape=train.examples.image_shape,
        class_names=train.examples.class_names,
        mean=mean,
        variance=variance,
        temperature=1.0,
        weights=model.get_weights(),
    )
    logits, labels = _answers(trained.model(), asked)
    trained = dataclasses.replace(trained, temperature=fit_temperature(logits, labels))
    return trained, {
        "epochs": len(history),
        "stopped_early": len(history) < config.epochs,
        "best_epoch": stopping.best_epoch + 1,
        "val_accuracy": float(np.mean(np.argmax(logits, axis=-1) == labels)),
        "temperature": round(trained.temperature, 4),
        "precision": training_policy(config.precision),
        "warm_start": warm,
        "flip": config.flip,
        "flip_reason": flip_reason,
        "mirrored_view": config.network.mirrored_view,
        "parameters": model.count_params(),
        "multiply_adds": additions,
        "pruned": round(1 - pace.batch_size / pace.offered, 4),
        "examples_per_second": round(pace.steps * pace.batch_size / history[-1]["seconds"], 1),
        "history": history,
    }


def write_curves(history: list[dict], log_dir: Path) -> None:
    """Writes epochs that another process has run, as Keras's TensorBoard callback writes those of this one."""
    for folder, names in _CURVES.items():
        writer = tf.summary.create_file_writer(str(log_dir / folder))
        with contextlib.closing(writer), writer.as_default():
            for epoch in history:
                for name in names:
                    tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", epoch[name], step=epoch["epoch"] - 1)


class _GiveUp(keras.callbacks.Callback):
    """Ends a training whose learning curve is hopeless."""

    def __init__(self, hopeless: Callable[[list[float]], bool], history: list[dict]) -> None:
        super().__init__()
        self._hopeless, self._history = hopeless, history

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self._hopeless([told["val_accuracy"] for told in self._history]):
            self.model.stop_training = True


class _LatestOfEquals(keras.callbacks.EarlyStopping):
    """Keeps the latest of equally good epochs, for the learning rate falls; none of them is a reason to stop."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.best_weights is not None and logs[self.monitor] == self.best:
            self.best_epoch, self.best_weights, self.wait = epoch, self.model.get_weights(), 0
            return
        super().on_epoch_end(epoch, logs)


def _seen_at(model: keras.Model) -> str:
    """Returns in words at how many positions the stem sees an image, if the network has a stem."""
    inner = (layer.layers for layer in model.layers if isinstance(layer, keras.Model))
    stem = next((layer for layer in itertools.chain(model.layers, *inner) if layer.name == "stem"), None)
    return "" if stem is None else " seen at {}x{} positions".format(*stem.output.shape[1:3])


def _answers(model: keras.Model, batches: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns the model's logits, float32 [size, classes], and the labels, int64 [size]."""
    shape, _ = batches.element_spec
    # As a graph: called by itself a model holds what each of its layers gave until the last one has (docs/LOG.md).
    ask = tf.function(lambda images: model(images, training=False), input_signature=[shape], autograph=False)
    answers = [(ask(images), labels) for images, labels in batches]
    logits, labels = zip(*answers, strict=True)
    return np.concatenate(logits), np.concatenate(labels)
