"""Computes TFDV's statistics of records and of what is in the images.

The Arrow tables hold the features of `image_statistics.py` beside those of the records; custom statistics generators
would not do, because a schema cannot validate what they produce. TFDV's generators run in one Beam combiner for all
splits: the transform `tfdv.GenerateStatistics` unfolds into some 250 Beam steps a split, whose construction alone takes
longer than the statistics of 70,000 images.

Synopsis:

    write_statistics(examples, {"train": folder / "FeatureStats.pb"}, pipeline)
"""

import functools
import logging
import math
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.shards import check_count
from components.statistics_gen.image_statistics import PIXEL_FEATURES, read_feature_tables
from models.examples import Examples
from models.features import IMAGE, LABEL
from models.files import write_bytes

# Beside each file of statistics: what they were made of, from which those of several spans are merged.
ACCUMULATOR_FILE = "accumulator.pickle"


def statistics_options(class_count: int) -> tfdv.StatsOptions:
    """Returns options under which `image` is counted as bytes and `label` as a category.

    Without them TFDV would look for frequent values among the images and take the mean of the labels.
    """
    schema = schema_pb2.Schema()
    schema.feature.add(name=IMAGE, type=schema_pb2.BYTES).image_domain.SetInParent()
    label = schema.feature.add(name=LABEL, type=schema_pb2.INT)
    label.int_domain.is_categorical = True
    return tfdv.StatsOptions(schema=schema, num_top_values=class_count + 1, num_rank_histogram_buckets=class_count + 1)


def write_statistics(examples: Examples, targets: dict[str, Path], pipeline: beam.Pipeline) -> None:
    """Computes the statistics of each split and writes them as TFDV's binary protocol buffers.

    Args:
      examples: what is looked at.
      targets: the file to write for each split.
      pipeline: a Beam pipeline, which this function runs.

    Raises:
      DataRefused: a record is damaged, or a split has fewer or more records than ExampleGen wrote.
    """
    sources = [(split, path) for split in targets for path in examples.shards(split)]
    with pipeline as root:
        _ = (
            root
            | "Shards" >> beam.Create(sources)
            | "Tables" >> beam.FlatMap(_tables, examples)
            | "Statistics" >> beam.CombinePerKey(_KeepingCombiner(len(examples.class_names)))
            | "Write" >> beam.MapTuple(lambda split, result: _write(targets[split], *result))
        )
    check_counts(examples.counts, targets)


def check_counts(expected: dict[str, int], targets: dict[str, Path]) -> None:
    """Compares the number of records in the statistics of each split with the number that ExampleGen wrote.

    Raises:
      DataRefused: a split has fewer or more records than were written.
    """
    for split, path in targets.items():
        statistics = (
            tfdv.load_stats_binary(str(path)) if path.exists() else statistics_pb2.DatasetFeatureStatisticsList()
        )
        check_count(split, expected[split], sum(dataset.num_examples for dataset in statistics.datasets))


class StatisticsCombiner(beam.CombineFn):
    """Combines Arrow record batches into a `DatasetFeatureStatisticsList` with TFDV's own generators."""

    def __init__(self, class_count: int) -> None:
        self._class_count = class_count

    @functools.cached_property
    def _generators(self) -> list:
        # Made where it runs: the generators cannot be pickled.
        return stats_impl.get_generators(statistics_options(self._class_count), in_memory=True)

    def __getstate__(self) -> dict:
        return {"_class_count": self._class_count}

    def create_accumulator(self) -> list:
        return [generator.create_accumulator() for generator in self._generators]

    def add_input(self, accumulator: list, table: pa.RecordBatch) -> list:
        return [
            generator.add_input(state, table) for generator, state in zip(self._generators, accumulator, strict=True)
        ]

    def merge_accumulators(self, accumulators: Iterable[list]) -> list:
        return [
            generator.merge_accumulators(states)
            for generator, states in zip(self._generators, zip(*accumulators, strict=True), strict=True)
        ]

    def compact(self, accumulator: list) -> list:
        return [generator.compact(state) for generator, state in zip(self._generators, accumulator, strict=True)]

    def extract_output(self, accumulator: list) -> statistics_pb2.DatasetFeatureStatisticsList:
        return stats_impl.extract_statistics_output(accumulator, self._generators)


class _KeepingCombiner(StatisticsCombiner):
    """Gives what can be merged later beside the statistics, which cannot."""

    def extract_output(self, accumulator: list) -> tuple[bytes, statistics_pb2.DatasetFeatureStatisticsList]:
        # Before the output is extracted: that ends the sketches of the quantiles.
        return pickle.dumps((tfdv.__version__, accumulator)), super().extract_output(accumulator)


def merge_statistics(
    sources: Sequence[tuple[Examples, Mapping[str, Path]]], targets: Mapping[str, Path], class_count: int
) -> None:
    """Merges the statistics of several spans, exactly: the same as if they had been computed of all records at once.

    Args:
      sources: of each span its examples, and by split the file that `write_statistics` wrote.
      targets: the file to write for each split.
      class_count: of all spans.

    Raises:
      DataRefused: accumulators that another version of TFDV kept are computed anew, and a record is damaged.
    """
    combiner = _KeepingCombiner(class_count)
    for split, target in targets.items():
        kept = (_read_accumulator(files[split], examples, split) for examples, files in sources)
        _write(target, *combiner.extract_output(combiner.compact(combiner.merge_accumulators(kept))))


def _read_accumulator(path: Path, examples: Examples, split: str) -> list:
    try:
        version, accumulator = pickle.loads(path.with_name(ACCUMULATOR_FILE).read_bytes())
        if version == tfdv.__version__:
            return accumulator
    except Exception:  # whatever the classes of another version fail with
        logging.exception("%s: what was kept of the statistics cannot be read; they are computed anew", path)
    combiner = StatisticsCombiner(len(examples.class_names))
    accumulator = combiner.create_accumulator()
    for shard in examples.shards(split):
        for table in read_feature_tables(examples, shard):
            accumulator = combiner.compact(combiner.add_input(accumulator, table))
    return accumulator


def profile_of(files: Mapping[str, Path], class_count: int) -> dict:
    """Returns what data are like in a few numbers, of all splits together.

    Returns:
      `images`, how many; `labels`, of each class how many; `features`, for each of `PIXEL_FEATURES` its mean and its
      standard deviation over the images.
    """
    labels, moments = np.zeros(class_count, np.int64), dict.fromkeys(PIXEL_FEATURES, np.zeros(3))
    for path in files.values():
        for feature in tfdv.load_stats_binary(str(path)).datasets[0].features:
            name, numbers = feature.path.step[0], feature.num_stats
            if name == LABEL:
                for bucket in feature.string_stats.rank_histogram.buckets:
                    labels[int(bucket.label)] += int(bucket.sample_count)
            elif name in moments:
                mean, deviation, count = numbers.mean, numbers.std_dev, numbers.common_stats.num_non_missing
                moments[name] = moments[name] + count * np.array([1, mean, deviation**2 + mean**2])
    features = {
        name: [total / count, math.sqrt(max(0.0, squares / count - (total / count) ** 2))]
        for name, (count, total, squares) in moments.items()
        if count
    }
    return {"images": int(labels.sum()), "labels": labels.tolist(), "features": features}


def _tables(source: tuple[str, Path], examples: Examples) -> Iterator[tuple[str, pa.RecordBatch]]:
    split, path = source
    for table in read_feature_tables(examples, path):
        yield split, table


def _write(target: Path, accumulator: bytes, statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
    write_bytes(target.with_name(ACCUMULATOR_FILE), accumulator)
    write_bytes(target, statistics.SerializeToString(deterministic=True))
