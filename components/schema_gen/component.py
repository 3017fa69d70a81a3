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
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts import Artifacts, single, statistics_files
from components.schema_gen.differences import schema_differences
from components.schema_gen.proposal import propose_schema
from models.features import SCHEMA_FILE
from models.files import write_text

CURATED = "curated"

progress = logging.getLogger("progress")


class _Executor(base_executor.BaseExecutor):
    """Unpacks the statistics, calls `propose_schema` and writes both schemas."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        files = statistics_files(single(input_dict, "statistics"))
        statistics = {split: tfdv.load_stats_binary(str(path)) for split, path in files.items()}
        proposal = propose_schema(statistics, exec_properties["class_count"])
        curated = exec_properties["curated"]
        schema = text_format.Parse(curated, schema_pb2.Schema()) if curated else proposal
        for line in schema_differences(schema, proposal):
            progress.warning("SchemaGen: %s; `make schema` writes out the proposal", line)
        for key, content in (("schema", schema), ("proposal", proposal)):
            write_text(Path(single(output_dict, key).uri, SCHEMA_FILE), text_format.MessageToString(content))
        single(output_dict, "schema").set_int_custom_property(CURATED, int(bool(curated)))


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
