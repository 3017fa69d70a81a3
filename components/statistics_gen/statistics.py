"""Computes TFDV's statistics of records and of what is in the images.

The Arrow tables hold the features of `image_statistics.py` beside those of the records; custom statistics generators
would not do, because a schema cannot validate what they produce. TFDV's generators run in one Beam combiner for all
splits: the transform `tfdv.GenerateStatistics` unfolds into some 250 Beam steps a split, whose construction alone takes
longer than the statistics of 70,000 images.

Synopsis:

    write_statistics(examples, {"train": folder / "FeatureStats.pb"}, pipeline)
"""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.errors import DataRefused
from components.statistics_gen.image_statistics import read_feature_tables
from models.examples import Examples
from models.features import IMAGE, LABEL
from models.files import write_bytes


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
            | "Statistics" >> beam.CombinePerKey(StatisticsCombiner(len(examples.class_names)))
            | "Write" >> beam.MapTuple(lambda split, result: _write(targets[split], result))
        )
    check_counts(examples.counts, targets)


def check_counts(expected: dict[str, int], targets: dict[str, Path]) -> None:
    """Compares the number of records that were read with the number that ExampleGen wrote.

    A shard that was cut between two records, or within its gzip header, reads without an error.

    Raises:
      DataRefused: a split has fewer or more records than were written.
    """
    for split, path in targets.items():
        statistics = (
            tfdv.load_stats_binary(str(path)) if path.exists() else statistics_pb2.DatasetFeatureStatisticsList()
        )
        found = sum(dataset.num_examples for dataset in statistics.datasets)
        if found != expected[split]:
            raise DataRefused(
                f"{split}: expected the {expected[split]:,} records that ExampleGen wrote, found {found:,}: a shard "
                "was changed or cut short. Delete the artifact and run again."
            )


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


def _tables(source: tuple[str, Path], examples: Examples) -> Iterator[tuple[str, pa.RecordBatch]]:
    split, path = source
    for table in read_feature_tables(examples, path):
        yield split, table


def _write(target: Path, statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
    write_bytes(target, statistics.SerializeToString(deterministic=True))
