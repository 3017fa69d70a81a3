"""The data gate: fails the run where ExampleValidator only takes note.

It stands behind ExampleValidator, tells each anomaly in a line and refuses the data. The nodes after it wait for it, so
that nothing is trained on data that did not pass.
"""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.artifacts import Artifacts, custom_properties, open_examples, single, split_folders
from components.data_gate.anomalies import find_anomalies, refuse
from components.schema_gen.component import CURATED
from models.features import ANOMALIES_FILE, SCHEMA_FILE, STATISTICS_FILE
from models.files import write_text

REPORT_FILE = "anomalies.json"

progress = logging.getLogger("progress")


class _Executor(base_executor.BaseExecutor):
    """Unpacks the artifacts, calls `find_anomalies` and `refuse`, and blesses the data."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        statistics, blessing = single(input_dict, "statistics"), single(output_dict, "blessing")
        accepted = input_dict.get("accepted_statistics") or []
        schema_artifact = single(input_dict, "schema")
        schema = Path(schema_artifact.uri, SCHEMA_FILE).read_text(encoding="utf-8")
        anomalies = find_anomalies(
            {
                split: anomalies_pb2.Anomalies.FromString((folder / ANOMALIES_FILE).read_bytes())
                for split, folder in split_folders(single(input_dict, "anomalies")).items()
            },
            _load_statistics(statistics),
            text_format.Parse(schema, schema_pb2.Schema()),
            open_examples(single(input_dict, "examples")),
            _load_statistics(accepted[0]) if accepted else {},
            duplicate_tolerance=exec_properties["duplicate_tolerance"],
            # Nobody has said of an inferred schema how far the splits that a person gives may be apart.
            skew_severity="error" if custom_properties(schema_artifact).get(CURATED, 1) else "warning",
        )
        refuse(anomalies, exec_properties["severity"])
        for anomaly in anomalies:
            progress.warning("%s", anomaly)
        report = [dataclasses.asdict(anomaly) for anomaly in anomalies]
        write_text(Path(blessing.uri, REPORT_FILE), json.dumps(report, indent=2) + "\n")
        blessing.set_int_custom_property("blessed", 1)
        blessing.set_int_custom_property("warnings", len(anomalies))
        blessing.set_string_custom_property("anomalies", json.dumps(report))
        blessing.set_int_custom_property("current_statistics_id", statistics.id)


def _load_statistics(artifact: types.Artifact) -> dict[str, statistics_pb2.DatasetFeatureStatisticsList]:
    return {
        split: tfdv.load_stats_binary(str(folder / STATISTICS_FILE))
        for split, folder in split_folders(artifact).items()
    }


class DataBlessing(types.Artifact):
    """Says that a data set passed the gate; `anomalies.json` lists what was found and let pass."""

    TYPE_NAME = "DataBlessing"


class DataGateSpec(component_spec.ComponentSpec):
    """Interface of `DataGate`."""

    PARAMETERS = {
        "severity": component_spec.ExecutionParameter(type=str),
        "duplicate_tolerance": component_spec.ExecutionParameter(type=float),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "accepted_statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=DataBlessing)}


class DataGate(base_component.BaseComponent):
    """Refuses data with anomalies; see the module's docstring."""

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        anomalies: types.BaseChannel,
        accepted_statistics: types.BaseChannel,
        severity: str,
        duplicate_tolerance: float = 0.0,
    ) -> None:
        """`severity` is the least that refuses the data, "error" or "warning"; see `find_anomalies` for the other."""
        super().__init__(
            DataGateSpec(
                examples=examples,
                statistics=statistics,
                schema=schema,
                anomalies=anomalies,
                accepted_statistics=accepted_statistics,
                severity=severity,
                duplicate_tolerance=float(duplicate_tolerance),
                blessing=types.Channel(type=DataBlessing),
            )
        )
