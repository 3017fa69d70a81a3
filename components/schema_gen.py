"""SchemaGen: the schema that the data must fit, curated or inferred.

What is inferred from the training split is a proposal. Where a curated schema is given, that one is in force and the
proposal lies beside it, to be compared and reviewed. The curated schema travels as text in the execution's properties:
TFX's ImportSchemaGen has only its path there, and would serve an edited file from the cache.
"""

import logging
from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.image_statistics import SHAPE_FEATURES
from components.statistics_gen import FILE_NAME as STATISTICS_FILE
from models.features import IMAGE, LABEL, TRAIN

FILE_NAME = "schema.pbtxt"

progress = logging.getLogger("progress")

# The values that each derived feature can take at all.
_RANGES = {
    "image_mean": (0.0, 255.0),
    "image_stddev": (0.0, 127.5),
    "image_black": (0.0, 1.0),
    "image_saturated": (0.0, 1.0),
}


def propose_schema(statistics: statistics_pb2.DatasetFeatureStatisticsList, class_count: int) -> schema_pb2.Schema:
    """Infers a schema from the statistics of the training split.

    Args:
      statistics: as `ImageStatisticsGen` writes them.
      class_count: labels lie in 0 to `class_count` - 1.

    Returns:
      TFDV's inference with the domains that it cannot know: image bytes, classes, one shape, ranges of the pixels.
    """
    schema = tfdv.infer_schema(statistics)
    # TFDV gives an integer category a domain of strings, which its own validation then refuses.
    del schema.string_domain[:]
    observed = {feature.path.step[0]: feature.num_stats for feature in statistics.datasets[0].features}
    for feature in schema.feature:
        if feature.name == IMAGE:
            feature.image_domain.SetInParent()
        elif feature.name == LABEL:
            feature.int_domain.CopyFrom(schema_pb2.IntDomain(min=0, max=class_count - 1, is_categorical=True))
        elif feature.name in SHAPE_FEATURES:
            stats = observed[feature.name]
            feature.int_domain.CopyFrom(schema_pb2.IntDomain(min=int(stats.min), max=int(stats.max)))
        elif feature.name in _RANGES:
            low, high = _RANGES[feature.name]
            feature.float_domain.CopyFrom(schema_pb2.FloatDomain(min=low, max=high))
    return schema


def schema_differences(curated: schema_pb2.Schema, proposal: schema_pb2.Schema) -> list[str]:
    """Tells where the curated schema says another thing about the data than the inferred one.

    Compared are the features, their types, and the domains of whole numbers (classes and shape). Ranges and comparators
    are for the curated schema to decide; data outside of them are anomalies.

    Returns:
      A line for each difference; empty where there is none.
    """
    sides = [{feature.name: feature for feature in schema.feature} for schema in (curated, proposal)]
    lines = []
    for name in sorted(sides[0].keys() | sides[1].keys()):
        told = [_essence(side.get(name)) for side in sides]
        if told[0] != told[1]:
            lines.append(f"{name}: the curated schema says {told[0]}, the data {told[1]}")
    return lines


def _essence(feature: schema_pb2.Feature | None) -> str:
    if feature is None:
        return "nothing"
    domain = feature.int_domain
    limits = f" in {domain.min} to {domain.max}" if feature.HasField("int_domain") else ""
    return schema_pb2.FeatureType.Name(feature.type) + limits


class _Executor(base_executor.BaseExecutor):
    """Unpacks the statistics, calls `propose_schema` and writes both schemas."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        statistics = artifact_utils.get_single_instance(input_dict["statistics"])
        train = Path(artifact_utils.get_split_uri([statistics], TRAIN), STATISTICS_FILE)
        proposal = propose_schema(tfdv.load_stats_binary(str(train)), exec_properties["class_count"])
        curated = exec_properties["curated"]
        schema = text_format.Parse(curated, schema_pb2.Schema()) if curated else proposal
        for line in schema_differences(schema, proposal):
            progress.warning("SchemaGen: %s; `make schema` writes out the proposal", line)
        for key, content in (("schema", schema), ("proposal", proposal)):
            folder = artifact_utils.get_single_uri(output_dict[key])
            tfdv.write_schema_text(content, str(Path(folder, FILE_NAME)))


class ImageSchemaGenSpec(component_spec.ComponentSpec):
    """Interface of `ImageSchemaGen`."""

    PARAMETERS = {
        "class_count": component_spec.ExecutionParameter(type=int),
        "curated": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {"statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics)}
    OUTPUTS = {
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "proposal": component_spec.ChannelParameter(type=standard_artifacts.Schema),
    }


class ImageSchemaGen(base_component.BaseComponent):
    """Proposes a schema and puts the curated one, if any, in force; see the module's docstring."""

    SPEC_CLASS = ImageSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(self, *, statistics: types.BaseChannel, class_count: int, curated: str = "") -> None:
        """`curated` is the text of a `schema.pbtxt`, or empty for the inferred one."""
        super().__init__(
            ImageSchemaGenSpec(
                statistics=statistics,
                class_count=class_count,
                curated=curated,
                schema=types.Channel(type=standard_artifacts.Schema),
                proposal=types.Channel(type=standard_artifacts.Schema),
            )
        )
