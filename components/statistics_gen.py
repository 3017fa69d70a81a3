"""StatisticsGen that looks inside the images.

The component writes the standard ExampleStatistics artifact. It differs from TFX's in two ways. Its Arrow tables hold
the features of `components.image_statistics` beside those of the records; custom statistics generators would not do,
because a schema cannot validate what they produce. And TFDV's generators run in one Beam combiner for all splits: the
transform `tfdv.GenerateStatistics` unfolds into some 250 Beam steps a split, whose construction alone takes longer than
the statistics of 70,000 images.
"""

import functools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.errors import DataRefused
from components.image_statistics import read_feature_tables
from models.features import IMAGE, LABEL

FILE_NAME = "FeatureStats.pb"


def statistics_options(class_count: int) -> tfdv.StatsOptions:
    """Returns options under which `image` is counted as bytes and `label` as a category.

    Without them TFDV would look for frequent values among the images and take the mean of the labels.
    """
    schema = schema_pb2.Schema()
    schema.feature.add(name=IMAGE, type=schema_pb2.BYTES).image_domain.SetInParent()
    label = schema.feature.add(name=LABEL, type=schema_pb2.INT)
    label.int_domain.is_categorical = True
    return tfdv.StatsOptions(schema=schema, num_top_values=class_count + 1, num_rank_histogram_buckets=class_count + 1)


def write_statistics(
    shards: dict[str, list[Path]],
    targets: dict[str, Path],
    image_shape: tuple[int, ...],
    class_count: int,
    pipeline: beam.Pipeline,
) -> None:
    """Computes the statistics of each split and writes them as TFDV's binary protocol buffers.

    Args:
      shards: the TFRecord files of each split.
      targets: the file to write for each split.
      image_shape: the shape that the images are expected to have.
      class_count: number of classes, so that the histogram of the labels holds all of them.
      pipeline: a Beam pipeline, which this function runs.

    Raises:
      DataRefused: a record is damaged.
    """
    sources = [(split, path) for split, paths in shards.items() for path in paths]
    with pipeline as root:
        _ = (
            root
            | "Shards" >> beam.Create(sources)
            | "Tables" >> beam.FlatMap(_tables, image_shape)
            | "Statistics" >> beam.CombinePerKey(StatisticsCombiner(class_count))
            | "Write" >> beam.MapTuple(lambda split, result: _write(targets[split], result))
        )


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


def _tables(source: tuple[str, Path], image_shape: tuple[int, ...]) -> Iterator[tuple[str, pa.RecordBatch]]:
    split, path = source
    for table in read_feature_tables(path, image_shape):
        yield split, table


def _write(target: Path, statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(statistics.SerializeToString(deterministic=True))
    partial.replace(target)


class _Executor(base_beam_executor.BaseBeamExecutor):
    """Unpacks the examples and calls `write_statistics`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        statistics = artifact_utils.get_single_instance(output_dict["statistics"])
        splits = artifact_utils.decode_split_names(examples.split_names)
        statistics.split_names = artifact_utils.encode_split_names(splits)
        shards, targets = {}, {}
        for split in splits:
            shards[split] = sorted(Path(artifact_utils.get_split_uri([examples], split)).glob("data_tfrecord-*"))
            folder = Path(artifact_utils.get_split_uri([statistics], split))
            folder.mkdir(parents=True, exist_ok=True)
            targets[split] = folder / FILE_NAME
        write_statistics(
            shards,
            targets,
            tuple(json.loads(examples.get_string_custom_property("image_shape"))),
            len(json.loads(examples.get_string_custom_property("class_names"))),
            self._make_beam_pipeline(),
        )
        check_counts(json.loads(examples.get_string_custom_property("counts")), targets)


class ImageStatisticsGenSpec(component_spec.ComponentSpec):
    """Interface of `ImageStatisticsGen`."""

    PARAMETERS = {}
    INPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics)}


class ImageStatisticsGen(base_beam_component.BaseBeamComponent):
    """Computes statistics of records and images; see the module's docstring."""

    SPEC_CLASS = ImageStatisticsGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(_Executor)

    def __init__(self, *, examples: types.BaseChannel) -> None:
        super().__init__(
            ImageStatisticsGenSpec(
                examples=examples,
                statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
            )
        )
