"""Our tf.data pipeline against the usual one, and a training epoch fed by it against one constant batch.

python -m benchmarks.input_pipeline KIND FOLDER      # one epoch of one kind of pipeline, for its peak memory
"""

import dataclasses
import functools
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import numpy as np
import tensorflow as tf

from benchmarks.process import ROOT, measure
from benchmarks.report import table
from components.example_gen.dataset import inspect_dataset
from components.example_gen.ingest import SplitSettings, write_examples
from models.examples import Examples
from models.features import IMAGE, LABEL, TRAIN
from models.input_pipeline import open_split, training_batches, untuned
from models.recipe import augmented_batches, compile_model, pace_of
from pipeline.presets import preset

TITLE = "Input pipeline"
REPEATS = 5
_BATCH = 250
_PROPERTIES = "examples.json"


def usual_batches(examples: Examples) -> tf.data.Dataset:
    """Returns batches as tutorials make them: a scalar parse and decode for each record, then shuffle and batch."""

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = {IMAGE: tf.io.FixedLenFeature([], tf.string), LABEL: tf.io.FixedLenFeature([], tf.int64)}
        example = tf.io.parse_single_example(record, features)
        image = tf.ensure_shape(tf.io.parse_tensor(example[IMAGE], tf.uint8), examples.image_shape)
        return image[..., tf.newaxis], example[LABEL]

    parsed = tf.data.TFRecordDataset(list(map(str, examples.shards(TRAIN)))).map(parse, tf.data.AUTOTUNE)
    return parsed.shuffle(10_000, seed=0).batch(_BATCH, drop_remainder=True).repeat().prefetch(tf.data.AUTOTUNE)


def benchmark(repeats: int) -> str:
    """Returns the section's text."""
    with tempfile.TemporaryDirectory() as scratch:
        examples = write_records(Path(scratch))
        cached = open_split(examples, TRAIN, memory=math.inf, scratch=Path(scratch))
        return "\n\n".join(
            [_throughput(examples, repeats), _epochs(cached, repeats), _memory(examples.folder, Path(scratch), repeats)]
        )


def write_records(folder: Path) -> Examples:
    """Writes the real images as examples below `folder`, which `open_records` opens in another process."""
    settings = SplitSettings(
        sizes=(None, 5_000, None), shards=(4, 1, 2), seed=0, stratified=True, encoding="tensor", compression=""
    )
    plain = folder / "plain"
    plain.mkdir()
    dataset = inspect_dataset(ROOT / "data")
    new_pipeline = functools.partial(beam.Pipeline, argv=["--runner=FnApiRunner"])
    examples = write_examples(dataset, settings, folder / "examples", plain, new_pipeline)
    (examples.folder / _PROPERTIES).write_text(json.dumps(examples.properties()))
    return examples


def open_records(folder: Path) -> Examples:
    """Returns what `write_records` wrote, given the folder of the examples."""
    return Examples.open(folder, json.loads((folder / _PROPERTIES).read_text()))


_KINDS = {
    "usual: parse_single_example, parse_tensor, shuffle, batch": usual_batches,
    "ours, from the scratch file": lambda examples: _ours(examples, memory=0),
    "ours, from memory": lambda examples: _ours(examples, memory=math.inf),
}


def _ours(examples: Examples, memory: float) -> tf.data.Dataset:
    split = open_split(examples, TRAIN, memory=memory, scratch=examples.folder)
    return training_batches(split, batch_size=_BATCH, seed=0)


def _throughput(examples: Examples, repeats: int) -> str:
    """Images a second of one epoch of batches, without augmentation, in turn."""
    sources = {name: make(examples) for name, make in _KINDS.items()}
    steps = examples.counts[TRAIN] // _BATCH
    rates = {name: [] for name in sources}
    for _ in range(repeats):
        for name, source in sources.items():
            iterator = iter(source)
            next(iterator)
            seconds = _seconds(lambda iterator=iterator: [next(iterator) for _ in range(steps - 1)])
            rates[name].append((steps - 1) * _BATCH / seconds)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    slowest = next(iter(middle.values()))
    rows = [[name, f"{rate:,.0f}", rate / slowest] for name, rate in middle.items()]
    return f"Batches of {_BATCH}, one epoch, first batch not counted:\n\n" + table(
        [f"{repeats} runs each", "images/s", "ratio"], rows
    )


def _epochs(cached, repeats: int) -> str:
    """Seconds of a training epoch on our pipeline, augmentation included, and on one constant batch, in turn."""
    config = dataclasses.replace(preset("fast").training, flip=True)
    pixels = cached.images.astype(np.float64)
    model = compile_model(config, cached, mean=pixels.mean(axis=0), variance=pixels.var(axis=0), seed=0)
    steps = pace_of(config, cached).steps
    fed = augmented_batches(cached, config, seed=0)
    constant = untuned(tf.data.Dataset.from_tensors(next(iter(fed))).repeat())
    seconds = {"one constant batch": [], "our pipeline": []}
    model.fit(fed, steps_per_epoch=3, verbose=0)
    for _ in range(repeats):
        for name, source in (("one constant batch", constant), ("our pipeline", fed)):
            seconds[name].append(_seconds(lambda source=source: model.fit(source, steps_per_epoch=steps, verbose=0)))
    ratios = [ours / base for base, ours in zip(*seconds.values(), strict=True)]
    rows = [[name, statistics.median(values)] for name, values in seconds.items()]
    return (
        f"A training epoch of the preset `fast`, {steps} steps:\n\n"
        + table([f"{repeats} runs each", "s"], rows)
        + f"\n\nRatio pair by pair: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}."
    )


def _memory(folder: Path, scratch: Path, repeats: int) -> str:
    """Peak resident memory of a process that imports TensorFlow and takes one epoch of batches."""
    peaks = {name: [] for name in ("imports alone", *_KINDS)}
    for _ in range(repeats):
        for name, values in peaks.items():
            command = ["-m", "benchmarks.input_pipeline", name, str(folder)]
            values.append(measure(command, scratch / "memory.log").peak_mib)
    rows = [[name, f"{statistics.median(values):,.0f}"] for name, values in peaks.items()]
    return "Peak memory of a process that takes one epoch:\n\n" + table([f"{repeats} runs each", "MiB"], rows)


def _take_epoch(kind: str, folder: Path) -> None:
    if kind in _KINDS:
        examples = open_records(folder)
        for _ in _KINDS[kind](examples).take(examples.counts[TRAIN] // _BATCH):
            pass


def _seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


if __name__ == "__main__":
    _take_epoch(sys.argv[1], Path(sys.argv[2]))
